"""The asynchronous test client: what it shares with the other one, and what a loop of one's own
makes possible."""

import contextvars
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
import starlette.applications
import starlette.background
import starlette.requests
import starlette.responses
import starlette.routing
from fastapi import FastAPI

from hesper._testclient.exchanges import HTTPExchange
from hesper.applications import Hesper
from hesper.background import BackgroundTask
from hesper.exceptions import ClientDisconnect, HesperDeprecationWarning, UsageError
from hesper.requests import Request
from hesper.responses import PlainTextResponse, RedirectResponse, Response, StreamingResponse
from hesper.routing import Route
from hesper.testclient import AsyncTestClient, AsyncTestResponse, RemoteProtocolError
from hesper.types import Message, Receive, Scope, Send
from tests.conftest import on_asyncio

START: Message = {"type": "http.response.start", "status": 200, "headers": []}
PART: Message = {"type": "http.response.body", "body": b"part", "more_body": True}


def app_of(endpoint: Callable[[Request], Any], **options: Any) -> Hesper:
    return Hesper(routes=[Route("/", endpoint, methods=["GET", "POST"])], **options)


class Numbers:
    """An application that streams numbers, without an end."""

    def __init__(self) -> None:
        self.made: list[int] = []
        self.ended = False
        self.app = app_of(self.stream)

    async def stream(self, request: Request) -> Response:
        return StreamingResponse(self.numbers())

    async def numbers(self) -> AsyncIterator[str]:
        try:
            number = 0
            while True:
                self.made.append(number)
                yield str(number)
                number += 1
        finally:
            await anyio.lowlevel.checkpoint()
            self.ended = True


class Slow:
    """An application that works until its client has left, and then on until the test says so."""

    def __init__(self) -> None:
        self.working = anyio.Event()
        self.told = anyio.Event()
        self.go_on = anyio.Event()
        self.seen: list[str] = []
        self.app = app_of(self.work)

    async def work(self, request: Request) -> Response:
        self.working.set()
        await request.wait_disconnected()
        self.told.set()
        await self.go_on.wait()
        self.seen.append("done")
        return PlainTextResponse("for nobody")


async def silent(scope: Scope, receive: Receive, send: Send) -> None:
    """Never answers."""
    await anyio.sleep_forever()


# -- as the other one -----------------------------------------------------------------------------


async def test_a_request_is_answered() -> None:
    async def answer(request: Request) -> Response:
        response = PlainTextResponse(await request.body(), headers={"x-a": request.method})
        response.set_cookie("seen", "1")
        return response

    client = AsyncTestClient(app_of(answer), headers={"x-b": "1"}, cookies={"c": "1"})
    response = await client.post("/", json={"a": 1})
    assert isinstance(response, AsyncTestResponse)
    assert (response.text, response.headers["x-a"]) == ('{"a":1}', "POST")
    assert client.cookies["seen"] == "1"
    assert (await client.post("/", files={"a": b"content"})).text.count("content") == 1


async def test_redirects_are_followed() -> None:
    async def there(request: Request) -> Response:
        return PlainTextResponse("there")

    async def here(request: Request) -> Response:
        return RedirectResponse("/there")

    app = Hesper(routes=[Route("/", here), Route("/there", there)])
    assert (await AsyncTestClient(app).get("/")).text == "there"
    assert (await AsyncTestClient(app, follow_redirects=False).get("/")).status_code == 307


async def test_a_timeout_warns_because_it_has_no_effect() -> None:
    async def answer(request: Request) -> Response:
        return PlainTextResponse("fine")

    with pytest.warns(HesperDeprecationWarning, match=r"use anyio.fail_after\(\)"):
        await AsyncTestClient(app_of(answer)).get("/", timeout=1)


async def test_starlette_and_fastapi_applications_work() -> None:
    ran: list[str] = []

    async def home(request: starlette.requests.Request) -> starlette.responses.Response:
        task = starlette.background.BackgroundTask(ran.append, "background")
        return starlette.responses.JSONResponse(await request.json(), background=task)

    app = starlette.applications.Starlette(
        routes=[starlette.routing.Route("/", home, methods=["POST"])]
    )
    async with AsyncTestClient(app) as client:
        assert (await client.post("/", json=[1])).json() == [1]
    assert ran == ["background"]

    fastapi = FastAPI()

    @fastapi.get("/{number}")
    async def show(number: int) -> dict[str, int]:
        return {"number": number}

    async with AsyncTestClient(fastapi) as client:
        assert (await client.get("/3")).json() == {"number": 3}
        assert (await client.get("/x")).status_code == 422


