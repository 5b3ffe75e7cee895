"""The policy ``"cancel"``: the handler is cancelled as soon as its client is known to be gone, with a
bounded grace for its cleanup."""

import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import anyio.from_thread
import pytest

from hesper.applications import Hesper
from hesper.background import BackgroundTask
from hesper.exceptions import ClientDisconnect
from hesper.middleware import Middleware
from hesper.middleware.base import BaseHTTPMiddleware
from hesper.policies import OnDisconnect
from hesper.requests import Request
from hesper.responses import PlainTextResponse, Response, StreamingResponse
from hesper.routing import Host, Mount, Route, Router, WebSocketRoute
from hesper.testing import Dialect, Result, ScriptedServer
from hesper.types import ASGIApp, Receive, Scope, Send
from hesper.websockets import WebSocket, WebSocketDisconnect
from tests.conftest import in_virtual_time
from tests.contract.apps import METHODS, Recorder, assert_quiet, nest, over, pass_on


class Work:
    """What an endpoint works on; it writes down how that ended, and when."""

    def __init__(self, seconds: float = 600, cleanup: float = 0) -> None:
        self.seconds = seconds
        self.cleanup = cleanup
        self.begun = anyio.Event()
        self.ended: list[str] = []

    async def __call__(self, request: Any = None) -> Response:
        self.begun.set()
        try:
            await anyio.sleep(self.seconds)
        except anyio.get_cancelled_exc_class():
            self.ended.append("cancelled")
            if self.cleanup:
                await anyio.sleep(self.cleanup)
                self.ended.append("cleaned up")
            raise
        self.ended.append("finished")
        return PlainTextResponse("done")


Place = Callable[[Any], ASGIApp]


def at_route(endpoint: Any) -> ASGIApp:
    return Hesper(routes=[Route("/", endpoint, methods=METHODS, on_disconnect="cancel")])


def at_route_with_middleware(endpoint: Any) -> ASGIApp:
    route = Route("/", endpoint, methods=METHODS, on_disconnect="cancel", middleware=[pass_on])
    return Hesper(routes=[route])


def at_route_alone(endpoint: Any) -> ASGIApp:
    return Route("/", endpoint, methods=METHODS, on_disconnect="cancel")


def at_app(endpoint: Any) -> ASGIApp:
    return Hesper(routes=[Route("/", endpoint, methods=METHODS)], on_disconnect="cancel")


def at_app_with_parameter(endpoint: Any) -> ASGIApp:
    route = Route("/{name:path}", endpoint, methods=METHODS)
    return Hesper(routes=[route], on_disconnect="cancel")


def at_router(endpoint: Any) -> ASGIApp:
    return Router([Route("/", endpoint, methods=METHODS)], on_disconnect="cancel")


def at_mount(endpoint: Any) -> ASGIApp:
    inner = Hesper(routes=[Route("/", endpoint, methods=METHODS)])
    return Hesper(routes=[Mount("/", inner, on_disconnect="cancel")])


def at_host(endpoint: Any) -> ASGIApp:
    inner = Router([Route("/", endpoint, methods=METHODS)])
    return Hesper(routes=[Host("{name}", inner, on_disconnect="cancel")])


every_place = over(
    "place",
    [
        at_route,
        at_route_with_middleware,
        at_route_alone,
        at_app,
        at_app_with_parameter,
        at_router,
        at_mount,
        at_host,
    ],
)


async def leaves(app: ASGIApp, work: Work, dialect: Dialect, **options: Any) -> Result:
    """Lets the client leave while the endpoint works."""
    script = ScriptedServer(app, dialect).post("/", **options)
    async with script.open() as client:
        with anyio.fail_after(10):
            await work.begun.wait()
        client.leave()
        return await client.finish(timeout=60)


@every_place
async def test_cancel_the_handler_is_cancelled_when_its_client_leaves(
    dialect: Dialect, place: Place
) -> None:
    work = Work()
    result = await leaves(place(work_endpoint(work)), work, dialect)
    assert work.ended == ["cancelled"]
    assert_quiet(result)


