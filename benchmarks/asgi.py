"""The server side of a benchmark: requests, one client, one recorded exchange.

Law: every app is given exactly the same request, and none can change what the next one gets.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
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
LEFT: Message = {"type": "http.disconnect"}
TEXT = (b"content-type", b"text/plain; charset=utf-8")


FIRST_ID = 1_000_000
"""The first of the numbers that end the paths. No run gets to an eighth digit, so every
answer has the length of the raw app's."""


class Ask:
    """One kind of request, as often as it is wanted.

    Args:
        path: where it goes; a number is put behind it, unless `fixed`.
        fixed: whether the path is the whole path.
        method: the HTTP method, or "WEBSOCKET" for a socket.
        headers: what is sent beside a browser's headers.
        messages: what `receive` gives, one after the other.
    """

    __slots__ = ("client", "fixed", "messages", "path", "template")

    def __init__(
        self,
        path: str,
        *,
        fixed: bool = False,
        method: str = "GET",
        headers: Sequence[tuple[bytes, bytes]] = (),
        messages: Sequence[Message] = (REQUEST,),
    ) -> None:
        self.path = path
        self.fixed = fixed
        self.messages = messages
        self.client: type[Client] | type[Correspondent] = Client
        self.template: Scope = {
            **SCOPE,
            "headers": [*SCOPE["headers"], *headers],
            "method": method,
            "path": path,
            "raw_path": path.encode(),
        }
        if method == "WEBSOCKET":
            self.client = Correspondent
            del self.template["method"]
            self.template |= {"type": "websocket", "scheme": "ws", "subprotocols": []}

    def scope(self, number: int) -> Scope:
        """Return the scope of one request, as a server makes it.

        The path is made anew, because a parsed path is a new string. `state` is new, as in uvicorn:
        Litestar keeps parsed values there, and would otherwise find those of the request before.
        """
        scope = self.template.copy()
        if not self.fixed:
            scope["path"] = path = f"{self.path}{number}"
            scope["raw_path"] = path.encode()
        scope["state"] = {}
        return scope


def post(path: str, content_type: bytes, messages: Sequence[Message]) -> Ask:
    """Return a POST of these body messages, to a path that is the whole path."""
    length = sum(len(message["body"]) for message in messages)
    headers = [(b"content-type", content_type), (b"content-length", str(length).encode())]
    return Ask(path, fixed=True, method="POST", headers=headers, messages=messages)


def cut(body: bytes, size: int = 65536) -> list[Message]:
    """Return the messages of a body that a server reads in pieces."""
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    last = len(pieces) - 1
    return [
        {"type": "http.request", "body": piece, "more_body": index < last}
        for index, piece in enumerate(pieces)
    ]


class Client:
    """A client that sent its whole request at once, and stays until it has its answer.

    `receive` never suspends while there is something to give. After that it waits, as it does on
    a server, for the end of the response, and says then that the client left: Quart and Litestar's
    streams wait for that. `send` takes a message as a server with an empty buffer does, without
    suspending.
    """

    __slots__ = ("ended", "messages", "waiter")

    def __init__(self, messages: Sequence[Message]) -> None:
        self.messages = iter(messages)
        self.ended = False
        self.waiter: asyncio.Future[None] | None = None

    async def receive(self) -> Message:
        message = next(self.messages, None)
        if message is not None:
            return message
        if not self.ended:
            if self.waiter is None or self.waiter.done():
                self.waiter = asyncio.get_running_loop().create_future()
            await self.waiter
        return LEFT

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self.ended = True
            if self.waiter is not None and not self.waiter.done():
                self.waiter.set_result(None)


class Correspondent:
    """The client of a socket, which sends a text when the one before has come back.

    It comes back in the next turn of the event loop, so `receive` suspends, as it does on a server.
    The last message is given at the end: the client leaves.
    """

    __slots__ = ("loop", "messages", "ready", "waiter")

    def __init__(self, messages: Sequence[Message]) -> None:
        self.loop = asyncio.get_running_loop()
        self.messages = iter(messages)
        self.ready = 1
        self.waiter: asyncio.Future[None] | None = None

    async def receive(self) -> Message:
        while not self.ready:
            self.waiter = self.loop.create_future()
            await self.waiter
        self.ready -= 1
        return next(self.messages)

    async def send(self, message: Message) -> None:
        if message["type"] != "websocket.close":
            self.loop.call_soon(self.deliver)

    def deliver(self) -> None:
        self.ready += 1
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)


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


async def exchange(app: App, ask: Ask) -> Answer:
    """Run one request, for `FIRST_ID`, and return its answer.

    A socket's answer is 101 and what it sent, one after the other.

    Raises:
        TimeoutError: the app did not return within 20 seconds.
    """
    sent: list[Message] = []
    client = ask.client(ask.messages)

    async def send(message: Message) -> None:
        sent.append(message)
        await client.send(message)

    async with asyncio.timeout(20):
        await app(ask.scope(FIRST_ID), client.receive, send)
    start = sent[0]
    if start["type"] == "websocket.accept":
        texts = [message["text"] for message in sent if message["type"] == "websocket.send"]
        return Answer(101, (), "".join(texts).encode())
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
