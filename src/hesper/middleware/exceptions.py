"""Exceptions as answers: the handlers of an application, and a middleware around them.

The law: a handler is found by the status of an ``HTTPException`` first, then by class along the
MRO. An exception without a handler comes out as the same object. That a client left reaches only a
handler that asks for just that: it is not an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import isawaitable
from typing import Any

from hesper._asgi.websocket import conduct_socket
from hesper._utils import is_async_callable
from hesper.background import call_sync
from hesper.exceptions import ClientDisconnect, HTTPException, UsageError, WebSocketException
from hesper.requests import Request
from hesper.responses import PlainTextResponse, Response
from hesper.types import ASGIApp, Receive, Scope, Send
from hesper.websockets import WebSocket, WebSocketState

__all__ = ["ExceptionHandlers", "ExceptionMiddleware"]

Key = int | type[Exception]
Handler = Callable[[Any, Any], Any]
"""``handler(request, exc)``, async or not; gives a response, or ends the WebSocket it is given."""

CACHE_SIZE = 256
"""Exception classes whose handler is remembered: an application raises few, but may make more."""


def _response_of(exc: HTTPException) -> Response:
    # RFC 9110 sections 15.3.5 and 15.4.5: these have no content.
    if exc.status_code in {204, 304}:
        return Response(status_code=exc.status_code, headers=exc.headers)
    return PlainTextResponse(exc.detail, status_code=exc.status_code, headers=exc.headers)


async def _http_exception(request: Request[Any], exc: HTTPException) -> Response:
    return _response_of(exc)


async def _websocket_exception(websocket: WebSocket[Any], exc: WebSocketException) -> None:
    if websocket.application_state is not WebSocketState.DISCONNECTED:
        await websocket.close(code=exc.code, reason=exc.reason)


class ExceptionHandlers:
    """What an application does with exceptions, as values.

    Args:
        handlers: by status code or exception class.
        server_errors: whether 500 and ``Exception`` are set apart, as ``server_error``.
        http: what answers an ``HTTPException`` without a handler.
        websocket: what answers a ``WebSocketException`` without a handler.

    Raises:
        UsageError: a key is neither a status code nor an exception class, or a handler cannot be
            called.
    """

    server_error: Handler | None = None
    """The handler for 500 or ``Exception``, the last one if there are both: for the layer that
    answers what nothing else does."""

    def __init__(
        self,
        handlers: Mapping[Any, Handler],
        *,
        server_errors: bool = True,
        http: Handler = _http_exception,
        websocket: Handler = _websocket_exception,
    ) -> None:
        self._handlers: dict[Key, Handler] = {}
        self._defaults: dict[type, Handler] = {HTTPException: http, WebSocketException: websocket}
        self._found: dict[type, Handler | None] = {}
        for key, handler in handlers.items():
            if server_errors and key in (500, Exception):
                self.server_error = _checked(key, handler)
            else:
                self.add(key, handler)

    def add(self, key: Key, handler: Handler) -> None:
        """Add or replace a handler. Raises UsageError as the constructor."""
        self._handlers[key] = _checked(key, handler)
        self._found.clear()

    def find(self, exc: Exception) -> Handler | None:
        """The handler for an exception; ``server_error`` is none."""
        if isinstance(exc, HTTPException):
            handler = self._handlers.get(exc.status_code)
            if handler is not None:
                return handler
        kind = type(exc)
        try:
            return self._found[kind]
        except KeyError:
            handler = self._search(kind)
            if len(self._found) < CACHE_SIZE:
                self._found[kind] = handler
            return handler

    def has_own(self, exc: Exception) -> bool:
        """Whether a handler was registered for an exception: not one of the defaults."""
        handler = self.find(exc)
        return handler is not None and handler not in self._defaults.values()

    def _search(self, kind: type) -> Handler | None:
        """Along the MRO. A default steps back behind a handler for another base of ``kind``."""
        default: type | None = None
        # What a client's leaving has in common with errors does not make it one.
        skipped = ClientDisconnect.__mro__[1:] if issubclass(kind, ClientDisconnect) else ()
        for base in kind.__mro__:
            if base in skipped or (default is not None and issubclass(default, base)):
                continue
            if base in self._handlers:
                return self._handlers[base]
            if base in self._defaults:
                default = base
        return None if default is None else self._defaults[default]

    async def answer(self, request: Request[Any], exc: Exception) -> Any:
        """The answer to a request: a response, or any ASGI app that a handler gives.

        Raises:
            UsageError: the handler gave no answer; it says which handler.
            Exception: ``exc`` itself if it has no handler, or what the handler raised.
        """
        handler = self.find(exc)
        if handler is None or handler == self._defaults[WebSocketException]:
            raise exc
        return await answer_of(handler, request, exc)

    async def answer_socket(self, websocket: WebSocket[Any], exc: Exception) -> bool:
        """Let a handler end a socket; False if there is none, and ``exc`` is to be raised.

        A response that the handler gives refuses the handshake, with 403 in its place if the server
        can do no other. After the handshake it cannot be given, and ``exc`` is to be raised.
        """
        handler = self.find(exc)
        if handler is None:
            return False
        response = await _call(handler, websocket, exc)
        if response is None:
            return True
        if websocket.application_state is not WebSocketState.CONNECTING:
            return websocket.disconnected
        if websocket._exchange.can_deny:
            await websocket.send_denial_response(response)
        else:
            await websocket.close()
        return True


async def answer_of(handler: Handler, request: Request[Any], exc: Exception) -> Any:
    """What a handler gives, if that can be an answer.

    Raises:
        UsageError: it cannot; the text names the handler.
    """
    answer = await _call(handler, request, exc)
    if not callable(answer):
        name = getattr(handler, "__qualname__", None) or repr(handler)
        raise UsageError(
            f"No response returned: expected the exception handler {name} for "
            f"{type(exc).__name__} to return a Response, got {answer!r:.80}. "
            "Add a `return` with a response to it."
        ) from exc
    return answer


async def _call(handler: Handler, connection: Any, exc: Exception) -> Any:
    if is_async_callable(handler):
        return await handler(connection, exc)
    return await call_sync(handler, connection, exc)


def _checked(key: object, handler: Handler) -> Handler:
    is_class = isinstance(key, type) and issubclass(key, Exception)
    if not is_class and not isinstance(key, int):
        raise UsageError(
            f"Expected a status code or a subclass of Exception as the key of an exception "
            f"handler, got {key!r}."
        )
    if not callable(handler):
        raise UsageError(
            f"Expected the exception handler for {key!r} to be a function "
            f"`handler(request, exc)`, got {handler!r}."
        )
    return handler


class ExceptionMiddleware:
    """Exception handlers around an ASGI app.

    An application has them without it: this is for a part of one, or for a foreign app.

    Args:
        app: the ASGI app.
        handlers: by status code or exception class, ``handler(request, exc)``.
        debug: Starlette's parameter; nothing depends on it here.

    An exception without a handler, or one after the response has started, comes out as it is.
    """

    def __init__(
        self, app: ASGIApp, handlers: Mapping[Any, Handler] | None = None, debug: bool = False
    ) -> None:
        self.app = app
        self.debug = debug
        self._handlers = ExceptionHandlers(
            handlers or {},
            server_errors=False,
            http=self._http_exception,
            websocket=self.websocket_exception,
        )

    def add_exception_handler(
        self, exc_class_or_status_code: int | type[Exception], handler: Handler
    ) -> None:
        """Add or replace a handler.

        Raises:
            UsageError: the key is neither a status code nor an exception class.
        """
        self._handlers.add(exc_class_or_status_code, handler)

    def http_exception(self, request: Request[Any], exc: HTTPException) -> Any:
        """The response to an ``HTTPException`` without a handler. Override it, async or not; it
        runs in the event loop."""
        return _response_of(exc)

    async def _http_exception(self, request: Request[Any], exc: HTTPException) -> Any:
        response = self.http_exception(request, exc)
        return await response if isawaitable(response) else response

    async def websocket_exception(self, websocket: WebSocket[Any], exc: WebSocketException) -> None:
        """End a socket after a ``WebSocketException`` without a handler: with its code."""
        await _websocket_exception(websocket, exc)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the app, and answer what it raises."""
        # Below us in the layers, but it needs the handlers of this module.
        from hesper._stack import serve, stack_of

        if scope["type"] == "websocket":
            websocket: WebSocket[Any] = WebSocket(scope, receive, send)
            handler = stack_of(self.app).websocket
            answer = self._handlers.answer_socket
            await conduct_socket(handler, websocket, websocket._exchange, answer)
        else:
            await serve(stack_of(self.app), scope, receive, send, self._handlers.answer)
