"""Sanic as an ASGI app, with functions that it calls on each response.

Its own server is what Sanic is made for: as an ASGI app it translates. Only that can be measured
in process, beside the others.
"""

from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import Any, cast

from sanic import Request, Sanic, Websocket
from sanic.response import HTTPResponse, json, text

from benchmarks import samples
from benchmarks.asgi import App
from benchmarks.peers import header

DISTRIBUTION = "sanic"

Hook = Callable[[Request, HTTPResponse], Awaitable[None]]

names = count()


def set_header(name: str) -> Hook:
    async def on_response(request: Request, response: HTTPResponse) -> None:
        response.headers[name] = "1"

    return on_response


def new() -> Sanic[Any, Any]:
    # Every app of a process has a name of its own.
    app: Sanic[Any, Any] = Sanic(f"bench-{next(names)}", configure_logging=False)
    app.config.MOTD = False
    app.config.TOUCHUP = False
    return app


async def show(request: Request, id: int) -> HTTPResponse:
    return text(f"item {id}")


def build(paths: Sequence[str], layers: int) -> App:
    app = new()
    for number, path in enumerate(paths):
        app.add_route(show, path.replace("{id:int}", "<id:int>"), name=f"show{number}")
    for layer in range(layers):
        app.register_middleware(set_header(header(layer)), "response")
    return cast(App, app)


async def echo_json(request: Request) -> HTTPResponse:
    return json(request.json)


async def read(request: Request, id: int) -> HTTPResponse:
    cookies, headers = request.cookies, request.headers
    return text(
        f"{cookies.get('session')} {cookies.get('theme')} "
        f"{headers['user-agent']} {headers['x-request-id']}"
    )


async def stream(request: Request) -> None:
    response = await request.respond(content_type="text/plain")
    async for chunk in samples.chunks():
        await response.send(chunk)
    await response.eof()


async def events(request: Request) -> None:
    response = await request.respond(content_type="text/event-stream")
    async for event in samples.events():
        await response.send(event)
    await response.eof()


async def socket(request: Request, ws: Websocket) -> None:
    while (message := await ws.recv()) is not None:
        await ws.send(message)


async def upload(request: Request) -> HTTPResponse:
    file = request.files.get("file")
    return text(f"{request.form.get('title')}: {len(file.body)}")


def app(path: str, endpoint: Any, method: str = "GET") -> App:
    app = new()
    app.config.REQUEST_MAX_SIZE = 2 * samples.UPLOADED
    app.add_route(endpoint, path, methods=[method])
    return cast(App, app)


def socket_app() -> App:
    app = new()
    app.add_websocket_route(socket, "/socket")
    return cast(App, app)


def files_app() -> App:
    app = new()
    app.static("/files", samples.folder())
    return cast(App, app)


BUILDERS = {"sanic": build}
FEATURES = {
    "json": lambda: app("/json", echo_json, "POST"),
    "read": lambda: app("/read/<id:int>", read),
    "stream": lambda: app("/stream", stream),
    "socket": socket_app,
    "files": files_app,
    "upload": lambda: app("/upload", upload, "POST"),
    "events": lambda: app("/events", events),
}
