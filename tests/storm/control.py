"""A bare ASGI app that behaves well, to tell a server's own noise from Hesper's.

The law: it does what a careful author does without a toolkit. It reads the body
first, listens for the disconnect while it answers, stops when it comes, and raises nothing of its
own. Only ``/ignore`` answers without receiving anything.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from urllib.parse import parse_qs

import anyio

from hesper.types import Receive, Scope, Send
from tests.storm.pieces import AT_REST, FILE_SIZE, flood, measure, pieces, speak_up

speak_up()


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """The paths of ``tests.storm.app``, and answers like its."""
    if scope["type"] == "lifespan":
        await _live(receive, send)
        return
    gone = anyio.Event()
    if scope["path"] == "/ignore":
        await _answer(scope, 0, send, gone)
        return
    size = await _read(receive)
    if size is None:
        return
    async with anyio.create_task_group() as group:
        group.start_soon(_listen, receive, gone)
        try:
            await _answer(scope, size, send, gone)
        except RuntimeError as exc:
            if not str(exc).endswith("the handler is closed"):  # uvloop's word for a lost client
                raise
        group.cancel_scope.cancel()


async def _live(receive: Receive, send: Send) -> None:
    for phase in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{phase}.complete"})


async def _read(receive: Receive) -> int | None:
    """The size of the body; None if it broke off."""
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        size += len(message.get("body", b""))
        if not message.get("more_body", False):
            return size


async def _listen(receive: Receive, gone: anyio.Event) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    gone.set()


async def _answer(scope: Scope, size: int, send: Send, gone: anyio.Event) -> None:
    query = parse_qs(scope["query_string"].decode())
    n = int(query.get("n", ["1"])[0])
    await send({"type": "http.response.start", "status": 200, "headers": []})
    async with aclosing(_body(scope["path"], size, n, "types" in query)) as body:
        async for piece in body:
            if gone.is_set():
                return
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _body(path: str, size: int, n: int, by_type: bool) -> AsyncGenerator[bytes, None]:
    if path == "/probe":
        await anyio.sleep(AT_REST)
        yield json.dumps({**measure(by_type), "journal": 0}).encode()
    elif path in {"/tokens", "/threaded"}:
        async with aclosing(pieces(n)) as chunks:
            async for piece in chunks:
                yield piece
    elif path == "/torrent":
        async with aclosing(flood(n)) as chunks:
            async for piece in chunks:
                yield piece
    elif path == "/file":
        yield b"z" * FILE_SIZE
    else:
        await anyio.sleep(0.02)
        yield b"%d" % size
