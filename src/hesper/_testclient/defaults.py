"""What a client adds to each of its requests.

The law: what a request says itself comes first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

from hesper._testclient.base import client_headers
from hesper._testclient.http.contents import Content, Files
from hesper._testclient.http.cookies import Cookies, CookieTypes
from hesper._testclient.http.headers import HeaderTypes, JoinedHeaders
from hesper._testclient.http.requests import Auth, TestRequest
from hesper._testclient.http.urls import QueryParamTypes, RequestURL, pairs_of

UNSET: Any = object()
"""Stands for an argument that was not given."""


class RequestOptions(TypedDict, total=False):
    """What can be said of a request besides its method and URL; see `AsyncTestClient.request`."""

    content: Content | None
    data: Mapping[str, Any] | Content | None
    files: Files | None
    json: Any
    params: QueryParamTypes | None
    headers: HeaderTypes | None
    cookies: CookieTypes | None
    auth: Auth | None
    follow_redirects: bool
    timeout: Any
    extensions: Mapping[str, Any] | None


class Defaults:
    """The part of a client that prepares requests.

    ``base_url``, ``headers``, ``cookies`` and ``params`` can be changed, and set.
    """

    auth: Auth | None = None
    """Whom each request comes from, unless it says so itself."""

    def __init__(
        self,
        base_url: str | RequestURL,
        headers: HeaderTypes | None,
        cookies: CookieTypes | None,
        follow_redirects: bool,
    ) -> None:
        self.base_url = base_url
        self.headers = headers
        self.cookies = cookies
        self.params = None
        self.follow_redirects = follow_redirects

    @property
    def base_url(self) -> RequestURL:
        """What relative URLs are relative to; their path is appended to its path."""
        return self._base_url

    @base_url.setter
    def base_url(self, url: str | RequestURL) -> None:
        self._base_url = RequestURL(url)

    @property
    def headers(self) -> JoinedHeaders:
        """The headers of each request."""
        return self._headers

    @headers.setter
    def headers(self, headers: HeaderTypes | None) -> None:
        self._headers = JoinedHeaders(
            {"accept": "*/*", "accept-encoding": "gzip, deflate", "connection": "keep-alive"}
        )
        self._headers.update(client_headers(headers))

    @property
    def cookies(self) -> Cookies:
        """The cookies of the client; those that responses set are added."""
        return self._cookies

    @cookies.setter
    def cookies(self, cookies: CookieTypes | None) -> None:
        self._cookies = Cookies(cookies)

    @property
    def params(self) -> list[tuple[str, str]]:
        """Query parameters of each request."""
        return self._params

    @params.setter
    def params(self, params: QueryParamTypes | None) -> None:
        self._params = pairs_of(params)

    def build_request(
        self,
        method: str,
        url: str | RequestURL,
        *,
        content: Content | None = None,
        data: Mapping[str, Any] | Content | None = None,
        files: Files | None = None,
        json: Any = None,
        params: QueryParamTypes | None = None,
        headers: HeaderTypes | None = None,
        cookies: CookieTypes | None = None,
        extensions: Mapping[str, Any] | None = None,
    ) -> TestRequest:
        """The request that `request` would send, for `send`; takes what that takes."""
        all_headers = self.headers.copy()
        all_headers.update(headers)
        return TestRequest(
            method,
            self._absolute(url),
            content=content,
            data=data,
            files=files,
            json=json,
            params=self._merged(params),
            headers=all_headers,
            cookies=self._with(cookies),
            extensions=extensions,
        )

    def _absolute(self, url: str | RequestURL) -> RequestURL:
        given = RequestURL(url)
        return given if given.is_absolute_url else self.base_url.append(given)

    def _merged(self, params: QueryParamTypes | None) -> QueryParamTypes | None:
        own = pairs_of(params)
        names = {name for name, _ in own}
        merged = [pair for pair in self.params if pair[0] not in names] + own
        return None if params is None and not merged else merged

    def _with(self, cookies: CookieTypes | None) -> Cookies:
        if not cookies:
            return self.cookies
        merged = Cookies(self.cookies)
        merged.update(cookies)
        return merged
