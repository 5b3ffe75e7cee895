"""The supervisor: work that outlives its request, and ends with the lifespan at the latest."""

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest

from hesper._concurrency import checkpoint, children
from hesper._concurrency.children import EAGER
from hesper.exceptions import ClientDisconnect, UsageError
from hesper.supervision import CLEANUP, PATIENCE, Supervisor
from hesper.testing import trio_virtual_time_options, virtual_time_loop_factory
from tests.conftest import ExpectedErrors, in_virtual_time, runs_asyncio, where

number: ContextVar[int] = ContextVar("number", default=0)

on_trio = where(lambda params: not runs_asyncio(params))

Main = Callable[[], Coroutine[Any, Any, None]]


def in_asyncio(main: Main) -> None:
    """Runs a test on asyncio, in virtual time; twice on 3.12+, with lazy and with eager tasks."""
    for eager in {False, EAGER}:
        with asyncio.Runner(loop_factory=virtual_time_loop_factory(eager=eager)) as runner:
            runner.run(main())


@pytest.fixture
def supervisor() -> Supervisor:
    """One whose lifespan has begun."""
    supervisor = Supervisor()
    supervisor.open()
    return supervisor


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await checkpoint()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "hesper"]


class Log(list[str]):
    """What happened, and works that write to it."""

    async def sleep(self, seconds: float, word: str = "done") -> None:
        try:
            await anyio.sleep(seconds)
            self.append(word)
        except BaseException as exc:
            self.append(type(exc).__name__)
            raise

    async def clean_up(self, seconds: float) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            await anyio.sleep(seconds)
            self.append("clean")


@pytest.fixture
def log() -> Log:
    return Log()


# -- work ------------------------------------------------------------------------------------------


async def test_work_runs_beside_its_starter_and_is_waited_for(
    supervisor: Supervisor, log: Log
) -> None:
    supervisor.start_soon(log.sleep, 0.01, "first", name="one")
    supervisor.start_soon(log.sleep, 0.02, "second", name="two")
    assert log == []
    assert list(supervisor.running) == ["one", "two"]
    await supervisor.close(5)
    assert log == ["first", "second"]
    assert list(supervisor.running) == []


async def test_work_that_never_waits_is_over_and_not_in_the_list(supervisor: Supervisor) -> None:
    done = []

    async def work(*args: int) -> None:
        done.append(args)

    supervisor.start_soon(work, 1, 2)
    await turns()
    assert done == [(1, 2)]
    assert list(supervisor.running) == []
    await supervisor.close(0)


async def test_work_outlives_the_cancelled_scope_that_it_was_started_in(
    supervisor: Supervisor, log: Log
) -> None:
    with anyio.CancelScope() as scope:
        supervisor.start_soon(log.sleep, 0.01)
        scope.cancel()
        await checkpoint()
    await supervisor.close(5)
    assert log == ["done"]


def test_work_outlives_the_native_cancel_of_the_task_that_started_it() -> None:
    async def main() -> None:
        supervisor, log = Supervisor(), Log()
        supervisor.open()

        async def request() -> None:
            supervisor.start_soon(log.sleep, 1)
            await anyio.sleep_forever()

        task = asyncio.create_task(request())
        await turns()
        task.cancel()
        await asyncio.wait([task])
        await supervisor.close(5)
        assert log == ["done"]

    in_asyncio(main)


async def test_work_runs_in_a_copy_of_its_starters_context(supervisor: Supervisor) -> None:
    seen = []

    async def work() -> None:
        seen.append(number.get())
        number.set(99)
        await turns()
        seen.append(number.get())

    number.set(1)
    supervisor.start_soon(work)
    number.set(2)
    await supervisor.close(5)
    assert seen == [1, 99]
    assert number.get() == 2


async def test_work_may_start_work(supervisor: Supervisor, log: Log) -> None:
    async def parent() -> None:
        supervisor.start_soon(log.sleep, 0.01, "child")
        log.append("parent")

    supervisor.start_soon(parent)
    await supervisor.close(5)
    assert log == ["parent", "child"]


async def test_work_of_a_thread_is_started_through_anyio(supervisor: Supervisor, log: Log) -> None:
    def thread() -> None:
        number.set(7)
        anyio.from_thread.run_sync(supervisor.start_soon, work)

    async def work() -> None:
        log.append(str(number.get()))

    await anyio.to_thread.run_sync(thread)
    await supervisor.close(5)
    assert log == ["7"]


