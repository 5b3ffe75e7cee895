"""Hosts: what a ``Host`` field may hold, and which host a request was for.

The law: a host is what RFC 3986 section 3.2.2 says. Anything else that a client puts into ``Host``
is as good as no field at all, so that it cannot turn up in a URL, a redirect or a mail.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import NamedTuple

from hesper.types import Scope

__all__ = ["ParsedHost", "authority_of", "is_ipv6", "parse_host_header"]

_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}

# RFC 3986 section 3.2.2: "no more than 255 characters", and a port.
_MAX_LENGTH = 255 + len(":65535")

# RFC 3986 section 3.2.2: IP-literal (its inside is looked at below) or reg-name, then the port.
# Possessive, so that no text makes it backtrack.
_HOST = re.compile(
    r"(?P<host>\[[^\[\]]*+\]|(?:[A-Za-z0-9\-._~!$&'()*+,;=]++|%[0-9A-Fa-f]{2})++)"
    r"(?::(?P<port>0*+[1-9][0-9]{0,4}|0++))?"
)
_IP_FUTURE = re.compile(r"v[0-9A-Fa-f]++\.[A-Za-z0-9\-._~!$&'()*+,;=:]++")


class ParsedHost(NamedTuple):
    """A valid ``Host`` field in its two parts, as they were written."""

    host: str
    port: str | None

    @property
    def authority(self) -> str:
        """Host and port as one text."""
        return self.host if self.port is None else f"{self.host}:{self.port}"


def parse_host_header(value: str | None) -> ParsedHost | None:
    """Read a ``Host`` field (RFC 9110 section 7.2).

    Returns:
        The host, with its brackets if it is an IP literal, and the port, if there is one; None if
        the field is missing, is not a host, or has a port above 65535. Never raises.
    """
    match = _HOST.fullmatch(value or "")
    if match is None or len(match[0]) > _MAX_LENGTH:
        return None
    host, port = match.groups()
    if (host[0] == "[" and not _is_ip_literal(host[1:-1])) or int(port or 0) > 65535:
        return None
    return ParsedHost(host, port)


def _is_ip_literal(text: str) -> bool:
    # A zone is for the sender's own machine and not for the wire (RFC 6874 section 4).
    return _IP_FUTURE.fullmatch(text) is not None or ("%" not in text and is_ipv6(text))


def is_ipv6(text: str) -> bool:
    """Whether a text is an IPv6 address, without brackets."""
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def authority_of(scope: Scope) -> str:
    """Host and port that the client asked for, else the server's own, else nothing."""
    for name, value in scope["headers"]:
        if name == b"host":
            if authority := _authority_in(value[: _MAX_LENGTH + 1]):
                return authority
            break
    host, port = scope.get("server") or ("", None)
    if port is None:
        return ""  # ASGI: then the first item is the path of a Unix socket
    if ":" in host:
        host = f"[{host}]"
    if port == _DEFAULT_PORTS.get(scope.get("scheme", "http")):
        return str(host)
    return f"{host}:{port}"


# A process sees few hosts, and parsing one, 1 us, is half the cost of a URL (CPython 3.13). Bounded
# in number and, by the caller, in length: the client chooses what is in it.
@lru_cache(maxsize=128)
def _authority_in(value: bytes) -> str:
    host = parse_host_header(value.decode("latin-1"))
    return host.authority if host else ""
