"""What the storm's apps produce, and what they count: the same for Hesper's and for the bare one."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Any

import anyio

from hesper._asgi.exchange import Exchange
from hesper._asgi.states import ENDED
from hesper._concurrency import on_asyncio

PIECE = b"x" * 512
BIG_PIECE = b"y" * 16 * 1024
FILE_SIZE = 300_000
AT_REST = 0.005
"""Seconds until the tasks of the probe's own connection stand where they stand in every probe."""

PAGE_SIZE = os.sysconf("SC_PAGE_SIZE")


class Counts:
    """What has begun, minus what has ended. Threads count too, hence the lock."""

    handlers = 0
    """Endpoints that run."""
    generators = 0
    """Bodies that were begun and whose ``finally`` has not come to its end."""
    background = 0
    """Background tasks that were promised by a response and have not finished."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def generator(self, more: int) -> None:
        """A generator was begun (1) or has ended (-1)."""
        with self._lock:
            self.generators += more


counts = Counts()


async def pieces(n: int) -> AsyncGenerator[bytes, None]:
    """A body with waits, in its cleanup too."""
    counts.generator(1)
    told = False
    try:
        for _ in range(n):
            yield PIECE
            await anyio.sleep(0.004)
    except BaseException:
        told = True
        raise
    finally:
        try:
            await anyio.sleep(0.004)
        except BaseException:
            # A cancel may find a generator in the cleanup that follows its own end. But one that
            # was told before has its time: this one stays in the count.
            if told:
                counts.generator(1)
            raise
        finally:
            counts.generator(-1)


async def flood(n: int) -> AsyncGenerator[bytes, None]:
    """A body that never waits."""
    counts.generator(1)
    try:
        for _ in range(n):
            yield BIG_PIECE
    finally:
        counts.generator(-1)


def sync_pieces(n: int) -> Generator[bytes, None, None]:
    """A body from threads."""
    counts.generator(1)
    try:
        for _ in range(n):
            yield PIECE
            time.sleep(0.001)
    finally:
        counts.generator(-1)


async def work() -> None:
    """Background work, promised when the response is made."""
    await anyio.sleep(0.02)
    counts.background -= 1


def make_file() -> Path:
    """A file to send; removed with its directory when the process ends."""
    path = Path(_directory.name, "file")
    path.write_bytes(b"z" * FILE_SIZE)
    return path


def speak_up() -> None:
    """Give the loggers that no server configures a handler, so that each record names its level."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("[%(levelname)s] %(name)s: %(message)s"))
    for name in ("asyncio", "hesper", "trio", "concurrent.futures", "py.warnings"):
        logging.getLogger(name).addHandler(handler)
    logging.captureWarnings(True)


_directory = tempfile.TemporaryDirectory(prefix="hesper-storm-")


def measure(by_type: bool) -> dict[str, Any]:
    """What this process holds now.

    Args:
        by_type: count its objects by type too, and say where its tasks stand, which is slow.
    """
    gc.collect()
    objects = gc.get_objects()
    exchanges = [value for value in objects if type(value) is Exchange]
    tasks = _tasks()
    measured: dict[str, Any] = {
        "tasks": len(tasks),
        "handlers": counts.handlers,
        "generators": counts.generators,
        "background": counts.background,
        "exchanges": sum(exchange.state is not ENDED for exchange in exchanges),
        "kept": sum(exchange.state is ENDED for exchange in exchanges),
        "files": len(os.listdir("/proc/self/fd")),
        "objects": len(objects),
        "rss": int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_SIZE,
        "threads": threading.active_count(),
    }
    if by_type:
        measured["types"] = Counter(type(value).__qualname__ for value in objects)
        measured["stacks"] = [_stack(task) for task in tasks]
    return measured


def _tasks() -> list[Any]:
    """What each task runs."""
    if on_asyncio():
        return [task.get_coro() for task in asyncio.all_tasks()]
    import trio

    root = trio.lowlevel.current_root_task()
    found, waiting = [], [] if root is None else [root]
    while waiting:
        task = waiting.pop()
        found.append(task.coro)
        for nursery in task.child_nurseries:
            waiting += nursery.child_tasks
    return found


def _stack(awaited: Any) -> str:
    """Where a task stands: the functions that it is in, from the outside in."""
    places = []
    while awaited is not None:
        # Some do not say what they await: a coroutine's own `__await__`, and `drive` and `Grace`,
        # which go step by step.
        if type(awaited).__name__ == "coroutine_wrapper":
            (awaited,) = gc.get_referents(awaited)
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "gi_frame", None)
        if frame is not None:
            path = _relative(frame.f_code.co_filename)
            places.append(f"{path}:{frame.f_lineno} {frame.f_code.co_name}")
        awaited = (
            (frame is not None and frame.f_locals.get("steps"))
            or getattr(awaited, "cr_await", None)
            or getattr(awaited, "gi_yieldfrom", None)
        )
    return " > ".join(places)


def _relative(filename: str) -> str:
    """A file's path from its package on."""
    for path in sorted(sys.path, key=len, reverse=True):
        if path and filename.startswith(path + os.sep):
            return filename[len(path) + 1 :]
    return filename
