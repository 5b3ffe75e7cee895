"""Work of an app that outlives the request that started it.

The rules:

1. Whatever was started is waited for when the lifespan ends, up to a grace; then it is cancelled,
   once, has ``CLEANUP`` seconds in which it may await, and is named in the log.
2. An error of the work is logged, once. It stops nothing else, and nothing is started again.
3. Nothing ends in silence: what somebody else cancelled (an event loop that stops) is named too.
4. Each piece of work is a task that no nursery owns, for one cannot be opened in the middle of a
   handler: a plain task on asyncio, a system task on trio.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from logging import getLogger
from typing import Any

import anyio

from hesper._concurrency import (
    Child,
    Grace,
    Interruptible,
    cancelled_type,
    interruptible,
    loop_token,
    on_asyncio,
    running_loop,
    spawn,
    spawn_here,
    wait_at_most,
)
from hesper.exceptions import ClientDisconnect, UsageError

__all__ = ["Supervisor"]

logger = getLogger("hesper")

CLEANUP = 5.0
"""Seconds that the cleanup of cancelled work may take, awaits included."""

PATIENCE = CLEANUP + 1.0
"""Seconds that ``Supervisor.close`` waits for cancelled work: what swallows its cancellation must
not hold up the server for ever."""


class _Work:
    """One call that the supervisor runs."""

    __slots__ = (
        "_args",
        "_func",
        "_stretch",
        "awaited",
        "cancelled",
        "child",
        "completed",
        "failure",
        "loop",
        "name",
    )

    def __init__(
        self, func: Callable[..., Awaitable[object]], args: tuple[Any, ...], name: str
    ) -> None:
        self._func = func
        self._args = args
        self._stretch: Interruptible | None = None
        self.name = name
        self.loop = running_loop()
        self.child: Child | None = None
        self.cancelled = False
        """Whether the supervisor has cancelled it."""
        self.completed = False
        """Whether it came to its end without an error."""
        self.awaited = False
        """Whether somebody waits for it, who gets its error."""
        self.failure: BaseException | None = None
        """The error, for who waits for it."""

    def give_up(self) -> None:
        """Nobody waits for it any more."""
        self.awaited = False
        if self.failure is not None:
            self._log(self.failure)

    def cancel(self) -> None:
        """Cancel it, once; does not wait. If it has not begun yet, it does not begin."""
        self.cancelled = True
        if self._stretch is not None:
            self._stretch.interrupt()

    async def run(self) -> None:
        """Run it to its end. Only what cuts it off is raised, and not its supervisor's cancel."""
        if self.cancelled:
            return
        try:
            with interruptible() as self._stretch:
                with Grace(self._stretch, CLEANUP) as grace:
                    await grace.run(self._call())
        except BaseException as exc:
            if not self.cancelled:
                reason = type(exc).__name__
                logger.warning("Supervised work was cut off by %s: %s.", reason, self.name)
            raise

    async def _call(self) -> None:
        # Errors stop here, inside of the grace: its end would put the cancellation in their place.
        try:
            result = self._func(*self._args)
            if not inspect.isawaitable(result):
                raise UsageError(
                    f"Expected a function that gives something to await, but {self.name} gave "
                    f"{result!r:.80}: make it `async def`, or, if it blocks, pass "
                    "`hesper.concurrency.run_in_threadpool` and the function as its argument."
                )
            await result
            self.completed = True
        except Exception as exc:
            self._failed(exc)
        except BaseExceptionGroup as group:
            # A trio nursery in which one task failed while the others were cancelled.
            failures, rest = group.split(Exception)
            if failures is not None:
                self._failed(failures)
            assert rest is not None, "a group of Exceptions alone is one itself"
            raise rest from None

    def _failed(self, exc: Exception) -> None:
        if self.awaited:
            self.failure = exc
        else:
            self._log(exc)

    def _log(self, exc: BaseException) -> None:
        if isinstance(exc, ClientDisconnect):
            return  # E1: that a client left is no error
        logger.error("Supervised work failed: %s.", self.name, exc_info=exc)


