"""A task that nobody waits for sends the mail, or does not.

The bug: `asyncio.create_task` in an endpoint. The task belongs to no one: the event loop keeps only
a weak reference to it, a shutdown does not wait for it, and its errors are seen by no one.

Reported in: Datus-ai/Datus-agent#1002, keephq/keep#6552, fastapiutils/fastapi-utils#266. Mended
with a background task of the response, which the server waits for. asyncio only.
"""

import asyncio

import anyio
from fastapi import BackgroundTasks, FastAPI

REQUEST = ("POST", "/orders")
FINDS = "task-left"
BACKENDS = ("asyncio",)

mails: list[str] = []
"""The mails that were sent."""


async def send_mail(text: str) -> None:
    await anyio.sleep(30)  # the mail server
    mails.append(text)


app = FastAPI(openapi_url=None)


@app.post("/orders")
async def forget() -> dict[str, bool]:
    asyncio.create_task(send_mail("Thank you."))  # noqa: RUF006 (this is the bug)
    return {"ordered": True}


mended = FastAPI(openapi_url=None)


@mended.post("/orders")
async def order(background: BackgroundTasks) -> dict[str, bool]:
    background.add_task(send_mail, "Thank you.")
    return {"ordered": True}