class Forever:
    async def __call__(self) -> None:
        await anyio.sleep_forever()

    async def method(self) -> None:
        await anyio.sleep_forever()


@pytest.mark.parametrize(
    ("func", "expected"),
    [
        (anyio.sleep_forever, "anyio.sleep_forever"),
        (functools.partial(functools.partial(anyio.sleep), 9), "anyio.sleep"),
        (Forever(), f"{__name__}.Forever"),
        (Forever().method, f"{__name__}.Forever.method"),
    ],
)
async def test_work_has_its_functions_name_if_it_is_given_none(
    supervisor: Supervisor, func: Callable[..., Awaitable[object]], expected: str
) -> None:
    supervisor.start_soon(func)
    assert list(supervisor.running) == [expected]
    await supervisor.close(0)


# -- errors ----------------------------------------------------------------------------------------


async def test_an_error_is_logged_once_and_stops_nothing_else(
    supervisor: Supervisor,
    log: Log,
    expected_errors: ExpectedErrors,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def work() -> None:
        await checkpoint()
        raise ValueError("broken")

    supervisor.start_soon(log.sleep, 0.01)
    supervisor.start_soon(work, name="the payment")
    await supervisor.close(5)
    assert log == ["done"]
    assert expected_errors.take() == ["Supervised work failed: the payment."]
    (record,) = caplog.records
    assert record.name == "hesper"
    assert record.exc_info is not None
    error = record.exc_info[1]
    assert isinstance(error, ValueError)
    assert error.__traceback__ is not None


async def test_an_error_in_the_first_step_stays_in_the_work(
    supervisor: Supervisor, expected_errors: ExpectedErrors
) -> None:
    async def work() -> None:
        raise ValueError("broken")

    supervisor.start_soon(work, name="work")
    await supervisor.close(5)
    assert expected_errors.take() == ["Supervised work failed: work."]


async def test_that_a_client_left_is_no_error(
    supervisor: Supervisor, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        raise ClientDisconnect("during an upload")

    supervisor.start_soon(work)
    await supervisor.close(5)
    assert caplog.records == []


async def test_a_function_that_gives_nothing_to_await_is_an_error_that_teaches(
    supervisor: Supervisor, expected_errors: ExpectedErrors
) -> None:
    def work() -> Any:
        return 7

    supervisor.start_soon(work, name="work")
    await supervisor.close(5)
    (record,) = expected_errors
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == (
        "Expected a function that gives something to await, but work gave 7: make it `async def`, "
        "or, if it blocks, pass `hesper.concurrency.run_in_threadpool` and the function as its "
        "argument."
    )
    expected_errors.take()


async def test_an_error_in_the_cleanup_of_cancelled_work_is_logged_too(
    supervisor: Supervisor, expected_errors: ExpectedErrors
) -> None:
    async def work() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise ValueError("broken")

    supervisor.start_soon(work, name="work")
    await turns()
    await supervisor.close(0)
    assert expected_errors.take() == ["Supervised work failed: work."]


@in_virtual_time
async def test_an_error_after_the_end_of_the_cleanups_time_is_logged_too(
    supervisor: Supervisor, expected_errors: ExpectedErrors
) -> None:
    async def work() -> None:
        try:
            try:
                await anyio.sleep_forever()
            finally:
                await anyio.sleep(CLEANUP + 1)
        except BaseException:
            raise ValueError("broken") from None

    supervisor.start_soon(work, name="work")
    await turns()
    await supervisor.close(0)
    assert expected_errors.take() == ["Supervised work failed: work."]


@on_trio
@pytest.mark.parametrize("fails", [True, False])
async def test_errors_in_a_group_with_cancellations_are_logged(
    supervisor: Supervisor, expected_errors: ExpectedErrors, fails: bool
) -> None:
    async def work() -> None:
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class() as exc:
            # As a nursery does in which one task failed while the others were cancelled.
            failures = [ValueError("broken")] if fails else []
            raise BaseExceptionGroup("nursery", [*failures, exc]) from None

    supervisor.start_soon(work, name="work")
    await turns()
    await supervisor.close(0)
    infos = [record.exc_info for record in expected_errors]
    assert [type(info and info[1]) for info in infos] == [ExceptionGroup] * fails
    assert expected_errors.take() == ["Supervised work failed: work."] * fails


async def test_an_error_in_a_task_group_of_cancelled_work_is_logged(
    supervisor: Supervisor, expected_errors: ExpectedErrors
) -> None:
    async def fail() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise ValueError("broken")

    async def work() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fail)
            tasks.start_soon(anyio.sleep_forever)

    supervisor.start_soon(work, name="work")
    await turns()
    await supervisor.close(0)
    assert expected_errors.take() == ["Supervised work failed: work."]


# -- the end of the lifespan -----------------------------------------------------------------------


async def test_what_has_not_ended_within_the_grace_is_cancelled_and_named(
    supervisor: Supervisor, log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    supervisor.start_soon(log.sleep, 0.01, "short")
    supervisor.start_soon(log.clean_up, 0, name="the payment")
    supervisor.start_soon(log.clean_up, 0, name="the mail")
    await supervisor.close(0.05)
    assert log == ["short", "clean", "clean"]
    assert warnings(caplog) == [
        "Cancelled at shutdown (grace 0.05 s), before its end: the payment, the mail."
    ]
    assert caplog.records[0].levelno == logging.WARNING


@in_virtual_time
async def test_the_close_ends_with_the_last_work_and_not_with_the_grace(
    supervisor: Supervisor, log: Log
) -> None:
    began = anyio.current_time()
    supervisor.start_soon(log.sleep, 2)
    await supervisor.close(5)
    assert anyio.current_time() - began == pytest.approx(2)


@in_virtual_time
async def test_what_starts_during_the_close_is_waited_for_within_the_same_grace(
    supervisor: Supervisor, log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    async def parent() -> None:
        await anyio.sleep(3)
        supervisor.start_soon(log.sleep, 1, "child")
        supervisor.start_soon(log.sleep, 3, name="late child")

    began = anyio.current_time()
    supervisor.start_soon(parent)
    await supervisor.close(5)
    assert anyio.current_time() - began == pytest.approx(5)
    assert log[0] == "child"
    assert warnings(caplog) == ["Cancelled at shutdown (grace 5 s), before its end: late child."]


@in_virtual_time
async def test_the_cleanup_of_cancelled_work_may_await(supervisor: Supervisor, log: Log) -> None:
    began = anyio.current_time()
    supervisor.start_soon(log.clean_up, CLEANUP - 1)
    await turns()
    await supervisor.close(1)
    assert log == ["clean"]
    assert anyio.current_time() - began == pytest.approx(CLEANUP)


@in_virtual_time
async def test_the_time_of_the_cleanup_is_bounded(supervisor: Supervisor, log: Log) -> None:
    began = anyio.current_time()
    supervisor.start_soon(log.clean_up, 100)
    await turns()
    await supervisor.close(1)
    assert log == []
    assert anyio.current_time() - began == pytest.approx(1 + CLEANUP)


@in_virtual_time
async def test_work_that_swallows_its_cancellation_is_left_alone_and_named(
    supervisor: Supervisor, log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    go_on = anyio.Event()

    async def work() -> None:
        with anyio.CancelScope(shield=True):
            while not go_on.is_set():
                try:
                    await go_on.wait()
                except anyio.get_cancelled_exc_class():
                    log.append("swallowed")  # a native cancel, which no shield holds back

    began = anyio.current_time()
    supervisor.start_soon(work, name="stubborn")
    supervisor.start_soon(anyio.sleep_forever, name="docile")
    await turns()
    await supervisor.close(1)
    assert anyio.current_time() - began == pytest.approx(1 + PATIENCE)
    assert list(supervisor.running) == []
    assert warnings(caplog) == [
        "Cancelled at shutdown (grace 1 s), before its end: stubborn, docile.",
        "Left alone, still running 6 s after its cancel: stubborn.",
    ]
    go_on.set()
    await turns(10)


def test_work_that_has_not_begun_when_it_is_cancelled_does_not_begin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(children, "EAGER", False)

    async def main() -> None:
        supervisor, log = Supervisor(), Log()
        supervisor.start_soon(anyio.sleep_forever)
        closing = asyncio.create_task(supervisor.close(5))
        await turns()
        closing.cancel()
        supervisor.start_soon(log.sleep, 0)  # its task would begin after the closing one goes on
        await asyncio.wait([closing])
        assert log == []
        assert list(supervisor.running) == []

    asyncio.run(main())


def test_work_that_is_cancelled_natively_besides_is_named_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        tasks: list[asyncio.Task[Any]] = []

        async def work() -> None:
            tasks.extend(asyncio.all_tasks() - known)
            await log.clean_up(2)

        supervisor, log = Supervisor(), Log()
        supervisor.open()
        known = asyncio.all_tasks()
        supervisor.start_soon(work, name="work")
        await turns()
        closing = asyncio.create_task(supervisor.close(0))
        await asyncio.sleep(1)
        tasks[0].cancel()
        await closing

    in_asyncio(main)
    named = ["Cancelled at shutdown (grace 0 s), before its end: work."]
    assert warnings(caplog) == named * (1 + EAGER)


async def test_a_cancelled_close_cancels_the_work_and_waits_for_it(
    supervisor: Supervisor, log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    supervisor.start_soon(log.clean_up, 0.01, name="work")
    await turns()
    with anyio.move_on_after(0.01) as scope:
        await supervisor.close(100)
    assert scope.cancelled_caught
    assert log == ["clean"]
    assert warnings(caplog) == ["Cancelled at shutdown (grace 100 s), before its end: work."]


def test_a_natively_cancelled_close_cancels_the_work_and_waits_for_it() -> None:
    async def main() -> None:
        supervisor, log = Supervisor(), Log()
        supervisor.open()
        supervisor.start_soon(log.clean_up, 1)
        task = asyncio.create_task(supervisor.close(100))
        await turns()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert log == ["clean"]

    in_asyncio(main)


def test_a_native_cancel_that_comes_after_the_grace_waits_and_comes_out() -> None:
    async def main() -> None:
        supervisor, log = Supervisor(), Log()
        supervisor.open()
        supervisor.start_soon(log.clean_up, 2)
        task = asyncio.create_task(supervisor.close(1))
        await asyncio.sleep(2)
        task.cancel()
        await asyncio.sleep(0.5)
        assert log == []
        await asyncio.wait([task])
        assert task.cancelled()
        assert log == ["clean"]

    in_asyncio(main)


async def test_a_second_close_is_harmless(
    supervisor: Supervisor, log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    supervisor.start_soon(log.sleep, 0)
    await supervisor.close(5)
    await supervisor.close(0)
    assert log == ["done"]
    assert caplog.records == []


@in_virtual_time
async def test_of_two_closes_side_by_side_the_shorter_grace_counts(
    supervisor: Supervisor, log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    began = anyio.current_time()
    supervisor.start_soon(log.clean_up, 2, name="work")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(supervisor.close, 100)
        tasks.start_soon(supervisor.close, 1)
        tasks.start_soon(supervisor.close, 2)
    assert anyio.current_time() - began == pytest.approx(3)
    assert log == ["clean"]
    assert warnings(caplog) == ["Cancelled at shutdown (grace 1 s), before its end: work."]


async def test_nothing_starts_after_the_end(supervisor: Supervisor, log: Log) -> None:
    await supervisor.close(0)
    with pytest.raises(UsageError) as raised:
        supervisor.start_soon(log.sleep, 0, name="the mail")
    assert str(raised.value) == (
        "Cannot start the mail: the app's lifespan has ended, and nobody would wait for it. "
        "Start it before the shutdown's grace is over."
    )
    assert list(supervisor.running) == []


async def test_cancelled_work_cannot_start_more(
    supervisor: Supervisor, expected_errors: ExpectedErrors
) -> None:
    async def work() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            supervisor.start_soon(anyio.sleep_forever)

    supervisor.start_soon(work, name="work")
    await turns()
    await supervisor.close(0)
    assert expected_errors.take() == ["Supervised work failed: work."]


async def test_it_can_be_opened_again(supervisor: Supervisor, log: Log) -> None:
    await supervisor.close(0)
    supervisor.open()
    supervisor.start_soon(log.sleep, 0)
    await supervisor.close(5)
    assert log == ["done"]


def test_it_can_be_used_in_one_event_loop_after_another() -> None:
    supervisor, log = Supervisor(), Log()

    async def main() -> None:
        supervisor.open()
        supervisor.start_soon(log.sleep, 1)
        await supervisor.close(5)

    in_asyncio(main)
    anyio.run(main, backend="trio", backend_options=trio_virtual_time_options())
    assert set(log) == {"done"}


# -- what cannot be promised -----------------------------------------------------------------------


async def test_without_a_lifespan_it_works_and_says_what_it_cannot_promise(
    log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    supervisor = Supervisor()
    supervisor.start_soon(log.sleep, 0, name="first")
    supervisor.start_soon(log.sleep, 0, name="second")
    assert warnings(caplog) == [
        "first was started without a lifespan: it runs, but nobody waits for it when the server "
        "stops, and it may be cut off anywhere. Use a server with lifespan support, and do not "
        "switch it off."
    ]
    await supervisor.close(5)
    assert log == ["done", "done"]


def test_work_that_an_event_loop_cuts_off_is_named(caplog: pytest.LogCaptureFixture) -> None:
    supervisor, log = Supervisor(), Log()
    supervisor.open()

    async def main() -> None:
        supervisor.start_soon(log.clean_up, 1, name="work")
        await turns()

    in_asyncio(main)
    assert log == ["clean"] * (1 + EAGER)
    assert list(supervisor.running) == []
    named = ["Supervised work was cut off by CancelledError: work."]
    assert warnings(caplog) == named * (1 + EAGER)


def test_work_that_the_end_of_trios_run_cuts_off_is_named(caplog: pytest.LogCaptureFixture) -> None:
    supervisor = Supervisor()
    supervisor.open()

    async def main() -> None:
        supervisor.start_soon(anyio.sleep_forever, name="work")
        await turns()

    anyio.run(main, backend="trio")
    assert list(supervisor.running) == []
    assert warnings(caplog) == ["Supervised work was cut off by Cancelled: work."]


def test_what_a_dead_event_loop_left_is_not_waited_for() -> None:
    supervisor = Supervisor()
    supervisor.open()

    async def start() -> None:
        supervisor.start_soon(anyio.sleep_forever, name="left")
        await turns()

    loop = virtual_time_loop_factory()()
    loop.run_until_complete(start())
    in_asyncio(functools.partial(supervisor.close, 5))
    assert list(supervisor.running) == ["left"]
    (task,) = asyncio.all_tasks(loop)
    task.cancel()
    loop.run_until_complete(asyncio.wait([task]))
    loop.close()
    assert list(supervisor.running) == []


def test_a_task_that_is_cancelled_before_it_begins_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(children, "EAGER", False)

    supervisor = Supervisor()

    async def main(grace: float) -> None:
        known = asyncio.all_tasks()
        supervisor.open()
        supervisor.start_soon(anyio.sleep_forever, name="work")
        (task,) = asyncio.all_tasks() - known
        task.cancel()
        await supervisor.close(grace)
        assert list(supervisor.running) == []

    for grace in (5, -1):
        in_asyncio(functools.partial(main, grace))
    assert not any("Left alone" in text for text in warnings(caplog))


# -- mistakes --------------------------------------------------------------------------------------


async def test_a_coroutine_in_the_place_of_a_function_is_refused(supervisor: Supervisor) -> None:
    with pytest.raises(UsageError, match=r"write `start_soon\(work, 1\)`, not `start_soon\(work"):
        supervisor.start_soon(anyio.sleep(1))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="Expected a coroutine function, got 7"):
        supervisor.start_soon(7)  # type: ignore[arg-type]


async def test_a_thread_is_told_how_to_start_work(supervisor: Supervisor) -> None:
    def thread() -> None:
        supervisor.start_soon(anyio.sleep_forever, name="work")

    with pytest.raises(UsageError) as raised:
        await anyio.to_thread.run_sync(thread)
    assert str(raised.value) == (
        "Cannot start work from a thread without an event loop: call "
        "`anyio.from_thread.run_sync(app.supervisor.start_soon, work)` there."
    )


def test_outside_of_any_event_loop_nothing_starts(supervisor: Supervisor) -> None:
    with pytest.raises(UsageError, match=r"Cannot start anyio.sleep_forever from"):
        supervisor.start_soon(anyio.sleep_forever)


async def test_who_waits_for_work_that_is_cut_off_is_told(
    supervisor: Supervisor, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        await anyio.sleep(60)

    told: list[str] = []

    async def wait() -> None:
        try:
            await supervisor.finish(work, "work")
        except RuntimeError as exc:
            told.append(str(exc))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await turns()
        await supervisor.close(0)
    assert told == ["work was cut off before its end."]
    assert warnings(caplog) == ["Cancelled at shutdown (grace 0 s), before its end: work."]


def test_the_end_of_one_run_of_the_loop_says_nothing_of_another() -> None:
    supervisor, ran = Supervisor(), []
    supervisor.open()

    async def work() -> None:
        ran.append("work")

    async def first() -> None:
        await supervisor.close(0)
        with pytest.raises(UsageError, match="lifespan has ended"):
            supervisor.start_soon(work)

    async def second() -> None:
        supervisor.start_soon(work)
        await turns()

    anyio.run(first)
    anyio.run(second)
    assert ran == ["work"]
