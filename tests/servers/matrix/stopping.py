"""What becomes of open requests when a server is stopped, on a process of its own.

Once by SIGTERM alone, as servers know it, and once after ``begin_shutdown``, as a hook of the
operator's calls it, which sends the signal when nothing is open any more.
"""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass
from math import inf
from time import monotonic

from tests.servers.matrix.client import Client, How, close_code
from tests.servers.matrix.probing import Facts
from tests.servers.matrix.servers import COMMANDS, GRACEFUL, Server, serve
from tests.servers.matrix.visit import PATIENCE, PROMPT, Visit

STAYS = GRACEFUL + 2.5
"""Seconds that the clients stay after the signal; then they leave."""

GRACE = 1.0
"""Seconds of grace: what ``begin_shutdown`` is told, and the ``shutdown_grace`` of the app."""

FOR_EVER = 60
"""Seconds that the handlers would work, and the streams flow."""

LEARNS_NOTHING = "**learns nothing**"

PANIC = " panicked at "
"""What Rust says when a thread of a server dies of a fault of its own."""

ATTEMPTS = 8
"""How often a server may die so: granian 2.8 does one time in five when WebSockets are open."""

ENDINGS = {
    "handler finished": "comes to its end",
    "handler cancelled": "is cancelled",
    "handler told": "is told",
    "stream finished": "comes to its end",
    "stream cancelled": "is closed",
    "stream closed": "is closed",
}
"""What Hesper's endpoints say."""

BARE_ENDINGS = {"told": "is told", "call cancelled": "is cancelled"}


@dataclass(frozen=True)
class Kind:
    """What is open when the server is stopped."""

    row: str
    endpoint: str
    begun: str
    is_socket: bool = False


KINDS = [
    Kind("a handler that works", "wait", "handler begun"),
    Kind("a handler that waits for the shutdown", "polite", "handler begun"),
    Kind("a stream", "stream", "stream begun"),
    Kind("a WebSocket", "listen", "handler begun", is_socket=True),
]

BARE_KINDS = [
    Kind("a handler that works", "sleep", "handler begun"),
    Kind("a stream", "stream", "handler begun"),
    Kind("a WebSocket", "listen", "handler begun", is_socket=True),
]


class Open:
    """One visit of each kind to each app, which stay until the server is stopped."""

    def __init__(self, server: Server, apps: list[str], *, sockets: bool | None = None) -> None:
        self.visits = {
            (app, kind): Visit(server.port, server.journal, app, kind.endpoint, Client())
            for app in apps
            for kind in (BARE_KINDS if app == "bare" else KINDS)
            if sockets is None or kind.is_socket is sockets
        }
        self._reading: list[asyncio.Task[bytes]] = []

    async def begin(self) -> None:
        """Let all of them come."""
        await asyncio.gather(*[self._open(kind, visit) for (_, kind), visit in self.visits.items()])
        self._reading = [
            asyncio.ensure_future(visit.client.read_all()) for visit in self.visits.values()
        ]

    async def _open(self, kind: Kind, visit: Visit) -> None:
        await visit.client.connect(visit.port)
        target = visit.target(kind.endpoint, seconds=FOR_EVER, n=FOR_EVER * 50)
        await (visit.client.open if kind.is_socket else visit.client.get)(target)
        await visit.seen(kind.begun)

    async def leave(self) -> None:
        """Let all of them go."""
        await asyncio.wait(self._reading, timeout=0.1)  # what is there already
        for task in self._reading:
            task.cancel()
        await asyncio.gather(*self._reading, return_exceptions=True)
        for visit in self.visits.values():
            visit.client.leave(How.RST)


async def by_signal(name: str, apps: list[str], *, sockets: bool) -> dict[str, Facts]:
    """Stop a server by SIGTERM; by app, what becomes of what is open.

    Args:
        name: which server.
        apps: ``bare``, and policies.
        sockets: open only WebSockets, or only requests: daphne does not treat all alike.

    A run in which the server dies of a fault of its own says nothing of it, and is made again.
    """
    for _ in range(ATTEMPTS):
        async with serve(COMMANDS[name]) as server:
            visits = Open(server, apps, sockets=sockets)
            await visits.begin()
            began = monotonic()
            server.process.send_signal(signal.SIGTERM)
            gone = await server.ended(within=STAYS)
            await visits.leave()
            if gone is None:
                assert await server.ended(within=PATIENCE) is not None, "it stays for ever"
            server.journal.catch_up()
            if PANIC not in server.log():
                break
    else:
        raise AssertionError(f"{name} died of a fault of its own each time:\n{server.log()}")
    return _told(server, visits, began, gone)


