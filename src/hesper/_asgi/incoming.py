"""What comes from the client: the body and the disconnect, read from the server by one pump.

The rules, each of which some server needs (``docs/explanation/design.md`` names them):

1. One pump calls ``receive``, nobody else. It is never cancelled before the app is about to return:
   cancelling a server's ``receive`` loses body bytes (granian, anycorn) or invents a disconnect
   (gunicorn).
2. The pump starts when the body is asked for or the handler first suspends: a request that does
   neither pays for no task. With ``Expect: 100-continue`` only asking starts it, because a
   ``receive`` sends the 100 on most servers; once a response is under way it does not, and rule 3
   counts.
3. The pump reads ahead into a bounded buffer while the handler may still want the body. Once a
   response is under way and nobody has begun to read, or the handler has ended without reading on,
   it discards, up to a limit: a disconnect is invisible behind unread bytes, and hypercorn deadlocks
   on them.
4. The disconnect is sticky. After it ``receive`` is not called again: hypercorn and daphne hang.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from hesper._asgi.states import (
    COMPLETE,
    CUT,
    EXPECTING,
    GONE,
    REQUEST,
    RequestEvent,
    RequestState,
)
from hesper._concurrency import Child, Event, Interruptible, checkpoint, new_event, spawn
from hesper.exceptions import ClientDisconnect, HTTPException, ServerProtocolError, UsageError
from hesper.types import Message, Receive, Scope

BUFFER_SIZE = 256 * 1024
"""Bytes of request body that the pump reads ahead of the handler: four of uvicorn's own buffers."""

DISCARD_LIMIT = 64 * 1024 * 1024
"""Bytes of unwanted request body that are read and dropped while a response is under way."""

MAX_DIGITS = 18
"""Digits of a content length that are read: ``int`` refuses thousands of them, and takes long."""

QUIET_CHECKPOINTS = 8
"""Turns of the loop without news after which ``is_disconnected`` takes the client to be there: two
for a receive that yields before it answers (trio), three for each of two foreign middlewares that
receive in a task of their own (Starlette's does). They cost 20 µs, where Starlette's poll costs 15;
``disconnected`` costs nothing."""


DISCONNECT: Message = {"type": "http.disconnect"}
"""What is said of a client that left, where the server has not said it; whoever gives it copies it."""


def content_too_large() -> HTTPException:
    """413, by the name that RFC 9110 gives it; Python has the older one before 3.13."""
    return HTTPException(413, "Content Too Large")


