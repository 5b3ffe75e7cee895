"""How a request ended is told once, in one word, by ``on_ending`` and in the span alike."""

from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from hesper.applications import Hesper
from hesper.background import BackgroundTask
from hesper.endings import Ending, RequestEnded
from hesper.exceptions import HTTPException
from hesper.middleware import Middleware
from hesper.middleware.base import BaseHTTPMiddleware
from hesper.middleware.opentelemetry import OpenTelemetryMiddleware
from hesper.requests import Request
from hesper.responses import PlainTextResponse, Response, StreamingResponse
from hesper.routing import Mount, Route, WebSocketRoute
from hesper.sse import EventSourceResponse
from hesper.testing import Dialect, ScriptedServer
from hesper.testing.dialects import SPECIFICATION, UVICORN
from hesper.types import ASGIApp, Receive, Scope, Send
from hesper.websockets import WebSocket
from tests.conftest import ExpectedErrors, in_virtual_time
from tests.contract.apps import METHODS, pass_on, settle


class Told:
    """Both who tell: a hook, and spans."""

    def __init__(self) -> None:
        self.events: list[RequestEnded] = []
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    def app(self, endpoint: Any, *middleware: Any, socket: bool = False, **options: Any) -> Hesper:
        route: Any
        if socket:
            route = WebSocketRoute("/items/{id}", endpoint, **options)
        else:
            route = Route("/items/{id}", endpoint, methods=METHODS, **options)
        span = Middleware(OpenTelemetryMiddleware, tracer_provider=self.provider)
        return Hesper(
            routes=[route], middleware=[span, *middleware], on_ending=[self.events.append]
        )

    @property
    def event(self) -> RequestEnded:
        """The one event, of which the one span says the same."""
        (event,), (span,) = self.events, self.exporter.get_finished_spans()
        assert dict(span.attributes or {})["hesper.ending"] == event.ending
        return event

    def forget(self) -> None:
        self.events.clear()
        self.exporter.clear()


@pytest.fixture
def told() -> Any:
    told = Told()
    yield told
    told.provider.shutdown()


async def page(request: Request) -> Response:
    return PlainTextResponse("page")


async def chunks() -> AsyncIterator[bytes]:
    yield b"first"
    await anyio.sleep(0)
    yield b"second"


async def stream(request: Request) -> Response:
    return StreamingResponse(chunks())


async def endless(request: Request) -> Response:
    async def ticks() -> AsyncIterator[bytes]:
        while True:
            yield b"tick"
            await anyio.sleep(0.01)

    return StreamingResponse(ticks())


async def waiting(request: Request) -> Response:
    await anyio.sleep_forever()
    raise AssertionError


async def reading(request: Request) -> Response:
    return PlainTextResponse(await request.body())


async def failing(request: Request) -> Response:
    await anyio.sleep(0)
    raise LookupError("of the app")


async def breaking(request: Request) -> Response:
    async def broken() -> AsyncIterator[bytes]:
        yield b"half"
        raise LookupError("of the app")

    return StreamingResponse(broken())


async def refusing(request: Request) -> Response:
    raise HTTPException(403)


# -- requests --------------------------------------------------------------------------------------


@pytest.mark.parametrize("endpoint", [page, stream, refusing])
async def test_completed(dialect: Dialect, told: Told, endpoint: Any) -> None:
    await ScriptedServer(told.app(endpoint), dialect).get("/items/7").run()
    event = told.event
    assert (event.ending, event.kind, event.method) == (Ending.COMPLETED, "http", "GET")
    assert (event.path, event.route) == ("/items/7", "/items/{id}")
    assert event.status == (403 if endpoint is refusing else 200)
    assert 0 <= event.seconds < 10


async def test_completed_without_a_route(dialect: Dialect, told: Told) -> None:
    await ScriptedServer(told.app(page), dialect).get("/none").run()
    assert (told.event.ending, told.event.status) == (Ending.COMPLETED, 404)
    assert told.event.route is None


