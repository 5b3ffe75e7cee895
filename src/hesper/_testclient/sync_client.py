"""The test client for synchronous tests: the application runs in a thread of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, cast

from anyio.from_thread import BlockingPortal, start_blocking_portal

from hesper._testclient.apps import ASGI2App, ASGI3App
from hesper._testclient.base import Base, client_headers, handshake, warn_of_timeout
from hesper._testclient.exchanges import GRACE
from hesper._testclient.library import httpx
from hesper._testclient.outcomes import LeavingRequest
from hesper._testclient.responses import TestResponse
from hesper._testclient.sync_sockets import WebSocketTestSession
from hesper._testclient.transports import LEAVING, SESSION, Transport

if TYPE_CHECKING:
    from httpx2._client import UseClientDefault
    from httpx2._types import (
        AuthTypes,
        CookieTypes,
        HeaderTypes,
        QueryParamTypes,
        RequestContent,
        RequestData,
        RequestExtensions,
        RequestFiles,
        TimeoutTypes,
    )


class TestClient(Base, httpx.Client):
    """An `httpx2.Client` whose requests go to an application in another thread.

    Args:
        app: an ASGI 3 or ASGI 2 application.
        base_url: what relative URLs are relative to.
        raise_server_exceptions: whether what the application raises comes out of the call that
            it answers; if not, the client gets what it would get over a network.
        root_path: ``scope["root_path"]``.
        backend: the event loop's library, ``"asyncio"`` or ``"trio"``.
        backend_options: options for `anyio.run`.
        cookies: cookies to send; those of responses are added.
        headers: headers of each request.
        follow_redirects: whether a redirect is followed.
        client: ``scope["client"]``.
        grace: seconds that the application may go on after its client has left; then it is
            cancelled.

    ``with TestClient(app) as client`` runs the lifespan around the block, and everything in the
    block in one event loop. Without it each request has an event loop of its own, and no lifespan.

    A call returns when the application has returned, its background work included. A response
    given by `stream` is there as soon as the application has begun it; the application is at most
    one chunk ahead of the reader.

    The client leaves by ``response.close()``, by the end of a `stream` or `leaving` block, and by
    ``response.disconnect()``. The application then receives ``http.disconnect``, and its `send`
    raises an `OSError`; what it makes of that is no error. The ends of the blocks wait for it, and
    raise what else it raised.

    A request body that is an iterator is asked for its parts as the application reads them, in the
    caller's thread; an iterator that raises breaks off the upload.
    """

    portal: BlockingPortal | None = None
    """Runs functions in the application's event loop, inside the block."""

    def __init__(
        self,
        app: ASGI2App | ASGI3App,
        base_url: str = "http://testserver",
        raise_server_exceptions: bool = True,
        root_path: str = "",
        backend: Literal["asyncio", "trio"] = "asyncio",
        backend_options: dict[str, Any] | None = None,
        cookies: CookieTypes | None = None,
        headers: dict[str, str] | None = None,
        follow_redirects: bool = True,
        client: tuple[str, int] = ("testclient", 50000),
        *,
        grace: float = GRACE,
    ) -> None:
        server = self._serve(app, raise_server_exceptions, root_path, client, grace)
        self.async_backend: dict[str, Any] = {
            "backend": backend,
            "backend_options": backend_options or {},
        }
        super().__init__(
            base_url=base_url,
            headers=client_headers(headers).raw,
            transport=Transport(server, self._portal_factory),
            follow_redirects=follow_redirects,
            cookies=cookies,
        )

    @contextmanager
    def _portal_factory(self) -> Iterator[BlockingPortal]:
        if self.portal is not None:
            yield self.portal
        else:
            with start_blocking_portal(**self.async_backend) as portal:
                yield portal

    def request(
        self,
        method: str,
        url: httpx.URL | str,
        *,
        content: RequestContent | None = None,
        data: RequestData | None = None,
        files: RequestFiles | None = None,
        json: Any = None,
        params: QueryParamTypes | None = None,
        headers: HeaderTypes | None = None,
        cookies: CookieTypes | None = None,
        auth: AuthTypes | UseClientDefault | None = httpx.USE_CLIENT_DEFAULT,
        follow_redirects: bool | UseClientDefault = httpx.USE_CLIENT_DEFAULT,
        timeout: TimeoutTypes | UseClientDefault = httpx.USE_CLIENT_DEFAULT,
        extensions: RequestExtensions | None = None,
    ) -> TestResponse:
        """Sends a request, and reads its response to the end of the application.

        Args:
            timeout: has no effect, and warns.

        Raises:
            BaseException: what the application raised, unless ``raise_server_exceptions`` is False.
            AssertionError: it returned without a whole response; the same.
            httpx2.RemoteProtocolError: it ended within its response.
        """
        if timeout is not httpx.USE_CLIENT_DEFAULT:
            warn_of_timeout()
        response = super().request(
            method,
            url,
            content=content,
            data=data,
            files=files,
            json=json,
            params=params,
            headers=headers,
            cookies=cookies,
            auth=auth,
            follow_redirects=follow_redirects,
            extensions=extensions,
        )
        return cast(TestResponse, response)

    @contextmanager
    def stream(self, method: str, url: httpx.URL | str, **options: Any) -> Iterator[TestResponse]:
        """Sends a request, and gives its response as soon as the application has begun it.

        Takes what `request` takes. At the end of the block the client leaves, if the response is
        not complete by then, and the application ends.
        """
        if "timeout" in options:
            warn_of_timeout()
        with super().stream(method, url, **options) as response:
            yield cast(TestResponse, response)

    @contextmanager
    def leaving(
        self, method: str, url: httpx.URL | str, **options: Any
    ) -> Iterator[LeavingRequest]:
        """Sends a request, and does not wait for the response: the client is going to leave.

        It leaves by ``disconnect()``, or else at the end of the block, where the application ends::

            with client.leaving("GET", "/slow") as request:
                working.wait()
                request.disconnect()

        Takes what `request` takes. The whole body is sent, redirects are not followed, and a
        response that comes nevertheless is dropped. When the block begins, the application has run
        up to its first wait.
        """
        options["extensions"] = {**(options.get("extensions") or {}), LEAVING: True}
        options["follow_redirects"] = False
        with self.stream(method, url, **options) as response:
            yield LeavingRequest(response.disconnect)

    def websocket_connect(
        self, url: str, subprotocols: Sequence[str] | None = None, **kwargs: Any
    ) -> WebSocketTestSession:
        """A WebSocket session, to be used with ``with``.

        Args:
            url: relative to ``ws://testserver``.
            subprotocols: what the client offers.
            kwargs: what `request` takes.
        """
        url = handshake(url, subprotocols, kwargs)
        response = self.request("GET", url, **kwargs)
        session: WebSocketTestSession = response.extensions[SESSION]
        return session

    def __enter__(self) -> Self:
        self._check_not_entered()
        with ExitStack() as stack:
            self.portal = stack.enter_context(start_blocking_portal(**self.async_backend))
            stack.callback(setattr, self, "portal", None)
            self.portal.call(self.wait_startup)
            stack.callback(self.portal.call, self.wait_shutdown)
            stack.callback(self._transport.close)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self._stack.close()
