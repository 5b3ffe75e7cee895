"""The servers of the matrix, as processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from time import monotonic

from tests.servers.matrix.journal import PIPE, Reader
from tests.servers.process import READY_WITHIN, free_port
from tests.storm.servers import Log

APP = "tests.servers.matrix.app:app"
ROOT = Path(__file__).parents[3]

GRACEFUL = 2
"""Seconds that each server waits for open requests at SIGTERM, if it takes a number."""

_UVICORN = "uvicorn {app} --port {port} --no-access-log --timeout-graceful-shutdown 2 --http "
_HYPERCORN = "hypercorn {app} -b 127.0.0.1:{port} --graceful-timeout 2 -k "

COMMANDS = {
    "uvicorn (httptools)": _UVICORN + "httptools --loop uvloop",
    "uvicorn (h11)": _UVICORN + "h11 --loop asyncio",
    "hypercorn (asyncio)": _HYPERCORN + "asyncio",
    "hypercorn (trio)": _HYPERCORN + "trio",
    "granian": "granian {app} --port {port} --interface asgi --loop asyncio --no-access-log",
    "daphne": "daphne {app} -b 127.0.0.1 -p {port} -v 1 --access-log /dev/null"
    " --application-close-timeout 1",
}


REASONABLE = [
    "was started without a lifespan",  # daphne has none, and that is said once
    "Cancelled at shutdown",  # work that was to be finished and was not, by its names
    "ASGI callable returned without completing response",  # uvicorn, of a stream that is cut
]


class Server:
    """One that runs."""

    def __init__(
        self, port: int, process: subprocess.Popen[bytes], output: Path, journal: Reader
    ) -> None:
        self.port = port
        self.process = process
        self.journal = journal
        self._output = output

    def log(self) -> str:
        """What it has written."""
        return self._output.read_text(errors="replace")

    def troubles(self) -> list[str]:
        """The records of its log at ERROR and above, tracebacks, and all that Hesper warns of; but
        not that which has its reason."""
        log = Log(self.log().replace(str(ROOT), ""))  # whose name may well be ours
        found = [log.examples[kind] for kind in log.troubles]
        return [each for each in found if not any(text in each for text in REASONABLE)]

    async def ended(self, within: float) -> float | None:
        """Wait until the process has ended.

        Returns:
            The seconds that it took; None if it has not ended within so many.
        """
        began = monotonic()
        while monotonic() < began + within:
            if self.process.poll() is not None:
                return monotonic() - began
            await asyncio.sleep(0.02)
        return None

    async def is_ready(self) -> None:
        """Wait until it takes connections."""
        deadline = monotonic() + READY_WITHIN
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                alive = self.process.poll() is None and monotonic() < deadline
                assert alive, f"the server did not start:\n{self.log()}"
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return


@contextlib.asynccontextmanager
async def serve(command: str, app: str = APP) -> AsyncIterator[Server]:
    """Run a server until the block ends; ``command`` as in ``COMMANDS``."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="hesper-matrix-") as directory:
        pipe, output = str(Path(directory, "journal")), Path(directory, "output")
        journal = Reader(pipe)
        with output.open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, "-m", *command.format(app=app, port=port).split()],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                cwd=ROOT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", PIPE: pipe},
                start_new_session=True,
            )
        try:
            server = Server(port, process, output, journal)
            await server.is_ready()
            yield server
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # its own session: workers go with it
            process.wait()
            journal.close()
