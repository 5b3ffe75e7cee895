"""A long poll takes its cancellation for a timeout, and goes on.

The bug: `except (TimeoutError, CancelledError)` around the wait for the next event, so that
"nothing came yet" and "you are to end" look the same. The server that shuts down cancels the task
once; the task waits for the next event, and the server for the task.

Reported in: aio-libs/aiohttp-sse#458, miguelgrinberg/python-engineio#95, langflow-ai/langflow#6625,
IBM/mcp-context-forge#2941 (13 places). Mended by catching the timeout only. asyncio only.
"""

import asyncio

from fastapi import FastAPI

REQUEST = ("GET", "/next")
FINDS = "cancel-swallowed"
BACKENDS = ("asyncio",)

PATIENCE = 10
"""Seconds that it waits before it looks whether all is well."""


async def next_event(ignored):
    event = asyncio.Event()
    asyncio.get_running_loop().call_later(25, event.set)  # something happens
    while True:
        try:
            await asyncio.wait_for(event.wait(), PATIENCE)
            return "something"
        except ignored:
            continue  # nothing came yet


def make(ignored):
    app = FastAPI(openapi_url=None)

    @app.get("/next")
    async def answer() -> dict[str, str]:
        return {"event": await next_event(ignored)}

    return app


app = make((TimeoutError, asyncio.CancelledError))
mended = make(TimeoutError)
