"""Bodies that streams are made of, and a witness of how each began and ended.

The law: a body here reports to its `Witness` what is done to it, and does not help. Whatever closes
a body too late, twice, in another task or in another context shows in `Witness.problems`.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from contextvars import ContextVar, Token
from typing import Any

import anyio
import anyio.lowlevel

from hesper.types import ASGIApp, Receive, Scope, Send

place: ContextVar[str] = ContextVar("place", default="outside")


def current_asyncio_task() -> Any:
    """The running task on asyncio; None on trio."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def current_task() -> int:
    """An identity of the running task."""
    return anyio.get_current_task().id


class Witness:
    """How one body began and ended."""

    def __init__(self) -> None:
        self.begun = 0
        self.items = 0
        self.cancels = 0
        self.closed = 0
        self.cleaned_up = 0
        self.problems: list[str] = []
        self.closed_before_return: int | None = None
        self.closed_at = math.nan
        self._task = 0
        self._token: Token[str] | None = None

    def begin(self, *, in_thread: bool = False) -> None:
        """The body's code has begun."""
        self.begun += 1
        if not in_thread:
            self._task = current_task()
            self._token = place.set("body")

    def item(self) -> None:
        """The next item is about to be given."""
        self.items += 1

    def cancelled(self) -> None:
        """A cancellation arrived in the body's code."""
        self.cancels += 1

    def close(self, *, in_thread: bool = False) -> None:
        """The body is being closed."""
        self.closed += 1
        if in_thread:
            return
        self.closed_at = anyio.current_time()
        if not self.begun:
            return
        if current_task() != self._task:
            self.problems.append("closed in another task")
        if self._token is not None:
            try:
                place.reset(self._token)
            except ValueError:
                self.problems.append("closed in another context")
            self._token = None

    def clean_up(self) -> None:
        """Cleanup that awaits has come to its end."""
        self.cleaned_up += 1

    def watching(self, app: ASGIApp) -> ASGIApp:
        """`app`, as a server sees it: notes what was closed when it returned."""

        async def watched(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                await app(scope, receive, send)
            finally:
                self.closed_before_return = self.closed

        return watched

    def assert_closed_once(self) -> None:
        """The body was closed exactly once, in its task and context, before the app returned."""
        assert self.problems == []
        assert self.closed == 1
        assert self.closed_before_return == 1


Body = Callable[[Witness], Any]


# Generators that do not end by themselves.


async def idle(witness: Witness) -> AsyncIterator[bytes]:
    """Gives one item and waits for ever."""
    witness.begin()
    try:
        witness.item()
        yield b"one"
        await anyio.sleep_forever()
    except anyio.get_cancelled_exc_class():
        witness.cancelled()
        raise
    finally:
        witness.close()


async def idle_before_the_first_item(witness: Witness) -> AsyncIterator[bytes]:
    """Waits for ever before it gives anything."""
    witness.begin()
    try:
        await anyio.sleep_forever()
        yield b"never"
    except anyio.get_cancelled_exc_class():
        witness.cancelled()
        raise
    finally:
        witness.close()


async def ticking(witness: Witness) -> AsyncIterator[bytes]:
    """Gives an item every millisecond."""
    witness.begin()
    try:
        while True:
            witness.item()
            yield b"tick"
            await anyio.sleep(0.001)
    finally:
        witness.close()


async def never_awaiting(witness: Witness) -> AsyncIterator[bytes]:
    """Gives items for ever and never awaits anything."""
    witness.begin()
    try:
        while True:
            witness.item()
            yield b"x"
    finally:
        witness.close()


def sync_generator(witness: Witness) -> Iterator[bytes]:
    """Gives items for ever, in threads."""
    witness.begin(in_thread=True)
    try:
        while True:
            witness.item()
            yield b"x"
    finally:
        witness.close(in_thread=True)


# Generators that clean up.


async def idle_then_cleaning(witness: Witness) -> AsyncIterator[bytes]:
    """Waits for ever, and has a `finally` that awaits for a second in several steps."""
    witness.begin()
    try:
        witness.item()
        yield b"one"
        await anyio.sleep_forever()
    except anyio.get_cancelled_exc_class():
        witness.cancelled()
        raise
    finally:
        await clean(witness, 0.01)
        witness.close()


async def ticking_then_cleaning(witness: Witness) -> AsyncIterator[bytes]:
    """Gives items for ever, and has a `finally` that awaits in several steps."""
    witness.begin()
    try:
        while True:
            witness.item()
            yield b"tick"
            await anyio.lowlevel.checkpoint()
    finally:
        await clean(witness, 0.01)
        witness.close()


async def clean(witness: Witness, seconds: float) -> None:
    """Awaits several things, as closing a connection does."""
    await anyio.lowlevel.checkpoint()
    await anyio.sleep(seconds)
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.lowlevel.checkpoint)
    with anyio.move_on_after(seconds):
        await anyio.sleep_forever()
    witness.clean_up()


# Generators that hold something open around their `yield`.


