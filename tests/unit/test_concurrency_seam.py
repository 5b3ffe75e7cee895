"""The seam to the event loop: children, interruptions, the grace of cancelled code, threads.

What only native asyncio cancels can show runs in a loop of its own, `in_asyncio`; the rest on every
backend.
"""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from contextvars import Context, ContextVar, copy_context
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from hesper._concurrency import (
    Grace,
    Interruptible,
    adopt,
    cancelled_type,
    checkpoint,
    children,
    deliver_again,
    interruptible,
    new_event,
    new_signal,
    on_asyncio,
    outlast,
    run_in_thread,
    spawn,
    threads,
    wait_at_most,
)
from hesper._concurrency.children import EAGER
from hesper.testing import virtual_time_loop_factory
from tests.conftest import ExpectedErrors

number: ContextVar[int] = ContextVar("number", default=0)

Main = Callable[[], Coroutine[Any, Any, None]]


def in_asyncio(main: Main) -> None:
    """Runs a test on asyncio, in virtual time; twice on 3.12+, with lazy and with eager tasks."""
    for eager in {False, EAGER}:
        with asyncio.Runner(loop_factory=virtual_time_loop_factory(eager=eager)) as runner:
            runner.run(main())


def this_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await checkpoint()


# -- small things ----------------------------------------------------------------------------------


async def test_the_seam_knows_the_loop_and_its_cancellation() -> None:
    assert on_asyncio() is (cancelled_type() is asyncio.CancelledError)
    assert cancelled_type() is anyio.get_cancelled_exc_class()


async def test_a_checkpoint_lets_others_run_and_raises_a_cancellation() -> None:
    log = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(turns)
        log.append(1)
        await turns()
        tasks.cancel_scope.cancel()
        await turns()
        log.append(2)
    assert log == [1]


@pytest.mark.parametrize("make", [new_event, new_signal])
async def test_an_event_wakes_its_waiter_and_may_be_set_again(make: Callable[[], Any]) -> None:
    event = make()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(turns)
        event.set()
        event.set()
    with anyio.fail_after(1):
        await event.wait()


def test_a_signal_whose_waiter_was_cancelled_can_be_set() -> None:
    async def main() -> None:
        signal = new_signal()
        with anyio.move_on_after(1):
            await signal.wait()
        signal.set()

    in_asyncio(main)


def test_what_is_in_a_copied_context_can_be_adopted() -> None:
    other: ContextVar[str] = ContextVar("other")
    unset: ContextVar[str] = ContextVar("unset")

    def work() -> None:
        value = object()
        number.set(7)
        other.set("x")
        context = copy_context()

        def inside() -> None:
            number.set(8)
            unset.set("new")

        context.run(inside)
        adopt(context)
        assert (number.get(), other.get(), unset.get()) == (8, "x", "new")
        del value

    Context().run(work)


# -- children --------------------------------------------------------------------------------------


async def test_a_child_can_be_waited_for_and_joined_often() -> None:
    log = []

    async def work() -> None:
        await turns()
        log.append("done")

    child = spawn(work())
    await child.wait()
    assert log == ["done"]
    await child.wait()
    await child.join()
    child.cancel()
    await child.join()


async def test_a_child_runs_in_a_copy_of_the_context_or_in_one_that_is_given() -> None:
    seen = []

    async def work() -> None:
        seen.append(number.get())
        number.set(99)

    number.set(1)
    await spawn(work()).join()
    context = copy_context()
    context.run(number.set, 2)
    await spawn(work(), context).join()
    assert seen == [1, 2]
    assert number.get() == 1
    assert context[number] == 99


@pytest.mark.skipif(not EAGER, reason="eager tasks need Python 3.12")
def test_a_child_starts_in_the_callers_own_step_where_asyncio_can() -> None:
    async def main() -> None:
        log = []

        async def work() -> None:
            log.append("begun")
            await checkpoint()

        child = spawn(work())
        assert log == ["begun"]
        await child.join()

    in_asyncio(main)


