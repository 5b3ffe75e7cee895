"""Requests: views of a scope, and readers of the body that its layers share.

Every ``Request`` of one scope shares one exchange with the server: the body is read once, however
many layers ask for it, and all see the same disconnect.
"""

from __future__ import annotations

import json
import weakref
from collections.abc import AsyncGenerator, Generator
from typing import Any, NoReturn

from hesper import _json
from hesper._asgi.bodies import Body
from hesper._asgi.exchange import KEY, Exchange, Holder, Receiver, open_exchange
from hesper._asgi.states import ENDED, IDLE, STARTED, RequestState, ResponseState
from hesper._connection import HTTPConnection, StateT, app_shuts_down
from hesper._headers import encode_header
from hesper.cookies import cookie_parser
from hesper.datastructures import FormData
from hesper.exceptions import ClientDisconnect, HTTPException, MalformedJSON, UsageError
from hesper.types import Message, Receive, Scope, Send

__all__ = [
    "ClientDisconnect",
    "HTTPConnection",
    "Request",
    "cookie_parser",
    "empty_receive",
    "empty_send",
]

SERVER_PUSH_HEADERS_TO_COPY = {
    "accept",
    "accept-encoding",
    "accept-language",
    "cache-control",
    "user-agent",
}
"""Headers of a request that a push promise repeats: the client would send them again."""


async def empty_receive() -> NoReturn:
    """The ``receive`` of a connection that was made without one.

    Raises:
        RuntimeError: always.
    """
    raise RuntimeError(
        "Receive channel has not been made available: pass `receive` to the request."
    )


async def empty_send(message: Message) -> NoReturn:
    """The ``send`` of a request that was made without one.

    Raises:
        RuntimeError: always.
    """
    raise RuntimeError("Send channel has not been made available: pass `send` to the request.")


