"""The cookies of a client, and those of one response.

The law: which cookie goes where is for `http.cookiejar` to know; here it only gets the names that
tests use.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from email.message import Message
from http.cookiejar import Cookie, CookieJar
from typing import TypeAlias
from urllib.request import Request

from hesper._testclient.http.headers import JoinedHeaders
from hesper._testclient.http.urls import RequestURL
from hesper.exceptions import UsageError


class Cookies(MutableMapping[str, str]):
    """Cookies, each for a host and a path.

    Args:
        cookies: a mapping, pairs or a jar. Those without a host are sent to every one.
    """

    def __init__(self, cookies: CookieTypes | None = None) -> None:
        self.jar = CookieJar()
        self.update(cookies)

    def set(self, name: str, value: str, domain: str = "", path: str = "/") -> None:
        """Sets a cookie.

        Args:
            name: its name.
            value: its value, as it is sent.
            domain: the host it is for; every host without it.
            path: the path it is for.
        """
        self.jar.set_cookie(
            Cookie(
                version=0,
                name=name,
                value=value,
                port=None,
                port_specified=False,
                domain=domain,
                domain_specified=bool(domain),
                domain_initial_dot=domain.startswith("."),
                path=path,
                path_specified=bool(path),
                secure=False,
                expires=None,
                discard=True,
                comment=None,
                comment_url=None,
                rest={},
            )
        )

    def get(  # type: ignore[override]  # as in httpx2, narrower than a mapping's
        self,
        name: str,
        default: str | None = None,
        domain: str | None = None,
        path: str | None = None,
    ) -> str | None:
        """The value of a cookie, or the default.

        Raises:
            UsageError: there are several of that name; say which by domain or path.
        """
        found = self._find(name, domain, path)
        if len(found) > 1:
            raise UsageError(f"There are {len(found)} cookies {name!r}: name a domain or a path.")
        return found[0].value if found else default

    def delete(self, name: str, domain: str | None = None, path: str | None = None) -> None:
        """Removes the cookies of a name; harmless if there are none."""
        for cookie in self._find(name, domain, path):
            self.jar.clear(cookie.domain, cookie.path, cookie.name)

    def clear(self, domain: str | None = None, path: str | None = None) -> None:
        """Removes all cookies, or those of a domain, or of a path."""
        for name in list(self):
            self.delete(name, domain, path)

    def update(self, cookies: CookieTypes | None = None) -> None:  # type: ignore[override]
        """Adds cookies; those of the same name, host and path are replaced."""
        if isinstance(cookies, (Cookies, CookieJar)):
            for cookie in cookies.jar if isinstance(cookies, Cookies) else cookies:
                self.jar.set_cookie(cookie)
        elif cookies is not None:
            for name, value in cookies.items() if isinstance(cookies, Mapping) else cookies:
                self.set(name, value)

    def header_for(self, url: RequestURL) -> str | None:
        """The ``Cookie`` header of a request; None if no cookie is for it."""
        request = Request(str(url))
        self.jar.add_cookie_header(request)
        return request.get_header("Cookie")

    def extract(self, headers: JoinedHeaders, url: RequestURL) -> None:
        """Takes up what the ``Set-Cookie`` headers of a response say."""
        self.jar.extract_cookies(_Response(headers), Request(str(url)))  # type: ignore[arg-type]

    def _find(self, name: str, domain: str | None, path: str | None) -> list[Cookie]:
        return [
            cookie
            for cookie in self.jar
            if cookie.name == name
            and domain in (None, cookie.domain)
            and path in (None, cookie.path)
        ]

    def __getitem__(self, name: str) -> str:
        value = self.get(name)
        if value is None:
            raise KeyError(name)
        return value

    def __setitem__(self, name: str, value: str) -> None:
        self.set(name, value)

    def __delitem__(self, name: str) -> None:
        self.delete(name)

    def __iter__(self) -> Iterator[str]:
        return (cookie.name for cookie in self.jar)

    def __len__(self) -> int:
        return len(self.jar)

    def __repr__(self) -> str:
        pairs = [f"{cookie.name}={cookie.value} for {cookie.domain!r}" for cookie in self.jar]
        return f"<{type(self).__name__} {pairs!r}>"


CookieTypes: TypeAlias = Cookies | CookieJar | Mapping[str, str] | Sequence[tuple[str, str]]
"""Cookies as tests like to write them."""


class _Response:
    """A response as `http.cookiejar` wants it."""

    def __init__(self, headers: JoinedHeaders) -> None:
        self._headers = headers

    def info(self) -> Message:
        """Its headers."""
        message = Message()
        for value in self._headers.get_list("set-cookie"):
            message["set-cookie"] = value
        return message
