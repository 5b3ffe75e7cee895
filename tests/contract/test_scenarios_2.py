"""What users reported, scenario by scenario: context, exceptions, timeouts, WebSockets, shutdown.

The law: as in `test_scenarios_1`; scenarios 26 to 51 are here. Left out, because what they need is
not built yet, are

- 41, "uvicorn, SIGTERM while an idle SSE stream is open: the stream is ended and the server exits
  within 2 s": open streams are told of the shutdown by E15;
- 45, "policy 'cancel' on a route: a plain endpoint is cancelled when the client leaves",
- 46, "policy 'finish' on a route: the endpoint finishes although client left AND an outer scope
  cancels the request",
- 47, "policy 'resume': a stream goes on after the client left and a second request (Last-Event-ID)
  gets the rest once": there is no `on_disconnect=` yet.
"""

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, cast

import anyio
import pytest

from hesper.applications import Hesper
from hesper.background import BackgroundTask
from hesper.exceptions import HTTPException
from hesper.middleware import Middleware
from hesper.middleware.base import BaseHTTPMiddleware
from hesper.requests import Request
from hesper.responses import PlainTextResponse, Response, StreamingResponse
from hesper.routing import Mount, Route, WebSocketRoute
from hesper.testing import Dialect, Result, ScriptedServer
from hesper.testing.dialects import GRANIAN, HYPERCORN, SPECIFICATION, UVICORN
from hesper.types import ASGIApp, Message, Receive, Scope, Send
from hesper.websockets import WebSocket, WebSocketDisconnect
from tests.contract.apps import (
    SERVERS,
    Alarm,
    CallNext,
    Dispatch,
    Gate,
    assert_quiet,
    hesper,
    nest,
    over,
    pass_on,
    send_body,
    send_start,
    settle,
)
from tests.contract.bodies import Witness, current_asyncio_task, idle
from tests.servers.process import serve

on_servers = over("server", SERVERS)

PROMPT = 0.5
"""Seconds that a stop may take; in virtual time it takes none."""

VERSIONS = [each.but(spec_version=version) for each in SERVERS for version in ("2.3", "2.4")]
on_versions = over("server", VERSIONS)

place: ContextVar[str] = ContextVar("place", default="nowhere")


def stack(endpoint: Any, *middleware: Any) -> ASGIApp:
    """A `Hesper` app with functions as `BaseHTTPMiddleware`, and classes as what they are."""
    entries: list[Any] = []
    for each in middleware:
        if isinstance(each, type):
            entries.append(Middleware(cast(Any, each)))
        else:
            entries.append(Middleware(BaseHTTPMiddleware, dispatch=each))
    return Hesper(routes=[Route("/", endpoint)], middleware=entries)


async def respond(request: Request) -> Response:
    """An endpoint."""
    return PlainTextResponse("whole")


# Context variables.


@on_servers
async def test_s26_context_var_set_in_the_endpoint_is_visible_in_dispatch_after_call_next(
    server: Dialect,
) -> None:
    """ContextVar set in the endpoint is visible in dispatch after call_next: Kludex/starlette#1081,
    #1525, #1258."""
    seen: list[str] = []

    async def dispatch(request: Request, call_next: CallNext) -> Response:
        response = await call_next(request)
        seen.append(place.get())
        return response

    async def endpoint(request: Request) -> Response:
        place.set("endpoint")
        return PlainTextResponse("whole")

    app = hesper(endpoint, dispatch, pass_on, dispatch)
    assert_quiet(await ScriptedServer(app, server).get().run())
    assert seen == ["endpoint"] * 2


class Setting:
    """A pure ASGI middleware that sets the variable."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        place.set("below")
        await self.app(scope, receive, send)


class Reading:
    """A pure ASGI middleware that reads the variable when the app below has returned."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        place.set("above")
        await self.app(scope, receive, send)
        scope["seen"].append(place.get())


def giving(app: ASGIApp, seen: list[str]) -> ASGIApp:
    """`app` with a list in its scope, for `Reading`."""

    async def given(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "seen": seen}, receive, send)

    return given


