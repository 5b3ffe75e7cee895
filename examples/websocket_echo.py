"""Two WebSockets: one that answers, and one that only sends and learns all the same."""

from __future__ import annotations

from itertools import count

import anyio

from hesper.applications import Hesper
from hesper.routing import WebSocketRoute
from hesper.websockets import WebSocket, WebSocketDisconnect

left: list[int] = []
"""The close codes of the clients that left the ticker."""


async def echo(websocket: WebSocket) -> None:
    """Send every text back, until the client leaves."""
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(text)


async def ticker(websocket: WebSocket) -> None:
    """Send numbers and never receive."""
    await websocket.accept()
    try:
        for number in count():
            await websocket.send_text(str(number))
            await anyio.sleep(0.05)
    except WebSocketDisconnect as exc:
        left.append(exc.code)
        raise  # uncaught, it ends the socket quietly


app = Hesper(
    routes=[
        WebSocketRoute("/echo", echo),
        WebSocketRoute("/ticker", ticker),
    ]
)
