"""Every request is asked who it comes from, before anything else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any

from hesper._stack import RequestResponseEndpoint
from hesper.authentication import (
    AuthCredentials,
    AuthenticationBackend,
    AuthenticationError,
    UnauthenticatedUser,
)
from hesper.middleware.base import BaseHTTPMiddleware
from hesper.requests import HTTPConnection, Request
from hesper.responses import PlainTextResponse, Response
from hesper.types import ASGIApp
from hesper.websockets import WebSocket

__all__ = ["AuthenticationMiddleware"]

OnError = Callable[[HTTPConnection[Any], AuthenticationError], Response | Awaitable[Response]]
"""``on_error(conn, exc)``, async or not."""


class AuthenticationMiddleware(BaseHTTPMiddleware):
    """Sets ``auth`` and ``user`` of every request and WebSocket.

    Without an answer from the backend these are no scopes and an ``UnauthenticatedUser``.

    Args:
        app: the ASGI app.
        backend: its ``authenticate(conn)`` is awaited for each of them.
        on_error: makes the response to an ``AuthenticationError``, async or not; it runs in the
            event loop. By default ``default_on_error``, which gives a 400 with the error's text.

    After an ``AuthenticationError`` a WebSocket is closed with 1000, which refuses it with 403;
    ``on_error`` is called there too, and its response is not used.
    """

    def __init__(
        self, app: ASGIApp, backend: AuthenticationBackend, on_error: OnError | None = None
    ) -> None:
        super().__init__(app)
        self.backend = backend
        self.on_error: OnError = self.default_on_error if on_error is None else on_error

    @staticmethod
    def default_on_error(conn: HTTPConnection[Any], exc: Exception) -> Response:
        """A 400 with the error's text."""
        return PlainTextResponse(str(exc), status_code=400)

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        try:
            await self._identify(request)
        except AuthenticationError as exc:
            return await self._refusal(request, exc)
        return await call_next(request)

    async def dispatch_websocket(
        self, websocket: WebSocket, call_next: Callable[[WebSocket], Awaitable[None]]
    ) -> None:
        try:
            await self._identify(websocket)
        except AuthenticationError as exc:
            await self._refusal(websocket, exc)
            await websocket.close()
        else:
            await call_next(websocket)

    async def _identify(self, conn: HTTPConnection[Any]) -> None:
        found = await self.backend.authenticate(conn)
        if found is None:
            found = AuthCredentials(), UnauthenticatedUser()
        conn.scope["auth"], conn.scope["user"] = found

    async def _refusal(self, conn: HTTPConnection[Any], exc: AuthenticationError) -> Response:
        response = self.on_error(conn, exc)
        return await response if isawaitable(response) else response
