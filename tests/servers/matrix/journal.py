"""What the apps of the matrix say of what happens to them, and how the tests hear of it.

A named pipe, because it needs nothing of the server that is tested, reaches into a worker's process,
and wakes the reader: nothing in the tests polls. The clock is the system's, so that times of the app
and of the client can be compared.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections import defaultdict
from dataclasses import dataclass
from time import monotonic
from typing import Any

PIPE = "HESPER_MATRIX_PIPE"
"""The name of the variable of the environment in which the app finds the pipe's path."""


class Writer:
    """The app's side."""

    def __init__(self) -> None:
        path = os.environ.get(PIPE)
        # For both directions: it neither waits for a reader nor fails when that has gone.
        self._pipe = None if path is None else os.open(path, os.O_RDWR)

    def note(self, visit: str, what: str, **more: Any) -> None:
        """Write an entry; from any thread.

        Args:
            visit: which one it is about, as the client named it.
            what: what happened.
            more: the particulars; anything JSON has.
        """
        if self._pipe is not None:
            entry = {"visit": visit, "what": what, "at": monotonic(), "more": more}
            # One call, and less than PIPE_BUF: entries of different threads do not mix.
            os.write(self._pipe, json.dumps(entry).encode() + b"\n")


@dataclass(frozen=True)
class Entry:
    """One thing that happened to a visit."""

    what: str
    at: float
    more: dict[str, Any]

    def __str__(self) -> str:
        return self.what + (f" {self.more}" if self.more else "")


class Reader:
    """The tests' side; for one event loop.

    Args:
        path: where the pipe is made.
    """

    def __init__(self, path: str) -> None:
        os.mkfifo(path)
        self._pipe = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self._rest = b""
        self._entries: defaultdict[str, list[Entry]] = defaultdict(list)
        self._more = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._pipe, self._read)

    def close(self) -> None:
        """Read no more."""
        asyncio.get_running_loop().remove_reader(self._pipe)
        os.close(self._pipe)

    def of(self, visit: str) -> list[Entry]:
        """All entries of a visit until now, in order."""
        return self._entries[visit]

    async def wait(self, visit: str, *what: str, within: float) -> Entry | None:
        """The first entry of a visit that is one of ``what``.

        Returns:
            None if none came ``within`` so many seconds.
        """
        deadline = monotonic() + within
        while True:
            more = self._more
            for entry in self.of(visit):
                if entry.what in what:
                    return entry
            try:
                async with asyncio.timeout(deadline - monotonic()):
                    await more.wait()
            except TimeoutError:
                return None

    def catch_up(self) -> None:
        """Read all that is there already."""
        try:
            while True:
                self._read()
        except BlockingIOError:
            pass

    def _read(self) -> None:
        *lines, self._rest = (self._rest + os.read(self._pipe, 1 << 20)).split(b"\n")
        for line in lines:
            value = json.loads(line)
            visit = value.pop("visit")
            self._entries[visit].append(Entry(**value))
        self._more.set()
        self._more = asyncio.Event()
