"""A static file of 1 KB and one of 10 MB, read whole.

Threads count as well: the time is the process's. The raw app reads on the event loop, which no
framework should. No server here offers to send a file by its path.
"""

from benchmarks import floors, samples
from benchmarks.asgi import Answer, Ask
from benchmarks.cases.common import alone, measure_feature
from benchmarks.outcome import Chart, Outcome, Peers, medians, overheads
from benchmarks.timing import BRISK, HEAVIER, Clock

TITLES = {"small.txt": "static file, 1 KB", "large.bin": "static file, 10 MB"}


async def run(peers: Peers, clock: Clock) -> Outcome:
    outcome = Outcome()
    for name, title in TITLES.items():
        large = samples.FILES[name] > samples.MEGABYTE
        expected = Answer(200, ((b"content-type", b"text/plain"),), samples.body_of(name))
        rounds, found = await measure_feature(
            "files",
            title,
            peers,
            clock,
            Ask(f"/files/{name}", fixed=True),
            expected,
            floor=floors.file(expected, samples.folder() / name),
            like="body",
            pace=HEAVIER if large else BRISK,
        )
        found.tables.append(overheads(title, rounds, alone(peers)))
        costs = medians(rounds, alone(peers))
        if large:
            found.charts.append(Chart("A static file of 10 MB, over raw", "ms", milli(costs)))
        else:
            found.charts.append(Chart("A static file of 1 KB, over raw", "µs", costs))
        outcome.extend(found)
    return outcome


def milli(costs: dict[str, float]) -> dict[str, float]:
    return {name: cost / 1000 for name, cost in costs.items()}
