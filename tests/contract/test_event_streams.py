"""``EventSourceResponse``: events as they come, pings in silence, a last event on shutdown, and nothing
left behind."""

import gzip
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import pytest

from hesper.applications import Hesper
from hesper.middleware import Middleware
from hesper.middleware.compression import CompressionMiddleware
from hesper.requests import Request
from hesper.responses import Response
from hesper.routing import Route
from hesper.sse import EventParser, EventSourceResponse, ServerSentEvent
from hesper.testing import Dialect, Result, ScriptedServer
from tests.conftest import ExpectedErrors, in_virtual_time
from tests.contract.apps import assert_quiet, over, pass_on, send_can_be_cancelled, settle
from tests.contract.test_e15_shutdown import shut_down

PING = b": ping\n\n"


def serving(content: Any, *middleware: Any, **options: Any) -> Hesper:
    async def endpoint(request: Request) -> Response:
        return EventSourceResponse(content(request), **options)

    return Hesper(routes=[Route("/", endpoint)], middleware=middleware)


def data(body: bytes) -> list[str]:
    return [event.data or "" for event in EventParser().feed(body)]


class Events:
    """Gives what it is told to, and waits for ever; writes down how it ended."""

    def __init__(self, *events: Any, cleanup: float = 0) -> None:
        self.events = events
        self.cleanup = cleanup
        self.waits = anyio.Event()
        self.ended: list[str] = []

    async def __call__(self, request: Request) -> AsyncIterator[Any]:
        try:
            for event in self.events:
                yield event
            self.waits.set()
            await anyio.sleep_forever()
        finally:
            await anyio.sleep(self.cleanup)
            self.ended.append("closed")


async def test_events_are_sent_as_they_come(dialect: Dialect) -> None:
    async def content(request: Request) -> AsyncIterator[Any]:
        yield ServerSentEvent("one", event="number", id="1")
        yield "two\nlines"
        yield {"three": [3, None, "ä"]}
        yield None
        yield b"data: as it is\n\n"

    result = await ScriptedServer(serving(content), dialect).get("/").run()
    assert result.complete
    assert result.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert result.headers["cache-control"] == "no-store"
    assert data(result.body) == ["one", "two\nlines", '{"three":[3,null,"ä"]}', "null", "as it is"]
    assert len([m for m in result.messages if m.get("body")]) == 5
    assert_quiet(result)


async def test_a_sync_iterable_is_run_in_threads(dialect: Dialect) -> None:
    closed: list[bool] = []

    def content(request: Request) -> Iterator[Any]:
        try:
            yield "one"
            yield {"two": 2}
        finally:
            closed.append(True)

    result = await ScriptedServer(serving(content), dialect).get("/").run()
    assert data(result.body) == ["one", '{"two":2}']
    assert (result.complete, closed) == (True, [True])


async def test_what_is_no_generator_is_closed_too(dialect: Dialect) -> None:
    closed: list[str] = []

    class Content:
        async def __aiter__(self) -> AsyncIterator[Any]:
            try:
                yield "one"
                yield "two"
            finally:
                closed.append("iterator")
                await anyio.sleep(0)

        async def aclose(self) -> None:
            closed.append("content")

    server = ScriptedServer(serving(lambda request: Content()), dialect)
    assert data((await server.get("/").run()).body) == ["one", "two"]
    await server.get("/").leave_at_message(2).run()
    assert closed == ["iterator", "content"] * 2


# -- pings -----------------------------------------------------------------------------------------


def sent_at(result: Result) -> list[tuple[float, bytes]]:
    bodies = [each for each in result.sent if each.message.get("body")]
    return [(round(each.time, 3), each.message["body"]) for each in bodies]


