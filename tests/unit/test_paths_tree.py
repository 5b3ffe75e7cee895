"""The tree of all patterns: what is shared, and what is noticed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hesper._paths import Pattern
from hesper._paths.entries import OpaqueRest, Rest
from hesper._paths.fields import Field
from hesper._paths.nodes import Node
from hesper._paths.tree import Tree, _join, _split
from hesper.convertors import CONVERTOR_TYPES, UnknownConvertor

from .path_tables import own_convertors_registered


@pytest.fixture(autouse=True, scope="module")
def own_convertors() -> Iterator[None]:
    with own_convertors_registered():
        yield


def grown(*patterns: str | Pattern | None) -> Tree:
    tree = Tree()
    for index, pattern in enumerate(patterns):
        if pattern is None:
            tree.add_wild(index)
        else:
            tree.add(index, Pattern(pattern) if isinstance(pattern, str) else pattern)
    return tree


def top(*patterns: str | Pattern | None) -> Node:
    """The node after the first slash."""
    return grown(*patterns).root.literals[""]


class TestSharing:
    @pytest.mark.parametrize(
        ("patterns", "nodes"),
        [
            ((), 1),
            (("/a",), 3),
            (("/a", "/a"), 3),
            (("/a", "/b"), 4),
            (("/a/b", "/a/c"), 5),
            (("/{x}", "/{y}"), 3),
            (("/{x}", "/{y:int}"), 4),
            (("/{x}/a", "/{y}/b"), 5),
            (("/{x}.a", "/{y}.a"), 3),
            (("/{x}.a", "/{x}.b"), 4),
            (("/{x}.a", "/{x:int}.a"), 4),
            (("/{x}{z}.a", "/{x}.a"), 4),
            (("/a/{x}.a", "/b/{x}.a"), 6),
            ((None, None), 1),
            (("/{p:path}", "/a{p:path}b", "/{p:any}/{q:any}"), 2),
        ],
    )
    def test_equal_segments_after_equal_segments_share_a_node(
        self, patterns: tuple[str | None, ...], nodes: int
    ) -> None:
        tree = grown(*patterns)
        assert len(tree.nodes) == nodes

    def test_every_node_comes_after_its_parent(self) -> None:
        tree = grown("/a/{b}/c", "/{x}-{y}/z", "/a/d")
        for number, node in enumerate(tree.nodes):
            for child in (*node.literals.values(), *node.params.values()):
                assert tree.nodes.index(child) > number
                assert child.depth == node.depth + 1

    def test_a_convertor_has_one_field(self) -> None:
        fields = [field for node in grown("/{x}/{y}", "/a/{z}").nodes for field in node.params]
        assert len(fields) == 3
        assert len(set(fields)) == 1


class TestEnds:
    def test_a_pattern_of_confined_segments_ends_at_a_node(self) -> None:
        tree = grown("/{x}/b{y:int}", "/c")
        ends = [[(entry.index, entry.names) for entry in node.entries] for node in tree.nodes]
        assert ends == [[], [], [], [(0, ("x", "y"))], [(1, ())]]
        assert [entry.index for entry in top("/", "/a", "/").literals[""].entries] == [0, 2]

    @pytest.mark.parametrize(
        ("pattern", "number"),
        [("/{p:path}", 1), (Pattern("", prefix=True), 1), ("/{x}/{p:path}", 2), ("/a/{p:path}", 2)],
    )
    def test_a_path_at_the_end_is_a_tail(self, pattern: str | Pattern, number: int) -> None:
        tree = grown(pattern)
        assert [len(node.tails) for node in tree.nodes] == [0] * number + [1]
        assert [node.rests for node in tree.nodes] == [None] * (number + 1)
        assert not any(node.entries for node in tree.nodes)

    @pytest.mark.parametrize(
        ("pattern", "text", "kind"),
        [
            ("/{p:path}/x", "a/b/x", Rest),
            ("/a{p:path}", "ab", Rest),
            ("/{p:path}-{x}", "a-b", Rest),
            ("/{p:path}/{x}/{y:slug}.b", "a/b/c.b", Rest),
            ("/{p:any}", "a", OpaqueRest),
            ("/{p:twins}/x", "a/b/x", OpaqueRest),
            ("/{p:path}/{q:any}", "a/b", OpaqueRest),
        ],
    )
    def test_any_other_convertor_that_may_hold_a_slash_begins_a_rest(
        self, pattern: str, text: str, kind: type
    ) -> None:
        node = top(pattern)
        assert node.rests is not None
        assert [type(rest) for rest in node.rests.find(text)] == [kind]
        assert (node.tails, node.entries) == ([], [])

    def test_one_opaque_convertor_makes_all_of_its_template_late(self) -> None:
        node = top("/{a:int}/{p:any}").params.popitem()[1]
        assert node.rests is not None
        (rest,) = node.rests.find("x")
        ((_, entry, values),) = rest.find("/5/x", "x", (5,))
        assert list(values) == ["5", "x"]
        assert entry.params(values) == {"a": 5, "p": ("any", "x")}


class TestNotices:
    def test_templates_without_parameters_are_static(self) -> None:
        assert grown("/a", "/{b}", "/", "/a/b", Pattern("/m", prefix=True), None).static == {
            "/a",
            "/",
            "/a/b",
        }

    @pytest.mark.parametrize(
        ("patterns", "depth"),
        [
            ((), 0),
            ((None,), 0),
            (("/",), 2),
            (("/a/b/c", "/a"), 4),
            (("/{p:path}",), 2),
            (("/a/{p:path}/b/c/d",), 3),
        ],
    )
    def test_a_path_is_split_as_often_as_the_longest_template_needs(
        self, patterns: tuple[str | None, ...], depth: int
    ) -> None:
        assert grown(*patterns).depth == depth

    @pytest.mark.parametrize(
        "pattern",
        [None, Pattern("", prefix=True), "/a{x}b", "/a{p:path}b", "/a{p:any}b"],
    )
    def test_the_crowd_is_the_most_that_one_look_into_a_node_gives(
        self, pattern: str | Pattern | None
    ) -> None:
        if pattern == "/a{x}b":  # one node for equal mixes: they must differ in between
            patterns: list[str | Pattern | None] = [f"/a{{{'x' * n}}}b/c" for n in range(1, 4)]
            assert grown(*patterns).crowd == 1
            patterns = ["/a{x}b", "/a{x:int}b", "/a{x}{y}b"]
        else:
            patterns = [pattern] * 3
        assert grown(*patterns).crowd == 3
        assert grown("/c", *patterns, "/c{x}").crowd == 3

    def test_parameters_of_several_kinds_are_a_crowd_and_literals_are_none(self) -> None:
        assert grown("/{a}", "/{a:int}", "/{b}", "/{a:float}").crowd == 3
        assert grown("/a", "/b", "/c", "/a").crowd == 0

    def test_mistakes_in_a_pattern_are_refused(self) -> None:
        with pytest.raises(UnknownConvertor):
            grown("/{a:nope}")
        with pytest.raises(ValueError, match="Expected a path that starts with '/', got 'a'"):
            grown("a")


class TestSegments:
    FIELDS = [Field(CONVERTOR_TYPES[kind]) for kind in ("str", "int", "path")]

    def test_a_template_is_split_at_the_slashes_of_its_literals(self) -> None:
        a, b, _ = self.FIELDS
        assert _split(["/x", "-", "/y/", ""], [a, b, a]) == [
            ([""], []),
            (["x", "-", ""], [a, b]),
            (["y"], []),
            (["", ""], [a]),
        ]
        assert _split(["/"], []) == [([""], []), ([""], [])]

    @given(st.lists(st.sampled_from(FIELDS), max_size=4), st.data())
    @settings(max_examples=100, deadline=None)
    def test_joining_undoes_splitting(self, fields: list[Field], data: st.DataObject) -> None:
        size = len(fields) + 1
        literals = data.draw(st.lists(st.text("a/", max_size=3), min_size=size, max_size=size))
        segments = _split(literals, fields)
        assert not any("/" in literal for texts, _ in segments for literal in texts)
        assert all(len(texts) == len(more) + 1 for texts, more in segments)
        assert _join(segments) == (literals, fields)