class Supervisor:
    """Runs what outlives the request that started it; an app's stands in ``app.supervisor``.

    It belongs to the app's lifespan, which opens it, and which ends only when all work has ended or
    was cancelled. It is used in one event loop at a time. Work survives its client and its request,
    and not the death of the process.
    """

    def __init__(self) -> None:
        self._running: dict[_Work, None] = {}  # a set that keeps its order
        self._opened = False
        # A run of the event loop: a lifespan that has ended in one says nothing of another.
        self._closed_in: object = None
        self._warned = False

    def start_soon(
        self, func: Callable[..., Awaitable[object]], *args: Any, name: str | None = None
    ) -> None:
        """Run ``func(*args)`` beside everything else; do not wait for it.

        It runs in a copy of the caller's context. On asyncio since Python 3.12 it begins at once,
        elsewhere at the caller's next wait. Its result is dropped, its error is logged. That the
        client leaves or that the request is cancelled does not touch it; when the lifespan ends, see
        ``close``. Each call starts it anew.

        Args:
            func: a coroutine function; ``functools.partial`` gives it keyword arguments.
            args: its arguments.
            name: what the log calls it; the function's own name if None.

        Raises:
            UsageError: the lifespan has ended, there is no event loop in this thread, or ``func``
                cannot be called.
        """
        _check(func, name)
        name = _name_of(func) if name is None else name
        self._check_open(name)
        self._warn_without_lifespan(name)
        work = _Work(func, args, name)
        self._running[work] = None  # before it begins, for an eager task may end at once
        work.child = spawn(self._run(work))

    def _warn_without_lifespan(self, name: str) -> None:
        if self._opened or self._warned:
            return
        self._warned = True
        logger.warning(
            "%s was started without a lifespan: it runs, but nobody waits for it when the server "
            "stops, and it may be cut off anywhere. Use a server with lifespan support, and do not "
            "switch it off.",
            name,
        )

    async def finish(self, func: Callable[[], Awaitable[None]], name: str) -> None:
        """Run ``func()`` in the caller's context, and wait for it; it reaches its end in any case.

        A cancellation of the caller goes through at once, and leaves the work to the supervisor,
        which logs its error then. When the lifespan ends, see ``close``. It runs once for each call.

        Args:
            func: a coroutine function.
            name: what the log calls it.

        Raises:
            UsageError: the lifespan has ended.
            Exception: what ``func`` raised.
            RuntimeError: it was cut off: the supervisor, or the end of the event loop, cancelled it.
        """
        self._check_open(name)
        self._warn_without_lifespan(name)
        work = _Work(func, (), name)
        work.awaited = True
        self._running[work] = None
        work.child = spawn_here(self._run(work))
        try:
            await work.child.wait()
        except cancelled_type():
            work.give_up()
            raise
        finally:
            failure, work.failure = work.failure, None
        try:
            if failure is not None:
                raise failure
            if not work.completed:
                raise RuntimeError(f"{name} was cut off before its end.")
        finally:
            failure = None  # its traceback holds this frame

    def _check_open(self, name: str) -> None:
        if self._closed_in is not None and self._closed_in is loop_token():
            raise UsageError(
                f"Cannot start {name}: the app's lifespan has ended, and nobody would wait for it. "
                "Start it before the shutdown's grace is over."
            )

    async def _run(self, work: _Work) -> None:
        try:
            await work.run()
        finally:
            self._forget(work)

    def _forget(self, work: _Work) -> None:
        # Whoever waited for it does so too: a task that is cancelled before it begins never does.
        self._running.pop(work, None)

    @property
    def running(self) -> tuple[str, ...]:
        """The names of what runs now, oldest first."""
        return tuple(work.name for work in tuple(self._running))

    def open(self) -> None:
        """The lifespan has begun; after ``close`` it has begun again. Harmless when it is open."""
        self._opened = True
        self._closed_in = None

    async def close(self, grace: float) -> None:
        """The lifespan ends: wait for the work, then cancel what is left.

        What is started while it waits is waited for within the same grace. Cancelled work may await
        for 5 more seconds; if it goes on after that, it is left alone, and named in a second
        warning. A cancellation of the caller ends the grace and comes out when the work has ended.
        A second call is harmless, also during the first: the shorter grace counts.

        Args:
            grace: how long to wait before cancelling, in seconds.
        """
        try:
            with anyio.move_on_after(grace):
                while mine := self._mine():
                    await _child_of(mine[0]).wait()
                    self._forget(mine[0])
        finally:
            self._closed_in = loop_token()
            await self._cut(grace)

    def _mine(self) -> list[_Work]:
        # What a loop left that died without ending its tasks can never be waited for.
        loop = running_loop()
        return [work for work in self._running if work.loop is loop]

    async def _cut(self, grace: float) -> None:
        """Cancel what runs and wait for it, whatever happens meanwhile."""
        mine = self._mine()
        fresh = [work for work in mine if not work.cancelled]  # a call beside this one names others
        if fresh:
            names = ", ".join(work.name for work in fresh)
            logger.warning("Cancelled at shutdown (grace %g s), before its end: %s.", grace, names)
        for work in fresh:
            work.cancel()
        cancelled: BaseException | None = None
        deadline = anyio.current_time() + PATIENCE
        for work in mine:
            seconds = deadline - anyio.current_time()
            cancelled = await wait_at_most(_child_of(work), seconds) or cancelled
            if anyio.current_time() < deadline:
                self._forget(work)
        self._abandon(mine)
        try:
            if cancelled is not None:
                raise cancelled
        finally:
            cancelled = None  # its traceback holds this frame

    def _abandon(self, mine: list[_Work]) -> None:
        left = [work for work in mine if work in self._running]
        if left:
            names = ", ".join(work.name for work in left)
            logger.warning("Left alone, still running %g s after its cancel: %s.", PATIENCE, names)
        for work in left:
            self._forget(work)


def _child_of(work: _Work) -> Child:
    assert work.child is not None, "work does not close its own supervisor in its first step"
    return work.child


def _check(func: object, name: str | None) -> None:
    if not callable(func):
        if inspect.iscoroutine(func):
            func.close()  # without a warning that nobody awaited it
        raise UsageError(
            f"Expected a coroutine function, got {func!r}: "
            "write `start_soon(work, 1)`, not `start_soon(work(1))`."
        )
    if not on_asyncio():
        try:
            anyio.current_time()
        except RuntimeError:
            raise UsageError(
                f"Cannot start {name or _name_of(func)} from a thread without an event loop: call "
                "`anyio.from_thread.run_sync(app.supervisor.start_soon, work)` there."
            ) from None


def _name_of(func: object) -> str:
    while isinstance(func, functools.partial):
        func = func.func
    named: Any = func if hasattr(func, "__qualname__") else type(func)
    return f"{named.__module__}.{named.__qualname__}"
