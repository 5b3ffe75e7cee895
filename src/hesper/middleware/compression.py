"""Compression of responses, in the coding that the client likes best.

The law: what is said of a response stays true when its bytes change. Its length is the new one or
none, its entity tag is weak, no ranges of it are offered, and caches are told what it depends on.
"""

from __future__ import annotations

import copy
from collections.abc import AsyncIterable, AsyncIterator, Callable, Collection, Mapping, Sequence
from typing import Any

from hesper._accept import choose_encoding
from hesper._concurrency import run_in_thread
from hesper._stack import RequestResponseEndpoint
from hesper.datastructures import MutableHeaders
from hesper.middleware._codecs import Encoder, load_codecs
from hesper.middleware.base import BaseHTTPMiddleware
from hesper.requests import Request
from hesper.responses import Response
from hesper.types import ASGIApp

__all__ = ["DEFAULT_EXCLUDED_CONTENT_TYPES", "CompressionMiddleware"]

DEFAULT_EXCLUDED_CONTENT_TYPES = (
    "application/grpc",
    "application/gzip",
    "application/x-gzip",
    "application/zip",
    "audio/*",
    "font/woff",
    "font/woff2",
    "image/avif",
    "image/gif",
    "image/jpeg",
    "image/png",
    "image/webp",
    "text/event-stream",
    "video/*",
)
"""Content types that are compressed already, or are read frame by frame on their way."""

# Each is about the very bytes: a coding of the app's own, a part of them, or a hash of them (RFC 9110
# section 14.4, RFC 9530).
_PINS = frozenset(
    {b"content-encoding", b"content-range", b"content-digest", b"repr-digest", b"content-md5"}
)


