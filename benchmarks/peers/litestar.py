"""Litestar, with `ASGIMiddleware`: the way its documentation shows to set a header from outside.

`after_request` sees the response as a value, but takes one function a layer and cannot be stacked.
"""

from collections.abc import Sequence
from typing import cast

from litestar import Litestar, MediaType, get
from litestar.datastructures import MutableScopeHeaders
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Message, Receive, Scope, Send

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
    # Logging and the schema are off: nobody else's app has them.
    app = Litestar(handlers, middleware=middleware, openapi_config=None, logging_config=None)
    return cast(App, app)


BUILDERS = {"litestar": build}
