"""From the client library to the application and back.

The law: the caller does the waiting. Its thread takes each chunk and gives each part of the body,
in its own context, as the application asks for it; so neither side is ever more than one piece
ahead, and nothing runs that nobody waits for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import cast

from anyio.from_thread import BlockingPortal

from hesper._testclient.apps import SOCKET_SCHEMES, Server
from hesper._testclient.exchanges import HTTPExchange, open_exchange
from hesper._testclient.library import httpx
from hesper._testclient.outcomes import check
from hesper._testclient.responses import TestResponse, make_response, no_response
from hesper._testclient.sync_sockets import WebSocketTestSession

LEAVING = "hesper.leaving"
"""The request extension that asks for no response."""

SESSION = "hesper.websocket"
"""The response extension that holds the session of a handshake."""

PortalFactory = Callable[[], AbstractContextManager[BlockingPortal]]
"""Gives the event loop that the application runs in, for the length of a block."""


class _Body(httpx.SyncByteStream):
    """The exchange of one request, and the stream of its response's body."""

    def __init__(self, transport: Transport, request: httpx.Request) -> None:
        self._transport = transport
        self._closed = False
        self._parts = iter(cast(httpx.SyncByteStream, request.stream))
        with ExitStack() as stack:
            stack.callback(_close, self._parts)
            self._portal = stack.enter_context(transport.portal_factory())
            server = transport.server
            self.exchange: HTTPExchange = self._portal.call(
                open_exchange, server.app, server.http_scope(request), _whole(request), server.grace
            )
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
            raises = self._transport.server.raise_server_exceptions
            check(self.exchange, raises, httpx.RemoteProtocolError)

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
        if request.url.scheme in SOCKET_SCHEMES:
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


def _whole(request: httpx.Request) -> bytes | None:
    """The body, unless it comes in parts."""
    try:
        return request.content
    except httpx.RequestNotRead:
        return None


def _close(parts: Iterator[bytes]) -> None:
    close = getattr(parts, "close", None)
    if close is not None:
        close()
