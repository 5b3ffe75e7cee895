"""E15: on shutdown, open streams and sockets are told (``request.shutting_down``, close 1001/1012),
get a grace period, then are cancelled; shutdown never hangs on an idle stream; teardown that awaits
completes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
import trio

from hesper.applications import Hesper
from hesper.requests import Request
from hesper.responses import PlainTextResponse, Response, StreamingResponse
from hesper.routing import BaseRoute, Mount, Route, WebSocketRoute
from hesper.sse import EventSourceResponse
from hesper.testing import Dialect, ScriptedServer
from hesper.testing.dialects import DAPHNE, UVICORN
from hesper.types import ASGIApp, Message, Receive, Scope, Send
from hesper.websockets import WebSocket, WebSocketDisconnect
from tests.conftest import in_virtual_time
from tests.contract.apps import assert_quiet, over, pass_on

GRACE = 5.0


class Idle:
    """A stream that waits for events that never come; it writes down how it ended."""

    def __init__(self, cleanup: float = 0) -> None:
        self.begun = anyio.Event()
        self.ended: list[str] = []
        self.cleanup = cleanup

    async def __call__(self) -> AsyncIterator[bytes]:
        try:
            yield b"first"
            self.begun.set()
            await anyio.sleep_forever()
        finally:
            await anyio.sleep(self.cleanup)
            self.ended.append("closed")


def stream_of(idle: Idle) -> Any:
    async def endpoint(request: Request) -> Response:
        return StreamingResponse(idle())

    return endpoint


def restart_code(dialect: Dialect, code: int = 1012) -> int:
    """The code that the client sees; daphne refuses those of the protocol."""
    return code if dialect.websocket_any_code else code + 3000


async def shut_down(server: ScriptedServer, app: Hesper) -> None:
    """As the server does it; where it knows no lifespan, as its operator has to."""
    if server.dialect.lifespan:
        await server.shutdown()
    else:
        app.begin_shutdown()


@in_virtual_time
@over("depth", [0, 3])
async def test_e15_an_idle_stream_does_not_hold_the_shutdown_up(
    dialect: Dialect, depth: int
) -> None:
    idle = Idle()
    app = Hesper(routes=[Route("/", stream_of(idle))], middleware=[pass_on] * depth)
    server = ScriptedServer(app, dialect)
    async with server.lifespan(), server.get("/").open() as client:
        await idle.begun.wait()
        before = anyio.current_time()
        await shut_down(server, app)
        result = await client.finish(timeout=GRACE + 1)
        assert anyio.current_time() - before < GRACE + 0.5
    assert idle.ended == ["closed"]
    assert result.ended == "returned"
    assert not result.complete  # half a body is not passed off as a whole one
    assert not result.truncated_as_complete


@in_virtual_time
async def test_e15_a_stream_that_listens_ends_in_its_own_way(dialect: Dialect) -> None:
    begun = anyio.Event()

    async def endpoint(request: Request) -> Response:
        async def chunks() -> AsyncIterator[bytes]:
            yield b"hello"
            begun.set()
            await request.wait_shutting_down()
            assert request.shutting_down
            await anyio.sleep(1)
            yield b"goodbye"

        assert not request.shutting_down
        return StreamingResponse(chunks())

    app = Hesper(routes=[Route("/", endpoint)])
    server = ScriptedServer(app, dialect)
    async with server.lifespan(), server.get("/").open() as client:
        await begun.wait()
        await shut_down(server, app)
        result = await client.finish()
    assert (result.body, result.complete) == (b"hellogoodbye", True)
    assert_quiet(result)


class Wrapped:
    """A foreign middleware that wraps ``receive``, as one that logs or limits does."""

    def __init__(self, app: ASGIApp, late: bool) -> None:
        self.app = app
        self.late = late

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def wrapped() -> Message:
            return await receive()

        if self.late:
            await anyio.sleep(1)
        await self.app(scope, wrapped, send)


@in_virtual_time
@over("late", [False, True])
async def test_e15_what_stands_behind_a_foreign_middleware_is_told(
    dialect: Dialect, late: bool
) -> None:
    """Also if it begins only then."""

    async def endpoint(request: Request) -> Response:
        await request.wait_shutting_down()
        return PlainTextResponse("goodbye")

    app = Hesper(routes=[Mount("/", app=Wrapped(Hesper(routes=[Route("/", endpoint)]), late))])
    server = ScriptedServer(app, dialect)
    async with server.lifespan(), server.get("/").open() as client:
        await anyio.sleep(0.5)
        await shut_down(server, app)
        result = await client.finish(timeout=2)
    assert (result.body, result.complete) == (b"goodbye", True)
    assert_quiet(result)


@in_virtual_time
async def test_e15_an_event_stream_that_listens_between_its_events_ends_in_its_own_way(
    dialect: Dialect,
) -> None:
    """The shutdown may begin while it is sending, when it does not listen."""

    async def endpoint(request: Request) -> Response:
        async def ticks() -> AsyncIterator[str]:
            while not request.shutting_down:
                yield "tick"
                with anyio.move_on_after(1):
                    await request.wait_shutting_down()
            await anyio.sleep(1)
            yield "goodbye"

        return EventSourceResponse(ticks())

    app = Hesper(routes=[Route("/", endpoint)])
    server = ScriptedServer(app, dialect)
    async with server.lifespan(), server.get("/").stall_at_message(3).open() as client:
        await client.wait_message(3)
        await anyio.sleep(0.1)  # it is stuck in there
        app.begin_shutdown()
        client.release()
        result = await client.finish()
    assert result.body.endswith(b"data: tick\n\ndata: goodbye\n\n")
    assert result.complete
    assert_quiet(result)


@in_virtual_time
async def test_e15_a_request_may_come_to_its_end_within_the_grace(dialect: Dialect) -> None:
    begun = anyio.Event()

    async def endpoint(request: Request) -> Response:
        begun.set()
        await anyio.sleep(GRACE - 1)
        return PlainTextResponse(str(request.shutting_down))

    app = Hesper(routes=[Route("/", endpoint)], shutdown_grace=GRACE)
    server = ScriptedServer(app, dialect)
    async with server.lifespan(), server.get("/").open() as client:
        await begun.wait()
        await shut_down(server, app)
        result = await client.finish()
    assert (result.status, result.body) == (200, b"True")
    assert_quiet(result)


@in_virtual_time
async def test_e15_what_is_left_after_the_grace_is_cancelled_and_answered_with_503(
    dialect: Dialect,
) -> None:
    begun = anyio.Event()
    ended: list[str] = []

    async def endpoint(request: Request) -> Response:
        begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("cancelled")
        raise AssertionError

    app = Hesper(routes=[Route("/", endpoint)], middleware=[pass_on], shutdown_grace=2)
    server = ScriptedServer(app, dialect)
    async with server.lifespan(), server.get("/").open() as client:
        await begun.wait()
        before = anyio.current_time()
        await shut_down(server, app)
        result = await client.finish()
        assert 1.9 < anyio.current_time() - before < 2.5
    assert ended == ["cancelled"]
    assert (result.status, result.headers["retry-after"], result.complete) == (503, "1", True)
    assert_quiet(result)


@in_virtual_time
async def test_e15_a_second_call_cancels_at_once(dialect: Dialect) -> None:
    idle = Idle()
    app = Hesper(routes=[Route("/", stream_of(idle))])
    server = ScriptedServer(app, dialect)
    async with server.lifespan(), server.get("/").open() as client:
        await idle.begun.wait()
        before = anyio.current_time()
        app.begin_shutdown(60)
        await anyio.sleep(1)
        assert idle.ended == []
        app.begin_shutdown()
        await client.finish()
        assert anyio.current_time() - before < 1.5
    assert idle.ended == ["closed"]


@in_virtual_time
async def test_e15_a_callback_of_the_loop_may_begin_it(dialect: Dialect) -> None:
    """As `loop.add_signal_handler` calls it: outside of any task."""
    begun = anyio.Event()

    async def endpoint(request: Request) -> Response:
        begun.set()
        await request.wait_shutting_down()
        return PlainTextResponse("goodbye")

    async def stubborn(request: Request) -> Response:
        await anyio.sleep_forever()
        raise AssertionError

    app = Hesper(routes=[Route("/", endpoint), Route("/stubborn", stubborn)])
    server = ScriptedServer(app, dialect)
    async with server.lifespan(), server.get("/stubborn").open() as late:
        async with server.get("/").open() as client:
            await begun.wait()
            in_a_callback(lambda: app.begin_shutdown(2))
            result = await client.finish()
        assert (result.status, result.body) == (200, b"goodbye")
        assert (await late.finish()).status == 503


def in_a_callback(call: Callable[[], object]) -> None:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        trio.lowlevel.current_trio_token().run_sync_soon(call)
    else:
        loop.call_soon(call)


@in_virtual_time
async def test_e15_teardown_that_awaits_completes(dialect: Dialect) -> None:
    idle = Idle(cleanup=3)
    app = Hesper(routes=[Route("/", stream_of(idle))], shutdown_grace=1)
    server = ScriptedServer(app, dialect)
    async with server.lifespan(), server.get("/").open() as client:
        await idle.begun.wait()
        await shut_down(server, app)
        await client.finish()
    assert idle.ended == ["closed"]


@in_virtual_time
@over("kind", ["request", "socket"])
@over("policy", ["continue", "cancel"])
async def test_e15_teardown_of_a_handler_that_awaits_completes(
    dialect: Dialect, kind: str, policy: Any
) -> None:
    begun = anyio.Event()
    ended: list[str] = []

    async def work() -> None:
        begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            await anyio.sleep(3)
            ended.append("clean")

    async def endpoint(request: Request) -> Response:
        await work()
        raise AssertionError

    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        await work()

    routes: list[BaseRoute] = [
        Route("/", endpoint, on_disconnect=policy),
        WebSocketRoute("/", socket, on_disconnect=policy),
    ]
    app = Hesper(routes=routes, middleware=[pass_on], shutdown_grace=1)
    server = ScriptedServer(app, dialect)
    async with server.lifespan():
        script = server.get("/") if kind == "request" else server.websocket("/")
        async with script.open() as client:
            await begun.wait()
            await shut_down(server, app)
            result = await client.finish()
    assert ended == ["clean"]
    if kind == "request":
        assert result.status == 503
    else:
        assert result.close_code == restart_code(dialect)


@in_virtual_time
@over("waiting", ["receive", "wait_disconnected"])
async def test_e15_an_idle_socket_is_closed_at_once(dialect: Dialect, waiting: str) -> None:
    begun = anyio.Event()
    codes: list[int] = []

    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        begun.set()
        if waiting == "wait_disconnected":
            await websocket.wait_disconnected()
        try:
            await websocket.receive_text()
        except WebSocketDisconnect as exc:
            codes.append(exc.code)
            raise

    app = Hesper(routes=[WebSocketRoute("/", endpoint)])
    server = ScriptedServer(app, dialect)
    async with server.lifespan(), server.websocket("/").open() as client:
        await begun.wait()
        before = anyio.current_time()
        await shut_down(server, app)
        result = await client.finish()
        assert anyio.current_time() - before < 0.5
    assert (result.close_code, codes) == (restart_code(dialect), [1012])
    assert (result.ended, result.violations) == ("returned", [])


@in_virtual_time
async def test_e15_a_socket_that_listens_says_goodbye(dialect: Dialect) -> None:
    begun = anyio.Event()

    async def endpoint(websocket: WebSocket) -> None:
        assert not websocket.shutting_down
        await websocket.accept()
        begun.set()
        await websocket.wait_shutting_down()
        assert websocket.shutting_down
        await websocket.send_text("goodbye")
        await websocket.close(1001)

    app = Hesper(routes=[WebSocketRoute("/", endpoint)])
    server = ScriptedServer(app, dialect)
    async with server.lifespan(), server.websocket("/").open() as client:
        await begun.wait()
        await shut_down(server, app)
        result = await client.finish()
    assert (result.frames, result.close_code) == (["goodbye"], restart_code(dialect, 1001))
    assert (result.ended, result.violations) == ("returned", [])


@in_virtual_time
async def test_e15_a_socket_that_is_busy_is_cancelled_after_the_grace(dialect: Dialect) -> None:
    begun = anyio.Event()
    ended: list[str] = []

    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("cancelled")

    app = Hesper(routes=[WebSocketRoute("/", endpoint)], shutdown_grace=2)
    server = ScriptedServer(app, dialect)
    async with server.lifespan(), server.websocket("/").open() as client:
        await begun.wait()
        await shut_down(server, app)
        result = await client.finish()
    assert (ended, result.close_code) == (["cancelled"], restart_code(dialect))
    assert (result.ended, result.violations) == ("returned", [])


@in_virtual_time
async def test_e15_what_comes_after_the_shutdown_has_begun_is_told_too(dialect: Dialect) -> None:
    async def endpoint(request: Request) -> Response:
        known = request.shutting_down
        await request.wait_shutting_down()
        return PlainTextResponse(str(known))

    app = Hesper(routes=[Route("/", endpoint)])
    server = ScriptedServer(app, dialect)
    async with server.lifespan():
        app.begin_shutdown()
        assert app.shutting_down
        result = await server.get("/").run()
    assert result.body == b"True"
    assert_quiet(result)


@in_virtual_time
async def test_e15_requests_end_before_the_lifespans_contexts_do(dialect: Dialect) -> None:
    order: list[str] = []
    begun = anyio.Event()

    @asynccontextmanager
    async def lifespan(app: Hesper) -> AsyncIterator[None]:
        yield
        await anyio.sleep(0)
        order.append("the pool is closed")

    async def endpoint(request: Request) -> Response:
        begun.set()
        await anyio.sleep(1)
        order.append("the request has ended")
        return PlainTextResponse("x")

    app = Hesper(routes=[Route("/", endpoint)], lifespan=lifespan)
    server = ScriptedServer(app, dialect)
    async with server.lifespan(), server.get("/").open() as client:
        await begun.wait()
        if dialect.lifespan:
            await server.shutdown()
        await client.finish()
    assert order == ["the request has ended", "the pool is closed"][: 2 if dialect.lifespan else 1]


@in_virtual_time
async def test_e15_mounted_apps_are_told(dialect: Dialect) -> None:
    idle = Idle()
    inner = Hesper(routes=[Route("/", stream_of(idle))])
    app = Hesper(routes=[Mount("/inner", inner)], shutdown_grace=1)
    server = ScriptedServer(app, dialect)
    async with server.lifespan(), server.get("/inner/").open() as client:
        await idle.begun.wait()
        app.begin_shutdown()
        assert inner.shutting_down
        await client.finish()
    assert idle.ended == ["closed"]


@in_virtual_time
async def test_e15_an_app_that_starts_again_serves_again() -> None:
    async def endpoint(request: Request) -> Response:
        await anyio.sleep(0)
        return PlainTextResponse(str(request.shutting_down))

    app = Hesper(routes=[Route("/", endpoint)])
    for _ in range(2):
        server = ScriptedServer(app, UVICORN)
        async with server.lifespan():
            result = await server.get("/").run()
        assert result.body == b"False"
        assert app.shutting_down


@in_virtual_time
async def test_e15_what_swallows_its_cancellation_does_not_hold_the_shutdown_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    begun, release = anyio.Event(), anyio.Event()

    async def endpoint(request: Request) -> Response:
        begun.set()
        while not release.is_set():
            try:
                with anyio.CancelScope(shield=True):
                    await release.wait()
            except BaseException:  # what nobody should do
                pass
        return PlainTextResponse("at last")

    app = Hesper(routes=[Route("/", endpoint)], shutdown_grace=1)
    server = ScriptedServer(app, UVICORN)
    async with server.lifespan(), server.get("/").open() as client:
        await begun.wait()
        before = anyio.current_time()
        await server.shutdown()
        assert anyio.current_time() - before < 10
        release.set()
        await client.finish()
    (record,) = [each for each in caplog.records if each.name == "hesper"]
    assert "although 1 requests are under way" in record.getMessage()


@over("dialect", [UVICORN, DAPHNE])
async def test_e15_outside_of_an_event_loop_the_flag_can_be_read(dialect: Dialect) -> None:
    app: ASGIApp = Hesper()
    assert isinstance(app, Hesper)
    assert app.shutting_down is False
