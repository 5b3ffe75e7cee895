"""The one seam to the event loop: asyncio by hand where that is faster, anyio for everything else.

What differs between the loops has one form here:

- ``spawn``: a child task that may be started in the middle of a handler, where no nursery can be
  opened. asyncio: a task, eager on 3.12+ (it runs at once up to its first real wait, about 2 µs
  against 15 µs for a task that goes through the loop). trio: a system task in a scope of its own.
- ``interruptible``: a stretch of a task's own code that another task may cancel, once. asyncio:
  ``Task.cancel`` with the accounting of ``asyncio.timeout``, so that a real cancellation which comes
  at the same moment is still seen. trio: a cancel scope.
- ``Grace``: code that is cancelled gets the cancel once and may then await, for a bounded time.
- ``run_in_thread``: context variables that a thread sets come back.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import math
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import Context, copy_context
from logging import getLogger
from types import TracebackType, coroutine
from typing import Any, Protocol, TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread

logger = getLogger("hesper")
T = TypeVar("T")

EAGER = sys.version_info >= (3, 12)
"""Whether asyncio can start a task in the caller's own step (``eager_start``)."""

_get_running_loop = asyncio._get_running_loop


def on_asyncio() -> bool:
    """Whether the caller runs on asyncio; 40 ns, where asking which library runs takes 1 µs."""
    return _get_running_loop() is not None


async def checkpoint() -> None:
    """Let other tasks run once; a pending cancellation of the caller is raised here."""
    if _get_running_loop() is not None:
        await asyncio.sleep(0)
    else:
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


# -- child tasks ----------------------------------------------------------------------------------


class Child(Protocol):
    """A child task."""

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
    return _AsyncioChild(work, context, EAGER) if on_asyncio() else _TrioChild(work, context)


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
    child = _spawn_here(run())
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


def _spawn_here(work: Coroutine[Any, Any, None]) -> Child:
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


# -- a stretch that may be interrupted --------------------------------------------------------------


class Interruptible(Protocol):
    """A ``with`` block that ``interrupt()``, called from another task, cancels once.

    The block's own cancellation ends with the block; every other one goes through.
    """

    interrupted: bool
    """Whether ``interrupt()`` was called and took effect."""

    def interrupt(self) -> None:
        """Cancel the block's code, at its current wait or at the next one. Call it inside."""
        ...

    def mask(self) -> None:
        """Put ``interrupt()`` off: what runs now was cancelled before, or must come to its end."""
        ...

    def unmask(self) -> None:
        """Let an interruption that was put off take effect."""
        ...

    def cancelled_from_outside(self) -> bool:
        """Whether a native cancellation of the task came since the block was entered."""
        ...

    def __enter__(self) -> Interruptible: ...

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool: ...


class _AsyncioInterruptible:
    __slots__ = ("_baseline", "_handle", "_masked", "_task", "interrupted")

    def __init__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._baseline = task.cancelling()
        self._handle: asyncio.Handle | None = None
        self._masked = False
        self.interrupted = False

    def interrupt(self) -> None:
        # Not at once: an eager child may call this inside the task's own step, and a cancel that
        # is asked for there could arrive after the block. A callback of the loop finds the task
        # suspended, so the cancel arrives in the block or, if that has ended, is called off.
        if self._handle is None:
            self._handle = self._task.get_loop().call_soon(self._deliver)

    def _deliver(self) -> None:
        if not self._masked:
            self.interrupted = True
            self._task.cancel()

    def mask(self) -> None:
        self._masked = True

    def unmask(self) -> None:
        self._masked = False
        if self._handle is not None and not self.interrupted:
            self._handle.cancel()
            self._handle = self._task.get_loop().call_soon(self._deliver)

    def cancelled_from_outside(self) -> bool:
        return self._task.cancelling() > self._baseline + self.interrupted

    def __enter__(self) -> _AsyncioInterruptible:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if self._handle is None:
            return False
        self._handle.cancel()
        if not self.interrupted:
            return False
        # As asyncio.timeout does: a count above the one at the start means that somebody else
        # cancelled the task too, and the two requests arrived as one CancelledError.
        theirs = self._task.uncancel() > self._baseline
        return isinstance(exc, asyncio.CancelledError) and not theirs


