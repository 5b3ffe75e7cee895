"""An exchange: who shares what comes in, what a send may do, and what foreign apps are told."""

import asyncio

import anyio
import pytest

from hesper._asgi.arrivals import BUFFER_SIZE
from hesper._asgi.exchange import KEY, Exchange, Receiver, close_exchange, open_exchange
from hesper._asgi.foreign import NO_RESPONSE, PATIENCE, Sender, Void, caused_by_leaving
from hesper._asgi.sending import Sending
from hesper._asgi.states import ENDED, IDLE, POISONED, STARTED, TRAILERS
from hesper._concurrency import checkpoint, on_asyncio
from hesper.exceptions import ClientDisconnect, UsageError
from hesper.types import Message, Scope

GONE: Message = {"type": "http.disconnect"}
START: Message = {"type": "http.response.start", "status": 200, "headers": []}
CHUNK: Message = {"type": "http.response.body", "body": b"x", "more_body": True}
LAST: Message = {"type": "http.response.body", "body": b"x"}
HINT: Message = {"type": "http.response.early_hint", "links": []}


def part(body: bytes = b"", more: bool = True) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await checkpoint()


def scope_of(spec_version: str = "2.4") -> Scope:
    return {"type": "http", "asgi": {"version": "3.0", "spec_version": spec_version}, "headers": []}


class Server:
    """Both ends of a connection, for a test that plays the server."""

    def __init__(self, *messages: Message) -> None:
        self.messages = list(messages)
        self.sent: list[Message] = []
        self.error: Exception | None = None
        self.blocks = False
        self.receives = 0
        self._news = anyio.Event()

    def put(self, message: Message) -> None:
        self.messages.append(message)
        self._news.set()

    def leave(self) -> None:
        self.put(GONE)

    async def receive(self) -> Message:
        self.receives += 1
        while not self.messages:
            self._news = anyio.Event()
            await self._news.wait()
        return self.messages.pop(0)

    async def send(self, message: Message) -> None:
        if self.error is not None:
            raise self.error
        if self.blocks:
            await anyio.sleep_forever()
        self.sent.append(message)

    def exchange(self, scope: Scope | None = None) -> Exchange:
        return open_exchange(scope_of() if scope is None else scope, self.receive, self.send)


async def finish(exchange: Exchange) -> None:
    exchange.end()
    await exchange.incoming.close()


# -- one scope, one incoming -----------------------------------------------------------------------


async def test_an_exchange_stands_in_its_scope_until_it_is_closed() -> None:
    scope = scope_of()
    exchange = Server().exchange(scope)
    assert scope[KEY] is exchange
    close_exchange(exchange, scope)
    assert KEY not in scope
    close_exchange(exchange, scope)


async def test_an_exchange_inside_of_another_shares_what_comes_in() -> None:
    scope, server = scope_of(), Server()
    outer = server.exchange(scope)
    inner = server.exchange(scope)
    assert inner.incoming is outer.incoming
    assert (outer.owner, inner.owner) == (True, False)
    close_exchange(inner, scope)
    assert scope[KEY] is outer
    close_exchange(outer, scope)
    assert KEY not in scope


async def test_an_exchange_over_our_receiver_shares_what_comes_in_whatever_its_scope() -> None:
    outer = Server().exchange()
    inner = open_exchange(scope_of(), Receiver(outer), Server().send)
    assert inner.incoming is outer.incoming
    assert not inner.owner


async def test_an_exchange_over_a_wrapped_receive_has_its_own() -> None:
    scope, server = scope_of(), Server()
    outer = server.exchange(scope)

    async def receive() -> Message:
        return await server.receive()

    inner = open_exchange(scope, receive, server.send)
    assert inner.incoming is not outer.incoming
    assert inner.owner


async def test_an_exchange_after_a_lone_request_takes_over_what_comes_in() -> None:
    scope, server = scope_of(), Server(part(b"a", more=False))
    lone = server.exchange(scope)
    lone.release()
    assert await lone.incoming.read_body() == b"a"
    rim = server.exchange(scope)
    assert rim.owner
    assert rim.incoming.owned
    assert await rim.incoming.read_body() == b"a"
    third = server.exchange(scope)
    assert not third.owner
    await rim.incoming.close()


