"""A generator inside of a generator is left to the garbage collector.

The bug: a dependency passes on another one with `async for`, which never closes what it iterates.
If the request is cancelled, the outer generator ends at its `yield`, and the inner one stands in
the middle of its `try`. Its connection comes back when the collector gets to it, in another task.

Reported in: mozilla-ai/otari#1236 ("connections are never returned to the pool"), and as the same
fault in streams of litellm and langfuse (langfuse/langfuse-python#1112). Mended with `aclosing`.
"""

from contextlib import aclosing
from typing import Annotated

import anyio
from fastapi import Depends, FastAPI

REQUEST = ("GET", "/users/7")
FINDS = "generator-left"

taken: list[str] = []
"""The connections that are not in the pool."""


async def connection():
    taken.append("a connection")
    try:
        yield taken[-1]
    finally:
        taken.pop()


async def abandoning():
    async for each in connection():
        yield each


async def closing():
    async with aclosing(connection()) as connections:
        async for each in connections:
            yield each


def make(dependency):
    app = FastAPI(openapi_url=None)

    @app.get("/users/{number}")
    async def user(number: int, connection: Annotated[str, Depends(dependency)]) -> dict[str, int]:
        await anyio.sleep(1)  # SELECT
        return {"user": number}

    return app


app = make(abandoning)
mended = make(closing)
