"""Starlette, with `BaseHTTPMiddleware`."""

from collections.abc import Sequence
from typing import cast

from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp
from starlette.websockets import WebSocket, WebSocketDisconnect

from benchmarks import samples
from benchmarks.asgi import App
from benchmarks.peers import header

DISTRIBUTION = "starlette"


class SetHeader(BaseHTTPMiddleware):
    def __init__(self, app: ASGIApp, name: str) -> None:
        super().__init__(app)
        self.name = name

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        response.headers[self.name] = "1"
        return response


async def show(request: Request) -> Response:
    return PlainTextResponse(f"item {request.path_params['id']}")


def build(paths: Sequence[str], layers: int) -> App:
    routes = [Route(path, show) for path in paths]
    middleware = [Middleware(SetHeader, name=header(layer)) for layer in range(layers)]
    return cast(App, Starlette(routes=routes, middleware=middleware))


def wrap(app: App, layers: int) -> App:
    for layer in range(layers):
        app = cast(App, SetHeader(cast(ASGIApp, app), header(layer)))
    return app


BUILDERS = {"starlette": build}


async def echo_json(request: Request) -> Response:
    return JSONResponse(await request.json())


async def read(request: Request) -> Response:
    cookies, headers = request.cookies, request.headers
    return PlainTextResponse(
        f"{cookies['session']} {cookies['theme']} {headers['user-agent']} {headers['x-request-id']}"
    )


async def stream(request: Request) -> Response:
    return StreamingResponse(samples.chunks(), media_type="text/plain")


async def events(request: Request) -> Response:
    return StreamingResponse(samples.events(), media_type="text/event-stream")


async def socket(websocket: WebSocket) -> None:
    await websocket.accept()
    try:
        while True:
            await websocket.send_text(await websocket.receive_text())
    except WebSocketDisconnect:
        pass


async def upload(request: Request) -> Response:
    async with request.form() as form:
        file = form["file"]
        assert isinstance(file, UploadFile)
        return PlainTextResponse(f"{form['title']}: {file.size}")


def app(*routes: BaseRoute) -> App:
    return cast(App, Starlette(routes=list(routes)))


FEATURES = {
    "json": lambda: app(Route("/json", echo_json, methods=["POST"])),
    "read": lambda: app(Route("/read/{id:int}", read)),
    "stream": lambda: app(Route("/stream", stream)),
    "socket": lambda: app(WebSocketRoute("/socket", socket)),
    "files": lambda: app(Mount("/files", StaticFiles(directory=samples.folder()))),
    "upload": lambda: app(Route("/upload", upload, methods=["POST"])),
    "events": lambda: app(Route("/events", events)),
}
