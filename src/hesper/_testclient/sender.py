"""How requests of the asynchronous client are sent, and redirects followed.

The law: whatever ends a call, the application that it called has ended before it returns.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from hesper._testclient.apps import SOCKET_SCHEMES, ASGI2App, ASGI3App
from hesper._testclient.async_bodies import AsyncBody
from hesper._testclient.base import Base
from hesper._testclient.defaults import UNSET, Defaults
from hesper._testclient.http.cookies import CookieTypes
from hesper._testclient.http.errors import RemoteProtocolError, TooManyRedirects
from hesper._testclient.http.headers import HeaderTypes
from hesper._testclient.http.redirects import MAX_REDIRECTS, redirected
from hesper._testclient.http.requests import Auth, TestRequest, authorized
from hesper._testclient.http.responses import AsyncTestResponse
from hesper.exceptions import UsageError


@asynccontextmanager
async def closed_after(opened: AsyncTestResponse | AsyncBody) -> AsyncIterator[None]:
    """Closes what is open at the end of a block.

    What the application raised comes out of it, and tells more than an assertion that failed for
    that; but a cancellation stays one.
    """
    try:
        yield
    except Exception:
        await opened.aclose()
        raise
    except BaseException:
        await opened.abandon()
        raise
    await opened.aclose()


class Sender(Base, Defaults):
    """The part of the asynchronous client that sends.

    Arguments are those of `AsyncTestClient`.
    """

    def __init__(
        self,
        app: ASGI2App | ASGI3App,
        base_url: str,
        raise_server_exceptions: bool,
        root_path: str,
        cookies: CookieTypes | None,
        headers: HeaderTypes | None,
        follow_redirects: bool,
        client: tuple[str, int],
        grace: float,
    ) -> None:
        Defaults.__init__(self, base_url, headers, cookies, follow_redirects)
        self._server = self._serve(app, raise_server_exceptions, root_path, client, grace)
        self._open: set[AsyncBody] = set()

    async def send(
        self,
        request: TestRequest,
        *,
        stream: bool = False,
        auth: Auth | None = UNSET,
        follow_redirects: bool = UNSET,
    ) -> AsyncTestResponse:
        """Sends a request that `build_request` made.

        Args:
            request: what is sent, as it is.
            stream: whether to give the response as soon as the application has begun it. It is
                then for the caller to read it to its end, or to close it.
            auth: name and password, or a function from request to request; None takes none.
            follow_redirects: other than the client does.

        Raises what `request` raises.
        """
        follow = self.follow_redirects if follow_redirects is UNSET else follow_redirects
        response = await self._follow(self._authorized(request, auth), follow)
        if not stream:
            await self._read(response)
        return response

    async def _follow(self, request: TestRequest, follow: bool) -> AsyncTestResponse:
        history: list[AsyncTestResponse] = []
        while True:
            response = await (await self._call(request)).response()
            response.history = history
            self.cookies.extract(response.headers, request.url)
            if not response.has_redirect_location:
                return response
            try:
                following = redirected(
                    request, response.status_code, response.headers, self.cookies
                )
            except RemoteProtocolError:
                if not follow:
                    return response
                await response.aclose()
                raise
            if not follow:
                response.next_request = following
                return response
            await self._read(response)
            history = [*history, response]
            if len(history) > MAX_REDIRECTS:
                raise TooManyRedirects(
                    f"More than {MAX_REDIRECTS} redirects, the last to {following.url}.",
                    request=request,
                )
            request = following

    async def _read(self, response: AsyncTestResponse) -> None:
        try:
            await response.aread()
        except BaseException:
            # What went wrong is known; what the application makes of it is not asked.
            await response.abandon()
            raise

    async def _call(self, request: TestRequest) -> AsyncBody:
        if request.url.scheme in SOCKET_SCHEMES:
            raise UsageError("A WebSocket is not requested: use client.websocket_connect().")
        body = AsyncBody(self._server, request, self._open)
        await body.call()
        return body

    def _authorized(self, request: TestRequest, auth: Auth | None) -> TestRequest:
        return authorized(request, self.auth if auth is UNSET else auth)

    async def aclose(self) -> None:
        """Leaves what is still open, and waits for its end; the client can be used again.

        Raises:
            BaseException: what the application raised.
        """
        async with AsyncExitStack() as stack:
            while self._open:
                stack.push_async_callback(self._open.pop().aclose)
