"""Every example, the demo, and every response class and middleware of Hesper ends well, always."""

import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from examples import (
    around_fastapi,
    errors,
    events,
    hello,
    limits,
    middleware,
    mounts,
    observing,
    payments,
    streaming,
    upload,
    websocket_echo,
)
from examples.porting import board, rooms

import hesper.demo
from hesper.applications import Hesper
from hesper.authentication import AuthenticationBackend
from hesper.background import BackgroundTask, BackgroundTasks
from hesper.datastructures import UploadFile
from hesper.endpoints import HTTPEndpoint, WebSocketEndpoint
from hesper.middleware.authentication import AuthenticationMiddleware
from hesper.middleware.body_limit import RequestBodyLimitMiddleware
from hesper.middleware.compression import CompressionMiddleware
from hesper.middleware.cors import CORSMiddleware
from hesper.middleware.errors import ServerErrorMiddleware
from hesper.middleware.exceptions import ExceptionMiddleware
from hesper.middleware.gzip import GZipMiddleware
from hesper.middleware.opentelemetry import OpenTelemetryMiddleware
from hesper.middleware.sessions import SessionMiddleware
from hesper.middleware.trustedhost import TrustedHostMiddleware
from hesper.requests import Request
from hesper.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from hesper.routing import Mount, Route, WebSocketRoute
from hesper.staticfiles import StaticFiles
from hesper.testing.sweep import USUAL_DIALECTS, Sweep, SweptRequest, check_middleware
from hesper.websockets import WebSocket

FORM = (
    b'--mark\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n',
    b"some text",
    b"\r\n--mark--\r\n",
)
MULTIPART = {"content-type": "multipart/form-data; boundary=mark"}

STARTING = [dialect for dialect in USUAL_DIALECTS if dialect.lifespan]
"""For applications that cannot do without a lifespan: daphne has none."""

# `llm_proxy` needs a model, and is swept in tests/examples/test_llm_proxy.py.
EXAMPLES: dict[str, Callable[[], SweptRequest]] = {
    "hello": lambda: Sweep(hello.app).get("/squares/7"),
    "middleware": lambda: Sweep(middleware.app).get("/slow/1"),
    "middleware, a retry": lambda: Sweep(middleware.app).get("/flaky"),
    "mounts": lambda: Sweep(mounts.app, dialects=STARTING).get("/shop/orders/1"),
    "errors": lambda: Sweep(errors.app).post("/buy", json={"count": 1}),
    "streaming": lambda: Sweep(streaming.app, limit=4).get("/chat"),
    "upload": lambda: Sweep(upload.app).post("/form", body=FORM, headers=MULTIPART),
    "upload, a digest": lambda: Sweep(upload.app).post("/digest", body=[b"a", 1, b"b"]),
    "websocket_echo": lambda: Sweep(websocket_echo.app).websocket("/echo", messages=["a", "b"]),
    "around_fastapi": lambda: Sweep(around_fastapi.app).get("/slow/1"),
    "events": lambda: Sweep(events.app, limit=3).get("/news"),
    "events, a listener": lambda: Sweep(events.app, limit=3).get("/game"),
    "limits": lambda: Sweep(limits.app).get("/search?seconds=1"),
    "limits, a stream": lambda: Sweep(limits.app).get("/reports/export?rows=2"),
    "limits, a timeout": lambda: Sweep(limits.app, may_fail=True).get("/search?seconds=3600"),
    "observing": lambda: Sweep(observing.app).get("/slow"),
    "payments": lambda: Sweep(payments.payments(":memory:"), dialects=STARTING).post(
        "/payments", json={"id": "tea", "cents": 450}
    ),
    "board": lambda: Sweep(board.app, dialects=STARTING).get("/"),
    "board, a login": lambda: Sweep(board.app, dialects=STARTING).post(
        "/login", form={"name": "Ada"}
    ),
    "rooms": lambda: Sweep(rooms.app).get("/rooms/tea/history"),
    "rooms, talk": lambda: Sweep(rooms.app).websocket("/rooms/tea/talk", messages=["a", "b"]),
    "demo, slow": lambda: Sweep(hesper.demo.app).get("/slow?seconds=1"),
    "demo, tokens": lambda: Sweep(hesper.demo.app, limit=3).get("/tokens"),
    "demo, upload": lambda: Sweep(hesper.demo.app).post("/upload", body=[b"a", 1, b"b"]),
    "demo, echo": lambda: Sweep(hesper.demo.app).websocket("/echo", messages=["a", "b"]),
}


@pytest.mark.patience(120)
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_ends_well(name: str) -> None:
    EXAMPLES[name]().assert_clean()


# -- responses -------------------------------------------------------------------------------------


async def work() -> None:
    await anyio.sleep(1)


async def plain(request: Request) -> Response:
    await anyio.sleep(1)
    return PlainTextResponse("plain", background=BackgroundTask(work))


