"""E7: a body iterator is closed exactly once, in the task and context that ran it.

Before the app returns: async and sync generators, objects with `aclose()` or `close()`, wrappers
around another body, bodies never started, responses that a middleware dropped or replaced. (The
grace that its `finally` has is in `test_e07_grace`.)
"""

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anyio

from hesper.exceptions import UsageError
from hesper.requests import Request
from hesper.responses import PlainTextResponse, Response, StreamingResponse
from hesper.testing import Dialect, Result, ScriptedServer
from hesper.testing.client import Client
from hesper.types import ASGIApp, Receive, Scope, Send

from .apps import (
    CallNext,
    Dispatch,
    assert_quiet,
    ends_cleanly,
    hesper,
    nest,
    over,
    pass_on,
    send_body,
    send_start,
    settle,
)
from .bodies import (
    HOLDING,
    OBJECTS,
    Body,
    SyncItems,
    WithAclose,
    WithAsyncClose,
    WithClose,
    Witness,
    current_asyncio_task,
    idle,
    idle_then_cleaning,
    never_awaiting,
    place,
    sync_generator,
    ticking,
    ticking_then_cleaning,
)

depths = over("depth", [0, 4])
natures = over("native", [False, True])


def streaming(
    body: Body, witness: Witness, *dispatches: Dispatch, functions: bool = False
) -> ASGIApp:
    """An app whose only response is this body."""

    async def endpoint(request: Request) -> Response:
        return StreamingResponse(body(witness))

    return witness.watching(hesper(endpoint, *dispatches, functions=functions))


def named(body: Any) -> str:
    return str(body.__name__)


# Bodies that come to an end.


async def short(witness: Witness) -> AsyncIterator[bytes]:
    """Ends after two items."""
    witness.begin()
    try:
        for _ in range(2):
            witness.item()
            yield b"x"
            await anyio.sleep(0)
    finally:
        witness.close()


async def empty(witness: Witness) -> AsyncIterator[bytes]:
    """Ends at once."""
    witness.begin()
    try:
        for _ in range(0):
            yield b"never"
    finally:
        witness.close()


async def in_a_task_group_that_ends(witness: Witness) -> AsyncIterator[bytes]:
    """Ends, and had a task group open meanwhile."""
    witness.begin()
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, 0.001)
            with anyio.fail_after(1000):
                yield b"x"
                await anyio.sleep(0)
                yield b"x"
    finally:
        witness.close()


def short_sync(witness: Witness) -> Iterator[str]:
    """Ends after two items, in threads."""
    witness.begin(in_thread=True)
    try:
        yield "x"
        yield "x"
    finally:
        witness.close(in_thread=True)


class ShortObject(WithAclose):
    """Ends after one item."""

    async def __anext__(self) -> bytes:
        if self.left <= 0:
            raise StopAsyncIteration
        return await super().__anext__()


@depths
@over("body", [short, empty, in_a_task_group_that_ends, short_sync, ShortObject])
async def test_e07_a_body_that_ends_is_closed_once(
    body: Body, depth: int, dialect: Dialect
) -> None:
    """A body iterator is closed exactly once, in the task and context that ran it, before the app
    returns."""
    witness = Witness()
    app = streaming(body, witness, *[pass_on] * depth)
    result = await ScriptedServer(app, dialect).get().run()
    assert_quiet(result)
    assert result.complete
    witness.assert_closed_once()


# Bodies whose client leaves.


@depths
@over("body", [idle, idle_then_cleaning, *HOLDING, *OBJECTS])
async def test_e07_a_body_is_closed_once_when_the_client_leaves_while_it_waits(
    body: Body, depth: int, dialect: Dialect
) -> None:
    """A body iterator is closed exactly once, in the task and context that ran it, before the app
    returns: async generators, objects with `aclose()` or `close()`."""
    witness = Witness()
    app = streaming(body, witness, *[pass_on] * depth)
    async with ScriptedServer(app, dialect).get().open() as client:
        await client.wait_message(2)
        await settle()
        client.leave()
        result = await client.finish()
    assert_quiet(result)
    assert not result.server_cancelled
    assert witness.cancels <= 1
    witness.assert_closed_once()


