"""Where a redirect leads.

The law: as browsers do it (Fetch, "HTTP-redirect fetch"). What one site was told in confidence is
not told to another one.
"""

from __future__ import annotations

from hesper._testclient.http.cookies import Cookies
from hesper._testclient.http.errors import RemoteProtocolError
from hesper._testclient.http.headers import JoinedHeaders
from hesper._testclient.http.requests import TestRequest
from hesper._testclient.http.urls import RequestURL
from hesper.exceptions import UsageError

MAX_REDIRECTS = 20
"""How many redirects one after another are followed."""


def redirected(
    request: TestRequest, status_code: int, headers: JoinedHeaders, cookies: Cookies
) -> TestRequest:
    """The request that follows a redirect.

    Args:
        request: the one that was redirected.
        status_code: of the response.
        headers: of the response, with ``Location``.
        cookies: of the client.

    Raises:
        RemoteProtocolError: the location is no URL.
    """
    method = _method(request.method, status_code)
    url = _url(request, headers["location"])
    kept = _headers(request, url)
    if method != request.method:
        for name in ("content-length", "transfer-encoding"):
            kept.pop(name, None)
    return TestRequest(
        method,
        url,
        headers=kept,
        cookies=cookies,
        content=request.body if method == request.method else None,
        extensions=request.extensions,
    )


def _method(method: str, status_code: int) -> str:
    """The method after a redirect: 301 makes a POST a GET, 302 and 303 nearly everything."""
    if status_code == 301:
        return "GET" if method == "POST" else method
    if status_code == 302:
        # RFC 10008 section 2.5 takes QUERY out.
        return method if method in ("HEAD", "QUERY") else "GET"
    if status_code == 303:
        return method if method == "HEAD" else "GET"
    return method


def _url(request: TestRequest, location: str) -> RequestURL:
    try:
        url = request.url.join(location)
    except UsageError as error:
        raise RemoteProtocolError(
            f"The redirect leads to {location!r}, which is no URL.", request=request
        ) from error
    if request.url.fragment and not url.fragment:
        # RFC 9110 section 10.2.2.
        return url.join(f"#{request.url.fragment}")
    return url


def _headers(request: TestRequest, url: RequestURL) -> JoinedHeaders:
    headers = request.headers.copy()
    # The client's cookies are asked again: some may be new.
    headers.pop("cookie", None)
    if url.origin != request.url.origin:
        headers["host"] = url.netloc.decode()
        upgraded = (request.url.scheme, url.scheme) == ("http", "https")
        if not (upgraded and url.origin[1:] == request.url.origin[1:]):
            headers.pop("authorization", None)
    return headers
