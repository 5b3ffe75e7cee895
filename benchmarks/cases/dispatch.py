"""The same request behind one and five middlewares that each set a header on the response."""

from benchmarks.outcome import Bar, Chart, Outcome, Peers, Table, at_most, micro, raw_row
from benchmarks.plan import ASK, PATHS, expected
from benchmarks.timing import RAW, Clock, Rounds, Subject

TITLE = "dispatch middlewares that set a header"
LIMIT = 1.0
DEPTHS = (1, 5)
DEEPEST = DEPTHS[-1]


async def run(peers: Peers, clock: Clock) -> Outcome:
    rounds = await clock.measure(TITLE, subjects(peers))
    outcome = Outcome([table(peers, rounds)], bars(rounds))
    for depth in DEPTHS:
        for style in ("hesper", "hesper function"):
            case = f"{style}, {depth} dispatch"
            outcome.duel(case, rounds, key(style, depth), key("starlette", depth))
    each = {
        name: rounds.over(key(name, DEEPEST), key(name, 0), DEEPEST).median
        for name in peers
        if key(name, 0) in rounds and key(name, DEEPEST) in rounds
    }
    outcome.charts.append(Chart("Each dispatch middleware", "µs", each, LIMIT))
    return outcome


def key(style: str, depth: int) -> str:
    return f"{style} +{depth}"


def subjects(peers: Peers) -> list[Subject]:
    apps = []
    for peer in peers.values():
        apps.append(Subject(key(peer.name, 0), peer.build(PATHS), ASK, expected()))
        for style, build in peer.builders.items():
            for depth in DEPTHS:
                app = build(PATHS, depth)
                apps.append(Subject(key(style, depth), app, ASK, expected(depth)))
    return apps


def table(peers: Peers, rounds: Rounds) -> Table:
    columns = ["app", "none", *map(str, DEPTHS), "the first", "each of 5", "min"]
    table = Table(f"{TITLE} (µs over raw; {raw_row(rounds)})", columns)
    for peer in peers.values():
        bare = key(peer.name, 0)
        for style in peer.builders:
            totals = [bare, *(key(style, depth) for depth in DEPTHS)]
            if any(name not in rounds for name in totals):
                continue
            each = rounds.over(key(style, DEEPEST), bare, DEEPEST)
            figures = [rounds.over(name, RAW).median for name in totals]
            figures.append(rounds.over(key(style, 1), bare).median)
            table.rows.append([style, *map(micro, [*figures, each.median, each.minimum])])
    return table


def bars(rounds: Rounds) -> list[Bar]:
    found = []
    for style, kind in (("hesper", "BaseHTTPMiddleware"), ("hesper function", "function")):
        each = None
        if key(style, DEEPEST) in rounds:
            each = rounds.over(key(style, DEEPEST), key("hesper", 0), DEEPEST).median
        found.append(at_most(f"dispatch ({kind}): each at most {LIMIT:.0f} µs", each, LIMIT))
    return found