@depths
@over("body", [ticking, ticking_then_cleaning, *HOLDING, *OBJECTS])
async def test_e07_a_body_is_closed_once_when_the_client_leaves_while_send_is_blocked(
    body: Body, depth: int, dialect: Dialect
) -> None:
    """A body iterator is closed exactly once, in the task and context that ran it, before the app
    returns: it is suspended at its `yield`."""
    witness = Witness()
    app = streaming(body, witness, *[pass_on] * depth)
    async with ScriptedServer(app, dialect).get().stall_at_message(2).open() as client:
        await client.wait_message(2)
        await settle()
        client.leave()
        result = await client.finish()
    assert_quiet(result)
    assert not result.server_cancelled
    witness.assert_closed_once()


class ReadyWithAclose(WithAclose):
    """An object that is always ready."""

    def __init__(self, witness: Witness) -> None:
        super().__init__(witness, float("inf"))


@depths
@over("body", [never_awaiting, ReadyWithAclose, sync_generator, SyncItems])
async def test_e07_a_body_that_never_awaits_is_closed_once_when_the_client_leaves(
    body: Body, depth: int, dialect: Dialect
) -> None:
    """A body iterator is closed exactly once, in the task and context that ran it, before the app
    returns: async and sync generators."""
    witness = Witness()
    app = streaming(body, witness, *[pass_on] * depth)
    result = await ScriptedServer(app, dialect).get().leave_at_message(3).run()
    assert_quiet(result)
    assert not result.server_cancelled
    witness.assert_closed_once()


# "wrappers around another body"


def wrapping(witness: Witness) -> Dispatch:
    """A middleware that wraps the body in a generator, which does not close what it wraps."""

    async def wrap(request: Request, call_next: CallNext) -> Response:
        response = await call_next(request)
        inside = response.body_iterator

        async def wrapper() -> AsyncIterator[Any]:
            witness.begin()
            try:
                async for chunk in inside:
                    witness.item()
                    yield chunk
            finally:
                witness.close()

        response.body_iterator = wrapper()
        return response

    return wrap


@over("ending", ["gone on arrival", "start blocked", "waiting", "send blocked"])
@over("body", [idle, ticking, *OBJECTS])
async def test_e07_a_body_and_the_wrappers_around_it_are_each_closed_once(
    body: Body, ending: str, dialect: Dialect
) -> None:
    """A body iterator is closed exactly once: wrappers around another body."""
    inner, middle, outer = Witness(), Witness(), Witness()
    layers = [pass_on, wrapping(outer), pass_on, wrapping(middle)]
    app = middle.watching(outer.watching(streaming(body, inner, *layers)))
    message = {"gone on arrival": 0, "start blocked": 1}.get(ending, 2)
    script = ScriptedServer(app, dialect).get()
    script = script.stall_at_message(message) if "blocked" in ending else script
    async with script.open() as client:
        if message:
            await client.wait_message(message)
            await settle()
        client.leave()
        result = await client.finish()
    assert_quiet(result)
    assert not result.server_cancelled
    for witness in (inner, middle, outer):
        assert witness.problems == []
        if witness.begun or (body in OBJECTS and witness is inner):
            witness.assert_closed_once()


async def test_e07_wrappers_are_closed_before_what_they_wrap(dialect: Dialect) -> None:
    """A body iterator is closed exactly once: wrappers around another body, newest first."""
    order: list[str] = []

    async def endpoint(request: Request) -> Response:
        async def stream() -> AsyncIterator[bytes]:
            try:
                while True:  # it waits nowhere: a cancel in it would arrive in the body first
                    yield b"x"
            finally:
                order.append("body")

        return StreamingResponse(stream())

    def wraps(name: str) -> Dispatch:
        async def dispatch(request: Request, call_next: CallNext) -> Response:
            response = await call_next(request)
            inside = response.body_iterator

            async def wrapper() -> AsyncIterator[Any]:
                try:
                    async for chunk in inside:
                        yield chunk
                finally:
                    order.append(name)

            response.body_iterator = wrapper()
            return response

        return dispatch

    app = hesper(endpoint, wraps("outer"), wraps("inner"))
    async with ScriptedServer(app, dialect).get().stall_at_message(3).open() as client:
        await client.wait_message(3)
        await settle()
        client.leave()
        assert_quiet(await client.finish())
    assert order == ["outer", "inner", "body"]


