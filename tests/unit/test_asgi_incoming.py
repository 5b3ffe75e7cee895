"""What comes in: one pump, a bounded buffer, and a disconnect that everybody sees."""

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from hesper._asgi.incoming import BUFFER_SIZE, DISCARD_LIMIT, QUIET_CHECKPOINTS, Incoming
from hesper._asgi.states import RequestState
from hesper._concurrency import checkpoint, interruptible, spawn
from hesper.exceptions import ClientDisconnect, HTTPException, ServerProtocolError, UsageError
from hesper.types import Message

GONE: Message = {"type": "http.disconnect"}


def part(body: bytes = b"", more: bool = True) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


def last(body: bytes = b"") -> Message:
    return part(body, more=False)


BLOCK = part(bytes(BUFFER_SIZE // 4))


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await checkpoint()


class Wire:
    """A server's `receive`: gives what was put in, raises it if it is an error, else waits."""

    def __init__(self, *items: Message | Exception, suspends: int = 0) -> None:
        self.items: deque[Message | Exception] = deque(items)
        self.suspends = suspends
        self.calls = 0
        self.pending = 0
        self._news = anyio.Event()

    def put(self, *items: Message | Exception) -> None:
        self.items.extend(items)
        self._news.set()

    async def __call__(self) -> Message:
        self.calls += 1
        self.pending += 1
        try:
            await turns(self.suspends)
            while not self.items:
                self._news = anyio.Event()
                await self._news.wait()
        finally:
            self.pending -= 1
        item = self.items.popleft()
        if isinstance(item, Exception):
            raise item
        return item


@asynccontextmanager
async def receiving(
    *items: Message | Exception, suspends: int = 0, expect: bool = False
) -> AsyncIterator[tuple[Incoming, Wire]]:
    """An incoming over a wire, closed at the end."""
    wire = Wire(*items, suspends=suspends)
    headers = [(b"host", b"x"), *([(b"expect", b"100-continue")] if expect else [])]
    incoming = Incoming({"type": "http", "headers": headers}, wire)
    try:
        yield incoming, wire
    finally:
        await incoming.close()
        assert wire.pending == 0


async def taken(incoming: Incoming) -> list[Message]:
    messages = []
    while (message := await incoming.take()) is not None:
        messages.append(message)
    return messages


# -- the pump --------------------------------------------------------------------------------------


async def test_nothing_is_received_before_somebody_looks() -> None:
    async with receiving(GONE) as (incoming, wire):
        await turns()
        assert wire.calls == 0
        assert not incoming.disconnected
        assert incoming.pump is None


async def test_a_watched_request_sees_its_client_leave_behind_the_body() -> None:
    async with receiving(part(b"a"), last(b"b")) as (incoming, wire):
        incoming.watch()
        incoming.watch()
        await turns()
        assert not incoming.disconnected
        wire.put(GONE)
        await turns()
        assert incoming.disconnected
        assert incoming.state is RequestState.GONE
        assert wire.calls == 3


async def test_the_servers_words_for_the_disconnect_are_kept() -> None:
    said = {**GONE, "reason": "reset"}
    async with receiving(said) as (incoming, _):
        await incoming.wait_disconnected()
        assert incoming.disconnect is said


async def test_receive_is_not_called_after_the_disconnect() -> None:
    async with receiving(GONE, GONE) as (incoming, wire):
        for _ in range(3):
            assert await incoming.is_disconnected()
            with pytest.raises(ClientDisconnect):
                await incoming.take()
        assert wire.calls == 1


async def test_a_request_that_expects_100_is_not_watched_until_its_body_is_wanted() -> None:
    async with receiving(last(b"x"), GONE, expect=True) as (incoming, wire):
        incoming.watch()
        await turns()
        assert wire.calls == 0
        assert await incoming.read_body() == b"x"
        incoming.watch()
        await turns()
        assert incoming.disconnected


async def test_a_request_that_expects_100_is_watched_once_a_response_is_under_way() -> None:
    async with receiving(GONE, expect=True) as (incoming, _):
        incoming.responding = True
        incoming.watch()
        await turns()
        assert incoming.disconnected


async def test_a_receive_that_raises_os_error_says_that_the_client_left() -> None:
    async with receiving(part(b"a"), OSError("reset")) as (incoming, _):
        assert await incoming.is_disconnected()
        assert incoming.disconnect == GONE
        assert await incoming.take() == part(b"a")
        with pytest.raises(ClientDisconnect):
            await incoming.take()


async def test_what_a_wrapped_receive_raises_is_raised_in_every_reader() -> None:
    error = HTTPException(413)
    async with receiving(part(b"a"), error) as (incoming, wire):
        for _ in range(2):
            with pytest.raises(HTTPException) as caught:
                await incoming.read_body()
            assert caught.value is error
        with pytest.raises(HTTPException):
            await incoming.wait_disconnected()
        assert not await incoming.is_disconnected()
        assert await incoming.take() == part(b"a")
        with pytest.raises(HTTPException):
            await incoming.take()
        assert wire.calls == 2


async def test_a_message_that_asgi_does_not_allow_is_the_servers_mistake() -> None:
    async with receiving({"type": "websocket.receive"}) as (incoming, _):
        with pytest.raises(ServerProtocolError) as caught:
            await incoming.read_body()
    assert str(caught.value) == (
        "Expected 'http.request' or 'http.disconnect' from the server's receive, "
        "got 'websocket.receive'."
    )


async def test_a_body_that_is_none_is_an_error_and_not_an_empty_body() -> None:
    async with receiving({"type": "http.request", "body": None}) as (incoming, _):
        with pytest.raises(TypeError):
            await incoming.read_body()


@pytest.mark.parametrize("suspends", [0, 2])
async def test_a_receive_that_repeats_the_body_is_not_asked_for_ever(suspends: int) -> None:
    async with receiving(*[last(b"x")] * 50, suspends=suspends) as (incoming, wire):
        assert await incoming.read_body() == b"x"
        waiting = spawn(wait_until_closed(incoming))
        for _ in range(10):
            await turns()
            incoming.wake()
        assert wire.calls == 2
        assert not await incoming.is_disconnected()
        await incoming.close()
        await waiting.join()
        assert await incoming.read_body() == b"x"


async def wait_until_closed(incoming: Incoming) -> None:
    while not incoming.closed:
        await incoming.wait_disconnected()


async def test_what_comes_after_a_failed_send_told_of_the_leaving_is_dropped() -> None:
    async with receiving() as (incoming, wire):
        incoming.watch()
        await turns()
        incoming.lost()
        wire.put(part(b"late"))
        await turns()
        with pytest.raises(ClientDisconnect):
            await incoming.read_body()


# -- the buffer ------------------------------------------------------------------------------------


async def test_the_pump_reads_ahead_until_the_buffer_is_full_and_goes_on_when_there_is_room() -> (
    None
):
    async with receiving(*[BLOCK] * 6, last(b"end")) as (incoming, wire):
        incoming.watch()
        await turns(20)
        assert wire.calls == 4
        assert await incoming.take() is BLOCK
        await turns(20)
        assert wire.calls == 5
        assert await taken(incoming) == [*[BLOCK] * 5, last(b"end")]


async def test_whoever_wants_the_whole_body_gets_more_than_a_buffer() -> None:
    async with receiving(*[BLOCK] * 6, last(b"end")) as (incoming, _):
        incoming.watch()
        await turns(20)
        assert len(await incoming.read_body()) == 6 * len(BLOCK["body"]) + 3


async def test_a_disconnect_is_seen_behind_a_body_that_nobody_reads() -> None:
    async with receiving(*[BLOCK] * 9, GONE) as (incoming, _):
        incoming.watch()
        await turns(30)
        assert not incoming.disconnected
        incoming.responding = True
        incoming.make_room()
        await turns(30)
        assert incoming.disconnected
        with pytest.raises(ClientDisconnect):
            await incoming.read_body()


async def test_a_body_that_was_discarded_says_so() -> None:
    async with receiving(*[BLOCK] * 9) as (incoming, _):
        incoming.responding = True
        incoming.watch()
        await turns(30)
        for read in (incoming.read_body, incoming.take):
            with pytest.raises(UsageError, match="body was discarded: a response was under way"):
                await read()


async def test_discarding_has_a_limit() -> None:
    megabytes = part(bytes(8 * 1024 * 1024))
    number = DISCARD_LIMIT // len(megabytes["body"])
    async with receiving(*[megabytes] * (number + 5)) as (incoming, wire):
        incoming.responding = True
        incoming.watch()
        await turns(50)
        assert wire.calls == number


async def test_a_body_that_fits_into_the_buffer_can_be_read_while_the_response_is_under_way() -> (
    None
):
    async with receiving(BLOCK, last(b"x")) as (incoming, _):
        incoming.responding = True
        incoming.watch()
        await turns()
        assert len(await incoming.read_body()) == len(BLOCK["body"]) + 1


async def test_a_stream_that_was_begun_is_not_discarded() -> None:
    async with receiving(*[BLOCK] * 9, last()) as (incoming, _):
        assert await incoming.take() is BLOCK
        incoming.responding = True
        incoming.watch()
        await turns(30)
        assert await taken(incoming) == [*[BLOCK] * 8, last()]


async def test_a_stream_that_nobody_reads_on_is_discarded() -> None:
    async with receiving(*[BLOCK] * 9, GONE) as (incoming, _):
        assert await incoming.take() is BLOCK
        incoming.responding = incoming.unwanted = True
        incoming.watch()
        await turns(30)
        assert incoming.disconnected


# -- readers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("suspends", [0, 2])
async def test_a_stream_gives_the_messages_in_order_and_then_none(suspends: int) -> None:
    messages = [part(b"a"), {"type": "http.request", "more_body": True}, last(b"c")]
    async with receiving(*messages, suspends=suspends) as (incoming, wire):
        assert not incoming.taken_whole
        assert await taken(incoming) == messages
        assert await incoming.take() is None
        assert incoming.taken_whole
        assert wire.calls == 3


async def test_a_stream_waits_for_what_comes_later() -> None:
    async with receiving() as (incoming, wire), anyio.create_task_group() as tasks:
        got: list[Message | None] = []

        async def read() -> None:
            got.append(await incoming.take())

        tasks.start_soon(read)
        tasks.start_soon(read)
        await turns()
        assert got == []
        wire.put(part(b"a"))
        await turns()
        assert got == [part(b"a")]
        wire.put(last(b"b"))
        await turns()
        assert got == [part(b"a"), last(b"b")]


async def test_a_stream_gives_what_came_before_the_client_left() -> None:
    async with receiving(part(b"a"), GONE) as (incoming, _):
        incoming.watch()
        await turns()
        assert await incoming.take() == part(b"a")
        for _ in range(2):
            with pytest.raises(ClientDisconnect, match="before the request's body was complete"):
                await incoming.take()
        with pytest.raises(ClientDisconnect):
            await incoming.read_body()


async def test_a_body_that_was_taken_in_parts_cannot_be_read_whole() -> None:
    async with receiving(part(b"a"), last(b"b")) as (incoming, _):
        await incoming.take()
        with pytest.raises(UsageError, match="Stream consumed"):
            await incoming.read_body()


async def test_a_body_is_read_once_and_kept() -> None:
    async with receiving(part(b"a"), part(), last(b"b")) as (incoming, wire):
        assert not incoming.whole
        body = await incoming.read_body()
        assert body == b"ab"
        assert await incoming.read_body() is body
        assert incoming.whole
        assert incoming.whole_message() == last(b"ab")
        assert wire.calls == 3


async def test_a_body_of_one_message_stays_that_message() -> None:
    message = {**last(b"x"), "extension": 1}
    async with receiving(message) as (incoming, _):
        await incoming.read_body()
        assert incoming.whole_message() == message
        assert incoming.whole_message() is not message


async def test_readers_of_the_whole_body_all_get_it() -> None:
    async with receiving(suspends=1) as (incoming, wire), anyio.create_task_group() as tasks:
        got = []

        async def read() -> None:
            got.append(await incoming.read_body())

        for _ in range(3):
            tasks.start_soon(read)
        await turns()
        assert incoming.whole
        wire.put(part(b"a"), last(b"b"))
        await turns(20)
        assert got == [b"ab"] * 3


async def test_a_reader_that_is_cancelled_loses_nothing() -> None:
    async with receiving(part(b"a")) as (incoming, wire):
        with anyio.move_on_after(0.01) as scope:
            await incoming.read_body()
        assert scope.cancelled_caught
        assert not incoming.whole
        wire.put(last(b"b"))
        assert await incoming.read_body() == b"ab"


async def test_a_body_that_a_cancelled_reader_began_can_be_taken_in_parts() -> None:
    async with receiving(part(b"a")) as (incoming, wire):
        with anyio.move_on_after(0.01):
            await incoming.read_body()
        with anyio.move_on_after(0.01):
            await incoming.take()
            await incoming.take()
        wire.put(last(b"b"))
        assert await taken(incoming) == [last(b"b")]


async def test_a_reader_hears_at_once_that_the_client_left() -> None:
    async with receiving(part(b"a")) as (incoming, wire), anyio.create_task_group() as tasks:

        async def read() -> None:
            with pytest.raises(ClientDisconnect):
                await incoming.read_body()

        tasks.start_soon(read)
        await turns()
        wire.put(GONE)


# -- the disconnect --------------------------------------------------------------------------------


async def test_the_leaving_interrupts_what_works_for_the_client_once() -> None:
    async with receiving() as (incoming, wire):
        with interruptible() as stretch, interruptible() as other:
            incoming.add_stretch(stretch)
            incoming.add_stretch(other)
            incoming.remove_stretch(other)
            incoming.watch()
            wire.put(GONE)
            await anyio.sleep_forever()
        assert stretch.interrupted
        assert not other.interrupted
        incoming.lost()
        assert incoming.disconnect == GONE


# One less than it waits for: trio runs the tasks of a turn in any order.
@pytest.mark.parametrize("suspends", [0, 1, QUIET_CHECKPOINTS - 2])
async def test_asking_finds_out_that_the_client_was_gone_on_arrival(suspends: int) -> None:
    async with receiving(GONE, suspends=suspends) as (incoming, _):
        assert await incoming.is_disconnected()


async def test_asking_looks_behind_every_message_of_a_body() -> None:
    messages = [*[part(b"x")] * 20, last()]
    async with receiving(*messages, GONE, suspends=2) as (incoming, _):
        assert await incoming.is_disconnected()
        assert await taken(incoming) == messages


async def test_asking_about_a_client_that_is_there_swallows_nothing() -> None:
    async with receiving(part(b"a")) as (incoming, wire):
        assert not await incoming.is_disconnected()
        wire.put(last(b"b"))
        assert not await incoming.is_disconnected()
        assert await incoming.read_body() == b"ab"


async def test_waiting_for_the_leaving_ends_with_it() -> None:
    async with receiving(last()) as (incoming, wire), anyio.create_task_group() as tasks:

        async def wait() -> None:
            while not incoming.disconnected:
                await incoming.wait_disconnected()

        tasks.start_soon(wait)
        await turns()
        wire.put(GONE)
    await incoming.wait_disconnected()


async def test_a_disconnect_after_a_whole_response_is_no_leaving() -> None:
    async with receiving(part(b"a")) as (incoming, wire):
        incoming.watch()
        incoming.responded = True
        wire.put(GONE)
        await turns()
        assert not incoming.disconnected
        with pytest.raises(ClientDisconnect, match="the response has ended"):
            await incoming.read_body()


# -- the end ---------------------------------------------------------------------------------------


async def test_closing_stops_the_pump_and_tells_the_readers() -> None:
    async with receiving() as (incoming, wire), anyio.create_task_group() as tasks:

        async def read() -> None:
            with pytest.raises(ClientDisconnect, match="the response has ended"):
                await incoming.take()

        tasks.start_soon(read)
        await turns()
        assert wire.pending == 1
        await incoming.close()
        assert wire.pending == 0
        assert incoming.pump is None
        await incoming.close()


async def test_a_closed_request_receives_nothing() -> None:
    async with receiving(last(b"x")) as (incoming, wire):
        await incoming.close()
        incoming.watch()
        with pytest.raises(ClientDisconnect):
            await incoming.read_body()
        assert wire.calls == 0


async def test_closing_ends_a_pump_that_waits_for_room() -> None:
    async with receiving(*[BLOCK] * 9) as (incoming, _):
        incoming.watch()
        await turns(30)
        assert incoming.room is not None


async def test_a_request_without_a_rim_is_abandoned_without_waiting() -> None:
    async with receiving() as (incoming, wire):
        incoming.abandon()
        incoming.watch()
        incoming.abandon()
        await turns()
        assert wire.pending == 1
        incoming.owned = False
        incoming.abandon()
        await turns()
        assert wire.pending == 0


async def test_a_server_may_leave_out_the_headers() -> None:
    incoming = Incoming({"type": "http"}, Wire(GONE))
    incoming.watch()
    await turns()
    assert incoming.disconnected
    await incoming.close()


async def test_a_shutdown_is_told_once() -> None:
    incoming = Incoming({"type": "http"}, anyio.sleep_forever)  # type: ignore[arg-type]
    incoming.shut_down()
    assert incoming.shutting_down
    assert not incoming.heard
    incoming.listens = True
    incoming.shut_down()
    assert not incoming.heard
