"""JSON of requests and responses, behind one seam: the standard library's, or msgspec's.

``use_json("msgspec")`` takes another library for the whole process. It is faster by far where JSON is
more than the frame around it (10 KB in and out: 160 µs where the standard library takes 290, CPython
3.13), and is stricter and laxer in places: see there.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Literal, get_args

from hesper.exceptions import UsageError

Library = Literal["standard", "msgspec"]

_BRACKETS = {b"{", b"["}
_decode = json.JSONDecoder().decode
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def standard_decode(body: bytes) -> Any:
    """A value from JSON in UTF-8, -16 or -32. Raises ValueError, or RecursionError."""
    if body[:1] in _BRACKETS and body[1:2] != b"\0":
        # UTF-8 for sure: what json.loads does without asking which encoding it is (1 µs).
        return _decode(body.decode("utf-8", "surrogatepass"))
    return json.loads(body)


def standard_encode(value: Any) -> bytes:
    """A value as JSON in UTF-8. Raises TypeError, or ValueError for NaN and infinities."""
    return _encode(value).encode("utf-8")


decode: Callable[[bytes], Any] = standard_decode
"""What reads the body of a request."""

encode: Callable[[Any], bytes] = standard_encode
"""What writes the body of a ``JSONResponse``."""


def use_json(library: Library) -> None:
    """Choose the library that reads and writes JSON, for the whole process; call it at its start.

    msgspec writes more types (dataclasses, dates, UUIDs, enums) and NaN as ``null``, and reads UTF-8
    alone. WebSockets stay with the standard library.

    Args:
        library: "standard" or "msgspec".

    Raises:
        UsageError: there is no such choice.
        ImportError: msgspec is not installed; it names the extra.
    """
    global decode, encode
    if library not in get_args(Library):
        raise UsageError(
            f"Expected the JSON library to be one of {', '.join(map(repr, get_args(Library)))}, "
            f"got {library!r}."
        )
    if library == "standard":
        decode, encode = standard_decode, standard_encode
        return
    try:
        import msgspec
    except ImportError as exc:
        raise ImportError(
            "use_json('msgspec') needs the library msgspec: pip install 'hesper[msgspec]'."
        ) from exc

    def strict_decode(body: bytes) -> Any:
        try:
            return msgspec.json.decode(body)
        except msgspec.DecodeError as exc:
            raise ValueError(str(exc)) from exc

    decode, encode = strict_decode, msgspec.json.encode
