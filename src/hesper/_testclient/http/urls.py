"""URLs as a client needs them: whole, clean, and in the pieces that a request is made of.

The law: what a URL cannot hold is percent-encoded, as browsers do (WHATWG URL), a "%" that is there
stays as it is, and dot segments are resolved. So a path arrives as a browser would send it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias
from urllib.parse import SplitResult, quote, unquote, urlencode, urljoin, urlsplit

from hesper._host import is_ipv6
from hesper._multidict import ImmutableMultiDict, QueryParams, parse_query
from hesper.exceptions import UsageError

Primitive: TypeAlias = str | int | float | bool | None
QueryParamTypes: TypeAlias = (
    Mapping[str, Primitive | Sequence[Primitive]] | Iterable[tuple[str, Primitive]] | str | bytes
)
"""Query parameters as tests like to write them."""

_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# Beside letters and digits: WHATWG URL, "path percent-encode set" and the two it is made from.
_IN_PATH = "!$%&'()*+,-./:;=@[\\]^_|~"
_IN_QUERY = _IN_PATH + "?`{}"
_IN_FRAGMENT = "!#$%&'()*+,-./:;=?@[\\]^_{|}~"
_IN_USERINFO = "!$%&'()*+,-.:_~"


class RequestURL:
    """A URL; its parts have the names and the types that they have in `httpx2`.

    Args:
        url: its text; equal to any text that means the same.

    Raises:
        UsageError: it is no URL.
    """

    def __init__(self, url: str | RequestURL) -> None:
        self._parts: SplitResult = url._parts if isinstance(url, RequestURL) else _split(url)

    @property
    def scheme(self) -> str:
        """What stands before the first ":", in lower case."""
        return self._parts.scheme

    @property
    def userinfo(self) -> bytes:
        """What stands before the host, as sent."""
        return self._parts.netloc.rpartition("@")[0].encode()

    @property
    def username(self) -> str:
        """The user's name, decoded."""
        return unquote(self._parts.username or "")

    @property
    def password(self) -> str:
        """The user's password, decoded."""
        return unquote(self._parts.password or "")

    @property
    def host(self) -> str:
        """The host, an IPv6 address without brackets, another alphabet in ASCII (IDNA)."""
        return self._parts.hostname or ""

    @property
    def raw_host(self) -> bytes:
        """The host in bytes."""
        return self.host.encode()

    @property
    def port(self) -> int | None:
        """The port; None if it is the scheme's own."""
        return self._parts.port

    @property
    def netloc(self) -> bytes:
        """Host and port, as the ``Host`` header has them."""
        return self._parts.netloc.rpartition("@")[2].encode()

    @property
    def path(self) -> str:
        """The path, decoded."""
        return unquote(self._parts.path)

    @property
    def query(self) -> bytes:
        """What stands between "?" and "#", as sent."""
        return self._parts.query.encode()

    @property
    def params(self) -> QueryParams:
        """The parameters of the query."""
        return QueryParams(self._parts.query)

    @property
    def raw_path(self) -> bytes:
        """Path and query, as sent."""
        path, query = self._parts.path, self._parts.query
        return (f"{path}?{query}" if query else path).encode()

    @property
    def fragment(self) -> str:
        """What stands after "#", decoded; it is not sent."""
        return unquote(self._parts.fragment)

    @property
    def is_absolute_url(self) -> bool:
        """Whether it has a scheme and a host."""
        return bool(self.scheme and self.host)

    @property
    def origin(self) -> tuple[str, str, int | None]:
        """Scheme, host and port: what has to be equal for two URLs to belong to one site."""
        return self.scheme, self.host, self.port

    def join(self, url: str | RequestURL) -> RequestURL:
        """The URL that a reference stands for on the page of this one."""
        return RequestURL(urljoin(str(self), str(url)))

    def append(self, url: RequestURL) -> RequestURL:
        """This URL with the path and query of another one behind its path."""
        path = f"{self._parts.path.rstrip('/')}/{url._parts.path.lstrip('/')}"
        return RequestURL(self._parts._replace(path=path, query=url._parts.query).geturl())

    def with_params(self, params: QueryParamTypes) -> RequestURL:
        """This URL with these parameters in the place of its query."""
        query = urlencode(pairs_of(params))
        return RequestURL(self._parts._replace(query=query).geturl())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, (str, RequestURL)):
            return str(self) == str(RequestURL(other))
        return NotImplemented

    def __hash__(self) -> int:
        return hash(str(self))

    def __str__(self) -> str:
        return self._parts.geturl()

    def __repr__(self) -> str:
        """The text without the password."""
        parts = self._parts
        if parts.password:
            netloc = f"{parts.username}:[secure]@{parts.netloc.rpartition('@')[2]}"
            parts = parts._replace(netloc=netloc)
        return f"{type(self).__name__}({parts.geturl()!r})"


def pairs_of(params: QueryParamTypes | None) -> list[tuple[str, str]]:
    """The parameters one by one; a list is as many of them."""
    if params is None:
        return []
    if isinstance(params, (str, bytes)):
        return parse_query(params.decode() if isinstance(params, bytes) else params)
    if isinstance(params, ImmutableMultiDict):
        return [(str(name), primitive(value)) for name, value in params.multi_items()]
    if not isinstance(params, Mapping):
        return [(str(name), primitive(value)) for name, value in params]
    return [
        (str(name), primitive(value))
        for name, values in params.items()
        for value in (values if isinstance(values, (list, tuple)) else [values])
    ]


def primitive(value: Any) -> str:
    """A value as forms and queries hold it: true, false, nothing for None, or its text."""
    match value:
        case None:
            return ""
        case True | False:
            return str(value).lower()
        case _:
            return str(value)


def _split(url: str) -> SplitResult:
    if _CONTROL.search(url):
        raise UsageError(f"A URL cannot hold control characters, got {url!r}: percent-encode them.")
    try:
        return _clean(urlsplit(url))
    except ValueError as error:  # a UnicodeError is one
        raise UsageError(f"Expected a URL, got {url!r}: {error}.") from error


def _clean(parts: SplitResult) -> SplitResult:
    netloc, path = _netloc(parts), quote(parts.path, _IN_PATH)
    return SplitResult(
        parts.scheme,
        netloc,
        _without_dots(path) if netloc else path,
        quote(parts.query, _IN_QUERY),
        quote(parts.fragment, _IN_FRAGMENT),
    )


def _netloc(parts: SplitResult) -> str:
    userinfo, at, _ = parts.netloc.rpartition("@")
    host = parts.hostname or ""
    if is_ipv6(host):
        host = f"[{host}]"
    elif not host.isascii():
        host = host.encode("idna").decode()
    default = parts.port is None or parts.port == _PORTS.get(parts.scheme)
    port = "" if default else f":{parts.port}"
    return f"{quote(userinfo, _IN_USERINFO)}{at}{host}{port}"


def _without_dots(path: str) -> str:
    """The path with its "." and ".." resolved (RFC 3986 section 5.2.4)."""
    kept: list[str] = []
    _, *segments = path.split("/") if path else ["", ""]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)
