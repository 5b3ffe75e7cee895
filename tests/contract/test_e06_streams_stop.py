"""E6: a streaming body stops promptly when the client leaves.

While it waits for its next item, while it is suspended in a blocked `send`, and when it never
awaits at all; on `spec_version` 2.3 and 2.4 alike.
"""

from collections.abc import AsyncIterator
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.requests import Request as StarletteRequest
from starlette.responses import Response as StarletteResponse
from starlette.responses import StreamingResponse as StarletteStreaming
from starlette.routing import Route as StarletteRoute

from hesper.requests import Request
from hesper.responses import Response, StreamingResponse
from hesper.testing import Dialect, Result, ScriptedServer
from hesper.testing.client import Client
from hesper.types import ASGIApp, Receive, Scope, Send

from .apps import (
    CallNext,
    Dispatch,
    assert_quiet,
    hesper,
    nest,
    over,
    pass_on,
    send_body,
    send_start,
    settle,
)
from .bodies import (
    HOLDING,
    Body,
    Items,
    Iterable,
    WithAclose,
    Witness,
    idle,
    idle_before_the_first_item,
    never_awaiting,
    swallowing,
    sync_generator,
    ticking,
)

depths = over("depth", [0, 1, 4])
versions = over("version", ["2.3", "2.4"])

# Items that a body may give after the client has left: what a turn of the loop costs it.
FEW = 100


async def rewrap(request: Request, call_next: CallNext) -> Response:
    """A middleware that looks at each chunk, as ported ones do."""
    response = await call_next(request)
    inside = response.body_iterator

    async def wrapper() -> AsyncIterator[Any]:
        async for chunk in inside:
            yield chunk

    response.body_iterator = wrapper()
    return response


def streaming(body: Body, witness: Witness, *dispatches: Dispatch) -> ASGIApp:
    async def endpoint(request: Request) -> Response:
        return StreamingResponse(body(witness))

    return witness.watching(hesper(endpoint, *dispatches))


class Leaving:
    """When the client left, on the clock."""

    at = 0.0

    def leave(self, client: Client) -> None:
        self.at = anyio.current_time()
        client.leave()


def assert_prompt(result: Result, witness: Witness, leaving: Leaving) -> None:
    assert_quiet(result)
    assert not result.server_cancelled
    assert not result.complete
    assert witness.problems == []
    assert anyio.current_time() - leaving.at < 0.5


# "while it waits for its next item"


@depths
@over("body", [idle, idle_before_the_first_item, Items, WithAclose, Iterable, *HOLDING])
async def test_e06_a_body_stops_while_it_waits_for_its_next_item(
    body: Body, depth: int, dialect: Dialect
) -> None:
    """A streaming body stops promptly when the client leaves: while it waits for its next item."""
    witness, leaving = Witness(), Leaving()
    server = ScriptedServer(streaming(body, witness, *[pass_on] * depth), dialect)
    async with server.get().open() as client:
        await client.wait_receiving()
        if body is not idle_before_the_first_item:
            await client.wait_message(2)
        leaving.leave(client)
        assert_prompt(await client.finish(), witness, leaving)
    assert witness.items <= 1


@over("depth", [1, 2])
async def test_e06_a_wrapped_body_stops_while_it_waits_for_its_next_item(
    depth: int, dialect: Dialect
) -> None:
    """A streaming body stops promptly when the client leaves: while it waits for its next item."""
    witness, leaving = Witness(), Leaving()
    server = ScriptedServer(streaming(idle, witness, *[rewrap, pass_on] * depth), dialect)
    async with server.get().open() as client:
        await client.wait_message(2)
        leaving.leave(client)
        assert_prompt(await client.finish(), witness, leaving)
    witness.assert_closed_once()


# "while it is suspended in a blocked `send`"


@depths
@over("message", [1, 2, 4])
async def test_e06_a_body_stops_while_it_is_suspended_in_a_blocked_send(
    message: int, depth: int, dialect: Dialect
) -> None:
    """A streaming body stops promptly when the client leaves: while it is suspended in a blocked
    `send`."""
    witness, leaving = Witness(), Leaving()
    server = ScriptedServer(streaming(ticking, witness, *[pass_on] * depth), dialect)
    async with server.get().stall_at_message(message).open() as client:
        await client.wait_message(message)
        await anyio.sleep(0.001)
        leaving.leave(client)
        assert_prompt(await client.finish(), witness, leaving)
    assert witness.items <= FEW


@over("body", HOLDING)
async def test_e06_a_body_that_holds_scopes_stops_while_it_is_suspended_in_a_blocked_send(
    body: Body, dialect: Dialect
) -> None:
    """A streaming body stops promptly when the client leaves: while it is suspended in a blocked
    `send`."""
    witness, leaving = Witness(), Leaving()
    server = ScriptedServer(streaming(body, witness, pass_on), dialect)
    async with server.get().stall_at_message(2).open() as client:
        await client.wait_message(2)
        await anyio.sleep(0.001)
        leaving.leave(client)
        assert_prompt(await client.finish(), witness, leaving)
    witness.assert_closed_once()


@over("depth", [1, 2])
async def test_e06_a_wrapped_body_stops_while_it_is_suspended_in_a_blocked_send(
    depth: int, dialect: Dialect
) -> None:
    """A streaming body stops promptly when the client leaves: while it is suspended in a blocked
    `send`."""
    witness, leaving = Witness(), Leaving()
    server = ScriptedServer(streaming(ticking, witness, *[rewrap, pass_on] * depth), dialect)
    async with server.get().stall_at_message(3).open() as client:
        await client.wait_message(3)
        await anyio.sleep(0.001)
        leaving.leave(client)
        assert_prompt(await client.finish(), witness, leaving)
    witness.assert_closed_once()


