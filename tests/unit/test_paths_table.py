"""The table against the naive scan it stands for, and what a lookup costs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence

import pytest
from hypothesis import given, settings

from hesper._paths import PathTable, Pattern, compile_path, sequences
from hesper.convertors import CONVERTOR_TYPES, UnknownConvertor

from .path_tables import (
    ODD_PATHS,
    ODD_TABLES,
    UUID,
    Slug,
    Twins,
    UnicodeDigits,
    own_convertors_registered,
    scan,
    table,
    tables_and_paths,
)


@pytest.fixture(autouse=True, scope="module")
def own_convertors() -> Iterator[None]:
    with own_convertors_registered():
        yield


class TestOrder:
    def test_matches_come_in_the_order_of_declaration_whatever_found_them(self) -> None:
        patterns = [
            Pattern("/{p:path}"),
            Pattern("/users/{name}"),
            None,
            Pattern("/users/me"),
            Pattern("/users/{opaque:any}"),
            Pattern("", prefix=True),
            Pattern("/users/m{tail}"),
            Pattern("/users", prefix=True),
            Pattern("/users/me"),
            Pattern("/{a}/{b}"),
        ]
        for _ in range(len(patterns)):
            patterns = [*patterns[1:], patterns[0]]
            matches = PathTable(patterns).lookup("/users/me")
            assert [index for index, _ in matches] == list(range(len(patterns)))
            assert matches == scan(patterns, "/users/me")

    def test_a_wild_entry_matches_every_path(self) -> None:
        wild = table(None, "/a", None)
        assert wild.lookup("/a") == ((0, {}), (1, {}), (2, {}))
        for path in ("", "/", "a", "*", "/b/c"):
            assert wild.lookup(path) == ((0, {}), (2, {}))

    def test_an_empty_table_matches_nothing(self) -> None:
        assert [table().lookup(path) for path in ("", "/", "/a/b")] == [(), (), ()]


class TestPrefixes:
    def test_a_prefix_needs_its_slash_and_gives_what_follows_it(self) -> None:
        mount = table(Pattern("/static", prefix=True))
        assert mount.lookup("/static") == ()
        assert mount.lookup("/statics/a") == ()
        assert mount.lookup("/static/") == ((0, {"path": ""}),)
        assert mount.lookup("/static//a/b") == ((0, {"path": "/a/b"}),)

    def test_an_empty_prefix_matches_whatever_starts_with_a_slash(self) -> None:
        mount = table(Pattern("", prefix=True))
        assert mount.lookup("/") == ((0, {"path": ""}),)
        assert mount.lookup("/a/b") == ((0, {"path": "a/b"}),)
        assert mount.lookup("") == ()
        assert mount.lookup("a") == ()

    def test_a_newline_ends_no_path(self) -> None:
        assert table(Pattern("", prefix=True), "/{p:path}").lookup("/a\nb") == ()

    def test_a_prefix_may_have_parameters(self) -> None:
        mount = table(Pattern("/{tenant:int}/files", prefix=True), "/{a:int}/{b}/{c:int}")
        assert mount.lookup("/7/files/1") == scan(
            [Pattern("/{tenant:int}/files", True), Pattern("/{a:int}/{b}/{c:int}")], "/7/files/1"
        )

    def test_a_prefix_takes_the_name_path(self) -> None:
        with pytest.raises(ValueError, match="Duplicated param name path"):
            table(Pattern("/{path}", prefix=True))


class TestMistakes:
    @pytest.mark.parametrize("pattern", ["users", "", "{a}", Pattern("users", prefix=True)])
    def test_a_path_without_its_slash_is_refused(self, pattern: str | Pattern) -> None:
        with pytest.raises(ValueError, match="Expected a path that starts with '/', got "):
            table(pattern)

    def test_an_unknown_kind_is_refused(self) -> None:
        with pytest.raises(UnknownConvertor):
            table("/{a:nope}")


class TestConvertors:
    @pytest.mark.parametrize("path", ["/٣", "/³", "/5\n", "/ 5", "/+5", "/5_0", "/", "/5/"])
    def test_int_is_ascii_digits_only(self, path: str) -> None:
        assert table("/{a:int}").lookup(path) == ()

    def test_an_int_that_python_refuses_to_read_does_not_match(self) -> None:
        digits = "1" * (sys.get_int_max_str_digits() + 1)
        assert table("/{a:int}").lookup(f"/{digits}") == ()
        assert table("/{a:int}", "/{a}").lookup(f"/{digits}") == ((1, {"a": digits}),)
        assert table("/{a:int}-{b:int}").lookup(f"/{digits}-1") == ()

    def test_a_float_that_would_be_infinite_does_not_match(self) -> None:
        assert table("/{a:float}").lookup("/" + "9" * 400) == ()

    def test_a_convertor_that_raises_value_error_does_not_match(self) -> None:
        assert table("/{a:any}", "/x/{b:letters}").lookup("/x/b") == ((1, {"b": ("letters", "b")}),)
        assert table("/{a:letters}").lookup("/x") == ()

    def test_another_error_of_a_convertor_is_not_hidden(self) -> None:
        class Broken(Slug):
            def convert(self, value: str) -> tuple[str, str]:
                raise LookupError(value)

        broken = PathTable([Pattern("/{a:slug}", convertors={"a": Broken()})])
        with pytest.raises(LookupError):
            broken.lookup("/x")

    def test_a_users_convertor_sees_only_text_for_which_its_route_matches(self) -> None:
        seen = []

        class Spy(Slug):
            def convert(self, value: str) -> tuple[str, str]:
                seen.append(value)
                return super().convert(value)

        spy = {"a": Spy()}
        spied = PathTable([Pattern("/x/me"), Pattern("/{a:slug}/me", convertors=spy)])
        assert seen == []  # nor is it called for the static paths when the table is built
        assert spied.lookup("/y/you") == ()
        assert seen == []
        assert spied.lookup("/x/me") == ((0, {}), (1, {"a": ("slug", "x")}))
        assert seen == ["x"]

    def test_a_kind_registered_again_goes_through_its_expression(self) -> None:
        before = CONVERTOR_TYPES["int"], CONVERTOR_TYPES["path"]
        try:
            CONVERTOR_TYPES["int"] = UnicodeDigits()
            CONVERTOR_TYPES["path"] = Twins()
            changed = table("/{a:int}", Pattern("/m", prefix=True))
        finally:
            CONVERTOR_TYPES["int"], CONVERTOR_TYPES["path"] = before
        assert changed.lookup("/٣") == ((0, {"a": 3}),)
        assert changed.lookup("/m/a/b") == ((1, {"path": "a/b"}),)
        assert changed.lookup("/m/a") == ()

    def test_a_subclass_and_a_changed_instance_are_taken_at_their_word(self) -> None:
        assert table("/{a:same}").lookup("/x") == ((0, {"a": "X"}),)
        assert table("/{a:changed}").lookup("/ab") == ((0, {"a": "ab"}),)
        assert table("/{a:changed}").lookup("/x") == ()

    def test_a_pattern_keeps_the_convertors_it_was_made_with(self) -> None:
        _, _, convertors = compile_path("/{a}-{b:int}/{path:path}")
        convertors["b"] = Slug()
        bound = PathTable([Pattern("/{a}-{b:int}", True, convertors)])
        assert bound.lookup("/x-y/z") == ((0, {"a": "x", "b": ("slug", "y"), "path": "z"}),)


class TestLastParameter:
    """Routes such as "/users/{id}": found by what stands before their last slash."""

    def test_a_last_parameter_is_read_and_named(self) -> None:
        assert table("/users/{id:int}").lookup("/users/5") == ((0, {"id": 5}),)
        assert table("/users/{id:int}").lookup("/users/0") == ((0, {"id": 0}),)
        assert table("/users/{name}").lookup("/users/0") == ((0, {"name": "0"}),)
        assert table("/users/{x:float}").lookup("/users/0.0") == ((0, {"x": 0.0}),)
        assert table("/{id:int}").lookup("/5") == ((0, {"id": 5}),)

    @pytest.mark.parametrize("kind", ["", ":int", ":float", ":uuid", ":slug"])
    @pytest.mark.parametrize("path", ["", "5", "*", UUID, "users", "users/5", "x/users/5"])
    def test_a_path_without_its_slash_does_not_match(self, kind: str, path: str) -> None:
        assert table(f"/{{id{kind}}}", f"/users/{{id{kind}}}").lookup(path) == ()

    @pytest.mark.parametrize("path", ["/users/", "/users", "/users//", "//", "/", "/users//5"])
    def test_an_empty_segment_is_no_value(self, path: str) -> None:
        assert table("/users/{id:int}", "/{a:uuid}").lookup(path) == ()
        assert table("/users/{name}").lookup(path) == ()

    def test_a_literal_with_an_empty_segment_is_one_of_the_literals(self) -> None:
        assert table("/users/{name}", "/users/").lookup("/users/") == ((1, {}),)

    @pytest.mark.parametrize(
        "segment", ["٣", "²", "5٣", "5\n", " 5", "+5", "-5", "5_0", "x", "5.0"]
    )
    def test_an_int_is_ascii_digits_only(self, segment: str) -> None:
        assert table("/users/{id:int}").lookup(f"/users/{segment}") == ()

    def test_an_int_has_as_many_digits_as_python_reads(self) -> None:
        most = sys.get_int_max_str_digits()
        users = table("/users/{id:int}")
        assert users.lookup("/users/" + "1" * most) == ((0, {"id": int("1" * most)}),)
        assert users.lookup("/users/" + "1" * (most + 1)) == ()
        assert users.lookup("/users/" + "0" * (most + 1)) == ()

    @pytest.mark.parametrize("crowd", [0, 20])
    def test_a_segment_that_is_a_literal_too_matches_both_in_order(self, crowd: int) -> None:
        # Crowded tables do not remember static paths, so that every lookup comes this way.
        others = [Pattern("/x/y{p:path}z")] * crowd
        for kind, me, value in (("", "me", "me"), (":int", "7", 7)):
            both = [Pattern(f"/users/{{id{kind}}}"), Pattern(f"/users/{me}"), *others]
            assert PathTable(both).lookup(f"/users/{me}") == ((0, {"id": value}), (1, {}))
            both[:2] = both[1::-1]
            assert PathTable(both).lookup(f"/users/{me}") == ((0, {}), (1, {"id": value}))

    def test_a_literal_that_only_leads_on_does_not_hide_the_parameter(self) -> None:
        users = table("/users/{name}", "/users/me/posts", "/users/{name}/posts")
        assert users.lookup("/users/me") == ((0, {"name": "me"}),)
        assert users.lookup("/users/you") == ((0, {"name": "you"}),)
        assert users.lookup("/users/me/posts") == ((1, {}), (2, {"name": "me"}))

    @pytest.mark.parametrize(
        "other",
        [
            None,
            Pattern("", prefix=True),
            Pattern("/users", prefix=True),
            Pattern("/{a}/{b}"),
            Pattern("/users/{other}"),
            Pattern("/users/{other:int}"),
            Pattern("/users/{other:slug}"),
            Pattern("/users/5{other}"),
            Pattern("/users/{other}5"),
            Pattern("/users/{other:path}"),
            Pattern("/{other:path}/55"),
            Pattern("/users/{other:any}"),
            Pattern("/{other:any}"),
        ],
    )
    @pytest.mark.parametrize("kind", ["", ":int", ":slug"])
    def test_whatever_else_matches_is_found_with_it(self, kind: str, other: Pattern | None) -> None:
        for patterns in ([Pattern(f"/users/{{id{kind}}}"), other], [other, Pattern("/users/{id}")]):
            assert len(scan(patterns, "/users/55")) == 2
            assert PathTable(patterns).lookup("/users/55") == scan(patterns, "/users/55")

    def test_a_users_convertor_is_asked_as_anywhere_else(self) -> None:
        users = table("/users/{name:letters}", "/items/{name:same}")
        assert users.lookup("/users/x") == ()
        assert users.lookup("/users/y") == ((0, {"name": ("letters", "y")}),)
        assert users.lookup("/users/") == ((0, {"name": ("letters", "")}),)
        assert users.lookup("/items/x") == ((1, {"name": "X"}),)

    def test_a_parameter_before_the_last_one_is_not_forgotten(self) -> None:
        users = table("/{group}/{name}", "/a/b/{c}")
        assert users.lookup("/a/b") == ((0, {"group": "a", "name": "b"}),)
        assert users.lookup("/a/b/c") == ((1, {"c": "c"}),)

    @pytest.mark.parametrize(("kind", "segment"), [("", "5"), (":int", "5"), (":int", "0")])
    def test_it_takes_seven_calls_at_most(self, kind: str, segment: str) -> None:
        deep = table(f"/a/b/c/{{id{kind}}}", f"/a/{{id{kind}}}/x", "/a/b/c/me")
        assert steps(table(f"/{{id{kind}}}").lookup, f"/{segment}") <= 7
        users = table(f"/users/{{id{kind}}}", f"/users/{{id{kind}}}/x", "/users/me", "/x/{y}/z")
        assert steps(users.lookup, f"/users/{segment}") <= 7
        assert steps(deep.lookup, f"/a/b/c/{segment}") > 7  # "/a/{id}" is another way

    def test_a_value_that_is_false_takes_no_other_way(self) -> None:
        numbers = table("/numbers/{x:float}")
        assert steps(numbers.lookup, "/numbers/0.0") == steps(numbers.lookup, "/numbers/1.5")


def assert_lookup_is_the_scan(chosen: Sequence[Pattern | None], asked: Sequence[str]) -> None:
    built = PathTable(chosen)
    for path in asked:
        # repr tells 1 from 1.0, and one order of the parameters from another.
        assert repr(built.lookup(path)) == repr(scan(chosen, path)), path


class TestAgainstTheScan:
    @given(tables_and_paths())
    @settings(max_examples=200, deadline=None)
    def test_lookup_is_the_scan(self, case: tuple[list[Pattern | None], list[str]]) -> None:
        assert_lookup_is_the_scan(*case)

    @given(tables_and_paths())
    @settings(max_examples=100, deadline=None)
    def test_so_it_is_without_backtracking(
        self, case: tuple[list[Pattern | None], list[str]]
    ) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sequences, "_SEARCH_LIMIT", 0)
            assert_lookup_is_the_scan(*case)


@pytest.mark.parametrize("name", ODD_TABLES)
def test_lookup_is_the_scan_where_the_table_is(name: str) -> None:
    built = PathTable(ODD_TABLES[name])
    for path in ODD_PATHS:
        assert built.lookup(path) == scan(ODD_TABLES[name], path), path


def steps(lookup: Callable[[str], object], path: str) -> int:
    """Count what a lookup calls, Python functions and built-in ones."""
    count = 0

    def profile(frame: object, event: str, arg: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        lookup(path)
    finally:
        sys.setprofile(before)
    return count


class TestCost:
    @pytest.mark.parametrize(
        ("template", "path"),
        [
            ("/static{}/x", "/static{}/x"),
            ("/users{}/{{id:int}}", "/users{}/5"),
            ("/{{a}}/users{}/{{b:uuid}}", f"/x/users{{}}/{UUID}"),
            ("/{{a}}-{{b}}/item{}", "/x-y/item{}"),
            ("/item{:05}-{{id:int}}.json", "/item{:05}-7.json"),
            ("/{{p:path}}/item{:05}", "/x/y/item{:05}"),
            ("/{{p:any}}/item{:05}", "/x/y/item{:05}"),
        ],
    )
    def test_a_lookup_takes_the_same_steps_among_ten_routes_and_two_thousand(
        self, template: str, path: str
    ) -> None:
        few = table(*[template.format(n) for n in range(10)])
        many = table(*[template.format(n) for n in range(2000)])
        for built in (few, many):
            built.lookup(path.format(9))  # compiles what is compiled at first use
        for last in (9, 1999):
            many.lookup(path.format(last))
            assert len(many.lookup(path.format(last))) == 1
            assert steps(many.lookup, path.format(last)) == steps(few.lookup, path.format(9))
        assert steps(many.lookup, path.format(5000)) == steps(few.lookup, path.format(5000))

    def test_segments_beyond_the_deepest_route_cost_nothing(self) -> None:
        deep = "/" + "/".join(f"{{x{n}}}" for n in range(30))
        mixed = "/" + "/".join(f"a/{{x{n}}}" for n in range(15))
        built = table(deep + "/end", mixed + "/end", deep + "/{last:int}")
        assert steps(built.lookup, "/a" * 64) == steps(built.lookup, "/a" * 30_000)

    @pytest.mark.parametrize(
        ("pattern", "path"),
        [
            ("/{a}-{b}x{c}.json", "/" + "-" * 65_000 + ".json"),
            ("/{a}{b:int}{c:int}x{d}", "/" + "1" * 65_000),
            ("/{a}-{b:float}-{c}x{d}", "/" + "-1.1" * 16_000),
            ("/{a:path}/x/{b:path}/y/{c:path}/z", "/x" * 32_000 + "\n/z"),
            ("/{a:path}/{b}/x/{c:path}/z", "/1/x" * 16_000 + "\n/z"),
            ("/{a}/{b:path}/{c}", "/" * 65_000),
            ("/{a:path}", "/" * 65_000 + "\n"),
        ],
    )
    def test_64_kilobytes_made_to_backtrack_end_at_once(self, pattern: str, path: str) -> None:
        # Searching for the first five takes between five seconds and five days (CPython 3.13).
        built = table(pattern)
        start = time.process_time()
        assert built.lookup(path) == ()
        assert time.process_time() - start < 2.0

    def test_ten_thousand_routes_are_built_at_once(self) -> None:
        templates = ["/static{}/x", "/users{}/{{id:int}}", "/{{a}}-{{b}}.k{}", "/{{p:path}}/{}"]
        patterns = [Pattern(templates[n % 4].format(n)) for n in range(10_000)]
        start = time.process_time()
        PathTable(patterns)
        assert time.process_time() - start < 2.0

    def test_many_hosts_beside_many_static_paths_do_not_multiply(self) -> None:
        patterns = [*[None] * 3000, *[Pattern(f"/s{n}") for n in range(3000)]]
        start = time.process_time()
        built = PathTable(patterns)
        assert time.process_time() - start < 1.0
        assert len(built.lookup("/s7")) == 3001

    def test_a_static_path_among_few_candidates_is_one_dict_hit(self) -> None:
        built = table("/users/me", "/users/{name}", None)
        assert built.lookup("/users/me") is built.lookup("/users/me")
