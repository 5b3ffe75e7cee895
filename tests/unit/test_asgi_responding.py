"""What comes after a response: what was opened is closed, once, whatever comes."""

import asyncio
from typing import Any

import anyio
import pytest

from hesper._asgi.exchange import Exchange
from hesper._asgi.incoming import Incoming
from hesper._asgi.responding import (
    close_what_was_opened,
    hand_over,
    inherit,
    say_unavailable,
)
from hesper._asgi.terms import Terms
from hesper.types import Message
from tests.conftest import ExpectedErrors, on_asyncio


async def receive() -> Message:
    await anyio.sleep_forever()
    raise AssertionError


async def send(message: Message) -> None: ...


def exchange() -> Exchange:
    return Exchange({"type": "http"}, receive, send)


def closing(incoming: Incoming, log: list[str], *names: str) -> None:
    def make(name: str) -> Any:
        async def close() -> None:
            log.append(name)

        return close

    incoming.at_end += tuple(make(name) for name in names)


async def test_what_was_opened_is_closed_once() -> None:
    log: list[str] = []
    incoming = exchange().incoming
    closing(incoming, log, "a", "b")
    await close_what_was_opened(incoming)
    await close_what_was_opened(incoming)
    assert log == ["a", "b"]


async def test_what_fails_to_close_does_not_keep_the_others_open(
    expected_errors: ExpectedErrors,
) -> None:
    log: list[str] = []
    incoming = exchange().incoming

    async def fail() -> None:
        raise LookupError("broken")

    incoming.at_end += (fail,)
    closing(incoming, log, "a")
    await close_what_was_opened(incoming)
    assert log == ["a"]
    assert expected_errors.take() == ["Closing what a request had opened failed."]


@on_asyncio
async def test_a_native_cancel_meanwhile_closes_the_others_and_comes_out() -> None:
    log: list[str] = []
    incoming = exchange().incoming
    waits = asyncio.Event()

    async def slow() -> None:
        waits.set()
        await asyncio.sleep(60)

    incoming.at_end += (slow,)
    closing(incoming, log, "a")
    task = asyncio.create_task(close_what_was_opened(incoming))
    await waits.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log == ["a"]


async def test_the_last_heir_closes_what_the_request_had_opened_if_it_is_gone() -> None:
    log: list[str] = []
    terms = Terms()
    heir = exchange()
    closing(heir.incoming, log, "a")
    await inherit(terms, heir)  # the request waited for it
    hand_over(terms, heir)
    hand_over(terms, heir)
    assert heir.disconnected
    await inherit(terms, heir)
    assert log == []
    await inherit(terms, heir)
    assert log == []  # the request is still on its way out, and closes it itself
    hand_over(terms, heir)
    heir.incoming.closed = True
    await inherit(terms, heir)
    assert log == ["a"]


async def test_the_503_of_a_shutdown_may_find_nobody() -> None:
    sent: list[str] = []

    async def leaving(message: Message) -> None:
        sent.append(message["type"])
        raise OSError("the client is gone")

    cut = Exchange({"type": "http"}, receive, leaving)
    await say_unavailable(cut)
    assert sent == []  # it was not cut
    cut.cut = True
    await say_unavailable(cut)
    await say_unavailable(cut)
    assert sent == ["http.response.start"]
