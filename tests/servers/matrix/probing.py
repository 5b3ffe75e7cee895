"""What each server tells a bare app."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from tests.servers.matrix.client import How, close_frame, request
from tests.servers.matrix.http2 import Http2Client
from tests.servers.matrix.visit import PATIENCE, PROMPT, Visit

Facts = dict[str, str]
"""What was found: the row of the page, and what stands there."""

Probe = Callable[[Visit], Awaitable[Facts]]


def told(visit: Visit) -> str:
    """Whether the server has told the app that the client left."""
    return "told" if visit.is_prompt(visit.had("told")) else "**not told**"


def outcome(visit: Visit, what: str) -> str:
    """How a ``send`` or ``receive`` after the leaving went."""
    entry = visit.had(what)
    word = "is not tried" if entry is None else str(entry.more["outcome"])
    return "**hangs**" if word == "hangs" else word


def before(how: How) -> Probe:
    """The client leaves while the app waits in ``receive``."""

    async def probe(visit: Visit) -> Facts:
        await visit.client.connect(visit.port)
        await visit.client.get(visit.target("wait"))
        await visit.seen("handler begun")
        visit.leaves(how)
        if how is How.HALF:
            word = "arrives" if await visit.is_answered() else "is lost"
            await visit.over()
            return {f"{how}, before the response": f"{told(visit)}; the response {word}"}
        await visit.over()
        facts = {f"{how}, before the response": told(visit)}
        if how is not How.FIN:
            facts[f"`send()` after that ({how.name})"] = outcome(visit, "sent")
            facts[f"`receive()` after that ({how.name})"] = outcome(visit, "received")
        return facts

    return probe


async def sleeping(visit: Visit) -> Facts:
    """The client leaves an app that does not listen."""
    await visit.client.connect(visit.port)
    await visit.client.get(visit.target("sleep"))
    await visit.seen("handler begun")
    visit.leaves(How.FIN)
    ended = await visit.over()
    word = "**cancelled**" if ended.what == "call cancelled" else "left alone"
    return {"closes, and the app does not listen": word}


def in_upload(how: How) -> Probe:
    """The client leaves in the middle of a body."""

    async def probe(visit: Visit) -> Facts:
        await visit.client.connect(visit.port)
        await visit.client.post_part(visit.target("upload"))
        called = await visit.perhaps("handler begun")
        visit.leaves(how)
        called = called or await visit.perhaps("handler begun")
        if called is None:
            return {f"{how}, in an upload": "**the app is not called**"}
        await visit.over()
        assert visit.had("uploaded") is None, f"half a body was taken for whole: {visit.story()}"
        return {f"{how}, in an upload": told(visit)}

    return probe


def in_stream(how: How) -> Probe:
    """The client leaves in the middle of a response."""

    async def probe(visit: Visit) -> Facts:
        await visit.client.connect(visit.port)
        await visit.client.get(visit.target("stream"))
        assert await visit.client.read_until(b"x"), visit.story()
        visit.leaves(how)
        if how is How.HALF:
            word = "arrives" if await visit.is_answered() else "is cut off"
            await visit.over()
            return {f"{how}, in a stream": f"{told(visit)}; the rest {word}"}
        await visit.over()
        return {f"{how}, in a stream": f"{told(visit)}; `send()` {outcome(visit, 'sent')}"}

    return probe


def stalled(how: How) -> Probe:
    """The client does not read, and leaves then."""

    async def probe(visit: Visit) -> Facts:
        await visit.client.connect(visit.port, buffer=4096)
        await visit.client.get(visit.target("torrent", seconds=PATIENCE))
        await visit.seen("handler begun")
        blocked = await is_blocked(visit)
        visit.leaves(how)
        await visit.over()
        return {
            "does not read 16 MiB": "`send()` waits" if blocked else "**all in memory**",
            f"{how}, when it has not read": f"{told(visit)}; `send()` {_released(visit)}",
        }

    return probe


def _released(visit: Visit) -> str:
    word = outcome(visit, "sent")
    if word == "silent" and not visit.is_prompt(visit.had("sent")):
        word = "waits on"
    return word


async def is_blocked(visit: Visit) -> bool:
    """Whether a fast response stops before its end: when a second passes in which it does not grow."""
    while visit.had("produced") is None:
        count = visit.count("progress")
        if await visit.perhaps("produced", within=PROMPT) is None:
            if visit.count("progress") == count:
                return True
    return False


async def pipelined(visit: Visit) -> Facts:
    """The client sends a second request behind the first, and leaves."""
    await visit.client.connect(visit.port)
    await visit.client.get(visit.target("wait"))
    await visit.seen("handler begun")
    await visit.client.send(request("GET", "/continue/nothing"))
    await asyncio.sleep(0.1)  # nobody says when the server has read it
    visit.leaves(How.FIN)
    await visit.over()
    return {"closes, behind a second request that it sent ahead": told(visit)}


async def sibling(visit: Visit) -> Facts:
    """The client resets a stream, and goes on with another on the same connection."""
    client = visit.client
    assert isinstance(client, Http2Client)
    await client.connect(visit.port)
    await client.get(visit.target("wait"))
    await client.get("/continue/nothing", stream=3)
    await visit.seen("handler begun")
    visit.leaves(How.STREAM)
    while not client.has_ended(3):
        assert await client.read(), "the connection ended with the stream"
    await client.get("/continue/nothing", stream=5)
    while not client.has_ended(5):
        assert await client.read(), "the connection ended with the stream"
    await visit.over()
    return {"other streams of the connection": "go on"}


def socket(how: How | None, code: int | None = None, reason: str = "") -> Probe:
    """The client of a WebSocket leaves: with a close frame, or without."""

    async def probe(visit: Visit) -> Facts:
        await visit.client.connect(visit.port)
        await visit.client.open(visit.target("listen"))
        await visit.seen("handler begun")
        if how is None:
            await visit.client.send(close_frame(code, reason))
            row = "closes with 4001 and a reason" if code else "closes without a code"
            visit.left()
        else:
            row = f"{how}, without a close frame"
            visit.leaves(how)
        await visit.over()
        entry = visit.had("told")
        if entry is None:
            return {row: "**not told**"}
        more = entry.more
        facts = {row: f"code {more.get('code')}" + (", reason" if more.get("reason") else "")}
        if how is How.RST:
            facts["`send()` after that"] = outcome(visit, "sent")
            facts["`receive()` after that"] = outcome(visit, "received")
        return facts

    return probe


HTTP1: dict[str, Probe] = {
    **{f"before {how.name}": before(how) for how in (How.FIN, How.RST, How.HALF)},
    "sleeping": sleeping,
    **{f"upload {how.name}": in_upload(how) for how in (How.FIN, How.RST, How.HALF)},
    **{f"stream {how.name}": in_stream(how) for how in (How.FIN, How.RST, How.HALF)},
    "stalled": stalled(How.RST),
    "pipelined": pipelined,
}

HTTP2: dict[str, Probe] = {
    **{f"before {how.name}": before(how) for how in (How.STREAM, How.RST)},
    "upload": in_upload(How.STREAM),
    **{f"stream {how.name}": in_stream(how) for how in (How.STREAM, How.RST)},
    "stalled": stalled(How.STREAM),
    "sibling": sibling,
}

SOCKETS: dict[str, Probe] = {
    "code": socket(None, 4001, "bye"),
    "no code": socket(None),
    **{how.name: socket(how) for how in (How.FIN, How.RST, How.HALF)},
}
