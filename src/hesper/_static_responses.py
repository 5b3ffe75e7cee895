"""What is answered with a static file, besides the file: that the client has it, a smaller form of it,
and what it means that it cannot be opened."""

from __future__ import annotations

import os
from collections.abc import Mapping
from mimetypes import guess_type

from hesper._static_lookup import Precompressed
from hesper.conditional import Decision, ETag, evaluate, parse_http_date
from hesper.datastructures import Headers
from hesper.exceptions import HTTPException
from hesper.responses import FileResponse, Response
from hesper.types import Scope


class NotModifiedResponse(Response):
    """304: the client has it (RFC 9110 section 15.4.5).

    Args:
        headers: those that the file would have been sent with.
    """

    NOT_MODIFIED_HEADERS = (
        "cache-control",
        "content-location",
        "date",
        "etag",
        "expires",
        "vary",
    )

    def __init__(self, headers: Headers) -> None:
        kept = {name: value for name, value in headers.items() if name in self.NOT_MODIFIED_HEADERS}
        super().__init__(status_code=304, headers=kept)


class EncodedFile(FileResponse):
    """A precompressed file."""

    def __init__(
        self,
        path: Precompressed,
        status_code: int,
        headers: dict[str, str],
        stat_result: os.stat_result,
    ) -> None:
        self.coding = path.coding
        headers = {**headers, "content-encoding": path.coding}
        media_type = guess_type(path)[0] or "application/octet-stream"
        super().__init__(path.sent, status_code, headers, media_type, stat_result=stat_result)

    def _stat_headers(self, stat_result: os.stat_result) -> list[tuple[str, str]]:
        # RFC 9110 section 8.8.3.3: each coding has its own tag. Build tools give all files one
        # date, and small ones may have one size.
        return [
            (name, f'{value[:-1]}-{self.coding}"' if name == "etag" else value)
            for name, value in super()._stat_headers(stat_result)
        ]


def decide(response_headers: Mapping[str, str], request_headers: Mapping[str, str]) -> Decision:
    """What the preconditions of a request make of a response with these headers."""
    modified = parse_http_date(response_headers.get("last-modified", ""))
    try:
        etag = ETag.parse(response_headers.get("etag", ""))
    except ValueError:
        etag = None
    return evaluate("GET", request_headers, etag, modified)


async def settle(response: FileResponse, scope: Scope) -> None:
    """Open the file here, where it is known what it means if that fails."""
    try:
        await response._resolve(scope)
    except PermissionError:
        raise HTTPException(401)
    except RuntimeError as exc:
        gone = isinstance(exc.__cause__, (FileNotFoundError, NotADirectoryError))
        if gone and response.stat_result is not None:  # it was there when it was looked for
            raise HTTPException(404) from exc
        raise
