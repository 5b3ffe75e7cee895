"""The same WebSocket session, for a test in another thread."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType
from typing import Any, Self

from anyio.from_thread import BlockingPortal

from hesper._testclient.exchanges import GRACE
from hesper._testclient.responses import WebSocketDenialResponse
from hesper._testclient.sockets import AsyncWebSocketTestSession, Mode
from hesper.types import ASGIApp, Message, Scope


class WebSocketTestSession:
    """A WebSocket to an application in another thread; used with ``with``.

    Its methods are those of `AsyncWebSocketTestSession`.

    Args:
        app: the application.
        scope: the scope it is called with.
        portal_factory: gives the event loop to run it in.
        grace: seconds that it may go on after the end of the block; then it is cancelled.
    """

    def __init__(
        self,
        app: ASGIApp,
        scope: Scope,
        portal_factory: Callable[[], AbstractContextManager[BlockingPortal]],
        *,
        grace: float = GRACE,
    ) -> None:
        self.app = app
        self.scope = scope
        self.portal_factory = portal_factory
        self.portal: BlockingPortal
        self._session = AsyncWebSocketTestSession(app, scope, grace=grace)
        self._session.denial = WebSocketDenialResponse

    @property
    def accepted_subprotocol(self) -> str | None:
        """The subprotocol that the application chose."""
        return self._session.accepted_subprotocol

    @property
    def extra_headers(self) -> list[tuple[bytes, bytes]] | None:
        """The headers that it added to the handshake."""
        return self._session.extra_headers

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.portal = stack.enter_context(self.portal_factory())
            self.portal.call(self._session.__aenter__)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._stack:
            self.portal.call(self._session.__aexit__, exc_type, exc, traceback)

    def send(self, message: Message) -> None:
        """Sends an ASGI message, as the application will receive it."""
        self.portal.call(self._session.send, message)

    def send_text(self, data: str) -> None:
        """Sends a text."""
        self.portal.call(self._session.send_text, data)

    def send_bytes(self, data: bytes) -> None:
        """Sends a binary message."""
        self.portal.call(self._session.send_bytes, data)

    def send_json(self, data: Any, mode: Mode = "text") -> None:
        """Sends a value as JSON, in a text or a binary message."""
        self.portal.call(self._session.send_json, data, mode)

    def close(self, code: int = 1000, reason: str | None = None) -> None:
        """Leaves with a closing frame; a second call does nothing."""
        self.portal.call(self._session.close, code, reason)

    def disconnect(self) -> None:
        """Vanishes without a closing frame, as a lost connection does: code 1006."""
        self.portal.call(self._session.disconnect)

    def receive(self, timeout: float | None = None) -> Message:
        """The next ASGI message that the application sent; waits for ``timeout`` seconds."""
        return self.portal.call(self._session.receive, timeout)

    def receive_text(self, timeout: float | None = None) -> str:
        """The next message, which has to be a text."""
        return self.portal.call(self._session.receive_text, timeout)

    def receive_bytes(self, timeout: float | None = None) -> bytes:
        """The next message, which has to be binary."""
        return self.portal.call(self._session.receive_bytes, timeout)

    def receive_json(self, mode: Mode = "text", timeout: float | None = None) -> Any:
        """The next message as JSON, from a text or a binary message."""
        return self.portal.call(self._session.receive_json, mode, timeout)
