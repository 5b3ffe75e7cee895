"""One call of an application: its `receive` and `send`, counted and written down.

The law: everything the application does at the rim goes through `Exchange.receive` and
`Exchange.send`, which record first and act afterwards, and do nothing of their own to the
application but what the dialect says. What a message is and where it comes from is the affair of
the subclasses.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from random import Random
from typing import Literal

import anyio
from anyio.lowlevel import checkpoint

from hesper.testing._conduct import Conduct
from hesper.testing._dialect import Dialect
from hesper.testing.result import Result, Sent
from hesper.types import ASGIApp, Message, Scope


class ServerClientDisconnected(OSError):
    """What `send` raises on servers that obey "Disconnected Client - send exception" (2.4)."""


class ServerTransportClosed(RuntimeError):
    """What `send` raises on servers whose private error comes through, as uvloop's does."""


class StillRunning(TimeoutError):
    """The application did not do in time what the test waited for; the text holds its log."""


class Runaway(BaseException):
    """Ends an application that goes on sending for ever to a client that has left.

    Not an `Exception`, so that a handler that catches all of those does not go on.
    """


PATIENCE = 60.0
"""How long a test waits for the application, in seconds of the event loop's clock."""

# An endless stream that never suspends could not be stopped by any timeout.
MOST_SENDS_AFTER_LEAVE = 10_000


class Bell:
    """Wakes everybody who is waiting for it at that moment."""

    def __init__(self) -> None:
        self._sleepers: list[anyio.Event] = []

    async def wait(self) -> None:
        """Waits for the next `ring`, and never for one that was before."""
        sleeper = anyio.Event()
        self._sleepers.append(sleeper)
        await sleeper.wait()

    def ring(self) -> None:
        """Wakes all sleepers; they run later, in the order in which they came."""
        sleepers, self._sleepers = self._sleepers, []
        for sleeper in sleepers:
            sleeper.set()

    def forget(self) -> None:
        """Leaves all sleepers asleep for ever."""
        self._sleepers.clear()


