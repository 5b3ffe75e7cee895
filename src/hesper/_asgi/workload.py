"""What an app is busy with, and how that ends when the app shuts down.

The rules:

1. Requests are counted from their first wait on, sockets always: what never waits cannot be under
   way when a shutdown begins, and pays nothing.
2. A shutdown begins with telling: each is told once, also what comes later. Who listens has the
   grace time to come to an end in his own way; idle sockets and event streams are ended at once.
3. At the end of the grace time, or when a shutdown is begun a second time, what is left is cancelled.
   A request without a response is answered with 503, a socket closed with 1012.
4. The exchange of an app inside of another one is the outer app's affair.
"""

from __future__ import annotations

import math
from collections.abc import Coroutine, Generator
from logging import getLogger
from typing import Any, Protocol

import anyio

from hesper._asgi.exchange import Exchange, Holder
from hesper._asgi.http import drive_on
from hesper._concurrency import (
    Child,
    Event,
    Grace,
    Interruptible,
    interruptible,
    loop_token,
    new_event,
    now,
    running_loop,
    spawn,
)

logger = getLogger("hesper")

CLEANUP = 5.0
"""Seconds that what was cancelled may await. asyncio's cancel comes once, so it may there anyway."""

CUT_GRACE = 6.0
"""Seconds that what was cancelled has to end: the 5 of its cleanup, and one for what comes after."""


class Busy(Protocol):
    """An exchange, as a shutdown sees it."""

    cut: bool
    """Whether it was cancelled by a shutdown."""

    def shut_down(self) -> None:
        """Tell it that the app shuts down."""
        ...


class _Run:
    """What is under way in one run of an event loop: an app may serve in several."""

    def __init__(self) -> None:
        self.open: dict[Busy, Interruptible] = {}
        self.deadline = math.inf
        """When what is left is cancelled: known since the shutdown has begun."""
        self.enforcer: Child | None = None
        self._empty: Event | None = None

    @property
    def ending(self) -> bool:
        return self.deadline < math.inf

    def enter(self, busy: Busy, stretch: Interruptible) -> None:
        """Something is under way; cancelling it interrupts ``stretch``."""
        self.open[busy] = stretch
        if self.ending:
            self.enforce_soon()
            busy.shut_down()

    def leave(self, busy: Busy) -> None:
        del self.open[busy]
        if not self.open and self._empty is not None:
            self._empty.set()
            self._empty = None

    def cut(self) -> None:
        for busy, stretch in self.open.items():
            busy.cut = True
            stretch.interrupt()

    async def wait_empty(self) -> None:
        while self.open:
            if self._empty is None:
                self._empty = new_event()
            await self._empty.wait()

    def enforce_soon(self) -> None:
        """See to it that somebody enforces the deadline."""
        if self.enforcer is None or self.enforcer.done:
            self.enforcer = spawn(self.enforce())

    async def enforce(self) -> None:
        """Cancel what is left at the deadline."""
        with anyio.move_on_after(self.deadline - now()):
            await self.wait_empty()
        self.cut()


class Workload:
    """The requests and sockets of an app that are under way."""

    def __init__(self) -> None:
        self._runs: dict[object, _Run] = {}

    @property
    def shutting_down(self) -> bool:
        """Whether a shutdown has begun, in this run of the event loop or, outside of one, in any."""
        token = loop_token()
        if token is None:
            return any(run.ending for run in self._runs.values())
        run = self._runs.get(token)
        return run is not None and run.ending

    def _run(self) -> _Run:
        token = loop_token()
        run = self._runs.get(token)
        if run is None:
            # What runs of before have left is dropped: their loops may be closed by now.
            self._runs = {other: run for other, run in self._runs.items() if run.open}
            run = self._runs[token] = _Run()
        return run

    # -- what is under way ------------------------------------------------------------------------

    async def carry(self, steps: Generator[Any, Any, None], trap: Any, held: Holder) -> None:
        """The rest of a request that waits, as ``drive_on``."""
        exchange = held._exchange
        if exchange.outer is not None:  # rule 4
            await drive_on(steps, trap, held)
            return
        with interruptible() as stretch:
            await self._carry_within(stretch, steps, trap, exchange)

    async def carry_whole(self, work: Coroutine[Any, Any, None], held: Holder) -> None:
        """A request from its first step on: where an interruption needs a scope, it is opened before
        those of the handler."""
        with interruptible() as stretch, Grace(stretch, CLEANUP, any_cancel=False) as grace:
            steps = work.__await__()
            for trap in steps:
                exchange = held._exchange
                if exchange.outer is not None:
                    await drive_on(steps, trap, held)
                else:
                    await grace.run(self._carry_within(stretch, steps, trap, exchange))
                break

    async def _carry_within(
        self,
        stretch: Interruptible,
        steps: Generator[Any, Any, None],
        trap: Any,
        exchange: Exchange,
    ) -> None:
        run = self._run()
        run.enter(exchange, stretch)
        try:
            await drive_on(steps, trap, exchange)
        finally:
            run.leave(exchange)

    async def carry_socket(self, work: Coroutine[Any, Any, None], busy: Busy) -> None:
        """A WebSocket."""
        run = self._run()
        with interruptible() as stretch:
            run.enter(busy, stretch)
            try:
                if running_loop() is not None:
                    await work
                else:
                    with Grace(stretch, CLEANUP, any_cancel=False) as grace:
                        await grace.run(work)
            finally:
                run.leave(busy)

    # -- the shutdown -----------------------------------------------------------------------------

    def reopen(self) -> None:
        """The app starts, or starts again."""
        self._runs.pop(loop_token(), None)

    def begin(self, grace: float) -> None:
        """Tell all that is under way, and cancel what is left after ``grace`` seconds; when called
        again, cancel it now."""
        run = self._run()
        if run.ending:
            run.cut()
            return
        run.deadline = now() + grace
        for busy in tuple(run.open):
            busy.shut_down()
        if run.open:
            run.enforce_soon()

    async def end(self, grace: float) -> None:
        """Begin the shutdown, if that was not done, and wait until nothing is under way.

        When it is cancelled, what is under way is left to itself.
        """
        run = self._run()
        if not run.ending:
            self.begin(grace)
        try:
            await run.enforce()  # what came since, too
            with anyio.move_on_after(CUT_GRACE):
                await run.wait_empty()
        finally:
            if run.enforcer is not None:
                run.enforcer.cancel()
                await run.enforcer.join()
        if run.open:
            logger.warning(
                "The shutdown goes on although %d requests are under way: what cancelled them was "
                "swallowed.",
                len(run.open),
            )
