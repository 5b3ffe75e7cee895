"""Entity tags and preconditions: RFC 9110 sections 8.8 and 13."""

import time
from datetime import UTC, datetime, timedelta
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hesper._ranges
import hesper.conditional
from hesper.conditional import (
    Decision,
    ETag,
    evaluate,
    format_http_date,
    if_range_allows,
    make_etag,
    parse_etags,
)

PROCEED, NOT_MODIFIED, FAILED = Decision
STRONG = ETag("abc")
WEAK = ETag("abc", weak=True)
CHANGED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
AT = format_http_date(CHANGED)
EARLIER = format_http_date(CHANGED - timedelta(seconds=1))
LATER = format_http_date(CHANGED + timedelta(seconds=1))


# Entity tags


@pytest.mark.parametrize(
    ("first", "second", "strong", "weak"),
    [
        (ETag("1", True), ETag("1", True), False, True),
        (ETag("1", True), ETag("2", True), False, False),
        (ETag("1", True), ETag("1"), False, True),
        (ETag("1"), ETag("1", True), False, True),
        (ETag("1"), ETag("1"), True, True),
        (ETag("1"), ETag("2"), False, False),
    ],
)
def test_tags_compare_as_in_the_table_of_section_8_8_3_2(
    first: ETag, second: ETag, strong: bool, weak: bool
) -> None:
    assert first.strong_compare(second) is strong
    assert first.weak_compare(second) is weak


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        ('"abc"', STRONG),
        ('W/"abc"', WEAK),
        (' "abc" ', STRONG),
        ('""', ETag("")),
        ('"a,b\\é!"', ETag("a,b\\é!")),
    ],
)
def test_tags_are_read_and_written(text: str, tag: ETag) -> None:
    assert ETag.parse(text) == tag
    assert str(tag) == text.strip()


@pytest.mark.parametrize("text", ["", "abc", '"abc', 'w/"abc"', '"a"b"', '"a b"', "*", '"a", "b"'])
def test_what_is_no_tag_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="Expected an entity tag such as"):
        ETag.parse(text)


@pytest.mark.parametrize("tag", ['"abc"', "a b", "a\r\nb", "☃", "\x7f"])
def test_a_tag_that_no_header_can_hold_is_refused(tag: str) -> None:
    with pytest.raises(ValueError, match="cannot hold quotes, spaces, control characters"):
        ETag(tag)


def test_equal_contents_get_equal_tags() -> None:
    tag = make_etag(b"content")
    assert tag == make_etag("content") == make_etag(memoryview(b"content"))
    assert tag == make_etag(bytearray(b"content"))
    # A golden value: the tag must be the same in every process and version.
    assert str(tag) == '"c681ff421fbd7af6dc373a7ced20fbeb"'
    assert tag != make_etag(b"other")
    assert not tag.weak
    assert make_etag(b"content", weak=True) == ETag(tag.tag, weak=True)


@pytest.mark.parametrize(
    ("header", "tags"),
    [
        ("*", "*"),
        (" * ", "*"),
        ("", []),
        ('"a"', [ETag("a")]),
        ('"a", W/"b","c"', [ETag("a"), ETag("b", True), ETag("c")]),
        ('"a,b", "c"', [ETag("a,b"), ETag("c")]),
        (' ,, "a" ,', [ETag("a")]),
        ('abc, "d"', [ETag("d")]),
        ('"a" b, "c"', [ETag("c")]),
        ('"a", *', [ETag("a")]),
        ('"open', []),
        ("abc", []),
    ],
)
def test_lists_of_tags_are_read_member_by_member(
    header: str, tags: list[ETag] | Literal["*"]
) -> None:
    assert parse_etags(header) == tags


TAGS = st.builds(ETag, st.text(st.sampled_from("ab,;\\é*!")), st.booleans())


@given(st.lists(TAGS))
def test_lists_of_tags_survive_a_round_trip(tags: list[ETag]) -> None:
    assert parse_etags(", ".join(map(str, tags))) == tags


@given(st.text(alphabet='aW/",* \t\\é', max_size=40) | st.text(max_size=40))
def test_reading_tags_never_raises(header: str) -> None:
    assert parse_etags(header) == "*" or all(isinstance(tag, ETag) for tag in parse_etags(header))
    try:
        tag = ETag.parse(header)
    except ValueError:
        return
    assert str(tag) == header.strip()


