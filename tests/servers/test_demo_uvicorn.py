"""``hesper demo`` and ``hesper run`` on real sockets: each ending has its line and its entry."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers.process import Served, serve, until

pytestmark = pytest.mark.patience(60)

FOREIGN = """
import asyncio
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

app = FastAPI()

@app.get("/slow")
async def slow() -> str:
    await asyncio.sleep(0.6)
    return "late"

@app.get("/tokens")
async def tokens() -> StreamingResponse:
    async def generate():
        while True:
            yield "data: x\\n\\n"
            await asyncio.sleep(0.05)
    return StreamingResponse(generate())

@app.post("/upload")
async def upload(request: Request) -> int:
    return len(await request.body())

@app.get("/ok")
async def ok() -> str:
    return "ok"
"""


@pytest.fixture(scope="module")
def demo() -> Iterator[Served]:
    with serve("demo") as served:
        yield served


@pytest.fixture(scope="module", params=["hesper", "fastapi"])
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """Our app, and one of a framework that does not know what we know about endings."""
    if request.param == "hesper":
        with serve("run", "hesper.demo:app") as served:
            yield served
    else:
        directory = tmp_path_factory.mktemp("foreign")
        (directory / "foreign.py").write_text(FOREIGN)
        with serve("run", "foreign:app", cwd=directory) as served:
            yield served


def journal(demo: Served) -> dict[str, Any]:
    body = demo.request("GET /journal HTTP/1.1\n").partition("\r\n\r\n")[2]
    value: dict[str, Any] = json.loads(body)
    return value


def leave(served: Served, request: str, until_text: bytes = b"") -> None:
    """Send a request and close the connection, when ``until_text`` has come."""
    with served.connect() as client:
        client.sendall(request.replace("\n", "\r\n").encode())
        got = b""
        while until_text not in got:
            got += client.recv(1 << 16)
        if not until_text:
            time.sleep(0.1)  # the server must have the request before the end of the connection


LEAVES = {
    "before the response": ("GET /slow?seconds=0.6 HTTP/1.1\nHost: x\n\n", b""),
    "in mid-stream": ("GET /tokens HTTP/1.1\nHost: x\n\n", b"data: "),
    "in an upload": ("POST /upload HTTP/1.1\nHost: x\nContent-Length: 1000\n\nhalf", b""),
}


@pytest.mark.parametrize("where", LEAVES)
def test_a_client_that_leaves_is_one_line_with_499(served: Served, where: str) -> None:
    request, until_text = LEAVES[where]
    line = request.partition("\n")[0]
    before = served.log()
    leave(served, request, until_text)
    served.wait_for(f'"{line}" 499')
    written = served.log()[len(before) :].splitlines()
    assert len(written) == 1
    assert written[0].startswith("INFO:     127.0.0.1:")


def test_a_client_that_stays_has_the_status_that_it_got(served: Served) -> None:
    answer = served.request("POST /upload HTTP/1.1\nContent-Length: 0\n")
    assert answer.startswith("HTTP/1.1 200")
    served.wait_for('"POST /upload HTTP/1.1" 200 OK')
    served.request("GET /nothing HTTP/1.1\n")
    served.wait_for('"GET /nothing HTTP/1.1" 404 Not Found')


def test_what_a_client_writes_cannot_forge_a_line(served: Served) -> None:
    with served.connect() as client:
        client.sendall(b'GET /a"b?c"d%0a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
        while client.recv(1 << 16):
            pass
    served.wait_for('"GET /a\\x22b?c\\x22d%0a HTTP/1.1" 404')


def test_the_demo_records_each_ending(demo: Served) -> None:
    for request, until_text in LEAVES.values():
        leave(demo, request, until_text)
    assert "500 Internal Server Error" in demo.request("GET /fail HTTP/1.1\n")
    assert "data: evening" in demo.request("GET /tokens?n=2 HTTP/1.1\n")
    broken = demo.request("GET /break?n=1 HTTP/1.1\n")
    assert "data: the" in broken
    assert not broken.endswith("0\r\n\r\n")  # nobody takes it for a whole one
    until(lambda: journal(demo)["running"] == 0, "all requests ended")
    found = journal(demo)
    assert found["endings"] == {
        "completed": 1,
        "left before the response": 1,
        "left in mid-stream": 1,
        "cut upload": 1,
        "failed": 2,
    }
    demo.wait_for('"GET /break?n=1 HTTP/1.1" 200 OK')
    demo.wait_for("ms (broken off)")


def test_when_all_has_ended_nothing_is_left(demo: Served) -> None:
    for _ in range(5):
        leave(demo, LEAVES["in mid-stream"][0], b"data: ")
    until(
        lambda: (
            journal(demo)["running"] == 0
            and journal(demo)["tasks_left"] == 0
            and journal(demo)["generators_open"] == 0
        ),
        "nothing left",
    )


def test_running_requests_account_for_their_tasks(demo: Served) -> None:
    clients = [demo.connect() for _ in range(3)]
    try:
        for client in clients:
            client.sendall(b"GET /tokens HTTP/1.1\r\nHost: x\r\n\r\n")
        until(lambda: journal(demo)["generators_open"] == 3, "three streams running")
        assert journal(demo)["tasks_left"] == 0
    finally:
        for client in clients:
            client.close()
    until(lambda: journal(demo)["generators_open"] == 0, "the streams closed")


def test_the_demo_says_how_many_bytes_of_an_upload_came(demo: Served) -> None:
    leave(demo, LEAVES["in an upload"][0])
    until(lambda: journal(demo)["entries"][0]["ending"] == "cut upload", "the upload cut")
    assert journal(demo)["entries"][0]["note"] == "4 bytes"


def test_a_stopped_server_ends_at_once_when_nothing_runs(tmp_path: Path) -> None:
    with serve("run", "hesper.demo:app", cwd=tmp_path) as served:
        served.request("GET / HTTP/1.1\n")
        served.stop()
        assert "Traceback" not in served.log()


@pytest.mark.parametrize("option", [["--workers", "2"], ["--reload"]])
def test_children_import_the_app_again_and_log_as_one_process_does(
    tmp_path: Path, option: list[str]
) -> None:
    (tmp_path / "foreign.py").write_text(FOREIGN)
    with serve("run", "foreign:app", *option, cwd=tmp_path) as served:
        assert "200 OK" in served.request("GET /ok HTTP/1.1\n")
        served.wait_for('"GET /ok HTTP/1.1" 200 OK')
        leave(served, LEAVES["before the response"][0])
        served.wait_for('"GET /slow?seconds=0.6 HTTP/1.1" 499')
        assert "Traceback" not in served.log()
