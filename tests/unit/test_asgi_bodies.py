"""A streamed body: closed once, whatever comes; and the final message only after its last item."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextvars import ContextVar
from typing import Any

import anyio
import pytest

from hesper._asgi.bodies import GRACE, SCOPE_AROUND_YIELD, YIELD_EVERY, Body, close_unused, stream
from hesper._asgi.exchange import Exchange, open_exchange
from hesper._asgi.http import drive
from hesper._asgi.states import ENDED, POISONED
from hesper._concurrency import cancelled_type, checkpoint
from hesper.exceptions import ClientDisconnect, UsageError
from hesper.testing import virtual_time_loop_factory
from hesper.types import Message
from tests.conftest import ExpectedErrors

START: Message = {"type": "http.response.start", "status": 200, "headers": []}
END: Message = {"type": "http.response.body", "body": b"", "more_body": False}

place: ContextVar[str] = ContextVar("place", default="outside")


def chunk(body: bytes) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": True}


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await checkpoint()


class Server:
    """A server whose client leaves when it is told, and whose send can block or fail."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.left = anyio.Event()
        self.blocks = False
        self.error: Exception | None = None

    async def receive(self) -> Message:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if self.error is not None:
            raise self.error
        if self.blocks:
            await anyio.sleep_forever()
        self.sent.append(message)

    @property
    def ended(self) -> bool:
        return END in self.sent


async def play(
    server: Server, body: Body, start: Message = START, *, then: Callable[[], Any] | None = None
) -> Exchange:
    """Streams a body as the rim does; `then` runs in the same task, afterwards."""
    exchange = open_exchange({"type": "http", "headers": []}, server.receive, server.send)

    async def work() -> None:
        await stream(exchange, body, start)
        if then is not None:
            await then()

    try:
        await drive(work(), exchange)
    finally:
        exchange.end()
        await exchange.incoming.close()
    return exchange


async def leave_at(server: Server, event: anyio.Event) -> None:
    await event.wait()
    server.left.set()


class Part:
    """An async iterator that counts its closings; `close` may be made to fail or to wait."""

    def __init__(self, log: list[str], name: str, closing: Any = None) -> None:
        self.log, self.name, self.closing = log, name, closing

    def __aiter__(self) -> "Part":
        return self

    async def __anext__(self) -> bytes:
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self.log.append(self.name)
        if isinstance(self.closing, BaseException):
            raise self.closing
        if self.closing is not None:
            await self.closing()


class Closing:
    """The same with a sync `close()`."""

    def __init__(self, log: list[str], name: str) -> None:
        self.log, self.name = log, name

    def __aiter__(self) -> "Closing":
        return self

    async def __anext__(self) -> bytes:
        raise StopAsyncIteration

    def close(self) -> None:
        self.log.append(self.name)


class Bare:
    """An async iterable that cannot be closed, and is not its own iterator."""

    def __init__(self, *items: Any) -> None:
        self.items = items

    async def __aiter__(self) -> AsyncIterator[Any]:
        for item in self.items:
            yield item


# -- the object ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("ä", "ä".encode("latin-1")),
        (b"x", b"x"),
        (bytearray(b"y"), b"y"),
        (memoryview(b"z"), b"z"),
    ],
)
def test_a_chunk_becomes_a_byte_string(given: object, sent: bytes) -> None:
    encoded = Body(Bare(), "latin-1").encode(given)
    assert encoded == sent
    assert type(encoded) is bytes


def test_a_chunk_that_is_neither_text_nor_bytes_is_named() -> None:
    with pytest.raises(UsageError) as caught:
        Body(Bare(), "utf-8").encode(7)
    assert str(caught.value) == "Expected the body iterator to give str or bytes, got int: 7."


async def test_a_body_knows_whether_it_is_a_generator() -> None:
    generator = aiter(Bare())
    assert Body(generator, "utf-8").is_generator
    assert not Body(Bare(), "utf-8").is_generator