async def test_background_work_is_done_when_the_call_returns() -> None:
    ran: list[str] = []

    async def work() -> None:
        await anyio.sleep(0.01)
        ran.append("work")

    async def answer(request: Request) -> Response:
        return PlainTextResponse("fine", background=BackgroundTask(work))

    assert (await AsyncTestClient(app_of(answer)).get("/")).text == "fine"
    assert ran == ["work"]


async def test_what_the_application_raises_comes_out_of_the_call() -> None:
    error = ValueError("boom")

    async def fail(request: Request) -> Response:
        raise error

    with pytest.raises(ValueError, match="boom") as caught:
        await AsyncTestClient(app_of(fail)).get("/")
    assert caught.value is error
    response = await AsyncTestClient(app_of(fail), raise_server_exceptions=False).get("/")
    assert response.status_code == 500


async def test_an_application_that_does_not_answer_is_told_so() -> None:
    async def nothing(scope: Scope, receive: Receive, send: Send) -> None:
        pass

    with pytest.raises(AssertionError, match="did not receive any response"):
        await AsyncTestClient(nothing).get("/")
    client = AsyncTestClient(nothing, raise_server_exceptions=False)
    assert (await client.get("/")).status_code == 500


async def test_half_a_body_is_never_given_as_a_whole_one() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(dict(START))
        await send(dict(PART))

    with pytest.raises(RemoteProtocolError, match="ended within its response"):
        await AsyncTestClient(app, raise_server_exceptions=False).get("/")


async def test_an_illegal_message_is_an_error() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(dict(PART))

    with pytest.raises(UsageError, match=r"http.response.body was sent before anything else"):
        await AsyncTestClient(app).get("/")


# -- the lifespan ---------------------------------------------------------------------------------


async def test_the_block_runs_the_lifespan_and_gives_its_state() -> None:
    events: list[str] = []

    @asynccontextmanager
    async def lifespan(app: Hesper) -> AsyncIterator[dict[str, Any]]:
        events.append("startup")
        yield {"key": "value"}
        await anyio.lowlevel.checkpoint()
        events.append("shutdown")

    async def show(request: Request) -> Response:
        return PlainTextResponse(request.state.key)

    client = AsyncTestClient(app_of(show, lifespan=lifespan))
    for _ in range(2):
        async with client as entered:
            assert entered is client
            assert client.app_state == {"key": "value"}
            assert (await client.get("/")).text == "value"
    assert events == ["startup", "shutdown"] * 2


async def test_a_client_runs_one_lifespan_at_a_time() -> None:
    async with AsyncTestClient(Hesper()) as client:
        with pytest.raises(UsageError, match="The client is open already"):
            await client.__aenter__()
        assert (await client.get("/")).status_code == 404


@pytest.mark.parametrize("step", ["startup", "shutdown"])
async def test_an_error_of_the_lifespan_comes_out_of_the_block(step: str) -> None:
    @asynccontextmanager
    async def lifespan(app: Hesper) -> AsyncIterator[None]:
        if step == "startup":
            raise ValueError("boom")
        yield
        raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        async with AsyncTestClient(Hesper(lifespan=lifespan)):
            assert step == "shutdown"


async def test_a_cancelled_block_ends_the_lifespan() -> None:
    events: list[str] = []

    @asynccontextmanager
    async def lifespan(app: Hesper) -> AsyncIterator[None]:
        try:
            yield
        finally:
            events.append("ended")

    with anyio.CancelScope() as scope:
        async with AsyncTestClient(Hesper(lifespan=lifespan)):
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert events == ["ended"]


async def test_a_startup_that_takes_too_long_can_be_cancelled() -> None:
    @asynccontextmanager
    async def lifespan(app: Hesper) -> AsyncIterator[None]:
        await anyio.sleep_forever()
        yield

    with anyio.move_on_after(0.01) as scope:
        async with AsyncTestClient(Hesper(lifespan=lifespan)):
            raise AssertionError("it has not started")
    assert scope.cancelled_caught


