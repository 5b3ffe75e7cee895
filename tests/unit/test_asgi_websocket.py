"""The rim of a WebSocket, played by every server dialect, and by hand where the order matters."""

from collections.abc import Awaitable, Callable
from itertools import product
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from hesper._asgi import websocket as rim
from hesper._asgi.exchange import KEY
from hesper._asgi.socket_incoming import BUFFER_MESSAGES, BUFFER_SIZE
from hesper._asgi.socket_states import (
    SOCKET,
    SocketEvent,
    SocketState,
    next_client_state,
    next_socket_state,
)
from hesper._asgi.websocket import (
    CHECKPOINT_EVERY,
    SocketExchange,
    WebSocketDisconnect,
    WebSocketDisconnected,
    conduct_socket,
    deny,
    open_socket,
)
from hesper.exceptions import ClientDisconnect, ServerProtocolError, UsageError
from hesper.responses import PlainTextResponse, StreamingResponse
from hesper.testing import Dialect, ScriptedServer
from hesper.testing.dialects import (
    DAPHNE,
    GRANIAN,
    GUNICORN,
    HYPERCORN,
    HYPERCORN_H2,
    SPECIFICATION,
    UVICORN,
)
from hesper.testing.script import Script
from hesper.types import ASGIApp, Message, Receive, Scope, Send
from hesper.websockets import WebSocket, WebSocketState

CONNECT: Message = {"type": "websocket.connect"}
ACCEPT: Message = {"type": "websocket.accept"}
CLOSE: Message = {"type": "websocket.close"}
DENY: Message = {"type": "websocket.http.response.start", "status": 404, "headers": []}

Handler = Callable[[WebSocket], Awaitable[object]]
OnError = Callable[[WebSocket, Exception], Awaitable[bool]]


def text(data: str) -> Message:
    return {"type": "websocket.send", "text": data}


def received(data: str | bytes) -> Message:
    return {"type": "websocket.receive", "text" if isinstance(data, str) else "bytes": data}


def left(code: int | None, reason: str | None = None) -> Message:
    return {"type": "websocket.disconnect", "code": code, "reason": reason}


def conducted(handler: Handler, on_error: OnError | None = None) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        websocket: WebSocket = WebSocket(scope, receive, send)
        await conduct_socket(handler, websocket, websocket._exchange, on_error)

    return app


def script(
    handler: Handler, dialect: Dialect = UVICORN, on_error: OnError | None = None, **options: Any
) -> Script:
    return ScriptedServer(conducted(handler, on_error), dialect).websocket(**options)


def codes(dialect: Dialect, code: int, reason: str) -> tuple[int, str]:
    """What of a client's closing frame the dialect passes on."""
    return dialect.websocket_close_code or code, reason if dialect.websocket_reason else ""


class Hand:
    """A server by hand: gives what it was told to, then waits; a send does what it was told to."""

    def __init__(self, *messages: Message | Exception, on_send: Any = None) -> None:
        self.messages = list(messages)
        self.suspends = False
        self.sent: list[Message] = []
        self.receivers = self.most_receivers = 0
        self.on_send = on_send
        self.scope: Scope = {
            "type": "websocket",
            "path": "/",
            "headers": [],
            "extensions": {"websocket.http.response": {}},
        }
        self.more = anyio.Event()

    def give(self, message: Message) -> None:
        self.messages.append(message)
        self.more.set()

    async def receive(self) -> Message:
        self.receivers += 1
        self.most_receivers = max(self.most_receivers, self.receivers)
        try:
            if self.suspends:
                await checkpoint()
            while not self.messages:
                self.more = anyio.Event()
                await self.more.wait()
        finally:
            self.receivers -= 1
        message = self.messages.pop(0)
        if isinstance(message, Exception):
            raise message
        return message

    async def send(self, message: Message) -> None:
        self.sent.append(message)
        if self.on_send is not None:
            await self.on_send(message)

    @property
    def types(self) -> list[str]:
        return [message["type"] for message in self.sent]

    def exchange(self) -> SocketExchange:
        return SocketExchange(self.scope, self.receive, self.send)

    async def conduct(self, handler: Handler, on_error: OnError | None = None) -> None:
        await conducted(handler, on_error)(self.scope, self.receive, self.send)


def failing(error: Exception, *, on: str = "websocket.send") -> Any:
    async def on_send(message: Message) -> None:
        if message["type"] == on:
            raise error

    return on_send


# -- the tables -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "message", "error", "expected"),
    [
        (SocketState.CONNECTING, text("x"), WebSocketDisconnected, "call accept"),
        (SocketState.CONNECTING, {"type": "foo"}, UsageError, "'foo'"),
        (SocketState.ACCEPTED, ACCEPT, UsageError, "accepted already"),
        (SocketState.ACCEPTED, DENY, UsageError, "be closed but not be refused"),
        (SocketState.DENYING, DENY, UsageError, 'Expected ASGI message "websocket.http.response.b'),
        (SocketState.CLOSED, CLOSE, WebSocketDisconnected, "once a close message has been sent"),
        (SocketState.CLOSED, text("x"), WebSocketDisconnected, 'Cannot call "send" once a close'),
        (SocketState.LOST, {"type": "foo"}, UsageError, "'foo'"),
        (SocketState.BROKEN, CLOSE, WebSocketDisconnected, "could not be sent whole"),
    ],
)
def test_a_message_out_of_place_raises_an_error_that_teaches(
    state: SocketState, message: Message, error: type[Exception], expected: str
) -> None:
    with pytest.raises(RuntimeError, match=expected) as raised:
        next_socket_state(state, message)
    assert type(raised.value) is error


