"""``FileResponse``: a file, or the parts of it that were asked for.

The laws:

1. The file is opened before anything is sent, and what is said of it (length, date, entity tag) is
   said of the opened file. So an error is still answered with a 500, and a file that is replaced
   meanwhile is sent as it was: never the bytes of one state under the tag of another.
2. What a request asks for is settled once. Then it is a response as any other: a middleware may
   change its headers or read its body, and what it does stands.
"""

from __future__ import annotations

import copy
import os
import stat
from collections.abc import Awaitable, Callable, Mapping, Sequence
from mimetypes import guess_type
from secrets import token_hex
from urllib.parse import quote

from hesper._concurrency import run_in_thread
from hesper._file_body import FileBody, FileChunks, FileSource
from hesper._response import Response, content_type_header
from hesper.conditional import (
    ETag,
    MalformedRange,
    RangePart,
    UnsatisfiableRange,
    content_range,
    format_http_date,
    if_range_allows,
    make_etag,
    multipart_layout,
    parse_http_date,
    parse_range,
)
from hesper.exceptions import UsageError
from hesper.types import Message, Receive, Scope, Send

__all__ = ["FileResponse", "MalformedRangeHeader", "RangeNotSatisfiable"]

MalformedRangeHeader = MalformedRange
RangeNotSatisfiable = UnsatisfiableRange
"""Starlette's names. Neither gets out of a response: they become a 400 and a 416."""


