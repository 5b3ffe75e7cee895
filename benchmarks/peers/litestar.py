"""Litestar, with `ASGIMiddleware`: the way its documentation shows to set a header from outside.

`after_request` sees the response as a value, but takes one function a layer and cannot be stacked.
"""

from collections.abc import Sequence
from typing import Annotated, Any, cast

from litestar import Litestar, MediaType, Request, WebSocket, get, post, websocket
from litestar.datastructures import MutableScopeHeaders, UploadFile
from litestar.enums import RequestEncodingType
from litestar.exceptions import WebSocketDisconnect
from litestar.middleware import ASGIMiddleware
from litestar.params import Body
from litestar.response import Stream
from litestar.static_files import create_static_files_router
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from benchmarks import samples
from benchmarks.asgi import App
from benchmarks.peers import header

DISTRIBUTION = "litestar"


class SetHeader(ASGIMiddleware):
    def __init__(self, name: str) -> None:
        self.name = name

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        async def send_with_header(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableScopeHeaders.from_message(message)[self.name] = "1"
            await send(message)

        await next_app(scope, receive, send_with_header)


async def show(id: int) -> str:
    return f"item {id}"


def build(paths: Sequence[str], layers: int) -> App:
    handlers = [get(path, media_type=MediaType.TEXT)(show) for path in paths]
    middleware = [SetHeader(header(layer)) for layer in range(layers)]
    return new(handlers, middleware)


def new(handlers: Sequence[Any], middleware: Sequence[SetHeader] = ()) -> App:
    # Logging and the schema are off: nobody else's app has them. The limit of a body is 10 MB.
    app = Litestar(
        handlers,
        middleware=middleware,
        openapi_config=None,
        logging_config=None,
        request_max_body_size=None,
    )
    return cast(App, app)


@post("/json", status_code=200)
async def echo_json(data: Any) -> Any:
    return data


@get("/read/{id:int}", media_type=MediaType.TEXT)
async def read(request: Request[Any, Any, Any]) -> str:
    cookies, headers = request.cookies, request.headers
    return (
        f"{cookies['session']} {cookies['theme']} {headers['user-agent']} {headers['x-request-id']}"
    )


@get("/stream")
async def stream() -> Stream:
    return Stream(samples.chunks(), media_type="text/plain")


@get("/events")
async def events() -> Stream:
    return Stream(samples.events(), media_type="text/event-stream")


@websocket("/socket")
async def echo(socket: WebSocket[Any, Any, Any]) -> None:
    await socket.accept()
    try:
        while True:
            await socket.send_text(await socket.receive_text())
    except WebSocketDisconnect:
        pass


@post("/upload", status_code=200, media_type=MediaType.TEXT)
async def upload(
    data: Annotated[dict[str, Any], Body(media_type=RequestEncodingType.MULTI_PART)],
) -> str:
    file: UploadFile = data["file"]
    size = file.file.seek(0, 2)
    await file.close()
    return f"{data['title']}: {size}"


BUILDERS = {"litestar": build}
FEATURES = {
    "json": lambda: new([echo_json]),
    "read": lambda: new([read]),
    "stream": lambda: new([stream]),
    "socket": lambda: new([echo]),
    "files": lambda: new([create_static_files_router("/files", [samples.folder()])]),
    "upload": lambda: new([upload]),
    "events": lambda: new([events]),
}