def test_the_clients_leaving_and_a_failed_send_are_allowed_for_in_every_state() -> None:
    for state, event in product(SocketState, (SocketEvent.LEFT, SocketEvent.FAILED)):
        if (state, event) == (SocketState.CONNECTING, SocketEvent.FAILED):
            continue  # the state moves when a message is handed over
        again = SOCKET[state, event]
        assert SOCKET[again, event] is again, "the same news twice changes nothing"


def test_a_server_that_breaks_the_specification_is_named() -> None:
    with pytest.raises(ServerProtocolError, match=r'"websocket\.connect" or "websocket\.d'):
        next_client_state(WebSocketState.CONNECTING, received("x"))


# -- the client leaves ----------------------------------------------------------------------------


async def test_a_handler_that_only_sends_learns_the_clients_code(dialect: Dialect) -> None:
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

    result = await script(handler, dialect).leave_at_message(4).leave_by_closing(1001, "bye").run()
    assert result.ended == "returned", result.log
    assert (raised[0].code, raised[0].reason) == codes(dialect, 1001, "bye")
    assert result.receives_after_disconnect == result.sends_after_disconnect == 0, result.log
    assert result.concurrent_receives == 1
    assert not result.receive_cancelled
    assert not result.violations


async def test_a_handler_whose_sends_never_wait_learns_too(dialect: Dialect) -> None:
    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        while True:
            await websocket.send_text("tick")

    result = await script(handler, dialect).leave_at_message(4).run()
    assert result.ended == "returned", result.log
    # The pump runs one turn after the server has rung, and trio shuffles a turn.
    assert result.sends_after_leave <= 3 * CHECKPOINT_EVERY


async def test_a_send_that_is_blocked_on_a_stalled_client_ends_with_it(dialect: Dialect) -> None:
    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        while True:
            await websocket.send_text("tick")
            await checkpoint()

    async with script(handler, dialect).stall_at_message(3).open() as client:
        await client.wait_message(3)
        client.close(4001)
        result = await client.finish(timeout=1)
    assert result.ended == "returned", result.log


async def test_what_came_before_the_loss_is_received_and_then_the_disconnect_for_ever(
    dialect: Dialect,
) -> None:
    seen: list[Message] = []

    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.wait_disconnected()
        assert websocket.disconnected
        with pytest.raises(WebSocketDisconnect):
            await websocket.send_text("late")
        receive = websocket._exchange.receive
        seen.extend([await receive() for _ in range(5)])

    messages = script(handler, dialect, messages=["a", b"b"])
    result = await messages.leave_after_request().leave_by_closing(4001, "bye").run()
    code, reason = codes(dialect, 4001, "bye")
    assert seen[:2] == [received("a"), received(b"b")]
    assert seen[2:] == [left(code, reason)] * 3
    assert result.receives_after_disconnect == 0
    assert result.sends_after_disconnect == 0


async def test_a_code_that_the_server_does_not_know_is_1005() -> None:
    raised: list[WebSocketDisconnect] = []

    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        with pytest.raises(WebSocketDisconnect) as info:
            await websocket.receive_text()
        raised.append(info.value)

    await script(handler, DAPHNE).leave_at_message(1).leave_by_closing(None).run()
    assert (raised[0].code, raised[0].reason) == (1005, "")


async def test_a_client_that_left_before_the_handshake_is_a_quiet_end(dialect: Dialect) -> None:
    async def handler(websocket: WebSocket) -> None:
        await checkpoint()
        await checkpoint()
        await websocket.accept()
        while True:
            await websocket.send_text("tick")

    result = await script(handler, dialect).leave_at_message(0).run()
    assert result.ended == "returned", result.log


async def test_an_uncaught_disconnect_is_quiet_also_in_a_group(dialect: Dialect) -> None:
    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(websocket.receive_text)
            tasks.start_soon(websocket.receive_bytes)

    result = await script(handler, dialect).leave_at_message(1).run()
    assert result.ended == "returned", result.log


async def test_a_foreign_frameworks_disconnect_is_quiet_too() -> None:
    from starlette.websockets import WebSocket as StarletteWebSocket

    async def foreign(scope: Scope, receive: Receive, send: Send) -> None:
        websocket = StarletteWebSocket(scope, receive, send)
        await websocket.accept()
        while True:
            await websocket.send_text("tick")

    async def handler(websocket: WebSocket) -> None:
        exchange = websocket._exchange
        await foreign(websocket.scope, exchange.receive, exchange.send)

    result = await script(handler, HYPERCORN).leave_at_message(3).run()
    assert result.ended == "returned", result.log


async def test_a_bug_in_the_handling_of_the_disconnect_is_a_bug() -> None:
    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            await websocket.receive_text()
        except WebSocketDisconnect:
            [].remove(websocket)  # type: ignore[arg-type]

    result = await script(handler).leave_at_message(1).run()
    assert isinstance(result.raised, ValueError)


