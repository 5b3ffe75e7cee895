"""Several parameters with literals between them: "{name}-{id:int}.json", "{path:path}/edit".

The law: a sequence gives the values that its expression would find, and if all its convertors are
built in, in time linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, TypeAlias

from hesper._paths.fields import Field
from hesper._paths.templates import alternate, expression
from hesper.convertors import (
    FloatConvertor,
    IntegerConvertor,
    PathConvertor,
    StringConvertor,
    UUIDConvertor,
)

Values: TypeAlias = tuple[Any, ...]
"""The values of parameters, in the order of the template."""

_RUNS: dict[type, tuple[re.Pattern[str], int]] = {
    StringConvertor: (re.compile("[^/]+"), 1),
    PathConvertor: (re.compile("[^\n]+"), 0),
    IntegerConvertor: (re.compile("[0-9]+"), 1),
    FloatConvertor: (re.compile("[0-9]+"), 1),
}

# How many steps a backtracking search may take: the length of the text to the power of the number
# of parameters. At 4 ns a step (CPython 3.13, "{a}-{b}x{c}" against dashes) it ends within 1 ms.
_SEARCH_LIMIT = 2**18


def match_linear(pieces: Sequence[str | type], text: str) -> list[str] | None:
    """Match literals and built-in convertors against a text without backtracking.

    Every built-in convertor prefers the longest text it can have. So what its expression would
    find is, from left to right, the furthest end from which the pieces that follow still match.
    One pass per piece, from the last to the first, finds these ends for every start.

    Returns:
        The texts of the convertors, or None if the text does not match.
    """
    # reach[i] is the last index up to i from which the pieces after this one match; -1 for none.
    reach = [-1] * len(text) + [len(text)]
    passes = []
    for piece in reversed(pieces):
        ends = _ends(piece, text, reach)
        passes.append(ends)
        last, reach = -1, []
        for start, end in enumerate(ends):
            if end >= 0:
                last = start
            reach.append(last)
    values, at = [], 0
    for piece, ends in zip(pieces, reversed(passes), strict=True):
        start, at = at, ends[at]
        if at < 0:
            return None
        if not isinstance(piece, str):
            values.append(text[start:at])
    return values


def _ends(piece: str | type, text: str, reach: list[int]) -> list[int]:
    """For each start of a piece, the furthest end in `reach`; -1 if it does not match there."""
    if isinstance(piece, str):
        return _fixed_ends(re.escape(piece), text, reach)
    if piece is UUIDConvertor:
        return _fixed_ends(UUIDConvertor.regex, text, reach)
    regex, least = _RUNS[piece]
    runs = list(range(len(text) + 1))
    for run in regex.finditer(text):
        start, end = run.span()
        runs[start:end] = [end] * (end - start)
    ends = []
    for start, end in enumerate(runs):
        best = reach[end]
        if piece is FloatConvertor and start < end and text[end : end + 1] == ".":
            fraction = reach[runs[end + 1]]
            if fraction != end + 1:  # "1." is not a number
                best = fraction
        ends.append(best if best >= start + least else -1)
    return ends


def _fixed_ends(regex: str, text: str, reach: list[int]) -> list[int]:
    ends = [-1] * len(reach)
    for found in re.finditer(f"(?=({regex}))", text):
        start, end = found.span(1)
        if reach[end] == end:
            ends[start] = end
    return ends


class FieldSequence:
    """Literals and parameters that alternate: a mixed segment, or a rest."""

    __slots__ = ("_classes", "_fields", "_literals", "_names", "_regex", "head", "tail")

    def __init__(self, literals: Sequence[str], fields: Sequence[Field]) -> None:
        self._literals, self._fields = literals, fields
        self.head, self.tail = literals[0], literals[-1]
        self._classes = [field.built_in for field in fields if field.built_in]
        self._names = [f"_{n}" for n in range(len(fields))]
        self._regex: re.Pattern[str] | None = None

    def match(self, text: str) -> Values | None:
        """Give the values of a text that begins with `head` and ends with `tail`, or None."""
        if len(self._fields) > 1:
            return self._match_several(text)
        end = len(text) - len(self.tail)
        if end < len(self.head):
            return None
        value = self._fields[0].read(text[len(self.head) : end])
        return None if value is None else (value,)

    def _match_several(self, text: str) -> Values | None:
        classes = self._classes
        if len(classes) == len(self._fields) and len(text) ** len(classes) > _SEARCH_LIMIT:
            pieces = [piece for piece in alternate(self._literals, classes) if piece]
            texts: Sequence[str] | None = match_linear(pieces, text)
        else:
            texts = self._search(text)
        if texts is None:
            return None
        values = tuple([field.read(texts[n]) for n, field in enumerate(self._fields)])
        return None if None in values else values

    def _search(self, text: str) -> Sequence[str] | None:
        if self._regex is None:  # at first use: of all that a table builds, this takes longest
            convertors = [field.convertor for field in self._fields]
            groups = dict(zip(self._names, convertors, strict=True))
            self._regex = re.compile(expression(self._literals, groups))
        found = self._regex.match(text)
        return found and found.group(*self._names)