class CompressionMiddleware(BaseHTTPMiddleware):
    """Compresses responses with Brotli, Zstandard or gzip, as ``Accept-Encoding`` asks for
    (RFC 9110 section 12.5.3: weights, ``*``, ``identity``).

    A plain response is compressed at once. A stream is compressed chunk by chunk, each of them
    flushed; to have event streams compressed too, leave "text/event-stream" out of
    ``exclude_content_types``.

    Left alone are 204, 205, 206 and answers to HEAD; what has a ``Content-Encoding``, a
    ``Content-Range``, a digest or ``Cache-Control: no-transform``; excluded content types; and what
    is shorter than ``minimum_size``, as far as that is known: a stream counts by its
    ``Content-Length``. A 304 and an answer to HEAD say what the compressed response would say.

    The response of the endpoint itself is not changed: a copy of it is, since an app may give one
    object to many clients. When the client leaves or the request is cancelled, the stream that is
    wrapped is closed as it would be without; a worker thread is waited for.

    Compression tells an eavesdropper how much of a page repeats itself: where a secret (a CSRF token)
    stands beside text that the client chose, it can be guessed letter by letter (BREACH,
    CVE-2013-3587). Mask such secrets anew for each response, or exempt the page with
    ``Cache-Control: no-transform``.

    Args:
        minimum_size: bytes; shorter bodies are sent as they are.
        encodings: which to offer, the best first: "br", "zstd", "gzip". By default all of them, in
            this order, whose library is installed.
        levels: by encoding, how hard to try: "br" 0 to 11 (4 if it is not given), "zstd" 1 to 19
            (3), "gzip" 0 to 9 (6).
        thread_minimum_size: bytes; chunks of this size or more are compressed in a worker thread.
        exclude_content_types: media types, or "type/*" for all of a kind. "application/grpc" stands
            for all that begin so.

    Raises:
        UsageError: there is no such encoding or level.
        ImportError: the library of an encoding that was asked for is not installed.
    """

    def __init__(
        self,
        app: ASGIApp,
        minimum_size: int = 500,
        *,
        encodings: Sequence[str] | None = None,
        levels: Mapping[str, int] | None = None,
        thread_minimum_size: int = 128 * 1024,
        exclude_content_types: Collection[str] = DEFAULT_EXCLUDED_CONTENT_TYPES,
    ) -> None:
        super().__init__(app)
        self.minimum_size = minimum_size
        self.thread_minimum_size = thread_minimum_size
        self.exclude_content_types = tuple(map(_media_type, exclude_content_types))
        self._codecs = load_codecs(encodings, levels or {})

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        if not self._concerns(response):
            return response
        response = _copy_of(response)
        headers = response.headers
        headers.add_vary_header("Accept-Encoding")
        encoding = self._choose(request)
        if encoding is None:
            return response
        _weaken_etag(headers)
        # The ranges that were offered are parts of other bytes.
        del headers["accept-ranges"], headers["content-length"]
        if request.method != "HEAD" and response.status_code != 304:
            headers["content-encoding"] = encoding
            await self._encode(response, self._codecs[encoding]())
        return response

    def _choose(self, request: Request) -> str | None:
        """The coding for a request, or None."""
        accepted = ", ".join(request.headers.getlist("accept-encoding"))
        return choose_encoding(accepted, tuple(self._codecs))

    def _concerns(self, response: Response) -> bool:
        """Whether a client that accepts a coding gets another response than one that does not."""
        status = response.status_code
        if status < 200 or status in (204, 205, 206):
            return False
        if not _PINS.isdisjoint([name for name, _ in response.raw_headers]):
            return False
        headers = response.headers
        if _forbids_transforming(headers) or self._excludes(headers.get("content-type", "")):
            return False
        size = _size_of(response)
        # An empty body, whatever the minimum: it would only become longer.
        return status == 304 or size is None or size >= max(self.minimum_size, 1)

    def _excludes(self, content_type: str) -> bool:
        media_type = _media_type(content_type)
        kinds = {media_type, media_type.partition("/")[0] + "/*"}
        if media_type.startswith("application/grpc"):
            kinds.add("application/grpc")
        return not kinds.isdisjoint(self.exclude_content_types)

    async def _encode(self, response: Response, encoder: Encoder) -> None:
        body = response._body
        if body is None:
            response.body = await self._run(encoder.last, bytes(response.body))
            response.headers["content-length"] = str(len(response.body))
        else:
            response.body_iterator = self._stream(response.body_iterator, body.encode, encoder)

    async def _stream(
        self,
        chunks: AsyncIterable[Any],
        to_bytes: Callable[[Any], bytes],
        encoder: Encoder,
    ) -> AsyncIterator[bytes]:
        iterator = aiter(chunks)
        try:
            async for chunk in iterator:
                if data := to_bytes(chunk):
                    yield await self._run(encoder.chunk, data)
            yield encoder.last()
        finally:
            # The rim closes what it knows of: the body, but not an iterator that the body makes.
            if iterator is not chunks and hasattr(iterator, "aclose"):
                await iterator.aclose()

    async def _run(self, compress: Callable[[bytes], bytes], data: bytes) -> bytes:
        if len(data) < self.thread_minimum_size:
            return compress(data)
        return await run_in_thread(compress, data)


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _copy_of(response: Response) -> Response:
    """The same response with headers of its own; they share a stream, which is for one client."""
    response = copy.copy(response)
    response.raw_headers, response._headers = list(response.raw_headers), None
    return response


def _forbids_transforming(headers: MutableHeaders) -> bool:
    """RFC 9111 section 5.2.2.6. Meant for proxies, but it says what the app wants."""
    directives = ",".join(headers.getlist("cache-control")).split(",")
    return any(directive.strip().lower() == "no-transform" for directive in directives)


def _size_of(response: Response) -> int | None:
    """The length of the content in bytes; None if only its end will tell."""
    if response._body is None and response.body:
        return len(response.body)
    try:
        return int(response.headers.get("content-length", ""))
    except ValueError:
        return None


def _weaken_etag(headers: MutableHeaders) -> None:
    """Say that bytes with this tag may differ (RFC 9110 section 8.8.3.3): the tag of the app stands
    for the content as it is and in each of its codings."""
    etag = headers.get("etag")
    if etag is not None and not etag.startswith("W/"):
        headers["etag"] = f"W/{etag}"
