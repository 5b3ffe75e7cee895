"""Requests: views of a scope, and readers of the body that its layers share.

Every ``Request`` of one scope shares one exchange with the server: the body is read once, however
many layers ask for it, and all see the same disconnect.
"""

from __future__ import annotations

import json
import typing
import weakref
from collections.abc import AsyncGenerator, Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Generic, NoReturn

from hesper._asgi.exchange import KEY, Exchange, Receiver, open_exchange
from hesper._asgi.states import RequestState
from hesper._headers import encode_header
from hesper.cookies import cookie_parser
from hesper.datastructures import URL, Address, FormData, Headers, QueryParams, State
from hesper.exceptions import ClientDisconnect, HTTPException, MalformedJSON, UsageError
from hesper.types import Message, Receive, Scope, Send

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    StateT = TypeVar("StateT", bound=Mapping[str, Any] | State, default=State)
else:
    StateT = typing.TypeVar("StateT")

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


class HTTPConnection(Mapping[str, Any], Generic[StateT]):
    """What HTTP requests and WebSockets have in common: a view of the scope, parsed when asked.

    Args:
        scope: an ASGI scope of type "http" or "websocket" (ASGI HTTP & WebSocket, "Scope").
        receive: the ASGI ``receive``; only readers of the body need it.
    """

    _url: URL | None = None
    _base_url: URL | None = None
    _headers: Headers | None = None
    _query_params: QueryParams | None = None
    _cookies: dict[str, str] | None = None
    _state: Any = None

    def __init__(self, scope: Scope, receive: Receive | None = None) -> None:
        if scope["type"] not in ("http", "websocket"):
            raise UsageError(
                f'Expected a scope of type "http" or "websocket", got {scope["type"]!r}.'
            )
        self.scope = scope

    def __getitem__(self, key: str) -> Any:
        return self.scope[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.scope)

    def __len__(self) -> int:
        return len(self.scope)

    # A connection is itself, not the sum of its scope's entries.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __bool__(self) -> bool:
        return True

    @property
    def app(self) -> Any:
        """The application that serves the request."""
        return self.scope["app"]

    @property
    def url(self) -> URL:
        """The whole URL that the client asked for."""
        if self._url is None:
            self._url = URL(scope=self.scope)
        return self._url

    @property
    def base_url(self) -> URL:
        """The URL that the application is mounted at, with a slash at its end."""
        if self._base_url is None:
            scope = dict(self.scope)
            path = scope.get("app_root_path", scope.get("root_path", ""))
            scope["path"] = path if path.endswith("/") else path + "/"
            scope["query_string"] = b""
            scope["root_path"] = path
            self._base_url = URL(scope=scope)
        return self._base_url

    @property
    def headers(self) -> Headers:
        """The request's headers, without regard to case."""
        if self._headers is None:
            self._headers = Headers(scope=self.scope)
        return self._headers

    @property
    def query_params(self) -> QueryParams:
        """The parameters of the query string."""
        if self._query_params is None:
            self._query_params = QueryParams(self.scope["query_string"])
        return self._query_params

    @property
    def path_params(self) -> dict[str, Any]:
        """The parameters of the path, converted as the route says."""
        params: dict[str, Any] = self.scope.get("path_params", {})
        return params

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies; of two with one name the last. Malformed parts are left out."""
        if self._cookies is None:
            # HTTP/2 may split the field (RFC 9113 section 8.2.3).
            self._cookies = cookie_parser("; ".join(self.headers.getlist("cookie")))
        return self._cookies

    @property
    def client(self) -> Address | None:
        """The other end of the connection, if the server knows it."""
        host_port = self.scope.get("client")
        return None if host_port is None else Address(*host_port)

    def _from_middleware(self, key: str, middleware: str) -> Any:
        try:
            return self.scope[key]
        except KeyError:
            raise UsageError(
                f"{middleware} must be installed to access request.{key}: "
                f"add it to the application's middleware."
            ) from None

    @property
    def session(self) -> dict[str, Any]:
        """The session. Raises UsageError without ``SessionMiddleware``."""
        session: dict[str, Any] = self._from_middleware("session", "SessionMiddleware")
        return session

    @property
    def auth(self) -> Any:
        """The credentials. Raises UsageError without ``AuthenticationMiddleware``."""
        return self._from_middleware("auth", "AuthenticationMiddleware")

    @property
    def user(self) -> Any:
        """The user. Raises UsageError without ``AuthenticationMiddleware``."""
        return self._from_middleware("user", "AuthenticationMiddleware")

    @property
    def state(self) -> StateT:
        """A place for values of this request; it starts with what the lifespan gave."""
        if self._state is None:
            self._state = State(self.scope.setdefault("state", {}))
        state: StateT = self._state
        return state

    def url_for(self, name: str, /, **path_params: Any) -> URL:
        """The absolute URL of the route ``name``.

        Raises:
            NoMatchFound: no route has this name and these parameters.
            UsageError: the request did not come through a router.
        """
        # A middleware of the app stands before its router.
        router = self.scope.get("router") or self.scope.get("app")
        if router is None:
            raise UsageError("url_for needs a router: the request did not come through one.")
        path = router.url_path_for(name, **path_params)
        url: URL = path.make_absolute_url(base_url=self.base_url)
        return url


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

    _receiver: Receiver | None = None
    _shared: Exchange | None = None

    @property
    def _exchange(self) -> Exchange:
        if self._shared is None:
            if self._receive is empty_receive and KEY in self.scope:
                self._shared = self.scope[KEY]
            else:
                self._shared = exchange = open_exchange(self.scope, self._receive, self._send)
                if exchange.owner:
                    # No rim around it ends this exchange: it ends with its last user.
                    exchange.release()
                    weakref.finalize(exchange, exchange.incoming.abandon)
        return self._shared

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
            return json.loads(body)
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
    """A request of an exchange that is there: the rim's (0.13 µs; the class' call takes 0.22)."""
    request: Request[Any] = _new(Request)
    request.scope = scope
    request._shared = exchange
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
