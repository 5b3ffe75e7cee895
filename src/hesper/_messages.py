"""The scopes and messages of ASGI, each as a ``TypedDict``; ``hesper.types`` has them for everybody.

The law: every scope and every message of the specifications stands here, with exactly the keys its
section names, and a key is ``NotRequired`` exactly when the section calls it optional. So ``Any`` ends
where a message has been recognised by its ``type``.

The sections are those of the ASGI documents: "HTTP & WebSocket ASGI Message Format" 2.5, "Lifespan
Protocol" 2.0, and "Extensions".

There is no ``from __future__ import annotations`` here: with it a ``TypedDict`` would take every
key for a required one at run time, and ``__required_keys__`` would lie to those who check messages.
"""

from collections.abc import Iterable
from typing import IO, Any, Literal, NotRequired, TypedDict

from hesper.types import RawHeaders

__all__ = [
    "ASGIVersions",
    "HTTPDisconnectEvent",
    "HTTPReceiveMessage",
    "HTTPRequestEvent",
    "HTTPResponseBodyEvent",
    "HTTPResponseDebugEvent",
    "HTTPResponseEarlyHintEvent",
    "HTTPResponsePathsendEvent",
    "HTTPResponsePushEvent",
    "HTTPResponseStartEvent",
    "HTTPResponseTrailersEvent",
    "HTTPResponseZeroCopySendEvent",
    "HTTPScope",
    "HTTPSendMessage",
    "LifespanReceiveMessage",
    "LifespanScope",
    "LifespanSendMessage",
    "LifespanShutdownCompleteEvent",
    "LifespanShutdownEvent",
    "LifespanShutdownFailedEvent",
    "LifespanStartupCompleteEvent",
    "LifespanStartupEvent",
    "LifespanStartupFailedEvent",
    "ReceiveMessage",
    "SendMessage",
    "WebSocketAcceptEvent",
    "WebSocketCloseEvent",
    "WebSocketConnectEvent",
    "WebSocketDisconnectEvent",
    "WebSocketHTTPResponseBodyEvent",
    "WebSocketHTTPResponseStartEvent",
    "WebSocketReceiveEvent",
    "WebSocketReceiveMessage",
    "WebSocketScope",
    "WebSocketSendEvent",
    "WebSocketSendMessage",
]

# A message may have a key called "bytes", and inside its class the name means that key.
_Bytes = bytes


class ASGIVersions(TypedDict):
    """The versions the server speaks (ASGI specification, "Connection Scope").

    A missing ``spec_version`` means "2.0" for HTTP and WebSocket, and "1.0" for lifespan.
    """

    version: str
    spec_version: NotRequired[str]


class HTTPScope(TypedDict):
    """One HTTP request (HTTP & WebSocket 2.5, "HTTP Connection Scope")."""

    type: Literal["http"]
    asgi: ASGIVersions
    http_version: str
    method: str
    scheme: NotRequired[str]
    path: str
    raw_path: NotRequired[bytes | None]
    query_string: bytes
    root_path: NotRequired[str]
    headers: RawHeaders
    client: NotRequired[tuple[str, int] | None]
    server: NotRequired[tuple[str, int | None] | None]
    state: NotRequired[dict[str, Any]]
    extensions: NotRequired[dict[str, dict[str, Any]] | None]


class WebSocketScope(TypedDict):
    """One WebSocket (HTTP & WebSocket 2.5, "WebSocket Connection Scope")."""

    type: Literal["websocket"]
    asgi: ASGIVersions
    http_version: NotRequired[str]
    scheme: NotRequired[str]
    path: str
    raw_path: NotRequired[bytes | None]
    query_string: NotRequired[bytes]
    root_path: NotRequired[str]
    headers: RawHeaders
    client: NotRequired[tuple[str, int] | None]
    server: NotRequired[tuple[str, int | None] | None]
    subprotocols: NotRequired[Iterable[str]]
    state: NotRequired[dict[str, Any]]
    extensions: NotRequired[dict[str, dict[str, Any]] | None]


