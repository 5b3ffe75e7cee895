"""The nodes of a tree: candidates by their ends, the walk, and what the straight line needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from hesper._paths import Pattern
from hesper._paths.entries import Entry, Tail
from hesper._paths.fields import read_int
from hesper._paths.nodes import Affixes, Node, match_tails, walk
from hesper._paths.tree import Tree

from .path_tables import ODD_PATHS, ODD_TABLES, own_convertors_registered, scan


@pytest.fixture(autouse=True, scope="module")
def own_convertors() -> Iterator[None]:
    with own_convertors_registered():
        yield


def grown(*patterns: str | Pattern | None) -> Tree:
    """A tree whose nodes are sealed."""
    tree = Tree()
    for index, pattern in enumerate(patterns):
        if pattern is None:
            tree.add_wild(index)
        else:
            tree.add(index, Pattern(pattern) if isinstance(pattern, str) else pattern)
    for node in tree.nodes:
        node.seal()
    return tree


def walked(start: Node, path: str, depth: int, values: Sequence[Any] = ()) -> list[Any]:
    found = walk(start, path, path.split("/", depth), values)
    return sorted(
        (index, params)
        for index, entry, values in found
        if (params := entry.params(values)) is not None
    )


class TestAffixes:
    def test_candidates_are_found_by_both_ends(self) -> None:
        affixes: Affixes[str] = Affixes()
        for item in ("a|b", "a|c", "ab|", "|b", "|", "a|b "):
            head, _, tail = item.strip().partition("|")
            affixes.add(head, tail, item)
        assert sorted(affixes.find("a-b")) == ["a|b", "a|b ", "|", "|b"]
        assert sorted(affixes.find("abc")) == ["ab|", "a|c", "|"]
        assert affixes.find("x") == ["|"]
        assert affixes.find("") == ["|"]

    def test_the_ends_may_overlap_in_the_text(self) -> None:
        affixes: Affixes[int] = Affixes()
        affixes.add("aa", "aa", 1)
        assert affixes.find("aa") == [1]
        assert affixes.find("a") == []

    def test_adding_tells_how_many_have_the_same_ends(self) -> None:
        affixes: Affixes[int] = Affixes()
        assert [affixes.add("a", "", 1), affixes.add("", "a", 2), affixes.add("a", "", 3)] == [
            1,
            1,
            2,
        ]


class TestWalk:
    @pytest.mark.parametrize("name", ODD_TABLES)
    def test_it_finds_what_the_scan_finds(self, name: str) -> None:
        patterns = ODD_TABLES[name]
        tree = grown(*patterns)
        for path in ODD_PATHS:
            assert walked(tree.root, path, tree.depth) == list(scan(patterns, path)), path

    def test_it_may_start_below_the_root_with_what_was_read_before(self) -> None:
        patterns = [Pattern("/{a:int}/x"), Pattern("/{a:int}/{b}"), Pattern("", True), None]
        tree = grown(*patterns)
        start = tree.root.literals[""].next
        assert start.depth == 2
        assert walked(start, "/7/x", tree.depth, [7]) == list(scan(patterns, "/7/x"))

    def test_tails_are_matched_up_to_the_root(self) -> None:
        root, child, leaf = Node(0), Node(1), Node(2)
        child.above, leaf.above = root, child
        wild, rest = Entry(0, (), {}), Entry(1, ("path",), {})
        root.tails.append(Tail(wild, 0))
        child.tails.append(Tail(rest, 1))
        assert match_tails(None, "/x", ()) == []
        assert match_tails(leaf, "/x", ()) == [(1, rest, ("x",)), (0, wild, ())]
        assert match_tails(root, "/x", ()) == [(0, wild, ())]


class TestSealing:
    def test_a_node_with_literals_only_leaves_no_choice(self) -> None:
        node = grown("/a", "/b").root.literals[""]
        assert (node.alone, node.forks, node.read) == (True, False, None)
        assert node.next is node

    def test_one_parameter_is_the_only_way_for_what_is_no_literal(self) -> None:
        node = grown("/a", "/{x:int}").root.literals[""]
        assert (node.alone, node.forks, node.read) == (False, False, read_int)
        assert node.next is not node.literals["a"]
        assert node.next.entries[0].names == ("x",)

    @pytest.mark.parametrize(
        "other", ["/{y}", "/{y}.json", "/{p:path}/x", "/{p:any}", "/a{p:path}"]
    )
    @pytest.mark.parametrize("one", ["/{x:int}", "/a"])
    def test_two_kinds_a_mix_or_a_rest_fork(self, one: str, other: str) -> None:
        node = grown(one, other).root.literals[""]
        sole = (one, other) == ("/a", "/{y}")
        assert (node.alone, node.forks, node.read is not None) == (False, not sole, sole)

    def test_tails_do_not_fork_but_are_known_to_all_nodes_below(self) -> None:
        tree = grown("/{p:path}", "/a/b", "/a/{c}/d")
        node = tree.root.literals[""]
        assert (node.alone, node.forks) == (True, False)
        assert (node.above, node.here) == (None, node)
        below = node.literals["a"]
        assert {below.above, below.here, below.next.above, below.literals["b"].here} == {node}

    def test_only_one_entry_that_needs_no_conversion_is_the_sole_match(self) -> None:
        def sole(*patterns: str | Pattern | None) -> int | None:
            node = grown(*patterns).root.literals[""].next
            return None if node.sole is None else node.sole.index

        assert sole("/a", "/{x}") == 1
        assert sole("/{x}", "/{y}") is None
        assert sole("/{x:slug}") is None
        assert sole("/{x}/a") is None
        assert sole("/{x}", None) is None
        assert sole("/{x}", Pattern("", prefix=True)) is None

    def test_where_the_straight_line_ends_are_entries_and_tails_from_above(self) -> None:
        tree = grown("/{x}", "/{y}", Pattern("", prefix=True))
        found = tree.root.literals[""].next.ending("/5", ["5"])
        assert sorted((index, list(values)) for index, _, values in found) == [
            (0, ["5"]),
            (1, ["5"]),
            (2, ["5"]),
        ]
