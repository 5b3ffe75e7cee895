"""The bridge: the order in which a foreign app's messages pass, and how it is stopped."""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from hesper._asgi import bridge as bridge_module
from hesper._asgi.bridge import Bridge
from hesper._asgi.exchange import open_exchange
from hesper._concurrency import cancelled_type, checkpoint
from hesper.applications import Hesper
from hesper.exceptions import ClientDisconnect, UsageError
from hesper.requests import Request
from hesper.responses import PlainTextResponse, Response
from hesper.routing import Mount
from hesper.testing import Dialect, Result, ScriptedServer
from hesper.testing.dialects import SPECIFICATION, UVICORN
from hesper.types import ASGIApp, Message, Receive, Scope, Send

from ..conftest import on_asyncio
from .asking import ask

START: Message = {"type": "http.response.start", "status": 200, "headers": []}


def part(body: bytes, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}


def saying(*messages: Message) -> ASGIApp:
    """A foreign app that sends these."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    return app


def unwanted(log: list[str]) -> ASGIApp:
    """A foreign app whose body nobody wants, and which writes down that it was told."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        try:
            await send(part(b"never wanted"))
        except OSError:
            log.append("told")

    return app


async def pass_on(request: Request, call_next: Any) -> Response:
    response: Response = await call_next(request)
    return response


async def read_through(request: Request, call_next: Any) -> Response:
    """Puts a generator around the body, as a middleware does that looks at every chunk."""
    response: Any = await call_next(request)
    inner = response.body_iterator

    async def chunks() -> AsyncIterator[bytes]:
        async for chunk in inner:
            yield chunk.upper()

    response.body_iterator = chunks()
    return response  # type: ignore[no-any-return]


def behind(middleware: Callable[..., Awaitable[Response]], foreign: ASGIApp) -> Hesper:
    return Hesper(routes=[Mount("/", app=foreign)], middleware=[middleware])


def bodies(result: Result) -> list[bytes]:
    return [
        sent.message.get("body", b"")
        for sent in result.sent
        if sent.message["type"] == "http.response.body"
    ]


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await checkpoint()


class Bench:
    """A bridge that is worked by hand."""

    def __init__(self, app: ASGIApp, spec_version: str = "2.4") -> None:
        self.sent: list[Message] = []
        self.scope: Scope = {
            "type": "http",
            "method": "GET",
            "path": "/",
            "headers": [],
            "asgi": {"version": "3.0", "spec_version": spec_version},
        }
        self.exchange = open_exchange(self.scope, self.receive, self.send)
        self.bridge = Bridge(app, self.scope, self.exchange)

    async def receive(self) -> Message:
        await anyio.sleep_forever()
        raise AssertionError("unreachable")

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    async def rest(self) -> list[bytes]:
        found = []
        while (message := await self.bridge.next_message()) is not None:
            found.append(message["body"])
        return found

    async def close(self) -> None:
        await self.bridge.finish()
        await self.exchange.incoming.close()


# -- the hand-over ---------------------------------------------------------------------------------


async def test_send_returns_when_its_message_was_forwarded() -> None:
    log: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send(part(b"a"))
        log.append("a was sent")
        await send(part(b"b", more=False))
        log.append("b was sent")

    bench = Bench(app)
    assert await bench.bridge.start() == START
    assert await bench.bridge.next_message() == part(b"a")
    await turns()
    assert log == []
    assert await bench.bridge.next_message() == part(b"b", more=False)
    await turns()
    assert log == ["a was sent"]
    assert await bench.bridge.next_message() is None
    await bench.close()
    assert log == ["a was sent", "b was sent"]


async def test_tasks_of_an_app_that_send_at_once_send_one_after_the_other() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def say(name: bytes) -> None:
            await send(part(name))

        await send(START)
        async with anyio.create_task_group() as tasks:
            for name in (b"a", b"b", b"c"):
                tasks.start_soon(say, name)
        await send(part(b"", more=False))

    bench = Bench(app)
    await bench.bridge.start()
    found = await bench.rest()
    assert sorted(found) == [b"", b"a", b"b", b"c"]
    assert found[-1] == b""
    await bench.close()


