"""Hesper around FastAPI apps, and inside of them."""

from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

import pytest
from fastapi import BackgroundTasks, Depends, FastAPI
from fastapi import Request as FastAPIRequest
from fastapi.responses import StreamingResponse as FastAPIStream

from hesper.applications import Hesper
from hesper.exceptions import HTTPException
from hesper.middleware.base import BaseHTTPMiddleware
from hesper.requests import Request
from hesper.responses import FileResponse, PlainTextResponse, Response, StreamingResponse
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
    """A FastAPI app with a dependency that yields, and a middleware of its own."""

    def __init__(self, *, with_middleware: bool = True) -> None:
        self.log: list[str] = []
        self.ticks = Ticks()
        log, ticks = self.log, self.ticks

        async def resource() -> AsyncIterator[str]:
            log.append("open")
            try:
                yield "resource"
            finally:
                log.append("close")

        app = self.app = FastAPI()

        @app.get("/plain")
        async def plain(
            value: Annotated[str, Depends(resource)], request: FastAPIRequest
        ) -> dict[str, Any]:
            inner.set("from inside")
            return {"value": value, "outer": outer.get(), "left": request.state.left}

        @app.get("/sync")
        def sync(value: Annotated[str, Depends(resource)]) -> dict[str, Any]:
            return {"value": value, "outer": outer.get()}

        @app.post("/echo")
        async def echo(value: Annotated[str, Depends(resource)], data: dict[str, int]) -> Any:
            inner.set("from inside")
            return data

        @app.get("/stream")
        async def stream(value: Annotated[str, Depends(resource)]) -> Any:
            inner.set("from inside")
            return FastAPIStream(Parts())

        @app.get("/endless")
        async def endless(value: Annotated[str, Depends(resource)]) -> Any:
            return FastAPIStream(ticks)

        @app.get("/background")
        async def background(
            value: Annotated[str, Depends(resource)], tasks: BackgroundTasks
        ) -> str:
            inner.set("from inside")
            tasks.add_task(work, "async")
            tasks.add_task(sync_work, "sync")
            return "queued"

        @app.get("/broken")
        async def broken(value: Annotated[str, Depends(resource)]) -> str:
            raise LookupError("theirs")

        async def work(name: str) -> None:
            log.append(f"{name} {inner.get()}")

        def sync_work(name: str) -> None:
            log.append(f"{name} {inner.get()}")

        if with_middleware:

            @app.middleware("http")
            async def theirs(request: FastAPIRequest, call_next: Any) -> Any:
                response = await call_next(request)
                response.headers["x-theirs"] = "1"
                return response


# Ours around theirs.


@arounds
@dialects
async def test_responses_and_context_variables_are_right(around: Around, dialect: Dialect) -> None:
    # Without their middleware, which does not let context variables out.
    theirs = Theirs(with_middleware=False)
    server = ScriptedServer(around(theirs.app), dialect)
    result = await server.get("/plain").run()
    assert_quiet(result)
    check_marks(result)
    assert result.text == ('{"value":"resource","outer":"from outside","left":"by a middleware"}')
    assert theirs.log == ["open", "close"]
    assert (await server.get("/sync").run()).text == '{"value":"resource","outer":"from outside"}'
    result = await server.get("/stream").run()
    assert_quiet(result)
    check_marks(result)
    assert result.text == "".join(f"{number} from outside;" for number in range(3))
    for headers in ({}, {"x-read": "1"}):
        headers = {"content-type": "application/json", **headers}
        script = server.post("/echo", body=[b'{"a"', b":1}"], headers=headers)
        result = await script.run()
        assert_quiet(result)
        check_marks(result)
        assert (result.status, result.text) == (200, '{"a":1}')
    refused = await server.post("/echo", body=[b"no json"]).run()
    assert refused.status == 422
    assert (await server.get("/nowhere").run()).status == 404
    assert theirs.log.count("open") == theirs.log.count("close")


@arounds
@dialects
async def test_their_own_middleware_stays_inside(around: Around, dialect: Dialect) -> None:
    server = ScriptedServer(around(Theirs().app), dialect)
    for path in ("/plain", "/stream", "/background"):
        result = await server.get(path).run()
        assert_quiet(result)
        assert (result.status, result.headers["x-theirs"], result.headers["x-mark"]) == (
            200,
            "1",
            "1",
        )