# "and when it never awaits at all"


class Ready(Items):
    """An object that never awaits."""

    def __init__(self, witness: Witness) -> None:
        super().__init__(witness, float("inf"))


@depths
@over("body", [never_awaiting, sync_generator, Ready])
async def test_e06_a_body_stops_when_it_never_awaits_at_all(
    body: Body, depth: int, dialect: Dialect
) -> None:
    """A streaming body stops promptly when the client leaves: when it never awaits at all."""
    witness = Witness()
    server = ScriptedServer(streaming(body, witness, *[pass_on] * depth), dialect)
    result = await server.get().leave_at_message(5).run()
    assert_quiet(result)
    assert not result.server_cancelled
    assert not result.complete
    assert witness.items <= 5 + FEW


async def test_e06_a_wrapped_body_stops_when_it_never_awaits_at_all(dialect: Dialect) -> None:
    """A streaming body stops promptly when the client leaves: when it never awaits at all."""
    witness = Witness()
    server = ScriptedServer(streaming(never_awaiting, witness, rewrap, rewrap), dialect)
    result = await server.get().leave_at_message(5).run()
    assert_quiet(result)
    assert not result.server_cancelled
    assert witness.items <= 5 + FEW
    witness.assert_closed_once()


@depths
async def test_e06_a_body_that_swallows_the_cancel_stops_all_the_same(
    depth: int, dialect: Dialect
) -> None:
    """A streaming body stops promptly when the client leaves."""
    witness, leaving = Witness(), Leaving()
    server = ScriptedServer(streaming(swallowing, witness, *[pass_on] * depth), dialect)
    async with server.get().open() as client:
        await client.wait_message(2)
        await settle()
        leaving.leave(client)
        assert_prompt(await client.finish(), witness, leaving)
    assert witness.cancels == 1
    assert witness.items <= 2
    witness.assert_closed_once()


# "on `spec_version` 2.3 and 2.4 alike"


@versions
@over("body", [idle, ticking, never_awaiting])
async def test_e06_a_body_stops_on_spec_version_2_3_and_2_4_alike(
    body: Body, version: str, dialect: Dialect
) -> None:
    """On `spec_version` 2.3 and 2.4 alike."""
    witness = Witness()
    app = streaming(body, witness, pass_on)
    server = ScriptedServer(app, dialect.but(spec_version=version))
    result = await server.get().leave_at_message(2).run()
    assert_quiet(result)
    assert not result.server_cancelled
    assert witness.items <= FEW
    witness.assert_closed_once()


@versions
async def test_e06_a_blocked_body_stops_on_spec_version_2_3_and_2_4_alike(
    version: str, dialect: Dialect
) -> None:
    """On `spec_version` 2.3 and 2.4 alike."""
    witness, leaving = Witness(), Leaving()
    app = streaming(ticking, witness, pass_on)
    server = ScriptedServer(app, dialect.but(spec_version=version))
    async with server.get().stall_at_message(2).open() as client:
        await client.wait_message(2)
        leaving.leave(client)
        assert_prompt(await client.finish(), witness, leaving)
    witness.assert_closed_once()


# The body of a foreign app behind the bridge is one too.


# As objects: Starlette does not close its generators.


class Ticking(Items):
    """An object that gives an item every millisecond."""

    async def __anext__(self) -> bytes:
        await anyio.sleep(0.001)
        self.witness.item()
        return b"tick"


def starlette(body: Body, witness: Witness) -> ASGIApp:
    async def endpoint(request: StarletteRequest) -> StarletteResponse:
        return StarletteStreaming(body(witness))

    return Starlette(routes=[StarletteRoute("/", endpoint)])


def raw(body: Body, witness: Witness) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send_start(send)
        async for chunk in body(witness):
            await send_body(send, chunk, more=True)

    return app


@versions
@over("wraps", [False, True])
@over("make", [starlette, raw])
@over("body", [Items, Ticking, Ready])
async def test_e06_a_foreign_apps_body_stops(
    body: Body, make: Any, wraps: bool, version: str, dialect: Dialect
) -> None:
    """A streaming body stops promptly when the client leaves; on `spec_version` 2.3 and 2.4
    alike."""
    witness = Witness()
    layers = [rewrap, pass_on] if wraps else [pass_on, pass_on]
    server = ScriptedServer(nest(make(body, witness), *layers), dialect.but(spec_version=version))
    result = await server.get().leave_at_message(2).run()
    assert_quiet(result)
    assert not result.server_cancelled
    assert witness.items <= FEW


@versions
@over("wraps", [False, True])
@over("make", [starlette, raw])
async def test_e06_a_foreign_apps_body_stops_while_it_is_suspended_in_a_blocked_send(
    make: Any, wraps: bool, version: str, dialect: Dialect
) -> None:
    """A streaming body stops promptly when the client leaves: while it is suspended in a blocked
    `send`."""
    witness, leaving = Witness(), Leaving()
    layers = [rewrap, pass_on] if wraps else [pass_on, pass_on]
    server = ScriptedServer(
        nest(make(Ticking, witness), *layers), dialect.but(spec_version=version)
    )
    async with server.get().stall_at_message(3).open() as client:
        await client.wait_message(3)
        await anyio.sleep(0.001)
        leaving.leave(client)
        assert_prompt(await client.finish(), witness, leaving)
    assert witness.items <= FEW
