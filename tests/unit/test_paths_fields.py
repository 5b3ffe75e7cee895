"""One parameter: which texts have a value, and which convertors match no slash."""

from __future__ import annotations

import re
import sys
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hesper._paths import fields
from hesper._paths.fields import Field, read_int, read_path
from hesper.convertors import (
    CONVERTOR_TYPES,
    Convertor,
    FloatConvertor,
    IntegerConvertor,
    PathConvertor,
    StringConvertor,
    UUIDConvertor,
)

from .path_tables import OWN, TEXTS, UUID, Letters, Slug

BUILT_IN = {kind: CONVERTOR_TYPES[kind] for kind in ("str", "int", "float", "uuid", "path")}
CONFINED = {**BUILT_IN, **OWN}
for kind in ("path", "any", "twins"):
    del CONFINED[kind]


class TestConfined:
    @pytest.mark.parametrize(
        "regex",
        [
            *[kind.regex for kind in (StringConvertor, IntegerConvertor, Slug, Letters)],
            *r"[^/.]+ [^-/] [-a] \d{4}-\d{2} [\w.-]+ (a|b)+? a{,3} \.\-".split(),
            "",
        ],
    )
    def test_known_to_match_no_slash(self, regex: str) -> None:
        assert fields._is_confined(regex)

    @pytest.mark.parametrize(
        "regex",
        r". / \/ [^a] [+-9] [!-~] [--9] [\.-9] [a/] []/] [^]/] \D \W \S [\W] \x2f \057"
        r" \N{SOLIDUS} (a)\1 (?P<y>a) ^a a$ \ba a\Z (?=a)a (?<!a)b (?i:a) (?i)a a++ a)(b (".split(),
    )
    def test_not_taken_to_match_no_slash(self, regex: str) -> None:
        assert not fields._is_confined(regex)

    @given(st.text(r"a9/.-+*?^$|()[]{},\dWw", max_size=8), st.text("a/9-", max_size=5))
    @settings(max_examples=300)
    @pytest.mark.filterwarnings("ignore::FutureWarning")
    def test_what_is_known_to_match_no_slash_matches_none(self, regex: str, text: str) -> None:
        if fields._is_confined(regex):
            assert all("/" not in found[0] for found in re.finditer(regex, text))


class TestFields:
    @pytest.mark.parametrize("kind", BUILT_IN)
    def test_a_built_in_convertor_is_known_and_converts_at_once(self, kind: str) -> None:
        field = Field(BUILT_IN[kind])
        assert field.convertor is BUILT_IN[kind]
        assert field.built_in is type(BUILT_IN[kind])
        assert field.confined is (kind != "path")
        assert field.late is None

    @pytest.mark.parametrize("kind", OWN)
    def test_any_other_converts_late(self, kind: str) -> None:
        field = Field(OWN[kind])
        assert field.built_in is None
        assert field.confined is (kind in CONFINED)
        assert field.late == OWN[kind].convert

    @pytest.mark.parametrize("kind", ["any", "twins"])
    def test_what_may_match_a_slash_reads_no_segment(self, kind: str) -> None:
        assert not hasattr(Field(OWN[kind]), "read")

    @pytest.mark.parametrize(
        "regex", [None, "[a-f]+"], ids=["an attribute of its own", "an expression of its own"]
    )
    def test_an_instance_that_was_changed_is_not_taken_for_a_built_in_one(
        self, regex: str | None
    ) -> None:
        convertor = StringConvertor()
        vars(convertor).update({"note": "mine"} if regex is None else {"regex": regex})
        field = Field(convertor)
        assert field.built_in is None
        assert field.late == convertor.convert
        assert field.read("abc") == "abc"
        assert field.read("xyz") == (None if regex else "xyz")

    def test_reading_does_not_call_a_users_convertor(self) -> None:
        class Broken(Slug):
            def convert(self, value: str) -> tuple[str, str]:
                raise AssertionError(value)

        assert Field(Broken()).read("a-b") == "a-b"
        assert Field(Letters()).read("") == ""


def expected(convertor: Convertor[Any], text: str) -> Any:
    """What the whole expression and the convertor make of a text."""
    if re.fullmatch(convertor.regex, text) is None:
        return None
    if convertor not in BUILT_IN.values():
        return text
    try:
        return convertor.convert(text)
    except ValueError:
        return None


class TestReading:
    @pytest.mark.parametrize("kind", CONFINED)
    @given(
        st.sampled_from([text for text in TEXTS if "/" not in text])
        | st.text("a1.-\n٣²", max_size=6)
        | st.text(st.characters(exclude_characters="/"), max_size=4)
    )
    @example("9" * 400)
    @example(UUID + "\n")
    @settings(max_examples=40, deadline=None)
    def test_a_segment_is_read_as_the_expression_says(self, kind: str, text: str) -> None:
        convertor = CONFINED[kind]
        assert repr(Field(convertor).read(text)) == repr(expected(convertor, text))

    @given(st.text("a/1\n", max_size=6))
    @settings(max_examples=60, deadline=None)
    def test_so_is_a_path_with_its_slashes(self, text: str) -> None:
        assert read_path(text) == expected(BUILT_IN["path"], text)
        assert Field(BUILT_IN["path"]).read is read_path

    @pytest.mark.parametrize("text", ["", "٣", "²", "5\n", " 5", "+5", "-5", "5_0", "5٣"])
    def test_int_is_ascii_digits_only(self, text: str) -> None:
        assert read_int(text) is None

    def test_int_reads_as_many_digits_as_python_does(self) -> None:
        most = sys.get_int_max_str_digits()
        assert read_int("007") == 7
        assert read_int("0") == 0
        assert read_int("1" * most) is not None
        assert read_int("1" * (most + 1)) is None

    def test_a_value_that_its_convertor_refuses_is_none(self) -> None:
        assert Field(FloatConvertor()).read("9" * 400) is None
        assert Field(FloatConvertor()).read("1.5") == 1.5
        assert str(Field(UUIDConvertor()).read(UUID)) == UUID
        assert Field(IntegerConvertor()).read is read_int
        assert Field(PathConvertor()).read("") == ""
