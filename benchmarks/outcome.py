"""What a case finds: tables to read, charts to see, bars to hold, and where Hesper met Starlette."""

from collections.abc import Mapping, Sequence
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
class Chart:
    """One panel of the picture: a figure for each app, the less the better.

    `limit` is the bar, where it is a figure of this chart.
    """

    title: str
    unit: str
    values: Mapping[str, float]
    limit: float | None = None


@dataclass(frozen=True, slots=True)
class Bar:
    """A promise of the design and the figure that was measured; None where it was not."""

    promise: str
    figure: str
    reached: bool | None


@dataclass(frozen=True, slots=True)
class Duel:
    """One case of Hesper's and the same of Starlette's, the less the better."""

    case: str
    hesper: float
    starlette: float
    unit: str = "µs"

    @property
    def timed(self) -> bool:
        """Whether it is about time, not memory."""
        return self.unit in ("µs", "ms")

    @property
    def lost(self) -> bool:
        return self.hesper > self.starlette


@dataclass(frozen=True, slots=True)
class Outcome:
    tables: list[Table] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    duels: list[Duel] = field(default_factory=list)
    charts: list[Chart] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What was left out, and why."""

    def extend(self, other: "Outcome") -> None:
        self.tables.extend(other.tables)
        self.bars.extend(other.bars)
        self.duels.extend(other.duels)
        self.charts.extend(other.charts)
        self.notes.extend(other.notes)

    def duel(self, case: str, rounds: Rounds, hesper: str, starlette: str) -> None:
        """Note how the two did, if both were measured."""
        if hesper in rounds and starlette in rounds:
            self.duels.append(Duel(case, rounds.median(hesper), rounds.median(starlette)))


Peers = dict[str, Peer]


def at_most(promise: str, figure: float | None, limit: float, unit: str = "µs") -> Bar:
    """Hold a figure against an upper limit."""
    if figure is None:
        return Bar(promise, "not measured", None)
    return Bar(promise, f"{figure:.2f} {unit}".rstrip(), figure <= limit)


def micro(value: float) -> str:
    """Return microseconds with as many digits as they are worth."""
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"


def times(value: float) -> str:
    return f"{value:.2f} x" if value < 100 else f"{value:.0f} x"


def raw_row(rounds: Rounds) -> str:
    """Describe the floor of a group, with the spread that tells how quiet the machine was."""
    low, middle = rounds.minimum(RAW), rounds.median(RAW)
    return f"raw app {micro(low)} µs, median {micro(middle)}"


def overheads(
    title: str, rounds: Rounds, names: Mapping[str, str], *, parts: int = 1, unit: str = "µs"
) -> Table:
    """Return a table of what apps took over the raw app.

    Args:
        title: what was measured.
        rounds: what was found.
        names: for each row's name the name of its subject; those that are not there are left out.
        parts: how many equal things one request consists of; figures are those of one.
        unit: of the figures.
    """
    columns = ["app", "fastest", "over raw", "min", "x raw", "min", "over raw / starlette's"]
    floor = f"raw {micro(rounds.minimum(RAW) / parts)}, median {micro(rounds.median(RAW) / parts)}"
    table = Table(f"{title} ({unit}; {floor})", columns)
    yardstick = names.get("starlette", "")
    for row, name in names.items():
        if name not in rounds:
            continue
        over, ratio = rounds.over(name, RAW, parts), rounds.ratio(name, RAW)
        share = "-"
        if yardstick in rounds:
            share = times(over.median / rounds.over(yardstick, RAW, parts).median)
        figures = [rounds.minimum(name) / parts, over.median, over.minimum]
        ratios = [times(ratio.median), times(ratio.minimum)]
        table.rows.append([row, *map(micro, figures), *ratios, share])
    return table


def medians(rounds: Rounds, names: Mapping[str, str], parts: int = 1) -> dict[str, float]:
    """Return what each of the apps that were measured took over the raw app."""
    return {
        row: rounds.over(name, RAW, parts).median for row, name in names.items() if name in rounds
    }


def ahead(promise: str, costs: Mapping[str, float], part: float = 1.0, unit: str = "µs") -> Bar:
    """Hold Hesper's cost against a part of the best peer's."""
    others = {name: cost for name, cost in costs.items() if not name.startswith("hesper")}
    if "hesper" not in costs:
        return Bar(promise, "not measured", None)
    if not others:
        return Bar(promise, "no peer was measured", None)
    mine, best = costs["hesper"], min(others, key=others.__getitem__)
    share = f" ({times(mine / others[best])})"
    figure = f"{micro(mine)} {unit}, best peer {best} {micro(others[best])} {unit}{share}"
    return Bar(promise, figure, mine <= part * others[best] if part < 1 else mine < others[best])