async def test_what_was_replaced_is_closed_after_what_replaced_it_and_once() -> None:
    log: list[str] = []
    first = Part(log, "first")
    body = Body(first, "utf-8")
    body.replace(first)
    body.replace(Closing(log, "second"))
    third = Part(log, "third")
    body.replace(third)
    assert body.content is third
    await body.aclose()
    await body.aclose()
    assert log == ["third", "second", "first"]


async def test_an_iterator_is_closed_and_its_iterable_too() -> None:
    log: list[str] = []

    class Iterable(Part):
        def __aiter__(self) -> Part:
            return Part(log, "iterator")

    body = Body(Iterable(log, "iterable"), "utf-8")
    body.start()
    await body.aclose()
    assert log == ["iterator", "iterable"]


async def test_every_part_is_closed_and_the_first_error_is_raised(
    expected_errors: ExpectedErrors,
) -> None:
    log: list[str] = []
    body = Body(Part(log, "3", ValueError("third")), "utf-8")
    body.replace(Part(log, "2", ValueError("second")))
    body.replace(Part(log, "1"))
    with pytest.raises(ValueError, match="second"):
        await body.aclose()
    assert log == ["1", "2", "3"]
    assert expected_errors.take() == ["A part of a response's body failed to close."]


async def test_every_part_is_closed_when_the_closing_is_cancelled() -> None:
    log: list[str] = []
    body = Body(Part(log, "3", ValueError()), "utf-8")
    body.replace(Part(log, "2", anyio.sleep_forever))
    body.replace(Part(log, "1", anyio.sleep_forever))
    with anyio.CancelScope() as scope:
        scope.cancel()
        await body.aclose()
    assert scope.cancelled_caught
    assert log == ["1", "2", "3"]


async def test_a_generator_that_wraps_its_own_ending_into_a_group_is_closed_quietly() -> None:
    async def items() -> AsyncIterator[bytes]:
        try:
            yield b"x"
        except GeneratorExit as exc:
            raise BaseExceptionGroup("", [exc]) from None

    generator = items()
    await anext(generator)
    await Body(generator, "utf-8").aclose()


async def test_the_rest_of_such_a_group_is_raised() -> None:
    async def items() -> AsyncIterator[bytes]:
        try:
            yield b"x"
        except GeneratorExit as exc:
            raise BaseExceptionGroup("", [exc, ValueError("mine")]) from None

    generator = items()
    await anext(generator)
    with pytest.raises(ExceptionGroup) as caught:
        await Body(generator, "utf-8").aclose()
    assert [str(each) for each in caught.value.exceptions] == ["mine"]


async def test_a_body_on_its_own_has_nothing_late_and_nothing_to_wait_for() -> None:
    body = Body(Bare(), "utf-8")
    assert list(body.late) == []
    await body.finish()


# -- a stream that ends ----------------------------------------------------------------------------


async def test_a_stream_sends_its_start_its_chunks_and_an_end() -> None:
    server = Server()
    exchange = await play(server, Body(Bare("a", b"b"), "utf-8"))
    assert server.sent == [START, chunk(b"a"), chunk(b"b"), END]
    assert exchange.state is ENDED


async def test_a_body_sends_itself() -> None:
    server = Server()
    exchange = open_exchange({"type": "http"}, server.receive, server.send)
    await Body(Bare("a"), "utf-8").send(exchange, START)
    assert server.sent == [START, chunk(b"a"), END]


async def test_a_message_of_a_foreign_app_is_sent_as_it_is() -> None:
    server = Server()
    message = {**chunk(b"a"), "key": 1}
    await play(server, Body(Bare(message), "utf-8"))
    assert server.sent == [START, message, END]


class LateBody(Body):
    late = [{"type": "http.response.trailers", "headers": [(b"a", b"b")]}]


async def test_late_messages_follow_the_body() -> None:
    server = Server()
    start = {**START, "trailers": True}
    exchange = await play(server, LateBody(Bare(b"x"), "utf-8"), start)
    assert server.sent == [start, chunk(b"x"), END, *LateBody.late]
    assert exchange.state is ENDED


async def test_trailers_that_were_announced_and_did_not_come_are_empty() -> None:
    server = Server()
    exchange = await play(server, Body(Bare(), "utf-8"), {**START, "trailers": True})
    assert server.sent[-1] == {"type": "http.response.trailers", "headers": []}
    assert exchange.state is ENDED