@in_virtual_time
async def test_a_silent_stream_pings(dialect: Dialect) -> None:
    async def content(request: Request) -> AsyncIterator[Any]:
        await anyio.sleep(25)
        yield "one"
        await anyio.sleep(9)
        yield "two"
        await anyio.sleep(11)

    result = await ScriptedServer(serving(content, ping=10), dialect).get("/").run()
    one, two = b"data: one\n\n", b"data: two\n\n"
    assert sent_at(result) == [(10, PING), (20, PING), (25, one), (34, two), (44, PING)]
    assert data(result.body) == ["one", "two"]
    assert result.complete
    assert_quiet(result)


@in_virtual_time
async def test_pings_can_be_left_out(dialect: Dialect) -> None:
    async def content(request: Request) -> AsyncIterator[Any]:
        await anyio.sleep(50)
        yield "one"

    result = await ScriptedServer(serving(content, ping=None), dialect).get("/").run()
    assert sent_at(result) == [(50, b"data: one\n\n")]


@in_virtual_time
async def test_a_busy_stream_does_not_ping() -> None:
    async def content(request: Request) -> AsyncIterator[Any]:
        for number in range(5):
            await anyio.sleep(9)
            yield number

    result = await ScriptedServer(serving(content, ping=10)).get("/").run()
    assert PING not in result.body


@in_virtual_time
async def test_a_stalled_client_gets_no_second_message_while_one_is_sent(dialect: Dialect) -> None:
    # The second message is an event, then a ping: nothing else is sent before it has left.
    for first in (Events("one"), Events()):
        server = ScriptedServer(serving(first, ping=1), dialect)
        async with server.get("/").stall_at_message(2).open() as client:
            await anyio.sleep(10)
            client.leave()
            result = await client.finish()
        if dialect.backpressure:
            assert len(result.sent) <= 2
        assert first.ended == ["closed"]
        assert result.ended == "returned"
        assert not result.complete


@in_virtual_time
async def test_an_event_waits_for_a_ping_that_is_being_sent(dialect: Dialect) -> None:
    if not dialect.backpressure:
        return

    async def content(request: Request) -> AsyncIterator[Any]:
        await anyio.sleep(3)
        yield "one"

    server = ScriptedServer(serving(content, ping=2), dialect)
    async with server.get("/").stall_at_message(2).open() as client:
        await anyio.sleep(5)
        client.release()
        result = await client.finish()
    assert [body for _, body in sent_at(result)] == [PING, b"data: one\n\n"]
    assert result.complete
    assert_quiet(result)


@in_virtual_time
async def test_a_ping_finds_out_that_the_client_is_gone() -> None:
    class Gone(OSError):
        pass

    events = Events("one")
    app = serving(events, ping=10)
    sent: list[bytes] = []

    async def send(message: Any) -> None:
        if message.get("body") == PING:
            raise Gone
        sent.append(message.get("body", b""))

    async def receive() -> Any:
        await anyio.sleep_forever()

    scope = ScriptedServer(app).get("/").plan.scope
    await app(dict(scope), receive, send)
    assert (sent, events.ended) == ([b"", b"data: one\n\n"], ["closed"])


@in_virtual_time
async def test_an_error_of_the_server_in_a_ping_is_raised_into_it(
    expected_errors: ExpectedErrors,
) -> None:
    async def content(request: Request) -> AsyncIterator[Any]:
        await anyio.sleep(15)
        yield "one"

    app = serving(content, ping=10)

    async def send(message: Any) -> None:
        if message.get("body") == PING:
            raise LookupError("of the server")

    async def receive() -> Any:
        await anyio.sleep_forever()

    scope = ScriptedServer(app).get("/").plan.scope
    with pytest.raises(LookupError):
        await app(dict(scope), receive, send)
    expected_errors.clear()


# -- endings ---------------------------------------------------------------------------------------


