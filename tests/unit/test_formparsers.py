"""Forms: whole or not at all, within limits, and no temporary file left behind."""

import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import anyio
import pytest
import starlette.datastructures
import starlette.formparsers
from hypothesis import given, settings
from hypothesis import strategies as st

import hesper.formparsers
from hesper._form_rules import base_name
from hesper.datastructures import FormData, Headers, UploadFile
from hesper.exceptions import ClientDisconnect
from hesper.formparsers import FormParser, MultiPartException, MultiPartParser, MultipartPart

from .forms import (
    BACKENDS,
    FIELD,
    FILE,
    MULTIPART,
    SIZES,
    START,
    SpyFile,
    chunks,
    cut,
    opened,
    parse,
    part,
    spy,
    whole,
)

# Multipart: what is read


def test_fields_and_files_come_in_the_order_of_the_body() -> None:
    body = whole(
        part(b'Content-Disposition: form-data; name="a"', b"1"),
        part(FILE + b"\r\nContent-Type: text/plain", b"\r\n--content\r\n"),
        part(b'Content-Disposition: form-data; name="a"', b""),
    )
    assert parse(body) == [
        ("a", "1"),
        ("a", ("f.txt", b"\r\n--content\r\n", "text/plain")),
        ("a", ""),
    ]


def test_an_upload_keeps_the_headers_of_its_part() -> None:
    async def main() -> None:
        body = whole(part(FILE + b"\r\nX-Custom:  value\r\nCONTENT-TYPE: text/plain"))
        form = await MultiPartParser(Headers({"content-type": MULTIPART}), chunks(body)).parse()
        upload = form["a"]
        assert isinstance(upload, UploadFile)
        assert upload.headers["x-custom"] == "value"
        assert upload.headers.raw[2] == (b"content-type", b"text/plain")
        await form.close()
        assert upload.file.closed

    anyio.run(main)


@pytest.mark.parametrize(
    ("disposition", "expected"),
    [
        (b'form-data; name="a"; filename=""', ("a", "", "x")),
        (b"form-data; NAME=a; FileName=b.txt", ("a", "b.txt", "x")),
        (b'form-data; name="a"; filename="x\\"y.txt"', ("a", 'x"y.txt', "x")),
        (b'form-data; name="a"; filename="a%22b"', ("a", "a%22b", "x")),
        (b'form-data; name="a"; filename="C:\\dir\\f.txt"', ("a", "f.txt", "x")),
        (rb'form-data; name="a"; filename="\\\\host\\share\\f.txt"', ("a", "f.txt", "x")),
        (b'form-data; name="a"; filename="semi;colon.txt"', ("a", "semi;colon.txt", "x")),
        (b"form-data; name=\"a\"; filename*=utf-8''x.txt", ("a", None, "x")),
        (b'form-data; name="\xc3\xa9"; filename="\xe2\x98\x83"', ("é", "☃", "x")),
        (b'form-data; name=""', ("", None, "x")),
        (b'attachment; name="a"', ("a", None, "x")),
        (b'form-data; name="a"\r\nContent-Disposition: form-data; name="b"', ("b", None, "x")),
        (b'form-data; name="a"\r\nContent-Transfer-Encoding: base64', ("a", None, "x")),
    ],
)
def test_names_and_file_names_are_read_as_in_starlette(
    disposition: bytes, expected: tuple[str, str | None, str]
) -> None:
    body = whole(part(b"Content-Disposition: " + disposition))

    async def main() -> list[tuple[str, str | None, str]]:
        headers = starlette.datastructures.Headers({"content-type": MULTIPART})
        form = await starlette.formparsers.MultiPartParser(headers, chunks(body)).parse()
        [(name, value)] = form.multi_items()
        if isinstance(value, str):
            return [(name, None, value)]
        content = await value.read()
        await form.close()
        return [(name, value.filename, content.decode())]

    found = [
        (name, None, value) if isinstance(value, str) else (name, value[0], value[1].decode())
        for name, value in parse(body)
    ]
    assert found == [expected]
    assert anyio.run(main) == [expected]


