"""Which loop runs, and the smallest things that each does its own way."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable
from typing import Protocol

import anyio

running_loop = asyncio._get_running_loop


def on_asyncio() -> bool:
    """Whether the caller runs on asyncio; 40 ns, where asking which library runs takes 1 µs."""
    return running_loop() is not None


def loop_token() -> object:
    """What stands for this run of the event loop; None outside of one."""
    loop = running_loop()
    if loop is not None:
        return loop
    trio = sys.modules.get("trio")  # where it runs it was imported
    try:
        return None if trio is None else trio.lowlevel.current_trio_token()
    except RuntimeError:
        return None


def trio_task() -> object:
    """The running task, where trio runs; None elsewhere."""
    if running_loop() is not None:
        return None
    import trio

    return trio.lowlevel.current_task()


def now() -> float:
    """The running loop's time in seconds, in a callback of asyncio too, where no task is current."""
    loop = running_loop()
    return anyio.current_time() if loop is None else loop.time()


async def checkpoint() -> None:
    """Let other tasks run once; a pending cancellation of the caller is raised here."""
    if running_loop() is not None:
        await asyncio.sleep(0)
    else:
        import anyio.lowlevel  # here: asyncio does without it

        await anyio.lowlevel.checkpoint()


def cancelled_type() -> type[BaseException]:
    """The class of the running loop's cancellation."""
    return asyncio.CancelledError if on_asyncio() else anyio.get_cancelled_exc_class()


class Event(Protocol):
    """A flag that one task sets, once, and others wait for."""

    def set(self) -> object: ...

    async def wait(self) -> object: ...


def new_event() -> Event:
    """A new event; on asyncio its own, which takes 0.4 µs where anyio's takes 1.7."""
    return asyncio.Event() if on_asyncio() else anyio.Event()


class Signal(Protocol):
    """An event with one waiter."""

    def set(self) -> object: ...

    def wait(self) -> Awaitable[object]: ...


class _AsyncioSignal:
    __slots__ = ("_future",)

    def __init__(self) -> None:
        self._future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def set(self) -> None:
        if not self._future.done():
            self._future.set_result(None)

    def wait(self) -> Awaitable[None]:
        return self._future


def new_signal() -> Signal:
    """A new event with one waiter; on asyncio a bare future, a third of an asyncio event's cost."""
    return _AsyncioSignal() if on_asyncio() else anyio.Event()