async def page(request: Request) -> Response:
    return HTMLResponse("<p>page", background=BackgroundTasks([BackgroundTask(work)] * 2))


async def value(request: Request) -> Response:
    return JSONResponse(await request.json())


async def elsewhere(request: Request) -> Response:
    return RedirectResponse("/page")


async def stream(request: Request) -> Response:
    async def chunks() -> AsyncIterator[str]:
        try:
            for number in range(3):
                yield f"{number}\n"
                await anyio.sleep(1)
        finally:
            await anyio.sleep(1)

    return StreamingResponse(chunks(), trailers=lambda: {"x-sum": "3"})


async def in_threads(request: Request) -> Response:
    def chunks() -> Iterator[str]:
        yield "one"
        yield "two"

    return StreamingResponse(chunks(), background=BackgroundTask(work))


async def file(request: Request) -> Response:
    return FileResponse(__file__)


async def temporary(request: Request) -> Response:
    async with request.form() as form:
        sent = form["file"]
        assert isinstance(sent, UploadFile)
        with tempfile.TemporaryFile() as kept:
            kept.write(await sent.read())
            await anyio.sleep(1)
    return PlainTextResponse("taken")


class Page(HTTPEndpoint):
    async def get(self, request: Request) -> Response:
        await anyio.sleep(1)
        return PlainTextResponse("page")


class Talk(WebSocketEndpoint):
    encoding = "text"

    async def on_receive(self, websocket: WebSocket[Any], data: Any) -> None:
        await websocket.send_text(data)

    async def on_disconnect(self, websocket: WebSocket[Any], close_code: int) -> None:
        await anyio.sleep(1)


responses = Hesper(
    routes=[
        Route("/plain", plain),
        Route("/html", page),
        Route("/json", value, methods=["POST"]),
        Route("/redirect", elsewhere),
        Route("/stream", stream),
        Route("/threads", in_threads),
        Route("/file", file),
        Route("/form", temporary, methods=["POST"]),
        Route("/class", Page),
        WebSocketRoute("/talk", Talk),
        Mount("/static", StaticFiles(directory=Path(__file__).parent)),
    ],
)

RESPONSES: dict[str, Callable[[Sweep], SweptRequest]] = {
    "plain": lambda sweep: sweep.get("/plain"),
    "html": lambda sweep: sweep.get("/html"),
    "json": lambda sweep: sweep.post("/json", json={"a": 1}),
    "redirect": lambda sweep: sweep.get("/redirect"),
    "stream": lambda sweep: sweep.get("/stream"),
    "sync stream": lambda sweep: sweep.get("/threads"),
    "file": lambda sweep: sweep.get("/file"),
    "ranges of a file": lambda sweep: sweep.get("/file", headers={"range": "bytes=0-9,20-29"}),
    "form": lambda sweep: sweep.post("/form", body=FORM, headers=MULTIPART),
    "static file": lambda sweep: sweep.get(f"/static/{Path(__file__).name}"),
    "no static file": lambda sweep: sweep.get("/static/none"),
    "endpoint class": lambda sweep: sweep.get("/class"),
    "socket class": lambda sweep: sweep.websocket("/talk", messages=["a", 1, "b"]),
    "not found": lambda sweep: sweep.get("/none"),
    "not allowed": lambda sweep: sweep.get("/json"),
}


@pytest.mark.patience(120)
@pytest.mark.parametrize("name", RESPONSES)
def test_a_response_ends_well(name: str) -> None:
    sweep = Sweep(responses, limit=30)
    RESPONSES[name](sweep).assert_clean()


# -- middleware ------------------------------------------------------------------------------------


class Nobody(AuthenticationBackend):
    async def authenticate(self, conn: Any) -> None:
        return None


MIDDLEWARE: dict[str, tuple[Any, dict[str, Any]]] = {
    "authentication": (AuthenticationMiddleware, {"backend": Nobody()}),
    "body limit": (RequestBodyLimitMiddleware, {"max_body_size": 100_000}),
    "compression": (CompressionMiddleware, {"minimum_size": 0}),
    "cors": (CORSMiddleware, {"allow_origins": ["*"]}),
    "errors": (ServerErrorMiddleware, {}),
    "exceptions": (ExceptionMiddleware, {}),
    "gzip": (GZipMiddleware, {"minimum_size": 0}),
    "hosts": (TrustedHostMiddleware, {"allowed_hosts": ["*"]}),
    "sessions": (SessionMiddleware, {"secret_key": "secret"}),
    "telemetry": (OpenTelemetryMiddleware, {}),
}


@pytest.mark.patience(120)
@pytest.mark.parametrize("name", MIDDLEWARE)
def test_a_middleware_changes_no_ending(name: str) -> None:
    cls, options = MIDDLEWARE[name]
    check_middleware(cls, **options)
