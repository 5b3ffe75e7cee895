"""How an app of one feature is measured, which is what several cases do."""

from benchmarks.asgi import Answer, App, Ask
from benchmarks.outcome import Outcome, Peers
from benchmarks.timing import BRISK, Clock, Likeness, Pace, Rounds, Subject


def alone(peers: Peers) -> dict[str, str]:
    """Return the names of the rows, and of their subjects, where each peer has one app."""
    return {name: name for name in peers}


async def measure_feature(
    feature: str,
    title: str,
    peers: Peers,
    clock: Clock,
    ask: Ask,
    expected: Answer,
    *,
    floor: App | None = None,
    like: Likeness = "whole",
    pace: Pace = BRISK,
    beside: tuple[Subject, ...] = (),
) -> tuple[Rounds, Outcome]:
    """Measure every peer's app for a feature, and begin the outcome with who has none."""
    subjects = [
        Subject(name, peer.features[feature](), ask, expected, like=like)
        for name, peer in peers.items()
        if feature in peer.features
    ]
    rounds = await clock.measure(title, [*subjects, *beside], floor=floor, pace=pace)
    outcome = Outcome()
    for name, peer in peers.items():
        if feature not in peer.features:
            reason = peer.cannot.get(feature, "no app is written")
            outcome.notes.append(f"{title}: without {name}: {reason}")
    outcome.duel(title, rounds, "hesper", "starlette")
    return rounds, outcome
