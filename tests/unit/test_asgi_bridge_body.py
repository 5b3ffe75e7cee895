"""A foreign app's answer as a body: what passes, and what a middleware sees of it."""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from hesper._asgi import bridge_body as bridge_module
from hesper._concurrency import checkpoint
from hesper.requests import Request
from hesper.responses import PlainTextResponse, Response
from hesper.testing import ScriptedServer
from hesper.testing.dialects import SPECIFICATION, UVICORN
from hesper.types import ASGIApp, Message, Receive, Scope, Send

from ..conftest import on_asyncio
from .asking import ask
from .bridging import (
    START,
    bodies,
    part,
    pass_on,
    read_through,
    right_behind,
    saying,
    unwanted,
)
from .bridging import (
    behind as mounted,
)

Behind = Callable[[Callable[..., Awaitable[Response]], ASGIApp], ASGIApp]


@pytest.fixture(params=[mounted, right_behind], ids=["mounted", "right behind"])
def behind(request: pytest.FixtureRequest) -> Behind:
    """How the foreign app stands behind the middleware."""
    way: Behind = request.param
    return way


async def test_a_body_that_nobody_looks_at_passes_as_it_is(behind: Behind) -> None:
    odd: Message = {"type": "http.response.body", "body": b"x", "more_body": True, "hint": 1}
    result = await ask(behind(pass_on, saying(START, odd, part(b"", more=False))))
    assert [sent.message for sent in result.sent][1] == odd


async def test_a_body_that_a_middleware_wraps_is_bytes(behind: Behind) -> None:
    app = behind(read_through, saying(START, part(b"a"), part(b"b"), part(b"c", more=False)))
    result = await ask(app)
    assert bodies(result) == [b"A", b"B", b"C", b""]


async def test_a_body_that_was_replaced_unread_reads_as_what_replaced_it(behind: Behind) -> None:
    """And the app, whose body nobody wants, is stopped."""
    log: list[str] = []

    async def mine() -> AsyncIterator[bytes]:
        yield b"mine"

    async def replace(request: Request, call_next: Any) -> Response:
        response: Any = await call_next(request)
        response.body_iterator = content = mine()
        assert response.body_iterator is content
        return response  # type: ignore[no-any-return]

    result = await ScriptedServer(behind(replace, unwanted(log)), SPECIFICATION).get().run()
    assert (result.text, result.raised, log) == ("mine", None, ["told"])


async def test_trailers_keep_their_place_behind_a_body_that_is_wrapped(behind: Behind) -> None:
    start = {**START, "trailers": True}
    trailers: Message = {"type": "http.response.trailers", "headers": [(b"x-sum", b"1")]}
    app = behind(read_through, saying(start, part(b"a", more=False), trailers))
    result = await ScriptedServer(app, SPECIFICATION).get().run()
    assert [sent.message["type"] for sent in result.sent][-1] == "http.response.trailers"
    assert (result.raised, result.text) == (None, "A")


async def test_a_file_that_the_server_would_send_is_read_for_who_looks_at_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, behind: Behind
) -> None:
    monkeypatch.setattr(bridge_module, "CHUNK_SIZE", 4)
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    app = behind(read_through, saying(START, {"type": "http.response.pathsend", "path": str(path)}))
    result = await ScriptedServer(app, SPECIFICATION).get().run()
    assert bodies(result) == [b"0123", b"4567", b"89", b""]


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ({}, [b"0123", b"4567", b"89"]),
        ({"offset": 3}, [b"3456", b"789"]),
        ({"offset": 1, "count": 5}, [b"1234", b"5"]),
    ],
)
@pytest.mark.parametrize("by_number", [True, False])
async def test_a_descriptor_that_the_server_would_send_is_read_for_who_looks_at_it(
    extra: dict[str, int],
    expected: list[bytes],
    by_number: bool,
    monkeypatch: pytest.MonkeyPatch,
    behind: Behind,
) -> None:
    monkeypatch.setattr(bridge_module, "CHUNK_SIZE", 4)
    with tempfile.TemporaryFile() as file:
        file.write(b"0123456789")
        file.flush()
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        send_file: Message = {
            "type": "http.response.zerocopysend",
            "file": file.fileno() if by_number else file,
            **extra,
        }
        app = behind(read_through, saying(START, send_file))
        result = await ScriptedServer(app, SPECIFICATION).get().run()
    assert bodies(result) == [*expected, b""]


