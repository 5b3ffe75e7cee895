"""Whose fault it is, in the type.

    Exception
    ├── HTTPException            the handler's answer to a request, as an exception
    │   ├── MalformedJSON        the client's JSON is none: 400 (also a json.JSONDecodeError)
    │   └── HandlerTimeout       a request took longer than its ``timeout``: 504
    ├── WebSocketException       the handler's answer to a socket, as an exception
    ├── OSError
    │   └── ClientDisconnect     the client left: nobody's fault
    │       └── WebSocketDisconnect    (hesper.websockets) with the client's close code
    └── RuntimeError
        ├── UsageError           the app's mistake: the text says what to do
        ├── WebSocketDisconnected      (hesper.websockets) the app has closed its socket
        └── ServerProtocolError  the server broke the ASGI specification
    Warning
    └── UserWarning
        └── HesperDeprecationWarning

``ClientDisconnect`` is an ``OSError`` because the ASGI specification (HTTP, "Disconnected Client -
send exception") asks for one: an ASGI app inside Hesper can catch it as it would a server's.
"""

from __future__ import annotations

import http
import json
from collections.abc import Mapping

__all__ = [
    "ClientDisconnect",
    "HTTPException",
    "HandlerTimeout",
    "HesperDeprecationWarning",
    "MalformedJSON",
    "ServerProtocolError",
    "UsageError",
    "WebSocketException",
]


class HesperDeprecationWarning(UserWarning):
    """A name that still works and will go. A ``UserWarning``, so that users see it by default."""


class UsageError(RuntimeError):
    """The app uses Hesper in a way that cannot work; the text says what to do instead."""


class ServerProtocolError(RuntimeError):
    """The server sent a message that the ASGI specification does not allow at this point."""


class ClientDisconnect(OSError):
    """The client left before this could be done.

    Raised by whatever reads the request's body (``body()``, ``stream()``, ``json()``, ``form()``) and
    by sends, at once and on every further call. Uncaught, it ends the request quietly: no error log,
    no 500 handler, nothing raised into the server.
    """

    def __init__(self, during: str = "") -> None:
        super().__init__(f"The client left {during}." if during else "The client left.")


class HTTPException(Exception):
    """An answer that a handler or middleware gives by raising.

    Args:
        status_code: the HTTP status of the answer.
        detail: its text; the status' reason phrase if None, "" for a status without one.
        headers: more headers for the answer, such as ``WWW-Authenticate``.

    Raised on a WebSocket before ``accept()`` it refuses the handshake with this answer.
    """

    def __init__(
        self, status_code: int, detail: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        if detail is None:
            try:
                detail = http.HTTPStatus(status_code).phrase
            except ValueError:  # a code without a name, such as 499
                detail = ""
        self.status_code = status_code
        self.detail = detail
        self.headers = headers
        Exception.__init__(self, status_code, detail)

    def __str__(self) -> str:
        return f"{self.status_code}: {self.detail}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}(status_code={self.status_code!r}, detail={self.detail!r})"


class MalformedJSON(HTTPException, json.JSONDecodeError):
    """The request's body is not JSON. Unhandled it answers 400.

    Args:
        problem: what is wrong with it, for the client to read.
        doc: the body, as text.
        pos: where in it.
    """

    def __init__(self, problem: str, doc: str = "", pos: int = 0) -> None:
        json.JSONDecodeError.__init__(self, problem, doc, pos)
        HTTPException.__init__(self, 400, f"Malformed JSON: {problem}.")


class HandlerTimeout(HTTPException):
    """A request took longer than the ``timeout`` of its place. Unhandled it answers 504; when the
    response had begun it is broken off, and a warning is logged.

    Args:
        reason: what took too long, for the log; the client reads "Gateway Timeout".
    """

    def __init__(self, reason: str) -> None:
        super().__init__(504)
        self.reason = reason


class WebSocketException(Exception):
    """Closes the WebSocket when a handler raises it.

    Args:
        code: the close code, as in RFC 6455 section 7.4.
        reason: the close reason, at most 123 bytes of UTF-8.
    """

    def __init__(self, code: int, reason: str | None = None) -> None:
        self.code = code
        self.reason = reason or ""
        super().__init__(code, self.reason)

    def __str__(self) -> str:
        return f"{self.code}: {self.reason}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}(code={self.code!r}, reason={self.reason!r})"
