"""Compares Hesper with the surface that was recorded."""

from __future__ import annotations

import importlib
import inspect
import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.surface.differences import DIFFERENT, MEMBERS, RENAMED
from tests.surface.record import FILE, parameters

STARLETTE: dict[str, dict[str, Any]] = json.loads(FILE.read_text())

NAMES = [f"{module}.{name}" for module, names in STARLETTE.items() for name in names]
"""Every public name, without "starlette."."""


@dataclass
class Gap:
    """Something of Starlette's that Hesper has not, or has otherwise."""

    name: str
    """The name, and after it perhaps an attribute of the class."""
    what: str


def ours(name: str) -> Any:
    """Hesper's object of that name.

    Raises:
        ImportError, AttributeError: there is none.
    """
    module, _, attribute = RENAMED.get(name, name).rpartition(".")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(importlib.import_module(f"hesper.{module}"), attribute)


def gaps(name: str) -> Iterator[Gap]:
    """What is missing or otherwise of one name, and is not said to be so on purpose."""
    if name in DIFFERENT:
        return
    module, _, attribute = name.rpartition(".")
    theirs = STARLETTE[module][attribute]
    try:
        found = ours(name)
    except (ImportError, AttributeError) as exc:
        yield Gap(name, f"is missing: {exc}")
        return
    if theirs["kind"] == "function":
        yield from _compare(name, theirs["parameters"], parameters(found))
    if theirs["kind"] == "class":
        for member, expected in theirs["members"].items():
            full = f"{name}.{member}"
            if full not in MEMBERS:
                yield from _member_gaps(full, found, member, expected)


def _member_gaps(full: str, cls: Any, member: str, expected: Any) -> Iterator[Gap]:
    annotated = any(member in vars(base).get("__annotations__", {}) for base in cls.__mro__)
    if not hasattr(cls, member):
        if not annotated and member not in _set_in_constructor(cls):
            yield Gap(full, "is missing")
        return
    if expected is not None:
        function = inspect.getattr_static(cls, member)
        function = getattr(function, "__func__", function)
        yield from _compare(full, expected, parameters(function))


def _set_in_constructor(cls: Any) -> set[str]:
    """The attributes that instances have."""
    found: set[str] = set()
    for base in cls.__mro__:
        code = getattr(vars(base).get("__init__"), "__code__", None)
        found.update(code.co_names if code is not None else ())
        slots = vars(base).get("__slots__", ())
        found.update([slots] if isinstance(slots, str) else slots)
    return found


def _compare(
    name: str, expected: list[list[str]] | None, found: list[list[str]] | None
) -> Iterator[Gap]:
    """Every call that fits theirs has to fit ours, and mean the same."""
    if expected is None or found is None:
        return
    known = {parameter[0]: parameter for parameter in found}
    takes_all = {kind for _, kind, _ in found if kind.startswith("VAR")} == {
        "VAR_POSITIONAL",
        "VAR_KEYWORD",
    }
    for position, (parameter, kind, default) in enumerate(expected):
        if parameter in ("self", "cls") or kind.startswith("VAR") or takes_all:
            continue
        if kind == "POSITIONAL_ONLY":
            if len(found) <= position:
                yield Gap(name, f"has no parameter {parameter}")
        elif parameter not in known:
            yield Gap(name, f"has no parameter {parameter}")
        elif default and known[parameter][2] != default:
            yield Gap(name, f"{parameter}={known[parameter][2]} where theirs is {default}")
        elif kind == "POSITIONAL_OR_KEYWORD" and found[position][0] != parameter:
            yield Gap(name, f"{parameter} is not at place {position}")
    more = [p for p in found if p[0] not in {e[0] for e in expected}]
    for parameter, kind, default in more:
        if not default and not kind.startswith("VAR") and kind != "POSITIONAL_ONLY":
            yield Gap(name, f"asks for {parameter}, which theirs does not know")
