"""An idle stream goes on for ever after its client has left.

The bug: where the server declares version 2.4 of the specification, Starlette does not listen for
the disconnect any more, but waits for `send` to raise. A stream that has nothing to send never
finds out, and keeps its generator, its task and whatever they hold.

Reported in: Kludex/uvicorn#3085, Kludex/starlette#2732, brockamer/findajob#743,
davidbrochart/anycorn#79. Mended by Hesper's StreamingResponse, which does both: one import.
"""

import anyio
from starlette import responses as starlettes
from starlette.applications import Starlette
from starlette.routing import Route

from hesper import responses as hespers

REQUEST = ("GET", "/alerts")
FINDS = "hang"


async def alerts():
    yield "data: listening\n\n"
    while True:
        await anyio.sleep_forever()  # nothing happens
        yield "data: fire!\n\n"


def make(responses):
    async def endpoint(request):
        return responses.StreamingResponse(alerts(), media_type="text/event-stream")

    return Starlette(routes=[Route("/alerts", endpoint)])


app = make(starlettes)
mended = make(hespers)
