"""WebSockets: sends end when the client does, and nothing is left behind.

The rules, beside those of ``socket_incoming``:

1. After the disconnect ``send`` is not called again: it is silent, hangs, or raises private errors.
   The caller gets ``WebSocketDisconnect`` with the client's own code instead.
2. An error of ``send`` is judged by the socket's state, not by its type: an ``OSError`` means that
   the client left; so does any other error if the server says so within a few turns of the loop.
3. A ``send`` that is blocked on a stalled client is interrupted when the client is gone.
4. Under ``conduct_socket`` a handler that only sends learns that the client left, also where
   ``send`` is silent (hypercorn, granian, daphne) and never waits.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from hesper._asgi.exchange import KEY
from hesper._asgi.socket_incoming import SocketIncoming
from hesper._asgi.socket_states import (
    SOCKET,
    SocketEvent,
    SocketState,
    WebSocketDisconnect,
    WebSocketDisconnected,
    WebSocketState,
    next_socket_state,
)
from hesper._concurrency import (
    cancelled_type,
    checkpoint,
    interruptible,
    resumed,
    running_loop,
)
from hesper.exceptions import ClientDisconnect, UsageError
from hesper.types import ASGIApp, Message, Receive, Scope, Send

__all__ = [
    "SocketExchange",
    "WebSocketDisconnect",
    "WebSocketDisconnected",
    "conduct_socket",
    "deny",
    "open_socket",
]

W = TypeVar("W")

CHECKPOINT_EVERY = 32
"""Sends after which the pump gets its turn, for handlers whose sends never wait; see ``bodies``."""

CLOSE_TIMEOUT = 10.0
"""Seconds that a close may take before the client counts as gone: a stalled one would hold the
handler for ever on servers without pings (granian, gunicorn)."""

PRIVATE_CODES = 3000
"""What is added to a close code that the server refuses: 1012 becomes 4012, of those that RFC 6455
section 7.4.2 leaves to applications."""

GOODBYE_TIMEOUT = 0.5
"""Seconds that a close may take when the app shuts down, before the handler goes on without it: the
grace is short, and granian's hangs if the server closes at the same time."""

DENIAL = "websocket.http.response"
"""The extension that lets an app refuse a handshake with any response."""


