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
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import count, islice, repeat
from statistics import median
from time import process_time
from typing import Literal

from benchmarks import floors
from benchmarks.asgi import FIRST_ID, Answer, App, Ask, exchange, started

RAW = "raw"
"""The name of the raw app, which is the first of every group."""

SLICE = 0.004
"""CPU seconds that one app runs in one round."""

WARM_UP = 0.03
"""CPU seconds for which an app runs before its first round: the interpreter specialises, and the
number of requests that fill a slice is found."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How a group is measured; what takes milliseconds gets fewer rounds, and fewer requests."""

    share: float = 1.0
    """The part of the rounds that the user asked for."""
    minimum: int = 5
    """Requests in a slice at least, however slow the app is."""
    resettle: int = 3
    """Requests at the start of a slice that are not counted: they find another app's caches."""


BRISK = Pace()
HEAVY = Pace(share=0.4, minimum=2, resettle=1)
"""For requests that take a millisecond or some."""
HEAVIER = Pace(share=0.2, minimum=1, resettle=1)
"""For requests that take ten."""
COLOSSAL = Pace(share=0.2, minimum=1, resettle=0)
"""For requests that take a tenth of a second."""

Likeness = Literal["whole", "body", "json", "status"]


@dataclass(frozen=True, slots=True)
class Subject:
    """An app, what it is asked for, and how it is called in the report."""

    name: str
    app: App
    ask: Ask
    expected: Answer
    """The answer to the first request."""
    like: Likeness = "whole"
    """What of the answer must be as expected. A 404 has its own wording in every framework, a file
    its own validators, and JSON its own spaces."""
    bare: bool = False
    """Whether it is a raw app, which has no lifespan."""
    same: bool = False
    """Whether it is asked for the first path again and again: what caches make of that."""

    def numbers(self) -> Iterator[int]:
        return repeat(FIRST_ID) if self.same else count(FIRST_ID)


@dataclass(frozen=True, slots=True)
class Spread:
    """How one app compares with another in the same rounds."""

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

    def over(self, name: str, base: str, parts: int = 1) -> Spread:
        """Return the microseconds that `name` took beyond `base`, by `parts` equal parts."""
        pairs = zip(self.times[name], self.times[base], strict=True)
        differences = [(one - other) / parts for one, other in pairs]
        return Spread(median(differences), min(differences))

    def ratio(self, name: str, base: str) -> Spread:
        """Return how many times as long `name` took as `base`."""
        pairs = zip(self.times[name], self.times[base], strict=True)
        ratios = [one / other for one, other in pairs]
        return Spread(median(ratios), min(ratios))


class Mismatch(Exception):
    """An app does not answer as the others do, so its time would mean nothing."""

    def __init__(self, subject: Subject, got: Answer) -> None:
        super().__init__(
            f"{subject.name} at {subject.ask.path}: expected {shown(subject.expected)}, "
            f"got {shown(got)}"
        )


def shown(answer: Answer) -> str:
    """Return an answer as text, without the middle of a long body."""
    body, middle = answer.body, b"..." if len(answer.body) > 200 else b""
    short = body[:100] + middle + body[-100:] if middle else body
    return f"{answer.status} {list(answer.headers)} {short!r} ({len(body)} bytes)"


@dataclass(frozen=True, slots=True)
class Fault:
    """An app that was left out of a case, and why."""

    title: str
    name: str
    reason: str

    @property
    def fatal(self) -> bool:
        """Whether nothing is proven without it."""
        return self.name.startswith(("hesper", "starlette"))


