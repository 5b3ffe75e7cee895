"""Prints what was found: aligned text, or rich's tables where rich is installed."""

import sys
from importlib.util import find_spec

from benchmarks.facts import Facts
from benchmarks.outcome import Bar, Duel, Outcome, Table

WIDTH = 110
"""Columns of a table where the output is no terminal."""


def print_header(facts: Facts, missing: dict[str, str]) -> None:
    """Say what is measured on what, and name every peer that is not here."""
    print(f"{facts.python}, asyncio, {facts.rounds} rounds; {facts.day}; {facts.machine}")
    print(facts.versions)
    print("CPU µs per request. Overheads are medians of differences within a round; `min` is the")
    print(
        "least of them, which a disturbance of the other app lowers; `fastest` is the best round."
    )
    for name, reason in missing.items():
        print(f"MISSING: {name} ({reason})")
    sys.stdout.flush()


def print_outcome(outcome: Outcome) -> None:
    show = print_rich if find_spec("rich") else print_plain
    for table in outcome.tables:
        show(table)
    print()
    for bar in outcome.bars:
        print(bar_line(bar))
    for note in outcome.notes:
        print(f"note         {note}")
    for duel in outcome.duels:
        if duel.lost:
            print(duel_line(duel))


def bar_line(bar: Bar) -> str:
    return f"{verdict(bar):<12} {bar.promise}: {bar.figure}"


def verdict(bar: Bar) -> str:
    return {True: "reached", False: "NOT reached", None: "not judged"}[bar.reached]


def duel_line(duel: Duel) -> str:
    return (
        f"{'SLOWER' if duel.timed else 'MORE'} than Starlette: {duel.case}: "
        f"{duel.hesper:.2f} {duel.unit} against {duel.starlette:.2f}"
    )


def print_plain(table: Table) -> None:
    rows = [list(table.columns), *table.rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    print(f"\n{table.title}")
    for name, *figures in rows:
        cells = [cell.rjust(width) for cell, width in zip(figures, widths[1:], strict=True)]
        print("  ".join([name.ljust(widths[0]), *cells]))


def print_rich(table: Table) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable

    shown = RichTable(box=box.SIMPLE_HEAD, show_edge=False)
    first, *figures = table.columns
    shown.add_column(first)
    for column in figures:
        shown.add_column(column, justify="right")
    for row in table.rows:
        shown.add_row(*row)
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH
    print(f"\n{table.title}")
    console.print(shown)
