"""``Response``: a value until the rim sends it.

A middleware gets the very object that the endpoint made, reads it, changes it or gives another one.
Nothing has been sent by then; what was not given on is closed by the rim.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Collection, Mapping
from datetime import datetime
from typing import Any, ClassVar, Literal

from hesper._asgi.bodies import Body
from hesper._asgi.http import serve_answer
from hesper._asgi.responding import Answer
from hesper._asgi.websocket import deny, open_socket
from hesper._headers import MutableHeaders, encode_header
from hesper.cookies import render_set_cookie
from hesper.types import Receive, Scope, Send


class _Lengths(dict[int, tuple[bytes, bytes]]):
    """Content-length headers of short contents: formatting one takes 0.12 µs (CPython 3.13)."""

    def __missing__(self, length: int) -> tuple[bytes, bytes]:
        header = (b"content-length", b"%d" % length)
        if length < 1024:
            self[length] = header
        return header


_lengths = _Lengths()

_content_types: dict[str | None, tuple[bytes, bytes]] = {}
"""Encoded content-type headers for utf-8, by media type: an application uses few."""


def content_type_header(media_type: str, charset: str) -> tuple[bytes, bytes]:
    """The content-type header; text gets its charset, unless it names one itself."""
    value = media_type
    if value.startswith("text/") and "charset=" not in value.lower():
        value += f"; charset={charset}"
    header = encode_header("content-type", value)
    if charset == "utf-8" and len(_content_types) < 256:
        _content_types[media_type] = header
    return header


class Response(Answer):
    """An HTTP response; as an ASGI app, it sends itself.

    Args:
        content: the body; str is encoded with ``charset``.
        status_code: the HTTP status.
        headers: more headers; a content-length or content-type among them stands.
        media_type: the content type; the class' own if None.
        background: called when the response has ended, whether or not the client stayed.

    When the client leaves while it is sent, sending stops quietly; ``background`` runs. When
    sending is cancelled, the cancellation goes through. Sent a second time it sends itself again.
    """

    media_type: str | None = None
    charset = "utf-8"
    body: bytes | memoryview = b""
    _headers: MutableHeaders | None = None
    _sized: ClassVar[bool] = True
    """Whether the length of ``body`` is that of the content."""
    _usual: ClassVar[tuple[bytes, bytes] | None] = None
    """The content-type header of a class that renders text, and makes its headers, as this one
    does; its ``media_type`` stands in its body then."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        usual = (
            cls.__init__ is Response.__init__
            and cls.render is Response.render
            and cls.init_headers is Response.init_headers
            and cls.charset == Response.charset
            and cls._sized
        )
        media_type = cls.media_type if usual else None
        cls._usual = None if media_type is None else content_type_header(media_type, cls.charset)

    def __init__(
        self,
        content: Any = None,
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        media_type: str | None = None,
        background: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.status_code = status_code
        self.background = background
        if media_type is not None:
            self.media_type = media_type
        elif content.__class__ is str and headers is None and status_code == 200:
            # What the two calls below do, for the usual response in half of the time (0.3 µs).
            usual = self._usual
            if usual is not None:
                self.body = text = content.encode()
                self.raw_headers = [_lengths[len(text)], usual]
                return
        body = self.render(content)
        # ASGI HTTP asks for a byte string: daphne and granian break off at a memoryview.
        self.body = body if isinstance(body, bytes) else bytes(body)
        self.init_headers(headers)

    def render(self, content: Any) -> bytes | memoryview:
        """The content as bytes."""
        if isinstance(content, str):
            return content.encode(self.charset)
        if content is None:
            return b""
        if isinstance(content, (bytes, memoryview)):
            return content
        raise TypeError(
            f"Expected the content to be str or bytes, got {type(content).__name__}: "
            "JSONResponse renders other values, StreamingResponse iterables."
        )

    def init_headers(self, headers: Mapping[str, str] | None = None) -> None:
        """Make ``raw_headers`` of the given ones, the content-length and the content-type."""
        if headers is None and self.status_code == 200 and self.charset == "utf-8":
            known = _content_types.get(self.media_type)
            if known is not None and self._sized:
                # The usual response, in half the time of the general case.
                self.raw_headers = [(b"content-length", b"%d" % len(self.body)), known]
                return
        raw: list[tuple[bytes, bytes]] = []
        names: Collection[bytes] = ()
        if headers is not None:
            raw += [encode_header(name, value) for name, value in headers.items()]
            names = [name for name, _ in raw]
        status = self.status_code
        # RFC 9110 section 8.6: none with 1xx and 204; a 304 would have to repeat that of the 200.
        bodiless = status < 200 or status == 204 or status == 304
        if self._sized and not bodiless and b"content-length" not in names:
            raw.append((b"content-length", b"%d" % len(self.body)))
        media_type = self.media_type
        if media_type is not None and b"content-type" not in names:
            known = _content_types.get(media_type) if self.charset == "utf-8" else None
            raw.append(known or content_type_header(media_type, self.charset))
        self.raw_headers = raw

    @property
    def headers(self) -> MutableHeaders:
        """The headers, as a mapping that changes ``raw_headers``."""
        if self._headers is None:
            self._headers = MutableHeaders(raw=self.raw_headers)
        return self._headers

    @property
    def body_iterator(self) -> AsyncIterable[Any]:
        """The body, piece by piece: of a plain response its bytes.

        Setting it makes a stream of the response. What was there before is closed after the new
        one, when the response has ended, so a wrapper need not close what it wraps. The
        content-length header is left as it is: delete it if the length changes.
        """
        if self._body is None:
            return _Once(self.body)
        return self._body.content

    @body_iterator.setter
    def body_iterator(self, content: AsyncIterable[Any]) -> None:
        if self._body is None:
            self._body = Body(content, self.charset)
            self._plain = False
        else:
            self._body.replace(content)

    def set_cookie(
        self,
        key: str,
        value: str = "",
        max_age: int | None = None,
        expires: datetime | str | int | None = None,
        path: str | None = "/",
        domain: str | None = None,
        secure: bool = False,
        httponly: bool = False,
        samesite: Literal["lax", "strict", "none"] | None = "lax",
        partitioned: bool = False,
    ) -> None:
        """Add a ``Set-Cookie`` header (RFC 6265 section 4.1).

        Args:
            max_age: seconds until it expires.
            expires: the moment it expires, or seconds from now.

        Raises:
            ValueError: a part has a character that would end it.
        """
        cookie = render_set_cookie(
            key, value, max_age, expires, path, domain, secure, httponly, samesite, partitioned
        )
        self.raw_headers.append((b"set-cookie", cookie.encode("latin-1")))

    def delete_cookie(
        self,
        key: str,
        path: str = "/",
        domain: str | None = None,
        secure: bool = False,
        httponly: bool = False,
        samesite: Literal["lax", "strict", "none"] | None = "lax",
        partitioned: bool = False,
    ) -> None:
        """Tell the client to forget a cookie; ``path`` and ``domain`` as when it was set."""
        self.set_cookie(
            key,
            max_age=0,
            expires=0,
            path=path,
            domain=domain,
            secure=secure,
            httponly=httponly,
            samesite=samesite,
            partitioned=partitioned,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response, then run ``background``. It refuses a WebSocket's handshake."""
        if scope["type"] == "websocket":
            await deny(open_socket(scope, receive, send), scope, self)
        else:
            await serve_answer(self, scope, receive, send)


class _Once:
    """Gives one piece. No generator: a wrapper that breaks off need not close it."""

    __slots__ = ("_pieces",)

    def __init__(self, piece: bytes | memoryview) -> None:
        self._pieces = [piece]

    def __aiter__(self) -> AsyncIterator[bytes | memoryview]:
        return self

    async def __anext__(self) -> bytes | memoryview:
        if not self._pieces:
            raise StopAsyncIteration
        return self._pieces.pop()
