"""Limits: what takes too long is a 504, what is too much is a 503, and the rest goes on."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import anyio

from hesper.applications import Hesper
from hesper.policies import ConcurrencyLimit
from hesper.requests import Request
from hesper.responses import PlainTextResponse, StreamingResponse
from hesper.routing import Mount, Route


async def search(request: Request) -> PlainTextResponse:
    """A query that takes as long as it takes: ``?seconds=``."""
    await anyio.sleep(float(request.query_params.get("seconds", 0)))
    return PlainTextResponse("found\n")


async def export(request: Request) -> StreamingResponse:
    """A long answer: its time counts until the last byte of it."""
    rows = int(request.query_params.get("rows", 10))

    async def lines() -> AsyncGenerator[str, None]:
        for row in range(rows):
            yield f"row {row}\n"
            await anyio.sleep(0.5)

    return StreamingResponse(lines(), media_type="text/plain")


app = Hesper(
    timeout=10,
    max_concurrency=1000,
    routes=[
        Route("/search", search),
        Mount(
            "/reports",
            # Two at a time, because each takes much memory; eight more wait for their turn.
            max_concurrency=ConcurrencyLimit(2, queue=8, retry_after=30),
            routes=[Route("/export", export, timeout=60)],
        ),
    ],
)
