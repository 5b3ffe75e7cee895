"""The `finally` of a stream is cancelled while it gives back what it has borrowed.

The bug: when the client leaves, Litestar cancels the stream by a cancel scope, which cancels every
further await as well. So the generator's `finally` gets as far as its first `await`: the
subscription is never closed.

Reported in: litestar-org/litestar#3772, and for the same in Starlette agno-agi/agno#7318 and
BerriAI/litellm#34496. Mended by Hesper's StreamingResponse, which gives a `finally` time to end,
and closes the generator where it stands at a `yield` too.
"""

import anyio
from litestar import Litestar, get
from litestar.response import Stream
from litestar.types import ASGIApp

from hesper.responses import StreamingResponse

REQUEST = ("GET", "/events")
FINDS = "cleanup-cut"

subscriptions: list[str] = []
"""What the broker believes to be subscribed."""


async def events():
    subscriptions.append("news")
    try:
        for number in range(3):
            yield f"data: {number}\n\n"
            await anyio.sleep(5)
    finally:
        await anyio.sleep(0.1)  # the broker is told
        subscriptions.remove("news")


@get("/events")
async def theirs() -> Stream:
    return Stream(events(), media_type="text/event-stream")


@get("/events")
async def ours() -> ASGIApp:
    return StreamingResponse(events(), media_type="text/event-stream")


app = Litestar([theirs], openapi_config=None)
mended = Litestar([ours], openapi_config=None)
