"""Threads and races, under Starlette's names."""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import ExitStack
from threading import Lock
from typing import Any, Generic, ParamSpec, TypeVar

import anyio

from hesper._concurrency import run_in_thread
from hesper.exceptions import HesperDeprecationWarning

__all__ = ["iterate_in_threadpool", "run_in_threadpool", "run_until_first_complete"]

P = ParamSpec("P")
T = TypeVar("T")


async def run_in_threadpool(func: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a sync function in a worker thread and return its result.

    Context variables that it sets are set for the caller too. At most 40 threads run at a time
    (anyio's default limiter). A cancellation waits until the thread is done: a thread cannot be
    stopped, and nothing outlives the call.
    """
    return await run_in_thread(func, *args, **kwargs)


class _ThreadIterator(Generic[T]):
    """A sync iterable, asked for each item, and closed, in worker threads.

    One thread at a time: a native cancel on asyncio leaves the thread at work, and a generator
    cannot be closed while it runs.
    """

    __slots__ = ("_iterable", "_iterator", "_lock")

    def __init__(self, iterable: Iterable[T]) -> None:
        self._iterable = iterable
        self._iterator: Iterator[T] | None = None
        self._lock = Lock()

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        item = await run_in_thread(self._next)
        if item is _END:
            raise StopAsyncIteration
        return item  # type: ignore[return-value]

    def _next(self) -> T | object:
        with self._lock:
            if self._iterator is None:
                self._iterator = iter(self._iterable)
            return next(self._iterator, _END)

    async def aclose(self) -> None:
        """Close the iterator and what it iterates, where they can be closed; once."""
        if self._lock.locked() or self._closers():
            await run_in_thread(self._close)

    def _close(self) -> None:
        with self._lock, ExitStack() as stack:
            for close in reversed(self._closers()):
                stack.callback(close)
            self._iterator, self._iterable = None, ()

    def _closers(self) -> list[Callable[[], object]]:
        parts: list[object] = [self._iterator]
        if self._iterable is not self._iterator:
            parts.append(self._iterable)
        return [close for part in parts if (close := getattr(part, "close", None)) is not None]


_END = object()


def iterate_in_threadpool(iterator: Iterable[T]) -> AsyncIterator[T]:
    """Iterate over a sync iterable without blocking the loop: each step runs in a worker thread.

    The result has ``aclose()``, which closes the iterable in a thread.
    """
    return _ThreadIterator(iterator)


async def run_until_first_complete(*args: tuple[Callable[..., Awaitable[Any]], Any]) -> None:
    """Run functions with their keyword arguments side by side; when one returns, cancel the rest.

    Deprecated, as in Starlette: an ``anyio`` task group says the same with its errors in view.
    """
    warnings.warn(
        "run_until_first_complete is deprecated: use an anyio task group and cancel its scope.",
        HesperDeprecationWarning,
        stacklevel=2,
    )
    async with anyio.create_task_group() as group:

        async def run(func: Callable[..., Awaitable[Any]], kwargs: Any) -> None:
            await func(**kwargs)
            group.cancel_scope.cancel()

        for func, kwargs in args:
            group.start_soon(run, func, kwargs)