async def test_left_before_response(dialect: Dialect, told: Told) -> None:
    async def endpoint(request: Request) -> Response:
        await request.wait_disconnected()
        return PlainTextResponse("to nobody")

    for policy, work in (("continue", endpoint), ("cancel", waiting)):
        app = told.app(work, on_disconnect=policy)
        async with ScriptedServer(app, dialect).get("/items/7").open() as client:
            await settle()
            client.leave()
            await client.finish()
        assert (told.event.ending, told.event.status) == (Ending.LEFT_BEFORE_RESPONSE, None)
        told.forget()


async def test_left_in_response(dialect: Dialect, told: Told) -> None:
    for app in (told.app(endless), told.app(endless, pass_on)):
        await ScriptedServer(app, dialect).get("/items/7").leave_at_message(3).run()
        assert (told.event.ending, told.event.status) == (Ending.LEFT_IN_RESPONSE, 200)
        told.forget()


async def test_left_in_upload(dialect: Dialect, told: Told) -> None:
    script = ScriptedServer(told.app(reading), dialect).post(
        "/items/7", body=[b"half"], unfinished=True
    )
    result = await script.leave_after_request(1).run()
    if result.ended != "not called":
        assert (told.event.ending, told.event.status) == (Ending.LEFT_IN_UPLOAD, None)


async def test_cancelled(dialect: Dialect, told: Told) -> None:
    for endpoint, status in ((waiting, None), (endless, 200)):
        app = told.app(endpoint)
        async with ScriptedServer(app, dialect).get("/items/7").open() as client:
            await settle()
            client.cancel_app()
            await client.finish()
        assert (told.event.ending, told.event.status) == (Ending.CANCELLED, status)
        told.forget()


@in_virtual_time
async def test_timed_out(dialect: Dialect, told: Told) -> None:
    for endpoint, status in ((waiting, 504), (endless, 200)):
        await ScriptedServer(told.app(endpoint, timeout=1), dialect).get("/items/7").run()
        assert (told.event.ending, told.event.status) == (Ending.TIMED_OUT, status)
        told.forget()


@in_virtual_time
async def test_shut_down(dialect: Dialect, told: Told) -> None:
    for endpoint, status in ((waiting, 503), (endless, 200)):
        app = told.app(endpoint)
        server = ScriptedServer(app, dialect)
        async with server.lifespan(), server.get("/items/7").open() as client:
            await settle()
            app.begin_shutdown(1)
            await client.finish()
        assert (told.event.ending, told.event.status) == (Ending.SHUT_DOWN, status)
        told.forget()


@in_virtual_time
async def test_a_stream_that_a_shutdown_made_whole_is_completed(
    dialect: Dialect, told: Told
) -> None:
    async def events() -> AsyncIterator[str]:
        yield "one"
        await anyio.sleep_forever()

    async def endpoint(request: Request) -> Response:
        return EventSourceResponse(events())

    app = told.app(endpoint)
    server = ScriptedServer(app, dialect)
    async with server.lifespan(), server.get("/items/7").open() as client:
        await settle()
        app.begin_shutdown()
        await client.finish()
    assert told.event.ending is Ending.COMPLETED


@pytest.mark.parametrize("endpoint", [failing, breaking])
async def test_failed(
    dialect: Dialect, told: Told, endpoint: Any, expected_errors: ExpectedErrors
) -> None:
    await ScriptedServer(told.app(endpoint), dialect).get("/items/7").run()
    status = 500 if endpoint is failing else 200
    assert (told.event.ending, told.event.status) == (Ending.FAILED, status)
    expected_errors.clear()


async def test_failed_though_the_client_left(
    dialect: Dialect, told: Told, expected_errors: ExpectedErrors
) -> None:
    async def endpoint(request: Request) -> Response:
        await request.wait_disconnected()
        raise LookupError("of the app")

    async with ScriptedServer(told.app(endpoint), dialect).get("/items/7").open() as client:
        await settle()
        client.leave()
        await client.finish()
    assert told.event.ending is Ending.FAILED
    expected_errors.clear()


async def test_an_app_that_does_not_end_its_response_has_failed(
    dialect: Dialect, told: Told
) -> None:
    class App:
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})

    await ScriptedServer(told.app(App()), dialect).get("/items/7").run()
    assert (told.event.ending, told.event.status) == (Ending.FAILED, 200)