async def test_an_exchange_that_left_its_scope_to_another_leaves_it_alone() -> None:
    scope = scope_of()
    first = Server().exchange(scope)
    second = Server().exchange(scope)
    close_exchange(first, scope)
    assert scope[KEY] is second


async def test_what_comes_in_after_a_response_began_is_unwanted_and_after_its_end_closed() -> None:
    exchange = Server().exchange()
    exchange.state = STARTED
    assert exchange.incoming.responding
    assert exchange.incoming.unwanted
    assert not exchange.incoming.closed
    exchange = Server().exchange()
    exchange.state = ENDED
    assert exchange.incoming.closed
    assert exchange.ended


# -- waiting ---------------------------------------------------------------------------------------


async def test_a_task_that_waits_makes_the_exchange_watch() -> None:
    server = Server(GONE)
    exchange = server.exchange()
    exchange.suspended()
    exchange.suspended()
    await turns()
    assert exchange.suspensions == 2
    assert exchange.disconnected
    assert server.receives == 1
    await finish(exchange)


async def test_a_task_that_waits_after_the_end_receives_nothing() -> None:
    server = Server(GONE)
    exchange = server.exchange()
    exchange.end()
    exchange.suspended()
    await turns()
    assert exchange.suspensions == 1
    assert server.receives == 0
    await finish(exchange)


async def test_waiting_for_the_leaving_ends_with_the_client_or_the_response() -> None:
    for leaves in (True, False):
        server = Server()
        exchange = server.exchange()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(exchange.wait_disconnected)
            await turns()
            if leaves:
                server.leave()
            else:
                exchange.end()
        assert exchange.disconnected is leaves
        assert await exchange.is_disconnected()
        await finish(exchange)


async def test_asking_after_the_end_receives_nothing() -> None:
    server = Server(GONE)
    exchange = server.exchange()
    exchange.end()
    assert await exchange.is_disconnected()
    await exchange.wait_disconnected()
    assert server.receives == 0


async def test_asking_before_the_end_asks_the_server() -> None:
    server = Server()
    exchange = server.exchange()
    assert not await exchange.is_disconnected()
    server.leave()
    assert await exchange.is_disconnected()
    await finish(exchange)


# -- sending ---------------------------------------------------------------------------------------


async def test_messages_are_sent_in_their_order_and_what_follows_the_end_is_ignored() -> None:
    server = Server()
    exchange = server.exchange()
    states = []
    for message in (HINT, START, CHUNK, LAST, CHUNK, START):
        await exchange.send(message)
        states.append(exchange.state)
    assert server.sent == [HINT, START, CHUNK, LAST]
    assert states == [IDLE, STARTED, STARTED, ENDED, ENDED, ENDED]


async def test_a_hint_before_the_response_does_not_make_the_body_unwanted() -> None:
    exchange = Server().exchange()
    await exchange.send(HINT)
    assert not exchange.incoming.responding
    await exchange.send(START)
    assert exchange.incoming.responding


async def test_a_response_that_begins_makes_room_for_the_pump() -> None:
    server = Server(*[part(bytes(BUFFER_SIZE))] * 3)
    exchange = server.exchange()
    exchange.suspended()
    await turns()
    assert server.receives == 1
    await exchange.send(START)
    await turns()
    assert server.receives == 4
    await finish(exchange)


async def test_an_inner_response_that_begins_leaves_the_body_to_the_middleware_around() -> None:
    scope, server = scope_of(), Server()
    outer, inner = server.exchange(scope), server.exchange(scope)
    await inner.send(START)
    assert not outer.incoming.responding
    await inner.send(LAST)
    assert not outer.incoming.responded
    await outer.send(START)
    assert outer.incoming.responding


async def test_announced_trailers_keep_the_response_open() -> None:
    exchange = Server().exchange()
    await exchange.send({**START, "trailers": True})
    await exchange.send(LAST)
    assert exchange.state is TRAILERS
    await exchange.send({"type": "http.response.trailers", "headers": [], "more_trailers": True})
    assert exchange.state is TRAILERS
    await exchange.send({"type": "http.response.trailers", "headers": []})
    assert exchange.state is ENDED


