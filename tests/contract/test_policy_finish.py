"""The policy ``"finish"``: the handler reaches its end, even if the server cancels the request; so do
the body and the background work of its response."""

from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import Any

import anyio
import pytest
import starlette.background
import starlette.responses

from hesper.applications import Hesper
from hesper.background import BackgroundTask
from hesper.datastructures import UploadFile
from hesper.requests import Request
from hesper.responses import PlainTextResponse, Response, StreamingResponse
from hesper.routing import Mount, Route, WebSocketRoute
from hesper.sse import EventSourceResponse
from hesper.testing import Dialect, ScriptedServer
from hesper.types import ASGIApp, Receive, Scope, Send
from hesper.websockets import WebSocket
from tests.conftest import ExpectedErrors, in_virtual_time
from tests.contract.apps import METHODS, Recorder, assert_quiet, over, pass_on, settle

variable: ContextVar[str] = ContextVar("variable", default="unset")


class Ledger:
    """What is written, step by step, with waits between."""

    def __init__(self) -> None:
        self.begun = anyio.Event()
        self.lines: list[str] = []
        self.ended = anyio.Event()

    async def write(self) -> None:
        self.lines.append("begin")
        self.begun.set()
        await anyio.sleep(0.01)
        self.lines.append("commit")

    async def note(self) -> None:
        await anyio.sleep(0)
        self.lines.append("background")
        self.ended.set()

    async def wait(self) -> None:
        with anyio.fail_after(10):
            await self.ended.wait()
        for _ in range(3):  # where there is no lifespan to wait for it, its task has to end too
            await anyio.sleep(0)


def finishing(endpoint: Any, *middleware: Any) -> Hesper:
    route = Route("/", endpoint, methods=METHODS, on_disconnect="finish")
    return Hesper(routes=[route], middleware=middleware)


def paying(ledger: Ledger) -> Any:
    async def endpoint(request: Request) -> Response:
        await ledger.write()
        return PlainTextResponse("paid", background=BackgroundTask(ledger.note))

    return endpoint


def streaming(ledger: Ledger) -> Any:
    async def chunks() -> AsyncIterator[bytes]:
        try:
            for number in range(3):
                yield b"%d" % number
                await anyio.sleep(0.001)
                ledger.lines.append(f"chunk {number}")
        finally:
            ledger.lines.append("closed")

    async def endpoint(request: Request) -> Response:
        await ledger.write()
        return StreamingResponse(chunks(), background=BackgroundTask(ledger.note))

    return endpoint


PAID = ["begin", "commit", "background"]
STREAMED = ["begin", "commit", "chunk 0", "chunk 1", "chunk 2", "closed", "background"]


@over("middleware", [(), (pass_on, pass_on)])
@over("case", [(paying, PAID), (streaming, STREAMED)])
async def test_finish_the_handler_reaches_its_end_when_the_server_cancels(
    dialect: Dialect, case: Any, middleware: Any
) -> None:
    make, lines = case
    ledger = Ledger()
    server = ScriptedServer(finishing(make(ledger), *middleware), dialect)
    async with server.lifespan(), server.get("/").open() as client:
        await ledger.begun.wait()
        client.cancel_app()
        result = await client.finish()
        assert result.ended == "cancelled"
        await ledger.wait()
    assert ledger.lines == lines


@over("case", [(paying, PAID), (streaming, STREAMED)])
async def test_finish_the_handler_reaches_its_end_when_the_client_leaves(
    dialect: Dialect, case: Any
) -> None:
    make, lines = case
    ledger = Ledger()
    server = ScriptedServer(finishing(make(ledger), pass_on), dialect)
    async with server.lifespan(), server.get("/").open() as client:
        await ledger.begun.wait()
        client.leave()
        result = await client.finish()
        await ledger.wait()
    assert ledger.lines == lines
    assert_quiet(result)


@over("case", [(paying, PAID), (streaming, STREAMED)])
async def test_finish_an_answer_that_comes_with_the_cancellation_is_concluded_and_not_sent(
    dialect: Dialect, case: Any
) -> None:
    """Nobody may send when the server has cancelled the app: it has closed the connection."""
    make, lines = case
    ledger = Ledger()
    inner = make(ledger)
    cancel: list[Any] = []

    async def endpoint(request: Request) -> Response:
        response: Response = await inner(request)
        cancel[0]()
        return response

    server = ScriptedServer(finishing(endpoint), dialect)
    async with server.lifespan():
        async with server.get("/").open() as client:
            cancel.append(lambda: client.cancel_app(native=True))
            result = await client.finish()
        await ledger.wait()
    assert (result.ended, result.messages) == ("cancelled", [])
    assert ledger.lines == lines


