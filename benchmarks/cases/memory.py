"""Memory: 10,000 idle event streams, the peak of a process, and the allocations of a request.

Each figure comes from a process of its own. The streams are opened in the process, without a
server: what the framework holds for each is weighed, and the raw app's task, generator and scope
are taken off. A server adds its own, the same for all.
"""

from collections.abc import Mapping

from benchmarks.fresh import Failed, alone
from benchmarks.outcome import Bar, Chart, Duel, Outcome, Peers, Table, times
from benchmarks.timing import Clock

RAW = "raw"
STREAMS = 10_000
SHARE = 0.5
KINDS = {"routed": "2,000 requests", "upload": "2 uploads of 50 MB", "file": "2 files of 10 MB"}
LAYERS = (0, 5)

Found = dict[str, dict[str, float]]


async def run_streams(peers: Peers, clock: Clock) -> Outcome:
    found = await every("events", str(STREAMS), peers, clock)
    over = above_raw(found, "bytes")
    outcome = Outcome()
    title = f"{STREAMS:,} idle event streams (KB each; raw {kilo(found[RAW]['bytes'])})"
    table = Table(title, ["app", "over raw", "in all", "tasks each", "over raw / starlette's"])
    for name, extra in over.items():
        tasks = round(found[name]["tasks"] / STREAMS)
        share = times(extra / over["starlette"]) if "starlette" in over else "-"
        table.rows.append([name, kilo(extra), kilo(found[name]["bytes"]), str(tasks), share])
    outcome.tables.append(table)
    outcome.bars.append(bar(over))
    duel(outcome, "an idle event stream", over)
    shown = {name: extra / 1024 for name, extra in over.items()}
    outcome.charts.append(Chart("An idle event stream, over raw", "KB", shown))
    return outcome


async def run_peaks(peers: Peers, clock: Clock) -> Outcome:
    found = {kind: await every("peak", kind, peers, clock) for kind in KINDS}
    floors = ", ".join(f"{mega(found[kind][RAW]['bytes'])}" for kind in KINDS)
    title = f"peak memory of a process (MB over raw's, which are {floors})"
    table = Table(title, ["app", *KINDS.values()])
    overs = {kind: above_raw(found[kind], "bytes") for kind in KINDS}
    for name in peers:
        cells = [mega(over[name]) if name in over else "-" for over in overs.values()]
        table.rows.append([name, *cells])
    outcome = Outcome([table])
    for kind, over in overs.items():
        duel(outcome, f"peak memory, {kind}", over)
    return outcome


async def run_allocations(peers: Peers, clock: Clock) -> Outcome:
    outcome = Outcome()
    for layers in LAYERS:
        found = await every("allocations", str(layers), peers, clock)
        title = f"allocations of a routed request, {layers} middlewares (over raw)"
        columns = ["app", "blocks held when it answers", "bytes at most", "blocks left after it"]
        table = Table(title, columns)
        held, most = above_raw(found, "blocks"), above_raw(found, "bytes")
        for name in held:
            left = f"{found[name]['left']:.1f}"
            table.rows.append([name, f"{held[name]:.0f}", f"{most[name]:,.0f}", left])
        outcome.tables.append(table)
    return outcome


async def every(what: str, argument: str, peers: Peers, clock: Clock) -> Found:
    """Return what the processes of the raw app and of each peer found, one after the other."""
    found: Found = {}
    for name in (RAW, *peers):
        clock.progress(f"{what} {argument}: {name}")
        try:
            found[name] = await alone(what, name, argument)
        except Failed as fault:
            clock.leave_out(f"{what} {argument}", name, str(fault))
    return found


def above_raw(found: Found, figure: str) -> dict[str, float]:
    floor = found[RAW][figure]
    return {name: values[figure] - floor for name, values in found.items() if name != RAW}


def duel(outcome: Outcome, case: str, over: Mapping[str, float]) -> None:
    if "hesper" in over and "starlette" in over:
        outcome.duels.append(Duel(case, over["hesper"] / 1024, over["starlette"] / 1024, "KB"))


def bar(over: Mapping[str, float]) -> Bar:
    promise = f"{STREAMS:,} idle event streams: at most half of Starlette's memory"
    if "hesper" not in over or "starlette" not in over:
        return Bar(promise, "not measured", None)
    mine, theirs = over["hesper"], over["starlette"]
    figure = f"{kilo(mine)} KB each against {kilo(theirs)} ({times(mine / theirs)})"
    return Bar(promise, figure, mine <= SHARE * theirs)


def kilo(value: float) -> str:
    return f"{value / 1024:.1f}"


def mega(value: float) -> str:
    return f"{value / 1024 / 1024:.1f}"
