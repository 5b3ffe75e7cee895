"""The server that the test clients talk to: the scripted server's exchanges, with a client in front.

The law: there is one engine. Messages are checked, ordered and refused by `hesper.testing`, in a
dialect of its own. Here is only what a client does that waits: it takes one chunk at a time, sends
its body when it is asked for, and ends when the application has.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import Any

import anyio

from hesper._concurrency import Child, new_signal, spawn
from hesper._testclient.strict import DIALECT, IllegalMessage, Strict
from hesper.testing import ServerClientDisconnected
from hesper.testing._connection import Connection
from hesper.testing._http import HTTPConnection
from hesper.testing._plan import Plan
from hesper.testing._websocket import WebSocketConnection
from hesper.testing.result import Sent
from hesper.types import ASGIApp, Message, Scope

GRACE = 1.0
"""Seconds that an application may go on after its client has left. Servers give 3 and more; here
each test of an application that does not listen waits for them."""


class Attended(Strict, Connection):
    """An exchange whose client waits for it.

    Args:
        scope: the scope the application is called with.
        plan: what the client sends without being asked.
        grace: seconds that the application may go on after the client has left.
    """

    left_early = False
    """Whether the client left before the response was complete."""

    _serving = False

    def __init__(self, scope: Scope, plan: Plan, grace: float) -> None:
        dialect = DIALECT.but(cancel_grace=grace)
        super().__init__(scope, dialect, None, plan, anyio.create_task_group())

    async def open(self, app: ASGIApp) -> None:
        """Calls the application, in a task that no scope of the client's is around.

        When it returns, the application has run up to its first wait. Whoever called this calls
        `end`, even if this was cancelled.
        """
        # Not in a task group of the client's: fixtures of some test frameworks are begun in one
        # task and ended in another, which scopes do not survive.
        self._called = new_signal()
        self._child: Child = spawn(self._run(app))
        await self._called.wait()

    async def _run(self, app: ASGIApp) -> None:
        async with self._server:
            self._serving = True
            self.start(app)
            await self.ended.wait()
            self._server.cancel_scope.cancel()

    async def run_app(self, app: ASGIApp) -> None:
        # Whoever waits for this is only woken: the application takes its first step before that.
        self._called.set()
        await super().run_app(app)

    def advance(self) -> None:
        super().advance()
        self.progress.ring()

    def leave(self, *, half: bool = False) -> None:
        if self.ended.is_set() or self.left:
            return
        if not self._serving:
            self.plan = replace(self.plan, leave_at=0)
            return
        self.left_early = not self.finished
        super().leave(half=half)
        self.progress.ring()

    async def end(self) -> None:
        """Leaves, unless the response is complete, and waits for the end of the application.

        Cancelled, it leaves in any case, so that the wait is bounded by the grace time. Harmless
        when it is called again.
        """
        try:
            if self.finished:
                await self.ended.wait()
        finally:
            self.leave()
            await self._child.join()

    @cached_property
    def failure(self) -> BaseException | None:
        """What went wrong in the application; to be asked once it has ended."""
        raised = self.result.raised
        if raised is not None:
            return None if self.left_early and _is_about_leaving(raised) else raised
        if self.result.violations:
            return IllegalMessage(self.result.violations)
        return None


def _is_about_leaving(error: BaseException | None) -> bool:
    """Whether it comes from our own `send`, which nobody has to catch (ASGI HTTP, "Disconnected
    Client - send exception")."""
    while error is not None and not isinstance(error, ServerClientDisconnected):
        error = error.__cause__ or error.__context__
    return error is not None


class HTTPExchange(Attended, HTTPConnection):
    """One HTTP request, its response read chunk by chunk.

    Args:
        body: the body; None if it comes in parts, by `upload`.
    """

    def __init__(self, scope: Scope, body: bytes | None, grace: float) -> None:
        sent: dict[str, Any] = {"unfinished": True} if body is None else {"parts": (body,)}
        super().__init__(scope, Plan(scope=scope, **sent), grace)
        self.head: Message | None = None
        self.debug: dict[str, Any] | None = None
        self._chunk = b""

    async def send(self, message: Message) -> None:
        if message.get("type") == "http.response.debug":
            # Not for the client, so there is no wrong time for it; Starlette's takes it at any.
            self.debug = message["info"]
        else:
            await super().send(message)

    def deliver(self, message: Message) -> None:
        if message["type"] == "http.response.body":
            self._hold(message.get("body", b""))
            return
        super().deliver(message)
        if message["type"] == "http.response.start":
            self.head = message

    def _hold(self, chunk: bytes) -> None:
        # Whatever was sent is not kept, as it is for a script: a stream may have no end.
        self.result.sent.clear()
        if chunk and self.scope["method"] != "HEAD":
            self._chunk = chunk
            self.stall()

    async def transmit(self, entry: Sent, valid: bool) -> None:
        await super().transmit(entry, valid)
        if self._chunk and not self.whole:
            # Until the client has taken it, so that the next is not even made before.
            await self._wait_writable()
            if self._chunk:
                await self._refuse("oserror")

    def started(self) -> bool:
        """Whether the client has the head of the response."""
        return self.head is not None

    @property
    def whole(self) -> bool:
        """Whether the application has sent the whole body; announced trailers may be missing."""
        return self.conduct.state in ("trailers", "ended")

    @property
    def drained(self) -> bool:
        """Whether the client has the whole response."""
        return self.finished and not self._chunk

    async def read(self) -> bytes | None:
        """The next chunk; empty at the end, and None if the application wants a part of the body.

        The client has to look at ``left`` as well: there is nothing to read then.
        """
        if await self.wait(lambda: bool(self._chunk) or self.finished or self.left):
            return None
        chunk, self._chunk = self._chunk, b""
        self.release()
        return chunk

    async def wait(self, ready: Callable[[], bool]) -> bool:
        """Waits until ``ready``, or until the application ended or wants a part of the body; then
        it is true."""

        def over() -> bool:
            return ready() or self.ended.is_set()

        await self.wait_until(lambda: over() or self._wants_body(), "is still there")
        return not over()

    def _wants_body(self) -> bool:
        return self.receiving and not self.body_arrived and not self.has_message()

    def upload(self, part: bytes | None) -> None:
        """Sends a part of the body; None is its end."""
        self.write(self.frame(part or b"", more=part is not None))


async def open_exchange(
    app: ASGIApp, scope: Scope, body: bytes | None, grace: float
) -> HTTPExchange:
    """Calls the application with a request; arguments as of `HTTPExchange`."""
    exchange = HTTPExchange(scope, body, grace)
    try:
        await exchange.open(app)
    except BaseException:
        await exchange.end()
        raise
    return exchange


class SocketExchange(Attended, WebSocketConnection):
    """One WebSocket, its messages kept until the client takes them."""

    failure_given = False
    """Whether the client knows what went wrong."""

    def __init__(self, scope: Scope, grace: float) -> None:
        super().__init__(scope, Plan(scope=scope), grace)
        self._outbox: deque[Message] = deque()

    def deliver(self, message: Message) -> None:
        if message["type"] != "websocket.send":
            super().deliver(message)
        self.result.sent.clear()
        self._outbox.append(message)

    async def next_message(self, timeout: float | None = None) -> Message:
        """The next message of the application; its close, again and again, when it has ended.

        Args:
            timeout: seconds; None waits for ever.

        Raises:
            StillRunning: a `TimeoutError`: there was none in time.
            BaseException: what the application raised.
        """
        await self.wait_until(
            lambda: bool(self._outbox) or self.finished or self.ended.is_set(),
            f"sent nothing for {timeout} seconds",
            math.inf if timeout is None else timeout,
        )
        if self._outbox:
            return self._outbox.popleft()
        if self.ended.is_set() and self.failure is not None:
            self.failure_given = True
            raise self.failure
        if not (self.result.accepted or self.finished):
            raise AssertionError(
                "The application returned without a whole answer to the handshake: "
                "send websocket.accept or websocket.close."
            )
        # As servers do for an application that returns with its socket open.
        code, reason = self.result.close_code, self.result.close_reason
        return {
            "type": "websocket.close",
            "code": 1000 if code is None else code,
            "reason": reason or "",
        }