class LifespanScope(TypedDict):
    """One run of the application in one event loop (Lifespan 2.0, "Scope")."""

    type: Literal["lifespan"]
    asgi: ASGIVersions
    state: NotRequired[dict[str, Any]]


class HTTPRequestEvent(TypedDict):
    """A part of the request body (HTTP & WebSocket 2.5, "Request - receive event")."""

    type: Literal["http.request"]
    body: NotRequired[bytes]
    more_body: NotRequired[bool]


class HTTPDisconnectEvent(TypedDict):
    """The client left (HTTP & WebSocket 2.5, "Disconnect - receive event")."""

    type: Literal["http.disconnect"]


class HTTPResponseStartEvent(TypedDict):
    """Status and headers (HTTP & WebSocket 2.5, "Response Start - send event").

    ``trailers`` announces ``http.response.trailers`` (Extensions, "HTTP Trailers").
    """

    type: Literal["http.response.start"]
    status: int
    headers: NotRequired[RawHeaders]
    trailers: NotRequired[bool]


class HTTPResponseBodyEvent(TypedDict):
    """A part of the response body (HTTP & WebSocket 2.5, "Response Body - send event")."""

    type: Literal["http.response.body"]
    body: NotRequired[bytes]
    more_body: NotRequired[bool]


class HTTPResponseTrailersEvent(TypedDict):
    """Header fields after the body (Extensions, "HTTP Trailers")."""

    type: Literal["http.response.trailers"]
    headers: RawHeaders
    more_trailers: NotRequired[bool]


class HTTPResponsePushEvent(TypedDict):
    """A push promise (Extensions, "HTTP/2 Server Push")."""

    type: Literal["http.response.push"]
    path: str
    headers: RawHeaders


class HTTPResponseEarlyHintEvent(TypedDict):
    """A 103 response with ``Link`` values (Extensions, "Early Hints")."""

    type: Literal["http.response.early_hint"]
    links: Iterable[bytes]


class HTTPResponsePathsendEvent(TypedDict):
    """A whole file as the body, by its absolute path (Extensions, "Path Send")."""

    type: Literal["http.response.pathsend"]
    path: str


class HTTPResponseZeroCopySendEvent(TypedDict):
    """A part of an open file (Extensions, "Zero Copy Send").

    Without ``offset`` it starts at the file's position, without ``count`` it goes to the end; both
    are in bytes.
    """

    type: Literal["http.response.zerocopysend"]
    file: IO[bytes]
    offset: NotRequired[int]
    count: NotRequired[int]
    more_body: NotRequired[bool]


class HTTPResponseDebugEvent(TypedDict):
    """Facts for tests, before the response starts (Extensions, "Debug")."""

    type: Literal["http.response.debug"]
    info: dict[str, Any]


class WebSocketConnectEvent(TypedDict):
    """The client asks for a WebSocket (HTTP & WebSocket 2.5, "Connect - receive event")."""

    type: Literal["websocket.connect"]


class WebSocketAcceptEvent(TypedDict):
    """The handshake is granted (HTTP & WebSocket 2.5, "Accept - send event").

    ``headers`` needs a server of version 2.1.
    """

    type: Literal["websocket.accept"]
    subprotocol: NotRequired[str | None]
    headers: NotRequired[RawHeaders]


class WebSocketReceiveEvent(TypedDict):
    """A data frame from the client (HTTP & WebSocket 2.5, "Receive - receive event").

    At least one of ``bytes`` and ``text`` is there and not None.
    """

    type: Literal["websocket.receive"]
    bytes: NotRequired[_Bytes | None]
    text: NotRequired[str | None]


class WebSocketSendEvent(TypedDict):
    """A data frame to the client (HTTP & WebSocket 2.5, "Send - send event").

    At least one of ``bytes`` and ``text`` is there and not None.
    """

    type: Literal["websocket.send"]
    bytes: NotRequired[_Bytes | None]
    text: NotRequired[str | None]