async def test_background_work_that_fails_is_told_where_it_is_known(
    dialect: Dialect, told: Told, expected_errors: ExpectedErrors
) -> None:
    async def background() -> None:
        await anyio.sleep(0)
        raise LookupError("of the app")

    async def endpoint(request: Request) -> Response:
        return PlainTextResponse("x", background=BackgroundTask(background))

    await ScriptedServer(told.app(endpoint), dialect).get("/items/7").run()
    (event,) = told.events  # a span ends with the last byte
    assert (event.ending, event.status) == (Ending.FAILED, 200)
    expected_errors.clear()


async def test_what_a_client_does_after_a_whole_response_is_its_own_affair(
    dialect: Dialect, told: Told
) -> None:
    reached = anyio.Event()

    async def background() -> None:
        reached.set()
        await settle()

    async def endpoint(request: Request) -> Response:
        await anyio.sleep(0)
        return PlainTextResponse("x", background=BackgroundTask(background))

    async with ScriptedServer(told.app(endpoint), dialect).get("/items/7").open() as client:
        await reached.wait()
        client.leave()
        await client.finish()
    assert told.event.ending is Ending.COMPLETED


async def test_messages_of_other_kinds_are_whole_too(told: Told) -> None:
    async def play(messages: list[dict[str, Any]], extensions: list[str]) -> Ending:
        class App:
            async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
                for message in messages:
                    await send(message)

        told.forget()
        server = ScriptedServer(told.app(App()), SPECIFICATION)
        await server.get("/items/7", extensions=extensions).run()
        return told.event.ending

    start = {"type": "http.response.start", "status": 200, "headers": []}
    body = {"type": "http.response.body", "body": b"x"}
    path = {"type": "http.response.pathsend", "path": __file__}
    trailers = {"type": "http.response.trailers", "headers": []}
    announced = {**start, "trailers": True}
    kinds = ["http.response.pathsend", "http.response.trailers"]
    assert await play([start, path], kinds) is Ending.COMPLETED
    assert await play([announced, body, trailers], kinds) is Ending.COMPLETED
    assert await play([announced, path, trailers], kinds) is Ending.COMPLETED
    assert await play([announced, body], kinds) is Ending.FAILED
    assert (
        await play([announced, body, {**trailers, "more_trailers": True}], kinds) is Ending.FAILED
    )


# -- sockets ---------------------------------------------------------------------------------------


async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(text)


async def hold(websocket: WebSocket) -> None:
    await websocket.accept()
    await anyio.sleep_forever()