@in_virtual_time
@over("silent", [False, True])
async def test_the_client_leaves(dialect: Dialect, silent: bool) -> None:
    events = Events("one", cleanup=2)  # gunicorn cancels after three
    async with ScriptedServer(serving(events), dialect).get("/").open() as client:
        await events.waits.wait()
        if silent:
            await anyio.sleep(20)
        client.leave()
        result = await client.finish()
    assert events.ended == ["closed"]
    assert_quiet(result)


async def test_the_client_leaves_in_the_middle(dialect: Dialect) -> None:
    events = Events("one", "two", "three")
    result = await ScriptedServer(serving(events), dialect).get("/").leave_at_message(3).run()
    assert events.ended == ["closed"]
    assert_quiet(result)


@in_virtual_time
async def test_the_server_cancels(dialect: Dialect) -> None:
    events = Events("one", cleanup=1)
    async with ScriptedServer(serving(events), dialect).get("/").open() as client:
        await events.waits.wait()
        client.cancel_app()
        result = await client.finish()
    assert (events.ended, result.ended) == (["closed"], "cancelled")
    assert not result.complete


async def test_an_error_of_the_producer_breaks_the_stream_off(
    dialect: Dialect, expected_errors: ExpectedErrors
) -> None:
    async def content(request: Request) -> AsyncIterator[Any]:
        yield "one"
        raise LookupError("of the app")

    result = await ScriptedServer(serving(content), dialect).get("/").run()
    assert isinstance(result.raised, LookupError)
    assert not result.complete
    expected_errors.clear()


# -- shutdown --------------------------------------------------------------------------------------


@in_virtual_time
@over("depth", [0, 3])
async def test_a_shutdown_ends_the_stream_with_its_last_event(dialect: Dialect, depth: int) -> None:
    events = Events("one", cleanup=2)
    app = serving(events, *[pass_on] * depth)
    server = ScriptedServer(app, dialect)
    async with server.lifespan(), server.get("/").open() as client:
        await events.waits.wait()
        await shut_down(server, app)
        result = await client.finish(timeout=3)
    assert events.ended == ["closed"]
    assert result.body == b"data: one\n\nevent: shutdown\ndata\n\n" or data(result.body) == [
        "one",
        "",
    ]
    assert result.complete
    assert_quiet(result)


@in_virtual_time
@over("last", [None, ServerSentEvent("bye", event="end", retry=100)])
async def test_the_last_event_is_the_apps_choice(dialect: Dialect, last: Any) -> None:
    events = Events("one")
    app = serving(events, last_event=last)
    server = ScriptedServer(app, dialect)
    async with server.lifespan(), server.get("/").open() as client:
        await events.waits.wait()
        await shut_down(server, app)
        result = await client.finish(timeout=1)
    assert data(result.body) == (["one"] if last is None else ["one", "bye"])
    assert result.complete
    assert_quiet(result)


@in_virtual_time
async def test_a_stream_that_begins_after_the_shutdown_has_ends_at_once(dialect: Dialect) -> None:
    events = Events("one")
    app = serving(events)
    server = ScriptedServer(app, dialect)
    async with server.lifespan():
        app.begin_shutdown()
        result = await server.get("/").run(timeout=1)
    assert result.complete
    assert data(result.body)[-1] == ""
    assert_quiet(result)


@in_virtual_time
async def test_a_busy_stream_is_whole_as_well(dialect: Dialect) -> None:
    ended: list[str] = []

    async def content(request: Request) -> AsyncIterator[Any]:
        try:
            while True:
                yield "busy"
                await anyio.sleep(0.001)
        finally:
            ended.append("closed")

    app = serving(content)
    server = ScriptedServer(app, dialect)
    for moment in range(6):
        async with server.lifespan(), server.get("/").open() as client:
            await client.wait_message(3)
            await settle(moment)
            await shut_down(server, app)
            result = await client.finish(timeout=1)
        assert ended.pop() == "closed"
        if dialect.lifespan:  # else it goes on shutting down
            assert data(result.body)[-2:] == ["busy", ""]
        assert result.complete
        assert_quiet(result)


