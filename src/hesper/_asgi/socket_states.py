"""The life cycle of a WebSocket: two tables, one for each direction, and what breaks off a call.

The rules:

1. What is not in a table is not allowed: it raises, and the text says what was expected.
2. The state moves when a message is handed over, not when the server has taken it: of two tasks
   that close at the same time the second is told.
3. ``LOST`` is for ever, and takes everything: a ``close`` is harmless there, the rest raises
   ``WebSocketDisconnect``. After an own close the client's leaving is no news: ``CLOSED`` stays.
4. ``BROKEN`` means that a denial could not be sent whole: nothing follows, and above all no end.

    Exception
    ├── OSError
    │   └── ClientDisconnect
    │       └── WebSocketDisconnect      the client left: nobody's fault
    └── RuntimeError
        └── UsageError
            └── WebSocketDisconnected    the socket is not open: the app's mistake
"""

from __future__ import annotations

from enum import Enum, auto

from hesper.exceptions import ClientDisconnect, ServerProtocolError, UsageError
from hesper.types import Message


class WebSocketDisconnect(ClientDisconnect):
    """The WebSocket is over, because the other side left.

    Raised by whatever receives data, and by sends, at once and on every further call. Uncaught, it
    ends the socket quietly. It is an ``OSError``, which the ASGI specification asks of a ``send``
    ("Disconnected Client - send exception"), so that other frameworks' apps know it.

    Args:
        code: the close code, as the server tells it: 1005 and 1006 both mean "lost or not said".
        reason: the client's reason, which only some servers pass on.
    """

    def __init__(self, code: int = 1000, reason: str | None = None) -> None:
        super().__init__()
        self.code = code
        self.reason = reason or ""
        self.args = (code, self.reason)

    def __str__(self) -> str:
        return f"{self.code}: {self.reason}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}(code={self.code!r}, reason={self.reason!r})"


class WebSocketDisconnected(UsageError):
    """The app used a WebSocket that it has not accepted, or has closed or refused."""


class WebSocketState(Enum):
    """Where one side of a WebSocket stands."""

    __hash__ = object.__hash__  # Enum's own is a Python function: 0.2 µs a look-up in the tables

    CONNECTING = 0
    """Before the handshake."""
    CONNECTED = 1
    """The client has asked; the app has accepted."""
    DISCONNECTED = 2
    """Over."""
    RESPONSE = 3
    """The app is refusing with an HTTP response."""


class SocketState(Enum):
    """What the app has done, and whether there is anybody to do it for."""

    __hash__ = object.__hash__

    CONNECTING = auto()
    """Nothing yet: the handshake can be accepted, or refused with any response."""
    ACCEPTED = auto()
    """The socket is open."""
    DENYING = auto()
    """A refusal is being sent as an HTTP response."""
    CLOSED = auto()
    """The app has closed or refused."""
    LOST = auto()
    """The client left before the app had closed."""
    BROKEN = auto()
    """The refusal failed halfway."""


class SocketEvent(Enum):
    """What a ``send`` message, its failure, or the client's leaving means."""

    __hash__ = object.__hash__

    ACCEPT = auto()
    SEND = auto()
    CLOSE = auto()
    DENY = auto()
    DENY_CHUNK = auto()
    DENY_LAST_CHUNK = auto()
    LEFT = auto()
    FAILED = auto()
    GOODBYE = auto()
    """A shutdown has closed it: the app hears of that as if the client had left."""


SOCKET: dict[tuple[SocketState, SocketEvent], SocketState] = {
    (SocketState.CONNECTING, SocketEvent.ACCEPT): SocketState.ACCEPTED,
    (SocketState.CONNECTING, SocketEvent.CLOSE): SocketState.CLOSED,
    (SocketState.CONNECTING, SocketEvent.DENY): SocketState.DENYING,
    (SocketState.CONNECTING, SocketEvent.LEFT): SocketState.LOST,
    (SocketState.ACCEPTED, SocketEvent.SEND): SocketState.ACCEPTED,
    (SocketState.ACCEPTED, SocketEvent.CLOSE): SocketState.CLOSED,
    (SocketState.ACCEPTED, SocketEvent.LEFT): SocketState.LOST,
    # A frame that failed, or was cancelled, may or may not have left. The socket is as it was.
    (SocketState.ACCEPTED, SocketEvent.FAILED): SocketState.ACCEPTED,
    (SocketState.DENYING, SocketEvent.DENY_CHUNK): SocketState.DENYING,
    (SocketState.DENYING, SocketEvent.DENY_LAST_CHUNK): SocketState.CLOSED,
    (SocketState.DENYING, SocketEvent.LEFT): SocketState.LOST,
    (SocketState.DENYING, SocketEvent.FAILED): SocketState.BROKEN,
    (SocketState.CLOSED, SocketEvent.LEFT): SocketState.CLOSED,
    (SocketState.CLOSED, SocketEvent.FAILED): SocketState.CLOSED,
    (SocketState.CLOSED, SocketEvent.GOODBYE): SocketState.LOST,
    (SocketState.DENYING, SocketEvent.GOODBYE): SocketState.BROKEN,
    (SocketState.BROKEN, SocketEvent.LEFT): SocketState.LOST,
    (SocketState.BROKEN, SocketEvent.FAILED): SocketState.BROKEN,
    (SocketState.BROKEN, SocketEvent.GOODBYE): SocketState.BROKEN,
} | {(SocketState.LOST, event): SocketState.LOST for event in SocketEvent}

