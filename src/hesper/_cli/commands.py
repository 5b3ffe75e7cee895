"""The commands: they read arguments, call one function, and turn its errors into one line."""

from __future__ import annotations

import sys

import click
import rich as _rich  # noqa: F401 - missed here, where it can be named, and not in mid-command
import uvicorn as _uvicorn  # noqa: F401

from hesper import __version__
from hesper._cli.errors import told
from hesper._cli.loading import LoadError, load_app
from hesper._cli.routes import plain, print_rich, rows
from hesper._cli.serving import CannotListen, Options, serve
from hesper._cli.sweep_command import app_dir_option, sweep

LEVELS = ["critical", "error", "warning", "info", "debug", "trace"]

host_option = click.option(
    "--host", default="127.0.0.1", show_default=True, help="The address to listen on."
)
port_option = click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="The port to listen on; 0 for any that is free.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, package_name="hesper", message="hesper %(version)s")
def hesper() -> None:
    """Hesper, an ASGI toolkit that gets endings right."""


@hesper.command()
@click.argument("target", metavar="MODULE:APP")
@host_option
@port_option
@click.option("--reload", is_flag=True, help="Start again when a file changes.")
@click.option(
    "--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes to run."
)
@click.option(
    "--log-level",
    type=click.Choice(LEVELS, case_sensitive=False),
    default="info",
    show_default=True,
    help="The least that is logged.",
)
@app_dir_option
@click.option(
    "--grace",
    type=click.FloatRange(0),
    default=5.0,
    show_default=True,
    help="Seconds that open requests get when the server is asked to stop.",
)
def run(
    target: str,
    host: str,
    port: int,
    reload: bool,
    workers: int,
    log_level: str,
    app_dir: str,
    grace: float,
) -> None:
    """Serve an ASGI app with uvicorn.

    Each request is logged when it has ended; one whose client left has the status 499.
    """
    if reload and workers > 1:
        raise click.UsageError("--reload runs one process: leave --workers away.")
    _serve(target, Options(host, port, reload, workers, log_level, app_dir, grace))


@hesper.command()
@click.argument("target", metavar="MODULE:APP")
@app_dir_option
def routes(target: str, app_dir: str) -> None:
    """Show what an app answers."""
    try:
        app = load_app(target, app_dir)
    except LoadError as exc:
        raise told(exc)
    found = getattr(app, "routes", None)
    if found is None:
        raise click.ClickException(
            f"{target!r} has no routes to show: expected an app or router, got {app!r:.80}."
        )
    table = list(rows(found))
    if sys.stdout.isatty():
        print_rich(table)
    else:
        click.echo(plain(table))


@hesper.command()
@host_option
@port_option
def demo(host: str, port: int) -> None:
    """Serve a page that shows what became of each request."""
    _serve("hesper.demo:app", Options(host, port, unlogged=("/journal",)))


def _serve(target: str, options: Options) -> None:
    try:
        serve(target, options)
    except (LoadError, CannotListen) as exc:
        raise told(exc)


hesper.add_command(sweep)
