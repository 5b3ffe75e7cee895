"""What the app is told when uvicorn is asked to stop.

uvicorn waits for open connections first and sends ``lifespan.shutdown`` afterwards: an endless stream
would never hear of it. So the signal itself is passed on. uvicorn has its handlers in place when the
lifespan begins, and takes them away itself when it ends; ours stand before them, in whatever process
the app is served: the only one, a worker, or the child of a reloader.

A second signal means "now". But Ctrl-C reaches a worker twice, as SIGINT from the terminal and as
SIGTERM from its parent, so it is the same signal that has to come again.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Awaitable
from types import FrameType
from typing import Any

from hesper.types import ASGIApp, Receive, Scope, Send

SIGNALS = [signal.SIGINT, signal.SIGTERM]


def can_be_told(app: ASGIApp) -> bool:
    """Whether the app wants to know: a ``Hesper``, or another one with ``begin_shutdown(grace)``."""
    return callable(getattr(app, "begin_shutdown", None))


def told_of_signals(app: ASGIApp, grace: float) -> ASGIApp:
    """The app, told of signals by ``begin_shutdown(grace)``; as it is if it can't be told.

    Args:
        app: the app that is to be served by uvicorn.
        grace: seconds that it has for what is open.
    """
    return StopSignals(app, grace) if can_be_told(app) else app


class StopSignals:
    """An ASGI app that serves another one, and begins to listen when its lifespan begins."""

    def __init__(self, app: Any, grace: float) -> None:
        self.app = app
        self.grace = grace
        self._came: set[int] = set()

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """The awaitable of the app itself: a request pays for no coroutine more."""
        if scope["type"] == "lifespan" and threading.current_thread() is threading.main_thread():
            loop = asyncio.get_running_loop()
            for number in SIGNALS:
                self._listen(number, loop)
        awaitable: Awaitable[None] = self.app(scope, receive, send)
        return awaitable

    def _listen(self, number: signal.Signals, loop: asyncio.AbstractEventLoop) -> None:
        servers: Any = signal.getsignal(number)

        def tell(number: int, frame: FrameType | None) -> None:
            if callable(servers):  # and not the system's default, which is a number
                servers(number, frame)
            if number in self._came or not self._came:
                # A handler runs between any two instructions of the loop's thread.
                loop.call_soon_threadsafe(self.app.begin_shutdown, self.grace)
            self._came.add(number)

        signal.signal(number, tell)
