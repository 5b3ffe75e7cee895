"""What a worker thread produces, handed over to the event loop one item at a time.

The rules:

1. ``give`` returns to the thread when the next item is asked for: a client that stalls holds one.
2. When nobody wants the rest, ``give`` raises ``ClientDisconnect``, now and for ever.
3. Nothing outlives ``aclose``: it waits for the thread, which cannot be stopped. One that has not
   begun yet does not begin.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from logging import getLogger

import anyio
import anyio.from_thread
import anyio.to_thread

from hesper._asgi.foreign import caused_by_leaving
from hesper._concurrency import Child, Signal, cancelled_type, new_signal, spawn
from hesper.exceptions import ClientDisconnect

logger = getLogger("hesper")


class Handover(AsyncIterator[bytes]):
    """An async iterator over what ``work``, in a worker thread, passes to ``give``.

    Args:
        work: runs in a thread, in a copy of the context of whoever calls ``start``.
        release: called in the event loop when the thread has ended or will not begin.
        limiter: of threads; anyio's own if None.
    """

    def __init__(
        self,
        work: Callable[[], None],
        release: Callable[[], None],
        limiter: anyio.CapacityLimiter | None = None,
    ) -> None:
        self._work = work
        self._release = release
        self._limiter = limiter
        self._child: Child | None = None
        self._begun = False
        self._stopped = False
        self._ended = False
        self._error: BaseException | None = None
        self._item: bytes | None = None
        self._held = False
        """Whether the thread waits in ``give``."""
        self._go_on = threading.Semaphore(0)
        self._news: Signal | None = None

    # -- in the thread -----------------------------------------------------------------------------

    def _begin(self) -> None:
        # This order, and the other one in aclose, so that one of the two sees the other.
        self._begun = True
        if not self._stopped:
            self._work()

    def give(self, item: bytes) -> None:
        """Hand an item over; wait until the next one is wanted.

        Raises:
            ClientDisconnect: none is wanted any more.
        """
        if not self._stopped:
            anyio.from_thread.run_sync(self._arrived, item)
            self._go_on.acquire()
        if self._stopped:
            raise ClientDisconnect("while the response was sent")

    # -- in the event loop -------------------------------------------------------------------------

    def _arrived(self, item: bytes) -> None:
        self._item = item
        self._held = True
        self._tell()

    def _tell(self) -> None:
        if self._news is not None:
            self._news.set()
            self._news = None

    def _stop(self) -> None:
        self._stopped = True
        self._go_on.release()

    async def _run(self) -> None:
        try:
            await anyio.to_thread.run_sync(self._begin, limiter=self._limiter)
        except cancelled_type():
            raise
        except BaseException as exc:
            self._error = exc
        finally:
            self._stop()  # if the loop is shut down, the thread may still wait
            self._ended = True
            self._release()
            self._tell()

    async def start(self) -> None:
        """Begin; return when there is an item, or when the thread has ended without one.

        Raises:
            BaseException: what ``work`` raised before its first item, or what cancelled the wait;
                the thread has ended then.
        """
        self._child = spawn(self._run())
        try:
            await self._wait()
        except BaseException:
            try:
                await self.aclose()
            except Exception as exc:
                _log(exc)
            raise

    async def _wait(self) -> None:
        while self._item is None and not self._ended:
            self._news = new_signal()
            await self._news.wait()
        if self._item is None and self._error is not None:
            error, self._error = self._error, None
            raise error

    async def __anext__(self) -> bytes:
        if self._item is None and self._held:
            self._held = False
            self._go_on.release()
        await self._wait()
        if self._item is None:
            raise StopAsyncIteration
        item, self._item = self._item, None
        return item

    async def aclose(self) -> None:
        """Tell the thread that nobody wants the rest, and wait for its end.

        Raises:
            BaseException: what ``work`` raised meanwhile, if it is more than that it was told; or
                what cancelled the wait, and then that goes to the log.
        """
        self._stop()
        if self._child is not None:
            if not self._begun:
                self._child.cancel()
            try:
                await self._child.join()
            except BaseException:
                _log(self._take_error())
                raise
        error = self._take_error()
        if error is not None:
            raise error

    def _take_error(self) -> BaseException | None:
        error, self._error = self._error, None
        return None if caused_by_leaving(error) else error


def _log(error: BaseException | None) -> None:
    if error is not None:
        logger.error("A worker thread failed after it was told to stop.", exc_info=error)
