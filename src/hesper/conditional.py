"""Conditional and range requests as values: RFC 9110 sections 8.8, 13 and 14.

The law: what a client sends decides what it gets, never whether the server works. Every function
is pure, takes linear time, and turns a field that breaks its grammar into what the RFC says of it:
ignored (dates, entity tags: here) or a named exception that the caller answers with 400 or 416
(ranges: `hesper._ranges`).
"""

import enum
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from hesper._grammar import (
    ENTITY_TAG,
    ETAGC,
    epoch_seconds,
    format_http_date,
    parse_http_date,
)
from hesper._ranges import (
    MalformedRange,
    RangePart,
    UnsatisfiableRange,
    content_range,
    multipart_layout,
    parse_range,
)

__all__ = [
    "Decision",
    "ETag",
    "MalformedRange",
    "RangePart",
    "UnsatisfiableRange",
    "content_range",
    "evaluate",
    "format_http_date",
    "if_range_allows",
    "make_etag",
    "multipart_layout",
    "parse_etags",
    "parse_http_date",
    "parse_range",
]

_OPAQUE_TAG = re.compile(rf"[{ETAGC}]*+")
_ENTITY_TAG = re.compile(ENTITY_TAG)
# One member of a list of tags with what ends it. Tags may hold commas, so no split will do.
_LISTED_TAG = re.compile(rf"[ \t]*+{ENTITY_TAG}[ \t]*+(?:,|$)")


@dataclass(frozen=True, slots=True)
class ETag:
    """An entity tag: the name of one state of a resource (RFC 9110 section 8.8.3).

    Args:
        tag: the opaque tag, without its quotes.
        weak: True if two representations with this tag may differ in their bytes.

    Raises:
        ValueError: for a character that no tag may hold: a quote, a space, a control character,
            or one beyond latin-1.
    """

    tag: str
    weak: bool = False

    def __post_init__(self) -> None:
        if not _OPAQUE_TAG.fullmatch(self.tag):
            raise ValueError(
                "An entity tag cannot hold quotes, spaces, control characters or characters "
                f"beyond latin-1 (RFC 9110 section 8.8.3), got {self.tag!r}. "
                "Give the tag without its quotes, or hash what it stands for with make_etag()."
            )

    @classmethod
    def parse(cls, value: str) -> "ETag":
        """Read an `ETag` field value, `"abc"` or `W/"abc"`.

        Raises:
            ValueError: for anything else.
        """
        found = _ENTITY_TAG.fullmatch(value.strip())
        if not found:
            raise ValueError(f'Expected an entity tag such as "abc" or W/"abc", got {value!r}.')
        return cls(found[2], found[1] is not None)

    def __str__(self) -> str:
        return f'W/"{self.tag}"' if self.weak else f'"{self.tag}"'

    def strong_compare(self, other: "ETag") -> bool:
        """True if both name the same bytes (RFC 9110 section 8.8.3.2)."""
        return self.tag == other.tag and not self.weak and not other.weak

    def weak_compare(self, other: "ETag") -> bool:
        """True if either stands for the other well enough to reuse it (section 8.8.3.2)."""
        return self.tag == other.tag


def make_etag(content: bytes | bytearray | memoryview | str, *, weak: bool = False) -> ETag:
    """Name a content by its hash; equal contents get equal tags, in every process.

    Args:
        content: the bytes of the representation, or what stands for them, such as the text
            `f"{stat.st_mtime_ns}-{stat.st_size}"` for a file.
        weak: mark the tag as weak, for contents that only mean the same.
    """
    if isinstance(content, str):
        content = content.encode()
    return ETag(hashlib.blake2b(content, digest_size=16).hexdigest(), weak)


def parse_etags(header: str) -> list[ETag] | Literal["*"]:
    """Read an `If-Match` or `If-None-Match` field value (RFC 9110 sections 13.1.1 and 13.1.2).

    Members that are no entity tags are left out: they match nothing.

    Returns:
        The tags in their order, or `"*"`. Never raises.
    """
    if header.strip() == "*":
        return "*"
    tags: list[ETag] = []
    at = 0
    while at < len(header):
        found = _LISTED_TAG.match(header, at)
        if found:
            tags.append(ETag(found[2], found[1] is not None))
            at = found.end()
        else:
            at = header.find(",", at) + 1 or len(header)
    return tags


