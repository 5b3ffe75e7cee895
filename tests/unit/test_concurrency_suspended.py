"""Where suspended code waits: whatever awaits what, trio's ``checkpoint()`` is found at the end."""

import contextlib
from collections.abc import AsyncIterator, Callable, Generator
from types import coroutine
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import trio
import trio.testing

from hesper._concurrency.suspended import waits_in_trios_checkpoint


async def waiting() -> None:
    await anyio.lowlevel.checkpoint()


async def items() -> AsyncIterator[int]:
    await waiting()
    for item in list[int]():
        yield item


async def over_items() -> None:
    async for _ in items():
        pass


class ByHand:
    """An awaitable that is made of a generator."""

    def __await__(self) -> Generator[Any, Any, None]:
        yield from waiting().__await__()


class Foreign:
    """An awaitable that does not say what it awaits, although it holds it."""

    def __init__(self) -> None:
        self.steps: Any = waiting().__await__()

    def __await__(self) -> Any:
        return self

    def __next__(self) -> Any:
        return next(self.steps)

    def send(self, sent: Any) -> Any:
        return self.steps.send(sent)


async def receiving() -> None:
    send, receive = anyio.create_memory_object_stream[int](1)
    with send, receive:
        await receive.receive()


async def around(awaitable: Any) -> None:
    await awaitable


async def closing() -> None:
    async def begun() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await waiting()

    generator: Any = begun()
    with pytest.raises(StopIteration):
        generator.__anext__().send(None)
    await generator.aclose()


@coroutine
def look(awaitable: Any, found: list[bool]) -> Generator[Any, Any, None]:
    """Awaits, and looks after the first step."""
    steps = awaitable.__await__()
    trap = next(steps)
    found.append(waits_in_trios_checkpoint(steps))
    with contextlib.suppress(StopIteration, StopAsyncIteration):
        while True:
            trap = steps.send((yield trap))


def looked_at(awaitable: Callable[[], Any]) -> bool:
    """What is said of an awaitable that is suspended on trio."""
    found: list[bool] = []

    async def main() -> None:
        with trio.move_on_after(1):
            await look(awaitable(), found)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    return found[0]


HERE: dict[str, Callable[[], Any]] = {
    "sleep(0)": lambda: trio.sleep(0),
    "a coroutine": waiting,
    "an iteration": over_items,
    "a step of a generator": lambda: items().__anext__(),
    "a step with a default": lambda: around(anext(items(), None)),
    "the end of a generator": lambda: around(closing()),
    "a generator by hand": ByHand,
    "memory streams": receiving,
}

ELSEWHERE: dict[str, Callable[[], Any]] = {
    "a wait": lambda: trio.sleep(1),
    "a shielded checkpoint": trio.lowlevel.cancel_shielded_checkpoint,
    "what does not tell": lambda: around(Foreign()),
}


@pytest.mark.parametrize("name", HERE)
def test_trios_checkpoint_is_found(name: str) -> None:
    assert looked_at(HERE[name])


@pytest.mark.parametrize("name", ELSEWHERE)
def test_other_places_are_not_taken_for_it(name: str) -> None:
    assert not looked_at(ELSEWHERE[name])