async def test_finish_a_body_reaches_its_end_when_the_client_leaves_in_it(dialect: Dialect) -> None:
    ledger = Ledger()
    server = ScriptedServer(finishing(streaming(ledger)), dialect)
    async with server.lifespan():
        result = await server.get("/").leave_at_message(2).run()
        await ledger.wait()
    assert ledger.lines == STREAMED
    assert_quiet(result)


@over("middleware", [(), (pass_on, pass_on)])
async def test_finish_a_body_reaches_its_end_when_the_server_cancels_in_it(
    dialect: Dialect, middleware: Any
) -> None:
    ledger = Ledger()
    server = ScriptedServer(finishing(streaming(ledger), *middleware), dialect)
    async with server.lifespan(), server.get("/").open() as client:
        await client.wait_message(2)
        client.cancel_app()
        result = await client.finish()
        await ledger.wait()
    assert ledger.lines == STREAMED
    assert not result.complete
    assert not result.truncated_as_complete


@over("ending", ["leave", "cancel"])
async def test_finish_background_work_runs_although_a_response_is_stuck(
    dialect: Dialect, ending: str
) -> None:
    """The sending is a task of its own: what interrupts the request's task does not reach it."""
    ledger = Ledger()
    server = ScriptedServer(finishing(paying(ledger)), dialect)
    async with server.lifespan(), server.get("/").stall_at_message(1).open() as client:
        await client.wait_message(1)
        if ending == "leave":
            client.leave()
        else:
            if dialect.shields_blocked_send:
                await settle()  # it stalls a turn after it was asked to send
            client.cancel_app()
            if dialect.shields_blocked_send:
                client.release()
        result = await client.finish()
        await ledger.wait()
    assert ledger.lines == PAID
    assert result.ended == ("returned" if ending == "leave" else "cancelled")
    assert result.violations == []


async def test_finish_a_body_reaches_its_end_although_its_client_has_stalled(
    dialect: Dialect,
) -> None:
    ledger = Ledger()
    server = ScriptedServer(finishing(streaming(ledger)), dialect)
    async with server.lifespan(), server.get("/").stall_at_message(2).open() as client:
        await client.wait_message(2)
        client.leave()
        result = await client.finish()
        await ledger.wait()
    assert ledger.lines == STREAMED
    assert_quiet(result)


async def test_finish_a_last_event_that_is_stuck_is_dropped_with_its_request(
    dialect: Dialect,
) -> None:
    idle, ended = anyio.Event(), anyio.Event()

    async def events() -> AsyncIterator[str]:
        try:
            yield "first"
            idle.set()
            await anyio.sleep_forever()
        finally:
            ended.set()

    async def endpoint(request: Request) -> Response:
        return EventSourceResponse(events())

    app = finishing(endpoint)
    server = ScriptedServer(app, dialect)
    async with server.lifespan(), server.get("/").stall_at_message(3).open() as client:
        await idle.wait()
        app.begin_shutdown()
        await client.wait_message(3)
        await settle()
        client.cancel_app()
        if dialect.shields_blocked_send:
            client.release()
        result = await client.finish()
        with anyio.fail_after(10):
            while app.supervisor.running:
                await anyio.sleep(0.001)
    assert ended.is_set()
    assert result.violations == []


async def test_finish_changes_nothing_for_a_client_that_stays(dialect: Dialect) -> None:
    ledger, recorder = Ledger(), Recorder()
    server = ScriptedServer(finishing(streaming(ledger), recorder), dialect)
    async with server.lifespan():
        result = await server.get("/").run()
    assert (result.status, result.body, ledger.lines) == (200, b"012", STREAMED)
    assert result.complete
    assert type(recorder.responses[0]) is StreamingResponse


