"""From HTTP to HTTPS, and from ``ws`` to ``wss``."""

from __future__ import annotations

from typing import Any

from hesper.middleware._hosts import HostGate, host_of, invalid_host, redirect_to, scheme_of
from hesper.requests import HTTPConnection
from hesper.responses import Response
from hesper.types import ASGIApp

__all__ = ["HTTPSRedirectMiddleware"]

_SECURE = {"http": "https", "ws": "wss"}

_DEFAULT_PORTS = (80, 443)


class HTTPSRedirectMiddleware(HostGate):
    """Sends requests that came without TLS to the same URL with it (307).

    Path and query are those that the client wrote. Port 80 or 443 is left out, another one stays. A
    request whose ``Host`` is missing, malformed or there twice gets 400. A WebSocket is refused
    with the redirect, or with 403 where the server can do no other.

    The scheme is the server's word: behind a proxy it has to be told to trust the proxy's headers
    (uvicorn: ``--proxy-headers``), or every request is redirected for ever. It is also the client's
    ``Host`` that it redirects to: put ``TrustedHostMiddleware`` around it.

    Args:
        app: the ASGI app.
    """

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(app)

    def _answer(self, connection: HTTPConnection[Any]) -> Response | None:
        scheme = _SECURE.get(scheme_of(connection.scope))
        if scheme is None:
            return None
        host = host_of(connection)
        if host is None:
            return invalid_host()
        default = int(host.port or 80) in _DEFAULT_PORTS
        return redirect_to(scheme, host.host if default else host.authority, connection.scope)