@pytest.mark.parametrize(
    ("content_type", "raw", "text"),
    [
        (MULTIPART, "é☃".encode(), "é☃"),
        (MULTIPART + "; charset=utf-8", "é☃".encode(), "é☃"),
        (MULTIPART + "; charset=", "é☃".encode(), "é☃"),
        (MULTIPART + '; charset="ISO-8859-1"', b"\xe9", "é"),
        (MULTIPART + "; charset=windows-1252", b"\x80", "€"),
        (MULTIPART + "; charset=Shift_JIS", "名前".encode("shift_jis"), "名前"),
        (MULTIPART + "; charset=koi8-u", b"\xa4", "є"),
    ],
)
def test_text_is_decoded_with_the_charset_of_the_content_type(
    content_type: str, raw: bytes, text: str
) -> None:
    body = whole(part(b'Content-Disposition: form-data; name="' + raw + b'"', raw))
    assert parse(body, content_type=content_type) == [(text, text)]


@pytest.mark.parametrize(
    "body",
    [b"--B--\r\n", b"--B--", b"\r\n--B--\r\nepilogue"],
)
def test_a_form_may_have_no_parts(body: bytes) -> None:
    assert parse(body) == []


def test_a_quoted_boundary_is_unquoted() -> None:
    body = whole(part(FIELD)).replace(b"--B", b"--a b")
    assert parse(body, content_type='multipart/form-data; boundary="a b"') == [("a", "x")]


# Multipart: what is refused


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"garbage", "Invalid multipart data."),
        (b"--C\r\n", "Invalid multipart data."),
        (b"--B\r\nno header\r\n\r\n", "Invalid multipart data."),
        (b"--B\r\n: x\r\n\r\n", "Invalid multipart data."),
        (b"--Bx", "Invalid multipart data."),
        (part(FIELD + b"\r\n folded: x"), "Invalid multipart data."),
        (whole(part(b"X-Other: y")), "The Content-Disposition header field"),
        (whole(part(b"Content-Disposition: form-data")), "The Content-Disposition header field"),
        (whole(b"--B\r\n\r\nx\r\n"), "The Content-Disposition header field"),
        (whole(part(b'Content-Disposition: form-data; filename="f"')), "The Content-Disposition"),
        (whole(part(FIELD, b"\xe9")), "a name or value is not valid utf_8"),
        (whole(part(FIELD[:-1] + b'\xff"')), "a name or value is not valid utf_8"),
        (whole(part(FILE[:-1] + b'\xff"')), "a name or value is not valid utf_8"),
    ],
)
def test_a_malformed_body_is_refused(body: bytes, message: str) -> None:
    with pytest.raises(MultiPartException, match=message) as raised:
        parse(body)
    assert raised.value.message == str(raised.value)


def test_a_missing_name_is_refused_in_starlettes_words() -> None:
    with pytest.raises(MultiPartException) as raised:
        parse(whole(part(b"X-Other: y")))
    assert raised.value.message == 'The Content-Disposition header field "name" must be provided.'


