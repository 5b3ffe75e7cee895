"""``BaseHTTPMiddleware``: a class around ``dispatch(request, call_next)``."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, MutableMapping
from typing import Any

from hesper._stack import (
    DispatchFunction,
    RequestResponseEndpoint,
    Stack,
    check_dispatch,
    serve,
    stack_of,
    wrap,
)
from hesper.exceptions import UsageError
from hesper.requests import Request
from hesper.responses import Response
from hesper.types import ASGIApp, Receive, Scope, Send

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
    and adjacent ones share it: five of them around a FastAPI app bridge once. Other scopes than
    HTTP pass.

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

    def _fold(self) -> Stack:
        if self._folded is None:
            self._folded = wrap(self.dispatch_func, stack_of(self.app))
        return self._folded

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await serve(self._fold(), scope, receive, send)
