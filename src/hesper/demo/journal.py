"""The journal: what became of each request.

An ending is learned where it happens: a plain answer's in the middleware, a stream's where its body
is closed. ``request.disconnected`` tells who ended it.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import AsyncIterable, AsyncIterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum
from time import perf_counter
from typing import Any

import anyio

from hesper.requests import Request

KEPT = 60
"""Entries that the journal keeps, running ones included."""

TASKS_PER_REQUEST = 2
"""The server's own, and the one that listens for the client's leaving."""

request_id: ContextVar[str] = ContextVar("request_id")


class Ending(StrEnum):
    """What can become of a request."""

    COMPLETED = "completed"
    LEFT_BEFORE = "left before the response"
    LEFT_MIDWAY = "left in mid-stream"
    CUT_UPLOAD = "cut upload"
    FAILED = "failed"


@dataclass(slots=True)
class Entry:
    """One request."""

    number: int
    id: str
    method: str
    target: str
    began: float = field(default_factory=perf_counter)
    ending: Ending | None = None
    seconds: float = 0.0
    """How long it took; 0 while it runs."""
    note: str = ""

    def as_json(self, now: float) -> dict[str, Any]:
        """What the page is told."""
        return {
            "number": self.number,
            "id": self.id,
            "method": self.method,
            "target": self.target,
            "ending": self.ending,
            "seconds": round(self.seconds if self.ending else now - self.began, 3),
            "note": self.note,
        }


class Journal:
    """The requests of this process, the latest of them one by one."""

    def __init__(self) -> None:
        self.idle_tasks: int | None = None
        """Tasks of the server without any request; None if it was not asked."""
        self.clear()

    def clear(self) -> None:
        """Forget what has ended; what runs is kept."""
        running = [entry for entry in getattr(self, "entries", ()) if entry.ending is None]
        self.entries: deque[Entry] = deque(running, maxlen=KEPT)
        self.endings: Counter[Ending] = Counter()

    running = 0
    generators_open = 0
    begun = 0
    dispatches = 0
    """Requests that have passed through the middleware ``Counting``."""

    def begin(self, method: str, target: str) -> Entry:
        """A request has come."""
        self.begun += 1
        self.running += 1
        entry = Entry(self.begun, request_id.get(""), method, target)
        self.entries.append(entry)
        return entry

    def end(self, entry: Entry, ending: Ending, note: str = "") -> None:
        """It has ended; only the first ending of an entry counts."""
        if entry.ending is None:
            self.running -= 1
            self.endings[ending] += 1
            entry.ending = ending
            entry.seconds = perf_counter() - entry.began
            entry.note = note or entry.note

    def tasks_left(self) -> int | None:
        """Tasks that no running request accounts for; call it in a request that is not recorded."""
        if self.idle_tasks is None:
            return None
        accounted = self.idle_tasks + 1 + TASKS_PER_REQUEST * self.running
        return max(0, len(anyio.get_running_tasks()) - accounted)

    def as_json(self) -> dict[str, Any]:
        """What the page is told, latest first."""
        now = perf_counter()
        return {
            "endings": {ending: self.endings[ending] for ending in Ending},
            "running": self.running,
            "tasks_left": self.tasks_left(),
            "generators_open": self.generators_open,
            "dispatches": self.dispatches,
            "entries": [entry.as_json(now) for entry in reversed(self.entries)],
        }


class RecordedBody:
    """A stream's body that enters its ending into the journal.

    A generator around it would not do: one that was never begun, because the client had left by
    then, runs no ``finally``. An object's ``aclose`` is called in any case.
    """

    def __init__(
        self, body: AsyncIterable[Any], request: Request, journal: Journal, entry: Entry
    ) -> None:
        self._body = body
        self._request = request
        self._journal = journal
        self._entry = entry
        self._pieces = 0
        self._iterator: AsyncIterator[Any] | None = None

    def __aiter__(self) -> AsyncIterator[Any]:
        self._iterator = aiter(self._body)
        return self

    async def __anext__(self) -> Any:
        assert self._iterator is not None
        try:
            piece = await anext(self._iterator)
        except StopAsyncIteration:
            self._end(Ending.LEFT_MIDWAY if self._request.disconnected else Ending.COMPLETED)
            raise
        except Exception:
            self._end(Ending.FAILED)
            raise
        self._pieces += 1
        return piece

    async def aclose(self) -> None:
        """Closed before its end: the client left, or the server stopped."""
        if not self._request.disconnected:
            self._end(Ending.FAILED)
        elif self._iterator is None:
            self._end(Ending.LEFT_BEFORE)
        else:
            self._end(Ending.LEFT_MIDWAY)

    def _end(self, ending: Ending) -> None:
        self._journal.end(self._entry, ending, f"{self._pieces} pieces")


journal = Journal()
