"""One request of a client in the application's own loop, and the body of its response.

The law: the caller does the waiting. Its task takes each chunk and gives each part of its own body,
as the application asks for it; so neither side is ever more than one piece ahead, and nothing runs
that nobody waits for.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from hesper._testclient.apps import Server
from hesper._testclient.exchanges import HTTPExchange, open_exchange
from hesper._testclient.http.errors import RemoteProtocolError
from hesper._testclient.http.requests import TestRequest
from hesper._testclient.http.responses import AsyncTestResponse
from hesper._testclient.outcomes import check, head_of, tell_template
from hesper.exceptions import UsageError


class AsyncBody:
    """The exchange of one request, as what its response reads.

    Args:
        server: the application.
        request: what is sent.
        siblings: the bodies of the client that are open; it is there from `call` to its end.
    """

    closed = False

    def __init__(self, server: Server, request: TestRequest, siblings: set[AsyncBody]) -> None:
        self._server = server
        self._request = request
        self._siblings = siblings
        self._parts: AsyncIterator[bytes] | None = None
        self.exchange: HTTPExchange

    async def call(self) -> None:
        """Calls the application, and returns at its first wait."""
        body: bytes | None = None
        if isinstance(self._request.body, bytes):
            body = self._request.body
        else:
            self._parts = aiter(self._request.body)
        self.exchange = await open_exchange(
            self._server.app, self._server.http_scope(self._request), body, self._server.grace
        )
        self._siblings.add(self)

    async def response(self) -> AsyncTestResponse:
        """Waits until the application has begun its response, or has ended, and gives it.

        Raises what ``aclose`` raises, if the application has ended without one.
        """
        try:
            while await self.exchange.wait(self.exchange.started):
                await self._upload()
            if not self.exchange.started():
                await self.aclose()
        except BaseException:
            await self.abandon()
            raise
        stream = self if self.exchange.started() else None
        response = AsyncTestResponse(stream=stream, request=self._request, **head_of(self.exchange))
        tell_template(response, self.exchange)
        return response

    async def chunk(self) -> bytes:
        """The next chunk, as it was sent; empty at the end, where the application has ended.

        Raises:
            UsageError: the client has left.
            BaseException: as ``aclose``.
        """
        if not self.exchange.drained and (chunk := await self._read()):
            return chunk
        await self.aclose()
        return b""

    async def _read(self) -> bytes:
        chunk: bytes | None = None
        while not self.closed and (chunk := await self.exchange.read()) is None:
            await self._upload()
        if chunk is None or self.exchange.left:
            raise UsageError("The client has left: what follows of the body cannot be read.")
        return chunk

    async def _upload(self) -> None:
        assert self._parts is not None  # a whole body has arrived, and is not asked for
        self.exchange.upload(await anext(self._parts, None))

    def leave(self) -> None:
        """Leaves, and does not wait."""
        self.exchange.leave()

    async def aclose(self) -> None:
        """Leaves if the response is not complete, waits for the application and raises what went
        wrong; a second call does nothing."""
        if not self.closed:
            await self.abandon()
            check(self.exchange, self._server.raise_server_exceptions, self._broken)

    def _broken(self, message: str) -> RemoteProtocolError:
        return RemoteProtocolError(message, request=self._request)

    async def abandon(self) -> None:
        """The same, whatever went wrong."""
        if not self.closed:
            self.closed = True
            self._siblings.discard(self)
            try:
                await self.exchange.end()
            finally:
                close = getattr(self._parts, "aclose", None)
                if close is not None:
                    await close()
