"""A limit for the requests that a place works on at a time: 503, before everything gets slow."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from hesper._asgi.incoming import Incoming
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
        self._inside: set[object] = set()
        """What has a place: the client's side of each request, and sockets."""
        self._waiting: deque[Event] = deque()

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        incoming = request._exchange.incoming
        if incoming not in self._inside:  # else a middleware around tries again
            await self._enter(incoming)
            # Not when call_next returns: the body is still to come, and background work after it.
            incoming.at_end += (partial(self._leave, incoming),)
        return await call_next(request)

    async def dispatch_websocket(
        self, websocket: WebSocket, call_next: Callable[[WebSocket], Awaitable[None]]
    ) -> None:
        if len(self._inside) >= self._limit.limit:
            await self._refuse(websocket)
            return
        self._inside.add(websocket)
        try:
            await call_next(websocket)
        finally:
            await self._leave(websocket)

    async def _refuse(self, websocket: WebSocket) -> None:
        if websocket._exchange.can_deny:
            refusal = PlainTextResponse("Service Unavailable", 503, self._headers)
            await websocket.send_denial_response(refusal)
        else:
            await websocket.close(1013)

    @property
    def _headers(self) -> dict[str, str]:
        return {"Retry-After": str(self._limit.retry_after)}

    async def _enter(self, incoming: Incoming) -> None:
        if len(self._inside) < self._limit.limit:
            self._inside.add(incoming)
            return
        if len(self._waiting) >= self._limit.queue:
            raise HTTPException(503, headers=self._headers)
        turn = new_event()
        self._waiting.append(turn)
        with interruptible() as stretch:
            incoming.add_stretch(stretch)
            try:
                await turn.wait()
                self._inside.add(incoming)
                return
            except BaseException:
                if turn in self._waiting:
                    self._waiting.remove(turn)
                else:  # the turn came together with what ended the wait: it is the next one's
                    self._next()
                raise
            finally:
                incoming.remove_stretch(stretch)
        raise ClientDisconnect("before it was its request's turn")

    async def _leave(self, inside: object) -> None:
        self._inside.discard(inside)
        self._next()

    def _next(self) -> None:
        if self._waiting:
            self._waiting.popleft().set()


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
