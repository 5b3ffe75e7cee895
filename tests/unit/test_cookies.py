"""Reading Cookie, writing Set-Cookie: what Starlette does, without its holes."""

import time
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
import starlette.requests
import starlette.responses
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hesper._grammar import parse_http_date
from hesper.cookies import cookie_parser, render_set_cookie


def starlette_set_cookie(*args: Any, **kwargs: Any) -> bytes:
    response = starlette.responses.Response()
    response.set_cookie(*args, **kwargs)
    return response.raw_headers[-1][1]


@pytest.mark.parametrize(
    ("header", "cookies"),
    [
        ("", {}),
        ("a=b; c=d", {"a": "b", "c": "d"}),
        ("a=b;c=d", {"a": "b", "c": "d"}),
        (" a = b ; c = d ", {"a": "b", "c": "d"}),
        ("a=1; a=2", {"a": "2"}),
        ("a=b=c", {"a": "b=c"}),
        ("a=", {"a": ""}),
        ("=b", {"": "b"}),
        ("b", {"": "b"}),
        ("; ;=;", {}),
        ('a="b c"', {"a": "b c"}),
        ('a="', {"a": '"'}),
        ('a="b', {"a": '"b'}),
        (r'a="\"\\\054\073\351\012"', {"a": '"\\,;é\n'}),
        (r'a="\400\x\1"', {"a": "400x1"}),
        (r'a="b;c"', {"a": '"b', "": 'c"'}),
        ("ключ=значение", {"ключ": "значение"}),
    ],
)
def test_cookies_are_read_as_browsers_read_them(header: str, cookies: dict[str, str]) -> None:
    assert cookie_parser(header) == cookies


@settings(max_examples=200)
@given(st.text() | st.text(alphabet='ab=;"\\0123 \t\n\xa0é', max_size=30))
@example('a="\\\n"')
@example('a="b\\"')
def test_any_header_reads_as_it_does_in_starlette(header: str) -> None:
    assert cookie_parser(header) == starlette.requests.cookie_parser(header)


@pytest.mark.parametrize(
    "hostile",
    [
        ";" * 65_536,
        "=" * 65_536,
        'a="' + '\\"' * 32_768 + '"',
        'a="' + "\\" * 65_536 + '"',
        'a="' + "\\101" * 16_384 + '"',
        " " * 65_536,
        'a="";' * 13_000,
    ],
)
def test_hostile_headers_take_linear_time(hostile: str) -> None:
    began = time.process_time()
    cookie_parser(hostile)
    # Measured 10 ms at most; unquoting took quadratic time once (CVE-2024-7592).
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    ("kwargs", "header"),
    [
        ({}, "a=b; Path=/; SameSite=lax"),
        ({"value": ""}, 'a=""; Path=/; SameSite=lax'),
        ({"path": None, "samesite": None}, "a=b"),
        ({"path": "", "domain": "", "expires": ""}, "a=b; SameSite=lax"),
        ({"max_age": 0}, "a=b; Max-Age=0; Path=/; SameSite=lax"),
        ({"max_age": -1}, "a=b; Max-Age=-1; Path=/; SameSite=lax"),
        ({"samesite": "Strict"}, "a=b; Path=/; SameSite=Strict"),
        ({"value": "b c"}, 'a="b c"; Path=/; SameSite=lax'),
        ({"value": 'b\\"c,;d'}, 'a="b\\\\\\"c\\054\\073d"; Path=/; SameSite=lax'),
        ({"value": "é"}, 'a="\\351"; Path=/; SameSite=lax'),
        ({"value": 5}, "a=5; Path=/; SameSite=lax"),
        ({"path": "/é"}, "a=b; Path=/é; SameSite=lax"),
        (
            {
                "max_age": 10,
                "expires": datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC),
                "path": "/p",
                "domain": "example.org",
                "secure": True,
                "httponly": True,
                "samesite": "none",
            },
            "a=b; Domain=example.org; expires=Wed, 02 Jan 2030 03:04:05 GMT; HttpOnly; "
            "Max-Age=10; Path=/p; SameSite=none; Secure",
        ),
    ],
)
def test_headers_are_written_byte_for_byte_as_in_starlette(
    kwargs: dict[str, Any], header: str
) -> None:
    arguments = {"key": "a", "value": "b"} | kwargs
    assert render_set_cookie(**arguments) == header
    assert starlette_set_cookie(**arguments) == header.encode("latin-1")


# Without control characters: whether those are written or refused depends on the Python version.
LATIN_1 = st.text(st.characters(max_codepoint=255, exclude_categories=["Cc"]))
# Starlette strips the finished header, and with it spaces at the end of the last attribute.
ATTRIBUTE = LATIN_1.filter(lambda text: ";" not in text and text == text.strip())


