"""What arrives from the client: the body and the disconnect, read from the server by one pump.

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
from collections.abc import Sequence

from hesper._asgi.states import COMPLETE, EXPECTING, REQUEST, RequestEvent, RequestState
from hesper._concurrency import Child, Event, Interruptible, new_event, spawn
from hesper.exceptions import ServerProtocolError
from hesper.types import Message, Receive, Scope

BUFFER_SIZE = 256 * 1024
"""Bytes of request body that the pump reads ahead of the handler: four of uvicorn's own buffers."""

DISCARD_LIMIT = 64 * 1024 * 1024
"""Bytes of unwanted request body that are read and dropped while a response is under way."""

DISCONNECT: Message = {"type": "http.disconnect"}
"""What is said of a client that left, where the server has not said it; whoever gives it copies it."""


class Arrivals:
    """What has come of one HTTP request, and what waits for more.

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
        "closed",
        "disconnect",
        "disconnected",
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
        if self._stretches and self._stretches[-1] is stretch:  # as nearly always: 0.5 µs less
            self._stretches = self._stretches[:-1]
        else:
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
