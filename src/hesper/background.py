"""Work that a response leaves for after its end.

The law (E8): every task runs, in order; the first error comes out when all have run, and no error
is lost. A cancellation is no error: it stops the rest and goes through at once.

When they run is the rim's affair: after the response has ended, whether or not the client stayed.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from logging import getLogger
from typing import Any, ParamSpec

from hesper._concurrency import run_in_thread
from hesper._utils import is_async_callable
from hesper.exceptions import ClientDisconnect

__all__ = ["BackgroundTask", "BackgroundTasks"]

P = ParamSpec("P")

logger = getLogger("hesper")


class BackgroundTask:
    """A function to call after the response, with its arguments.

    Args:
        func: a coroutine function, or a sync function, which runs in a worker thread.

    Awaiting the call runs it, each time. It raises what ``func`` raises. A cancellation reaches a
    coroutine function at once, and waits for a thread.
    """

    def __init__(self, func: Callable[P, Any], *args: P.args, **kwargs: P.kwargs) -> None:
        self.func = func
        self.args = args
        self.kwargs = kwargs
        self.is_async = is_async_callable(func)

    async def __call__(self) -> None:
        """Run the function to its end."""
        if self.is_async:
            await self.func(*self.args, **self.kwargs)
        else:
            await call_sync(self.func, *self.args, **self.kwargs)


class BackgroundTasks(BackgroundTask):
    """Several tasks, run one after the other.

    Args:
        tasks: the first ones; more with ``add_task``, also while they run.

    A task that fails does not stop the next. When all have run, the first error is raised, the same
    object; the others are logged. That a client left (``ClientDisconnect``) gives way to any other
    error and is not logged. A cancellation stops the rest.
    """

    def __init__(self, tasks: Sequence[BackgroundTask] | None = None) -> None:
        self.tasks = list(tasks) if tasks else []

    def add_task(self, func: Callable[P, Any], *args: P.args, **kwargs: P.kwargs) -> None:
        """Add a task that runs after the ones that are there."""
        self.tasks.append(BackgroundTask(func, *args, **kwargs))

    async def __call__(self) -> None:
        """Run all tasks."""
        failure: Exception | None = None
        try:
            for task in self.tasks:
                try:
                    await task()
                except Exception as exc:
                    if failure is None or isinstance(failure, ClientDisconnect):
                        failure = exc
                    elif not isinstance(exc, ClientDisconnect):
                        _log(exc)
        except BaseException:
            if failure is not None and not isinstance(failure, ClientDisconnect):
                _log(failure)
            raise
        try:
            if failure is not None:
                raise failure
        finally:
            failure = None  # its traceback holds this frame


def _log(exc: Exception) -> None:
    logger.error("A background task failed.", exc_info=exc)


async def call_sync(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a sync function in a worker thread, and await what it gives if that is to be awaited.

    It may be a lambda or a decorator around a coroutine function, whose work would never run.
    """
    # In a tuple because trio lets no coroutine out of a thread.
    (result,) = await run_in_thread(lambda: (func(*args, **kwargs),))
    return await result if inspect.isawaitable(result) else result
