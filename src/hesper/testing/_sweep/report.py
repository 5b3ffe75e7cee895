"""What a sweep has found.

The law: a report is a value: the same sweep with the same seed gives the same, but for `seconds`.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from hesper.testing._sweep.frames import Place
from hesper.testing._sweep.loops import Backend
from hesper.testing._sweep.play import Event


@dataclass(frozen=True)
class Suppression:
    """Lets a violation be, for a reason that the report shows.

    Args:
        code: the code of the violation.
        reason: why it is no fault here.
        about: a part of the violation's sentence; any, if it is empty.
    """

    code: str
    reason: str
    about: str = ""


@dataclass
class Violation:
    """One fault, at the smallest n at which a run showed it."""

    code: str
    """What kind of fault it is, in a word."""
    sentence: str
    """What is wrong."""
    mending: str
    """How it is usually mended."""
    kind: str
    """How the run was disturbed: ``"message"``, ``"checkpoint"``, ``"cancel"``, ``"shutdown"``,
    or ``"undisturbed"``."""
    n: int
    """At which message or checkpoint."""
    dialect: str
    backend: Backend
    stack: list[str]
    """Where the application stood at that point, outermost first."""
    runs: int = 1
    """How many runs showed it."""
    reason: str = ""
    """Why it was suppressed."""
    timeline: list[Event] = field(default_factory=list)
    """What happened in that run."""

    @property
    def at(self) -> str:
        """The point, as ``--at`` takes it."""
        return "undisturbed" if self.kind == "undisturbed" else f"{self.kind}:{self.n}"

    @property
    def replay(self) -> str:
        """The options that repeat that run."""
        return f"--at {self.at} --dialect {self.dialect} --backend {self.backend}"

    @property
    def id(self) -> str:
        """A name for it, as test ids are: ``hang-cancel:17-hypercorn-trio``."""
        return f"{self.code}-{self.at}-{self.dialect}-{self.backend}"

    def __str__(self) -> str:
        lines = [f"[{self.id}] {self.sentence}", f"  {self.mending}", f"  {self.replay}"]
        if self.runs > 1:
            lines[0] += f" ({self.runs} runs)"
        return "\n".join([*lines, *(f"    {line}" for line in self.stack)])


@dataclass
class Usual:
    """The undisturbed run on one dialect and backend."""

    dialect: str
    backend: Backend
    messages: int
    checkpoints: int
    duration: float
    """Seconds, on the loop's clock."""
    endless: bool
    """Whether it ended because the client left."""


@dataclass
class Report:
    """What a sweep has found."""

    title: str = ""
    """The request."""
    violations: list[Violation] = field(default_factory=list)
    suppressed: list[Violation] = field(default_factory=list)
    """Violations that have a reason."""
    failures: list[str] = field(default_factory=list)
    """Why something could not be swept: its undisturbed run failed already."""
    skipped: list[str] = field(default_factory=list)
    """What was left out, and why: a backend, a kind, points beyond the limit."""
    usual: list[Usual] = field(default_factory=list)
    """The undisturbed runs."""
    points: dict[str, int] = field(default_factory=dict)
    """How many points of each kind were tried, over all dialects and backends."""
    runs: int = 0
    seed: int = 0
    seconds: float = 0.0
    """How long it took, for real."""

    @property
    def clean(self) -> bool:
        """Whether everything could be swept, and nothing was found that has no reason."""
        return not self.violations and not self.failures

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as what JSON can hold."""
        data = asdict(self)
        for name in ("violations", "suppressed"):
            for entry, violation in zip(data[name], getattr(self, name), strict=True):
                entry["id"], entry["at"] = violation.id, violation.at
                entry["replay"] = violation.replay
                entry["timeline"] = [event._asdict() for event in violation.timeline]
        data["clean"] = self.clean
        return data

    def __str__(self) -> str:
        points = ", ".join(f"{count} x {kind}" for kind, count in self.points.items())
        verdict = "clean" if self.clean else f"{len(self.violations)} violations"
        if self.failures:
            verdict = f"could not be swept; {verdict}" if self.violations else "could not be swept"
        lines = [
            f"{self.title}: {verdict} in {self.runs} runs, {self.seconds:.1f} s"
            + (f" ({points})" if points else ""),
            *_usual_table(self.usual),
            *(f"failed: {text}" for text in self.failures),
            *(f"skipped: {text}" for text in self.skipped),
            *(f"suppressed: {v.id}: {v.reason}" for v in self.suppressed),
        ]
        return "\n".join([*lines, *(f"\n{violation}" for violation in self.violations)])


def _usual_table(usual: Sequence[Usual]) -> list[str]:
    return [
        f"  {run.dialect:<16} {run.backend:<8} {run.messages:>5} messages {run.checkpoints:>5} "
        f"checkpoints {run.duration:>9.3f} s{' endless' if run.endless else ''}"
        for run in usual
    ]


def shown(stack: Sequence[Place]) -> list[str]:
    """Returns a stack as lines."""
    return [str(place) for place in stack]
