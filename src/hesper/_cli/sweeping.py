"""``hesper sweep``: one request of an app, ended in every way, and what went wrong then."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from hesper._cli.sweep_page import page
from hesper.exceptions import UsageError
from hesper.testing.sweep import Report, Suppression, Sweep, SweptRequest, Violation
from hesper.types import ASGIApp


@dataclass(frozen=True)
class Asked:
    """The request, as it was written on the command line."""

    method: str
    path: str
    headers: tuple[str, ...] = ()
    json: str | None = None
    body: str | None = None
    form: tuple[str, ...] = ()
    ws: str | None = None


def swept_request(app: ASGIApp, asked: Asked, options: dict[str, Any]) -> SweptRequest:
    """The request to sweep.

    Raises:
        UsageError: it is written wrong; or an option is.
    """
    sweep = Sweep(app, **options)
    headers = [_pair(header, ":", "--header 'Name: value'") for header in asked.headers]
    bodies = [asked.json is not None, asked.body is not None, bool(asked.form)]
    if sum(bodies) > 1:
        raise UsageError("A request has one body: give --json, --body or --form.")
    if asked.ws is not None:
        if any(bodies):
            raise UsageError("A WebSocket has no body: give its messages to --ws.")
        messages = _json(asked.ws, "--ws")
        if not isinstance(messages, list):
            raise UsageError(
                f"Expected --ws to be a JSON list, got {asked.ws!r}: texts to send, and numbers "
                """for pauses in seconds, as --ws '["hello", 0.5, "bye"]'."""
            )
        return sweep.websocket(asked.path, messages=messages, headers=headers)
    form = [_pair(field, "=", "--form name=value") for field in asked.form]
    return sweep.request(
        asked.method,
        asked.path,
        body=(asked.body or "").encode(),
        json=None if asked.json is None else _json(asked.json, "--json"),
        form=form or None,
        headers=headers,
    )


def suppression(text: str) -> Suppression:
    """What ``--suppress`` says.

    Raises:
        UsageError: it gives no reason.
    """
    code, reason = _pair(text, "=", "--suppress code='why it is no fault'")
    return Suppression(code, reason)


def _pair(text: str, separator: str, example: str) -> tuple[str, str]:
    name, found, value = text.partition(separator)
    if not found or not name.strip() or not value.strip():
        raise UsageError(f"Expected {example}, got {text!r}.")
    return name.strip(), value.strip()


def _json(text: str, option: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as exc:
        raise UsageError(f"Expected {option} to be JSON, got {text!r}: {exc}.") from None


def run_sweep(request: SweptRequest, console: Console) -> Report:
    """Make all runs, under a progress bar where somebody looks."""
    if not console.is_terminal:
        return request.run()
    with _bar(request.title, console) as advance:
        return request.run(advance)


@contextmanager
def _bar(title: str, console: Console) -> Iterator[Any]:
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()]
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def write(report: Report, command: str, *, json_path: str | None, html_path: str | None) -> None:
    """Write the files that were asked for; "-" is the standard output."""
    if json_path is not None:
        _write(json_path, json.dumps(report.to_dict(), indent=1) + "\n")
    if html_path is not None:
        _write(html_path, page(report, command))


def _write(path: str, text: str) -> None:
    if path == "-":
        sys.stdout.write(text)
    else:
        Path(path).write_text(text, "utf-8")


def show(report: Report, command: str, console: Console) -> None:
    """The report for eyes: what ran, and each violation with how to repeat it."""
    points = ", ".join(f"{count:,} x {kind}" for kind, count in report.points.items())
    console.print(Text(f"{report.title}: {report.runs:,} runs in {report.seconds:.1f} s", "bold"))
    if report.usual:
        console.print(_usual(report))
    for label, lines in (("Tried", [points] if points else []), ("Left out", report.skipped)):
        for line in lines:
            console.print(Text(f"{label}: {line}", style="dim"))
    for line in report.failures:
        console.print(Text(f"Cannot be swept: {line}", style="bold red"))
    for violation in report.suppressed:
        console.print(Text(f"Suppressed: {violation.id}: {violation.reason}", style="yellow"))
    for violation in report.violations:
        _show_violation(violation, command, console)
    if report.clean:
        console.print(Text("Clean.", style="bold green"))


def _usual(report: Report) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("Server", "Backend", "Messages", "Checkpoints", "Seconds"):
        right = heading in ("Messages", "Checkpoints", "Seconds")
        table.add_column(heading, justify="right" if right else "left")
    for run in report.usual:
        seconds = "until left" if run.endless else f"{run.duration:.3f}"
        numbers = (str(run.messages), str(run.checkpoints), seconds)
        table.add_row(run.dialect, run.backend, *numbers)
    return table


def _show_violation(violation: Violation, command: str, console: Console) -> None:
    console.print()
    runs = f" ({violation.runs} runs)" if violation.runs > 1 else ""
    console.print(Text.assemble((violation.code, "bold red"), f": {violation.sentence}{runs}"))
    console.print(Text(f"  {violation.mending}"))
    for line in violation.stack:
        console.print(Text(f"    {line}", style="dim"), overflow="fold")
    console.print(Text(f"  {command} {violation.replay}", style="cyan"), soft_wrap=True)


def replay(
    request: SweptRequest, at: str, dialects: Sequence[str], backends: Sequence[str]
) -> Report:
    """Repeat one run.

    Raises:
        UsageError: there is no such point; or more than one dialect or backend is named.
    """
    if len(dialects) > 1 or len(backends) > 1:
        raise UsageError("--at repeats one run: give one --dialect and one --backend.")
    where: dict[str, Any] = {}
    if dialects:
        where["dialect"] = dialects[0]
    if backends:
        where["backend"] = backends[0]
    return request.replay(at, **where)