@settings(max_examples=200)
@given(
    key=st.from_regex(r"\A[!#$%&'*+.^_`|~:0-9A-Za-z-]+\Z"),
    value=LATIN_1,
    max_age=st.none() | st.integers(),
    expires=st.none() | st.datetimes(timezones=st.just(UTC)) | st.just("Thu, 01 Jan 2026"),
    path=st.none() | ATTRIBUTE,
    domain=st.none() | ATTRIBUTE,
    secure=st.booleans(),
    httponly=st.booleans(),
    samesite=st.sampled_from([None, "lax", "strict", "none", "Lax"]),
)
def test_any_valid_cookie_is_written_as_in_starlette(key: str, **kwargs: Any) -> None:
    # One letter first, so that no name is drawn that both refuse, such as Path.
    expected = starlette_set_cookie(f"x{key}", **kwargs)
    assert render_set_cookie(f"x{key}", **kwargs).encode("latin-1") == expected


@given(st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f")))
def test_values_survive_the_way_to_the_client_and_back(value: str) -> None:
    pair = render_set_cookie("a", value).split("; ", 1)[0]
    assert cookie_parser(pair) == {"a": value}


def test_a_partitioned_cookie_works_on_every_python_version() -> None:
    header = render_set_cookie("a", "b", max_age=1, secure=True, partitioned=True)
    # The place that http.cookies of Python 3.14 gives it.
    assert header == "a=b; Max-Age=1; Partitioned; Path=/; SameSite=lax; Secure"


def test_expires_as_a_number_counts_seconds_from_now() -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    header = render_set_cookie("a", expires=3600, path=None, samesite=None)
    moment = parse_http_date(header.removeprefix('a=""; expires='))
    assert moment is not None
    assert before + timedelta(hours=1) <= moment <= datetime.now(UTC) + timedelta(hours=1)


def test_expires_in_another_zone_is_written_in_gmt() -> None:
    moment = datetime(2030, 1, 2, 3, tzinfo=timezone(timedelta(hours=2)))
    assert "expires=Wed, 02 Jan 2030 01:00:00 GMT;" in render_set_cookie("a", expires=moment)


@pytest.mark.parametrize("control", [chr(code) for code in (0, 9, 10, 13, 31, 127)])
@pytest.mark.parametrize("argument", ["key", "value", "path", "domain", "expires"])
def test_control_characters_are_refused_wherever_they_stand(argument: str, control: str) -> None:
    arguments: dict[str, Any] = {"key": "a", argument: f"x{control}Set-Cookie: y=z"}
    with pytest.raises(ValueError, match=argument if argument != "key" else "name"):
        render_set_cookie(**arguments)


@pytest.mark.parametrize("argument", ["path", "domain", "expires"])
def test_a_semicolon_cannot_start_another_attribute(argument: str) -> None:
    arguments: dict[str, Any] = {"key": "a", argument: "/; Domain=evil.example"}
    with pytest.raises(ValueError, match=f"A cookie's {argument} cannot hold ';'"):
        render_set_cookie(**arguments)


@pytest.mark.parametrize("key", ["", "a b", "a=b", "a;b", "a,b", '"a"', "é", "a\r\nb", "a/b"])
def test_names_that_are_no_words_are_refused(key: str) -> None:
    with pytest.raises(ValueError, match=r"A cookie's name must be .* got"):
        render_set_cookie(key, "b")


@pytest.mark.parametrize("key", ["path", "Secure", "max-age", "Partitioned"])
def test_names_of_attributes_are_refused(key: str) -> None:
    with pytest.raises(ValueError, match=f"cannot be named '{key}'.*'app_{key}'"):
        render_set_cookie(key, "b")


@pytest.mark.parametrize("samesite", ["", "no", "lax; Secure"])
def test_an_unknown_samesite_is_refused(samesite: Any) -> None:
    with pytest.raises(ValueError, match="samesite must be 'lax', 'strict', 'none', or None"):
        render_set_cookie("a", samesite=samesite)


def test_a_max_age_that_is_no_number_is_refused() -> None:
    max_age: Any = "1; Domain=evil.example"
    with pytest.raises(ValueError, match="invalid literal for int"):
        render_set_cookie("a", max_age=max_age)


def test_expires_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected a datetime with a time zone"):
        render_set_cookie("a", expires=datetime(2030, 1, 1))


@pytest.mark.parametrize("argument", ["value", "path", "domain"])
def test_what_no_header_can_hold_raises_as_in_starlette(argument: str) -> None:
    arguments: dict[str, Any] = {"key": "a", argument: "☃"}
    with pytest.raises(UnicodeEncodeError):
        starlette_set_cookie(**arguments)
    with pytest.raises(UnicodeEncodeError):
        render_set_cookie(**arguments)


@given(
    key=st.text(max_size=5),
    value=st.text(max_size=10),
    path=st.text(max_size=10),
    domain=st.text(max_size=10),
)
def test_a_header_is_one_line_with_the_expected_attributes_or_a_value_error(
    key: str, value: str, path: str, domain: str
) -> None:
    try:
        header = render_set_cookie(key, value, path=path, domain=domain)
    except ValueError:
        return
    assert header.count(";") == bool(path) + bool(domain) + 1
    assert not any(ord(character) < 32 or ord(character) == 127 for character in header)
