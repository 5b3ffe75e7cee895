"""Content codings: what turns the chunks of a body into those of a compressed one.

The rules:

1. Each chunk is flushed: the client can decode all that was sent up to now, so an event stream
   arrives as promptly as without compression.
2. Whoever drops an encoder has released it: it owns memory, nothing else.
3. An optional library is imported when a codec is made, and not before.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, Protocol

from hesper.exceptions import UsageError


class Encoder(Protocol):
    """One body's compression. Every call may take a while, and may be made in any thread."""

    def chunk(self, data: bytes) -> bytes:
        """More of the body; what comes back says all of it."""
        ...

    def last(self, data: bytes = b"") -> bytes:
        """The rest of the body, and the end. No call after it."""
        ...


Codec = Callable[[], Encoder]
"""Begins a body."""


class _Gzip:
    def __init__(self, level: int) -> None:
        # RFC 1952: 16 on top of the window's size asks zlib for the gzip format.
        self._deflate = zlib.compressobj(level, zlib.DEFLATED, 16 + zlib.MAX_WBITS)

    def chunk(self, data: bytes) -> bytes:
        return self._deflate.compress(data) + self._deflate.flush(zlib.Z_SYNC_FLUSH)

    def last(self, data: bytes = b"") -> bytes:
        return self._deflate.compress(data) + self._deflate.flush()


class _Brotli:
    def __init__(self, compressor: Any) -> None:
        self._compressor = compressor

    def chunk(self, data: bytes) -> bytes:
        encoded: bytes = self._compressor.process(data) + self._compressor.flush()
        return encoded

    def last(self, data: bytes = b"") -> bytes:
        encoded: bytes = self._compressor.process(data) + self._compressor.finish()
        return encoded


class _Zstd:
    def __init__(self, compressor: Any) -> None:
        self._compressor = compressor

    def chunk(self, data: bytes) -> bytes:
        encoded: bytes = self._compressor.compress(data, self._compressor.FLUSH_BLOCK)
        return encoded

    def last(self, data: bytes = b"") -> bytes:
        encoded: bytes = self._compressor.compress(data, self._compressor.FLUSH_FRAME)
        return encoded


def _gzip(level: int) -> Codec:
    return lambda: _Gzip(level)


def _brotli(level: int) -> Codec:
    library = _import("br", "brotli")
    return lambda: _Brotli(library.Compressor(quality=level))


def _zstd(level: int) -> Codec:
    library = _import("zstd", "compression.zstd", "backports.zstd")  # the first from 3.14 on
    return lambda: _Zstd(library.ZstdCompressor(level))


def _import(encoding: str, *names: str) -> Any:
    for name in names:
        try:
            return import_module(name)
        except ImportError as exc:
            error = exc
    raise ImportError(
        f"Compressing with {encoding!r} needs the package {names[-1]!r}. "
        'Install it with: pip install "hesper[compression]"'
    ) from error


class _Known:
    """What there is to know of a coding before one is made."""

    def __init__(self, make: Callable[[int], Codec], default: int, levels: range) -> None:
        self.make = make
        self.default = default
        self.levels = levels


ENCODINGS: Mapping[str, _Known] = {
    # At these levels brotli and zstd are faster than gzip is, and denser: 76 KB of JSON take 1.0, 0.3
    # and 1.7 ms, and become 25.6, 25.7 and 26.3 KB (CPython 3.13).
    "br": _Known(_brotli, 4, range(12)),
    # RFC 9659 section 3: a window of at most 8 MB. Levels above 19 ask for more.
    "zstd": _Known(_zstd, 3, range(1, 20)),
    "gzip": _Known(_gzip, 6, range(-1, 10)),
}
"""Every coding, in the order in which they are preferred."""


def load_codecs(encodings: Sequence[str] | None, levels: Mapping[str, int]) -> dict[str, Codec]:
    """Make codecs, in the order that is asked for.

    Args:
        encodings: names of codings; None: those whose library is installed.
        levels: how hard each is to try, where that is not the default.

    Raises:
        UsageError: there is no such coding or level.
        ImportError: a library is not installed; it names the extra.
    """
    if isinstance(encodings, str):
        raise UsageError(f"Expected encodings as a sequence, got {encodings!r}: write [...].")
    for name in (*(encodings or ()), *levels):
        if name not in ENCODINGS:
            raise UsageError(f"Expected encodings among {', '.join(ENCODINGS)}, got {name!r}.")
    codecs: dict[str, Codec] = {}
    for name in ENCODINGS if encodings is None else encodings:
        known = ENCODINGS[name]
        level = levels.get(name, known.default)
        if level not in known.levels:
            first, last = known.levels[0], known.levels[-1]
            raise UsageError(f"Expected a level from {first} to {last} for {name!r}, got {level}.")
        try:
            codecs[name] = known.make(level)
        except ImportError:
            if encodings is not None:
                raise
    return codecs