async def test_a_disconnect_that_did_not_happen_is_an_error() -> None:
    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        raise WebSocketDisconnect(1008)

    result = await script(handler).run()
    assert isinstance(result.raised, WebSocketDisconnect)


async def test_a_close_after_the_client_left_is_harmless(dialect: Dialect) -> None:
    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        with pytest.raises(WebSocketDisconnect):
            await websocket.receive_text()
        await websocket.close()
        await websocket.close(1011, "again")

    result = await script(handler, dialect).leave_at_message(1).run()
    assert result.ended == "returned", result.log
    assert result.types == ["websocket.accept"]


async def test_a_close_that_finds_the_client_gone_is_harmless(dialect: Dialect) -> None:
    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close()

    result = await script(handler, dialect).leave_at_message(1).run()
    assert result.ended == "returned", result.log
    assert result.duration < 1, "HTTP/2 of hypercorn hangs in a close to nobody"


async def test_a_loop_over_the_disconnect_lets_others_run() -> None:
    hand = Hand(CONNECT, left(1000))
    exchange = hand.exchange()
    ran = False

    async def other() -> None:
        nonlocal ran
        ran = True

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(other)
        for _ in range(10):
            await exchange.receive()
        assert ran


# -- errors of send -------------------------------------------------------------------------------


@pytest.mark.parametrize("suspends", [False, True])
async def test_an_oserror_gives_the_code_that_is_behind_unread_messages(suspends: bool) -> None:
    messages = [received("x")] * (BUFFER_MESSAGES + 20)
    hand = Hand(CONNECT, *messages, left(1001, "bye"), on_send=failing(OSError()))
    hand.suspends = suspends

    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        with pytest.raises(WebSocketDisconnect, match="1001: bye") as raised:
            await websocket.send_text("x")
        assert isinstance(raised.value.__cause__, OSError)
        assert [await websocket.receive_text() for _ in messages] == ["x"] * len(messages)

    await hand.conduct(handler)


async def test_an_oserror_without_a_disconnect_is_1006() -> None:
    hand = Hand(CONNECT, on_send=failing(ConnectionResetError()))

    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        for _ in range(2):
            with pytest.raises(WebSocketDisconnect, match="1006: "):
                await websocket.send_text("x")
        assert websocket.client_state is WebSocketState.DISCONNECTED
        assert websocket.application_state is WebSocketState.DISCONNECTED

    await hand.conduct(handler)
    assert hand.types == ["websocket.accept", "websocket.send"]


async def test_a_private_error_is_the_clients_leaving_if_the_server_says_so() -> None:
    hand = Hand(CONNECT)

    async def on_send(message: Message) -> None:
        if message["type"] == "websocket.send":
            hand.give(left(4001))
            raise AttributeError("private")

    hand.on_send = on_send

    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text("x")

    await hand.conduct(handler)


async def test_a_private_error_with_the_client_there_is_raised_and_the_socket_goes_on() -> None:
    hand = Hand(CONNECT)
    error = UnicodeError("surrogates")

    async def on_send(message: Message) -> None:
        if message.get("text") == "bad":
            raise error

    hand.on_send = on_send

    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        with pytest.raises(UnicodeError) as raised:
            await websocket.send_text("bad")
        assert raised.value is error
        await websocket.send_text("good")

    await hand.conduct(handler)
    assert hand.types[-2:] == ["websocket.send", "websocket.close"]


async def test_a_private_error_of_a_close_is_raised_if_the_client_is_there() -> None:
    hand = Hand(CONNECT, on_send=failing(KeyError("private"), on="websocket.close"))

    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close()

    with pytest.raises(KeyError, match="private"):
        await hand.conduct(handler)


async def test_a_send_that_fails_because_another_task_closes_is_told_so() -> None:
    closing = anyio.Event()

    async def on_send(message: Message) -> None:
        if message["type"] == "websocket.send":
            await closing.wait()
            raise KeyError("private")
        if message["type"] == "websocket.close":
            closing.set()

    hand = Hand(CONNECT, on_send=on_send)
    raised: list[WebSocketDisconnect] = []

    async def sender(websocket: WebSocket) -> None:
        with pytest.raises(WebSocketDisconnect) as info:
            await websocket.send_text("x")
        raised.append(info.value)

    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(sender, websocket)
            await anyio.sleep(0.001)
            await websocket.close(4000, "enough")

    await hand.conduct(handler)
    assert (raised[0].code, raised[0].reason) == (4000, "enough")


async def test_a_cancelled_send_leaves_the_socket_as_it_was() -> None:
    async def on_send(message: Message) -> None:
        if message.get("text") == "slow":
            await anyio.sleep_forever()

    hand = Hand(CONNECT, on_send=on_send)

    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        with anyio.move_on_after(0.001) as limit:
            await websocket.send_text("slow")
        assert limit.cancelled_caught
        await websocket.send_text("fast")

    await hand.conduct(handler)
    assert hand.types[-2:] == ["websocket.send", "websocket.close"]


