"""Which runs a sweep makes, and how what they found becomes one report.

The law: what is run follows from the options, the seed, and what the undisturbed runs did.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

from hesper.exceptions import UsageError
from hesper.testing._dialect import Dialect
from hesper.testing._sweep.checks import Finding, check, repeatable
from hesper.testing._sweep.leftovers import Recorder
from hesper.testing._sweep.loops import Backend, cancelled_class
from hesper.testing._sweep.play import UNDISTURBED, Kind, Outcome, Point, Setting
from hesper.testing._sweep.report import Report, Suppression, Violation, shown
from hesper.testing._sweep.run import play
from hesper.testing._sweep.usual import needs_asyncio, problem_of, summary
from hesper.testing.dialects import (
    DAPHNE,
    GRANIAN,
    GUNICORN,
    HYPERCORN,
    SPECIFICATION,
    UVICORN,
)

USUAL_DIALECTS: tuple[Dialect, ...] = (
    UVICORN,
    HYPERCORN,
    GRANIAN,
    DAPHNE,
    GUNICORN,
    SPECIFICATION,
)
"""The servers over HTTP/1.1, and the specification; `DIALECTS` has the others."""

Progress = Callable[[int, int], None]
"""Called with the number of runs made, and that of all."""

Check = Callable[[Outcome], str | None]
"""Looks at a run, and says in a sentence what is wrong with it."""


@dataclass(frozen=True)
class Options:
    """How to sweep."""

    dialects: tuple[Dialect, ...] = USUAL_DIALECTS
    """The servers to play."""
    backends: tuple[Backend, ...] = ("asyncio", "trio")
    kinds: tuple[Kind, ...] = ("message", "checkpoint", "cancel", "shutdown")
    """The ways to end a run."""
    limit: int = 100
    """How many points of each kind are tried, on each dialect and backend; the report says if
    there were more."""
    seed: int = 0
    """Says which points are tried if there are more, and in which order trio runs tasks."""
    suppress: tuple[Suppression, ...] = ()
    """Violations that may be."""
    seconds: float | None = None
    """How long the application may take to end, besides what it takes undisturbed; by default 60
    seconds of virtual time, and 5 of real time."""
    steps: int = 10_000
    """How many steps its tasks may take to end, and how many messages it may send."""
    real_time: bool = False
    """Leaves the clock alone, for an application that needs the world outside."""
    before: Callable[[], object] | None = None
    """Called before each run: to bring what the application keeps into its first state."""
    check: Check | None = None
    """Called after each run."""
    may_fail: bool = False
    """Whether the undisturbed run may raise, or answer with a status of 500 and above."""


Cell = tuple[Dialect, Backend, Outcome]
"""An undisturbed run, and where it was."""


class Sweeper:
    """Makes the runs of one sweep."""

    def __init__(self, setting: Setting, options: Options, title: str) -> None:
        self._setting = setting
        self._options = options
        self._recorder = Recorder()
        self._found: dict[tuple[str, ...], Violation] = {}
        self._without_lifespan: dict[str, None] = {}
        self._most: dict[Kind, int] = {}
        self.report = Report(title=title, seed=options.seed)

    def sweep(self, progress: Progress | None = None) -> Report:
        """Makes all runs."""
        began = time.perf_counter()
        with self._recorder():
            cells = [cell for backend in self._backends() for cell in self._usual(backend)]
            self._recorder.settle()
            points = [(cell, point) for cell in cells for point in self._points(cell)]
            self._say_what_is_left_out()
            for done, ((dialect, backend, usual), point) in enumerate(points):
                if progress is not None:
                    progress(done, len(points))
                self._judge(self._play(point, dialect, backend, usual), usual)
            self._trace(cells)
        if progress is not None:
            progress(len(points), len(points))
        return self._finished(began)

    def replay(self, point: Point, dialect: Dialect, backend: Backend) -> Report:
        """Makes one run, after the undisturbed one."""
        began = time.perf_counter()
        with self._recorder():
            for _, _, usual in self._usual_in(dialect, backend):
                if point != UNDISTURBED:
                    outcome = self._play(point, dialect, backend, usual)
                    if not outcome.reached:
                        self.report.failures.append(f"the run did not get to {point}")
                    self._judge(outcome, usual)
                self._trace([(dialect, backend, usual)])
        return self._finished(began)

    # The undisturbed runs.

    def _backends(self) -> Iterator[Backend]:
        for backend in self._options.backends:
            try:
                cancelled_class(backend)
            except UsageError as exc:
                self.report.skipped.append(f"{backend}: {exc}")
            else:
                yield backend

    def _usual(self, backend: Backend) -> list[Cell]:
        cells: list[Cell] = []
        for dialect in self._options.dialects:
            before = len(self.report.skipped)
            cells += self._usual_in(dialect, backend)
            if len(self.report.skipped) > before:
                break  # what cannot run on this backend cannot in any dialect
        return cells

    def _usual_in(self, dialect: Dialect, backend: Backend) -> Iterator[Cell]:
        outcome = self._play(UNDISTURBED, dialect, backend, None)
        problem = problem_of(outcome, self._options.may_fail)
        if problem is not None and backend == "trio" and needs_asyncio(outcome):
            self.report.skipped.append(
                f"trio: the application needs asyncio: {repeatable(problem)}"
            )
        elif problem is not None:
            self.report.failures.append(
                f"{dialect.name} on {backend}: the undisturbed request {repeatable(problem)}"
            )
        else:
            # An application that went on for ever, though its client left, is found at fault here,
            # and swept all the same: what it does when it is cancelled is another matter.
            self._judge(outcome, None)
            self.report.usual.append(summary(outcome))
            yield dialect, backend, outcome

    # The others.

    def _points(self, cell: Cell) -> Iterator[Point]:
        dialect, backend, usual = cell
        for kind in self._options.kinds:
            if kind == "shutdown" and not usual.has_lifespan:
                self._without_lifespan[dialect.name] = None
                continue
            numbers = range(1, usual.checkpoints + 1)
            if kind == "message":
                numbers = range(len(usual.result.sent) + 1)
            for n in self._sample(numbers, kind, dialect, backend):
                self.report.points[kind] = self.report.points.get(kind, 0) + 1
                yield Point(kind, n)

    def _sample(
        self, numbers: range, kind: Kind, dialect: Dialect, backend: Backend
    ) -> Sequence[int]:
        limit, seed = self._options.limit, self._options.seed
        if len(numbers) <= limit:
            return numbers
        self._most[kind] = max(len(numbers), self._most.get(kind, 0))
        random = Random(f"{seed} {kind} {dialect.name} {backend}")
        return sorted(random.sample(numbers, limit))

    def _say_what_is_left_out(self) -> None:
        skipped, options = self.report.skipped, self._options
        if self._without_lifespan:
            names = ", ".join(self._without_lifespan)
            skipped.append(f"shutdown: there is no lifespan in {names}")
        for kind, most in self._most.items():
            skipped.append(
                f"{kind}: of up to {most} points in a dialect and backend {options.limit} were "
                f"tried, drawn with seed {options.seed}"
            )

    def _play(
        self,
        point: Point,
        dialect: Dialect,
        backend: Backend,
        usual: Outcome | None,
        *,
        trace: bool = False,
    ) -> Outcome:
        if self._options.before is not None:
            self._options.before()
        self.report.runs += 1
        return play(
            self._setting, point, dialect, backend, self._recorder, usual=usual, trace=trace
        )

    # What they found.

    def _judge(self, outcome: Outcome, usual: Outcome | None) -> None:
        findings = check(outcome, usual)
        if self._options.may_fail and usual is None:
            findings = [finding for finding in findings if finding.code not in ("raised", "logged")]
        if self._options.check is not None:
            said = self._options.check(outcome)
            if said is not None:
                findings.append(Finding("check", repeatable(said)))
        for finding in findings:
            self._add(finding, outcome)

    def _add(self, finding: Finding, outcome: Outcome) -> None:
        about = str(outcome.stack[-1:]) if finding.code == "hang" else finding.about
        key = finding.code, outcome.point.kind, about
        found = self._found.get(key)
        if found is not None:
            found.runs += 1
            if found.n <= outcome.point.n:
                return
        self._found[key] = Violation(
            code=finding.code,
            sentence=finding.sentence,
            mending=finding.mending,
            kind=outcome.point.kind,
            n=outcome.point.n,
            dialect=outcome.dialect.name,
            backend=outcome.backend,
            stack=shown(outcome.stack),
            runs=1 if found is None else found.runs,
        )

    def _trace(self, cells: list[Cell]) -> None:
        """Repeats the run of each violation, and keeps what happens in it."""
        timelines = {}
        for violation in self._found.values():
            place = violation.dialect, violation.backend
            if (*place, violation.at) not in timelines:
                cell = next(c for c in cells if (c[0].name, c[1]) == place)
                point = Point(violation.kind, violation.n)  # type: ignore[arg-type]
                outcome = self._play(point, *cell[:2], cell[2], trace=True)
                timelines[*place, violation.at] = [
                    event._replace(text=repeatable(event.text)) for event in outcome.timeline
                ]
            violation.timeline = timelines[*place, violation.at]

    def _finished(self, began: float) -> Report:
        report = self.report
        for violation in self._found.values():
            reason = next((s.reason for s in self._options.suppress if _lets(s, violation)), "")
            violation.reason = reason
            (report.suppressed if reason else report.violations).append(violation)
        report.seconds = time.perf_counter() - began
        return report


def _lets(suppression: Suppression, violation: Violation) -> bool:
    return suppression.code == violation.code and suppression.about in violation.sentence
