"""The tree of all patterns of a router, and what was noticed while it grew.

The law: equal segments after equal segments share a node, so that the tree, and the time to grow
it, is linear in the length of all templates, and a path meets only what differs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any, TypeAlias, TypeVar

from hesper._paths.entries import Entry, OpaqueRest, Rest, Tail
from hesper._paths.fields import Field
from hesper._paths.nodes import Affixes, Node
from hesper._paths.sequences import FieldSequence
from hesper._paths.templates import Pattern, expression, read_pattern
from hesper.convertors import Convertor

_T = TypeVar("_T")

Segment: TypeAlias = tuple[list[str], list[Field]]  # alternating, from a literal to a literal


class Tree:
    """The nodes of all patterns, and what was noticed while they were added."""

    def __init__(self) -> None:
        self.root = Node(0)
        self.nodes = [self.root]
        """Every node, after its parent."""
        self.static: set[str] = set()
        self.depth = 0
        """How many times a path must be split."""
        self.crowd = 0
        """How many candidates, at most, one look into a node gives."""
        self._fields: dict[object, Field] = {}
        self._mixed: dict[object, Node] = {}

    def add_wild(self, index: int) -> None:
        """Add what matches every path."""
        self.root.tails.append(Tail(Entry(index, (), {}), 0))
        self.crowd = max(self.crowd, len(self.root.tails))

    def add(self, index: int, pattern: Pattern) -> None:
        """Grow the branch of a pattern."""
        path, literals, convertors = read_pattern(pattern)
        if not convertors:
            self.static.add(path)
        fields = [self._field(convertor) for convertor in convertors.values()]
        late = {name: f.late for name, f in zip(convertors, fields, strict=True) if f.late}
        whole = None
        if not all(field.confined or field.built_in for field in fields):
            late = {name: convertor.convert for name, convertor in convertors.items()}
            whole = re.compile(expression(literals, convertors))
        entry = Entry(index, convertors, late)
        node = self.root
        segments = _split(literals, fields)
        for depth, segment in enumerate(segments):
            self.depth = max(self.depth, depth + 1)
            if not all(field.confined for field in segment[1]):
                self._add_rest(node, depth, entry, _join(segments[depth:]), whole)
                return
            node = self._child(node, segment)
        node.entries.append(entry)

    def _field(self, convertor: Convertor[Any]) -> Field:
        field = self._fields.get(id(convertor))
        if field is None:
            field = self._fields[id(convertor)] = Field(convertor)
        return field

    def _child(self, node: Node, segment: Segment) -> Node:
        literals, fields = segment
        if not fields:
            return node.literals.get(literals[0]) or self._grow(node, node.literals, literals[0])
        if literals == ["", ""]:
            child = node.params.get(fields[0]) or self._grow(node, node.params, fields[0])
            self.crowd = max(self.crowd, len(node.params))
            return child
        key = (node, *literals, *fields)
        if key not in self._mixed:
            item = (FieldSequence(literals, fields), self._grow(node, self._mixed, key))
            node.mixed = node.mixed or Affixes()
            self.crowd = max(self.crowd, node.mixed.add(literals[0], literals[-1], item))
        return self._mixed[key]

    def _grow(self, parent: Node, children: dict[_T, Node], key: _T) -> Node:
        node = children[key] = Node(parent.depth + 1)
        self.nodes.append(node)
        return node

    def _add_rest(
        self,
        node: Node,
        depth: int,
        entry: Entry,
        rest: Segment,
        whole: re.Pattern[str] | None,
    ) -> None:
        literals, fields = rest
        if literals == ["", ""] and not whole:
            node.tails.append(Tail(entry, depth))
            self.crowd = max(self.crowd, len(node.tails))
            return
        item = OpaqueRest(entry, whole) if whole else Rest(entry, FieldSequence(literals, fields))
        node.rests = node.rests or Affixes()
        self.crowd = max(self.crowd, node.rests.add(literals[0], literals[-1], item))


def _split(literals: Sequence[str], fields: Sequence[Field]) -> list[Segment]:
    """Split a template at each "/" of its literals."""
    segments: list[Segment] = [([], [])]
    for literal, field in zip_longest(literals, fields):
        first, *others = literal.split("/")
        segments[-1][0].append(first)
        segments += [([text], []) for text in others]
        if field:
            segments[-1][1].append(field)
    return segments


def _join(segments: Sequence[Segment]) -> Segment:
    """Undo `_split`."""
    literals, fields = segments[0]
    for others, more in segments[1:]:
        literals = [*literals[:-1], f"{literals[-1]}/{others[0]}", *others[1:]]
        fields = fields + more
    return literals, fields
