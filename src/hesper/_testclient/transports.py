"""From the client library to the application and back: one transport for each kind of client.

The law: the caller does the waiting. Its thread, or task, takes each chunk and gives each part of
the body, in its own context, as the application asks for it; so neither side is ever more than one
piece ahead, and nothing runs that nobody waits for.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, AsyncExitStack, ExitStack
from typing import cast

from anyio.from_thread import BlockingPortal

from hesper._testclient.apps import Server
from hesper._testclient.exchanges import HTTPExchange
from hesper._testclient.library import httpx
from hesper._testclient.responses import (
    LEAVING,
    TestResponse,
    check,
    make_response,
    no_response,
)
from hesper._testclient.sockets import AsyncWebSocketTestSession, WebSocketTestSession

SESSION = "hesper.websocket"
"""The response extension that holds the session of a handshake."""

PortalFactory = Callable[[], AbstractContextManager[BlockingPortal]]
"""Gives the event loop that the application runs in, for the length of a block."""


def _asks_for_socket(request: httpx.Request) -> bool:
    return request.url.scheme in ("ws", "wss")


async def _call(server: Server, request: httpx.Request) -> HTTPExchange:
    """Calls the application with a request."""
    try:
        body: bytes | None = request.content
    except httpx.RequestNotRead:
        body = None
    exchange = HTTPExchange(server.http_scope(request), body, server.grace)
    try:
        await exchange.open(server.app)
    except BaseException:
        await exchange.end()
        raise
    return exchange


class _Body(httpx.SyncByteStream):
    """The exchange of one request, and the stream of its response's body."""

    def __init__(self, transport: Transport, request: httpx.Request) -> None:
        self._transport = transport
        self._closed = False
        self._parts = iter(cast(httpx.SyncByteStream, request.stream))
        with ExitStack() as stack:
            stack.callback(_close, self._parts)
            self._portal = stack.enter_context(transport.portal_factory())
            self.exchange = self._portal.call(_call, transport.server, request)
            self._stack = stack.pop_all()
        transport.open.add(self)

    def wait_for_head(self) -> None:
        """Waits until the application has begun its response, or has ended."""
        while self._portal.call(self.exchange.wait, self.exchange.started):
            self._upload()

    def __iter__(self) -> Iterator[bytes]:
        while not self.exchange.drained and (chunk := self._read()):
            yield chunk
        self.close()

    def _read(self) -> bytes:
        while (chunk := self._portal.call(self.exchange.read)) is None:
            self._upload()
        if self.exchange.left:
            raise httpx.StreamClosed()
        return chunk

    def _upload(self) -> None:
        self._portal.call(self.exchange.upload, next(self._parts, None))

    def leave(self) -> None:
        """Leaves, and does not wait."""
        self._portal.call(self.exchange.leave)

    def close(self) -> None:
        """Leaves if the response is not complete, waits for the application and raises what went
        wrong; a second call does nothing."""
        if not self._closed:
            self.abandon()
            check(self.exchange, self._transport.server.raise_server_exceptions)

    def abandon(self) -> None:
        """The same, whatever went wrong."""
        if not self._closed:
            self._closed = True
            self._transport.open.discard(self)
            with self._stack:
                ended = self._portal.start_task_soon(self.exchange.end)
                try:
                    ended.result()
                except BaseException:
                    # Interrupted: without this, endless background work would hold up the portal.
                    ended.cancel()
                    raise


