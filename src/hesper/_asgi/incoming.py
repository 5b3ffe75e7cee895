"""What readers see of what comes from the client: a stream, a whole body, a disconnect."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from hesper._asgi.arrivals import Arrivals
from hesper._asgi.states import COMPLETE, CUT, EXPECTING, GONE
from hesper._concurrency import checkpoint
from hesper.exceptions import ClientDisconnect, HTTPException, UsageError
from hesper.types import Message, Receive, Scope

MAX_DIGITS = 18
"""Digits of a content length that are read: ``int`` refuses thousands of them, and takes long."""

QUIET_CHECKPOINTS = 8
"""Turns of the loop without news after which ``is_disconnected`` takes the client to be there: two
for a receive that yields before it answers (trio), three for each of two foreign middlewares that
receive in a task of their own (Starlette's does). They cost 20 µs, where Starlette's poll costs 15;
``disconnected`` costs nothing."""


def content_too_large() -> HTTPException:
    """413, by the name that RFC 9110 gives it; Python has the older one before 3.13."""
    return HTTPException(413, "Content Too Large")


class Incoming(Arrivals):
    """The client's side of one HTTP request, shared by every layer that looks at it."""

    __slots__ = ("at_end", "body", "body_limit", "form")

    def __init__(self, scope: Scope, receive: Receive) -> None:
        super().__init__(scope, receive)
        self.body: bytes | None = None
        """The whole body, once somebody has asked for it whole."""
        self.form: Any = None
        """The body as a form, once somebody has asked for that."""
        self.body_limit: int | None = None
        """Bytes that the body may have; None for no limit."""
        self.at_end: tuple[Callable[[], Awaitable[None]], ...] = ()
        """What is called when the request is over, background work included: files are closed."""

    @property
    def quiet(self) -> bool:
        """Whether nothing is waited for, or is to be undone: the body has come whole, or nobody has
        asked for it."""
        if self._pumping or self.at_end or self.disconnected or self._news is not None:
            return False
        return self.state is COMPLETE or (self._arrivals == 0 and not self._deaf)

    async def take(self) -> Message | None:
        """The next message of the body, for a stream; None when all were taken.

        Raises:
            ClientDisconnect: the client left before the body was complete.
        """
        while not self.ready():
            await self.wait_news()
        return self.pop()

    def ready(self) -> bool:
        """Whether ``pop`` has something to say now; if not, wait for news and ask again.

        Raises:
            ClientDisconnect: the client left before the body was complete.
            HTTPException: 413, it is larger than ``body_limit``.
        """
        self.taken = True
        if self.body_limit is not None and self.too_large:
            raise content_too_large()
        if not self._messages and not self.complete():
            self._start_pump()  # it may find something at once
        return bool(self._messages) or self.complete()

    def pop(self) -> Message | None:
        """As ``take``, once it is ready."""
        if not self._messages:
            return None
        message = self._messages.popleft()
        self._buffered -= len(message.get("body", b""))
        self.make_room()
        return message

    @property
    def whole(self) -> bool:
        """Whether somebody has asked for the whole body: it is not taken in parts then."""
        return self.body is not None or self._readers > 0

    async def read_body(self) -> bytes:
        """The whole body; kept, so that every layer can ask for it.

        Nothing is lost if a reader is cancelled: what has come stays here.

        Raises:
            ClientDisconnect: the client left before the body was complete.
            UsageError: somebody has taken the body as a stream, which is not kept.
        """
        if self.body is not None:
            return self.body
        if self.taken and self.state is not CUT:
            raise UsageError(
                "Stream consumed: the request's body was taken as a stream, which is not kept. "
                "Call body() before stream(): then every layer can read it, however often."
            )
        self._readers += 1
        self.make_room()
        try:
            while not self.complete():
                self._start_pump()
                if not self.complete():
                    await self.wait_news()
        finally:
            self._readers -= 1
        return self._join()

    def complete(self) -> bool:
        """Whether the body is complete; False if more may come.

        Raises:
            ClientDisconnect: it broke off.
            HTTPException: 413, it is larger than ``body_limit``.
            UsageError: it was discarded.
            Exception: what a wrapped ``receive`` raised.
        """
        if self.body_limit is not None and self.too_large:
            raise content_too_large()
        if self.state is CUT:
            raise ClientDisconnect("before the request's body was complete")
        if self._discarded is not None:
            raise UsageError(
                "The request's body was discarded: a response was under way and nobody had begun "
                "to read it. Read the body, or begin its stream, before the response starts."
            )
        if self.state is COMPLETE or self.state is GONE:
            return True
        if self._error is not None:
            raise self._error
        if self.closed or self._deaf:
            raise ClientDisconnect("before the request's body was read: the response has ended")
        return False

    @property
    def too_large(self) -> bool:
        """Whether the body is larger than ``body_limit``, by what it says or by what has come."""
        limit = self.body_limit
        return limit is not None and max(self._received, self._declared()) > limit

    def _declared(self) -> int:
        # A length that is no number is the server's to refuse, and says nothing.
        for name, value in self._headers:
            if name == b"content-length" and value.isdigit():
                return int(value[:MAX_DIGITS])
        return 0

    def _join(self) -> bytes:
        if self.body is None:  # else another reader woke first
            messages = self._messages
            if messages is not None and len(messages) == 1:
                self.body = messages[0].get("body", b"")
            else:
                messages = messages or deque()
                self.body = b"".join([message.get("body", b"") for message in messages])
                whole = {"type": "http.request", "body": self.body, "more_body": False}
                self._messages = deque([whole])
        return self.body

    def whole_message(self) -> Message:
        """The one message that stands for a body which is complete and was not taken in parts."""
        self._join()
        assert self._messages is not None
        return {**self._messages[0]}

    async def is_disconnected(self) -> bool:
        """Ask, and let the server answer; swallows nothing. See ``QUIET_CHECKPOINTS``."""
        self._watching = True
        self._start_pump()
        quiet = 0
        while quiet < QUIET_CHECKPOINTS and not self.disconnected:
            arrivals = self._arrivals
            await checkpoint()
            quiet = quiet + 1 if arrivals == self._arrivals else 0
        return self.disconnected

    async def wait_disconnected(self) -> None:
        """Wait until the client has left, or until woken: the caller looks which.

        Raises:
            Exception: what a wrapped ``receive`` raised.
        """
        self._watching = True
        self._start_pump()
        if self._error is not None:
            raise self._error
        if not self.disconnected:
            await self.wait_news()

    @property
    def taken_whole(self) -> bool:
        """Whether a stream has taken all there is."""
        return self.taken and not self._messages and self.state is not EXPECTING

    def abandon(self) -> None:
        """Nobody looks any more: stop the pump, without waiting."""
        if self.pump is not None and not self.owned:
            self.pump.cancel()

    async def close(self) -> None:
        """The response has ended: stop the pump and wait for it. Harmless on a second call, which
        waits as well: under a supervisor two tasks may come to the end."""
        self.closed = True
        self.wake()
        pump = self.pump
        if pump is not None:
            pump.cancel()
            await pump.join()
            self.pump = None
