"""What a case finds: tables to read, bars to hold, and where Hesper met Starlette."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.peers import Peer
from benchmarks.timing import RAW, Rounds


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under a title; the first column names the app, the others hold figures."""

    title: str
    columns: Sequence[str]
    rows: list[list[str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Bar:
    """A promise of DESIGN.md and the figure that was measured; None where it was not."""

    promise: str
    figure: str
    reached: bool | None


@dataclass(frozen=True, slots=True)
class Duel:
    """One case of Hesper's and the same of Starlette's, in microseconds per request."""

    case: str
    hesper: float
    starlette: float

    @property
    def lost(self) -> bool:
        return self.hesper > self.starlette


@dataclass(frozen=True, slots=True)
class Outcome:
    tables: list[Table] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    duels: list[Duel] = field(default_factory=list)

    def extend(self, other: "Outcome") -> None:
        self.tables.extend(other.tables)
        self.bars.extend(other.bars)
        self.duels.extend(other.duels)

    def duel(self, case: str, rounds: Rounds, hesper: str, starlette: str) -> None:
        """Note how the two did, if both were measured."""
        if hesper in rounds and starlette in rounds:
            self.duels.append(Duel(case, rounds.median(hesper), rounds.median(starlette)))


Peers = dict[str, Peer]


def bar(promise: str, figure: float | None, limit: float, unit: str = "µs") -> Bar:
    """Hold a figure against an upper limit."""
    if figure is None:
        return Bar(promise, "not measured: hesper is missing", None)
    return Bar(promise, f"{figure:.2f} {unit}".rstrip(), figure <= limit)


def micro(value: float) -> str:
    return f"{value:.2f}"


def times(value: float) -> str:
    return f"{value:.2f} x"


def raw_row(rounds: Rounds) -> str:
    """Describe the floor of a group, with the spread that tells how quiet the machine was."""
    low, middle = rounds.minimum(RAW), rounds.median(RAW)
    return f"raw app {low:.2f} µs, median {middle:.2f}"
