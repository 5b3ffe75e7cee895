"""What several cases share: the app with ten routes, and how an app of one feature is measured."""

from benchmarks.asgi import FIRST_ID, Answer, App, Ask, answer
from benchmarks.outcome import Outcome, Peers
from benchmarks.peers import header
from benchmarks.timing import BRISK, Clock, Likeness, Pace, Rounds, Subject

PATHS = (
    "/login/{id:int}",
    "/logout/{id:int}",
    "/articles/{id:int}",
    "/articles/{id:int}/comments",
    "/users/{id:int}/articles",
    "/users/{id:int}",
    "/search/{id:int}",
    "/tags/{id:int}",
    "/files/{id:int}",
    "/admin/{id:int}",
)
ASK = Ask("/users/")
"""A request for the sixth of them."""


def expected(layers: int = 0) -> Answer:
    """Return the answer to the first `ASK` behind a number of middlewares."""
    headers = [(header(layer).encode(), b"1") for layer in range(layers)]
    return answer(200, f"item {FIRST_ID}".encode(), headers)


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
