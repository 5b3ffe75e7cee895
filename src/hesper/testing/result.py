"""What a scripted exchange recorded.

The law: a `Result` states facts of one exchange, and judges nothing. What the application did, when
it did it, and what of it the client could have seen; whether that was right is the test's affair.
"""

from dataclasses import dataclass, field
from typing import Literal

from hesper.types import Message


@dataclass(slots=True)
class Sent:
    """One call to `send`."""

    message: Message
    """What was sent; the application's own object."""

    step: int
    """The place in `Result.log`."""

    time: float
    """Seconds since the application was called, on the event loop's clock."""

    after_leave: bool
    """Whether the client had already left."""

    delivered: bool = False
    """Whether the client got it."""

    error: BaseException | None = None
    """What the call raised; the cancellation, if it was cancelled."""


@dataclass(slots=True, kw_only=True)
class Result:
    """What happened in one exchange."""

    sent: list[Sent]
    """Every call to `send`, in order."""

    log: list[str]
    """Every event in order, to read when a test fails; `Sent.step` is an index into it."""

    ended: Literal["not called", "running", "returned", "raised", "cancelled"] = "running"
    """How the call of the application ended; ``"not called"`` if the server never called it."""

    raised: BaseException | None = None
    """The exception that came out of the application; a cancellation only if nobody had asked."""

    client_left: bool = False
    """Whether the client left (or closed its sending side) before the exchange was over."""

    server_cancelled: bool = False
    """Whether the server cancelled the application."""

    complete: bool = False
    """Whether the client got the last message of the response (for a WebSocket: its close)."""

    truncated_as_complete: bool = False
    """Whether the client was given a broken body as a whole one: the last message was delivered,
    although one before it was not, or the body is shorter than its Content-Length."""

    status: int | None = None
    """The status the client got; 403 for a WebSocket closed before it was accepted."""

    raw_headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    """The headers the client got (of the response, the handshake, or the denial)."""

    body: bytes = b""
    """The body the client got, joined."""

    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)
    """The trailers the client got."""

    accepted: bool = False
    """Whether the WebSocket was accepted."""

    subprotocol: str | None = None
    """The subprotocol the application chose."""

    frames: list[str | bytes] = field(default_factory=list)
    """What a WebSocket client got, text as str and binary as bytes."""

    close_code: int | None = None
    """The code of the application's close that the client got."""

    close_reason: str | None = None
    """The reason of that close."""

    violations: list[str] = field(default_factory=list)
    """A sentence for each breach of the ASGI specification."""

    continued: bool = False
    """Whether ``100 Continue`` was sent."""

    receives: int = 0
    """How many times `receive` was called."""

    pending_receives: int = 0
    """How many calls to `receive` were still open when the application ended."""

    concurrent_receives: int = 0
    """The greatest number of calls to `receive` open at once."""

    receives_cancelled: int = 0
    """How many calls to `receive` the application cancelled."""

    receive_cancelled: bool = False
    """Whether it cancelled one although it was not about to return: it called `receive` or `send`
    again later."""

    told: bool = False
    """Whether the application knew that the client had left: `receive` or `send` said so before the
    response was complete."""

    sends_after_leave: int = 0
    """Calls to `send` after the client had left, known or not."""

    sends_after_disconnect: int = 0
    """Calls to `send` after the application had been told."""

    receives_after_disconnect: int = 0
    """Calls to `receive` after one had given a disconnect."""

    duration: float = 0.0
    """Seconds from the call of the application to its end, on the event loop's clock."""

    @property
    def messages(self) -> list[Message]:
        """Everything that was sent, in order."""
        return [entry.message for entry in self.sent]

    @property
    def types(self) -> list[str]:
        """The types of everything that was sent, in order."""
        return [str(entry.message.get("type")) for entry in self.sent]

    @property
    def headers(self) -> dict[str, str]:
        """The headers the client got; a name that came twice has its values joined with ", "."""
        joined: dict[str, str] = {}
        for raw_name, raw_value in self.raw_headers:
            name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
            joined[name] = f"{joined[name]}, {value}" if name in joined else value
        return joined

    @property
    def text(self) -> str:
        """The body the client got, as UTF-8."""
        return self.body.decode()
