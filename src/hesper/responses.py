"""The kinds of response."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from hesper import _json
from hesper._asgi.bodies import Body
from hesper._headers import encode_header
from hesper._response import Response
from hesper.concurrency import iterate_in_threadpool
from hesper.datastructures import URL
from hesper.exceptions import UsageError
from hesper.types import Message, Scope

if TYPE_CHECKING:
    from hesper._file_response import FileResponse, MalformedRangeHeader, RangeNotSatisfiable

__all__ = [
    "AsyncContentStream",
    "Content",
    "ContentStream",
    "FileResponse",
    "HTMLResponse",
    "JSONResponse",
    "MalformedRangeHeader",
    "PlainTextResponse",
    "RangeNotSatisfiable",
    "RedirectResponse",
    "Response",
    "StreamingResponse",
    "SyncContentStream",
]

Content = str | bytes | memoryview
SyncContentStream = Iterable[Content]
AsyncContentStream = AsyncIterable[Content]
ContentStream = AsyncContentStream | SyncContentStream


class HTMLResponse(Response):
    """A page."""

    media_type = "text/html"


class PlainTextResponse(Response):
    """A text."""

    media_type = "text/plain"


class JSONResponse(Response):
    """A value as JSON, in UTF-8 (RFC 8259). Override ``render`` for another encoder.

    Raises:
        TypeError: the value holds something that JSON has no form for.
        ValueError: it holds NaN or an infinity.
    """

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return _json.encode(content)


class RedirectResponse(Response):
    """Sends the client to another URL, by default with the same method and body (307)."""

    def __init__(
        self,
        url: str | URL,
        status_code: int = 307,
        headers: Mapping[str, str] | None = None,
        background: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        super().__init__(b"", status_code, headers, background=background)
        # Reserved characters stay, and "%": what is quoted already is not quoted again.
        self.headers["location"] = quote(
            str(url), safe=":/%#?=@[]!$&'()*+,;", errors="surrogatepass"
        )


Trailers = Callable[[], Mapping[str, str]]
"""Gives header fields to send behind a body."""


class TrailersBody(Body):
    """A body with header fields behind it."""

    __slots__ = ("_trailers", "sent")

    def __init__(self, content: AsyncIterable[Any], charset: str, trailers: Trailers) -> None:
        super().__init__(content, charset)
        self._trailers = trailers
        self.sent = False
        """Whether the server can send them."""

    @property
    def late(self) -> list[Message]:
        if not self.sent:
            return []
        fields = [encode_header(name, value) for name, value in self._trailers().items()]
        return [{"type": "http.response.trailers", "headers": fields, "more_trailers": False}]


class StreamingResponse(Response):
    """A body that is produced while it is sent.

    Args:
        content: an async iterable of str or bytes, or a sync one, which is run in worker threads.
        trailers: called after the last chunk, gives header fields to send behind the body, such as
            a checksum (RFC 9110 section 6.5). Not called where the server has no trailers (ASGI
            extension "http.response.trailers"), nor if the body broke off.

    Raises:
        UsageError: ``trailers`` cannot be called.

    The iterable is closed exactly once (``aclose()`` or ``close()``), in the task that iterated it,
    also if it was never begun. When the client leaves, an async one is cancelled where it waits and
    may await in its ``finally`` for 5 seconds; a sync one stops after its current item.
    """

    _sized = False
    _with_trailers: TrailersBody
    """There if it is deferred: until it is known whether the server can send them."""

    def __init__(
        self,
        content: ContentStream,
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        media_type: str | None = None,
        background: Callable[[], Awaitable[None]] | None = None,
        *,
        trailers: Trailers | None = None,
    ) -> None:
        self.status_code = status_code
        if media_type is not None:
            self.media_type = media_type
        self.background = background
        chunks = content if isinstance(content, AsyncIterable) else iterate_in_threadpool(content)
        if trailers is None:
            self.body_iterator = chunks
        else:
            if not callable(trailers):
                raise UsageError(
                    f"Expected trailers to be a function that is called after the body, got "
                    f"{trailers!r}: write trailers=lambda: ..."
                )
            self._plain = False
            self._body = self._with_trailers = TrailersBody(chunks, self.charset, trailers)
            self._deferred = True
        self.init_headers(headers)

    async def _resolve(self, scope: Scope) -> None:
        self._with_trailers.sent = "http.response.trailers" in scope.get("extensions", {})

    def _start_message(self) -> Message:
        start = super()._start_message()
        if self._deferred and self._with_trailers.sent:
            start["trailers"] = True
        return start


def __getattr__(name: str) -> Any:
    """Responses of files, when they are asked for: importing them takes as long as all of the rest."""
    if name not in {"FileResponse", "MalformedRangeHeader", "RangeNotSatisfiable"}:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from hesper import _file_response

    return getattr(_file_response, name)