async def in_a_scope(witness: Witness) -> AsyncIterator[bytes]:
    """Holds a cancel scope open."""
    witness.begin()
    try:
        with anyio.CancelScope():
            witness.item()
            yield b"one"
            await anyio.sleep_forever()
    finally:
        witness.close()


async def in_a_timeout(witness: Witness) -> AsyncIterator[bytes]:
    """Holds an anyio timeout open."""
    witness.begin()
    try:
        with anyio.fail_after(1000):
            witness.item()
            yield b"one"
            await anyio.sleep_forever()
    finally:
        witness.close()


async def in_asyncios_timeout(witness: Witness) -> AsyncIterator[bytes]:
    """Holds asyncio's timeout open; on trio anyio's."""
    witness.begin()
    timeout: Any = asyncio.timeout(1000) if current_asyncio_task() else _async_timeout()
    try:
        async with timeout:
            witness.item()
            yield b"one"
            await anyio.sleep_forever()
    finally:
        witness.close()


@asynccontextmanager
async def _async_timeout() -> AsyncIterator[None]:
    with anyio.fail_after(1000):
        yield


async def in_a_task_group(witness: Witness) -> AsyncIterator[bytes]:
    """Holds a task group open, with a child that works for ever."""
    witness.begin()
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep_forever)
            witness.item()
            yield b"one"
            await anyio.sleep_forever()
    finally:
        witness.close()


async def in_all_of_them(witness: Witness) -> AsyncIterator[bytes]:
    """Holds a scope, a task group and a timeout open, and cleans up inside and outside of them."""
    witness.begin()
    try:
        with anyio.CancelScope():
            async with anyio.create_task_group() as group:
                group.start_soon(anyio.sleep_forever)
                with anyio.fail_after(1000):
                    try:
                        witness.item()
                        yield b"one"
                        await anyio.sleep_forever()
                    finally:
                        await clean(witness, 0.001)
    finally:
        await clean(witness, 0.001)
        witness.close()


HOLDING: list[Body] = [
    in_a_scope,
    in_a_timeout,
    in_asyncios_timeout,
    in_a_task_group,
    in_all_of_them,
]


# Generators that resist.


async def swallowing(witness: Witness) -> AsyncIterator[bytes]:
    """Catches the cancel and goes on giving items."""
    witness.begin()
    try:
        while True:
            witness.item()
            yield b"x"
            try:
                await anyio.sleep_forever()
            except anyio.get_cancelled_exc_class():
                witness.cancelled()
    finally:
        witness.close()


async def swallowing_then_waiting(witness: Witness) -> AsyncIterator[bytes]:
    """Catches the first cancel and waits on, for ever."""
    witness.begin()
    try:
        witness.item()
        yield b"x"
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            witness.cancelled()
        await anyio.sleep_forever()
    finally:
        witness.close()


async def cleaning_for_ever(witness: Witness) -> AsyncIterator[bytes]:
    """Has a `finally` that never comes to its end."""
    witness.begin()
    try:
        witness.item()
        yield b"x"
        await anyio.sleep_forever()
    finally:
        try:
            await anyio.sleep_forever()
            witness.clean_up()
        finally:
            witness.close()


# Objects.


class Items:
    """An async iterator that waits for ever after some items, and cannot be closed."""

    def __init__(self, witness: Witness, items: float = 1) -> None:
        self.witness = witness
        self.left = items

    def __aiter__(self) -> "Items":
        return self

    async def __anext__(self) -> bytes:
        if not self.witness.begun:
            self.witness.begin()
        if self.left <= 0:
            try:
                await anyio.sleep_forever()
            except anyio.get_cancelled_exc_class():
                self.witness.cancelled()
                raise
        self.left -= 1
        self.witness.item()
        return b"item"


class WithAclose(Items):
    """One with an async `aclose`, as the streams of httpx and openai have it."""

    async def aclose(self) -> None:
        await clean(self.witness, 0.001)
        self.witness.close()


class WithClose(Items):
    """One with a `close` that is not async."""

    def close(self) -> None:
        self.witness.close()


class WithAsyncClose(Items):
    """One whose `close` is async."""

    async def close(self) -> None:
        await clean(self.witness, 0.001)
        self.witness.close()


class Iterable:
    """An async iterable that is no iterator; its iterator is closed."""

    def __init__(self, witness: Witness) -> None:
        self.witness = witness

    def __aiter__(self) -> AsyncIterator[bytes]:
        return idle(self.witness)


class SyncItems:
    """A sync iterator with `close`, which is no generator."""

    def __init__(self, witness: Witness) -> None:
        self.witness = witness

    def __iter__(self) -> "SyncItems":
        return self

    def __next__(self) -> bytes:
        if not self.witness.begun:
            self.witness.begin(in_thread=True)
        self.witness.item()
        return b"item"

    def close(self) -> None:
        self.witness.close(in_thread=True)


OBJECTS: list[Body] = [WithAclose, WithClose, WithAsyncClose]
