"""The application under test, and the scopes that it is called with.

The law: a scope says what a server of HTTP/1.1 would say of the same request; where the client
library has decoded something, the scope has what would be on the wire.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol, cast

from hesper._testclient.strict import DIALECT
from hesper.exceptions import UsageError
from hesper.testing._scope import http_scope, websocket_scope
from hesper.types import ASGIApp, Receive, Scope, Send

ASGIInstance = Callable[[Receive, Send], Awaitable[None]]
"""What an ASGI 2 application makes of a scope."""

ASGI2App = Callable[[Scope], ASGIInstance]
"""An ASGI 2 application: two calls."""

ASGI3App = Callable[[Scope, Receive, Send], Awaitable[None]]
"""An ASGI 3 application: one call."""

SOCKET_SCHEMES = ("ws", "wss")
"""The schemes of URLs that ask for a WebSocket."""

_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}


class _URL(Protocol):
    @property
    def scheme(self) -> str: ...
    @property
    def raw_host(self) -> bytes: ...
    @property
    def port(self) -> int | None: ...
    @property
    def raw_path(self) -> bytes: ...


class _Fields(Protocol):
    @property
    def raw(self) -> list[tuple[bytes, bytes]]: ...

    def get(self, key: str, default: str) -> str: ...


class Asked(Protocol):
    """A request, of which of the two clients ever."""

    @property
    def method(self) -> str: ...
    @property
    def url(self) -> _URL: ...
    @property
    def headers(self) -> _Fields: ...


class _ASGI2:
    """An ASGI 2 application, called as one of ASGI 3."""

    def __init__(self, app: ASGI2App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope)(receive, send)


def as_asgi3(app: ASGI2App | ASGI3App) -> ASGIApp:
    """The application in the form of ASGI 3; which it has is seen by how many arguments it takes.

    Raises:
        UsageError: it cannot be called.
    """
    if not callable(app):
        raise UsageError(f"Expected an ASGI application, got {app!r}.")
    try:
        inspect.signature(app).bind(None, None, None)
    except TypeError:
        return _ASGI2(cast(ASGI2App, app))
    return cast(ASGIApp, app)


@dataclass(frozen=True, kw_only=True)
class Server:
    """The application, and what is the same in each of its scopes."""

    app: ASGIApp
    app_state: dict[str, Any]
    """The lifespan's state, of which each scope has a shallow copy."""
    raise_server_exceptions: bool
    root_path: str
    client: tuple[str, int]
    grace: float

    def http_scope(self, request: Asked) -> Scope:
        """The scope of an HTTP request."""
        scope = http_scope(DIALECT, request.method, _target(request), _fields(request), ())
        return {**scope, **self._common(request)}

    def websocket_scope(self, request: Asked) -> Scope:
        """The scope of a handshake."""
        offered = request.headers.get("sec-websocket-protocol", "")
        subprotocols = [name.strip() for name in offered.split(",") if name.strip()]
        scope = websocket_scope(DIALECT, _target(request), [], subprotocols, ())
        return {**scope, **self._common(request), "headers": _fields(request)}

    def _common(self, request: Asked) -> dict[str, Any]:
        url = request.url
        port = url.port
        if url.scheme not in _PORTS:
            raise UsageError(f"Expected a URL of http, https, ws or wss, got {str(url)!r}.")
        return {
            "scheme": url.scheme,
            "root_path": self.root_path,
            "client": self.client,
            "server": (
                url.raw_host.decode("ascii"),
                _PORTS[url.scheme] if port is None else port,
            ),
            "state": self.app_state.copy(),
        }


def _target(request: Asked) -> str:
    return request.url.raw_path.decode("ascii")


def _fields(request: Asked) -> list[tuple[bytes, bytes]]:
    return [(name.lower(), value) for name, value in request.headers.raw]
