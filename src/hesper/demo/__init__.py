"""``hesper demo``: five middlewares, slow endpoints, and a page that shows what became of it.

It uses public names only, so it is an example as well: ``journal`` for how to learn of endings,
``stack`` for the middleware, ``endpoints`` for the rest.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio

from hesper.applications import Hesper
from hesper.demo.endpoints import (
    break_off,
    clear_journal,
    echo,
    fail,
    page,
    show_journal,
    slow,
    tokens,
    upload,
)
from hesper.demo.journal import journal
from hesper.demo.stack import Counting, Timing, identify, protect, record
from hesper.middleware import Middleware
from hesper.routing import Route, WebSocketRoute

__all__ = ["app"]


@asynccontextmanager
async def lifespan(app: Hesper) -> AsyncGenerator[None, None]:
    """Notes how many tasks the server has before the first request."""
    journal.idle_tasks = len(anyio.get_running_tasks())
    yield


app = Hesper(
    routes=[
        Route("/", page),
        Route("/slow", slow),
        Route("/tokens", tokens),
        Route("/upload", upload, methods=["POST"]),
        Route("/fail", fail),
        Route("/break", break_off),
        WebSocketRoute("/echo", echo),
        Route("/journal", show_journal),
        Route("/journal", clear_journal, methods=["DELETE"], name="clear_journal"),
    ],
    middleware=[
        identify,
        record,
        Middleware(Timing),
        Middleware(Counting),
        protect,
    ],
    lifespan=lifespan,
)
