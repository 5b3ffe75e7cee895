"""E8: background work runs after the response has ended, whether or not the client stayed to the
end, the same on every server; never before the last byte was handed over, never holding it back;
one failing task does not stop the next; not if there was no response."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import pytest
import starlette.applications
import starlette.background
import starlette.responses
import starlette.routing

from hesper.background import BackgroundTask, BackgroundTasks
from hesper.requests import Request
from hesper.responses import FileResponse, PlainTextResponse, Response, StreamingResponse
from hesper.testing import Dialect, ScriptedServer
from hesper.types import ASGIApp
from tests.conftest import where
from tests.contract.apps import (
    CallNext,
    Gate,
    Watch,
    assert_quiet,
    hesper,
    mounted,
    nest,
    over,
    pass_on,
    send_can_be_cancelled,
    settle,
)

Work = Callable[[], Any]
Make = Callable[[Work], ASGIApp]


async def chunks(*parts: str) -> AsyncIterator[str]:
    for part in parts:
        yield part


async def endless() -> AsyncIterator[str]:
    yield "first"
    await anyio.sleep_forever()


def plain(work: Work, depth: int) -> ASGIApp:
    async def endpoint(request: Request) -> Response:
        return PlainTextResponse("whole", background=BackgroundTask(work))

    return hesper(endpoint, *[pass_on] * depth)


def stream(work: Work, depth: int) -> ASGIApp:
    async def endpoint(request: Request) -> Response:
        return StreamingResponse(chunks("wh", "ole"), background=BackgroundTask(work))

    return hesper(endpoint, *[pass_on] * depth, functions=True)


def foreign(work: Work) -> ASGIApp:
    async def endpoint(request: Any) -> Any:
        task = starlette.background.BackgroundTask(work)
        return starlette.responses.PlainTextResponse("whole", background=task)

    return starlette.applications.Starlette(routes=[starlette.routing.Route("/", endpoint)])


def foreign_stream(work: Work) -> ASGIApp:
    async def endpoint(request: Any) -> Any:
        task = starlette.background.BackgroundTask(work)
        return starlette.responses.StreamingResponse(chunks("wh", "ole"), background=task)

    return starlette.applications.Starlette(routes=[starlette.routing.Route("/", endpoint)])


KINDS: dict[str, Make] = {
    "plain, 0": lambda work: plain(work, 0),
    "plain, 4": lambda work: plain(work, 4),
    "stream, 0": lambda work: stream(work, 0),
    "stream, 4": lambda work: stream(work, 4),
    "mounted, 0": lambda work: mounted(foreign(work)),
    "bridged, 1": lambda work: nest(foreign(work), pass_on),
    "bridged, 4": lambda work: nest(foreign_stream(work), *[pass_on] * 4),
}

every_kind = over("kind", KINDS)
every_depth = over("depth", [0, 1, 4])


@every_kind
async def test_e08_background_work_runs_after_the_response_has_ended(
    dialect: Dialect, kind: str
) -> None:
    """Background work runs after the response has ended ... never before the last byte was handed
    over."""
    log: list[str] = []

    async def work() -> None:
        await anyio.lowlevel.checkpoint()
        log.append("work")

    result = await ScriptedServer(Watch(KINDS[kind](work), log), dialect).get().run()
    assert log == ["last byte", "work", "over"]
    assert_quiet(result)
    assert result.complete
    assert result.body == b"whole"


@every_kind
async def test_e08_background_work_never_holds_the_last_byte_back(
    dialect: Dialect, kind: str
) -> None:
    """... never holding it back."""
    gate = Gate()
    async with ScriptedServer(KINDS[kind](gate.wait), dialect).get().open() as client:
        await gate.reached.wait()
        assert client.result.complete
        assert client.result.body == b"whole"
        gate.open.set()
        assert_quiet(await client.finish())


@every_kind
async def test_e08_background_work_does_not_begin_before_a_slow_client_has_taken_the_last_byte(
    dialect: Dialect, kind: str
) -> None:
    """... never before the last byte was handed over."""
    log: list[str] = []

    async def work() -> None:
        log.append("work")

    script = ScriptedServer(Watch(KINDS[kind](work), log), dialect).get().stall_at_message(2)
    async with script.open() as client:
        await client.wait_message(2)
        await settle()
        if dialect.backpressure:
            assert log == []
        client.release()
        await client.finish()
    assert log == ["last byte", "work", "over"]


@every_depth
async def test_e08_it_runs_when_the_client_left_before_the_response(
    dialect: Dialect, depth: int
) -> None:
    """... whether or not the client stayed to the end, the same on every server."""
    ran: list[str] = []

    async def work() -> None:
        await anyio.lowlevel.checkpoint()
        ran.append("work")

    async def endpoint(request: Request) -> Response:
        await request.wait_disconnected()
        if "stream" in request.query_params:
            return StreamingResponse(chunks("a", "b"), background=BackgroundTask(work))
        return PlainTextResponse("whole", background=BackgroundTask(work))

    server = ScriptedServer(hesper(endpoint, *[pass_on] * depth), dialect)
    assert_quiet(await server.get("/").leave_at_message(0).run())
    assert_quiet(await server.get("/?stream").leave_at_message(0).run())
    assert ran == ["work", "work"]


@every_depth
async def test_e08_it_runs_when_the_client_left_in_the_middle_of_a_stream(
    dialect: Dialect, depth: int
) -> None:
    """... whether or not the client stayed to the end, the same on every server."""
    ran: list[str] = []

    async def work() -> None:
        await anyio.lowlevel.checkpoint()
        ran.append("work")

    async def endpoint(request: Request) -> Response:
        return StreamingResponse(endless(), background=BackgroundTask(work))

    server = ScriptedServer(hesper(endpoint, *[pass_on] * depth), dialect)
    assert_quiet(await server.get().leave_at_message(2).run())
    assert ran == ["work"]


@over("number", [1, 2])
@over("make", [plain, stream])
async def test_e08_it_runs_when_the_client_left_while_a_send_was_blocked(
    dialect: Dialect, make: Callable[[Work, int], ASGIApp], number: int
) -> None:
    """... whether or not the client stayed to the end, the same on every server."""
    ran: list[str] = []

    async def work() -> None:
        await anyio.lowlevel.checkpoint()
        ran.append("work")

    script = ScriptedServer(make(work, 1), dialect).get().stall_at_message(number)
    async with script.open() as client:
        await client.wait_message(number)
        await settle()
        client.leave()
        assert_quiet(await client.finish())
    assert ran == ["work"]


@every_depth
@over("native", [False, True])
async def test_e08_it_runs_when_the_server_cancels_a_response_that_was_begun(
    dialect: Dialect, depth: int, native: bool
) -> None:
    """... the same on every server, those that cancel the app included: it runs, with a grace time
    in which it may await, and the cancellation comes out afterwards."""
    ran: list[str] = []

    async def work() -> None:
        await anyio.sleep(0.01)
        ran.append("work")

    async def endpoint(request: Request) -> Response:
        return StreamingResponse(endless(), background=BackgroundTask(work))

    script = ScriptedServer(hesper(endpoint, *[pass_on] * depth), dialect).get()
    async with script.open() as client:
        await client.wait_message(2)
        await settle()
        client.cancel_app(native=native)
        result = await client.finish()
    assert ran == ["work"]
    assert result.ended == "cancelled"
    assert not result.complete


@where(lambda params: send_can_be_cancelled(params["dialect"]))
@over("native", [False, True])
async def test_e08_it_runs_when_the_server_cancels_a_response_that_was_produced(
    dialect: Dialect, native: bool
) -> None:
    """... the same on every server: also when not one byte of the response has left."""
    ran: list[str] = []

    async def work() -> None:
        await anyio.sleep(0.01)
        ran.append("work")

    script = ScriptedServer(plain(work, 1), dialect).get().stall_at_message(1)
    async with script.open() as client:
        await client.wait_message(1)
        await settle()
        client.cancel_app(native=native)
        result = await client.finish()
    assert ran == ["work"]
    assert result.ended == "cancelled"


@every_kind
@over("how", ["task", "scope"])
async def test_e08_a_server_that_cancels_the_app_after_the_client_left_lets_it_end(
    dialect: Dialect, kind: str, how: Any
) -> None:
    """... the same on every server: gunicorn cancels what runs 3 seconds after the client left."""
    if kind in ("mounted, 0", "bridged, 4"):
        return  # a foreign app in the server's own task; one that does not close what it streams
    ran: list[str] = []

    async def work() -> None:
        await anyio.sleep(0.02)
        ran.append("work")

    dialect = dialect.but(cancels_app=how, cancels_after_response=True, cancel_grace=0.01)
    result = await ScriptedServer(KINDS[kind](work), dialect).get().leave_at_message(2).run()
    assert ran == ["work"]
    assert result.raised is None


async def test_e08_work_that_never_ends_is_cut_when_the_grace_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The grace time of a cancelled app is bounded: a shutdown does not hang on it."""
    monkeypatch.setattr("hesper._asgi.responding.GRACE", 0.02)
    cut: list[str] = []

    async def work() -> None:
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            cut.append("work")
            raise

    for native in (False, True):
        gate = Gate()

        async def begun_work(gate: Gate = gate) -> None:
            gate.reached.set()
            await work()

        async with ScriptedServer(plain(begun_work, 1)).get().open() as client:
            await gate.reached.wait()
            client.cancel_app(native=native)
            result = await client.finish(timeout=1)
        assert result.ended == "cancelled"
    assert cut == ["work", "work"]