@in_virtual_time
async def test_a_producer_that_listens_ends_in_its_own_way(dialect: Dialect) -> None:
    waits = anyio.Event()

    async def content(request: Request) -> AsyncIterator[Any]:
        yield "one"
        waits.set()
        await request.wait_shutting_down()
        for number in range(3):
            await anyio.sleep(0.5)
            yield f"goodbye {number}"

    app = serving(content)
    server = ScriptedServer(app, dialect)
    async with server.lifespan(), server.get("/").open() as client:
        await waits.wait()
        await shut_down(server, app)
        result = await client.finish()
    assert data(result.body) == ["one", "goodbye 0", "goodbye 1", "goodbye 2"]
    assert result.complete
    assert_quiet(result)


@in_virtual_time
async def test_a_shutdown_does_not_wait_for_a_stalled_client(dialect: Dialect) -> None:
    if not send_can_be_cancelled(dialect):
        return
    for events in (Events("one"), Events()):
        app = serving(events, ping=1)
        server = ScriptedServer(app, dialect)
        async with server.lifespan(), server.get("/").stall_at_message(2).open() as client:
            await anyio.sleep(3)
            app.begin_shutdown(2)
            result = await client.finish(timeout=9)
            assert result.ended == "returned"
            assert not result.complete
        assert events.ended == ["closed"]


# -- middleware ------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_middleware_sees_bytes_and_may_wrap_them(dialect: Dialect) -> None:
    seen: list[Any] = []

    async def shout(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        chunks = response.body_iterator

        async def wrapped() -> AsyncIterator[Any]:
            async for chunk in chunks:
                seen.append(chunk)
                yield chunk.decode().replace("one", "ONE")

        response.body_iterator = wrapped()
        return response

    async def content(request: Request) -> AsyncIterator[Any]:
        yield "one"
        await anyio.sleep(40)  # what would be added is not in its coding
        yield {"two": 2}

    result = await ScriptedServer(serving(content, shout), dialect).get("/").run()
    assert result.body == b'data: ONE\n\ndata: {"two":2}\n\n'
    assert seen == [b"data: one\n\n", b'data: {"two":2}\n\n']
    assert_quiet(result)


@in_virtual_time
async def test_a_middleware_that_only_looks_changes_nothing(dialect: Dialect) -> None:
    class Content:
        async def __aiter__(self) -> AsyncIterator[Any]:
            await anyio.sleep(15)
            yield "one"

    async def look(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        assert response.body_iterator is response.body_iterator
        response.body_iterator = response.body_iterator
        return response

    app = serving(lambda request: Content(), look, ping=10)
    result = await ScriptedServer(app, dialect).get("/").run()
    assert result.body == PING + b"data: one\n\n"


@in_virtual_time
async def test_a_middleware_that_reads_it_closes_it(dialect: Dialect) -> None:
    events = Events("one", "two")

    async def first(request: Request, call_next: Any) -> Response:
        response = await call_next(request)
        async for chunk in response.body_iterator:
            return Response(chunk)
        raise AssertionError("there is none")

    result = await ScriptedServer(serving(events, first), dialect).get("/").run()
    assert (result.body, events.ended) == (b"data: one\n\n", ["closed"])


@in_virtual_time
async def test_compression_leaves_it_as_it_is_unless_it_is_told_to(dialect: Dialect) -> None:
    async def content(request: Request) -> AsyncIterator[Any]:
        yield "one" * 500
        await anyio.sleep(20)
        yield "two"

    server = ScriptedServer(serving(content, Middleware(CompressionMiddleware)), dialect)
    result = await server.get("/", headers={"accept-encoding": "gzip"}).run()
    body = result.body
    if result.headers.get("content-encoding") == "gzip":
        body = gzip.decompress(body)
    assert data(body) == ["one" * 500, "two"]
    assert result.complete
    assert_quiet(result)
