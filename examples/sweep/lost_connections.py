"""A cancelled request does not give its database connections back.

The bug: two queries run side by side in a task group, and each awaits in its `finally`. A cancel
scope cancels every await, not only the first, and so that of the cleanup too: the connection is
never back in the pool, and the pool is empty some day.

Reported in: mozilla-ai/otari#1236 ("Cancelled via cancel scope", and then "QueuePool limit of size
10 overflow 20 reached"), Alishahryar1/free-claude-code#1060. Mended with a shield around the
cleanup, which has a time limit of its own.
"""

import anyio
from fastapi import FastAPI

REQUEST = ("GET", "/dashboard")
FINDS = "cleanup-cut"


class Pool:
    taken = 0

    async def give_back(self):
        await anyio.sleep(0.1)  # ROLLBACK
        self.taken -= 1


pool = Pool()


async def query():
    pool.taken += 1
    try:
        await anyio.sleep(1)  # SELECT
    finally:
        await pool.give_back()


async def shielded_query():
    pool.taken += 1
    try:
        await anyio.sleep(1)  # SELECT
    finally:
        with anyio.move_on_after(10, shield=True):
            await pool.give_back()


def make(query):
    app = FastAPI(openapi_url=None)

    @app.get("/dashboard")
    async def dashboard() -> dict[str, bool]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(query)
            tasks.start_soon(query)
        return {"up": True}

    return app


app = make(query)
mended = make(shielded_query)