@on_servers
@over("depth", [1, 3])
async def test_s27_context_var_set_below_call_next_is_visible_to_a_pure_asgi_middleware_above_it(
    server: Dialect, depth: int
) -> None:
    """ContextVar set below a call_next middleware is visible to a pure ASGI middleware above it:
    Kludex/starlette#2943, #1525, adriangb/xpresso#72."""
    seen: list[str] = []
    inside = stack(respond, Reading, *[pass_on] * depth, Setting)
    alone = Reading(nest(Setting(hesper(respond)), *[pass_on] * depth))
    for app in (inside, alone):
        assert_quiet(await ScriptedServer(giving(app, seen), server).get().run())
    assert seen == ["below"] * 2


@on_servers
async def test_s28_context_var_set_in_dispatch_is_visible_in_endpoint_generator_and_background(
    server: Dialect,
) -> None:
    """ContextVar set in dispatch before call_next is visible in endpoint, body generator and
    background task: Kludex/starlette#1525."""
    seen: list[str] = []

    async def dispatch(request: Request, call_next: CallNext) -> Response:
        place.set(place.get() + " dispatch")
        return await call_next(request)

    async def body() -> AsyncIterator[str]:
        seen.append(place.get())
        yield "whole"

    async def work() -> None:
        seen.append(place.get())

    async def endpoint(request: Request) -> Response:
        seen.append(place.get())
        return StreamingResponse(body(), background=BackgroundTask(work))

    place.set("test")
    app = hesper(endpoint, dispatch, dispatch)
    assert_quiet(await ScriptedServer(app, server).get().run())
    assert seen == ["test dispatch dispatch"] * 3


@on_servers
@over("depth", [0, 1])
async def test_s29_context_var_set_in_a_sync_endpoint_is_visible_in_a_pure_asgi_middleware(
    server: Dialect, depth: int
) -> None:
    """ContextVar set in a sync (thread) endpoint is visible afterwards in a pure ASGI middleware:
    Kludex/starlette#1258."""
    seen: list[str] = []
    threads: list[int] = []

    def endpoint(request: Request) -> Response:
        threads.append(threading.get_ident())
        place.set("thread")
        return PlainTextResponse("whole")

    app = stack(endpoint, Reading, *[pass_on] * depth)
    assert_quiet(await ScriptedServer(giving(app, seen), server).get().run())
    assert seen == ["thread"]
    assert threads != [threading.get_ident()]


# Exceptions.


class Teapot(Exception):
    """An exception that the app has a handler for."""


async def handle_teapot(request: Request, exc: Exception) -> Response:
    return PlainTextResponse("a teapot", 418)


@on_servers
@over("error", [HTTPException(403), Teapot()])
@over("depth", [0, 2])
async def test_s30_an_http_exception_or_a_handled_exception_raised_in_dispatch_is_answered(
    server: Dialect, error: Exception, depth: int
) -> None:
    """HTTPException / a handled exception raised in dispatch is answered by the app's exception
    handlers: fastapi/fastapi#4653, #1840, #2036."""

    async def dispatch(request: Request, call_next: CallNext) -> Response:
        raise error

    app = hesper(respond, *[pass_on] * depth, dispatch, handlers={Teapot: handle_teapot})
    result = await ScriptedServer(app, server).get().run()
    assert_quiet(result)
    assert result.status == (403 if isinstance(error, HTTPException) else 418)


@on_servers
@over("key", [500, Exception])
async def test_s31_the_response_of_the_500_handler_passes_through_user_middleware(
    server: Dialect, key: Any
) -> None:
    """the response of the 500/Exception handler passes through user middleware (CORS, request id
    ...): Kludex/starlette#1175, #3081, #2723."""
    error, alarm = ValueError("failed"), Alarm()

    async def dispatch(request: Request, call_next: CallNext) -> Response:
        response = await call_next(request)
        response.headers["x-request-id"] = "7"
        return response

    async def endpoint(request: Request) -> Response:
        raise error

    app = hesper(endpoint, dispatch, handlers={key: alarm})
    result = await ScriptedServer(app, server).get().run()
    assert (result.status, result.text) == (500, "error page")
    assert result.headers["x-request-id"] == "7"
    assert alarm.errors == [error]
    assert result.raised is error


@on_servers
@over("depth", [0, 1])
async def test_s32_dispatch_catches_the_endpoints_exception_and_answers_nothing_is_re_raised(
    server: Dialect, depth: int
) -> None:
    """dispatch catches the endpoint's exception and returns its own response: nothing is re-raised:
    Kludex/starlette#2893, #2911."""

    async def dispatch(request: Request, call_next: CallNext) -> Response:
        try:
            return await call_next(request)
        except ValueError:
            return PlainTextResponse("caught", 418)

    async def endpoint(request: Request) -> Response:
        raise ValueError

    app = hesper(endpoint, pass_on, dispatch, *[pass_on] * depth)
    result = await ScriptedServer(app, server).get().run()
    assert_quiet(result)
    assert (result.status, result.text) == (418, "caught")


