"""A bare ASGI app that finds out what a server tells, and what ``receive`` and ``send`` do then."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio

from hesper.types import Message, Receive, Scope, Send
from tests.servers.matrix.produce import BLOCK, BLOCKS, PAUSE, PIECE
from tests.servers.matrix.witness import journal, kind_of, parameter, visit_of

HANGS = 0.5
"""Seconds after which a ``receive`` or a ``send`` that has nothing to wait for is said to hang."""


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve ``/bare/<what>``, over HTTP or as a WebSocket."""
    what = scope["path"].rpartition("/")[2]
    journal.note(visit_of(scope), "handler begun")
    await ENDPOINTS[what](scope, receive, send)
    journal.note(visit_of(scope), "handler finished")


def seconds_of(scope: Scope) -> float:
    """How long the visit may take."""
    return float(parameter(scope, "seconds", "2"))


async def _wait(scope: Scope, receive: Receive, send: Send) -> None:
    with anyio.move_on_after(seconds_of(scope)):
        while (await receive())["type"] != "http.disconnect":
            pass
    await _try_send(scope, send, [_start(), {"type": "http.response.body", "body": b"late"}])
    await _try_receive(scope, receive)


async def _sleep(scope: Scope, receive: Receive, send: Send) -> None:
    await anyio.sleep(seconds_of(scope))
    await send(_start())
    await send({"type": "http.response.body", "body": b"late"})


async def _upload(scope: Scope, receive: Receive, send: Send) -> None:
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        more = message.get("more_body", False)
    journal.note(visit_of(scope), "uploaded")
    await send(_start())
    await send({"type": "http.response.body", "body": b"thanks"})


async def _stream(scope: Scope, receive: Receive, send: Send) -> None:
    """It goes on when it is told, to see what becomes of that."""

    async def produce() -> None:
        await send(_start())
        for _ in range(int(parameter(scope, "n", "25"))):
            await send({"type": "http.response.body", "body": PIECE, "more_body": True})
            await anyio.sleep(PAUSE)
        await send({"type": "http.response.body", "body": b""})

    await _beside_listening(scope, receive, produce)


async def _torrent(scope: Scope, receive: Receive, send: Send) -> None:
    async def produce() -> None:
        await send(_start())
        for number in range(BLOCKS):
            if number % 16 == 0:
                journal.note(visit_of(scope), "progress", mib=number // 16)
            await send({"type": "http.response.body", "body": BLOCK, "more_body": True})
        journal.note(visit_of(scope), "produced")
        await send({"type": "http.response.body", "body": b""})

    await _beside_listening(scope, receive, produce)


async def _beside_listening(
    scope: Scope, receive: Receive, produce: Callable[[], Awaitable[None]]
) -> None:
    async def listen() -> None:
        while not (await receive())["type"].endswith(".disconnect"):
            pass
        told.set()

    async def send() -> None:
        outcome = "silent"
        try:
            await produce()
        except Exception as exc:
            outcome = f"raises {kind_of(exc)}"
        journal.note(visit_of(scope), "sent", outcome=outcome)
        sent.set()

    told, sent = anyio.Event(), anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listen)
        tasks.start_soon(send)
        with anyio.move_on_after(seconds_of(scope)):
            await told.wait()
        with anyio.move_on_after(3 * HANGS):
            await sent.wait()
        if not sent.is_set():
            journal.note(visit_of(scope), "sent", outcome="hangs")
        tasks.cancel_scope.cancel()


async def _listen(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    with anyio.move_on_after(seconds_of(scope)):
        while (await receive())["type"] != "websocket.disconnect":
            pass
    await _try_send(scope, send, [{"type": "websocket.send", "text": "late"}])
    await _try_receive(scope, receive)


async def _try_send(scope: Scope, send: Send, messages: list[Message]) -> None:
    outcome = "silent"
    with anyio.move_on_after(HANGS) as patience:
        try:
            for message in messages:
                await send(message)
        except Exception as exc:
            outcome = f"raises {kind_of(exc)}"
    if patience.cancelled_caught:
        outcome = "hangs"
    journal.note(visit_of(scope), "sent", outcome=outcome)


async def _try_receive(scope: Scope, receive: Receive) -> None:
    outcome = "hangs"
    with anyio.move_on_after(HANGS):
        outcome = f"gives {(await receive())['type']}"
    journal.note(visit_of(scope), "received", outcome=outcome)


def _start() -> Message:
    return {"type": "http.response.start", "status": 200, "headers": []}


ENDPOINTS = {
    "wait": _wait,
    "sleep": _sleep,
    "upload": _upload,
    "stream": _stream,
    "torrent": _torrent,
    "listen": _listen,
}