class Request(HTTPConnection[StateT]):
    """An HTTP request.

    Args:
        scope: an ASGI scope of type "http".
        receive: the ASGI ``receive``, for the body and the disconnect.
        send: the ASGI ``send``, for push promises and early hints.

    When the client leaves: readers of the body raise ``ClientDisconnect``, unless the body had come
    whole; ``disconnected`` becomes true. When a reader is cancelled, nothing that came is lost.
    """

    def __init__(
        self, scope: Scope, receive: Receive = empty_receive, send: Send = empty_send
    ) -> None:
        if scope["type"] != "http":
            raise UsageError(f'Expected a scope of type "http", got {scope["type"]!r}.')
        self.scope = scope
        self._receive = receive
        self._send = send
        self._shared: Exchange | None = None

    _receiver: Receiver | None = None
    _progress: ResponseState = IDLE
    """How far the rim is with the response, as long as there is no exchange to say so."""
    _bodies: tuple[Body, ...] = ()
    """What stands in ``exchange.bodies``, as long as there is none."""

    @property
    def _exchange(self) -> Exchange:
        if self._shared is None:
            self._shared = self._find_exchange()
        return self._shared

    def _find_exchange(self) -> Exchange:
        held: Holder | None = self.scope.get(KEY)
        if held is self or self._progress is ENDED:  # the rim's own request: see `open_request`
            exchange = Exchange(self.scope, self._receive, self._send)
            exchange.state = self._progress
            exchange.sending = self._progress is STARTED
            exchange.bodies = self._bodies
            if held is self:
                self.scope[KEY] = exchange
            return exchange
        if held is not None and self._receive is empty_receive:
            return held._exchange
        exchange = open_exchange(self.scope, self._receive, self._send)
        if exchange.owner:
            # No rim around it ends this exchange: it ends with its last user.
            exchange.release()
            weakref.finalize(exchange, exchange.incoming.abandon)
        return exchange

    @property
    def method(self) -> str:
        """The HTTP method, as the client wrote it."""
        method: str = self.scope["method"]
        return method

    @property
    def receive(self) -> Receive:
        """An ASGI ``receive`` with its own place in the body; gives the disconnect for ever."""
        if self._receiver is None:  # kept: a loop over request.receive() must get on
            self._receiver = Receiver(self._exchange)
        return self._receiver

    # -- the body ---------------------------------------------------------------------------------

    def stream(self) -> AsyncGenerator[bytes, None]:
        """The body, chunk by chunk as it comes, and at its end ``b""``.

        A body that was read whole is given from its beginning. A stream is not kept: a second one
        after it raises, as does ``body()``. It may be left halfway: there is nothing to close.

        Raises:
            ClientDisconnect: the client left before the body was complete.
            UsageError: the body was already taken as a stream.
        """
        return _BodyStream(self)

    async def body(self) -> bytes:
        """The whole body; read once, and kept for every layer.

        Raises:
            ClientDisconnect: the client left before the body was complete.
            UsageError: the body was taken as a stream.
        """
        return await self._exchange.incoming.read_body()

    async def json(self) -> Any:
        """The body as JSON.

        Raises:
            MalformedJSON: it is none, in UTF-8, -16 or -32, or is nested too deeply; answers 400.
            ClientDisconnect: the client left before the body was complete.
        """
        body = await self.body()
        try:
            return _json.decode(body)
        except json.JSONDecodeError as exc:
            raise MalformedJSON(str(exc), exc.doc, exc.pos) from exc
        except UnicodeDecodeError as exc:
            raise MalformedJSON("the text is not UTF-8") from exc
        except RecursionError:
            raise MalformedJSON("it is nested too deeply") from None
        except ValueError as exc:  # an integer of more digits than Python converts
            raise MalformedJSON(str(exc)) from exc

    def form(
        self,
        *,
        max_files: int | float = 1000,
        max_fields: int | float = 1000,
        max_part_size: int = 1024 * 1024,
    ) -> _FormReader:
        """The body as a form, multipart or urlencoded; empty for another content type.

        Await it, or use it with ``async with``, which closes the files. They are closed in any case
        when the request ends, whichever way.

        Args:
            max_files: most files in the form.
            max_fields: most other fields.
            max_part_size: most bytes in one field that is not a file.

        Raises:
            HTTPException: 400, the form is malformed or over a limit.
            ClientDisconnect: the client left before the form was complete; no half form is given.
        """
        return _FormReader(self, max_files, max_fields, max_part_size)

    async def _read_form(
        self, max_files: int | float, max_fields: int | float, max_part_size: int
    ) -> FormData:
        incoming = self._exchange.incoming
        if incoming.form is None:
            incoming.form = await self._parse_form(max_files, max_fields, max_part_size)
            incoming.at_end += (incoming.form.close,)
        form: FormData = incoming.form
        return form

    async def _parse_form(
        self, max_files: int | float, max_fields: int | float, max_part_size: int
    ) -> FormData:
        from hesper.formparsers import FormParser, MultiPartException, MultiPartParser

        content_type = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        try:
            if content_type == "multipart/form-data":
                return await MultiPartParser(
                    self.headers,
                    self.stream(),
                    max_files=max_files,
                    max_fields=max_fields,
                    max_part_size=max_part_size,
                ).parse()
            if content_type == "application/x-www-form-urlencoded":
                return await FormParser(
                    self.headers, self.stream(), max_fields=max_fields, max_part_size=max_part_size
                ).parse()
        except MultiPartException as exc:
            raise HTTPException(400, exc.message) from exc
        return FormData()

    async def close(self) -> None:
        """Close the form's files. Harmless on a second call."""
        form = self._exchange.incoming.form
        if form is not None:
            await form.close()

    # -- the disconnect ---------------------------------------------------------------------------

    @property
    def disconnected(self) -> bool:
        """Whether the server has said that the client left. Never waits; a thread may read it."""
        return self._exchange.incoming.disconnected

    async def wait_disconnected(self) -> None:
        """Wait until the client has left or the response has ended. Swallows no body."""
        await self._exchange.wait_disconnected()

    async def is_disconnected(self) -> bool:
        """Whether the client has left or the response has ended; gives the server time to say so.

        Starlette's name. ``disconnected`` answers without waiting, ``wait_disconnected()`` waits.
        """
        return await self._exchange.is_disconnected()

    # -- the shutdown -----------------------------------------------------------------------------

    @property
    def shutting_down(self) -> bool:
        """Whether the app shuts down. Never waits; a thread may read it."""
        return self._exchange.incoming.shutting_down or app_shuts_down(self.scope)

    async def wait_shutting_down(self) -> None:
        """Wait until the app shuts down or the response has ended.

        Who waits here has the app's grace time to come to an end in his own way: an event stream is
        not ended for him. Cancelled, the wait ends and nothing else changes.
        """
        if not app_shuts_down(self.scope):
            await self._exchange.incoming.wait_shutting_down()

    # -- what goes before the response -------------------------------------------------------------

    async def send_push_promise(self, path: str) -> None:
        """Announce that ``path`` will be pushed, if the server can (ASGI extension "HTTP Push").

        Does nothing after the client has left.
        """
        if "http.response.push" in self.scope.get("extensions", {}):
            headers = [
                (name, value)
                for name, value in self.headers.raw
                if name.decode("latin-1").lower() in SERVER_PUSH_HEADERS_TO_COPY
            ]
            await self._send_ahead({"type": "http.response.push", "path": path, "headers": headers})

    async def send_early_hints(self, link: str, /, *additional_links: str) -> None:
        """Send a 103 with ``Link`` headers, if the server can (ASGI extension "Early Hints").

        Does nothing after the client has left.

        Raises:
            ValueError: a link contains CR, LF or NUL, or is not latin-1.
        """
        if "http.response.early_hint" in self.scope.get("extensions", {}):
            links = [encode_header("link", each)[1] for each in (link, *additional_links)]
            await self._send_ahead({"type": "http.response.early_hint", "links": links})

    async def _send_ahead(self, message: Message) -> None:
        try:
            await self._exchange.send(message)
        except ClientDisconnect:
            pass


