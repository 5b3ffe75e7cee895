"""A static file of 1 KB and one of 10 MB, read whole.

Threads count as well: the time is the process's. The raw app reads on the event loop, which no
framework should. No server here offers to send a file by its path.
"""

from benchmarks import floors, samples
from benchmarks.asgi import Answer, Ask
from benchmarks.cases.common import alone, measure_feature
from benchmarks.outcome import Chart, Outcome, Peers, medians, overheads
from benchmarks.timing import BRISK, HEAVY, Clock

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
            pace=HEAVY if large else BRISK,
        )
        found.tables.append(overheads(title, rounds, alone(peers)))
        if not large:
            costs = medians(rounds, alone(peers))
            found.charts.append(Chart("A static file of 1 KB, over raw", "µs", costs))
        outcome.extend(found)
    return outcome
