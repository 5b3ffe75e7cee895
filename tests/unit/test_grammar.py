"""The rules that other modules share: header options and HTTP dates."""

import re
import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hesper._grammar import (
    COOKIE_WORD,
    ENTITY_TAG,
    QUOTED_STRING,
    epoch_seconds,
    format_http_date,
    parse_http_date,
    parse_options_header,
)

NOVEMBER = datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "main", "options"),
    [
        ("", "", {}),
        ("text/plain", "text/plain", {}),
        (" Text/HTML ", "text/html", {}),
        ("text/html;", "text/html", {}),
        ("text/html; charset=utf-8", "text/html", {"charset": "utf-8"}),
        ("text/html ;CHARSET = UTF-8 ", "text/html", {"charset": "UTF-8"}),
        (
            'form-data; name="a b"; filename="c;d.txt"',
            "form-data",
            {"name": "a b", "filename": "c;d.txt"},
        ),
        ("a; b=1; b=2", "a", {"b": "2"}),
        ("a; b=", "a", {"b": ""}),
        ('a; b=""', "a", {"b": ""}),
        ("a; b", "a", {}),
        ("a; b; c=d", "a", {"c": "d"}),
        ("a;;; c=d;", "a", {"c": "d"}),
        ("a; =x; c=d", "a", {"c": "d"}),
        ("a; filename*=utf-8''x; filename=y", "a", {"filename*": "utf-8''x", "filename": "y"}),
        (r'a; b="x\"y\\z"', "a", {"b": r"x\y".replace("\\", '"') + "\\z"}),
        (r'a; b="C:\dir\file"', "a", {"b": r"C:\dir\file"}),
        (r'a; b="ends\"', "a", {"b": "ends\\"}),
        ('a; b="open; c=d', "a", {"b": "open; c=d"}),
        ('a; b="', "a", {"b": ""}),
        ('a; b="x"y; c=d', "a", {"b": "x", "c": "d"}),
        ("a; b=x y", "a", {"b": "x y"}),
        ("a; b=é", "a", {"b": "é"}),
        ('a; b="1\n2"', "a", {"b": "1\n2"}),
    ],
)
def test_option_headers_are_split_into_main_value_and_parameters(
    value: str, main: str, options: dict[str, str]
) -> None:
    assert parse_options_header(value) == (main, options)


@given(st.text(alphabet='ab;="\\ \t*', max_size=40))
def test_option_headers_never_raise(value: str) -> None:
    main, options = parse_options_header(value)
    assert main == value.split(";")[0].strip().lower()
    assert all(name == name.lower() for name in options)


@given(st.dictionaries(st.sampled_from(["a", "b1", "c-d"]), st.text(max_size=10)))
def test_quoted_parameters_survive_a_round_trip(options: dict[str, str]) -> None:
    quoted = {
        name: text.replace("\\", "\\\\").replace('"', '\\"') for name, text in options.items()
    }
    header = "x/y" + "".join(f'; {name}="{text}"' for name, text in quoted.items())
    assert parse_options_header(header) == ("x/y", options)


@pytest.mark.parametrize(
    "hostile",
    [
        ";a=" * 30_000,
        ';a="' * 30_000,
        ';a="\\' * 30_000,
        "; " * 30_000,
        ";a" + " " * 60_000,
        ';a="' + '\\"' * 30_000,
        ';a="\\";a=\\"' * 10_000,
        '"' * 65_536,
        "x" * 65_536 + ";" + "a" * 65_536,
    ],
)
def test_hostile_option_headers_take_linear_time(hostile: str) -> None:
    began = time.process_time()
    parse_options_header(hostile)
    # Measured 25 ms at most; quadratic time would be seconds.
    assert time.process_time() - began < 1


