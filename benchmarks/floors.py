"""The floors: what a raw ASGI app does at least to give the same answer."""

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from benchmarks.asgi import Answer, App, Receive, Scope, Send


def constant(expected: Answer) -> App:
    """Return the lowest floor: two sends of constants, and nothing else."""
    start = head(expected)
    body = {"type": "http.response.body", "body": expected.body}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start)
        await send(body)

    return app


def head(expected: Answer) -> dict[str, object]:
    return {
        "type": "http.response.start",
        "status": expected.status,
        "headers": list(expected.headers),
    }


def reading(expected: Answer) -> App:
    """Return the floor of an upload: the whole body is received, and dropped."""
    answer = constant(expected)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["more_body"]:
            pass
        await answer(scope, receive, send)

    return app


def with_json() -> App:
    """Return an app that parses what it gets and sends it back, with the standard library."""
    # Made once: `json.dumps` with arguments makes an encoder for each call.
    encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        data = json.loads((await receive())["body"])
        body = encode(data).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


def streaming(expected: Answer, chunks: Callable[[], AsyncIterator[bytes]]) -> App:
    """Return the floor of a stream: the generator is iterated, and each chunk sent."""
    start = head(expected)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start)
        async for chunk in chunks():
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    return app


def file(expected: Answer, path: Path, size: int = 65536) -> App:
    """Return the floor of a file: opened, read in pieces and sent, on the event loop."""
    start = head(expected)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        with path.open("rb", buffering=0) as opened:  # the floor has no threads
            await send(start)
            while piece := opened.read(size):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    return app


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """The floor of a socket: each text is sent back."""
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


def with_lifespan(inner: App) -> App:
    """Return a raw app that also answers a server's start-up and shutdown."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await inner(scope, receive, send)
            return
        for stage in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{stage}.complete"})

    return app
