"""E16: WebSockets: ``send`` after the client left raises ``WebSocketDisconnect`` with the client's own
code, never a server's private error; a handler that only sends learns of it too; an uncaught
``WebSocketDisconnect`` is quiet; ``close()`` after the client left is harmless."""

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import starlette.applications
import starlette.routing
import starlette.websockets

from hesper.applications import Hesper
from hesper.middleware import Middleware
from hesper.middleware.base import BaseHTTPMiddleware
from hesper.routing import Mount, Route, Router, WebSocketRoute
from hesper.testing import Dialect, Result, ScriptedServer
from hesper.types import ASGIApp
from hesper.websockets import WebSocket, WebSocketDisconnect
from tests.contract.apps import (
    PassOn,
    over,
    pass_on,
    settle,
)

Handler = Callable[[WebSocket], Awaitable[None]]


def alone(handler: Handler) -> ASGIApp:
    return WebSocketRoute("/", handler)


def in_app(handler: Handler) -> ASGIApp:
    return Hesper(routes=[WebSocketRoute("/", handler)])


def in_middlewares(handler: Handler) -> ASGIApp:
    middleware: list[Any] = [
        pass_on,
        Middleware(BaseHTTPMiddleware, dispatch=pass_on),
        Middleware(PassOn),
        pass_on,
    ]
    return Hesper(routes=[WebSocketRoute("/", handler)], middleware=middleware)


def mounted_deep(handler: Handler) -> ASGIApp:
    inner = Hesper(routes=[WebSocketRoute("/", handler)])
    return Hesper(routes=[Mount("/", Router(routes=[Mount("/", PassOn(inner))]))])


every_place = over("place", [alone, in_app, in_middlewares, mounted_deep])
Place = Callable[[Handler], ASGIApp]

ENDINGS: dict[str, tuple[int | None, str] | None] = {
    "vanishes": None,
    "closes": (1000, ""),
    "goes away": (1001, "going away"),
    "closes with its own code": (4001, "bye"),
    "closes without a code": (None, ""),
}


# Where the code does not matter, two are enough: with a closing frame and without.
TWO_ENDINGS = ["vanishes", "closes with its own code"]


def told(dialect: Dialect, ending: str) -> tuple[int, str]:
    """Code and reason with which the server tells of an ending: what there is to know."""
    frame = ENDINGS[ending]
    if frame is None:
        return dialect.websocket_lost_code, ""
    code, reason = frame
    if code is None:
        code = dialect.websocket_no_code
    if dialect.websocket_close_code is not None:
        code = dialect.websocket_close_code
    # RFC 6455, section 7.1.5: 1005 if the frame had none; daphne says None.
    return 1005 if code is None else code, reason if dialect.websocket_reason else ""


def end(client: Any, ending: str) -> None:
    """What the client does."""
    frame = ENDINGS[ending]
    if frame is None:
        client.leave()
    else:
        client.close(*frame)


def assert_quiet(result: Result) -> None:
    """The app returned, raised nothing, and did nothing that a server would complain about."""
    assert result.raised is None, result.log
    assert result.ended == "returned", result.log
    assert result.violations == [], result.log
    assert result.pending_receives == 0, result.log
    assert result.concurrent_receives <= 1, result.log


def codes(raised: list[WebSocketDisconnect]) -> list[tuple[int, str]]:
    return [(exc.code, exc.reason) for exc in raised]


@every_place
@over("ending", ENDINGS)
async def test_e16_send_after_the_client_left_raises_disconnect_with_the_clients_code(
    dialect: Dialect, place: Place, ending: str
) -> None:
    """``send`` after the client left raises ``WebSocketDisconnect`` with the client's own code, never a
    server's private error; at once and every time."""
    raised: list[WebSocketDisconnect] = []

    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text("hello")
        await websocket.wait_disconnected()
        sends: list[Callable[[], Awaitable[None]]] = [
            lambda: websocket.send_text("a"),
            lambda: websocket.send_bytes(b"a"),
            lambda: websocket.send_json(1),
            lambda: websocket.send({"type": "websocket.send", "text": "a"}),
        ]
        for send in sends:
            try:
                await send()
            except WebSocketDisconnect as exc:
                raised.append(exc)

    async with ScriptedServer(place(handler), dialect).websocket().open() as client:
        await client.wait_message(2)
        await settle()
        end(client, ending)
        result = await client.finish()
    assert_quiet(result)
    assert codes(raised) == [told(dialect, ending)] * 4
    assert result.frames == ["hello"]
    assert result.sends_after_disconnect == 0


