"""One server, all cells at once: one connection each, against one process. Beside them others are
started, and stopped."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.servers.matrix import probing, stopping, treating
from tests.servers.matrix.client import Client
from tests.servers.matrix.http2 import Http2Client
from tests.servers.matrix.probing import Facts, Probe
from tests.servers.matrix.servers import COMMANDS, Server, serve
from tests.servers.matrix.visit import PATIENCE, Visit

POLICIES = ["continue", "cancel", "finish"]

HTTP2_SERVERS = ["hypercorn (asyncio)", "hypercorn (trio)", "granian"]
"""Those that speak it without TLS."""

CLIENTS = {"HTTP/1.1": Client, "HTTP/2": Http2Client, "WebSocket": Client}

CELL_WITHIN = 25.0
"""Seconds that a cell may take."""

PROBES: dict[str, dict[str, Probe]] = {
    "HTTP/1.1": probing.HTTP1,
    "HTTP/2": probing.HTTP2,
    "WebSocket": probing.SOCKETS,
}
TREATMENTS: dict[str, dict[str, Probe]] = {
    "HTTP/1.1": treating.HTTP1,
    "HTTP/2": treating.HTTP2,
    "WebSocket": treating.SOCKETS,
}
"""By protocol: what is done to the bare app, and to Hesper."""


STOPS = ["SIGTERM, WebSockets", "SIGTERM, requests", "begin_shutdown"]
"""How servers are stopped, and, after a comma, with what open; in the order of the page."""


@dataclass(frozen=True)
class Cell:
    """One thing that a client does to one app, over one protocol."""

    app: str
    """``bare``, or the policy."""
    protocol: str
    name: str

    def __str__(self) -> str:
        return f"{self.app}, {self.protocol}, {self.name}"

    async def visit(self, server: Server) -> Facts:
        """Do it.

        Raises:
            AssertionError: something that is promised does not hold.
        """
        client = CLIENTS[self.protocol]()
        visit = Visit(server.port, server.journal, self.app, f"{self.protocol}/{self.name}", client)
        cells = PROBES if self.app == "bare" else TREATMENTS
        try:
            async with asyncio.timeout(CELL_WITHIN):
                return await cells[self.protocol][self.name](visit)
        except Exception as exc:
            raise AssertionError(f"{exc!r}; the visit was: {visit.story()}") from exc
        finally:
            client.close()


def cells_of(server: str) -> list[Cell]:
    """All cells of a server, in the order of the page."""
    return [
        Cell(app, protocol, name)
        for app in ["bare", *POLICIES]
        for protocol, cells in (PROBES if app == "bare" else TREATMENTS).items()
        if protocol != "HTTP/2" or server in HTTP2_SERVERS
        for name in cells
    ]


@dataclass
class Outcome:
    """What the run of a server has found."""

    results: dict[Cell, Facts | AssertionError] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    """What there is of ours after the last client, and was not before the first."""
    troubles: list[str] = field(default_factory=list)
    """What its log has of errors."""
    stops: dict[str, dict[str, Facts] | BaseException] = field(default_factory=dict)
    """By the way of stopping it, and by app."""

    def facts(self, app: str, protocol: str) -> Facts:
        """All facts about an app and a protocol, or a way of stopping, by their rows."""
        found: Facts = {}
        for way, facts in self.stops.items():
            if way.partition(",")[0] == protocol and isinstance(facts, dict):
                found |= facts.get(app, {})
        for cell, result in self.results.items():
            if (cell.app, cell.protocol) == (app, protocol) and isinstance(result, dict):
                found |= result
        return found


async def run(name: str) -> Outcome:
    """Start a server, let all clients come and go, and see what is left; stop others beside it."""
    outcome = Outcome()
    await asyncio.gather(_run_cells(name, outcome), _run_stops(name, outcome))
    return outcome


async def _run_cells(name: str, outcome: Outcome) -> None:
    async with serve(COMMANDS[name]) as server:
        before = await holdings(server)
        cells = cells_of(name)
        found = await asyncio.gather(
            *[cell.visit(server) for cell in cells], return_exceptions=True
        )
        for cell, result in zip(cells, found, strict=True):
            assert isinstance(result, (dict, AssertionError)), repr(result)
            outcome.results[cell] = result
        outcome.left = await settled(server, before)
        outcome.troubles = server.troubles()


async def _run_stops(name: str, outcome: Outcome) -> None:
    every = ["bare", *POLICIES]
    found = await asyncio.gather(
        stopping.by_signal(name, every, sockets=True),
        stopping.by_signal(name, every, sockets=False),
        stopping.by_hook(name, POLICIES),
        return_exceptions=True,
    )
    outcome.stops = dict(zip(STOPS, found, strict=True))


async def settled(server: Server, before: Counter[str]) -> list[str]:
    """Wait until all of ours has ended; what has not."""
    left = await holdings(server) - before
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while left and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(0.1)
        left = await holdings(server) - before
    return [f"{count} x {what}" for what, count in left.items()]


async def holdings(server: Server) -> Counter[str]:
    """What the process holds of ours: exchanges that have not ended, and tasks that run our code."""
    client = Client()
    try:
        await client.connect(server.port)
        await client.get("/probe")
        async with asyncio.timeout(PATIENCE):
            while not client.has_all:
                assert await client.read(), "the server has not answered"
    finally:
        client.close()
    measured: dict[str, Any] = json.loads(client.received.partition(b"\r\n\r\n")[2])
    held = Counter(stack for stack in measured["stacks"] if is_ours(stack))
    held["exchanges"] = measured["exchanges"]
    return held


def is_ours(stack: str) -> bool:
    """Whether a task runs code of Hesper or of the app, and not of the server alone."""
    return any(place.startswith(("hesper/", "tests/")) for place in stack.split(" > "))
