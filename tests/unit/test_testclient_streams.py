"""The synchronous test client: streams in both directions, and leaving."""

import functools
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import nullcontext
from typing import Any

import anyio
import httpx2
import pytest
import starlette.applications
import starlette.requests
import starlette.responses
import starlette.routing

from hesper.applications import Hesper
from hesper.background import BackgroundTask
from hesper.exceptions import ClientDisconnect
from hesper.requests import Request
from hesper.responses import PlainTextResponse, Response, StreamingResponse
from hesper.routing import Route
from hesper.testclient import TestClient
from hesper.types import ASGIApp, Message, Receive, Scope, Send

MakeClient = Callable[..., TestClient]

START: Message = {"type": "http.response.start", "status": 200, "headers": []}
PART: Message = {"type": "http.response.body", "body": b"part", "more_body": True}


@pytest.fixture(params=["asyncio", "trio"])
def make_client(request: pytest.FixtureRequest) -> Iterator[MakeClient]:
    """Makes test clients of each backend, and sees that none leaves a thread behind."""
    threads = set(threading.enumerate())
    yield functools.partial(TestClient, backend=request.param)
    left = [thread for thread in threading.enumerate() if "portal" in thread.name]
    assert not set(left) - threads


class Numbers:
    """An application that streams numbers, without an end."""

    def __init__(self) -> None:
        self.made: list[int] = []
        self.ended = threading.Event()
        self.app = Hesper(routes=[Route("/", self.stream)])

    async def stream(self, request: Request) -> Response:
        return StreamingResponse(self.numbers(), background=BackgroundTask(self.after))

    async def numbers(self) -> AsyncIterator[str]:
        try:
            number = 0
            while True:
                self.made.append(number)
                yield str(number)
                number += 1
        finally:
            await anyio.lowlevel.checkpoint()
            self.ended.set()

    async def after(self) -> None:
        assert self.ended.is_set()
        self.made.append(-1)


class Slow:
    """An application that answers when its client has left, or when the test says so."""

    def __init__(self) -> None:
        self.working = threading.Event()
        self.release = threading.Event()
        self.seen: list[object] = []
        self.app = Hesper(routes=[Route("/", self.wait, methods=["GET", "POST"])])

    async def wait(self, request: Request) -> Response:
        self.seen.append((request.headers.get("authorization"), await request.body()))
        self.working.set()
        await request.wait_disconnected()
        self.seen.append("left")
        await anyio.to_thread.run_sync(self.release.wait, 5)
        self.seen.append("done")
        return PlainTextResponse("for nobody")


async def forever(scope: Scope, receive: Receive, send: Send) -> None:
    """Begins to answer, and never goes on."""
    await send(dict(START))
    await anyio.sleep_forever()


async def silent(scope: Scope, receive: Receive, send: Send) -> None:
    """Never answers."""
    await anyio.sleep_forever()


# -- responses ------------------------------------------------------------------------------------


def test_the_head_is_there_before_the_body(make_client: MakeClient) -> None:
    go_on = threading.Event()

    async def body() -> AsyncIterator[bytes]:
        await anyio.to_thread.run_sync(go_on.wait, 5)
        yield b"body"

    async def answer(request: Request) -> Response:
        return StreamingResponse(body(), 201, {"x-a": "1"})

    app = Hesper(routes=[Route("/", answer)])
    with make_client(app).stream("GET", "/") as response:
        assert (response.status_code, response.headers["x-a"]) == (201, "1")
        go_on.set()
        assert response.read() == b"body"


def test_chunks_are_there_one_by_one_and_the_application_is_one_ahead(
    make_client: MakeClient,
) -> None:
    numbers = Numbers()
    with make_client(numbers.app).stream("GET", "/") as response:
        chunks = response.iter_raw()
        for n in range(3):
            assert next(chunks) == b"%d" % n
            assert max(numbers.made) <= n + 1


@pytest.mark.parametrize("entered", [False, True], ids=["own loop", "shared loop"])
def test_a_reader_that_stops_ends_the_application(make_client: MakeClient, entered: bool) -> None:
    numbers = Numbers()
    client = make_client(numbers.app)
    with client if entered else nullcontext():
        with client.stream("GET", "/") as response:
            chunks = response.iter_raw()
            assert next(chunks) == b"0"
            assert not numbers.ended.is_set()
        assert numbers.ended.is_set()
        assert numbers.made[-1] == -1, "background work runs whether or not the client stayed"


