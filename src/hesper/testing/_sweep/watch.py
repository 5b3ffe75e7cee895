"""Counts the suspensions of an application's tasks, and strikes at one of them.

The law: every task of the loop runs inside a `Watched`, which hands each step on unchanged. So a
checkpoint is the same thing on asyncio and on trio: a task of the application gives way.

A task is the application's if it is the one that the server made for the request, or was made by
such a task, which a context variable tells.
"""

import asyncio
import ctypes
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, ContextVar, copy_context
from typing import Any

from hesper.testing._sweep.frames import Arrival, Place, awaiting, cleanup_in, places

_OWNER: ContextVar["Watch | None"] = ContextVar("hesper_sweep", default=None)


class Killed(BaseException):
    """Ends a task that would not end by itself, once the run has been judged."""


_NOWHERE = Arrival(None, BaseException)

# A task that survives so many `Killed` is let go of without another step.
_MOST_KILLS = 50


class Watch:
    """What is known of the application's tasks in one run.

    Args:
        cancelled: the exception class of a cancellation.
        most_steps: how many suspensions, from the strike on, are too many.
    """

    def __init__(self, cancelled: type[BaseException], most_steps: int) -> None:
        self.cancelled = cancelled
        self.most_steps = most_steps
        self.checkpoints = 0
        """How many suspensions there were."""
        self.entered: Watched | None = None
        """The request's task, once the application is called."""
        self.living: dict[Watched, None] = {}
        """The application's tasks that have not ended."""
        self.cuts: list[Place] = []
        """Where a cleanup was broken off by a cancellation."""
        self.running: Watched | None = None
        self.killing = False
        self.ended = False
        self.stack: tuple[Place, ...] = ()
        """Where the application stood when it was struck."""
        self.struck = False
        self.trace: Callable[[tuple[Place, ...]], None] | None = None
        """Called with the stack at each checkpoint."""
        self.on_overrun: Callable[[], None] = lambda: None
        self._at = 0
        self._cancels = 0
        self._budget = most_steps
        self._strike: Callable[[], None] = lambda: None
        self.outside: Context = copy_context()
        self.soon: Callable[[Callable[[], None]], None] = lambda call: None
        """Calls a function when the loop has dealt with the step that is being taken."""

    def arm(self, at: int, strike: Callable[[], None]) -> None:
        """Calls ``strike`` at that checkpoint, outside of the application's context."""
        self.outside = copy_context()
        self._at, self._strike = at, strike

    def enter(self) -> None:
        """Marks the task that runs, and what it is going to make, as the application's."""
        task = self.entered = self.running
        assert task is not None
        task.mine = True
        self.living[task] = None
        _OWNER.set(self)

    def leave(self) -> int:
        """Marks the request's task as the server's again; returns how often it was
        cancelled since the strike."""
        self.ended = True
        self.aside()
        task = self.entered
        assert task is not None
        task.mine = False
        self.living.pop(task, None)
        return task.cancels - self._cancels

    def owns(self, context: Context | None = None) -> bool:
        """Returns whether a context, by default the current one, is the application's."""
        return (_OWNER.get() if context is None else context.get(_OWNER)) is self

    def aside(self) -> None:
        """Makes what the running task is going to make the server's, until `enter_again`."""
        _OWNER.set(None)

    def enter_again(self) -> None:
        """Ends `aside`."""
        _OWNER.set(self)

    def struck_now(self, stack: tuple[Place, ...]) -> None:
        """Notes that the run was disturbed now, and counts its steps anew."""
        self.struck, self.stack = True, stack
        self._budget = self.checkpoints + self.most_steps
        self._cancels = 0 if self.entered is None else self.entered.cancels

    def overrun(self) -> bool:
        """Returns whether the application took more steps than it may."""
        return self.checkpoints > self._budget

    def checkpoint(self, task: "Watched") -> None:
        """Notes that a task of the application was suspended."""
        if self.ended:
            return
        self.checkpoints += 1
        if self.trace is not None:
            self.trace(places(awaiting(task.inner)))
        if self.checkpoints == self._at:
            self.struck_now(places(awaiting(task.inner)))
            self.soon(self._strike)
        if self.checkpoints == self._budget + 1:
            self.soon(self.on_overrun)

    # What the loops call.

    def task_factory(
        self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any
    ) -> "asyncio.Task[Any]":
        """An asyncio task factory."""
        mine = self.owns(options.get("context"))
        return _Task(Watched(coroutine, self, mine), loop=loop, **options)

    def task_spawned(self, task: Any) -> None:
        """A method of a trio instrument; trio resumes what `task.coro` is from then on."""
        task.coro = Watched(task.coro, self, self.owns(task.context))


class _Task(asyncio.Task[Any]):
    """A task that sets order by its age, and not by its address: runs are the same each time."""

    _made = 0

    def __init__(self, coroutine: Any, **options: Any) -> None:
        _Task._made += 1
        self._number = _Task._made
        super().__init__(coroutine, **options)

    def __hash__(self) -> int:
        return self._number


class Watched(Coroutine[Any, Any, Any]):
    """A task's coroutine, step by step."""

    def __init__(self, inner: Any, watch: Watch, mine: bool) -> None:
        self.inner = inner
        self.mine = mine
        self._watch = watch
        self.cancels = 0
        """How many cancellations have arrived in it."""
        self._kills = 0
        if mine:
            watch.living[self] = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)  # cr_frame and the like, which loops look at

    def __await__(self) -> Generator[Any, Any, Any]:
        return self.inner.__await__()  # type: ignore[no-any-return]

    def close(self) -> None:
        self.inner.close()

    def send(self, value: Any) -> Any:
        # trio sends outcomes; asyncio sends None, and throws.
        return self._step(self.inner.send, value, getattr(value, "error", None))

    def throw(self, error: Any, *rest: Any) -> Any:
        return self._step(self.inner.throw, error, error)

    def _step(self, resume: Callable[[Any], Any], value: Any, error: Any) -> Any:
        watch = self._watch
        if self.mine and watch.killing:
            resume, value = self._kill()
        arrival = self._receive(error) if self.mine and error is not None else _NOWHERE
        outer, watch.running = watch.running, self
        try:
            with arrival:
                suspended = resume(value)
        except BaseException:
            # StopIteration as well: it is how a coroutine returns.
            watch.living.pop(self, None)
            raise
        finally:
            watch.running = outer
            watch.cuts += arrival.places
        if self.mine:
            watch.checkpoint(self)
        return suspended

    def _receive(self, error: Any) -> Arrival:
        """Notes a cancellation; a second one may hit what the first one made the task do, unless a
        timeout inside of it, or a shield, keeps it from it."""
        if not isinstance(error, self._watch.cancelled):
            return _NOWHERE
        self.cancels += 1
        if self.cancels == 1 or self._watch.killing:
            return _NOWHERE
        return Arrival(cleanup_in(awaiting(self.inner)), self._watch.cancelled)

    def _kill(self) -> tuple[Callable[[Any], Any], Any]:
        self._kills += 1
        if self._kills > _MOST_KILLS:
            # It may not even be destroyed: that would throw into it once more, and without a loop
            # it might go round for ever.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self.inner))
            return _return, None
        return self.inner.throw, Killed()


def _return(_: Any) -> Any:
    raise StopIteration
