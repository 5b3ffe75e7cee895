"""WebSockets, as handlers see them.

Every ``WebSocket`` of one scope, ``receive`` and ``send`` shares one life cycle, so that all see
the same disconnect, the first one that came.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from typing import Any, TypeVar

from hesper._asgi.socket_states import (
    APPLICATION_STATE,
    SocketState,
    WebSocketDisconnect,
    WebSocketDisconnected,
    WebSocketState,
)
from hesper._asgi.websocket import SocketExchange, deny, open_socket
from hesper._connection import HTTPConnection, StateT, app_shuts_down
from hesper.exceptions import UsageError, WebSocketException
from hesper.types import ASGIApp, Message, Receive, Scope, Send

__all__ = [
    "MalformedJSONMessage",
    "UnexpectedMessage",
    "WebSocket",
    "WebSocketClose",
    "WebSocketDisconnect",
    "WebSocketDisconnected",
    "WebSocketState",
]

T = TypeVar("T")


class UnexpectedMessage(WebSocketException, ValueError):
    """The client sent text where bytes were expected, or the reverse. Unhandled it closes 1003."""

    def __init__(self, text: str) -> None:
        super().__init__(1003, text)
        self.args = (text,)


class MalformedJSONMessage(WebSocketException, json.JSONDecodeError):
    """The client sent a message that is not JSON. Unhandled it closes with 1007.

    Args:
        problem: what is wrong with it, for the client to read.
        doc: the message, as text.
        pos: where in it.
    """

    def __init__(self, problem: str, doc: str = "", pos: int = 0) -> None:
        # Not by WebSocketException.__init__, which is not made for a second base with arguments.
        json.JSONDecodeError.__init__(self, problem, doc, pos)
        self.code = 1007
        self.reason = f"Malformed JSON: {problem}."


class WebSocket(HTTPConnection[StateT]):
    """A WebSocket.

    Args:
        scope: an ASGI scope of type "websocket".
        receive: the ASGI ``receive``.
        send: the ASGI ``send``.

    When the client leaves: what it sent before can still be received, then receivers raise
    ``WebSocketDisconnect``, as does every send, at once and for ever; a close does nothing.
    When a call is cancelled the socket is as it was, and nothing that came is lost; what was being
    sent may or may not have left.
    """

    _socket: SocketExchange | None = None
    _disconnect_given = False

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            raise UsageError(f'Expected a scope of type "websocket", got {scope["type"]!r}.')
        self.scope = scope
        self._receive = receive
        self._send = send

    @property
    def _exchange(self) -> SocketExchange:
        if self._socket is None:
            self._socket = open_socket(self.scope, self._receive, self._send)
        return self._socket

    @property
    def client_state(self) -> WebSocketState:
        """Where the client stands; ``DISCONNECTED`` as soon as that is known.

        What it sent before can still be received then.
        """
        exchange = self._exchange
        if exchange.disconnected:
            return WebSocketState.DISCONNECTED
        return WebSocketState.CONNECTED if exchange.connect_taken else WebSocketState.CONNECTING

    @property
    def application_state(self) -> WebSocketState:
        """Where the app stands; ``DISCONNECTED`` when it cannot send any more."""
        return APPLICATION_STATE[self._exchange.state]

    @property
    def disconnected(self) -> bool:
        """Whether the client is gone, as far as is known. Never waits."""
        return self._exchange.disconnected

    async def wait_disconnected(self) -> None:
        """Wait until the client is gone or the app has closed; loses no message.

        What the client sends is kept meanwhile, up to 64 messages or 256 KiB: behind more than that
        the disconnect is not seen until they are received.
        """
        await self._exchange.wait_disconnected()

    @property
    def shutting_down(self) -> bool:
        """Whether the app shuts down. Never waits."""
        return self._exchange.shutting_down or app_shuts_down(self.scope)

    async def wait_shutting_down(self) -> None:
        """Wait until the app shuts down or the socket is over; loses no message.

        Who waits here has the app's grace time to say goodbye. A handler that just waits for its
        client is not asked: the socket is closed with 1012, and it gets ``WebSocketDisconnect``.
        """
        if not app_shuts_down(self.scope):
            await self._exchange.wait_shutting_down()

    # -- the handshake and the end ----------------------------------------------------------------

    async def accept(
        self,
        subprotocol: str | None = None,
        headers: Iterable[tuple[bytes, bytes]] | None = None,
    ) -> None:
        """Grant the handshake.

        Args:
            subprotocol: the one that the app chose of those in ``scope["subprotocols"]``.
            headers: more headers for the answer.

        Raises:
            WebSocketDisconnect: the client left.
            UsageError: the socket was already accepted.
        """
        if not self._exchange.connect_taken:
            await self._exchange.receive()
        raw = [(name.lower(), value) for name, value in headers or ()]
        await self.send({"type": "websocket.accept", "subprotocol": subprotocol, "headers": raw})

    async def close(self, code: int = 1000, reason: str | None = None) -> None:
        """Close the socket; refuse it (403) if it is not accepted; harmless if the client left.

        Args:
            code: the close code (RFC 6455 section 7.4).
            reason: for the client to read, at most 123 bytes of UTF-8.

        It takes 10 seconds at most; a client that has not let it through by then counts as gone.

        Raises:
            WebSocketDisconnected: the app has already closed or refused the socket.
        """
        await self.send({"type": "websocket.close", "code": code, "reason": reason or ""})

    async def send_denial_response(self, response: ASGIApp) -> None:
        """Refuse the handshake with a response; if the client left, nobody gets it.

        Raises:
            WebSocketDisconnected: the app has already closed or refused the socket.
            UsageError: the server has no "websocket.http.response" extension, or the socket was
                accepted.
        """
        await deny(self._exchange, self.scope, response)

    # -- receiving --------------------------------------------------------------------------------

    async def receive(self) -> Message:
        """The next ASGI message, of any kind; ``websocket.disconnect`` is the last.

        Raises:
            WebSocketDisconnected: it was already given.
        """
        if self._disconnect_given:
            raise WebSocketDisconnected(
                'Cannot call "receive" once a disconnect message has been received: '
                'leave the loop when a message has the type "websocket.disconnect".'
            )
        message = await self._exchange.receive()
        self._disconnect_given = message["type"] == "websocket.disconnect"
        return message

    async def receive_text(self) -> str:
        """The next message, which must be a text.

        Raises:
            WebSocketDisconnect: the client left, and this time as every other.
            UnexpectedMessage: it is a binary message.
            WebSocketDisconnected: the socket is not accepted, or the app has closed it.
        """
        exchange = self._exchange
        if exchange.state is not SocketState.ACCEPTED or not exchange.connect_taken:
            await self._check_receives(exchange)
        message = await exchange.receive()
        text: str | None = message.get("text")
        if text is None:
            raise _other_than("text", message)
        return text

    async def receive_bytes(self) -> bytes:
        """The next message, which must be binary. Raises as ``receive_text``."""
        exchange = self._exchange
        if exchange.state is not SocketState.ACCEPTED or not exchange.connect_taken:
            await self._check_receives(exchange)
        message = await exchange.receive()
        data: bytes | None = message.get("bytes")
        if data is None:
            raise _other_than("bytes", message)
        return data

    async def receive_json(self, mode: str = "text") -> Any:
        """The next message as JSON.

        Args:
            mode: "text" or "binary".

        Raises:
            MalformedJSONMessage: it is none, is nested too deeply, or not in UTF-8.
            UsageError: another mode.
            Exception: as ``receive_text``.
        """
        _check_mode(mode)
        data = await (self.receive_text() if mode == "text" else self.receive_bytes())
        return parse_json(data)

    def iter_text(self) -> AsyncGenerator[str, None]:
        """The texts that the client sends, until either side ends the socket."""
        return _Iteration(self._exchange, self.receive_text)

    def iter_bytes(self) -> AsyncGenerator[bytes, None]:
        """The binary messages that the client sends, until either side ends the socket."""
        return _Iteration(self._exchange, self.receive_bytes)

    def iter_json(self) -> AsyncGenerator[Any, None]:
        """The texts that the client sends as JSON, until either side ends the socket."""
        return _Iteration(self._exchange, self.receive_json)

    async def _check_receives(self, exchange: SocketExchange) -> None:
        if exchange.state is not SocketState.ACCEPTED and exchange.state is not SocketState.LOST:
            raise WebSocketDisconnected(_NOT_OPEN[APPLICATION_STATE[exchange.state]])
        if not exchange.connect_taken:
            await exchange.receive()

    # -- sending ----------------------------------------------------------------------------------

    async def send(self, message: Message) -> None:
        """Send an ASGI message.

        Raises:
            WebSocketDisconnect: the client left, before or meanwhile.
            WebSocketDisconnected: the socket is not accepted, or the app has closed it.
            UsageError: the message is not allowed at this point.
        """
        await self._exchange.send(message)

    async def send_text(self, data: str) -> None:
        """Send a text. Raises as ``send``."""
        await self._exchange.send({"type": "websocket.send", "text": data})

    async def send_bytes(self, data: bytes) -> None:
        """Send a binary message. Raises as ``send``."""
        await self._exchange.send({"type": "websocket.send", "bytes": data})

    async def send_json(self, data: Any, mode: str = "text") -> None:
        """Send a value as JSON. Raises as ``send``.

        Args:
            mode: "text" or "binary".
        """
        _check_mode(mode)
        text = _encode_json(data)
        if mode == "text":
            await self.send_text(text)
        else:
            await self.send_bytes(text.encode())


class _Iteration(AsyncGenerator[T, None]):
    """What ``iter_text()`` and its like give; no coroutine of its own, as ``request.stream()``'s."""

    __slots__ = ("_exchange", "_over", "_receive")

    def __init__(self, exchange: SocketExchange, receive: Callable[[], Awaitable[T]]) -> None:
        self._exchange = exchange
        self._receive = receive
        self._over = False

    async def asend(self, value: None) -> T:
        if not self._over and self._exchange.state is not SocketState.CLOSED:
            try:
                return await self._receive()
            except WebSocketDisconnect:
                pass
        self._over = True
        raise StopAsyncIteration

    async def athrow(self, typ: Any, val: Any = None, tb: Any = None) -> T:
        self._over = True
        return await super().athrow(typ, val, tb)