async def test_e07_a_wrapper_that_closes_what_it_wraps_is_harmless(dialect: Dialect) -> None:
    """A body iterator is closed exactly once: also if the wrapper did so."""
    inner = Witness()

    async def wrap(request: Request, call_next: CallNext) -> Response:
        response = await call_next(request)
        inside: Any = response.body_iterator

        async def wrapper() -> AsyncIterator[Any]:
            try:
                async for chunk in inside:
                    yield chunk
            finally:
                await inside.aclose()

        response.body_iterator = wrapper()
        return response

    app = streaming(ticking, inner, wrap)
    assert_quiet(await ScriptedServer(app, dialect).get().leave_at_message(3).run())
    inner.assert_closed_once()


# "bodies never started"


def is_closed(generator: Any) -> bool:
    """Whether a generator can give nothing any more."""
    if inspect.isasyncgen(generator):
        return generator.ag_frame is None
    return bool(generator.gi_frame is None)


@depths
@over("body", [idle, sync_generator])
async def test_e07_a_generator_that_was_never_started_is_closed(
    body: Body, depth: int, dialect: Dialect
) -> None:
    """A body iterator is closed exactly once: bodies never started."""
    generators: list[Any] = []
    closed_when_it_returned: list[bool] = []

    async def endpoint(request: Request) -> Response:
        await request.wait_disconnected()
        generators.append(body(Witness()))
        return StreamingResponse(generators[0])

    app = hesper(endpoint, *[pass_on] * depth)

    async def watched(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)
        closed_when_it_returned.append(is_closed(generators[0]))

    result = await ScriptedServer(watched, dialect).get().leave_at_message(0).run()
    assert_quiet(result)
    assert closed_when_it_returned == [True]


@depths
@over("body", [*OBJECTS, SyncItems])
async def test_e07_an_object_that_was_never_started_is_closed_once(
    body: Body, depth: int, dialect: Dialect
) -> None:
    """A body iterator is closed exactly once: bodies never started."""
    witness = Witness()

    async def endpoint(request: Request) -> Response:
        await request.wait_disconnected()
        return StreamingResponse(body(witness))

    app = witness.watching(hesper(endpoint, *[pass_on] * depth))
    assert_quiet(await ScriptedServer(app, dialect).get().leave_at_message(0).run())
    assert witness.begun == 0
    witness.assert_closed_once()


@depths
@over("body", OBJECTS)
async def test_e07_a_body_is_closed_once_when_the_start_message_could_not_be_sent(
    body: Body, depth: int, dialect: Dialect
) -> None:
    """A body iterator is closed exactly once: bodies never started."""
    witness = Witness()
    app = streaming(body, witness, *[pass_on] * depth)
    async with ScriptedServer(app, dialect).get().stall_at_message(1).open() as client:
        await client.wait_message(1)
        await settle()
        client.leave()
        result = await client.finish()
    assert_quiet(result)
    assert not result.server_cancelled
    witness.assert_closed_once()


# "responses that a middleware dropped or replaced"


async def drop(request: Request, call_next: CallNext) -> Response:
    """Answers itself, whatever comes from below."""
    await call_next(request)
    return PlainTextResponse("instead")


async def replace_body(request: Request, call_next: CallNext) -> Response:
    """Puts another body in place of the response's."""

    async def other() -> AsyncIterator[bytes]:
        yield b"instead"

    response = await call_next(request)
    response.body_iterator = other()
    return response


async def replace_twice(request: Request, call_next: CallNext) -> Response:
    """Does so two times."""
    await replace_body(request, call_next)
    return await replace_body(request, call_next)


async def peek_and_drop(request: Request, call_next: CallNext) -> Response:
    """Looks at the first chunk, and answers itself."""
    response = await call_next(request)
    iterator = aiter(response.body_iterator)
    await anext(iterator)
    return PlainTextResponse("instead")


