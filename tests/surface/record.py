"""Writes down the surface of the Starlette that is installed: ``python -m tests.surface.record``.

Public are the names that its modules define and that do not begin with an underscore, and the
public attributes that their classes define themselves.
"""

from __future__ import annotations

import ast
import enum
import importlib
import inspect
import json
import pkgutil
import typing
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

FILE = Path(__file__).with_name("starlette-1.10.json")


def parameters(function: Any) -> list[list[str]] | None:
    """Name, kind and default of each parameter; None for what has no signature."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return None
    return [
        [
            parameter.name,
            parameter.kind.name,
            "" if parameter.default is parameter.empty else _default(parameter.default),
        ]
        for parameter in signature.parameters.values()
    ]


def _default(value: Any) -> str:
    """A default as text; an object of the framework's own by its class alone."""
    if isinstance(value, (str, int, float, bytes, tuple, list, dict, type(None))):
        return repr(value)
    if isinstance(value, enum.Enum):
        return str(value)
    return f"<{getattr(value, '__name__', type(value).__name__)}>"


LIBRARIES = {"multipart", "parse_options_header", "yaml"}
"""Names of other packages, set to None where those are missing."""


def names_of(module: ModuleType) -> dict[str, Any]:
    """The public names that a module defines, by its source: imports are not among them."""
    tree = ast.parse(inspect.getsource(module))
    found = {}
    for name in _assigned(tree.body):
        value = getattr(module, name, None)
        if name in LIBRARIES or name.startswith("_"):
            continue
        if not isinstance(value, (typing.TypeVar, typing.ParamSpec)):
            found[name] = value
    return found


def _assigned(body: list[ast.stmt]) -> Iterator[str]:
    for node in body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id
        elif isinstance(node, (ast.If, ast.Try)):
            yield from _assigned(node.body)
            yield from _assigned(node.orelse)
            for handler in getattr(node, "handlers", ()):
                yield from _assigned(handler.body)


def members_of(cls: type) -> dict[str, Any]:
    """The public attributes that a class defines itself, its constructor included."""
    return {
        name: value
        for name, value in vars(cls).items()
        if not name.startswith("_") or name == "__init__"
    }


def describe(value: Any) -> dict[str, Any]:
    """What can be compared of one name."""
    if inspect.isclass(value):
        members = {}
        for name, member in members_of(value).items():
            function = (
                member.__func__ if isinstance(member, (classmethod, staticmethod)) else member
            )
            callable_ = inspect.isfunction(function)
            members[name] = parameters(function) if callable_ else None
        return {"kind": "class", "members": members}
    if inspect.isfunction(value):
        return {"kind": "function", "parameters": parameters(value)}
    return {"kind": "value"}


def surface(package: str) -> dict[str, dict[str, Any]]:
    """The surface of a package by module."""
    root = importlib.import_module(package)
    found: dict[str, dict[str, Any]] = {}
    for info in pkgutil.walk_packages(root.__path__, package + "."):
        name = info.name.removeprefix(package + ".")
        if any(part.startswith("_") for part in name.split(".")):
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = importlib.import_module(info.name)
        described = {key: describe(value) for key, value in sorted(names_of(module).items())}
        if described:
            found[name] = described
    return found


if __name__ == "__main__":
    FILE.write_text(json.dumps(surface("starlette"), indent=1, sort_keys=True) + "\n")