@on_versions
@over("foreign", [False, True])
async def test_s33_dispatch_raises_after_call_next_while_the_inner_response_is_an_endless_stream(
    server: Dialect, foreign: bool
) -> None:
    """dispatch raises after call_next while the inner response is an endless stream:
    Kludex/starlette#1022."""
    witness, error = Witness(), ValueError("after call_next")
    streams: list[Any] = []

    async def dispatch(request: Request, call_next: CallNext) -> Response:
        await call_next(request)
        await settle()
        raise error

    async def endpoint(request: Request) -> Response:
        streams.append(idle(witness))
        return StreamingResponse(streams[0])

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        witness.begin()
        await send_start(send)
        try:
            while True:
                await send_body(send, b"chunk", more=True)
        finally:
            witness.close()

    middleware = Middleware(BaseHTTPMiddleware, dispatch=dispatch)
    route = Mount("/", app) if foreign else Route("/", endpoint)
    served = Hesper(routes=[route], middleware=[middleware])
    result = await ScriptedServer(witness.watching(served), server).get().run()
    assert result.raised is error
    assert result.status == 500
    assert result.complete
    if foreign:
        witness.assert_closed_once()
    else:
        assert streams[0].ag_frame is None


# Cancellation and timeouts.


async def answer_in_time(request: Request, call_next: CallNext) -> Response:
    """A dispatch function with anyio's timeout."""
    try:
        with anyio.fail_after(0.01):
            return await call_next(request)
    except TimeoutError:
        return PlainTextResponse("too late", 504)


async def answer_in_asyncios_time(request: Request, call_next: CallNext) -> Response:
    """One with asyncio's, where there is asyncio."""
    if current_asyncio_task() is None:
        return await answer_in_time(request, call_next)
    try:
        async with asyncio.timeout(0.01):
            return await call_next(request)
    except TimeoutError:
        return PlainTextResponse("too late", 504)


class AnswersInTime:
    """A pure ASGI middleware with a timeout around the app."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with anyio.fail_after(0.01):
                await self.app(scope, receive, send)
        except TimeoutError:
            await PlainTextResponse("too late", 504)(scope, receive, send)


class Slow:
    """An endpoint that takes for ever, and counts how often it was cancelled."""

    def __init__(self) -> None:
        self.cancelled = 0

    async def serve(self, request: Request) -> Response:
        """The endpoint."""
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            self.cancelled += 1
            raise
        raise AssertionError("for ever has an end")


def assert_answered_in_time(result: Result, slow: Slow) -> None:
    assert_quiet(result)
    assert (result.status, result.text) == (504, "too late")
    assert result.duration < PROMPT
    assert slow.cancelled == 1


@on_servers
@over("timeout", [answer_in_time, answer_in_asyncios_time])
@over("depth", [0, 2])
async def test_s34_timeout_around_call_next_504_goes_out_in_time_and_the_endpoint_is_cancelled(
    server: Dialect, timeout: Dispatch, depth: int
) -> None:
    """timeout around call_next: 504 goes out in time, the endpoint is cancelled, the app returns:
    fastapi/fastapi#1752, #5881."""
    slow = Slow()
    app = hesper(slow.serve, pass_on, timeout, *[pass_on] * depth)
    assert_answered_in_time(await ScriptedServer(app, server).get().run(), slow)


@on_servers
async def test_s35_timeout_outside_cancels_the_endpoint_and_one_around_call_next_spares_the_body(
    server: Dialect,
) -> None:
    """timeout outside (pure ASGI) cancels the endpoint through 2 middlewares; timeout around call_next
    spares the body: fastapi/fastapi#1752, PEP 789."""
    slow = Slow()
    app = AnswersInTime(hesper(slow.serve, pass_on, pass_on))
    result = await ScriptedServer(app, server).get().run()
    # Not ours, and after us: the 504 that is sent when the app has been cancelled.
    result.receive_cancelled = False
    assert_answered_in_time(result, slow)

    async def body() -> AsyncIterator[str]:
        for _ in range(3):
            await anyio.sleep(0.007)
            yield "slow "

    async def endpoint(request: Request) -> Response:
        return StreamingResponse(body())

    result = await ScriptedServer(hesper(endpoint, answer_in_time, pass_on), server).get().run()
    assert_quiet(result)
    assert (result.status, result.text) == (200, "slow slow slow ")


