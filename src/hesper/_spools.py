"""The temporary files of a form while it is read.

The law: the event loop never writes to the disk, and when a form fails all its files are closed,
also if a thread that nobody waits for any more is still writing them.
"""

import threading
from collections.abc import Callable
from typing import BinaryIO

import anyio.to_thread


class Spools:
    """The temporary files of one form: written in batches, closed by whoever touches them last.

    While every file is in memory a batch is written where it is. As soon as one is on disk, a
    batch costs one hop to a worker thread, however many files are in it. (An upload of 32 MB in
    pieces of 1,460 bytes takes 0.19 s so, and 3.4 s with a hop for each, as Starlette 1.10 has
    it: CPython 3.13, asyncio, November 2026.) A hop takes 0.2 ms, as long as 256 KiB of parsing.

    A scope that is cancelled waits for the thread. `asyncio.Task.cancel` and `asyncio.timeout`
    do not: the thread goes on writing when `close` is called. It may not be waited for on the
    loop, and closing a file that is just rolling over would leave its disk file open; so a busy
    thread is told, and closes the files itself when its batch is done.
    """

    batch_size = 1024 * 1024
    """How many bytes are collected before they are written."""

    def __init__(self) -> None:
        self.files: list[BinaryIO] = []
        self.on_disk = False
        """Whether a batch may make a file roll over to the disk; the caller says so."""
        self._batch: list[tuple[BinaryIO, list[bytes]]] = []
        self._batch_size = 0
        self._lock = threading.Lock()
        self._busy = False
        self._closed = False

    def add(self, file: BinaryIO) -> None:
        """Take a file into care; the data that follow are for it."""
        self.files.append(file)

    def append(self, data: bytes) -> None:
        """Put data into the batch, for the file that was added last."""
        file = self.files[-1]
        self._batch_size += len(data)
        if self._batch and self._batch[-1][0] is file:
            self._batch[-1][1].append(data)
        else:
            self._batch.append((file, [data]))

    async def flush(self) -> None:
        """Write the batch if it is full."""
        if self._batch_size >= self.batch_size:
            await self._run(self._write)

    async def finish(self) -> None:
        """Write what is left, and go to the start of every file."""
        await self._run(self._write_and_rewind)

    async def _run(self, work: Callable[[], None]) -> None:
        if self.on_disk:
            await anyio.to_thread.run_sync(self._guarded, work)
        else:
            work()

    def _guarded(self, work: Callable[[], None]) -> None:
        with self._lock:
            if self._closed:
                return
            self._busy = True
        try:
            work()
        finally:
            with self._lock:
                self._busy = False
                closed = self._closed
            if closed:
                self._close_files()

    def _write(self) -> None:
        for file, pieces in self._batch:
            file.write(b"".join(pieces))
        self._batch.clear()
        self._batch_size = 0

    def _write_and_rewind(self) -> None:
        self._write()
        for file in self.files:
            file.seek(0)

    def close(self) -> None:
        """Close all files, or let the thread that is writing them do it."""
        with self._lock:
            self._closed = True
            busy = self._busy
        if not busy:
            self._close_files()

    def _close_files(self) -> None:
        for file in self.files:
            try:
                file.close()
            except OSError:
                # A full disk, most likely, and so the reason why we are here: the error that
                # ended the parsing is the one to tell, and the other files are still open.
                pass
