"""The response that a test of `AsyncTestClient` gets.

The law: it is a view of one exchange. Nothing is read before the test reads, and what was read
whole stays.
"""

from __future__ import annotations

import json as jsonlib
from collections.abc import Mapping
from typing import Any, Self

from hesper._testclient.http.errors import DecodingError, HTTPStatusError
from hesper._testclient.http.headers import HeaderTypes
from hesper._testclient.http.heads import ResponseHead
from hesper._testclient.http.reading import Body, Reading, Whole
from hesper._testclient.http.requests import TestRequest
from hesper._testclient.http.stages import (
    Both,
    Chunks,
    Lines,
    Stage,
    Text,
    Undecodable,
    decompressed,
)
from hesper.exceptions import UsageError
from hesper.websockets import WebSocketDisconnect

_KINDS = {1: "Informational response", 3: "Redirect response", 4: "Client error", 5: "Server error"}


class AsyncTestResponse(ResponseHead):
    """A response, of which the client can leave the rest.

    Its names are those of `httpx2.Response`: beside the members below there are ``status_code``,
    ``reason_phrase``, ``headers``, ``cookies``, ``url``, ``request``, ``history``,
    ``next_request``, ``links``, ``is_success``, ``is_redirect``, ``is_error`` and their like.
    ``extensions["http.response.debug"]`` is what the application told about its making, and
    ``extensions["http.response.trailers"]`` are the trailers, in bytes, if it announced any; they
    are there once the body was read.

    Args:
        status_code: the status.
        headers: the headers.
        content: the body, as it was sent, if it is there already.
        stream: the body, if it is not.
        request: what was asked.
        extensions: what else there is to know.
    """

    __test__ = False  # a name that pytest would collect

    template: Any
    """The template it was made from; only there if the application told so."""

    context: Any
    """The context of that template."""

    def __init__(
        self,
        status_code: int,
        *,
        headers: HeaderTypes | None = None,
        content: bytes = b"",
        stream: Body | None = None,
        request: TestRequest | None = None,
        extensions: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(status_code, headers, request, extensions)
        self.history: list[AsyncTestResponse] = []
        self.is_stream_consumed = False
        self._body = Whole(b"") if stream is None else stream
        self._content: bytes | None = None
        self._encoding: str | None = None
        if stream is None:
            stage = self._decoded(None)
            self._content = b"".join([*stage.feed(content), *stage.end()])

    def raise_for_status(self) -> Self:
        """Gives the response back, if its status is 2xx.

        Raises:
            HTTPStatusError: it is another one.
        """
        if self.is_success:
            return self
        kind = _KINDS.get(self.status_code // 100, "Invalid status code")
        message = f"{kind} '{self.status_code} {self.reason_phrase}' for url '{self.url}'"
        if self.has_redirect_location:
            message += f"\nRedirect location: '{self.headers['location']}'"
        raise HTTPStatusError(message, request=self.request, response=self)

    # -- the body that was read -------------------------------------------------------------------

    @property
    def content(self) -> bytes:
        """The body, decompressed.

        Raises:
            UsageError: it was not read yet.
        """
        if self._content is None:
            raise UsageError("The body was not read yet: `await response.aread()` reads it.")
        return self._content

    @property
    def text(self) -> str:
        """The body as text, in the ``encoding``; what is no text in it becomes U+FFFD."""
        return self.content.decode(self.encoding, "replace")

    def json(self, **options: Any) -> Any:
        """The body as JSON.

        Args:
            options: what `json.loads` takes.

        Raises:
            ValueError: it is not JSON.
        """
        return jsonlib.loads(self.content, **options)

    @property
    def encoding(self) -> str:
        """The encoding of the text: what the test has set, else the charset, else UTF-8."""
        for encoding in (self._encoding, self.charset_encoding):
            if encoding is not None and _is_known(encoding):
                return encoding
        return "utf-8"

    @encoding.setter
    def encoding(self, value: str) -> None:
        self._encoding = value

    # -- the body that is read --------------------------------------------------------------------

    @property
    def is_closed(self) -> bool:
        """Whether the application has ended."""
        return self._body.closed

    async def aread(self) -> bytes:
        """Reads the body to the end of the application; a second call gives the same.

        Raises:
            BaseException: as ``client.request()``.
            DecodingError: it is not in the coding that ``Content-Encoding`` names.
            UsageError: it cannot be read any more, as the client has left, or was read as a stream.
        """
        if self._content is None:
            self._content = b"".join([chunk async for chunk in self.aiter_bytes()])
        return self._content

    def aiter_raw(self, chunk_size: int | None = None) -> Reading[bytes]:
        """The body as it is sent, chunk by chunk.

        Args:
            chunk_size: how long the chunks are, in bytes; None gives them as they were sent.

        The iterator need not be closed; its ``aclose()`` is that of the response. Raises what
        ``aread`` raises.
        """
        return self._reading(self._take_body(), Chunks(chunk_size))

    def aiter_bytes(self, chunk_size: int | None = None) -> Reading[bytes]:
        """The body decompressed, chunk by chunk; otherwise as ``aiter_raw``."""
        if self._content is not None:
            return self._reading(Whole(self._content), Chunks(chunk_size))
        return self._reading(self._take_body(), self._decoded(chunk_size))

    def aiter_text(self, chunk_size: int | None = None) -> Reading[str]:
        """The body as text, chunk by chunk; ``chunk_size`` is in characters."""
        return self._reading_text(Chunks(chunk_size))

    def aiter_lines(self) -> Reading[str]:
        """The body line by line, without the ends of the lines."""
        return self._reading_text(Lines())

    def disconnect(self) -> None:
        """Leaves, now: the application is told, and its `send` raises.

        It does not wait for the application, as ``aclose()`` does, so a test can go on playing with
        it. What follows of the body cannot be read any more. Harmless on a response that is
        complete, and on a second call.
        """
        if not self.is_closed:
            self._body.leave()

    async def aclose(self) -> None:
        """Leaves, unless the response is complete, and waits for the application.

        Raises:
            BaseException: what it raised, as ``client.request()``. A second call does nothing.
        """
        await self._body.aclose()

    async def abandon(self) -> None:
        """The same as ``aclose``, whatever the application raised."""
        await self._body.abandon()

    def _take_body(self) -> Body:
        if self.is_stream_consumed:
            raise UsageError(
                "The body was read as a stream already, and is not kept: use response.aread() "
                "to read it more than once."
            )
        if self.is_closed:
            raise UsageError("The response is closed, and its body was not read.")
        self.is_stream_consumed = True
        return self._body

    def _decoded(self, chunk_size: int | None) -> Stage[bytes, bytes]:
        codings = self.headers.get_list("content-encoding", split_commas=True)
        return decompressed(codings, chunk_size)

    def _reading_text(self, last: Stage[str, str]) -> Reading[str]:
        text: Stage[bytes, str] = Both(Text(self.encoding), last)
        if self._content is not None:
            return self._reading(Whole(self._content), text)
        return self._reading(self._take_body(), Both(self._decoded(None), text))

    def _reading(self, body: Body, stage: Stage[bytes, Any]) -> Reading[Any]:
        return Reading(body, stage, self._undecodable)

    def _undecodable(self, error: Undecodable) -> DecodingError:
        return DecodingError(str(error), request=self.request)


class AsyncWebSocketDenialResponse(AsyncTestResponse, WebSocketDisconnect):
    """The application has refused the handshake with this response; raised when a session begins.

    It is a `WebSocketDisconnect` as well, as a handshake refused without a response raises.
    """

    code = 1006
    reason = ""
    __str__ = ResponseHead.__repr__


def _is_known(encoding: str) -> bool:
    # Not codecs.lookup(), which knows others than those of text.
    try:
        b"text".decode(encoding, "replace")
    except LookupError:
        return False
    return True
