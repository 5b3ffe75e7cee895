"""A routed request with one int parameter among ten routes, answered in plain text.

Measured twice: with a new number in every path, and with one path again and again, which is where
a peer that caches its routes is fastest. Traffic lies between the two, so the bars hold for both.
"""

from benchmarks.outcome import Bar, Chart, Outcome, Peers, ahead, at_most, medians, overheads
from benchmarks.plan import ASK, PATHS, expected
from benchmarks.timing import Clock, Rounds, Subject

TITLE = "routed request, one int parameter, 10 routes"
LIMIT = 3.0
SHARE = 0.5
MODES = {"new paths": False, "one path": True}


async def run(peers: Peers, clock: Clock) -> Outcome:
    rounds = await clock.measure(TITLE, subjects(peers))
    outcome = Outcome()
    for mode in MODES:
        names = {name: key(name, mode) for name in peers}
        outcome.tables.append(overheads(f"{TITLE}, {mode}", rounds, names))
        outcome.bars.extend(bars(rounds, names, mode))
        outcome.duel(f"routed, {mode}", rounds, key("hesper", mode), key("starlette", mode))
    shown = medians(rounds, {name: key(name, "new paths") for name in peers})
    outcome.charts.append(Chart("A routed request, over raw", "µs", shown, LIMIT))
    return outcome


def key(name: str, mode: str) -> str:
    return f"{name}, {mode}"


def subjects(peers: Peers) -> list[Subject]:
    return [
        Subject(key(peer.name, mode), peer.build(PATHS), ASK, expected(), same=same)
        for mode, same in MODES.items()
        for peer in peers.values()
    ]


def bars(rounds: Rounds, names: dict[str, str], mode: str) -> list[Bar]:
    costs = medians(rounds, names)
    promise = f"routed, {mode}: at most {LIMIT:.0f} µs over raw"
    half = ahead(f"routed, {mode}: at most half of the best peer", costs, SHARE)
    return [at_most(promise, costs.get("hesper"), LIMIT), half]