@pytest.mark.parametrize(
    "hostile",
    [
        '"' * 65_536,
        ',"' * 32_768,
        'W/"' * 20_000,
        " " * 65_536,
        '"' + "a," * 32_768,
        ',"a' * 20_000,
    ],
)
def test_hostile_lists_of_tags_take_linear_time(hostile: str) -> None:
    began = time.process_time()
    parse_etags(hostile)
    # Measured 50 ms at most.
    assert time.process_time() - began < 1


# Preconditions


class Lines(dict[str, str]):
    """What hesper.datastructures.Headers has beyond a dict: fields in several lines."""

    def __init__(self, *lines: tuple[str, str]) -> None:
        super().__init__(reversed(lines))
        self.lines = lines

    def getlist(self, key: str) -> list[str]:
        return [value for name, value in self.lines if name == key]


@pytest.mark.parametrize(
    ("method", "headers", "decision"),
    [
        ("GET", {}, PROCEED),
        # 13.1.1 If-Match: strong, `*` for whatever there is
        ("PUT", {"if-match": '"abc"'}, PROCEED),
        ("PUT", {"if-match": '"x", "abc"'}, PROCEED),
        ("PUT", {"if-match": '"x"'}, FAILED),
        ("PUT", {"if-match": 'W/"abc"'}, FAILED),
        ("PUT", {"if-match": "abc"}, FAILED),
        ("PUT", {"if-match": ""}, FAILED),
        ("PUT", {"if-match": "*"}, PROCEED),
        ("GET", {"if-match": '"x"'}, FAILED),
        # 13.1.2 If-None-Match: weak; 304 for reading, 412 for the rest
        ("GET", {"if-none-match": '"abc"'}, NOT_MODIFIED),
        ("HEAD", {"if-none-match": '"abc"'}, NOT_MODIFIED),
        ("GET", {"if-none-match": 'W/"abc"'}, NOT_MODIFIED),
        ("GET", {"if-none-match": '"x"'}, PROCEED),
        ("GET", {"if-none-match": "abc"}, PROCEED),
        ("GET", {"if-none-match": "*"}, NOT_MODIFIED),
        ("PUT", {"if-none-match": "*"}, FAILED),
        ("DELETE", {"if-none-match": '"abc"'}, FAILED),
        ("PUT", {"if-none-match": '"x"'}, PROCEED),
        # 13.1.3 If-Modified-Since: reading only, bad dates ignored
        ("GET", {"if-modified-since": AT}, NOT_MODIFIED),
        ("HEAD", {"if-modified-since": LATER}, NOT_MODIFIED),
        ("GET", {"if-modified-since": EARLIER}, PROCEED),
        ("GET", {"if-modified-since": "yesterday"}, PROCEED),
        ("POST", {"if-modified-since": AT}, PROCEED),
        # 13.1.4 If-Unmodified-Since: any method, bad dates ignored
        ("PUT", {"if-unmodified-since": AT}, PROCEED),
        ("PUT", {"if-unmodified-since": LATER}, PROCEED),
        ("PUT", {"if-unmodified-since": EARLIER}, FAILED),
        ("GET", {"if-unmodified-since": EARLIER}, FAILED),
        ("PUT", {"if-unmodified-since": "yesterday"}, PROCEED),
        # 13.2.2: tags come before dates, If-Match before If-None-Match
        ("PUT", {"if-match": '"abc"', "if-unmodified-since": EARLIER}, PROCEED),
        ("PUT", {"if-match": '"x"', "if-unmodified-since": AT}, FAILED),
        ("GET", {"if-match": '"x"', "if-none-match": '"abc"'}, FAILED),
        ("GET", {"if-match": '"abc"', "if-none-match": '"abc"'}, NOT_MODIFIED),
        ("GET", {"if-unmodified-since": AT, "if-none-match": '"abc"'}, NOT_MODIFIED),
        ("GET", {"if-unmodified-since": EARLIER, "if-none-match": '"abc"'}, FAILED),
        ("GET", {"if-none-match": '"x"', "if-modified-since": AT}, PROCEED),
        ("GET", {"if-none-match": '"abc"', "if-modified-since": EARLIER}, NOT_MODIFIED),
        # 13.2.1: methods that select no representation
        ("OPTIONS", {"if-match": '"x"', "if-none-match": "*"}, PROCEED),
        ("CONNECT", {"if-match": '"x"'}, PROCEED),
        ("TRACE", {"if-match": '"x"'}, PROCEED),
    ],
)
def test_preconditions_are_weighed_in_the_order_of_section_13_2_2(
    method: str, headers: dict[str, str], decision: Decision
) -> None:
    assert evaluate(method, headers, STRONG, CHANGED) is decision
    assert evaluate(method, headers, STRONG, CHANGED.timestamp() + 0.9) is decision


