"""One storm over one server: what was left, what was logged, and what is to be said of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic, sleep
from typing import Any

from hesper.policies import CANCEL_GRACE
from tests.storm.client import PATIENCE, Tally, storm
from tests.storm.servers import APP, CONTROL, Log, Server, serve
from tests.storm.visits import PROVOKING, How, Moment

QUIET_WITHIN = 10.0
"""Seconds after the last client in which all must have ended; Hesper's grace for cleanup is 5."""

IDLE = 1.5
"""Seconds after which the servers' timers for idle connections have run out (``servers.COMMANDS``)."""

CONTROL_PATIENCE = 2.0
"""Seconds that a client waits for the bare app: on hypercorn some would wait for ever."""

OBJECTS_PER_CONNECTION = 0.05
"""Growth of Python objects that is taken for caches and pools filling up, over the whole storm; one
leaked request is about 30 objects."""

OBJECTS = 500
"""The same, for a storm of any size."""

OBJECTS_PER_STUCK = 500
"""The same, for each connection that the server itself never lets go (tasks that the bare app leaves
too): it holds the last request, in a traceback for instance, and a request is about 300."""

OBJECTS_PER_THREAD = 60
"""The same, for each worker thread more: anyio keeps up to 40, and ends them when they are idle."""

RSS = 20 * 1024 * 1024
"""Growth of the process in bytes that is taken for the allocator's: fragments of what the largest
crowd needed. Measured: up to 12 MiB after 5,000 connections and 14 after 15,000 (uvicorn-h11), with
not one object more."""

RSS_PER_STUCK = 512 * 1024
"""The same, for each connection that the server never lets go, with what it has read on it: ten
pieces of a body on hypercorn, of up to 64 KiB, and what was pipelined behind."""

ENDED = ["tasks", "handlers", "generators", "background", "exchanges", "files", "journal"]
"""What is counted, and must be as before the first client."""


OURS = ["handlers", "generators", "background", "exchanges", "journal"]
"""Those that no server can leave behind."""

STUCK_AFTER = 3.0
"""Seconds without a change after which a server's own tasks are taken to be stuck for ever."""


@dataclass
class Result:
    """What a storm did to a server."""

    name: str
    tally: Tally
    seconds: float
    """What the storm itself took, without the warm-up."""
    quiet_after: float
    """Seconds from the last client to the end of all."""
    before: dict[str, Any]
    """What was measured before the first client, after the warm-up, and at the end."""
    warm: dict[str, Any]
    after: dict[str, Any]
    log: Log

    @property
    def left(self) -> dict[str, int]:
        """What has begun and not ended."""
        return {key: self.after[key] - self.before[key] for key in ENDED}

    @property
    def stacks(self) -> Counter[str]:
        """Where the tasks that were left stand."""
        return Counter(self.after["stacks"]) - Counter(self.before["stacks"])

    def grown(self, key: str) -> int:
        """How much more there is of something than after the warm-up."""
        growth: int = self.after[key] - self.warm[key]
        return growth

    def growing_types(self) -> str:
        """The types of which there are most more than after the warm-up."""
        more = Counter(self.after["types"]) - Counter(self.warm["types"])
        return ", ".join(f"{name} +{count}" for name, count in more.most_common(20))


@dataclass
class Report:
    """A storm over Hesper, and over the control if there was something to compare."""

    hesper: Result
    control: Result | None = None
    failures: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return "\n".join(self.lines)


def run(name: str, connections: int, seed: int, policy: str = "continue") -> Report:
    """Let the storm go over the server ``name``; over the control too, if anything is amiss."""
    report = Report(_run(name, APP, connections, seed, policy))
    if _amiss(report.hesper):
        report.control = _run(name, CONTROL, connections, seed, policy)
    _write(report, connections, seed)
    return report