DROPPING: list[Dispatch] = [drop, replace_body, replace_twice, peek_and_drop]


@over("above", [0, 2])
@over("dispatch", DROPPING)
@over("body", OBJECTS)
async def test_e07_a_body_that_a_middleware_dropped_is_closed_once(
    body: Body, dispatch: Dispatch, above: int, dialect: Dialect
) -> None:
    """A body iterator is closed exactly once: responses that a middleware dropped or replaced."""
    witnesses: list[Witness] = []

    async def endpoint(request: Request) -> Response:
        witnesses.append(Witness())
        return StreamingResponse(body(witnesses[-1]))

    returned: list[int] = []
    app = hesper(endpoint, *[pass_on] * above, dispatch, pass_on)

    async def watched(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)
        returned.append(sum(witness.closed for witness in witnesses))

    result = await ScriptedServer(watched, dialect).get().run()
    assert_quiet(result)
    assert result.body == b"instead"
    assert [(witness.closed, witness.problems) for witness in witnesses] == [(1, [])] * len(
        witnesses
    )
    assert returned == [len(witnesses)]


@over("above", [0, 2])
@over("body", [idle, ticking, idle_then_cleaning, ticking_then_cleaning, *HOLDING])
async def test_e07_a_generator_that_a_middleware_began_and_dropped_is_closed_once(
    body: Body, above: int, dialect: Dialect
) -> None:
    """A body iterator is closed exactly once, in the task and context that ran it: responses that
    a middleware dropped or replaced."""
    witness = Witness()
    app = streaming(body, witness, *[pass_on] * above, peek_and_drop, pass_on)
    result = await ScriptedServer(app, dialect).get().run()
    assert_quiet(result)
    assert result.body == b"instead"
    witness.assert_closed_once()


@over("above", [0, 2])
@over("dispatch", [drop, replace_body])
@over("body", [idle, sync_generator])
async def test_e07_a_generator_that_was_dropped_unstarted_is_closed(
    body: Body, dispatch: Dispatch, above: int, dialect: Dialect
) -> None:
    """A body iterator is closed exactly once: responses that a middleware dropped or replaced."""
    generators: list[Any] = []

    async def endpoint(request: Request) -> Response:
        generators.append(body(Witness()))
        return StreamingResponse(generators[0])

    app = hesper(endpoint, *[pass_on] * above, dispatch, pass_on)
    result = await ScriptedServer(app, dialect).get().run()
    assert_quiet(result)
    assert result.body == b"instead"
    assert is_closed(generators[0])


@over("above", [0, 2])
@over("body", OBJECTS)
async def test_e07_a_body_is_closed_once_when_a_middleware_raises_after_call_next(
    body: Body, above: int, dialect: Dialect
) -> None:
    """A body iterator is closed exactly once: responses that a middleware dropped (Starlette #1022:
    the inner response is an endless stream)."""
    witness = Witness()

    async def fails(request: Request, call_next: CallNext) -> Response:
        await call_next(request)
        raise ValueError("no")

    app = streaming(body, witness, *[pass_on] * above, fails, pass_on)
    result = await ScriptedServer(app, dialect).get().run()
    assert isinstance(result.raised, ValueError)
    assert result.status == 500
    witness.assert_closed_once()


