"""What a request carries, and the headers that say so.

The law: a body is bytes, unless it is an iterator, which is asked for its next part when the
application wants it. Files are read whole when the request is built: nothing of a test is so large.
"""

from __future__ import annotations

import json as jsonlib
import mimetypes
import os
import re
import warnings
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from pathlib import PurePath
from typing import IO, Any, TypeAlias
from urllib.parse import urlencode

from hesper._testclient.http.urls import pairs_of, primitive
from hesper.exceptions import HesperDeprecationWarning, UsageError

Content: TypeAlias = str | bytes | bytearray | memoryview | Iterable[bytes] | AsyncIterable[bytes]
"""A body: whole, as a file, which is an iterable of bytes, or in parts."""

FileContent: TypeAlias = IO[bytes] | bytes | str
FileTypes: TypeAlias = (
    FileContent
    | tuple[str | None, FileContent]
    | tuple[str | None, FileContent, str | None]
    | tuple[str | None, FileContent, str | None, Mapping[str, str]]
)
"""A file of a form: its content; or its name, content, media type and further headers."""

Files: TypeAlias = Mapping[str, FileTypes] | Sequence[tuple[str, FileTypes]]

# WHATWG HTML, "multipart/form-data encoding algorithm", and the backslash, which readers unescape.
_TO_ESCAPE = re.compile(r'[\x00-\x1a\x1c-\x1f"\\]')
_BOUNDARY = re.compile(r'(?i)multipart/form-data.*;\s*boundary="?([^";]+)"?')


class Parts:
    """A body that comes in parts, each when it is wanted.

    Args:
        source: what gives them. A list, or another thing that can begin again, can be sent again.
    """

    def __init__(self, source: Iterable[bytes] | AsyncIterable[bytes]) -> None:
        self._source = source
        self._begun = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        if self._begun and isinstance(self._source, (AsyncIterator, Iterator)):
            raise UsageError(
                "The body has to be sent again, and was an iterator, which is at its end. Give it "
                "as bytes or as a list, or use follow_redirects=False."
            )
        self._begun = True
        if isinstance(self._source, AsyncIterable):
            return aiter(self._source)
        return _Awaited(iter(self._source))


class _Awaited(AsyncIterator[bytes]):
    """An iterator, as an asynchronous one."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        self._parts = parts

    async def __anext__(self) -> bytes:
        for part in self._parts:
            return part
        raise StopAsyncIteration

    async def aclose(self) -> None:
        if isinstance(self._parts, Generator):
            self._parts.close()


Encoded: TypeAlias = tuple[dict[str, str], bytes | Parts]
"""The headers that describe a body, and the body."""


def encode(
    content: Content | None = None,
    data: Mapping[str, Any] | Content | None = None,
    files: Files | None = None,
    json: Any = None,
    content_type: str | None = None,
) -> Encoded:
    """The body of a request, of the first of these that there is.

    Args:
        content: the body itself.
        data: the fields of a form; a list is a field more than once.
        files: the files of a form, with ``data`` beside them.
        json: what becomes JSON.
        content_type: the ``Content-Type`` that the test sets; a boundary in it is used.
    """
    if data is not None and not isinstance(data, Mapping):
        warnings.warn(
            "Expected data= to be a mapping of form fields: use content= for a body.",
            HesperDeprecationWarning,
            stacklevel=2,
        )
        content, data = data, None
    if content is not None:
        return _encode_content(content)
    if files:
        return _encode_multipart(data or {}, files, content_type)
    if data:
        return _whole(urlencode(pairs_of(data)).encode(), "application/x-www-form-urlencoded")
    if json is not None:
        text = jsonlib.dumps(json, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        return _whole(text.encode(), "application/json")
    return {}, b""


def _encode_content(content: Content) -> Encoded:
    body: Any = content.encode() if isinstance(content, str) else content
    if not isinstance(body, AsyncIterable) and hasattr(body, "read"):
        body = body.read()
    if isinstance(body, (bytes, bytearray, memoryview)):
        return {"content-length": str(len(body))} if body else {}, bytes(body)
    if isinstance(body, Mapping) or not isinstance(body, (Iterable, AsyncIterable)):
        raise UsageError(
            f"Expected content= as str, bytes, a file or an iterable of bytes, got {content!r}. "
            "Use data= for a form and json= for JSON."
        )
    return {"transfer-encoding": "chunked"}, Parts(body)


def _whole(body: bytes, content_type: str) -> Encoded:
    return {"content-length": str(len(body)), "content-type": content_type}, body


def _encode_multipart(data: Mapping[str, Any], files: Files, content_type: str | None) -> Encoded:
    given = _BOUNDARY.match(content_type or "")
    boundary = given[1] if given else os.urandom(16).hex()
    fields = [_form_field(name, value) for name, value in _fields(data)]
    named = files.items() if isinstance(files, Mapping) else files
    fields.extend(_form_file(name, file) for name, file in named)
    delimiter = f"--{boundary}".encode()
    parts = [delimiter + b"\r\n" + field + b"\r\n" for field in fields]
    body = b"".join([*parts, delimiter + b"--\r\n"])
    return _whole(body, f"multipart/form-data; boundary={boundary}")


def _fields(data: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, values in data.items():
        for value in values if isinstance(values, (list, tuple)) else [values]:
            yield name, value


def _form_field(name: str, value: Any) -> bytes:
    content = value if isinstance(value, bytes) else primitive(value).encode()
    return _disposition(name) + b"\r\n\r\n" + content


def _form_file(name: str, file: FileTypes) -> bytes:
    filename, content, content_type, headers = _file_in_full(file)
    if content_type is None and filename:
        content_type = mimetypes.guess_type(filename)[0] or "application/octet-stream"
    if content_type is not None and "content-type" not in map(str.lower, headers):
        headers = {**headers, "Content-Type": content_type}
    head = _disposition(name, filename)
    for header, value in headers.items():
        head += f"\r\n{header}: {value}".encode()
    return head + b"\r\n\r\n" + _read(content)


def _file_in_full(file: Any) -> tuple[str | None, Any, str | None, Mapping[str, str]]:
    if not isinstance(file, tuple):
        return PurePath(str(getattr(file, "name", "upload"))).name, file, None, {}
    filename, content, *more = file
    content_type = more[0] if more else None
    return filename, content, content_type, more[1] if len(more) > 1 else {}


def _read(content: Any) -> bytes:
    if hasattr(content, "read"):
        if content.seekable():
            content.seek(0)
        content = content.read()
    elif isinstance(content, str):
        content = content.encode()
    if not isinstance(content, bytes):
        raise UsageError(
            f"Expected the content of a file as bytes, str or a file open in binary mode, got "
            f"{content!r}."
        )
    return content


def _disposition(name: str, filename: str | None = None) -> bytes:
    text = f'Content-Disposition: form-data; name="{_escaped(name)}"'
    if filename:
        text += f'; filename="{_escaped(filename)}"'
    return text.encode()


def _escaped(name: str) -> str:
    return _TO_ESCAPE.sub(_escape, name)


def _escape(found: re.Match[str]) -> str:
    return "\\\\" if found[0] == "\\" else f"%{ord(found[0]):02X}"
