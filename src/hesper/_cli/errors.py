"""Errors as the one line that the command says."""

from __future__ import annotations

import traceback

import click

from hesper._cli.loading import BrokenModule, own_traceback


def told(exc: Exception) -> click.ClickException:
    """An error as a line; an error of the user's module with the traceback, from there on."""
    cause = exc.__cause__
    if isinstance(exc, BrokenModule) and cause is not None:
        traceback.print_exception(cause.with_traceback(own_traceback(cause)))
    return click.ClickException(str(exc))