async def test_a_client_can_be_entered_in_one_task_and_left_in_another() -> None:
    client = AsyncTestClient(Numbers().app)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(client.__aenter__)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(client.__aexit__)


# -- streams --------------------------------------------------------------------------------------


async def test_the_head_is_there_before_the_body() -> None:
    go_on = anyio.Event()

    async def body() -> AsyncIterator[bytes]:
        await go_on.wait()
        yield b"body"

    async def answer(request: Request) -> Response:
        return StreamingResponse(body(), 201)

    async with AsyncTestClient(app_of(answer)).stream("GET", "/") as response:
        assert response.status_code == 201
        go_on.set()
        assert await response.aread() == b"body"


async def test_a_reader_that_stops_ends_the_application() -> None:
    numbers = Numbers()
    async with AsyncTestClient(numbers.app).stream("GET", "/") as response:
        chunks = response.aiter_raw()
        for n in range(3):
            assert await anext(chunks) == b"%d" % n
            assert numbers.made[-1] <= n + 1
        await anyio.wait_all_tasks_blocked()
        assert numbers.made[-1] == 3, "it is one ahead"
        assert not numbers.ended
        await chunks.aclose()
    assert numbers.ended


async def test_responses_that_are_open_at_the_end_of_the_block_are_left() -> None:
    numbers = Numbers()
    async with AsyncTestClient(numbers.app) as client:
        await client.send(client.build_request("GET", "/"), stream=True)
    assert numbers.ended


async def test_closing_a_client_leaves_what_is_open() -> None:
    numbers = Numbers()
    client = AsyncTestClient(numbers.app)
    await client.send(client.build_request("GET", "/"), stream=True)
    await client.aclose()
    assert numbers.ended


async def test_disconnect_leaves_at_once_and_the_block_waits() -> None:
    told, go_on, done = anyio.Event(), anyio.Event(), anyio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(dict(START))
        assert (await receive())["type"] == "http.disconnect"
        told.set()
        await go_on.wait()
        done.set()

    async with AsyncTestClient(app).stream("GET", "/") as response:
        response.disconnect()
        await told.wait()
        assert not done.is_set()
        go_on.set()
        with pytest.raises(UsageError, match="The client has left"):
            await response.aread()
    assert done.is_set()


async def test_an_iterator_is_sent_part_by_part_while_the_application_answers() -> None:
    given: list[str] = []

    async def content() -> AsyncIterator[bytes]:
        for part in ("a", "b"):
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

    async with AsyncTestClient(app).stream("POST", "/", content=content()) as response:
        chunks = response.aiter_raw()
        assert await anext(chunks) == b"A"
        assert given == ["a"]
        assert [chunk async for chunk in chunks] == [b"B"]


async def test_a_body_that_is_not_wanted_whole_is_closed() -> None:
    closed: list[bool] = []

    async def content() -> AsyncIterator[bytes]:
        try:
            yield b"a"
            yield b"b"
        finally:
            closed.append(True)

    async def first(request: Request) -> Response:
        stream = request.stream()
        return PlainTextResponse(await anext(stream))

    assert (await AsyncTestClient(app_of(first)).post("/", content=content())).text == "a"
    assert closed == [True]


async def test_a_body_that_breaks_off_is_a_client_that_left() -> None:
    got: list[object] = []

    async def read(request: Request) -> Response:
        try:
            got.append(await request.body())
        except ClientDisconnect as exc:
            got.append(type(exc))
            raise
        return PlainTextResponse("it is not whole")

    async def content() -> AsyncIterator[bytes]:
        yield b"a"
        raise LookupError("nothing more")

    with pytest.raises(LookupError, match="nothing more"):
        await AsyncTestClient(app_of(read)).post("/", content=content())
    assert got == [ClientDisconnect]


