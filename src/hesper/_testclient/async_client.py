"""The test client for asynchronous tests: the application runs in tasks of the test's own loop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast

from hesper._testclient.apps import ASGI2App, ASGI3App
from hesper._testclient.base import Base, client_headers, handshake, leaving, warn_of_timeout
from hesper._testclient.exchanges import GRACE
from hesper._testclient.library import httpx
from hesper._testclient.responses import LeavingRequest, TestResponse
from hesper._testclient.sockets import AsyncWebSocketTestSession
from hesper._testclient.transports import SESSION, AsyncTransport

if TYPE_CHECKING:
    from httpx2._types import CookieTypes


class AsyncTestClient(Base, httpx.AsyncClient):
    """An `httpx2.AsyncClient` whose requests go to an application in the same event loop.

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

    All that is said of `TestClient` goes for it too: ``async with`` runs the lifespan, a call
    returns when the application has returned, `stream`, `leaving` and `websocket_connect` are used
    with ``async with``. The application runs in tasks that no scope of the caller's is around, and
    that are joined before the call, or the block, ends.

    A call that is cancelled leaves, and waits for the application's end, for ``grace`` seconds at
    most before that is cancelled too.
    """

    def __init__(
        self,
        app: ASGI2App | ASGI3App,
        base_url: str = "http://testserver",
        raise_server_exceptions: bool = True,
        root_path: str = "",
        cookies: CookieTypes | None = None,
        headers: dict[str, str] | None = None,
        follow_redirects: bool = True,
        client: tuple[str, int] = ("testclient", 50000),
        *,
        grace: float = GRACE,
    ) -> None:
        server = self._serve(app, raise_server_exceptions, root_path, client, grace)
        super().__init__(
            base_url=base_url,
            headers=client_headers(headers),
            transport=AsyncTransport(server),
            follow_redirects=follow_redirects,
            cookies=cookies,
        )

    async def request(self, method: str, url: httpx.URL | str, **options: Any) -> TestResponse:
        """Sends a request, and reads its response to the end of the application.

        Takes what `TestClient.request` takes, and raises what it raises.
        """
        timeout = options.pop("timeout", httpx.USE_CLIENT_DEFAULT)
        warn_of_timeout(timeout)
        return cast(TestResponse, await super().request(method, url, **options))

    @asynccontextmanager
    async def stream(
        self, method: str, url: httpx.URL | str, **options: Any
    ) -> AsyncIterator[TestResponse]:
        """Sends a request, and gives its response as soon as the application has begun it.

        Takes what `TestClient.request` takes. At the end of the block the client leaves, if the
        response is not complete by then, and the application ends.
        """
        warn_of_timeout(options.get("timeout", httpx.USE_CLIENT_DEFAULT))
        async with super().stream(method, url, **options) as response:
            yield cast(TestResponse, response)

    @asynccontextmanager
    async def leaving(
        self, method: str, url: httpx.URL | str, **options: Any
    ) -> AsyncIterator[LeavingRequest]:
        """Sends a request, and does not wait for the response; see `TestClient.leaving`::

        async with client.leaving("GET", "/slow") as request:
            await working.wait()
            request.disconnect()
        """
        async with self.stream(method, url, **leaving(options)) as response:
            yield LeavingRequest(response)

    @asynccontextmanager
    async def websocket_connect(
        self, url: str, subprotocols: Sequence[str] | None = None, **kwargs: Any
    ) -> AsyncIterator[AsyncWebSocketTestSession]:
        """A WebSocket session, for an ``async with`` block; see `TestClient.websocket_connect`."""
        url = handshake(url, subprotocols, kwargs)
        response = await self.request("GET", url, **kwargs)
        session: AsyncWebSocketTestSession = response.extensions[SESSION]
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
            stack.push_async_callback(self._transport.aclose)
