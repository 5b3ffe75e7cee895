"""What a policy asks of the rim, for the part of a request that comes after its handler."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol

from hesper.exceptions import HandlerTimeout

if TYPE_CHECKING:
    from hesper._asgi.bodies import Body


class Finisher(Protocol):
    """What ``hesper.supervision.Supervisor`` does for the rim."""

    async def finish(self, work: Callable[[], Awaitable[None]], name: str) -> None:
        """Run ``work`` in the caller's context and wait for it; a cancellation of the caller goes
        through at once, and leaves ``work`` alone."""
        ...


class Terms:
    """What a policy asks for the rest of a request, once its handler has answered."""

    __slots__ = ("bodies", "deadline", "heirs", "supervisor", "timed_out")

    def __init__(self) -> None:
        self.deadline: float | None = None
        """When the response has to be whole, in the loop's time; None once that was missed."""
        self.timed_out = False
        """Whether it was missed."""
        self.supervisor: Finisher | None = None
        """Who sees to it that the response is produced, and its background work done, even if the
        server cancels the request."""
        self.heirs = 0
        """Work that goes on after the request was cancelled, and then closes what that had open."""
        self.bodies: tuple[Body, ...] = ()
        """Bodies that such work is busy with."""

    def time_out(self, reason: str) -> HandlerTimeout:
        """The deadline was missed; gives the error to raise. What answers it has no deadline."""
        self.deadline = None
        self.timed_out = True
        return HandlerTimeout(reason)