def work_endpoint(work: Work) -> Any:
    async def endpoint(request: Request) -> Response:
        return await work()

    return endpoint


@in_virtual_time
async def test_cancel_takes_no_time(dialect: Dialect) -> None:
    work = Work()
    result = await leaves(at_app(work_endpoint(work)), work, dialect)
    assert result.duration < 1
    assert_quiet(result)


@over("depth", [1, 4])
@over("foreign", [False, True])
async def test_cancel_works_behind_any_number_of_middlewares(
    dialect: Dialect, depth: int, foreign: bool
) -> None:
    work, recorder = Work(), Recorder()
    route = Route("/", work_endpoint(work), methods=METHODS, on_disconnect="cancel")
    app: ASGIApp
    if foreign:
        app = nest(route, *[pass_on] * depth, recorder)
    else:
        stack = [Middleware(BaseHTTPMiddleware, dispatch=pass_on)] * depth
        app = Hesper(routes=[route], middleware=[*stack, recorder])
    result = await leaves(app, work, dialect)
    assert work.ended == ["cancelled"]
    assert [type(exc) for exc in recorder.raised] == [ClientDisconnect]
    assert_quiet(result)


async def test_cancel_works_while_the_body_is_unread(dialect: Dialect) -> None:
    work = Work()
    result = await leaves(at_app(work_endpoint(work)), work, dialect, body=[b"a", b"b"])
    assert work.ended == ["cancelled"]
    assert_quiet(result)


async def test_cancel_works_while_the_body_is_half_read(dialect: Dialect) -> None:
    if dialect.buffers_request:
        return  # daphne: the app is called when the whole body is there
    work = Work()

    async def endpoint(request: Request) -> Response:
        async for _ in request.stream():
            return await work()
        raise AssertionError("the body was empty")

    result = await leaves(at_app(endpoint), work, dialect, body=[b"a", b"b"], unfinished=True)
    assert work.ended == ["cancelled"]
    assert_quiet(result)


@over("foreign", ["mounted", "endpoint"])
async def test_cancel_reaches_a_foreign_app(dialect: Dialect, foreign: str) -> None:
    work = Work()

    class App:
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await (await work())(scope, receive, send)

    if foreign == "mounted":
        app = Hesper(routes=[Mount("/", App(), on_disconnect="cancel")])
    else:
        app = Hesper(routes=[Route("/", App(), on_disconnect="cancel")])
    result = await leaves(app, work, dialect)
    assert work.ended == ["cancelled"]
    assert_quiet(result)


@in_virtual_time
async def test_cancel_cleanup_may_await(dialect: Dialect) -> None:
    work = Work(cleanup=2)  # gunicorn cancels after three
    result = await leaves(at_app(work_endpoint(work)), work, dialect)
    assert work.ended == ["cancelled", "cleaned up"]
    assert_quiet(result)


@in_virtual_time
async def test_cancel_cleanup_that_is_too_slow_is_abandoned_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    work = Work(cleanup=60)
    endpoint = work_endpoint(work)
    app = Hesper(routes=[Route("/", endpoint, on_disconnect="cancel", cancel_grace=2)])
    async with ScriptedServer(app).get("/").open() as client:
        await work.begun.wait()
        client.leave()
        result = await client.finish(timeout=10)
    assert work.ended == ["cancelled"]
    assert 1.9 < result.duration < 3
    assert [record.getMessage() for record in caplog.records] == [
        "GET '/' (work_endpoint.<locals>.endpoint) was abandoned: its cleanup took longer than 2 "
        "seconds after it was cancelled."
    ]
    assert_quiet(result)


