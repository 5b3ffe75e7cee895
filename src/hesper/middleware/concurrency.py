"""A limit for the requests that a place works on at a time: 503, before everything gets slow."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from hesper._asgi.incoming import Incoming
from hesper._asgi.socket_incoming import SocketIncoming
from hesper._concurrency import Event, interruptible, new_event
from hesper._stack import RequestResponseEndpoint
from hesper.exceptions import ClientDisconnect, HTTPException
from hesper.middleware import Middleware, MiddlewareEntry
from hesper.middleware.base import BaseHTTPMiddleware
from hesper.middleware.body_limit import limited
from hesper.policies import ConcurrencyLimit, limit_of
from hesper.requests import Request
from hesper.responses import PlainTextResponse, Response
from hesper.types import ASGIApp
from hesper.websockets import WebSocket

__all__ = ["ConcurrencyLimitMiddleware"]

Client = Incoming | SocketIncoming


class ConcurrencyLimitMiddleware(BaseHTTPMiddleware):
    """Works on so many requests at a time, and lets so many wait; the others get a 503.

    ``Hesper``, ``Router``, ``Mount``, ``Host`` and the routes make one of their ``max_concurrency``.
    WebSockets count as well, as long as they are open; one too many is refused with 503 where the
    server can do that, else with 403.

    Args:
        limit: see ``hesper.policies.ConcurrencyLimit``.

    A client that leaves while it waits has its place in the queue to the next: its handler is not
    called, ``ClientDisconnect`` is raised. One that is cancelled there gives its place up as well.
    """

    def __init__(self, app: ASGIApp, limit: ConcurrencyLimit) -> None:
        super().__init__(app)
        self._limit = limit
        self._inside: set[Client] = set()
        """What has a place: the client's side of each request and socket."""
        self._waiting: deque[tuple[Client, Event]] = deque()

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        incoming = request._exchange.incoming
        if incoming not in self._inside:  # else a middleware around tries again
            if self._full:
                raise HTTPException(503, headers=self._headers)
            await self._enter(incoming)
            # Not when call_next returns: the body is still to come, and background work after it.
            incoming.at_end += (partial(self._leave, incoming),)
        return await call_next(request)

    async def dispatch_websocket(
        self, websocket: WebSocket, call_next: Callable[[WebSocket], Awaitable[None]]
    ) -> None:
        exchange = websocket._exchange
        if self._full:
            await self._refuse(websocket)
            return
        await self._enter(exchange)
        try:
            await call_next(websocket)
        finally:
            await self._leave(exchange)

    async def _refuse(self, websocket: WebSocket) -> None:
        if websocket._exchange.can_deny:
            refusal = PlainTextResponse("Service Unavailable", 503, self._headers)
            await websocket.send_denial_response(refusal)
        else:
            await websocket.close(1013)

    @property
    def _headers(self) -> dict[str, str]:
        return {"Retry-After": str(self._limit.retry_after)}

    @property
    def _full(self) -> bool:
        limit = self._limit
        return len(self._inside) >= limit.limit and len(self._waiting) >= limit.queue

    async def _enter(self, client: Client) -> None:
        if len(self._inside) < self._limit.limit:
            self._inside.add(client)
            return
        turn = new_event()
        self._waiting.append((client, turn))
        with interruptible() as stretch:
            client.add_stretch(stretch)
            if client.disconnected:
                stretch.interrupt()
            try:
                await turn.wait()
                return
            except BaseException:
                if client in self._inside:  # the turn came together with what ended the wait
                    await self._leave(client)
                else:
                    self._waiting.remove((client, turn))
                raise
            finally:
                client.remove_stretch(stretch)
        raise ClientDisconnect("before it was its request's turn")

    async def _leave(self, client: Client) -> None:
        """Give the place to the next; it has it from now on, or another could come between."""
        self._inside.discard(client)
        if self._waiting:
            following, turn = self._waiting.popleft()
            self._inside.add(following)
            turn.set()


def limits(
    max_concurrency: int | ConcurrencyLimit | None,
    max_body_size: int | None,
    middleware: Sequence[MiddlewareEntry] | None,
) -> list[MiddlewareEntry]:
    """A list of middleware, with the limits of its place outside of it."""
    inner = limited(max_body_size, middleware)
    limit = limit_of(max_concurrency)
    if limit is None:
        return inner
    return [Middleware(ConcurrencyLimitMiddleware, limit), *inner]
