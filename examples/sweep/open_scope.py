"""A timeout around a `yield` is left open in a task that it does not belong to.

The bug: the stream holds a cancel scope open at its `yield`, and Starlette drops a generator that
stands there when the client leaves. The scope stays behind in a task that has gone on, or is left
in another one when the collector closes the generator ("Attempted to exit cancel scope in a
different task than it was entered in"); on trio it corrupts the stack of scopes.

Reported in: unslothai/unsloth#6454, vllm-project/vllm#25697, open-webui/open-webui#23143; PEP 789
has the reasons. Mended by Hesper's StreamingResponse, which closes the generator in the task that
ran it, before anything else: one import.
"""

import anyio
from starlette import responses as starlettes
from starlette.applications import Starlette
from starlette.routing import Route

from hesper import responses as hespers

REQUEST = ("GET", "/tokens")
FINDS = "scope-left"


async def tokens():
    with anyio.fail_after(60):
        for number in range(4):
            yield f"data: {number}\n\n"
            if number % 2:
                await anyio.sleep(1)  # the model


def make(responses):
    async def endpoint(request):
        return responses.StreamingResponse(tokens(), media_type="text/event-stream")

    return Starlette(routes=[Route("/tokens", endpoint)])


app = make(starlettes)
mended = make(hespers)
