"""A server's `receive` by hand, for what reads from it."""

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from hesper._asgi.arrivals import BUFFER_SIZE
from hesper._asgi.incoming import Incoming
from hesper._concurrency import checkpoint
from hesper.types import Message

GONE: Message = {"type": "http.disconnect"}


def part(body: bytes = b"", more: bool = True) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


def last(body: bytes = b"") -> Message:
    return part(body, more=False)


BLOCK = part(bytes(BUFFER_SIZE // 4))


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await checkpoint()


class Wire:
    """A server's `receive`: gives what was put in, raises it if it is an error, else waits."""

    def __init__(self, *items: Message | Exception, suspends: int = 0) -> None:
        self.items: deque[Message | Exception] = deque(items)
        self.suspends = suspends
        self.calls = 0
        self.pending = 0
        self._news = anyio.Event()

    def put(self, *items: Message | Exception) -> None:
        self.items.extend(items)
        self._news.set()

    async def __call__(self) -> Message:
        self.calls += 1
        self.pending += 1
        try:
            await turns(self.suspends)
            while not self.items:
                self._news = anyio.Event()
                await self._news.wait()
        finally:
            self.pending -= 1
        item = self.items.popleft()
        if isinstance(item, Exception):
            raise item
        return item


@asynccontextmanager
async def receiving(
    *items: Message | Exception, suspends: int = 0, expect: bool = False
) -> AsyncIterator[tuple[Incoming, Wire]]:
    """An incoming over a wire, closed at the end."""
    wire = Wire(*items, suspends=suspends)
    headers = [(b"host", b"x"), *([(b"expect", b"100-continue")] if expect else [])]
    incoming = Incoming({"type": "http", "headers": headers}, wire)
    try:
        yield incoming, wire
    finally:
        await incoming.close()
        assert wire.pending == 0


async def taken(incoming: Incoming) -> list[Message]:
    messages = []
    while (message := await incoming.take()) is not None:
        messages.append(message)
    return messages
