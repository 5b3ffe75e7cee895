"""Path templates: what they match, and how they are filled."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from starlette.routing import PARAM_REGEX as STARLETTE_PARAM_REGEX
from starlette.routing import compile_path as starlette_compile_path
from starlette.routing import replace_params as starlette_replace_params

from hesper._paths.templates import (
    PARAM_FORMAT_REGEX,
    PARAM_REGEX,
    Pattern,
    compile_path,
    parse_path,
    read_pattern,
    replace_params,
)
from hesper.convertors import CONVERTOR_TYPES, IntegerConvertor, UnknownConvertor


class TestTemplates:
    def test_the_two_expressions_are_starlettes(self) -> None:
        assert PARAM_REGEX.pattern == STARLETTE_PARAM_REGEX.pattern
        assert PARAM_FORMAT_REGEX.findall("/{a}/{b:int}/{1}/{c_2}") == ["a", "c_2"]

    @pytest.mark.parametrize(
        "path",
        [
            "/",
            "",
            "/a",
            "/a.b+c (d)",
            "/{a}",
            "/{a:int}/",
            "/{a}-{b}.json",
            "/{a}{b}",
            "/{{a}}",
            "/{ a}/{1a}/{a-b}/{a:}/{é}",
            "/{a:path}/x",
            "{sub}.example.org",
            "api.example.org",
            "example.org:8000",
            "{host}.example.org:{port:int}",
            "{host}.example.org:80",
        ],
    )
    def test_a_path_compiles_to_starlettes_expression_and_format(self, path: str) -> None:
        regex, template, convertors = compile_path(path)
        theirs, their_template, their_convertors = starlette_compile_path(path)
        assert regex.pattern == theirs.pattern[:-1] + r"\Z"
        assert regex.flags == theirs.flags
        assert template == their_template
        assert list(convertors) == list(their_convertors)

    def test_a_trailing_newline_is_part_of_the_path(self) -> None:
        assert compile_path("/{a:int}")[0].match("/5\n") is None
        assert starlette_compile_path("/{a:int}")[0].match("/5\n") is not None

    def test_host_patterns_ignore_case_and_a_literal_port_but_no_address(self) -> None:
        regex, _, _ = compile_path("{sub}.Example.org:8000")
        found = regex.match("API.EXAMPLE.ORG")
        assert found is not None
        assert found["sub"] == "API"
        assert compile_path("[::1]:80")[0].match("[::1]")

    def test_paths_do_not_ignore_case(self) -> None:
        assert compile_path("/a")[0].match("/A") is None

    def test_parsing_gives_literals_between_parameters(self) -> None:
        literals, convertors = parse_path("/{a}-{b:int}")
        assert literals == ["/", "-", ""]
        assert convertors == {"a": CONVERTOR_TYPES["str"], "b": CONVERTOR_TYPES["int"]}

    @pytest.mark.parametrize(
        ("path", "message"),
        [
            ("/{a}/{a}", "Duplicated param name a at path /{a}/{a}: give each its own name"),
            (
                "/{b}/{a}/{a}/{b:int}/{c}",
                "Duplicated param names a, b at path /{b}/{a}/{a}/{b:int}/{c}:"
                " give each its own name",
            ),
        ],
    )
    def test_two_parameters_of_one_name_are_refused_by_name(self, path: str, message: str) -> None:
        with pytest.raises(ValueError) as raised:
            compile_path(path)
        assert str(raised.value) == message

    def test_an_unknown_kind_is_refused_with_the_known_ones(self) -> None:
        with pytest.raises(UnknownConvertor) as raised:
            compile_path("/{a:Int}")
        assert (raised.value.kind, raised.value.path) == ("Int", "/{a:Int}")
        assert set(raised.value.known) == set(CONVERTOR_TYPES)

    @given(st.text("/{}ab:1_.int\n", max_size=20))
    @settings(max_examples=200)
    @example("/{a:int}")
    def test_any_text_compiles_or_raises_what_starlette_raises(self, path: str) -> None:
        try:
            theirs = starlette_compile_path(path)
        except (ValueError, AssertionError):
            with pytest.raises(ValueError):
                compile_path(path)
        else:
            _, template, convertors = compile_path(path)
            assert (template, list(convertors)) == (theirs[1], list(theirs[2]))


class TestReplaceParams:
    @pytest.mark.parametrize(
        "values",
        [
            {"a": 1, "b": "x"},
            {"a": 1},
            {"a": 1, "b": "x", "c": 3},
            {"a": 1, "b": "{a}"},
            {},
        ],
    )
    def test_it_fills_what_it_has_a_value_for_as_starlette_does(
        self, values: dict[str, Any]
    ) -> None:
        _, template, convertors = compile_path("/{b}/x/{a:int}")
        theirs = starlette_compile_path("/{b}/x/{a:int}")
        expected = starlette_replace_params(template, theirs[2], dict(values))
        assert replace_params(template, convertors, values) == expected

    def test_it_leaves_the_given_values_alone(self) -> None:
        values = {"a": 1, "z": 2}
        _, template, convertors = compile_path("/{a:int}")
        assert replace_params(template, convertors, values) == ("/1", {"z": 2})
        assert values == {"a": 1, "z": 2}

    def test_a_value_that_cannot_be_written_is_a_value_error(self) -> None:
        _, template, convertors = compile_path("/{a:int}")
        with pytest.raises(ValueError, match="Negative integers"):
            replace_params(template, convertors, {"a": -1})


class TestPatterns:
    def test_a_pattern_is_taken_apart_with_the_kinds_of_now(self) -> None:
        path, literals, convertors = read_pattern(Pattern("/{a}-{b:int}"))
        assert path == "/{a}-{b:int}"
        assert (literals, convertors) == parse_path(path)

    def test_a_prefix_ends_with_a_path(self) -> None:
        path, literals, convertors = read_pattern(Pattern("/{a}", prefix=True))
        assert path == "/{a}/{path:path}"
        assert literals == ["/", "/", ""]
        assert convertors == {"a": CONVERTOR_TYPES["str"], "path": CONVERTOR_TYPES["path"]}
        assert read_pattern(Pattern("", prefix=True))[0] == "/{path:path}"

    def test_a_pattern_keeps_the_convertors_it_was_made_with(self) -> None:
        bound = {"path": CONVERTOR_TYPES["path"], "a": IntegerConvertor(), "unused": object()}
        pattern = Pattern("/{a:gone}/x", prefix=True, convertors=bound)  # type: ignore[arg-type]
        _, literals, convertors = read_pattern(pattern)
        assert literals == ["/", "/x/", ""]
        assert list(convertors.items()) == [("a", bound["a"]), ("path", bound["path"])]

    @pytest.mark.parametrize("pattern", [Pattern("users"), Pattern(""), Pattern("{a}")])
    @pytest.mark.parametrize("convertors", [None, {"a": IntegerConvertor()}])
    def test_a_path_without_its_slash_is_refused(
        self, pattern: Pattern, convertors: dict[str, IntegerConvertor] | None
    ) -> None:
        with pytest.raises(ValueError) as raised:
            read_pattern(pattern._replace(convertors=convertors))
        assert str(raised.value) == f"Expected a path that starts with '/', got {pattern.path!r}"

    def test_a_prefix_takes_the_name_path(self) -> None:
        with pytest.raises(ValueError, match="Duplicated param name path"):
            read_pattern(Pattern("/{path}", prefix=True))
