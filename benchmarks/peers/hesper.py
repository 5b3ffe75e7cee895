"""Hesper, with `BaseHTTPMiddleware` and with plain functions."""

from collections.abc import Sequence
from typing import cast

from benchmarks.asgi import App
from benchmarks.peers import header
from hesper.applications import Hesper
from hesper.middleware import Middleware
from hesper.middleware.base import BaseHTTPMiddleware, DispatchFunction, RequestResponseEndpoint
from hesper.requests import Request
from hesper.responses import PlainTextResponse, Response
from hesper.routing import Route
from hesper.types import ASGIApp

DISTRIBUTION = "hesper"


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
    return cast(App, Hesper(routes=routes, middleware=middleware))


def set_header(name: str) -> DispatchFunction:
    async def middleware(request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        response.headers[name] = "1"
        return response

    return middleware


def build_functions(paths: Sequence[str], layers: int) -> App:
    routes = [Route(path, show) for path in paths]
    middleware = [set_header(header(layer)) for layer in range(layers)]
    return cast(App, Hesper(routes=routes, middleware=middleware))


def wrap(app: App, layers: int) -> App:
    for layer in range(layers):
        app = cast(App, SetHeader(cast(ASGIApp, app), header(layer)))
    return app


BUILDERS = {"hesper": build, "hesper function": build_functions}
