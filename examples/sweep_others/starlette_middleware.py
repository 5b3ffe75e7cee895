"""Starlette without and with `BaseHTTPMiddleware`, one and four deep, around three endpoints.

hesper sweep examples.sweep_others.starlette_middleware:four /stream
"""

import anyio
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route


async def plain(request):
    await anyio.sleep(1)  # the database
    return PlainTextResponse("all is well")


async def rows():
    for number in range(3):
        yield f"{number}\n"
        await anyio.sleep(1)


async def stream(request):
    return StreamingResponse(rows())


async def rows_of_a_cursor():
    try:
        async for row in rows():
            yield row
    finally:
        await anyio.sleep(1)  # closes it


async def cursor(request):
    return StreamingResponse(rows_of_a_cursor())


class NameTheServer(BaseHTTPMiddleware):
    async def dispatch(self, request, call_next):
        response = await call_next(request)
        response.headers["x-served-by"] = "worker-1"
        return response


def make(depth):
    return Starlette(
        routes=[Route("/plain", plain), Route("/stream", stream), Route("/cursor", cursor)],
        middleware=[Middleware(NameTheServer)] * depth,
    )


none, one, four = make(0), make(1), make(4)
