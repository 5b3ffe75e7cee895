"""``timeout=``: 504 before the start message, broken off after it, and never passed off as whole; the
cleanup has the grace of a cancellation."""

from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
import starlette.responses

from hesper.applications import Hesper
from hesper.background import BackgroundTask
from hesper.exceptions import HandlerTimeout
from hesper.requests import Request
from hesper.responses import PlainTextResponse, Response, StreamingResponse
from hesper.routing import Host, Mount, Route, Router, WebSocketRoute
from hesper.testing import Dialect, Result, ScriptedServer
from hesper.types import ASGIApp, Receive, Scope, Send
from hesper.websockets import WebSocket
from tests.conftest import in_virtual_time
from tests.contract.apps import Recorder, assert_quiet, over, pass_on, send_body, send_start
from tests.contract.test_policy_cancel import Work, work_endpoint

LIMIT = 2.0

pytestmark = in_virtual_time


def limited(endpoint: Any, *middleware: Any, **options: Any) -> Hesper:
    return Hesper(routes=[Route("/", endpoint, timeout=LIMIT, **options)], middleware=middleware)


def at_app(endpoint: Any) -> ASGIApp:
    return Hesper(routes=[Route("/", endpoint)], timeout=LIMIT)


def at_router(endpoint: Any) -> ASGIApp:
    return Router([Route("/", endpoint)], timeout=LIMIT)


def at_mount(endpoint: Any) -> ASGIApp:
    return Hesper(routes=[Mount("/", Hesper(routes=[Route("/", endpoint)]), timeout=LIMIT)])


def at_host(endpoint: Any) -> ASGIApp:
    return Hesper(routes=[Host("{name}", Router([Route("/", endpoint)]), timeout=LIMIT)])


def at_route_behind_middleware(endpoint: Any) -> ASGIApp:
    return limited(endpoint, pass_on, pass_on)


def assert_timed_out(result: Result) -> None:
    assert (result.status, result.body, result.complete) == (504, b"Gateway Timeout", True)
    assert_quiet(result)


@over("place", [limited, at_app, at_router, at_mount, at_host, at_route_behind_middleware])
async def test_timeout_answers_504_before_the_start_message(dialect: Dialect, place: Any) -> None:
    work = Work()
    result = await ScriptedServer(place(work_endpoint(work)), dialect).get("/").run()
    assert_timed_out(result)
    assert work.ended == ["cancelled"]
    assert LIMIT <= result.duration < LIMIT + 0.1


async def test_timeout_changes_nothing_for_a_handler_in_time(dialect: Dialect) -> None:
    work = Work(seconds=LIMIT - 0.1)
    result = await ScriptedServer(limited(work_endpoint(work)), dialect).get("/").run()
    assert (result.status, result.body, work.ended) == (200, b"done", ["finished"])
    assert_quiet(result)


async def test_timeout_cleanup_may_await(dialect: Dialect) -> None:
    work = Work(cleanup=2)
    result = await ScriptedServer(limited(work_endpoint(work)), dialect).get("/").run()
    assert work.ended == ["cancelled", "cleaned up"]
    assert_timed_out(result)


async def test_timeout_cleanup_that_is_too_slow_is_abandoned_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    work = Work(cleanup=60)
    app = limited(work_endpoint(work), cancel_grace=1)
    result = await ScriptedServer(app).get("/").run()
    assert_timed_out(result)
    assert work.ended == ["cancelled"]
    assert LIMIT + 1 <= result.duration < LIMIT + 1.1
    assert ["its cleanup took longer than 1 seconds" in r.getMessage() for r in caplog.records] == [
        True
    ]


def stream_until_closed(log: list[str], first: float = 0.0) -> Any:
    async def chunks() -> AsyncIterator[bytes]:
        try:
            await anyio.sleep(first)
            yield b"half"
            await anyio.sleep(60)
            yield b"the other half"
        finally:
            await anyio.sleep(0.1)
            log.append("closed")

    async def background() -> None:
        await anyio.sleep(LIMIT * 2)
        log.append("background")

    async def endpoint(request: Request) -> Response:
        return StreamingResponse(chunks(), background=BackgroundTask(background))

    return endpoint


@over("middleware", [(), (pass_on,)])
async def test_timeout_breaks_a_response_off_after_the_start_message(
    dialect: Dialect, caplog: pytest.LogCaptureFixture, middleware: Any
) -> None:
    log: list[str] = []
    caplog.clear()
    app = limited(stream_until_closed(log), *middleware)
    result = await ScriptedServer(app, dialect).get("/").run()
    assert (result.status, result.body, result.complete) == (200, b"half", False)
    assert not result.truncated_as_complete
    assert log == ["closed", "background"]
    assert result.ended == "returned"
    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == (
        "WARNING",
        "The response of GET '/' was broken off: it was not whole in time.",
    )