async def test_an_async_iterator_without_aclose_will_do() -> None:
    class Parts(AsyncIterator[bytes]):
        def __init__(self) -> None:
            self.parts = [b"a", b"b"]

        async def __anext__(self) -> bytes:
            if not self.parts:
                raise StopAsyncIteration
            return self.parts.pop(0)

    async def answer(request: Request) -> Response:
        return PlainTextResponse(await request.body())

    assert (await AsyncTestClient(app_of(answer)).post("/", content=Parts())).text == "ab"


# -- leaving --------------------------------------------------------------------------------------


async def test_a_client_can_leave_before_there_is_a_response() -> None:
    slow = Slow()
    async with AsyncTestClient(slow.app).leaving("POST", "/", content=b"body") as request:
        await slow.working.wait()
        request.disconnect()
        await slow.told.wait()
        assert slow.seen == []
        slow.go_on.set()
    assert slow.seen == ["done"]


async def test_the_application_has_begun_when_the_block_begins() -> None:
    begun: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        begun.append("begun")
        await receive()
        assert (await receive())["type"] == "http.disconnect"

    async with AsyncTestClient(app).leaving("GET", "/"):
        assert begun == ["begun"]


async def test_an_application_that_never_answers_can_be_left() -> None:
    async with AsyncTestClient(silent, grace=0.01).leaving("GET", "/") as request:
        request.disconnect()


# -- cancellation ---------------------------------------------------------------------------------


async def test_a_call_that_takes_too_long_leaves() -> None:
    slow = Slow()
    slow.go_on.set()
    with pytest.raises(TimeoutError):
        with anyio.fail_after(0.01):
            await AsyncTestClient(slow.app).get("/")
    assert slow.seen == ["done"]


async def test_an_application_that_never_answers_ends_with_the_cancelled_call() -> None:
    with anyio.move_on_after(0.01) as scope:
        await AsyncTestClient(silent, grace=0.01).get("/")
    assert scope.cancelled_caught


async def test_endless_background_work_ends_with_the_cancelled_call() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(dict(START))
        await send({"type": "http.response.body"})
        await anyio.sleep_forever()

    with anyio.move_on_after(0.01) as scope:
        await AsyncTestClient(app, grace=0.01).get("/")
    assert scope.cancelled_caught


async def test_a_call_that_is_cancelled_from_the_start_leaves_nothing_behind() -> None:
    received: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while not received or received[-1] != "http.disconnect":
            received.append((await receive())["type"])

    with anyio.CancelScope() as scope:
        scope.cancel()
        await AsyncTestClient(app).get("/")
    assert scope.cancelled_caught
    assert received[-1:] == ["http.disconnect"]


async def test_a_client_can_be_gone_before_the_application_is_called() -> None:
    received: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        received.extend([(await receive())["type"], (await receive())["type"]])

    exchange = HTTPExchange({"type": "http", "method": "GET", "headers": []}, b"", 1)
    exchange.leave()
    await exchange.open(app)
    await exchange.end()
    assert received == ["http.request", "http.disconnect"]
    assert exchange.left_early


@on_asyncio
async def test_a_native_cancel_leaves_as_well() -> None:
    import asyncio

    slow = Slow()
    slow.go_on.set()
    task = asyncio.ensure_future(AsyncTestClient(slow.app).get("/"))
    await slow.working.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert slow.seen == ["done"]


async def test_a_test_that_fails_while_it_reads_ends_the_application() -> None:
    numbers = Numbers()
    with pytest.raises(KeyError):
        async with AsyncTestClient(numbers.app).stream("GET", "/"):
            raise KeyError
    assert numbers.ended


# -- in the loop of the test ----------------------------------------------------------------------


async def test_the_application_sees_context_variables_and_the_event_loop_of_the_test() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    variable.set("of the test")
    token = anyio.lowlevel.current_token()

    async def show(request: Request) -> Response:
        assert anyio.lowlevel.current_token() == token
        return PlainTextResponse(variable.get())

    assert (await AsyncTestClient(app_of(show)).get("/")).text == "of the test"


async def test_requests_run_beside_one_another() -> None:
    here: list[int] = []
    all_here = anyio.Event()

    async def meet(request: Request) -> Response:
        here.append(1)
        if len(here) == 3:
            all_here.set()
        await all_here.wait()
        return PlainTextResponse("met")

    client = AsyncTestClient(app_of(meet))
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(client.get, "/")
    assert len(here) == 3
