"""What the endpoints of the matrix do: they work, or produce, and say what became of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import anyio

from hesper.requests import ClientDisconnect
from hesper.websockets import WebSocketDisconnect
from tests.servers.matrix.witness import journal, kind_of

PIECE = b"x" * 100
PAUSE = 0.02
"""Seconds between two pieces of a stream."""

BLOCK = b"y" * 64 * 1024
BLOCKS = 256
"""16 MiB: more than the buffers of a connection, and no harm where there is no backpressure."""


@asynccontextmanager
async def fate(visit: str, what: str) -> AsyncIterator[None]:
    """Note when ``what`` begins, how it ends, and whether it had time to clean up."""
    journal.note(visit, f"{what} begun")
    ending = f"{what} finished"
    try:
        yield
    except anyio.get_cancelled_exc_class():
        ending = f"{what} cancelled"
        raise
    except GeneratorExit:
        ending = f"{what} closed"
        raise
    except (ClientDisconnect, WebSocketDisconnect) as exc:
        ending = f"{what} told"
        journal.note(visit, type(exc).__name__)
        raise
    except BaseException as exc:
        journal.note(visit, "error", error=kind_of(exc))
        ending = f"{what} failed"
        raise
    finally:
        journal.note(visit, ending)
        try:
            await anyio.sleep(0.01)  # cleanup that awaits
        except anyio.get_cancelled_exc_class():
            # A cancel may find it in the cleanup that follows its own end; but one that was told
            # before has its time.
            if ending != f"{what} finished":
                raise
            journal.note(visit, f"{what} cleaned")
            raise
        journal.note(visit, f"{what} cleaned")


async def pieces(visit: str, n: int) -> AsyncGenerator[bytes, None]:
    """A stream that waits between two pieces."""
    async with fate(visit, "stream"):
        for _ in range(n):
            yield PIECE
            await anyio.sleep(PAUSE)


async def blocks(visit: str) -> AsyncGenerator[bytes, None]:
    """A stream that never waits by itself."""
    async with fate(visit, "stream"):
        for number in range(BLOCKS):
            if number % 16 == 0:
                journal.note(visit, "progress", mib=number // 16)
            yield BLOCK
        journal.note(visit, "produced")
