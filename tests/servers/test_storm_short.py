"""A short storm over each server, and what the long one has found in Hesper, by itself."""

from typing import Any

import anyio
import pytest

from hesper.applications import Hesper
from hesper.requests import Request
from hesper.responses import PlainTextResponse, Response
from hesper.routing import BaseRoute, Mount, Route
from hesper.types import Message, Receive, Scope, Send
from tests.storm.report import run
from tests.storm.servers import COMMANDS, POLICIES

# Not hypercorn on trio: tasks of its own block for ever in its queues, under a bare app too, now one
# more and now one less; `python -m tests.storm --server hypercorn-trio` tells them from Hesper's.
CALM = [name for name in COMMANDS if name != "hypercorn-trio"]


@pytest.mark.patience(90)
@pytest.mark.parametrize("server", CALM)
def test_a_storm_of_300_clients_leaves_nothing_behind(server: str) -> None:
    report = run(server, connections=300, seed=1)
    assert not report.failures, f"\n{report}"


@pytest.mark.patience(90)
@pytest.mark.parametrize("policy", ["cancel", "finish"])
def test_a_storm_under_a_policy_leaves_nothing_behind(policy: str) -> None:
    report = run("uvicorn-h11", connections=300, seed=2, policy=policy)
    assert not report.failures, f"\n{report}"


async def answer(request: Request) -> Response:
    return PlainTextResponse("unasked")


app = Hesper(routes=[Route("/", answer, methods=["POST"])])


def scope(*headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "headers": list(headers),
        "client": None,
        "server": None,
    }


async def foreign(scope: Scope, receive: Receive, send: Send) -> None:
    """An app that is not ours, and answers without reading."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"unasked"})


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("route", [Route("/", answer, methods=["POST"]), Mount("/", foreign)])
async def test_an_unread_body_is_drained_while_the_response_is_sent_also_behind_an_expectation(
    policy: Any, route: BaseRoute
) -> None:
    """hypercorn: ``send`` comes back when the body was taken."""
    app = Hesper(routes=[route], on_disconnect=policy)
    taken = anyio.Event()
    sent: list[Message] = []
    chunks = [{"type": "http.request", "body": b"x", "more_body": True}] * 20

    async def receive() -> Message:
        if chunks:
            return chunks.pop()
        taken.set()
        await anyio.sleep_forever()
        raise AssertionError("unreachable")

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            await taken.wait()
        sent.append(message)

    with anyio.fail_after(5):
        await app(scope((b"expect", b"100-continue")), receive, send)
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]


CLOSED = (
    "unable to perform operation on <TCPTransport closed=True reading=False>; the handler is closed"
)


async def alive() -> Message:
    """Of uvicorn, behind a pipelined request: it never tells of the disconnect."""
    await anyio.sleep_forever()
    raise AssertionError("unreachable")


async def test_a_write_to_a_transport_of_uvloop_that_is_closed_is_a_client_that_left() -> None:
    async def send(message: Message) -> None:
        raise RuntimeError(CLOSED)

    await app(scope(), alive, send)


async def test_another_runtime_error_of_send_is_an_error() -> None:
    async def send(message: Message) -> None:
        raise RuntimeError("Response content longer than Content-Length")

    with pytest.raises(RuntimeError, match="longer than Content-Length"):
        await app(scope(), alive, send)