class SocketExchange(SocketIncoming):
    """One WebSocket, shared by every layer that looks at it.

    ``receive`` and ``send`` are ASGI callables, for foreign apps too.
    """

    state = SocketState.CONNECTING
    accepted = False
    """Whether the handshake was granted, while the client was there."""
    _unwaited = 0

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        super().__init__(receive)
        self.scope = scope
        self.server_send = send

    @property
    def can_deny(self) -> bool:
        """Whether the server can refuse with a response (see ``deny``)."""
        return DENIAL in (self.scope.get("extensions") or ())

    def lost(self, message: Message | None = None) -> None:
        """As ``SocketIncoming.lost``; from here on nothing is sent."""
        self.state = SOCKET[self.state, SocketEvent.LEFT]  # first: who is woken goes on at once
        super().lost(message)

    async def send(self, message: Message) -> None:
        """Send one message, in the order that the life cycle allows.

        A close when the client is gone does nothing. When the send is cancelled, the socket is as
        it was, and the message may or may not have left.

        Raises:
            WebSocketDisconnect: the client left, before or meanwhile; has its code and reason.
            WebSocketDisconnected: the socket is not accepted yet, or not open any more.
            UsageError: the message is not allowed at this point.
        """
        kind = message["type"]
        closes = kind == "websocket.close"
        if self.conducted:
            self._unwaited += 1
            if closes or self._unwaited >= CHECKPOINT_EVERY:
                await self._let_pump_run(closes)
        before = following = self.state
        if before is not SocketState.ACCEPTED or kind != "websocket.send":  # else it stays as it is
            self.state = following = self.check(message)
            if following is SocketState.LOST:
                if closes:
                    return
                raise self._gone()
            if closes:
                self._end(before, message)
        cause: BaseException | None = None
        try:
            if closes:
                await self._close(message)
            elif running_loop() is None:
                await self._send_interruptibly(self.server_send(message))
            else:
                # What does not wait needs no interruption: 1 µs less a frame.
                steps = self.server_send(message).__await__()
                for trap in steps:
                    await self._send_interruptibly(resumed(steps, trap))
                    break
        except BaseException as exc:
            self.state = SOCKET[self.state, SocketEvent.FAILED]
            if not (isinstance(exc, Exception) and await self._caused_by_end(exc, following)):
                raise
            cause = exc
        if following is SocketState.CLOSED:
            self._end(before, message)  # a refusal is heard of by its app when it is sent
        elif cause is not None or self.client is WebSocketState.DISCONNECTED:
            raise self._gone() from cause
        elif following is SocketState.ACCEPTED:
            self.accepted = True

    async def _send_interruptibly(self, sending: Awaitable[None]) -> None:
        with interruptible() as stretch:
            self.add_stretch(stretch)
            try:
                await sending
            finally:
                self.remove_stretch(stretch)

    def check(self, message: Message) -> SocketState:
        """The state that a message would lead to. Raises as ``send`` if it is not allowed."""
        following = next_socket_state(self.state, message)
        if following is SocketState.DENYING and not self.can_deny:
            raise UsageError(
                "The server doesn't support the Websocket Denial Response extension: "
                "call close() instead, which refuses with 403."
            )
        return following

    async def finish(self) -> None:
        """Close what a handler left open: 1000, or before the handshake a refusal (403).

        ASGI does not say what a server does then: uvicorn cuts the connection (the client sees
        1006), hypercorn says 1011, granian closes without a code, daphne leaves it open for ever.
        """
        await self.close_if_open(1000)

    async def close_if_open(self, code: int) -> None:
        """Close the socket, or refuse it, unless one side has ended it."""
        if self.state is SocketState.CONNECTING or self.state is SocketState.ACCEPTED:
            await self.send({"type": "websocket.close", "code": code, "reason": ""})

    async def _wait_news(self) -> None:
        if self.shutting_down and not self.heard and self.state is SocketState.ACCEPTED:
            await self.say_goodbye()  # nobody has anything better to do
        else:
            await super()._wait_news()

    async def say_goodbye(self) -> None:
        """The app shuts down: close with 1012, "Service Restart", as uvicorn does by itself. The
        handler gets ``WebSocketDisconnect`` with that code."""
        await self.close_if_open(1012)
        self.state = SOCKET[self.state, SocketEvent.GOODBYE]

    async def leave_cut(self) -> None:
        """If a shutdown has cancelled the handler, say goodbye after all."""
        if self.cut:
            with anyio.CancelScope(shield=True):  # GOODBYE_TIMEOUT bounds it
                await self.say_goodbye()

    async def _let_pump_run(self, closes: bool) -> None:
        self._unwaited = 0
        if closes:
            # What the server knows by now must be heard: a close to nobody hangs on HTTP/2.
            await self.ask(certain=False)
        else:
            await checkpoint()

    def _end(self, before: SocketState, message: Message) -> None:
        self.closed = True
        if before is SocketState.ACCEPTED:
            self.disconnect = {
                "type": "websocket.disconnect",
                "code": message.get("code", 1000),
                "reason": message.get("reason") or "",
            }
        self._wake()

    async def _close(self, message: Message) -> None:
        # granian sends no closing frame while a receive is pending: the client would hang.
        await self._stop_pump()
        seconds = GOODBYE_TIMEOUT if self.shutting_down or self.cut else CLOSE_TIMEOUT
        with anyio.move_on_after(seconds) as limit:
            await self._send_close(message)
        if limit.cancelled_caught:
            self.lost()

    async def _send_close(self, message: Message) -> None:
        try:
            await self.server_send(message)
        except OSError:
            raise
        except Exception:
            code = message.get("code", 1000)
            if not 1000 < code < 3000:
                raise
            # daphne takes no other code than 1000 and those that applications may choose. A client
            # that gets 1000 would not come back.
            await self.server_send({**message, "code": code + PRIVATE_CODES})

    async def _caused_by_end(self, exc: Exception, following: SocketState) -> bool:
        """Whether a send failed because the socket is over (rule 2)."""
        if self.over and following is not SocketState.CLOSED:
            return True
        if isinstance(exc, WebSocketDisconnect):  # of an exchange around this one
            self.lost({"type": "websocket.disconnect", "code": exc.code, "reason": exc.reason})
            return True
        certain = isinstance(exc, OSError)
        await self.ask(certain)
        if certain:
            self.lost()
        return self.disconnected

    def _gone(self) -> WebSocketDisconnect:
        return WebSocketDisconnect(self.disconnect["code"], self.disconnect["reason"])