async def test_e07_the_foreign_response_that_a_middleware_dropped_is_ended(
    dialect: Dialect,
) -> None:
    """A body iterator is closed exactly once: responses that a middleware dropped or replaced; that
    of a foreign app is ended before the app returns."""
    ends: list[str] = []

    async def raw(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send_start(send)
            while True:
                await send_body(send, b"x", more=True)
        finally:
            ends.append("ended")

    for dispatch in DROPPING:
        ends.clear()
        result = await ScriptedServer(nest(raw, pass_on, dispatch), dialect).get().run()
        assert_quiet(result)
        assert result.body == b"instead"
        assert ends == ["ended"] * (2 if dispatch is replace_twice else 1)


# Bodies that fail.


class Broken(Exception):
    """What a body raises."""


async def raising(witness: Witness) -> AsyncIterator[bytes]:
    """Breaks after one item."""
    witness.begin()
    try:
        yield b"half"
        raise Broken
    finally:
        witness.close()


async def raising_in_a_task_group(witness: Witness) -> AsyncIterator[bytes]:
    """Breaks, and holds a scope open."""
    witness.begin()
    try:
        with anyio.fail_after(1000):
            yield b"half"
            await anyio.sleep(0)
            raise Broken
    finally:
        witness.close()


class RaisingObject(WithAclose):
    """Breaks after one item."""

    async def __anext__(self) -> bytes:
        if self.left <= 0:
            raise Broken
        return await super().__anext__()


async def of_numbers(witness: Witness) -> AsyncIterator[Any]:
    """Gives what is no body."""
    witness.begin()
    try:
        yield b"half"
        yield 42
    finally:
        witness.close()


FAILING: dict[Body, type[Exception]] = {
    raising: Broken,
    raising_in_a_task_group: Broken,
    RaisingObject: Broken,
    of_numbers: UsageError,
}


@depths
@over("body", FAILING)
async def test_e07_a_body_that_fails_is_closed_once(
    body: Body, depth: int, dialect: Dialect
) -> None:
    """A body iterator is closed exactly once, in the task and context that ran it, before the app
    returns."""
    witness = Witness()
    app = streaming(body, witness, *[pass_on] * depth)
    result = await ScriptedServer(app, dialect).get().run()
    assert type(result.raised) is FAILING[body]
    assert not ends_cleanly(result)
    witness.assert_closed_once()


# Real cancellation.


def assert_cancelled(result: Result, witness: Witness) -> None:
    assert result.server_cancelled
    assert result.ended == "cancelled"
    assert not ends_cleanly(result)
    witness.assert_closed_once()


@natures
@depths
@over("body", [idle, idle_then_cleaning, ticking, *HOLDING, *OBJECTS])
async def test_e07_a_body_is_closed_once_when_the_app_is_cancelled_while_it_waits(
    body: Body, depth: int, native: bool
) -> None:
    """A body iterator is closed exactly once, in the task and context that ran it, before the app
    returns."""
    witness = Witness()
    app = streaming(body, witness, *[pass_on] * depth)
    async with ScriptedServer(app).get().open() as client:
        await client.wait_message(2)
        await settle()
        client.cancel_app(native=native)
        result = await client.finish()
    assert_cancelled(result, witness)
    assert witness.cancels <= 1


@natures
@depths
@over("body", [ticking, ticking_then_cleaning, *HOLDING, *OBJECTS])
async def test_e07_a_body_is_closed_once_when_the_app_is_cancelled_while_send_is_blocked(
    body: Body, depth: int, native: bool
) -> None:
    """A body iterator is closed exactly once, in the task and context that ran it, before the app
    returns."""
    witness = Witness()
    app = streaming(body, witness, *[pass_on] * depth)
    async with ScriptedServer(app).get().stall_at_message(2).open() as client:
        await client.wait_message(2)
        await settle()
        client.cancel_app(native=native)
        result = await client.finish()
    assert_cancelled(result, witness)


@natures
@over("body", OBJECTS)
async def test_e07_a_body_is_closed_once_when_the_app_is_cancelled_before_it_started(
    body: Body, native: bool
) -> None:
    """A body iterator is closed exactly once: bodies never started."""
    witness = Witness()
    app = streaming(body, witness, pass_on)
    async with ScriptedServer(app).get().stall_at_message(1).open() as client:
        await client.wait_message(1)
        await settle()
        client.cancel_app(native=native)
        result = await client.finish()
    assert_cancelled(result, witness)
    assert witness.begun == 0


@natures
@over("body", OBJECTS)
async def test_e07_a_body_is_closed_once_when_a_middleware_above_it_is_cancelled(
    body: Body, native: bool
) -> None:
    """A body iterator is closed exactly once: responses that a middleware dropped."""
    witness = Witness()
    arrived = anyio.Event()

    async def lingers(request: Request, call_next: CallNext) -> Response:
        response = await call_next(request)
        arrived.set()
        await anyio.sleep_forever()
        return response

    app = streaming(body, witness, lingers, pass_on)
    async with ScriptedServer(app).get().open() as client:
        await arrived.wait()
        client.cancel_app(native=native)
        result = await client.finish()
    assert_cancelled(result, witness)


@natures
async def test_e07_wrappers_and_bodies_are_each_closed_once_when_the_app_is_cancelled(
    native: bool,
) -> None:
    """A body iterator is closed exactly once: wrappers around another body."""
    for body in (idle, ticking, WithAclose, WithClose, WithAsyncClose):
        inner, outer = Witness(), Witness()
        app = outer.watching(streaming(body, inner, wrapping(outer)))
        async with ScriptedServer(app).get().open() as client:
            await client.wait_message(2)
            await settle()
            client.cancel_app(native=native)
            result = await client.finish()
        assert_cancelled(result, inner)
        outer.assert_closed_once()


# A scope that the body holds open around its `yield` ends while the chunk is being sent (PEP 789).


async def cut_by_its_timeout(witness: Witness) -> AsyncIterator[bytes]:
    """Holds a timeout open that expires while `send` is blocked."""
    witness.begin()
    try:
        with anyio.fail_after(0.01):
            yield b"x"
    finally:
        witness.close()


async def cut_by_asyncios_timeout(witness: Witness) -> AsyncIterator[bytes]:
    """The same with asyncio's timeout."""
    witness.begin()
    timeout: Any = asyncio.timeout(0.01) if current_asyncio_task() else anyio.move_on_after(0.01)
    try:
        if current_asyncio_task():
            async with timeout:
                yield b"x"
        else:
            with timeout:
                yield b"x"
    finally:
        witness.close()


async def cut_by_its_child(witness: Witness) -> AsyncIterator[bytes]:
    """Holds a task group open whose child fails while `send` is blocked."""

    async def fails() -> None:
        await anyio.sleep(0.01)
        raise Broken

    witness.begin()
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(fails)
            yield b"x"
    finally:
        witness.close()


CUT: dict[Body, type[Exception]] = {
    cut_by_its_timeout: UsageError,
    cut_by_asyncios_timeout: UsageError,
    cut_by_its_child: ExceptionGroup,
}


@over("depth", [0, 1])
@over("body", CUT)
async def test_e07_a_body_whose_own_scope_ends_while_a_chunk_is_sent_is_closed_once(
    body: Body, depth: int, dialect: Dialect
) -> None:
    """A body iterator is closed exactly once; the scope's cancel is the body's error and does not
    get out as a cancellation that nobody asked for."""
    witness = Witness()
    dialect = dialect.but(backpressure=True, shields_blocked_send=False)
    app = streaming(body, witness, *[pass_on] * depth)
    async with ScriptedServer(app, dialect).get().stall_at_message(2).open() as client:
        await client.wait_message(2)
        result = await client.finish()
    assert type(result.raised) is CUT[body]
    assert not ends_cleanly(result)
    witness.assert_closed_once()


# "in the task and context that ran it": what a body sees and leaves.


Ending = Callable[[Client], None]


@over("functions", [False, True])
async def test_e07_a_body_runs_in_the_context_of_its_endpoint(
    functions: bool, dialect: Dialect
) -> None:
    """In the task and context that ran it: the endpoint's own."""
    seen: list[str] = []
    tasks: set[int] = set()

    async def endpoint(request: Request) -> Response:
        token = place.set("endpoint")
        tasks.add(anyio.get_current_task().id)

        async def stream() -> AsyncIterator[bytes]:
            try:
                while True:
                    seen.append(place.get())
                    tasks.add(anyio.get_current_task().id)
                    yield b"x"
                    await anyio.sleep(0)
            finally:
                tasks.add(anyio.get_current_task().id)
                place.reset(token)
                seen.append(place.get())

        return StreamingResponse(stream())

    app = hesper(endpoint, pass_on, pass_on, functions=functions)
    assert_quiet(await ScriptedServer(app, dialect).get().leave_at_message(3).run())
    assert seen[0] == "endpoint"
    assert seen[-1] == "outside"
    assert len(tasks) == 1
