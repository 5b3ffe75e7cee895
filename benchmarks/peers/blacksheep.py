"""BlackSheep, with its middlewares: functions of the request and the next handler."""

from collections.abc import Awaitable, Callable, Sequence
from typing import cast

from blacksheep import Application, Request, Response, Router, text

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


BUILDERS = {"blacksheep": build}
