"""The app that each server of the matrix serves: the same endpoints under each policy, and bare.

``/continue/...``, ``/cancel/...`` and ``/finish/...`` are mounts of one ``Hesper``; ``/bare/...`` is no
part of it, so that what a server does can be told from what Hesper makes of it.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import anyio

from hesper.applications import Hesper
from hesper.requests import Request
from hesper.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from hesper.routing import Mount, Route, WebSocketRoute
from hesper.types import Receive, Scope, Send
from hesper.websockets import WebSocket, WebSocketDisconnect
from tests.servers.matrix import bare
from tests.servers.matrix.produce import PAUSE, PIECE, blocks, fate, pieces
from tests.servers.matrix.witness import Witness, journal
from tests.storm.pieces import measure, speak_up

speak_up()


def visit_of(connection: Request | WebSocket) -> str:
    """The visit that a request belongs to."""
    return connection.query_params["id"]


def seconds_of(connection: Request | WebSocket) -> float:
    """How long the handler works."""
    return float(connection.query_params.get("seconds", "2"))


async def wait(request: Request) -> Response:
    """Work that takes its time, and does not ask about the client."""
    async with fate(visit_of(request), "handler"):
        await anyio.sleep(seconds_of(request))
    return PlainTextResponse("late")


async def polite(request: Request) -> Response:
    """A long poll: it ends by itself when the app shuts down."""
    async with fate(visit_of(request), "handler"):
        await request.wait_shutting_down()
    return PlainTextResponse("nothing new")


def thread(request: Request) -> Response:
    """The same in a thread, which looks whether the client is still there."""
    visit = visit_of(request)
    journal.note(visit, "handler begun")
    end = time.monotonic() + seconds_of(request)
    while time.monotonic() < end and not request.disconnected:
        time.sleep(PAUSE)
    journal.note(visit, "handler told" if request.disconnected else "handler finished")
    return PlainTextResponse("late")


async def upload(request: Request) -> Response:
    """Reads a body."""
    async with fate(visit_of(request), "handler"):
        size = len(await request.body())
    return PlainTextResponse(str(size))


async def stream(request: Request) -> Response:
    """A response that takes its time."""
    return StreamingResponse(pieces(visit_of(request), int(request.query_params.get("n", "25"))))


async def torrent(request: Request) -> Response:
    """A response that is as fast as the client."""
    return StreamingResponse(blocks(visit_of(request)))


async def listen(websocket: WebSocket) -> None:
    """A socket that only receives."""
    await websocket.accept()
    async with fate(visit_of(websocket), "handler"):
        try:
            while True:
                await websocket.receive_text()
        except WebSocketDisconnect as exc:
            journal.note(visit_of(websocket), "code", code=exc.code, reason=exc.reason)
            raise


async def busy(websocket: WebSocket) -> None:
    """A socket that works, and asks nothing."""
    await websocket.accept()
    async with fate(visit_of(websocket), "handler"):
        await anyio.sleep(seconds_of(websocket))


async def talk(websocket: WebSocket) -> None:
    """A socket that only sends."""
    await websocket.accept()
    async with fate(visit_of(websocket), "handler"):
        end = anyio.current_time() + seconds_of(websocket)
        while anyio.current_time() < end:
            await websocket.send_bytes(PIECE)
            await anyio.sleep(PAUSE)


async def passing(
    request: Request, call_next: Callable[[Request], Awaitable[Response]]
) -> Response:
    """A middleware that changes nothing, so that there is one."""
    return await call_next(request)


ROUTES = [
    Route("/wait", wait, methods=["GET", "POST"]),
    Route("/polite", polite),
    Route("/thread", thread),
    Route("/upload", upload, methods=["POST"]),
    Route("/stream", stream),
    Route("/torrent", torrent),
    WebSocketRoute("/listen", listen),
    WebSocketRoute("/busy", busy),
    WebSocketRoute("/talk", talk),
]


async def probe(request: Request) -> Response:
    """What the server holds now."""
    return JSONResponse(measure(by_type=True))


async def stop(request: Request) -> Response:
    """What an operator's hook would do before the server is stopped."""
    hesper.begin_shutdown(float(request.query_params["grace"]))
    return PlainTextResponse("soon")


hesper = Hesper(
    routes=[
        Route("/probe", probe),
        Route("/stop", stop),
        Mount("/continue", routes=ROUTES, on_disconnect="continue"),
        Mount("/cancel", routes=ROUTES, on_disconnect="cancel"),
        Mount("/finish", routes=ROUTES, on_disconnect="finish"),
    ],
    middleware=[passing, passing],
    shutdown_grace=1.0,
)


async def choose(scope: Scope, receive: Receive, send: Send) -> None:
    """Hesper, or the bare app."""
    is_bare = scope["type"] != "lifespan" and scope["path"].startswith("/bare/")
    await (bare.app if is_bare else hesper)(scope, receive, send)


app = Witness(choose)