def _run(name: str, app: str, connections: int, seed: int, policy: str) -> Result:
    warm_up = max(300, connections // 5)
    patience = PATIENCE if app is APP else CONTROL_PATIENCE
    with serve(name, app, policy) as server:
        _settle(server, None)
        before = server.probe(by_type=True)
        asyncio.run(storm(server.port, seed, range(-warm_up, 0), patience))
        _settle(server, before)
        sleep(IDLE)
        warm = server.probe(by_type=True)
        began = monotonic()
        tally = asyncio.run(storm(server.port, seed, range(connections), patience))
        ended = monotonic()
        if app is CONTROL:
            more = range(PROVOKING, PROVOKING + connections // 5)
            asyncio.run(storm(server.port, seed, more, patience))
        _settle(server, before)
        quiet = monotonic()
        sleep(IDLE)
        after = server.probe(by_type=True)
        if after["objects"] - warm["objects"] > OBJECTS and policy == "cancel":
            # asyncio keeps a timer that was called off until its time: the grace of a cleanup.
            sleep(CANCEL_GRACE)
            after = server.probe(by_type=True)
        log = Log(server.log())
    return Result(
        f"{name}, {policy}", tally, ended - began, quiet - ended, before, warm, after, log
    )


def _settle(server: Server, before: dict[str, Any] | None) -> None:
    """Wait until all has ended, or until only what is the server's is left and stays."""
    deadline = monotonic() + QUIET_WITHIN
    last, since = server.probe(), monotonic()
    while monotonic() < deadline:
        sleep(0.1)
        now = server.probe()
        aim = last if before is None else before
        if all(now[key] <= aim[key] for key in ENDED):
            return
        if any(now[key] != last[key] for key in ENDED):
            last, since = now, monotonic()
        if not any(now[key] > aim[key] for key in OURS) and monotonic() > since + STUCK_AFTER:
            return


def _amiss(result: Result) -> bool:
    return bool(
        any(result.left.values())
        or result.log.troubles
        or result.tally.wrong
        or result.tally.hung
        or result.tally.held
        or result.grown("kept")
        or result.grown("objects") > objects_allowed(result, 0)
        or result.grown("rss") > RSS
    )


def objects_allowed(result: Result, stuck: int) -> int:
    """How many objects more there may be than after the warm-up."""
    per_connection = int(result.tally.left.total() * OBJECTS_PER_CONNECTION)
    threads = max(0, result.grown("threads")) * OBJECTS_PER_THREAD
    return OBJECTS + per_connection + threads + stuck * OBJECTS_PER_STUCK


def rss_allowed(stuck: int) -> int:
    """How many bytes more there may be than after the warm-up."""
    return RSS + stuck * RSS_PER_STUCK


def _write(report: Report, connections: int, seed: int) -> None:
    hesper, control = report.hesper, report.control
    rows = _Rows(report)

    def theirs(ask: Callable[[Result], int]) -> int | None:
        return None if control is None else ask(control)

    report.lines += [
        f"{hesper.name}: {connections:,} connections, seed {seed}, "
        f"{hesper.seconds:.1f} s, quiet after {hesper.quiet_after:.1f} s",
        f"  {_leavings(hesper.tally)}",
    ]
    known = Counter[str]() if control is None else control.stacks
    tasks = Counter({stack: n for stack, n in hesper.stacks.items() if _has_our_frames(stack)})
    stuck = hesper.stacks.total() - tasks.total()
    rows.add("tasks left", tasks.total(), theirs(lambda r: 0))
    # hypercorn's own readers block for ever in its queues, under any app: how often is timing.
    slack = known.total() + connections // 50
    rows.add("  and the server's own", stuck, known.total(), slack)
    for key in OURS:
        rows.add(LABELS[key], hesper.left[key], None if control is None else control.left[key])
    rows.add(
        "files and sockets open", hesper.left["files"], theirs(lambda r: r.left["files"]), stuck
    )
    rows.add("ended exchanges still in memory", hesper.grown("kept"), None, stuck)
    tally = hesper.tally
    rows.add("clients that stayed, answered wrongly", len(tally.wrong), None)
    rows.add("clients that stayed, left waiting", len(tally.hung), None)
    rows.add(
        "half-closed clients never let go",
        len(tally.held),
        theirs(lambda r: len(r.tally.held)),
        stuck,
    )
    rows.add(
        "objects more than after the warm-up",
        hesper.grown("objects"),
        theirs(lambda r: r.grown("objects")),
        objects_allowed(hesper, stuck),
    )
    rows.add(
        "KiB more than after the warm-up (RSS)",
        hesper.grown("rss") // 1024,
        theirs(lambda r: r.grown("rss") // 1024),
        rss_allowed(stuck) // 1024,
    )
    own = Counter() if control is None else control.log.troubles
    ours = _not_in(hesper.log.troubles, own)
    rows.add("errors in the log", ours.total(), theirs(lambda r: 0))
    rows.note("  and the server's own", (hesper.log.troubles - ours).total(), own.total())
    rows.note(
        "warnings of the server about its clients",
        hesper.log.warnings.total(),
        theirs(lambda r: r.log.warnings.total()),
    )
    _explain(report, ours, own)


class _Rows:
    """The table, and the failures that it shows."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._lines = report.lines

    def note(self, label: str, value: int, control: int | None) -> None:
        """A row that is for information."""
        compared = "" if control is None else f"   bare app: {control:,}"
        self._lines.append(f"  {label:<42}{value:>8,}{compared}")

    def add(self, label: str, value: int, control: int | None, allowed: int = 0) -> None:
        """A row that fails above ``allowed``."""
        before = len(self._lines)
        self.note(label, value, control)
        if value > allowed:
            self._report.failures.append(f"{self._report.hesper.name}: {label}: {value:,}")
            self._lines[before] += "   <-- FAILED"
        elif allowed:
            self._lines[before] += f"   (allowed: {allowed:,})"


LABELS = {
    "handlers": "endpoints still running",
    "generators": "generators opened and not closed",
    "background": "background tasks promised, not finished",
    "exchanges": "exchanges that have not ended",
    "journal": "requests without an ending in the journal",
}


def _leavings(tally: Tally) -> str:
    moments: Counter[Moment] = Counter()
    hows: Counter[How] = Counter()
    for (moment, how), count in tally.left.items():
        moments[moment] += count
        hows[how] += count
    left = ", ".join(f"{count} {moment}" for moment, count in sorted(moments.items()))
    return f"{left}; by " + ", ".join(f"{how} {count}" for how, count in sorted(hows.items()))


def _not_in(found: Counter[str], known: Counter[str]) -> Counter[str]:
    """What is found and not known at all; how often is a matter of timing."""
    return Counter({kind: count for kind, count in found.items() if kind not in known})


def _has_our_frames(stack: str) -> bool:
    """Whether a task runs code of Hesper or of the app, and not of the server alone."""
    return any(place.startswith(("hesper/", "tests/")) for place in stack.split(" > "))


def _explain(report: Report, ours: Counter[str], own: Counter[str]) -> None:
    """Below the table: what does not speak for itself."""
    hesper = report.hesper
    lines = report.lines
    if any("objects" in failure for failure in report.failures):
        lines.append(f"  grown: {hesper.growing_types()}")
    lines += [f"  left, {count} x: {stack}" for stack, count in hesper.stacks.most_common(8)]
    for text in [*hesper.tally.wrong[:8], *hesper.tally.hung[:8], *hesper.tally.held[:4]]:
        lines.append(f"  {text}")
    for kind, count in ours.most_common(8):
        lines += [f"  {count} x {kind}", *_indented(hesper.log.examples[kind])]
    for kind, count in hesper.log.troubles.items():
        if kind in own:
            lines.append(f"  the server's own, {count} x (bare app: {own[kind]} x): {kind}")
    for kind, count in hesper.log.warnings.items():
        lines.append(f"  warning, {count} x: {kind}")


def _indented(text: str) -> list[str]:
    return [f"      {line}" for line in text.splitlines()]
