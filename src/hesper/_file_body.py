"""A file as a response's body: read in parts, closed once.

The laws:

1. Exactly as many bytes are given as were announced. A file that grows is cut there; one that
   shrinks raises, since half a file must not pass for a whole one.
2. Files are touched in worker threads only, but for closing. An open file is closed once, whatever
   the ending, and never under a thread that reads it: its number could belong to a socket by then.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from threading import Lock
from typing import IO, Any

from hesper._asgi.bodies import Body
from hesper._concurrency import run_in_thread
from hesper.conditional import RangePart
from hesper.types import Message


class FileSource:
    """A file, from which parts are read in their order.

    ``close`` may come from the event loop at any moment, also while a thread reads: then that
    thread closes the file when it is done.
    """

    __slots__ = ("_closed", "_file", "_lock", "_parts", "path")

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = path
        self._file: IO[bytes] | None = None
        self._lock = Lock()
        self._closed = False
        self._parts: list[RangePart] = []

    def open(self) -> os.stat_result:
        """Open the file; what the system knows of it."""
        with self._lock:
            self._file = file = open(self.path, "rb")  # noqa: SIM115
            status = os.fstat(file.fileno())
        if self._closed:
            self.close()
        return status

    def select(self, parts: Sequence[RangePart]) -> None:
        """Set what is read from here on."""
        self._parts = list(reversed(parts))

    def read(self, size: int) -> bytes:
        """The next bytes, ``size`` of them or, at the end of a part's header, some more.

        Returns:
            ``b""`` after the last one; the file is closed by then.

        Raises:
            RuntimeError: the file has become too short.
        """
        with self._lock:
            data = b"" if self._file is None else self._fill(self._file, size)
        if self._closed:
            self.close()
        return data

    def _fill(self, file: IO[bytes], room: int) -> bytes:
        pieces: list[bytes] = []
        while self._parts and room > 0:
            header, start, end = self._parts.pop()
            room -= len(header)
            length = max(0, min(end - start, room))
            file.seek(start)
            piece = file.read(length)
            if len(piece) < length:
                raise RuntimeError(
                    f"File at path {self.path} became shorter while it was sent: expected {end} "
                    f"bytes, got {start + len(piece)}. To change a file that is being served, "
                    "write a new one and rename it."
                )
            room -= length
            pieces += header, piece
            if start + length < end:
                self._parts.append(RangePart(b"", start + length, end))
        if not self._parts:
            self._closed = True
        return b"".join(pieces)

    @property
    def ended(self) -> bool:
        """Whether there is nothing more to read."""
        return self._closed

    def close(self) -> None:
        """Close the file, or have it closed by the thread that reads it. Never waits for either.

        Not in a thread: closing a file that was only read does no I/O, and a wait here is one more
        place where a cancellation could leave the file open.
        """
        self._closed = True
        if self._lock.acquire(blocking=False):
            try:
                file, self._file = self._file, None
                if file is not None:
                    file.close()
            finally:
                self._lock.release()


class FileChunks:
    """What a source has, chunk by chunk; or a message that tells the server where to find it."""

    __slots__ = ("_size", "_source", "message")

    def __init__(self, source: FileSource, size: int, message: Message | None) -> None:
        self._source = source
        self._size = size
        self.message = message

    def __aiter__(self) -> AsyncIterator[bytes | Message]:
        return self

    async def __anext__(self) -> bytes | Message:
        if self._source.ended:
            raise StopAsyncIteration
        if self.message is not None:
            self._source.close()
            return self.message
        return await run_in_thread(self._source.read, self._size)

    async def aclose(self) -> None:
        self._source.close()


class FileBody(Body):
    """The body of a large file. Whoever reads ``content`` gets bytes, also where the server would
    have got the path."""

    __slots__ = ("_chunks", "used")

    def __init__(self, chunks: FileChunks, charset: str) -> None:
        super().__init__(chunks, charset)
        self._chunks = chunks
        self.used = False
        """Whether it is being sent, or was."""

    @property
    def content(self) -> AsyncIterable[Any]:
        """The chunks, for a middleware that looks at them or wraps them."""
        self._chunks.message = None
        return super().content

    def start(self) -> AsyncIterator[Any]:
        """The iterator, for the rim."""
        self.used = True
        return super().start()
