"""Debian's chromium, headless, over its debugging pipe: the protocol's JSON, ended by a zero byte.

Real time, and conditions instead of sleeps: virtual time stands still while a request is open, and
open requests are what these tests are about.
"""

import contextlib
import fcntl
import itertools
import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

PATH = Path("/usr/bin/chromium")

needs_chromium = pytest.mark.skipif(not PATH.exists(), reason="/usr/bin/chromium is not installed")

_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-proxy-server",
    "--remote-debugging-pipe",
]


class Page:
    """One tab."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._write = to_browser
        self._read = os.fdopen(from_browser, "rb", buffering=0)
        self._rest = b""
        self._ids = itertools.count(1)
        self._session: str | None = None
        self.complaints: list[str] = []
        """What the page wrote to its console as an error or raised."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        self.call("Runtime.enable")
        self.call("Page.enable")

    def call(self, method: str, **params: Any) -> Any:
        """Call a method of the protocol and wait for its result."""
        number = next(self._ids)
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == number:
                if "error" in answer:
                    raise AssertionError(f"{method}: {answer['error']}")
                return answer["result"]
            self._note(answer)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            data = self._read.read(1 << 16)
            if not data:
                raise AssertionError("chromium has gone")
            self._rest += data
        text, _, self._rest = self._rest.partition(b"\0")
        answer: dict[str, Any] = json.loads(text)
        return answer

    def _note(self, event: dict[str, Any]) -> None:
        if event["method"] == "Runtime.exceptionThrown":
            self.complaints.append(event["params"]["exceptionDetails"]["text"])
        elif event["method"] == "Runtime.consoleAPICalled" and event["params"]["type"] == "error":
            self.complaints.append(str(event["params"]["args"]))

    def go(self, url: str) -> None:
        """Open a page."""
        self.call("Page.navigate", url=url)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, awaited if it is a promise."""
        result = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in result:
            raise AssertionError(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def wait_for(self, condition: str, seconds: float = 30) -> None:
        """Wait until a JavaScript expression is true; it is asked each time the page paints."""
        deadline = monotonic() + seconds
        while not self.evaluate(
            f"new Promise(done => setTimeout(() => done(!!({condition})), 30))"
        ):
            if monotonic() > deadline:
                text = self.evaluate("document.body.innerText")
                raise AssertionError(f"after {seconds} s still not {condition}; the page:\n{text}")

    def look(self, width: int, height: int, scheme: str = "light") -> None:
        """Change the window and the colour scheme."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        self.call(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": scheme}],
        )

    def close(self) -> None:
        """Close the pipe, upon which the browser ends."""
        os.close(self._write)
        self._read.close()


@contextlib.contextmanager
def chromium(profile: Path) -> Iterator[Page]:
    """A browser with one empty page.

    Args:
        profile: a directory that it may use.
    """
    their_in, our_out = os.pipe()
    our_in, their_out = os.pipe()
    # Above 10, so that giving the browser its 3 and 4 overwrites neither.
    low = (their_in, their_out)
    their_in, their_out = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in low)
    for fd in low:
        os.close(fd)
    log = os.open(profile / "log", os.O_WRONLY | os.O_CREAT, 0o600)
    pid = os.posix_spawn(
        str(PATH),
        [str(PATH), *_FLAGS, f"--user-data-dir={profile / 'profile'}"],
        {**os.environ, "HOME": str(profile)},
        file_actions=[
            (os.POSIX_SPAWN_DUP2, their_in, 3),
            (os.POSIX_SPAWN_DUP2, their_out, 4),
            (os.POSIX_SPAWN_DUP2, log, 1),
            (os.POSIX_SPAWN_DUP2, log, 2),
        ],
        setpgroup=0,
    )
    for fd in (their_in, their_out, log):
        os.close(fd)
    try:
        page = Page(our_out, our_in)
        try:
            yield page
        finally:
            page.close()
    finally:
        # Its own process group, which it leads: the wrapper script and all renderers.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        shutil.rmtree(profile / "profile", ignore_errors=True)
