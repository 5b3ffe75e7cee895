"""The baton: whoever waits for it goes on inside of ``set``, as the task that it is."""

import asyncio
from collections.abc import Generator
from contextvars import ContextVar
from types import coroutine
from typing import Any

import anyio
import pytest

from hesper._concurrency import (
    Signal,
    cancelled_type,
    checkpoint,
    new_baton,
    on_asyncio,
    spawn,
    spawn_here,
)
from tests.conftest import on_asyncio as only_on_asyncio

number: ContextVar[int] = ContextVar("number", default=0)


async def test_its_waiter_goes_on_when_it_is_set() -> None:
    log: list[str] = []
    baton = new_baton()

    async def wait() -> None:
        await baton.wait()
        log.append("went on")

    child = spawn(wait())
    for _ in range(3):
        await checkpoint()
    assert log == []
    baton.set()
    if on_asyncio():
        assert log == ["went on"]
    await child.join()
    assert log == ["went on"]


async def test_set_before_the_wait_it_holds_nobody_up() -> None:
    baton = new_baton()
    baton.set()
    baton.set()
    await baton.wait()


async def test_set_before_its_waiter_has_begun_it_holds_nobody_up() -> None:
    baton = new_baton()
    log: list[str] = []

    async def wait() -> None:
        await checkpoint()
        await baton.wait()
        log.append("went on")

    child = spawn(wait())
    baton.set()
    await child.join()
    assert log == ["went on"]


async def test_its_waiter_has_its_own_context_and_is_the_current_task() -> None:
    baton = new_baton()
    seen: list[object] = []

    async def wait() -> None:
        number.set(1)
        seen.append(anyio.get_current_task().id)
        await baton.wait()
        seen.append(anyio.get_current_task().id)
        seen.append(number.get())

    child = spawn(wait())
    await checkpoint()
    number.set(2)
    own = anyio.get_current_task().id
    baton.set()
    assert (anyio.get_current_task().id, number.get()) == (own, 2)
    await child.join()
    assert seen[0] == seen[1] != own
    assert seen[2] == 1


async def test_a_waiter_that_waits_again_leaves_the_setter_alone() -> None:
    baton, event = new_baton(), anyio.Event()

    async def wait() -> None:
        await baton.wait()
        await event.wait()

    child = spawn(wait())
    await checkpoint()
    baton.set()
    with anyio.move_on_after(0):
        await child.wait()
    event.set()
    await child.join()


async def test_a_waiter_in_the_setters_own_context_goes_on_a_little_later() -> None:
    """As what a supervisor finishes: no context can be entered twice."""
    baton = new_baton()
    log: list[str] = []

    async def wait() -> None:
        await baton.wait()
        log.append("went on")

    child = spawn_here(wait())
    await checkpoint()
    baton.set()
    await child.join()
    assert log == ["went on"]


@only_on_asyncio
async def test_set_before_its_waiter_is_heard_of_it_holds_nobody_up() -> None:
    """Whoever drives the waiter may do something before it gives on what that waits for."""
    baton = new_baton()

    @coroutine
    def drive() -> Generator[Any, Any, None]:
        for trap in baton.wait().__await__():
            baton.set()
            yield trap

    with anyio.fail_after(1):
        await drive()


async def test_a_scope_of_the_waiter_goes_on_with_it() -> None:
    """anyio asks for the current task: a timeout that began before ends after."""
    baton = new_baton()
    log: list[bool] = []

    async def wait() -> None:
        with anyio.fail_after(10):
            await baton.wait()
            await checkpoint()
        with anyio.move_on_after(0) as scope:
            await anyio.sleep_forever()
        log.append(scope.cancelled_caught)

    child = spawn(wait())
    await checkpoint()
    baton.set()
    await child.join()
    assert log == [True]


@pytest.mark.parametrize("then_set", [False, True])
async def test_a_waiter_that_is_cancelled_is_cancelled(then_set: bool) -> None:
    baton = new_baton()
    log: list[str] = []

    async def wait() -> None:
        try:
            await baton.wait()
        except cancelled_type():
            log.append("cancelled")
            raise

    child = spawn(wait())
    await checkpoint()
    child.cancel()
    if then_set:
        baton.set()
    await child.join()
    assert log == ["cancelled"]


async def test_a_waiter_whose_scope_is_cancelled_is_cancelled_in_that_scope() -> None:
    """anyio knows the cancels of its scopes by their message."""
    baton = new_baton()
    log: list[bool] = []

    async def wait() -> None:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await baton.wait()
        log.append(scope.cancelled_caught)

    await spawn(wait()).join()
    assert log == [True]


@only_on_asyncio
@pytest.mark.parametrize("args", [(), ("why",)])
async def test_a_waiter_hears_why_it_was_cancelled(args: tuple[str, ...]) -> None:
    task = asyncio.create_task(_wait_for(new_baton()))
    await checkpoint()
    task.cancel(*args)
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    assert caught.value.args == args


async def _wait_for(signal: Signal) -> None:
    await signal.wait()


@only_on_asyncio
async def test_set_and_cancelled_at_once_it_is_what_came_first() -> None:
    baton = new_baton()
    log: list[str] = []

    async def wait() -> None:
        await baton.wait()
        log.append("went on")
        await checkpoint()
        log.append("was not cancelled")

    child = spawn(wait())
    await checkpoint()
    baton.set()
    child.cancel()
    await child.join()
    assert log == ["went on"]


@only_on_asyncio
async def test_set_by_a_callback_of_the_loop_its_waiter_goes_on_in_the_next_turn() -> None:
    baton = new_baton()
    log: list[str] = []

    async def wait() -> None:
        await baton.wait()
        log.append("went on")

    child = spawn(wait())
    await checkpoint()
    asyncio.get_running_loop().call_soon(baton.set)
    await child.join()
    assert log == ["went on"]


async def test_an_error_of_the_waiter_is_the_waiters() -> None:
    baton = new_baton()
    seen: list[Exception] = []

    async def wait() -> None:
        try:
            await baton.wait()
            raise ValueError("mine")
        except ValueError as exc:
            seen.append(exc)

    child = spawn(wait())
    await checkpoint()
    baton.set()
    await child.join()
    assert [str(exc) for exc in seen] == ["mine"]


@only_on_asyncio
async def test_cancelled_before_the_turn_in_which_it_would_go_on_a_waiter_is_cancelled() -> None:
    """As with a future: the cancel comes at the wait that is over already."""
    baton = new_baton()
    log: list[str] = []

    async def wait() -> None:
        try:
            await baton.wait()
            log.append("went on")
        except asyncio.CancelledError:
            log.append("cancelled")
            raise

    child = spawn(wait())
    await checkpoint()

    def set_and_cancel() -> None:
        baton.set()
        child.cancel()

    asyncio.get_running_loop().call_soon(set_and_cancel)
    await child.join()
    assert log == ["cancelled"]