class Transport(httpx.BaseTransport):
    """Takes the requests of a client to an application in another thread."""

    def __init__(self, server: Server, portal_factory: PortalFactory) -> None:
        self.server = server
        self.portal_factory = portal_factory
        self.open: set[_Body] = set()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Sends a request, and gives the response as soon as the application has begun it."""
        if _asks_for_socket(request):
            session = WebSocketTestSession(
                self.server.app,
                self.server.websocket_scope(request),
                self.portal_factory,
                grace=self.server.grace,
            )
            return httpx.Response(101, request=request, extensions={SESSION: session})
        if LEAVING in request.extensions:
            request.read()
            body = _Body(self, request)
            return no_response(request, body, body.leave)
        return self._respond(request, _Body(self, request))

    def _respond(self, request: httpx.Request, body: _Body) -> TestResponse:
        stream: httpx.SyncByteStream = body
        try:
            body.wait_for_head()
            if not body.exchange.started():
                body.close()
                stream = httpx.ByteStream(b"")
        except BaseException:
            body.abandon()
            raise
        return make_response(body.exchange, request, stream, body.leave)

    def close(self) -> None:
        """Leaves whatever is still open."""
        with ExitStack() as stack:
            while self.open:
                stack.callback(self.open.pop().close)


class _AsyncBody(httpx.AsyncByteStream):
    """The same for a caller in the application's event loop."""

    def __init__(self, transport: AsyncTransport, request: httpx.Request) -> None:
        self._transport = transport
        self._closed = False
        self._request = request
        self._parts = aiter(cast(httpx.AsyncByteStream, request.stream))
        self.exchange: HTTPExchange

    async def call(self) -> None:
        """Calls the application."""
        self.exchange = await _call(self._transport.server, self._request)
        self._transport.open.add(self)

    async def wait_for_head(self) -> None:
        """Waits until the application has begun its response, or has ended."""
        while await self.exchange.wait(self.exchange.started):
            await self._upload()

    # Not an async generator, which somebody would have to close.
    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self.exchange.drained or not (chunk := await self._read()):
            await self.aclose()
            raise StopAsyncIteration
        return chunk

    async def _read(self) -> bytes:
        while (chunk := await self.exchange.read()) is None:
            await self._upload()
        if self.exchange.left:
            raise httpx.StreamClosed()
        return chunk

    async def _upload(self) -> None:
        self.exchange.upload(await anext(self._parts, None))

    async def aclose(self) -> None:
        """Leaves if the response is not complete, waits for the application and raises what went
        wrong; a second call does nothing."""
        if not self._closed:
            await self.abandon()
            check(self.exchange, self._transport.server.raise_server_exceptions)

    async def abandon(self) -> None:
        """The same, whatever went wrong."""
        if not self._closed:
            self._closed = True
            self._transport.open.discard(self)
            try:
                await self.exchange.end()
            finally:
                await _aclose(self._parts)


class AsyncTransport(httpx.AsyncBaseTransport):
    """Takes the requests of a client to an application in the same event loop."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.open: set[_AsyncBody] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Sends a request, and gives the response as soon as the application has begun it."""
        if _asks_for_socket(request):
            session = AsyncWebSocketTestSession(
                self.server.app, self.server.websocket_scope(request), grace=self.server.grace
            )
            return httpx.Response(101, request=request, extensions={SESSION: session})
        leaving = LEAVING in request.extensions
        if leaving:
            await request.aread()
        body = _AsyncBody(self, request)
        await body.call()
        if leaving:
            return no_response(request, body, body.exchange.leave)
        return await self._respond(request, body)

    async def _respond(self, request: httpx.Request, body: _AsyncBody) -> TestResponse:
        stream: httpx.AsyncByteStream = body
        try:
            await body.wait_for_head()
            if not body.exchange.started():
                await body.aclose()
                stream = httpx.ByteStream(b"")
        except BaseException:
            await body.abandon()
            raise
        return make_response(body.exchange, request, stream, body.exchange.leave)

    async def aclose(self) -> None:
        """Leaves whatever is still open."""
        async with AsyncExitStack() as stack:
            while self.open:
                stack.push_async_callback(self.open.pop().aclose)


def _close(parts: Iterator[bytes]) -> None:
    close = getattr(parts, "close", None)
    if close is not None:
        close()


async def _aclose(parts: AsyncIterator[bytes]) -> None:
    close = getattr(parts, "aclose", None)
    if close is not None:
        await close()