class Clock:
    """Measures groups of apps, each group in rounds of its own.

    Args:
        rounds: how often each app gets its turn.
        progress: called with a group's title before it is measured.
    """

    def __init__(self, rounds: int, progress: Callable[[str], None]) -> None:
        self.rounds = rounds
        self.progress = progress
        self.faults: list[Fault] = []

    def leave_out(self, title: str, name: str, reason: str) -> None:
        """Note that an app was not measured."""
        self.faults.append(Fault(title, name, reason))

    async def measure(
        self,
        title: str,
        subjects: Sequence[Subject],
        *,
        floor: App | None = None,
        pace: Pace = BRISK,
    ) -> Rounds:
        """Start the apps, verify their answers, and give the floor and each its turn per round.

        Args:
            title: what is measured.
            subjects: the apps; one that stands in several of them is started once.
            floor: the raw app; by default one that sends the first one's answer as a constant.
            pace: how many rounds, and how many requests in each.

        An app that does not start, or answers otherwise, is left out, and noted in `faults`.

        Raises:
            Mismatch: the raw app's answer is not the expected one.
        """
        groups = {title: subjects}
        return (await self.measure_groups(groups, floor=floor, pace=pace))[title]

    async def measure_groups(
        self,
        groups: Mapping[str, Sequence[Subject]],
        *,
        floor: App | None = None,
        pace: Pace = BRISK,
    ) -> dict[str, Rounds]:
        """Measure groups of the same apps one after the other: apps are started once in a life."""
        async with AsyncExitStack() as stack:
            fit = await self._start(groups, stack)
            return {
                title: await self._group(title, subjects, fit[title], floor, pace)
                for title, subjects in groups.items()
            }

    async def _start(
        self, groups: Mapping[str, Sequence[Subject]], stack: AsyncExitStack
    ) -> dict[str, list[Subject]]:
        """Start the apps, verify their answers, and return the subjects that are fit."""
        fit: dict[str, list[Subject]] = {title: [] for title in groups}
        apps: list[App] = []
        for title, subjects in groups.items():
            for subject in subjects:
                try:
                    if not subject.bare and not any(subject.app is app for app in apps):
                        apps.append(subject.app)
                        await stack.enter_async_context(started(subject.app))
                    await verify(subject)
                except Exception as fault:
                    self.leave_out(title, subject.name, f"{type(fault).__name__}: {fault}")
                else:
                    fit[title].append(subject)
        return fit

    async def _group(
        self,
        title: str,
        subjects: Sequence[Subject],
        fit: Sequence[Subject],
        floor: App | None,
        pace: Pace,
    ) -> Rounds:
        self.progress(title)
        first = subjects[0]
        app = floor or floors.constant(first.expected)
        raw = Subject(RAW, app, first.ask, first.expected, like=first.like)
        await verify(raw)
        return await self._rounds([raw, *fit], pace)

    async def _rounds(self, subjects: Sequence[Subject], pace: Pace) -> Rounds:
        numbers = {subject.name: subject.numbers() for subject in subjects}
        sizes = {s.name: await requests_in_slice(s, numbers[s.name], pace) for s in subjects}
        times: dict[str, list[float]] = {subject.name: [] for subject in subjects}
        gc.collect()
        # What is alive now stays alive: frozen, it costs the collections between slices nothing
        # (1,000 routes in five frameworks would make each of them 30 ms long).
        gc.freeze()
        gc.disable()
        try:
            for _ in range(max(3, round(self.rounds * pace.share))):
                for subject in subjects:
                    size = sizes[subject.name]
                    # A task for each slice: no scope or context variable reaches the next app.
                    run = drive(subject, numbers[subject.name], size, pace.resettle)
                    taken = await asyncio.create_task(run)
                    times[subject.name].append(taken / size * 1e6)
                    gc.collect()
        finally:
            gc.enable()
            gc.unfreeze()
        return Rounds(times)


async def verify(subject: Subject) -> None:
    """Check one answer of the app, before anything is timed."""
    got = await exchange(subject.app, subject.ask)
    if not alike(got, subject.expected, subject.like):
        raise Mismatch(subject, got)


def alike(got: Answer, expected: Answer, like: Likeness) -> bool:
    """Return whether an answer is as expected, as far as frameworks agree."""
    if like == "whole":
        if not any(name == b"content-length" for name, _ in got.headers):
            # Sanic leaves the length to the server.
            headers = [line for line in expected.headers if line[0] != b"content-length"]
            expected = Answer(expected.status, tuple(headers), expected.body)
        return got == expected
    if got.status != expected.status:
        return False
    if like == "json":
        return bool(json.loads(got.body) == json.loads(expected.body))
    return like == "status" or got.body == expected.body


async def requests_in_slice(subject: Subject, numbers: Iterator[int], pace: Pace) -> int:
    """Warm the app up and return how many of its requests fill a slice."""
    size, spent = pace.minimum, 0.0
    while True:
        taken = await asyncio.create_task(drive(subject, numbers, size, pace.resettle))
        spent += taken
        if spent >= WARM_UP:
            return max(pace.minimum, round(size * SLICE / taken))
        if taken < SLICE:
            size *= 2


async def drive(subject: Subject, numbers: Iterator[int], size: int, resettle: int) -> float:
    """Run `size` requests one after the other and return their CPU seconds."""
    app, ask = subject.app, subject.ask
    new, messages = ask.client, ask.messages
    for number in islice(numbers, resettle):
        client = new(messages)
        await app(ask.scope(number), client.receive, client.send)
    before = process_time()
    for number in islice(numbers, size):
        client = new(messages)
        await app(ask.scope(number), client.receive, client.send)
    # What an app left to the event loop is its cost as well.
    for _ in range(3):
        await asyncio.sleep(0)
    return process_time() - before
