"""The servers, as processes, and what they write into their logs."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from tests.servers.process import free_port

_UVICORN = "uvicorn {app} --port {port} --no-access-log --timeout-keep-alive 1 --http "

COMMANDS = {
    "uvicorn": _UVICORN + "httptools --loop uvloop",
    "uvicorn-h11": _UVICORN + "h11 --loop asyncio",
    "hypercorn": "hypercorn {app} -b 127.0.0.1:{port} -k asyncio --backlog 2048 --keep-alive 1",
    "hypercorn-trio": "hypercorn {app} -b 127.0.0.1:{port} -k trio --backlog 2048 --keep-alive 1",
    "granian": "granian {app} --port {port} --interface asgi --loop asyncio --no-access-log",
}

CHOICES = {
    **{name: [name] for name in COMMANDS},
    "uvicorn": ["uvicorn", "uvicorn-h11"],
    "all": [name for name in COMMANDS if name != "hypercorn-trio"],
}
"""What ``--server`` may say. Not all of them include hypercorn on trio: a client that ends its side in
the middle of a chunked upload, while the app sends, kills its worker (0.18.0: the reader's task
writes a 400, and trio raises ``BusyResourceError`` in it)."""

APP = "tests.storm.app:app"
CONTROL = "tests.storm.control:app"

POLICIES = ["continue", "cancel", "finish"]
"""What a client's leaving may mean for the handlers of ``APP``."""

ROOT = Path(__file__).parents[2]


class Server:
    """One that runs."""

    def __init__(self, port: int, process: subprocess.Popen[bytes], output: Path) -> None:
        self.port = port
        self._process = process
        self._output = output

    def probe(self, by_type: bool = False) -> dict[str, Any]:
        """What it holds now.

        Raises:
            RuntimeError: it does not answer any more; with the end of its log.
        """
        try:
            return self._ask("/probe?types=1" if by_type else "/probe")
        except (OSError, HTTPException) as exc:
            status = self._process.poll()
            state = "lives" if status is None else f"has ended with {status}"
            log = self.log()[-6000:]
            raise RuntimeError(
                f"no answer ({exc!r}) from the server, which {state}:\n{log}"
            ) from exc

    def _ask(self, target: str) -> dict[str, Any]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("GET", target, headers={"Connection": "close"})
            value: dict[str, Any] = json.loads(connection.getresponse().read())
            return value
        finally:
            connection.close()

    def log(self) -> str:
        """What it has written."""
        return self._output.read_text(errors="replace")

    def wait_until_ready(self) -> None:
        """Wait until it answers."""
        deadline = monotonic() + 30
        while True:
            try:
                self._ask("/probe")
            except OSError:
                if self._process.poll() is not None or monotonic() > deadline:
                    raise RuntimeError(f"the server did not start:\n{self.log()}") from None
                sleep(0.05)
            else:
                return


@contextlib.contextmanager
def serve(name: str, app: str, policy: str) -> Iterator[Server]:
    """Run the server ``name``, with the app under a policy, until the block ends."""
    port = free_port()
    command = COMMANDS[name].format(app=app, port=port).split()
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory, "output")
        with output.open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, "-W", "always::ResourceWarning", "-m", *command],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                cwd=ROOT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", "STORM_POLICY": policy},
                start_new_session=True,
            )
        try:
            server = Server(port, process, output)
            server.wait_until_ready()
            yield server
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # its own session: workers go with it
            process.wait()


# A record of uvicorn's, of hypercorn's, granian's or `pieces.speak_up`'s, of daphne's, or something
# that Python writes without a logger.
_BEGINS = re.compile(
    r"(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL): "
    r"|(?:\[\d{4}-[^\]]*\] \[\d+\] )?\[(?P<bracketed>[A-Z]+)\] "
    r"|\d{4}-\d\d-\d\d [\d:,]+ (?P<dated>[A-Z]+) "
    r"|(?P<bare>Exception ignored|Unhandled|Fatal Python|thread '|\S+:\d+: \w+Warning)"
)


# The line of a traceback that names the error, in a group or not.
_ERROR = re.compile(r"[ |]*[\w.]+(Error|Exception|Interrupt|Exit|Cancelled|Disconnect\w*)(:|$)")


class Log:
    """A server's log, taken apart."""

    def __init__(self, text: str) -> None:
        self.troubles: Counter[str] = Counter()
        """Records at ERROR and above, tracebacks, and whatever Hesper itself warns of."""
        self.warnings: Counter[str] = Counter()
        """Records at WARNING: a server's remarks about its clients."""
        self.examples: dict[str, str] = {}
        """The first record of each kind."""
        for record in _split(text):
            kept = self._book_for(record)
            if kept is not None:
                kind = signature(record)
                kept[kind] += 1
                self.examples.setdefault(kind, record)

    def _book_for(self, record: str) -> Counter[str] | None:
        begin = _BEGINS.match(record)
        level = begin and (begin["level"] or begin["bracketed"] or begin["dated"] or "ERROR")
        if level in {"ERROR", "CRITICAL"} or "Traceback (most recent call last)" in record:
            return self.troubles
        if level == "WARNING":
            return self.troubles if "hesper" in record else self.warnings
        return None


def _split(text: str) -> Iterator[str]:
    lines: list[str] = []
    for line in text.splitlines():
        if _BEGINS.match(line) and lines:
            yield "\n".join(lines)
            lines = []
        lines.append(line)
    if lines:
        yield "\n".join(lines)


def signature(record: str) -> str:
    """A record without what differs from one to the next: its first line, and the error if any."""
    lines = [line for line in record.splitlines() if line.strip()]
    errors = [line.strip(" |+-") for line in lines if _ERROR.match(line)]
    text = " / ".join([lines[0], *errors[-1:]])
    text = re.sub(r"\[\d{4}-[^\]]*\] \[\d+\] ", "", text)
    return re.sub(r"0x[0-9a-f]+|\d+", "#", text)[:200]
