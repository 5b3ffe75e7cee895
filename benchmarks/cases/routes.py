"""Ten to ten thousand routes: the first, the last, and a path that none of them has."""

from benchmarks.asgi import FIRST_ID, Answer, App, Ask, answer
from benchmarks.outcome import Bar, Chart, Outcome, Peers, Table, micro, raw_row, times
from benchmarks.timing import RAW, Clock, Likeness, Pace, Rounds, Subject

COUNTS = (10, 100, 1000, 10000)
FEW, MOST = COUNTS[0], COUNTS[-1]
LIMIT = 1.3
POSITIONS = ("first", "last", "miss")
FOUND = answer(200, f"item {FIRST_ID}".encode(), [])
NOT_FOUND = answer(404, b"Not Found", [])
PACE = Pace(share=0.4, minimum=2, resettle=1)

SLOW = {"falcon": 73, "litestar": 161, "sanic": 18}
"""Seconds in which these add 10,000 routes (CPython 3.13; Falcon 4.4, Litestar 2.25, Sanic 25.12):
too long for a benchmark that people run, so they stop at 1,000."""

Apps = dict[tuple[str, int], App]


async def run(peers: Peers, clock: Clock) -> Outcome:
    outcome = Outcome()
    apps = build(peers, clock)
    groups = {f"routes: {position}": subjects(apps, position) for position in POSITIONS}
    found = await clock.measure_groups(groups, pace=PACE)
    ratios: dict[str, float] = {}
    for position, (title, rounds) in zip(POSITIONS, found.items(), strict=True):
        outcome.tables.append(table(title, peers, rounds))
        for count in COUNTS:
            case = f"{count} routes, {position}"
            outcome.duel(case, rounds, key("hesper", count), key("starlette", count))
        if key("hesper", MOST) in rounds:
            ratios[position] = growth("hesper", rounds)
    outcome.bars.append(verdict(ratios))
    last = found["routes: last"]
    costs = {name: last.over(key(name, 1000), RAW).median for name in peers if in_both(name, last)}
    outcome.charts.append(Chart("The last of 1,000 routes, over raw", "µs", costs))
    outcome.notes.extend(
        f"{MOST} routes: without {name}: it takes {seconds} s to add them"
        for name, seconds in SLOW.items()
        if name in peers
    )
    return outcome


def in_both(name: str, rounds: Rounds) -> bool:
    return key(name, FEW) in rounds and key(name, 1000) in rounds


def build(peers: Peers, clock: Clock) -> Apps:
    """Return the apps; each is asked for all positions."""
    apps: Apps = {}
    for name, peer in peers.items():
        for count in COUNTS:
            if count < MOST or name not in SLOW:
                clock.progress(f"routes: {name} adds {count}")
                apps[name, count] = peer.build(paths(count))
    return apps


def key(name: str, count: int) -> str:
    return f"{name} of {count}"


def paths(count: int) -> list[str]:
    """Return paths that share a prefix, as those of an API do."""
    return [f"/api/v1/resource-{number}/{{id:int}}" for number in range(count)]


def subjects(apps: Apps, position: str) -> list[Subject]:
    found = []
    for (name, count), app in apps.items():
        ask, expected, like = request(count, position)
        found.append(Subject(key(name, count), app, ask, expected, like=like))
    return found


def request(count: int, position: str) -> tuple[Ask, Answer, Likeness]:
    """Return what is asked, its answer, and how far all frameworks word that alike."""
    if position == "miss":
        return Ask("/api/v1/nothing/"), NOT_FOUND, "status"
    number = 0 if position == "first" else count - 1
    return Ask(f"/api/v1/resource-{number}/"), FOUND, "whole"


def growth(name: str, rounds: Rounds, most: int = MOST) -> float:
    """Return the overhead with most routes by that with few."""
    many, few = rounds.over(key(name, most), RAW), rounds.over(key(name, FEW), RAW)
    return many.median / few.median


def table(title: str, peers: Peers, rounds: Rounds) -> Table:
    columns = ["app", *(f"{count:,}" for count in COUNTS), "the most by 10"]
    table = Table(f"{title} (µs over raw; {raw_row(rounds)})", columns)
    for name in peers:
        counts = [count for count in COUNTS if key(name, count) in rounds]
        if FEW not in counts:
            continue
        figures = [micro(rounds.over(key(name, count), RAW).median) for count in counts]
        figures += ["-"] * (len(COUNTS) - len(figures))
        table.rows.append([name, *figures, times(growth(name, rounds, counts[-1]))])
    return table


def verdict(ratios: dict[str, float]) -> Bar:
    promise = f"{MOST:,} routes: overhead at most {LIMIT} x that of {FEW}"
    if not ratios:
        return Bar(promise, "not measured", None)
    figure = ", ".join(f"{position} {times(ratio)}" for position, ratio in ratios.items())
    return Bar(promise, figure, max(ratios.values()) <= LIMIT)