async def test_what_an_app_sends_after_the_end_is_ignored() -> None:
    result = await ask(
        behind(pass_on, saying(START, part(b"all", more=False), part(b"more"), START))
    )
    assert (result.raised, result.text) == (None, "all")


async def test_what_comes_before_the_start_is_forwarded_at_once() -> None:
    hints: Message = {"type": "http.response.early_hint", "links": [b"</a.css>"]}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(hints)
        await anyio.sleep_forever()

    bench = Bench(app)
    with anyio.move_on_after(0.01):
        await bench.bridge.start()
    assert bench.sent == [hints]
    await bench.exchange.incoming.close()


async def test_a_message_out_of_order_is_the_apps_own_error() -> None:
    result = await ask(behind(pass_on, saying(START, START)))
    assert isinstance(result.raised, UsageError)
    assert result.complete is False


# -- how it ends -----------------------------------------------------------------------------------


async def test_an_app_that_cancels_itself_is_cancelled_for_whoever_called_it() -> None:
    """The same exception as if it ran in the caller's task: ``asyncio.CancelledError``, or trio's."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        with anyio.CancelScope() as scope_:
            scope_.cancel()
            try:
                await anyio.sleep_forever()
            except cancelled_type() as exc:
                caught.append(exc)
        raise caught[0]

    caught: list[BaseException] = []
    bench = Bench(app)
    with pytest.raises(cancelled_type()) as info:
        await bench.bridge.start()
    assert info.value is caught[0]
    caught.clear()
    await bench.bridge.finish()
    await bench.exchange.incoming.close()


async def test_an_app_that_returns_in_the_middle_says_so_by_name() -> None:
    bench = Bench(saying(START, part(b"half")))
    await bench.bridge.start()
    assert await bench.bridge.next_message() == part(b"half")
    with pytest.raises(RuntimeError, match="ended in the middle of its response"):
        await bench.bridge.next_message()
    await bench.close()


async def test_an_app_that_never_responds_says_so_by_name() -> None:
    bench = Bench(saying())
    with pytest.raises(RuntimeError, match=r"No response returned.*saying"):
        await bench.bridge.start()
    await bench.close()


async def test_an_error_after_the_response_comes_out_of_the_finish() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send(part(b"", more=False))
        raise ValueError("afterwards")

    bench = Bench(app)
    await bench.bridge.start()
    assert await bench.rest() == [b""]
    with pytest.raises(ValueError, match="afterwards"):
        await bench.bridge.finish()
    await bench.close()


async def test_a_cancelled_finish_waits_for_background_work_and_then_cancels_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bridge_module, "GRACE", 0.01)
    log: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send(part(b"", more=False))
        await turns()
        log.append("work was done")
        try:
            await anyio.sleep_forever()
        finally:
            log.append("cancelled")

    bench = Bench(app)
    await bench.bridge.start()
    await bench.rest()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await bench.bridge.finish()
    assert scope.cancelled_caught
    assert log == ["work was done", "cancelled"]
    await bench.exchange.incoming.close()


@pytest.mark.parametrize("spec_version", ["2.3", "2.4"])
async def test_an_app_that_listens_is_told_and_ends_by_itself(spec_version: str) -> None:
    log: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        assert (await receive())["type"] == "http.request"
        log.append((await receive())["type"])
        try:
            await send(part(b"too late"))
        except OSError as exc:
            log.append(type(exc))

    bench = Bench(app, spec_version)
    bench.exchange.incoming._arrived({"type": "http.request", "body": b"", "more_body": False})
    await bench.bridge.start()
    await turns()
    bench.bridge.stop()
    await bench.close()
    assert log == ["http.disconnect", *([ClientDisconnect] if spec_version == "2.4" else [])]


async def test_an_app_that_does_not_listen_is_cancelled() -> None:
    log: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        try:
            await anyio.sleep_forever()
        finally:
            log.append("cancelled")

    bench = Bench(app)
    await bench.bridge.start()
    bench.bridge.stop()
    bench.bridge.stop()
    await bench.close()
    assert log == ["cancelled"]


async def test_a_send_that_waited_when_nobody_wanted_it_is_told_as_the_version_says() -> None:
    log: list[type] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        try:
            await send(part(b"held"))
        except OSError as exc:
            log.append(type(exc))
            raise

    bench = Bench(app)
    await bench.bridge.start()
    await turns()
    bench.bridge.stop()
    await bench.close()
    assert log == [ClientDisconnect]


@pytest.mark.parametrize("more", [True, False])
async def test_an_app_that_cancels_its_own_scope_when_the_client_leaves_ends_quietly(
    more: bool, dialect: Dialect
) -> None:
    """Also while its message, the last one or not, waits behind a send that hangs."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async with anyio.create_task_group() as tasks:

            async def watch() -> None:
                while (await receive())["type"] != "http.disconnect":
                    pass
                tasks.cancel_scope.cancel()

            tasks.start_soon(watch)
            await send(START)
            await send(part(b"x", more=more))
            await anyio.sleep_forever()

    script = ScriptedServer(behind(pass_on, app), dialect).get().leave_at_message(1)
    result = await script.run()
    assert result.raised is None
    assert result.ended == "returned"


