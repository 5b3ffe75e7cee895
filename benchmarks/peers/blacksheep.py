"""BlackSheep, with its middlewares: functions of the request and the next handler."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import cast

from blacksheep import (
    Application,
    Content,
    Request,
    Response,
    Router,
    StreamedContent,
    WebSocket,
    WebSocketDisconnectError,
    json,
    text,
)

from benchmarks import samples
from benchmarks.asgi import App
from benchmarks.peers import header

DISTRIBUTION = "blacksheep"

Handler = Callable[[Request], Awaitable[Response]]
Middleware = Callable[[Request, Handler], Awaitable[Response]]


def set_header(name: bytes) -> Middleware:
    async def middleware(request: Request, handler: Handler) -> Response:
        response = await handler(request)
        response.headers[name] = b"1"
        return response

    return middleware


def handler() -> Callable[[int], Awaitable[Response]]:
    """Return a handler of its own for each route.

    BlackSheep 2.6 wraps a handler in place when the app starts: one function in ten routes would be
    wrapped ten times, and fail.
    """

    async def show(id: int) -> Response:
        return text(f"item {id}")

    return show


def build(paths: Sequence[str], layers: int) -> App:
    router = Router()
    for path in paths:
        router.add_get(path.replace("{id:int}", "{int:id}"), handler())
    app = Application(router=router)
    for layer in range(layers):
        app.middlewares.append(set_header(header(layer).encode()))
    return cast(App, app)


async def echo_json(request: Request) -> Response:
    return json(await request.json())


async def read(request: Request) -> Response:
    first = request.get_first_header
    agent, identity = first(b"user-agent"), first(b"x-request-id")
    assert agent is not None
    assert identity is not None
    session, theme = request.get_cookie("session"), request.get_cookie("theme")
    return text(f"{session} {theme} {agent.decode()} {identity.decode()}")


def streamed(content_type: bytes, body: Callable[[], AsyncIterator[bytes]]) -> Response:
    return Response(200, content=cast(Content, StreamedContent(content_type, body)))


async def stream() -> Response:
    return streamed(b"text/plain", samples.chunks)


async def events() -> Response:
    return streamed(b"text/event-stream", samples.events)


async def socket(websocket: WebSocket) -> None:
    await websocket.accept()
    try:
        while True:
            await websocket.send_text(await websocket.receive_text())
    except WebSocketDisconnectError:
        pass


async def upload(request: Request) -> Response:
    form = await request.form()
    assert form is not None
    return text(f"{form['title']}: {form['file'][0].size}")


def app(method: str, path: str, endpoint: Callable[..., Awaitable[Response]]) -> App:
    app = Application(router=Router())
    app.router.add(method, path, endpoint)
    return cast(App, app)


def socket_app() -> App:
    app = Application(router=Router())
    app.router.add_ws("/socket", socket)
    return cast(App, app)


def files_app() -> App:
    app = Application(router=Router())
    app.serve_files(samples.folder(), root_path="files", extensions={".txt", ".bin"})
    return cast(App, app)


BUILDERS = {"blacksheep": build}
FEATURES = {
    "json": lambda: app("POST", "/json", echo_json),
    "read": lambda: app("GET", "/read/:id", read),
    "stream": lambda: app("GET", "/stream", stream),
    "socket": socket_app,
    "files": files_app,
    "upload": lambda: app("POST", "/upload", upload),
    "events": lambda: app("GET", "/events", events),
}
