"""Clients for the tests of any ASGI application, which really stream and can leave.

`AsyncTestClient` is for asynchronous tests, and needs no extra. `TestClient` is for synchronous
ones; it is a client of `httpx2`, from the extra ``testclient``, which is imported when one of its
names is asked for. The server that they play speaks HTTP/1.1 as the ASGI specification wishes for:
``spec_version`` 2.4, where `send` raises an `OSError` once the client has left.
`hesper.testing.ScriptedServer` plays others.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hesper._testclient.apps import ASGI2App, ASGI3App, ASGIInstance
from hesper._testclient.async_client import AsyncTestClient
from hesper._testclient.http.errors import (
    DecodingError,
    HTTPError,
    HTTPStatusError,
    RemoteProtocolError,
    TooManyRedirects,
)
from hesper._testclient.http.responses import AsyncTestResponse, AsyncWebSocketDenialResponse
from hesper._testclient.outcomes import LeavingRequest
from hesper._testclient.sockets import AsyncWebSocketTestSession

if TYPE_CHECKING:
    from hesper._testclient.responses import TestResponse, WebSocketDenialResponse
    from hesper._testclient.sync_client import TestClient
    from hesper._testclient.sync_sockets import WebSocketTestSession

__all__ = [
    "ASGI2App",
    "ASGI3App",
    "ASGIInstance",
    "AsyncTestClient",
    "AsyncTestResponse",
    "AsyncWebSocketDenialResponse",
    "AsyncWebSocketTestSession",
    "DecodingError",
    "HTTPError",
    "HTTPStatusError",
    "LeavingRequest",
    "RemoteProtocolError",
    "TestClient",
    "TestResponse",
    "TooManyRedirects",
    "WebSocketDenialResponse",
    "WebSocketTestSession",
]

_WITH_HTTPX2 = {
    "TestClient": "sync_client",
    "TestResponse": "responses",
    "WebSocketDenialResponse": "responses",
    "WebSocketTestSession": "sync_sockets",
}
"""The names that need `httpx2`, and where they are."""


def __getattr__(name: str) -> Any:
    if name not in _WITH_HTTPX2:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"hesper._testclient.{_WITH_HTTPX2[name]}")
    return globals().setdefault(name, getattr(module, name))