def test_a_reader_that_reads_nothing_ends_the_application(make_client: MakeClient) -> None:
    numbers = Numbers()
    with make_client(numbers.app).stream("GET", "/"):
        pass
    assert numbers.ended.is_set()


def test_a_test_that_fails_while_it_reads_ends_the_application(make_client: MakeClient) -> None:
    numbers = Numbers()
    with pytest.raises(KeyError):
        with make_client(numbers.app).stream("GET", "/"):
            raise KeyError
    assert numbers.ended.is_set()


def test_closing_a_response_leaves_and_waits(make_client: MakeClient) -> None:
    numbers = Numbers()
    client = make_client(numbers.app)
    response = client.send(client.build_request("GET", "/"), stream=True)
    response.close()
    assert numbers.ended.is_set()
    response.close()


def test_responses_that_are_open_at_the_end_of_the_block_are_left(make_client: MakeClient) -> None:
    numbers = Numbers()
    with make_client(numbers.app) as client:
        for _ in range(2):
            client.send(client.build_request("GET", "/"), stream=True)
    assert numbers.ended.is_set()
    assert numbers.made.count(-1) == 2


def test_closing_a_client_leaves_what_is_open(make_client: MakeClient) -> None:
    numbers = Numbers()
    client = make_client(numbers.app)
    client.send(client.build_request("GET", "/"), stream=True)
    client.close()
    assert numbers.ended.is_set()


def test_a_small_response_that_is_not_read_is_complete(make_client: MakeClient) -> None:
    ran: list[str] = []

    async def work() -> None:
        ran.append("work")

    async def answer(request: Request) -> Response:
        return PlainTextResponse("small", background=BackgroundTask(work))

    with make_client(Hesper(routes=[Route("/", answer)])).stream("GET", "/") as response:
        assert response.status_code == 200
    assert ran == ["work"]


