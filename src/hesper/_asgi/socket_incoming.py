"""What comes from a WebSocket's client: its messages and its leaving, read by one pump.

The rules, each of which some server needs (``docs/explanation/design.md`` names them):

1. Where a pump may run, it calls ``receive`` and nobody else, and it is not cancelled before the
   app has closed: cancelling a server's ``receive`` loses messages (granian, anycorn). Without
   one, because nobody would stop it, ``receive`` is called in the task of whoever receives.
2. It reads ahead into a bounded buffer. What was received before the loss is still given, then the
   disconnect. A handler that lets the buffer fill up cannot see what comes behind it.
3. The first disconnect counts, and is sticky: uvicorn gives a second, different one, and most hang.
   After it ``receive`` is not called again.
"""

from __future__ import annotations

from collections import deque

from hesper._asgi.socket_states import WebSocketState, next_client_state
from hesper._concurrency import (
    Child,
    Event,
    Interruptible,
    Signal,
    checkpoint,
    new_baton,
    new_event,
    spawn,
)
from hesper.types import Message, Receive

BUFFER_MESSAGES = 64
"""Messages that the pump reads ahead of the handler: small ones cost more than their text."""

BUFFER_SIZE = 256 * 1024
"""Bytes, or characters of text, that the pump reads ahead, as for an HTTP body."""

QUIET_CHECKPOINTS = 3
"""Turns of the loop without news after which the client is taken to be there; see the constant of
the same name in ``incoming``."""