async def test_a_body_is_run_and_closed_in_the_task_and_context_of_the_request() -> None:
    seen = []

    async def items() -> AsyncIterator[bytes]:
        token = place.set("inside")
        task = anyio.get_current_task().id
        try:
            yield b"x"
        finally:
            await turns()
            seen.append(anyio.get_current_task().id == task)
            place.reset(token)

    await play(Server(), Body(items(), "utf-8"))
    assert seen == [True]
    assert place.get() == "outside"


async def test_a_body_that_never_waits_lets_others_run_now_and_then() -> None:
    exchange = await play(Server(), Body(Bare(*[b"x"] * (3 * YIELD_EVERY)), "utf-8"))
    assert exchange.suspensions == 3


async def test_a_body_that_waits_needs_no_checkpoints_of_ours() -> None:
    async def items() -> AsyncIterator[bytes]:
        for _ in range(2 * YIELD_EVERY):
            await checkpoint()
            yield b"x"

    server = Server()
    exchange = await play(server, Body(items(), "utf-8"))
    assert exchange.suspensions == 2 * YIELD_EVERY


# -- the client leaves -----------------------------------------------------------------------------


async def test_a_body_that_waits_for_its_next_item_is_cancelled_once_and_may_await() -> None:
    server = Server()
    log = []
    waiting = anyio.Event()

    async def items() -> AsyncIterator[bytes]:
        try:
            yield b"x"
            waiting.set()
            await anyio.sleep_forever()
        except cancelled_type():
            log.append("cancelled")
            raise
        finally:
            await turns()
            log.append("clean")

    async def then() -> None:
        await turns()
        log.append("then")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(leave_at, server, waiting)
        await play(server, Body(items(), "utf-8"), then=then)
    assert log == ["cancelled", "clean", "then"]
    assert server.sent == [START, chunk(b"x")]


async def test_a_body_whose_send_is_blocked_is_closed() -> None:
    server = Server()
    log = []
    waiting = anyio.Event()

    async def items() -> AsyncIterator[bytes]:
        try:
            yield b"x"
            server.blocks = True
            waiting.set()
            yield b"y"
        finally:
            await turns()
            log.append("clean")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(leave_at, server, waiting)
        exchange = await play(server, Body(items(), "utf-8"))
    assert log == ["clean"]
    assert not server.ended
    assert exchange.incoming.disconnected


async def test_a_body_that_never_waits_stops_too() -> None:
    server = Server()
    log = []

    async def items() -> AsyncIterator[bytes]:
        try:
            for number in range(10_000):
                if number == 100:
                    server.left.set()
                yield b"x"
        finally:
            log.append("closed")

    await play(server, Body(items(), "utf-8"))
    assert log == ["closed"]
    assert len(server.sent) < 1000


async def test_a_body_of_a_client_that_left_before_is_closed_and_not_begun() -> None:
    server = Server()
    log: list[str] = []
    body = Body(Part(log, "closed"), "utf-8")
    exchange = open_exchange({"type": "http"}, server.receive, server.send)
    exchange.incoming.lost()
    with pytest.raises(ClientDisconnect):
        await stream(exchange, body, START)
    assert log == ["closed"]
    assert server.sent == []


async def test_a_leaving_during_the_cleanup_of_a_broken_body_does_not_cancel_it() -> None:
    server = Server()
    log = []

    async def items() -> AsyncIterator[bytes]:
        await turns()
        yield b"x"
        raise ValueError

    async def clean() -> None:
        server.left.set()
        await turns(20)
        log.append("clean")

    body = Body(Part([], "part", clean), "utf-8")
    body.replace(items())
    with pytest.raises(ValueError):
        await play(server, body)
    assert log == ["clean"]
    assert not server.ended


async def test_a_leaving_that_comes_with_the_end_does_not_cancel_the_cleanup() -> None:
    server = Server()
    log = []

    async def clean() -> None:
        server.left.set()
        await turns(20)
        log.append("clean")

    await play(server, Body(Part([], "part", clean), "utf-8"))
    assert log == ["clean"]
    assert server.ended


