"""What telemetry says of a request, by OpenTelemetry's conventions for HTTP.

The law: a client decides neither how many different names and metrics there are, nor how long a text
is, and its credentials are in none.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote_plus

from hesper._connection import HTTPConnection
from hesper.types import Scope

Attributes = dict[str, str | int]

MAX_LENGTH = 2048
"""Characters of a text that are kept."""

REDACTED = "REDACTED"

# Each other name would be a metric of its own, and clients can make up any number (CVE-2023-45142).
_METHODS = frozenset(
    "CONNECT DELETE GET HEAD OPTIONS PATCH POST PUT QUERY TRACE".split()  # noqa: SIM905
)

# What the name of a parameter that holds a credential usually has in it. One too many is hidden
# rather than one too few: nobody misses a value as much as an operator whose tokens are in a log.
_SECRET = re.compile(
    "auth|code|cred|jwt|key|nonce|otp|passw|pwd|saml|secret|sess|sig|state|ticket|token", re.I
)

# RFC 3986 section 3.2.1: what stands before the host's "@", as in "//user:password@host".
_USERINFO = re.compile(r"//(?:[^/@]*+@)++")


def method_of(scope: Scope) -> str:
    """The method if it is a known one, else "_OTHER"."""
    method: str = scope.get("method", "GET").upper()
    return method if method in _METHODS else "_OTHER"


def request_attributes(connection: HTTPConnection[Any]) -> Attributes:
    """What is known of a request, or of a handshake, when it comes."""
    scope, url = connection.scope, connection.url
    method = method_of(scope)
    attributes: Attributes = {
        "http.request.method": method,
        "url.path": tidy(_USERINFO.sub("//", scope["path"])),
        "url.scheme": scope.get("scheme", "http"),
    }
    original = scope.get("method", method)
    if original != method:
        attributes["http.request.method_original"] = tidy(original)
    if query := scope.get("query_string", b""):
        attributes["url.query"] = redact_query(query.decode("utf-8", "backslashreplace"))
    if url.hostname is not None:
        attributes["server.address"] = url.hostname
        port = url.port or (scope.get("server") or (None, None))[1]
        if port is not None:
            attributes["server.port"] = port
    if version := scope.get("http_version"):
        attributes["network.protocol.version"] = version
    if client := scope.get("client"):
        attributes["client.address"] = client[0]
    if agent := connection.headers.get("user-agent"):
        attributes["user_agent.original"] = tidy(agent)
    return attributes


def tidy(text: str) -> str:
    """A text that can be exported: of bounded length, and UTF-8. Control characters stay: a value is
    no line of a log."""
    return text[:MAX_LENGTH].encode("utf-8", "backslashreplace").decode()


def redact_query(query: str) -> str:
    """A query without the values that may be credentials. A part without a name is such a value."""
    parts = re.split("([&;])", tidy(query))
    parts[::2] = map(_redact, parts[::2])
    return "".join(parts)


def _redact(part: str) -> str:
    name, equals, value = part.partition("=")
    if not part:
        return part
    if not equals:
        return REDACTED
    plain = unquote_plus(value)
    nested = "=" in plain and _SECRET.search(plain)  # "next=/login?token=..."
    if nested or _SECRET.search(unquote_plus(name)) or _USERINFO.search(plain):
        return f"{name}={REDACTED}"
    return part


ROUTE_PREFIX = "hesper.route_prefix"
"""Where the scope has the templates of the mounts around the route, joined."""


def route_template(scope: Scope) -> str | None:
    """The template of the route that was found, with those of the mounts around it; None if none
    was found."""
    route = scope.get("route")
    template = getattr(route, "path_format", None)
    if not isinstance(template, str):
        return None
    prefix = scope.get("root_path", "").rstrip("/")
    if ROUTE_PREFIX in scope:
        # Starlette's mounts extend the root path, and have no templates; ours do not tell of theirs.
        prefix = scope.get("app_root_path", prefix).rstrip("/") + scope[ROUTE_PREFIX]
    # What a mounted app does with the rest of the path is its own affair.
    return (prefix if hasattr(route, "routes") else prefix + template) or "/"