class Incoming:
    """The client's side of one HTTP request, shared by every layer that looks at it.

    Slots, each set, for the reason that ``Exchange`` gives.
    """

    __slots__ = (
        "_arrivals",
        "_buffered",
        "_deaf",
        "_discarded",
        "_error",
        "_headers",
        "_idle",
        "_messages",
        "_news",
        "_pumping",
        "_readers",
        "_receive",
        "_received",
        "_stretches",
        "_watching",
        "at_end",
        "body",
        "body_limit",
        "closed",
        "disconnect",
        "disconnected",
        "form",
        "heard",
        "listens",
        "owned",
        "pump",
        "responded",
        "responding",
        "room",
        "shutting_down",
        "state",
        "taken",
        "unwanted",
    )

    def __init__(self, scope: Scope, receive: Receive) -> None:
        # Not the scope itself: it holds the exchange, and a cycle would wait for the collector.
        self._headers: Sequence[tuple[bytes, bytes]] = scope.get("headers", ())
        self._receive = receive

        self.state: RequestState = EXPECTING
        self.disconnected = False
        """Whether the server has said that the client left. Never waits; may be read in a thread."""
        self.disconnect = DISCONNECT
        """The server's own words for it, once it has said so."""
        self.body: bytes | None = None
        """The whole body, once somebody has asked for it whole."""
        self.form: Any = None
        """The body as a form, once somebody has asked for that."""
        self.body_limit: int | None = None
        """Bytes that the body may have; None for no limit."""
        self.taken = False
        """Whether somebody has begun to take the body as a stream."""
        self.responding = False
        """Whether a response is under way (rule 3)."""
        self.unwanted = False
        """Whether nobody reads any more: the handler has ended, and its response is whole."""
        self.responded = False
        """Whether the response is whole: a disconnect says no more than that now (ASGI HTTP,
        "Disconnect - receive event"), and comes on most servers though the client is there."""
        self.closed = False
        """Whether the response has ended: nothing more is received."""
        self.owned = True
        """Whether a rim will close it; a request that was made outside of one has none."""
        self.shutting_down = False
        """Whether the app has said that it shuts down."""
        self.listens = False
        """Whether somebody has waited for the shutdown, who brings himself to an end when it comes."""
        self.heard = False
        """Whether somebody listened when it came."""
        self.at_end: tuple[Callable[[], Awaitable[None]], ...] = ()
        """What is called when the request is over, background work included: files are closed."""

        self.pump: Child | None = None
        """The task that receives, once it was needed."""
        self.room: Event | None = None
        """What the pump waits on while the buffer is full."""

        self._messages: deque[Message] | None = None
        self._received = 0
        self._buffered = 0
        self._discarded: int | None = None
        self._readers = 0
        self._watching = False
        self._pumping = False
        self._deaf = False
        self._news: Event | None = None
        self._error: Exception | None = None
        self._arrivals = 0
        self._stretches: tuple[Interruptible, ...] = ()
        self._idle: tuple[Interruptible, ...] = ()

    @property
    def quiet(self) -> bool:
        """Whether nothing is waited for, or is to be undone: the body has come whole, or nobody has
        asked for it."""
        if self._pumping or self.at_end or self.disconnected or self._news is not None:
            return False
        return self.state is COMPLETE or (self._arrivals == 0 and not self._deaf)

    # -- the pump -------------------------------------------------------------------------------

    def watch(self) -> None:
        """Begin to watch for the disconnect; costs nothing when called again."""
        if self._watching:
            return
        if self.state is EXPECTING and not self.responding and self._expects_continue():
            return  # rule 2
        self._watching = True
        self._start_pump()

    def _expects_continue(self) -> bool:
        return any(name == b"expect" for name, _ in self._headers)

    def _start_pump(self) -> None:
        if not self._pumping and self._wanted():
            self._pumping = True
            self.pump = spawn(self._run_pump())

    def _wanted(self) -> bool:
        if self.closed or self.disconnected or self._deaf:
            return False
        return self.state is EXPECTING or self._watching

    async def _run_pump(self) -> None:
        try:
            while self._wanted():
                if self._full():
                    self.room = new_event()
                    await self.room.wait()
                else:
                    self._arrived(await self._receive())
        except OSError:
            self.lost()
        except Exception as exc:  # a wrapped receive may raise for the reader: HTTPException(413)
            self._error = exc
            self._deaf = True
        finally:
            self._pumping = False
            self.wake()

    def _full(self) -> bool:
        if self._buffered < BUFFER_SIZE or self._readers:
            return False
        if not self.responding or (self.taken and not self.unwanted):
            return True
        if self._discarded is None:  # rule 3
            self._discarded = self._buffered
            self._messages = None
        return self._discarded >= DISCARD_LIMIT

    def _arrived(self, message: Message) -> None:
        self._arrivals += 1
        if self.disconnected:  # a failed send told of it first
            return
        if message["type"] == "http.disconnect":
            if self.responded:
                self._deaf = True
            else:
                self.lost(message)
            return
        if message["type"] != "http.request":
            raise ServerProtocolError(
                "Expected 'http.request' or 'http.disconnect' from the server's receive, "
                f"got {message['type']!r}."
            )
        if self.state is COMPLETE:
            # A receive that repeats the body cannot tell of a disconnect: it is not asked again.
            self._deaf = True
            return
        size = len(message.get("body", b""))
        self._received += size
        last = not message.get("more_body", False)
        self.state = REQUEST[self.state, RequestEvent.LAST_CHUNK if last else RequestEvent.CHUNK]
        if self._discarded is not None:
            self._discarded += size
        else:
            if self._messages is None:
                self._messages = deque()
            self._messages.append(message)
            self._buffered += size
        self.wake()

    def lost(self, message: Message | None = None) -> None:
        """The client has left: let all know, and interrupt what works for it alone."""
        if not self.disconnected:
            self.disconnected = True
            if message is not None:
                self.disconnect = message
            self.state = REQUEST[self.state, RequestEvent.DISCONNECT]
            for stretch in self._stretches:
                stretch.interrupt()
        self.wake()

    def add_stretch(self, stretch: Interruptible) -> None:
        """From here on the disconnect interrupts ``stretch``."""
        self._stretches = (*self._stretches, stretch)

    def remove_stretch(self, stretch: Interruptible) -> None:
        """From here on it does not."""
        self._stretches = tuple(other for other in self._stretches if other is not stretch)

    # -- the shutdown ---------------------------------------------------------------------------

    def shut_down(self) -> None:
        """The app shuts down: let all know, and interrupt what has nothing better to do."""
        if self.shutting_down:
            return
        self.shutting_down = True
        self.heard = self.listens
        if not self.heard:
            for stretch in self._idle:
                stretch.interrupt()
        self.wake()

    def add_idle(self, stretch: Interruptible) -> None:
        """From here on a shutdown that nobody listens to interrupts ``stretch``; not one that has
        come before."""
        self._idle = (*self._idle, stretch)

    def remove_idle(self, stretch: Interruptible) -> None:
        """From here on it does not."""
        self._idle = tuple(other for other in self._idle if other is not stretch)

    async def wait_shutting_down(self) -> None:
        """Wait until the app shuts down or the response has ended."""
        self.listens = True  # from now on: it may be sending what it has to say in between
        while not (self.shutting_down or self.closed or self.responded):
            await self.wait_news()

    def wake(self) -> None:
        """Let whoever waits for news look again."""
        if self._news is not None:
            self._news.set()
            self._news = None

    def make_room(self) -> None:
        """Let the pump look again whether it may go on."""
        if self.room is not None:
            self.room.set()
            self.room = None

    async def wait_news(self) -> None:
        """Wait until something has come or has ended."""
        if self._news is None:
            self._news = new_event()
        await self._news.wait()

    # -- what readers see -----------------------------------------------------------------------

    async def take(self) -> Message | None:
        """The next message of the body, for a stream; None when all were taken.

        Raises:
            ClientDisconnect: the client left before the body was complete.
        """
        while not self.ready():
            await self.wait_news()
        return self.pop()

    def ready(self) -> bool:
        """Whether ``pop`` has something to say now; if not, wait for news and ask again.

        Raises:
            ClientDisconnect: the client left before the body was complete.
            HTTPException: 413, it is larger than ``body_limit``.
        """
        self.taken = True
        if self.body_limit is not None and self.too_large:
            raise content_too_large()
        if not self._messages and not self.complete():
            self._start_pump()  # it may find something at once
        return bool(self._messages) or self.complete()

    def pop(self) -> Message | None:
        """As ``take``, once it is ready."""
        if not self._messages:
            return None
        message = self._messages.popleft()
        self._buffered -= len(message.get("body", b""))
        self.make_room()
        return message

    @property
    def whole(self) -> bool:
        """Whether somebody has asked for the whole body: it is not taken in parts then."""
        return self.body is not None or self._readers > 0

    async def read_body(self) -> bytes:
        """The whole body; kept, so that every layer can ask for it.

        Nothing is lost if a reader is cancelled: what has come stays here.

        Raises:
            ClientDisconnect: the client left before the body was complete.
            UsageError: somebody has taken the body as a stream, which is not kept.
        """
        if self.body is not None:
            return self.body
        if self.taken and self.state is not CUT:
            raise UsageError(
                "Stream consumed: the request's body was taken as a stream, which is not kept. "
                "Call body() before stream(): then every layer can read it, however often."
            )
        self._readers += 1
        self.make_room()
        try:
            while not self.complete():
                self._start_pump()
                if not self.complete():
                    await self.wait_news()
        finally:
            self._readers -= 1
        return self._join()

    def complete(self) -> bool:
        """Whether the body is complete; False if more may come.

        Raises:
            ClientDisconnect: it broke off.
            HTTPException: 413, it is larger than ``body_limit``.
            UsageError: it was discarded.
            Exception: what a wrapped ``receive`` raised.
        """
        if self.body_limit is not None and self.too_large:
            raise content_too_large()
        if self.state is CUT:
            raise ClientDisconnect("before the request's body was complete")
        if self._discarded is not None:
            raise UsageError(
                "The request's body was discarded: a response was under way and nobody had begun "
                "to read it. Read the body, or begin its stream, before the response starts."
            )
        if self.state is COMPLETE or self.state is GONE:
            return True
        if self._error is not None:
            raise self._error
        if self.closed or self._deaf:
            raise ClientDisconnect("before the request's body was read: the response has ended")
        return False

    @property
    def too_large(self) -> bool:
        """Whether the body is larger than ``body_limit``, by what it says or by what has come."""
        limit = self.body_limit
        return limit is not None and max(self._received, self._declared()) > limit

    def _declared(self) -> int:
        # A length that is no number is the server's to refuse, and says nothing.
        for name, value in self._headers:
            if name == b"content-length" and value.isdigit():
                return int(value[:MAX_DIGITS])
        return 0

    def _join(self) -> bytes:
        if self.body is None:  # else another reader woke first
            messages = self._messages
            if messages is not None and len(messages) == 1:
                self.body = messages[0].get("body", b"")
            else:
                messages = messages or deque()
                self.body = b"".join([message.get("body", b"") for message in messages])
                whole = {"type": "http.request", "body": self.body, "more_body": False}
                self._messages = deque([whole])
        return self.body

    def whole_message(self) -> Message:
        """The one message that stands for a body which is complete and was not taken in parts."""
        self._join()
        assert self._messages is not None
        return {**self._messages[0]}

    async def is_disconnected(self) -> bool:
        """Ask, and let the server answer; swallows nothing. See ``QUIET_CHECKPOINTS``."""
        self._watching = True
        self._start_pump()
        quiet = 0
        while quiet < QUIET_CHECKPOINTS and not self.disconnected:
            arrivals = self._arrivals
            await checkpoint()
            quiet = quiet + 1 if arrivals == self._arrivals else 0
        return self.disconnected

    async def wait_disconnected(self) -> None:
        """Wait until the client has left, or until woken: the caller looks which.

        Raises:
            Exception: what a wrapped ``receive`` raised.
        """
        self._watching = True
        self._start_pump()
        if self._error is not None:
            raise self._error
        if not self.disconnected:
            await self.wait_news()

    @property
    def taken_whole(self) -> bool:
        """Whether a stream has taken all there is."""
        return self.taken and not self._messages and self.state is not EXPECTING

    def abandon(self) -> None:
        """Nobody looks any more: stop the pump, without waiting."""
        if self.pump is not None and not self.owned:
            self.pump.cancel()

    async def close(self) -> None:
        """The response has ended: stop the pump and wait for it. Harmless on a second call, which
        waits as well: under a supervisor two tasks may come to the end."""
        self.closed = True
        self.wake()
        pump = self.pump
        if pump is not None:
            pump.cancel()
            await pump.join()
            self.pump = None
