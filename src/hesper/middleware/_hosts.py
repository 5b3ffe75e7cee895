"""What the two middlewares that look at ``Host`` share.

The law: a request names its host exactly once, as RFC 9110 section 7.2 says, or it is answered with
400. A redirect repeats the request's path and query so that they are read as those again, and
never as another host.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any
from urllib.parse import quote, unquote

from hesper._host import ParsedHost, parse_host_header
from hesper._stack import RequestResponseEndpoint
from hesper.middleware.base import BaseHTTPMiddleware
from hesper.requests import HTTPConnection, Request
from hesper.responses import PlainTextResponse, RedirectResponse, Response
from hesper.types import Scope
from hesper.websockets import WebSocket

# RFC 3986 sections 3.3 and 3.4: pchar, "/" and, in a query, "?". "%" is the escape in what comes
# from the wire. Brackets stay because clients send them as they are.
_IN_PATH = "/:@!$&'()*+,;=[]"
_IN_RAW_PATH = _IN_PATH + "%"
_IN_QUERY = _IN_RAW_PATH + "?"

# Parsing takes 1.4 us, as long as the rest of a gate (CPython 3.13), and a process sees few hosts.
# Bounded in number and length: the client chooses what is in it. No host is as long (RFC 3986
# section 3.2.2).
_parse = lru_cache(maxsize=128)(parse_host_header)
_MAX_LENGTH = 300


class HostGate(BaseHTTPMiddleware, ABC):
    """Lets a request or a handshake through, or answers it, by its head alone."""

    @abstractmethod
    def _answer(self, connection: HTTPConnection[Any]) -> Response | None:
        """The answer in the app's place; None to let it through."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        answer = self._answer(request)
        return await call_next(request) if answer is None else answer

    async def dispatch_websocket(
        self, websocket: WebSocket, call_next: Callable[[WebSocket], Awaitable[None]]
    ) -> None:
        answer = self._answer(websocket)
        if answer is None:
            await call_next(websocket)
        elif websocket._exchange.can_deny:
            await websocket.send_denial_response(answer)
        else:
            await websocket.close()


def host_of(connection: HTTPConnection[Any]) -> ParsedHost | None:
    """The host that a request names; None if it names none, or several, or something else.

    RFC 9112 section 3.2: "A server MUST respond with a 400" to each of these. Two fields are how
    a request means one host to a proxy and another to the app behind it.
    """
    values = connection.headers.getlist("host")
    if len(values) != 1 or len(values[0]) > _MAX_LENGTH:
        return None
    return _parse(values[0])


def invalid_host() -> Response:
    """What a request without a valid host gets. It does not repeat what the client sent."""
    return PlainTextResponse("Invalid host header", status_code=400)


def scheme_of(scope: Scope) -> str:
    """The scheme of a request or a handshake (ASGI HTTP & WebSocket: it may be left out)."""
    scheme: str = scope.get("scheme") or ("http" if scope["type"] == "http" else "ws")
    return scheme


def redirect_to(scheme: str, authority: str, scope: Scope) -> Response:
    """The same path and query elsewhere; 307, so with the same method and body."""
    path = _path_of(scope)
    # "OPTIONS *" and a full URL as request target (RFC 9112 section 3.2) have no slash in front:
    # "@evil.example" would turn the host before it into a user name.
    slash = "" if path.startswith("/") else "/"
    query = quote(scope.get("query_string", b""), safe=_IN_QUERY)
    mark = "?" if query else ""
    return RedirectResponse(f"{scheme}://{authority}{slash}{path}{mark}{query}")


def _path_of(scope: Scope) -> str:
    """The path as the client wrote it, unless a middleware has put another in its place."""
    path: str = scope["path"]
    raw: bytes = scope.get("raw_path") or b""  # decoding has lost what "%2F" and "%25" were
    if unquote(raw) == path:
        return quote(raw, safe=_IN_RAW_PATH)
    return quote(path, safe=_IN_PATH, errors="surrogatepass")
