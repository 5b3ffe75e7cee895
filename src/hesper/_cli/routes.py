"""``hesper routes``: what an app answers, as a table.

It looks at attributes and not at classes, so it reads Starlette's and FastAPI's routes as well.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

HEADINGS = ("Path", "Methods", "Name", "Endpoint")


class Row(NamedTuple):
    """One route."""

    depth: int
    path: str
    methods: str
    name: str
    endpoint: str

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """What is shown; what lies in a mount is indented."""
        return ("  " * self.depth + self.path, self.methods, self.name, self.endpoint)


def rows(routes: Iterable[Any], prefix: str = "", depth: int = 0) -> Iterator[Row]:
    """The routes, those of mounts after their mount, with their whole paths."""
    for route in routes:
        own = getattr(route, "host", None) or getattr(route, "path", None)
        if own is None:
            yield Row(depth, f"({type(route).__name__})", "", "", name_of(route))
            continue
        path = f"{prefix}{own}"
        below = getattr(route, "routes", None)
        name = getattr(route, "name", None) or ""
        if below is None and not hasattr(route, "endpoint"):
            below = ()
        if below is None:
            yield Row(depth, path, methods_of(route), name, name_of(route.endpoint))
        else:
            mounted = name_of(getattr(route, "app", route))
            yield Row(depth, path or "/", "(mount)", name, mounted)
            is_host = hasattr(route, "host")
            yield from rows(below, "" if is_host else path, depth + 1)


def methods_of(route: Any) -> str:
    """GET before HEAD, which comes with it."""
    if "websocket" in type(route).__name__.lower():
        return "WEBSOCKET"
    methods = getattr(route, "methods", None)
    return " ".join(sorted(methods)) if methods else "any"


def name_of(endpoint: Any) -> str:
    """Where an endpoint is to be found."""
    while isinstance(endpoint, functools.partial):
        endpoint = endpoint.func
    named = endpoint if hasattr(endpoint, "__qualname__") else type(endpoint)
    return f"{named.__module__}.{named.__qualname__}"


def plain(table: Sequence[Row]) -> str:
    """Aligned text, for pipes and files."""
    cells = [HEADINGS, *(row.cells for row in table)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]
    return "\n".join(lines)


def print_rich(table: Sequence[Row]) -> None:
    """The same for eyes."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading, style in zip(HEADINGS, ("bold", "cyan", "", "dim"), strict=True):
        shown.add_column(heading, style=style, overflow="fold")
    for row in table:
        shown.add_row(*(Text(cell) for cell in row.cells))
    Console().print(shown)
