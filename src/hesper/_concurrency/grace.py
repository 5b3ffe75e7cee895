"""Cancelled code that may still await, for a bounded time."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Generator
from types import TracebackType, coroutine
from typing import Any, TypeVar

import anyio

from hesper._concurrency.interrupts import Interruptible
from hesper._concurrency.loops import cancelled_type, trio_task

T = TypeVar("T")

_innermost: dict[object, Grace] = {}
"""On trio: of each task, the grace that runs its code. One inside of another cannot see past the
other's shield by itself."""


class Grace:
    """Runs awaitables so that a cancel reaches them once, and then gives them time to clean up.

    anyio and trio cancel every further await of a cancelled block, so a ``finally`` that awaits
    dies. Here an inner scope, ``with grace:``, takes the place of the user's shield: at the step
    where the cancel arrives it is shielded, and at the next wait its deadline is set, unless the
    cancel turns out to belong to a scope of the awaited code itself (a ``move_on_after`` around a
    queue). As long as that scope is open the two look alike, so the question is asked again at each
    step. The code sees one cancel, may await for ``seconds``, and is cut when they are over.

    With ``any_cancel=False`` it concerns the interruption of ``stretch`` alone; what cancels the code
    otherwise reaches it as it reaches any code.

    The order of scopes matters: ``with interruptible() as stretch: with Grace(stretch, 5) as grace:``.
    """

    __slots__ = (
        "_any_cancel",
        "_around",
        "_asked",
        "_cancelled_type",
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
        if self._stretch.interrupted or not self._any_cancel:
            return self._stretch.interrupted
        return (
            self._stretch.cancelled_from_outside()
            or anyio.current_effective_deadline() == -math.inf
            or (self._around is not None and self._around._hides_cancel())
        )

    def _hides_cancel(self) -> bool:
        """Whether a grace inside of this one is cancelled from outside of it, and can't see that."""
        scope = self._scope
        shield, scope.shield = scope.shield, False
        try:
            return (
                self._stretch.interrupted
                or anyio.current_effective_deadline() == -math.inf
                or (self._around is not None and self._around._hides_cancel())
            )
        finally:
            scope.shield = shield

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
        if not (self._any_cancel or self._stretch.interrupted):
            return  # a shield, if only for a step, would let scopes inside take it for theirs
        if not self._scope.cancel_called:
            self.cause = cancelled
        if not self.armed:
            self._asked = True
            self._scope.shield = True