@pytest.mark.parametrize(
    ("content_type", "message"),
    [
        ("", "Missing boundary in multipart."),
        ("multipart/form-data", "Missing boundary in multipart."),
        ("multipart/form-data; boundary=", "Missing boundary in multipart."),
        ("multipart/form-data; boundary=" + "x" * 1000, "Invalid multipart data."),
        (MULTIPART + "; charset=nope", "Unknown charset in multipart: 'nope'."),
        (MULTIPART + "; charset=zlib", "Unknown charset in multipart: 'zlib'."),
        (MULTIPART + "; charset=hex", "Unknown charset in multipart: 'hex'."),
        (MULTIPART + "; charset=mbcs", "Unknown charset in multipart: 'mbcs'."),
        (MULTIPART + "; charset=idna", "Unknown charset in multipart: 'idna'."),
        (MULTIPART + "; charset=punycode", "Unknown charset in multipart: 'punycode'."),
        (MULTIPART + "; charset=unicode_escape", "Unknown charset in multipart: 'unicode_escape'."),
        (MULTIPART + "; charset=../x", "Unknown charset in multipart: '../x'."),
        (MULTIPART + "; charset=\0", "Unknown charset in multipart: ''."),
        (MULTIPART + "; charset=" + "y" * 99, f"Unknown charset in multipart: '{'y' * 40}'."),
        (MULTIPART + "; charset=utf-16", "a name or value is not valid utf_16"),
    ],
)
def test_a_bad_content_type_is_refused(content_type: str, message: str) -> None:
    async def main() -> None:
        raw = [(b"content-type", content_type.encode("latin-1"))]
        body = whole(part(FIELD))
        with pytest.raises(MultiPartException) as raised:
            await MultiPartParser(Headers(raw=raw), chunks(body)).parse()
        assert message in raised.value.message.replace("\\x00", "")

    anyio.run(main)


def test_a_body_that_breaks_off_anywhere_is_refused() -> None:
    body = part(FIELD, b"1") + part(FILE, b"2") + b"--B--"
    for length in range(len(body)):
        with pytest.raises(MultiPartException, match="Incomplete multipart data"):
            parse(body[:length])
    assert len(parse(body)) == 2


# Multipart: limits


@pytest.mark.parametrize(
    ("limits", "body", "message"),
    [
        ({"max_files": 1}, part(FILE) * 2, "Too many files. Maximum number of files is 1."),
        ({"max_fields": 1}, part(FIELD) * 2, "Too many fields. Maximum number of fields is 1."),
        ({"max_part_size": 1024}, part(FIELD, b"x" * 1025), "Part exceeded maximum size of 1KB."),
        ({"max_part_size": 7}, part(FIELD, b"x" * 8), "Part exceeded maximum size of 7 bytes."),
        ({"max_file_size": 1024}, part(FILE, b"x" * 1025), "File exceeded maximum size of 1KB."),
        (
            {},
            part(FIELD + b"\r\nA: b" * 8),
            "Too many headers in a part. Maximum number of headers in a part is 8.",
        ),
        (
            {},
            part(FIELD + b"\r\nA: " + b"b" * 8192),
            "Headers of a part exceeded maximum size of 8KB.",
        ),
        (
            {},
            part(FIELD + b"\r\n" + b"A" * 8192 + b": b"),
            "Headers of a part exceeded maximum size of 8KB.",
        ),
    ],
)
def test_a_form_over_a_limit_is_refused_before_it_ends(
    limits: dict[str, Any], body: bytes, message: str
) -> None:
    for sizes in ([len(body)], [1], [7, 3]):
        with pytest.raises(MultiPartException) as raised:
            parse(*cut(body, sizes), **limits)
        assert raised.value.message == message


def test_a_form_at_its_limits_is_read() -> None:
    body = whole(
        part(FIELD + b"\r\nA: b" * 7, b"x" * 100), part(FILE, b"y" * 200), part(FIELD), part(FILE)
    )
    form = parse(body, max_files=2, max_fields=2, max_part_size=100, max_file_size=200)
    assert [name for name, _ in form] == ["a"] * 4


def test_limits_on_headers_count_anew_for_every_part() -> None:
    headers = FIELD + b"\r\nA: " + b"b" * 5000 + b"\r\nC: d" * 5
    assert parse(whole(part(headers), part(headers))) == [("a", "x"), ("a", "x")]


def test_the_size_of_a_file_is_not_limited_by_that_of_a_field() -> None:
    assert parse(whole(part(FILE, b"x" * 100)), max_part_size=1) == [
        ("a", ("f.txt", b"x" * 100, None))
    ]


