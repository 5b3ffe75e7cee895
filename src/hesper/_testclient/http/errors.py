"""What can go wrong between a client and a server that both do what they are told."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hesper._testclient.http.requests import TestRequest
    from hesper._testclient.http.responses import AsyncTestResponse


class HTTPError(Exception):
    """Something went wrong with a request.

    Args:
        message: what.
        request: the request.
    """

    def __init__(self, message: str, *, request: TestRequest) -> None:
        super().__init__(message)
        self.request = request


class HTTPStatusError(HTTPError):
    """The response is not one of success; raised by ``raise_for_status()``."""

    def __init__(self, message: str, *, request: TestRequest, response: AsyncTestResponse) -> None:
        super().__init__(message, request=request)
        self.response = response


class RemoteProtocolError(HTTPError):
    """The application ended within its response, or redirects to what is no URL."""


class TooManyRedirects(HTTPError):
    """More than twenty redirects came one after another."""


class DecodingError(HTTPError):
    """A body is not in the coding that its ``Content-Encoding`` names."""
