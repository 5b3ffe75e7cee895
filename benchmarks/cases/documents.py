"""JSON in and out: a POST whose body is parsed and sent back.

The row "json" is a raw app that does it with the standard library: what no framework that uses
that can be faster than. Falcon and Quart write other spaces, so the documents are compared.
"""

from benchmarks import floors, samples
from benchmarks.asgi import Ask, answer, cut, post
from benchmarks.cases.common import alone, measure_feature
from benchmarks.outcome import Chart, Outcome, Peers, ahead, medians, overheads
from benchmarks.timing import Clock, Subject

SIZES = {"small": 40, "1 KB": 1024, "10 KB": 10240}
JUDGED = "1 KB"
STANDARD = "json"


async def run(peers: Peers, clock: Clock) -> Outcome:
    outcome = Outcome()
    for size, length in SIZES.items():
        body = samples.document(length)
        expected = answer(200, body, [])
        title = f"JSON in and out, {size} ({len(body)} bytes)"
        rounds, found = await measure_feature(
            "json",
            title,
            peers,
            clock,
            ask(body),
            expected,
            floor=floors.reading(expected),
            like="json",
            beside=(
                Subject(STANDARD, floors.with_json(), ask(body), expected, like="json", bare=True),
            ),
        )
        names = alone(peers) | {STANDARD: STANDARD}
        found.tables.append(overheads(title, rounds, names))
        if size == JUDGED:
            costs = medians(rounds, alone(peers))
            found.bars.append(ahead(f"JSON in and out, {size}: ahead of every peer", costs))
            found.charts.append(Chart(f"JSON in and out, {size}, over raw", "µs", costs))
        outcome.extend(found)
    return outcome


def ask(body: bytes) -> Ask:
    return post("/json", b"application/json", cut(body))
