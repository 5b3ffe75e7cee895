"""Tests of an application with the test clients; `pytest examples/testing_client.py` runs them."""

from collections.abc import AsyncIterator
from contextlib import aclosing

import anyio

from hesper.applications import Hesper
from hesper.requests import Request
from hesper.responses import PlainTextResponse, Response, StreamingResponse
from hesper.routing import Route, WebSocketRoute
from hesper.testclient import AsyncTestClient, TestClient
from hesper.websockets import WebSocket

log: list[str] = []


async def ticks(request: Request) -> Response:
    async def body() -> AsyncIterator[str]:
        try:
            while True:
                yield "tick\n"
                await anyio.sleep(0.01)
        finally:
            log.append("the stream has ended")

    return StreamingResponse(body())


async def slow(request: Request) -> Response:
    await request.wait_disconnected()
    log.append("nobody waits any more")
    return PlainTextResponse("Too late.")


async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(f"You said {text}.")


app = Hesper(routes=[Route("/ticks", ticks), Route("/slow", slow), WebSocketRoute("/echo", echo)])


def test_a_stream_is_read_while_it_is_produced_and_left() -> None:
    with TestClient(app) as client, client.stream("GET", "/ticks") as response:
        assert next(response.iter_lines()) == "tick"
    assert log.pop() == "the stream has ended"


def test_a_client_leaves_before_there_is_a_response() -> None:
    with TestClient(app) as client, client.leaving("GET", "/slow") as request:
        request.disconnect()
    assert log.pop() == "nobody waits any more"


def test_a_socket_answers_in_time() -> None:
    with TestClient(app) as client, client.websocket_connect("/echo") as session:
        session.send_text("hello")
        assert session.receive_text(timeout=5) == "You said hello."


async def test_the_same_on_the_loop_of_the_test() -> None:
    async with AsyncTestClient(app) as client:
        assert (await client.get("/none")).status_code == 404
        async with client.stream("GET", "/ticks") as response:
            async with aclosing(response.aiter_raw()) as chunks:
                assert await anext(chunks) == b"tick\n"
    assert log.pop() == "the stream has ended"
