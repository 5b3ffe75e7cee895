"""``hesper run`` is stopped: the app is told at once, in every process, and all is over in time."""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic

import pytest

from tests.servers.process import Served, serve, until

pytestmark = pytest.mark.patience(60)

GRACE = 1
STREAMS = 1000

# What each generator's `finally` and the lifespan write goes into one file, line by line.
APP = """
import os
from contextlib import asynccontextmanager

import anyio
from hesper.applications import Hesper
from hesper.responses import PlainTextResponse, StreamingResponse
from hesper.routing import Route, WebSocketRoute
from hesper.sse import EventSourceResponse

book = os.open("book", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

def write(text):
    os.write(book, text.encode() + b"\\n")

async def idle():
    try:
        yield "first"
        await anyio.sleep_forever()
    finally:
        await anyio.sleep(0.01)
        write("closed")

async def events(request):
    return EventSourceResponse(idle())

async def stream(request):
    return StreamingResponse(idle())

async def polite(request):
    write("waiting")
    await request.wait_shutting_down()
    return PlainTextResponse("goodbye")

async def stubborn(request):
    write("working")
    try:
        await anyio.sleep_forever()
    finally:
        write("cancelled")

async def ok(request):
    return PlainTextResponse("ok")

@asynccontextmanager
async def lifespan(app):
    write("up")
    yield
    write("down")

app = Hesper(
    routes=[
        Route("/events", events),
        Route("/stream", stream),
        Route("/polite", polite),
        Route("/stubborn", stubborn),
        Route("/ok", ok),
    ],
    lifespan=lifespan,
)
"""

FOREIGN = """
import asyncio
from fastapi import FastAPI

app = FastAPI()

@app.get("/stubborn")
async def stubborn():
    print("working", flush=True)
    try:
        await asyncio.sleep(60)
    finally:
        print("cancelled", flush=True)
"""


class Book:
    """What the app has written."""

    def __init__(self, directory: Path, server: Served) -> None:
        self._path = directory / "book"
        self._server = server

    def lines(self) -> list[str]:
        return self._path.read_text().splitlines()

    def wait_for(self, line: str) -> None:
        try:
            until(lambda: line in self.lines(), line, seconds=20)
        except AssertionError as exc:
            text = f"{exc}, only {self.lines()}; the server wrote:\n{self._server.log()}"
            raise AssertionError(text) from None


@contextmanager
def served(directory: Path, *options: str, grace: float = GRACE) -> Iterator[tuple[Served, Book]]:
    """The app on ``hesper run``."""
    (directory / "stopped.py").write_text(APP)
    arguments = ["stopped:app", "--grace", str(grace), *options]
    with serve("run", *arguments, cwd=directory) as server:
        yield server, Book(directory, server)


@contextmanager
def asking(server: Served, target: str) -> Iterator[socket.socket]:
    """A client that has asked for something."""
    with server.connect() as client:
        client.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        yield client


def read_until(client: socket.socket, marker: bytes) -> None:
    """Read until something has come."""
    got = b""
    while marker not in got:
        data = client.recv(1 << 16)
        assert data, f"it ended with {got!r}"
        got += data


def read_all(client: socket.socket) -> bytes:
    """Read to the end, in whatever way it comes."""
    got = b""
    try:
        while data := client.recv(1 << 16):
            got += data
    except ConnectionResetError:
        pass
    return got


def stopped_in(server: Served, number: int = signal.SIGTERM) -> float:
    """The seconds from the signal to the end of the process."""
    began = monotonic()
    server.process.send_signal(number)
    server.process.wait(30)
    return monotonic() - began


@pytest.mark.parametrize("target", ["/events", "/stream"])
def test_a_thousand_idle_streams_are_gone_within_the_grace_and_a_second(
    tmp_path: Path, target: str
) -> None:
    grace = 2
    with served(tmp_path, grace=grace) as (server, book), ExitStack() as clients:
        opened = [clients.enter_context(asking(server, target)) for _ in range(STREAMS)]
        for client in opened:
            read_until(client, b"first")
        seconds = stopped_in(server)
        lines = book.lines()
        assert (lines.count("closed"), lines[-1]) == (STREAMS, "down")
        endings = [read_all(client) for client in opened]
        assert "Traceback" not in server.log()
    if target == "/events":  # there is nothing to wait for: each ends with its last event, whole
        assert seconds < grace
        assert all(b"event: shutdown" in each and each.endswith(b"0\r\n\r\n") for each in endings)
    else:
        assert seconds < grace + 1
        assert not any(each.endswith(b"0\r\n\r\n") for each in endings)


@pytest.mark.parametrize(
    ("number", "options"),
    [
        (signal.SIGTERM, []),
        (signal.SIGINT, []),
        (signal.SIGTERM, ["--workers", "2"]),
        (signal.SIGTERM, ["--reload"]),
    ],
)
def test_who_listens_is_told_at_once_and_who_does_not_is_cancelled_after_the_grace(
    tmp_path: Path, number: int, options: list[str]
) -> None:
    with (
        served(tmp_path, *options, grace=2) as (server, book),
        asking(server, "/polite") as polite,
        asking(server, "/stubborn") as stubborn,
    ):
        book.wait_for("waiting")
        book.wait_for("working")
        began = monotonic()
        server.process.send_signal(number)
        assert read_all(polite).endswith(b"goodbye")
        assert monotonic() - began < 2
        assert read_all(stubborn).startswith(b"HTTP/1.1 503")
        server.process.wait(30)
        assert 2 <= monotonic() - began < 3 + len(options)  # parents look twice a second
        lines = book.lines()
        assert "cancelled" in lines
        assert lines.count("down") == lines.count("up") > 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_does_not_wait(tmp_path: Path, number: int) -> None:
    with served(tmp_path, grace=30) as (server, book), asking(server, "/stubborn"):
        book.wait_for("working")
        server.process.send_signal(number)
        server.wait_for("Shutting down")
        assert stopped_in(server, number) < 20
        assert "cancelled" in book.lines()


def test_ctrl_c_in_a_terminal_is_one_signal_to_a_worker_and_not_two(tmp_path: Path) -> None:
    """It reaches the whole group, and the parent asks its workers again."""
    with served(tmp_path, "--workers", "2") as (server, book), asking(server, "/stubborn"):
        book.wait_for("working")
        began = monotonic()
        os.killpg(server.process.pid, signal.SIGINT)
        server.process.wait(30)
        assert monotonic() - began >= GRACE


def test_a_foreign_app_is_cancelled_after_the_grace(tmp_path: Path) -> None:
    (tmp_path / "foreign.py").write_text(FOREIGN)
    with serve("run", "foreign:app", "--grace", "1", cwd=tmp_path) as server:
        with asking(server, "/stubborn"):
            server.wait_for("working")
            seconds = stopped_in(server)
        assert 1 <= seconds < 2
        assert "cancelled" in server.log()