@on_servers
@over("depth", [0, 2])
async def test_s36_dispatch_calls_call_next_twice_to_retry_on_503(
    server: Dialect, depth: int
) -> None:
    """dispatch calls call_next twice (retry on 503): Kludex/starlette#3071, discussion 3050."""
    calls: list[Request] = []

    async def dispatch(request: Request, call_next: CallNext) -> Response:
        response = await call_next(request)
        return await call_next(request) if response.status_code == 503 else response

    async def endpoint(request: Request) -> Response:
        calls.append(request)
        status = 503 if len(calls) == 1 else 200
        return PlainTextResponse(f"call {len(calls)}", status)

    app = hesper(endpoint, pass_on, dispatch, *[pass_on] * depth)
    result = await ScriptedServer(app, server).get().run()
    assert_quiet(result)
    assert (result.status, result.text) == (200, "call 2")


# WebSockets.


def socket_app(endpoint: Callable[[WebSocket], Any], depth: int) -> ASGIApp:
    return Hesper(
        routes=[WebSocketRoute("/", endpoint)],
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=pass_on)] * depth,
    )


class SendingOnly:
    """A WebSocket endpoint that only sends, and notes how it learned of the leaving."""

    def __init__(self) -> None:
        self.raised: list[WebSocketDisconnect] = []

    async def serve(self, websocket: WebSocket) -> None:
        """The endpoint."""
        await websocket.accept()
        try:
            while True:
                await websocket.send_text("news")
                await anyio.sleep(0.001)
        except WebSocketDisconnect as exc:
            self.raised.append(exc)
            raise


NO_OP_SENDS = [HYPERCORN, GRANIAN, *SERVERS[2:]]


@over("server", NO_OP_SENDS)
@over("depth", [0, 1])
async def test_s37_send_only_websocket_endpoint_learns_that_the_client_left(
    server: Dialect, depth: int
) -> None:
    """send-only websocket endpoint learns that the client left (server with no-op sends), 0/1
    middleware: Kludex/starlette#1811, #1793, #1121."""
    endpoint = SendingOnly()
    script = ScriptedServer(socket_app(endpoint.serve, depth), server).websocket()
    async with script.open() as client:
        await client.wait_message(3)
        at = anyio.current_time()
        client.leave()
        assert_quiet(await client.finish())
        assert anyio.current_time() - at < PROMPT
    assert len(endpoint.raised) == 1


@over("server", [UVICORN, SPECIFICATION, SPECIFICATION.but(websocket_spec_version="2.4")])
@over("depth", [0, 1])
async def test_s38_spec_2_4_websocket_send_to_a_gone_client_raises_the_clients_close_code(
    server: Dialect, depth: int
) -> None:
    """spec 2.4 websocket: send() to a gone client raises WebSocketDisconnect with the client's close
    code: Kludex/starlette#2425, pallets/quart#281, davidbrochart/anycorn#79."""
    endpoint = SendingOnly()
    script = ScriptedServer(socket_app(endpoint.serve, depth), server).websocket()
    async with script.open() as client:
        await client.wait_message(3)
        client.close(1001, "going away")
        assert_quiet(await client.finish())
    assert [(exc.code, exc.reason) for exc in endpoint.raised] == [(1001, "going away")]


@on_servers
@over("depth", [0, 1])
async def test_s39_uncaught_websocket_disconnect_ends_the_endpoint_quietly(
    server: Dialect, depth: int
) -> None:
    """uncaught WebSocketDisconnect ends the endpoint quietly (nothing for the server to log):
    huggingface/OpenEnv#1159, mtag-dev/squall#61, plotly/dash#3790."""
    got: list[str] = []

    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        while True:
            got.append(await websocket.receive_text())

    app = socket_app(endpoint, depth)
    script = ScriptedServer(app, server).websocket(messages=["a", "b"]).leave_after_request()
    assert_quiet(await script.leave_by_closing(1000).run())
    assert got == ["a", "b"]


# Shutdown.