async def test_a_send_during_which_the_client_leaves_raises_though_the_server_is_silent() -> None:
    hand = Hand(CONNECT)

    async def on_send(message: Message) -> None:
        if message["type"] == "websocket.send":
            hand.give(left(4001))
            with anyio.CancelScope(shield=True):  # as hypercorn on trio
                for _ in range(5):
                    await checkpoint()

    hand.on_send = on_send
    raised: list[int] = []

    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            await websocket.send_text("x")
        except WebSocketDisconnect as exc:
            raised.append(exc.code)

    await hand.conduct(handler)
    assert raised == [4001]


async def test_a_close_that_the_client_does_not_let_through_gives_up(
    monkeypatch: pytest.MonkeyPatch, real_time: bool
) -> None:
    if real_time:
        monkeypatch.setattr(rim, "CLOSE_TIMEOUT", 0.01)

    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close()
        assert websocket.disconnected

    result = await script(handler, GUNICORN).stall_at_message(2).run(timeout=20)
    assert result.ended == "returned", result.log
    assert result.duration == pytest.approx(rim.CLOSE_TIMEOUT, abs=0.2)


# -- the end of the handler -----------------------------------------------------------------------


async def test_a_handler_that_returns_closes_its_socket(dialect: Dialect) -> None:
    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text("hello")

    result = await script(handler, dialect).run()
    assert result.ended == "returned"
    assert (result.frames, result.close_code, result.complete) == (["hello"], 1000, True)
    assert not result.violations


async def test_a_handler_that_returns_without_an_answer_refuses(dialect: Dialect) -> None:
    async def handler(websocket: WebSocket) -> None:
        pass

    result = await script(handler, dialect).run()
    assert (result.ended, result.status, result.complete) == ("returned", 403, True)


async def test_a_handler_that_closes_is_left_alone(dialect: Dialect) -> None:
    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close(4000, "enough")
        message = await websocket.receive()
        assert (message["code"], message["reason"]) == (4000, "enough")

    result = await script(handler, dialect).run()
    assert result.types == ["websocket.accept", "websocket.close"]
    assert (result.close_code, result.close_reason) == (4000, "enough")
    assert result.ended == "returned", result.log


async def test_after_an_own_close_nothing_more_is_received() -> None:
    hand = Hand(CONNECT, received("before"))

    async def handler(websocket: WebSocket) -> None:
        exchange = websocket._exchange
        await websocket.accept()
        while not exchange._messages:
            await checkpoint()
        await websocket.close(4000)
        hand.give(received("after"))
        await anyio.sleep(0.001)
        assert await exchange.receive() == received("before")
        assert await exchange.receive() == left(4000, "")
        hand.give(left(1000))
        await anyio.sleep(0.001)
        assert await exchange.receive() == left(4000, "")
        await websocket.wait_disconnected()

    await hand.conduct(handler)


@pytest.mark.parametrize(
    "refusal", [[CLOSE], [DENY, {"type": "websocket.http.response.body"}]], ids=["close", "denial"]
)
async def test_after_a_refusal_the_end_is_one_without_a_closing_frame(
    refusal: list[Message],
) -> None:
    exchange = Hand(CONNECT).exchange()
    for message in refusal:
        await exchange.send(message)
    assert await exchange.receive() == left(1006, "")


async def test_no_receive_is_pending_while_the_close_is_sent() -> None:
    hand = Hand(CONNECT)
    pending: list[int] = []

    async def on_send(message: Message) -> None:
        if message["type"] == "websocket.close":
            await checkpoint()
            pending.append(hand.receivers)

    hand.on_send = on_send

    async def reader(websocket: WebSocket) -> None:
        with pytest.raises(WebSocketDisconnect):
            await websocket.receive_text()

    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reader, websocket)
            await anyio.sleep(0.001)
            await websocket.close()

    await hand.conduct(handler)
    assert pending == [0]


async def test_an_own_close_wakes_who_waits() -> None:
    hand = Hand(CONNECT)
    woken: list[str] = []

    async def reader(websocket: WebSocket) -> None:
        with pytest.raises(WebSocketDisconnect):
            await websocket.receive_text()
        woken.append("reader")

    async def waiter(websocket: WebSocket) -> None:
        await websocket.wait_disconnected()
        woken.append("waiter")

    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reader, websocket)
            tasks.start_soon(waiter, websocket)
            await anyio.sleep(0.001)
            await websocket.close()

    await hand.conduct(handler)
    assert sorted(woken) == ["reader", "waiter"]


@pytest.mark.parametrize("accepts", [True, False])
async def test_an_error_is_raised_into_the_server(accepts: bool) -> None:
    error = KeyError("bug")

    async def handler(websocket: WebSocket) -> None:
        if accepts:
            await websocket.accept()
        raise error

    result = await script(handler).run()
    assert result.raised is error
    assert result.types == ["websocket.accept"] * accepts


@pytest.mark.parametrize("handled", [True, False])
async def test_on_error_answers_and_says_whether_that_was_all(handled: bool) -> None:
    error = KeyError("bug")

    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        raise error

    async def on_error(websocket: WebSocket, exc: Exception) -> bool:
        assert exc is error
        await websocket.close(1011)
        return handled

    result = await script(handler, on_error=on_error).run()
    assert result.close_code == 1011
    assert result.raised is (None if handled else error)


