"""`BaseHTTPMiddleware` of Hesper and of Starlette around a whole app of Starlette or FastAPI."""

import sys

from benchmarks.asgi import App
from benchmarks.outcome import Bar, Chart, Outcome, Peers, Table, at_most, micro, raw_row, times
from benchmarks.plan import ASK, PATHS, expected
from benchmarks.timing import RAW, Clock, Rounds, Subject

INNER = ("starlette", "fastapi")
LIMIT = 12.0
LAYER_LIMIT = 1.0
DEPTHS = (1, 5)
ALONE = "the app alone"


async def run(peers: Peers, clock: Clock) -> Outcome:
    outcome = Outcome()
    for inner in INNER:
        if inner not in peers:
            outcome.bars.append(Bar(f"bridge over {inner}", "not measured: it is missing", None))
            continue
        title = f"BaseHTTPMiddleware around a {inner} app"
        rounds = await clock.measure(title, subjects(peers, inner))
        outcome.tables.append(table(title, rounds))
        outcome.bars.extend(bars(inner, rounds))
        for depth in DEPTHS:
            case = f"bridge over {inner}, {depth} deep"
            outcome.duel(case, rounds, key("hesper", depth), key("starlette", depth))
        cost = {name: over(rounds, name) for name in peers if key(name, 1) in rounds}
        if inner == "starlette":
            outcome.charts.append(Chart("A middleware around a Starlette app", "µs", cost, LIMIT))
    return outcome


def over(rounds: Rounds, name: str) -> float:
    return rounds.over(key(name, 1), ALONE).median


def key(name: str, depth: int) -> str:
    return f"{name} x{depth}"


def subjects(peers: Peers, inner: str) -> list[Subject]:
    def build() -> App:
        return peers[inner].build(PATHS)

    apps = [Subject(ALONE, build(), ASK, expected())]
    for peer in peers.values():
        if peer.wrap is not None:
            for depth in DEPTHS:
                app = peer.wrap(build(), depth)
                apps.append(Subject(key(peer.name, depth), app, ASK, expected(depth)))
    return apps


def table(title: str, rounds: Rounds) -> Table:
    columns = ["app", "fastest", "over raw", "over the app alone", "min", "x alone"]
    table = Table(f"{title} (µs; {raw_row(rounds)})", columns)
    for name in rounds.times:
        if name != RAW:
            over = rounds.over(name, ALONE)
            ratio = times(rounds.ratio(name, ALONE).median)
            above_raw = rounds.over(name, RAW).median
            figures = [rounds.minimum(name), above_raw, over.median, over.minimum]
            table.rows.append([name, *map(micro, figures), ratio])
    return table


def bars(inner: str, rounds: Rounds) -> list[Bar]:
    promise = f"bridge over {inner}, 1 deep: at most {LIMIT:.0f} µs over the app alone"
    fused = f"bridge over {inner}, 5 deep: each further layer at most {LAYER_LIMIT:.0f} µs"
    first, last = key("hesper", 1), key("hesper", 5)
    if first not in rounds:
        return [at_most(promise, None, LIMIT), at_most(fused, None, LAYER_LIMIT)]
    further = at_most(fused, rounds.over(last, first, 4).median, LAYER_LIMIT)
    cost = rounds.over(first, ALONE).median
    if sys.version_info < (3, 12):
        # Eager tasks came with 3.12: without them the bridge waits one turn of the event loop.
        return [Bar(promise, f"{cost:.2f} µs, judged from Python 3.12 on", None), further]
    return [at_most(promise, cost, LIMIT), further]
