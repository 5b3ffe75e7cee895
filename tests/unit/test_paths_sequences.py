"""Several parameters with literals between them: what the expression finds, in linear time."""

from __future__ import annotations

import re
import sys
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hesper._paths import sequences
from hesper._paths.fields import Field
from hesper._paths.sequences import FieldSequence, Values, match_linear
from hesper._paths.templates import compile_path, expression, parse_path
from hesper.convertors import CONVERTOR_TYPES, IntegerConvertor, PathConvertor, StringConvertor

from .path_tables import OWN, UUID, own_convertors_registered


def sequence(template: str) -> FieldSequence:
    with own_convertors_registered():
        literals, convertors = parse_path(template)
    return FieldSequence(literals, [Field(convertor) for convertor in convertors.values()])


def search(template: str, text: str) -> Values | None:
    """The definition: what the whole expression finds, with the values of built-in convertors."""
    with own_convertors_registered():
        literals, convertors = parse_path(template)
    found = re.match(expression(literals, convertors), text)
    if found is None:
        return None
    values = []
    for name, convertor in convertors.items():
        try:
            own = convertor in OWN.values()
            values.append(found[name] if own else convertor.convert(found[name]))
        except ValueError:
            return None
    return tuple(values)


SEQUENCES = [
    "a{x}",
    "{x}a",
    "a{x}a",
    "-{x:path}/",
    "{x:int}.json",
    "{x:uuid}.",
    "a{x:slug}",
    "{x}-{y}",
    "{x:int}-{y:slug}",
    "{x:letters}{y:int}",
    "{x}{y:int}",
    "a{x}a{y}a",
    "{x:float}.{y:float}",
    "{x:path}/{y}/",
    "{x:uuid}{y:int}",
]


class TestSequences:
    def test_the_ends_are_what_every_text_has(self) -> None:
        assert (sequence("a{x}-{y}.b").head, sequence("a{x}-{y}.b").tail) == ("a", ".b")

    @pytest.mark.parametrize("limit", [0, 2**18])
    @given(st.sampled_from(SEQUENCES), st.text("aab11.-/\n", max_size=9) | st.just(UUID))
    @example("a{x}a", "a")
    @example("a{x}a{y}a", "aaa")
    @example("{x:letters}{y:int}", "1")
    @settings(max_examples=150, deadline=None)
    def test_the_values_are_those_that_the_expression_finds(
        self, limit: int, template: str, text: str
    ) -> None:
        made = sequence(template)
        text = made.head + text + made.tail
        if "/" in text and "path" not in template:
            text = text.replace("/", "")  # a segment has none
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sequences, "_SEARCH_LIMIT", limit)
            assert repr(made.match(text)) == repr(search(template, text))

    def test_one_text_leaves_nothing_behind_for_the_next(self) -> None:
        made = sequence("{x:int}-{y}")
        texts = ["1-a", "x-a", "1-", "2-b-c", "1-a"]
        assert [made.match(text) for text in texts] == [(1, "a"), None, None, (2, "b-c"), (1, "a")]

    @pytest.mark.parametrize("template", ["a{x}a", "a{x:path}a", "a{x:slug}a"])
    def test_ends_that_overlap_leave_no_value(self, template: str) -> None:
        assert sequence(template).match("a") is None

    @pytest.mark.parametrize("template", ["{x:int}-", "{x:int}-{y:int}", "{y}-{x:int}-"])
    def test_a_value_that_its_convertor_refuses_is_no_match(self, template: str) -> None:
        digits = "1" * (sys.get_int_max_str_digits() + 1)
        assert sequence(template).match(f"{digits}-{digits}-") is None

    @pytest.mark.parametrize(
        ("template", "text"),
        [
            ("{a}-{b}x{c}.json", "-" * 65_000 + ".json"),
            ("{a}{b:int}{c:int}x{d}", "1" * 65_000),
            ("{a:path}/x/{b:path}/y/{c:path}/z", "x" + "/x" * 32_000 + "/z"),
            ("{a:float}.{b:float}.{c:uuid}", "1." * 32_000),
        ],
    )
    def test_64_kilobytes_made_to_backtrack_end_at_once(self, template: str, text: str) -> None:
        made = sequence(template)
        start = time.process_time()
        assert made.match(text) is None
        assert time.process_time() - start < 1.0


class TestLinear:
    def test_the_first_text_is_as_long_as_it_can_be(self) -> None:
        assert match_linear([StringConvertor, "-", StringConvertor], "a-b-c") == ["a-b", "c"]
        assert match_linear([PathConvertor, "/", PathConvertor], "/") == ["", ""]
        assert match_linear([StringConvertor, "-"], "-") is None
        assert match_linear([IntegerConvertor, IntegerConvertor], "123") == ["12", "3"]

    @given(
        st.lists(
            st.sampled_from(["", ":int", ":float", ":path", ":uuid"])
            | st.sampled_from(["a", "1", ".", "-", "1.", "/", "aa"]),
            min_size=1,
            max_size=7,
        ),
        st.text("a1.-/\n", max_size=12) | st.text("1.", max_size=8),
        st.sampled_from(["", UUID, f"{UUID}{UUID}", UUID.replace("-", "")]),
    )
    @example([":float", ".", ""], "1.1.", "")
    @example([":float", ""], "1.a", "")
    @example([":int", "a", ":path"], "1a", "")
    @example(["", ":uuid", "-"], "a", f"{UUID}-")
    @settings(max_examples=300, deadline=None)
    def test_the_linear_match_is_what_the_expression_finds(
        self, pieces: list[str], text: str, more: str
    ) -> None:
        path, linear = "", list[str | type]()
        for number, piece in enumerate(pieces):
            if not piece or piece[0] == ":":
                path += f"{{p{number}{piece}}}"
                linear.append(type(CONVERTOR_TYPES[piece[1:] or "str"]))
            else:
                path += piece
                linear.append(piece)
        found = compile_path(f"/{path}")[0].match(f"/{text}{more}")
        expected = None if found is None else list(found.groupdict().values())
        assert match_linear(linear, text + more) == expected
