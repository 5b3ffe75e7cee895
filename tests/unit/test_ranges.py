"""Ranges: RFC 9110 section 14."""

import itertools
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import anyio
import pytest
import starlette.responses
from hypothesis import given, settings
from hypothesis import strategies as st

from hesper._ranges import (
    MalformedRange,
    RangePart,
    UnsatisfiableRange,
    content_range,
    multipart_layout,
    parse_range,
)


@pytest.mark.parametrize(
    ("header", "ranges"),
    [
        ("bytes=0-9", [(0, 10)]),
        ("bytes=90-", [(90, 100)]),
        ("bytes=-5", [(95, 100)]),
        ("bytes=-500", [(0, 100)]),
        ("bytes=0-1000", [(0, 100)]),
        ("bytes=99-99", [(99, 100)]),
        ("BYTES=0-9", [(0, 10)]),
        ("bytes = 0 - 9 , 20-29", [(0, 10), (20, 30)]),
        ("bytes=20-29,0-9", [(0, 10), (20, 30)]),
        ("bytes=0-9,10-19", [(0, 20)]),
        ("bytes=0-9,5-15", [(0, 16)]),
        ("bytes=0-50,10-20", [(0, 51)]),
        ("bytes=0-9,11-19", [(0, 10), (11, 20)]),
        ("bytes=0-0,-1", [(0, 1), (99, 100)]),
        ("bytes=0-9,abc,-,,", [(0, 10)]),
        # Section 14.1.2: one range within the content makes the set satisfiable.
        ("bytes=0-9,100-", [(0, 10)]),
        ("bytes=-0,5-5", [(5, 6)]),
        ("bytes=000000000000000000000000000000005-5", [(5, 6)]),
        ("bytes=5-99999999999999999999999999999999", [(5, 100)]),
        ("items=0-5", None),
        ("=0-5", None),
        ("bytes=" + ",".join(["0-0"] * 100), [(0, 1)]),
        ("bytes=" + ",".join(["0-0"] * 101), None),
        ("bytes=0-0" + "," * 200, None),
    ],
)
def test_ranges_are_read_sorted_and_merged(
    header: str, ranges: list[tuple[int, int]] | None
) -> None:
    assert parse_range(header, 100) == ranges


@pytest.mark.parametrize(
    ("header", "text"),
    [
        ("", "Malformed range header."),
        ("bytes", "Malformed range header."),
        ("bytes=", "Range header: range must be requested"),
        ("bytes=abc", "Range header: range must be requested"),
        ("bytes=-", "Range header: range must be requested"),
        ("bytes=5", "Range header: range must be requested"),
        ("bytes=1-2-3", "Range header: range must be requested"),
        ("bytes=+1-5", "Range header: range must be requested"),
        ("bytes=1_0-20", "Range header: range must be requested"),
        ("bytes=٣-٤", "Range header: range must be requested"),
        ("bytes=²-5", "Range header: range must be requested"),
        ("bytes=5-4", "Range header: start must be less than end"),
        ("bytes=0-9,5-3", "Range header: start must be less than end"),
        ("bytes=200-150", "Range header: start must be less than end"),
        ("bytes=99999999999999999999999-5", "Range header: start must be less than end"),
    ],
)
def test_malformed_ranges_say_what_is_wrong(header: str, text: str) -> None:
    with pytest.raises(MalformedRange) as raised:
        parse_range(header, 100)
    assert str(raised.value) == text


@pytest.mark.parametrize(
    "header", ["bytes=100-", "bytes=100-200", "bytes=-0", "bytes=99999999999999999999999-"]
)
def test_ranges_beyond_the_content_are_unsatisfiable(header: str) -> None:
    with pytest.raises(UnsatisfiableRange, match="within the 100 bytes") as raised:
        parse_range(header, 100)
    assert raised.value.max_size == 100
    assert raised.value.content_range == "bytes */100"


@pytest.mark.parametrize("header", ["bytes=0-", "bytes=-5", "bytes=0-9"])
def test_an_empty_content_is_answered_whole(header: str) -> None:
    assert parse_range(header, 0) is None


def test_the_number_of_ranges_is_a_parameter() -> None:
    assert parse_range("bytes=0-0,2-2", 9, max_ranges=2) == [(0, 1), (2, 3)]
    assert parse_range("bytes=0-0,2-2", 9, max_ranges=1) is None


