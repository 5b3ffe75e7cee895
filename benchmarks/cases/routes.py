"""Ten routes and a thousand: the first, the last, and a path that none of them has."""

from benchmarks.asgi import FIRST_ID, Answer, answer
from benchmarks.outcome import Bar, Outcome, Peers, Table, bar, micro, raw_row, times
from benchmarks.timing import RAW, Clock, Rounds, Subject

FEW, MANY = 10, 1000
LIMIT = 1.3
POSITIONS = ("first", "last", "miss")
FOUND = answer(200, f"item {FIRST_ID}".encode(), [])
NOT_FOUND = answer(404, b"Not Found", [])


async def run(peers: Peers, clock: Clock) -> Outcome:
    outcome = Outcome()
    ratios: dict[str, float] = {}
    for position in POSITIONS:
        title = f"{FEW} and {MANY} routes: {position}"
        rounds = await clock.measure(title, subjects(peers, position))
        outcome.tables.append(table(title, peers, rounds))
        for count in (FEW, MANY):
            case = f"{count} routes, {position}"
            outcome.duel(case, rounds, key("hesper", count), key("starlette", count))
        if "hesper" in peers:
            ratios[position] = growth("hesper", rounds)
    outcome.bars.append(verdict(ratios))
    return outcome


def key(name: str, count: int) -> str:
    return f"{name} of {count}"


def paths(count: int) -> list[str]:
    """Return paths that share a prefix, as those of an API do."""
    return [f"/api/v1/resource-{number}/{{id:int}}" for number in range(count)]


def subjects(peers: Peers, position: str) -> list[Subject]:
    # Built anew for each position: an app is started once in its life.
    return [
        Subject(key(name, count), peer.build(paths(count)), *request(count, position))
        for name, peer in peers.items()
        for count in (FEW, MANY)
    ]


def request(count: int, position: str) -> tuple[str, Answer, bool]:
    """Return the start of a path, its answer, and whether all frameworks word that alike."""
    if position == "miss":
        return "/api/v1/nothing/", NOT_FOUND, False
    number = 0 if position == "first" else count - 1
    return f"/api/v1/resource-{number}/", FOUND, True


def growth(name: str, rounds: Rounds) -> float:
    """Return the overhead with many routes by that with few."""
    many, few = rounds.over(key(name, MANY), RAW), rounds.over(key(name, FEW), RAW)
    return many.median / few.median


def table(title: str, peers: Peers, rounds: Rounds) -> Table:
    columns = ["app", str(FEW), str(MANY), "ratio"]
    table = Table(f"{title} (µs over raw; {raw_row(rounds)})", columns)
    for name in peers:
        figures = [rounds.over(key(name, count), RAW).median for count in (FEW, MANY)]
        table.rows.append([name, *map(micro, figures), times(growth(name, rounds))])
    return table


def verdict(ratios: dict[str, float]) -> Bar:
    promise = f"{MANY} routes: overhead at most {LIMIT} x that of {FEW}"
    if not ratios:
        return bar(promise, None, LIMIT)
    figure = ", ".join(f"{position} {times(ratio)}" for position, ratio in ratios.items())
    return Bar(promise, figure, max(ratios.values()) <= LIMIT)
