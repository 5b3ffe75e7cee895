"""What arrives: one pump and a bounded buffer."""

from typing import Any

import anyio
import pytest

from hesper._asgi.arrivals import DISCARD_LIMIT
from hesper._asgi.incoming import Incoming
from hesper._asgi.states import RequestState
from hesper._concurrency import spawn
from hesper.exceptions import ClientDisconnect, HTTPException, ServerProtocolError, UsageError
from tests.unit.wire import BLOCK, GONE, Wire, last, part, receiving, taken, turns

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


async def test_only_those_stretches_are_interrupted_that_are_still_there() -> None:
    class Stretch:
        interrupted = 0

        def interrupt(self) -> None:
            self.interrupted += 1

    async with receiving(GONE) as (incoming, _):
        stretches: list[Any] = [Stretch() for _ in range(4)]
        for stretch in stretches:
            incoming.add_stretch(stretch)
        incoming.remove_stretch(stretches[0])
        incoming.remove_stretch(stretches[3])
        incoming.watch()
        await turns()
        assert [stretch.interrupted for stretch in stretches] == [0, 1, 1, 0]
        incoming.remove_stretch(stretches[0])  # harmless on a second call
