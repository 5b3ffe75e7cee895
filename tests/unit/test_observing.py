"""How an ending is found out: the cases that no real request shows by itself."""

from typing import Any

import pytest

from hesper._asgi.exchange import Exchange
from hesper._asgi.states import IDLE
from hesper._asgi.terms import Terms
from hesper._asgi.websocket import SocketExchange
from hesper._observing import Witness, ending_of, socket_ending_of
from hesper.endings import Ending
from hesper.types import Message


class Taken:
    """A ``send`` that takes everything, or fails."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    async def __call__(self, message: Message) -> None:
        if self.error is not None:
            raise self.error


async def receive() -> Message:
    raise AssertionError("nothing is received")


START: Message = {"type": "http.response.start", "status": 200, "headers": []}


def exchange() -> Exchange:
    return Exchange({"type": "http"}, receive, Taken())


async def witness(*messages: Message) -> Witness:
    made = Witness(Taken())
    for message in messages:
        await made(message)
    return made


async def test_a_witness_believes_what_was_taken() -> None:
    failing = Witness(Taken(OSError()))
    with pytest.raises(OSError):
        await failing(START)
    assert (failing.status, failing.whole) == (None, False)


@pytest.mark.parametrize(
    ("messages", "status"),
    [
        (["websocket.accept", "websocket.close"], 101),
        (["websocket.close"], 403),
        (["websocket.accept", "websocket.send"], 101),
        (["websocket.send"], None),
    ],
)
async def test_a_witness_of_a_socket(messages: list[str], status: int | None) -> None:
    made = await witness(*({"type": kind} for kind in messages))
    assert made.status == status


async def test_without_an_exchange_only_an_error_is_one() -> None:
    made = await witness(START)
    assert ending_of(None, made, None) is Ending.COMPLETED
    assert ending_of(None, made, LookupError()) is Ending.FAILED


async def test_what_a_shutdown_cut_was_perhaps_whole_before() -> None:
    cut = exchange()
    cut.cut = True
    whole: Message = {"type": "http.response.body"}
    assert ending_of(cut, await witness(START, whole), None) is Ending.COMPLETED
    assert ending_of(cut, await witness(START), None) is Ending.SHUT_DOWN
    refused = await witness({**START, "status": 503}, whole)
    assert ending_of(cut, refused, None) is Ending.SHUT_DOWN


async def test_terms_say_whether_the_time_was_over() -> None:
    timed = exchange()
    timed.terms = Terms()
    made = await witness(START, {"type": "http.response.body"})
    assert ending_of(timed, made, None) is Ending.COMPLETED
    error = timed.terms.time_out("it took too long.")
    assert (timed.terms.deadline, error.reason) == (None, "it took too long.")
    assert ending_of(timed, made, LookupError()) is Ending.TIMED_OUT


async def test_an_error_counts_more_than_the_clients_leaving() -> None:
    left = exchange()
    left.incoming.lost()
    made = await witness()
    assert left.state is IDLE
    assert ending_of(left, made, None) is Ending.LEFT_IN_UPLOAD
    assert ending_of(left, made, LookupError()) is Ending.FAILED


@pytest.mark.parametrize(
    ("code", "ending"),
    [(1000, Ending.COMPLETED), (1006, Ending.LEFT_IN_RESPONSE), (1005, Ending.LEFT_IN_RESPONSE)],
)
async def test_a_socket_is_lost_or_closed(code: int, ending: Ending) -> None:
    socket: Any = SocketExchange({"type": "websocket"}, receive, Taken())
    assert socket_ending_of(socket, None) is Ending.COMPLETED
    socket.accepted = True
    socket.lost({"type": "websocket.disconnect", "code": code})
    assert socket_ending_of(socket, None) is ending
    assert socket_ending_of(socket, LookupError()) is Ending.FAILED
    socket.timed_out = True
    assert socket_ending_of(socket, None) is Ending.TIMED_OUT
    socket.cut = True
    assert socket_ending_of(socket, None) is Ending.SHUT_DOWN


async def test_a_response_that_nobody_ended_has_failed() -> None:
    made = await witness(START)
    assert ending_of(exchange(), made, None) is Ending.FAILED