@on_servers
async def test_s40_lifespan_task_cancelled_by_the_server_no_shutdown_failed_with_a_traceback(
    server: Dialect,
) -> None:
    """lifespan task cancelled by the server: no lifespan.shutdown.failed with a CancelledError
    traceback: Kludex/uvicorn#2367, fastapi/fastapi#4427, #4039."""
    log: list[str] = []

    @asynccontextmanager
    async def lifespan(app: Hesper) -> AsyncIterator[None]:
        log.append("up")
        try:
            yield
        finally:
            log.append("down")

    scripted = ScriptedServer(Hesper(lifespan=lifespan), server)
    async with scripted.lifespan(ends="cancel"):
        await settle()
    result = scripted.lifespan_result
    assert result is not None
    assert result.ended == "cancelled"
    assert result.types == ["lifespan.startup.complete"]
    assert log == ["up", "down"]


WORKING = """
from contextlib import asynccontextmanager
import anyio
from hesper.applications import Hesper
from hesper.middleware import Middleware
from hesper.middleware.base import BaseHTTPMiddleware
from hesper.responses import PlainTextResponse
from hesper.routing import Mount, Route

async def work(request):
    print("working", flush=True)
    await anyio.sleep(0.6)
    return PlainTextResponse("late")

async def pass_on(request, call_next):
    return await call_next(request)

@asynccontextmanager
async def lifespan(app):
    yield
    await anyio.sleep(0)
    print("torn down", flush=True)

behind = [Middleware(BaseHTTPMiddleware, dispatch=pass_on)] * 2
routes = [Route("/0", work), Mount("/2", routes=[Route("/", work)], middleware=behind)]
app = Hesper(routes=routes, lifespan=lifespan)
"""


@pytest.mark.patience(60)
def test_s42_uvicorn_sigterm_while_a_plain_endpoint_works_the_response_is_delivered_then_it_exits(
    tmp_path: Path,
) -> None:
    """uvicorn, SIGTERM while a plain endpoint works: the response is delivered, then the server
    exits: Kludex/uvicorn#451."""
    (tmp_path / "working.py").write_text(WORKING)
    with serve("run", "working:app", cwd=tmp_path) as served:
        answers: dict[str, str] = {}

        def ask(path: str) -> None:
            answers[path] = served.request(f"GET {path} HTTP/1.1\n")

        clients = [threading.Thread(target=ask, args=(path,)) for path in ("/0", "/2/")]
        for client in clients:
            client.start()
        served.wait_for("working", count=2)
        served.process.send_signal(signal.SIGTERM)
        served.process.wait(20)
        for client in clients:
            client.join()
        served.wait_for("torn down")
        for answer in answers.values():
            assert answer.startswith("HTTP/1.1 200"), answer
            assert answer.endswith("late")
        assert "Traceback" not in served.log()
    assert set(answers) == {"/0", "/2/"}


# Policies.


@on_versions
@over("depth", [0, 1, 4])
async def test_s43_default_fate_of_a_plain_endpoint_whose_client_left_is_the_same_everywhere(
    server: Dialect, depth: int
) -> None:
    """default fate of a plain endpoint whose client left is the same with 0/1/4 middlewares and spec
    2.3/2.4: fastapi/fastapi#3766, home-assistant/core#171866."""
    gate, fate = Gate(), []

    async def endpoint(request: Request) -> Response:
        try:
            await gate.wait()
            await settle()
            fate.append("finished")
        except BaseException as exc:
            fate.append(type(exc).__name__)
            raise
        return PlainTextResponse("nobody reads it")

    async with ScriptedServer(hesper(endpoint, *[pass_on] * depth), server).get().open() as client:
        await gate.reached.wait()
        client.leave()
        await settle()
        gate.open.set()
        assert_quiet(await client.finish())
    assert fate == ["finished"]


@on_versions
@over("depth", [0, 1, 4])
async def test_s44_default_fate_of_an_idle_stream_whose_client_left_is_the_same_everywhere(
    server: Dialect, depth: int
) -> None:
    """default fate of an idle stream whose client left is the same with 0/1/4 middlewares and spec
    2.3/2.4: Kludex/uvicorn#3085, Kludex/starlette#2732."""
    witness = Witness()

    async def endpoint(request: Request) -> Response:
        return StreamingResponse(idle(witness))

    app = witness.watching(hesper(endpoint, *[pass_on] * depth))
    async with ScriptedServer(app, server).get().open() as client:
        await client.wait_message(2)
        await settle()
        at = anyio.current_time()
        client.leave()
        assert_quiet(await client.finish())
        assert anyio.current_time() - at < PROMPT
    assert witness.cancels == 1
    witness.assert_closed_once()


