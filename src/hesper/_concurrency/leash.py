"""Work that somebody else may cancel, once, and that then has a bounded time to clean up.

It is ``Grace`` for one reason to cancel alone: what cancels the work otherwise (a scope around it, a
native cancel) reaches it as it reaches any code. And it costs nothing until the work waits: on
asyncio a native cancel comes once by nature, so no scope has to be there from the beginning.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from types import TracebackType, coroutine
from typing import Any, Protocol, TypeVar

from hesper._concurrency.grace import Grace
from hesper._concurrency.interrupts import AsyncioInterruptible, Interruptible, interruptible
from hesper._concurrency.loops import on_asyncio

T = TypeVar("T")

INSIST_EVERY = 0.05
"""Seconds between the cancels of what has outlasted its time, and goes on."""


class Interrupted(Exception):
    """The work was cancelled by ``interrupt()``.

    Args:
        exceeded: whether its cleanup took longer than it might.
    """

    def __init__(self, exceeded: bool) -> None:
        super().__init__()
        self.exceeded = exceeded


class _Leash(AsyncioInterruptible):
    """An interruption that is repeated, when the time for the cleanup is over."""

    __slots__ = ("_seconds", "_timer", "exceeded")

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None
        self.exceeded = False

    def _deliver(self) -> None:
        super()._deliver()
        self._timer = self._task.get_loop().call_later(self._seconds, self._insist)

    def _insist(self) -> None:
        self.exceeded = True
        self._cancel()
        self._timer = self._task.get_loop().call_later(INSIST_EVERY, self._insist)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if self._timer is not None:
            self._timer.cancel()
        return super().__exit__(exc_type, exc, traceback)


class Source(Protocol):
    """Who interrupts: the client's side of a request, or of a socket."""

    @property
    def disconnected(self) -> bool:
        """Whether it has done so already."""
        ...

    def add_stretch(self, stretch: Interruptible) -> None: ...

    def remove_stretch(self, stretch: Interruptible) -> None: ...


async def leashed(work: Callable[[], Awaitable[T]], seconds: float, source: Source) -> T:
    """Run ``work``, which ``source`` may cancel.

    Args:
        seconds: how long its cleanup may take then.
        source: is given what has ``interrupt()`` as soon as the work waits (on trio before).

    Raises:
        Interrupted: it was cancelled so, and gave nothing.
        BaseException: what the work raised, and what cancelled it otherwise.
    """
    if on_asyncio():
        steps = work().__await__()
        try:
            trap = next(steps)
        except StopIteration as done:
            result: T = done.value
            return result
        return await leashed_from(steps, trap, seconds, source)
    exceeded = False
    with interruptible() as stretch:
        _attach(stretch, source)
        grace = Grace(stretch, seconds, any_cancel=False)
        try:
            with grace:
                return await grace.run(work())
        finally:
            exceeded = grace.exceeded
            source.remove_stretch(stretch)
    raise Interrupted(exceeded)


async def leashed_from(
    steps: Generator[Any, Any, T], trap: Any, seconds: float, source: Source
) -> T:
    """``leashed`` on asyncio, for work whose first step has given ``trap``."""
    leash = _Leash(seconds)
    with leash:
        _attach(leash, source)
        try:
            return await resumed(steps, trap)
        finally:
            source.remove_stretch(leash)
    raise Interrupted(leash.exceeded)


def _attach(stretch: Interruptible, source: Source) -> None:
    source.add_stretch(stretch)
    if source.disconnected:
        stretch.interrupt()


@coroutine
def resumed(steps: Generator[Any, Any, T], trap: Any) -> Generator[Any, Any, T]:
    """The rest of an awaitable whose first step has given ``trap``."""
    try:
        while True:
            try:
                yield trap  # asyncio resumes with None
            except BaseException as exc:
                trap = steps.throw(exc)
            else:
                return (yield from steps)
    except StopIteration as done:
        result: T = done.value
        return result
