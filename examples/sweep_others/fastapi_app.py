"""FastAPI with a `yield` dependency, a `StreamingResponse`, and an `@app.middleware("http")`.

hesper sweep examples.sweep_others.fastapi_app:app /stream
"""

from typing import Annotated

import anyio
from fastapi import Depends, FastAPI
from fastapi.responses import StreamingResponse


class Connection:
    """Of a database: it takes a while to give back."""

    async def fetch(self, number):
        await anyio.sleep(1)
        return f"{number}\n"

    async def close(self):
        await anyio.sleep(1)


async def connection():
    taken = Connection()
    try:
        yield taken
    finally:
        await taken.close()


Database = Annotated[Connection, Depends(connection)]


async def name_the_server(request, call_next):
    response = await call_next(request)
    response.headers["x-served-by"] = "worker-1"
    return response


def make(*, middleware):
    api = FastAPI()
    if middleware:
        api.middleware("http")(name_the_server)

    @api.get("/plain")
    async def plain(database: Database):
        return await database.fetch(7)

    @api.get("/stream")
    async def stream(database: Database):
        async def rows():
            for number in range(3):
                yield await database.fetch(number)

        return StreamingResponse(rows())

    return api


app = make(middleware=True)
without = make(middleware=False)
