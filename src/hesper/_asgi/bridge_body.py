"""A foreign app's answer as a response's body: its messages as they are, or its chunks."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from typing import Any

import anyio
import anyio.to_thread

from hesper._asgi.bodies import Body, deliver
from hesper._asgi.bridge import Bridge
from hesper._asgi.exchange import Exchange
from hesper._asgi.sending import Sending, send_untouched
from hesper._concurrency import running_loop
from hesper.types import Message


class BridgeBody(Body):
    """The body of a foreign app's answer.

    As long as nobody looks at it, its messages pass as they are: whatever they are, with every key.
    Whoever reads ``content`` gets bytes.
    """

    __slots__ = ("bridge",)

    def __init__(self, bridge: Bridge) -> None:
        self._parts = ()  # as long as nobody looks
        self._closed = False
        self.charset = "utf-8"
        self.bridge = bridge

    @property
    def content(self) -> Any:
        """The chunks, for a middleware that looks at them or wraps them."""
        if not self._parts:
            self._parts = (_chunks(self.bridge), _Running(self.bridge))
        return self._parts[0]

    @property
    def is_generator(self) -> bool:
        return bool(self._parts) and super().is_generator

    def replace(self, content: AsyncIterable[Any]) -> None:
        if not self._parts:
            self._parts = (_Running(self.bridge),)
        super().replace(content)

    async def aclose(self) -> None:
        if not self._parts:
            self._parts = (_Running(self.bridge),)
        await super().aclose()

    async def send(self, held: Any, start: Message) -> None:
        exchange: Exchange | None = held._shared
        whole = None
        untouched = exchange is None or exchange.untouched
        if untouched and not self._parts and running_loop() is not None:
            whole = self.bridge.take_whole()
        if whole is None:
            await self._send_on(held._exchange, start)
            return
        try:
            await send_untouched(held, start, whole)
        finally:
            self.bridge.stop()

    async def _send_on(self, exchange: Exchange, start: Message) -> None:
        if self._parts:
            await super().send(exchange, start)
            return
        # No generator of a user is in between, so no grace is needed: stopping does not wait.
        bridge = self.bridge
        with Sending(exchange):
            try:
                await deliver(exchange, start)
                while exchange.finishing or not exchange.disconnected:
                    message = await bridge.next_message()
                    if message is None:
                        break
                    await deliver(exchange, message)
            finally:
                bridge.stop()

    @property
    def over(self) -> bool:
        return self.bridge.over

    @property
    def late(self) -> tuple[Message, ...]:
        return self.bridge.late

    async def finish(self) -> None:
        await self.bridge.finish()


class _Running:
    """The part of the body that is the app itself: closing it stops that."""

    __slots__ = ("_bridge",)

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge

    async def aclose(self) -> None:
        self._bridge.stop()


async def _chunks(bridge: Bridge) -> AsyncIterator[Any]:
    """What a middleware sees of the messages: the bytes of the body, and of files."""
    while (message := await bridge.next_message()) is not None:
        if message["type"] == "http.response.body":
            yield message.get("body", b"")
        elif message["type"] == "http.response.pathsend":
            async with await anyio.open_file(message["path"], "rb") as file:
                while chunk := await file.read(CHUNK_SIZE):
                    yield chunk
        elif message["type"] == "http.response.zerocopysend":
            parts = _read_descriptor(message)
            while chunk := await anyio.to_thread.run_sync(next, parts, b""):
                yield chunk
        else:
            bridge.late += (message,)


CHUNK_SIZE = 64 * 1024
"""Bytes that are read at once of a file whose bytes a middleware wants to see."""


def _read_descriptor(message: Message) -> Iterator[bytes]:
    """What a server would send (ASGI extension "Zero Copy Send")."""
    file = message["file"]
    descriptor = file if isinstance(file, int) else file.fileno()
    if "offset" in message:
        os.lseek(descriptor, message["offset"], os.SEEK_SET)
    left = message.get("count", sys.maxsize)
    while chunk := os.read(descriptor, min(left, CHUNK_SIZE)):
        left -= len(chunk)
        yield chunk
