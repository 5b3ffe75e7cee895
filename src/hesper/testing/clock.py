"""An asyncio event loop on which time is virtual: nobody ever waits for a timer.

The law: the clock stands still while anything can run, and jumps to the next timer when only the
clock can bring something about. Where something outside of the loop is at work, a thread or a
socket, time is real: how long they take is not the loop's to decide, and a jump over a timeout
would accuse them falsely.

"At work" means: a call by `loop.run_in_executor`; a thread with a `queue` in which a task is not
done, which is how anyio's worker threads are built; any file descriptor besides the loop's own.
"""

import asyncio
import math
import queue
import selectors
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

# Loops poll this often, in seconds, for the end of a thread that may end without waking them.
_POLL = 0.01


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A selector event loop whose `time` starts at 0 and jumps."""

    def __init__(self) -> None:
        self._now = 0.0
        self._executor_calls = 0
        self._watched = _JumpingSelector()
        self._watched.loop = self
        super().__init__(self._watched)

    def time(self) -> float:
        """Returns the virtual time in seconds."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Moves the clock forward by so many seconds; due timers run at the loop's next turn."""
        self._now += seconds

    def busy_outside(self) -> bool:
        """Returns whether a thread or a socket is at work, so that time must be real."""
        return (
            self._executor_calls > 0
            # The loop's own file descriptor is the pipe that wakes it up.
            or len(self._watched.get_map()) > 1
            or any(map(_has_work, threading.enumerate()))
        )

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> "asyncio.Future[Any]":
        """Runs a function in a thread; time is real until it is done."""
        future = super().run_in_executor(executor, func, *args)
        self._executor_calls += 1
        future.add_done_callback(self._executor_done)
        return future

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Waits for the executor's threads, for real; `asyncio.Runner` gives them five minutes."""
        self._executor_calls += 1
        try:
            await super().shutdown_default_executor(*([] if timeout is None else [timeout]))
        finally:
            self._executor_calls -= 1

    def _executor_done(self, future: "asyncio.Future[Any]") -> None:
        self._executor_calls -= 1


class _JumpingSelector(selectors.DefaultSelector):
    """Asked to wait for a timer, it moves the clock instead."""

    loop: VirtualTimeLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None:
            if timeout <= 0 or not self.loop.busy_outside():
                ready = super().select(0)
                if not ready:
                    self.loop.advance(max(timeout, 0.0))
                return ready
            timeout = min(timeout, _POLL)
        began = time.monotonic()
        ready = super().select(timeout)
        self.loop.advance(time.monotonic() - began)
        return ready


def _has_work(thread: threading.Thread) -> bool:
    tasks = getattr(thread, "queue", None)
    return isinstance(tasks, queue.Queue) and tasks.unfinished_tasks > 0


def virtual_time_loop_factory(
    *, debug: bool = False, eager: bool = False
) -> Callable[[], VirtualTimeLoop]:
    """Returns a factory for `asyncio.Runner`, or for the ``loop_factory`` option of anyio.

    Args:
        debug: sets asyncio's debug mode.
        eager: starts tasks eagerly, with `asyncio.eager_task_factory`; needs Python 3.12.

    Raises:
        RuntimeError: ``eager`` on an older Python.
    """
    if eager and sys.version_info < (3, 12):
        raise RuntimeError("eager tasks need Python 3.12 or newer; call it with eager=False")

    def make_loop() -> VirtualTimeLoop:
        loop = VirtualTimeLoop()
        loop.set_debug(debug)
        if eager:
            loop.set_task_factory(asyncio.eager_task_factory)
        return loop

    return make_loop


def trio_virtual_time_options() -> dict[str, Any]:
    """Returns options for `trio.run`, or anyio's backend options, that do the same on trio.

    They hold trio's `MockClock`, which jumps at once when all tasks are blocked, and an instrument
    that makes its time real while a thread of the default limiter works.
    """
    from trio.testing import MockClock

    clock = MockClock(autojump_threshold=0)
    return {"clock": clock, "instruments": [_RealTimeForThreads(clock)]}


class _RealTimeForThreads:
    """A trio instrument: a thread is counted from the step in which its caller blocks."""

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self._real = False

    def after_task_step(self, task: Any) -> None:
        from trio.to_thread import current_default_thread_limiter

        busy = current_default_thread_limiter().borrowed_tokens > 0
        if busy is not self._real:
            self._real = busy
            self._clock.rate = 1.0 if busy else 0.0
            self._clock.autojump_threshold = math.inf if busy else 0.0
