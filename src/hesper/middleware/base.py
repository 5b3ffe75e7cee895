"""``BaseHTTPMiddleware``: a class around ``dispatch(request, call_next)``."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, MutableMapping
from typing import Any

from hesper._build import check_dispatch
from hesper._stack import DispatchFunction, RequestResponseEndpoint, Stack, serve, stack_of, wrap
from hesper.exceptions import UsageError
from hesper.requests import Request
from hesper.responses import Response
from hesper.types import ASGIApp, Receive, Scope, Send
from hesper.websockets import WebSocket

__all__ = [
    "AsyncContentStream",
    "BaseHTTPMiddleware",
    "BodyStreamGenerator",
    "DispatchFunction",
    "RequestResponseEndpoint",
]

BodyStreamGenerator = AsyncGenerator[bytes | MutableMapping[str, Any], None]
AsyncContentStream = AsyncIterable[str | bytes | memoryview | MutableMapping[str, Any]]


class BaseHTTPMiddleware:
    """A middleware as ``async def dispatch(self, request, call_next)``; alone it is an ASGI app.

    Around parts of Hesper ``dispatch`` is a plain call. Around a foreign ASGI app it is a bridge,
    and adjacent ones share it: five of them around a FastAPI app bridge once. WebSockets pass, but
    for those that override ``dispatch_websocket``; other scopes do.

    Args:
        app: the ASGI app that it wraps.
        dispatch: what to do, if the class has no ``dispatch`` of its own.

    Raises:
        UsageError: ``dispatch`` is not async, or does not take two arguments.

    ``call_next(request)`` returns a response, or raises what the inner code raised, or
    ``ClientDisconnect`` if a foreign app gave up because the client left. It may be called again.
    """

    _folded: Stack | None = None

    def __init__(self, app: ASGIApp, dispatch: DispatchFunction | None = None) -> None:
        self.app = app
        self.dispatch_func = check_dispatch(self.dispatch if dispatch is None else dispatch)

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        """Override this; or hand a function to ``__init__``."""
        raise UsageError(
            f"{type(self).__name__} has no dispatch: write "
            "`async def dispatch(self, request, call_next)` in it."
        )

    async def dispatch_websocket(
        self, websocket: WebSocket, call_next: Callable[[WebSocket], Awaitable[None]]
    ) -> None:
        """What to do around a WebSocket; override it if that is more than nothing.

        ``await call_next(websocket)`` runs what lies below to its end, and raises what it raises.
        """
        await call_next(websocket)

    def _fold(self) -> Stack:
        if self._folded is None:
            stack = wrap(self.dispatch_func, stack_of(self.app))
            if type(self).dispatch_websocket is not BaseHTTPMiddleware.dispatch_websocket:
                below = stack.websocket
                around = self.dispatch_websocket
                stack = stack._replace(websocket=lambda websocket: around(websocket, below))
            self._folded = stack
        return self._folded

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await serve(self._fold(), scope, receive, send)
