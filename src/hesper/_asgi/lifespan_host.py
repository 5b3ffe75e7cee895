"""The server's side of the lifespan protocol, for a foreign app that is mounted in one of ours.

The law: the app is told what a server would tell it, in a task of its own, and nothing of it is
left when the context has been left. What it may say in which stage is the table below.
"""

from __future__ import annotations

from collections.abc import Callable
from logging import getLogger
from typing import Any

import anyio

from hesper._concurrency import Child, cancelled_type, new_event, spawn
from hesper.exceptions import UsageError
from hesper.types import ASGIApp, Message, Scope

logger = getLogger("hesper")

GRACE = 5.0
"""Seconds that a teardown may take after the server has cancelled the lifespan, and that a mounted
app may take to return after its last word."""

ANSWERS = {
    ("starting", "lifespan.startup.complete"): "running",
    ("starting", "lifespan.startup.failed"): "failed",
    ("stopping", "lifespan.shutdown.complete"): "stopped",
    ("stopping", "lifespan.shutdown.failed"): "failed",
    # What Starlette says when its lifespan ends by itself; then it raises, and that is logged.
    ("running", "lifespan.shutdown.failed"): "running",
}
"""(stage, what the app says) -> the stage that follows."""


class Hosted:
    """A foreign app's lifespan as an async context manager, which gives the app's state.

    An app that raises or returns before it has answered does not support lifespan: nothing comes of
    it. One that raises later, while it is not asked for anything, is logged.

    Raises:
        BaseException: on entering or leaving, when the app said that it failed: what it raised,
            with a note that names it, or else a RuntimeError.
    """

    def __init__(self, app: ASGIApp, scope: Scope) -> None:
        self._app = app
        self._state: dict[str, Any] = {}
        self._scope: Scope = {"type": "lifespan", "asgi": scope["asgi"]}
        if "state" in scope:
            self._scope["state"] = self._state
        self._stage = "starting"
        self._message = ""
        self._error: BaseException | None = None
        self._received = 0
        self._ended = False
        self._dropped = False
        self._stop = new_event()
        self._news = new_event()
        self._child: Child | None = None

    # -- the app's side, in the child task --------------------------------------------------------

    async def _run(self) -> None:
        try:
            await self._app(self._scope, self._receive, self._send)
        except cancelled_type():
            raise
        except BaseException as exc:
            self._failed(exc)
        finally:
            self._ended = True
            self._news.set()

    def _failed(self, exc: BaseException) -> None:
        if self._stage == "starting":
            logger.debug("The mounted app %r does not support lifespan.", self._app, exc_info=exc)
        elif self._stage == "running":
            logger.error("The lifespan of the mounted app %r ended.", self._app, exc_info=exc)
        else:
            exc.add_note(f"It was raised in the lifespan of the mounted app {self._app!r}.")
            self._error = exc

    async def _receive(self) -> Message:
        self._received += 1
        if self._received == 1:
            return {"type": "lifespan.startup"}
        if self._received > 2:
            await anyio.sleep_forever()
        try:
            await self._stop.wait()
        except cancelled_type():
            # asyncio.run cancels every task at its end, this one too: that is a shutdown.
            if self._dropped:
                raise
        self._stage = "stopping"
        return {"type": "lifespan.shutdown"}

    async def _send(self, message: Message) -> None:
        following = ANSWERS.get((self._stage, message["type"]))
        if following is None:
            said = [kind for stage, kind in ANSWERS if stage == self._stage]
            raise UsageError(
                f"Expected the app {self._app!r}, which is {self._stage}, to send "
                f"{' or '.join(said) or 'nothing'}, got {message['type']!r}."
            )
        self._stage = following
        self._message = message.get("message", "")
        self._news.set()

    # -- the server's side ------------------------------------------------------------------------

    async def __aenter__(self) -> dict[str, Any]:
        self._child = spawn(self._run())
        try:
            await self._until(lambda: self._stage != "starting")
        except BaseException:
            await self._drop(self._child)
            raise
        if self._stage == "failed":
            await self._end(self._child, "startup")
        return self._state if self._stage == "running" else {}

    async def __aexit__(self, *_: object) -> None:
        assert self._child is not None
        self._stop.set()
        await self._end(self._child, "shutdown")

    async def _until(self, done: Callable[[], bool]) -> None:
        while not (done() or self._ended):
            self._news = new_event()
            await self._news.wait()

    async def _end(self, child: Child, phase: str) -> None:
        try:
            await self._until(lambda: self._stage in {"failed", "stopped"})
            with anyio.move_on_after(GRACE):
                await self._until(lambda: False)
        finally:
            await self._drop(child)
        error, self._error = self._error, None
        if error is not None:
            raise error
        if self._stage == "failed":
            raise RuntimeError(
                f"The {phase} of the mounted app {self._app!r} failed: {self._message}"
            )

    async def _drop(self, child: Child) -> None:
        self._dropped = True
        child.cancel()
        await child.join()
