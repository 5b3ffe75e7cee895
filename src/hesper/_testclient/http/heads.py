"""The head of a response: what there is to know before its body is read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.message import Message
from http import HTTPStatus
from typing import Any

from hesper._testclient.http.cookies import Cookies
from hesper._testclient.http.headers import HeaderTypes, JoinedHeaders
from hesper._testclient.http.requests import TestRequest
from hesper._testclient.http.urls import RequestURL
from hesper.exceptions import UsageError

_REDIRECTS = (301, 302, 303, 307, 308)
_LINK = re.compile(r"<([^>]*)>([^<]*)")
_LINK_PARAMETER = re.compile(r';\s*([\w*-]+)\s*=\s*(?:"([^"]*)"|([^\s;,]*))')


class ResponseHead:
    """Status, headers, and what they mean.

    Args:
        status_code: the status.
        headers: the headers.
        request: what was asked.
        extensions: what else there is to know.
    """

    next_request: TestRequest | None = None
    """Where the redirect leads, if it was not followed."""

    def __init__(
        self,
        status_code: int,
        headers: HeaderTypes | None,
        request: TestRequest | None,
        extensions: Mapping[str, Any] | None,
    ) -> None:
        self.status_code = status_code
        self.headers = JoinedHeaders(headers)
        self.extensions = dict(extensions or {})
        self._request = request

    @property
    def request(self) -> TestRequest:
        """What was asked; after redirects the last request.

        Raises:
            UsageError: it is not known, as that of a refused handshake.
        """
        if self._request is None:
            raise UsageError("This response has no request.")
        return self._request

    @property
    def url(self) -> RequestURL:
        """The URL that was asked for."""
        return self.request.url

    @property
    def http_version(self) -> str:
        """``"HTTP/1.1"``, which the server of the client speaks."""
        return "HTTP/1.1"

    @property
    def reason_phrase(self) -> str:
        """The name of the status; empty if it has none."""
        try:
            return HTTPStatus(self.status_code).phrase
        except ValueError:
            return ""

    @property
    def cookies(self) -> Cookies:
        """The cookies that this response sets."""
        cookies = Cookies()
        cookies.extract(self.headers, self.url)
        return cookies

    @property
    def links(self) -> dict[str, dict[str, str]]:
        """The links of the ``Link`` header, each under its ``rel``, or else its URL."""
        links = {}
        for url, parameters in _LINK.findall(self.headers.get("link", "")):
            link = {"url": url}
            for name, quoted, plain in _LINK_PARAMETER.findall(parameters):
                link[name] = quoted or plain
            links[link.get("rel", url)] = link
        return links

    @property
    def is_informational(self) -> bool:
        """Whether the status is 1xx."""
        return self.status_code // 100 == 1

    @property
    def is_success(self) -> bool:
        """Whether the status is 2xx."""
        return self.status_code // 100 == 2

    @property
    def is_redirect(self) -> bool:
        """Whether the status is 3xx."""
        return self.status_code // 100 == 3

    @property
    def is_client_error(self) -> bool:
        """Whether the status is 4xx."""
        return self.status_code // 100 == 4

    @property
    def is_server_error(self) -> bool:
        """Whether the status is 5xx."""
        return self.status_code // 100 == 5

    @property
    def is_error(self) -> bool:
        """Whether the status is 4xx or 5xx."""
        return self.is_client_error or self.is_server_error

    @property
    def has_redirect_location(self) -> bool:
        """Whether this is a redirect that says where it leads."""
        return self.status_code in _REDIRECTS and "location" in self.headers

    @property
    def charset_encoding(self) -> str | None:
        """The charset that ``Content-Type`` names."""
        if (content_type := self.headers.get("content-type")) is None:
            return None
        message = Message()
        message["content-type"] = content_type
        return message.get_content_charset()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} [{self.status_code} {self.reason_phrase}]>"