@arounds
async def test_background_tasks_run_after_the_last_byte(around: Around) -> None:
    theirs = Theirs(with_middleware=False)

    async def watched(scope: Scope, receive: Receive, send: Send) -> None:
        async def noting(message: Any) -> None:
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                theirs.log.append("last byte")

        await around(theirs.app)(scope, receive, noting)

    result = await ScriptedServer(watched).get("/background").run()
    assert_quiet(result)
    check_marks(result)
    own = [entry for entry in theirs.log if entry not in ("open", "close")]
    assert own == ["last byte", "async from inside", "sync from inside"]
    assert theirs.log.count("close") == 1


@arounds
async def test_five_middlewares_make_one_bridge(around: Around, bridges: Callable[[], int]) -> None:
    server = ScriptedServer(around(Theirs().app))
    for path in ("/plain", "/stream", "/background"):
        await server.get(path).run()
        assert bridges() == 1


async def test_in_their_own_list_adjacent_ones_share_a_bridge(bridges: Callable[[], int]) -> None:
    theirs = Theirs(with_middleware=False)
    for cls in reversed(CLASSES):
        theirs.app.add_middleware(cls)
    result = await ScriptedServer(theirs.app).get("/plain").run()
    assert_quiet(result)
    check_marks(result)
    assert bridges() == 1


async def test_ours_and_theirs_may_alternate(bridges: Callable[[], int]) -> None:
    theirs = Theirs(with_middleware=False)

    async def dispatch(request: Any, call_next: Any) -> Any:
        return await call_next(request)

    for cls in reversed(CLASSES):
        theirs.app.add_middleware(cls)
        theirs.app.middleware("http")(dispatch)
    result = await ScriptedServer(theirs.app).get("/stream").run()
    assert_quiet(result)
    assert (result.status, result.headers["x-mark"]) == (200, "1")
    assert bridges() == 5


@arounds
async def test_an_error_of_theirs_arrives_as_the_same_object(around: Around) -> None:
    theirs = Theirs()
    result = await ScriptedServer(around(theirs.app)).get("/broken").run()
    assert isinstance(result.raised, LookupError)
    assert (result.status, result.text) == (500, "Internal Server Error")
    assert theirs.log == ["open", "close"]


@arounds
@dialects
async def test_a_client_that_is_gone_on_arrival_is_quiet(around: Around, dialect: Dialect) -> None:
    # Without their middleware, which leaves generators behind that nobody closes.
    theirs = Theirs(with_middleware=False)
    server = ScriptedServer(around(theirs.app), dialect)
    for path in ("/plain", "/stream", "/background", "/sync"):
        assert_quiet(await server.get(path).leave_at_message(0).run())
    assert theirs.log.count("open") == theirs.log.count("close")


@arounds
@dialects
async def test_a_client_that_leaves_a_stream_ends_it_quietly(
    around: Around, dialect: Dialect
) -> None:
    for with_middleware in (False, True):
        theirs = Theirs(with_middleware=with_middleware)
        server = ScriptedServer(around(theirs.app), dialect)
        result = await server.get("/endless").leave_at_message(4).run()
        assert_quiet(result)
        assert 3 <= theirs.ticks.count <= 8
        assert not result.complete
        assert theirs.log == ["open", "close"]


@arounds
@dialects
async def test_a_client_that_leaves_in_its_upload_is_quiet(
    around: Around, dialect: Dialect
) -> None:
    theirs = Theirs(with_middleware=False)
    server = ScriptedServer(around(theirs.app), dialect)
    for headers in ({}, {"x-read": "1"}):
        headers = {"content-type": "application/json", **headers}
        script = server.post("/echo", body=[b'{"a"', b":", b"1}"], headers=headers)
        result = await script.leave_after_request(1).run()
        assert_quiet(result)
        # Theirs answers 400: to it a body that breaks off is bad JSON. Nobody gets it.
        assert not result.complete
    assert theirs.log.count("open") == theirs.log.count("close")


# Ours inside of theirs.


async def show(request: Request) -> Response:
    return PlainTextResponse(f"{request.scope['root_path']} {request.path_params}")


async def refuse(request: Request) -> Response:
    raise HTTPException(418, "ours")


