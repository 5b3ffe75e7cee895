"""URLs: read, built from an ASGI scope, and changed part by part.

The laws:

1. A ``URL`` is its text. It is split only when a part is asked for.
2. A URL made from a scope is what the client asked for, and nothing that the client sends can make
   it raise or mean another host: a ``Host`` field that is not a host is as good as none, and
   characters of the path that would end it are percent-encoded.
3. ``replace`` changes what it names and leaves every other part as it was written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal
from urllib.parse import SplitResult, quote_from_bytes, urlencode, urlsplit, urlunsplit

from hesper._host import authority_of, is_ipv6
from hesper._multidict import MultiDict, parse_query
from hesper.types import Scope

__all__ = ["URL", "URLPath"]

_SECURE_SCHEMES = ("https", "wss")

# "?" and "#" would end the path; browsers read "\" as "/" (WHATWG URL, "path state"); control
# characters forge log lines, and urlsplit removes tab, CR and LF.
_NOT_IN_PATH = re.compile(r"[?#\\\x00-\x1f\x7f]")
# A path that a route made may hold a query: users append one.
_NOT_IN_ROUTE_PATH = re.compile(r"[\\\x00-\x1f\x7f]")
_NOT_IN_QUERY = re.compile(r"[#\x00-\x1f\x7f]")
_ASCII = bytes(range(0x80))


def _escape(match: re.Match[str]) -> str:
    return f"%{ord(match[0]):02X}"


def _rooted(path: str) -> str:
    """A path that starts as one even where no authority stands before it.

    "//host" would be an authority (RFC 3986 section 4.2), so a redirect to it would leave the site.
    """
    return f"/%2F{path[2:]}" if path.startswith("//") else path


def _query_of(scope: Scope) -> str:
    raw: bytes = scope.get("query_string", b"")
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        # No reading of these bytes is right, so those beyond ASCII are kept as escapes.
        text = quote_from_bytes(raw, safe=_ASCII)
    return _NOT_IN_QUERY.sub(_escape, text) if _NOT_IN_QUERY.search(text) else text


def _text_of(scope: Scope) -> str:
    """The URL of a request, as text."""
    path: str = scope["path"]
    if _NOT_IN_PATH.search(path):
        path = _NOT_IN_PATH.sub(_escape, path)
    if authority := authority_of(scope):
        separator = "" if not path or path[0] == "/" else "/"
        text = f"{scope.get('scheme', 'http')}://{authority}{separator}{path}"
    else:
        text = _rooted(path)
    query = _query_of(scope)
    return f"{text}?{query}" if query else text


class URL:
    """A URL, absolute or relative.

    Args:
        url: Its text.
        scope: The ASGI scope of the request whose URL it is.
        **components: Its parts, as ``replace`` takes them.

    Raises:
        TypeError: If more than one of the three is given, or ``url`` is not a str.

    The parts raise ``ValueError`` where the text is no URL; from a scope it always is one.
    """

    _components: SplitResult | None = None

    def __init__(self, url: str = "", scope: Scope | None = None, **components: Any) -> None:
        if (url != "") + (scope is not None) + bool(components) > 1:
            raise TypeError('Cannot set more than one of "url", "scope" and "**components".')
        if scope is not None:
            self._url = _text_of(scope)
        elif components:
            self._url = str(URL().replace(**components))
        elif isinstance(url, str):
            self._url = url
        else:
            raise TypeError(f"Expected a URL as str, got {type(url).__name__}. Use str(url).")

    @property
    def components(self) -> SplitResult:
        """The five parts of RFC 3986 section 3, as ``urllib.parse`` splits them."""
        if self._components is None:
            self._components = urlsplit(self._url)
        return self._components

    @property
    def scheme(self) -> str:
        """What stands before the first ":", in lower case."""
        return self.components.scheme

    @property
    def netloc(self) -> str:
        """User information, host and port, as written."""
        return self.components.netloc

    @property
    def path(self) -> str:
        """The path, percent-encoded as written."""
        return self.components.path

    @property
    def query(self) -> str:
        """What stands between "?" and "#"."""
        return self.components.query

    @property
    def fragment(self) -> str:
        """What stands after "#"."""
        return self.components.fragment

    @property
    def username(self) -> str | None:
        """The user's name, percent-encoded as written."""
        return self.components.username

    @property
    def password(self) -> str | None:
        """The user's password, percent-encoded as written."""
        return self.components.password

    @property
    def hostname(self) -> str | None:
        """The host in lower case, an IPv6 address without brackets."""
        return self.components.hostname

    @property
    def port(self) -> int | None:
        """The port, if it is written out."""
        return self.components.port

    @property
    def is_secure(self) -> bool:
        """Whether the scheme is https or wss."""
        return self.scheme in _SECURE_SCHEMES

    def replace(self, **kwargs: Any) -> URL:
        """A URL with other parts.

        Args:
            **kwargs: scheme, netloc, path, query, fragment; or, instead of netloc, some of
                username, password, hostname and port. None removes a part. A bare IPv6 address as
                hostname gets its brackets.

        Raises:
            TypeError: If a part has another name.
        """
        parts = self.components
        if not kwargs.keys().isdisjoint(("username", "password", "hostname", "port")):
            kwargs["netloc"] = self._netloc_with(kwargs)
        try:
            parts = parts._replace(**kwargs)
        except (TypeError, ValueError):  # before 3.13 it is a ValueError
            raise TypeError(
                f"URL.replace() got unknown parts among {sorted(kwargs)}. Expected scheme, netloc, "
                "path, query, fragment, username, password, hostname or port."
            )
        return type(self)(_join(parts))

    def _netloc_with(self, kwargs: dict[str, Any]) -> str:
        """Take the parts of netloc out of ``kwargs`` and put them together with the others."""
        username = kwargs.pop("username", self.username)
        password = kwargs.pop("password", self.password)
        port = kwargs.pop("port", self.port)
        hostname = kwargs.pop("hostname", None)
        if hostname is None:
            # As written: self.hostname is in lower case and without brackets.
            hostname = self.netloc.rpartition("@")[2]
            if hostname[-1:] != "]":
                hostname = hostname.rsplit(":", 1)[0]
        elif is_ipv6(hostname):
            hostname = f"[{hostname}]"
        netloc = hostname if port is None else f"{hostname}:{port}"
        if username is None:
            return netloc
        user = username if password is None else f"{username}:{password}"
        return f"{user}@{netloc}"

    def include_query_params(self, **kwargs: Any) -> URL:
        """A URL whose query has these parameters too, each in place of all of its name."""
        params = MultiDict(parse_query(self.query))
        params.update({name: str(value) for name, value in kwargs.items()})
        return self.replace(query=urlencode(params.multi_items()))

    def replace_query_params(self, **kwargs: Any) -> URL:
        """A URL whose query has these parameters and no others."""
        return self.replace(query=urlencode([(name, str(kwargs[name])) for name in kwargs]))

    def remove_query_params(self, keys: str | Sequence[str]) -> URL:
        """A URL whose query has no parameters of this name, or of these names."""
        names = [keys] if isinstance(keys, str) else keys
        kept = [pair for pair in parse_query(self.query) if pair[0] not in names]
        return self.replace(query=urlencode(kept))

    def __eq__(self, other: Any) -> bool:
        return self._url == str(other)

    def __str__(self) -> str:
        return self._url

    def __repr__(self) -> str:
        """The text without the password; never raises."""
        try:
            parts = self.components
            if parts.password:
                userinfo, _, host = parts.netloc.rpartition("@")
                user = userinfo.partition(":")[0]
                parts = parts._replace(netloc=f"{user}:********@{host}")
                return f"{type(self).__name__}({_join(parts)!r})"
        except ValueError:
            # Not to be split, so there is no telling whether a password is in it.
            return f"{type(self).__name__}(<invalid>)"
        return f"{type(self).__name__}({self._url!r})"