CLIENT: dict[tuple[WebSocketState, str], WebSocketState] = {
    (WebSocketState.CONNECTING, "websocket.connect"): WebSocketState.CONNECTED,
    (WebSocketState.CONNECTING, "websocket.disconnect"): WebSocketState.DISCONNECTED,
    (WebSocketState.CONNECTED, "websocket.receive"): WebSocketState.CONNECTED,
    (WebSocketState.CONNECTED, "websocket.disconnect"): WebSocketState.DISCONNECTED,
}

APPLICATION_STATE = {
    SocketState.CONNECTING: WebSocketState.CONNECTING,
    SocketState.ACCEPTED: WebSocketState.CONNECTED,
    SocketState.DENYING: WebSocketState.RESPONSE,
    SocketState.CLOSED: WebSocketState.DISCONNECTED,
    SocketState.LOST: WebSocketState.DISCONNECTED,
    SocketState.BROKEN: WebSocketState.DISCONNECTED,
}

_EVENTS = {
    "websocket.accept": SocketEvent.ACCEPT,
    "websocket.send": SocketEvent.SEND,
    "websocket.close": SocketEvent.CLOSE,
    "websocket.http.response.start": SocketEvent.DENY,
}

_EXPECTED = {
    SocketState.CONNECTING: (
        'Expected ASGI message "websocket.accept", "websocket.close" or '
        '"websocket.http.response.start", but got {!r}: call accept() first.'
    ),
    SocketState.ACCEPTED: (
        'Expected ASGI message "websocket.send" or "websocket.close", but got {!r}: '
        "the WebSocket is accepted already, so it can be closed but not be refused."
    ),
    SocketState.DENYING: (
        'Expected ASGI message "websocket.http.response.body", but got {!r}: '
        "the WebSocket is being refused with an HTTP response, which has to be ended."
    ),
    SocketState.CLOSED: (
        'Cannot call "send" once a close message has been sent, but got {!r}: '
        "the app has closed or refused the WebSocket. Look at application_state before."
    ),
    SocketState.LOST: 'Expected an ASGI message such as "websocket.send", but got {!r}.',
    SocketState.BROKEN: (
        "Expected nothing more, but got {!r}: the response that refuses the WebSocket "
        "could not be sent whole."
    ),
}


def next_socket_state(state: SocketState, message: Message) -> SocketState:
    """The state that a message leads to.

    Raises:
        WebSocketDisconnected: the socket is not accepted yet, or not open any more.
        UsageError: the ASGI specification does not allow the message here.
    """
    try:
        return SOCKET[state, _event(message)]
    except KeyError:
        pass
    unaccepted = state is SocketState.CONNECTING and message["type"] == "websocket.send"
    closed = state is SocketState.CLOSED or state is SocketState.BROKEN
    error = WebSocketDisconnected if unaccepted or closed else UsageError
    raise error(_EXPECTED[state].format(message["type"]))


def _event(message: Message) -> SocketEvent:
    if message["type"] == "websocket.http.response.body":
        more = message.get("more_body", False)
        return SocketEvent.DENY_CHUNK if more else SocketEvent.DENY_LAST_CHUNK
    return _EVENTS[message["type"]]


def next_client_state(state: WebSocketState, message: Message) -> WebSocketState:
    """The state that a message of the server's ``receive`` leads to.

    Raises:
        ServerProtocolError: the ASGI specification does not allow the message here.
    """
    try:
        return CLIENT[state, message["type"]]
    except KeyError:
        allowed = " or ".join(f'"{kind}"' for known, kind in CLIENT if known is state)
        raise ServerProtocolError(
            f"Expected ASGI message {allowed} from the server's receive, "
            f"but got {message['type']!r}."
        ) from None
