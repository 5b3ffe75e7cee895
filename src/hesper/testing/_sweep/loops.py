"""Event loops for one run: time is virtual, and the order of tasks the same each time.

The law: a loop is made for a run and thrown away after it, with whatever is left in it.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, Literal

from hesper.exceptions import UsageError
from hesper.testing._sweep.watch import Watch, Watched
from hesper.testing.clock import VirtualTimeLoop, trio_virtual_time_options

Backend = Literal["asyncio", "trio"]


def cancelled_class(backend: Backend) -> type[BaseException]:
    """Returns what a cancellation is on that backend.

    Raises:
        UsageError: the backend is not installed.
    """
    if backend == "asyncio":
        return asyncio.CancelledError
    try:
        import trio
    except ImportError:
        raise UsageError(
            "The sweep runs on asyncio and trio, but trio is not installed: "
            "pip install 'hesper[trio]', or give backends=('asyncio',)."
        ) from None
    return trio.Cancelled


def check_no_loop() -> None:
    """Makes sure that loops can be run here.

    Raises:
        UsageError: one runs in this thread already.
    """
    trio = sys.modules.get("trio")
    if asyncio._get_running_loop() is not None or (trio and trio.lowlevel.in_trio_run()):
        raise UsageError(
            "The sweep makes its own event loops, but one is running here: call it from a "
            "function that is not async."
        )


def run_on(
    backend: Backend,
    main: Callable[[], Awaitable[None]],
    watch: Watch,
    *,
    seed: int = 0,
    real_time: bool = False,
) -> None:
    """Runs ``main`` to its end.

    Args:
        watch: is told of every task.
        seed: for the order in which trio runs tasks.
        real_time: runs on a clock that nobody moves.
    """
    if backend == "trio":
        _run_on_trio(main, watch, seed, real_time)
    else:
        _run_on_asyncio(main, watch, real_time)


def _run_on_asyncio(main: Callable[[], Awaitable[None]], watch: Watch, real_time: bool) -> None:
    loop = asyncio.SelectorEventLoop() if real_time else VirtualTimeLoop()
    loop.set_task_factory(watch.task_factory)

    # A task, and not a callback: anyio looks for a current one.
    struck: list[asyncio.Task[None]] = []
    watch.soon = lambda call: struck.append(
        asyncio.Task(_calling(call), loop=loop, context=watch.outside)
    )
    try:
        loop.run_until_complete(_coroutine(main))
        loop.run_until_complete(_end_tasks(watch))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()


async def _calling(call: Callable[[], None]) -> None:
    call()


async def _coroutine(main: Callable[[], Awaitable[None]]) -> None:
    await main()


_MOST_TURNS = 1000
"""Turns of the loop in which a task has to be gone that is cancelled in each."""


async def _end_tasks(watch: Watch) -> None:
    me = asyncio.current_task()
    turn = 0
    while True:
        left = [task for task in asyncio.all_tasks() if task is not me]
        if not left:
            return
        if turn > _MOST_TURNS:
            raise RuntimeError(
                f"The sweep cannot end {left[0]!r}: it swallows every cancellation, and was not made "
                "by the event loop, so that it cannot be killed. Make it by `create_task()`."
            )
        watch.killing = turn > 1
        turn += 1
        for task in left:
            coroutine: Any = task.get_coro()
            if isinstance(coroutine, Watched):  # else somebody made the task without the loop
                coroutine.mine = True  # those of the lifespan too
            task.cancel()
        await asyncio.sleep(0)


def _run_on_trio(
    main: Callable[[], Awaitable[None]], watch: Watch, seed: int, real_time: bool
) -> None:
    import trio
    from trio._core import _run

    options: dict[str, Any] = {} if real_time else trio_virtual_time_options()
    instruments = [*options.pop("instruments", ()), _Instrument(watch)]
    # trio runs the tasks of a batch in an order by chance, which its own tests make repeatable so.
    scheduler: Any = _run
    before = scheduler._ALLOW_DETERMINISTIC_SCHEDULING, scheduler._r
    scheduler._ALLOW_DETERMINISTIC_SCHEDULING, scheduler._r = True, Random(seed)
    try:
        trio.run(main, instruments=instruments, **options)
    finally:
        scheduler._ALLOW_DETERMINISTIC_SCHEDULING, scheduler._r = before


class _Instrument:
    """Shows the tasks to the watch, and calls what it wants called after a step.

    Within a step it would be too early: a task that is woken before trio knows that it sleeps is
    scheduled twice.
    """

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._due: list[Callable[[], None]] = []
        watch.soon = self._due.append
        self.task_spawned = watch.task_spawned

    def after_task_step(self, task: Any) -> None:
        while self._due:
            self._watch.outside.run(self._due.pop())
