"""Endpoints as classes: a method for each HTTP method, or for each event of a WebSocket.

The law: an endpoint is an ASGI app, made anew for each connection, and a part of the stack that is
looked through. A subclass with a ``dispatch`` of its own is called as the app that it then is.
"""

from __future__ import annotations

from collections.abc import Generator
from logging import getLogger
from typing import Any, Literal

from hesper._asgi.bodies import GRACE
from hesper._asgi.websocket import tells_of_end
from hesper._concurrency import Grace, interruptible
from hesper._endpoints import no_lifespan, not_a_request, not_a_socket
from hesper._stack import Stack, serve, stack_of
from hesper._utils import is_async_callable
from hesper.background import call_sync
from hesper.exceptions import HTTPException, UsageError
from hesper.requests import Request
from hesper.responses import PlainTextResponse, Response
from hesper.types import Message, Receive, Scope, Send
from hesper.websockets import UnexpectedMessage, WebSocket, parse_json

__all__ = ["HTTPEndpoint", "WebSocketEndpoint"]

logger = getLogger("hesper")

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY")
"""Those that an endpoint may answer: a client cannot call any other method of the class."""


class HTTPEndpoint:
    """A class whose methods answer: ``get``, ``head``, ``post``, ``put``, ``patch``, ``delete``,
    ``options`` and ``query``; ``async def get(self, request)``, or sync, in a worker thread.

    HEAD is answered by ``get`` if there is no ``head``; what the class does not have gets a 405.
    Override ``dispatch`` to do something around all of them.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        _check_type(self, scope, "http")
        self.scope = scope
        self.receive = receive
        self.send = send

    def __await__(self) -> Generator[Any, None, None]:
        return self.dispatch().__await__()

    async def dispatch(self) -> None:
        """Answer the request, as an ASGI app."""
        stack = Stack(self._answer, not_a_socket, no_lifespan)
        await serve(stack, self.scope, self.receive, self.send)

    @classmethod
    def _fold(cls) -> Stack:
        if cls.dispatch is not HTTPEndpoint.dispatch or cls.__await__ is not HTTPEndpoint.__await__:
            return stack_of(cls._run)
        return Stack(cls._fold_answer, not_a_socket, no_lifespan)

    @classmethod
    async def _fold_answer(cls, request: Request[Any]) -> Any:
        endpoint = cls(request.scope, request.receive, request._exchange.send)
        return await endpoint._answer(request)

    @classmethod
    async def _run(cls, scope: Scope, receive: Receive, send: Send) -> None:
        await cls(scope, receive, send)

    async def _answer(self, request: Request[Any]) -> Any:
        handler = self._handler(request.method) or self.method_not_allowed
        if is_async_callable(handler):
            return await handler(request)
        return await call_sync(handler, request)

    def _handler(self, method: str) -> Any:
        if method not in METHODS:
            return None
        handler = getattr(self, method.lower(), None)
        return self._handler("GET") if handler is None and method == "HEAD" else handler

    @property
    def _allowed_methods(self) -> list[str]:
        return [method for method in METHODS if self._handler(method) is not None]

    async def method_not_allowed(self, request: Request[Any]) -> Response:
        """405 with the methods that there are; raised in an app, for its exception handlers."""
        headers = {"Allow": ", ".join(self._allowed_methods)}
        if "app" in self.scope:
            raise HTTPException(405, headers=headers)
        return PlainTextResponse("Method Not Allowed", 405, headers)


class WebSocketEndpoint:
    """A class whose methods are told what happens to a WebSocket.

    Once the socket was accepted or ``on_connect`` has returned, ``on_disconnect`` is called, one
    time, whatever ends the socket: with the code of whoever closed it, or with 1011 if the endpoint
    raised, or was cancelled while the client was there. A cancellation reaches the endpoint once;
    ``on_disconnect`` may then still await for 5 seconds.
    """

    encoding: Literal["text", "bytes", "json"] | None = None
    """What ``on_receive`` is given: texts, bytes, or what either says as JSON; None: whatever comes.
    A client that sends the other kind is closed with 1003, one that sends no JSON with 1007."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        _check_type(self, scope, "websocket")
        self.scope = scope
        self.receive = receive
        self.send = send

    def __await__(self) -> Generator[Any, None, None]:
        return self.dispatch().__await__()

    async def dispatch(self) -> None:
        """Serve the socket, as an ASGI app."""
        stack = Stack(not_a_request, self._converse, no_lifespan)
        await serve(stack, self.scope, self.receive, self.send)

    @classmethod
    def _fold(cls) -> Stack:
        base = WebSocketEndpoint
        if cls.dispatch is not base.dispatch or cls.__await__ is not base.__await__:
            return stack_of(cls._run)
        return Stack(not_a_request, cls._fold_converse, no_lifespan)

    @classmethod
    async def _fold_converse(cls, websocket: WebSocket[Any]) -> None:
        exchange = websocket._exchange
        await cls(websocket.scope, exchange.receive, exchange.send)._converse(websocket)

    @classmethod
    async def _run(cls, scope: Scope, receive: Receive, send: Send) -> None:
        await cls(scope, receive, send)

    async def _converse(self, websocket: WebSocket[Any]) -> None:
        exchange = websocket._exchange
        socket = _Socket(websocket.scope, exchange.receive, exchange.send)
        # Around everything: a scope that on_connect opens and on_disconnect closes lies within the
        # one that gives on_disconnect its time.
        with interruptible() as stretch:
            grace = Grace(stretch, GRACE)
            try:
                with grace:
                    await grace.run(self._listen(socket, grace))
                    _go_on(grace)
            finally:
                if grace.exceeded:
                    logger.warning("on_disconnect was cut: it took longer than %s seconds.", GRACE)

    async def _listen(self, websocket: _Socket, grace: Grace) -> None:
        code = 1011
        connected = False
        try:
            await self.on_connect(websocket)
            connected = True
            while True:
                _go_on(grace)
                message = await websocket.receive()
                if message["type"] == "websocket.receive":
                    await self.on_receive(websocket, await self.decode(websocket, message))
                elif message["type"] == "websocket.disconnect":
                    code = message["code"]
                    break
        except BaseException as exc:
            exchange = websocket._exchange
            if exchange.over and (not isinstance(exc, Exception) or tells_of_end(exc)):
                code = exchange.disconnect["code"]
            raise
        finally:
            if connected or websocket.accepted:
                await self.on_disconnect(websocket, code)

    async def decode(self, websocket: WebSocket[Any], message: Message) -> Any:
        """What ``on_receive`` is given for a message "websocket.receive".

        Raises:
            UnexpectedMessage: the client sent the other kind than ``encoding``.
            MalformedJSONMessage: it sent what is no JSON.
            UsageError: there is no such ``encoding``.
        """
        encoding = self.encoding
        if encoding is None or encoding == "json":
            # ASGI WebSocket, "Receive": one of the two is there and not None.
            data = message["bytes"] if message.get("text") is None else message["text"]
            return data if encoding is None else parse_json(data)
        if encoding not in ("text", "bytes"):
            raise UsageError(
                f"Unsupported 'encoding' attribute {encoding!r} of {type(self).__name__}: expected "
                "'text', 'bytes', 'json' or None. For another one override decode()."
            )
        if message.get(encoding) is None:
            other = "text" if encoding == "bytes" else "bytes"
            raise UnexpectedMessage(f"Expected {encoding} websocket messages, but got {other}.")
        return message[encoding]

    async def on_connect(self, websocket: WebSocket[Any]) -> None:
        """The client asks for the handshake. Override it to refuse, or to do more than accept."""
        await websocket.accept()

    async def on_receive(self, websocket: WebSocket[Any], data: Any) -> None:
        """A message came."""

    async def on_disconnect(self, websocket: WebSocket[Any], close_code: int) -> None:
        """The socket is over."""


class _Socket(WebSocket[Any]):
    """A WebSocket that knows whether it was accepted, also when it is over."""

    accepted = False

    async def send(self, message: Message) -> None:
        await super().send(message)
        self.accepted = self.accepted or message["type"] == "websocket.accept"


def _go_on(grace: Grace) -> None:
    """Raise the cancellation that the endpoint swallowed, or a task group of its own on trio."""
    cancelled = grace.settle()
    try:
        if cancelled is not None:
            raise cancelled
    finally:
        cancelled = None  # its traceback holds this frame


def _check_type(endpoint: object, scope: Scope, kind: str) -> None:
    if scope["type"] != kind:
        raise UsageError(
            f"Expected a scope of type {kind!r} for the endpoint {type(endpoint).__name__}, got "
            f"{scope['type']!r}."
        )
