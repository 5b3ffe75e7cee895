"""E3: a response that was produced reaches every middleware above it.

Whatever is being cancelled, at any nesting depth.
"""

from collections.abc import AsyncIterator
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.requests import Request as StarletteRequest
from starlette.responses import PlainTextResponse as StarlettePlain
from starlette.responses import Response as StarletteResponse
from starlette.routing import Route as StarletteRoute

from hesper.requests import Request
from hesper.responses import FileResponse, PlainTextResponse, Response, StreamingResponse
from hesper.testing import Dialect, ScriptedServer
from hesper.testing.client import Client
from hesper.types import ASGIApp, Receive, Scope, Send

from .apps import (
    CallNext,
    Recorder,
    assert_quiet,
    hesper,
    nest,
    over,
    send_body,
    send_start,
)

depths = over("depth", [1, 4, 8])
natures = over("native", [False, True])


class Hand:
    """What the innermost code uses to make things happen at the moment of its response."""

    client: Client
    scope: anyio.CancelScope

    def __init__(self, waits: bool) -> None:
        self.waits = waits

    async def before(self) -> None:
        """What the app does before it has its response."""
        if self.waits:
            await anyio.sleep(0.001)


async def chunks() -> AsyncIterator[bytes]:
    yield b"x"


def around(kind: str, hand: Hand, act: Any, *dispatches: Any) -> ASGIApp:
    """An app that calls `act` and then answers, without waiting in between."""

    async def endpoint(request: Request) -> Response:
        await hand.before()
        act()
        if kind == "file":
            return FileResponse(__file__)
        return StreamingResponse(chunks()) if kind == "streaming" else PlainTextResponse("done")

    async def starlette_endpoint(request: StarletteRequest) -> StarletteResponse:
        await hand.before()
        act()
        return StarlettePlain("done")

    async def raw(scope: Scope, receive: Receive, send: Send) -> None:
        await hand.before()
        act()
        await send_start(send)
        await send_body(send, b"done")

    if kind == "raw":
        return nest(raw, *dispatches)
    if kind == "starlette":
        return nest(Starlette(routes=[StarletteRoute("/", starlette_endpoint)]), *dispatches)
    return hesper(endpoint, *dispatches, functions=kind == "functions")


kinds = over("kind", ["plain", "functions", "streaming", "file", "raw", "starlette"])
waits = over("waits", [False, True])


@depths
@kinds
@waits
async def test_e03_a_response_that_was_produced_reaches_every_middleware_although_the_client_leaves(
    kind: str, waits: bool, depth: int, dialect: Dialect
) -> None:
    """A response that was produced reaches every middleware above it, at any nesting depth."""
    hand = Hand(waits)
    layers = [Recorder() for _ in range(depth)]
    app = around(kind, hand, lambda: hand.client.leave(), *layers)
    async with ScriptedServer(app, dialect).get().open() as hand.client:
        result = await hand.client.finish()
    assert_quiet(result)
    assert [len(layer.responses) for layer in layers] == [1] * depth
    assert all(not layer.raised for layer in layers)


@depths
@kinds
@natures
@waits
async def test_e03_a_response_that_was_produced_reaches_every_middleware_although_the_server_cancels(
    kind: str, waits: bool, native: bool, depth: int
) -> None:
    """A response that was produced reaches every middleware above it, whatever is being
    cancelled."""
    hand = Hand(waits)
    layers = [Recorder() for _ in range(depth)]
    app = around(kind, hand, lambda: hand.client.cancel_app(native=native), *layers)
    async with ScriptedServer(app).get().open() as hand.client:
        result = await hand.client.finish()
    assert [len(layer.responses) for layer in layers] == [1] * depth
    assert all(not layer.raised for layer in layers)
    assert result.server_cancelled
    assert result.raised is None


@depths
@kinds
@waits
async def test_e03_a_response_that_was_produced_reaches_every_middleware_although_a_middleware_cancels(
    kind: str, waits: bool, depth: int, dialect: Dialect
) -> None:
    """A response that was produced reaches every middleware above it, whatever is being
    cancelled (here: a scope around `call_next`)."""
    hand = Hand(waits)
    outside = [Recorder() for _ in range(depth)]
    inside = [Recorder() for _ in range(depth)]

    async def scoped(request: Request, call_next: CallNext) -> Response:
        with anyio.CancelScope() as hand.scope:
            return await call_next(request)
        raise AssertionError("the response was lost")

    app = around(kind, hand, lambda: hand.scope.cancel(), *outside, scoped, *inside)
    result = await ScriptedServer(app, dialect).get().run()
    assert_quiet(result)
    assert result.complete
    assert [len(layer.responses) for layer in (*outside, *inside)] == [1] * depth * 2


@kinds
@waits
async def test_e03_a_response_reaches_every_middleware_although_a_task_group_around_call_next_ends(
    kind: str, waits: bool, dialect: Dialect
) -> None:
    """A response that was produced reaches every middleware above it, whatever is being
    cancelled (here: a task group around `call_next`)."""
    hand = Hand(waits)
    layers = [Recorder() for _ in range(2)]

    async def grouped(request: Request, call_next: CallNext) -> Response:
        async with anyio.create_task_group() as group:
            hand.scope = group.cancel_scope
            group.start_soon(anyio.sleep_forever)
            response = await call_next(request)
            group.cancel_scope.cancel()
        return response

    app = around(kind, hand, lambda: hand.scope.cancel(), layers[0], grouped, layers[1])
    result = await ScriptedServer(app, dialect).get().run()
    assert_quiet(result)
    assert result.complete
    assert [len(layer.responses) for layer in layers] == [1, 1]
