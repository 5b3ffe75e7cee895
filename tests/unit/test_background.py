"""Background work: every task runs, no error is lost, a cancellation stops it."""

import functools
import threading
import traceback
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import anyio
import pytest

from hesper.background import BackgroundTask, BackgroundTasks
from hesper.exceptions import ClientDisconnect
from tests.conftest import ExpectedErrors

variable: ContextVar[str] = ContextVar("variable", default="before")


class Recorder:
    """Makes tasks that note that they ran."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    def task(self, name: str, error: BaseException | None = None) -> BackgroundTask:
        async def work() -> None:
            self.ran.append(name)
            if error is not None:
                raise error

        return BackgroundTask(work)


async def test_a_coroutine_function_runs_with_its_arguments() -> None:
    got: list[object] = []

    async def work(first: int, *, second: str) -> None:
        got.extend([first, second, threading.current_thread() is threading.main_thread()])

    await BackgroundTask(work, 1, second="2")()
    assert got == [1, "2", True]


async def test_a_sync_function_runs_in_a_worker_thread() -> None:
    got: list[object] = []

    def work(first: int, *, second: str) -> None:
        got.extend([first, second, threading.current_thread() is threading.main_thread()])

    await BackgroundTask(work, 1, second="2")()
    assert got == [1, "2", False]


async def test_a_task_runs_again_each_time_that_it_is_called() -> None:
    recorder = Recorder()
    task = recorder.task("a")
    await task()
    await task()
    assert recorder.ran == ["a", "a"]


async def test_context_variables_come_back_from_async_and_sync_tasks() -> None:
    async def work() -> None:
        variable.set("async")

    await BackgroundTask(work)()
    assert variable.get() == "async"
    await BackgroundTask(variable.set, "thread")()
    assert variable.get() == "thread"


class Callee:
    def __init__(self) -> None:
        self.threads: list[bool] = []

    async def __call__(self) -> None:
        self.threads.append(threading.current_thread() is threading.main_thread())

    async def method(self) -> None:
        await self()


@pytest.mark.parametrize(
    "shape",
    [
        lambda callee: callee,
        lambda callee: callee.method,
        lambda callee: functools.partial(callee),
        lambda callee: functools.partial(functools.partial(callee.method)),
        lambda callee: lambda: callee(),
    ],
    ids=["object", "method", "partial", "partial of partial", "lambda"],
)
async def test_whatever_gives_a_coroutine_is_awaited_in_the_loop(
    shape: Callable[[Callee], Callable[[], Awaitable[None]]],
) -> None:
    callee = Callee()
    await BackgroundTask(shape(callee))()
    assert callee.threads == [True]


async def test_one_task_raises_what_its_function_raised() -> None:
    error = ValueError("mine")
    with pytest.raises(ValueError) as raised:
        await Recorder().task("a", error)()
    assert raised.value is error


async def test_no_tasks_are_no_work() -> None:
    await BackgroundTasks()()


async def test_tasks_run_in_order_and_may_be_of_both_kinds() -> None:
    ran: list[str] = []

    async def work(name: str) -> None:
        await anyio.lowlevel.checkpoint()
        ran.append(name)

    tasks = BackgroundTasks([BackgroundTask(work, "a")])
    tasks.add_task(ran.append, "b")
    tasks.add_task(work, name="c")
    await tasks()
    assert ran == ["a", "b", "c"]
    assert all(type(task) is BackgroundTask for task in tasks.tasks)


async def test_tasks_are_copied_from_the_list_they_are_made_of() -> None:
    recorder = Recorder()
    first = [recorder.task("a")]
    tasks = BackgroundTasks(first)
    first.append(recorder.task("b"))
    await tasks()
    assert recorder.ran == ["a"]


async def test_a_task_that_is_added_by_a_running_one_runs() -> None:
    ran: list[str] = []
    tasks = BackgroundTasks()

    async def work() -> None:
        tasks.add_task(ran.append, "late")

    tasks.add_task(work)
    await tasks()
    assert ran == ["late"]


async def test_tasks_nest() -> None:
    recorder = Recorder()
    inner = BackgroundTasks([recorder.task("b"), recorder.task("c")])
    await BackgroundTasks([recorder.task("a"), inner, recorder.task("d")])()
    assert recorder.ran == ["a", "b", "c", "d"]


async def test_a_failing_task_does_not_stop_the_next_and_its_error_comes_out() -> None:
    recorder, error = Recorder(), ValueError("first")
    tasks = BackgroundTasks([recorder.task("a", error), recorder.task("b")])
    with pytest.raises(ValueError) as raised:
        await tasks()
    assert recorder.ran == ["a", "b"]
    assert raised.value is error
    assert error.__context__ is None
    assert error.__cause__ is None
    assert traceback.extract_tb(error.__traceback__)[-1].line == "raise error"


async def test_further_errors_are_logged_once_with_their_tracebacks(
    expected_errors: ExpectedErrors,
) -> None:
    recorder, first, second = Recorder(), ValueError("first"), KeyError("second")
    group = ExceptionGroup("third", [ValueError()])
    tasks = [recorder.task("a", first), recorder.task("b", second), recorder.task("c", group)]
    with pytest.raises(ValueError) as raised:
        await BackgroundTasks(tasks)()
    assert raised.value is first
    assert recorder.ran == ["a", "b", "c"]
    assert [record.name for record in expected_errors] == ["hesper", "hesper"]
    logged = [record.exc_info[1] for record in expected_errors if record.exc_info]
    assert logged == [second, group]
    assert expected_errors.take() == ["A background task failed."] * 2


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_the_clients_leaving_gives_way_to_an_error_and_is_not_logged(
    order: tuple[int, int],
) -> None:
    recorder, error = Recorder(), ValueError()
    tasks = [recorder.task("a", error), recorder.task("b", ClientDisconnect())]
    with pytest.raises(ValueError) as raised:
        await BackgroundTasks([tasks[index] for index in order])()
    assert raised.value is error


async def test_the_clients_leaving_alone_comes_out() -> None:
    recorder = Recorder()
    with pytest.raises(ClientDisconnect):
        await BackgroundTasks([recorder.task("a", ClientDisconnect()), recorder.task("b")])()
    assert recorder.ran == ["a", "b"]


@pytest.mark.parametrize(
    ("before", "logged"),
    [(None, 0), (ValueError("before"), 1), (ClientDisconnect(), 0)],
)
async def test_a_cancellation_stops_the_rest_and_an_error_from_before_is_logged(
    before: Exception | None, logged: int, expected_errors: ExpectedErrors
) -> None:
    recorder = Recorder()
    tasks = BackgroundTasks([recorder.task("a", before)])
    tasks.add_task(anyio.sleep_forever)
    tasks.tasks.append(recorder.task("never"))
    with anyio.move_on_after(0.01) as scope:
        await tasks()
    assert scope.cancelled_caught
    assert recorder.ran == ["a"]
    assert [record.exc_info[1] for record in expected_errors if record.exc_info] == [
        before
    ] * logged
    expected_errors.clear()


async def test_a_cancellation_waits_for_the_thread() -> None:
    began, go = threading.Event(), threading.Event()
    ended: list[bool] = []

    def work() -> None:
        began.set()
        ended.append(go.wait(5))

    async with anyio.create_task_group() as group:
        group.start_soon(BackgroundTask(work))
        while not began.is_set():
            await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
        go.set()
    assert ended == [True]


async def test_the_interpreters_exit_is_not_held_up() -> None:
    recorder = Recorder()
    with pytest.raises(SystemExit):
        await BackgroundTasks([recorder.task("a", SystemExit(3)), recorder.task("b")])()
    assert recorder.ran == ["a"]


def test_the_parts_have_starlettes_names() -> None:
    def work(*args: Any, **kwargs: Any) -> None: ...

    task = BackgroundTask(work, 1, two=2)
    assert (task.func, task.args, task.kwargs, task.is_async) == (work, (1,), {"two": 2}, False)
    assert isinstance(BackgroundTasks(), BackgroundTask)
