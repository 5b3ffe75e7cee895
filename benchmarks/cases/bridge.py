"""`BaseHTTPMiddleware` of Hesper and of Starlette around a whole Starlette app."""

import sys

from benchmarks.asgi import App
from benchmarks.cases.common import PATHS, PREFIX, expected
from benchmarks.outcome import Bar, Outcome, Peers, Table, bar, micro, raw_row, times
from benchmarks.timing import RAW, Clock, Rounds, Subject

TITLE = "BaseHTTPMiddleware around a Starlette app"
LIMIT = 12.0
LAYER_LIMIT = 1.0
DEPTHS = (1, 5)
ALONE = "starlette app alone"


async def run(peers: Peers, clock: Clock) -> Outcome:
    if "starlette" not in peers:
        return Outcome(bars=[Bar("bridge", "not measured: starlette is missing", None)])
    rounds = await clock.measure(TITLE, subjects(peers))
    outcome = Outcome([table(rounds)], bars(rounds))
    for depth in DEPTHS:
        outcome.duel(f"bridge, {depth} deep", rounds, key("hesper", depth), key("starlette", depth))
    return outcome


def key(name: str, depth: int) -> str:
    return f"{name} x{depth}"


def subjects(peers: Peers) -> list[Subject]:
    def inner() -> App:
        return peers["starlette"].build(PATHS)

    apps = [Subject(ALONE, inner(), PREFIX, expected())]
    for peer in peers.values():
        if peer.wrap is not None:
            for depth in DEPTHS:
                app = peer.wrap(inner(), depth)
                apps.append(Subject(key(peer.name, depth), app, PREFIX, expected(depth)))
    return apps


def table(rounds: Rounds) -> Table:
    columns = ["app", "fastest", "over raw", "over the app alone", "min", "x alone"]
    table = Table(f"{TITLE} (µs; {raw_row(rounds)})", columns)
    for name in rounds.times:
        if name != RAW:
            over = rounds.over(name, ALONE)
            ratio = times(rounds.median(name) / rounds.median(ALONE))
            above_raw = rounds.over(name, RAW).median
            figures = [rounds.minimum(name), above_raw, over.median, over.minimum]
            table.rows.append([name, *map(micro, figures), ratio])
    return table


def bars(rounds: Rounds) -> list[Bar]:
    promise = f"bridge, 1 deep: at most {LIMIT:.0f} µs over the app alone"
    fused = f"bridge, 5 deep: each further layer at most {LAYER_LIMIT:.0f} µs"
    first, last = key("hesper", 1), key("hesper", 5)
    if first not in rounds:
        return [bar(promise, None, LIMIT), bar(fused, None, LAYER_LIMIT)]
    further = bar(fused, rounds.over(last, first, 4).median, LAYER_LIMIT)
    cost = rounds.over(first, ALONE).median
    if sys.version_info < (3, 12):
        # Eager tasks came with 3.12: without them the bridge waits one turn of the event loop.
        return [Bar(promise, f"{cost:.2f} µs, judged from Python 3.12 on", None), further]
    return [bar(promise, cost, LIMIT), further]