async def test_cancel_a_response_that_is_given_all_the_same_reaches_the_middlewares(
    dialect: Dialect,
) -> None:
    begun, recorder = anyio.Event(), Recorder()

    async def stubborn(request: Request) -> Response:
        begun.set()
        try:
            await anyio.sleep(600)
        except anyio.get_cancelled_exc_class():
            pass
        return PlainTextResponse("all the same")

    routes = [Route("/", stubborn, on_disconnect="cancel")]
    app = Hesper(routes=routes, middleware=[recorder])
    async with ScriptedServer(app, dialect).get("/").open() as client:
        await begun.wait()
        client.leave()
        result = await client.finish()
    assert [response.body for response in recorder.responses] == [b"all the same"]
    assert_quiet(result)


async def test_cancel_changes_nothing_for_a_client_that_stays(dialect: Dialect) -> None:
    ran: list[str] = []

    async def note() -> None:
        ran.append("background")

    async def chunks() -> AsyncIterator[bytes]:
        yield b"a"
        await anyio.sleep(0)
        yield b"b"

    async def endpoint(request: Request) -> Response:
        await anyio.sleep(0)
        return StreamingResponse(chunks(), background=BackgroundTask(note))

    result = await ScriptedServer(at_app(endpoint), dialect).get("/").run()
    assert (result.status, result.body, ran) == (200, b"ab", ["background"])
    assert result.complete


@over("outer", ["cancel", "continue"])
async def test_cancel_the_innermost_place_counts(dialect: Dialect, outer: Any) -> None:
    work = Work(seconds=0.01)
    inner: OnDisconnect = "continue" if outer == "cancel" else "cancel"
    route = Route("/", work_endpoint(work), methods=METHODS, on_disconnect=inner)
    router = Router([route], on_disconnect=outer)
    app = Hesper(routes=[Mount("/", router, on_disconnect=outer)], on_disconnect=outer)
    result = await leaves(app, work, dialect)
    assert work.ended == ["finished" if inner == "continue" else "cancelled"]
    assert_quiet(result)


async def test_cancel_a_sync_endpoint_is_told_and_waited_for(dialect: Dialect) -> None:
    begun, go_on = anyio.Event(), threading.Event()
    told: list[bool] = []

    def endpoint(request: Request) -> Response:
        anyio.from_thread.run_sync(begun.set)
        go_on.wait(10)
        told.append(request.disconnected)
        return PlainTextResponse("from a thread")

    app = Hesper(routes=[Route("/", endpoint, on_disconnect="cancel")])
    async with ScriptedServer(app, dialect).get("/").open() as client:
        await begun.wait()
        client.leave()
        for _ in range(20):
            await anyio.sleep(0)
        go_on.set()
        result = await client.finish()
    assert told == [True]
    assert_quiet(result)


async def test_cancel_a_real_cancellation_comes_out(dialect: Dialect) -> None:
    work = Work()
    async with ScriptedServer(at_app(work_endpoint(work)), dialect).get("/").open() as client:
        await work.begun.wait()
        client.cancel_app()
        result = await client.finish()
    assert (work.ended, result.ended) == (["cancelled"], "cancelled")


async def test_cancel_a_websocket_that_works_for_its_client_is_cancelled(dialect: Dialect) -> None:
    work = Work()
    raised: list[BaseException] = []

    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        await work()

    async def around(websocket: WebSocket) -> None:
        await endpoint(websocket)

    class Outside(BaseHTTPMiddleware):
        async def dispatch(self, request: Request, call_next: Any) -> Response:
            raise AssertionError("there is no request")

        async def dispatch_websocket(self, websocket: WebSocket, call_next: Any) -> None:
            try:
                await call_next(websocket)
            except BaseException as exc:
                raised.append(exc)
                raise

    routes = [WebSocketRoute("/", around, on_disconnect="cancel")]
    app = Hesper(routes=routes, middleware=[Middleware(Outside)])
    script = ScriptedServer(app, dialect).websocket("/").leave_by_closing(4001, "bye")
    async with script.open() as client:
        await work.begun.wait()
        client.leave()
        result = await client.finish()
    assert work.ended == ["cancelled"]
    assert [type(exc) for exc in raised] == [WebSocketDisconnect]
    assert_quiet(result)