@every_depth
async def test_e08_one_failing_task_does_not_stop_the_next(dialect: Dialect, depth: int) -> None:
    """One failing task does not stop the next. The error surfaces once, the response is intact."""
    error = ValueError("the first")
    ran: list[str] = []

    async def fail() -> None:
        ran.append("first")
        raise error

    async def endpoint(request: Request) -> Response:
        tasks = BackgroundTasks()
        tasks.add_task(fail)
        tasks.add_task(ran.append, "second")
        return PlainTextResponse("whole", background=tasks)

    for script in (
        (server := ScriptedServer(hesper(endpoint, *[pass_on] * depth), dialect)).get(),
        server.get().leave_at_message(1),
    ):
        ran.clear()
        result = await script.run()
        assert ran == ["first", "second"]
        assert result.raised is error
        assert result.status == 200
        assert result.violations == []
        assert result.types[0] == "http.response.start"
        assert result.types.count("http.response.start") == 1


@every_depth
async def test_e08_it_does_not_run_if_there_was_no_response(dialect: Dialect, depth: int) -> None:
    """Not if there was no response."""
    ran: list[str] = []

    async def endpoint(request: Request) -> Response:
        if "cancelled" in request.query_params:
            await anyio.sleep_forever()
        return FileResponse("/does/not/exist", background=BackgroundTask(ran.append, "work"))

    server = ScriptedServer(hesper(endpoint, *[pass_on] * depth), dialect)
    result = await server.get().run()
    assert result.status == 500
    assert isinstance(result.raised, RuntimeError)
    async with server.get("/?cancelled").open() as client:
        await settle()
        client.cancel_app()
        assert (await client.finish()).ended == "cancelled"
    assert ran == []