async def test_a_message_that_is_not_allowed_is_not_sent_and_changes_nothing() -> None:
    server = Server()
    exchange = server.exchange()
    with pytest.raises(UsageError, match=r"Expected 'http\.response\.start'"):
        await exchange.send(LAST)
    assert exchange.state is IDLE
    assert server.sent == []


async def test_nothing_is_sent_after_the_client_left() -> None:
    server = Server()
    exchange = server.exchange()
    exchange.incoming.lost()
    for message in (START, LAST, HINT):
        with pytest.raises(ClientDisconnect, match="before the response was sent"):
            await exchange.send(message)
    assert server.sent == []
    assert exchange.state is IDLE


@pytest.mark.parametrize(
    "error",
    [
        OSError("reset"),
        BrokenPipeError(),
        RuntimeError(
            "unable to perform operation on <TCPTransport closed=True>; the handler is closed"
        ),
    ],
)
async def test_a_send_that_fails_for_the_leaving_says_so_and_then_always(error: Exception) -> None:
    server = Server()
    exchange = server.exchange()
    await exchange.send(START)
    server.error = error
    with pytest.raises(ClientDisconnect, match="while the response was sent") as caught:
        await exchange.send(CHUNK)
    assert caught.value.__cause__ is error
    assert exchange.incoming.disconnected
    assert exchange.state is POISONED
    with pytest.raises(ClientDisconnect):
        await exchange.send(CHUNK)


async def test_any_error_of_send_is_the_leaving_if_the_server_says_so_within_a_turn() -> None:
    server = Server(part(b"x", more=False), GONE)
    exchange = server.exchange()
    server.error = ValueError("private")
    with pytest.raises(ClientDisconnect) as caught:
        await exchange.send(START)
    assert caught.value.__cause__ is server.error
    await finish(exchange)


async def test_another_error_of_send_is_raised_as_it_is_and_poisons_the_response() -> None:
    server = Server()
    exchange = server.exchange()
    server.error = ValueError("a bug")
    with pytest.raises(ValueError) as caught:
        await exchange.send(START)
    assert caught.value is server.error
    assert exchange.state is POISONED
    server.error = None
    with pytest.raises(UsageError, match="could not be sent whole"):
        await exchange.send(CHUNK)
    assert server.sent == []
    await finish(exchange)


async def test_a_cancelled_send_poisons_the_response() -> None:
    server = Server()
    exchange = server.exchange()
    await exchange.send(START)
    server.blocks = True
    with anyio.move_on_after(0.01) as scope:
        await exchange.send(CHUNK)
    assert scope.cancelled_caught
    assert exchange.state is POISONED
    assert not exchange.disconnected


async def test_an_inner_send_that_fails_says_nothing_about_the_client() -> None:
    """A middleware around may only have dropped the inner response."""
    scope, server = scope_of(), Server()
    outer = server.exchange(scope)

    async def send(message: Message) -> None:
        raise ClientDisconnect

    inner = open_exchange(scope, server.receive, send)
    with pytest.raises(ClientDisconnect):
        await inner.send(START)
    assert inner.disconnected
    assert not outer.disconnected
    with pytest.raises(ClientDisconnect):
        await inner.send(START)
    await outer.send(START)
    assert server.sent == [START]


# -- Sending ---------------------------------------------------------------------------------------


async def test_the_leaving_interrupts_a_blocked_send() -> None:
    server = Server()
    server.blocks = True
    exchange = server.exchange()
    log = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(leave_soon, server)
        with Sending(exchange):
            exchange.suspended()
            await exchange.send(START)
            log.append("not reached")
    assert exchange.disconnected
    assert exchange.state is POISONED
    assert not exchange.sending
    assert log == []
    if on_asyncio():
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
    await finish(exchange)


async def leave_soon(server: Server) -> None:
    await turns()
    server.leave()


async def test_a_leaving_that_an_eager_pump_sees_at_once_interrupts_too() -> None:
    server = Server(GONE)
    server.blocks = True
    exchange = server.exchange()
    with Sending(exchange):
        exchange.suspended()
        await anyio.sleep_forever()
    assert exchange.disconnected
    await finish(exchange)


