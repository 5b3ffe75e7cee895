"""The request that a test sends."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from hesper._testclient.http.contents import Content, Files, Parts, encode
from hesper._testclient.http.cookies import Cookies
from hesper._testclient.http.headers import HeaderTypes, JoinedHeaders
from hesper._testclient.http.urls import QueryParamTypes, RequestURL
from hesper.exceptions import UsageError

# RFC 9110 section 8.6: a client says that such a request has no content.
_METHODS_WITH_CONTENT = ("POST", "PUT", "PATCH", "QUERY")


class TestRequest:
    """A request; made by ``client.build_request()``, or by sending.

    Args:
        method: any method.
        url: where it goes to.
        params: the query, in the place of the URL's own.
        headers: its headers; those that describe the body, and the host, are added if they are not
            there.
        cookies: its cookies, unless there is a ``Cookie`` header.
        content, data, files, json: its body, as `encode` takes it.
        extensions: what the test wants to find again in ``response.request.extensions``.
    """

    __test__ = False  # a name that pytest would collect

    def __init__(
        self,
        method: str,
        url: str | RequestURL,
        *,
        params: QueryParamTypes | None = None,
        headers: HeaderTypes | None = None,
        cookies: Cookies | None = None,
        content: Content | None = None,
        data: Mapping[str, Any] | Content | None = None,
        files: Files | None = None,
        json: Any = None,
        extensions: Mapping[str, Any] | None = None,
    ) -> None:
        self.method = method.upper()
        self.url = RequestURL(url) if params is None else RequestURL(url).with_params(params)
        self.headers = JoinedHeaders(headers)
        self.extensions = dict(extensions or {})
        described, self.body = encode(content, data, files, json, self.headers.get("content-type"))
        self._complete_headers(described, cookies)

    def _complete_headers(self, described: dict[str, str], cookies: Cookies | None) -> None:
        headers = self.headers
        cookie = None if cookies is None else cookies.header_for(self.url)
        if cookie is not None:
            headers.setdefault("cookie", cookie)
        framed = "content-length" in headers or "transfer-encoding" in headers
        for name, value in described.items():
            if not (framed and name in ("content-length", "transfer-encoding")):
                headers.setdefault(name, value)
        if not (framed or described) and self.method in _METHODS_WITH_CONTENT:
            headers["content-length"] = "0"
        if "host" not in headers:
            host = (b"host", self.url.netloc)
            self.headers = JoinedHeaders([host, *headers.raw])

    @property
    def content(self) -> bytes:
        """The body.

        Raises:
            UsageError: it comes in parts.
        """
        if isinstance(self.body, Parts):
            raise UsageError("The body comes in parts: `await request.aread()` reads them.")
        return self.body

    async def aread(self) -> bytes:
        """The body, of which the parts are asked for now."""
        if isinstance(self.body, Parts):
            self.body = b"".join([part async for part in self.body])
        return self.body

    def __repr__(self) -> str:
        return f"<{type(self).__name__}({self.method!r}, {str(self.url)!r})>"


Auth: TypeAlias = tuple[str | bytes, str | bytes] | Callable[[TestRequest], TestRequest]
"""A name and a password, or what changes the request."""


def authorized(request: TestRequest, auth: Auth | None) -> TestRequest:
    """The request, with what ``auth`` says, or else with the name and password of its URL."""
    if callable(auth):
        return auth(request)
    if auth is not None:
        username, password = auth
    elif request.url.userinfo:
        username, password = request.url.username, request.url.password
    else:
        return request
    pair = _bytes(username) + b":" + _bytes(password)
    request.headers["authorization"] = f"Basic {b64encode(pair).decode()}"
    return request


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text
