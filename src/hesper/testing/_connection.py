"""A client on the other end: it sends, stalls and leaves, and the server sees that its own way.

The law: the wire keeps its order. What the client did is in `wire`, oldest first, its leaving at
the end; the server reads ahead only so far, and learns of the leaving when it has read up to it.
"""

from abc import abstractmethod
from collections import deque
from collections.abc import Iterator
from random import Random

import anyio
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint

from hesper.testing._dialect import Dialect, SendMode
from hesper.testing._exchange import (
    Bell,
    Exchange,
    ServerClientDisconnected,
    ServerTransportClosed,
)
from hesper.testing._plan import Plan
from hesper.testing.result import Sent
from hesper.types import ASGIApp, Message, Scope


class Connection(Exchange):
    """An exchange with a client, HTTP or WebSocket.

    Args:
        plan: what the client is going to do.
        server: the task group for whatever happens later.
    """

    def __init__(
        self,
        scope: Scope,
        dialect: Dialect,
        random: Random | None,
        plan: Plan,
        server: TaskGroup,
    ) -> None:
        super().__init__(scope, dialect, random)
        self.plan = plan
        self.wire: deque[Message] = deque()
        self.arrived: deque[Message] = deque()
        self.seen_leaving = False
        self.stalled = False
        self.closing = False
        self.finished = False
        self.senders = Bell()
        self._server = server
        self._eof = False
        self._loses_next = False
        self._part = 0
        self._parts: Iterator[Message | float] = self.parts()

    # What a kind of connection defines.

    @abstractmethod
    def send_after_leave(self) -> SendMode:
        """What `send` does once the client has left."""

    @abstractmethod
    def parts(self) -> Iterator[Message | float]:
        """What the client sends by plan, and its pauses in seconds."""

    @abstractmethod
    def deliver(self, message: Message) -> None:
        """Writes down what the client got."""

    # The client's side.

    def start(self, app: ASGIApp) -> None:
        """Calls the application, once the client has done what it does before that."""
        self.begin()
        if self.plan.leave_at == 0:
            self.leave()
        if self.plan.leave_after is not None:
            self._server.start_soon(self._leave_later, self.plan.leave_after)
        self._server.start_soon(self.run_app, app)

    @abstractmethod
    def begin(self) -> None:
        """Sends what the client does before the application is called."""

    def feed(self) -> None:
        """Sends what the plan has, up to the next pause."""
        while self.plan.leave_after_part != self._part:
            part = next(self._parts, None)
            if part is None:
                if self.plan.leaves_after_request:
                    self.leave()
                return
            if isinstance(part, (int, float)):
                self._server.start_soon(self._feed_later, part)
                return
            self._part += 1
            self.write(part)
        self.leave()

    def write(self, message: Message) -> None:
        """Puts a message on the wire; a client that left cannot."""
        if not self._eof:
            self.wire.append(message)
            self.read_wire()

    def leave(self, *, half: bool = False) -> None:
        """Ends the client's side: all of it, or only its sending."""
        if self._eof:
            return
        self._eof = self.result.client_left = True
        self.left = not (half and self.dialect.answers_half_closed)
        self.note("client closed its sending side" if half else "client left")
        self.read_wire()
        self.senders.ring()
        if self.dialect.cancels_app and (self.dialect.cancels_after_response or not self.finished):
            self._server.start_soon(self._cancel_later)

    def stall(self) -> None:
        """Stops reading, so that `send` blocks."""
        self.stalled = True

    def release(self) -> None:
        """Reads again."""
        self.stalled = False
        self.senders.ring()

    def close(self) -> None:
        """Lets go of a blocked `send`, even a shielded one: the test is over."""
        self.closing = True
        self.senders.ring()

    async def _leave_later(self, seconds: float) -> None:
        await anyio.sleep(seconds)
        self.leave()

    async def _feed_later(self, seconds: float) -> None:
        await anyio.sleep(seconds)
        self.feed()

    async def _cancel_later(self) -> None:
        await anyio.sleep(self.dialect.cancel_grace)
        self.cancel_app(self.dialect.cancels_app or "scope")

    # The server reads.

    def read_wire(self) -> None:
        """Reads ahead as far as the dialect does."""
        while self.wire and len(self.arrived) < self.dialect.reads_ahead:
            message = self.wire.popleft()
            self.message_read(message)
            if self._loses_next:
                self._loses_next = False
            else:
                self.arrived.append(message)
        if self._eof and not self.wire and self.dialect.seen_by != "nobody":
            self.seen_leaving = True
        if not self.seen_leaving or self.dialect.seen_by == "receive":
            self.receivers.ring()
        self.senders.ring()

    def message_read(self, message: Message) -> None:
        """Looks at a message that has come off the wire."""

    def on_receive_cancelled(self) -> None:
        if self.dialect.cancelled_receive == "loses":
            if self.arrived:
                self.arrived.popleft()
                self.read_wire()
            else:
                self._loses_next = True

    # The server writes.

    async def transmit(self, entry: Sent, valid: bool) -> None:
        number = len(self.result.sent)
        if self.suspends(self.dialect.send_suspends):
            await checkpoint()
        if self.plan.stall_at == number:
            self.stall()
        blocked = await self._wait_writable()
        if self.left:
            await self._refuse(self.dialect.blocked_send if blocked else self.send_after_leave())
        elif valid:
            self.deliver(entry.message)
            entry.delivered = True
        self.advance()
        if entry.delivered and self.plan.leave_at == number:
            self.leave()

    def advance(self) -> None:
        """Notices the end of the response."""
        if self.conduct.state == "ended" and not self.finished:
            self.finished = True
            self.result.complete = not self.left
            self.receivers.ring()

    async def _wait_writable(self) -> bool:
        blocked = False
        while self._must_wait(blocked):
            blocked = True
            with anyio.CancelScope(shield=self.dialect.shields_blocked_send):
                await self.senders.wait()
        return blocked

    def _must_wait(self, blocked: bool) -> bool:
        if self.closing:
            raise ServerTransportClosed("the scripted server has been closed")
        if self.dialect.unread_body_blocks_send and self.wire:
            return True
        stays = blocked and self.dialect.blocked_send == "stays"
        return self.stalled and self.dialect.backpressure and (stays or not self.left)

    async def _refuse(self, mode: str) -> None:
        if mode == "oserror then private":
            mode = "private" if self.disconnect_given else "oserror"
        if mode in ("oserror", "raises"):
            raise ServerClientDisconnected("the client has left")
        if mode == "private":
            raise ServerTransportClosed("unable to perform operation on a closed transport")
        if mode == "hang":
            await anyio.sleep_forever()
