"""Event streams: a response of server-sent events (WHATWG HTML, section 9.2).

The rules:

1. What the app gives is sent event by event, in the request's own task, as any body.
2. A stream that has nothing to say sends a comment from time to time, so that proxies keep the
   connection and a client that vanished without a word is found out. A comment never has an id.
3. When the app shuts down, the stream ends with its last event and is whole: the client reconnects,
   and finds another process. A producer that has waited for the shutdown is left to it.
4. A middleware that makes other bytes of the events (compression, if it is told to) takes 2 and 3
   away: what we would add is not in its coding.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any

import anyio

from hesper import _json
from hesper._asgi.bodies import Body, close_part, stream
from hesper._asgi.exchange import Exchange, Holder
from hesper._asgi.incoming import Incoming
from hesper._concurrency import Event, Interruptible, new_event, spawn
from hesper._events import EventParser, ServerSentEvent
from hesper.concurrency import iterate_in_threadpool
from hesper.exceptions import UsageError
from hesper.responses import StreamingResponse
from hesper.types import Message

__all__ = ["EventParser", "EventSourceResponse", "ServerSentEvent"]

PING: Message = {
    "type": "http.response.body",
    "body": ServerSentEvent(comment="ping").encode(),
    "more_body": True,
}

SHUTDOWN = ServerSentEvent(data="", event="shutdown")
"""The last event of a stream that a shutdown ends."""


class EventSourceResponse(StreamingResponse):
    """A response of server-sent events.

    Args:
        content: async or sync iterable of events: ``ServerSentEvent``, str (its data), bytes, which
            are sent as they are, or anything else as JSON.
        ping: seconds of silence after which a comment is sent; None for none.
        last_event: what ends the stream when the app shuts down; None to end it without a word.

    When the client leaves, ``content`` is closed; its ``finally`` may await for 5 seconds. When the
    app shuts down it is closed too, and ``last_event`` is sent, unless something has waited
    for ``request.wait_shutting_down()``: then it may end as it likes within the grace.

    Raises:
        UsageError: ``ping`` is not more than 0.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        content: AsyncIterable[Any] | Iterable[Any],
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        background: Callable[[], Awaitable[None]] | None = None,
        *,
        ping: float | None = 15.0,
        last_event: ServerSentEvent | None = SHUTDOWN,
    ) -> None:
        if ping is not None and not ping > 0:
            raise UsageError(
                f"Expected ping to be a number of seconds above 0, got {ping!r}: leave it out for "
                "15, or say None for none."
            )
        chunks = content if isinstance(content, AsyncIterable) else iterate_in_threadpool(content)
        super().__init__(chunks, status_code, headers, background=background)
        farewell = b"" if last_event is None else last_event.encode()
        self._body: Body = _EventBody(chunks, ping, farewell)

    def init_headers(self, headers: Mapping[str, str] | None = None) -> None:
        """As of any response, and what keeps proxies from holding events back."""
        super().init_headers(headers)
        self.headers.setdefault("cache-control", "no-store")
        self.headers.setdefault("x-accel-buffering", "no")  # nginx


class _EventBody(Body):
    """The body of an event stream, which pings."""

    __slots__ = ("_events", "_farewell", "_ping")

    def __init__(self, content: AsyncIterable[Any], ping: float | None, farewell: bytes) -> None:
        self._events = _Events(content)
        super().__init__(self._events, "utf-8")
        self._parts = (self._events, content)
        self._ping = ping
        self._farewell = farewell

    @property
    def _ours(self) -> bool:
        """Whether it is sent as it is; else a middleware has made other bytes of it (rule 4)."""
        return self._parts[0] is self._events

    @property
    def is_generator(self) -> bool:
        return super().is_generator or inspect.isasyncgen(self._parts[-1])

    @property
    def farewell(self) -> bytes | None:
        # Not behind a ping that is stuck: nobody would get it.
        return self._farewell if self._ours and self._events.ping is None else None

    def opened(self, incoming: Incoming, stretch: Interruptible) -> None:
        if self._ours:
            self._events.idle = incoming, stretch
            self._events.farewell = self._farewell

    async def send(self, held: Holder, start: Message) -> None:
        exchange = held._exchange
        if self._ping is None or not self._ours:
            await stream(exchange, self, start)
            return
        pinger = spawn(self._keep_awake(exchange, self._ping))
        try:
            await stream(exchange, self, start)
        finally:
            pinger.cancel()
            await pinger.join()
            self._events.failure = None

    async def _keep_awake(self, exchange: Exchange, seconds: float) -> None:
        events = self._events
        while events.failure is None:
            silence = anyio.current_time() - events.since if events.waits else 0.0
            if silence < 0.99 * seconds:  # a clock may be a little early
                await anyio.sleep(seconds - silence)
                continue
            events.ping = new_event()
            try:
                await exchange.send({**PING})
            except Exception as exc:
                events.failure = exc  # also that the client left: who sends the events is to know
            finally:
                events.ping.set()
                events.ping = None
                events.since = anyio.current_time()


_END, _SHUTDOWN = object(), object()


class _Events:
    """Events as bytes, one by one. No generator: whoever breaks off need not close it."""

    def __init__(self, content: AsyncIterable[Any]) -> None:
        self._content = content
        self._iterator: AsyncIterator[Any] | None = None
        self.idle: tuple[Incoming, Interruptible] | None = None
        """What a shutdown interrupts while there is nothing to send."""
        self.waits = False
        """Whether there is nothing to send."""
        self.since = 0.0
        """Since when, in the loop's time; a ping counts as something."""
        self.ping: Event | None = None
        """A ping that is being sent: of two sends at a time some servers make one error."""
        self.failure: Exception | None = None
        """What became of a ping."""
        self.farewell: bytes | None = None
        """What to end with when the app shuts down."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._iterator is None:
            self._iterator = aiter(self._content)
        event = await self._wait(self._iterator)
        if self.ping is not None:
            await self.ping.wait()
        if self.failure is not None:
            failure, self.failure = self.failure, None
            try:
                raise failure
            finally:
                del failure  # its traceback holds this frame
        if event is _END:
            raise StopAsyncIteration
        if event is _SHUTDOWN:
            farewell, self.farewell = self.farewell, None
            if not farewell:
                raise StopAsyncIteration
            return farewell
        if isinstance(event, (bytes, ServerSentEvent)):
            return event if isinstance(event, bytes) else event.encode()
        return ServerSentEvent(
            event if isinstance(event, str) else _json.encode(event).decode()
        ).encode()

    async def _wait(self, iterator: AsyncIterator[Any]) -> Any:
        """The next event; ``_END`` if there is none, ``_SHUTDOWN`` if there shall be none."""
        self.since = anyio.current_time()
        if self.idle is None:  # a middleware asks
            return await anext(iterator, _END)
        incoming, stretch = self.idle
        if incoming.shutting_down and not incoming.heard:
            return _SHUTDOWN
        incoming.add_idle(stretch)
        self.waits = True
        try:
            return await anext(iterator, _END)
        finally:
            self.waits = False
            incoming.remove_idle(stretch)

    async def aclose(self) -> None:
        if self._iterator is not None:
            await close_part(self._iterator)