@every_place
@over("ending", ENDINGS)
async def test_e16_a_handler_that_only_sends_learns_of_it_too(
    dialect: Dialect, place: Place, ending: str
) -> None:
    """A handler that only sends learns of it too, with the client's own code: also where ``send`` is
    silent, and when it waits between the messages."""
    raised: list[WebSocketDisconnect] = []

    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            while True:
                await websocket.send_text("tick")
                await anyio.sleep(0.001)
        except WebSocketDisconnect as exc:
            raised.append(exc)
            raise

    async with ScriptedServer(place(handler), dialect).websocket().open() as client:
        await client.wait_message(3)
        end(client, ending)
        result = await client.finish()
    assert_quiet(result)
    assert codes(raised) == [told(dialect, ending)]


@every_place
async def test_e16_a_handler_that_sends_and_never_waits_learns_of_it_too(
    dialect: Dialect, place: Place
) -> None:
    """A handler that only sends learns of it too: within a bounded number of messages."""
    raised: list[WebSocketDisconnect] = []

    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            while True:
                await websocket.send_text("tick")
        except WebSocketDisconnect as exc:
            raised.append(exc)

    script = ScriptedServer(place(handler), dialect).websocket().leave_at_message(5)
    result = await script.leave_by_closing(4001, "bye").run()
    assert_quiet(result)
    assert codes(raised) == [told(dialect, "closes with its own code")]
    assert result.sends_after_leave < 100


@every_place
async def test_e16_a_blocked_send_is_woken_when_the_client_leaves(
    dialect: Dialect, place: Place
) -> None:
    """A handler that only sends learns of it too: one whose client stalled before it left."""
    raised: list[WebSocketDisconnect] = []

    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            while True:
                await websocket.send_text("tick")
                await anyio.sleep(0.001)
        except WebSocketDisconnect as exc:
            raised.append(exc)

    script = ScriptedServer(place(handler), dialect).websocket().stall_at_message(3)
    async with script.open() as client:
        await client.wait_message(3)
        await settle()
        client.close(4001, "bye")
        result = await client.finish()
    assert_quiet(result)
    assert codes(raised) == [told(dialect, "closes with its own code")]


