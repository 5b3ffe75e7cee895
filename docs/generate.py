"""Writes the lower part of the reference pages from the code: `python docs/generate.py`.

What stands above the mark of a page is written by hand. `tests/unit/test_docs.py` checks that the
names and the parameters are those of the code.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from enum import Enum
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

REFERENCE = Path(__file__).parent / "reference"

MARK = "<!-- Below: written by docs/generate.py -->"

PAGES = {
    "applications": ["hesper.applications"],
    "requests": ["hesper.requests", "hesper.datastructures"],
    "responses": ["hesper.responses", "hesper.background"],
    "websockets": ["hesper.websockets"],
    "sse": ["hesper.sse"],
    "policies": ["hesper.policies", "hesper.middleware.concurrency"],
    "endings": ["hesper.endings"],
    "supervision": ["hesper.supervision"],
    "routing": ["hesper.routing", "hesper.convertors"],
    "middleware": [
        "hesper.middleware",
        "hesper.middleware.base",
        "hesper.middleware.errors",
        "hesper.middleware.exceptions",
    ],
    "middleware-included": [
        "hesper.middleware.cors",
        "hesper.middleware.compression",
        "hesper.middleware.gzip",
        "hesper.middleware.sessions",
        "hesper.middleware.trustedhost",
        "hesper.middleware.httpsredirect",
        "hesper.middleware.authentication",
        "hesper.middleware.body_limit",
        "hesper.middleware.opentelemetry",
        "hesper.middleware.wsgi",
    ],
    "staticfiles": ["hesper.staticfiles"],
    "templating": ["hesper.templating"],
    "endpoints": ["hesper.endpoints"],
    "authentication": ["hesper.authentication"],
    "config": ["hesper.config"],
    "schemas": ["hesper.schemas"],
    "testclient": ["hesper.testclient"],
    "exceptions": ["hesper.exceptions"],
    "testing": ["hesper.testing"],
    "sweep": ["hesper.testing.sweep"],
    "cli": ["hesper.cli"],
}
"""Each page, and the modules whose public names stand on it."""

OWN = {"__call__"}
"""Special methods that are for users to call."""


def parameters(thing: Any, *, bound: bool) -> str:
    """The parameters of a callable as one would call it, without annotations."""
    try:
        found = list(inspect.signature(thing).parameters.values())
    except (TypeError, ValueError):
        return "..."
    parts: list[str] = []
    starred = False
    for parameter in found[1:] if bound else found:
        name = parameter.name
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            starred = True
            parts.append("*")
        if parameter.kind is parameter.VAR_POSITIONAL:
            starred = True
            name = f"*{name}"
        if parameter.kind is parameter.VAR_KEYWORD:
            name = f"**{name}"
        if parameter.default is not parameter.empty:
            name += f"={_default(parameter.default)}"
        parts.append(name)
    return ", ".join(parts)


def _default(value: Any) -> str:
    if isinstance(value, (str, int, float, bool, bytes, tuple, type(None))):
        return repr(value)
    return getattr(value, "__name__", None) or getattr(value, "name", None) or "..."


def summary(thing: Any) -> str:
    """The first paragraph of a docstring, on one line, as Markdown."""
    text = (inspect.getdoc(thing) or "").split("\n\n")[0]
    return _markdown(" ".join(text.split()))


def _markdown(text: str) -> str:
    return re.sub(r"``(.+?)``", r"`\1`", text)


def text_of(thing: Any) -> str:
    """The whole docstring, as Markdown."""
    lines: list[str] = []
    for line in _markdown(inspect.getdoc(thing) or "").splitlines():
        if line in {"Args:", "Raises:", "Returns:"}:
            lines += [f"{line}", ""]
        elif match := re.match(r" {4}([\w*]+): (.*)", line):
            lines.append(f"- `{match[1]}`: {match[2]}")
        elif line.startswith("        "):
            lines.append(f"  {line.strip()}")
        else:
            lines.append(line.removeprefix("    ") if line.startswith("    ") else line)
    return "\n".join(lines)


def members(cls: type) -> Iterator[tuple[str, str]]:
    """What a class has of its own: each name as one writes it, and what it says."""
    for name, member in vars(cls).items():
        if name.startswith("_") and name not in OWN:
            continue
        function = getattr(member, "__func__", member)
        if isinstance(member, cls):  # of an enumeration
            yield name, ""
        if isinstance(member, (property, cached_property)):
            yield name, summary(member)
        elif inspect.isfunction(function) and (function.__doc__ or name not in OWN):
            yield f"{name}({parameters(function, bound=True)})", summary(function)


def public(module_name: str) -> Iterator[tuple[str, Any]]:
    """The classes and functions of a module that it names as its own."""
    module = import_module(module_name)
    for name in getattr(module, "__all__", None) or sorted(vars(module)):
        thing = getattr(module, name)
        if (inspect.isclass(thing) or inspect.isfunction(thing)) and (
            thing.__module__ == module_name
            if not hasattr(module, "__all__")
            else thing.__module__.startswith("hesper")
        ):
            yield name, thing


def entries(page: str) -> Iterator[tuple[str, str, list[tuple[str, str]]]]:
    """Each public name of a page: its signature, its text, and its members."""
    for module_name in PAGES[page]:
        for name, thing in public(module_name):
            signature = f"{module_name}.{name}"
            # What an enumeration takes differs between versions of Python, and nobody calls it.
            if not (inspect.isclass(thing) and issubclass(thing, Enum)):
                signature += f"({parameters(thing, bound=False)})"
            yield signature, text_of(thing), list(members(thing)) if inspect.isclass(thing) else []


def generate(page: str) -> str:
    """The lower part of a page."""
    blocks = [MARK]
    for signature, text, found in entries(page):
        name = signature.partition("(")[0].rpartition(".")[2]
        blocks += [f"## {name}", f"`{signature}`", text]
        rows = [f"- `{member}`" + (f": {said}" if said else "") for member, said in found]
        if rows:
            blocks += ["Members:", "\n".join(rows)]
    return "\n\n".join(block for block in blocks if block) + "\n"


def main() -> None:
    for page in PAGES:
        path = REFERENCE / f"{page}.md"
        head = path.read_text("utf-8").partition(MARK)[0]
        path.write_text(f"{head.rstrip()}\n\n{generate(page)}", "utf-8")


if __name__ == "__main__":
    main()