async def test_a_handled_error_closes_what_on_error_left_open() -> None:
    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        raise KeyError

    async def on_error(websocket: WebSocket, exc: Exception) -> bool:
        return True

    result = await script(handler, on_error=on_error).run()
    assert (result.raised, result.close_code) == (None, 1000)


async def test_an_error_stays_one_if_nobody_is_there_for_the_answer() -> None:
    error = KeyError("bug")

    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.wait_disconnected()
        raise error

    async def on_error(websocket: WebSocket, exc: Exception) -> bool:
        await websocket.send_text("sorry")
        return True

    result = await script(handler, on_error=on_error).leave_at_message(1).run()
    assert result.raised is error


async def test_an_error_of_on_error_is_raised() -> None:
    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        raise KeyError

    async def on_error(websocket: WebSocket, exc: Exception) -> bool:
        raise WebSocketDisconnect(1008)

    result = await script(handler, on_error=on_error).run()
    assert isinstance(result.raised, WebSocketDisconnect)


@pytest.mark.parametrize("native", [True, False])
async def test_a_cancellation_goes_through(native: bool) -> None:
    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.receive_text()

    async with script(handler).open() as client:
        await client.wait_message(1)
        client.cancel_app(native=native)
        result = await client.finish()
    assert result.ended == "cancelled"
    assert result.pending_receives == 0


async def test_a_cancellation_that_comes_with_the_disconnect_goes_through() -> None:
    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        while True:
            await websocket.send_text("x")
            await checkpoint()

    async with script(handler, HYPERCORN_H2).stall_at_message(2).open() as client:
        await client.wait_message(2)
        client.leave()
        client.cancel_app(native=True)
        result = await client.finish()
    assert result.ended == "cancelled", result.log


async def test_no_task_is_left_by_a_handler_that_never_waits() -> None:
    hand = Hand(CONNECT)

    async def handler(websocket: WebSocket) -> None:
        raise KeyError

    websocket: WebSocket = WebSocket(hand.scope, hand.receive, hand.send)
    with pytest.raises(KeyError):
        await conduct_socket(handler, websocket, websocket._exchange)
    assert hand.receivers == 0
    # Whoever is outside can still answer, and receive.
    await websocket.accept()
    await websocket.close(1011)
    assert hand.types == ["websocket.accept", "websocket.close"]


# -- reading ahead --------------------------------------------------------------------------------


async def test_the_pump_reads_ahead_so_many_messages() -> None:
    hand = Hand(CONNECT, *[received("x")] * 200)

    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        await anyio.sleep(0.001)
        assert len(hand.messages) == 200 - BUFFER_MESSAGES
        await websocket.receive_text()
        await anyio.sleep(0.001)
        assert len(hand.messages) == 200 - BUFFER_MESSAGES - 1

    await hand.conduct(handler)


