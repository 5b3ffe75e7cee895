"""Clients for the tests of any ASGI application, which really stream and can leave.

`TestClient` is for synchronous tests, `AsyncTestClient` for asynchronous ones; both are clients of
`httpx2`, from the extra ``testclient``. The server that they play speaks HTTP/1.1 as the ASGI
specification wishes for: ``spec_version`` 2.4, where `send` raises an `OSError` once the client has
left. `hesper.testing.ScriptedServer` plays others, and needs no extra.
"""

from hesper._testclient.apps import ASGI2App, ASGI3App, ASGIInstance
from hesper._testclient.async_client import AsyncTestClient
from hesper._testclient.responses import LeavingRequest, TestResponse
from hesper._testclient.sockets import (
    AsyncWebSocketTestSession,
    WebSocketDenialResponse,
    WebSocketTestSession,
)
from hesper._testclient.sync_client import TestClient

__all__ = [
    "ASGI2App",
    "ASGI3App",
    "ASGIInstance",
    "AsyncTestClient",
    "AsyncWebSocketTestSession",
    "LeavingRequest",
    "TestClient",
    "TestResponse",
    "WebSocketDenialResponse",
    "WebSocketTestSession",
]
