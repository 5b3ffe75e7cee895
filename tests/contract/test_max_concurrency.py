"""``max_concurrency=``: so many requests at a time, so many wait, the others get 503 at once; a place
is free again however its request ended."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import anyio

from hesper.applications import Hesper
from hesper.background import BackgroundTask
from hesper.exceptions import ClientDisconnect
from hesper.policies import ConcurrencyLimit
from hesper.requests import Request
from hesper.responses import PlainTextResponse, Response, StreamingResponse
from hesper.routing import Host, Mount, Route, Router, WebSocketRoute
from hesper.testing import Dialect, Result, ScriptedServer
from hesper.testing.client import Client
from hesper.testing.dialects import UVICORN
from hesper.types import ASGIApp, Receive, Scope, Send
from hesper.websockets import WebSocket
from tests.conftest import ExpectedErrors, in_virtual_time
from tests.contract.apps import METHODS, Recorder, assert_quiet, over, pass_on, settle


class Desk:
    """An endpoint that works on a request until it is told to go on; counts how many there are."""

    def __init__(self) -> None:
        self.called = 0
        self.inside = 0
        self.most = 0
        self.go_on = anyio.Event()
        self.ending: Callable[[], Awaitable[Response]] | None = None

    async def __call__(self, request: Request) -> Response:
        self.called += 1
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            await self.go_on.wait()
            return PlainTextResponse("served") if self.ending is None else await self.ending()
        finally:
            self.inside -= 1


def desk_app(desk: Any, limit: Any, *middleware: Any, **options: Any) -> Hesper:
    async def endpoint(request: Request) -> Response:
        response: Response = await desk(request)
        return response

    route = Route("/", endpoint, methods=METHODS, max_concurrency=limit, **options)
    return Hesper(routes=[route], middleware=middleware)


def at_route(endpoint: Any) -> ASGIApp:
    return Hesper(routes=[Route("/", endpoint, max_concurrency=1)])


def at_route_alone(endpoint: Any) -> ASGIApp:
    return Route("/", endpoint, max_concurrency=1)


def at_app(endpoint: Any) -> ASGIApp:
    return Hesper(routes=[Route("/", endpoint)], max_concurrency=1)


def at_router(endpoint: Any) -> ASGIApp:
    return Router([Route("/", endpoint)], max_concurrency=1)


def at_mount(endpoint: Any) -> ASGIApp:
    return Hesper(routes=[Mount("/", Router([Route("/", endpoint)]), max_concurrency=1)])


def at_host(endpoint: Any) -> ASGIApp:
    return Hesper(routes=[Host("{name}", Router([Route("/", endpoint)]), max_concurrency=1)])


def outside_of_all(endpoint: Any) -> ASGIApp:
    inner = Hesper(routes=[Route("/", endpoint, max_concurrency=5)], max_concurrency=9)
    return Hesper(routes=[Mount("/", inner)], max_concurrency=1)


def assert_refused(result: Result, retry_after: str = "1") -> None:
    assert (result.status, result.body, result.complete) == (503, b"Service Unavailable", True)
    assert result.headers["retry-after"] == retry_after
    assert_quiet(result)


async def begun(stack: AsyncExitStack, server: ScriptedServer, count: int) -> list[Client]:
    """So many clients, one after the other."""
    clients = []
    for _ in range(count):
        clients.append(await stack.enter_async_context(server.get("/").open()))
        await settle()
    return clients


@over(
    "place",
    [at_route, at_route_alone, at_app, at_router, at_mount, at_host, outside_of_all],
)
async def test_max_concurrency_refuses_one_too_many_at_once(
    dialect: Dialect, place: Callable[[Any], ASGIApp]
) -> None:
    desk = Desk()

    async def endpoint(request: Request) -> Response:
        return await desk(request)

    server = ScriptedServer(place(endpoint), dialect)
    async with AsyncExitStack() as stack:
        (client,) = await begun(stack, server, 1)
        assert_refused(await server.get("/").run())
        desk.go_on.set()
        assert (await client.finish()).body == b"served"
        assert (await server.get("/").run()).body == b"served"
    assert desk.most == 1


async def test_max_concurrency_lets_some_wait_and_serves_them_in_order(dialect: Dialect) -> None:
    desk = Desk()
    served: list[int] = []

    async def endpoint(request: Request) -> Response:
        served.append(int(request.headers["x-number"]))
        return await desk(request)

    limit = ConcurrencyLimit(1, queue=3, retry_after=7)
    app = Hesper(routes=[Route("/", endpoint)], max_concurrency=limit)
    server = ScriptedServer(app, dialect)
    async with AsyncExitStack() as stack:
        clients = []
        for number in range(4):
            script = server.get("/", headers={"x-number": str(number)})
            clients.append(await stack.enter_async_context(script.open()))
            await settle()
        assert served == [0]
        assert_refused(await server.get("/").run(), "7")
        desk.go_on.set()
        results = [await client.finish() for client in clients]
    assert [result.body for result in results] == [b"served"] * 4
    assert served == [0, 1, 2, 3]
    assert desk.most == 1


async def failing() -> Response:
    raise LookupError("of the app")


async def refusing() -> Response:
    return PlainTextResponse("no", 400)


@over("ending", ["completed", "refused", "failed", "left", "cancelled", "stalled and left"])
async def test_max_concurrency_a_place_is_free_again_however_its_request_ended(
    dialect: Dialect, expected_errors: ExpectedErrors, ending: str
) -> None:
    desk = Desk()
    desk.ending = {"failed": failing, "refused": refusing}.get(ending)
    app = desk_app(desk, 1, pass_on)
    server = ScriptedServer(app, dialect)
    script = (
        server.get("/").stall_at_message(1) if ending.startswith("stalled") else server.get("/")
    )
    async with script.open() as client:
        await settle()
        if ending == "left":
            client.leave()
            await settle()
        if ending == "cancelled":
            client.cancel_app()
        desk.go_on.set()
        if ending.startswith("stalled"):
            await settle()
            client.leave()
        await client.finish()
    desk.ending = None
    for _ in range(2):  # one place, and no more than that
        assert (await server.get("/").run()).body == b"served"
    desk.go_on = anyio.Event()
    async with server.get("/").open() as client:
        await settle()
        assert_refused(await server.get("/").run())
        desk.go_on.set()
    expected_errors.clear()


@over("phase", ["body", "background"])
async def test_max_concurrency_a_request_counts_until_all_of_it_is_over(
    dialect: Dialect, phase: str
) -> None:
    reached, go_on = anyio.Event(), anyio.Event()

    async def wait() -> None:
        reached.set()
        await go_on.wait()

    async def chunks() -> AsyncIterator[bytes]:
        yield b"x"
        await wait()

    async def desk(request: Request) -> Response:
        if go_on.is_set():
            return PlainTextResponse("served")
        if phase == "body":
            return StreamingResponse(chunks())
        return PlainTextResponse("x", background=BackgroundTask(wait))

    server = ScriptedServer(desk_app(desk, 1), dialect)
    async with server.get("/").open() as client:
        await reached.wait()
        assert_refused(await server.get("/").run())
        go_on.set()
        assert (await client.finish()).body == b"x"
    assert (await server.get("/").run()).body == b"served"


@over("how", ["leaves", "is cancelled", "had left"])
async def test_max_concurrency_who_gives_up_waiting_makes_room(dialect: Dialect, how: str) -> None:
    desk, recorder = Desk(), Recorder()
    server = ScriptedServer(desk_app(desk, ConcurrencyLimit(1, queue=1), recorder), dialect)
    async with AsyncExitStack() as stack:
        (first,) = await begun(stack, server, 1)
        if how == "had left":
            result = await server.get("/").leave_at_message(0).run()
        else:
            (waiting,) = await begun(stack, server, 1)
            assert_refused(await server.get("/").run())
            if how == "leaves":
                waiting.leave()
            else:
                waiting.cancel_app()
            result = await waiting.finish()
        assert result.sent == []
        if how == "is cancelled":
            assert result.ended == "cancelled"
        else:
            assert_quiet(result)
            if result.ended != "not called":
                assert [type(exc) for exc in recorder.raised][-1] is ClientDisconnect
        (second,) = await begun(stack, server, 1)
        desk.go_on.set()
        assert (await first.finish()).body == b"served"
        assert (await second.finish()).body == b"served"
    assert (desk.called, desk.most) == (2, 1)


async def test_max_concurrency_a_turn_that_comes_too_late_goes_to_the_next(
    dialect: Dialect,
) -> None:
    desk = Desk()
    server = ScriptedServer(desk_app(desk, ConcurrencyLimit(1, queue=2)), dialect)
    async with AsyncExitStack() as stack:
        first, second, third = await begun(stack, server, 3)
        second.cancel_app()
        desk.go_on.set()  # at the same time
        await second.finish()
        assert (await first.finish()).body == b"served"
        assert (await third.finish()).body == b"served"
        assert (await server.get("/").run()).body == b"served"
    assert desk.most == 1


async def test_max_concurrency_nobody_comes_between_a_place_and_who_waits_for_it() -> None:
    desk = Desk()
    app = desk_app(desk, ConcurrencyLimit(1, queue=9))
    server = ScriptedServer(app, UVICORN)

    async def come() -> None:
        assert (await server.get("/").run()).body == b"served"

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(come)
        await settle()
        desk.go_on.set()
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
            tasks.start_soon(come)
    assert (desk.most, desk.called) == (1, 10)


async def test_max_concurrency_a_middleware_that_tries_again_keeps_its_place(
    dialect: Dialect,
) -> None:
    calls: list[int] = []

    async def desk(request: Request) -> Response:
        calls.append(1)
        return PlainTextResponse("served", 500 if len(calls) < 3 else 200)

    async def retry(request: Request, call_next: Any) -> Response:
        for _ in range(3):
            response: Response = await call_next(request)
            if response.status_code == 200:
                break
        return response

    server = ScriptedServer(desk_app(desk, 1, retry), dialect)
    for _ in range(2):
        result = await server.get("/").run()
        assert (result.status, result.body) == (200, b"served")
        assert_quiet(result)


async def test_max_concurrency_counts_a_foreign_app_as_well(dialect: Dialect) -> None:
    go_on = anyio.Event()

    class App:
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            if not go_on.is_set():
                await go_on.wait()
            await PlainTextResponse("served")(scope, receive, send)

    server = ScriptedServer(Hesper(routes=[Mount("/", App(), max_concurrency=1)]), dialect)
    async with AsyncExitStack() as stack:
        (client,) = await begun(stack, server, 1)
        assert_refused(await server.get("/").run())
        go_on.set()
        assert (await client.finish()).body == b"served"


async def test_max_concurrency_what_is_finished_without_its_request_keeps_the_place(
    dialect: Dialect,
) -> None:
    desk = Desk()
    server = ScriptedServer(desk_app(desk, 1, on_disconnect="finish"), dialect)
    async with server.lifespan():
        async with server.get("/").open() as client:
            await settle()
            client.cancel_app()
            await client.finish()
        assert_refused(await server.get("/").run())
        desk.go_on.set()
        await settle()
        assert (await server.get("/").run()).body == b"served"
        await settle()
    assert desk.most == 1


@in_virtual_time
async def test_max_concurrency_a_shutdown_ends_the_waiting(dialect: Dialect) -> None:
    app = desk_app(Desk(), ConcurrencyLimit(1, queue=1))
    server = ScriptedServer(app, dialect)
    async with server.lifespan(), AsyncExitStack() as stack:
        clients = await begun(stack, server, 2)
        app.begin_shutdown(1)
        for client in clients:
            result = await client.finish(timeout=2)
            assert (result.status, result.headers["retry-after"]) == (503, "1")


# -- sockets ---------------------------------------------------------------------------------------


def socket_app(limit: Any) -> ASGIApp:
    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        async for text in websocket.iter_text():
            await websocket.send_text(text)

    return Hesper(routes=[WebSocketRoute("/", endpoint, max_concurrency=limit)])


@over("ending", ["close", "leave", "cancel"])
async def test_max_concurrency_counts_a_websocket_as_long_as_it_is_open(
    dialect: Dialect, ending: str
) -> None:
    server = ScriptedServer(socket_app(ConcurrencyLimit(1, retry_after=3)), dialect)
    async with server.websocket("/").leave_by_closing(1000).open() as client:
        await client.wait_message(1)
        refused = await server.websocket("/").run()
        assert refused.accepted is False
        if "websocket.http.response" in dialect.websocket_extensions:
            assert (refused.status, refused.headers["retry-after"]) == (503, "3")
        assert (refused.ended, refused.violations) == ("returned", [])
        if ending == "cancel":
            client.cancel_app()
        else:
            client.leave()
        await client.finish()
    result = await server.websocket("/").leave_at_message(1).run()
    assert result.accepted


async def test_max_concurrency_a_websocket_waits_for_its_turn(dialect: Dialect) -> None:
    server = ScriptedServer(socket_app(ConcurrencyLimit(1, queue=1)), dialect)
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(server.websocket("/").open())
        await first.wait_message(1)
        second = await stack.enter_async_context(server.websocket("/", messages=["a"]).open())
        await settle()
        assert (await server.websocket("/").run()).accepted is False
        first.leave()
        await first.finish()
        await second.wait_message(2)
        await settle()
        second.leave()
        assert (await second.finish()).frames == ["a"]


async def test_max_concurrency_a_websocket_that_leaves_while_it_waits_is_no_error(
    dialect: Dialect,
) -> None:
    server = ScriptedServer(socket_app(ConcurrencyLimit(1, queue=1)), dialect)
    async with server.websocket("/").open() as first:
        await first.wait_message(1)
        async with server.websocket("/").open() as second:
            await settle()
            second.leave()
            if dialect.websocket_leave_before_accept_seen:
                result = await second.finish()
                assert (result.raised, result.sent) == (None, [])
            else:
                second.cancel_app()
                await second.finish()
        first.leave()
        await first.finish()
    assert (await server.websocket("/").leave_at_message(1).run()).accepted
