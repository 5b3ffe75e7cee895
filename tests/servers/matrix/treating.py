"""What Hesper makes of it, under each policy: the cells of the matrix.

Each cell asserts what is promised wherever the server tells of the leaving, and gives what became of
the handler or of the stream.
"""

from __future__ import annotations

import asyncio

from tests.servers.matrix.client import How, close_frame, request
from tests.servers.matrix.probing import Facts, Probe, is_blocked
from tests.servers.matrix.visit import PROMPT, Visit

FINISHED = "runs to its end"
CANCELLED = "is cancelled"
KILLED = "is cancelled by the server"
DISCONNECT = "`ClientDisconnect`"
CLOSED = "is closed"

ENDINGS = ("handler finished", "handler cancelled", "handler told", "handler failed")
STREAM_ENDINGS = ("stream finished", "stream cancelled", "stream closed", "stream failed")

SMALL, LARGE = 128, 1024
"""KiB of a body: more than what any server reads before it is asked, and more than what Hesper keeps
for a handler that may yet want it."""


async def fate(visit: Visit) -> str:
    """What became of the handler; it must have been left the time to clean up."""
    ended = await visit.seen(*ENDINGS)
    await visit.over()
    if ended.what != "handler told":
        await visit.seen("handler cleaned")
    if ended.what == "handler finished":
        return FINISHED
    if ended.what == "handler told":
        assert visit.is_prompt(ended), f"told late: {visit.story()}"
        return DISCONNECT
    assert ended.what == "handler cancelled", visit.story()
    return KILLED if visit.had("call cancelled") else CANCELLED


def keeps(visit: Visit, word: str) -> None:
    """Assert what a policy promises to a handler that works, where the server tells of the leaving."""
    if visit.app == "cancel":
        ended = visit.had("handler cancelled")
        assert word == CANCELLED, f"not cancelled: {visit.story()}"
        assert visit.is_prompt(ended), f"cancelled late: {visit.story()}"
    elif visit.app == "finish":
        assert word == FINISHED, f"not finished: {visit.story()}"
    else:
        assert word in {FINISHED, KILLED}, f"not left alone: {visit.story()}"


async def fate_of_reader(visit: Visit) -> str:
    """What became of a handler that is told by what it waits for."""
    word = await fate(visit)
    told = {DISCONNECT, CANCELLED} if visit.app == "cancel" else {DISCONNECT}
    assert word in told, f"neither told nor cancelled: {visit.story()}"
    # Both come at the same moment: which is first is the server's affair.
    return f"{CANCELLED}, or {DISCONNECT}" if visit.app == "cancel" else word


def before(how: How) -> Probe:
    """The client leaves while the handler works."""

    async def cell(visit: Visit) -> Facts:
        await visit.client.connect(visit.port)
        await visit.client.get(visit.target("wait"))
        await visit.seen("handler begun")
        visit.leaves(how)
        arrives = how is How.HALF and await visit.is_answered()
        word = await fate(visit)
        keeps(visit, word)
        more = ", and its response arrives" if arrives else ""
        return {f"{how}, before the response": word + more}

    return cell


def in_upload(how: How) -> Probe:
    """The client leaves while the handler reads a body."""

    async def cell(visit: Visit) -> Facts:
        row = f"{how}, in an upload"
        await visit.client.connect(visit.port)
        await visit.client.post_part(visit.target("upload"))
        called = await visit.perhaps("handler begun")
        visit.leaves(how)
        called = called or await visit.perhaps("handler begun")
        if called is None:
            return {row: "is not called"}
        return {row: await fate_of_reader(visit)}

    return cell


def unread(kib: int) -> Probe:
    """The client leaves while the handler works and has not read the body, which is all there."""

    async def cell(visit: Visit) -> Facts:
        await visit.client.connect(visit.port)
        head = request("POST", visit.target("wait"), f"Content-Length: {kib * 1024}")
        sending = asyncio.ensure_future(visit.client.send(head + b"z" * kib * 1024))
        await visit.seen("handler begun")
        await asyncio.wait([sending], timeout=PROMPT)  # a server need not take it
        visit.leaves(How.RST)
        await asyncio.gather(sending, return_exceptions=True)
        word = await fate(visit)
        if kib == SMALL:
            keeps(visit, word)
        elif visit.app == "finish":
            assert word == FINISHED, visit.story()
        elif visit.app == "cancel":
            word = "**may run to its end**"  # it depends on how far the server has read by then
        return {f"resets (RST), and {kib} KiB of body are not read": word}

    return cell