async def test_a_send_that_fails_for_the_leaving_closes_the_body() -> None:
    server = Server()
    log: list[str] = []
    body = Body(Part(log, "closed"), "utf-8")
    server.error = OSError("reset")
    with pytest.raises(ClientDisconnect):
        await play(server, body)
    assert log == ["closed"]


async def test_a_body_that_swallows_its_cancel_and_goes_on_is_stopped() -> None:
    server = Server()
    waiting = anyio.Event()

    async def items() -> AsyncIterator[bytes]:
        waiting.set()
        with contextlib.suppress(cancelled_type()):
            await anyio.sleep_forever()
        yield b"more"

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(leave_at, server, waiting)
        await play(server, Body(items(), "utf-8"))
    assert server.sent == [START]


async def test_a_body_that_swallows_a_real_cancel_and_ends_is_not_ended_cleanly() -> None:
    server = Server()

    async def items() -> AsyncIterator[bytes]:
        yield b"half"
        with contextlib.suppress(cancelled_type()):
            await anyio.sleep_forever()

    with anyio.move_on_after(0.01) as scope:
        await play(server, Body(items(), "utf-8"))
    assert scope.cancelled_caught
    assert server.sent == [START, chunk(b"half")]


async def test_a_timeout_of_the_bodys_own_is_its_own() -> None:
    server = Server()

    async def items() -> AsyncIterator[bytes]:
        for _ in range(3):
            with anyio.move_on_after(0.001):
                await anyio.sleep_forever()
            yield b"tick"

    await play(server, Body(items(), "utf-8"))
    assert server.sent == [START, *[chunk(b"tick")] * 3, END]


# -- errors ----------------------------------------------------------------------------------------


async def test_a_body_that_raises_is_closed_and_not_ended() -> None:
    server = Server()
    log: list[str] = []
    error = ValueError("mine")

    async def items() -> AsyncIterator[bytes]:
        yield b"x"
        raise error

    body = Body(Part(log, "closed"), "utf-8")
    body.replace(items())
    with pytest.raises(ValueError) as caught:
        await play(server, body)
    assert caught.value is error
    assert log == ["closed"]
    assert server.sent == [START, chunk(b"x")]


async def test_an_error_in_the_closing_of_a_whole_body_is_raised() -> None:
    server = Server()
    with pytest.raises(ValueError, match="mine"):
        await play(server, Body(Part([], "part", ValueError("mine")), "utf-8"))
    assert server.ended


async def test_an_error_in_the_closing_of_a_broken_body_is_logged(
    expected_errors: ExpectedErrors,
) -> None:
    async def items() -> AsyncIterator[bytes]:
        yield b"x"
        raise ValueError("first")

    body = Body(Part([], "part", ValueError("second")), "utf-8")
    body.replace(items())
    with pytest.raises(ValueError, match="first"):
        await play(Server(), body)
    assert expected_errors.take() == ["A response's body failed to close."]


async def test_a_send_that_is_cancelled_poisons_the_response() -> None:
    server = Server()
    server.blocks = True
    exchange = open_exchange({"type": "http"}, server.receive, server.send)
    with anyio.move_on_after(0.01) as scope:
        await stream(exchange, Body(Bare(b"x"), "utf-8"), START)
    assert scope.cancelled_caught
    assert exchange.state is POISONED


@pytest.mark.parametrize("fails_to_close", [False, True])
async def test_a_scope_around_a_yield_that_cancels_the_sending_is_the_bodys_mistake(
    fails_to_close: bool,
) -> None:
    server = Server()

    async def items() -> AsyncIterator[bytes]:
        try:
            with anyio.move_on_after(0.01):
                server.blocks = True
                yield b"x"
        finally:
            if fails_to_close:
                raise ValueError("mine")

    with pytest.raises(ValueError if fails_to_close else UsageError) as caught:
        await play(server, Body(items(), "utf-8"))
    assert str(caught.value) == ("mine" if fails_to_close else SCOPE_AROUND_YIELD)


