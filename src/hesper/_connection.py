"""What an HTTP request and a WebSocket have in common: views of a scope, each made once.

See ``hesper.requests`` for the names that users import.
"""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Generic

from hesper.cookies import cookie_parser
from hesper.datastructures import URL, Address, Headers, QueryParams, State
from hesper.exceptions import UsageError
from hesper.types import Receive, Scope

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    StateT = TypeVar("StateT", bound=Mapping[str, Any] | State, default=State)
else:
    StateT = typing.TypeVar("StateT")


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
        params: dict[str, Any]
        try:  # no `get`, which would make a dict for nothing each time
            params = self.scope["path_params"]
        except KeyError:
            params = {}
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
        mark_accessed = getattr(session, "mark_accessed", None)
        if mark_accessed is not None:  # another middleware's may be a plain dict
            mark_accessed()
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

    def url_path_for(self, name: str, /, **path_params: Any) -> str:
        """As ``url_for``, without scheme and host: right behind any proxy, and for ``Host`` routes
        only as long as the client stays at that host.

        Raises:
            NoMatchFound, UsageError: as ``url_for``.
        """
        return self.url_for(name, **path_params).path


def app_shuts_down(scope: Scope) -> bool:
    """Whether the app that a scope is in has begun its shutdown."""
    shuts_down: bool = getattr(scope.get("app"), "shutting_down", False)
    return shuts_down
