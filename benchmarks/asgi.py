"""The server side of a benchmark: one scope, one client, the raw app, one recorded exchange.

Law: every app is given exactly the same request, and none can change what the next one gets.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

# The keys and their order are what uvicorn 0.54 gives; the headers are a browser's.
SCOPE: Scope = {
    "type": "http",
    "asgi": {"version": "3.0", "spec_version": "2.3"},
    "http_version": "1.1",
    "server": ("127.0.0.1", 8000),
    "client": ("127.0.0.1", 49714),
    "scheme": "http",
    "root_path": "",
    "headers": [
        (b"host", b"example.org"),
        (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
        (b"accept", b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
        (b"accept-language", b"en-GB,en;q=0.8,de;q=0.6"),
        (b"accept-encoding", b"gzip, deflate, br, zstd"),
        (b"connection", b"keep-alive"),
        (b"cookie", b"session=8c1f2b7e4d; theme=dark"),
        (b"sec-fetch-dest", b"document"),
        (b"sec-fetch-mode", b"navigate"),
        (b"x-request-id", b"6f1c2d3e4b5a69788796a5b4c3d2e1f0"),
    ],
    "state": {},
    "method": "GET",
    "path": "/",
    "raw_path": b"/",
    "query_string": b"",
}

REQUEST: Message = {"type": "http.request", "body": b"", "more_body": False}
TEXT = (b"content-type", b"text/plain; charset=utf-8")


FIRST_ID = 1_000_000
"""The first of the numbers that end the paths. No run gets to an eighth digit, so every
answer has the length of the raw app's."""


def fresh(prefix: str, number: int) -> Scope:
    """Return the scope of one GET request for a path that ends in a number, as a server makes it.

    The path is made anew, because a parsed path is a new string. `state` is new, as in uvicorn:
    Litestar keeps parsed values there, and would otherwise find those of the request before.
    """
    scope = SCOPE.copy()
    scope["path"] = path = f"{prefix}{number}"
    scope["raw_path"] = path.encode()
    scope["state"] = {}
    return scope


class Client:
    """A client that sent its whole request at once and stays.

    The first `receive` never suspends. A second one waits for ever, as it does on a server while
    nothing comes: an app that waited for it would hang here, and be caught by `exchange`.
    """

    __slots__ = ("asked",)

    def __init__(self) -> None:
        self.asked = False

    async def receive(self) -> Message:
        if self.asked:
            await asyncio.Future()
        self.asked = True
        return REQUEST


async def discard(message: Message) -> None:
    """Take a message as a server with an empty buffer does: without suspending."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client sees of a response; `headers` are sorted, with names in lower case."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


def answer(status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> Answer:
    """Return the plain-text answer that every app must give."""
    lines = [TEXT, (b"content-length", str(len(body)).encode()), *headers]
    return Answer(status, tuple(sorted(lines)), body)


def raw(expected: Answer) -> App:
    """Return the floor: two sends of constants, and nothing else."""
    start = {
        "type": "http.response.start",
        "status": expected.status,
        "headers": list(expected.headers),
    }
    body = {"type": "http.response.body", "body": expected.body}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start)
        await send(body)

    return app


async def exchange(app: App, prefix: str) -> Answer:
    """Run one request, for `FIRST_ID`, and return its answer.

    Raises:
        TimeoutError: the app did not return within 5 seconds.
    """
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async with asyncio.timeout(5):
        await app(fresh(prefix, FIRST_ID), Client().receive, send)
    start = sent[0]
    headers = sorted((bytes(name).lower(), bytes(value)) for name, value in start["headers"])
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return Answer(start["status"], tuple(headers), body)


@asynccontextmanager
async def started(app: App) -> AsyncIterator[None]:
    """Run the app's lifespan around a block: some apps compile their routes at start-up.

    Raises:
        RuntimeError: the app said that its start-up failed.
        TimeoutError: it said nothing within 10 seconds.
    """
    leaving = asyncio.Event()
    answers: asyncio.Queue[Message] = asyncio.Queue()
    events = iter(("lifespan.startup", "lifespan.shutdown"))

    async def receive() -> Message:
        event = next(events)
        if event == "lifespan.shutdown":
            await leaving.wait()
        return {"type": event}

    async def run() -> None:
        scope: Scope = {"type": "lifespan", "asgi": SCOPE["asgi"], "state": {}}
        await app(scope, receive, answers.put)

    task = asyncio.create_task(run())
    async with asyncio.timeout(10):
        reply = await answers.get()
    if reply["type"] != "lifespan.startup.complete":
        raise RuntimeError(f"Expected lifespan.startup.complete, got {reply!r}")
    try:
        yield
    finally:
        leaving.set()
        await task
