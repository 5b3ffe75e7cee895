"""Worker threads whose context variables come back, and which nothing outlives."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any, TypeVar

import anyio
import anyio.to_thread

T = TypeVar("T")


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