class _ScopeInterruptible:
    __slots__ = ("_scope", "interrupted")

    def __init__(self) -> None:
        self._scope = anyio.CancelScope()
        self.interrupted = False

    def interrupt(self) -> None:
        self.interrupted = True
        self._scope.cancel()

    def mask(self) -> None:
        pass  # a shield inside of the scope does it

    def unmask(self) -> None:
        pass

    def cancelled_from_outside(self) -> bool:
        return False  # there is no native cancel on trio: scopes tell, and Grace asks them

    def __enter__(self) -> _ScopeInterruptible:
        self._scope.__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        return bool(self._scope.__exit__(exc_type, exc, traceback))


def interruptible() -> Interruptible:
    """A new block that may be interrupted, for the current task."""
    return _AsyncioInterruptible() if on_asyncio() else _ScopeInterruptible()


def deliver_again(cancelled: BaseException) -> None:
    """Let a cancellation that the caller caught arrive once more, at its next wait.

    Scopes do that by themselves; a native cancel on asyncio comes once. If whoever asked for it
    takes it back meanwhile (a timeout whose block has ended), it stays away.
    """
    if on_asyncio():
        task = asyncio.current_task()
        assert task is not None
        count = task.cancelling()
        if count:
            task.get_loop().call_soon(_cancel_again, task, count, cancelled.args)


def _cancel_again(task: asyncio.Task[Any], count: int, args: tuple[Any, ...]) -> None:
    if task.cancelling() >= count:
        task.uncancel()
        task.cancel(*args)


# -- cancelled code that may still await -----------------------------------------------------------