@pytest.mark.parametrize("data", ["x" * (BUFFER_SIZE // 2), b"x" * (BUFFER_SIZE // 2)])
async def test_the_pump_reads_ahead_so_many_bytes(data: str | bytes) -> None:
    hand = Hand(CONNECT, *[received(data)] * 5)

    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        await anyio.sleep(0.001)
        assert len(hand.messages) == 3

    await hand.conduct(handler)


async def test_an_error_of_receive_is_the_readers() -> None:
    hand = Hand(CONNECT, KeyError("wrapped"))

    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text("x")
        for _ in range(2):
            with pytest.raises(KeyError, match="wrapped"):
                await websocket.receive_text()
        with pytest.raises(KeyError, match="wrapped"):
            await websocket.wait_disconnected()

    await hand.conduct(handler)


async def test_an_oserror_of_receive_is_the_clients_leaving() -> None:
    hand = Hand(CONNECT, ConnectionResetError())

    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        with pytest.raises(WebSocketDisconnect, match="1006"):
            await websocket.receive_text()

    await hand.conduct(handler)


async def test_a_wrong_message_of_the_server_is_the_readers_error() -> None:
    hand = Hand(CONNECT, CONNECT)

    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        with pytest.raises(ServerProtocolError, match=r'"websocket\.receive" or "websocket\.d'):
            await websocket.receive_text()

    await hand.conduct(handler)


async def test_a_foreign_policy_can_be_interrupted_by_the_disconnect() -> None:
    from hesper._concurrency import interruptible

    hand = Hand(CONNECT)

    async def handler(websocket: WebSocket) -> None:
        exchange = websocket._exchange
        await websocket.accept()
        hand.give(left(1000))
        with interruptible() as stretch:
            exchange.add_stretch(stretch)
            await anyio.sleep_forever()
        exchange.remove_stretch(stretch)
        assert stretch.interrupted

    await hand.conduct(handler)


# -- without a conductor --------------------------------------------------------------------------


async def test_alone_receive_is_called_only_when_somebody_receives() -> None:
    hand = Hand(CONNECT, received("a"), received("b"))
    websocket: WebSocket = WebSocket(hand.scope, hand.receive, hand.send)
    await websocket.accept()
    await websocket.send_text("x")
    assert len(hand.messages) == 2
    assert await websocket.receive_text() == "a"
    assert hand.messages == [received("b")]


async def test_alone_two_readers_share_one_receive() -> None:
    hand = Hand(CONNECT)
    websocket: WebSocket = WebSocket(hand.scope, hand.receive, hand.send)
    got: list[str] = []

    async def reader() -> None:
        got.append(await websocket.receive_text())

    await websocket.accept()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reader)
        tasks.start_soon(reader)
        await anyio.sleep(0.001)
        hand.give(received("a"))
        hand.give(received("b"))
    assert sorted(got) == ["a", "b"]
    assert hand.most_receivers == 1


async def test_alone_a_failed_send_finds_the_clients_code() -> None:
    hand = Hand(CONNECT, received("a"), left(4001, "bye"), on_send=failing(OSError()))
    websocket: WebSocket = WebSocket(hand.scope, hand.receive, hand.send)
    await websocket.accept()
    with pytest.raises(WebSocketDisconnect, match="4001: bye"):
        await websocket.send_text("x")
    assert await websocket.receive_text() == "a"


async def test_alone_a_failed_send_leaves_no_receive_behind() -> None:
    hand = Hand(CONNECT, on_send=failing(KeyError("private")))
    websocket: WebSocket = WebSocket(hand.scope, hand.receive, hand.send)
    await websocket.accept()
    with pytest.raises(KeyError, match="private"):
        await websocket.send_text("x")
    assert hand.receivers == 0


async def test_alone_a_failed_send_does_not_disturb_a_reader() -> None:
    hand = Hand(CONNECT, on_send=failing(KeyError("private")))
    websocket: WebSocket = WebSocket(hand.scope, hand.receive, hand.send)
    got: list[str] = []

    async def reader() -> None:
        got.append(await websocket.receive_text())

    await websocket.accept()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reader)
        await anyio.sleep(0.001)
        with pytest.raises(KeyError):
            await websocket.send_text("x")
        assert hand.receivers == 1
        hand.give(received("a"))
    assert got == ["a"]


async def test_alone_waiting_for_the_disconnect_loses_nothing_and_is_bounded() -> None:
    hand = Hand(CONNECT, *[received("x")] * 100, left(1000))
    websocket: WebSocket = WebSocket(hand.scope, hand.receive, hand.send)
    got: list[str] = []
    await websocket.accept()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(websocket.wait_disconnected)
        await anyio.sleep(0.001)
        assert len(hand.messages) == 101 - BUFFER_MESSAGES
        async for data in websocket.iter_text():
            got.append(data)
    assert got == ["x"] * 100


async def test_all_who_wait_for_the_disconnect_are_told() -> None:
    hand = Hand(CONNECT)
    told: list[int] = []

    async def handler(websocket: WebSocket) -> None:
        async def wait(number: int) -> None:
            await websocket.wait_disconnected()
            told.append(number)

        await websocket.accept()
        async with anyio.create_task_group() as tasks:
            for number in range(3):
                tasks.start_soon(wait, number)
            await anyio.sleep(0.001)
            hand.give(left(1001))

    await hand.conduct(handler)
    assert sorted(told) == [0, 1, 2]


async def test_a_handler_under_a_reader_outside_waits_for_it() -> None:
    hand = Hand(CONNECT)
    outer: WebSocket = WebSocket(hand.scope, hand.receive, hand.send)
    got: list[str] = []

    async def reader() -> None:
        got.append(await outer.receive_text())

    async def handler(websocket: WebSocket) -> None:
        assert websocket._exchange is outer._exchange
        hand.give(received("a"))
        hand.give(received("b"))
        got.append(await websocket.receive_text())

    await outer.accept()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reader)
        await anyio.sleep(0.001)
        await hand.conduct(handler)
    assert sorted(got) == ["a", "b"]
    assert hand.most_receivers == 1


# -- layers ---------------------------------------------------------------------------------------


async def test_sockets_of_one_scope_share_one_life_cycle() -> None:
    hand = Hand(CONNECT)
    first: WebSocket = WebSocket(hand.scope, hand.receive, hand.send)
    await first.accept()
    second: WebSocket = WebSocket(hand.scope, hand.receive, hand.send)
    exchange = first._exchange
    third: WebSocket = WebSocket(dict(hand.scope, path="/x"), exchange.receive, exchange.send)
    for other in (second, third):
        assert other.application_state is WebSocketState.CONNECTED
    other_scope = {"type": "websocket", "headers": []}
    fourth: WebSocket = WebSocket(other_scope, hand.receive, hand.send)
    assert fourth.application_state is WebSocketState.CONNECTING


async def test_an_app_in_an_app_leaves_the_pump_and_the_closing_to_the_outer_one() -> None:
    inner_app_ended = False

    async def inner(websocket: WebSocket) -> None:
        await websocket.accept()

    async def outer(websocket: WebSocket) -> None:
        nonlocal inner_app_ended
        exchange = websocket._exchange
        await conducted(inner)(websocket.scope, exchange.receive, exchange.send)
        inner_app_ended = True
        await websocket.send_text("after")
        assert await websocket.receive_text() == "hello"

    result = await script(outer, GRANIAN, messages=["hello"]).run()
    assert inner_app_ended
    assert result.frames == ["after"]
    assert result.close_code == 1000
    assert result.receives_cancelled <= 1, "only the last one, at the end"