async def test_timeout_counts_the_handler_and_the_body_together(dialect: Dialect) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"half"
        await anyio.sleep(LIMIT * 0.6)
        yield b"the other half"

    async def endpoint(request: Request) -> Response:
        await anyio.sleep(LIMIT * 0.6)
        return StreamingResponse(chunks())

    result = await ScriptedServer(limited(endpoint), dialect).get("/").run()
    assert (result.body, result.complete) == (b"half", False)
    assert LIMIT <= result.duration < LIMIT + 0.1


async def test_timeout_reaches_a_body_that_never_waits() -> None:
    given = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal given
        while True:
            given += 1
            if given == 1000:
                await anyio.sleep(LIMIT)
            yield b"x"

    async def endpoint(request: Request) -> Response:
        return StreamingResponse(chunks())

    result = await ScriptedServer(limited(endpoint)).get("/").run()
    assert not result.complete
    assert given < 1100  # it is looked at now and then


async def test_timeout_background_work_is_not_within_it(dialect: Dialect) -> None:
    log: list[str] = []

    async def background() -> None:
        await anyio.sleep(LIMIT * 3)
        log.append("background")

    async def endpoint(request: Request) -> Response:
        return PlainTextResponse("x", background=BackgroundTask(background))

    result = await ScriptedServer(limited(endpoint), dialect).get("/").run()
    assert (result.body, result.complete, log) == (b"x", True, ["background"])


async def test_timeout_a_stalled_client_does_not_hold_a_response_for_ever(dialect: Dialect) -> None:
    if not dialect.backpressure or dialect.shields_blocked_send:
        return  # nothing waits, or nothing can be done about it

    async def endpoint(request: Request) -> Response:
        return PlainTextResponse("x")

    script = ScriptedServer(limited(endpoint), dialect).get("/").stall_at_message(2)
    async with script.open() as client:
        result = await client.finish(timeout=LIMIT + 1)
    assert not result.complete
    assert result.ended == "returned"


@over("foreign", ["mounted", "endpoint", "behind a middleware"])
async def test_timeout_holds_for_foreign_apps(dialect: Dialect, foreign: str) -> None:
    ended: list[str] = []

    class App:
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            try:
                await anyio.sleep(60)
            finally:
                await anyio.sleep(0.5)
                ended.append("cleaned up")

    if foreign == "endpoint":
        app = limited(App())
    else:
        middleware = [pass_on] if foreign == "behind a middleware" else []
        app = Hesper(routes=[Mount("/", App(), timeout=LIMIT)], middleware=middleware)
    result = await ScriptedServer(app, dialect).get("/").run()
    assert_timed_out(result)
    assert ended == ["cleaned up"]


@over("foreign", ["mounted", "endpoint", "behind a middleware", "given by a handler"])
async def test_timeout_breaks_a_foreign_apps_response_off(dialect: Dialect, foreign: str) -> None:
    class App:
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await send_start(send)
            await send_body(send, b"half", more=True)
            await anyio.sleep(60)
            await send_body(send, b"the other half")

    async def endpoint(request: Request) -> Any:
        return App()

    if foreign == "endpoint":
        app = limited(App())
    elif foreign == "given by a handler":
        app = limited(endpoint)
    else:
        middleware = [pass_on] if foreign == "behind a middleware" else []
        app = Hesper(routes=[Mount("/", App(), timeout=LIMIT)], middleware=middleware)
    result = await ScriptedServer(app, dialect).get("/").run()
    assert (result.status, result.body, result.complete) == (200, b"half", False)
    assert not result.truncated_as_complete
    assert result.ended == "returned"
    assert LIMIT <= result.duration < LIMIT + 0.1


async def test_timeout_a_foreign_response_of_a_handler_shares_its_time(dialect: Dialect) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"half"
        await anyio.sleep(LIMIT * 0.6)
        yield b"the other half"

    async def endpoint(request: Request) -> Any:
        await anyio.sleep(LIMIT * 0.6)
        return starlette.responses.StreamingResponse(chunks())

    for app in (limited(endpoint), Hesper(routes=[Mount("/", limited(endpoint))])):
        result = await ScriptedServer(app, dialect).get("/").run()
        assert (result.body, result.complete) == (b"half", False)
        assert LIMIT <= result.duration < LIMIT + 0.1


async def test_timeout_is_an_exception_that_the_app_may_answer(dialect: Dialect) -> None:
    async def on_timeout(request: Request, exc: Exception) -> Response:
        return PlainTextResponse("too slow", 503)

    recorder = Recorder()
    app = limited(work_endpoint(Work()), recorder)
    app.add_exception_handler(HandlerTimeout, on_timeout)
    result = await ScriptedServer(app, dialect).get("/").run()
    assert (result.status, result.body) == (503, b"too slow")
    assert [response.body for response in recorder.responses] == [b"too slow"]
    assert_quiet(result)


