"""Forms in request bodies as `application/x-www-form-urlencoded`: WHATWG URL section 5.

The law: every body is a form, unless it is over a limit; its text is UTF-8.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from urllib.parse import unquote_to_bytes

from hesper._form_rules import check_count, check_size, require_library
from hesper.datastructures import FormData, Headers, UploadFile


class FormParser:
    """Reads an `application/x-www-form-urlencoded` body.

    The text is UTF-8 and its errors become U+FFFD, whatever charset the header names, as the
    WHATWG URL standard has it (section 5.1).

    Args:
        headers: of the request.
        stream: the body in pieces; closed when `parse` ends.
        max_fields: how many fields the form may have.
        max_part_size: how long the name and value of a field may be together, in bytes as sent.

    Raises:
        ImportError: if the extra `forms` is not installed.
    """

    def __init__(
        self,
        headers: Headers,
        stream: AsyncGenerator[bytes, None],
        *,
        max_fields: int | float = 1000,
        max_part_size: int = 1024 * 1024,
    ) -> None:
        require_library()
        self.headers = headers
        self.stream = stream
        self.max_fields = max_fields
        self.max_part_size = max_part_size
        self._current_fields = 0
        self._field_name = bytearray()
        self._field_value = bytearray()
        self._items: list[tuple[str, str | UploadFile]] = []

    def on_field_start(self) -> None:
        """A field begins."""
        self._field_name = bytearray()
        self._field_value = bytearray()

    def on_field_name(self, data: bytes, start: int, end: int) -> None:
        """A piece of its name has come."""
        self._check_size(end - start)
        self._field_name += data[start:end]

    def on_field_data(self, data: bytes, start: int, end: int) -> None:
        """A piece of its value has come."""
        self._check_size(end - start)
        self._field_value += data[start:end]

    def on_field_end(self) -> None:
        """The field is complete."""
        self._current_fields += 1
        check_count("fields", self._current_fields, self.max_fields)
        self._items.append((_unquote(self._field_name), _unquote(self._field_value)))

    def _check_size(self, added: int) -> None:
        size = len(self._field_name) + len(self._field_value) + added
        check_size("Field", size, self.max_part_size)

    async def parse(self) -> FormData:
        """Read the whole body.

        Raises:
            MultiPartException: for a form over a limit.
        """
        from python_multipart import QuerystringParser

        parser = QuerystringParser(
            {
                "on_field_start": self.on_field_start,
                "on_field_name": self.on_field_name,
                "on_field_data": self.on_field_data,
                "on_field_end": self.on_field_end,
            }
        )
        async with aclosing(self.stream) as stream:
            async for chunk in stream:
                parser.write(chunk)
        parser.finalize()
        return FormData(self._items)


def _unquote(text: bytearray) -> str:
    return unquote_to_bytes(bytes(text.replace(b"+", b" "))).decode("utf-8", "replace")
