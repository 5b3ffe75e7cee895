"""A task that listens for the disconnect is never ended.

The bug: the endpoint runs its work beside a task that waits in `receive`, and takes whichever is
first. The listener stays behind when the work is done; on a kept-alive connection it waits for
ever, and the next message of the connection is its own. If the request is cancelled, both stay.

Reported in: vllm-project/vllm#11190 and its `with_cancellation`, Kludex/starlette#1022, and "The
Peek That Always Returns False" (from 500 tasks to 2200). Mended with a task group, which cannot be
left before its tasks. asyncio only.
"""

import asyncio

import anyio
from fastapi import FastAPI, Request, Response

REQUEST = ("GET", "/answer")
FINDS = "receive-left"
BACKENDS = ("asyncio",)


async def generate():
    await anyio.sleep(3)  # the model
    return Response("42")


async def until_gone(request):
    while (await request.receive())["type"] != "http.disconnect":
        pass
    return Response(status_code=499)


app = FastAPI(openapi_url=None)


@app.get("/answer")
async def answer(request: Request) -> Response:
    work = asyncio.create_task(generate())
    gone = asyncio.create_task(until_gone(request))
    done, _ = await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
    if gone in done:
        work.cancel()
    return done.pop().result()


mended = FastAPI(openapi_url=None)


@mended.get("/answer")
async def answer_in_a_group(request: Request) -> Response:
    answers = []

    async def first(function, *args):
        answers.append(await function(*args))
        tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(first, generate)
        tasks.start_soon(first, until_gone, request)
    return answers[0]
