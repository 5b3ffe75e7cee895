"""The nodes that the segments of a path lead to, and the walk that visits them.

The law: `walk` finds every entry that a path matches, each once, whatever the order in which
literals, parameters, mixes and rests stand beside each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from hesper._paths.entries import Entry, Found, OpaqueRest, Rest, Tail
from hesper._paths.fields import Field, Read
from hesper._paths.sequences import FieldSequence, Values

_T = TypeVar("_T")


class Affixes(Generic[_T]):
    """Candidates by the literal text at both ends: one dict hit per pair of lengths."""

    __slots__ = ("_groups",)

    def __init__(self) -> None:
        self._groups: dict[tuple[int, int], dict[tuple[str, str], list[_T]]] = {}

    def add(self, head: str, tail: str, item: _T) -> int:
        """Add a candidate; return how many now have these ends."""
        groups = self._groups.setdefault((len(head), len(tail)), {})
        group = groups.setdefault((head, tail), [])
        group.append(item)
        return len(group)

    def find(self, text: str) -> list[_T]:
        """Return the candidates whose ends the text has; they may overlap in it."""
        found: list[_T] = []
        size = len(text)
        for (head, tail), groups in self._groups.items():
            found += groups.get((text[:head], text[size - tail :]), ())
        return found


class Node:
    """Where the segments of a path have led to."""

    __slots__ = (
        "above",
        "alone",
        "depth",
        "entries",
        "forks",
        "here",
        "literals",
        "mixed",
        "next",
        "params",
        "read",
        "rests",
        "sole",
        "tails",
    )

    def __init__(self, depth: int) -> None:
        self.depth = depth
        """How many segments come before."""
        self.literals: dict[str, Node] = {}
        self.params: dict[Field, Node] = {}
        self.mixed: Affixes[tuple[FieldSequence, Node]] | None = None
        self.rests: Affixes[Rest | OpaqueRest] | None = None
        self.tails: list[Tail] = []
        self.entries: list[Entry] = []
        # The rest is for the straight line, and follows from the above.
        self.alone = True
        """Whether a literal that fits is the only way on."""
        self.forks = False
        """Whether there is more than one way on for a segment that is no literal."""
        self.read: Read | None = None
        self.next = self
        """The only way on for a segment that is no literal, and what reads it."""
        self.above: Node | None = None
        """The nearest node before this one that has tails: they match a path that ends here."""
        self.here: Node | None = None
        """The nearest one that has tails, this one included: they match a path that goes on."""
        self.sole: Entry | None = None
        """The only match of a path that ends here, if its values just have to be named."""

    def ways(self, segment: str, values: Values) -> list[tuple[Node, Values]]:
        """All nodes that a segment leads to, with the values so far."""
        ways = []
        child = self.literals.get(segment)
        if child is not None:
            ways.append((child, values))
        for field, child in self.params.items():
            value = field.read(segment)
            if value is not None:
                ways.append((child, (*values, value)))
        if self.mixed:
            for sequence, child in self.mixed.find(segment):
                several = sequence.match(segment)
                if several is not None:
                    ways.append((child, values + several))
        return ways

    def ending(self, path: str, values: Sequence[Any]) -> list[Found]:
        """The matches of a path that the straight line followed to this node."""
        found = match_tails(self.above, path, values)
        found += [(entry.index, entry, values) for entry in self.entries]
        return found

    def seal(self) -> None:
        """Prepare for the straight line, when all patterns are known and the parent is sealed."""
        ways = 2 if self.mixed or self.rests else len(self.params)
        self.alone, self.forks = ways == 0, ways > 1
        if ways == 1:
            ((field, self.next),) = self.params.items()
            self.read = field.read
        self.here = self if self.tails else self.above
        if len(self.entries) == 1 and not self.entries[0].late and not self.above:
            self.sole = self.entries[0]
        for child in (*self.literals.values(), *self.params.values()):
            child.above = self.here


def match_tails(node: Node | None, path: str, values: Sequence[Any]) -> list[Found]:
    """Match the tails of a node and of those before it, given the values up to it at least."""
    found: list[Found] = []
    while node is not None:
        for tail in node.tails:
            found += tail.find(path, values)
        node = node.above
    return found


def walk(start: Node, path: str, segments: Sequence[str], values: Sequence[Any]) -> list[Found]:
    """Find every entry the path leads to, in any order, by visiting all nodes on the way.

    Args:
        start: a node to which no choice led.
        path: the whole path.
        segments: the path, split at least as often as the tree is deep.
        values: those of the segments before the node.
    """
    found = match_tails(start.above, path, values)
    level = [(start, tuple(values))]
    for depth in range(start.depth, len(segments)):
        further: list[tuple[Node, Values]] = []
        for node, values in level:
            further += node.ways(segments[depth], values)
            for tail in node.tails:
                found += tail.find(path, values)
            if node.rests:
                text = path.split("/", depth)[-1]
                for rest in node.rests.find(text):
                    found += rest.find(path, text, values)
        level = further
    for node, values in level:
        found += [(entry.index, entry, values) for entry in node.entries]
    return found