async def pipelined(visit: Visit) -> Facts:
    """The client has sent a second request, and leaves."""
    await visit.client.connect(visit.port)
    await visit.client.get(visit.target("wait"))
    await visit.seen("handler begun")
    await visit.client.send(request("GET", "/continue/nothing"))
    await asyncio.sleep(0.1)  # nobody says when the server has read it
    visit.leaves(How.FIN)
    word = await fate(visit)
    assert visit.app != "finish" or word == FINISHED, visit.story()
    return {"closes, behind a second request that it sent ahead": word}


async def in_thread(visit: Visit) -> Facts:
    """The client leaves while the handler works in a thread, and looks."""
    await visit.client.connect(visit.port)
    await visit.client.get(visit.target("thread"))
    await visit.seen("handler begun")
    visit.leaves(How.FIN)
    ended = await visit.seen(*ENDINGS)
    await visit.over()
    seen = ended.what == "handler told"
    assert not seen or visit.is_prompt(ended), visit.story()
    return {"closes, and the handler runs in a thread": f"{'sees' if seen else 'does not see'} it"}


def in_stream(how: How) -> Probe:
    """The client leaves in the middle of a response."""

    async def cell(visit: Visit) -> Facts:
        await visit.client.connect(visit.port)
        await visit.client.get(visit.target("stream", n=150))
        assert await visit.client.read_until(b"x"), visit.story()
        visit.leaves(how)
        return {f"{how}, in a stream": await stream_fate(visit)}

    return cell


def stalled(how: How) -> Probe:
    """The client does not read, and leaves then."""

    async def cell(visit: Visit) -> Facts:
        await visit.client.connect(visit.port, buffer=4096)
        await visit.client.get(visit.target("torrent"))
        await visit.seen("stream begun")
        blocked = await is_blocked(visit)
        visit.leaves(how)
        ended = await visit.seen(*STREAM_ENDINGS)
        await visit.seen("stream cleaned")
        await visit.over()
        # Silent sends may swallow the rest of it before the server tells; it ends all the same.
        assert visit.is_prompt(ended), f"it does not end: {visit.story()}"
        word = "ends at once" if blocked else "all has been sent already"
        return {f"{how}, when it has not read 16 MiB": word}

    return cell


async def stream_fate(visit: Visit) -> str:
    """What became of a stream."""
    ended = await visit.seen(*STREAM_ENDINGS)
    await visit.seen("stream cleaned")
    await visit.over()
    if ended.what == "stream finished":
        assert visit.app == "finish", f"nobody stopped it: {visit.story()}"
        return FINISHED
    assert ended.what in {"stream closed", "stream cancelled"}, visit.story()
    assert visit.is_prompt(ended), f"stopped late: {visit.story()}"
    return CLOSED


def socket(endpoint: str, how: How | None) -> Probe:
    """The client of a WebSocket leaves, with a close frame or without."""

    async def cell(visit: Visit) -> Facts:
        await visit.client.connect(visit.port)
        await visit.client.open(visit.target(endpoint))
        await visit.seen("handler begun")
        if how is None:
            await visit.client.send(close_frame(4001, "bye"))
            visit.left()
        else:
            visit.leaves(how)
        if endpoint == "busy":
            word = await fate(visit)
            keeps(visit, word)
        else:
            word = await fate_of_reader(visit)
        said = "closes with a close frame" if how is None else f"{how}, without a close frame"
        return {f"{said}: {SOCKET_ROWS[endpoint]}": word.replace("Client", "WebSocket")}

    return cell


SOCKET_ROWS = {
    "listen": "a handler that receives",
    "busy": "a handler that works",
    "talk": "a handler that sends",
}

HTTP1: dict[str, Probe] = {
    **{f"before {how.name}": before(how) for how in (How.FIN, How.RST, How.HALF)},
    "thread": in_thread,
    "unread": unread(SMALL),
    "unread, large": unread(LARGE),
    "pipelined": pipelined,
    **{f"upload {how.name}": in_upload(how) for how in (How.FIN, How.RST, How.HALF)},
    **{f"stream {how.name}": in_stream(how) for how in (How.FIN, How.RST, How.HALF)},
    "stalled": stalled(How.RST),
}

HTTP2: dict[str, Probe] = {
    **{f"before {how.name}": before(how) for how in (How.STREAM, How.RST)},
    "upload": in_upload(How.STREAM),
    **{f"stream {how.name}": in_stream(how) for how in (How.STREAM, How.RST)},
    "stalled": stalled(How.STREAM),
}

SOCKETS: dict[str, Probe] = {
    f"{endpoint} {'close' if how is None else how.name}": socket(endpoint, how)
    for endpoint in SOCKET_ROWS
    for how in (None, How.RST, How.HALF)
}
