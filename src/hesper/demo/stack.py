"""The five middlewares, outermost first: three functions and two classes.

Each is an ordinary call around the next: the context variable that ``identify`` sets is seen by all
of them, by the endpoint, and by the body.
"""

from __future__ import annotations

import secrets
from time import perf_counter

from hesper.demo.journal import Ending, RecordedBody, journal, request_id
from hesper.exceptions import ClientDisconnect
from hesper.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from hesper.requests import Request
from hesper.responses import Response, StreamingResponse

RECORDED = {"/slow", "/tokens", "/upload", "/fail", "/break"}


async def identify(request: Request, call_next: RequestResponseEndpoint) -> Response:
    """Give the request an id, in a context variable and in a header."""
    request_id.set(secrets.token_hex(3))
    response = await call_next(request)
    response.headers["x-request-id"] = request_id.get()
    return response


async def record(request: Request, call_next: RequestResponseEndpoint) -> Response:
    """Enter the request and its ending into the journal."""
    if request.url.path not in RECORDED:
        return await call_next(request)
    query = f"?{request.url.query}" if request.url.query else ""
    entry = journal.begin(request.method, request.url.path + query)
    request.state.entry = entry
    try:
        response = await call_next(request)
    except ClientDisconnect:
        # Raised by whoever reads the body.
        journal.end(entry, Ending.CUT_UPLOAD)
        raise
    except BaseException:
        journal.end(entry, Ending.FAILED)
        raise
    if isinstance(response, StreamingResponse):
        response.body_iterator = RecordedBody(response.body_iterator, request, journal, entry)
    elif request.disconnected:
        journal.end(entry, Ending.LEFT_BEFORE)
    else:
        journal.end(entry, Ending.COMPLETED)
    return response


class Timing(BaseHTTPMiddleware):
    """Says how long the answer took, in a header that browsers show."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        began = perf_counter()
        response = await call_next(request)
        milliseconds = (perf_counter() - began) * 1000
        response.headers["server-timing"] = f"app;dur={milliseconds:.1f}"
        return response


class Counting(BaseHTTPMiddleware):
    """Counts the requests."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        journal.dispatches += 1
        return await call_next(request)


async def protect(request: Request, call_next: RequestResponseEndpoint) -> Response:
    """Set headers: the page loads nothing from elsewhere, and nothing is cached."""
    response = await call_next(request)
    response.headers["content-security-policy"] = (
        "default-src 'self' 'unsafe-inline'; img-src data:; frame-ancestors 'none'"
    )
    response.headers["cache-control"] = "no-store"
    return response
