"""Hesper around Litestar apps, and inside of them."""

from collections.abc import Callable
from typing import Any

import pytest
from litestar import Litestar, asgi, get, post
from litestar import Request as LitestarRequest
from litestar.background_tasks import BackgroundTask
from litestar.enums import MediaType
from litestar.middleware import DefineMiddleware
from litestar.response import Response as LitestarResponse
from litestar.response import Stream

from hesper.applications import Hesper
from hesper.exceptions import HTTPException
from hesper.requests import Request
from hesper.responses import PlainTextResponse, Response, StreamingResponse
from hesper.routing import Mount, Route, Router
from hesper.testing import Dialect, ScriptedServer
from hesper.types import ASGIApp, Receive, Scope, Send

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
    """A Litestar app with an endpoint for each thing that may go wrong."""

    def __init__(self, **options: Any) -> None:
        self.log: list[str] = []
        self.ticks = Ticks()
        log, ticks = self.log, self.ticks

        @get("/plain", media_type=MediaType.TEXT)
        async def plain(request: LitestarRequest[Any, Any, Any]) -> str:
            inner.set("from inside")
            return f"{outer.get()}, {request.scope['state']['left']}"

        @post("/echo", status_code=200)
        async def echo(request: LitestarRequest[Any, Any, Any]) -> Any:
            inner.set("from inside")
            body = await request.body()
            log.append("read")
            return LitestarResponse(body, media_type="application/octet-stream")

        @get("/stream")
        async def stream() -> Stream:
            inner.set("from inside")
            return Stream(Parts())

        @get("/endless")
        async def endless() -> Stream:
            return Stream(ticks)

        @get("/background")
        async def background() -> LitestarResponse[str]:
            inner.set("from inside")
            return LitestarResponse("queued", background=BackgroundTask(work, "async"))

        @get("/broken")
        async def broken() -> None:
            raise LookupError("theirs")

        async def work(name: str) -> None:
            log.append(f"{name} {inner.get()}")

        # Its types for ASGI are narrower than the specification's.
        self.app: Any = Litestar(
            [plain, echo, stream, endless, background, broken],
            openapi_config=None,
            logging_config=None,
            **options,
        )


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
    assert theirs.log == ["last byte", "async from inside"]


@arounds
async def test_five_middlewares_make_one_bridge(around: Around, bridges: Callable[[], int]) -> None:
    server = ScriptedServer(around(Theirs().app))
    for path in ("/plain", "/stream", "/background"):
        await server.get(path).run()
        assert bridges() == 1


async def test_in_their_own_list_each_middleware_works() -> None:
    classes: list[Any] = [*CLASSES]
    theirs = Theirs(middleware=[DefineMiddleware(cls) for cls in classes])
    server = ScriptedServer(theirs.app)
    for path in ("/plain", "/stream", "/background"):
        result = await server.get(path).run()
        assert_quiet(result)
        assert (result.status, result.headers["x-mark"]) == (200, "1")
        assert result.headers["x-inner"] == "from inside"


@arounds
async def test_an_error_of_theirs_is_answered_by_them(around: Around, expected_errors: Any) -> None:
    result = await ScriptedServer(around(Theirs().app)).get("/broken").run()
    assert (result.status, result.headers["x-mark"], result.raised) == (500, "1", None)
    expected_errors.take()  # Litestar logs it


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
    server = ScriptedServer(around(theirs.app), dialect)
    result = await server.get("/endless").leave_at_message(4).run()
    assert_quiet(result)
    assert 3 <= theirs.ticks.count <= 6
    assert not result.complete


@arounds
@dialects
async def test_a_client_that_leaves_in_its_upload_is_quiet(
    around: Around, dialect: Dialect
) -> None:
    theirs = Theirs()
    server = ScriptedServer(around(theirs.app), dialect)
    for headers in ({}, {"x-read": "1"}):
        script = server.post("/echo", body=[b"a", b"b", b"c"], headers=headers)
        result = await script.leave_after_request(1).run()
        assert_quiet(result)
        assert not result.complete
    assert theirs.log == []


# Ours inside of theirs.


async def show(request: Request) -> Response:
    return PlainTextResponse(f"{request.path_params} {request.scope['root_path']}")


async def refuse(request: Request) -> Response:
    raise HTTPException(418, "ours")


ROUTES = [Route("/show/{x:int}", show), Route("/refuse", refuse)]

PARTS: list[ASGIApp] = [
    Router(ROUTES),
    Hesper(routes=ROUTES),
    Mount("/", routes=ROUTES),
    as_class(mark)(Hesper(routes=ROUTES)),
]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: type(part).__name__)
async def test_parts_of_ours_stand_below_their_mount(part: ASGIApp) -> None:
    @asgi("/ours", is_mount=True, copy_scope=True)
    async def ours(scope: Any, receive: Any, send: Any) -> None:
        # Litestar takes the prefix off the path, and ends some paths with a slash. ASGI's way is:
        below = {**scope, "path": scope["raw_path"].decode(), "root_path": "/ours"}
        await part(below, receive, send)

    theirs: Any = Litestar([ours], openapi_config=None)
    server = ScriptedServer(theirs)
    for path, method, status, text in (
        ("/ours/show/7", "GET", 200, "{'x': 7} /ours"),
        ("/ours/refuse", "GET", 418, "ours"),
        ("/ours/nowhere", "GET", 404, "Not Found"),
        ("/ours/show/7", "POST", 405, "Method Not Allowed"),
    ):
        result = await server.request(method, path).run()
        assert (result.status, result.text) == (status, text)
        assert_quiet(result)


@dialects
async def test_their_handlers_may_return_our_responses(dialect: Dialect) -> None:
    log: list[str] = []
    ticks = Ticks()

    async def parts() -> Any:
        try:
            yield "streamed"
        finally:
            log.append("closed")

    async def after() -> None:
        log.append("background")

    @get("/plain")
    async def plain() -> PlainTextResponse:
        return PlainTextResponse("plain", background=after)

    @get("/stream")
    async def stream() -> StreamingResponse:
        return StreamingResponse(parts())

    @get("/endless")
    async def endless() -> StreamingResponse:
        return StreamingResponse(ticks)

    theirs: Any = Litestar([plain, stream, endless], openapi_config=None)
    server = ScriptedServer(theirs, dialect)
    for path, text in (("/plain", "plain"), ("/stream", "streamed")):
        result = await server.get(path).run()
        assert (result.status, result.text) == (200, text)
        assert_quiet(result)
    assert log == ["background", "closed"]
    result = await server.get("/endless").leave_at_message(3).run()
    assert_quiet(result)
    assert ticks.count <= 5


async def test_our_request_is_made_from_their_scope() -> None:
    @post("/{x:int}", media_type=MediaType.TEXT, status_code=200)
    async def endpoint(request: LitestarRequest[Any, Any, Any]) -> str:
        ours: Request = Request(request.scope, request.receive)  # type: ignore[arg-type]
        return f"{ours.url} {await ours.body()!r}"

    theirs: Any = Litestar([endpoint], openapi_config=None)
    server = ScriptedServer(theirs)
    result = await server.post("/1", body=[b"ab", b"c"]).run()
    assert result.text == "http://testserver/1 b'abc'"
    assert_quiet(result)