@given(
    st.lists(st.tuples(st.integers(0, 120), st.integers(0, 30)), min_size=1, max_size=8),
    st.integers(1, 100),
)
def test_the_ranges_are_exactly_the_bytes_asked_for(
    asked: list[tuple[int, int]], size: int
) -> None:
    wanted: set[int] = set()
    for first, length in asked:
        wanted |= set(range(first, first + length + 1)) & set(range(size))
    header = "bytes=" + ",".join(f"{first}-{first + length}" for first, length in asked)
    try:
        ranges = parse_range(header, size)
    except UnsatisfiableRange:
        assert not wanted
        return
    assert ranges is not None
    assert [at for start, end in ranges for at in range(start, end)] == sorted(wanted)
    assert all(end < start for (_, end), (start, _) in itertools.pairwise(ranges))


@given(st.text(alphabet="bytes=-,0123456789 ", max_size=40).map("bytes={}".format) | st.text())
def test_reading_ranges_raises_only_what_it_says(header: str) -> None:
    try:
        ranges = parse_range(header, 50)
    except (MalformedRange, UnsatisfiableRange):
        return
    for start, end in ranges or []:
        assert 0 <= start < end <= 50


@pytest.mark.parametrize(
    "hostile",
    [
        "bytes=" + "0-0," * 16_384,
        "bytes=" + "," * 65_536,
        "bytes=" + "9" * 65_536 + "-",
        "bytes=0-" + "0" * 65_536,
        "bytes=" + "-" * 65_536,
        "bytes=" + " " * 65_536,
        "=" * 65_536,
    ],
)
@pytest.mark.parametrize("max_ranges", [100, 1_000_000])
def test_hostile_ranges_take_linear_time(hostile: str, max_ranges: int) -> None:
    began = time.process_time()
    try:
        parse_range(hostile, 100, max_ranges)
    except (MalformedRange, UnsatisfiableRange):
        pass
    # Measured 40 ms at most; Starlette took quadratic time before 0.49.1 (CVE-2025-62727).
    assert time.process_time() - began < 1


def test_content_range_names_the_last_byte_of_the_part() -> None:
    assert content_range(0, 10, 100) == "bytes 0-9/100"


def test_the_layout_of_a_multipart_body_is_known_before_a_byte_is_read() -> None:
    length, parts = multipart_layout([(0, 2), (5, 9)], "B", 10, "text/plain")
    assert parts == [
        RangePart(b"--B\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/10\r\n\r\n", 0, 2),
        RangePart(
            b"\r\n--B\r\nContent-Type: text/plain\r\nContent-Range: bytes 5-8/10\r\n\r\n", 5, 9
        ),
        RangePart(b"\r\n--B--", 10, 10),
    ]
    assert length == len(assemble(parts, bytes(10)))


def assemble(parts: Iterable[RangePart], content: bytes) -> bytes:
    return b"".join(part.header + content[part.start : part.end] for part in parts)


async def starlette_file_response(path: Path, header: str) -> tuple[dict[str, str], bytes]:
    sent: list[Any] = []

    async def receive() -> Any:
        await anyio.sleep_forever()

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "headers": [(b"range", header.encode())]}
    await starlette.responses.FileResponse(path, media_type="text/plain")(scope, receive, send)
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return headers, b"".join(message.get("body", b"") for message in sent[1:])


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 9)), min_size=1, max_size=5))
def test_a_multipart_body_is_byte_for_byte_that_of_starlette(asked: list[tuple[int, int]]) -> None:
    header = "bytes=" + ",".join(f"{first}-{first + length}" for first, length in asked)
    content = bytes(range(100))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file")
        path.write_bytes(content)
        headers, body = anyio.run(starlette_file_response, path, header)
    ranges = parse_range(header, 100)
    assert ranges is not None
    if len(ranges) == 1:
        assert body == content[ranges[0][0] : ranges[0][1]]
        assert headers["content-range"] == content_range(*ranges[0], 100)
        return
    boundary = headers["content-type"].rpartition("boundary=")[2]
    length, parts = multipart_layout(ranges, boundary, 100, "text/plain; charset=utf-8")
    assert assemble(parts, content) == body
    assert str(length) == headers["content-length"]
