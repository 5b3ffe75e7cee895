"""The command ``hesper`` as a process with a port of its own."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep

COMMAND = [sys.executable, "-c", "from hesper.cli import main; main()"]

READY_WITHIN = 30.0
"""Seconds for a server to start, on a machine that is busy."""


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def until(condition: Callable[[], bool], what: str, seconds: float = 10) -> None:
    """Wait until ``condition`` holds; it fails the test when that takes too long."""
    deadline = monotonic() + seconds
    while not condition():
        if monotonic() > deadline:
            raise AssertionError(f"after {seconds} s still not {what}")
        sleep(0.01)


class Served:
    """A server that runs."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, output: Path) -> None:
        self.process = process
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self._output = output

    def log(self) -> str:
        """What it has written, on both streams."""
        return self._output.read_text()

    def connect(self) -> socket.socket:
        """A connection to it."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def request(self, text: str) -> str:
        """Send one request and read all that comes until the server closes."""
        head, _, rest = text.partition("\n")
        request = f"{head}\nHost: x\nConnection: close\n{rest}\n"
        with self.connect() as client:
            client.sendall(request.replace("\n", "\r\n").encode())
            return b"".join(iter(lambda: client.recv(1 << 16), b"")).decode()

    def wait_for(self, text: str, count: int = 1, seconds: float = 10) -> None:
        """Wait until it has written ``text``."""
        try:
            until(lambda: self.log().count(text) >= count, text, seconds)
        except AssertionError as exc:
            raise AssertionError(f"{exc}; it wrote:\n{self.log()}") from None

    def stop(self) -> int:
        """Ask it to stop and wait; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def is_ready(self) -> bool:
        """Whether it accepts connections."""
        if self.process.poll() is not None:
            raise AssertionError(f"the server has ended; it wrote:\n{self.log()}")
        with contextlib.suppress(ConnectionRefusedError), self.connect():
            return True
        return False


@contextlib.contextmanager
def serve(command: str, *arguments: str, cwd: str | Path = ".") -> Iterator[Served]:
    """Run ``hesper <command> <arguments> --port <free>`` until the block ends."""
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory, "output")
        with output.open("wb") as stream:
            process = subprocess.Popen(
                [*COMMAND, command, *arguments, "--port", str(port)],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                cwd=cwd,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                start_new_session=True,
            )
        served = Served(process, port, output)
        try:
            until(served.is_ready, "ready", READY_WITHIN)
            yield served
        finally:
            # Its own session: workers and reloaders go with it.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
