"""Starlette, with `BaseHTTPMiddleware`."""

from collections.abc import Sequence
from typing import cast

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

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