@over("foreign_endpoint", [False, True])
async def test_e08_background_work_of_endpoint_and_middleware_runs_each_once(
    dialect: Dialect, foreign_endpoint: bool
) -> None:
    """A middleware that sets ``response.background`` does not undo the endpoint's (Starlette
    #2688: each runs once)."""
    ran: list[str] = []

    async def work() -> None:
        ran.append("endpoint")

    async def dispatch(request: Request, call_next: CallNext) -> Response:
        response = await call_next(request)
        response.background = BackgroundTask(ran.append, "middleware")
        return response

    inner = nest(foreign(work), dispatch) if foreign_endpoint else nest(plain(work, 1), dispatch)
    assert_quiet(await ScriptedServer(inner, dialect).get().run())
    assert sorted(ran) == ["endpoint", "middleware"]


@over("foreign_endpoint", [False, True])
async def test_e08_background_work_of_a_response_that_a_middleware_replaced_runs(
    dialect: Dialect, foreign_endpoint: bool
) -> None:
    """A middleware that makes a new response of the endpoint's does not undo its background work:
    so it is in Starlette, whose middlewares do that often."""
    ran: list[str] = []

    async def work() -> None:
        ran.append("endpoint")

    async def dispatch(request: Request, call_next: CallNext) -> Response:
        response = await call_next(request)
        body = b"".join([chunk async for chunk in response.body_iterator])
        return Response(body, response.status_code)

    inner = nest(foreign(work), dispatch) if foreign_endpoint else nest(plain(work, 1), dispatch)
    result = await ScriptedServer(inner, dialect).get().run()
    assert_quiet(result)
    assert result.body == b"whole"
    assert ran == ["endpoint"]
