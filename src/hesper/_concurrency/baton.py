"""A signal whose waiter goes on at once, inside of ``set``: what a relay hands over last.

On asyncio a future's waiter goes on in the loop's next turn, and whoever waits for the waiter in the
one after: 4 µs for two tasks of which one only has to return. The waiter is a task, so it is stepped
as a task: in its own context, and as the current one ("Extending asyncio" in Python's documentation
has ``_enter_task`` and ``_leave_task`` for that).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextvars import Context
from typing import Any

import anyio

from hesper._concurrency.loops import Signal, running_loop


class _AsyncioBaton:
    """As much of a future as a task needs of what it waits for."""

    __slots__ = (
        "_asyncio_future_blocking",
        "_callback",
        "_cancelled",
        "_context",
        "_done",
        "_loop",
        "_message",
    )

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._asyncio_future_blocking = False
        self._callback: Callable[[Any], object] | None = None
        self._context: Context | None = None
        self._done = False
        self._cancelled = False
        self._message: Any = None

    def set(self) -> None:
        if self._done:
            return
        self._done = True
        callback, context = self._callback, self._context
        task = asyncio.current_task()
        if callback is None or context is None or task is None:
            self._wake_later()
            return
        asyncio._leave_task(self._loop, task)
        try:
            context.run(callback, self)
        except RuntimeError:  # no context can be entered twice, and it is the setter's own
            self._wake_later()
        finally:
            asyncio._enter_task(self._loop, task)

    def wait(self) -> _AsyncioBaton:
        return self

    def __await__(self) -> Generator[Any, None, None]:
        if not self._done:
            self._asyncio_future_blocking = True
            yield self
        self.result()

    # What the waiting task calls.

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def add_done_callback(
        self, callback: Callable[[Any], object], *, context: Context | None = None
    ) -> None:
        self._callback, self._context = callback, context
        if self._done:  # meanwhile: between this and the waiter's task stands who drives it
            self._wake_later()

    def cancel(self, msg: Any = None) -> bool:
        if self._done:
            return False
        self._done = self._cancelled = True
        self._message = msg
        self._wake_later()
        return True

    def result(self) -> None:
        if self._cancelled:
            # anyio knows the cancels of its scopes by their message.
            raise asyncio.CancelledError(*(() if self._message is None else (self._message,)))

    def _wake_later(self) -> None:
        if self._callback is not None:
            self._loop.call_soon(self._callback, self, context=self._context)


def new_baton() -> Signal:
    """A new signal with one waiter, which goes on inside of ``set`` where the loop allows it."""
    return anyio.Event() if running_loop() is None else _AsyncioBaton()
