"""The clock: interleaved rounds, and differences taken inside a round.

Law: two apps are compared only by what they took in the same round. The machine is shared, so its
speed drifts over seconds; within a round (30 to 120 ms) it mostly stands still, and the median of
the paired differences is what is left when it does not.

Law: no app is asked for a path twice, unless the subject says so. BlackSheep and Litestar keep the
routes of the last thousand paths: asked for one path again and again, BlackSheep takes 5 µs for the
last of 1,000 routes, and 229 for paths it has not seen (measured on 3.13, version 2.6.4).

CPU time of the process is counted, not wall time: other processes on the machine then cost
nothing but warm caches. The garbage collector is off inside a slice and runs between two.
"""

import asyncio
import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import count, islice, repeat
from statistics import median
from time import process_time

from benchmarks.asgi import (
    FIRST_ID,
    Answer,
    App,
    Client,
    discard,
    exchange,
    fresh,
    raw,
    started,
)

RAW = "raw"
"""The name of the raw app, which is the first of every group."""

SLICE = 0.004
"""CPU seconds that one app runs in one round."""

WARM_UP = 0.03
"""CPU seconds for which an app runs before its first round: the interpreter specialises, and the
number of requests that fill a slice is found."""

MINIMUM = 5
"""Requests in a slice at least, however slow the app is."""

RESETTLE = 3
"""Requests at the start of a slice that are not counted: they find another app's caches."""


@dataclass(frozen=True, slots=True)
class Subject:
    """An app, the paths that it is asked for, and how it is called in the report.

    Each path is `prefix` and a number; `expected` is the answer to the first.
    """

    name: str
    app: App
    prefix: str
    expected: Answer
    exact: bool = True
    """Whether headers and body must be equal too: a 404 has its own wording in every framework."""
    same: bool = False
    """Whether it is asked for the first path again and again: what caches make of that."""

    def numbers(self) -> Iterator[int]:
        return repeat(FIRST_ID) if self.same else count(FIRST_ID)


@dataclass(frozen=True, slots=True)
class Overhead:
    """What one app took beyond another in the same rounds, in microseconds per request."""

    median: float
    minimum: float


class Rounds:
    """The times of one group of apps: for each name, microseconds per request in each round."""

    def __init__(self, times: dict[str, list[float]]) -> None:
        self.times = times

    def __contains__(self, name: str) -> bool:
        return name in self.times

    def median(self, name: str) -> float:
        return median(self.times[name])

    def minimum(self, name: str) -> float:
        return min(self.times[name])

    def over(self, name: str, base: str, parts: int = 1) -> Overhead:
        """Return what `name` took beyond `base`, divided by `parts` equal layers."""
        pairs = zip(self.times[name], self.times[base], strict=True)
        differences = [(one - other) / parts for one, other in pairs]
        return Overhead(median(differences), min(differences))


class Mismatch(Exception):
    """An app does not answer as the others do, so its time would mean nothing."""

    def __init__(self, subject: Subject, got: Answer) -> None:
        super().__init__(
            f"{subject.name} at {subject.prefix}{FIRST_ID}: expected {subject.expected}, got {got}"
        )


class Clock:
    """Measures groups of apps, each group in rounds of its own.

    Args:
        rounds: how often each app gets its turn.
        progress: called with a group's title before it is measured.
    """

    def __init__(self, rounds: int, progress: Callable[[str], None]) -> None:
        self.rounds = rounds
        self.progress = progress

    async def measure(self, title: str, subjects: Sequence[Subject]) -> Rounds:
        """Start the apps, verify their answers, and give the raw app and each its turn per round.

        Raises:
            Mismatch: an app's answer is not the expected one.
        """
        self.progress(title)
        first = subjects[0]
        floor = Subject(RAW, raw(first.expected), first.prefix, first.expected)
        await verify(floor)
        async with AsyncExitStack() as stack:
            for subject in subjects:
                await stack.enter_async_context(started(subject.app))
                await verify(subject)
            return await self._rounds([floor, *subjects])

    async def _rounds(self, subjects: Sequence[Subject]) -> Rounds:
        numbers = {subject.name: subject.numbers() for subject in subjects}
        sizes = {s.name: await requests_in_slice(s, numbers[s.name]) for s in subjects}
        times: dict[str, list[float]] = {subject.name: [] for subject in subjects}
        gc.collect()
        # What is alive now stays alive: frozen, it costs the collections between slices nothing
        # (1,000 routes in five frameworks would make each of them 30 ms long).
        gc.freeze()
        gc.disable()
        try:
            for _ in range(self.rounds):
                for subject in subjects:
                    size = sizes[subject.name]
                    # A task for each slice: no scope or context variable reaches the next app.
                    run = drive(subject, numbers[subject.name], size)
                    taken = await asyncio.create_task(run)
                    times[subject.name].append(taken / size * 1e6)
                    gc.collect()
        finally:
            gc.enable()
            gc.unfreeze()
        return Rounds(times)


async def verify(subject: Subject) -> None:
    """Check one answer of the app, before anything is timed."""
    got = await exchange(subject.app, subject.prefix)
    expected = subject.expected
    if got != expected if subject.exact else got.status != expected.status:
        raise Mismatch(subject, got)


async def requests_in_slice(subject: Subject, numbers: Iterator[int]) -> int:
    """Warm the app up and return how many of its requests fill a slice."""
    size, spent = MINIMUM, 0.0
    while True:
        taken = await asyncio.create_task(drive(subject, numbers, size))
        spent += taken
        if spent >= WARM_UP:
            return max(MINIMUM, round(size * SLICE / taken))
        if taken < SLICE:
            size *= 2


async def drive(subject: Subject, numbers: Iterator[int], size: int) -> float:
    """Run `size` requests one after the other and return their CPU seconds."""
    app, prefix = subject.app, subject.prefix
    for number in islice(numbers, RESETTLE):
        await app(fresh(prefix, number), Client().receive, discard)
    before = process_time()
    for number in islice(numbers, size):
        await app(fresh(prefix, number), Client().receive, discard)
    # What an app left to the event loop is its cost as well.
    for _ in range(3):
        await asyncio.sleep(0)
    return process_time() - before
