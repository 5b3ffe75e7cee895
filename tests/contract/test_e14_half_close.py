"""E14: half-close cannot be told from leaving in ASGI, and most servers have already closed by then:
it counts as leaving. The server table says so."""

from collections.abc import AsyncIterator

import anyio

from hesper.exceptions import ClientDisconnect
from hesper.requests import Request
from hesper.responses import PlainTextResponse, Response, StreamingResponse
from hesper.testing import Dialect, ScriptedServer
from tests.contract.apps import (
    assert_quiet,
    hesper,
    over,
    pass_on,
    settle,
)

every_depth = over("depth", [0, 1, 4])


@every_depth
async def test_e14_half_close_counts_as_leaving_for_an_endpoint(
    dialect: Dialect, depth: int
) -> None:
    """It counts as leaving."""
    seen: list[bool] = []

    async def endpoint(request: Request) -> Response:
        await request.wait_disconnected()
        seen.append(request.disconnected)
        seen.append(await request.is_disconnected())
        return PlainTextResponse("nobody reads it")

    app = hesper(endpoint, *[pass_on] * depth)
    async with ScriptedServer(app, dialect).get().open() as client:
        await client.wait_receiving()
        await settle()
        client.half_close()
        result = await client.finish()
    assert_quiet(result)
    assert seen == [True, True]
    assert not result.complete


@every_depth
async def test_e14_half_close_ends_a_stream(dialect: Dialect, depth: int) -> None:
    """It counts as leaving, on every server: also where the rest could still be delivered."""
    closed: list[str] = []

    async def parts() -> AsyncIterator[str]:
        try:
            yield "first"
            await anyio.sleep_forever()
        finally:
            closed.append("closed")

    async def endpoint(request: Request) -> Response:
        return StreamingResponse(parts())

    app = hesper(endpoint, *[pass_on] * depth)
    async with ScriptedServer(app, dialect).get().open() as client:
        await client.wait_message(2)
        await settle()
        client.half_close()
        result = await client.finish()
    assert_quiet(result)
    assert closed == ["closed"]
    assert not result.complete


@every_depth
async def test_e14_half_close_in_the_upload_breaks_it_off(dialect: Dialect, depth: int) -> None:
    """It counts as leaving: half a body does not become a whole one by it."""
    if dialect.buffers_request:
        return
    raised: list[BaseException] = []

    async def endpoint(request: Request) -> Response:
        try:
            await request.body()
        except ClientDisconnect as exc:
            raised.append(exc)
            raise
        raise AssertionError("half a body was given")

    app = hesper(endpoint, *[pass_on] * depth)
    async with ScriptedServer(app, dialect).post(body=b"a", unfinished=True).open() as client:
        await client.wait_receiving()
        await settle()
        client.half_close()
        result = await client.finish()
    assert_quiet(result)
    assert len(raised) == 1
    assert result.messages == []