def _told(server: Server, visits: Open, began: float, gone: float | None) -> dict[str, Facts]:
    """By app, what the visits have seen of a stop by SIGTERM.

    Args:
        began: when the signal was sent.
        gone: the seconds after which the process had ended; None if the clients had to leave first.
    """
    apps = dict.fromkeys(app for app, _ in visits.visits)
    sockets = all(kind.is_socket for _, kind in visits.visits)
    facts: dict[str, Facts] = {app: {} for app in apps}
    for (app, kind), visit in visits.visits.items():
        word, seconds = _first(visit, BARE_ENDINGS if app == "bare" else ENDINGS, began)
        # What ends only when the clients leave has learnt it from them.
        is_late = seconds > STAYS - 0.1
        if app == "cancel" and kind.is_socket and not is_late:
            word = "is told, or cancelled,"  # whichever is first
        facts[app][kind.row] = LEARNS_NOTHING if is_late else f"{word} {when(seconds)}"
    if not sockets:
        told = [e.at - began for e in server.journal.of("lifespan") if e.at > began]
        facts["bare"]["`lifespan.shutdown`"] = when(told[0]) if told else "**never**"
        facts["bare"]["the process ends"] = when(gone)
    return facts


def _first(visit: Visit, endings: dict[str, str], began: float) -> tuple[str, float]:
    """What happened first, and after how many seconds."""
    for entry in visit.entries():
        if entry.at > began and entry.what in endings:
            code = f" (code {entry.more['code']})" if "code" in entry.more else ""
            return endings[entry.what] + code, entry.at - began
    return "nothing", inf


def when(seconds: float | None) -> str:
    """When something happened, as far as it is the same in every run."""
    if seconds is None or seconds > STAYS - 0.1:
        return "**when the clients have left**"
    return "at once" if seconds < PROMPT else "after its timeout"


async def by_hook(name: str, apps: list[str]) -> dict[str, Facts]:
    """Stop a server with a hook; by app, what becomes of what is open."""
    async with serve(COMMANDS[name]) as server:
        visits = Open(server, apps)
        await visits.begin()
        began = monotonic()
        await _tell(server)
        for visit in visits.visits.values():
            ended = await visit.over()
            assert ended.at - began < GRACE + PROMPT, f"over late: {visit.story()}"
        server.process.send_signal(signal.SIGTERM)
        gone = await server.ended(within=PATIENCE)
        assert gone is not None, f"the process stays:\n{server.log()}"
        assert gone < GRACE + GRACEFUL + PROMPT, f"it took {gone:.1f} s:\n{server.log()}"
        await visits.leave()
        server.journal.catch_up()
        troubles = server.troubles()
        assert not troubles, "\n".join(troubles)
    facts: dict[str, Facts] = {app: {} for app in apps}
    for (app, kind), visit in visits.visits.items():
        facts[app][kind.row] = _treatment(visit, kind, began)
    return facts


async def _tell(server: Server) -> None:
    client = Client()
    await client.connect(server.port)
    await client.get(f"/stop?grace={GRACE}")
    assert await client.read_until(b"soon")
    client.close()


def _treatment(visit: Visit, kind: Kind, began: float) -> str:
    """What became of a handler and its client after ``begin_shutdown``."""
    client = visit.client
    if kind.is_socket:
        got = f"the client gets {close_code(client.received)}"
    elif kind.endpoint == "stream":
        got = "the client sees that it is cut" if not client.has_all else "**it looks whole**"
    else:
        got = f"the client gets {client.received[9:12].decode() or 'nothing'}"
    word, seconds = _first(visit, ENDINGS, began)
    if seconds == inf:
        return f"is cut off with the process, {got}"
    moment = "at once" if seconds < GRACE - 0.1 else "after the grace"
    if visit.had("call returned") is not None and seconds > GRACE + 0.1:
        moment = "at the end of the lifespan"
    cleaned = [entry for entry in visit.entries() if entry.what.endswith(" cleaned")]
    assert cleaned, f"its cleanup was cut off: {visit.story()}"
    return f"{word} {moment}, {got}"
