"""Five middlewares around a slow endpoint: the client leaves in the middle, nothing goes wrong."""

from __future__ import annotations

from contextvars import ContextVar
from logging import getLogger
from secrets import token_hex
from time import perf_counter

import anyio

from hesper.applications import Hesper
from hesper.exceptions import HTTPException
from hesper.middleware import Middleware, MiddlewareEntry
from hesper.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from hesper.requests import Request
from hesper.responses import PlainTextResponse, Response
from hesper.routing import Route

logger = getLogger(__name__)

request_id: ContextVar[str] = ContextVar("request_id")


async def identify(request: Request, call_next: RequestResponseEndpoint) -> Response:
    """Give the request a name, which all that lies below can read."""
    request_id.set(token_hex(4))
    response = await call_next(request)
    response.headers["x-request-id"] = request_id.get()
    return response


class Ending(BaseHTTPMiddleware):
    """Write down how each request ended."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        left = ", but the client left" if request.disconnected else ""
        logger.info("%s %s%s", request.url.path, response.status_code, left)
        return response


class Timing(BaseHTTPMiddleware):
    """Say how long the answer took."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        began = perf_counter()
        response = await call_next(request)
        response.headers["server-timing"] = f"app;dur={(perf_counter() - began) * 1000:.1f}"
        return response


async def limit(request: Request, call_next: RequestResponseEndpoint) -> Response:
    """Give up after ten seconds; the endpoint is cancelled then, a stream is left alone."""
    try:
        with anyio.fail_after(10):
            return await call_next(request)
    except TimeoutError:
        return PlainTextResponse("That took too long.\n", status_code=504)


async def retry(request: Request, call_next: RequestResponseEndpoint) -> Response:
    """Try once more if the first answer was 503."""
    response = await call_next(request)
    if response.status_code == 503:
        response = await call_next(request)
    return response


MIDDLEWARE: list[MiddlewareEntry] = [
    identify,
    Middleware(Ending),
    Middleware(Timing),
    limit,
    retry,
]


async def slow(request: Request) -> PlainTextResponse:
    await anyio.sleep(request.path_params["seconds"])
    return PlainTextResponse(f"{request_id.get()} is done.\n")


async def flaky(request: Request) -> PlainTextResponse:
    request.state.attempts = getattr(request.state, "attempts", 0) + 1
    if request.state.attempts == 1:
        raise HTTPException(503)
    return PlainTextResponse("The second attempt went well.\n")


app = Hesper(
    routes=[
        Route("/slow/{seconds:float}", slow),
        Route("/flaky", flaky),
    ],
    middleware=MIDDLEWARE,
)
