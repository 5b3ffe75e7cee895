"""One visit of one client to one app of the matrix, and what the app said of it."""

from __future__ import annotations

import asyncio
from time import monotonic
from urllib.parse import urlencode

from tests.servers.matrix.client import Client, How
from tests.servers.matrix.journal import Entry, Reader
from tests.servers.matrix.witness import CALL_ENDED

PATIENCE = 10.0
"""Seconds in which that happens which must happen, on a machine that is busy."""

PROMPT = 1.0
"""Seconds in which that happens which happens at once, likewise."""

WORK = 2.8
"""Seconds that a handler works when nobody stops it: longer than it takes to be told, and longer than
daphne lets it live on after its client, 1 second (``servers.COMMANDS``) and up to 1 until it looks."""


class Visit:
    """A visit; a context in which its client lives.

    Args:
        port: of the server.
        reader: of the server's journal.
        app: ``bare``, or the policy.
        name: what tells it from other visits to this app.
        client: who visits.
    """

    def __init__(self, port: int, reader: Reader, app: str, name: str, client: Client) -> None:
        self.port = port
        self.app = app
        self.id = f"{app}/{name}"
        self.client = client
        self.left_at = 0.0
        self._reader = reader

    def target(self, what: str, **parameters: object) -> str:
        """The target of a request to an endpoint, as part of this visit."""
        query = urlencode({"id": self.id, "seconds": WORK, **parameters})
        return f"/{self.app}/{what}?{query}"

    def leaves(self, how: How) -> None:
        """Let the client leave now."""
        self.left()
        self.client.leave(how)

    def left(self) -> None:
        """Note that the client has left now."""
        self.left_at = monotonic()

    async def is_answered(self) -> bool:
        """Whether the client, which reads on, gets the whole response before the server closes."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not self.client.has_all and await self.client.read():
                    pass
        except TimeoutError:
            pass
        return self.client.has_all

    async def seen(self, *what: str, within: float = PATIENCE) -> Entry:
        """Wait for one of these entries.

        Raises:
            AssertionError: it does not come.
        """
        entry = await self.perhaps(*what, within=within)
        assert entry is not None, f"{self.id}: no {what} within {within} s, only {self.story()}"
        return entry

    async def perhaps(self, *what: str, within: float = PROMPT) -> Entry | None:
        """Wait for one of these entries, which may never come."""
        return await self._reader.wait(self.id, *what, within=within)

    async def over(self) -> Entry:
        """Wait until the app's call has ended."""
        return await self.seen(*CALL_ENDED)

    def had(self, what: str) -> Entry | None:
        """The first entry of this kind that has come already."""
        return next((entry for entry in self.entries() if entry.what == what), None)

    def entries(self) -> list[Entry]:
        """All that has come."""
        return self._reader.of(self.id)

    def count(self, what: str) -> int:
        """How many entries of this kind have come."""
        return sum(entry.what == what for entry in self.entries())

    def is_prompt(self, entry: Entry | None) -> bool:
        """Whether it had happened within a moment after the client left."""
        return entry is not None and entry.at - self.left_at < PROMPT

    def story(self) -> str:
        """All entries in order, with the milliseconds since the client left."""
        return "; ".join(
            f"{entry} ({(entry.at - self.left_at) * 1000:+.0f} ms)" if self.left_at else str(entry)
            for entry in self.entries()
        )
