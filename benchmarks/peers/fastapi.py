"""FastAPI, with Starlette's `BaseHTTPMiddleware`: what `@app.middleware("http")` adds.

Parameters are declared where FastAPI has a declaration for them. The schema is off: nobody else's
app has one.
"""

from collections.abc import Sequence
from typing import Annotated, Any, cast

from fastapi import Body, Cookie, FastAPI, File, Form, Header, Request, UploadFile, WebSocket
from fastapi.responses import PlainTextResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from starlette.websockets import WebSocketDisconnect

from benchmarks import samples
from benchmarks.asgi import App
from benchmarks.peers import header
from benchmarks.peers.starlette import SetHeader

DISTRIBUTION = "fastapi"


async def show(id: int) -> str:
    return f"item {id}"


def build(paths: Sequence[str], layers: int) -> App:
    app = new()
    for path in paths:
        # FastAPI takes the type from the function; Starlette's convertors make int of the path too.
        app.get(path.replace("{id:int}", "{id}"), response_class=PlainTextResponse)(show)
    for layer in reversed(range(layers)):
        app.add_middleware(SetHeader, name=header(layer))
    return cast(App, app)


def new() -> FastAPI:
    return FastAPI(openapi_url=None)


async def echo_json(data: Annotated[Any, Body()]) -> Any:
    return data


async def read(
    session: Annotated[str, Cookie()],
    theme: Annotated[str, Cookie()],
    user_agent: Annotated[str, Header()],
    x_request_id: Annotated[str, Header()],
) -> str:
    return f"{session} {theme} {user_agent} {x_request_id}"


async def stream() -> StreamingResponse:
    return StreamingResponse(samples.chunks(), media_type="text/plain")


async def events() -> StreamingResponse:
    return StreamingResponse(samples.events(), media_type="text/event-stream")


async def socket(websocket: WebSocket) -> None:
    await websocket.accept()
    try:
        while True:
            await websocket.send_text(await websocket.receive_text())
    except WebSocketDisconnect:
        pass


async def upload(
    request: Request, title: Annotated[str, Form()], file: Annotated[UploadFile, File()]
) -> str:
    return f"{title}: {file.size}"


def read_app() -> App:
    app = new()
    app.get("/read/{id}", response_class=PlainTextResponse)(read)
    return cast(App, app)


def json_app() -> App:
    app = new()
    app.post("/json")(echo_json)
    return cast(App, app)


def upload_app() -> App:
    app = new()
    app.post("/upload", response_class=PlainTextResponse)(upload)
    return cast(App, app)


def socket_app() -> App:
    app = new()
    app.websocket("/socket")(socket)
    return cast(App, app)


def stream_app() -> App:
    app = new()
    app.get("/stream")(stream)
    return cast(App, app)


def events_app() -> App:
    app = new()
    app.get("/events")(events)
    return cast(App, app)


def files_app() -> App:
    app = new()
    app.mount("/files", StaticFiles(directory=samples.folder()))
    return cast(App, app)


BUILDERS = {"fastapi": build}
FEATURES = {
    "json": json_app,
    "read": read_app,
    "stream": stream_app,
    "socket": socket_app,
    "files": files_app,
    "upload": upload_app,
    "events": events_app,
}