async def test_finish_the_handler_runs_in_the_context_of_its_request(dialect: Dialect) -> None:
    seen: list[str] = []

    async def middleware(request: Request, call_next: Any) -> Response:
        token = variable.set("from the middleware")
        response: Response = await call_next(request)
        seen.append(variable.get())
        variable.reset(token)
        return response

    async def endpoint(request: Request) -> Response:
        seen.append(variable.get())
        variable.set("from the endpoint")
        await anyio.sleep(0)
        return PlainTextResponse("x")

    server = ScriptedServer(finishing(endpoint, middleware), dialect)
    async with server.lifespan():
        await server.get("/").run()
    assert seen == ["from the middleware", "from the endpoint"]


async def test_finish_an_error_of_the_handler_is_answered(dialect: Dialect) -> None:
    class Wrong(Exception):
        pass

    async def endpoint(request: Request) -> Response:
        await anyio.sleep(0)
        raise Wrong

    async def on_wrong(request: Request, exc: Exception) -> Response:
        return PlainTextResponse("wrong", 400)

    app = finishing(endpoint)
    app.add_exception_handler(Wrong, on_wrong)
    server = ScriptedServer(app, dialect)
    async with server.lifespan():
        result = await server.get("/").run()
    assert (result.status, result.body) == (400, b"wrong")


async def test_finish_an_error_that_nobody_waits_for_is_logged_once(
    dialect: Dialect, expected_errors: ExpectedErrors
) -> None:
    begun, failed = anyio.Event(), anyio.Event()

    async def endpoint(request: Request) -> Response:
        begun.set()
        await anyio.sleep(0.01)
        failed.set()
        raise ValueError("the bank said no")

    app = finishing(endpoint)
    server = ScriptedServer(app, dialect)
    async with server.lifespan():
        async with server.get("/").open() as client:
            await begun.wait()
            client.cancel_app()
            await client.finish()
        await failed.wait()
        while app.supervisor.running:
            await anyio.sleep(0)
    (message,) = expected_errors.take()
    assert message.startswith("Supervised work failed: GET '/' (")


@in_virtual_time
async def test_finish_shutdown_waits_for_the_handler(dialect: Dialect) -> None:
    ledger = Ledger()
    server = ScriptedServer(finishing(paying(ledger)), dialect)
    async with server.lifespan(), server.get("/").open() as client:
        await ledger.begun.wait()
        client.cancel_app()
        await client.finish()
        assert ledger.lines == ["begin"]
        left = not dialect.lifespan
        while left and not ledger.ended.is_set():  # daphne tells nobody of its end
            await anyio.sleep(0.01)
    assert ledger.lines == PAID


@in_virtual_time
async def test_finish_what_is_not_over_in_the_grace_is_cancelled_and_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    begun = anyio.Event()
    ended: list[str] = []

    async def endless(request: Request) -> Response:
        begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("cancelled")
        raise AssertionError

    app = Hesper(routes=[Route("/", endless, on_disconnect="finish")], shutdown_grace=3)
    server = ScriptedServer(app)
    async with server.lifespan(), server.get("/").open() as client:
        await begun.wait()
        client.cancel_app()
        await client.finish()
        before = anyio.current_time()
    assert ended == ["cancelled"]
    assert 2.9 < anyio.current_time() - before < 4
    (record,) = [each for each in caplog.records if each.name == "hesper"]
    assert "GET '/'" in record.getMessage()
    assert "endless" in record.getMessage()


@in_virtual_time
async def test_finish_a_body_that_is_not_over_in_the_grace_is_cancelled_and_cleans_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    begun = anyio.Event()
    ended: list[str] = []

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x"
                begun.set()
                await anyio.sleep(0.1)
        finally:
            await anyio.sleep(0.5)
            ended.append("clean")

    async def endpoint(request: Request) -> Response:
        return StreamingResponse(endless())

    app = finishing(endpoint, pass_on)
    server = ScriptedServer(app)
    async with server.lifespan(), server.get("/").open() as client:
        await begun.wait()
        client.cancel_app()
        await client.finish()
    assert ended == ["clean"]
    (record,) = [each for each in caplog.records if each.name == "hesper"]
    assert "the response to GET /" in record.getMessage()


@over("place", ["mounted", "endpoint"])
async def test_finish_a_foreign_app_reaches_its_end(dialect: Dialect, place: str) -> None:
    ledger = Ledger()

    class App:
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                await ledger.write()
                await ledger.note()

    app: ASGIApp
    if place == "mounted":
        app = Hesper(routes=[Mount("/", App(), on_disconnect="finish")], middleware=[pass_on])
    else:
        app = finishing(App())
    server = ScriptedServer(app, dialect)
    async with server.lifespan(), server.get("/").open() as client:
        await ledger.begun.wait()
        client.cancel_app()
        await client.finish()
        await ledger.wait()
    assert ledger.lines == PAID