def test_limits_on_headers_belong_to_the_class() -> None:
    class Wide(MultiPartParser):
        max_headers = 20
        max_headers_size = 64 * 1024

    body = whole(part(FIELD + b"\r\nA: " + b"b" * 10_000 + b"\r\nC: d" * 15))
    assert parse(body, parser_class=Wide) == [("a", "x")]


@pytest.mark.parametrize(
    "body",
    [
        whole(part(FILE, b"\r\n--" * 100_000)),
        whole(part(FILE, b"\r" * 400_000)),
        whole(part(FILE, b"\r\n--B" * 60_000 + b"x")),
        b"\r\n" * 200_000,
        b"--B\r\n" + b"A" * 400_000,
        whole(part(FIELD[:-1] + b'\\"' * 3000 + b'"')),
        whole(*[part(FIELD, b"")] * 1000),
    ],
)
def test_hostile_bodies_take_linear_time(body: bytes) -> None:
    began = time.process_time()
    for sizes in ([65_536], [1000, 1]):
        try:
            parse(*cut(body, sizes))
        except MultiPartException:
            pass
    # Measured 40 ms at most.
    assert time.process_time() - began < 1


def test_the_temporary_file_can_be_replaced_in_the_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hesper.formparsers, "SpooledTemporaryFile", SpyFile)

    async def main() -> None:
        headers = Headers({"content-type": MULTIPART})
        form = await MultiPartParser(headers, chunks(whole(part(FILE)))).parse()
        upload = form["a"]
        assert isinstance(upload, UploadFile)
        assert isinstance(upload.file, SpyFile)
        await form.close()

    anyio.run(main)


# Temporary files


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("start", [part(FILE) + b"--B", START])
def test_files_are_closed_when_the_client_leaves(backend: str, start: bytes) -> None:
    async def main() -> None:
        async def body() -> AsyncGenerator[bytes, None]:
            yield start
            raise ClientDisconnect

        parser = spy()
        parser.stream = body()
        with pytest.raises(ClientDisconnect):
            await parser.parse()
        assert all(file.closed for file in opened(parser))

    anyio.run(main, backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("start", [part(FILE) + b"--B", START])
def test_files_are_closed_when_the_parser_is_cancelled_while_it_waits(
    backend: str, start: bytes
) -> None:
    async def main() -> None:
        closed: list[str] = []

        async def body() -> AsyncGenerator[bytes, None]:
            try:
                yield start
                scope.cancel()
                await anyio.sleep_forever()
            finally:
                closed.append("stream")

        parser = spy()
        parser.stream = body()
        with anyio.CancelScope() as scope:
            await parser.parse()
        assert scope.cancelled_caught
        assert all(file.closed for file in opened(parser))
        assert closed == ["stream"]

    anyio.run(main, backend=backend)


def test_files_are_closed_when_a_limit_or_the_grammar_is_broken() -> None:
    async def main() -> None:
        for end in (part(FIELD, b"x" * 2_000_000), part(b"no header"), b""):
            parser = spy(START + b"\r\n", end)
            with pytest.raises(MultiPartException):
                await parser.parse()
            assert all(file.closed for file in opened(parser))

    anyio.run(main)


def parsers(stream: AsyncGenerator[bytes, None]) -> dict[str, Callable[[], Awaitable[FormData]]]:
    return {
        "multipart": MultiPartParser(Headers({"content-type": MULTIPART}), stream).parse,
        "urlencoded": FormParser(Headers(), stream, max_fields=1).parse,
    }


@pytest.mark.parametrize("kind", ["multipart", "urlencoded"])
def test_the_stream_is_closed_in_the_same_task_when_a_form_is_refused(kind: str) -> None:
    async def main() -> None:
        tasks: list[int] = []

        async def body() -> AsyncGenerator[bytes, None]:
            try:
                while True:
                    yield b"a=1&b=2&"
            finally:
                tasks.append(anyio.get_current_task().id)

        with pytest.raises(MultiPartException):
            await parsers(body())[kind]()
        assert tasks == [anyio.get_current_task().id]

    anyio.run(main)


# Multipart: every body


NAMES = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), max_size=8)


