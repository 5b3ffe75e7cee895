"""E10: real cancellation (server, ``Task.cancel``, ``fail_after``, task group) is never swallowed or
turned into another error; ``fail_after`` or ``move_on_after`` around ``call_next`` cancels the
endpoint in time, on both backends, and does not reach the body afterwards."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
import pytest
import starlette.applications
import starlette.responses
import starlette.routing

from hesper.applications import Hesper
from hesper.middleware import Middleware
from hesper.requests import Request
from hesper.responses import PlainTextResponse, Response, StreamingResponse
from hesper.routing import Route
from hesper.testing import Dialect, ScriptedServer
from hesper.types import ASGIApp, Receive, Scope, Send
from tests.conftest import runs_asyncio, where
from tests.contract.apps import (
    METHODS,
    CallNext,
    Dispatch,
    PassOn,
    Recorder,
    assert_quiet,
    ends_cleanly,
    hesper,
    mounted,
    nest,
    over,
    pass_on,
    send_body,
    send_can_be_cancelled,
    send_start,
    settle,
)

Call = Callable[[], Awaitable[Any]]
Limit = Callable[[Call], Awaitable[Any]]


class Hang:
    """What an endpoint does that never ends; it writes down how it ended."""

    def __init__(self) -> None:
        self.begun = anyio.Event()
        self.ended: list[str] = []

    async def __call__(self) -> None:
        self.begun.set()
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            self.ended.append("cancelled")
            raise
        except BaseException as exc:
            self.ended.append(repr(exc))
            raise


# Where an endpoint hangs before it has answered.


def in_task(hang: Hang, depth: int) -> ASGIApp:
    async def endpoint(request: Request) -> Response:
        await hang()
        return PlainTextResponse("too late")

    return hesper(endpoint, *[pass_on] * depth, functions=True)


def in_body_read(hang: Hang, depth: int) -> ASGIApp:
    async def endpoint(request: Request) -> Response:
        await hang()
        return PlainTextResponse(await request.body())

    return hesper(endpoint, *[pass_on] * depth)


def in_foreign_app(hang: Hang, depth: int) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await hang()

    return nest(app, *[pass_on] * depth)


def in_mounted_app(hang: Hang, depth: int) -> ASGIApp:
    return mounted(in_foreign_app(hang, 0), *[pass_on] * depth)


def in_starlette(hang: Hang, depth: int) -> ASGIApp:
    async def endpoint(request: Any) -> Any:
        await hang()

    app = starlette.applications.Starlette(routes=[starlette.routing.Route("/", endpoint)])
    return nest(app, *[pass_on] * depth)


def behind_foreign_middleware(hang: Hang, depth: int) -> ASGIApp:
    async def endpoint(request: Request) -> Response:
        await hang()
        return PlainTextResponse("too late")

    return Hesper(
        routes=[Route("/", endpoint, methods=METHODS)],
        middleware=[*[pass_on] * depth, Middleware(PassOn), pass_on],
    )


Place = Callable[[Hang, int], ASGIApp]
every_place = over(
    "place",
    [in_task, in_foreign_app, in_mounted_app, in_starlette, behind_foreign_middleware],
)
every_depth = over("depth", [0, 1, 4])

# How somebody bounds a call. Each raises TimeoutError.


async def by_fail_after(call: Call) -> Any:
    with anyio.fail_after(0.01):
        return await call()


async def by_move_on_after(call: Call) -> Any:
    with anyio.move_on_after(0.01):
        return await call()
    raise TimeoutError


async def by_asyncio_timeout(call: Call) -> Any:
    async with asyncio.timeout(0.01):
        return await call()


async def by_asyncio_wait_for(call: Call) -> Any:
    return await asyncio.wait_for(call(), 0.01)


async def by_task_group(call: Call) -> Any:
    async def cancel_later() -> None:
        await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cancel_later)
        answer = await call()
        tasks.cancel_scope.cancel()
        return answer
    raise TimeoutError


async def by_task_cancel(call: Call) -> Any:
    task = asyncio.current_task()
    assert task is not None
    later = asyncio.get_running_loop().call_later(0.01, task.cancel)
    try:
        return await call()
    except asyncio.CancelledError:
        task.uncancel()
        raise TimeoutError from None
    finally:
        later.cancel()


every_limit = pytest.mark.parametrize(
    "limit",
    [
        by_fail_after,
        by_move_on_after,
        by_task_group,
        by_asyncio_timeout,
        by_asyncio_wait_for,
        by_task_cancel,
    ],
)


def _limit_is_there(params: dict[str, Any]) -> bool:
    name = getattr(params.get("limit"), "__name__", "")
    return runs_asyncio(params) or not name.startswith(("by_asyncio", "by_task_c"))


pytestmark = where(_limit_is_there)  # asyncio's own limits are for asyncio


def bounded(limit: Limit) -> Dispatch:
    """A dispatch function that answers 504 when the rest takes too long."""

    async def dispatch(request: Request, call_next: CallNext) -> Response:
        try:
            response: Response = await limit(lambda: call_next(request))
        except TimeoutError:
            return PlainTextResponse("late", status_code=504)
        return response

    return dispatch


@every_limit
@every_place
async def test_e10_a_time_limit_around_call_next_cancels_the_endpoint_in_time(
    limit: Limit, place: Place
) -> None:
    """``fail_after`` or ``move_on_after`` around ``call_next`` cancels the endpoint in time, on both
    backends."""
    for depth in (0, 1, 4):
        hang = Hang()
        app = nest(place(hang, depth), pass_on, bounded(limit))
        result = await ScriptedServer(app).get().run()
        assert_quiet(result)
        assert hang.ended == ["cancelled"]
        assert (result.status, result.body) == (504, b"late")
        assert result.duration < 1


@every_place
async def test_e10_a_time_limit_works_on_every_server(dialect: Dialect, place: Place) -> None:
    """... cancels the endpoint in time, whatever the server."""
    hang = Hang()
    result = await ScriptedServer(nest(place(hang, 1), bounded(by_fail_after)), dialect).get().run()
    assert_quiet(result)
    assert hang.ended == ["cancelled"]
    assert result.status == 504
    assert result.complete


@every_limit
@every_place
async def test_e10_a_time_limit_outside_of_the_app_cancels_the_endpoint(
    limit: Limit, place: Place
) -> None:
    """Real cancellation is never swallowed or turned into another error: a timeout in a foreign
    middleware outside sees its own ``TimeoutError``, and every layer the cancellation."""
    for depth in (0, 1, 4):
        hang, recorder = Hang(), Recorder()
        app = nest(place(hang, depth), recorder)

        async def outside(scope: Scope, receive: Receive, send: Send, app: ASGIApp = app) -> None:
            with pytest.raises(TimeoutError):
                await limit(lambda: app(scope, receive, send))
            await send_start(send, 504)
            await send_body(send, b"late")

        result = await ScriptedServer(outside).get().run()
        assert result.ended == "returned"
        assert result.pending_receives == 0
        assert hang.ended == ["cancelled"]
        assert result.status == 504
        assert [type(exc) for exc in recorder.raised] == [anyio.get_cancelled_exc_class()]


@every_limit
async def test_e10_a_time_limit_around_call_next_does_not_reach_the_body(limit: Limit) -> None:
    """... and does not reach the body afterwards."""

    async def parts() -> AsyncIterator[str]:
        for part in ("a", "b", "c"):
            await anyio.sleep(0.008)
            yield part

    async def native(request: Request) -> Response:
        return StreamingResponse(parts())

    async def foreign(scope: Scope, receive: Receive, send: Send) -> None:
        with anyio.fail_after(5):  # a scope of its own, which is open while it hands over
            await send_start(send)
            async for part in parts():
                await send_body(send, part.encode(), more=True)
            await send_body(send)

    for inner in (hesper(native), foreign, mounted(foreign)):
        for depth in (0, 3):
            app = nest(inner, *[pass_on] * depth, bounded(limit), *[pass_on] * depth)
            result = await ScriptedServer(app).get().run()
            assert_quiet(result)
            assert (result.status, result.body, result.complete) == (200, b"abc", True)


@over("native", [False, True])
@every_place
async def test_e10_a_server_that_cancels_the_app_sees_the_cancellation(
    dialect: Dialect, place: Place, native: bool
) -> None:
    """Real cancellation (server ...) is never swallowed or turned into another error."""
    recorder = Recorder()
    for depth in (0, 3):
        hang = Hang()
        app = nest(place(hang, depth), recorder)
        async with ScriptedServer(app, dialect).get().open() as client:
            await hang.begun.wait()
            await settle()
            client.cancel_app(native=native)
            result = await client.finish()
        assert result.ended == "cancelled"
        assert result.raised is None
        assert result.messages == []
        assert hang.ended == ["cancelled"]
    assert [type(exc) for exc in recorder.raised] == [anyio.get_cancelled_exc_class()] * 2


async def hanging_stream(request: Request) -> Response:
    async def parts() -> AsyncIterator[str]:
        yield "first"
        await anyio.sleep_forever()

    return StreamingResponse(parts())


async def hanging_foreign_stream(scope: Scope, receive: Receive, send: Send) -> None:
    await send_start(send)
    await send_body(send, b"first", more=True)
    await anyio.sleep_forever()


@over("native", [False, True])
@over("inner", [hesper(hanging_stream), hanging_foreign_stream])
async def test_e10_a_cancelled_stream_ends_as_cancelled_and_not_cleanly(
    dialect: Dialect, inner: ASGIApp, native: bool
) -> None:
    """Real cancellation is never swallowed: in the middle of a response it comes out, and no end is
    sent that would make half a body whole."""
    for depth in (0, 1, 4):
        app = nest(inner, *[pass_on] * depth) if depth else mounted(inner)
        async with ScriptedServer(app, dialect).get().open() as client:
            await client.wait_message(2)
            await settle()
            client.cancel_app(native=native)
            result = await client.finish()
        assert result.ended == "cancelled"
        assert not ends_cleanly(result)
        assert not result.complete


@where(lambda params: send_can_be_cancelled(params["dialect"]))
@over("native", [False, True])
@over("number", [1, 2])
@over("inner", [hesper(hanging_stream), hanging_foreign_stream])
async def test_e10_a_cancelled_send_ends_as_cancelled(
    dialect: Dialect, inner: ASGIApp, native: bool, number: int
) -> None:
    """Real cancellation is never swallowed: also not by a blocked ``send``, and the response is
    poisoned by it (granian and gunicorn would take an end after it for a whole body)."""
    app = nest(inner, pass_on)
    script = ScriptedServer(app, dialect).get().stall_at_message(number)
    async with script.open() as client:
        await client.wait_message(number)
        await settle()
        client.cancel_app(native=native)
        result = await client.finish()
    assert result.ended == "cancelled"
    assert len(result.messages) == number


@where(lambda params: not params["dialect"].buffers_request)  # else the whole body is there
@over("native", [False, True])
async def test_e10_a_cancelled_body_read_ends_as_cancelled(dialect: Dialect, native: bool) -> None:
    """Real cancellation is never swallowed: also while the request's body is awaited."""

    async def endpoint(request: Request) -> Response:
        return PlainTextResponse(await request.body())

    app = hesper(endpoint, pass_on)
    async with ScriptedServer(app, dialect).post(body=b"a", unfinished=True).open() as client:
        await client.wait_receiving()
        await settle()
        client.cancel_app(native=native)
        result = await client.finish()
    assert result.ended == "cancelled"
    assert result.messages == []