@on_servers
@over("leaves", [False, True])
async def test_s48_a_middleware_can_tell_an_aborted_response_from_a_completed_one(
    server: Dialect, leaves: bool
) -> None:
    """a middleware/logger can tell an aborted response from a completed one (499 in the access log):
    stephenhillier/starlette_exporter#77, apitally/apitally-py#109, #110."""
    access: list[int] = []
    alarm = Alarm()

    async def logging(request: Request, call_next: CallNext) -> Response:
        response = await call_next(request)

        async def write() -> None:
            access.append(499 if request.disconnected else response.status_code)

        response.background = BackgroundTask(write)
        return response

    async def body() -> AsyncIterator[str]:
        yield "one"
        await anyio.sleep(0.01)
        yield "two"

    async def endpoint(request: Request) -> Response:
        return StreamingResponse(body())

    app = hesper(endpoint, logging, pass_on, handlers={500: alarm})
    script = ScriptedServer(app, server).get()
    # One that leaves with the last byte in its hands has not aborted anything.
    assert_quiet(await script.leave_at_message(2 if leaves else 4).run())
    assert access == [499 if leaves else 200]
    assert alarm.errors == []


# Extension messages.


async def run_messages(
    server: Dialect, depth: int, messages: list[Message], extensions: list[str]
) -> Result:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    script = ScriptedServer(nest(app, *[pass_on] * depth), server).get(extensions=extensions)
    result = await script.run()
    assert_quiet(result)
    return result


START: Message = {"type": "http.response.start", "status": 200, "headers": []}
LAST: Message = {"type": "http.response.body", "body": b"whole", "more_body": False}
HINT: Message = {"type": "http.response.early_hint", "links": [b"</style.css>; rel=preload"]}


@on_servers
async def test_s49_debug_pathsend_and_early_hint_before_start_pass_through_2_middlewares(
    server: Dialect,
) -> None:
    """http.response.debug, .pathsend and .early_hint (before start) pass through 2 middlewares:
    Kludex/starlette#2613, emmett-framework/granian#320, Kludex/starlette#3435."""
    messages: list[Message] = [
        HINT,
        {"type": "http.response.debug", "info": {"template": "page"}},
        START,
        {"type": "http.response.pathsend", "path": __file__},
    ]
    extensions = [f"http.response.{name}" for name in ("debug", "pathsend", "early_hint")]
    result = await run_messages(server, 2, messages, extensions)
    assert result.messages == messages


@on_servers
@over("depth", [1, 2])
async def test_s50_trailers_and_the_trailers_flag_of_start_pass_through_1_middleware(
    server: Dialect, depth: int
) -> None:
    """http.response.trailers (and the 'trailers' flag of start) pass through 1 middleware:
    Kludex/starlette#3564, #3566."""
    trailers: Message = {
        "type": "http.response.trailers",
        "headers": [(b"x-checksum", b"7")],
        "more_trailers": False,
    }
    messages: list[Message] = [{**START, "trailers": True}, LAST, trailers]
    result = await run_messages(server, depth, messages, ["http.response.trailers"])
    assert result.messages == messages
    assert result.trailers == [(b"x-checksum", b"7")]


@on_servers
@over("depth", [1, 2])
async def test_s51_early_hint_after_start_and_http_response_push_pass_through_1_middleware(
    server: Dialect, depth: int
) -> None:
    """early_hint after start (the position in the spec) and http.response.push pass through 1
    middleware: asgiref extensions.rst, Kludex/starlette#3435."""
    messages = [START, HINT, LAST]
    result = await run_messages(server, depth, messages, ["http.response.early_hint"])
    assert result.messages == messages

    async def endpoint(request: Request) -> Response:
        await request.send_push_promise("/style.css")
        return PlainTextResponse("whole")

    script = ScriptedServer(hesper(endpoint, *[pass_on] * depth), server).get(
        extensions=["http.response.push"]
    )
    result = await script.run()
    assert_quiet(result)
    assert result.types == ["http.response.push", "http.response.start", "http.response.body"]
    assert result.messages[0]["path"] == "/style.css"
