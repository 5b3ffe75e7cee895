"""Forms in request bodies: `application/x-www-form-urlencoded` and `multipart/form-data`.

The law: a form arrives whole or not at all. Whatever the client sends becomes a `FormData` or a
`MultiPartException` (the caller answers 400), whatever it fails to send is the stream's exception,
and however parsing ends other than well, no temporary file outlives it.

The grammar of the bodies is the `python_multipart` package's; the limits, the text and the files
are ours. RFC 7578 for multipart, which is read here; WHATWG URL section 5 for urlencoded
(`hesper._urlencoded`).
"""

import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast

from hesper._form_rules import (
    MultiPartException,
    base_name,
    check_count,
    check_size,
    require_library,
    text_codec,
)
from hesper._grammar import parse_options_header
from hesper._spools import Spools
from hesper._urlencoded import FormParser
from hesper.datastructures import FormData, Headers, UploadFile

__all__ = ["FormParser", "MultiPartException", "MultiPartParser", "MultipartPart"]


@dataclass
class MultipartPart:
    """One part of a multipart body while it is read: a field, or a file if it has a file name."""

    content_disposition: bytes | None = None
    field_name: str = ""
    data: bytearray = field(default_factory=bytearray)
    file: UploadFile | None = None
    item_headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    size: int = 0
    """How much of its content has arrived, in bytes."""


class MultiPartParser:
    """Reads a `multipart/form-data` body; files go to temporary files, fields to memory.

    Args:
        headers: of the request; `Content-Type` gives the boundary and the charset (UTF-8 if none).
        stream: the body in pieces; closed when `parse` ends.
        max_files: how many parts may be files.
        max_fields: how many parts may be fields.
        max_part_size: how long the value of a field may be, in bytes.
        max_file_size: how long a file may be, in bytes; None: as long as it likes.

    Raises:
        ImportError: if the extra `forms` is not installed.
    """

    spool_max_size = 1024 * 1024
    """From which size in bytes on a file is on disk, and written in a worker thread."""

    max_headers = 8
    """How many headers a part may have; browsers send two."""

    max_headers_size = 8 * 1024
    """How long the headers of a part may be together, in bytes of names and values."""

    def __init__(
        self,
        headers: Headers,
        stream: AsyncGenerator[bytes, None],
        *,
        max_files: int | float = 1000,
        max_fields: int | float = 1000,
        max_part_size: int = 1024 * 1024,
        max_file_size: int | None = None,
    ) -> None:
        require_library()
        self.headers = headers
        self.stream = stream
        self.max_files = max_files
        self.max_fields = max_fields
        self.max_part_size = max_part_size
        self.max_file_size = max_file_size
        self.items: list[tuple[str, str | UploadFile]] = []
        self._current_files = 0
        self._current_fields = 0
        self._current_part = MultipartPart()
        self._header_name = bytearray()
        self._header_value = bytearray()
        self._headers_size = 0
        self._charset = "utf_8"
        self._complete = False
        self._spools = Spools()

    def open_file(self) -> BinaryIO:
        """Open the temporary file of one upload; override it to keep uploads elsewhere."""
        return cast(BinaryIO, SpooledTemporaryFile(max_size=self.spool_max_size))

    def on_part_begin(self) -> None:
        """A part begins."""
        self._current_part = MultipartPart()
        self._headers_size = 0

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        """A piece of the name of one of its headers has come."""
        self._check_headers_size(end - start)
        self._header_name += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        """A piece of that header's value has come."""
        self._check_headers_size(end - start)
        self._header_value += data[start:end]

    def on_header_end(self) -> None:
        """The header is complete."""
        part = self._current_part
        name, value = bytes(self._header_name).lower(), bytes(self._header_value)
        if name == b"content-disposition":
            part.content_disposition = value
        part.item_headers.append((name, value))
        check_count("headers in a part", len(part.item_headers), self.max_headers)
        self._header_name.clear()
        self._header_value.clear()

    def on_headers_finished(self) -> None:
        """All headers are there: is it a field or a file, and is it one too many?"""
        part = self._current_part
        _, options = parse_options_header(self._decode(part.content_disposition or b""))
        if "name" not in options:
            raise MultiPartException(
                'The Content-Disposition header field "name" must be provided.'
            )
        part.field_name = options["name"]
        if "filename" not in options:
            self._current_fields += 1
            check_count("fields", self._current_fields, self.max_fields)
            return
        self._current_files += 1
        check_count("files", self._current_files, self.max_files)
        file = self.open_file()
        self._spools.add(file)
        part.file = UploadFile(
            file,
            size=0,
            filename=base_name(options["filename"]),
            headers=Headers(raw=part.item_headers),
        )

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        """A piece of the part's content has come."""
        part = self._current_part
        part.size += end - start
        if part.file is None:
            check_size("Part", part.size, self.max_part_size)
            part.data += data[start:end]
            return
        if self.max_file_size is not None:
            check_size("File", part.size, self.max_file_size)
        if part.size > self.spool_max_size:
            self._spools.on_disk = True
        self._spools.append(data[start:end])

    def on_part_end(self) -> None:
        """The part is complete."""
        part = self._current_part
        if part.file is None:
            self.items.append((part.field_name, self._decode(part.data)))
        else:
            part.file.size = part.size
            self.items.append((part.field_name, part.file))

    def on_end(self) -> None:
        """The last boundary has come."""
        self._complete = True

    async def parse(self) -> FormData:
        """Read the whole body.

        If it ends in any other way than by returning (a disconnect, a cancellation, an error),
        all temporary files are closed.

        Raises:
            MultiPartException: for a form that is malformed, breaks off, or is over a limit.
        """
        try:
            await self._read()
        except BaseException:
            self._spools.close()
            raise
        return FormData(self.items)

    async def _read(self) -> None:
        from python_multipart import MultipartParser
        from python_multipart.exceptions import FormParserError

        _, options = parse_options_header(self.headers.get("content-type", ""))
        if not options.get("boundary"):
            raise MultiPartException("Missing boundary in multipart.")
        self._charset = text_codec(options.get("charset") or "utf-8")
        async with aclosing(self.stream) as stream:
            try:
                parser = MultipartParser(
                    options["boundary"].encode("latin-1"),
                    {
                        "on_part_begin": self.on_part_begin,
                        "on_part_data": self.on_part_data,
                        "on_part_end": self.on_part_end,
                        "on_header_field": self.on_header_field,
                        "on_header_value": self.on_header_value,
                        "on_header_end": self.on_header_end,
                        "on_headers_finished": self.on_headers_finished,
                        "on_end": self.on_end,
                    },
                    # Our own limits answer, with a text that names the limit.
                    max_header_count=sys.maxsize,
                    max_header_size=sys.maxsize,
                )
                async for chunk in stream:
                    parser.write(chunk)
                    await self._spools.flush()
            except FormParserError as error:
                raise MultiPartException("Invalid multipart data.") from error
        if not self._complete:
            raise MultiPartException(
                "Incomplete multipart data: the body ends before its last boundary."
            )
        await self._spools.finish()

    def _check_headers_size(self, added: int) -> None:
        self._headers_size += added
        check_size("Headers of a part", self._headers_size, self.max_headers_size)

    def _decode(self, text: bytes | bytearray) -> str:
        try:
            return text.decode(self._charset)
        except UnicodeError as error:
            raise MultiPartException(
                f"Invalid multipart data: a name or value is not valid {self._charset}."
            ) from error
