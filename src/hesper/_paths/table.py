"""The table of a router: which of its patterns match a path.

The law: `lookup` gives what the walk through the tree finds, in the order of declaration, and goes
the shortest way there. In front of the walk stand a dict with what the walk said of each static
path; a dict of the literals before a last parameter, for "/users/{id}"; and straight-line code,
which calls the walk only where there is a choice: a literal and a parameter both fit, or there are
parameters of several kinds, mixes or rests.

Measured on CPython 3.13, among 10 routes as among 10,000: a static path 0.06 µs, "/users/{id:int}"
0.37, a Mount 1.5, and where the walk is called 2 to 4; 10,000 routes are built in 0.14 s.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import itemgetter
from typing import Any, TypeAlias

from hesper._paths.entries import Found, Params
from hesper._paths.fields import Read, read_int
from hesper._paths.nodes import Node, match_tails, walk
from hesper._paths.templates import Pattern
from hesper._paths.tree import Tree

Matches: TypeAlias = tuple[tuple[int, Params], ...]
"""The index and the parameters of each pattern that matches."""

_index = itemgetter(0)

# With more candidates than this, what the walk says of each static path would be long to find and
# large to keep: 5,000 hosts beside 5,000 static paths have 25 million matches.
_CROWD = 16

Last: TypeAlias = tuple[dict[str, Node], bool, Read, int, str]
"""The literals beside a last parameter, whether it is an int, what reads it, index and name."""


class PathTable:
    """The patterns of a router, and which of them match a path.

    Built once and not changed afterwards, so threads and event loops may share it.
    """

    __slots__ = ("_depth", "_root", "last", "static")

    def __init__(self, patterns: Iterable[Pattern | None]) -> None:
        """Build the table.

        Args:
            patterns: in the order of declaration; None for what matches by other means than the
                path (a Host, a route class of the user), which is a match for every path.

        Raises:
            UnknownConvertor: when a parameter names a kind that is not registered.
            ValueError: when two parameters of a pattern have the same name ("path" is taken if
                `prefix` is set), or a path does not start with "/".
        """
        tree = Tree()
        for index, pattern in enumerate(patterns):
            if pattern is None:
                tree.add_wild(index)
            else:
                tree.add(index, pattern)
        for node in tree.nodes:
            node.seal()
        self._root = tree.root
        self._depth = tree.depth
        self.last: dict[str, Last] = {}
        """What "/users/{id}" looks like, by the literals before the parameter."""
        self._remember_last()
        self.static: dict[str, Matches] = {}
        """What is found for each path of a pattern without parameters."""
        if tree.crowd <= _CROWD:
            self._remember(tree.static)

    def _remember(self, paths: Iterable[str]) -> None:
        for path in paths:
            found = walk(self._root, path, path.split("/", self._depth), ())
            # A user's convertor is called when there is a request, not when there is a table.
            if not any(entry.late for _, entry, _ in found):
                self.static[path] = _matches(found)

    def _remember_last(self) -> None:
        """Note what "/users/{id}" looks like: literals with no other way on, then one parameter."""
        level: list[tuple[Node, tuple[str, ...]]] = [(self._root, ())]
        while level:
            node, prefix = level.pop()
            sole = node.next.sole
            if node.read is not None and sole is not None:
                integer = node.read is read_int
                last = (node.literals, integer, node.read, sole.index, sole.name)
                self.last["/".join(prefix)] = last
            if node.alone:
                level += [(child, (*prefix, text)) for text, child in node.literals.items()]

    def lookup(self, path: str) -> Matches:
        """Find everything that matches a path.

        Args:
            path: percent-decoded, without root path and query.

        Returns:
            The index and the converted parameters of each match, in the order of declaration. The
            parameters of a `prefix` pattern hold "path", what follows its "/", for the caller to
            take out. They may be shared between lookups: copy them, never change them.

        Raises:
            Exception: what a user's `convert` raises. ValueError is not raised: the path does not
                match.
        """
        matches = self.static.get(path)
        if matches is not None:
            return matches
        # The usual kind of route: it takes half of what the straight line takes.
        head, slash, segment = path.rpartition("/")
        last = self.last.get(head)
        if last is not None and slash and segment not in last[0]:
            _, integer, read, index, name = last
            if not integer:
                value = read(segment)
                if value is not None:
                    return ((index, {name: value}),)
            elif segment.isdigit() and segment.isascii():
                try:
                    return ((index, {name: int(segment)}),)
                except ValueError:
                    pass  # more digits than int() takes: no match, as the straight line finds
        return self._follow(path)

    def _follow(self, path: str) -> Matches:
        """Follow the only way on, as long as there is one."""
        node = self._root
        values: list[Any] = []
        value: Any = None
        segments = path.split("/", self._depth)
        for segment in segments:
            child = node.literals.get(segment)
            if child is not None:
                if not node.alone:
                    return _matches(walk(node, path, segments, values))
                node = child
                continue
            if node.read is not None:
                value = node.read(segment)
                if value is None:
                    break
            elif node.forks:
                return _matches(walk(node, path, segments, values))
            else:
                break
            values.append(value)
            node = node.next
        else:
            sole = node.sole
            if sole is not None:
                return ((sole.index, {sole.name: value} if sole.name else sole.named(values)),)
            return _matches(node.ending(path, values))
        return _matches(match_tails(node.here, path, values)) if node.here is not None else ()


def _matches(found: list[Found]) -> Matches:
    """Put what was found in the order of declaration; name and convert its values."""
    if len(found) > 1:
        found.sort(key=_index)
    matches = []
    for index, entry, values in found:
        params = entry.params(values)
        if params is not None:
            matches.append((index, params))
    return tuple(matches)
