"""The WebSocket session of a test on the application's own loop.

The law: a session does nothing by itself. It takes and gives messages as they are asked of it, and
what the application raised comes out once: of the call that learns of it, or of the end of the
block.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal, Self

from hesper._concurrency import checkpoint
from hesper._testclient.exchanges import GRACE, SocketExchange
from hesper._testclient.http.responses import AsyncWebSocketDenialResponse
from hesper.exceptions import UsageError
from hesper.types import ASGIApp, Message, Scope
from hesper.websockets import WebSocketDisconnect

Mode = Literal["text", "binary"]
"""Which kind of message JSON comes in."""


class AsyncWebSocketTestSession:
    """A WebSocket to an application in the same event loop; used with ``async with``.

    Args:
        app: the application.
        scope: the scope it is called with.
        grace: seconds that it may go on after the end of the block; then it is cancelled.

    Raises:
        AsyncWebSocketDenialResponse: the application refused the handshake with a response.
        WebSocketDisconnect: it refused it without one.
        AssertionError: it returned without an answer to it.
        BaseException: what the application raised, at the latest at the end of the block.
    """

    denial: Callable[..., Exception] = AsyncWebSocketDenialResponse
    """What is raised for a handshake that the application refused with a response."""

    def __init__(self, app: ASGIApp, scope: Scope, *, grace: float = GRACE) -> None:
        self.app = app
        self.scope = scope
        self.grace = grace
        self.accepted_subprotocol: str | None = None
        """The subprotocol that the application chose."""
        self.extra_headers: list[tuple[bytes, bytes]] | None = None
        """The headers that it added to the handshake."""
        self._exchange: SocketExchange

    async def __aenter__(self) -> Self:
        self._exchange = SocketExchange(self.scope, self.grace)
        try:
            await self._exchange.open(self.app)
            message = await self.receive()
            await self._raise_on_close(message)
        except BaseException as error:
            await self._end(error)
            raise
        self.accepted_subprotocol = message.get("subprotocol")
        self.extra_headers = message.get("headers")
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._end(exc)

    async def _end(self, error: BaseException | None) -> None:
        self._close(1000, "")
        await self._exchange.end()
        failure = None if self._exchange.failure_given else self._exchange.failure
        # A cancellation stays one.
        if failure is not None and isinstance(error, Exception | None):
            raise failure

    # -- what the client does ---------------------------------------------------------------------

    async def send(self, message: Message) -> None:
        """Sends an ASGI message, as the application will receive it; ``websocket.disconnect``
        closes the session. Nothing happens once it is closed."""
        if message["type"] == "websocket.disconnect":
            self._close(message.get("code", 1005), message.get("reason") or "")
        else:
            self._exchange.write(message)
        await checkpoint()

    async def send_text(self, data: str) -> None:
        """Sends a text."""
        await self.send({"type": "websocket.receive", "text": data})

    async def send_bytes(self, data: bytes) -> None:
        """Sends a binary message."""
        await self.send({"type": "websocket.receive", "bytes": data})

    async def send_json(self, data: Any, mode: Mode = "text") -> None:
        """Sends a value as JSON, in a text or a binary message."""
        _check_mode(mode)
        text = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
        if mode == "text":
            await self.send_text(text)
        else:
            await self.send_bytes(text.encode())

    async def close(self, code: int = 1000, reason: str | None = None) -> None:
        """Leaves with a closing frame; a second call does nothing."""
        self._close(code, reason or "")
        await checkpoint()

    def _close(self, code: int, reason: str) -> None:
        exchange = self._exchange
        if not exchange.left:
            exchange.closing_frame = (code, reason)
            exchange.leave()

    async def disconnect(self) -> None:
        """Vanishes without a closing frame, as a lost connection does: code 1006."""
        self._exchange.leave()
        await checkpoint()

    # -- what the application does ----------------------------------------------------------------

    async def receive(self, timeout: float | None = None) -> Message:
        """The next ASGI message that the application sent.

        Once it has closed, or returned, that is ``websocket.close``, again and again.

        Args:
            timeout: seconds to wait for it; None waits for ever.

        Raises:
            TimeoutError: there was none in time.
            BaseException: what the application raised, once everything it sent was received.
        """
        return await self._exchange.next_message(timeout)

    async def receive_text(self, timeout: float | None = None) -> str:
        """The next message, which has to be a text.

        Raises:
            WebSocketDisconnect: the application has closed.
            AssertionError: it is a binary message.
            BaseException: as ``receive``.
        """
        text: str = await self._receive_data("text", timeout)
        return text

    async def receive_bytes(self, timeout: float | None = None) -> bytes:
        """The next message, which has to be binary. Raises as ``receive_text``."""
        data: bytes = await self._receive_data("bytes", timeout)
        return data

    async def receive_json(self, mode: Mode = "text", timeout: float | None = None) -> Any:
        """The next message as JSON, from a text or a binary message. Raises as ``receive_text``."""
        _check_mode(mode)
        return json.loads(await self._receive_data("text" if mode == "text" else "bytes", timeout))

    async def _receive_data(self, kind: str, timeout: float | None) -> Any:
        message = await self.receive(timeout)
        await self._raise_on_close(message)
        data = message.get(kind)
        if data is None:
            raise AssertionError(f"Expected a message with {kind!r}, got {dict(message)!r}.")
        return data

    async def _raise_on_close(self, message: Message) -> None:
        if message["type"] == "websocket.close":
            raise WebSocketDisconnect(message.get("code", 1000), message.get("reason") or "")
        if message["type"] == "websocket.http.response.start":
            body, more = b"", True
            while more:
                part = await self.receive()
                body += part.get("body", b"")
                more = part.get("more_body", False)
            raise self.denial(
                status_code=message["status"], headers=message.get("headers", ()), content=body
            )


def _check_mode(mode: str) -> None:
    if mode not in ("text", "binary"):
        raise UsageError(f'The mode of JSON is "text" or "binary", got {mode!r}.')
