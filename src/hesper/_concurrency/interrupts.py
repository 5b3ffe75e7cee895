"""A stretch of a task's own code that another task may cancel, once."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Protocol

import anyio

from hesper._concurrency.loops import on_asyncio


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

    def cancelled_natively(self) -> bool:
        """Whether one came, or an interruption that is one: the task's count is above the one at
        the start. Always false on trio, where scopes tell."""
        ...

    def __enter__(self) -> Interruptible: ...

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool: ...


class AsyncioInterruptible:
    """By a native cancel, with the accounting of ``asyncio.timeout``."""

    __slots__ = ("_baseline", "_cancels", "_handle", "_masked", "_task", "interrupted")

    def __init__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._baseline = task.cancelling()
        self._handle: asyncio.Handle | None = None
        self._masked = False
        self._cancels = 0
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
            self._cancel()

    def _cancel(self) -> None:
        self._cancels += 1
        self._task.cancel()

    def mask(self) -> None:
        self._masked = True

    def unmask(self) -> None:
        self._masked = False
        if self._handle is not None and not self.interrupted:
            self._handle.cancel()
            self._handle = self._task.get_loop().call_soon(self._deliver)

    def cancelled_from_outside(self) -> bool:
        return self._task.cancelling() > self._baseline + self._cancels

    def cancelled_natively(self) -> bool:
        return self._task.cancelling() > self._baseline

    def __enter__(self) -> AsyncioInterruptible:
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
        for _ in range(self._cancels):
            left = self._task.uncancel()
        theirs = left > self._baseline
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

    def cancelled_natively(self) -> bool:
        return False

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
    return AsyncioInterruptible() if on_asyncio() else _ScopeInterruptible()


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
