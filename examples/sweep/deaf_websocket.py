"""A WebSocket that only sends does not learn that its client has left.

The bug: the endpoint reports a measurement now and then, and never receives. On servers whose
`send` to a client that left says nothing (hypercorn, granian), it reports to nobody for ever; on
the others it finds out at its next word, a quarter of an hour later.

Reported in: Kludex/starlette#1811, Kludex/starlette#1121, Kludex/starlette#759,
falconry/falcon#1741. Mended by waiting for the end of the connection, as long as it would sleep.
"""

import anyio
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute as StarlettesRoute

from hesper.applications import Hesper
from hesper.routing import WebSocketRoute as HespersRoute

REQUEST = ("WEBSOCKET", "/measurements")
FINDS = "hang"

PACE = 900
"""Seconds from one measurement to the next."""


async def deaf(websocket):
    await websocket.accept()
    while True:
        await websocket.send_json({"temperature": 20})
        await anyio.sleep(PACE)


async def attentive(websocket):
    await websocket.accept()
    while True:
        await websocket.send_json({"temperature": 20})
        with anyio.move_on_after(PACE):
            await websocket.wait_disconnected()  # and the next send raises


app = Starlette(routes=[StarlettesRoute("/measurements", deaf)])
mended = Hesper(routes=[HespersRoute("/measurements", attentive)])
