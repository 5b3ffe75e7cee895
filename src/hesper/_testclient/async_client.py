"""The test client for asynchronous tests: the application runs in tasks of the test's own loop.

It needs no HTTP library, and uses none; `hesper._testclient.http` says why.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Any, Self, Unpack

from hesper._testclient.apps import ASGI2App, ASGI3App
from hesper._testclient.base import handshake, warn_of_timeout
from hesper._testclient.defaults import UNSET, RequestOptions
from hesper._testclient.exchanges import GRACE
from hesper._testclient.http.contents import Content, Files
from hesper._testclient.http.cookies import CookieTypes
from hesper._testclient.http.headers import HeaderTypes
from hesper._testclient.http.requests import Auth, TestRequest
from hesper._testclient.http.responses import AsyncTestResponse
from hesper._testclient.http.urls import QueryParamTypes, RequestURL
from hesper._testclient.outcomes import LeavingRequest
from hesper._testclient.sender import Sender, closed_after
from hesper._testclient.sockets import AsyncWebSocketTestSession


class AsyncTestClient(Sender):
    """A client whose requests go to an application in the same event loop.

    It needs no extra. Its names are those of `httpx2.AsyncClient`: beside the methods below there
    are ``send()``, ``build_request()`` and ``aclose()``, and ``base_url``, ``headers``, ``cookies``,
    ``params``, ``auth`` and ``follow_redirects`` can be changed.

    Args:
        app: an ASGI 3 or ASGI 2 application.
        base_url: what relative URLs are relative to.
        raise_server_exceptions: whether what the application raises comes out of the call that
            it answers; if not, the client gets what it would get over a network.
        root_path: ``scope["root_path"]``.
        cookies: cookies to send; those of responses are added.
        headers: headers of each request.
        follow_redirects: whether a redirect is followed.
        client: ``scope["client"]``.
        grace: seconds that the application may go on after its client has left; then it is
            cancelled.

    ``async with AsyncTestClient(app) as client`` runs the lifespan around the block; without it
    there is none. A call returns when the application has returned, its background work included.
    A response given by `stream` is there as soon as the application has begun it; the application
    is at most one chunk ahead of the reader.

    The client leaves by ``response.aclose()``, by the end of a `stream` or `leaving` block, and by
    ``response.disconnect()``. The application then receives ``http.disconnect``, and its `send`
    raises an `OSError`; what it makes of that is no error. The ends of the blocks wait for it, and
    raise what else it raised.

    The application runs in tasks that no scope of the caller's is around, and that are joined
    before the call, or the block, ends. A call that is cancelled leaves, and waits for the
    application's end, for ``grace`` seconds at most before that is cancelled too.
    """

    def __init__(
        self,
        app: ASGI2App | ASGI3App,
        base_url: str = "http://testserver",
        raise_server_exceptions: bool = True,
        root_path: str = "",
        cookies: CookieTypes | None = None,
        headers: HeaderTypes | None = None,
        follow_redirects: bool = True,
        client: tuple[str, int] = ("testclient", 50000),
        *,
        grace: float = GRACE,
    ) -> None:
        super().__init__(
            app,
            base_url,
            raise_server_exceptions,
            root_path,
            cookies,
            headers,
            follow_redirects,
            client,
            grace,
        )

    # -- requests ---------------------------------------------------------------------------------

    async def request(
        self,
        method: str,
        url: str | RequestURL,
        *,
        content: Content | None = None,
        data: Mapping[str, Any] | Content | None = None,
        files: Files | None = None,
        json: Any = None,
        params: QueryParamTypes | None = None,
        headers: HeaderTypes | None = None,
        cookies: CookieTypes | None = None,
        auth: Auth | None = UNSET,
        follow_redirects: bool = UNSET,
        timeout: Any = UNSET,
        extensions: Mapping[str, Any] | None = None,
    ) -> AsyncTestResponse:
        """Sends a request, and reads its response to the end of the application.

        Args:
            method: any method.
            url: absolute, or appended to the ``base_url``.
            content: the body: str, bytes, a file, or an iterable of bytes, which may be an
                asynchronous one. It is asked for its parts as the application reads them; one that
                raises breaks off the upload.
            data: the fields of a form; a list as value is a field more than once.
            files: the files of a form: the content of each, or its name, content, media type and
                headers. Read when the request is sent.
            json: what is sent as JSON.
            params: the query, in the place of that of the URL.
            headers: put in the place of the client's own.
            cookies: sent beside the client's own, with this request only.
            auth: name and password, or a function from request to request; None takes none.
            follow_redirects: other than the client does.
            timeout: has no effect, and warns.
            extensions: kept in ``response.request.extensions``.

        Raises:
            BaseException: what the application raised, unless ``raise_server_exceptions`` is False.
            AssertionError: it returned without a whole response; the same.
            RemoteProtocolError: it ended within its response.
            TooManyRedirects: it redirects more than twenty times.
        """
        if timeout is not UNSET:
            warn_of_timeout()
        request = self.build_request(
            method,
            url,
            content=content,
            data=data,
            files=files,
            json=json,
            params=params,
            headers=headers,
            cookies=cookies,
            extensions=extensions,
        )
        return await self.send(request, auth=auth, follow_redirects=follow_redirects)

    async def get(
        self, url: str | RequestURL, **options: Unpack[RequestOptions]
    ) -> AsyncTestResponse:
        """Sends a GET request; takes what `request` takes."""
        return await self.request("GET", url, **options)

    async def options(
        self, url: str | RequestURL, **options: Unpack[RequestOptions]
    ) -> AsyncTestResponse:
        """Sends an OPTIONS request; takes what `request` takes."""
        return await self.request("OPTIONS", url, **options)

    async def head(
        self, url: str | RequestURL, **options: Unpack[RequestOptions]
    ) -> AsyncTestResponse:
        """Sends a HEAD request; takes what `request` takes."""
        return await self.request("HEAD", url, **options)

    async def post(
        self, url: str | RequestURL, **options: Unpack[RequestOptions]
    ) -> AsyncTestResponse:
        """Sends a POST request; takes what `request` takes."""
        return await self.request("POST", url, **options)

    async def put(
        self, url: str | RequestURL, **options: Unpack[RequestOptions]
    ) -> AsyncTestResponse:
        """Sends a PUT request; takes what `request` takes."""
        return await self.request("PUT", url, **options)

    async def patch(
        self, url: str | RequestURL, **options: Unpack[RequestOptions]
    ) -> AsyncTestResponse:
        """Sends a PATCH request; takes what `request` takes."""
        return await self.request("PATCH", url, **options)

    async def delete(
        self, url: str | RequestURL, **options: Unpack[RequestOptions]
    ) -> AsyncTestResponse:
        """Sends a DELETE request; takes what `request` takes."""
        return await self.request("DELETE", url, **options)

    async def query(
        self, url: str | RequestURL, **options: Unpack[RequestOptions]
    ) -> AsyncTestResponse:
        """Sends a QUERY request; takes what `request` takes."""
        return await self.request("QUERY", url, **options)

    # -- streams, and leaving ---------------------------------------------------------------------

    @asynccontextmanager
    async def stream(
        self, method: str, url: str | RequestURL, **options: Unpack[RequestOptions]
    ) -> AsyncIterator[AsyncTestResponse]:
        """Sends a request, and gives its response as soon as the application has begun it.

        Takes what `request` takes. At the end of the block the client leaves, if the response is
        not complete by then, and the application ends.
        """
        request, sending = self._prepare(method, url, options)
        response = await self.send(request, stream=True, **sending)
        async with closed_after(response):
            yield response

    @asynccontextmanager
    async def leaving(
        self, method: str, url: str | RequestURL, **options: Unpack[RequestOptions]
    ) -> AsyncIterator[LeavingRequest]:
        """Sends a request, and does not wait for the response: the client is going to leave.

        It leaves by ``disconnect()``, or else at the end of the block, where the application ends::

            async with client.leaving("GET", "/slow") as request:
                await working.wait()
                request.disconnect()

        Takes what `request` takes. The whole body is sent, redirects are not followed, and a
        response that comes nevertheless is dropped. When the block begins, the application has run
        up to its first wait.
        """
        request, sending = self._prepare(method, url, options)
        request = self._authorized(request, sending["auth"])
        await request.aread()
        body = await self._call(request)
        async with closed_after(body):
            yield LeavingRequest(body.leave)

    def _prepare(
        self, method: str, url: str | RequestURL, options: Mapping[str, Any]
    ) -> tuple[TestRequest, dict[str, Any]]:
        """The request that options describe, and those of them that are for `send`."""
        building = dict(options)
        if building.pop("timeout", UNSET) is not UNSET:
            warn_of_timeout()
        sending = {name: building.pop(name, UNSET) for name in ("auth", "follow_redirects")}
        return self.build_request(method, url, **building), sending

    # -- WebSockets, and the lifespan -------------------------------------------------------------

    @asynccontextmanager
    async def websocket_connect(
        self, url: str, subprotocols: Sequence[str] | None = None, **options: Any
    ) -> AsyncIterator[AsyncWebSocketTestSession]:
        """A WebSocket session, for an ``async with`` block.

        Args:
            url: relative to ``ws://testserver``.
            subprotocols: what the client offers.
            options: what `request` takes.

        Raises what `AsyncWebSocketTestSession` raises.
        """
        url = handshake(url, subprotocols, options)
        request, sending = self._prepare("GET", url, options)
        scope = self._server.websocket_scope(self._authorized(request, sending["auth"]))
        session = AsyncWebSocketTestSession(self._server.app, scope, grace=self._server.grace)
        async with session:
            yield session

    async def __aenter__(self) -> Self:
        await self.wait_startup()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.wait_shutdown)
            stack.push_async_callback(self.aclose)
