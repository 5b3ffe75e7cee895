"""Where a template ends: the entry of its route, and the rests that lead there.

The law: parameters are named as in the template, and a user's `convert` is called once its whole
template has matched, not before.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from hesper._paths.fields import Read, read_path
from hesper._paths.sequences import FieldSequence, Values

Params: TypeAlias = Mapping[str, Any]


class Entry:
    """A pattern, where its path ends."""

    __slots__ = ("index", "late", "name", "names")

    def __init__(self, index: int, names: Iterable[str], late: Mapping[str, Read]) -> None:
        self.index = index
        self.names = tuple(names)
        self.late = tuple(late.items())
        self.name = self.names[0] if len(self.names) == 1 and not late else ""
        """The name, if there is one value that only has to be named; or empty."""

    def named(self, values: Sequence[Any]) -> dict[str, Any]:
        """Name the values."""
        if self.name:
            return {self.name: values[0]}
        # dict(zip(...)) takes half as long again: 0.29 µs against 0.20 (CPython 3.13, two names).
        return {name: values[n] for n, name in enumerate(self.names)}

    def params(self, values: Sequence[Any]) -> Params | None:
        """Name and convert the values; None if a user's convertor refuses one."""
        params = self.named(values)
        try:
            for name, convert in self.late:
                params[name] = convert(params[name])
        except ValueError:
            return None
        return params


Found: TypeAlias = tuple[int, Entry, Sequence[Any]]
"""The index of an entry, by which matches are put in order, the entry itself, and its values."""


class Tail:
    """A rest that is one `path` parameter and nothing else, or (at depth 0) a wild entry.

    It leaves no choice, so the straight line needs not stop for it.
    """

    __slots__ = ("_count", "_depth", "entry", "index")

    def __init__(self, entry: Entry, depth: int) -> None:
        self.entry, self._depth = entry, depth
        self.index = entry.index
        self._count = len(entry.names) - 1

    def find(self, path: str, values: Sequence[Any]) -> Iterable[Found]:
        """Match a path whose first segments gave these values, and maybe more of them."""
        if not self._depth:
            return ((self.index, self.entry, ()),)
        value = read_path(path.split("/", self._depth)[-1])
        if value is None:
            return ()
        return ((self.index, self.entry, (*values[: self._count], value)),)


class Rest:
    """A rest of confined and `path` parameters: matches what is left of the path."""

    __slots__ = ("_entry", "_sequence")

    def __init__(self, entry: Entry, sequence: FieldSequence) -> None:
        self._entry, self._sequence = entry, sequence

    def find(self, path: str, text: str, values: Values) -> Iterable[Found]:
        """Match a text that comes after segments which gave these values."""
        found = self._sequence.match(text)
        return () if found is None else ((self._entry.index, self._entry, values + found),)


class OpaqueRest:
    """A rest with a convertor about which nothing is known: matches the whole path."""

    __slots__ = ("_entry", "_regex")

    def __init__(self, entry: Entry, regex: re.Pattern[str]) -> None:
        self._entry, self._regex = entry, regex

    def find(self, path: str, text: str, values: Values) -> Iterable[Found]:
        """Match the path; its parameters are found anew, as text."""
        found = self._regex.match(path)
        if found is None:
            return ()
        return ((self._entry.index, self._entry, [found[name] for name in self._entry.names]),)
