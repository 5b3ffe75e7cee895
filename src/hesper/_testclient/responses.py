"""What a test gets for a request: its response, and before that the chance to leave.

The law: both are a view of one exchange, and have one more thing to do than what they are in the
client library: to leave.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hesper._testclient.exchanges import HTTPExchange
from hesper._testclient.library import httpx

LEAVING = "hesper.leaving"
"""The request extension that asks for no response."""


class TestResponse(httpx.Response):
    """A response, of which the client can leave the rest.

    ``extensions["http.response.debug"]`` is what the application told about its making, and
    ``extensions["http.response.trailers"]`` are the trailers, in bytes, if it announced any; they
    are there once the body was read.
    """

    __test__ = False  # a name that pytest would collect

    template: Any
    """The template it was made from; only there if the application told so."""

    context: Any
    """The context of that template."""

    _disconnect: Callable[[], object] | None = None

    def disconnect(self) -> None:
        """Leaves, now: the application is told, and its `send` raises.

        It does not wait for the application, as ``close()`` does, so a test can go on playing with
        it. What follows of the body cannot be read any more. Harmless on a response that is
        complete, and on a second call.
        """
        if self._disconnect is not None and not self.is_closed:
            self._disconnect()


class LeavingRequest:
    """A request that is with the application; its client does not wait for the response."""

    def __init__(self, response: TestResponse) -> None:
        self._response = response

    def disconnect(self) -> None:
        """Leaves, now, without waiting for the application; a second call does nothing."""
        self._response.disconnect()


def make_response(
    exchange: HTTPExchange,
    request: httpx.Request,
    stream: httpx.SyncByteStream | httpx.AsyncByteStream,
    disconnect: Callable[[], object],
) -> TestResponse:
    """The response whose head an exchange has; without a head the 500 that a server would send."""
    result, head, debug = exchange.result, exchange.head, exchange.debug
    extensions: dict[str, Any] = {"http_version": b"HTTP/1.1"}
    if debug is not None:
        extensions["http.response.debug"] = debug
    if head is not None and head.get("trailers", False):
        extensions["http.response.trailers"] = result.trailers
    response = TestResponse(
        500 if result.status is None else result.status,
        headers=result.raw_headers,
        stream=stream,
        request=request,
        extensions=extensions,
    )
    response._disconnect = disconnect
    for name in ("template", "context"):
        if debug is not None and name in debug:
            setattr(response, name, debug[name])
    return response


def no_response(
    request: httpx.Request,
    stream: httpx.SyncByteStream | httpx.AsyncByteStream,
    disconnect: Callable[[], object],
) -> TestResponse:
    """What stands for the response of a request that is left."""
    response = TestResponse(100, stream=stream, request=request)
    response._disconnect = disconnect
    return response


def check(exchange: HTTPExchange, raise_server_exceptions: bool) -> None:
    """Raises what went wrong with an exchange that has ended.

    Raises:
        BaseException: what the application raised, if ``raise_server_exceptions``.
        AssertionError: it returned without a whole body, if ``raise_server_exceptions``.
        httpx.RemoteProtocolError: it ended within its response, which a client sees as well.
    """
    failure = exchange.failure
    if failure is not None and (raise_server_exceptions or not isinstance(failure, Exception)):
        raise failure
    if exchange.whole or exchange.left_early:
        return
    if raise_server_exceptions:
        raise AssertionError(
            "TestClient did not receive any response: the application returned before it sent one."
            if exchange.head is None
            else "The application returned within its response: send a last http.response.body "
            "without more_body."
        )
    if exchange.head is not None:
        raise httpx.RemoteProtocolError("The application ended within its response.")
