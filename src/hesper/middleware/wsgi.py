"""WSGI apps (PEP 3333) inside of ASGI ones.

The law: what the WSGI app cannot know is looked after here. A request's body is complete before the
app runs, so a slow client holds no thread; the app runs, is iterated and closed in one thread; and
when the client leaves, iteration stops and ``close()`` is called.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import partial
from types import TracebackType
from typing import Any

import anyio
from anyio.lowlevel import RunVar

from hesper._endpoints import no_lifespan, not_a_socket
from hesper._grammar import TCHAR
from hesper._headers import encode_header
from hesper._stack import Stack, serve
from hesper.exceptions import UsageError
from hesper.middleware._handover import Handover
from hesper.middleware._wsgi_request import Environ, build_environ, spool_body
from hesper.requests import Request
from hesper.responses import Response, StreamingResponse
from hesper.types import Receive, Scope, Send

__all__ = ["WSGIMiddleware", "WSGIResponder", "build_environ"]

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]

WSGIApp = Callable[..., Iterable[bytes]]
"""Called as ``app(environ, start_response)``."""

# RFC 9110 section 7.6.1, of the connection and not of the message: PEP 3333 forbids them to apps
# ("Other HTTP Features"), and a second length of the body is how requests are smuggled.
HOP_BY_HOP = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding"}
    | {b"upgrade"}
)

_STATUS = re.compile(r"([2-9][0-9]{2})(?: [^\r\n\0]*)?")
_NAME = re.compile(rf"[{TCHAR}]+")


class WSGIMiddleware:
    """A WSGI app as an ASGI app, to be mounted: ``Mount("/old", app=WSGIMiddleware(app))``.

    The body of a request is read first, up to 1 MiB into memory and beyond it to disk. That of the
    response is streamed: while the client does not read, the app's thread waits. An app that
    announces another ``Content-Length`` than it gives is stopped, and the connection is not left as
    if all were well.

    When the client leaves or the request is cancelled, iteration stops at the next chunk; ``write``
    raises ``ClientDisconnect``, an ``OSError``. The request lasts until the app has returned.

    In Starlette this is deprecated, since it holds whole bodies in memory; here it is not.

    Args:
        app: the WSGI app.
        workers: how many requests may run at a time. The threads are apart from those of sync
            endpoints, which clients that do not read would hold up.
    """

    def __init__(self, app: WSGIApp, *, workers: int = 40) -> None:
        self.app = app
        self.workers = workers
        self._limiter: RunVar[anyio.CapacityLimiter] = RunVar("hesper.wsgi")

    def _fold(self) -> Stack:
        return Stack(self._answer, not_a_socket, no_lifespan)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await serve(self._fold(), scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        try:
            limiter = self._limiter.get()  # each event loop has its own
        except LookupError:
            limiter = anyio.CapacityLimiter(self.workers)
            self._limiter.set(limiter)
        return await WSGIResponder(self.app, request.scope).respond(request, limiter)


class WSGIResponder:
    """One run of a WSGI app, for one request."""

    def __init__(self, app: WSGIApp, scope: Scope) -> None:
        self.app = app
        self.scope = scope
        self.status: int | None = None
        self.response_headers: list[tuple[bytes, bytes]] = []
        self.response_started = False
        """Whether the head cannot be changed any more."""
        self.exc_info: ExcInfo | None = None
        """The error that the app has answered itself."""
        self._missing: int | None = None
        """Bytes of the body that were announced and are not there yet."""
        self._chunks: Handover | None = None

    async def __call__(self, receive: Receive, send: Send) -> None:
        """Answer the request of the scope, as an ASGI app."""
        await serve(Stack(self.respond, not_a_socket, no_lifespan), self.scope, receive, send)

    async def respond(
        self, request: Request, limiter: anyio.CapacityLimiter | None = None
    ) -> Response:
        """Run the app up to its first bytes.

        Returns:
            The response, whose body comes from the running app.

        Raises:
            ClientDisconnect: the client left before its request was complete.
            BaseException: what the app raised, the same object.
        """
        body, size = await spool_body(request)
        environ = build_environ(self.scope, body)
        if size or "CONTENT_LENGTH" in environ:
            environ["CONTENT_LENGTH"] = str(size)  # what came, whatever was announced
        work = partial(self.wsgi, environ, self.start_response)
        self._chunks = Handover(work, body.close, limiter)
        await self._chunks.start()
        assert self.status is not None
        response = StreamingResponse(self._chunks, self.status)
        response.raw_headers = self.response_headers
        if self.exc_info is not None:
            # As any other error that was answered, it goes on to the server, to be logged.
            request._exchange.failure, self.exc_info = self.exc_info[1], None
        return response

    # -- in the worker thread ----------------------------------------------------------------------

    def wsgi(self, environ: Environ, start_response: Callable[..., Any]) -> None:
        """Run the app to its end, iterate what it returns, and close that."""
        chunks = self.app(environ, start_response)
        try:
            for chunk in chunks:
                self.write(chunk)
            if self.status is None:
                raise UsageError(f"The WSGI app {self.app!r} did not call start_response.")
            if self._missing:
                raise UsageError(
                    f"The WSGI app {self.app!r} announced {self._missing} bytes more than it gave: "
                    "correct its Content-Length."
                )
        finally:
            close = getattr(chunks, "close", None)
            if close is not None:
                close()

    def start_response(
        self,
        status: str,
        response_headers: list[tuple[str, str]],
        exc_info: ExcInfo | None = None,
    ) -> Callable[[bytes], None]:
        """What the app calls with the head of its response (PEP 3333, "The start_response()
        Callable"). Nothing is sent before the first bytes of the body, or its end.

        Args:
            status: such as "200 OK".
            exc_info: the error that this response is about; without it a second call is refused.

        Returns:
            ``write``, for apps that do not return an iterable.

        Raises:
            BaseException: that of ``exc_info``, if the head is on its way already.
            UsageError: a second call, or a status that is none.
            ValueError: a name or a value would split the response.
        """
        if exc_info is not None:
            try:
                if self.response_started:
                    raise exc_info[1].with_traceback(exc_info[2])
                self.exc_info = exc_info
            finally:
                exc_info = None  # its traceback holds this frame
        elif self.status is not None:
            raise UsageError("start_response was called before: pass exc_info to replace the head.")
        found = _STATUS.fullmatch(status)
        if found is None:
            raise UsageError(f"Expected a status such as '200 OK', got {status!r}.")
        headers = _raw_headers(response_headers)
        self.status = int(found[1])
        self.response_headers = headers
        self._missing = None
        if self.scope["method"] != "HEAD" and self.status not in (204, 304):
            self._missing = _announced(headers)
        return self.write

    def write(self, data: bytes) -> None:
        """Send some of the body; returns when it is sent.

        Raises:
            ClientDisconnect: the client left, or nobody wants the response.
            UsageError: it is not bytes, comes before ``start_response``, or is more than was
                announced; nothing of it is sent.
        """
        if not isinstance(data, bytes):
            raise UsageError(f"Expected a WSGI app to give bytes, got {data!r:.80}.")
        if not data:
            return  # PEP 3333, "Handling the Content-Length Header": it does not send the head
        if self.status is None:
            raise UsageError(
                f"The WSGI app {self.app!r} gave {data!r:.80} before it called start_response."
            )
        if self._missing is not None:
            if len(data) > self._missing:
                raise UsageError(
                    f"The WSGI app {self.app!r} gave more bytes than it announced: correct its "
                    "Content-Length."
                )
            self._missing -= len(data)
        self.response_started = True
        assert self._chunks is not None
        self._chunks.give(data)


def _raw_headers(fields: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    headers: list[tuple[bytes, bytes]] = []
    for name, value in fields:
        raw_name, raw_value = encode_header(name, value)
        if not _NAME.fullmatch(name):
            raise ValueError(f"Expected a header name (RFC 9110 section 5.1), got {name!r}.")
        if raw_name not in HOP_BY_HOP:
            headers.append((raw_name, raw_value.strip(b" \t")))
    return headers


def _announced(headers: list[tuple[bytes, bytes]]) -> int | None:
    """The length that the body is said to have, in bytes."""
    lengths = [value for name, value in headers if name == b"content-length"]
    if not lengths:
        return None
    if len(lengths) > 1 or not lengths[0].isdigit():
        raise UsageError(f"Expected one Content-Length of digits, got {lengths!r:.80}.")
    return int(lengths[0])