async def test_a_cancelled_child_ends_and_its_cancellation_stays_with_it() -> None:
    log = []

    async def work() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            log.append("ended")

    child = spawn(work())
    await turns()
    child.cancel()
    await child.join()
    assert log == ["ended"]


async def test_a_cancelled_wait_leaves_the_child_alone() -> None:
    event = anyio.Event()
    log = []

    async def work() -> None:
        await event.wait()
        log.append("done")

    child = spawn(work())
    with anyio.move_on_after(0.01) as scope:
        await child.wait()
    assert scope.cancelled_caught
    event.set()
    await child.join()
    assert log == ["done"]


async def test_a_join_in_a_cancelled_scope_waits_and_then_raises() -> None:
    log = []

    async def work() -> None:
        await turns(10)
        log.append("done")

    with anyio.CancelScope() as scope:
        child = spawn(work())
        scope.cancel()
        await child.join()
        await checkpoint()
        log.append("not reached")
    assert log == ["done"]


def test_a_join_raises_a_native_cancel_when_the_child_has_ended() -> None:
    async def main() -> None:
        log = []

        async def work() -> None:
            await turns(10)
            log.append("child")

        async def parent() -> None:
            child = spawn(work())
            try:
                await child.join()
            finally:
                log.append("parent")

        task = asyncio.create_task(parent())
        await turns(2)
        task.cancel()
        await turns(2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert log == ["child", "parent"]
        assert task.cancelling() == 2

    in_asyncio(main)


def test_a_child_and_the_wait_for_it_may_end_in_one_turn() -> None:
    async def main() -> None:
        async def work() -> None:
            await asyncio.sleep(1)

        child = spawn(work())
        waiter = asyncio.create_task(child.wait())
        await asyncio.sleep(1)
        waiter.cancel()
        await asyncio.wait([waiter])
        await child.join()

    in_asyncio(main)


# -- outlast ---------------------------------------------------------------------------------------


async def test_what_outlasts_runs_in_the_callers_own_context() -> None:
    async def work() -> None:
        await turns()
        number.set(number.get() + 1)

    number.set(5)
    await outlast(work, 1, late=False)
    assert number.get() == 6


def test_the_context_of_a_task_is_found_without_its_help() -> None:
    context = copy_context()
    as_a_task_of_python_3_11 = ["it holds its context and does not give it", context]
    assert children._context_of(as_a_task_of_python_3_11) is context

    async def main() -> None:
        context = copy_context()
        seen = []

        async def work() -> None:
            seen.append(children._context_of(this_task()))

        await asyncio.create_task(work(), context=context)
        assert seen == [context]

    in_asyncio(main)


async def test_an_error_of_what_outlasts_is_raised() -> None:
    async def work() -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        await outlast(work, 1, late=False)


async def test_a_cancellation_waits_for_what_outlasts_it() -> None:
    log = []

    async def work() -> None:
        await turns(10)
        log.append("done")

    with anyio.CancelScope() as scope:
        scope.cancel()
        await outlast(work, 1, late=False)
        log.append("not reached")
    assert log == ["done"]


async def test_a_cancellation_does_not_wait_for_ever() -> None:
    log = []

    async def work() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            log.append("cut")

    with anyio.CancelScope() as scope:
        scope.cancel()
        await outlast(work, 0.01, late=False)
    assert log == ["cut"]
    await outlast(work, 0.01, late=True)
    assert log == ["cut", "cut"]


async def test_an_error_of_what_outlasted_a_cancellation_is_logged(
    expected_errors: ExpectedErrors,
) -> None:
    async def work() -> None:
        await turns()
        raise ValueError

    with anyio.CancelScope() as scope:
        scope.cancel()
        await outlast(work, 1, late=False)
    assert scope.cancelled_caught
    assert expected_errors.take() == ["What outlasted a cancellation failed."]


def test_native_cancels_wait_for_what_outlasts_them_and_come_out() -> None:
    async def main() -> None:
        log = []

        async def work() -> None:
            await asyncio.sleep(1)
            log.append("done")

        task = asyncio.create_task(outlast(work, 5, late=False))
        for _ in range(3):
            await turns(3)
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert log == ["done"]

    in_asyncio(main)


async def test_waiting_at_most_says_nothing_when_nothing_came() -> None:
    child = spawn(turns())
    assert await wait_at_most(child, 1) is None
    await child.join()


# -- interruptions ---------------------------------------------------------------------------------


async def test_an_interruption_ends_the_block_and_stays_in_it() -> None:
    log = []

    async def interrupt(stretch: Interruptible) -> None:
        stretch.interrupt()
        stretch.interrupt()

    async with anyio.create_task_group() as tasks:
        with interruptible() as stretch:
            assert not stretch.interrupted
            tasks.start_soon(interrupt, stretch)
            await anyio.sleep_forever()
            log.append("not reached")
        assert stretch.interrupted
        await turns()
        log.append("after")
    assert log == ["after"]


async def test_a_block_that_nobody_interrupts_lets_errors_and_cancels_through() -> None:
    with pytest.raises(ValueError), interruptible():
        raise ValueError
    with anyio.CancelScope() as scope:
        with interruptible() as stretch:
            scope.cancel()
            await checkpoint()
    assert scope.cancelled_caught
    assert not stretch.interrupted


async def test_an_error_that_an_interruption_brought_about_goes_through() -> None:
    with pytest.raises(ValueError), interruptible() as stretch:
        stretch.interrupt()
        try:
            await anyio.sleep_forever()
        finally:
            raise ValueError


async def test_an_interruption_that_the_block_swallows_leaves_nothing() -> None:
    with interruptible() as stretch:
        stretch.interrupt()
        with contextlib.suppress(cancelled_type()):
            await anyio.sleep_forever()
    await turns()
    if on_asyncio():
        assert this_task().cancelling() == 0


async def test_an_interruption_and_a_scope_that_are_cancelled_together_both_end() -> None:
    log = []
    with anyio.CancelScope() as scope:
        with interruptible() as stretch:
            stretch.interrupt()
            scope.cancel()
            await anyio.sleep_forever()
        await checkpoint()
        log.append("not reached")
    assert scope.cancelled_caught
    assert log == []
    if on_asyncio():
        assert this_task().cancelling() == 0


def test_an_interruption_that_comes_with_the_end_of_the_block_is_called_off() -> None:
    async def main() -> None:
        with interruptible() as stretch:
            stretch.interrupt()
        await turns()
        assert not stretch.interrupted

        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def end_and_interrupt() -> None:
            future.set_result(None)
            stretch.interrupt()

        with interruptible() as stretch:
            asyncio.get_running_loop().call_soon(end_and_interrupt)
            await future
        await turns()
        assert not stretch.interrupted
        assert this_task().cancelling() == 0

    in_asyncio(main)


def test_an_interruption_that_comes_just_before_the_end_takes_effect() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        log = []
        with interruptible() as stretch:
            stretch.interrupt()
            loop.call_soon(future.set_result, None)
            await asyncio.sleep(0)
            await future
            log.append("not reached")
        assert stretch.interrupted
        assert log == []
        assert this_task().cancelling() == 0
        await turns()

    in_asyncio(main)


@pytest.mark.parametrize("interrupt_first", [True, False])
def test_a_real_cancel_in_the_same_turn_is_not_lost(interrupt_first: bool) -> None:
    async def main() -> None:
        stretches: list[Interruptible] = []
        log = []

        async def block() -> None:
            with interruptible() as stretch:
                stretches.append(stretch)
                await asyncio.sleep(10)
            log.append("not reached")

        task = asyncio.create_task(block())
        await turns()
        if interrupt_first:
            stretches[0].interrupt()
            await asyncio.sleep(0)
        else:
            stretches[0].interrupt()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert log == []
        assert task.cancelling() == 1

    in_asyncio(main)


def test_an_interruption_in_a_task_that_was_cancelled_before_is_its_own() -> None:
    async def main() -> None:
        log = []

        async def block() -> None:
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                with interruptible() as stretch:
                    assert not stretch.cancelled_from_outside()
                    stretch.interrupt()
                    await asyncio.sleep(10)
                log.append(this_task().cancelling())

        task = asyncio.create_task(block())
        await turns()
        task.cancel()
        await task
        assert log == [1]

    in_asyncio(main)


def test_a_block_tells_a_cancel_of_others_from_its_own() -> None:
    async def main() -> None:
        with interruptible() as stretch:
            assert not stretch.cancelled_from_outside()
            stretch.interrupt()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(10)
            assert not stretch.cancelled_from_outside()
            this_task().cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(10)
            assert stretch.cancelled_from_outside()
            this_task().uncancel()

    in_asyncio(main)


def test_an_asyncio_timeout_around_an_interrupted_block_still_works() -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                with interruptible() as stretch:
                    stretch.interrupt()
                    await asyncio.sleep(10)
                await asyncio.sleep(10)
        assert this_task().cancelling() == 0

    in_asyncio(main)


def test_a_masked_block_is_interrupted_when_the_mask_falls() -> None:
    async def main() -> None:
        log = []
        with interruptible() as stretch:
            stretch.mask()
            stretch.interrupt()
            await turns()
            log.append("masked")
            stretch.unmask()
            await asyncio.sleep(10)
            log.append("not reached")
        assert stretch.interrupted
        assert log == ["masked"]

    in_asyncio(main)


def test_a_mask_that_nothing_came_under_changes_nothing() -> None:
    async def main() -> None:
        with interruptible() as stretch:
            stretch.mask()
            stretch.unmask()
            await turns()
            stretch.interrupt()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(10)
            stretch.mask()
            stretch.unmask()
            await turns()  # it was delivered, and is not again
        assert this_task().cancelling() == 0

    in_asyncio(main)


def test_an_interruption_under_a_mask_ends_with_the_block() -> None:
    async def main() -> None:
        with interruptible() as stretch:
            stretch.mask()
            stretch.interrupt()
            await turns()
        assert not stretch.interrupted
        await turns()
        assert this_task().cancelling() == 0

    in_asyncio(main)


# -- delivering a cancel again ---------------------------------------------------------------------


async def test_a_cancel_of_a_scope_that_was_caught_comes_again() -> None:
    log = []
    with anyio.CancelScope() as scope:
        scope.cancel()
        try:
            await checkpoint()
        except cancelled_type() as exc:
            deliver_again(exc)
        log.append("caught")
        await turns()
        log.append("not reached")
    assert log == ["caught"]
    await turns()
    if on_asyncio():
        assert this_task().cancelling() == 0


def test_a_native_cancel_that_was_caught_comes_again_once() -> None:
    async def main() -> None:
        log: list[object] = []

        async def work() -> None:
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError as exc:
                deliver_again(exc)
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError as exc:
                log.append(exc.args)
            await turns()

        task = asyncio.create_task(work())
        await turns()
        task.cancel("why")
        await task
        assert log == [("why",)]
        assert task.cancelling() == 1

    in_asyncio(main)


def test_a_native_cancel_that_its_asker_took_back_does_not_come_again() -> None:
    async def main() -> None:
        async with asyncio.timeout(1) as timeout:
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError as exc:
                deliver_again(exc)
        assert timeout.expired()
        await turns()
        assert this_task().cancelling() == 0

    in_asyncio(main)


def test_a_cancellation_that_nobody_asked_for_does_not_come_again() -> None:
    async def main() -> None:
        deliver_again(asyncio.CancelledError())
        await turns()

    in_asyncio(main)


# -- grace -----------------------------------------------------------------------------------------


class Cleaner:
    """Code that waits, and whose cleanup awaits; it writes down what it sees."""

    def __init__(self, cleanup: float = 0.01) -> None:
        self.log: list[str] = []
        self.cleanup = cleanup

    async def __call__(self) -> None:
        try:
            self.log.append("begun")
            await anyio.sleep_forever()
        except cancelled_type():
            self.log.append("cancelled")
            raise
        finally:
            try:
                await anyio.sleep(self.cleanup)
                self.log.append("clean")
            except cancelled_type():
                self.log.append("cut")
                raise


async def test_code_in_a_cancelled_scope_gets_the_cancel_once_and_may_await() -> None:
    work = Cleaner()
    with anyio.CancelScope() as scope:
        with interruptible() as stretch, Grace(stretch, 1) as grace:
            scope.cancel()
            await grace.run(work())
        work.log.append("not reached")
    assert work.log == ["begun", "cancelled", "clean"]
    assert scope.cancelled_caught
    assert not grace.exceeded


async def test_interrupted_code_gets_the_cancel_once_and_may_await() -> None:
    work = Cleaner()
    with interruptible() as stretch, Grace(stretch, 1) as grace:
        stretch.interrupt()
        await grace.run(work())
        work.log.append("not reached")
    await turns()
    assert work.log == ["begun", "cancelled", "clean"]
    assert stretch.interrupted
    assert grace.cause is None


def test_natively_cancelled_code_may_await_and_the_cancel_comes_out() -> None:
    async def main() -> None:
        work = Cleaner()

        async def block() -> None:
            with interruptible() as stretch, Grace(stretch, 5) as grace:
                await grace.run(work())

        task = asyncio.create_task(block())
        await turns()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert work.log == ["begun", "cancelled", "clean"]

    in_asyncio(main)


@pytest.mark.parametrize("by", ["scope", "interruption"])
@pytest.mark.parametrize("any_cancel", [True, False])
async def test_a_grace_inside_of_another_one_knows_who_cancelled(by: str, any_cancel: bool) -> None:
    """A stream that a supervisor produces; on trio the outer grace's shield is in the way."""
    work = Cleaner()
    known: list[bool] = []

    async def inner() -> None:
        with interruptible() as stretch, Grace(stretch, 1) as grace:
            try:
                await grace.run(work())
            finally:
                known.append(grace.cause is not None and grace.was_asked_for())

    with anyio.CancelScope() as scope:
        with interruptible() as stretch, Grace(stretch, 1, any_cancel=any_cancel) as grace:
            (scope.cancel if by == "scope" else stretch.interrupt)()
            await grace.run(inner())
        work.log.append("not reached" if by == "scope" else "reached")
    await turns()
    assert work.log == ["begun", "cancelled", "clean", "reached"][: 3 + (by != "scope")]
    assert known == [True]


async def test_a_timeout_inside_of_two_graces_is_its_own_affair() -> None:
    work = Cleaner()
    known: list[bool] = []

    async def inner() -> None:
        with interruptible() as stretch, Grace(stretch, 1) as grace:
            await grace.run(limited())
            known.append(grace.was_asked_for())

    async def limited() -> None:
        with anyio.move_on_after(0):
            await work()

    with interruptible() as stretch, Grace(stretch, 1) as grace:
        await grace.run(inner())
        known.append(grace.was_asked_for())
    assert work.log[:2] == ["begun", "cancelled"]
    assert known == [False, False]


async def test_the_grace_time_is_bounded_for_a_scope() -> None:
    work = Cleaner(cleanup=1000)
    with anyio.CancelScope() as scope:
        with interruptible() as stretch:
            with Grace(stretch, 0.01) as grace:
                scope.cancel()
                await grace.run(work())
        work.log.append("not reached")
    assert work.log == ["begun", "cancelled", "cut"]
    assert grace.exceeded
    assert scope.cancelled_caught


async def test_the_grace_time_is_bounded_for_an_interruption() -> None:
    work = Cleaner(cleanup=1000)
    with interruptible() as stretch:
        with Grace(stretch, 0.01) as grace:
            stretch.interrupt()
            await grace.run(work())
        work.log.append("not reached")
    assert work.log == ["begun", "cancelled", "cut"]
    assert grace.exceeded
    await turns()
    if on_asyncio():
        assert this_task().cancelling() == 0


def test_the_end_of_the_grace_time_does_not_swallow_a_native_cancel() -> None:
    async def main() -> None:
        work = Cleaner(cleanup=1000)

        async def block() -> None:
            with interruptible() as stretch, Grace(stretch, 5) as grace:
                await grace.run(work())

        task = asyncio.create_task(block())
        await turns()
        task.cancel("why")
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert caught.value.args == ("why",)
        assert work.log == ["begun", "cancelled", "cut"]
        assert task.cancelling() == 1

    in_asyncio(main)


async def test_grace_that_was_armed_without_a_cancel_cuts_and_goes_on() -> None:
    with interruptible() as stretch:
        with Grace(stretch, 0.01) as grace:
            grace.arm()
            grace.arm()
            await anyio.sleep(1000)
    assert grace.exceeded
    await turns()


async def test_code_that_swallows_its_cancel_is_found_out() -> None:
    async def work() -> str:
        with contextlib.suppress(cancelled_type()):
            await anyio.sleep_forever()
        return "went on"

    with anyio.CancelScope() as scope:
        with interruptible() as stretch, Grace(stretch, 1) as grace:
            assert grace.settle() is None
            scope.cancel()
            assert await grace.run(work()) == "went on"
            cause = grace.settle()
            assert isinstance(cause, cancelled_type())
            raise cause
    assert scope.cancelled_caught


async def test_code_that_swallowed_an_interruption_goes_on_in_its_grace() -> None:
    async def work() -> str:
        with contextlib.suppress(cancelled_type()):
            await anyio.sleep_forever()
        await anyio.sleep(0.001)
        return "went on"

    with interruptible() as stretch, Grace(stretch, 1) as grace:
        stretch.interrupt()
        assert await grace.run(work()) == "went on"
        assert grace.armed
        assert grace.settle() is not None


async def test_a_scope_of_the_codes_own_is_its_own_affair() -> None:
    async def work() -> str:
        for _ in range(3):
            with anyio.move_on_after(0.001):
                await anyio.sleep_forever()
        await anyio.sleep(0.001)
        return "done"

    with interruptible() as stretch, Grace(stretch, 1) as grace:
        assert await grace.run(work()) == "done"
        assert grace.settle() is None
        assert not grace.armed


async def test_a_scope_of_its_own_that_ends_the_code_is_its_own_affair() -> None:
    async def work() -> str:
        with anyio.move_on_after(0.001):
            await anyio.sleep_forever()
        return "done"

    with interruptible() as stretch, Grace(stretch, 1) as grace:
        assert await grace.run(work()) == "done"
        assert grace.settle() is None


async def test_a_scope_of_its_own_whose_cleanup_awaits_sets_no_deadline() -> None:
    async def work() -> str:
        with anyio.move_on_after(0.001):
            try:
                await anyio.sleep_forever()
            finally:
                with contextlib.suppress(cancelled_type()):
                    await anyio.sleep_forever()
        await anyio.sleep(0.05)
        return "done"

    with interruptible() as stretch, Grace(stretch, 0.02) as grace:
        assert await grace.run(work()) == "done"
        assert grace.settle() is None
    assert not grace.exceeded


def test_an_asyncio_timeout_of_its_own_sets_no_deadline() -> None:
    async def main() -> None:
        async def work() -> str:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    try:
                        await asyncio.sleep(100)
                    finally:
                        await turns()
            await asyncio.sleep(100)
            return "done"

        with interruptible() as stretch, Grace(stretch, 5) as grace:
            assert await grace.run(work()) == "done"
        assert this_task().cancelling() == 0

    in_asyncio(main)


async def test_an_interruption_inside_of_the_codes_own_cancelled_scope_is_not_lost() -> None:
    log: list[str] = []

    async def work(stretch: Interruptible) -> None:
        with anyio.move_on_after(0.001):
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    await turns()
                    stretch.interrupt()
                    await turns()
                    log.append("clean")
        await anyio.sleep(1)
        log.append("not reached")

    with interruptible() as stretch, Grace(stretch, 1) as grace:
        await grace.run(work(stretch))
    assert stretch.interrupted
    assert log == ["clean"]
    if on_asyncio():
        assert this_task().cancelling() == 0


async def spinning() -> None:
    while True:
        await anyio.lowlevel.checkpoint()


async def spinning_in_a_generator() -> None:
    async def items() -> AsyncIterator[int]:
        await spinning()
        yield 1

    async for _ in items():
        pass


async def looking_whether_it_is_cancelled() -> None:
    while True:
        await anyio.lowlevel.cancel_shielded_checkpoint()
        await anyio.lowlevel.checkpoint_if_cancelled()


SPINNING = [spinning, spinning_in_a_generator, looking_whether_it_is_cancelled]


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("wait", SPINNING)
async def test_a_cancel_that_arrives_in_a_checkpoint_is_delivered_once(
    wait: Callable[[], Coroutine[Any, Any, None]], nested: bool
) -> None:
    log = []

    async def work() -> None:
        try:
            await wait()
        except cancelled_type():
            log.append("cancelled")
            raise
        finally:
            # It looks whether it is cancelled, first thing.
            log.append(await anyio.to_thread.run_sync(lambda: "clean"))
            await turns()
            log.append("done")

    async def within() -> None:
        with interruptible() as stretch, Grace(stretch, 1) as grace:
            await grace.run(work())

    with anyio.CancelScope() as scope:
        with interruptible() as stretch, Grace(stretch, 1) as grace:
            scope.cancel()
            await grace.run(within() if nested else work())
        log.append("not reached")
    assert log == ["cancelled", "clean", "done"]
    assert scope.cancelled_caught
    assert not grace.exceeded


async def test_a_cancel_in_a_checkpoint_inside_of_the_codes_own_cancelled_scope_is_its_own() -> (
    None
):
    async def work() -> str:
        with anyio.CancelScope() as own:
            own.cancel()
            await spinning()
        await anyio.sleep(0.05)
        return "done"

    with interruptible() as stretch, Grace(stretch, 0.02) as grace:
        assert await grace.run(work()) == "done"
        assert grace.settle() is None
    assert not grace.exceeded


async def test_a_cleanup_with_a_shield_of_its_own_is_not_cancelled_behind_it() -> None:
    log = []

    async def work() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await turns()
            await anyio.sleep(0.001)
            log.append("clean")

    with anyio.CancelScope() as scope:
        with interruptible() as stretch, Grace(stretch, 1) as grace:
            scope.cancel()
            await grace.run(work())
    assert log == ["clean"]
    assert scope.cancelled_caught


async def test_a_scope_of_its_own_that_is_cancelled_with_the_outside_hides_nothing() -> None:
    log = []

    async def work(outside: anyio.CancelScope) -> None:
        with anyio.CancelScope() as own:
            own.cancel()
            outside.cancel()
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    await turns()
                    log.append("clean")
        with anyio.CancelScope(shield=True):
            await turns()
            log.append("shielded")

    with anyio.CancelScope() as scope:
        with interruptible() as stretch, Grace(stretch, 1) as grace:
            await grace.run(work(scope))
            assert (grace.settle() is None) is on_asyncio()  # there it comes again
        await checkpoint()
        log.append("not reached")
    assert log == ["clean", "shielded"]
    assert scope.cancelled_caught


async def test_a_shield_of_its_own_that_stays_open_is_no_cancel() -> None:
    open_scopes = contextlib.ExitStack()

    async def work() -> str:
        with anyio.CancelScope() as own:
            own.cancel()
            with contextlib.suppress(cancelled_type()):
                await anyio.sleep_forever()
        open_scopes.enter_context(anyio.CancelScope(shield=True))
        return "done"

    with interruptible() as stretch, Grace(stretch, 1) as grace:
        assert await grace.run(work()) == "done"
        assert grace.settle() is None
        assert await grace.run(work()) == "done"
        open_scopes.close()
        assert grace.settle() is None
        assert not grace.armed


async def test_a_cancelled_scope_of_its_own_that_stays_open_is_a_cancel() -> None:
    open_scopes = contextlib.ExitStack()

    async def work() -> None:
        open_scopes.enter_context(anyio.CancelScope()).cancel()
        with contextlib.suppress(cancelled_type()):
            await anyio.sleep_forever()

    with interruptible() as stretch, Grace(stretch, 1) as grace:
        await grace.run(work())
        assert grace.settle() is not None
        open_scopes.close()
        assert grace.settle() is None


async def test_an_interruption_does_not_reach_code_that_cleans_up_already() -> None:
    work = Cleaner(cleanup=0.01)

    async def interrupt(stretch: Interruptible) -> None:
        while "cancelled" not in work.log:
            await checkpoint()
        await turns(2)
        stretch.interrupt()

    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as scope:
            with interruptible() as stretch, Grace(stretch, 1) as grace:
                tasks.start_soon(interrupt, stretch)
                scope.cancel()
                with anyio.CancelScope(shield=False):
                    await grace.run(work())
    assert work.log == ["begun", "cancelled", "clean"]
    assert scope.cancelled_caught


async def test_results_and_errors_pass_through() -> None:
    async def work(value: int) -> int:
        await turns()
        if value == 0:
            raise ValueError("mine")
        return value

    with interruptible() as stretch, Grace(stretch, 1) as grace:
        assert await grace.run(work(3)) == 3
        with pytest.raises(ValueError, match="mine"):
            await grace.run(work(0))


async def test_what_is_sent_into_an_awaitable_and_thrown_into_it_arrives() -> None:
    class Steps:
        def __init__(self) -> None:
            self.seen: list[object] = []

        def __await__(self) -> Generator[Any, Any, str]:
            try:
                while True:
                    self.seen.append((yield "trap"))
                    if len(self.seen) == 2:
                        return "done"
            except ValueError:
                return "thrown"

    with interruptible() as stretch, Grace(stretch, 1) as grace:
        steps = Steps()
        run: Any = grace.run(steps)
        assert next(run) == "trap"
        assert run.send(None) == "trap"
        with pytest.raises(StopIteration) as ended:
            run.send(7)
        assert ended.value.value == "done"
        assert steps.seen == [None, 7]

        run = grace.run(Steps())
        next(run)
        with pytest.raises(StopIteration) as ended:
            run.throw(ValueError())
        assert ended.value.value == "thrown"


async def test_an_async_generator_can_be_run_step_by_step() -> None:
    async def items() -> AsyncIterator[int]:
        yield 1
        await checkpoint()
        yield 2

    iterator = items()
    with interruptible() as stretch, Grace(stretch, 1) as grace:
        assert await grace.run(iterator.__anext__()) == 1
        assert await grace.run(iterator.__anext__()) == 2
        with pytest.raises(StopAsyncIteration):
            await grace.run(iterator.__anext__())


# -- threads ---------------------------------------------------------------------------------------


async def test_a_thread_gets_its_arguments_and_its_context_comes_back() -> None:
    def work(first: int, *, second: int) -> tuple[int, int, int]:
        number.set(number.get() + 1)
        return first, second, threading.get_ident()

    number.set(1)
    first, second, ident = await run_in_thread(work, 1, second=2)
    assert (first, second) == (1, 2)
    assert ident != threading.get_ident()
    assert number.get() == 2


async def test_the_context_comes_back_from_a_thread_that_raised() -> None:
    def work() -> None:
        number.set(3)
        raise ValueError

    with pytest.raises(ValueError):
        await run_in_thread(work)
    assert number.get() == 3


async def test_a_cancelled_scope_waits_for_its_thread() -> None:
    log = []
    gate = threading.Event()

    def work() -> None:
        gate.wait(5)
        log.append("done")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run_in_thread, work)
        await turns()
        tasks.cancel_scope.cancel()
        gate.set()
    assert log == ["done"]


def test_a_native_cancel_waits_for_its_thread() -> None:
    async def main() -> None:
        begun, gate = threading.Event(), threading.Event()
        log = []

        def work() -> None:
            begun.set()
            gate.wait(5)
            log.append("done")

        task = asyncio.create_task(run_in_thread(work))
        while not begun.is_set():
            await asyncio.sleep(0)
        task.cancel()
        await turns(10)
        task.cancel()
        await turns(10)
        assert not task.done()
        gate.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert log == ["done"]

    in_asyncio(main)


async def test_a_call_that_was_given_up_before_its_thread_began_does_not_run() -> None:
    log = []
    turn = threads._Turn(lambda: log.append("ran"))
    await turn.settle()
    turn()
    assert log == []
    other = threads._Turn(lambda: "ran")
    assert other() == "ran"