def _other_than(kind: str, message: Message) -> Exception:
    """The error for a message without the wanted data: ASGI WebSocket, "Receive", says that one of
    the two is there and not None."""
    if message["type"] == "websocket.disconnect":
        return WebSocketDisconnect(message["code"], message["reason"])
    other = "bytes" if kind == "text" else "text"
    return UnexpectedMessage(
        f"Expected {_KINDS[kind]}, got {_KINDS[other]} of length {len(message[other])}."
    )


_encode_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

_KINDS = {"text": "a text message", "bytes": "a binary message"}

_NOT_OPEN = {
    WebSocketState.CONNECTING: 'WebSocket is not connected. Need to call "accept" first.',
    WebSocketState.RESPONSE: "WebSocket is not connected: it is being refused with a response.",
    WebSocketState.DISCONNECTED: "WebSocket is not connected: the app has closed or refused it.",
}


def parse_json(text: str | bytes) -> Any:
    """The value that a message stands for.

    Raises:
        MalformedJSONMessage: it stands for none.
    """
    try:
        return json.loads(text if isinstance(text, str) else text.decode())
    except json.JSONDecodeError as exc:
        raise MalformedJSONMessage(exc.msg, exc.doc, exc.pos) from exc
    except UnicodeDecodeError as exc:
        raise MalformedJSONMessage("the text is not UTF-8") from exc
    except RecursionError:
        raise MalformedJSONMessage("it is nested too deeply") from None
    except ValueError as exc:  # an integer of more digits than Python converts
        raise MalformedJSONMessage("a number has too many digits") from exc


def _check_mode(mode: str) -> None:
    if mode not in {"text", "binary"}:
        raise UsageError(f'The "mode" argument should be "text" or "binary", got {mode!r}.')


class WebSocketClose:
    """An ASGI app that closes its WebSocket; before the handshake that refuses it with 403."""

    def __init__(self, code: int = 1000, reason: str | None = None) -> None:
        self.code = code
        self.reason = reason or ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.close", "code": self.code, "reason": self.reason})
