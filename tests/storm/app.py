"""What the storm goes over: the demo's five middlewares around one endpoint of each kind, under the
policy that the environment names."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

import anyio

from hesper.applications import Hesper
from hesper.background import BackgroundTask
from hesper.datastructures import UploadFile
from hesper.demo.endpoints import slow, upload
from hesper.demo.journal import journal
from hesper.demo.stack import Counting, Timing, identify, protect, record
from hesper.middleware import Middleware
from hesper.requests import Request
from hesper.responses import (
    FileResponse,
    JSONResponse,
    PlainTextResponse,
    Response,
    StreamingResponse,
)
from hesper.routing import Route
from tests.storm.pieces import (
    AT_REST,
    counts,
    flood,
    make_file,
    measure,
    pieces,
    speak_up,
    sync_pieces,
    work,
)

Endpoint = Callable[[Request], Awaitable[Response]]

FILE = make_file()
POLICY: Any = os.environ.get("STORM_POLICY")
speak_up()


def counted(endpoint: Endpoint) -> Endpoint:
    """An endpoint that is counted while it runs."""

    @wraps(endpoint)
    async def run(request: Request) -> Response:
        counts.handlers += 1
        try:
            return await endpoint(request)
        finally:
            counts.handlers -= 1

    return run


def n_of(request: Request) -> int:
    """How many pieces the client asks for."""
    return int(request.query_params["n"])


async def tokens(request: Request) -> Response:
    """A stream that waits; the middleware ``record`` puts a wrapper around its body."""
    return StreamingResponse(pieces(n_of(request)))


async def torrent(request: Request) -> Response:
    """A stream that never waits; a client that does not read blocks it in ``send``."""
    return StreamingResponse(flood(n_of(request)))


async def threaded(request: Request) -> Response:
    """A stream from a sync generator."""
    return StreamingResponse(sync_pieces(n_of(request)))


async def file(request: Request) -> Response:
    """A file."""
    return FileResponse(FILE)


async def echo(request: Request) -> Response:
    """JSON in, JSON out."""
    return JSONResponse(await request.json())


async def form(request: Request) -> Response:
    """A form with a file that is large enough to be on the disk."""
    async with request.form() as fields:
        value = fields["file"]
        assert isinstance(value, UploadFile)
        return PlainTextResponse(str(value.size))


async def background(request: Request) -> Response:
    """An answer that leaves work behind."""
    counts.background += 1
    return PlainTextResponse("later\n", background=BackgroundTask(work))


async def wait(request: Request) -> Response:
    """A long poll: it waits for the client's leaving, both ways, for a moment."""
    with anyio.move_on_after(0.05):
        await request.wait_disconnected()
    await request.is_disconnected()
    return PlainTextResponse("nothing new\n")


def thread(request: Request) -> Response:
    """A plain function, run in a thread."""
    return PlainTextResponse("from a thread\n")


async def probe(request: Request) -> Response:
    """What the server holds now."""
    await anyio.sleep(AT_REST)
    measured = measure(by_type="types" in request.query_params)
    return JSONResponse({**measured, "journal": journal.running})


app = Hesper(
    routes=[
        Route("/slow", counted(slow)),
        Route("/ignore", counted(slow), methods=["POST"]),
        Route("/tokens", counted(tokens)),
        Route("/torrent", counted(torrent)),
        Route("/threaded", counted(threaded)),
        Route("/file", counted(file)),
        Route("/upload", counted(upload), methods=["POST"]),
        Route("/echo", counted(echo), methods=["POST"]),
        Route("/form", counted(form), methods=["POST"]),
        Route("/background", counted(background)),
        Route("/wait", counted(wait)),
        Route("/thread", thread),
        Route("/probe", probe),
    ],
    middleware=[identify, record, Middleware(Timing), Middleware(Counting), protect],
    on_disconnect=POLICY,
)
