"""docs/reference/servers.md: its tables are made of what the matrix has found, its prose is not."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from importlib.metadata import version

from tests.servers.matrix.probing import Facts
from tests.servers.matrix.run import POLICIES, Outcome
from tests.servers.matrix.servers import ROOT

PAGE = ROOT / "docs" / "reference" / "servers.md"

BLOCK = re.compile(r"(<!-- found: (.+?) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
"""What is found is written between two comments, of which the first says what it is."""

MADE = "made"
"""The block that says when and with what the page was made; it is not compared."""


def filled(page: str, outcomes: Mapping[str, Outcome], *, compared: bool = False) -> str:
    """A page with what was found in its blocks.

    Args:
        page: the page as it is.
        outcomes: what was found, by server.
        compared: leave the block alone that differs from one run to the next.
    """

    def fill(block: re.Match[str]) -> str:
        if block[2] == MADE:
            lines = [block[3].strip() if compared else _made()]
        else:
            app, _, what = block[2].partition(", ")
            lines = [*(_by_server if app == "bare" else _by_policy)(outcomes, what)]
        return "\n".join([block[1], *lines, "", block[4]])

    return BLOCK.sub(fill, page)


def _made() -> str:
    names = ["uvicorn", "hypercorn", "granian", "daphne"]
    packages = ", ".join(f"{name} {version(name)}" for name in names)
    python = ".".join(map(str, sys.version_info[:3]))
    return f"Made on {date.today().isoformat()}, on Linux and Python {python}, with {packages}."


def _by_server(outcomes: Mapping[str, Outcome], what: str) -> Iterator[str]:
    """A table of what each server tells."""
    columns = {
        server: facts
        for server, outcome in outcomes.items()
        if (facts := outcome.facts("bare", what))
    }
    yield from _table(
        [_first_head(what), *columns], _rows(columns.values()), list(columns.values())
    )


def _by_policy(outcomes: Mapping[str, Outcome], what: str) -> Iterator[str]:
    """A table of what becomes of a handler."""
    found = {
        policy: {
            server: facts
            for server, outcome in outcomes.items()
            if (facts := outcome.facts(policy, what))
        }
        for policy in POLICIES
    }
    rows = _rows(facts for columns in found.values() for facts in columns.values())
    columns = [
        {
            row: _shared({server: facts.get(row, "?") for server, facts in each.items()})
            for row in rows
        }
        for each in found.values()
    ]
    yield from _table([_first_head(what), *(f"`{policy}`" for policy in POLICIES)], rows, columns)


def _first_head(what: str) -> str:
    return "open at the time" if what in {"SIGTERM", "begin_shutdown"} else "the client"


def _rows(facts: Iterable[Facts]) -> list[str]:
    """The names of all rows, in the order in which they first come."""
    rows: dict[str, None] = {}
    for each in facts:
        rows |= dict.fromkeys(each)
    return list(rows)


def _shared(by_server: Mapping[str, str]) -> str:
    """What holds on most servers, and on which something else does."""
    usual = Counter(by_server.values()).most_common(1)[0][0]
    others: dict[str, list[str]] = {}
    for server, value in by_server.items():
        if value != usual:
            others.setdefault(value, []).append(server)
    return "; ".join([usual, *(f"{_both(servers)}: {value}" for value, servers in others.items())])


def _both(servers: list[str]) -> str:
    """The names of servers, shorter where it is all of a kind."""
    names = ", ".join(servers)
    for kind, pair in {
        "uvicorn": "uvicorn (httptools), uvicorn (h11)",
        "hypercorn": "hypercorn (asyncio), hypercorn (trio)",
    }.items():
        names = names.replace(pair, kind)
    return names


def _table(head: list[str], rows: list[str], columns: list[Facts]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|---" * len(head) + "|"
    for row in rows:
        yield f"| {row} | {' | '.join(facts.get(row, '') for facts in columns)} |"
