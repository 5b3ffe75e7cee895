"""A limit for the size of request bodies: 413, before the memory or the disk is full."""

from __future__ import annotations

from collections.abc import Sequence

from hesper._asgi.incoming import content_too_large
from hesper._stack import RequestResponseEndpoint
from hesper.exceptions import UsageError
from hesper.middleware import Middleware, MiddlewareEntry
from hesper.middleware.base import BaseHTTPMiddleware
from hesper.requests import Request
from hesper.responses import Response
from hesper.types import ASGIApp

__all__ = ["MAX_BODY_SIZE_SCOPE_KEY", "RequestBodyLimitMiddleware"]

MAX_BODY_SIZE_SCOPE_KEY = "hesper.max_body_size"
"""Where the limit that is in force stands in the scope, in bytes."""


class RequestBodyLimitMiddleware(BaseHTTPMiddleware):
    """Refuses request bodies that are too large, with 413 (RFC 9110 section 15.5.14).

    ``Hesper``, ``Router``, ``Mount`` and ``Route`` make one of their ``max_body_size``. Of several
    the innermost counts: a route may allow more than its application.

    Whoever reads such a body gets ``HTTPException(413)``: at once if its ``Content-Length`` says so,
    else when more than the limit has come. Whatever the app answers then, the client gets the 413,
    also from a foreign app that takes the exception for a parse error.

    Args:
        max_body_size: bytes; 0 allows no body.

    Raises:
        UsageError: ``max_body_size`` is negative.
    """

    def __init__(self, app: ASGIApp, max_body_size: int) -> None:
        super().__init__(app)
        if max_body_size < 0:
            raise UsageError(
                f"Expected max_body_size to be a number of bytes, 0 or more, got {max_body_size}. "
                "Leave it out for no limit."
            )
        self.max_body_size = max_body_size

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        incoming = request._exchange.incoming
        incoming.body_limit = request.scope[MAX_BODY_SIZE_SCOPE_KEY] = self.max_body_size
        response = await call_next(request)
        if incoming.too_large and response.status_code != 413:
            raise content_too_large()
        return response


def limited(
    max_body_size: int | None, middleware: Sequence[MiddlewareEntry] | None
) -> list[MiddlewareEntry]:
    """A list of middleware, with the limit outside of it if there is one."""
    inner = list(middleware or ())
    if max_body_size is None:
        return inner
    return [Middleware(RequestBodyLimitMiddleware, max_body_size=max_body_size), *inner]