async def test_timeout_a_route_middleware_may_catch_it(dialect: Dialect) -> None:
    async def fallback(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        return PlainTextResponse("stale", 200) if response.status_code == 504 else response

    app = limited(work_endpoint(Work()), middleware=[fallback])
    result = await ScriptedServer(app, dialect).get("/").run()
    assert (result.status, result.body) == (200, b"stale")
    assert_quiet(result)


async def test_timeout_a_middleware_that_tries_again_has_the_time_again(dialect: Dialect) -> None:
    seconds = [LIMIT * 2, LIMIT / 2]

    async def endpoint(request: Request) -> Response:
        await anyio.sleep(seconds.pop(0))
        return PlainTextResponse("at last")

    async def retry(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        return await call_next(request) if response.status_code == 504 else response

    result = await ScriptedServer(limited(endpoint, retry), dialect).get("/").run()
    assert (result.status, result.body) == (200, b"at last")


async def test_timeout_an_answer_that_is_given_all_the_same_counts(dialect: Dialect) -> None:
    async def endpoint(request: Request) -> Response:
        try:
            await anyio.sleep(60)
        except anyio.get_cancelled_exc_class():
            pass
        return PlainTextResponse("what there is")

    result = await ScriptedServer(limited(endpoint), dialect).get("/").run()
    assert (result.status, result.body, result.complete) == (200, b"what there is", True)
    assert_quiet(result)


@over("outer", [0.5, 60.0])
async def test_timeout_the_innermost_place_counts(dialect: Dialect, outer: float) -> None:
    route = Route("/", work_endpoint(Work()), timeout=LIMIT)
    router = Router([route], timeout=outer)
    app = Hesper(routes=[Mount("/", router, timeout=outer)], timeout=outer)
    result = await ScriptedServer(app, dialect).get("/").run()
    assert_timed_out(result)
    assert LIMIT <= result.duration < LIMIT + 0.1


@over("policy", ["cancel", "finish", "continue"])
async def test_timeout_goes_with_every_policy(dialect: Dialect, policy: Any) -> None:
    work = Work(cleanup=1)
    app = limited(work_endpoint(work), on_disconnect=policy)
    server = ScriptedServer(app, dialect)
    async with server.lifespan():
        assert_timed_out(await server.get("/").run())
    assert work.ended == ["cancelled", "cleaned up"]


async def test_timeout_a_client_that_leaves_first_is_gone(dialect: Dialect) -> None:
    work = Work()
    app = limited(work_endpoint(work), on_disconnect="cancel")
    async with ScriptedServer(app, dialect).get("/").open() as client:
        await work.begun.wait()
        client.leave()
        result = await client.finish()
    assert work.ended == ["cancelled"]
    assert result.duration < LIMIT
    assert_quiet(result)


async def test_timeout_a_handler_may_raise_it_itself(dialect: Dialect) -> None:
    async def endpoint(request: Request) -> Response:
        raise HandlerTimeout("the upstream was silent.")

    assert_timed_out(await ScriptedServer(limited(endpoint), dialect).get("/").run())


async def test_timeout_of_a_websockets_route_closes_it(dialect: Dialect) -> None:
    ended: list[str] = []

    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            await anyio.sleep_forever()
        finally:
            await anyio.sleep(0.5)
            ended.append("cleaned up")

    app = Hesper(routes=[WebSocketRoute("/", endpoint, timeout=LIMIT)])
    result = await ScriptedServer(app, dialect).websocket("/").run()
    assert (result.close_code, ended) == (
        1001 if dialect.websocket_any_code else 4001,
        ["cleaned up"],
    )
    assert (result.ended, result.violations) == ("returned", [])


async def test_timeout_of_a_place_around_leaves_websockets_open(dialect: Dialect) -> None:
    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        await anyio.sleep(LIMIT * 2)
        await websocket.close(3000)

    app = Hesper(routes=[WebSocketRoute("/", endpoint)], timeout=LIMIT)
    result = await ScriptedServer(app, dialect).websocket("/").run()
    assert result.close_code == 3000


async def test_timeout_an_own_error_of_a_websocket_is_its_own(dialect: Dialect) -> None:
    async def endpoint(websocket: WebSocket) -> None:
        raise HandlerTimeout("the upstream was silent.")

    app = Hesper(routes=[WebSocketRoute("/", endpoint, timeout=LIMIT)])
    result = await ScriptedServer(app, dialect).websocket("/").run()
    assert result.accepted is False
    assert (result.ended, result.violations) == ("returned", [])