class Decision(enum.Enum):
    """What the preconditions of a request make of it."""

    PROCEED = "proceed"
    """Answer as if there were no preconditions."""
    NOT_MODIFIED = "not modified"
    """Answer 304: the client has it already."""
    PRECONDITION_FAILED = "precondition failed"
    """Answer 412 and do nothing: the resource is not in the state that the client expects."""


def evaluate(
    method: str,
    request_headers: Mapping[str, str],
    etag: ETag | None = None,
    last_modified: datetime | float | None = None,
    *,
    exists: bool = True,
) -> Decision:
    """Weigh the preconditions of a request, in the order of RFC 9110 section 13.2.2.

    Call it when the answer would be 2xx otherwise, and before the method has done anything: for
    any other answer the preconditions are to be ignored (section 13.2.1).

    Args:
        method: the request's method, in upper case.
        request_headers: a `Headers`, or a dict with names in lower case.
        etag: the current entity tag, None if there is none.
        last_modified: when the resource changed last, a datetime with a time zone or seconds
            since 1970; None if that is not known.
        exists: False if there is no current representation, as before a PUT that creates it.

    Raises:
        ValueError: for a `last_modified` without a time zone. No header makes it raise.
    """
    if method in ("CONNECT", "OPTIONS", "TRACE"):
        return Decision.PROCEED
    field = _field_getter(request_headers)
    if_match = field("if-match")
    if if_match is not None:
        if not _matches(if_match, etag, exists, ETag.strong_compare):
            return Decision.PRECONDITION_FAILED
    elif _unchanged_since(field("if-unmodified-since"), last_modified) is False:
        return Decision.PRECONDITION_FAILED
    reading = method in ("GET", "HEAD")
    if_none_match = field("if-none-match")
    if if_none_match is not None:
        if _matches(if_none_match, etag, exists, ETag.weak_compare):
            return Decision.NOT_MODIFIED if reading else Decision.PRECONDITION_FAILED
    elif reading and _unchanged_since(field("if-modified-since"), last_modified) is True:
        return Decision.NOT_MODIFIED
    return Decision.PROCEED


def _field_getter(headers: Mapping[str, str]) -> Callable[[str], str | None]:
    # A field sent in several lines is one list (RFC 9110 section 5.3); a mapping's own `get`
    # would see one of them. Two dates joined are no date, and so ignored, as section 13.1.3 asks.
    getlist: Callable[[str], list[str]] | None = getattr(headers, "getlist", None)
    if getlist is None:
        return headers.get
    return lambda name: ", ".join(getlist(name)) or None


def _matches(
    header: str, etag: ETag | None, exists: bool, compare: Callable[[ETag, ETag], bool]
) -> bool:
    tags = parse_etags(header)
    if tags == "*":
        return exists
    return etag is not None and any(compare(etag, tag) for tag in tags)


def _unchanged_since(header: str | None, last_modified: datetime | float | None) -> bool | None:
    """Compare in whole seconds; None where there is nothing to compare: ignore the field."""
    if header is None or last_modified is None:
        return None
    date = parse_http_date(header)
    return None if date is None else epoch_seconds(last_modified) <= epoch_seconds(date)


def if_range_allows(
    header: str | None, etag: ETag | None = None, last_modified: datetime | float | None = None
) -> bool:
    """Tell whether `If-Range` lets the `Range` field count (RFC 9110 section 13.1.5).

    Tags are compared strongly and dates exactly, since parts of two different states would be
    put together otherwise. A date is only as strong as the promise that the resource does not
    change twice in one second (section 8.8.2.2): pass no `last_modified` where it may.

    Args:
        header: the field value, None if there is none.
        etag: the current entity tag, None if there is none.
        last_modified: as for `evaluate`.

    Returns:
        True if the header is absent or holds; False: answer with the whole representation.

    Raises:
        ValueError: for a `last_modified` without a time zone. No header makes it raise.
    """
    if header is None:
        return True
    found = _ENTITY_TAG.fullmatch(header.strip())
    if found:
        return etag is not None and etag.strong_compare(ETag(found[2], found[1] is not None))
    date = parse_http_date(header)
    if date is None or last_modified is None:
        return False
    return epoch_seconds(date) == epoch_seconds(last_modified)