class WebSocketDisconnectEvent(TypedDict):
    """The WebSocket is over (HTTP & WebSocket 2.5, "Disconnect - receive event").

    ``code`` is 1005 if the close frame had none, and 1006 if there was no frame. ``reason`` needs a
    server of version 2.5.
    """

    type: Literal["websocket.disconnect"]
    code: int
    reason: NotRequired[str | None]


class WebSocketCloseEvent(TypedDict):
    """The application closes or denies (HTTP & WebSocket 2.5, "Close - send event").

    Without ``code`` it is 1000. ``reason`` needs a server of version 2.3.
    """

    type: Literal["websocket.close"]
    code: NotRequired[int]
    reason: NotRequired[str | None]


class WebSocketHTTPResponseStartEvent(TypedDict):
    """The start of a denial (Extensions, "Websocket Denial Response")."""

    type: Literal["websocket.http.response.start"]
    status: int
    headers: NotRequired[RawHeaders]


class WebSocketHTTPResponseBodyEvent(TypedDict):
    """A part of a denial's body (Extensions, "Websocket Denial Response")."""

    type: Literal["websocket.http.response.body"]
    body: NotRequired[bytes]
    more_body: NotRequired[bool]


class LifespanStartupEvent(TypedDict):
    """The server is about to accept connections (Lifespan 2.0, "Startup - receive event")."""

    type: Literal["lifespan.startup"]


class LifespanStartupCompleteEvent(TypedDict):
    """The application is ready (Lifespan 2.0, "Startup Complete - send event")."""

    type: Literal["lifespan.startup.complete"]


class LifespanStartupFailedEvent(TypedDict):
    """The application cannot start (Lifespan 2.0, "Startup Failed - send event")."""

    type: Literal["lifespan.startup.failed"]
    message: NotRequired[str]


class LifespanShutdownEvent(TypedDict):
    """The server has stopped accepting connections (Lifespan 2.0, "Shutdown - receive event")."""

    type: Literal["lifespan.shutdown"]


class LifespanShutdownCompleteEvent(TypedDict):
    """The application has cleaned up (Lifespan 2.0, "Shutdown Complete - send event")."""

    type: Literal["lifespan.shutdown.complete"]


class LifespanShutdownFailedEvent(TypedDict):
    """The cleanup failed (Lifespan 2.0, "Shutdown Failed - send event")."""

    type: Literal["lifespan.shutdown.failed"]
    message: NotRequired[str]


HTTPReceiveMessage = HTTPRequestEvent | HTTPDisconnectEvent
"""What ``receive`` gives in an HTTP scope."""

HTTPSendMessage = (
    HTTPResponseStartEvent
    | HTTPResponseBodyEvent
    | HTTPResponseTrailersEvent
    | HTTPResponsePushEvent
    | HTTPResponseEarlyHintEvent
    | HTTPResponsePathsendEvent
    | HTTPResponseZeroCopySendEvent
    | HTTPResponseDebugEvent
)
"""What ``send`` takes in an HTTP scope."""

WebSocketReceiveMessage = WebSocketConnectEvent | WebSocketReceiveEvent | WebSocketDisconnectEvent
"""What ``receive`` gives in a WebSocket scope."""

WebSocketSendMessage = (
    WebSocketAcceptEvent
    | WebSocketSendEvent
    | WebSocketCloseEvent
    | WebSocketHTTPResponseStartEvent
    | WebSocketHTTPResponseBodyEvent
)
"""What ``send`` takes in a WebSocket scope."""

LifespanReceiveMessage = LifespanStartupEvent | LifespanShutdownEvent
"""What ``receive`` gives in a lifespan scope."""

LifespanSendMessage = (
    LifespanStartupCompleteEvent
    | LifespanStartupFailedEvent
    | LifespanShutdownCompleteEvent
    | LifespanShutdownFailedEvent
)
"""What ``send`` takes in a lifespan scope."""

ReceiveMessage = HTTPReceiveMessage | WebSocketReceiveMessage | LifespanReceiveMessage
"""What ``receive`` gives in any scope."""

SendMessage = HTTPSendMessage | WebSocketSendMessage | LifespanSendMessage
"""What ``send`` takes in any scope."""