class Exchange(ABC):
    """The server's side of one call of the application.

    Args:
        scope: the scope it is called with.
        dialect: how the server behaves.
        random: decides whether `receive` and `send` suspend; None leaves it to the dialect.
    """

    def __init__(self, scope: Scope, dialect: Dialect, random: Random | None = None) -> None:
        self.scope = scope
        self.dialect = dialect
        self.result = Result(sent=[], log=[])
        self.conduct = Conduct(scope["type"], scope.get("extensions") or ())
        self.ended = anyio.Event()
        self.progress = Bell()
        self.receivers = Bell()
        self.left = False
        self.disconnect_given = False
        self._random = random
        self._started = anyio.current_time()
        self._open_receives = 0
        self._cancel_scope = anyio.CancelScope()
        self._task: asyncio.Task[object] | None = None
        self._task_cancels = 0

    # What a kind of exchange defines.

    @abstractmethod
    def has_message(self) -> bool:
        """Whether `take_message` has something to give."""

    @abstractmethod
    def take_message(self) -> Message:
        """Gives the next message to the application."""

    @abstractmethod
    def on_receive_cancelled(self) -> None:
        """Lets the dialect answer to a cancelled `receive`."""

    @abstractmethod
    async def transmit(self, entry: Sent, valid: bool) -> None:
        """Takes a message to the client."""

    # The application's side.

    async def receive(self) -> Message:
        """The `receive` of the application."""
        result = self.result
        result.receives += 1
        result.receives_after_disconnect += self.disconnect_given
        result.receive_cancelled = result.receive_cancelled or result.receives_cancelled > 0
        self._open_receives += 1
        result.concurrent_receives = max(result.concurrent_receives, self._open_receives)
        self.note("receive called")
        self.progress.ring()
        try:
            message = await self._next_message()
        except anyio.get_cancelled_exc_class():
            self.note("receive cancelled")
            result.receives_cancelled += not result.server_cancelled
            self.on_receive_cancelled()
            raise
        finally:
            self._open_receives -= 1
        self.note(f"receive gave {message['type']}")
        return message

    async def _next_message(self) -> Message:
        suspends = self.suspends(self.dialect.receive_suspends)
        while not self.has_message() or suspends:
            if self.has_message():
                await checkpoint()
            else:
                if self.dialect.second_receive_orphans_first:
                    self.receivers.forget()
                await self.receivers.wait()
            suspends = False
        return self.take_message()

    async def send(self, message: Message) -> None:
        """The `send` of the application."""
        result = self.result
        result.receive_cancelled = result.receive_cancelled or result.receives_cancelled > 0
        result.sends_after_leave += self.left
        result.sends_after_disconnect += result.told
        entry = Sent(_copied(message), len(result.log), self.elapsed(), self.left)
        result.sent.append(entry)
        self.note(f"send called with {message.get('type')}")
        wrong = self.conduct.check(entry.message)
        result.violations.extend(wrong)
        self.progress.ring()
        try:
            if result.sends_after_leave > MOST_SENDS_AFTER_LEAVE:
                raise Runaway(f"{MOST_SENDS_AFTER_LEAVE} messages after the client had left")
            await self.transmit(entry, not wrong)
        except BaseException as exc:
            self.note(f"send raised {exc!r}")
            entry.error = exc
            result.told = result.told or isinstance(exc, (OSError, ServerTransportClosed))
            raise

    def suspends(self, by_dialect: bool) -> bool:
        """Whether this call passes a checkpoint although it would not have to."""
        return by_dialect if self._random is None else self._random.random() < 0.5

    # The server's side.

    @property
    def receiving(self) -> bool:
        """Whether a call to `receive` is open."""
        return self._open_receives > 0

    def note(self, what: str) -> None:
        """Writes an event into the log."""
        self.result.log.append(f"{self.elapsed():.3f} {what}")

    def elapsed(self) -> float:
        """Seconds since the application was called."""
        return anyio.current_time() - self._started

    async def wait_until(
        self, happened: Callable[[], bool], otherwise: str, timeout: float = PATIENCE
    ) -> None:
        """Waits until something has happened.

        Args:
            happened: looked at whenever the application did something.
            otherwise: what the application did, if it did not happen.
            timeout: seconds of the event loop's clock.

        Raises:
            StillRunning: it did not happen in time, or the application ended without it.
        """
        with anyio.move_on_after(timeout):
            while not happened() and not self.ended.is_set():
                await self.progress.wait()
        if not happened():
            events = "\n  ".join(self.result.log[-30:])
            raise StillRunning(f"the application {otherwise}; the last events were:\n  {events}")

    def cancel_app(self, how: Literal["task", "scope"]) -> None:
        """Cancels the application, as the server would."""
        if self.ended.is_set():
            return
        self.note("server cancels the application")
        self.result.server_cancelled = True
        if how == "task" and self._task is not None:
            self._task_cancels += 1
            self._task.cancel()
        else:
            self._cancel_scope.cancel()

    async def run_app(self, app: ASGIApp) -> None:
        """Calls the application and writes down how it ended."""
        self._started = anyio.current_time()
        try:
            with self._cancel_scope:
                await self._call(app)
        finally:
            self.result.pending_receives = self._open_receives
            self.result.duration = self.elapsed()
            self.note(f"application {self.result.ended}")
            self.ended.set()
            self.progress.ring()

    async def _call(self, app: ASGIApp) -> None:
        result = self.result
        self._task = _current_asyncio_task()
        try:
            await app(self.scope, self.receive, self.send)
        except anyio.get_cancelled_exc_class() as exc:
            result.ended = "cancelled"
            if self._is_foreign_cancel():
                raise
            if not result.server_cancelled:
                result.ended, result.raised = "raised", exc
        except BaseException as exc:
            result.ended, result.raised = "raised", exc
        else:
            result.ended = "returned"

    def _is_foreign_cancel(self) -> bool:
        """Whether a cancellation is for this task, and not from `_task.cancel` in `cancel_app`."""
        task = self._task
        if task is None:
            return True
        for _ in range(self._task_cancels):
            task.uncancel()
        return task.cancelling() > 0


def _copied(message: Message) -> Message:
    """A copy whose headers can be read twice; the specification allows any iterable."""
    copy = dict(message)
    headers = copy.get("headers")
    if isinstance(headers, Iterable) and not isinstance(headers, (str, bytes)):
        copy["headers"] = list(headers)
    return copy


def _current_asyncio_task() -> "asyncio.Task[object] | None":
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None
