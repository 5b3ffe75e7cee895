"""A form with a file of 50 MB, parsed: throughput in MB of upload per CPU second.

What a handler has in the end differs: a temporary file in Hesper, Starlette, FastAPI, BlackSheep,
Litestar and Quart, bytes in Sanic, and nothing in Falcon, which gives parts as streams.
"""

from benchmarks import floors, samples
from benchmarks.asgi import answer, post
from benchmarks.cases.common import measure_feature
from benchmarks.outcome import Bar, Chart, Outcome, Peers, Table, times
from benchmarks.timing import COLOSSAL, RAW, Clock, Rounds

TITLE = "multipart upload of 50 MB"
TIMES = 2.0


async def run(peers: Peers, clock: Clock) -> Outcome:
    expected = answer(200, f"A large file: {samples.UPLOADED}".encode(), [])
    rounds, outcome = await measure_feature(
        "upload",
        TITLE,
        peers,
        clock,
        post("/upload", samples.UPLOAD_TYPE, samples.upload()),
        expected,
        floor=floors.reading(expected),
        pace=COLOSSAL,
    )
    outcome.tables.append(table(rounds))
    outcome.bars.append(bar(rounds))
    costs = {name: rounds.median(name) / 1000 for name in rounds.times if name != RAW}
    outcome.charts.append(Chart("An upload of 50 MB", "ms", costs))
    return outcome


def speed(microseconds: float) -> float:
    return samples.UPLOADED / samples.MEGABYTE / (microseconds / 1e6)


def table(rounds: Rounds) -> Table:
    table = Table(f"{TITLE} (MB per CPU second)", ["app", "median", "best", "x starlette", "min"])
    for name in rounds.times:
        if name == RAW:
            continue
        figures = [f"{speed(time):.0f}" for time in (rounds.median(name), rounds.minimum(name))]
        ratios = ["-", "-"]
        if "starlette" in rounds:
            ratio = rounds.ratio("starlette", name)
            ratios = [times(ratio.median), times(ratio.minimum)]
        table.rows.append([name, *figures, *ratios])
    return table


def bar(rounds: Rounds) -> Bar:
    promise = f"multipart: at least {TIMES:.0f} x Starlette's throughput"
    if "hesper" not in rounds or "starlette" not in rounds:
        return Bar(promise, "not measured", None)
    ratio = rounds.ratio("starlette", "hesper")
    rates = [f"{speed(rounds.median(name)):.0f}" for name in ("hesper", "starlette")]
    figure = f"{times(ratio.median)} ({rates[0]} against {rates[1]} MB/s)"
    return Bar(promise, figure, ratio.median >= TIMES)