class Grace:
    """Runs awaitables so that a cancel reaches them once, and then gives them time to clean up.

    anyio and trio cancel every further await of a cancelled block, so a ``finally`` that awaits
    dies. Here an inner scope, ``with grace:``, takes the place of the user's shield: at the step
    where the cancel arrives it is shielded, and at the next wait its deadline is set, unless the
    cancel turns out to belong to a scope of the awaited code itself (a ``move_on_after`` around a
    queue). As long as that scope is open the two look alike, so the question is asked again at each
    step. The code sees one cancel, may await for ``seconds``, and is cut when they are over.

    The order of scopes matters: ``with interruptible() as stretch: with Grace(stretch, 5) as grace:``.
    """

    __slots__ = ("_asked", "_cancelled_type", "_scope", "_seconds", "_stretch", "armed", "cause")

    def __init__(self, stretch: Interruptible, seconds: float) -> None:
        self._stretch = stretch
        self._seconds = seconds
        self._scope = anyio.CancelScope()
        self._asked = False
        self._cancelled_type = cancelled_type()
        self.armed = False
        """Whether the grace time runs: a cancel came from outside of the awaited code."""
        self.cause: BaseException | None = None
        """The cancellation that arrived last, to be raised again if the awaited code swallowed it;
        not the cut at the end of the grace time."""

    def __enter__(self) -> Grace:
        self._scope.__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        cause, self.cause = self.cause, None
        caught = bool(self._scope.__exit__(exc_type, exc, traceback))
        if cause is None or not self.exceeded:
            return caught
        try:
            raise cause  # the end of the grace time must not stand in for what was asked before
        finally:
            del cause  # its traceback holds this frame

    @property
    def exceeded(self) -> bool:
        """Whether the grace time was over before the code had ended."""
        return self._scope.cancel_called

    def arm(self) -> None:
        """Start the grace time: from here on nothing but its end, and a native cancel, cancels."""
        self._asked = False
        if not self.armed:
            self.armed = True
            self._stretch.mask()
            self._scope.shield = True
            self._scope.deadline = anyio.current_time() + self._seconds

    def settle(self) -> BaseException | None:
        """After an awaitable ended: what cancelled it from outside, so that nothing may follow."""
        if self._asked or self.armed:
            self._confirm()
        return self.cause

    def _confirm(self) -> None:
        # Only with the shield down does the deadline tell about the scopes outside of it. Nothing
        # is delivered meanwhile: the task is running.
        scope = self._scope
        self._asked = False
        scope.shield = False
        if self._cancelled_from_outside():
            scope.shield = True
            self.arm()
            return
        self.cause = None
        if self.armed:
            self.armed = False
            scope.deadline = math.inf
            self._stretch.unmask()

    def _cancelled_from_outside(self) -> bool:
        return (
            self._stretch.interrupted
            or self._stretch.cancelled_from_outside()
            or anyio.current_effective_deadline() == -math.inf
        )

    def was_asked_for(self) -> bool:
        """Whether anybody outside has asked for a cancel; to be called when the code is closed."""
        scope = self._scope
        shield, scope.shield = scope.shield, False
        try:
            return self._cancelled_from_outside()
        finally:
            scope.shield = shield

    @coroutine
    def run(self, awaitable: Awaitable[T]) -> Generator[Any, Any, T]:
        """Await ``awaitable``, step by step, under the rules above."""
        steps = awaitable.__await__()
        try:
            trap = next(steps)
            while True:
                try:
                    sent = yield trap
                except BaseException as exc:  # asyncio throws its cancel in
                    if isinstance(exc, self._cancelled_type):
                        self._arrived(exc)
                    trap = steps.throw(exc)
                else:
                    # trio resumes with an outcome that holds its cancel
                    error = getattr(sent, "error", None)
                    if isinstance(error, self._cancelled_type):
                        self._arrived(error)
                    trap = next(steps) if sent is None else steps.send(sent)
                if self._asked or self.armed:
                    self._confirm()
        except StopIteration as done:
            result: T = done.value
            return result

    def _arrived(self, cancelled: BaseException) -> None:
        if not self._scope.cancel_called:
            self.cause = cancelled
        if not self.armed:
            self._asked = True
            self._scope.shield = True


# -- threads ---------------------------------------------------------------------------------------


class _Turn:
    """A call in a worker thread that can be waited for after a native cancel has cut its ``await``."""

    __slots__ = ("_abandoned", "_lock", "_work")

    def __init__(self, work: Callable[[], Any]) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._abandoned = False

    def __call__(self) -> Any:
        with self._lock:
            return None if self._abandoned else self._work()

    def _wait(self) -> None:
        with self._lock:
            pass

    async def settle(self) -> None:
        """Do not begin any more; wait if it has begun."""
        self._abandoned = True
        with anyio.CancelScope(shield=True):
            while self._lock.locked():
                try:
                    await anyio.to_thread.run_sync(self._wait)
                except asyncio.CancelledError:
                    pass  # one more of the same; the first is raised afterwards


async def run_in_thread(func: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Run a sync function in a worker thread; context variables that it sets are set here too.

    A cancellation waits for the thread, which cannot be stopped: nothing outlives the call. anyio
    sees to that for its scopes, but a native ``Task.cancel`` would leave the thread behind.
    """
    context = copy_context()
    turn = _Turn(functools.partial(context.run, func, *args, **kwargs))
    try:
        result: T = await anyio.to_thread.run_sync(turn)
    except asyncio.CancelledError:
        await turn.settle()
        raise
    finally:
        adopt(context)
    return result


def adopt(context: Context) -> None:
    """Set, in the current context, the variables that ``context`` has with another value."""
    for variable, value in context.items():
        try:
            if variable.get() is value:
                continue
        except LookupError:
            pass
        variable.set(value)
