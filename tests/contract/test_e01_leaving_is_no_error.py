"""E1: a client that leaves is not an error.

No ERROR log, no traceback, no 500 handler, no `ExceptionGroup`, nothing raised into the server: the
app returns. (Every test fails on an ERROR log by itself; these look at the rest.)
"""

import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware as StarletteBaseHTTPMiddleware
from starlette.requests import Request as StarletteRequest
from starlette.responses import Response as StarletteResponse
from starlette.responses import StreamingResponse as StarletteStreaming
from starlette.routing import Route as StarletteRoute

from hesper.applications import Hesper
from hesper.exceptions import ClientDisconnect
from hesper.middleware import Middleware
from hesper.middleware.base import BaseHTTPMiddleware
from hesper.requests import Request
from hesper.responses import FileResponse, PlainTextResponse, Response, StreamingResponse
from hesper.routing import Mount, Route
from hesper.testing import Dialect, ScriptedServer
from hesper.types import ASGIApp, Message, Receive, Scope, Send

from .apps import (
    METHODS,
    CallNext,
    Recorder,
    assert_quiet,
    hesper,
    listen,
    nest,
    over,
    pass_on,
    send_body,
    send_start,
)

Endpoint = Callable[[Request], Any]


# Endpoints, by what they are doing when the client leaves.


async def answers_late(request: Request) -> Response:
    await request.wait_disconnected()
    return PlainTextResponse("late")


async def answers_with_a_stream_late(request: Request) -> Response:
    await request.wait_disconnected()
    return StreamingResponse(endless())


async def answers_with_a_file_late(request: Request) -> Response:
    await request.wait_disconnected()
    return FileResponse(__file__)


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield b"x" * 100
        await anyio.sleep(0.001)


async def idle() -> AsyncIterator[bytes]:
    yield b"x"
    await anyio.sleep_forever()


async def streams(request: Request) -> Response:
    return StreamingResponse(endless())


async def idles_in_a_stream(request: Request) -> Response:
    return StreamingResponse(idle())


async def answers_at_once(request: Request) -> Response:
    return PlainTextResponse("x" * 100)


async def sends_a_file(request: Request) -> Response:
    return FileResponse(__file__)


async def reads_body(request: Request) -> Response:
    return PlainTextResponse(str(len(await request.body())))


async def reads_stream(request: Request) -> Response:
    async for _ in request.stream():
        pass
    return PlainTextResponse("read")


async def reads_json(request: Request) -> Response:
    await request.json()
    return PlainTextResponse("read")


LATE = [answers_late, answers_with_a_stream_late, answers_with_a_file_late]
MIDWAY = [streams, idles_in_a_stream]
AT_ONCE = [answers_at_once, sends_a_file, streams, idles_in_a_stream]
READING = [reads_body, reads_stream, reads_json]


class Handlers:
    """Exception handlers that write down what they were given."""

    def __init__(self) -> None:
        self.called_with: list[Exception] = []

    async def handle(self, request: Request, exc: Exception) -> Response:
        self.called_with.append(exc)
        return PlainTextResponse("handled", status_code=500)


def name(endpoint: Any) -> str:
    return str(endpoint.__name__)


depths = over("depth", [0, 1, 4])


