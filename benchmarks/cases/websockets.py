"""A WebSocket that sends 100 texts back. The client sends the next when one has come back."""

from benchmarks import floors, samples
from benchmarks.asgi import Answer, Ask, Message
from benchmarks.cases.common import alone, measure_feature
from benchmarks.outcome import Chart, Outcome, Peers, medians, overheads
from benchmarks.timing import HEAVY, Clock

TITLE = f"WebSocket, {samples.TEXTS} texts echoed"


async def run(peers: Peers, clock: Clock) -> Outcome:
    rounds, outcome = await measure_feature(
        "socket",
        TITLE,
        peers,
        clock,
        Ask("/socket", fixed=True, method="WEBSOCKET", messages=messages()),
        Answer(101, (), samples.TEXT.encode() * samples.TEXTS),
        floor=floors.echo,
        pace=HEAVY,
    )
    title = f"{TITLE}, of one text"
    outcome.tables.append(overheads(title, rounds, alone(peers), parts=samples.TEXTS))
    costs = medians(rounds, alone(peers), samples.TEXTS)
    outcome.charts.append(Chart("Each text of a WebSocket, over raw", "µs", costs))
    return outcome


def messages() -> list[Message]:
    text = {"type": "websocket.receive", "text": samples.TEXT}
    gone = {"type": "websocket.disconnect", "code": 1000, "reason": ""}
    return [{"type": "websocket.connect"}, *[text] * samples.TEXTS, gone]
