"""A routed request with one int parameter among ten routes, answered in plain text.

Measured twice: with a new number in every path, and with one path again and again, which is where
a peer that caches its routes is fastest. Traffic lies between the two, so the bars hold for both.
"""

from benchmarks.cases.common import PATHS, PREFIX, expected
from benchmarks.outcome import Bar, Outcome, Peers, Table, bar, micro, raw_row, times
from benchmarks.timing import RAW, Clock, Rounds, Subject

TITLE = "routed request, one int parameter, 10 routes"
LIMIT = 3.0
MODES = {"new paths": False, "one path": True}


async def run(peers: Peers, clock: Clock) -> Outcome:
    rounds = await clock.measure(TITLE, subjects(peers))
    outcome = Outcome()
    for mode in MODES:
        outcome.tables.append(table(peers, rounds, mode))
        outcome.bars.extend(bars(peers, rounds, mode))
        outcome.duel(f"routed, {mode}", rounds, key("hesper", mode), key("starlette", mode))
    return outcome


def key(name: str, mode: str) -> str:
    return f"{name}, {mode}"


def subjects(peers: Peers) -> list[Subject]:
    return [
        Subject(key(peer.name, mode), peer.build(PATHS), PREFIX, expected(), same=same)
        for mode, same in MODES.items()
        for peer in peers.values()
    ]


def table(peers: Peers, rounds: Rounds, mode: str) -> Table:
    columns = ["app", "fastest", "over raw", "min", "x raw", "over raw / starlette's"]
    table = Table(f"{TITLE}, {mode} (µs; {raw_row(rounds)})", columns)
    for peer in peers:
        name, starlette = key(peer, mode), key("starlette", mode)
        over = rounds.over(name, RAW)
        share = "-"
        if starlette in rounds:
            share = times(over.median / rounds.over(starlette, RAW).median)
        ratio = times(rounds.median(name) / rounds.median(RAW))
        figures = [rounds.minimum(name), over.median, over.minimum]
        table.rows.append([peer, *map(micro, figures), ratio, share])
    return table


def bars(peers: Peers, rounds: Rounds, mode: str) -> list[Bar]:
    promise = f"routed, {mode}: at most {LIMIT:.0f} µs over raw"
    below = f"routed, {mode}: below every peer"
    if "hesper" not in peers:
        return [bar(promise, None, LIMIT), bar(below, None, LIMIT)]
    costs = {name: rounds.over(key(name, mode), RAW).median for name in peers}
    mine = costs.pop("hesper")
    if not costs:
        return [bar(promise, mine, LIMIT), Bar(below, "no peer is installed", None)]
    best = min(costs, key=costs.__getitem__)
    figure = f"{mine:.2f} µs, best peer {best} {costs[best]:.2f} µs"
    return [bar(promise, mine, LIMIT), Bar(below, figure, mine < costs[best])]
