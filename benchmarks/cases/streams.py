"""A stream of 1,000 chunks from an async generator that never waits.

The raw app iterates the same generator and sends each chunk. A framework that watches for the
client's leaving does so beside it, and has to let that be seen between the chunks.
"""

from benchmarks import floors, samples
from benchmarks.asgi import Answer, Ask
from benchmarks.cases.common import alone, measure_feature
from benchmarks.outcome import Bar, Chart, Outcome, Peers, medians, overheads, times
from benchmarks.timing import HEAVY, RAW, Clock

TITLE = f"streaming, {samples.CHUNKS} chunks"
LIMIT = 1.3


async def run(peers: Peers, clock: Clock) -> Outcome:
    expected = Answer(200, ((b"content-type", b"text/plain"),), samples.CHUNK * samples.CHUNKS)
    rounds, outcome = await measure_feature(
        "stream",
        TITLE,
        peers,
        clock,
        Ask("/stream", fixed=True),
        expected,
        floor=floors.streaming(expected, samples.chunks),
        like="body",
        pace=HEAVY,
    )
    title = f"{TITLE}, of one chunk"
    outcome.tables.append(overheads(title, rounds, alone(peers), parts=samples.CHUNKS))
    promise = f"streaming: a chunk takes at most {LIMIT} x the raw app's"
    if "hesper" in rounds:
        ratio = rounds.ratio("hesper", RAW)
        figure = f"{times(ratio.median)}, in the best round {times(ratio.minimum)}"
        outcome.bars.append(Bar(promise, figure, ratio.median <= LIMIT))
    else:
        outcome.bars.append(Bar(promise, "not measured", None))
    costs = medians(rounds, alone(peers), samples.CHUNKS)
    outcome.charts.append(Chart("Each chunk of a stream, over raw", "µs", costs))
    return outcome
