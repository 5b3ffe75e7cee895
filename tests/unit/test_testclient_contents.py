"""What the asynchronous test client sends as a body."""

import io
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from hesper._testclient.http.contents import Parts, encode
from hesper.exceptions import HesperDeprecationWarning, UsageError


async def whole(parts: Parts) -> list[bytes]:
    return [part async for part in parts]


def test_bytes_of_every_kind() -> None:
    text = "é".encode()
    for content in ("é", text, bytearray(text), memoryview(text)):
        assert encode(content) == ({"content-length": "2"}, "é".encode())
    assert encode(b"") == encode() == ({}, b"")


def test_a_file_is_read() -> None:
    assert encode(io.BytesIO(b"content")) == ({"content-length": "7"}, b"content")


async def test_iterators_are_sent_in_parts() -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b"a"
        yield b"b"

    for content in ([b"a", b"b"], (part for part in [b"a", b"b"]), parts()):
        headers, body = encode(content)
        assert headers == {"transfer-encoding": "chunked"}
        assert isinstance(body, Parts)
        assert await whole(body) == [b"a", b"b"]


async def test_what_can_begin_again_is_sent_again() -> None:
    parts = Parts([b"a"])
    assert await whole(parts) == await whole(parts) == [b"a"]
    parts = Parts(iter([b"a"]))
    assert await whole(parts) == [b"a"]
    with pytest.raises(UsageError, match="was an iterator, which is at its end"):
        await whole(parts)


async def test_a_generator_that_is_not_read_whole_is_closed() -> None:
    closed: list[bool] = []

    def generator() -> Iterator[bytes]:
        try:
            yield b"a"
            yield b"b"
        finally:
            closed.append(True)

    parts: Any = aiter(Parts(generator()))
    assert await anext(parts) == b"a"
    await parts.aclose()
    assert closed == [True]
    await aiter(Parts([b"a"])).aclose()  # type: ignore[attr-defined]  # nothing to close


def test_what_is_no_body_is_refused() -> None:
    for content in ({"a": "1"}, 1):
        with pytest.raises(UsageError, match="Use data= for a form and json= for JSON"):
            encode(content)  # type: ignore[arg-type]


def test_a_body_as_data_warns() -> None:
    with pytest.warns(HesperDeprecationWarning, match="use content= for a body"):
        assert encode(data=b"body") == ({"content-length": "4"}, b"body")


def test_json_that_is_none_is_no_body() -> None:
    assert encode(json=None) == ({}, b"")
    with pytest.raises(ValueError, match="not JSON compliant"):
        encode(json=float("nan"))


def test_each_form_has_a_boundary_of_its_own() -> None:
    (one, body), (two, _) = encode(files={"a": b"1"}), encode(files={"a": b"1"})
    assert one["content-type"] != two["content-type"]
    boundary = one["content-type"].partition("boundary=")[2].encode()
    assert isinstance(body, bytes)
    assert body == (
        b"--" + boundary + b'\r\nContent-Disposition: form-data; name="a"; filename="upload"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n1\r\n--" + boundary + b"--\r\n"
    )
    assert one["content-length"] == str(len(body))


def test_a_boundary_of_the_test_is_used() -> None:
    for content_type in (
        'multipart/form-data; boundary="x"',
        "Multipart/Form-Data; a=b;boundary=x",
    ):
        _, body = encode(files={"a": b"1"}, content_type=content_type)
        assert isinstance(body, bytes)
        assert body.startswith(b"--x\r\n")


def test_a_file_that_cannot_be_wound_back_is_read_from_where_it_is() -> None:
    class Pipe(io.BytesIO):
        name = "/tmp/pipe.txt"

        def seekable(self) -> bool:
            return False

    pipe = Pipe(b"content")
    pipe.read(3)
    _, body = encode(files={"a": pipe})
    assert isinstance(body, bytes)
    assert b'filename="pipe.txt"\r\nContent-Type: text/plain\r\n\r\ntent\r\n' in body


def test_a_file_of_text_is_refused() -> None:
    for content in (io.StringIO("text"), None):
        with pytest.raises(UsageError, match="a file open in binary mode"):
            encode(files={"a": ("name", content)})  # type: ignore[dict-item]