async def greet(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text("ours")
    await websocket.close(3000)


ROUTES = [Route("/show/{x:int}", show), Route("/refuse", refuse), WebSocketRoute("/ws", greet)]

PARTS: list[ASGIApp] = [
    Router(ROUTES),
    Hesper(routes=ROUTES),
    Mount("/", routes=ROUTES),
    as_class(mark)(Hesper(routes=ROUTES)),
]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: type(part).__name__)
@pytest.mark.parametrize("with_middleware", [False, True])
async def test_parts_of_ours_stand_below_their_mount(part: ASGIApp, with_middleware: bool) -> None:
    theirs = Theirs(with_middleware=with_middleware).app
    theirs.mount("/ours", part)
    server = ScriptedServer(theirs)
    for path, method, status, text in (
        ("/ours/show/7", "GET", 200, "/ours {'x': 7}"),
        ("/ours/refuse", "GET", 418, "ours"),
        ("/ours/nowhere", "GET", 404, "Not Found"),
        ("/ours/show/7", "POST", 405, "Method Not Allowed"),
    ):
        result = await server.request(method, path).run()
        assert (result.status, result.text) == (status, text)
        assert_quiet(result)
    socket = await server.websocket("/ours/ws").run()
    assert (socket.frames, socket.close_code, socket.raised) == (["ours"], 3000, None)


async def test_a_route_of_ours_stands_below_their_mount() -> None:
    theirs = FastAPI()
    theirs.mount("/m", Route("/b/{x}", show))
    server = ScriptedServer(theirs)
    assert (await server.get("/m/b/1").run()).text == "/m {'x': '1'}"
    refused = await server.post("/m/b/1").run()
    assert (refused.status, refused.raised) == (405, None)


async def test_their_endpoints_may_return_our_responses(tmp_path: Any) -> None:
    (tmp_path / "x.txt").write_text("of a file")
    log: list[str] = []
    theirs = FastAPI()

    async def parts() -> AsyncIterator[str]:
        try:
            yield "streamed"
        finally:
            log.append("closed")

    @theirs.get("/{kind}", response_model=None)
    async def endpoint(kind: str, request: FastAPIRequest) -> Any:
        # FastAPI knows only Starlette's responses, so an endpoint sends ours itself.
        ours: Response
        if kind == "plain":
            ours = PlainTextResponse("plain")
        elif kind == "stream":
            ours = StreamingResponse(parts())
        else:
            ours = FileResponse(tmp_path / "x.txt")
        return _as_theirs(ours)

    for kind, text in (("plain", "plain"), ("stream", "streamed"), ("file", "of a file")):
        result = await ScriptedServer(theirs).get(f"/{kind}").run()
        assert (result.status, result.text) == (200, text)
        assert_quiet(result)
    assert log == ["closed"]


def _as_theirs(ours: Response) -> Any:
    from starlette.responses import Response as StarletteResponse

    class Adapter(StarletteResponse):
        """FastAPI wants an instance of its class: this one is, and sends ours."""

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await ours(scope, receive, send)

    return Adapter()


async def test_our_request_is_made_from_their_scope() -> None:
    theirs = FastAPI()

    @theirs.post("/{x}", name="one")
    async def endpoint(x: int, request: FastAPIRequest) -> str:
        ours: Request = Request(request.scope, request.receive)
        body = await ours.body()
        return f"{ours.url} {body!r} {ours.path_params} {ours.url_for('one', x=5)}"

    result = await ScriptedServer(theirs).post("/1", body=[b"ab", b"c"]).run()
    assert result.text == "\"http://testserver/1 b'abc' {'x': '1'} http://testserver/5\""
    assert_quiet(result)


async def test_their_app_is_mounted_with_its_lifespan_and_its_docs() -> None:
    from contextlib import asynccontextmanager

    log: list[str] = []

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, str]]:
        log.append("start")
        yield {"pool": "theirs"}
        log.append("stop")

    theirs = FastAPI(lifespan=lifespan)

    @theirs.get("/pool")
    async def pool(request: FastAPIRequest) -> str:
        pool: str = request.state.pool
        return pool

    app = Hesper(routes=[Mount("/api", app=theirs)], middleware=[mark])
    server = ScriptedServer(app)
    async with server.lifespan():
        assert (await server.get("/api/pool").run()).text == '"theirs"'
        docs = await server.get("/api/docs").run()
        assert (docs.status, "/api/openapi.json" in docs.text) == (200, True)
        assert (await server.get("/api/openapi.json").run()).status == 200
    assert log == ["start", "stop"]


def test_their_add_middleware_takes_our_class() -> None:
    theirs = FastAPI()
    theirs.add_middleware(BaseHTTPMiddleware, dispatch=mark)
    assert len(theirs.user_middleware) == 1
