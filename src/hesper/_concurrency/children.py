"""Child tasks that no nursery owns, and work that outlasts a cancellation."""

from __future__ import annotations

import asyncio
import functools
import gc
import sys
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context, copy_context
from logging import getLogger
from typing import Any, Protocol

import anyio

from hesper._concurrency.loops import cancelled_type, on_asyncio, running_loop

logger = getLogger("hesper")

EAGER = sys.version_info >= (3, 12)
"""Whether asyncio can start a task in the caller's own step (``eager_start``)."""


class Child(Protocol):
    """A child task."""

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        ...

    def cancel(self) -> None:
        """Ask it to stop; does not wait. Harmless when it has ended."""
        ...

    async def wait(self) -> None:
        """Wait until it has ended; a cancellation ends the wait and leaves the child alone."""
        ...

    async def join(self) -> None:
        """Wait until it has ended, whatever happens meanwhile: a cancellation of the caller is
        raised afterwards. Returns at once on a second call."""
        ...


class _AsyncioChild:
    __slots__ = ("_task",)

    def __init__(self, work: Coroutine[Any, Any, None], context: Context, eager: bool) -> None:
        loop = asyncio.get_running_loop()
        if eager:
            self._task = asyncio.Task(work, loop=loop, context=context, eager_start=True)
        else:
            self._task = asyncio.Task(work, loop=loop, context=context)

    @property
    def done(self) -> bool:
        return self._task.done()

    def cancel(self) -> None:
        self._task.cancel()

    async def wait(self) -> None:
        task = self._task
        if not task.done():
            ended: asyncio.Future[None] = task.get_loop().create_future()
            wake = functools.partial(_set_once, ended)
            task.add_done_callback(wake)
            try:
                await ended
            finally:
                task.remove_done_callback(wake)

    async def join(self) -> None:
        cancelled: asyncio.CancelledError | None = None
        while not self._task.done():
            try:
                if cancelled is None:
                    await self.wait()
                else:
                    # A cancelled anyio scope around the caller would cancel each wait again: the
                    # shield spares it that. A native cancel comes once; it is kept for later.
                    with anyio.CancelScope(shield=True):
                        await self.wait()
            except asyncio.CancelledError as exc:
                cancelled = exc
        if cancelled is not None:
            raise cancelled


def _set_once(future: asyncio.Future[None], _: object) -> None:
    if not future.done():
        future.set_result(None)


class _TrioChild:
    __slots__ = ("_ended", "_scope")

    def __init__(self, work: Coroutine[Any, Any, None], context: Context) -> None:
        import trio

        self._scope = trio.CancelScope()
        self._ended = trio.Event()
        task = trio.lowlevel.spawn_system_task(self._run, work)
        # Not as an argument: spawning enters the context, and the caller's own is entered already.
        task.context = context

    async def _run(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            with self._scope:
                await work
        finally:
            self._ended.set()

    @property
    def done(self) -> bool:
        return self._ended.is_set()

    def cancel(self) -> None:
        self._scope.cancel()

    async def wait(self) -> None:
        await self._ended.wait()

    async def join(self) -> None:
        with anyio.CancelScope(shield=True):
            await self._ended.wait()


def spawn(work: Coroutine[Any, Any, None], context: Context | None = None) -> Child:
    """Start a child task that no nursery owns; whoever spawns it joins it.

    Args:
        work: a coroutine that lets no ``Exception`` out: on trio that would end the whole run.
        context: the context to run in; a copy of the caller's if None.
    """
    if context is None:
        context = copy_context()
    if running_loop() is None:
        return _TrioChild(work, context)
    return _AsyncioChild(work, context, EAGER)


async def outlast(work: Callable[[], Awaitable[None]], seconds: float, *, late: bool) -> None:
    """Run ``work`` in the caller's own context; a cancellation of the caller waits for it.

    It runs in a child task, because nothing holds back a native cancel of one's own. The
    cancellation comes out afterwards, and an error of ``work`` then goes to the log.

    Args:
        seconds: how long a cancellation waits; then ``work`` is cancelled.
        late: whether the caller is being cancelled already, and the time runs from the beginning.
    """
    failure: Exception | None = None

    async def run() -> None:
        nonlocal failure
        try:
            await work()
        except Exception as exc:
            failure = exc

    cancelled: BaseException | None = None
    child = spawn_here(run())
    try:
        if not late:
            try:
                await child.wait()
            except cancelled_type() as exc:
                cancelled = exc
        if late or cancelled is not None:
            cancelled = await wait_at_most(child, seconds) or cancelled
            child.cancel()
            await child.join()
        if cancelled is not None:
            if failure is not None:
                logger.error("What outlasted a cancellation failed.", exc_info=failure)
            raise cancelled
        if failure is not None:
            raise failure
    finally:
        failure = cancelled = None  # their tracebacks hold this frame


async def wait_at_most(child: Child, seconds: float) -> BaseException | None:
    """Wait for a child, whatever happens meanwhile; gives a native cancel that did."""
    cancelled: BaseException | None = None
    with anyio.move_on_after(seconds, shield=True) as limit:
        while True:
            try:
                await child.wait()
                break
            except cancelled_type() as exc:
                if limit.cancel_called:
                    raise
                cancelled = exc
    return cancelled


def spawn_here(work: Coroutine[Any, Any, None]) -> Child:
    """A child task in the caller's own context, which it cannot enter before the caller waits."""
    if on_asyncio():
        task = asyncio.current_task()
        assert task is not None
        return _AsyncioChild(work, _context_of(task), eager=False)
    import trio

    return _TrioChild(work, trio.lowlevel.current_task().context)


def _context_of(task: object) -> Context:
    get_context: Callable[[], Context] | None = getattr(task, "get_context", None)
    if get_context is not None:
        return get_context()
    # 3.11 does not give it, but its garbage collector knows it; it is the first that it visits.
    return next(each for each in gc.get_referents(task) if isinstance(each, Context))