def test_a_weak_tag_of_ours_satisfies_only_if_none_match() -> None:
    assert evaluate("PUT", {"if-match": 'W/"abc"'}, WEAK) is FAILED
    assert evaluate("GET", {"if-none-match": '"abc"'}, WEAK) is NOT_MODIFIED


def test_without_a_tag_only_the_star_matches() -> None:
    assert evaluate("PUT", {"if-match": '"abc"'}) is FAILED
    assert evaluate("PUT", {"if-match": "*"}) is PROCEED
    assert evaluate("GET", {"if-none-match": '"abc"'}) is PROCEED


def test_without_a_date_of_ours_dates_are_ignored() -> None:
    assert evaluate("GET", {"if-modified-since": AT}, STRONG) is PROCEED
    assert evaluate("PUT", {"if-unmodified-since": EARLIER}, STRONG) is PROCEED


def test_what_does_not_exist_can_be_created_but_not_replaced() -> None:
    assert evaluate("PUT", {"if-none-match": "*"}, exists=False) is PROCEED
    assert evaluate("PUT", {"if-match": "*"}, exists=False) is FAILED


def test_a_field_in_several_lines_is_one_list() -> None:
    headers = Lines(("if-none-match", '"x"'), ("if-none-match", '"abc"'))
    assert evaluate("GET", headers, STRONG) is NOT_MODIFIED
    assert evaluate("GET", Lines(), STRONG) is PROCEED


def test_a_date_given_twice_is_ignored() -> None:
    headers = Lines(("if-modified-since", AT), ("if-modified-since", AT))
    assert evaluate("GET", headers, None, CHANGED) is PROCEED


def test_a_last_modified_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected a datetime with a time zone"):
        evaluate("GET", {"if-modified-since": AT}, None, datetime(2026, 1, 1))


FIELDS = ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since"]


@given(
    st.sampled_from(["GET", "PUT"]),
    st.dictionaries(st.sampled_from(FIELDS), st.sampled_from(["*", '"abc"', AT]) | st.text()),
)
def test_no_header_makes_the_decision_raise(method: str, headers: dict[str, str]) -> None:
    assert evaluate(method, headers, STRONG, CHANGED) in Decision


@pytest.mark.parametrize(
    ("header", "etag", "allowed"),
    [
        (None, STRONG, True),
        ('"abc"', STRONG, True),
        ('"x"', STRONG, False),
        ('W/"abc"', STRONG, False),
        ('"abc"', WEAK, False),
        ('W/"abc"', WEAK, False),
        ('"abc"', None, False),
        (AT, None, True),
        (AT, STRONG, True),
        (EARLIER, STRONG, False),
        (LATER, STRONG, False),
        ("yesterday", STRONG, False),
        ('"abc", "x"', STRONG, False),
        ("", STRONG, False),
    ],
)
def test_if_range_compares_tags_strongly_and_dates_exactly(
    header: str | None, etag: ETag | None, allowed: bool
) -> None:
    assert if_range_allows(header, etag, CHANGED) is allowed


def test_if_range_with_a_date_needs_one_of_ours() -> None:
    assert if_range_allows(AT, STRONG) is False
    assert if_range_allows(AT, STRONG, CHANGED.timestamp() + 0.5) is True


@given(st.text(alphabet='abcW/",* é', max_size=20) | st.text(max_size=20))
def test_no_if_range_raises(header: str) -> None:
    allowed = if_range_allows(header, STRONG, CHANGED)
    assert allowed is (header.strip() == '"abc"')


# The surface


@pytest.mark.parametrize(
    "name",
    [
        "MalformedRange",
        "RangePart",
        "UnsatisfiableRange",
        "content_range",
        "multipart_layout",
        "parse_range",
    ],
)
def test_ranges_are_part_of_the_module(name: str) -> None:
    assert name in hesper.conditional.__all__
    assert getattr(hesper.conditional, name) is getattr(hesper._ranges, name)
