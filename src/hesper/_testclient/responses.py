"""The response that a test of `TestClient` gets, and a refused handshake.

The law: a response is a view of one exchange, and has one more thing to do than what it is in the
client library: to leave.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hesper._testclient.exchanges import HTTPExchange
from hesper._testclient.library import httpx
from hesper._testclient.outcomes import head_of, tell_template
from hesper.websockets import WebSocketDisconnect


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


class WebSocketDenialResponse(httpx.Response, WebSocketDisconnect):  # type: ignore[misc]
    """The application has refused the handshake with this response; raised when a session begins.

    It is a `WebSocketDisconnect` as well, as a handshake refused without a response raises.
    """

    code = 1006
    reason = ""
    __str__ = httpx.Response.__repr__


def make_response(
    exchange: HTTPExchange,
    request: httpx.Request,
    stream: httpx.SyncByteStream,
    disconnect: Callable[[], object],
) -> TestResponse:
    """The response whose head an exchange has."""
    response = TestResponse(stream=stream, request=request, **head_of(exchange))
    response._disconnect = disconnect
    tell_template(response, exchange)
    return response


def no_response(
    request: httpx.Request, stream: httpx.SyncByteStream, disconnect: Callable[[], object]
) -> TestResponse:
    """What stands for the response of a request that is left."""
    response = TestResponse(100, stream=stream, request=request)
    response._disconnect = disconnect
    return response
