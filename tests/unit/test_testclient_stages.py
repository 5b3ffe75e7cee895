"""How the asynchronous test client decodes what it reads."""

import gzip
import sys
import zlib
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import brotli  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hesper._testclient.http.stages import Both, Chunks, Lines, Text, Undecodable, decompressed

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


def read(stage: Any, *pieces: Any) -> list[Any]:
    """Everything that a stage makes of these pieces."""
    return [*(made for piece in pieces for made in stage.feed(piece)), *stage.end()]


def raw_deflate(content: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(content) + compressor.flush()


CODINGS: dict[str, list[Callable[[bytes], bytes]]] = {
    "gzip": [gzip.compress],
    "GZIP": [gzip.compress],
    "deflate": [zlib.compress, raw_deflate],
    "br": [brotli.compress],
    "zstd": [zstd.compress],
}
ENCODERS = [(coding, encode) for coding, encoders in CODINGS.items() for encode in encoders]


def cut(data: bytes, points: list[int]) -> list[bytes]:
    """The data in pieces, some of them empty."""
    edges = [0, *sorted(point % (len(data) + 1) for point in points), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


@given(st.binary(), st.lists(st.integers(0, 500)), st.sampled_from(ENCODERS))
def test_content_is_decompressed_however_it_is_cut(
    content: bytes, points: list[int], encoder: tuple[str, Callable[[bytes], bytes]]
) -> None:
    coding, encode = encoder
    pieces = [piece for piece in cut(encode(content), points) if piece]
    assert b"".join(read(decompressed([coding], None), *pieces)) == content


def test_it_is_decompressed_as_it_comes() -> None:
    compressor = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)
    stage = decompressed(["gzip"], None)
    for content in (b"first", b"second"):
        piece = compressor.compress(content) + compressor.flush(zlib.Z_SYNC_FLUSH)
        assert list(stage.feed(piece)) == [content]
    assert list(stage.feed(compressor.flush())) == []
    assert list(stage.end()) == []


def test_several_codings_are_undone_from_the_last() -> None:
    encoded = brotli.compress(gzip.compress(b"content"))
    assert read(decompressed(["gzip", "br"], 4), encoded) == [b"cont", b"ent"]


def test_a_coding_that_nobody_knows_is_left() -> None:
    assert read(decompressed(["identity", "unknown"], None), b"content") == [b"content"]


def test_a_coding_whose_library_is_missing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    for library in ("brotli", "backports.zstd", "compression.zstd"):
        monkeypatch.setitem(sys.modules, library, None)
    for coding in ("br", "zstd"):
        assert read(decompressed([coding], None), b"content") == [b"content"]


@pytest.mark.parametrize(("coding", "encode"), ENCODERS)
def test_half_of_it_is_never_taken_for_all(coding: str, encode: Callable[[bytes], bytes]) -> None:
    encoded = encode(b"content" * 100)
    with pytest.raises(Undecodable, match="The body ends within its coding"):
        read(decompressed([coding], None), encoded[:-1])


@pytest.mark.parametrize("coding", CODINGS)
def test_an_empty_body_is_in_every_coding(coding: str) -> None:
    assert read(decompressed([coding], None)) == []


@pytest.mark.parametrize("coding", CODINGS)
def test_what_is_in_another_coding_is_refused(coding: str) -> None:
    with pytest.raises(Undecodable, match=f"not in the coding '{coding.lower()}'"):
        read(decompressed([coding], None), b"\xff not at all" * 10)


def test_deflate_that_breaks_later_is_refused() -> None:
    encoded = zlib.compress(b"content" * 100)
    with pytest.raises(Undecodable, match="not in the coding 'deflate'"):
        read(decompressed(["deflate"], None), encoded[:5], encoded[5:-4], b"\xff" * 4)


def test_deflate_of_one_byte_is_not_all() -> None:
    with pytest.raises(Undecodable, match="ends within"):
        read(decompressed(["deflate"], None), b"x")


@given(st.text(), st.lists(st.integers(0, 500)))
def test_text_and_lines_are_the_same_however_they_are_cut(text: str, points: list[int]) -> None:
    encoded = text.encode("utf-8", "replace")
    pieces = cut(encoded, points)
    decoded = encoded.decode()
    assert "".join(read(Both(Text("utf-8"), Chunks[str](None)), *pieces)) == decoded
    assert read(Both(Text("utf-8"), Lines()), *pieces) == decoded.splitlines()


def test_a_line_is_there_as_soon_as_it_is_complete() -> None:
    lines = Lines()
    assert list(lines.feed("a")) == []
    assert list(lines.feed("b\nc\r")) == ["ab"]
    assert list(lines.feed("\n\n")) == ["c", ""]
    assert list(lines.feed("d\r")) == []
    assert list(lines.feed("e")) == ["d"]
    assert list(lines.end()) == ["e"]


def test_text_that_breaks_off_is_replaced() -> None:
    assert read(Text("utf-8"), b"a\xc3") == ["a", "\ufffd"]


@given(st.lists(st.binary(max_size=10)), st.integers(1, 10))
def test_chunks_are_of_one_size(pieces: list[bytes], size: int) -> None:
    made = read(Chunks[bytes](size), *pieces)
    assert b"".join(made) == b"".join(pieces)
    assert all(len(chunk) == size for chunk in made[:-1])
    assert all(0 < len(chunk) <= size for chunk in made[-1:])


def test_chunks_without_a_size_stay_as_they_are() -> None:
    assert read(Chunks[bytes](None), b"a", b"", b"bc") == [b"a", b"bc"]