# -- what a middleware sees ------------------------------------------------------------------------


async def test_a_body_that_nobody_looks_at_passes_as_it_is() -> None:
    odd: Message = {"type": "http.response.body", "body": b"x", "more_body": True, "hint": 1}
    result = await ask(behind(pass_on, saying(START, odd, part(b"", more=False))))
    assert [sent.message for sent in result.sent][1] == odd


async def test_a_body_that_a_middleware_wraps_is_bytes() -> None:
    app = behind(read_through, saying(START, part(b"a"), part(b"b"), part(b"c", more=False)))
    result = await ask(app)
    assert bodies(result) == [b"A", b"B", b"C", b""]


async def test_a_body_that_was_replaced_unread_reads_as_what_replaced_it() -> None:
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


async def test_trailers_keep_their_place_behind_a_body_that_is_wrapped() -> None:
    start = {**START, "trailers": True}
    trailers: Message = {"type": "http.response.trailers", "headers": [(b"x-sum", b"1")]}
    app = behind(read_through, saying(start, part(b"a", more=False), trailers))
    result = await ScriptedServer(app, SPECIFICATION).get().run()
    assert [sent.message["type"] for sent in result.sent][-1] == "http.response.trailers"
    assert (result.raised, result.text) == (None, "A")


async def test_a_file_that_the_server_would_send_is_read_for_who_looks_at_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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


async def test_a_response_that_a_middleware_drops_stops_its_app() -> None:
    log: list[str] = []

    async def replace(request: Request, call_next: Any) -> Response:
        await call_next(request)
        return PlainTextResponse("mine")

    result = await ScriptedServer(behind(replace, unwanted(log)), SPECIFICATION).get().run()
    assert (result.text, result.raised, log) == ("mine", None, ["told"])


async def test_a_client_that_leaves_a_body_that_is_read_through_ends_its_app() -> None:
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


async def play_directly(send: Send, *, leaves: bool = True) -> None:
    """Runs a bridged app that answers at once, with a server's ``send`` of one's own."""

    async def receive() -> Message:
        await (checkpoint() if leaves else anyio.sleep_forever())
        return {"type": "http.disconnect"}

    app = Hesper(
        routes=[Mount("/", saying(START, part(b"whole", more=False)))], middleware=[pass_on]
    )
    scope = dict(ScriptedServer(app).get("/").plan.scope)
    await app(scope, receive, send)


@on_asyncio  # on trio the disconnect is heard before
async def test_a_client_that_leaves_with_the_start_message_gets_no_body() -> None:
    sent: list[str] = []

    async def send(message: Message) -> None:
        sent.append(message["type"])
        try:
            for _ in range(5):
                await checkpoint()
        except asyncio.CancelledError:
            pass

    await play_directly(send)
    assert sent == ["http.response.start"]


async def test_an_error_of_the_servers_send_comes_out_of_a_bridge() -> None:
    async def send(message: Message) -> None:
        raise LookupError("of the server")

    with pytest.raises(LookupError):
        await play_directly(send, leaves=False)


async def test_a_send_that_finds_the_client_gone_is_quiet_in_a_bridge() -> None:
    async def send(message: Message) -> None:
        raise OSError("gone")

    await play_directly(send)