@pytest.mark.parametrize("pattern", [QUOTED_STRING, ENTITY_TAG])
def test_quotes_that_never_close_take_linear_time(pattern: str) -> None:
    began = time.process_time()
    assert re.compile(pattern).match('"' + "a" * 1_000_000) is None
    assert time.process_time() - began < 1


def test_cookie_words_are_tokens_and_colons() -> None:
    legal = "".join(chr(code) for code in range(256) if COOKIE_WORD.fullmatch(chr(code)))
    assert legal == "!#$%&'*+-.0123456789:ABCDEFGHIJKLMNOPQRSTUVWXYZ^_`abcdefghijklmnopqrstuvwxyz|~"


@pytest.mark.parametrize(
    "value",
    [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        " Sun, 06 Nov 1994 08:49:37 GMT ",
        "sun, 06 NOV 1994 08:49:37 GMT",
        "Mon, 06 Nov 1994 08:49:37 GMT",
    ],
)
def test_all_three_forms_of_a_date_are_read(value: str) -> None:
    assert parse_http_date(value) == NOVEMBER


def test_an_asctime_date_may_have_a_day_of_two_digits() -> None:
    assert parse_http_date("Wed Nov 16 08:49:37 1994") == NOVEMBER + timedelta(days=10)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "0",
        "yesterday",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 CET",
        "Sun, 06 Nov 1994 08:49:37 +0000",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 06 Foo 1994 08:49:37 GMT",
        "Sun, 31 Feb 1994 08:49:37 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Nov 1994 08:60:00 GMT",
        "Sun, 06 Nov 1994 08:49:61 GMT",
        "Sun, 06 Nov 0000 08:49:37 GMT",
        "Fri, 31 Dec 9999 23:59:60 GMT",
        "Sun, ٠٦ Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
    ],
)
def test_what_is_no_date_reads_as_none(value: str) -> None:
    assert parse_http_date(value) is None


def test_a_leap_second_is_the_second_after() -> None:
    assert parse_http_date("Sat, 31 Dec 2016 23:59:60 GMT") == datetime(2017, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("years_ahead", [-49, -1, 0, 1, 50])
def test_a_year_of_two_digits_is_at_most_fifty_years_ahead(years_ahead: int) -> None:
    year = datetime.now(UTC).year + years_ahead
    date = parse_http_date(f"Sunday, 06-Nov-{year % 100:02} 08:49:37 GMT")
    assert date is not None
    assert date.year == year


def test_dates_are_written_in_the_fixed_form() -> None:
    assert format_http_date(NOVEMBER) == "Sun, 06 Nov 1994 08:49:37 GMT"
    assert format_http_date(784111777.9) == "Sun, 06 Nov 1994 08:49:37 GMT"
    assert format_http_date(0) == "Thu, 01 Jan 1970 00:00:00 GMT"


def test_dates_of_other_zones_are_written_in_gmt() -> None:
    there = NOVEMBER.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert format_http_date(there) == "Sun, 06 Nov 1994 08:49:37 GMT"


def test_a_moment_without_a_zone_is_refused_with_advice() -> None:
    with pytest.raises(ValueError, match=r"with a time zone, got .* datetime.now\(timezone.utc\)"):
        epoch_seconds(datetime(1994, 11, 6))


def test_fractions_are_cut_towards_the_past() -> None:
    assert epoch_seconds(1.9) == 1
    assert epoch_seconds(-0.1) == -1


@settings(max_examples=50)
@given(st.datetimes(min_value=datetime(1, 1, 1), timezones=st.just(UTC)))
@example(datetime(3059, 1, 1, 0, 0, 0, 999997, tzinfo=UTC))
def test_dates_survive_a_round_trip(moment: datetime) -> None:
    assert parse_http_date(format_http_date(moment)) == moment.replace(microsecond=0)


@given(st.text(alphabet="SunNov, :-0123456789GMT", max_size=40))
def test_reading_dates_never_raises(value: str) -> None:
    assert isinstance(parse_http_date(value), datetime | None)
