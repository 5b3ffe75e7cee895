"""What one run is given, and what it states.

The law: an `Outcome` states facts and judges nothing; `checks` does.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from hesper.testing._dialect import Dialect
from hesper.testing._sweep.frames import Place
from hesper.testing._sweep.leftovers import Leftovers
from hesper.testing._sweep.loops import Backend
from hesper.testing.result import Result
from hesper.testing.script import Script, ScriptedServer
from hesper.types import ASGIApp

Kind = Literal["message", "checkpoint", "cancel", "shutdown"]

KINDS: tuple[Kind, ...] = ("message", "checkpoint", "cancel", "shutdown")
"""The client leaves at a message, or at a checkpoint; the server cancels the application at one, or
shuts down at one."""


class Point(NamedTuple):
    """Where a run is disturbed, and how."""

    kind: Literal["undisturbed", "message", "checkpoint", "cancel", "shutdown"]
    n: int

    def __str__(self) -> str:
        return self.kind if self.kind == "undisturbed" else f"{self.kind}:{self.n}"


UNDISTURBED = Point("undisturbed", 0)


class Event(NamedTuple):
    """One thing that happened in a run."""

    time: float
    """Seconds since the application was called."""
    kind: Literal["server", "checkpoint", "ending"]
    text: str


@dataclass(frozen=True)
class Setting:
    """What all runs of a sweep have in common."""

    app: ASGIApp
    script: Callable[[ScriptedServer], Script]
    seconds: float
    """How long after the disturbance the application may take, besides what it takes anyway."""
    steps: int
    """How many steps of its tasks, or messages, it may take."""
    seed: int
    real_time: bool


@dataclass
class Outcome:
    """What happened in one run."""

    point: Point
    dialect: Dialect
    backend: Backend
    left: Leftovers
    """What the process was left with."""
    result: Result = field(default_factory=lambda: Result(sent=[], log=[]))
    """What the server recorded."""
    checkpoints: int = 0
    """How many suspensions there were until the application had ended."""
    endless: bool = False
    """Whether it was the client's leaving that ended an undisturbed run."""
    hung: str | None = None
    """How the application did not end, if it did not."""
    idle: bool = False
    """Whether it did not because it waited for something, in virtual time, and not because it was
    busy: to wait for the same at other points costs little."""
    reached: bool = False
    """Whether the run got to its point."""
    struck: tuple[float, int] = (0.0, 0)
    """At what time that was, in seconds since the application was called, and how many messages it
    had sent."""
    stack: tuple[Place, ...] = ()
    """Where the application stood when it was disturbed, or where it hung."""
    has_lifespan: bool = False
    """Whether the application answered ``lifespan.startup``."""
    lifespan: str | None = None
    """What went wrong with the lifespan."""
    crashed: BaseException | None = None
    """What came out of the run itself."""
    cancels: int = 0
    """How many cancellations arrived in the request's task after that."""
    cancel_pending: bool = False
    """Whether one was still to arrive when it ended."""
    scope_left: bool = False
    """Whether the application left a cancel scope open in the request's task."""
    cuts: list[Place] = field(default_factory=list)
    """The cleanups that were broken off."""
    tasks: list[Place] = field(default_factory=list)
    """Where the tasks begin that were left after the shutdown."""
    files: list[str] = field(default_factory=list)
    """The temporary files that were left open."""
    timeline: list[Event] = field(default_factory=list)
    """What happened in order, if that was asked for."""
