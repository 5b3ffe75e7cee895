"""The bridge: the order in which a foreign app's messages pass, and how it is stopped."""

from typing import Any

import anyio
import pytest

from hesper._asgi import bridge as bridge_module
from hesper._asgi.bridge import Bridge
from hesper._asgi.exchange import open_exchange
from hesper._concurrency import cancelled_type
from hesper.exceptions import ClientDisconnect, UsageError
from hesper.testing import Dialect, ScriptedServer
from hesper.types import ASGIApp, Message, Receive, Scope, Send

from .asking import ask
from .bridging import START, behind, part, pass_on, saying, turns


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