VALUES = st.text(max_size=20)


FILES = st.tuples(NAMES, st.binary(max_size=60) | st.just(b"\r\n--B" * 9))


PARTS = st.lists(st.tuples(NAMES, VALUES | FILES), max_size=5)


def encode(parts: list[tuple[str, str | tuple[str, bytes]]], boundary: bytes) -> bytes:
    """Write a body as curl does: quotes and backslashes escaped, text in UTF-8."""

    def quoted(text: str) -> bytes:
        return b'"' + text.encode().replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'

    body = b""
    for name, value in parts:
        body += b"--" + boundary + b"\r\nContent-Disposition: form-data; name=" + quoted(name)
        if isinstance(value, str):
            body += b"\r\n\r\n" + value.encode()
        else:
            body += b"; filename=" + quoted(value[0]) + b"\r\n\r\n" + value[1]
        body += b"\r\n"
    return body + b"--" + boundary + b"--\r\n"


@settings(max_examples=60, deadline=None)
@given(PARTS, SIZES)
def test_any_form_survives_any_chunking(
    parts: list[tuple[str, str | tuple[str, bytes]]], sizes: list[int]
) -> None:
    boundary = "no-content-has-this"
    body = encode(parts, boundary.encode())
    expected = [
        (name, value) if isinstance(value, str) else (name, (base_name(value[0]), value[1], None))
        for name, value in parts
    ]
    content_type = f"multipart/form-data; boundary={boundary}"
    assert parse(*cut(body, sizes), content_type=content_type) == expected


FRAGMENTS = st.sampled_from(
    [b"--B", b"--B--", b"\r\n", b"\r", b"\n", b"-", FIELD, FILE, b":", b"A: b", b'"', b"\xff"]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(FRAGMENTS | st.binary(max_size=8), max_size=20), SIZES, st.booleans())
def test_any_bytes_are_a_form_or_a_multipart_exception(
    fragments: list[bytes], sizes: list[int], valid_start: bool
) -> None:
    body = (b"--B\r\n" if valid_start else b"") + b"".join(fragments)
    try:
        parse(*cut(body, sizes), max_files=2, max_fields=2, max_part_size=9, max_file_size=9)
    except MultiPartException:
        pass


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(max_codepoint=255), max_size=20))
def test_any_content_type_is_read_or_a_multipart_exception(options: str) -> None:
    async def main() -> None:
        raw = [(b"content-type", f"multipart/form-data; boundary={options}".encode("latin-1"))]
        with pytest.raises(MultiPartException):
            await MultiPartParser(Headers(raw=raw), chunks(b"--\r\n")).parse()

    anyio.run(main)


# The surface


def test_the_parsers_have_the_names_that_ported_code_uses() -> None:
    part = MultipartPart()
    assert (part.content_disposition, part.field_name, part.data) == (None, "", bytearray())
    assert (part.file, part.item_headers) == (None, [])
    assert MultiPartParser.spool_max_size == 1024 * 1024
    for ours, theirs in (
        (MultiPartParser, starlette.formparsers.MultiPartParser),
        (FormParser, starlette.formparsers.FormParser),
    ):
        public = {name for name in dir(theirs) if name.startswith(("on_", "parse"))}
        assert public
        assert public <= set(dir(ours))


@pytest.mark.parametrize("parser", [FormParser, MultiPartParser])
def test_without_the_library_the_error_says_what_to_install(
    parser: type[FormParser | MultiPartParser], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "python_multipart", None)
    with pytest.raises(ImportError, match=r'python-multipart .* pip install "hesper\[forms\]"'):
        parser(Headers(), chunks())
