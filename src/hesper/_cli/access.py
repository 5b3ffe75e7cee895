"""``AccessLog``: one line for each request, when it has ended and as it ended.

The rules:

1. A client that left is status 499 (nginx's number for it), on level INFO, and never a traceback.
2. Messages pass untouched, and ``receive`` is the server's own: an app behind it shares it, polls
   it or leaves it alone as if nothing stood in between.
3. Whether the client has left is asked of the server, once, when the answer matters: just before
   the last message goes out (uvicorn drops silently what goes to a client that left, and an app
   that did not listen thinks that all is well), or after the app has returned without one.
4. What the client wrote is escaped: a line is one line, and its quotes are ours.

It is for uvicorn, whose ``receive`` tells of the disconnect before any unread body, and as often as
it is asked.
"""

from __future__ import annotations

from collections.abc import Collection
from logging import getLogger
from time import perf_counter
from typing import Any
from urllib.parse import quote

from hesper._asgi.foreign import caused_by_leaving
from hesper.types import ASGIApp, Message, Receive, Scope, Send

logger = getLogger("hesper.access")

CLIENT_LEFT = 499

_ESCAPES = {
    code: f"\\x{code:02x}" for code in range(256) if not 0x20 < code < 0x7F or chr(code) in '"\\'
}


def escape(text: str) -> str:
    """What a client wrote, in latin-1, without control characters, spaces, quotes, backslashes."""
    return text.translate(_ESCAPES)


def has_left(receive: Receive) -> bool:
    """Whether the server says that the client left, asked without letting anything else run.

    One step of ``receive`` answers: if it would wait, the client is there as far as is known.
    """
    step: Any = receive()
    try:
        step.send(None)
    except StopIteration as answer:
        return bool(answer.value["type"] == "http.disconnect")
    step.close()
    return False


class AccessLog:
    """An ASGI app that serves another one and logs its requests on ``hesper.access``.

    Args:
        unlogged: paths without a line, such as one that a page asks for all the time.
    """

    def __init__(self, app: ASGIApp, unlogged: Collection[str] = ()) -> None:
        self.app = app
        self.unlogged = unlogged

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in self.unlogged:
            await self.app(scope, receive, send)
            return
        line = _Line(scope, receive, send)
        try:
            await self.app(scope, receive, line)
        except BaseException as exc:
            line.end(raised=True)
            if not (line.left and caused_by_leaving(exc)):
                raise
        else:
            line.end(raised=False)


class _Line:
    """One request's line, and the ``send`` that learns what to write in it."""

    __slots__ = ("_began", "_receive", "_scope", "_send", "left", "status", "written")

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._began = perf_counter()
        self._scope = scope
        self._receive = receive
        self._send = send
        self.status: int | None = None
        self.left = False
        self.written = False

    async def __call__(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.body" and not message.get("more_body", False):
            self.left = self.left or has_left(self._receive)
            await self._forward(message)
            self.write("")
            return
        await self._forward(message)
        if kind == "http.response.start":
            self.status = message["status"]

    async def _forward(self, message: Message) -> None:
        try:
            await self._send(message)
        except OSError:
            # ASGI HTTP, "Disconnected Client - send exception".
            self.left = True
            raise

    def end(self, raised: bool) -> None:
        """The app is through; if its response is not whole, say so."""
        if self.written:
            return
        self.left = self.left or has_left(self._receive)
        if self.status is None:
            self.status = 500  # what uvicorn answers when there is no response
            self.write(" (no response)" if not raised else "")
        else:
            self.write(" (broken off)")

    def write(self, ending: str) -> None:
        """Write the line, if it is not written yet."""
        if self.written:
            return
        self.written = True
        scope = self._scope
        milliseconds = (perf_counter() - self._began) * 1000
        logger.info(
            '%s - "%s %s HTTP/%s" %d',
            client_address(scope),
            escape(scope["method"]),
            target(scope),
            scope.get("http_version", "1.1"),
            CLIENT_LEFT if self.left else self.status,
            extra={"ending": f"{milliseconds:.0f} ms{'' if self.left else ending}"},
        )


def client_address(scope: Scope) -> str:
    """The client as ``host:port``; "-" if the server does not know it."""
    client = scope.get("client")
    # A proxy's header may have said it: it is escaped like the rest.
    return "-" if client is None else escape(f"{client[0]}:{client[1]}")


def target(scope: Scope) -> str:
    """The path and query as the client wrote them, escaped."""
    raw = scope.get("raw_path")
    path = quote(scope["path"]) if raw is None else raw.decode("latin-1")
    query = scope.get("query_string", b"").decode("latin-1")
    return escape(f"{path}?{query}" if query else path)