async def test_a_send_that_does_not_wait_is_just_sent() -> None:
    server = Server()
    exchange = server.exchange()
    with Sending(exchange):
        await exchange.send(START)
        assert exchange.sending
    assert not exchange.sending
    assert exchange.stretch is None
    assert server.sent == [START]


async def test_errors_and_cancels_go_through() -> None:
    exchange = Server().exchange()
    with pytest.raises(ValueError), Sending(exchange):
        raise ValueError
    with anyio.CancelScope() as scope, Sending(exchange):
        exchange.suspended()
        scope.cancel()
        await anyio.sleep_forever()
    assert scope.cancelled_caught
    await finish(exchange)


# -- Receiver --------------------------------------------------------------------------------------


async def test_a_receiver_gives_the_body_as_it_comes_and_then_the_disconnect_for_ever() -> None:
    said = {**GONE, "reason": "reset"}
    messages = [part(b"a"), {"type": "http.request", "body": b"b", "key": 1}]
    server = Server(*messages, said)
    exchange = server.exchange()
    receive = Receiver(exchange)
    assert [await receive() for _ in range(5)] == [*messages, said, said, said]
    assert server.receives == 3
    assert await receive() is not said
    await finish(exchange)


async def test_a_receiver_gives_a_body_that_was_read_whole_again() -> None:
    server = Server(part(b"a"), part(b"b", more=False), GONE)
    exchange = server.exchange()
    await exchange.incoming.read_body()
    for _ in range(2):
        receive = Receiver(exchange)
        assert await receive() == part(b"ab", more=False)
        assert await receive() == GONE
    await finish(exchange)


async def test_a_receiver_goes_on_where_a_stream_stands() -> None:
    server = Server(part(b"a"), part(b"b", more=False))
    exchange = server.exchange()
    await exchange.incoming.take()
    assert await Receiver(exchange)() == part(b"b", more=False)
    assert await Receiver(exchange)() == {"type": "http.request", "body": b""}
    await finish(exchange)


async def test_a_body_that_is_read_whole_and_by_a_receiver_reaches_both() -> None:
    gate = anyio.Event()

    async def receive() -> Message:
        await gate.wait()
        return part(b"ab", more=False)

    exchange = open_exchange(scope_of(), receive, Server().send)
    got: list[object] = []

    async def read() -> None:
        got.append(await exchange.incoming.read_body())

    async def take() -> None:
        got.append(await Receiver(exchange)())

    async with anyio.create_task_group() as tasks:
        for each in (read, take, read, take):
            tasks.start_soon(each)
            await turns()
        gate.set()
    assert sorted(got, key=str) == [b"ab", b"ab", *[part(b"ab", more=False)] * 2]
    await finish(exchange)


@pytest.mark.parametrize("body_came", [True, False])
@pytest.mark.parametrize("how", ["stop", "end", "send"])
async def test_a_receiver_that_waits_is_told_of_the_end(how: str, body_came: bool) -> None:
    server = Server(part(b"a", more=not body_came))
    exchange = server.exchange()
    receive = Receiver(exchange)
    assert await receive() == part(b"a", more=not body_came)
    got = []

    async def listen() -> None:
        got.append(await receive())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listen)
        await turns()
        assert receive.listeners == 1
        match how:
            case "stop":
                receive.stop()
            case "end":
                exchange.end()
            case _:
                await exchange.send(START)
                await exchange.send(LAST)
    assert got == [GONE]
    assert receive.listeners == 0
    assert await receive() == GONE
    await finish(exchange)


async def test_a_receiver_that_is_stopped_gives_no_body() -> None:
    server = Server(part(b"a"))
    exchange = server.exchange()
    receive = Receiver(exchange)
    receive.stop()
    assert receive.stopped
    assert await receive() == GONE
    assert server.receives == 0


async def test_a_receiver_says_that_a_body_broke_off_by_the_disconnect() -> None:
    server = Server(part(b"a"), GONE)
    exchange = server.exchange()
    receive = Receiver(exchange)
    assert [await receive(), await receive(), await receive()] == [part(b"a"), GONE, GONE]
    await finish(exchange)


