"""The scenario that Hesper exists for: nested call_next middlewares, and a client that leaves.

Starlette #1634, #1706, #1710, #1715, #2516: "No response returned." The client leaves while the
endpoint works; the endpoint answers all the same.
"""

from collections.abc import AsyncIterator, Callable

from starlette.applications import Starlette
from starlette.requests import Request as StarletteRequest
from starlette.responses import PlainTextResponse as StarlettePlain
from starlette.responses import Response as StarletteResponse
from starlette.responses import StreamingResponse as StarletteStreaming
from starlette.routing import Route as StarletteRoute

from hesper.requests import Request
from hesper.responses import PlainTextResponse, Response, StreamingResponse
from hesper.testing import Dialect, ScriptedServer
from hesper.types import ASGIApp, Receive, Scope, Send

from .apps import (
    Gate,
    Recorder,
    assert_quiet,
    hesper,
    nest,
    over,
    send_body,
    send_start,
)

DEPTHS = [1, 2, 4, 8]


async def chunks() -> AsyncIterator[bytes]:
    for _ in range(3):
        yield b"x"


class Chunks:
    """The same for Starlette, as an object: Starlette does not close its generators."""

    def __init__(self) -> None:
        self.left = 3

    def __aiter__(self) -> "Chunks":
        return self

    async def __anext__(self) -> bytes:
        if not self.left:
            raise StopAsyncIteration
        self.left -= 1
        return b"x"


def hesper_app(gate: Gate, streams: bool, recorders: list[Recorder]) -> ASGIApp:
    async def endpoint(request: Request) -> Response:
        await gate.wait()
        return StreamingResponse(chunks()) if streams else PlainTextResponse("done")

    return hesper(endpoint, *recorders)


def hesper_app_with_functions(gate: Gate, streams: bool, recorders: list[Recorder]) -> ASGIApp:
    async def endpoint(request: Request) -> Response:
        await gate.wait()
        return StreamingResponse(chunks()) if streams else PlainTextResponse("done")

    return hesper(endpoint, *recorders, functions=True)


def starlette_app(gate: Gate, streams: bool, recorders: list[Recorder]) -> ASGIApp:
    async def endpoint(request: StarletteRequest) -> StarletteResponse:
        await gate.wait()
        return StarletteStreaming(Chunks()) if streams else StarlettePlain("done")

    return nest(Starlette(routes=[StarletteRoute("/", endpoint)]), *recorders)


def raw_app(gate: Gate, streams: bool, recorders: list[Recorder]) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await gate.wait()
        await send_start(send)
        if streams:
            async for chunk in Chunks():
                await send_body(send, chunk, more=True)
        await send_body(send)

    return nest(app, *recorders)


APPS = [hesper_app, hesper_app_with_functions, starlette_app, raw_app]
AppFactory = Callable[[Gate, bool, list[Recorder]], ASGIApp]


@over("depth", DEPTHS)
@over("streams", [False, True])
@over("make", APPS)
async def test_nested_middlewares_get_a_response_although_the_client_left_before_it(
    make: AppFactory, streams: bool, depth: int, dialect: Dialect
) -> None:
    gate = Gate()
    recorders = [Recorder() for _ in range(depth)]
    server = ScriptedServer(make(gate, streams, recorders), dialect)
    async with server.get().open() as client:
        await gate.reached.wait()
        client.leave()
        gate.open.set()
        result = await client.finish()
    assert_quiet(result)
    assert not result.server_cancelled
    assert [len(recorder.responses) for recorder in recorders] == [1] * depth
    assert [recorder.raised for recorder in recorders] == [[]] * depth
    assert {recorder.responses[0].status_code for recorder in recorders} == {200}


@over("depth", DEPTHS)
@over("streams", [False, True])
@over("make", APPS)
async def test_nested_middlewares_get_a_response_although_the_client_was_gone_on_arrival(
    make: AppFactory, streams: bool, depth: int, dialect: Dialect
) -> None:
    gate = Gate()
    gate.open.set()
    recorders = [Recorder() for _ in range(depth)]
    server = ScriptedServer(make(gate, streams, recorders), dialect)
    result = await server.get().leave_at_message(0).run()
    assert_quiet(result)
    assert [len(recorder.responses) for recorder in recorders] == [1] * depth
    assert [recorder.raised for recorder in recorders] == [[]] * depth