def silent(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> bool:
    """Whether nothing was logged by us, at any level that is shown, and nothing printed."""
    logged = [record for record in caplog.records if record.levelno >= logging.WARNING]
    return not logged and capfd.readouterr() == ("", "")


# "A client that leaves is not an error: the app returns."


@depths
@over("endpoint", LATE)
async def test_e01_the_app_returns_when_the_client_leaves_before_the_response(
    endpoint: Endpoint, depth: int, dialect: Dialect
) -> None:
    """A client that leaves is not an error: the app returns."""
    server = ScriptedServer(hesper(endpoint, *[pass_on] * depth), dialect)
    async with server.get().open() as client:
        await client.wait_receiving()
        client.leave()
        assert_quiet(await client.finish())


@depths
@over("endpoint", AT_ONCE)
@over("message", [0, 1, 2])
async def test_e01_the_app_returns_when_the_client_leaves_at_a_message(
    endpoint: Endpoint, message: int, depth: int, dialect: Dialect
) -> None:
    """A client that leaves is not an error: the app returns."""
    server = ScriptedServer(hesper(endpoint, *[pass_on] * depth), dialect)
    assert_quiet(await server.get().leave_at_message(message).run())


@depths
@over("endpoint", AT_ONCE)
async def test_e01_the_app_returns_when_the_client_leaves_without_having_read(
    endpoint: Endpoint, depth: int, dialect: Dialect
) -> None:
    """A client that leaves is not an error: the app returns."""
    server = ScriptedServer(hesper(endpoint, *[pass_on] * depth), dialect)
    async with server.get().stall_at_message(1).open() as client:
        await client.wait_message(1)
        client.leave()
        result = await client.finish()
    assert_quiet(result)
    assert not result.server_cancelled


@depths
@over("endpoint", READING)
async def test_e01_the_app_returns_when_an_upload_breaks_off(
    endpoint: Endpoint, depth: int, dialect: Dialect
) -> None:
    """A client that leaves is not an error: the app returns."""
    server = ScriptedServer(hesper(endpoint, *[pass_on] * depth), dialect)
    result = await server.post(body=[b"{", b'"a'], unfinished=True).leave_after_request().run()
    assert_quiet(result)
    assert result.sent == []


@over("message", [0, 1, 2])
async def test_e01_the_app_returns_when_the_endpoint_runs_in_a_thread(
    message: int, dialect: Dialect
) -> None:
    """A client that leaves is not an error: the app returns."""

    def endpoint(request: Request) -> Response:
        return PlainTextResponse("done")

    server = ScriptedServer(hesper(endpoint, pass_on), dialect)
    assert_quiet(await server.get().leave_at_message(message).run())


# "No ERROR log, no traceback"


@over("depth", [0, 4])
@over("endpoint", [*LATE, *MIDWAY, *READING])
async def test_e01_nothing_is_logged_or_printed(
    endpoint: Endpoint,
    depth: int,
    dialect: Dialect,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """No ERROR log, no traceback."""
    server = ScriptedServer(hesper(endpoint, *[pass_on] * depth), dialect)
    async with server.post(body=[b"{"], unfinished=endpoint in READING).open() as client:
        if not (dialect.buffers_request and endpoint in READING):
            await (client.wait_message(2) if endpoint in MIDWAY else client.wait_receiving())
        client.leave()
        assert_quiet(await client.finish())
    assert silent(caplog, capfd)


# "no 500 handler"


@over("depth", [0, 4])
@over("key", [500, Exception])
@over("endpoint", [*LATE, *MIDWAY, *READING])
async def test_e01_no_500_handler_is_called(
    endpoint: Endpoint, key: Any, depth: int, dialect: Dialect
) -> None:
    """No 500 handler."""
    handlers = Handlers()
    app = hesper(endpoint, *[pass_on] * depth, handlers={key: handlers.handle})
    server = ScriptedServer(app, dialect)
    async with server.post(body=[b"{"], unfinished=endpoint in READING).open() as client:
        if not (dialect.buffers_request and endpoint in READING):
            await (client.wait_message(2) if endpoint in MIDWAY else client.wait_receiving())
        client.leave()
        assert_quiet(await client.finish())
    assert handlers.called_with == []


async def test_e01_no_500_handler_is_called_for_what_a_dispatch_raised_from_it(
    dialect: Dialect,
) -> None:
    """No 500 handler."""
    handlers = Handlers()

    async def translate(request: Request, call_next: CallNext) -> Response:
        try:
            return await call_next(request)
        except ClientDisconnect as exc:
            raise RuntimeError("the upload failed") from exc

    app = hesper(reads_body, pass_on, translate, handlers={500: handlers.handle})
    result = await ScriptedServer(app, dialect).post(unfinished=True).leave_after_request().run()
    assert_quiet(result)
    assert handlers.called_with == []


# "no `ExceptionGroup`"


class Witness:
    """A pure ASGI middleware that writes down what comes out of the app below it."""

    def __init__(self, app: ASGIApp, raised: list[BaseException]) -> None:
        self.app = app
        self.raised = raised

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.app(scope, receive, send)
        except BaseException as exc:
            self.raised.append(exc)
            raise


@over("depth", [0, 4])
@over("endpoint", [*LATE, *MIDWAY, *READING])
async def test_e01_no_exception_group_and_nothing_else_reaches_a_layer_above(
    endpoint: Endpoint, depth: int, dialect: Dialect
) -> None:
    """No `ExceptionGroup`: nothing but a `ClientDisconnect` of a reader is seen by any layer."""
    recorders = [Recorder() for _ in range(depth)]
    raised: list[BaseException] = []
    app = Witness(hesper(endpoint, *recorders), raised)
    server = ScriptedServer(app, dialect)
    async with server.post(body=[b"{"], unfinished=endpoint in READING).open() as client:
        if not (dialect.buffers_request and endpoint in READING):
            await (client.wait_message(2) if endpoint in MIDWAY else client.wait_receiving())
        client.leave()
        assert_quiet(await client.finish())
    assert raised == []
    for recorder in recorders:
        assert {type(exc) for exc in recorder.raised} <= {ClientDisconnect}


# "nothing raised into the server": foreign apps inside, and between.


async def raw_listening(scope: Scope, receive: Receive, send: Send) -> None:
    """Streams, and listens in a task group as it should."""
    await send_start(send)
    async with anyio.create_task_group() as group:

        async def stop() -> None:
            await listen(receive)
            group.cancel_scope.cancel()

        group.start_soon(stop)
        while True:
            await send_body(send, b"x", more=True)
            await anyio.lowlevel.checkpoint()


async def raw_sending(scope: Scope, receive: Receive, send: Send) -> None:
    """Streams, and knows of nothing but its `send`."""
    await send_start(send)
    while True:
        await send_body(send, b"x", more=True)
        await anyio.lowlevel.checkpoint()


async def raw_raising_its_own(scope: Scope, receive: Receive, send: Send) -> None:
    """Streams, and makes its own error of the server's."""
    await send_start(send)
    try:
        while True:
            await send_body(send, b"x", more=True)
            await anyio.lowlevel.checkpoint()
    except OSError as exc:
        raise RuntimeError("could not send") from exc


async def raw_group_raising(scope: Scope, receive: Receive, send: Send) -> None:
    """Streams in a task group, which makes a group of the server's error."""
    async with anyio.create_task_group() as group:
        group.start_soon(raw_sending, scope, receive, send)


async def raw_silent(scope: Scope, receive: Receive, send: Send) -> None:
    """Sends nothing and returns when the client has left, as the specification allows."""
    await listen(receive)


def starlette_streaming() -> ASGIApp:
    async def endpoint(request: StarletteRequest) -> StarletteResponse:
        return StarletteStreaming(endless())

    return Starlette(routes=[StarletteRoute("/", endpoint)])


def starlette_reading() -> ASGIApp:
    async def endpoint(request: StarletteRequest) -> StarletteResponse:
        return StarletteResponse(str(len(await request.body())))

    return Starlette(routes=[StarletteRoute("/", endpoint, methods=METHODS)])


FOREIGN: dict[str, ASGIApp] = {
    "listening": raw_listening,
    "sending": raw_sending,
    "raising its own": raw_raising_its_own,
    "group raising": raw_group_raising,
    "silent": raw_silent,
    "starlette streaming": starlette_streaming(),
    "starlette reading": starlette_reading(),
}


@over("depth", [1, 4])
@over("inner", FOREIGN)
async def test_e01_nothing_is_raised_into_the_server_by_a_foreign_app_below_middlewares(
    inner: str, depth: int, dialect: Dialect
) -> None:
    """Nothing raised into the server: the app returns."""
    server = ScriptedServer(nest(FOREIGN[inner], *[pass_on] * depth), dialect)
    script = server.post(unfinished=inner == "starlette reading")
    waits = inner in ("silent", "starlette reading")
    result = await (script.leave_after(0.01) if waits else script.leave_at_message(3)).run()
    assert_quiet(result)
    assert not result.server_cancelled


@over("inner", FOREIGN)
async def test_e01_nothing_is_raised_into_the_server_by_a_mounted_foreign_app(
    inner: str, dialect: Dialect
) -> None:
    """Nothing raised into the server: the app returns."""
    server = ScriptedServer(Hesper(routes=[Mount("/", app=FOREIGN[inner])]), dialect)
    script = server.post(unfinished=inner == "starlette reading")
    waits = inner in ("silent", "starlette reading")
    result = await (script.leave_after(0.01) if waits else script.leave_at_message(3)).run()
    assert_quiet(result)


class Pure:
    """A pure ASGI middleware that passes everything on, through functions of its own."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def own_receive() -> Message:
            return await receive()

        async def own_send(message: Message) -> None:
            await send(message)

        await self.app(scope, own_receive, own_send)


async def starlette_pass_on(request: Any, call_next: Any) -> Any:
    return await call_next(request)


BETWEEN: dict[str, Middleware] = {
    "pure": Middleware(Pure),
    "starlette": Middleware(StarletteBaseHTTPMiddleware, dispatch=starlette_pass_on),
}


@over("between", BETWEEN)
@over("endpoint", [answers_late, idles_in_a_stream, reads_body])
async def test_e01_nothing_is_raised_into_the_server_with_a_foreign_middleware_in_the_stack(
    endpoint: Endpoint, between: str, dialect: Dialect
) -> None:
    """Nothing raised into the server: the app returns."""
    ours = Middleware(BaseHTTPMiddleware, dispatch=pass_on)
    app = Hesper(
        routes=[Route("/", endpoint, methods=METHODS)], middleware=[ours, BETWEEN[between], ours]
    )
    server = ScriptedServer(app, dialect)
    result = await server.post(unfinished=endpoint is reads_body).leave_after(0.01).run()
    assert_quiet(result)
    assert not result.server_cancelled