async def test_a_cancelled_receive_loses_nothing() -> None:
    server = Server()
    exchange = server.exchange()
    receive = Receiver(exchange)
    with anyio.move_on_after(0.01):
        await receive()
    assert receive.listeners == 0
    server.put(part(b"a"))
    assert await receive() == part(b"a")
    await finish(exchange)


# -- Sender and Void -------------------------------------------------------------------------------


async def test_a_sender_sends() -> None:
    server = Server()
    send = Sender(server.exchange(), scope_of())
    for message in (START, LAST, LAST):
        await send(message)
    assert server.sent == [START, LAST]
    with pytest.raises(UsageError):
        await Sender(Server().exchange(), scope_of())(LAST)


@pytest.mark.parametrize("version", ["2.3", "2.4"])
async def test_a_sender_says_after_the_leaving_what_the_app_was_told_to_expect(
    version: str,
) -> None:
    server = Server()
    exchange = server.exchange()
    send = Sender(exchange, scope_of(version))
    await send(START)
    server.error = OSError()
    for _ in range(2):
        if version == "2.3":
            await send(CHUNK)
        else:
            with pytest.raises(ClientDisconnect):
                await send(CHUNK)
    assert server.sent == [START]


@pytest.mark.parametrize("in_task", [True, False])
async def test_a_blocked_sender_is_interrupted_in_whichever_task_it_is(in_task: bool) -> None:
    server = Server()
    exchange = server.exchange()
    send = Sender(exchange, scope_of("2.3"))
    await send(START)
    server.blocks = True
    exchange.suspended()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(leave_soon, server)
        if in_task:
            tasks.start_soon(send, CHUNK)
        else:
            await send(CHUNK)
    assert exchange.state is POISONED
    await finish(exchange)


@pytest.mark.parametrize(
    ("asgi", "raises"),
    [
        ({}, False),
        ({"spec_version": "2.0"}, False),
        ({"spec_version": "2.3"}, False),
        ({"spec_version": "2.4"}, True),
        ({"spec_version": "2.10"}, True),
        ({"spec_version": "3.0"}, True),
    ],
)
async def test_a_void_raises_from_spec_version_2_4_on(asgi: dict[str, str], raises: bool) -> None:
    void = Void({"type": "http", "asgi": asgi})
    assert void.raises is raises
    if raises:
        with pytest.raises(ClientDisconnect):
            await void.send()
    else:
        await void.send()


async def test_a_void_loses_its_patience_with_an_app_that_takes_no_notice() -> None:
    void = Void({"type": "http"})
    for _ in range(PATIENCE):
        await void.send()
    assert void.raises
    with pytest.raises(OSError, match="The client left before the response was sent"):
        await void.send()


# -- words for the leaving -------------------------------------------------------------------------


class Foreign:
    class ClientDisconnect(Exception): ...


def caused(cause: BaseException) -> Exception:
    error = ValueError()
    error.__cause__ = cause
    return error


def in_context(context: BaseException) -> Exception:
    error = ValueError()
    error.__context__ = context
    return error


@pytest.mark.parametrize(
    ("error", "leaving"),
    [
        (None, False),
        (ValueError(), False),
        (OSError(), False),
        (ClientDisconnect(), True),
        (Foreign.ClientDisconnect(), True),
        (type("ClientDisconnected", (Exception,), {})(), True),
        (caused(ClientDisconnect()), True),
        (caused(caused(Foreign.ClientDisconnect())), True),
        (in_context(ClientDisconnect()), False),
        (BaseExceptionGroup("", [ClientDisconnect(), caused(ClientDisconnect())]), True),
        (BaseExceptionGroup("", [ClientDisconnect(), ValueError()]), False),
        (RuntimeError(NO_RESPONSE), True),
        (RuntimeError("another"), False),
        (UsageError(NO_RESPONSE), False),
    ],
)
def test_an_error_is_another_word_for_the_leaving_or_not(
    error: BaseException | None, leaving: bool
) -> None:
    assert caused_by_leaving(error) is leaving