async def test_finish_a_form_stays_open_until_the_handler_has_ended(dialect: Dialect) -> None:
    begun, read = anyio.Event(), anyio.Event()
    contents: list[bytes] = []

    async def endpoint(request: Request) -> Response:
        form = await request.form()
        begun.set()
        await anyio.sleep(0.01)
        file = form["file"]
        assert isinstance(file, UploadFile)
        contents.append(await file.read())
        read.set()
        return PlainTextResponse("kept")

    body = (
        b'--mark\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
        b"some text\r\n--mark--\r\n"
    )
    headers = {"content-type": "multipart/form-data; boundary=mark"}
    server = ScriptedServer(finishing(endpoint), dialect)
    async with (
        server.lifespan(),
        server.post("/", body=body, headers=headers).open() as client,
    ):
        await begun.wait()
        client.cancel_app()
        await client.finish()
        await read.wait()
    assert contents == [b"some text"]


async def test_finish_a_websockets_handler_reaches_its_end(dialect: Dialect) -> None:
    ledger = Ledger()

    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        await ledger.write()
        await ledger.note()

    app = Hesper(routes=[WebSocketRoute("/", endpoint, on_disconnect="finish")])
    server = ScriptedServer(app, dialect)
    async with server.lifespan(), server.websocket("/").open() as client:
        await ledger.begun.wait()
        client.cancel_app()
        await client.finish()
        await ledger.wait()
    assert ledger.lines == PAID


@in_virtual_time
async def test_finish_a_request_that_a_shutdown_has_cut_is_answered_while_its_handler_goes_on(
    dialect: Dialect,
) -> None:
    ledger = Ledger()

    async def slow(request: Request) -> Response:
        await ledger.write()
        await anyio.sleep(3)
        return PlainTextResponse("late", background=BackgroundTask(ledger.note))

    app = finishing(slow, pass_on)
    server = ScriptedServer(app, dialect)
    async with server.lifespan():
        async with server.get("/").open() as client:
            await ledger.begun.wait()
            app.begin_shutdown(1)
            result = await client.finish()
            assert ledger.lines == ["begin", "commit"]
        await ledger.wait()
    assert ledger.lines == PAID
    assert (result.status, result.headers["retry-after"], result.complete) == (503, "1", True)
    assert_quiet(result)


@in_virtual_time
async def test_finish_a_socket_that_a_shutdown_has_cut_is_closed_while_its_handler_goes_on(
    dialect: Dialect,
) -> None:
    ledger = Ledger()

    async def slow(websocket: WebSocket) -> None:
        await websocket.accept()
        await ledger.write()
        await anyio.sleep(3)
        await ledger.note()

    app = Hesper(routes=[WebSocketRoute("/", slow, on_disconnect="finish")])
    server = ScriptedServer(app, dialect)
    async with server.lifespan():
        async with server.websocket("/").open() as client:
            await ledger.begun.wait()
            app.begin_shutdown(1)
            result = await client.finish()
            assert ledger.lines == ["begin", "commit"]
        await ledger.wait()
    assert ledger.lines == PAID
    assert (result.ended, result.violations) == ("returned", [])
    assert result.close_code == (1012 if dialect.websocket_any_code else 4012)  # daphne


async def test_finish_a_body_behind_middleware_is_closed_once_when_the_server_cancels_in_it(
    dialect: Dialect,
) -> None:
    ledger = Ledger()
    server = ScriptedServer(finishing(streaming(ledger), pass_on, pass_on), dialect)
    async with server.lifespan(), server.get("/").open() as client:
        await client.wait_message(2)
        client.cancel_app()
        await client.finish()
        await ledger.wait()
    assert ledger.lines == STREAMED


async def test_finish_is_not_held_up_by_a_client_that_stalls_and_leaves(dialect: Dialect) -> None:
    ledger = Ledger()
    server = ScriptedServer(finishing(paying(ledger)), dialect)
    async with server.lifespan(), server.get("/").stall_at_message(1).open() as client:
        await ledger.begun.wait()
        await anyio.sleep(0.02)
        client.leave()
        result = await client.finish()
        await ledger.wait()
    assert ledger.lines == PAID
    assert_quiet(result)