async def test_a_response_that_a_middleware_drops_stops_its_app(behind: Behind) -> None:
    log: list[str] = []

    async def replace(request: Request, call_next: Any) -> Response:
        await call_next(request)
        return PlainTextResponse("mine")

    result = await ScriptedServer(behind(replace, unwanted(log)), SPECIFICATION).get().run()
    assert (result.text, result.raised, log) == ("mine", None, ["told"])


async def test_a_client_that_leaves_a_body_that_is_read_through_ends_its_app(
    behind: Behind,
) -> None:
    log: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        try:
            while True:
                await send(part(b"x"))
                await checkpoint()
        finally:
            log.append("ended")

    server = ScriptedServer(behind(read_through, app), UVICORN)
    result = await server.get().leave_at_message(3).run()
    assert (result.raised, log) == (None, ["ended"])


async def never() -> Message:
    """A ``receive`` that has nothing to say."""
    await anyio.sleep_forever()
    raise AssertionError("unreachable")


async def play_directly(send: Send, behind: Behind, *, leaves: bool = True) -> None:
    """Runs a bridged app that answers at once, with a server's ``send`` of one's own."""

    async def receive() -> Message:
        await (checkpoint() if leaves else anyio.sleep_forever())
        return {"type": "http.disconnect"}

    app = behind(pass_on, saying(START, part(b"whole", more=False)))
    scope = dict(ScriptedServer(app).get("/").plan.scope)
    await app(scope, receive, send)


@on_asyncio  # on trio the disconnect is heard before
async def test_a_client_that_leaves_with_the_start_message_gets_no_body(behind: Behind) -> None:
    sent: list[str] = []

    async def send(message: Message) -> None:
        sent.append(message["type"])
        try:
            for _ in range(5):
                await checkpoint()
        except asyncio.CancelledError:
            pass

    await play_directly(send, behind)
    assert sent == ["http.response.start"]


async def test_an_error_of_the_servers_send_comes_out_of_a_bridge(behind: Behind) -> None:
    async def send(message: Message) -> None:
        raise LookupError("of the server")

    with pytest.raises(LookupError):
        await play_directly(send, behind, leaves=False)


async def test_a_send_that_finds_the_client_gone_is_quiet_in_a_bridge(behind: Behind) -> None:
    async def send(message: Message) -> None:
        raise OSError("gone")

    await play_directly(send, behind)


@pytest.mark.parametrize("waits", [False, True])
async def test_background_work_of_the_app_begins_when_its_response_has_left(
    behind: Behind, waits: bool
) -> None:
    log: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await saying(START, part(b"whole", more=False))(scope, receive, send)
        log.append("begun")
        if waits:
            await checkpoint()
        log.append("done")

    async def send(message: Message) -> None:
        log.append(message["type"])

    scope = dict(ScriptedServer(app).get("/").plan.scope)
    await behind(pass_on, app)(scope, never, send)
    assert log == ["http.response.start", "http.response.body", "begun", "done"]


@pytest.mark.parametrize("waits", [False, True])
async def test_an_error_of_the_app_after_its_response_comes_out(
    behind: Behind, waits: bool
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await saying(START, part(b"whole", more=False))(scope, receive, send)
        if waits:
            await checkpoint()
        raise LookupError("afterwards")

    result = await ask(behind(pass_on, app))
    assert result.text == "whole"
    assert isinstance(result.raised, LookupError)


@pytest.mark.parametrize("sent", [PlainTextResponse("mine"), None], ids=["its own", "the second"])
async def test_a_whole_response_that_a_middleware_drops_lets_its_app_end(
    behind: Behind, sent: Response | None
) -> None:
    log: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await saying(START, part(b"whole", more=False))(scope, receive, send)
        await checkpoint()
        log.append("ended")

    async def replace(request: Request, call_next: Any) -> Response:
        first, second = await call_next(request), await call_next(request)
        assert first is not second
        return second if sent is None else sent

    result = await ask(behind(replace, app))
    assert (result.raised, log) == (None, ["ended"] * 2)
    assert result.text == ("whole" if sent is None else "mine")
