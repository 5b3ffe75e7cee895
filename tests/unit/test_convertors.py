"""Path parameter types: what they read, what they write, and how their registry teaches."""

from __future__ import annotations

import copy
import math
import pickle
import re
import sys
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.convertors import CONVERTOR_TYPES as STARLETTE_CONVERTOR_TYPES

from hesper.convertors import (
    CONVERTOR_TYPES,
    Convertor,
    FloatConvertor,
    IntegerConvertor,
    PathConvertor,
    StringConvertor,
    UnknownConvertor,
    UUIDConvertor,
    register_url_convertor,
)


@pytest.fixture
def registry() -> Iterator[dict[str, Convertor[Any]]]:
    before = dict(CONVERTOR_TYPES)
    yield CONVERTOR_TYPES
    CONVERTOR_TYPES.clear()
    CONVERTOR_TYPES.update(before)


class Year(Convertor[int]):
    regex = "[0-9]{4}"


class TestSameAsStarlette:
    def test_the_kinds_and_their_expressions(self) -> None:
        ours = {key: convertor.regex for key, convertor in CONVERTOR_TYPES.items()}
        theirs = {key: convertor.regex for key, convertor in STARLETTE_CONVERTOR_TYPES.items()}
        assert ours == theirs

    @pytest.mark.parametrize(
        ("kind", "value"),
        [
            ("str", "a b"),
            ("str", 5),
            ("str", None),
            ("path", ""),
            ("path", "a/b"),
            ("path", 5),
            ("int", 0),
            ("int", "5"),
            ("int", True),
            ("int", 3.7),
            ("float", 0.0),
            ("float", 0.1),
            ("float", 1 / 3),
            ("float", "2.5"),
            ("float", 100),
            ("float", 1e-7),
            ("float", 1e-30),
            ("float", 1e300),
            ("uuid", uuid.UUID(int=5)),
            ("uuid", "0000000000000000000000000000000A"),
        ],
    )
    def test_what_is_written(self, kind: str, value: Any) -> None:
        expected = STARLETTE_CONVERTOR_TYPES[kind].to_string(value)
        assert CONVERTOR_TYPES[kind].to_string(value) == expected

    @pytest.mark.parametrize(
        ("kind", "value", "message"),
        [
            ("str", "", "Must not be empty: a str path parameter is one whole segment"),
            (
                "str",
                "a/b",
                "May not contain path separators, got 'a/b': declare the parameter as"
                " {name:path} if it may span segments",
            ),
            ("int", -1, "Negative integers are not supported, got -1"),
            ("int", "-3", "Negative integers are not supported, got -3"),
            ("float", -0.5, "Negative floats are not supported, got -0.5"),
            ("float", -math.inf, "Negative floats are not supported, got -inf"),
            ("float", math.nan, "NaN values are not supported"),
            ("float", math.inf, "Infinite values are not supported"),
        ],
    )
    def test_what_it_asserts_is_a_value_error(self, kind: str, value: Any, message: str) -> None:
        with pytest.raises(AssertionError):
            STARLETTE_CONVERTOR_TYPES[kind].to_string(value)
        with pytest.raises(ValueError) as raised:
            CONVERTOR_TYPES[kind].to_string(value)
        assert str(raised.value) == message


class TestRoundTrips:
    @given(st.text(min_size=1).filter(lambda text: "/" not in text))
    @settings(max_examples=50)
    def test_str(self, text: str) -> None:
        convertor = StringConvertor()
        assert re.fullmatch(convertor.regex, convertor.to_string(text))
        assert convertor.convert(convertor.to_string(text)) == text

    @given(st.text())
    @settings(max_examples=50)
    def test_path(self, text: str) -> None:
        assert PathConvertor().convert(PathConvertor().to_string(text)) == text

    @given(st.integers(min_value=0))
    @settings(max_examples=50)
    def test_int(self, number: int) -> None:
        convertor = IntegerConvertor()
        text = convertor.to_string(number)
        assert re.fullmatch(convertor.regex, text)
        assert convertor.convert(text) == number

    @given(st.floats(min_value=-0.0, allow_infinity=False, allow_nan=False))
    @settings(max_examples=100)
    def test_float_to_twenty_decimals(self, number: float) -> None:
        convertor = FloatConvertor()
        text = convertor.to_string(number)
        assert re.fullmatch(convertor.regex, text)
        assert math.isclose(convertor.convert(text), number, rel_tol=1e-15, abs_tol=1e-20)

    @given(st.uuids())
    @settings(max_examples=20)
    def test_uuid(self, value: uuid.UUID) -> None:
        convertor = UUIDConvertor()
        assert re.fullmatch(convertor.regex, convertor.to_string(value))
        assert convertor.convert(convertor.to_string(value)) == value
        assert convertor.convert(value.hex.upper()) == value


def test_minus_zero_is_written_without_the_sign_that_could_not_be_read() -> None:
    assert FloatConvertor().to_string(-0.0) == "0"


def test_an_int_of_too_many_digits_is_a_value_error() -> None:
    limit = sys.get_int_max_str_digits()
    assert IntegerConvertor().convert("1" * limit) > 0
    with pytest.raises(ValueError):
        IntegerConvertor().convert("1" * (limit + 1))


def test_a_float_too_large_is_a_value_error_not_an_infinity() -> None:
    with pytest.raises(ValueError, match="Infinite values are not supported, got 400 digits"):
        FloatConvertor().convert("9" * 400)


def test_a_convertor_without_methods_says_which_it_lacks() -> None:
    with pytest.raises(NotImplementedError, match=r"Year must define convert\(value\)"):
        Year().convert("2024")
    with pytest.raises(NotImplementedError, match=r"Year must define to_string\(value\)"):
        Year().to_string(2024)


def test_a_registered_convertor_is_known_by_its_key(registry: dict[str, Convertor[Any]]) -> None:
    year = Year()
    register_url_convertor("year", year)
    assert registry["year"] is year


def test_registering_a_class_is_refused_with_the_right_call() -> None:
    with pytest.raises(TypeError) as raised:
        register_url_convertor("year", Year)  # type: ignore[arg-type]
    assert str(raised.value) == (
        "Expected an instance of a Convertor, got the class Year: register Year()"
    )


@pytest.mark.parametrize("key", ["", "my-year", "4digits", "jährlich", "year\n"])
def test_registering_a_key_that_no_path_can_name_is_refused(key: str) -> None:
    with pytest.raises(ValueError) as raised:
        register_url_convertor(key, Year())
    assert str(raised.value) == (
        f"No path could name the convertor {key!r}: use ASCII letters, digits and '_',"
        " not starting with a digit"
    )


def test_an_unknown_kind_is_both_errors_that_callers_catch_and_survives_copies() -> None:
    error = UnknownConvertor("yaer", "/{y:yaer}", ["year", "int"])
    assert isinstance(error, ValueError)
    assert isinstance(error, AssertionError)
    text = (
        "Unknown path convertor 'yaer' in '/{y:yaer}': known are int, year."
        " Before the route is made, call"
        " hesper.convertors.register_url_convertor('yaer', YourConvertor())."
    )
    assert [str(error), str(copy.copy(error)), str(pickle.loads(pickle.dumps(error)))] == [text] * 3
    assert (error.kind, error.path, error.known) == ("yaer", "/{y:yaer}", ("year", "int"))
