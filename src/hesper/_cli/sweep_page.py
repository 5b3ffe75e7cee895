"""The report of a sweep as one HTML file: no script, nothing from outside."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from hesper.testing.sweep import Report, Violation

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --red: #c22; --green: #2a2; --soft: #8882; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin: 0; }
code, pre, .events { font: 0.85rem/1.5 ui-monospace, monospace; }
pre { overflow-x: auto; background: var(--soft); padding: 0.6rem; border-radius: 4px; }
table { border-collapse: collapse; } td, th { padding: 0.2rem 0.9rem 0.2rem 0; text-align: left; }
th { border-bottom: 1px solid var(--line); font-weight: 600; } td.n, th.n { text-align: right; }
section { border: 1px solid var(--line); border-left: 4px solid var(--red); border-radius: 4px;
  padding: 0.9rem 1.1rem; margin: 1.2rem 0; }
section.suppressed { border-left-color: #c92; }
.verdict { font-weight: 600; color: var(--red); } .verdict.clean { color: var(--green); }
.events { list-style: none; margin: 0; padding: 0 0 0 0.4rem; border-left: 2px solid var(--line); }
.events li { padding: 0.05rem 0 0.05rem 1rem; position: relative; overflow-wrap: anywhere; }
.events li::before { content: ""; position: absolute; left: -0.32rem; top: 0.5rem; width: 0.55rem;
  height: 0.55rem; border-radius: 50%; background: #48c; }
.events .checkpoint { opacity: 0.6; } .events .checkpoint::before { background: #888; }
.events .ending { color: var(--red); font-weight: 600; }
.events .ending::before { background: var(--red); }
.events time { display: inline-block; min-width: 5.5rem; opacity: 0.6; }
"""


def page(report: Report, command: str) -> str:
    """The whole file.

    Args:
        command: what repeats the sweep; a violation's own options are added to it.
    """
    verdict = "clean" if report.clean else "could not be swept"
    if report.violations:
        verdict = f"{len(report.violations)} violations"
    points = ", ".join(f"{count:,} × {kind}" for kind, count in report.points.items())  # noqa: RUF001
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width">',
        f"<title>Sweep of {escape(report.title)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>Sweep of <code>{escape(report.title)}</code></h1>",
        f'<p class="verdict{" clean" if report.clean else ""}">{escape(verdict)}</p>',
        f"<p>{report.runs:,} runs in {report.seconds:.1f} s, seed {report.seed}. {escape(points)}</p>",
        f"<pre>{escape(command)}</pre>",
        *_usual(report),
        *(f"<p>Cannot be swept: {escape(line)}</p>" for line in report.failures),
        *(f"<p>Left out: {escape(line)}</p>" for line in report.skipped),
    ]
    for violation in report.violations:
        parts += _violation(violation, command, "")
    for violation in report.suppressed:
        parts += _violation(violation, command, "suppressed")
    return "\n".join([*parts, "</body></html>"]) + "\n"


def _usual(report: Report) -> Iterable[str]:
    if not report.usual:
        return
    yield (
        '<table><tr><th>Server<th>Backend<th class="n">Messages<th class="n">Checkpoints'
        '<th class="n">Seconds</tr>'
    )
    for run in report.usual:
        seconds = "until left" if run.endless else f"{run.duration:.3f}"
        yield (
            f"<tr><td>{escape(run.dialect)}<td>{escape(run.backend)}"
            f'<td class="n">{run.messages}<td class="n">{run.checkpoints}<td class="n">{seconds}</tr>'
        )
    yield "</table>"


def _violation(violation: Violation, command: str, kind: str) -> Iterable[str]:
    runs = f" <small>({violation.runs} runs)</small>" if violation.runs > 1 else ""
    yield f'<section class="{kind}" id="{escape(violation.id)}">'
    yield f"<h2>{escape(violation.code)}{runs}</h2>"
    yield f"<p>{escape(violation.sentence)}<br>{escape(violation.mending)}</p>"
    if violation.reason:
        yield f"<p>Suppressed: {escape(violation.reason)}</p>"
    yield f"<pre>{escape(command)} {escape(violation.replay)}</pre>"
    if violation.stack:
        yield "<details><summary>Where the app stood</summary><pre>"
        yield escape("\n".join(violation.stack))
        yield "</pre></details>"
    if violation.timeline:
        yield '<details open><summary>What happened</summary><ol class="events">'
        for event in violation.timeline:
            yield (
                f'<li class="{escape(event.kind)}"><time>{event.time:.3f} s</time> '
                f"{escape(event.text)}</li>"
            )
        yield "</ol></details>"
    yield "</section>"
