"""Where a template ends: naming, late conversion, and the rests."""

from __future__ import annotations

import re

import pytest

from hesper._paths.entries import Entry, OpaqueRest, Rest, Tail
from hesper._paths.fields import Field
from hesper._paths.sequences import FieldSequence
from hesper.convertors import CONVERTOR_TYPES

from .path_tables import Anything


class TestEntries:
    def test_values_are_named_in_the_order_of_the_template(self) -> None:
        assert Entry(0, (), {}).named(()) == {}
        assert Entry(0, ("a",), {}).named([1]) == {"a": 1}
        assert list(Entry(0, ("b", "a"), {}).named((1, 2)).items()) == [("b", 1), ("a", 2)]

    def test_values_beyond_the_names_are_left_alone(self) -> None:
        # The straight line may have read more segments than the rest needs.
        assert Entry(0, ("a", "b"), {}).named((1, 2, 3)) == {"a": 1, "b": 2}

    def test_only_one_value_that_needs_no_conversion_has_its_name_noted(self) -> None:
        assert Entry(0, ("a",), {}).name == "a"
        assert Entry(0, (), {}).name == ""
        assert Entry(0, ("a", "b"), {}).name == ""
        assert Entry(0, ("a",), {"a": int}).name == ""

    def test_late_convertors_are_called_with_what_was_read(self) -> None:
        entry = Entry(0, ("a", "b", "c"), {"a": int, "c": str.upper})
        assert entry.params(("1", 2, "x")) == {"a": 1, "b": 2, "c": "X"}
        assert Entry(0, ("a",), {"a": int}).params(["7"]) == {"a": 7}

    def test_a_value_error_of_one_is_no_match(self) -> None:
        assert Entry(0, ("a", "b"), {"b": int}).params(("1", "x")) is None

    def test_another_error_is_not_hidden(self) -> None:
        def broken(value: str) -> str:
            raise LookupError(value)

        with pytest.raises(LookupError):
            Entry(0, ("a",), {"a": broken}).params(["x"])


class TestTails:
    def test_a_wild_entry_has_no_values(self) -> None:
        entry = Entry(3, (), {})
        for path in ("", "*", "/a/b\n"):
            assert list(Tail(entry, 0).find(path, (1, 2))) == [(3, entry, ())]

    @pytest.mark.parametrize(
        ("path", "rest"), [("/x/", ""), ("/x/y", "y"), ("/x/y//z/", "y//z/"), ("/x//", "/")]
    )
    def test_the_rest_begins_after_as_many_segments_as_come_before_it(
        self, path: str, rest: str
    ) -> None:
        entry = Entry(3, ("path",), {})
        assert list(Tail(entry, 2).find(path, ())) == [(3, entry, (rest,))]

    def test_only_the_values_of_the_segments_before_it_count(self) -> None:
        entry = Entry(3, ("a", "path"), {})
        assert list(Tail(entry, 2).find("/x/y/z", ("x",))) == [(3, entry, ("x", "y/z"))]
        assert list(Tail(entry, 2).find("/x/y/z", ["x", "y", "z"])) == [(3, entry, ("x", "y/z"))]

    def test_a_newline_is_part_of_no_path_but_may_come_before(self) -> None:
        entry = Entry(3, ("a", "path"), {})
        assert list(Tail(entry, 2).find("/x/y\n", ("x",))) == []
        assert list(Tail(entry, 2).find("/\n/y", ("\n",))) == [(3, entry, ("\n", "y"))]


class TestRests:
    def test_a_rest_adds_its_values_to_those_before_it(self) -> None:
        entry = Entry(4, ("a", "p"), {})
        rest = Rest(entry, FieldSequence(["", "/x"], [Field(CONVERTOR_TYPES["path"])]))
        assert list(rest.find("/1/b/c/x", "b/c/x", (1,))) == [(4, entry, (1, "b/c"))]
        assert list(rest.find("/1/b\n/x", "b\n/x", (1,))) == []

    def test_an_opaque_rest_matches_the_whole_path_anew_and_as_text(self) -> None:
        entry = Entry(5, ("a", "p"), {"p": Anything().convert})
        rest = OpaqueRest(entry, re.compile("/(?P<a>[0-9]+)/(?P<p>.+)/x"))
        assert list(rest.find("/1/c/d/x", "", (1,))) == [(5, entry, ["1", "c/d"])]
        assert list(rest.find("/1/c/d", "", (1,))) == []
