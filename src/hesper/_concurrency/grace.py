"""Cancelled code that may still await, for a bounded time."""

from __future__ import annotations

import math
import sys
from collections.abc import Awaitable, Generator, Iterator
from types import TracebackType, coroutine
from typing import Any, TypeVar

import anyio

from hesper._concurrency.interrupts import Interruptible
from hesper._concurrency.loops import cancelled_type, checkpoint, on_asyncio, trio_task
from hesper._concurrency.suspended import waits_in_trios_checkpoint

T = TypeVar("T")

_innermost: dict[object, Grace] = {}
"""On trio: of each task, the grace that runs its code. One inside of another cannot see past the
other's shield by itself."""

_LOWEST = -sys.float_info.max
"""A deadline below all others; a cancelled scope says minus infinity."""


class Grace:
    """Runs awaitables so that a cancel reaches them once, and then gives them time to clean up.

    anyio and trio cancel every further await of a cancelled block, so a ``finally`` that awaits
    dies. Here an inner scope, ``with grace:``, takes the place of the user's shield: at the step
    where the cancel arrives it is shielded, and at the next wait its deadline is set. The code sees
    one cancel, may await for ``seconds``, and is cut when they are over.

    Whose cancel it is decides. One of a scope of the awaited code itself (a ``move_on_after`` around
    a queue) is its own affair; one of the outside is final. How that is told:

    - On asyncio from the task's count of cancels, which scopes and timeouts take back at their end.
      It is looked at again after each step.
    - On trio from the scopes around the place where the cancel arrives. If one of the code's own is
      cancelled there, what is around it cannot be seen. (A task group is, as soon as one of its
      tasks heard of the cancel.) So that is asked as soon as the code has left it.

    trio's ``checkpoint()`` is a place of its own: it looks whether its task is cancelled, and waits
    for that in a cancelled scope of its own. So a cancel is delivered before ``checkpoint()`` looks.

    With ``any_cancel=False`` it concerns the interruption of ``stretch`` alone; what cancels the code
    otherwise reaches it as it reaches any code.

    The order of scopes matters: ``with interruptible() as stretch: with Grace(stretch, 5) as grace:``.
    """

    __slots__ = (
        "_any_cancel",
        "_around",
        "_asked",
        "_cancelled_type",
        "_final",
        "_scope",
        "_seconds",
        "_stretch",
        "_task",
        "armed",
        "cause",
    )

    def __init__(self, stretch: Interruptible, seconds: float, *, any_cancel: bool = True) -> None:
        self._stretch = stretch
        self._any_cancel = any_cancel
        self._seconds = seconds
        self._scope = anyio.CancelScope()
        self._asked = False
        self._final = False
        self._cancelled_type = cancelled_type()
        self._task = trio_task()
        self._around: Grace | None = None
        self.armed = False
        """Whether the grace time runs: a cancel came from outside of the awaited code."""
        self.cause: BaseException | None = None
        """The cancellation that arrived last, to be raised again if the awaited code swallowed it;
        not the cut at the end of the grace time."""

    def __enter__(self) -> Grace:
        if self._task is not None:
            self._around = _innermost.get(self._task)
            _innermost[self._task] = self
        self._scope.__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if self._around is not None:
            _innermost[self._task] = self._around
        elif self._task is not None:
            del _innermost[self._task]
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
        self._final = True
        self._arm()

    def _arm(self) -> None:
        self._asked = False
        if not self.armed:
            self.armed = True
            self._stretch.mask()
            self._scope.shield = True
            self._scope.deadline = anyio.current_time() + self._seconds

    def _disarm(self) -> None:
        self.cause = None
        self._asked = self.armed = False
        self._scope.shield = False
        self._scope.deadline = math.inf
        self._stretch.unmask()

    def settle(self) -> BaseException | None:
        """After an awaitable ended: what cancelled it from outside, so that nothing may follow."""
        if self._asked or self.armed:
            self._confirm()
            if self._asked and not _in_a_cancelled_scope():
                return None  # only a shield of the code's own is still in the way
        return self.cause

    def _arrived(self, cancelled: BaseException) -> None:
        # Here, because the code may enter and leave scopes before it waits again.
        if not (self._any_cancel or self._stretch.interrupted):
            return  # a shield, if only for a step, would let scopes inside take it for theirs
        somewhere = self._sees_cancel()
        self._scope.shield = True
        inside = _in_a_cancelled_scope()
        if not (self.armed and inside):
            self.cause = cancelled
        if not self.armed:
            self._asked = True
            self._final = somewhere and not inside

    def _confirm(self) -> None:
        if not (self._final or on_asyncio()):
            if not self._can_see_outside():
                return
            self._scope.shield = False
            self._final = self._sees_cancel()
            self._scope.shield = True
        if self._final or self._stretch.cancelled_natively():
            self._arm()
        else:
            self._disarm()

    def _can_see_outside(self) -> bool:
        """On trio: whether the code is in no cancelled scope of its own, nor in a shield."""
        scope = self._scope
        scope.deadline = _LOWEST  # trio does not look at it before the task waits again
        seen = anyio.current_effective_deadline() == _LOWEST
        scope.deadline = math.inf
        return seen

    def _sees_cancel(self) -> bool:
        """Whether a scope around the running code is cancelled, past a grace around this one."""
        around = self._around
        return _in_a_cancelled_scope() or (around is not None and around._hides_cancel())

    def _hides_cancel(self) -> bool:
        """Whether a grace inside of this one is cancelled from outside of it, and can't see that."""
        scope = self._scope
        shield, scope.shield = scope.shield, False
        try:
            return self._stretch.interrupted or self._sees_cancel()
        finally:
            scope.shield = shield

    def was_asked_for(self) -> bool:
        """Whether anybody outside has asked for a cancel; to be called when the code is closed."""
        scope = self._scope
        shield, scope.shield = scope.shield, False
        try:
            return self._stretch.cancelled_natively() or self._sees_cancel()
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
                    if sent is not None and _has_to_be_cancelled(sent, steps):
                        yield from checkpoint().__await__()  # raises it
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


def _in_a_cancelled_scope() -> bool:
    """Whether a scope around the running code is cancelled, up to the next shield."""
    return anyio.current_effective_deadline() == -math.inf


def _has_to_be_cancelled(outcome: Any, steps: Iterator[Any]) -> bool:
    """Whether trio resumes ``checkpoint()`` without a cancel, and it would find one next."""
    return (
        getattr(outcome, "error", None) is None
        and _in_a_cancelled_scope()
        and waits_in_trios_checkpoint(steps)
    )
