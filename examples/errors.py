"""Errors: answered before the response has started, and never hidden after."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from hesper.applications import Hesper
from hesper.exceptions import HTTPException
from hesper.middleware.base import RequestResponseEndpoint
from hesper.requests import Request
from hesper.responses import JSONResponse, Response, StreamingResponse
from hesper.routing import Route


class OutOfStock(Exception):
    """There is none left."""


async def sign(request: Request, call_next: RequestResponseEndpoint) -> Response:
    """Add a header to every response, the 500 included."""
    response = await call_next(request)
    response.headers["x-served-by"] = "hesper"
    return response


async def authorize(request: Request, call_next: RequestResponseEndpoint) -> Response:
    """Refuse by raising: the application's handlers answer, as for an endpoint."""
    if request.url.path == "/secret":
        raise HTTPException(403, "Not for you.")
    return await call_next(request)


async def buy(request: Request) -> Response:
    raise OutOfStock("tea")


async def crash(request: Request) -> Response:
    raise ValueError("a bug")


async def half(request: Request) -> StreamingResponse:
    async def body() -> AsyncGenerator[bytes, None]:
        yield b"half of the "
        raise ValueError("a bug in the middle")

    return StreamingResponse(body(), media_type="text/plain")


async def on_http_exception(request: Request, exc: Any) -> JSONResponse:
    return JSONResponse({"error": exc.detail}, status_code=exc.status_code, headers=exc.headers)


async def on_out_of_stock(request: Request, exc: Any) -> JSONResponse:
    return JSONResponse({"error": f"no {exc} left"}, status_code=409)


async def on_server_error(request: Request, exc: Exception) -> JSONResponse:
    return JSONResponse({"error": "our fault"}, status_code=500)


app = Hesper(
    routes=[
        Route("/buy", buy, methods=["POST"]),
        Route("/crash", crash),
        Route("/half", half),
    ],
    middleware=[sign, authorize],
    exception_handlers={
        HTTPException: on_http_exception,
        OutOfStock: on_out_of_stock,
        500: on_server_error,
    },
)
