"""Virtual time jumps over waiting, and over nothing else."""

import asyncio
import queue
import signal
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest

from hesper.testing import (
    VirtualTimeLoop,
    trio_virtual_time_options,
    virtual_time_loop_factory,
)

HOUR = 3600.0


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """The backends on which time is virtual."""
    if request.param == "trio":
        return "trio", trio_virtual_time_options()
    return "asyncio", {"loop_factory": virtual_time_loop_factory()}


@pytest.fixture
def worker() -> Iterator["queue.Queue[float]"]:
    """The queue of a thread that sleeps as long as it is told; 0 ends it."""
    tasks: queue.Queue[float] = queue.Queue()

    class Worker(threading.Thread):
        queue = tasks

        def run(self) -> None:
            while seconds := tasks.get():
                time.sleep(seconds)
                tasks.task_done()

    thread = Worker()
    thread.start()
    yield tasks
    tasks.put(0)
    thread.join()


def run(main: Callable[[], Awaitable[Any]]) -> Any:
    """Runs a coroutine on a virtual time loop of its own."""

    async def call() -> Any:
        return await main()

    with asyncio.Runner(loop_factory=virtual_time_loop_factory()) as runner:
        return runner.run(call())


async def test_a_long_sleep_takes_no_real_time() -> None:
    began, virtual = time.monotonic(), anyio.current_time()
    # Longer than a day, which is the longest that asyncio asks its selector to wait.
    await anyio.sleep(70 * HOUR)
    assert anyio.current_time() - virtual == pytest.approx(70 * HOUR)
    assert time.monotonic() - began < 10


async def test_timers_run_in_their_order() -> None:
    order = []

    async def note(seconds: float) -> None:
        await anyio.sleep(seconds)
        order.append(seconds)

    async with anyio.create_task_group() as group:
        for seconds in (3 * HOUR, HOUR, 2 * HOUR):
            group.start_soon(note, seconds)
    assert order == [HOUR, 2 * HOUR, 3 * HOUR]


async def test_time_stands_still_while_something_can_run() -> None:
    began = anyio.current_time()
    with anyio.move_on_after(0.001) as scope:
        for _ in range(100):
            time.sleep(0.0001)
            await anyio.lowlevel.checkpoint()
    assert anyio.current_time() == began
    assert not scope.cancelled_caught


async def test_a_thread_does_not_trip_a_timeout() -> None:
    with anyio.fail_after(HOUR):
        await anyio.to_thread.run_sync(time.sleep, 0.05)
    # And afterwards time is virtual again.
    began = time.monotonic()
    await anyio.sleep(HOUR)
    assert time.monotonic() - began < 10


async def test_time_is_real_while_a_thread_works() -> None:
    began = anyio.current_time()
    await anyio.to_thread.run_sync(time.sleep, 0.05)
    assert 0.03 < anyio.current_time() - began < HOUR


async def test_a_timer_that_a_thread_waits_for_runs() -> None:
    def work() -> str:
        anyio.from_thread.run(anyio.sleep, 0.02)
        return "done"

    with anyio.fail_after(HOUR):
        assert await anyio.to_thread.run_sync(work) == "done"


async def test_an_abandoned_thread_does_not_stop_time() -> None:
    done = threading.Event()
    with anyio.move_on_after(0.02):
        await anyio.to_thread.run_sync(done.wait, abandon_on_cancel=True)
    began = anyio.current_time()
    await anyio.sleep(0.02)
    assert anyio.current_time() - began >= 0.02
    done.set()
    # The worker has to end before its event loop does.
    await anyio.to_thread.run_sync(lambda: None)


def test_an_executor_does_not_trip_a_timeout() -> None:
    async def main() -> Any:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(HOUR):
            await loop.run_in_executor(None, time.sleep, 0.05)
        assert 0.03 < loop.time() < HOUR
        await asyncio.sleep(HOUR)
        return loop.time()

    assert run(main) >= HOUR


def test_a_thread_with_work_in_its_queue_makes_time_real(worker: "queue.Queue[float]") -> None:
    async def main() -> float:
        worker.put(0.05)
        await asyncio.sleep(0.02)
        worker.join()
        return asyncio.get_running_loop().time()

    began = time.monotonic()
    assert run(main) >= 0.02
    assert time.monotonic() - began >= 0.02


def test_time_jumps_as_soon_as_the_queue_is_done(worker: "queue.Queue[float]") -> None:
    async def main() -> float:
        worker.put(0.02)
        # The thread does not wake the loop: it has to look.
        await asyncio.sleep(HOUR)
        return asyncio.get_running_loop().time()

    began = time.monotonic()
    assert run(main) == pytest.approx(HOUR, abs=1)
    assert time.monotonic() - began < 10


def test_an_idle_thread_lets_time_jump(worker: "queue.Queue[float]") -> None:
    async def main() -> float:
        await asyncio.sleep(HOUR)
        return asyncio.get_running_loop().time()

    assert run(main) == HOUR


def test_a_socket_makes_time_real() -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        timer = threading.Timer(0.02, theirs.send, [b"x"])
        timer.start()
        async with asyncio.timeout(HOUR):
            assert await loop.sock_recv(ours, 1) == b"x"
        timer.join()
        ours.close()
        theirs.close()
        return loop.time()

    assert 0.01 < run(main) < HOUR


def test_a_wake_up_comes_before_a_jump() -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        woken = asyncio.Event()
        # What a signal leaves for the loop is a byte in the pipe that wakes it, and nothing else.
        loop.add_signal_handler(signal.SIGUSR1, woken.set)
        async with asyncio.timeout(HOUR):
            signal.raise_signal(signal.SIGUSR1)
            await woken.wait()
        loop.remove_signal_handler(signal.SIGUSR1)
        return loop.time()

    assert run(main) == 0


def test_the_clock_starts_at_zero_and_can_be_moved() -> None:
    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        rang = asyncio.Event()
        loop.call_later(10, rang.set)
        times = [loop.time()]
        loop.advance(9)
        times.append(loop.time())
        await rang.wait()
        return [*times, loop.time()]

    assert run(main) == [0, 9, 10]


@pytest.mark.parametrize("debug", [False, True])
def test_the_factory_sets_the_debug_mode(debug: bool) -> None:
    loop = virtual_time_loop_factory(debug=debug)()
    assert loop.get_debug() is debug
    assert loop.get_task_factory() is None
    loop.close()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks need Python 3.12")
def test_the_factory_sets_eager_tasks() -> None:
    loop = virtual_time_loop_factory(eager=True)()
    assert loop.get_task_factory() is asyncio.eager_task_factory
    loop.close()


def test_eager_tasks_are_refused_where_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 11))
    with pytest.raises(RuntimeError, match=r"need Python 3\.12"):
        virtual_time_loop_factory(eager=True)
