"""Urlencoded forms: every body is one, within limits, in UTF-8."""

from typing import Any

import anyio
import pytest
import starlette.datastructures
import starlette.formparsers
from hypothesis import given, settings
from hypothesis import strategies as st

from hesper.datastructures import Headers, UploadFile
from hesper.formparsers import FormParser, MultiPartException

from .forms import SIZES, chunks, cut


def parse_urlencoded(*pieces: bytes, **limits: Any) -> list[tuple[str, str | UploadFile]]:
    async def main() -> list[tuple[str, str | UploadFile]]:
        return (await FormParser(Headers(), chunks(*pieces), **limits).parse()).multi_items()

    return anyio.run(main)


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (b"", []),
        (b"a=b&c=d", [("a", "b"), ("c", "d")]),
        (b"a=1&a=2", [("a", "1"), ("a", "2")]),
        (b"a", [("a", "")]),
        (b"a=", [("a", "")]),
        (b"=b", [("", "b")]),
        (b"&&a=b&", [("a", "b")]),
        (b"a=b=c", [("a", "b=c")]),
        (b"a=b;c=d", [("a", "b;c=d")]),
        (b"a+b=+%2B%20", [("a b", " + ")]),
        (b"%C3%A9=%E2%98%83", [("é", "☃")]),
        (b"a=%E9", [("a", "�")]),
        (b"a=%&b=%4", [("a", "%"), ("b", "%4")]),
    ],
)
def test_urlencoded_fields_are_read_as_in_starlette(
    body: bytes, fields: list[tuple[str, str]]
) -> None:
    async def main() -> Any:
        headers = starlette.datastructures.Headers()
        return await starlette.formparsers.FormParser(headers, chunks(body, b"")).parse()

    assert parse_urlencoded(body) == fields
    assert parse_urlencoded(*cut(body, [1])) == fields
    assert anyio.run(main).multi_items() == fields


def test_bytes_that_should_have_been_escaped_are_utf_8_too() -> None:
    # WHATWG URL section 5.1; Starlette reads them as latin-1.
    assert parse_urlencoded("é=☃".encode()) == [("é", "☃")]


@pytest.mark.parametrize(
    ("limits", "body", "message"),
    [
        ({"max_fields": 1}, b"a&b", "Too many fields. Maximum number of fields is 1."),
        ({"max_part_size": 1024}, b"a=" + b"x" * 1024, "Field exceeded maximum size of 1KB."),
        ({"max_part_size": 1024}, b"a" * 1025, "Field exceeded maximum size of 1KB."),
        ({"max_part_size": 3}, b"aa=xx", "Field exceeded maximum size of 3 bytes."),
    ],
)
def test_an_urlencoded_form_over_a_limit_is_refused(
    limits: dict[str, int], body: bytes, message: str
) -> None:
    for sizes in ([len(body)], [1], [3, 5]):
        with pytest.raises(MultiPartException) as raised:
            parse_urlencoded(*cut(body, sizes), **limits)
        assert raised.value.message == message


def test_an_urlencoded_form_at_its_limits_is_read() -> None:
    body = b"a=x&" + b"b=" + b"y" * 9
    assert len(parse_urlencoded(body, max_fields=2, max_part_size=10)) == 2


def test_a_field_over_the_limit_is_not_kept() -> None:
    async def main() -> None:
        parser = FormParser(Headers(), chunks(b"a=" + b"x" * 1000), max_part_size=10)
        with pytest.raises(MultiPartException):
            await parser.parse()
        assert parser._field_value == b""
        assert parser._current_fields == 0

    anyio.run(main)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.text(max_size=5), st.text(max_size=9)), max_size=5), SIZES)
def test_any_urlencoded_form_survives_any_chunking(
    fields: list[tuple[str, str]], sizes: list[int]
) -> None:
    from urllib.parse import urlencode

    # A field without name and value is written as "=" alone, which is a field all the same.
    body = urlencode(fields).encode()
    assert parse_urlencoded(*cut(body, sizes)) == fields


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=40) | st.text("ab=&%+;4é", max_size=40).map(str.encode), SIZES)
def test_any_bytes_are_an_urlencoded_form_or_a_multipart_exception(
    body: bytes, sizes: list[int]
) -> None:
    try:
        parse_urlencoded(*cut(body, sizes), max_fields=5, max_part_size=20)
    except MultiPartException:
        pass