class SocketIncoming:
    """The client's side of one WebSocket. Class attributes are the defaults."""

    client = WebSocketState.CONNECTING
    """What has come from the client; the app may not have taken it yet."""
    disconnect: Message = {"type": "websocket.disconnect", "code": 1006, "reason": ""}
    """The end, in the words of who ended it."""
    closed = False
    """Whether the app has closed or refused."""
    connect_taken = False
    """Whether the app has taken ``websocket.connect``."""
    conducted = False
    """Whether the pump may run, because somebody stops it."""

    cut = False
    """Whether a shutdown has cancelled the handler."""
    shutting_down = False
    """Whether the app has said that it shuts down."""
    listeners = 0
    """Who wait for the shutdown, and bring themselves to an end when it comes."""
    heard = False
    """Whether somebody listened when it came."""
    timed_out = False
    """Whether the handler took longer than it may."""

    _told = False
    _unbounded = False
    _receiving = False
    _pump: Child | None = None
    _buffered = 0
    _heard = 0
    _news: Event | None = None
    _reader: Signal | None = None
    _given: Message | None = None
    """What is handed to the reader, who takes it inside of ``set`` where the loop allows it."""
    _room: Event | None = None
    _error: Exception | None = None

    def __init__(self, receive: Receive) -> None:
        self.server_receive = receive
        self._messages: deque[Message] = deque()
        self._stretches: set[Interruptible] = set()

    @property
    def disconnected(self) -> bool:
        """Whether the server has said that the client is gone. Never waits."""
        return self.client is WebSocketState.DISCONNECTED

    @property
    def over(self) -> bool:
        """Whether either side has ended the socket."""
        return self.disconnected or self.closed

    # -- the pump -------------------------------------------------------------------------------

    def begin(self) -> bool:
        """Start the pump; whether it is the caller who has to ``stop`` it."""
        if self.conducted:
            return False
        self.conducted = True
        self._start_pump()
        return True

    async def stop(self) -> None:
        """The handler has ended: stop the pump for good, and wait for it."""
        self.conducted = False
        await self._stop_pump()

    async def _stop_pump(self) -> None:
        pump, self._pump = self._pump, None
        if pump is not None:
            pump.cancel()
            await pump.join()
            # A task that is cancelled before its first step runs no finally.
            self._receiving = False

    def _start_pump(self) -> None:
        if not (self._receiving or self.disconnected or self._error is not None):
            self._receiving = True
            self._pump = spawn(self._read())

    async def _read(self, once: bool = False) -> None:
        try:
            while not self.disconnected:
                if self._full():
                    self._room = new_event()
                    await self._room.wait()
                else:
                    self._arrived(await self.server_receive())
                if once:
                    break
        except OSError:
            self.lost()
        except Exception as exc:  # a wrapped receive may raise for the reader
            self._error = exc
        finally:
            self._receiving = False
            self._wake()

    def _full(self) -> bool:
        if not self._messages or self._unbounded:
            return False
        return len(self._messages) >= BUFFER_MESSAGES or self._buffered >= BUFFER_SIZE

    def _arrived(self, message: Message) -> None:
        if message["type"] != "websocket.receive" or self.client is not WebSocketState.CONNECTED:
            following = next_client_state(self.client, message)
            if following is WebSocketState.DISCONNECTED:
                self.lost(message)
                return
            self.client = following
        if self.closed:  # the end was given, or is about to be
            self._wake()
            return
        if self._reader is not None and not self._messages:
            self._given = message
            self._wake()
            if self._given is None:  # taken: see `new_baton`
                return
            self._given = None
        self._messages.append(message)
        self._buffered += _size(message)
        self._wake()

    def lost(self, message: Message | None = None) -> None:
        """The client is gone: let all know, and interrupt what works for it alone.

        Args:
            message: the server's ``websocket.disconnect``; None if it has not said so.
        """
        if not self.disconnected:
            self.client = WebSocketState.DISCONNECTED
            if message is not None and not self.closed:
                # daphne gives None for a frame without a code, which the specification calls 1005.
                code, reason = message.get("code"), message.get("reason")
                self.disconnect = {
                    **message,
                    "code": 1005 if code is None else code,
                    "reason": reason or "",
                }
            for stretch in tuple(self._stretches):
                stretch.interrupt()
        self._wake()

    def add_stretch(self, stretch: Interruptible) -> None:
        """From here on the disconnect interrupts ``stretch``."""
        self._stretches.add(stretch)

    def remove_stretch(self, stretch: Interruptible) -> None:
        """From here on it does not."""
        self._stretches.discard(stretch)

    def _wake(self) -> None:
        self._heard += 1
        reader, self._reader = self._reader, None
        if self._news is not None:
            self._news.set()
            self._news = None
        if reader is not None:
            reader.set()

    def _make_room(self) -> None:
        if self._room is not None:
            self._room.set()
            self._room = None

    # -- the shutdown -----------------------------------------------------------------------------

    def shut_down(self) -> None:
        """The app shuts down: a handler that only waits for its client closes now (1012)."""
        if not self.shutting_down:
            self.shutting_down = True
            self.heard = self.listeners > 0
            self._wake()

    async def wait_shutting_down(self) -> None:
        """Wait until the app shuts down or the socket is over."""
        self.listeners += 1
        try:
            while not (self.shutting_down or self.over):
                await self._wait_news()
        finally:
            self.listeners -= 1

    # -- receiving --------------------------------------------------------------------------------

    async def receive(self) -> Message:
        """The next message; when the socket is over, ``websocket.disconnect``, for ever.

        Raises:
            ServerProtocolError: the server broke the ASGI specification.
        """
        message: Message | None = None
        while message is None:
            if self._messages:
                message = self._messages.popleft()
                self._buffered -= _size(message)
                self._make_room()
            elif self._error is not None:
                raise self._error
            elif self.over:
                if self._told:
                    await checkpoint()  # a loop that takes no notice lets others run
                self._told = True
                return dict(self.disconnect)
            elif self._receiving and self._reader is None and not self.shutting_down:
                message = await self._wait_given()
            else:
                await self._wait_news()
        if message["type"] == "websocket.connect":
            self.connect_taken = True
        return message

    async def _wait_given(self) -> Message | None:
        """Wait for the next message where the pump hands it over; None if something else comes, or
        it is in the buffer after all."""
        self._reader = reader = new_baton()
        try:
            await reader.wait()
        finally:
            if self._reader is reader:
                self._reader = None
        given, self._given = self._given, None
        return given

    async def wait_disconnected(self) -> None:
        """Wait until the socket is over."""
        while not self.over:
            if self._error is not None:
                raise self._error
            await self._wait_news()

    async def _wait_news(self) -> None:
        """Wait until something has come: through the pump or another reader, or by reading."""
        heard = self._heard
        if self.conducted:
            self._start_pump()
        if self._heard != heard:  # an eager pump
            return
        if not self._receiving:
            self._receiving = True
            await self._read(once=True)
            return
        if self._news is None:
            self._news = new_event()
        await self._news.wait()

    async def ask(self, certain: bool) -> None:
        """Give the server time to say that the client left, and how.

        Args:
            certain: the client is gone, so what it sent before has an end and is read up to that.
        """
        self._unbounded = certain
        self._make_room()
        self._start_pump()
        try:
            quiet = 0
            while quiet < QUIET_CHECKPOINTS and not self.disconnected:
                heard = self._heard
                await checkpoint()
                quiet = 0 if certain and heard != self._heard else quiet + 1
        finally:
            if not self.conducted:
                await self._stop_pump()


def _size(message: Message) -> int:
    text = message.get("text")
    return len(message.get("bytes") or b"") if text is None else len(text)