@every_place
@over("ending", TWO_ENDINGS)
async def test_e16_an_uncaught_disconnect_is_quiet(
    dialect: Dialect, place: Place, ending: str
) -> None:
    """An uncaught ``WebSocketDisconnect`` is quiet, from whatever call it comes."""

    async def receives(websocket: WebSocket) -> None:
        await websocket.accept()
        while True:
            await websocket.receive_text()

    async def sends(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.wait_disconnected()
        await websocket.send_text("a")

    async def in_tasks(websocket: WebSocket) -> None:
        await websocket.accept()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(websocket.receive_text)
            tasks.start_soon(websocket.wait_disconnected)

    async def iterates(websocket: WebSocket) -> None:
        await websocket.accept()
        async for _ in websocket.iter_text():
            pass

    for handler in (receives, sends, in_tasks, iterates):
        async with ScriptedServer(place(handler), dialect).websocket().open() as client:
            await client.wait_message(1)
            await settle()
            end(client, ending)
            result = await client.finish()
        assert_quiet(result)
        assert result.receives_after_disconnect == 0


@every_place
@over("ending", TWO_ENDINGS)
async def test_e16_close_after_the_client_left_is_harmless(
    dialect: Dialect, place: Place, ending: str
) -> None:
    """``close()`` after the client left is harmless, known or not."""

    async def knows(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.wait_disconnected()
        await websocket.close()
        await websocket.close(4000, "twice")

    async def caught_it(websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            await websocket.receive_text()
        except WebSocketDisconnect:
            await websocket.close()

    async def does_not_know(websocket: WebSocket) -> None:
        await websocket.accept()
        await gone.wait()
        await websocket.close()

    for handler in (knows, caught_it, does_not_know):
        gone = anyio.Event()
        async with ScriptedServer(place(handler), dialect).websocket().open() as client:
            await client.wait_message(1)
            await settle()
            end(client, ending)
            gone.set()
            result = await client.finish()
        assert_quiet(result)


@every_place
async def test_e16_what_the_client_sent_before_it_left_is_received(
    dialect: Dialect, place: Place
) -> None:
    """... the client's own code: after its last words."""
    got: list[str] = []
    raised: list[WebSocketDisconnect] = []

    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        await gone.wait()
        await websocket.wait_disconnected()
        try:
            while True:
                got.append(await websocket.receive_text())
        except WebSocketDisconnect as exc:
            raised.append(exc)
            await websocket.send_text("too late")

    gone = anyio.Event()
    script = ScriptedServer(place(handler), dialect).websocket(messages=["a", "b", "c"])
    async with script.open() as client:
        await client.wait_message(1)
        await settle()
        client.close(4001, "bye")
        gone.set()
        result = await client.finish()
    assert_quiet(result)
    assert got == ["a", "b", "c"]
    assert codes(raised) == [told(dialect, "closes with its own code")]


@every_place
async def test_e16_a_client_that_left_before_accept_is_quiet(
    dialect: Dialect, place: Place
) -> None:
    """An uncaught ``WebSocketDisconnect`` is quiet, ``close()`` harmless: before the handshake too."""

    async def accepts(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text("a")
        await websocket.receive_text()

    async def refuses(websocket: WebSocket) -> None:
        await websocket.close()

    async def waits(websocket: WebSocket) -> None:
        with anyio.move_on_after(0.001):
            await websocket.wait_disconnected()
        await websocket.accept()
        await websocket.receive_text()

    for handler in (accepts, refuses, waits):
        result = await ScriptedServer(place(handler), dialect).websocket().leave_at_message(0).run()
        assert result.raised is None, result.log
        assert result.ended == "returned"
        assert result.violations == []
        assert result.pending_receives == 0


@every_place
async def test_e16_a_real_error_is_no_disconnect(dialect: Dialect, place: Place) -> None:
    """An uncaught ``WebSocketDisconnect`` is quiet, and nothing else is."""
    error = ValueError("the handler's own")

    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            await websocket.receive_text()
        except WebSocketDisconnect:
            raise error

    script = ScriptedServer(place(handler), dialect).websocket().leave_at_message(1)
    result = await script.run()
    assert result.raised is error


@over("native", [False, True])
async def test_e16_a_cancelled_handler_ends_as_cancelled(dialect: Dialect, native: bool) -> None:
    """Beside E10: real cancellation of a handler is no disconnect."""

    async def receives(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.receive_text()

    async def sleeps(websocket: WebSocket) -> None:
        await websocket.accept()
        await anyio.sleep_forever()

    for handler in (receives, sleeps):
        async with ScriptedServer(in_middlewares(handler), dialect).websocket().open() as client:
            await client.wait_message(1)
            await settle()
            client.cancel_app(native=native)
            result = await client.finish()
        assert result.ended == "cancelled"
        assert result.pending_receives == 0


async def test_e16_a_foreign_app_inside_ends_quietly(dialect: Dialect) -> None:
    """An uncaught ``WebSocketDisconnect`` is quiet: Starlette's as well, in a mounted app."""

    async def receives(websocket: starlette.websockets.WebSocket) -> None:
        await websocket.accept()
        while True:
            await websocket.receive_text()

    async def sends(websocket: starlette.websockets.WebSocket) -> None:
        await websocket.accept()
        while True:
            await websocket.send_text("tick")
            await anyio.sleep(0.001)

    for handler in (receives, sends):
        route = starlette.routing.WebSocketRoute("/", handler)
        inner = starlette.applications.Starlette(routes=[route])
        for app in (
            Hesper(routes=[Mount("/", inner)]),
            Hesper(routes=[Mount("/", inner)], middleware=[pass_on, Middleware(PassOn), pass_on]),
        ):
            script = ScriptedServer(app, dialect).websocket().leave_at_message(1)
            result = await script.leave_by_closing(4001, "bye").run()
            assert_quiet(result)


async def test_e16_http_middlewares_do_not_touch_websockets(dialect: Dialect) -> None:
    """Middlewares for requests pass sockets by: the same frames in both directions."""

    async def echo(websocket: WebSocket) -> None:
        await websocket.accept(subprotocol="b")
        async for text in websocket.iter_text():
            await websocket.send_text(text)
            if text == "last":
                await websocket.close(4000, "done")

    results: list[Result] = []
    for place in (alone, in_app, in_middlewares, mounted_deep):
        server = ScriptedServer(place(echo), dialect)
        script = server.websocket(messages=["a", "last"], subprotocols=["a", "b"])
        results.append(await script.run())
    for result in results:
        assert_quiet(result)
        assert result.frames == ["a", "last"]
        assert (result.close_code, result.close_reason) == (4000, "done")
        assert result.messages == results[0].messages


async def test_e16_a_route_for_requests_refuses_a_socket_quietly(dialect: Dialect) -> None:
    """... and a path without a socket refuses the handshake, with no error."""

    async def endpoint(request: Any) -> Any:
        raise AssertionError

    for app in (Hesper(routes=[Route("/", endpoint)]), Hesper()):
        result = await ScriptedServer(app, dialect).websocket().run()
        assert_quiet(result)
        assert result.status in (403, 404)
