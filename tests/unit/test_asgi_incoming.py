"""What comes in, as its readers see it: a stream, a whole body, and a disconnect for everybody."""

import anyio
import pytest

from hesper._asgi.incoming import QUIET_CHECKPOINTS
from hesper._concurrency import interruptible
from hesper.exceptions import ClientDisconnect, UsageError
from hesper.types import Message
from tests.unit.wire import BLOCK, GONE, last, part, receiving, taken, turns

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