async def test_a_wrong_chunk_ends_the_stream_with_an_error() -> None:
    server = Server()
    with pytest.raises(UsageError, match="got int"):
        await play(server, Body(Bare(7), "utf-8"))
    assert server.sent == [START]


# -- the grace time, in virtual time -----------------------------------------------------------------


def in_asyncio(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner(loop_factory=virtual_time_loop_factory()) as runner:
        runner.run(main())


class Slow:
    """A body that waits, and whose cleanup takes longer than anybody waits."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.waiting = anyio.Event()

    def __aiter__(self) -> "Slow":
        return self

    async def __anext__(self) -> bytes:
        if self.error is not None:
            raise self.error
        self.waiting.set()
        try:
            await anyio.sleep_forever()
        finally:
            await anyio.sleep(1000)
        return b""

    async def aclose(self) -> None:
        if self.error is not None:
            await anyio.sleep(1000)


WARNING = f"A response's body was abandoned: its cleanup took longer than {GRACE} seconds."


def test_a_cleanup_that_takes_too_long_is_cut_and_the_request_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        server, content = Server(), Slow()
        log = []

        async def then() -> None:
            await turns()
            log.append("then")

        began = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(leave_at, server, content.waiting)
            await play(server, Body(content, "utf-8"), then=then)
        assert anyio.current_time() - began == pytest.approx(GRACE)
        assert log == ["then"]

    with caplog.at_level(logging.WARNING):
        in_asyncio(main)
    assert caplog.messages == [WARNING]


def test_a_native_cancel_comes_out_of_a_cleanup_that_was_cut(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        server, content = Server(), Slow()
        task = asyncio.create_task(play(server, Body(content, "utf-8")))
        await content.waiting.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not server.ended

    with caplog.at_level(logging.WARNING):
        in_asyncio(main)
    assert caplog.messages == [WARNING]


def test_the_error_of_a_body_comes_out_of_a_closing_that_was_cut(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        server = Server()
        with pytest.raises(ValueError, match="mine"):
            await play(server, Body(Slow(ValueError("mine")), "utf-8"))
        assert not server.ended

    with caplog.at_level(logging.WARNING):
        in_asyncio(main)
    assert caplog.messages == [WARNING]


# -- bodies that nobody sent -----------------------------------------------------------------------


class Waiting(Body):
    finished = False

    async def finish(self) -> None:
        type(self).finished = True


async def test_dropped_bodies_are_closed_latest_first_and_waited_for() -> None:
    log: list[str] = []
    Waiting.finished = False
    await close_unused((Waiting(Part(log, "1"), "utf-8"), Body(Part(log, "2"), "utf-8")))
    assert log == ["2", "1"]
    assert Waiting.finished


async def test_a_dropped_generator_is_closed_in_this_task() -> None:
    log = []

    async def items() -> AsyncIterator[bytes]:
        with anyio.CancelScope():
            try:
                yield b"x"
            finally:
                await turns()
                log.append("closed")

    generator = items()
    await anext(generator)
    await close_unused((Body(generator, "utf-8"),))
    assert log == ["closed"]


async def test_a_dropped_body_that_fails_to_close_is_logged_and_the_others_are_closed(
    expected_errors: ExpectedErrors,
) -> None:
    log: list[str] = []
    await close_unused(
        (Body(Part(log, "1"), "utf-8"), Body(Part(log, "2", ValueError("mine")), "utf-8"))
    )
    assert log == ["2", "1"]
    assert expected_errors.take() == ["A response's body that was dropped failed to close."]


async def test_dropped_bodies_are_closed_in_a_cancelled_scope_too() -> None:
    log: list[str] = []

    async def items() -> AsyncIterator[bytes]:
        try:
            yield b"x"
        finally:
            log.append("generator")
            await anyio.sleep_forever()

    async def clean() -> None:
        await turns()
        log.append("clean")

    generator = items()
    await anext(generator)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await close_unused((Body(Part(log, "part", clean), "utf-8"), Body(generator, "utf-8")))
    assert scope.cancelled_caught
    assert log == ["generator", "part", "clean"]
