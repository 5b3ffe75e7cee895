"""Only requests for hosts that the application knows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv6Address
from typing import Any

from hesper._host import is_ipv6, parse_host_header
from hesper.exceptions import UsageError
from hesper.middleware._hosts import HostGate, host_of, invalid_host, redirect_to, scheme_of
from hesper.requests import HTTPConnection
from hesper.responses import Response
from hesper.types import ASGIApp

__all__ = ["ENFORCE_DOMAIN_WILDCARD", "TrustedHostMiddleware"]

ENFORCE_DOMAIN_WILDCARD = "Domain wildcard patterns must be like '*.example.com'."

# What "*." stands for: names as DNS has them (RFC 1123 section 2.1, and the underscore that is in
# use). RFC 3986 would allow "evil.example%2F" in front of the domain as well.
_SUBDOMAIN = re.compile(r"(?:[a-z0-9_-]++\.)*+[a-z0-9_-]++")


class TrustedHostMiddleware(HostGate):
    """Answers 400 to requests and WebSocket handshakes for other hosts than the allowed ones.

    Case, the port and one dot at the end make no difference, nor does the way an IPv6 address is
    written. A ``Host`` that is missing, empty, malformed (user information included) or there twice
    is refused. A handshake gets 403 where the server can do no other.

    Args:
        app: the ASGI app.
        allowed_hosts: names; ``*.example.com`` for all below a domain, not for the domain itself;
            IPv6 addresses, in brackets or not. None, or ``*`` among them, allows every host, and
            then nothing is looked at.
        www_redirect: send a request for ``example.com`` to ``www.example.com`` (307) if only that
            is allowed.

    Raises:
        UsageError: an entry is no host, or has a port or another wildcard.
    """

    def __init__(
        self,
        app: ASGIApp,
        allowed_hosts: Sequence[str] | None = None,
        www_redirect: bool = True,
    ) -> None:
        super().__init__(app)
        if allowed_hosts is None:
            allowed_hosts = ["*"]
        elif isinstance(allowed_hosts, str):  # a sequence of letters would allow nothing
            allowed_hosts = [allowed_hosts]
        self.allowed_hosts = [pattern.lower() for pattern in allowed_hosts]
        self.allow_any = "*" in allowed_hosts
        self.www_redirect = www_redirect
        patterns = [pattern for pattern in self.allowed_hosts if pattern != "*"]
        self._names = {_name_of(name) for name in patterns if not name.startswith("*")}
        self._domains = [f".{_name_of(name)}" for name in patterns if name.startswith("*")]

    def _answer(self, connection: HTTPConnection[Any]) -> Response | None:
        if self.allow_any:
            return None
        host = host_of(connection)
        if host is None:
            return invalid_host()
        name = _normal(host.host)
        if name in self._names or self._is_subdomain(name):
            return None
        if self.www_redirect and f"www.{name}" in self._names:
            scope = connection.scope
            return redirect_to(scheme_of(scope), f"www.{host.authority}", scope)
        return invalid_host()

    def _is_subdomain(self, name: str) -> bool:
        return any(
            name.endswith(domain) and _SUBDOMAIN.fullmatch(name, 0, len(name) - len(domain))
            for domain in self._domains
        )


def _name_of(pattern: str) -> str:
    """The host in a pattern, without its wildcard."""
    name = pattern.removeprefix("*.")
    if "*" in name:
        raise UsageError(f"{ENFORCE_DOMAIN_WILDCARD} Got {pattern!r}.")
    host = parse_host_header(f"[{name}]" if is_ipv6(name) else name)
    if host is None or host.port is not None or name[0] == ".":
        raise UsageError(
            f"Expected a host such as 'example.com', '*.example.com' or '[::1]', got {pattern!r}. "
            "Leave out scheme, port and path: every port of a host is allowed. Write names beyond "
            "ASCII as xn--...."
        )
    return _normal(host.host)


def _normal(host: str) -> str:
    """The one way to write a host."""
    if host[0] == "[" and is_ipv6(host[1:-1]):
        return f"[{IPv6Address(host[1:-1])}]"
    # RFC 9110 section 4.2.3 and RFC 1034 section 3.1: without regard to case, and with the root's
    # dot it is the same name.
    return host.lower().removesuffix(".")
