"""Path templates: text with parameters in braces, "/users/{id:int}" or "{sub}.example.org".

The law: a template matches what its literals and the expressions of its convertors match, one
after the other, from the first character to the last. Whatever else looks for routes gives the same
answers sooner.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from hesper.convertors import CONVERTOR_TYPES, Convertor, UnknownConvertor

PARAM_REGEX = re.compile("{([a-zA-Z_][a-zA-Z0-9_]*)(:[a-zA-Z_][a-zA-Z0-9_]*)?}")
"""A parameter in a template: its name, and its kind with the colon if one is given."""

PARAM_FORMAT_REGEX = re.compile("{([a-zA-Z_][a-zA-Z0-9_]*)}")
"""A parameter in a format, which is a template without kinds."""

_PORT = re.compile(":[0-9]*$")

_T = TypeVar("_T")


def parse_path(path: str) -> tuple[list[str], dict[str, Convertor[Any]]]:
    """Split a template into its literals and its parameters, which alternate.

    Args:
        path: a path or a host pattern.

    Returns:
        The literals, possibly empty, always one more than there are parameters; and the convertor
        of each parameter by name, in order.

    Raises:
        UnknownConvertor: when a parameter names a kind that is not registered.
        ValueError: when two parameters have the same name.
    """
    pieces = PARAM_REGEX.split(path)
    convertors: dict[str, Convertor[Any]] = {}
    duplicates = set()
    for name, kind in zip(pieces[1::3], pieces[2::3], strict=True):
        key = kind[1:] if kind else "str"
        if key not in CONVERTOR_TYPES:
            raise UnknownConvertor(key, path, CONVERTOR_TYPES)
        if name in convertors:
            duplicates.add(name)
        convertors[name] = CONVERTOR_TYPES[key]
    if duplicates:
        names = ", ".join(sorted(duplicates))
        plural = "s" if len(duplicates) > 1 else ""
        raise ValueError(
            f"Duplicated param name{plural} {names} at path {path}: give each its own name"
        )
    return pieces[0::3], convertors


def compile_path(path: str) -> tuple[re.Pattern[str], str, dict[str, Convertor[Any]]]:
    """Compile a template to the expression that says what it matches.

    A template that does not start with "/" is a host pattern: it ignores case (RFC 9110, section
    4.2.3) and a literal port at its end.

    Args:
        path: such as "/users/{id:int}" or "{subdomain}.example.org".

    Returns:
        The expression, for use with `match`: it ends with the text, so that a trailing newline is
        not ignored as Starlette's "$" does. Then the format for `replace_params`, and the
        convertors by name.

    Raises:
        UnknownConvertor: when a parameter names a kind that is not registered.
        ValueError: when two parameters have the same name.
    """
    literals, convertors = parse_path(path)
    template = "".join(alternate(literals, [f"{{{name}}}" for name in convertors]))
    if path.startswith("/"):
        return re.compile(expression(literals, convertors)), template, convertors
    literals[-1] = _PORT.sub("", literals[-1])
    regex = re.compile(expression(literals, convertors), re.IGNORECASE)
    return regex, template, convertors


def expression(literals: Sequence[str], convertors: Mapping[str, Convertor[Any]]) -> str:
    groups = [f"(?P<{name}>{convertor.regex})" for name, convertor in convertors.items()]
    return rf"^{''.join(alternate([re.escape(text) for text in literals], groups))}\Z"


def alternate(literals: Sequence[str], others: Sequence[_T]) -> list[str | _T]:
    pieces: list[str | _T] = [literals[0]]
    for other, literal in zip(others, literals[1:], strict=True):
        pieces += (other, literal)
    return pieces


def replace_params(
    path: str,
    param_convertors: Mapping[str, Convertor[Any]],
    path_params: Mapping[str, Any],
) -> tuple[str, dict[str, Any]]:
    """Fill a format with values; parameters without a value stay as they are.

    Args:
        path: the format that `compile_path` returned.
        param_convertors: the convertors that `compile_path` returned.
        path_params: the values by name; not changed.

    Returns:
        The path, not percent-encoded, and the values that had no place in it.

    Raises:
        ValueError: when a convertor cannot write a value.
    """
    remaining = dict(path_params)

    def fill(parameter: re.Match[str]) -> str:
        name = parameter[1]
        if name not in path_params:
            return parameter[0]
        return param_convertors[name].to_string(remaining.pop(name))

    return PARAM_FORMAT_REGEX.sub(fill, path), remaining


class Pattern(NamedTuple):
    """What one route matches."""

    path: str
    """A template that starts with "/", or is empty if `prefix` is set."""

    prefix: bool = False
    """Match `path + "/"` and anything after it, as "{path:path}": what a Mount does."""

    convertors: Mapping[str, Convertor[Any]] | None = None
    """What `compile_path` gave for the whole template when the route was made, so that kinds
    registered anew since then do not change it. None looks the kinds up now."""


def read_pattern(pattern: Pattern) -> tuple[str, list[str], Mapping[str, Convertor[Any]]]:
    """Take a pattern apart.

    Returns:
        Its whole template, and the literals and convertors as `parse_path` gives them.

    Raises:
        UnknownConvertor: when a parameter names a kind that is not registered.
        ValueError: when two parameters have the same name, or the template has no "/" in front.
    """
    path = f"{pattern.path}/{{path:path}}" if pattern.prefix else pattern.path
    if not path.startswith("/"):
        raise ValueError(f"Expected a path that starts with '/', got {path!r}")
    if pattern.convertors is None:
        return path, *parse_path(path)
    pieces = PARAM_REGEX.split(path)
    return path, pieces[0::3], {name: pattern.convertors[name] for name in pieces[1::3]}