def open_socket(scope: Scope, receive: Receive, send: Send) -> SocketExchange:
    """The exchange of a WebSocket: the one of this scope, if ``receive`` and ``send`` are its own.

    If a middleware wraps ``send``, what is inside of it has a life cycle of its own; it is stacked
    on the outer one, so that nothing reads from the server beside it.
    """
    owner = getattr(receive, "__self__", None)
    known = owner if isinstance(owner, SocketExchange) else scope.get(KEY)
    if isinstance(known, SocketExchange) and receive in (known.receive, known.server_receive):
        if send in (known.send, known.server_send):
            return known
        receive = known.receive
    exchange = scope[KEY] = SocketExchange(scope, receive, send)
    return exchange


async def conduct_socket(
    handler: Callable[[W], Awaitable[object]],
    websocket: W,
    exchange: SocketExchange,
    on_error: Callable[[W, Exception], Awaitable[bool]] | None = None,
) -> None:
    """Run a handler for a WebSocket; leave nothing behind.

    A handler that returns has ended its socket: what is still open is closed (see ``finish``). What
    tells of the socket's end, and only that, is quiet.

    Args:
        on_error: called with an error, may answer it, and says whether that was all; None to raise.

    Raises:
        BaseException: an error that ``on_error`` did not handle, and what cancelled the handler.
            Never the client's leaving.
    """
    owner = exchange.begin()
    try:
        try:
            await handler(websocket)
        except Exception as exc:
            if exchange.over and tells_of_end(exc):
                return
            if on_error is None or not await _answered(on_error, websocket, exc, exchange):
                raise
        except cancelled_type():
            if owner:
                await exchange.leave_cut()
            raise
        if owner:
            await exchange.finish()
    finally:
        if owner:
            await exchange.stop()


async def _answered(
    on_error: Callable[[W, Exception], Awaitable[bool]],
    websocket: W,
    exc: Exception,
    exchange: SocketExchange,
) -> bool:
    try:
        return await on_error(websocket, exc)
    except WebSocketDisconnect:
        if not exchange.over:
            raise
        return False  # nobody is there to answer, but the error is one all the same


def tells_of_end(exc: BaseException) -> bool:
    """Whether an error only says that the client left, in our words or a foreign framework's.

    What an app raises while it handles that is its own error: the cause is not looked at.
    """
    if isinstance(exc, BaseExceptionGroup):
        return all(tells_of_end(member) for member in exc.exceptions)
    return isinstance(exc, ClientDisconnect) or type(exc).__name__ == "WebSocketDisconnect"


async def deny(exchange: SocketExchange, scope: Scope, response: ASGIApp) -> None:
    """Refuse a handshake with an HTTP response (Extensions, "Websocket Denial Response").

    Args:
        response: any ASGI app that answers HTTP; it sees a GET request without a body.

    When the client left, ``response`` is told as an HTTP app is, and may end quietly.

    Raises:
        WebSocketDisconnected: the app has closed or refused the socket.
        UsageError: the server cannot do it, or the socket was accepted.
    """
    exchange.check({"type": f"{DENIAL}.start"})
    request: list[Message] = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Message:
        if request:
            return request.pop()
        await exchange.wait_disconnected()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        await exchange.send({**message, "type": f"websocket.{message['type']}"})

    scheme = {"ws": "http", "wss": "https"}.get(scope.get("scheme", "ws"), "http")
    # The extensions are those of a WebSocket: no file can be sent by its path here.
    handshake = {**scope, "type": "http", "method": "GET", "scheme": scheme, "extensions": {}}
    handshake.pop(KEY, None)
    await response(handshake, receive, send)
