"""Event streams: a response of server-sent events (WHATWG HTML, section 9.2).

The rules:

1. What the app gives is sent event by event, in the request's own task, as any body.
2. A stream that has nothing to say sends a comment from time to time, so that proxies keep the
   connection and a client that vanished without a word is found out. A comment never has an id.
3. When the app shuts down, the stream ends with its last event and is whole: the client reconnects,
   and finds another process. A producer that waits for the shutdown itself is left to it.
4. A middleware that makes other bytes of the events (compression, if it is told to) takes 2 and 3
   away: what we would add is not in its coding.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any

import anyio

from hesper._asgi.bodies import Body, stream
from hesper._asgi.exchange import Exchange
from hesper._asgi.states import STARTED
from hesper._concurrency import spawn
from hesper._events import EventParser, ServerSentEvent
from hesper.concurrency import iterate_in_threadpool
from hesper.exceptions import ClientDisconnect, UsageError
from hesper.responses import StreamingResponse
from hesper.types import Message

__all__ = ["EventParser", "EventSourceResponse", "ServerSentEvent"]

PING = ServerSentEvent(comment="ping").encode()

SHUTDOWN = ServerSentEvent(data="", event="shutdown")
"""The last event of a stream that a shutdown ends."""


class EventSourceResponse(StreamingResponse):
    """A response of server-sent events.

    Args:
        content: async or sync iterable of events: ``ServerSentEvent``, str (its data), or anything
            else as JSON.
        ping: seconds of silence after which a comment is sent; None for none.
        last_event: what ends the stream when the app shuts down; None to end it without a word.

    When the client leaves, ``content`` is closed; its ``finally`` may await for 5 seconds. When the
    app shuts down it is closed too, and ``last_event`` is sent, unless something waits for
    ``request.wait_shutting_down()``: then it may end as it likes within the grace.

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

    __slots__ = ("_events", "_farewell", "_ours", "_ping", "_sends")

    def __init__(self, content: AsyncIterable[Any], ping: float | None, farewell: bytes) -> None:
        super().__init__(content, "utf-8")
        self._events = content
        self._ping = ping
        self._farewell = farewell
        self._sends = 0
        self._ours = False
        """Whether it is sent as it is; else a middleware has made other bytes of it (rule 4)."""

    @property
    def content(self) -> AsyncIterable[Any]:
        """The events as bytes, for a middleware that looks at them or wraps them."""
        if self._parts[0] is self._events:
            return _AsBytes(self, self.start())
        return super().content

    @property
    def farewell(self) -> bytes | None:
        return self._farewell if self._ours else None

    def encode(self, chunk: Any) -> bytes:
        self._sends += 1
        if isinstance(chunk, bytes):  # of a middleware
            return chunk
        if isinstance(chunk, ServerSentEvent):
            return chunk.encode()
        data = chunk if isinstance(chunk, str) else json.dumps(chunk, ensure_ascii=False)
        return ServerSentEvent(data=data).encode()

    async def send(self, exchange: Exchange, start: Message) -> None:
        self._ours = self._parts[0] is self._events
        if self._ping is None or not self._ours:
            await stream(exchange, self, start)
            return
        pinger = spawn(self._keep_awake(exchange, self._ping))
        try:
            await stream(exchange, self, start)
        finally:
            pinger.cancel()
            await pinger.join()

    async def _keep_awake(self, exchange: Exchange, seconds: float) -> None:
        while True:
            sends = self._sends
            await anyio.sleep(seconds)
            if self._sends == sends and exchange.state is STARTED:
                try:
                    await exchange.send(
                        {"type": "http.response.body", "body": PING, "more_body": True}
                    )
                except ClientDisconnect:
                    return


class _AsBytes:
    """Events as bytes. No generator: whoever breaks off need not close it."""

    __slots__ = ("_body", "_iterator")

    def __init__(self, body: _EventBody, iterator: AsyncIterator[Any]) -> None:
        self._body = body
        self._iterator = iterator

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        return self._body.encode(await anext(self._iterator))
