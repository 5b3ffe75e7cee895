"""A routed request whose handler reads two cookies and two headers, and answers with them."""

from benchmarks.asgi import SCOPE, Ask, answer
from benchmarks.cases.common import alone, measure_feature
from benchmarks.outcome import Chart, Outcome, Peers, medians, overheads
from benchmarks.timing import Clock

TITLE = "two cookies and two headers read"
HEADERS = dict(SCOPE["headers"])
TEXT = b"8c1f2b7e4d dark %b %b" % (HEADERS[b"user-agent"], HEADERS[b"x-request-id"])


async def run(peers: Peers, clock: Clock) -> Outcome:
    rounds, outcome = await measure_feature(
        "read", TITLE, peers, clock, Ask("/read/"), answer(200, TEXT, [])
    )
    outcome.tables.append(overheads(TITLE, rounds, alone(peers)))
    costs = medians(rounds, alone(peers))
    outcome.charts.append(Chart("Cookies and headers read, over raw", "µs", costs))
    return outcome
