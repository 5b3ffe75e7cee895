"""The proxy in front of a model, on real sockets: how long until the model knows that nobody reads?"""

import socket
import threading
import time
from collections.abc import Iterator
from statistics import median

import pytest

from tests.servers.process import Served, serve

pytestmark = pytest.mark.patience(60)

SOON = 0.05
"""Seconds within which the connection to the model has to be closed."""

TRIES = 9
"""The median is judged: on a machine that is busy, one of them may be late."""

LEFT = '"POST /chat HTTP/1.1" 499'

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
TOKEN = b"d\r\ndata: token\n\n\r\n"


class Model:
    """A model on a socket: it answers when it is told to, and notes when the connection ends."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._listener.settimeout(10)
        self._asked = threading.Event()
        self._connection: socket.socket
        self._thread: threading.Thread
        self._left_at = 0.0

    def expect(self) -> None:
        """Be there for one question."""
        self._asked.clear()
        self._thread = threading.Thread(target=self._take_one)
        self._thread.start()

    def _take_one(self) -> None:
        self._connection, _ = self._listener.accept()
        with self._connection:
            self._connection.settimeout(10)
            while not self._connection.recv(1 << 16).endswith(b"{}"):
                pass
            self._asked.set()
            while self._connection.recv(1 << 16):
                pass
            self._left_at = time.perf_counter()

    def wait_asked(self) -> None:
        """Wait for the question."""
        assert self._asked.wait(10)

    def answer(self) -> None:
        """Begin to answer."""
        self._connection.sendall(HEAD + TOKEN)

    def left_at(self) -> float:
        """When the connection ended."""
        self._thread.join(10)
        assert not self._thread.is_alive()
        return self._left_at

    def close(self) -> None:
        """Be there no more."""
        self._listener.close()


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    model = Model()
    yield model
    model.close()


@pytest.fixture(scope="module")
def proxy(model: Model) -> Iterator[Served]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODEL_URL", model.url)
        with serve("run", "examples.llm_proxy:app") as served:
            yield served


def seconds_until_the_model_is_let_go(model: Model, proxy: Served, moment: str) -> float:
    model.expect()
    with proxy.connect() as client:
        client.sendall(b"POST /chat HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
        model.wait_asked()
        if moment == "in the stream":
            model.answer()
            received = b""
            while b"data: token" not in received:
                received += client.recv(1 << 16)
        left_at = time.perf_counter()
    return model.left_at() - left_at


@pytest.mark.parametrize("moment", ["before the first token", "in the stream"])
def test_when_the_client_leaves_the_connection_to_the_model_is_closed(
    model: Model, proxy: Served, moment: str
) -> None:
    before = proxy.log().count(LEFT)
    took = [seconds_until_the_model_is_let_go(model, proxy, moment) for _ in range(TRIES)]
    assert median(took) < SOON, took
    proxy.wait_for(LEFT, count=before + TRIES)
    assert "Traceback" not in proxy.log()