class Letter:
    """A foreign app that answers in parts."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        await self.ledger.write()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for number in range(3):
            await send({"type": "http.response.body", "body": b"%d" % number, "more_body": True})
            self.ledger.lines.append(f"part {number}")
            await anyio.sleep(0.001)
        await send({"type": "http.response.body", "body": b""})
        await self.ledger.note()


POSTED = ["begin", "commit", "part 0", "part 1", "part 2", "background"]


@over("middleware", [(), (pass_on,)])
async def test_finish_a_foreign_apps_body_reaches_its_end_when_the_client_leaves(
    dialect: Dialect, middleware: Any
) -> None:
    ledger = Ledger()
    routes = [Mount("/", Letter(ledger), on_disconnect="finish")]
    server = ScriptedServer(Hesper(routes=routes, middleware=middleware), dialect)
    async with server.lifespan():
        result = await server.get("/").leave_at_message(2).run()
        if dialect.spec_version in (None, "2.1", "2.3") or middleware:
            await ledger.wait()
            assert ledger.lines == POSTED
        # Else `send` raises, as the specification asks: the app has its own way to go on.
    assert result.raised is None
    assert not result.truncated_as_complete


@over("middleware", [(), (pass_on,)])
async def test_finish_a_foreign_response_of_a_handler_is_produced_too(
    dialect: Dialect, middleware: Any
) -> None:
    ledger = Ledger()

    async def endpoint(request: Request) -> Any:
        await ledger.write()
        return starlette.responses.PlainTextResponse(
            "paid", background=starlette.background.BackgroundTask(ledger.note)
        )

    server = ScriptedServer(finishing(endpoint, *middleware), dialect)
    async with server.lifespan():
        result = await server.get("/").run()
        await ledger.wait()
    assert (result.body, ledger.lines) == (b"paid", PAID)


async def test_finish_a_body_that_never_waits_lets_others_run(dialect: Dialect) -> None:
    others: list[int] = []

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(1000):
            yield b"x"

    async def endpoint(request: Request) -> Response:
        return StreamingResponse(chunks())

    async def run_beside() -> None:
        for number in range(10):
            others.append(number)
            await anyio.sleep(0)

    app = finishing(endpoint)
    server = ScriptedServer(app, dialect)
    async with server.lifespan(), anyio.create_task_group() as tasks:
        tasks.start_soon(run_beside)
        result = await server.get("/").run()
        assert len(others) == 10
    assert result.body == b"x" * 1000


async def test_finish_an_answer_that_comes_with_the_cancellation_is_concluded(
    dialect: Dialect,
) -> None:
    ledger = Ledger()
    go_on = anyio.Event()

    async def chunks() -> AsyncIterator[bytes]:
        try:
            yield b"x"
            yield b"y"
        finally:
            ledger.lines.append("closed")

    async def endpoint(request: Request) -> Response:
        form = await request.form()
        ledger.begun.set()
        await go_on.wait()
        assert form["name"] == "value"
        return StreamingResponse(chunks(), background=BackgroundTask(ledger.note))

    headers = {"content-type": "application/x-www-form-urlencoded"}
    for turns in range(8):
        ledger, go_on = Ledger(), anyio.Event()
        server = ScriptedServer(finishing(endpoint), dialect)
        script = server.post("/", body=b"name=value", headers=headers)
        async with server.lifespan(), script.open() as client:
            await ledger.begun.wait()
            go_on.set()
            await settle(turns)
            client.cancel_app()
            await client.finish()
            await ledger.wait()
        assert ledger.lines == ["closed", "background"]


async def test_finish_what_the_request_opened_is_closed_once(dialect: Dialect) -> None:
    closed: list[str] = []
    ledger = Ledger()

    async def opening(request: Request, call_next: Any) -> Response:
        async def close() -> None:
            closed.append("closed")

        request._exchange.incoming.at_end += (close,)
        try:
            response: Response = await call_next(request)
            return response
        finally:
            assert closed == []

    server = ScriptedServer(finishing(paying(ledger), opening), dialect)
    async with server.lifespan(), server.get("/").open() as client:
        await ledger.begun.wait()
        client.cancel_app()
        await client.finish()
        await ledger.wait()
    assert closed == ["closed"]