@pytest.mark.parametrize("code", [1001, 4001])
async def test_a_wrapped_send_is_stacked_and_hears_the_same_end(code: int) -> None:
    sent: list[str] = []
    raised: list[WebSocketDisconnect] = []

    async def inner(websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            while True:
                await websocket.send_text("x")
        except WebSocketDisconnect as exc:
            raised.append(exc)

    async def outer(websocket: WebSocket) -> None:
        exchange = websocket._exchange

        async def send(message: Message) -> None:
            sent.append(message["type"])
            await exchange.send(message)

        await conducted(inner)(websocket.scope, exchange.server_receive, send)

    play = script(outer, HYPERCORN.but(websocket_close_code=None)).leave_at_message(3)
    result = await play.leave_by_closing(code).run()
    assert result.ended == "returned", result.log
    assert result.concurrent_receives == 1
    assert sent[:2] == ["websocket.accept", "websocket.send"]
    assert raised[0].code == code


async def test_the_inner_socket_takes_the_code_from_the_outer_ones_error() -> None:
    hand = Hand(CONNECT, on_send=failing(WebSocketDisconnect(4001, "bye")))
    exchange = hand.exchange()
    await exchange.send(ACCEPT)
    with pytest.raises(WebSocketDisconnect, match="4001: bye"):
        await exchange.send(text("x"))
    assert exchange.disconnect == left(4001, "bye")


async def test_a_known_exchange_of_another_kind_is_not_taken() -> None:
    hand = Hand()
    hand.scope[KEY] = object()
    assert isinstance(open_socket(hand.scope, hand.receive, hand.send), SocketExchange)


# -- refusing with a response ---------------------------------------------------------------------

DENIALS = [UVICORN, HYPERCORN, GRANIAN]


@pytest.mark.parametrize("server", DENIALS, ids=lambda server: server.name)
async def test_a_handshake_is_refused_with_a_response(server: Dialect) -> None:
    async def handler(websocket: WebSocket) -> None:
        await websocket.send_denial_response(PlainTextResponse("no", 404, {"x-a": "b"}))

    result = await script(handler, server).run()
    assert (result.status, result.text, result.complete) == (404, "no", True)
    assert result.headers["x-a"] == "b"
    assert not result.violations


@pytest.mark.parametrize("server", [UVICORN, SPECIFICATION], ids=lambda server: server.name)
async def test_a_handshake_is_refused_with_a_stream(server: Dialect) -> None:
    async def body() -> Any:
        for part in ("a", "b"):
            await checkpoint()
            yield part

    async def handler(websocket: WebSocket) -> None:
        await websocket.send_denial_response(StreamingResponse(body(), 401))
        with pytest.raises(WebSocketDisconnected):
            await websocket.close()

    result = await script(handler, server).run()
    assert (result.status, result.text, result.complete) == (401, "ab", True)


async def test_a_handshake_is_refused_with_a_starlette_response() -> None:
    from starlette.responses import StreamingResponse as StarletteStreamingResponse

    async def body() -> Any:
        yield "no"

    async def handler(websocket: WebSocket) -> None:
        response = StarletteStreamingResponse(body(), 404)
        await websocket.send_denial_response(response)

    result = await script(handler).run()
    assert (result.status, result.text) == (404, "no")


@pytest.mark.parametrize(
    ("scheme", "expected"), [({}, "http"), ({"scheme": "ws"}, "http"), ({"scheme": "wss"}, "https")]
)
async def test_the_refusing_app_sees_a_get_request(scheme: dict[str, str], expected: str) -> None:
    hand = Hand(CONNECT)
    hand.scope.update(scheme)
    exchange = open_socket(hand.scope, hand.receive, hand.send)
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append((scope["type"], scope["method"], scope["scheme"], scope["extensions"]))
        assert KEY not in scope
        assert await receive() == {"type": "http.request", "body": b"", "more_body": False}
        hand.give(left(1006))
        assert await receive() == {"type": "http.disconnect"}
        with pytest.raises(ClientDisconnect):
            await send({"type": "http.response.start", "status": 404, "headers": []})

    await deny(exchange, hand.scope, app)
    assert seen == [("http", "GET", expected, {})]
    assert hand.sent == []


async def test_a_refusal_whose_client_leaves_ends_quietly() -> None:
    closed = False

    async def body() -> Any:
        nonlocal closed
        try:
            while True:
                await anyio.sleep(0.001)
                yield "x"
        finally:
            closed = True

    async def handler(websocket: WebSocket) -> None:
        await websocket.send_denial_response(StreamingResponse(body(), 404))

    result = await script(handler, HYPERCORN).leave_at_message(3).run()
    assert result.ended == "returned", result.log
    assert closed
    assert not result.complete


async def test_a_refusal_that_breaks_off_is_not_ended() -> None:
    async def body() -> Any:
        yield "half"
        raise KeyError("bug")

    async def handler(websocket: WebSocket) -> None:
        await websocket.send_denial_response(StreamingResponse(body(), 404))

    result = await script(handler).run()
    assert isinstance(result.raised, KeyError)
    assert result.types == ["websocket.http.response.start", "websocket.http.response.body"]
    assert not result.complete


async def test_a_refusal_that_could_not_be_sent_is_followed_by_nothing() -> None:
    hand = Hand(CONNECT, on_send=failing(KeyError("private"), on=DENY["type"]))
    exchange = hand.exchange()
    with pytest.raises(KeyError):
        await exchange.send(DENY)
    with pytest.raises(WebSocketDisconnected, match="could not be sent whole"):
        await exchange.send(CLOSE)
    assert hand.types == [DENY["type"]]


async def test_a_handler_that_leaves_a_refusal_open_does_not_end_it() -> None:
    async def handler(websocket: WebSocket) -> None:
        await websocket.send(DENY)
        await websocket.send({"type": "websocket.http.response.body", "more_body": True})

    result = await script(handler).run()
    assert (result.ended, result.complete) == ("returned", False)


async def test_a_server_that_cannot_refuse_with_a_response_is_named() -> None:
    async def handler(websocket: WebSocket) -> None:
        with pytest.raises(UsageError, match="support the Websocket Denial Response extension"):
            await websocket.send_denial_response(PlainTextResponse("no"))
        with pytest.raises(UsageError, match="refuses with 403"):
            await websocket.send(DENY)
        await websocket.close()

    result = await script(handler, DAPHNE).run()
    assert result.status == 403


async def test_an_accepted_socket_cannot_be_refused() -> None:
    hand = Hand(CONNECT)
    exchange = hand.exchange()
    await exchange.send(ACCEPT)
    with pytest.raises(UsageError, match="closed but not be refused"):
        await deny(exchange, hand.scope, PlainTextResponse("no"))


async def test_a_code_that_the_server_refuses_becomes_one_of_the_applications() -> None:
    """daphne takes 1000, and 3000 to 4999."""

    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close(1011, "a bug")

    result = await script(handler, DAPHNE).run()
    assert (result.ended, result.violations) == ("returned", [])
    assert (result.close_code, result.close_reason) == (4011, "a bug")


async def test_a_close_that_fails_for_another_reason_is_an_error() -> None:
    error = RuntimeError("a bug of the server")

    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close(4011)

    hand = Hand(CONNECT, on_send=failing(error, on="websocket.close"))
    with pytest.raises(RuntimeError) as raised:
        await hand.conduct(handler)
    assert raised.value is error
    assert hand.types == ["websocket.accept", "websocket.close"]


async def test_a_close_that_finds_the_client_gone_is_not_tried_again() -> None:
    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close(1011)

    hand = Hand(CONNECT, on_send=failing(OSError(), on="websocket.close"))
    await hand.conduct(handler)
    assert hand.types == ["websocket.accept", "websocket.close"]


# -- the shutdown ---------------------------------------------------------------------------------


async def test_a_shutdown_is_told_once() -> None:
    hand = Hand({"type": "websocket.connect"})
    exchange = hand.exchange()
    exchange.shut_down()
    assert exchange.shutting_down
    assert not exchange.heard
    exchange.listeners = 1
    exchange.shut_down()
    assert not exchange.heard
    await exchange.wait_shutting_down()


async def test_a_goodbye_that_hangs_does_not_keep_the_handler(
    monkeypatch: pytest.MonkeyPatch, real_time: bool
) -> None:
    if real_time:
        monkeypatch.setattr(rim, "GOODBYE_TIMEOUT", 0.01)

    async def on_send(message: Message) -> None:
        if message["type"] == "websocket.close":
            await anyio.sleep(60)  # as granian's, which closes at the same time

    hand = Hand({"type": "websocket.connect"}, on_send=on_send)
    took: list[float] = []

    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        began = anyio.current_time()
        websocket._exchange.shut_down()
        with pytest.raises(WebSocketDisconnect) as raised:
            await websocket.receive_text()
        took.append(anyio.current_time() - began)
        assert raised.value.code == 1012

    await hand.conduct(handler)
    assert took == [pytest.approx(rim.GOODBYE_TIMEOUT, abs=0.2)]


@pytest.mark.parametrize("cancelled", ["waiting", "sending"])
async def test_a_refusal_that_a_shutdown_cuts_is_not_ended(cancelled: str) -> None:
    hand = Hand({"type": "websocket.connect"})

    async def handler(websocket: WebSocket) -> None:
        exchange = websocket._exchange
        exchange.cut = True
        await exchange.send({"type": "websocket.http.response.start", "status": 503, "headers": []})
        with anyio.CancelScope() as scope:
            scope.cancel()
            await anyio.sleep(0)
        if cancelled == "sending":
            exchange.state = SOCKET[exchange.state, SocketEvent.FAILED]
        await exchange.say_goodbye()

    await hand.conduct(handler)
    assert hand.types == ["websocket.http.response.start"]


async def test_a_socket_is_accepted_when_the_client_was_there() -> None:
    async def gone(message: Message) -> None:
        raise OSError("gone")

    for on_send, accepted in ((None, True), (gone, False)):
        hand = Hand({"type": "websocket.connect"}, on_send=on_send)
        exchanges: list[SocketExchange] = []

        async def handler(
            websocket: WebSocket, exchanges: list[SocketExchange] = exchanges
        ) -> None:
            exchanges.append(websocket._exchange)
            await websocket.accept()

        await hand.conduct(handler)
        assert exchanges[0].accepted is accepted
