"""Hesper around Starlette apps, and inside of them."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTasks
from starlette.middleware import Middleware as StarletteMiddleware
from starlette.middleware.base import BaseHTTPMiddleware as StarletteBase
from starlette.requests import Request as StarletteRequest
from starlette.responses import PlainTextResponse as StarlettePlain
from starlette.responses import Response as StarletteResponse
from starlette.responses import StreamingResponse as StarletteStream
from starlette.routing import Mount as StarletteMount
from starlette.routing import Route as StarletteRoute
from starlette.routing import WebSocketRoute as StarletteWebSocketRoute
from starlette.websockets import WebSocket as StarletteWebSocket

from hesper.applications import Hesper
from hesper.exceptions import HTTPException
from hesper.middleware import Middleware
from hesper.requests import Request
from hesper.responses import FileResponse, JSONResponse, PlainTextResponse, StreamingResponse
from hesper.routing import Mount, Route, Router, WebSocketRoute
from hesper.testing import Dialect, ScriptedServer
from hesper.types import ASGIApp, Receive, Scope, Send
from hesper.websockets import WebSocket

from .shared import (
    CLASSES,
    Around,
    Parts,
    Ticks,
    arounds,
    as_class,
    assert_quiet,
    bridges,
    check_marks,
    dialects,
    inner,
    mark,
    outer,
)

__all__ = ["bridges"]


class Theirs:
    """A Starlette app with one endpoint for each thing that may go wrong."""

    def __init__(self, **options: Any) -> None:
        self.log: list[str] = []
        self.ticks = Ticks()
        self.app = Starlette(
            routes=[
                StarletteRoute("/plain", self.plain),
                StarletteRoute("/echo", self.echo, methods=["POST"]),
                StarletteRoute("/stream", self.stream),
                StarletteRoute("/endless", self.endless),
                StarletteRoute("/background", self.background),
                StarletteRoute("/broken", self.broken),
            ],
            **options,
        )

    async def plain(self, request: StarletteRequest) -> StarletteResponse:
        inner.set("from inside")
        return StarlettePlain(f"{outer.get()}, {request.state.left}")

    async def echo(self, request: StarletteRequest) -> StarletteResponse:
        inner.set("from inside")
        return StarletteResponse(await request.body())

    async def stream(self, request: StarletteRequest) -> StarletteResponse:
        inner.set("from inside")
        return StarletteStream(Parts())

    async def endless(self, request: StarletteRequest) -> StarletteResponse:
        return StarletteStream(self.ticks)

    async def background(self, request: StarletteRequest) -> StarletteResponse:
        inner.set("from inside")
        tasks = BackgroundTasks()
        tasks.add_task(self.work, "async")
        tasks.add_task(self.sync_work, "sync")
        return StarlettePlain("queued", background=tasks)

    async def work(self, name: str) -> None:
        self.log.append(f"{name} {inner.get()}")

    def sync_work(self, name: str) -> None:
        self.log.append(f"{name} {inner.get()}")

    async def broken(self, request: StarletteRequest) -> StarletteResponse:
        raise LookupError("theirs")


# Ours around theirs.


@arounds
@dialects
async def test_responses_and_context_variables_are_right(around: Around, dialect: Dialect) -> None:
    server = ScriptedServer(around(Theirs().app), dialect)
    result = await server.get("/plain").run()
    assert_quiet(result)
    check_marks(result)
    assert result.text == "from outside, by a middleware"
    result = await server.get("/stream").run()
    assert_quiet(result)
    check_marks(result)
    assert result.text == "".join(f"{number} from outside;" for number in range(3))
    for headers in ({}, {"x-read": "1"}):
        result = await server.post("/echo", body=[b"a" * 10, b"b" * 10], headers=headers).run()
        assert_quiet(result)
        check_marks(result)
        assert result.body == b"a" * 10 + b"b" * 10
    assert (await server.get("/nowhere").run()).status == 404


@arounds
async def test_background_tasks_run_after_the_last_byte(around: Around) -> None:
    theirs = Theirs()

    async def watched(scope: Scope, receive: Receive, send: Send) -> None:
        async def noting(message: Any) -> None:
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                theirs.log.append("last byte")

        await around(theirs.app)(scope, receive, noting)

    result = await ScriptedServer(watched).get("/background").run()
    assert_quiet(result)
    check_marks(result)
    assert theirs.log == ["last byte", "async from inside", "sync from inside"]


@arounds
async def test_five_middlewares_make_one_bridge(around: Around, bridges: Callable[[], int]) -> None:
    server = ScriptedServer(around(Theirs().app))
    for path in ("/plain", "/stream", "/background"):
        await server.get(path).run()
        assert bridges() == 1


async def test_in_their_own_list_each_makes_its_own_app(bridges: Callable[[], int]) -> None:
    middleware: list[Any] = [StarletteMiddleware(cls) for cls in CLASSES]
    server = ScriptedServer(Theirs(middleware=middleware).app)
    result = await server.get("/plain").run()
    assert_quiet(result)
    check_marks(result)
    # Adjacent ones fuse: their list calls cls(app) from the inside out.
    assert bridges() == 1


@arounds
async def test_an_error_of_theirs_arrives_as_the_same_object(around: Around) -> None:
    result = await ScriptedServer(around(Theirs().app)).get("/broken").run()
    assert isinstance(result.raised, LookupError)
    assert (result.status, result.text) == (500, "Internal Server Error")


@arounds
@dialects
async def test_a_client_that_is_gone_on_arrival_is_quiet(around: Around, dialect: Dialect) -> None:
    server = ScriptedServer(around(Theirs().app), dialect)
    for path in ("/plain", "/stream", "/background"):
        assert_quiet(await server.get(path).leave_at_message(0).run())


@arounds
@dialects
async def test_a_client_that_leaves_a_stream_ends_it_quietly(
    around: Around, dialect: Dialect
) -> None:
    theirs = Theirs()
    result = (
        await ScriptedServer(around(theirs.app), dialect).get("/endless").leave_at_message(4).run()
    )
    assert_quiet(result)
    assert 3 <= theirs.ticks.count <= 6
    assert not result.complete


@arounds
@dialects
async def test_a_client_that_leaves_in_its_upload_is_quiet(
    around: Around, dialect: Dialect
) -> None:
    server = ScriptedServer(around(Theirs().app), dialect)
    for headers in ({}, {"x-read": "1"}):
        script = server.post("/echo", body=[b"a", b"b", b"c"], headers=headers)
        result = await script.leave_after_request(1).run()
        assert_quiet(result)
        assert result.sent == []


# Ours inside of theirs.


async def show(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"{request.scope['root_path']} {request.path_params}")


async def refuse(request: Request) -> PlainTextResponse:
    raise HTTPException(418, "ours")


async def greet(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text("ours")
    await websocket.close(3000)


def marked(app: ASGIApp) -> ASGIApp:
    return as_class(mark)(app)


ROUTES = [
    Route("/show/{x:int}", show),
    Route("/refuse", refuse),
    WebSocketRoute("/ws", greet),
]

PARTS: list[ASGIApp] = [
    Router(ROUTES),
    Hesper(routes=ROUTES),
    Mount("/", routes=ROUTES),
    marked(Router(ROUTES)),
    marked(Hesper(routes=ROUTES)),
]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: type(part).__name__)
async def test_parts_of_ours_stand_below_their_mount(part: ASGIApp) -> None:
    theirs = Starlette(routes=[StarletteMount("/ours", app=part)])
    server = ScriptedServer(theirs)
    result = await server.get("/ours/show/7").run()
    assert (result.status, result.text) == (200, "/ours {'x': 7}")
    assert_quiet(result)
    for path, method, status, text in (
        ("/ours/refuse", "GET", 418, "ours"),
        ("/ours/nowhere", "GET", 404, "Not Found"),
        ("/ours/show/7", "POST", 405, "Method Not Allowed"),
    ):
        result = await server.request(method, path).run()
        assert (result.status, result.text) == (status, text)
        assert_quiet(result)
    socket = await server.websocket("/ours/ws").run()
    assert (socket.frames, socket.close_code, socket.raised) == (["ours"], 3000, None)


async def test_a_route_of_ours_stands_in_their_routes() -> None:
    theirs = Starlette(
        routes=[
            StarletteRoute("/a/{y}", Route("/a/{x}", show)),
            StarletteMount("/m", app=Route("/b/{x}", show)),
        ]
    )
    server = ScriptedServer(theirs)
    assert (await server.get("/a/1").run()).text == " {'y': '1', 'x': '1'}"
    assert (await server.get("/m/b/1").run()).text == "/m {'x': '1'}"
    refused = await server.post("/a/1").run()
    assert (refused.status, refused.raised) == (405, None)
    assert (await server.get("/m/c").run()).status == 404


async def test_their_middleware_stands_around_ours(bridges: Callable[[], int]) -> None:
    async def dispatch(request: Any, call_next: Any) -> Any:
        response = await call_next(request)
        response.headers["x-theirs"] = "1"
        return response

    app = Hesper(routes=[*ROUTES], middleware=[mark])
    result = await ScriptedServer(StarletteBase(app, dispatch=dispatch)).get("/show/1").run()
    assert (result.headers["x-theirs"], result.headers["x-mark"]) == ("1", "1")
    assert bridges() == 0


async def test_their_middleware_stands_in_our_list(bridges: Callable[[], int]) -> None:
    async def dispatch(request: Any, call_next: Any) -> Any:
        response = await call_next(request)
        response.headers["x-theirs"] = "1"
        return response

    app = Hesper(
        routes=[Route("/", show)],
        middleware=[mark, Middleware(StarletteBase, dispatch=dispatch), mark],
    )
    result = await ScriptedServer(app).get("/").run()
    assert result.text == " {}"
    assert (result.headers["x-theirs"], result.headers["x-mark"]) == ("1", "1")
    # Over theirs, which is foreign; between theirs and the endpoint there is none.
    assert bridges() == 1
    assert_quiet(result)


async def test_their_endpoints_may_return_our_responses(tmp_path: Any) -> None:
    (tmp_path / "x.txt").write_text("of a file")
    log: list[str] = []

    async def parts() -> AsyncIterator[str]:
        try:
            yield "streamed"
        finally:
            log.append("closed")

    async def after() -> None:
        log.append("background")

    async def plain(request: StarletteRequest) -> Any:
        return PlainTextResponse("plain", background=after)

    async def json(request: StarletteRequest) -> Any:
        return JSONResponse({"a": 1})

    async def stream(request: StarletteRequest) -> Any:
        return StreamingResponse(parts())

    async def file(request: StarletteRequest) -> Any:
        return FileResponse(tmp_path / "x.txt")

    class App:
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await PlainTextResponse("awaited")(scope, receive, send)

    server = ScriptedServer(
        Starlette(
            routes=[
                *(StarletteRoute(f"/{f.__name__}", f) for f in (plain, json, stream, file)),
                StarletteRoute("/app", App()),
            ]
        )
    )
    for path, text in (
        ("plain", "plain"),
        ("json", '{"a":1}'),
        ("stream", "streamed"),
        ("file", "of a file"),
        ("app", "awaited"),
    ):
        result = await server.get(f"/{path}").run()
        assert (result.status, result.text) == (200, text)
        assert_quiet(result)
    assert log == ["background", "closed"]


async def test_our_request_is_made_from_their_scope() -> None:
    async def endpoint(theirs: StarletteRequest) -> Any:
        ours: Request = Request(theirs.scope, theirs.receive)
        body = await ours.body()
        return StarlettePlain(
            f"{ours.method} {ours.url} {ours.path_params} {body!r} {ours.url_for('one', x=5)}"
        )

    app = Starlette(routes=[StarletteRoute("/{x}", endpoint, methods=["POST"], name="one")])
    result = await ScriptedServer(app).post("/1?q=2", body=[b"ab", b"c"]).run()
    assert result.text == ("POST http://testserver/1?q=2 {'x': '1'} b'abc' http://testserver/5")
    assert_quiet(result)


async def test_our_websocket_is_made_from_their_scope() -> None:
    async def endpoint(theirs: StarletteWebSocket) -> None:
        await greet(WebSocket(theirs.scope, theirs.receive, theirs.send))

    app = Starlette(routes=[StarletteWebSocketRoute("/", endpoint)])
    result = await ScriptedServer(app).websocket("/").run()
    assert (result.frames, result.close_code, result.raised) == (["ours"], 3000, None)


@dialects
async def test_a_stream_of_ours_in_theirs_ends_when_the_client_leaves(dialect: Dialect) -> None:
    ticks = Ticks()

    async def endpoint(request: StarletteRequest) -> Any:
        return StreamingResponse(ticks)

    app = Starlette(routes=[StarletteRoute("/", endpoint)])
    result = await ScriptedServer(app, dialect).get("/").leave_at_message(3).run()
    assert_quiet(result)
    assert ticks.count <= 5
