"""The lifespan protocol, as a server speaks it.

The law: "Lifespan Protocol" 2.0. An application that raises in a lifespan scope before it has
answered does not support it, and the server goes on without.
"""

from collections import deque
from typing import Any

from anyio.lowlevel import checkpoint

from hesper.testing._dialect import Dialect
from hesper.testing._exchange import Exchange
from hesper.testing.result import Sent
from hesper.types import Message


class LifespanFailed(Exception):
    """The application said that its start-up or shutdown failed, or it raised in its shutdown."""


class LifespanExchange(Exchange):
    """One run of an application, from start-up to shutdown."""

    def __init__(self, dialect: Dialect) -> None:
        self.state: dict[str, Any] = {}
        version = dialect.spec_version
        asgi = {"version": "3.0"} if version is None else {"version": "3.0", "spec_version": "2.0"}
        super().__init__({"type": "lifespan", "asgi": asgi, "state": self.state}, dialect)
        self.arrived: deque[Message] = deque()

    async def startup(self) -> None:
        """Sends ``lifespan.startup`` and waits for the answer.

        Raises:
            LifespanFailed: with the application's message, when it sends
                ``lifespan.startup.failed``.
            StillRunning: it does not answer in time.
        """
        await self._ask("lifespan.startup", "starting")

    async def shutdown(self) -> None:
        """Sends ``lifespan.shutdown`` and waits for the end of the application.

        A second call does nothing, nor does a call after the application ended.

        Raises:
            LifespanFailed: with the application's message, when it sends
                ``lifespan.shutdown.failed``; and when it raises.
            StillRunning: it does not answer, or does not end, in time.
        """
        if self.conduct.state != "running" or self.ended.is_set():
            return
        self.conduct.state = "stopping"
        await self._ask("lifespan.shutdown", "stopping")
        await self.wait_until(self.ended.is_set, "did not end after lifespan.shutdown")
        if self.result.raised is not None:
            raise LifespanFailed("the application raised in its shutdown") from self.result.raised

    async def _ask(self, event: str, state: str) -> None:
        self.arrived.append({"type": event})
        self.receivers.ring()
        await self.wait_until(
            lambda: self.conduct.state != state or self.ended.is_set(),
            f"did not answer {event}",
        )
        last = self.result.sent[-1].message if self.result.sent else {}
        if last.get("type") == f"{event}.failed":
            raise LifespanFailed(last.get("message", ""))

    def has_message(self) -> bool:
        return bool(self.arrived)

    def take_message(self) -> Message:
        return self.arrived.popleft()

    def on_receive_cancelled(self) -> None:
        # The same in every dialect: the lifespan is over then.
        pass

    async def transmit(self, entry: Sent, valid: bool) -> None:
        if self.suspends(self.dialect.send_suspends):
            await checkpoint()
        entry.delivered = valid