class FileResponse(Response):
    """A file, with its date and entity tag; answers range requests (RFC 9110 section 14).

    Args:
        path: where it is.
        status_code: with another one than 200 ranges are not looked at.
        headers: more headers; those that a file would get otherwise stand.
        media_type: the content type; guessed from ``filename`` or ``path`` if None.
        background: called when the response has ended, whether or not the client stayed.
        filename: the name that the client should save it under (RFC 6266).
        stat_result: what ``os.stat`` says of it, if that is known: the headers are there at once.
        content_disposition_type: "attachment" or "inline", if there is a ``filename``.

    Raises:
        RuntimeError: when it is sent: there is no file at ``path``. Nothing has been sent by then.
        OSError: when it is sent: the file cannot be opened. Nothing has been sent by then.

    When the client leaves or sending is cancelled, the file is closed. As an ASGI app it can be
    sent many times; returned from a handler, it is for one request.
    """

    chunk_size = 256 * 1024
    """Bytes that are read at once; a file that is not larger is sent in one message."""
    max_ranges = 100
    """Ranges in one request; if there are more, the whole file is sent."""

    _sized = False
    _deferred = True
    _plain = False
    _settled = False

    def __init__(
        self,
        path: str | os.PathLike[str],
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        media_type: str | None = None,
        background: Callable[[], Awaitable[None]] | None = None,
        filename: str | None = None,
        stat_result: os.stat_result | None = None,
        content_disposition_type: str = "attachment",
    ) -> None:
        self.path = path
        self.status_code = status_code
        self.filename = filename
        if media_type is None:
            media_type = guess_type(filename or path)[0] or "application/octet-stream"
        self.media_type = media_type
        self.background = background
        self.stat_result = stat_result
        self.init_headers(headers)
        self.headers.setdefault("accept-ranges", "bytes")
        if filename is not None:
            disposition = _content_disposition(content_disposition_type, filename)
            self.headers.setdefault("content-disposition", disposition)
        if stat_result is not None:
            self.set_stat_headers(stat_result)

    def set_stat_headers(self, stat_result: os.stat_result) -> None:
        """Set content-length, last-modified and etag, where they are not set yet."""
        for name, value in self._stat_headers(stat_result):
            self.headers.setdefault(name, value)

    def _stat_headers(self, stat_result: os.stat_result) -> list[tuple[str, str]]:
        size, modified = stat_result.st_size, stat_result.st_mtime
        fields = [
            ("content-length", str(size)),
            ("last-modified", format_http_date(modified)),
            ("etag", str(make_etag(f"{modified}-{size}"))),
        ]
        return fields if self._may_have_body else fields[1:]

    @property
    def _may_have_body(self) -> bool:
        # RFC 9110 section 6.4.1. A length in a 204 is an error (section 8.6).
        return self.status_code >= 200 and self.status_code not in (204, 304)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response, then run ``background``."""
        answer = self
        if not self._settled:  # else a middleware holds it
            answer = copy.copy(self)
            answer.raw_headers, answer._headers = list(self.raw_headers), None
        await Response.__call__(answer, scope, receive, send)

    # -- settling: what is sent, and what of it ----------------------------------------------------

    async def _resolve(self, scope: Scope) -> None:
        if self._settled:
            if isinstance(self._body, FileBody) and self._body.used:
                raise UsageError(
                    f"The FileResponse for {self.path} was sent already: make a new one for each "
                    "request, or give it to the router as an ASGI app."
                )
            return
        self._settled = True
        source = FileSource(self.path)
        try:
            await run_in_thread(self._settle, scope, source)
        except BaseException:
            source.close()
            self._settled = False
            raise

    def _settle(self, scope: Scope, source: FileSource) -> None:
        with_body = self._may_have_body and scope.get("method") != "HEAD"
        size = self._inspect(source if with_body else None)
        try:
            ranges = self._asked_ranges(scope, size)
        except MalformedRange as exc:
            self._refuse(400, str(exc), with_body)
        except UnsatisfiableRange as exc:
            self._refuse(416, "", with_body)
            self.headers["content-range"] = exc.content_range
        else:
            length, parts = (
                (size, [RangePart(b"", 0, size)]) if ranges is None else self._select(ranges, size)
            )
            if with_body and length:
                source.select(parts)
                whole = ranges is None and "http.response.pathsend" in scope.get("extensions", ())
                self._set_content(source, length, whole)
                return
        source.close()

    def _inspect(self, source: FileSource | None) -> int:
        """Look at the file, and open it if there is a source; the size in bytes."""
        try:
            # Before it is opened: to open a pipe waits for its writer.
            status = self.stat_result or os.stat(self.path)
            if not stat.S_ISREG(status.st_mode):
                raise RuntimeError(f"File at path {self.path} is not a file.")
            if source is not None:
                status = source.open()
        except (FileNotFoundError, NotADirectoryError) as exc:
            raise RuntimeError(f"File at path {self.path} does not exist.") from exc
        known = self.stat_result
        if known is None:
            self.set_stat_headers(status)
        elif (known.st_size, known.st_mtime) != (status.st_size, status.st_mtime):
            for name, value in self._stat_headers(known):
                if self.headers.get(name) == value:
                    del self.headers[name]
            self.set_stat_headers(status)
        return status.st_size

    def _asked_ranges(self, scope: Scope, size: int) -> list[tuple[int, int]] | None:
        if self.status_code != 200 or scope.get("method") not in ("GET", "HEAD"):
            return None
        asked = _field(scope, b"range")
        if asked is None or not if_range_allows(_field(scope, b"if-range"), *self._validators()):
            return None
        return parse_range(asked, size, self.max_ranges)

    def _validators(self) -> tuple[ETag | None, float | None]:
        """Those that the client gets, which the application may have set."""
        modified = parse_http_date(self.headers.get("last-modified", ""))
        try:
            etag = ETag.parse(self.headers.get("etag", ""))
        except ValueError:
            etag = None
        return etag, None if modified is None else modified.timestamp()

    def _select(self, ranges: list[tuple[int, int]], size: int) -> tuple[int, list[RangePart]]:
        self.status_code = 206
        if len(ranges) == 1:
            start, end = ranges[0]
            length, parts = end - start, [RangePart(b"", start, end)]
            self.headers["content-range"] = content_range(start, end, size)
        else:
            boundary = token_hex(13)
            content_type = self.headers.get("content-type", "application/octet-stream")
            length, header = self.generate_multipart(ranges, boundary, size, content_type)
            parts = [
                RangePart(b"\r\n" * bool(number) + header(start, end), start, end)
                for number, (start, end) in enumerate(ranges)
            ]
            parts.append(RangePart(b"\r\n--%b--" % boundary.encode("latin-1"), size, size))
            self.headers["content-type"] = f"multipart/byteranges; boundary={boundary}"
        self.headers["content-length"] = str(length)
        return length, parts

    def generate_multipart(
        self, ranges: Sequence[tuple[int, int]], boundary: str, max_size: int, content_type: str
    ) -> tuple[int, Callable[[int, int], bytes]]:
        """Plan a multipart/byteranges body (RFC 9110 section 14.6).

        Args:
            ranges: of bytes, with the end exclusive.
            boundary: the delimiter.
            max_size: the length of the file in bytes.
            content_type: of the file.

        Returns:
            The length of the body in bytes, and a function that gives what goes before a range.
        """

        def header(start: int, end: int) -> bytes:
            return multipart_layout([(start, end)], boundary, max_size, content_type)[1][0].header

        return multipart_layout(ranges, boundary, max_size, content_type)[0], header

    def _refuse(self, status_code: int, text: str, with_body: bool) -> None:
        content = text.encode(self.charset)
        self.status_code = status_code
        # None of the file's headers: nobody should cache this as the file.
        self.raw_headers[:] = [
            (b"content-length", b"%d" % len(content)),
            content_type_header("text/plain", self.charset),
        ]
        if with_body:
            self.body = content

    def _set_content(self, source: FileSource, length: int, whole: bool) -> None:
        if whole:
            path = os.path.abspath(self.path)
            message: Message | None = {"type": "http.response.pathsend", "path": path}
        elif length <= self.chunk_size:
            self.body = source.read(length)
            return
        else:
            message = None
        self._body = FileBody(FileChunks(source, self.chunk_size, message), self.charset)


def _field(scope: Scope, name: bytes) -> str | None:
    for key, value in scope["headers"]:
        if key == name:
            text: str = value.decode("latin-1")
            return text
    return None


def _content_disposition(kind: str, filename: str) -> str:
    """RFC 6266, with the name as RFC 8187 has it where a quoted string would not do."""
    quoted = quote(filename, errors="replace")  # a lone surrogate stands for a byte of the disk
    if quoted == filename:
        return f'{kind}; filename="{filename}"'
    return f"{kind}; filename*=utf-8''{quoted}"
