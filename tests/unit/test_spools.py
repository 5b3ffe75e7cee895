"""The temporary files of a form: never written on the loop, never left open."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import anyio
import anyio.from_thread
import pytest

from hesper.formparsers import MultiPartException

from .forms import (
    BACKENDS,
    FILE,
    START,
    SpyFile,
    SpyParser,
    contents,
    cut,
    opened,
    part,
    spy,
    whole,
)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_loop_never_writes_to_the_disk(backend: str) -> None:
    async def main() -> None:
        body = whole(part(FILE, b"x" * 400_000), part(FILE, b"small"))
        parser = spy(*cut(body, [30_000]))
        form = await parser.parse()
        big, small = parser.files
        here = threading.get_ident()
        assert (here, False) in big.writes
        assert any(rolled for _, rolled in big.writes)
        assert all(thread != here for thread, rolled in big.writes if rolled)
        assert len(big.rollovers) == 1
        assert here not in big.rollovers
        assert not any(rolled for _, rolled in small.writes)
        assert [len(data[1]) for _, data in await contents(form)] == [400_000, 5]
        assert not big.writes[0][1]

    anyio.run(main, backend=backend)


def test_a_form_that_fits_into_memory_needs_no_thread() -> None:
    async def main() -> None:
        body = whole(part(FILE, b"x" * 100_000), part(FILE, b"y" * 90_000))
        parser = spy(*cut(body, [40_000]))
        form = await parser.parse()
        for file in parser.files:
            assert set(file.writes) == {(threading.get_ident(), False)}
        await form.close()

    anyio.run(main)


def test_small_chunks_are_written_together() -> None:
    async def main() -> None:
        body = whole(part(FILE, b"x" * 200_000))
        parser = spy(*cut(body, [100]))
        form = await parser.parse()
        assert len(parser.files[0].writes) == 4
        await form.close()

    anyio.run(main)


class CancellingFile(SpyFile):
    """Cancels its reader from inside the thread that writes."""

    cancel: Callable[[], None]

    def write(self, data: Any) -> int:
        if len(data) > 5:
            anyio.from_thread.run_sync(type(self).cancel)
        return super().write(data)


class CancellingParser(SpyParser):
    file_class = CancellingFile


@pytest.mark.parametrize("backend", BACKENDS)
def test_files_are_closed_when_the_parser_is_cancelled_while_a_thread_writes(backend: str) -> None:
    async def main() -> None:
        parser = spy(START, b"rest", parser_class=CancellingParser)
        with anyio.CancelScope() as scope:
            CancellingFile.cancel = scope.cancel
            await parser.parse()
        assert scope.cancelled_caught
        assert opened(parser)[1].rollovers
        assert all(file.closed for file in parser.files)

    anyio.run(main, backend=backend)


class SlowFile(SpyFile):
    """Stays in a write until it is told to go on."""

    started: Callable[[], object]
    ended: Callable[[], object]
    go_on: threading.Event

    def write(self, data: Any) -> int:
        if len(data) > 5:
            type(self).started()
            assert type(self).go_on.wait(10)
        return super().write(data)

    def close(self) -> None:
        super().close()
        if self.rollovers:
            type(self).ended()


class SlowParser(SpyParser):
    file_class = SlowFile


def test_a_thread_that_outlives_a_cancelled_task_closes_the_files() -> None:
    # Task.cancel, and so asyncio.timeout, does not wait for the thread as cancel scopes do.
    async def main() -> None:
        loop = asyncio.get_running_loop()
        started, ended = asyncio.Event(), asyncio.Event()
        SlowFile.started = staticmethod(lambda: loop.call_soon_threadsafe(started.set))
        SlowFile.ended = staticmethod(lambda: loop.call_soon_threadsafe(ended.set))
        SlowFile.go_on = threading.Event()
        parser = spy(START, b"rest", parser_class=SlowParser)
        task = asyncio.create_task(parser.parse())
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not any(file.closed for file in opened(parser))
        SlowFile.go_on.set()
        async with asyncio.timeout(10):
            await ended.wait()
        assert all(file.closed for file in parser.files)

    asyncio.run(main())


def test_a_thread_that_starts_after_the_end_writes_nothing() -> None:
    async def main() -> None:
        parser = spy(START)
        with pytest.raises(MultiPartException, match="Incomplete"):
            await parser.parse()
        parser._spools._guarded(parser._spools._write_and_rewind)
        assert all(file.closed for file in opened(parser))

    anyio.run(main)


class FullDisk(SpyFile):
    """Fails when the disk is touched, and again when it is closed, as buffered files do."""

    def rollover(self) -> None:
        raise OSError(28, "No space left on device")

    def close(self) -> None:
        super().close()
        raise OSError(28, "No space left on device, still")


class FullParser(SpyParser):
    file_class = FullDisk


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_full_disk_is_told_once_and_closes_all_files(backend: str) -> None:
    async def main() -> None:
        parser = spy(START, parser_class=FullParser)
        with pytest.raises(OSError, match=r"No space left on device$"):
            await parser.parse()
        assert len(opened(parser)) == 2
        assert all(file.closed for file in parser.files)

    anyio.run(main, backend=backend)
