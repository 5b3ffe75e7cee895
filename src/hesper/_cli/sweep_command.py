"""The command ``hesper sweep``: its arguments, and what they ask for."""

from __future__ import annotations

import shlex
import sys
from typing import Any

import click
from rich.console import Console

from hesper._cli import sweeping
from hesper._cli.errors import told
from hesper._cli.loading import LoadError, load_app
from hesper.exceptions import UsageError
from hesper.testing.sweep import KINDS, SweptRequest
from hesper.types import ASGIApp

app_dir_option = click.option(
    "--app-dir",
    type=click.Path(exists=True, file_okay=False),
    default=".",
    show_default="the current directory",
    help="Where to look for the module.",
)


@click.command()
@click.argument("target", metavar="MODULE:APP")
@click.argument("words", metavar="[METHOD] /PATH", nargs=-1, required=True)
@click.option("--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="A header.")
@click.option("--json", "json_", metavar="JSON", help="The body, as JSON.")
@click.option("--body", metavar="TEXT", help="The body, as text.")
@click.option("--form", multiple=True, metavar="NAME=VALUE", help="A field of a form.")
@click.option(
    "--ws", metavar="LIST", help="A WebSocket: a JSON list of texts, and pauses in seconds."
)
@click.option("--at", metavar="KIND:N", help="Repeat one run, as a violation says it.")
@click.option("--dialect", "dialects", multiple=True, help="A server to play; usually six are.")
@click.option("--backend", "backends", multiple=True, type=click.Choice(["asyncio", "trio"]))
@click.option("--kind", "kinds", multiple=True, type=click.Choice(KINDS), help="A way to end runs.")
@click.option("--limit", type=click.IntRange(1), help="Points of each kind to try at the most.")
@click.option("--seed", type=int, help="Which points are tried if there are more.")
@click.option("--seconds", type=float, help="How long the app may take to end.")
@click.option("--real-time", is_flag=True, help="Leave the clock alone: for real I/O.")
@click.option("--suppress", multiple=True, metavar="CODE=REASON", help="Let a violation be.")
@click.option("--html", type=click.Path(dir_okay=False), help="Write the report as one page.")
@click.option("--report-json", type=click.Path(allow_dash=True), help="Write it for machines.")
@app_dir_option
def sweep(target: str, words: tuple[str, ...], app_dir: str, **given: Any) -> None:
    """End one request of an app in every way, and report what goes wrong.

    The client leaves at each message and at each checkpoint, the app is cancelled and the server
    shuts down at each checkpoint, in the manner of each server, on asyncio and trio.
    """
    try:
        request = _swept_request(load_app(target, app_dir), words, given)
        command = _again(target, words)
        console = Console(stderr=given["report_json"] == "-")
        if given["at"] is None:
            report = sweeping.run_sweep(request, console)
        else:
            report = sweeping.replay(request, given["at"], given["dialects"], given["backends"])
    except LoadError as exc:
        raise told(exc)
    except UsageError as exc:
        raise click.UsageError(str(exc)) from None
    sweeping.show(report, command, console)
    sweeping.write(report, command, json_path=given["report_json"], html_path=given["html"])
    sys.exit(0 if report.clean else 1)


def _swept_request(app: ASGIApp, words: tuple[str, ...], given: dict[str, Any]) -> SweptRequest:
    *method, path = words
    if len(method) > 1 or not path.startswith("/"):
        raise UsageError(f"Expected [METHOD] /PATH, got {' '.join(words)!r}.")
    asked = sweeping.Asked(
        method=method[0].upper() if method else "GET",
        path=path,
        headers=given["headers"],
        json=given["json_"],
        body=given["body"],
        form=given["form"],
        ws=given["ws"],
    )
    names = ["dialects", "backends", "kinds", "limit", "seed", "seconds", "real_time"]
    options = {name: given[name] for name in names if given[name]}
    options["suppress"] = [sweeping.suppression(text) for text in given["suppress"]]
    return sweeping.swept_request(app, asked, options)


def _again(target: str, words: tuple[str, ...]) -> str:
    """The command that was given, but for what a violation's replay says anew."""
    line = click.get_current_context().params
    parts = ["hesper", "sweep", target, *words]
    for name, option in REPEATED.items():
        values = line[name] if isinstance(line[name], tuple) else [line[name]]
        for value in values:
            if value is True:
                parts.append(option)
            elif value:
                parts += [option, str(value)]
    return shlex.join(parts)


REPEATED = {
    "headers": "--header",
    "json_": "--json",
    "body": "--body",
    "form": "--form",
    "ws": "--ws",
    "seed": "--seed",
    "seconds": "--seconds",
    "real_time": "--real-time",
    "app_dir": "--app-dir",
}
"""The options that a replay needs again."""
