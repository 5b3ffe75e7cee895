"""Applications inside an application: the lifespan of each one runs inside its parent's."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from hesper.applications import Hesper
from hesper.requests import Request
from hesper.responses import JSONResponse
from hesper.routing import Mount, Route

events: list[str] = []
"""What was opened and closed, in order."""


@asynccontextmanager
async def database(app: Hesper) -> AsyncGenerator[dict[str, str], None]:
    events.append("open database")
    yield {"database": "shop.db"}
    events.append("close database")


@asynccontextmanager
async def printer(app: Hesper) -> AsyncGenerator[dict[str, str], None]:
    events.append("open printer")
    yield {"printer": "lp0"}
    events.append("close printer")


async def order(request: Request) -> JSONResponse:
    # The state of the mounted app: its parent's, and its own over it.
    return JSONResponse(
        {
            "database": request.state.database,
            "printer": request.state.printer,
            "again": str(request.url_for("shop:order", number=request.path_params["number"])),
        }
    )


shop = Hesper(
    routes=[Route("/orders/{number:int}", order, name="order")],
    lifespan=printer,
)

app = Hesper(
    routes=[Mount("/shop", app=shop, name="shop")],
    lifespan=database,
)
