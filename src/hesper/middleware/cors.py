"""Cross-origin resource sharing: which other sites' scripts may read the responses.

The law is the Fetch standard, "CORS protocol" and "CORS-preflight fetch". The browser enforces it:
what is not allowed is answered all the same, without the headers that would let a script see it.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import partial

from hesper._grammar import TCHAR
from hesper._stack import RequestResponseEndpoint, Stack, answer_failure, stack_of
from hesper.datastructures import Headers, MutableHeaders
from hesper.exceptions import UsageError
from hesper.middleware.base import BaseHTTPMiddleware
from hesper.requests import Request
from hesper.responses import PlainTextResponse, Response
from hesper.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["ALL_METHODS", "SAFELISTED_HEADERS", "CORSMiddleware"]

ALL_METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY")
"""What "*" in ``allow_methods`` stands for."""

SAFELISTED_HEADERS = {"Accept", "Accept-Language", "Content-Language", "Content-Type"}
"""Request headers that are always allowed."""

_PREFLIGHT_VARY = (
    "Origin, Access-Control-Request-Method, Access-Control-Request-Headers, "
    "Access-Control-Request-Private-Network"
)

# What may be an origin at all: it is repeated in a header, so no space and no control character.
_VISIBLE = re.compile(r"[!-~]+")
# RFC 6454 section 6.2, as browsers send it: in lower case, without path, slash at the end, wildcard.
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(?:(?![A-Z/*])[!-~])*")
_FIELD_NAME = re.compile(rf"[{TCHAR}]+")


class CORSMiddleware(BaseHTTPMiddleware):
    """Lets scripts of other origins read the responses.

    Preflight requests are answered here: 200, or 400 with a text that says what is not allowed. All
    other responses get their headers here, errors included: in a Hesper app also the 500 of an
    error that nothing else answers, which an outer middleware then sees as a response. Each varies
    by ``Origin``.

    ``null``, the origin of sandboxed frames and local files, is only allowed by name or by "*". With
    ``allow_credentials`` "*" is answered with the origin itself, as Fetch demands: then every site
    can act as the user who visits it.

    Args:
        app: the ASGI app.
        allow_origins: such as ``https://example.com``; "*" for all.
        allow_methods: "*" for those in ``ALL_METHODS``.
        allow_headers: request headers, besides ``SAFELISTED_HEADERS``; "*" for all.
        allow_credentials: whether requests may carry cookies and the like.
        allow_origin_regex: allows the origins that it matches as a whole.
        allow_private_network: whether a public site may ask this one in a private network.
        expose_headers: response headers that scripts may read, besides the safe ones.
        max_age: seconds that a browser may keep the answer to a preflight.

    Raises:
        UsageError: an entry of ``allow_origins`` is nothing that a browser sends.

    A subclass may override ``is_allowed_origin`` and ``preflight_response``. If it overrides
    ``simple_response`` or ``send``, all goes through these, ASGI message by ASGI message.
    """

    def __init__(
        self,
        app: ASGIApp,
        allow_origins: Collection[str] = (),
        allow_methods: Collection[str] = ("GET",),
        allow_headers: Collection[str] = (),
        allow_credentials: bool = False,
        allow_origin_regex: str | None = None,
        allow_private_network: bool = False,
        expose_headers: Collection[str] = (),
        max_age: int = 600,
    ) -> None:
        super().__init__(app)
        self.allow_origins = _listed(allow_origins)
        if type(self).is_allowed_origin is CORSMiddleware.is_allowed_origin:
            _check_origins(self.allow_origins)
        methods = _listed(allow_methods)
        self.allow_methods = ALL_METHODS if "*" in methods else methods
        listed_headers = sorted(SAFELISTED_HEADERS | set(_listed(allow_headers)))
        self.allow_headers = [name.lower() for name in listed_headers]
        self.allow_all_origins = "*" in self.allow_origins
        self.allow_all_headers = "*" in listed_headers
        self.allow_credentials = allow_credentials
        # Fetch, "CORS protocol and credentials": with credentials "*" counts as no origin.
        self.preflight_explicit_allow_origin = not self.allow_all_origins or allow_credentials
        self.allow_origin_regex = re.compile(allow_origin_regex) if allow_origin_regex else None
        self.allow_private_network = allow_private_network

        always: dict[str, str] = {}
        if not self.preflight_explicit_allow_origin:
            always["Access-Control-Allow-Origin"] = "*"
        if allow_credentials:
            always["Access-Control-Allow-Credentials"] = "true"
        self.simple_headers = dict(always)
        if expose_headers:
            exposed = ", ".join(_listed(expose_headers))
            self.simple_headers["Access-Control-Expose-Headers"] = exposed
        self.preflight_headers = {
            "Vary": _PREFLIGHT_VARY,
            "Access-Control-Allow-Methods": ", ".join(self.allow_methods),
            "Access-Control-Max-Age": str(max_age),
            **always,
        }
        if not self.allow_all_headers:
            self.preflight_headers["Access-Control-Allow-Headers"] = ", ".join(listed_headers)

    # -- decisions --------------------------------------------------------------------------------

    def is_allowed_origin(self, origin: str) -> bool:
        """Whether scripts of this origin may read the responses.

        Asked only about origins of visible ASCII; nothing else is ever allowed.
        """
        if self.allow_all_origins or origin in self.allow_origins:
            return True
        # Any site can make a frame of origin "null", so no pattern is meant to match it.
        regex = self.allow_origin_regex if origin != "null" else None
        return regex is not None and regex.fullmatch(origin) is not None

    def _allowed_origin(self, request_headers: Headers) -> str | None:
        """The request's origin, if it has one that is allowed."""
        # Several fields are one with commas (RFC 9110 section 5.3), and so no origin.
        origin = ", ".join(request_headers.getlist("origin"))
        allowed = _VISIBLE.fullmatch(origin) is not None and self.is_allowed_origin(origin)
        return origin if allowed else None

    def preflight_response(self, request_headers: Headers) -> Response:
        """The answer to a preflight request: 200 "OK", or 400 and what is not allowed."""
        headers = dict(self.preflight_headers)
        failures: list[str] = []

        origin = self._allowed_origin(request_headers)
        if origin is None:
            failures.append("origin")
        elif self.preflight_explicit_allow_origin:
            headers["Access-Control-Allow-Origin"] = origin

        if request_headers.get("access-control-request-method") not in self.allow_methods:
            failures.append("method")

        requested = _members(request_headers.getlist("access-control-request-headers"))
        if self.allow_all_headers:
            # Named one by one: "*" does not cover "Authorization" (Fetch, "CORS-preflight fetch").
            if not all(map(_FIELD_NAME.fullmatch, requested)):
                failures.append("headers")
            elif requested:
                headers["Access-Control-Allow-Headers"] = ", ".join(requested)
        elif any(name.lower() not in self.allow_headers for name in requested):
            failures.append("headers")

        if "access-control-request-private-network" in request_headers:
            if self.allow_private_network:
                headers["Access-Control-Allow-Private-Network"] = "true"
            else:
                failures.append("private-network")

        if failures:
            text = "Disallowed CORS " + ", ".join(failures)
            return PlainTextResponse(text, status_code=400, headers=headers)
        return PlainTextResponse("OK", headers=headers)

    @staticmethod
    def allow_explicit_origin(headers: MutableHeaders, origin: str) -> None:
        """Allow one origin in the headers of its response."""
        headers["Access-Control-Allow-Origin"] = origin
        headers.add_vary_header("Origin")

    def _add_headers(self, headers: MutableHeaders, request_headers: Headers) -> None:
        origin = self._allowed_origin(request_headers)
        if origin is not None:
            headers.update(self.simple_headers)
            if self.preflight_explicit_allow_origin:
                self.allow_explicit_origin(headers, origin)
                return
        # Also without an origin, or a cache would give this response to one that has one.
        headers.add_vary_header("Origin")

    # -- responses as values ----------------------------------------------------------------------

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        if _is_preflight(request.method, request.headers):
            return self.preflight_response(request_headers=request.headers)
        try:
            response = await call_next(request)
        except Exception as exc:
            response = await answer_failure(request, exc)
        self._add_headers(response.headers, request.headers)
        return response

    # -- responses as ASGI messages ---------------------------------------------------------------

    def _fold(self) -> Stack:
        cls = type(self)
        overridden = (
            cls.simple_response is not CORSMiddleware.simple_response
            or cls.send is not CORSMiddleware.send
        )
        if not overridden:
            return super()._fold()
        return stack_of(self.app)._replace(http=stack_of(self._by_messages).http)

    async def _by_messages(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        if _is_preflight(scope["method"], headers):
            await self.preflight_response(request_headers=headers)(scope, receive, send)
        else:
            await self.simple_response(scope, receive, send, request_headers=headers)

    async def simple_response(
        self, scope: Scope, receive: Receive, send: Send, request_headers: Headers
    ) -> None:
        """Run the app for a request that is no preflight, with ``self.send`` as its ``send``."""
        await self.app(
            scope, receive, partial(self.send, send=send, request_headers=request_headers)
        )

    async def send(self, message: Message, send: Send, request_headers: Headers) -> None:
        """Send a message of the app; its start message gets the headers."""
        if message["type"] == "http.response.start":
            self._add_headers(MutableHeaders(scope=message), request_headers)
        await send(message)


def _is_preflight(method: str, headers: Headers) -> bool:
    return (
        method == "OPTIONS" and "origin" in headers and "access-control-request-method" in headers
    )


def _listed(values: Collection[str]) -> Collection[str]:
    """Several values. "in" a str would look for a part of it: ``example.co`` in ``example.com``."""
    return [values] if isinstance(values, str) else values


def _members(fields: list[str]) -> list[str]:
    """The members of list fields; empty ones do not count (RFC 9110 section 5.6.1)."""
    return [name for field in fields for part in field.split(",") if (name := part.strip(" \t"))]


def _check_origins(origins: Collection[str]) -> None:
    for origin in origins:
        # "" is what the split of an empty setting gives.
        if origin not in ("", "*", "null") and not _ORIGIN.fullmatch(str(origin)):
            raise UsageError(
                f"Expected an origin such as 'https://example.com', '*' or 'null' in "
                f"allow_origins, got {origin!r}, which no browser sends. Leave out the path and "
                "the slash at the end; for patterns there is allow_origin_regex."
            )
