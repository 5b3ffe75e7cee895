"""The command ``hesper``. What it needs is an extra, and named when it is missing."""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]

EXTRA = {"click", "rich", "uvicorn"}


def main(args: Sequence[str] | None = None) -> None:
    """Run ``hesper run``, ``routes``, ``sweep`` or ``demo``; always ends with ``SystemExit``.

    Args:
        args: the arguments after the program's name; those of the process if None.

    Raises:
        SystemExit: 0; 1 for what cannot be run, 2 for a command that is written wrong, both with
            one line on stderr.
    """
    try:
        from hesper._cli.commands import hesper
    except ModuleNotFoundError as exc:
        if exc.name not in EXTRA:
            raise
        sys.exit(
            f"Error: the command hesper needs {exc.name}, which is not installed: "
            'pip install "hesper[standard]"'
        )
    hesper(args=args, prog_name="hesper")