_new = object.__new__


def request_over(scope: Scope, exchange: Exchange) -> Request[Any]:
    """A request of an exchange that is there."""
    request: Request[Any] = _new(Request)
    request.scope = scope
    request._shared = exchange
    return request


def open_request(scope: Scope, receive: Receive, send: Send) -> Request[Any]:
    """The rim's request for one run of a handler; its exchange is opened when it is needed."""
    if KEY in scope or receive.__class__ is Receiver:
        return request_over(scope, open_exchange(scope, receive, send))
    # As Request(scope, receive, send): the call of an abstract class' subclass takes twice as long
    # (0.26 µs against 0.13, CPython 3.13).
    request: Request[Any] = _new(Request)
    request.scope = scope
    request._receive = receive
    request._send = send
    request._shared = None
    scope[KEY] = request
    return request


class _BodyStream(AsyncGenerator[bytes, None]):
    """What ``request.stream()`` gives.

    No coroutine of its own: one that is left halfway, by ``break``, has to be closed by somebody.
    """

    __slots__ = ("_begun", "_over", "_request", "_whole")

    def __init__(self, request: Request[Any]) -> None:
        self._request = request  # and not its incoming: that may end with its last request
        self._begun = False
        self._whole = False
        self._over = False

    async def asend(self, value: None) -> bytes:
        if self._over:
            raise StopAsyncIteration
        incoming = self._request._exchange.incoming
        if not self._begun:
            if incoming.whole:
                body = await incoming.read_body()
                self._begun = self._whole = True
                return body
            if incoming.taken_whole and incoming.state is not RequestState.CUT:
                raise UsageError(
                    "Stream consumed: the request's body was taken as a stream, which is not kept. "
                    "Call body() before stream(): then every layer can read it, however often."
                )
            self._begun = True
        while not self._whole and (message := await incoming.take()) is not None:
            chunk: bytes = message.get("body", b"")
            if chunk:
                return chunk
        self._over = True
        return b""

    async def athrow(self, typ: Any, val: Any = None, tb: Any = None) -> bytes:
        self._over = True
        return await super().athrow(typ, val, tb)


class _FormReader:
    """What ``request.form()`` gives: awaitable, and an async context manager."""

    __slots__ = ("_limits", "_request")

    def __init__(
        self,
        request: Request[Any],
        max_files: int | float,
        max_fields: int | float,
        max_part_size: int,
    ) -> None:
        self._request = request
        self._limits = (max_files, max_fields, max_part_size)

    def __await__(self) -> Generator[Any, None, FormData]:
        return self._request._read_form(*self._limits).__await__()

    async def __aenter__(self) -> FormData:
        return await self._request._read_form(*self._limits)

    async def __aexit__(self, *_: object) -> None:
        await self._request.close()