def _join(parts: SplitResult) -> str:
    """Put the parts together so that splitting gives the same parts."""
    if parts.netloc or not parts.path.startswith("//"):
        return parts.geturl()
    # An empty authority keeps it a path. Older versions forget that (CPython 3.11.7).
    scheme = f"{parts.scheme}:" if parts.scheme else ""
    return f"{scheme}//{parts.path}{urlunsplit(('', '', '', parts.query, parts.fragment))}"


_SCHEMES: Mapping[str, tuple[str, str]] = {"http": ("http", "https"), "websocket": ("ws", "wss")}


class URLPath(str):
    """The path that a route gives for its name and parameters.

    Args:
        path: The path.
        protocol: "http" or "websocket" where the route knows it.
        host: The host where the route knows it.

    Raises:
        ValueError: If the protocol is another one.
    """

    protocol: Literal["http", "websocket", ""]
    host: str

    def __new__(
        cls, path: str, protocol: Literal["http", "websocket", ""] = "", host: str = ""
    ) -> URLPath:
        return str.__new__(cls, path)

    def __init__(
        self, path: str, protocol: Literal["http", "websocket", ""] = "", host: str = ""
    ) -> None:
        if protocol and protocol not in _SCHEMES:
            raise ValueError(f"Expected protocol 'http', 'websocket' or '', got {protocol!r}.")
        self.protocol = protocol
        self.host = host

    def make_absolute_url(self, base_url: str | URL) -> URL:
        """The URL of this path on a site.

        Args:
            base_url: Scheme, host and path before this one; its query is left out. The scheme is
                turned into the one that suits the protocol, and stays secure.
        """
        base = base_url if isinstance(base_url, URL) else URL(base_url)
        scheme = _SCHEMES[self.protocol][base.is_secure] if self.protocol else base.scheme
        path = base.path.rstrip("/") + _rooted(_NOT_IN_ROUTE_PATH.sub(_escape, self))
        return URL(_join(SplitResult(scheme, self.host or base.netloc, path, "", "")))