async def test_a_websocket_that_either_side_closes_is_completed(
    dialect: Dialect, told: Told
) -> None:
    async def closing(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close(3000)

    server = ScriptedServer(told.app(closing, socket=True), dialect)
    await server.websocket("/items/7").run()
    event = told.event
    assert (event.ending, event.kind, event.method) == (Ending.COMPLETED, "websocket", "")
    assert (event.path, event.route, event.status) == ("/items/7", "/items/{id}", 101)
    if dialect.websocket_close_code is None:  # else even a proper close comes as a loss
        told.forget()
        server = ScriptedServer(told.app(echo, socket=True), dialect)
        await server.websocket("/items/7").leave_by_closing(1001).leave_at_message(1).run()
        assert told.event.ending is Ending.COMPLETED


async def test_a_websocket_that_is_refused_is_completed(dialect: Dialect, told: Told) -> None:
    async def refusing(websocket: WebSocket) -> None:
        raise HTTPException(401)

    server = ScriptedServer(told.app(refusing, socket=True), dialect)
    await server.websocket("/items/7").run()
    denial = "websocket.http.response" in dialect.websocket_extensions
    assert (told.event.ending, told.event.status) == (Ending.COMPLETED, 401 if denial else 403)


async def test_a_websocket_whose_client_is_lost(dialect: Dialect, told: Told) -> None:
    server = ScriptedServer(told.app(echo, socket=True), dialect)
    await server.websocket("/items/7").leave_at_message(1).run()
    assert (told.event.ending, told.event.status) == (Ending.LEFT_IN_RESPONSE, 101)


async def test_a_websocket_whose_client_is_lost_before_the_handshake(
    dialect: Dialect, told: Told
) -> None:
    if not dialect.websocket_leave_before_accept_seen:
        return

    async def slow(websocket: WebSocket) -> None:
        assert (await websocket.receive())["type"] == "websocket.connect"
        await websocket.wait_disconnected()
        await websocket.accept()

    server = ScriptedServer(told.app(slow, socket=True), dialect)
    async with server.websocket("/items/7").open() as client:
        await settle()
        client.leave()
        await client.finish()
    assert (told.event.ending, told.event.status) == (Ending.LEFT_BEFORE_RESPONSE, None)


async def test_a_cancelled_websocket(dialect: Dialect, told: Told) -> None:
    server = ScriptedServer(told.app(hold, socket=True), dialect)
    async with server.websocket("/items/7").open() as client:
        await settle()
        client.cancel_app()
        await client.finish()
    assert told.event.ending is Ending.CANCELLED


@in_virtual_time
async def test_a_websocket_that_took_too_long(dialect: Dialect, told: Told) -> None:
    server = ScriptedServer(told.app(hold, socket=True, timeout=1), dialect)
    await server.websocket("/items/7").run()
    assert (told.event.ending, told.event.status) == (Ending.TIMED_OUT, 101)


@in_virtual_time
@pytest.mark.parametrize("endpoint", [echo, hold])
async def test_a_websocket_that_a_shutdown_ends(
    dialect: Dialect, told: Told, endpoint: Any
) -> None:
    app = told.app(endpoint, socket=True)
    server = ScriptedServer(app, dialect)
    async with server.lifespan(), server.websocket("/items/7").open() as client:
        await settle()
        app.begin_shutdown(1)
        await client.finish()
    assert told.event.ending is Ending.SHUT_DOWN


async def test_a_websocket_that_failed(
    dialect: Dialect, told: Told, expected_errors: ExpectedErrors
) -> None:
    async def broken(websocket: WebSocket) -> None:
        await websocket.accept()
        raise LookupError("of the app")

    server = ScriptedServer(told.app(broken, socket=True), dialect)
    await server.websocket("/items/7").run()
    assert told.event.ending is Ending.FAILED
    expected_errors.clear()


# -- hooks -----------------------------------------------------------------------------------------


async def test_a_hook_that_fails_disturbs_nobody(expected_errors: ExpectedErrors) -> None:
    events: list[RequestEnded] = []

    def broken(event: RequestEnded) -> None:
        raise LookupError("of the hook")

    app = Hesper(routes=[Route("/", page)], on_ending=[broken, events.append])
    result = await ScriptedServer(app).get("/").run()
    assert (result.body, result.raised) == (b"page", None)
    assert [event.ending for event in events] == [Ending.COMPLETED]
    (message,) = expected_errors.take()
    assert message.startswith("The on_ending hook <function")


async def test_a_request_is_told_once_by_the_outermost_app(told: Told) -> None:
    inner = Hesper(routes=[Route("/page", page)])
    app = Hesper(routes=[Mount("/inner", inner)], on_ending=[told.events.append])
    await ScriptedServer(app).get("/inner/page").run()
    (event,) = told.events
    assert (event.path, event.route) == ("/inner/page", "/inner/page")


@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_an_app_in_a_middleware_tells_too(told: Told, kind: str) -> None:
    class Sub(Hesper):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await super().__call__(scope, receive, send)

    for cls in (Hesper, Sub):
        routes = [Route("/", page), WebSocketRoute("/", echo)]
        inner = cls(routes=routes, on_ending=[told.events.append])
        app: ASGIApp = BaseHTTPMiddleware(inner, dispatch=pass_on)
        server = ScriptedServer(app, UVICORN)
        async with server.lifespan():
            if kind == "http":
                assert (await server.get("/").run()).body == b"page"
            else:
                await server.websocket("/").leave_at_message(1).run()
        assert [event.kind for event in told.events] == [kind]
        told.forget()