def test_a_head_response_has_no_body_and_does_not_wait_for_a_reader(
    make_client: MakeClient,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(dict(START))
        await send(dict(PART))
        await send({**PART, "more_body": False})

    assert make_client(app).head("/").content == b""


def test_an_error_within_a_stream_comes_out_of_the_reading(make_client: MakeClient) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(dict(START))
        await send(dict(PART))
        raise ValueError("boom")

    with make_client(app).stream("GET", "/") as response:
        chunks = response.iter_raw()
        assert next(chunks) == b"part"
        with pytest.raises(ValueError, match="boom"):
            next(chunks)


def test_an_error_of_an_application_whose_client_has_left_comes_out_of_the_block(
    make_client: MakeClient,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(dict(START))
        assert (await receive())["type"] == "http.disconnect"
        raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        with make_client(app).stream("GET", "/"):
            pass
    with make_client(app, raise_server_exceptions=False).stream("GET", "/"):
        pass


def test_that_send_raises_after_the_client_left_is_no_error(make_client: MakeClient) -> None:
    raised: list[BaseException] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(dict(START))
        try:
            await send(dict(PART))
        except OSError as exc:
            raised.append(exc)
            assert (await receive())["type"] == "http.request"
            assert (await receive())["type"] == "http.disconnect"
            assert (await receive())["type"] == "http.disconnect"
            raise LookupError("what some framework makes of it") from exc

    with make_client(app).stream("GET", "/"):
        pass
    assert len(raised) == 1


def test_an_endless_starlette_stream_ends_with_its_reader(make_client: MakeClient) -> None:
    ended = threading.Event()

    async def numbers() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"1"
        finally:
            ended.set()

    async def stream(request: starlette.requests.Request) -> starlette.responses.Response:
        return starlette.responses.StreamingResponse(numbers())

    app = starlette.applications.Starlette(routes=[starlette.routing.Route("/", stream)])
    with make_client(app) as client:
        with client.stream("GET", "/") as response:
            assert next(response.iter_raw()) == b"1"
        # Starlette leaves it to the event loop to close its generators, here at its end.
    assert ended.wait(5)


def test_an_application_that_never_goes_on_is_ended_after_the_grace_time(
    make_client: MakeClient,
) -> None:
    ended: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await forever(scope, receive, send)
        except anyio.get_cancelled_exc_class():
            ended.append("cancelled")
            raise

    with make_client(app, grace=0.01).stream("GET", "/"):
        pass
    assert ended == ["cancelled"]


# -- disconnect -----------------------------------------------------------------------------------


def test_disconnect_leaves_at_once_and_the_block_waits(make_client: MakeClient) -> None:
    told, go_on, done = threading.Event(), threading.Event(), threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(dict(START))
        assert (await receive())["type"] == "http.disconnect"
        told.set()
        await anyio.to_thread.run_sync(go_on.wait, 5)
        done.set()

    with make_client(app).stream("GET", "/") as response:
        response.disconnect()
        assert told.wait(5)
        assert not done.is_set()
        response.disconnect()
        go_on.set()
    assert done.is_set()
    response.disconnect()


def test_after_disconnect_nothing_can_be_read(make_client: MakeClient) -> None:
    with make_client(Numbers().app).stream("GET", "/") as response:
        chunks = response.iter_raw()
        assert next(chunks) == b"0"
        response.disconnect()
        with pytest.raises(httpx2.StreamClosed):
            next(chunks)


def test_a_complete_response_takes_no_harm_from_disconnect(make_client: MakeClient) -> None:
    async def answer(request: Request) -> Response:
        return PlainTextResponse("small")

    client = make_client(Hesper(routes=[Route("/", answer)]))
    with client.stream("GET", "/") as response:
        response.read()
        response.disconnect()
        assert response.text == "small"


# -- leaving --------------------------------------------------------------------------------------


def test_a_client_can_leave_before_there_is_a_response(make_client: MakeClient) -> None:
    slow = Slow()
    with make_client(slow.app).leaving("POST", "/", content=b"body", auth=("a", "b")) as request:
        assert slow.working.wait(5)
        assert slow.seen == [("Basic YTpi", b"body")]
        request.disconnect()
        request.disconnect()
        slow.release.set()
    assert slow.seen[1:] == ["left", "done"]


def test_a_client_that_is_leaving_leaves_at_the_end_of_the_block(make_client: MakeClient) -> None:
    slow = Slow()
    slow.release.set()
    with make_client(slow.app) as client:
        with client.leaving("GET", "/"):
            assert slow.working.wait(5)
            assert "left" not in slow.seen
        assert slow.seen[1:] == ["left", "done"]


def test_the_application_has_begun_when_the_block_begins(make_client: MakeClient) -> None:
    begun: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        begun.append("begun")
        await receive()
        assert (await receive())["type"] == "http.disconnect"

    with make_client(app).leaving("GET", "/"):
        assert begun == ["begun"]


def test_an_application_that_never_answers_can_be_left(make_client: MakeClient) -> None:
    with make_client(silent, grace=0.01).leaving("GET", "/") as request:
        request.disconnect()


def test_a_response_that_comes_nevertheless_is_dropped(make_client: MakeClient) -> None:
    async def answer(request: Request) -> Response:
        return PlainTextResponse("small", 307, {"location": "/elsewhere"})

    with make_client(Hesper(routes=[Route("/", answer)])).leaving("GET", "/"):
        pass


def test_what_the_application_raises_comes_out_of_the_leaving_block(
    make_client: MakeClient,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        with make_client(app).leaving("GET", "/"):
            pass


def test_leaving_sends_a_body_in_parts_as_a_whole_and_keeps_other_extensions(
    make_client: MakeClient,
) -> None:
    slow = Slow()
    slow.release.set()
    options: dict[str, Any] = {"content": iter([b"a", b"b"]), "extensions": {"other": 1}}
    with make_client(slow.app).leaving("POST", "/", **options):
        assert slow.working.wait(5)
    assert slow.seen[0] == (None, b"ab")


# -- request bodies -------------------------------------------------------------------------------


async def parts(request: Request) -> Response:
    """Answers with the parts of the body, as they come."""

    async def body() -> AsyncIterator[bytes]:
        async for part in request.stream():
            if part:
                yield part.upper()

    return StreamingResponse(body())


UPLOADS = Hesper(routes=[Route("/", parts, methods=["POST"])])


def test_an_iterator_is_sent_part_by_part_while_the_application_answers(
    make_client: MakeClient,
) -> None:
    given: list[str] = []

    def content() -> Iterator[bytes]:
        for part in ("a", "b", "c"):
            given.append(part)
            yield part.encode()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(dict(START))
        more = True
        while more:
            message = await receive()
            more = message["more_body"]
            body = message["body"].upper()
            await send({"type": "http.response.body", "body": body, "more_body": more})

    with make_client(app).stream("POST", "/", content=content()) as response:
        chunks = response.iter_raw()
        for n, chunk in enumerate(chunks, 1):
            assert chunk == b"_ABC"[n : n + 1]
            assert given == ["a", "b", "c"][:n]
    assert given == ["a", "b", "c"]


def test_a_body_that_is_not_wanted_is_not_made(make_client: MakeClient) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(dict(START))
        await send({"type": "http.response.body"})

    def content() -> Iterator[bytes]:
        raise AssertionError("nobody asked for it")
        yield b""

    assert make_client(app).post("/", content=content()).status_code == 200


def test_a_body_runs_in_the_thread_of_the_test_and_is_closed(make_client: MakeClient) -> None:
    seen: list[object] = []

    def content() -> Iterator[bytes]:
        try:
            seen.append(threading.current_thread())
            yield b"a"
            yield b"b"
        finally:
            seen.append("closed")

    async def first(request: Request) -> Response:
        async for part in request.stream():
            return PlainTextResponse(part)
        raise AssertionError("there is a part")

    app = Hesper(routes=[Route("/", first, methods=["POST"])])
    assert make_client(app).post("/", content=content()).text == "a"
    assert (seen[0], seen[-1]) == (threading.current_thread(), "closed")


def test_a_body_that_breaks_off_is_a_client_that_left(make_client: MakeClient) -> None:
    got: list[object] = []

    async def read(request: Request) -> Response:
        try:
            async for part in request.stream():
                got.append(part)
        except ClientDisconnect as exc:
            got.append(type(exc))
            raise
        raise AssertionError("it is not whole")

    def content() -> Iterator[bytes]:
        yield b"a"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_client(Hesper(routes=[Route("/", read, methods=["POST"])])).post(
            "/", content=content()
        )
    assert got == [b"a", ClientDisconnect]


def test_an_iterator_without_close_will_do(make_client: MakeClient) -> None:
    class Content(httpx2.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            return iter([b"a", b"b"])

    client = make_client(UPLOADS)
    request = httpx2.Request("POST", "http://testserver/", stream=Content())
    assert client.send(request).text == "AB"


def test_a_client_waits_with_its_body_for_100_continue(make_client: MakeClient) -> None:
    headers = {"expect": "100-continue"}
    client = make_client(UPLOADS)
    assert client.post("/", content=b"whole", headers=headers).text == "WHOLE"
    assert client.post("/", content=iter([b"a", b"b"]), headers=headers).text == "AB"


def test_nothing_is_kept_of_a_long_stream(make_client: MakeClient) -> None:
    from hesper._testclient.exchanges import HTTPExchange

    opened: list[HTTPExchange] = []
    numbers = Numbers()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        opened.append(receive.__self__)  # type: ignore[attr-defined]
        await numbers.app(scope, receive, send)

    with make_client(app).stream("GET", "/") as response:
        chunks = response.iter_raw()
        for _ in range(100):
            next(chunks)
        assert opened[0].result.sent == []
        assert opened[0].result.body == b""
        assert len(opened[0].result.log) <= 30


def test_every_kind_of_application_can_be_left_at_any_chunk(make_client: MakeClient) -> None:
    def streaming(chunks: int) -> ASGIApp:
        async def body() -> AsyncIterator[bytes]:
            for _ in range(chunks):
                yield b"chunk"

        async def stream(request: Request) -> Response:
            return StreamingResponse(body())

        return Hesper(routes=[Route("/", stream)])

    for read in range(5):
        with make_client(streaming(3)).stream("GET", "/") as response:
            chunks = response.iter_raw()
            assert len([chunk for chunk, _ in zip(chunks, range(read), strict=False)]) <= 3