@over("inner", [hesper(hanging_stream), hanging_foreign_stream])
async def test_e10_a_cancel_that_comes_with_the_disconnect_is_not_lost(
    dialect: Dialect, inner: ASGIApp
) -> None:
    """Real cancellation is never swallowed: not even one that comes in the same moment as the
    disconnect, which interrupts the stream as well."""
    app = nest(inner, pass_on)
    for leave_first in (False, True):
        async with ScriptedServer(app, dialect).get().open() as client:
            await client.wait_message(2)
            await settle()
            if leave_first:
                client.leave()
            client.cancel_app(native=True)
            if not leave_first:
                client.leave()
            result = await client.finish()
        assert result.ended == "cancelled"


@every_place
async def test_e10_except_exception_in_a_middleware_does_not_catch_it(place: Place) -> None:
    """Real cancellation is never turned into another error: what arrives in a middleware is no
    ``Exception``."""
    caught: list[Exception] = []

    async def dispatch(request: Request, call_next: CallNext) -> Response:
        try:
            return await call_next(request)
        except Exception as exc:
            caught.append(exc)
            return PlainTextResponse("caught")

    for how in ("task", "scope"):
        hang = Hang()
        async with ScriptedServer(nest(place(hang, 1), dispatch)).get().open() as client:
            await hang.begun.wait()
            await settle()
            client.cancel_app(native=how == "task")
            result = await client.finish()
        assert result.ended == "cancelled"
    assert caught == []


async def test_e10_a_cancel_scope_in_the_endpoint_stays_its_own(dialect: Dialect) -> None:
    """Real cancellation belongs to whoever asked for it: a scope around an endpoint's own work ends
    that work and nothing else."""

    async def endpoint(request: Request) -> Response:
        with anyio.move_on_after(0.001):
            await anyio.sleep_forever()

        async def parts() -> AsyncIterator[str]:
            for _ in range(3):
                with anyio.move_on_after(0.001):
                    await anyio.sleep_forever()
                yield "."

        return StreamingResponse(parts())

    result = await ScriptedServer(hesper(endpoint, pass_on), dialect).get().run()
    assert_quiet(result)
    assert result.body == b"..."
