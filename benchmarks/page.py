"""Writes what was found into `docs/explanation/performance.md`, between its markers."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.facts import Facts
from benchmarks.outcome import Bar, Duel, Outcome
from benchmarks.picture import picture
from benchmarks.report import verdict

PAGE = Path(__file__).parents[1] / "docs" / "explanation" / "performance.md"
PICTURE = PAGE.with_suffix(".svg")
BEGIN, END = "<!-- measured: python -m benchmarks --write -->", "<!-- /measured -->"


def write(outcome: Outcome, facts: Facts, left_out: Sequence[str]) -> None:
    """Replace what stands between the markers, and the picture.

    Raises:
        ValueError: the page has not both markers.
    """
    page = PAGE.read_text("utf-8")
    before, _, rest = page.partition(BEGIN)
    _, marker, after = rest.partition(END)
    if not marker:
        raise ValueError(f"Expected {BEGIN} and {END} in {PAGE}")
    lines = "\n".join(measured(outcome, facts, left_out))
    PAGE.write_text(f"{before}{BEGIN}\n\n{lines}\n\n{END}{after}", "utf-8")
    caption = f"Less is better; a bar with a gap is longer than drawn. {facts.day}, {facts.python}."
    if facts.short:
        caption += " A short run: it shows that the runner works, and little else."
    PICTURE.write_text(picture(outcome.charts, caption), "utf-8")


def measured(outcome: Outcome, facts: Facts, left_out: Sequence[str]) -> Iterator[str]:
    yield f"{facts.day}; {facts.python}; {facts.machine}; {facts.rounds} rounds of"
    yield f"`{facts.command}`. Versions: {facts.versions}."
    if facts.short:
        yield "\n**This was a short run, on a machine that others used: it shows that the runner"
        yield "works. Do not quote it.**"
    yield f"\n![A bar for each framework in each case, the shorter the better]({PICTURE.name})"
    yield "\n### The aims\n"
    yield from bars(outcome.bars)
    yield "\n### Hesper and Starlette\n"
    yield from duels(outcome.duels)
    yield "\n### All figures"
    for table in outcome.tables:
        yield f"\n{sentence(table.title)}:\n"
        yield from rows(table.columns, table.rows)
    if outcome.notes or left_out:
        yield "\n### What was left out\n"
        yield from (f"- {sentence(note)}." for note in [*outcome.notes, *left_out])


def bars(found: Sequence[Bar]) -> Iterator[str]:
    shown = [[bar.promise, bar.figure, verdict(bar)] for bar in found]
    return rows(["aim", "measured", ""], shown, aligned=0)


def duels(found: Sequence[Duel]) -> Iterator[str]:
    shown = [
        [
            duel.case,
            f"{duel.hesper:,.1f} {duel.unit}",
            f"{duel.starlette:,.1f} {duel.unit}",
            share(duel) + mark(duel),
        ]
        for duel in found
    ]
    return rows(["case", "Hesper", "Starlette", "Hesper / Starlette"], shown)


def mark(duel: Duel) -> str:
    return "" if not duel.lost else " **slower**" if duel.timed else " **more**"


def share(duel: Duel) -> str:
    return f"{duel.hesper / duel.starlette:.2f}" if duel.starlette > 0 else "-"


def rows(columns: Sequence[str], cells: Sequence[Sequence[str]], aligned: int = 1) -> Iterator[str]:
    """Yield a Markdown table; the columns after the first are figures, unless `aligned` is 0."""
    yield f"| {' | '.join(columns)} |"
    yield "|---" + ("|---:" if aligned else "|---") * (len(columns) - 1) + "|"
    for row in cells:
        yield f"| {' | '.join(cell.replace('|', '/') for cell in row)} |"


def sentence(words: str) -> str:
    return words[:1].upper() + words[1:]
