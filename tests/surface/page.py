"""The page about Starlette's names, made of what the tests compare."""

from __future__ import annotations

from pathlib import Path

from tests.surface.compare import STARLETTE
from tests.surface.differences import BETTER, DIFFERENT, MEMBERS, RENAMED

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "starlette.md"

HEAD = """# Starlette's names

Every public name of Starlette 1.10, and what it is in Hesper: change `starlette` to `hesper` in the
import. "Same" means the same name, with the same parameters and defaults; there may be more
parameters, which are optional. This page is written by `python -m tests.surface` from the data with
which `tests/unit/test_starlette_surface.py` compares.
"""


def text() -> str:
    """The whole page."""
    parts = [HEAD]
    for module, names in STARLETTE.items():
        parts += [f"## hesper.{module}", "", "| name | is | how, or why |", "| --- | --- | --- |"]
        plain = [name for name in names if name.isupper() and f"{module}.{name}" not in DIFFERENT]
        if len(plain) > 10:
            parts.append(f"| {len(plain)} constants, `{plain[0]}` to `{plain[-1]}` | same | |")
            names = {name: value for name, value in names.items() if name not in plain}
        for name in names:
            parts += _rows(module, name)
        parts.append("")
    return "\n".join(parts).rstrip() + "\n"


def _rows(module: str, name: str) -> list[str]:
    full = f"{module}.{name}"
    shown = f"`{name}`"
    if full in RENAMED:
        shown += f", here `{RENAMED[full].rpartition('.')[2]}`"
    if full in DIFFERENT:
        rows = [f"| {shown} | different | {DIFFERENT[full]} |"]
    elif full in BETTER:
        rows = [f"| {shown} | better | {BETTER[full]} |"]
    else:
        rows = [f"| {shown} | same | |"]
    for member, why in MEMBERS.items():
        if member.rpartition(".")[0] == full:
            rows.append(f"| `{name}.{member.rpartition('.')[2]}` | different | {why} |")
    return rows
