"""Range requests as values: RFC 9110 section 14.

The law: what a client asks for is answered with bytes of the content, each once and in ascending
order, or with a named exception that the caller answers with 400 or 416. Every function here is
pure and takes linear time, whatever the field holds.
"""

from collections.abc import Sequence
from typing import NamedTuple


class MalformedRange(ValueError):
    """A `Range` field that asks for bytes in no way the grammar has. Answer 400."""


class UnsatisfiableRange(ValueError):
    """A `Range` field of which no range lies within the content. Answer 416.

    Args:
        max_size: the length of the content in bytes.
    """

    def __init__(self, max_size: int) -> None:
        super().__init__(f"No requested range lies within the {max_size} bytes of the content.")
        self.max_size = max_size

    @property
    def content_range(self) -> str:
        """The `Content-Range` value that a 416 carries (RFC 9110 section 14.4)."""
        return f"bytes */{self.max_size}"


def parse_range(header: str, size: int, max_ranges: int = 100) -> list[tuple[int, int]] | None:
    """Read a `Range` field value (RFC 9110 section 14.2).

    Ranges that lie beyond the content are dropped, those that reach beyond it are cut, and what
    overlaps or adjoins is merged (section 15.3.7.2), in ascending order. Members that are no
    ranges are passed over. Takes linear time: the members are counted before one is looked at,
    and merged in one pass over the sorted list.

    Args:
        header: the field value.
        size: the length of the content in bytes.
        max_ranges: how many members, empty ones too, a field may have before it is ignored.

    Returns:
        The ranges as (start, end) with the end exclusive; None: answer as if there were no
        `Range` field, since its unit is not bytes, it has too many members, or the content is
        empty. (Section 14.2 allows to ignore it then, as Apache and Go do, because clients that
        always ask for `bytes=0-n` should not fail on an empty file.)

    Raises:
        MalformedRange: for a field that has no range, or one that ends before it starts.
        UnsatisfiableRange: if no range lies within the content.
    """
    unit, equals, members = header.partition("=")
    if not equals:
        raise MalformedRange("Malformed range header.")
    if unit.strip().lower() != "bytes" or members.count(",") >= max_ranges or size == 0:
        return None
    asked = [found for member in members.split(",") if (found := _read_range(member, size))]
    if not asked:
        raise MalformedRange("Range header: range must be requested")
    within = sorted((start, end) for start, end in asked if start < end)
    if not within:
        raise UnsatisfiableRange(size)
    return _merge(within)


def _read_range(member: str, size: int) -> tuple[int, int] | None:
    """Read `first-last`, `first-` or `-length`; an empty range is one beyond the content."""
    first, dash, last = (piece.strip() for piece in member.partition("-"))
    digits = first + last
    if not (dash and digits.isascii() and digits.isdigit()):
        return None
    if not first:
        return max(0, size - _number(last)), size
    start = _number(first)
    end = _number(last) + 1 if last else size
    if last and end <= start:
        raise MalformedRange("Range header: start must be less than end")
    return start, min(end, size)


def _number(digits: str) -> int:
    # int() takes quadratic time and refuses more than 4,300 digits. 19 hold the size of any file.
    significant = digits.lstrip("0")
    return int(significant or "0") if len(significant) < 20 else 10**19


def _merge(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged = [ranges[0]]
    for start, end in ranges[1:]:
        last_start, last_end = merged[-1]
        if start <= last_end:
            merged[-1] = last_start, max(end, last_end)
        else:
            merged.append((start, end))
    return merged


def content_range(start: int, end: int, size: int) -> str:
    """Write the `Content-Range` of one part (RFC 9110 section 14.4); the end is exclusive here."""
    return f"bytes {start}-{end - 1}/{size}"


class RangePart(NamedTuple):
    """One step in sending multipart/byteranges: these bytes, then that slice of the content."""

    header: bytes
    """What goes before the slice: delimiter and fields, with their line breaks."""
    start: int
    end: int
    """The slice, with its end exclusive; empty after the last delimiter."""


def multipart_layout(
    ranges: Sequence[tuple[int, int]], boundary: str, size: int, content_type: str
) -> tuple[int, list[RangePart]]:
    """Plan the body of a multipart/byteranges response (RFC 9110 section 14.6).

    Args:
        ranges: what `parse_range` gave.
        boundary: the delimiter, which must not occur in the content: take a random one.
        size: the length of the content in bytes.
        content_type: of the content, as it would stand in a response to a GET without `Range`.

    Returns:
        The `Content-Length` of the body in bytes, and its parts in order. The last one is the
        closing delimiter, with an empty slice.
    """
    parts = []
    line_break = ""
    for start, end in ranges:
        header = (
            f"{line_break}--{boundary}\r\n"
            f"Content-Type: {content_type}\r\n"
            f"Content-Range: {content_range(start, end, size)}\r\n\r\n"
        )
        parts.append(RangePart(header.encode("latin-1"), start, end))
        line_break = "\r\n"
    parts.append(RangePart(f"{line_break}--{boundary}--".encode("latin-1"), size, size))
    return sum(len(part.header) + part.end - part.start for part in parts), parts
