"""Quart, with functions that it calls after each request.

`after_request` is how Quart's documentation sets a header; it calls them last one first.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

from quart import Quart, Response, request, websocket

from benchmarks import samples
from benchmarks.asgi import App
from benchmarks.peers import header

DISTRIBUTION = "quart"


def set_header(name: str) -> Callable[[Response], Awaitable[Response]]:
    async def after(response: Response) -> Response:
        response.headers[name] = "1"
        return response

    return after


def text(body: str) -> Response:
    return Response(body, content_type="text/plain; charset=utf-8")


async def show(id: int) -> Response:
    return text(f"item {id}")


def new() -> Quart:
    app = Quart(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = None  # of 16 MB
    return app


def build(paths: Sequence[str], layers: int) -> App:
    app = new()
    for number, path in enumerate(paths):
        app.add_url_rule(path.replace("{id:int}", "<int:id>"), f"show{number}", show)
    for layer in range(layers):
        app.after_request(set_header(header(layer)))
    return cast(App, app)


async def echo_json() -> Any:
    return await request.get_json()


async def read(id: int) -> Response:
    cookies, headers = request.cookies, request.headers
    return text(
        f"{cookies['session']} {cookies['theme']} {headers['user-agent']} {headers['x-request-id']}"
    )


async def stream() -> Response:
    return Response(samples.chunks(), content_type="text/plain")


async def events() -> Response:
    response = Response(samples.events(), content_type="text/event-stream")
    response.timeout = None  # of a minute
    return response


async def socket() -> None:
    # A client that leaves cancels this.
    while True:
        await websocket.send(await websocket.receive())


async def upload() -> Response:
    form, files = await request.form, await request.files
    size = files["file"].stream.seek(0, 2)
    return text(f"{form['title']}: {size}")


def app(path: str, endpoint: Callable[..., Awaitable[Any]], method: str = "GET") -> App:
    app = new()
    app.add_url_rule(path, None, endpoint, methods=[method])
    return cast(App, app)


def socket_app() -> App:
    app = new()
    app.add_websocket("/socket", None, socket)
    return cast(App, app)


def files_app() -> App:
    app = Quart(__name__, static_folder=str(samples.folder()), static_url_path="/files")
    return cast(App, app)


BUILDERS = {"quart": build}
FEATURES = {
    "json": lambda: app("/json", echo_json, "POST"),
    "read": lambda: app("/read/<int:id>", read),
    "stream": lambda: app("/stream", stream),
    "socket": socket_app,
    "files": files_app,
    "upload": lambda: app("/upload", upload, "POST"),
    "events": lambda: app("/events", events),
}
