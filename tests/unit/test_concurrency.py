"""Threads and races under Starlette's names: what is waited for, closed, and carried over."""

import threading
from collections.abc import Iterator
from contextvars import ContextVar

import anyio
import pytest

from hesper.concurrency import (
    iterate_in_threadpool,
    run_in_threadpool,
    run_until_first_complete,
)
from hesper.exceptions import HesperDeprecationWarning
from hesper.responses import StreamingResponse
from hesper.testing import ScriptedServer

number: ContextVar[int] = ContextVar("number", default=0)


class Items:
    """A sync iterator that can be closed."""

    def __init__(self, items: list[int]) -> None:
        self._items = iter(items)
        self.closed = 0

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        return next(self._items)

    def close(self) -> None:
        self.closed += 1


class Source:
    """A sync iterable that is not its own iterator, as a database cursor's result; both close."""

    def __init__(self) -> None:
        self.closed = 0
        self.items = Items([1, 2])

    def __iter__(self) -> Iterator[int]:
        return self.items

    def close(self) -> None:
        assert self.items.closed == 1, "the iterator is closed before what it iterates"
        self.closed += 1


# -- run_in_threadpool -----------------------------------------------------------------------------


async def test_a_function_runs_in_another_thread_with_its_arguments() -> None:
    def func(first: int, *, second: int) -> tuple[int, int, int]:
        return first, second, threading.get_ident()

    assert (await run_in_threadpool(func, 1, second=2))[:2] == (1, 2)
    assert (await run_in_threadpool(func, 1, second=2))[2] != threading.get_ident()


async def test_context_variables_go_into_the_thread_and_come_back() -> None:
    def func() -> int:
        before = number.get()
        number.set(2)
        return before

    token = number.set(1)
    assert await run_in_threadpool(func) == 1
    assert number.get() == 2
    number.reset(token)


async def test_an_error_comes_back_as_it_is_together_with_the_context() -> None:
    error = LookupError()

    def func() -> None:
        number.set(3)
        raise error

    with pytest.raises(LookupError) as caught:
        await run_in_threadpool(func)
    assert caught.value is error
    assert number.get() == 3


async def test_a_cancelled_scope_waits_for_the_thread() -> None:
    begun, go, done = threading.Event(), threading.Event(), threading.Event()

    def func() -> None:
        begun.set()
        assert go.wait(5)
        done.set()

    async with anyio.create_task_group() as group:
        group.start_soon(run_in_threadpool, func)
        while not begun.is_set():
            await anyio.sleep(0.001)
        group.cancel_scope.cancel()
        go.set()
    assert done.is_set()


# -- iterate_in_threadpool -------------------------------------------------------------------------


@pytest.mark.parametrize("items", [[], [1], [1, None, 2]])
async def test_every_item_is_given_in_order(items: list[int | None]) -> None:
    for iterable in (items, iter(items), (item for item in items)):
        assert [item async for item in iterate_in_threadpool(iterable)] == items


async def test_each_step_runs_in_a_thread_with_the_context_of_the_caller() -> None:
    def items() -> Iterator[tuple[int, int]]:
        yield threading.get_ident(), number.get()
        yield threading.get_ident(), number.get()

    iterator = iterate_in_threadpool(items())
    number.set(1)
    first = await anext(iterator)
    number.set(2)
    second = await anext(iterator)
    assert threading.get_ident() not in (first[0], second[0])
    assert (first[1], second[1]) == (1, 2)


async def close(iterator: object) -> None:
    await iterator.aclose()  # type: ignore[attr-defined]


@pytest.mark.parametrize("begun", [False, True])
async def test_closing_closes_an_iterator_once(begun: bool) -> None:
    items = Items([1, 2])
    iterator = iterate_in_threadpool(items)
    if begun:
        assert await anext(iterator) == 1
    await close(iterator)
    await close(iterator)
    assert items.closed == 1
    assert [item async for item in iterator] == []


async def test_closing_closes_the_iterator_and_then_the_iterable() -> None:
    source = Source()
    iterator = iterate_in_threadpool(source)
    assert await anext(iterator) == 1
    await close(iterator)
    assert (source.items.closed, source.closed) == (1, 1)


async def test_what_cannot_be_closed_needs_no_closing() -> None:
    iterator = iterate_in_threadpool([1, 2])
    assert await anext(iterator) == 1
    await close(iterator)


async def test_when_one_part_fails_to_close_the_other_is_closed_all_the_same() -> None:
    class Stubborn(Items):
        def close(self) -> None:
            super().close()
            raise LookupError

    source = Source()
    source.items = Stubborn([1])
    iterator = iterate_in_threadpool(source)
    assert await anext(iterator) == 1
    with pytest.raises(LookupError):
        await close(iterator)
    assert source.closed == 1
    await close(iterator)
    assert source.items.closed == 1


async def test_an_error_of_the_iterable_comes_out() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise LookupError

    iterator = iterate_in_threadpool(items())
    assert await anext(iterator) == 1
    with pytest.raises(LookupError):
        await anext(iterator)


async def test_a_generator_that_works_when_the_client_leaves_is_closed_after_its_item() -> None:
    working, go = threading.Event(), threading.Event()
    closed: list[bool] = []

    def items() -> Iterator[bytes]:
        try:
            yield b"1"
            working.set()
            go.wait(5)
            yield b"2"
            yield b"3"
        finally:
            closed.append(go.is_set())

    async with ScriptedServer(StreamingResponse(items())).get("/").open() as client:
        while not working.is_set():
            await anyio.sleep(0.001)
        client.leave()
        for _ in range(20):
            await anyio.sleep(0)
        assert closed == []
        go.set()
        result = await client.finish()
    assert closed == [True]
    assert result.ended == "returned"
    assert result.body == b"1"


# -- run_until_first_complete ----------------------------------------------------------------------


async def test_when_one_function_returns_the_rest_are_cancelled() -> None:
    seen: list[str] = []

    async def quick(name: str) -> None:
        seen.append(name)

    async def slow(seconds: float) -> None:
        try:
            await anyio.sleep(seconds)
        except BaseException:
            seen.append("cancelled")
            raise

    with pytest.warns(HesperDeprecationWarning, match="use an anyio task group") as caught:
        await run_until_first_complete((slow, {"seconds": 100}), (quick, {"name": "quick"}))
    assert caught[0].filename == __file__
    assert sorted(seen) == ["cancelled", "quick"]
