"""From the bytes of a body to what a test reads: decoded bytes, text, lines, chunks of one size.

The law: a stage waits for nothing. It takes a piece and gives what can be said by then, so that a
response is readable while it is made; at the end it gives the rest. Stages are put one behind the
other.
"""

from __future__ import annotations

import codecs
import zlib
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, Generic, Protocol, TypeVar

_In_contra = TypeVar("_In_contra", contravariant=True)
_Out_co = TypeVar("_Out_co", covariant=True)
_Piece = TypeVar("_Piece", str, bytes)
_A = TypeVar("_A")
_B = TypeVar("_B")
_C = TypeVar("_C")


class Stage(Protocol[_In_contra, _Out_co]):
    """One step of reading."""

    def feed(self, piece: _In_contra, /) -> Iterator[_Out_co]:
        """Takes a piece, and gives what it makes of it."""
        ...

    def end(self) -> Iterator[_Out_co]:
        """Gives the rest; no call after it."""
        ...


class Both(Generic[_A, _B, _C]):
    """One stage behind another."""

    def __init__(self, first: Stage[_A, _B], second: Stage[_B, _C]) -> None:
        self._first = first
        self._second = second

    def feed(self, piece: _A) -> Iterator[_C]:
        for made in self._first.feed(piece):
            yield from self._second.feed(made)

    def end(self) -> Iterator[_C]:
        for made in self._first.end():
            yield from self._second.feed(made)
        yield from self._second.end()


class Chunks(Generic[_Piece]):
    """Gives pieces of one size, and a last one that may be smaller.

    Args:
        size: how long each is; None leaves them as they come.
    """

    def __init__(self, size: int | None) -> None:
        self._size = size
        self._held: _Piece | None = None

    def feed(self, piece: _Piece) -> Iterator[_Piece]:
        if self._size is None:
            if piece:
                yield piece
            return
        held = piece if self._held is None else self._held + piece
        whole = len(held) - len(held) % self._size
        for start in range(0, whole, self._size):
            yield held[start : start + self._size]
        self._held = held[whole:]

    def end(self) -> Iterator[_Piece]:
        if self._held:
            yield self._held


class Text:
    """Decodes text; what is no text in this encoding becomes U+FFFD.

    Args:
        encoding: one that Python knows.
    """

    def __init__(self, encoding: str) -> None:
        self._decoder = codecs.getincrementaldecoder(encoding)("replace")

    def feed(self, piece: bytes) -> Iterator[str]:
        yield self._decoder.decode(piece)

    def end(self) -> Iterator[str]:
        yield self._decoder.decode(b"", True)


class Lines:
    """Gives each line as soon as it is complete, without its end; lines as `str.splitlines`."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, piece: str) -> Iterator[str]:
        if not piece:
            return
        lines = (self._held + piece).splitlines(keepends=True)
        # A line that ends in CR may go on with LF.
        complete = len(lines[-1].splitlines()[0]) < len(lines[-1]) and lines[-1][-1] != "\r"
        self._held = "" if complete else lines.pop()
        for line in lines:
            yield line.splitlines()[0]

    def end(self) -> Iterator[str]:
        yield from self._held.splitlines()


class Undecodable(ValueError):
    """The bytes are not in the coding that they should be in."""


class Decompressed:
    """Undoes one content coding.

    Args:
        coding: its name.
        decode: what decodes the next bytes.
        ended: whether the compressed data has come to its end.
    """

    def __init__(
        self, coding: str, decode: Callable[[bytes], bytes], ended: Callable[[], bool]
    ) -> None:
        self._coding = coding
        self._decode = decode
        self._ended = ended
        self._begun = False

    def feed(self, piece: bytes) -> Iterator[bytes]:
        self._begun = True
        try:
            decoded = self._decode(piece)
        except Exception as error:  # each library has its own
            raise Undecodable(
                f"The body is not in the coding {self._coding!r}: {error}."
            ) from error
        yield decoded

    def end(self) -> Iterator[bytes]:
        # The answers to HEAD, and 304, name a coding and have no body.
        if self._begun and not self._ended():
            raise Undecodable(f"The body ends within its coding {self._coding!r}.")
        return iter(())


class _Deflate:
    """The coding "deflate", in both of the forms that servers send (RFC 9110 section 8.4.1.2)."""

    def __init__(self) -> None:
        self._decoder: Any = None
        self._head = b""

    def decode(self, data: bytes) -> bytes:
        if self._decoder is None:
            data = self._head = self._head + data
            if len(data) < 2:
                return b""
            # RFC 1950 section 2.2; without such a header it is RFC 1951 alone.
            zlib_header = data[0] & 15 == 8 and int.from_bytes(data[:2]) % 31 == 0
            self._decoder = zlib.decompressobj(zlib.MAX_WBITS if zlib_header else -zlib.MAX_WBITS)
        decoded: bytes = self._decoder.decompress(data)
        return decoded

    def ended(self) -> bool:
        return self._decoder is not None and self._decoder.eof


def decompressed(codings: list[str], size: int | None) -> Stage[bytes, bytes]:
    """The stage that undoes codings, the last of them first.

    A coding that is not known, or whose library is not installed, is left as it is.

    Args:
        codings: in the order of ``Content-Encoding``.
        size: of the chunks.
    """
    stage: Stage[bytes, bytes] = Chunks(size)
    for coding in codings:
        if (made := _decompressor(coding.lower())) is not None:
            stage = Both(made, stage)
    return stage


def _decompressor(coding: str) -> Decompressed | None:
    if coding == "gzip":
        gzip = zlib.decompressobj(16 + zlib.MAX_WBITS)
        return Decompressed(coding, gzip.decompress, lambda: gzip.eof)
    if coding == "deflate":
        deflate = _Deflate()
        return Decompressed(coding, deflate.decode, deflate.ended)
    if coding == "br" and (library := _import("brotli")):
        brotli = library.Decompressor()
        return Decompressed(coding, brotli.process, brotli.is_finished)
    if coding == "zstd" and (library := _import("compression.zstd", "backports.zstd")):
        zstd = library.ZstdDecompressor()
        return Decompressed(coding, zstd.decompress, lambda: zstd.eof)
    return None


def _import(*names: str) -> Any:
    for name in names:
        try:
            return import_module(name)
        except ImportError:
            pass
    return None
