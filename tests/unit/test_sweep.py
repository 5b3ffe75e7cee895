"""The sweep finds planted faults in the endings of applications, and nothing in sound ones."""

import asyncio
import logging
import re
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel
import pytest
from fastapi import FastAPI
from litestar import Litestar
from litestar import get as litestar_get
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request as StarletteRequest
from starlette.responses import PlainTextResponse as StarlettePlain
from starlette.responses import StreamingResponse as StarletteStream
from starlette.routing import Route as StarletteRoute

from hesper.applications import Hesper
from hesper.requests import Request
from hesper.responses import PlainTextResponse, StreamingResponse
from hesper.routing import Route, WebSocketRoute
from hesper.testing import DIALECTS
from hesper.testing._sweep.checks import repeatable
from hesper.testing.sweep import Report, Suppression, Sweep, SweptRequest, Violation
from hesper.types import ASGIApp, Receive, Scope, Send
from hesper.websockets import WebSocket
from tests.conftest import ExpectedErrors

START: dict[str, Any] = {"type": "http.response.start", "status": 200, "headers": []}


@pytest.fixture(autouse=True)
def errors_of_swept_apps(expected_errors: ExpectedErrors) -> Iterator[None]:
    """What a swept application logs is the sweep's to report."""
    yield
    expected_errors.clear()


def hesper(endpoint: Callable[[Request], Any], **options: Any) -> Hesper:
    return Hesper(routes=[Route("/", endpoint, methods=["GET", "POST"])], **options)


def starlette(endpoint: Callable[[StarletteRequest], Any], **options: Any) -> Starlette:
    return Starlette(routes=[StarletteRoute("/", endpoint)], **options)


def http(app: ASGIApp) -> ASGIApp:
    """A bare app that has no lifespan."""

    async def http_only(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            raise NotImplementedError("no lifespan")
        await app(scope, receive, send)

    return http_only


def codes(report: Report, kind: str | None = None) -> set[str]:
    return {v.code for v in report.violations if kind is None or v.kind == kind}


def found(report: Report, code: str) -> Violation:
    return next(violation for violation in report.violations if violation.code == code)


def asyncio_only(app: ASGIApp, **options: Any) -> SweptRequest:
    return Sweep(app, backends=["asyncio"], dialects=["uvicorn"], **options).get()


# Sound applications.


async def plain(request: Request) -> PlainTextResponse:
    return PlainTextResponse("whole")


async def ticks() -> AsyncIterator[bytes]:
    try:
        for _ in range(3):
            yield b"tick"
            await anyio.sleep(3600)
    finally:
        with anyio.move_on_after(10, shield=True):
            await anyio.sleep(1)


async def stream(request: Request) -> StreamingResponse:
    return StreamingResponse(ticks())


def test_a_plain_endpoint_is_clean_in_every_dialect() -> None:
    report = Sweep(hesper(plain), dialects=DIALECTS).get().assert_clean()
    assert report.clean
    assert {run.dialect for run in report.usual} == {dialect.name for dialect in DIALECTS}
    assert {run.backend for run in report.usual} == {"asyncio", "trio"}


@pytest.mark.patience(90)
def test_a_stream_that_cleans_up_is_clean_in_every_dialect_and_takes_hours_in_no_time() -> None:
    report = Sweep(hesper(stream), dialects=DIALECTS).get().assert_clean()
    assert all(run.duration > 10_000 for run in report.usual)
    assert report.points.keys() == {"message", "checkpoint", "cancel", "shutdown"}


@pytest.mark.patience(90)
def test_a_sweep_of_thirty_checkpoints_takes_seconds() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(15):
            await anyio.sleep(1)
            yield b"x"
            await anyio.lowlevel.checkpoint()

    async def endpoint(request: Request) -> StreamingResponse:
        return StreamingResponse(chunks())

    report = Sweep(hesper(endpoint)).get().assert_clean()
    assert min(run.checkpoints for run in report.usual) >= 30
    # 4.5 s on the machine that it was written on, which does other things as well.
    assert report.seconds < 45


def test_a_websocket_is_swept() -> None:
    async def echo(websocket: WebSocket) -> None:
        await websocket.accept()
        async for text in websocket.iter_text():
            await websocket.send_text(text)

    app = Hesper(routes=[WebSocketRoute("/", echo)])
    report = Sweep(app).websocket(messages=["one", 1.0, "two"]).assert_clean()
    assert report.title == "WebSocket /"
    assert all(run.endless for run in report.usual)


@pytest.mark.parametrize(
    "given",
    [{"json": {"a": 1}}, {"form": {"a": "1"}}, {"form": [("a", "1")]}, {"body": [b"a=", b"1"]}],
)
def test_a_body_is_sent_as_json_as_a_form_or_as_it_is(given: dict[str, Any]) -> None:
    bodies = set()

    async def upload(request: Request) -> PlainTextResponse:
        bodies.add((request.headers.get("content-type"), await request.body()))
        return PlainTextResponse("thanks")

    Sweep(hesper(upload), dialects=["uvicorn"]).post(headers={"x-a": "1"}, **given).assert_clean()
    whole = max(bodies, key=lambda sent: len(sent[1]))
    assert whole in {
        ("application/json", b'{"a": 1}'),
        ("application/x-www-form-urlencoded", b"a=1"),
        (None, b"a=1"),
    }


def test_an_app_with_a_lifespan_is_started_and_shut_down_for_each_run() -> None:
    steps = []

    @asynccontextmanager
    async def lifespan(app: Hesper) -> AsyncIterator[None]:
        steps.append("start")
        yield
        steps.append("stop")

    report = Sweep(hesper(stream, lifespan=lifespan), dialects=["uvicorn"]).get().assert_clean()
    assert steps == ["start", "stop"] * report.runs


def test_fastapi_and_litestar_are_swept() -> None:
    fast = FastAPI()

    @fast.get("/")
    async def fast_endpoint() -> dict[str, str]:
        await anyio.sleep(1)
        return {"from": "fastapi"}

    @litestar_get("/")
    async def lite_endpoint() -> dict[str, str]:
        await anyio.sleep(1)
        return {"from": "litestar"}

    for app in (fast, Litestar([lite_endpoint])):
        report = Sweep(app, dialects=["uvicorn"]).get().run()  # type: ignore[arg-type]
        assert {run.backend for run in report.usual} == {"asyncio", "trio"}, str(report)
        assert not report.violations, str(report)


def test_a_thread_takes_real_time_and_the_sweep_stays_clean() -> None:
    async def endpoint(request: Request) -> PlainTextResponse:
        await anyio.to_thread.run_sync(time.sleep, 0.001)
        return PlainTextResponse("done")

    Sweep(hesper(endpoint), dialects=["uvicorn"]).get().assert_clean()


def test_real_time_leaves_the_clock_alone() -> None:
    async def endpoint(request: Request) -> PlainTextResponse:
        await anyio.sleep(0.001)
        return PlainTextResponse("done")

    sweep = Sweep(hesper(endpoint), dialects=["uvicorn"], real_time=True)
    report = sweep.get().assert_clean()
    assert all(run.duration >= 0.001 for run in report.usual)


# Planted faults.


def test_a_generator_that_swallows_cancellations_is_found() -> None:
    async def deaf() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x"
            try:
                await anyio.sleep(1)
            except asyncio.CancelledError:
                pass

    async def endpoint(request: StarletteRequest) -> StarletteStream:
        return StarletteStream(deaf())

    report = Sweep(starlette(endpoint), backends=["asyncio"], dialects=["gunicorn"]).get().run()
    assert "cancel-swallowed" in codes(report, "cancel")
    violation = found(report, "cancel-swallowed")
    assert violation.replay == f"--at {violation.at} --dialect gunicorn --backend asyncio"
    assert "anyio.sleep(1)" in violation.stack[-1]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_await_in_finally_without_a_shield_is_found(backend: str) -> None:
    async def rows() -> AsyncIterator[bytes]:
        try:
            yield b"row"
            await anyio.sleep(1)
        finally:
            await anyio.sleep(1)

    async def endpoint(request: StarletteRequest) -> StarletteStream:
        return StarletteStream(rows())

    report = Sweep(starlette(endpoint), backends=[backend], dialects=["uvicorn"]).get().run()
    violation = found(report, "cleanup-cut")
    assert "rows" in violation.sentence
    assert "shield=True" in violation.mending


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_same_with_a_shield_is_clean_where_the_generator_is_idle(backend: str) -> None:
    async def endpoint(request: StarletteRequest) -> StarletteStream:
        return StarletteStream(ticks())

    sweep = Sweep(starlette(endpoint), backends=[backend], dialects=["uvicorn"])
    sweep.get().but(kinds=["message", "checkpoint", "shutdown"]).assert_clean()


def test_a_task_left_by_create_task_is_found() -> None:
    kept = set()

    async def later() -> None:
        await asyncio.sleep(1)

    async def endpoint(request: StarletteRequest) -> StarlettePlain:
        kept.add(asyncio.create_task(later()))
        return StarlettePlain("started")

    report = asyncio_only(starlette(endpoint)).run()
    violation = found(report, "task-left")
    assert violation.kind == "undisturbed"
    assert violation.at == "undisturbed"
    assert "later" in violation.sentence


def test_a_task_that_the_lifespan_waits_for_is_not_left() -> None:
    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[dict[str, Any]]:
        async with anyio.create_task_group() as tasks:
            yield {"tasks": tasks}

    async def endpoint(request: StarletteRequest) -> StarlettePlain:
        request.state.tasks.start_soon(anyio.sleep, 5)
        return StarlettePlain("started")

    Sweep(starlette(endpoint, lifespan=lifespan), dialects=["uvicorn"]).get().assert_clean()


def test_an_error_log_for_a_client_that_leaves_is_found() -> None:
    async def endpoint(request: StarletteRequest) -> StarlettePlain:
        while not await request.is_disconnected():
            if request.scope["asgi"].setdefault("turns", 0) == 3:
                return StarlettePlain("done")
            request.scope["asgi"]["turns"] += 1
            await anyio.sleep(1)
        try:
            raise ConnectionError("gone")
        except ConnectionError:
            logging.getLogger("app").exception("the client left")
        return StarlettePlain("too late")

    report = asyncio_only(starlette(endpoint)).run()
    assert codes(report, "checkpoint") == {"logged"}
    assert "the client left (ConnectionError('gone'))" in found(report, "logged").sentence


def test_no_response_returned_by_call_next_is_found() -> None:
    """The error that BaseHTTPMiddleware of Starlette raises for an app that gives up."""

    @http
    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        async with anyio.create_task_group() as tasks:

            async def work() -> None:
                await anyio.sleep(1)
                try:
                    await send(START)
                    await send({"type": "http.response.body", "body": b"done"})
                except OSError:
                    pass
                tasks.cancel_scope.cancel()

            tasks.start_soon(work)
            while (await receive())["type"] != "http.disconnect":
                pass
            tasks.cancel_scope.cancel()

    async def dispatch(request: StarletteRequest, call_next: Any) -> Any:
        return await call_next(request)

    Sweep(inner).get().assert_clean()
    report = Sweep(BaseHTTPMiddleware(inner, dispatch), dialects=["uvicorn"]).get().run()
    assert "RuntimeError: No response returned." in found(report, "raised").sentence


def test_a_part_of_the_body_passed_off_as_the_whole_is_found() -> None:
    @http
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        try:
            for _ in range(3):
                await send({"type": "http.response.body", "body": b"x", "more_body": True})
                await anyio.sleep(1)
        except BaseException:
            await send({"type": "http.response.body", "body": b""})
            raise
        await send({"type": "http.response.body", "body": b""})

    report = asyncio_only(app).run()
    assert codes(report) == {"truncated"}
    assert found(report, "truncated").kind == "cancel"


def test_an_event_stream_may_end_after_any_event() -> None:
    @http
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({**START, "headers": [(b"content-type", b"text/event-stream")]})
        try:
            await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
            await anyio.sleep(1)
            await send({"type": "http.response.body", "body": b"data: 2\n\n", "more_body": True})
        finally:
            await send({"type": "http.response.body", "body": b""})

    asyncio_only(app).assert_clean()


def test_a_last_message_after_a_failed_one_is_found() -> None:
    @http
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({**START, "headers": [(b"content-length", b"2")]})
        try:
            await anyio.sleep(1)
            await send({"type": "http.response.body", "body": b"xx", "more_body": True})
        finally:
            await send({"type": "http.response.body", "body": b""})

    assert codes(asyncio_only(app).run(), "cancel") == {"truncated"}


def test_a_second_response_is_found() -> None:
    @http
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send(START)
            await anyio.sleep(1)
            await send({"type": "http.response.body", "body": b"x"})
        except BaseException:
            await send({**START, "status": 500})
            await send({"type": "http.nonsense"})
            raise

    report = asyncio_only(app).run()
    assert codes(report, "cancel") == {"sent-twice", "protocol"}


def test_a_generator_left_in_its_try_is_found_and_one_that_has_nothing_to_clean_is_not() -> None:
    async def guarded() -> AsyncIterator[bytes]:
        try:
            yield b"x"
            yield b"y"
        finally:
            pass

    async def bare() -> AsyncIterator[bytes]:
        yield b"x"
        yield b"y"

    def app(chunks: Callable[[], AsyncIterator[bytes]], kept: list[Any] | None) -> ASGIApp:
        async def endpoint(scope: Scope, receive: Receive, send: Send) -> None:
            generator = chunks()
            if kept is not None:
                kept.append(generator)
            chunk = await anext(generator)
            await send(START)
            await send({"type": "http.response.body", "body": chunk})

        return endpoint

    dropped, kept = asyncio_only(app(guarded, None)).run(), asyncio_only(app(guarded, [])).run()
    assert codes(dropped) == codes(kept) == {"generator-left"}
    asyncio_only(app(bare, [])).assert_clean()


def test_a_generator_that_is_closed_by_hand_is_not_left() -> None:
    @http
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        async with aclosing(ticks()) as chunks:  # type: ignore[type-var]
            await anext(chunks)
        await send({"type": "http.response.body", "body": b"x"})

    Sweep(app, dialects=["uvicorn"]).get().assert_clean()


def test_a_call_of_receive_left_open_is_found() -> None:
    @http
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        listener = asyncio.ensure_future(receive())
        await asyncio.sleep(1)
        await send(START)
        try:
            await send({"type": "http.response.body", "body": b"x"})
        finally:
            listener.cancel()

    assert "receive-left" in codes(asyncio_only(app).run())


def test_temporary_files_that_are_not_closed_are_found() -> None:
    @http
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        with tempfile.TemporaryFile():
            spool = tempfile.SpooledTemporaryFile(max_size=10)
            await anyio.sleep(1)
        spool.close()
        await send(START)
        await send({"type": "http.response.body", "body": b"x"})

    report = asyncio_only(app).run()
    assert codes(report, "cancel") == {"file-left"}
    assert "SpooledTemporaryFile" in found(report, "file-left").sentence


def test_a_file_on_disk_that_was_only_dropped_is_found() -> None:
    @http
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        tempfile.NamedTemporaryFile()
        await send(START)
        await send({"type": "http.response.body", "body": b"x"})

    assert codes(asyncio_only(app).run()) == {"file-left"}


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_cancel_scope_that_is_not_left_is_found(backend: str) -> None:
    @http
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        open_scope = anyio.CancelScope()
        open_scope.__enter__()
        scopes.append(open_scope)
        await send(START)
        await send({"type": "http.response.body", "body": b"x"})

    scopes: list[anyio.CancelScope] = []
    report = Sweep(app, backends=[backend], dialects=["uvicorn"]).get().run()
    assert found(report, "scope-left").kind == "undisturbed"
    assert "raised" not in codes(report)


def test_a_cancellation_of_its_own_that_comes_out_is_found() -> None:
    @http
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        listener = asyncio.ensure_future(receive())
        done, _ = await asyncio.wait([listener], timeout=1)
        if done:
            work = asyncio.ensure_future(asyncio.sleep(1))
            work.cancel()
            await work
        listener.cancel()
        await asyncio.wait([listener])
        await send(START)
        await send({"type": "http.response.body", "body": b"x"})

    assert codes(asyncio_only(app).run(), "checkpoint") == {"self-cancelled"}


def test_a_coroutine_that_nobody_awaited_is_found() -> None:
    @http
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        anyio.sleep(1)  # type: ignore[unused-coroutine]
        await send(START)
        await send({"type": "http.response.body", "body": b"x"})

    assert codes(asyncio_only(app).run()) == {"unseen"}


def test_an_error_that_only_a_destructor_sees_is_found() -> None:
    class Broken:
        def __del__(self) -> None:
            raise ValueError("in a destructor")

    @http
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        Broken()
        await send(START)
        await send({"type": "http.response.body", "body": b"x"})

    assert "in a destructor" in found(asyncio_only(app).run(), "unseen").sentence


def test_a_lifespan_that_closes_what_a_request_uses_is_found() -> None:
    open_pool = [True]

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        open_pool[0] = True
        yield
        open_pool[0] = False

    async def endpoint(request: StarletteRequest) -> StarlettePlain:
        await anyio.sleep(1)
        if not open_pool[0]:
            raise RuntimeError("the pool is closed")
        return StarlettePlain("done")

    report = asyncio_only(starlette(endpoint, lifespan=lifespan)).run()
    assert codes(report) == {"raised"}
    assert found(report, "raised").kind == "shutdown"


def test_a_shutdown_that_waits_for_the_client_is_found() -> None:
    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[dict[str, Any]]:
        done = anyio.Event()
        yield {"done": done}
        await done.wait()

    async def endpoint(request: StarletteRequest) -> StarlettePlain:
        await anyio.sleep(1)
        request.state.done.set()
        return StarlettePlain("done")

    report = asyncio_only(starlette(endpoint, lifespan=lifespan)).run()
    assert codes(report) == {"lifespan"}


# Applications that do not end.


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_app_that_waits_for_ever_after_the_client_left_is_found(backend: str) -> None:
    @http
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        with anyio.move_on_after(1) as scope_of_wait:
            await receive()
        if not scope_of_wait.cancelled_caught:
            await anyio.sleep_forever()
        await send(START)
        await send({"type": "http.response.body", "body": b"x"})

    report = Sweep(app, backends=[backend], dialects=["uvicorn"]).get().run()
    violation = found(report, "hang")
    assert "was still running" in violation.sentence
    assert "anyio.sleep_forever()" in violation.stack[-1]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("swallowed", [Exception, BaseException])
def test_an_app_that_goes_round_for_ever_is_killed(
    backend: str, swallowed: type[BaseException]
) -> None:
    @http
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await anyio.sleep(1)
        await send(START)
        await send({"type": "http.response.body", "body": b"x"})
        while (await receive())["type"] == "http.disconnect" and "left" in str(clients):
            try:
                await anyio.lowlevel.checkpoint()
            except swallowed:
                pass

    clients: list[str] = ["left"]
    report = (
        Sweep(app, backends=[backend], dialects=["uvicorn"], steps=300, may_fail=True).get().run()
    )
    assert report.failures
    assert "300" in report.failures[0]


@pytest.mark.patience(90)
def test_an_endless_stream_is_ended_by_its_client_and_swept() -> None:
    async def for_ever() -> AsyncIterator[bytes]:
        while True:
            yield b"x"
            await anyio.sleep(20)

    async def endpoint(request: Request) -> StreamingResponse:
        return StreamingResponse(for_ever())

    report = Sweep(hesper(endpoint), limit=15).get().assert_clean()
    assert all(run.endless for run in report.usual)
    assert "endless" in str(report)


def test_an_endless_stream_that_never_suspends_is_a_failure_that_says_so() -> None:
    @http
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        while True:
            await send({"type": "http.response.body", "body": b"", "more_body": True})

    report = asyncio_only(app, steps=100).run()
    assert "went on for ever" in report.failures[0]


def test_a_loop_over_receive_that_never_suspends_is_found() -> None:
    @http
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await anyio.sleep(1)
        await send({"type": "http.response.body", "body": b""})
        while (await receive())["type"] != "http.request":
            pass
        while True:
            await receive()

    report = asyncio_only(app, steps=100).run()
    assert "went on for ever" in str(report)


# What cannot be swept.


def test_an_app_that_needs_asyncio_is_not_run_on_trio_and_the_report_says_so() -> None:
    @http
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(1)
        await send(START)
        await send({"type": "http.response.body", "body": b"x"})

    report = Sweep(app, dialects=["uvicorn", "granian"]).get().assert_clean()
    assert {run.backend for run in report.usual} == {"asyncio"}
    assert [text for text in report.skipped if "needs asyncio" in text] == [
        text for text in report.skipped if text.startswith("trio:")
    ]


@pytest.mark.parametrize(
    ("status", "message"), [(500, "was answered with 500"), (None, "was not answered")]
)
def test_a_request_that_fails_undisturbed_is_not_swept(status: int | None, message: str) -> None:
    @http
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if status is not None:
            await send({**START, "status": status})
            await send({"type": "http.response.body", "body": b"x"})

    with pytest.raises(AssertionError, match=message):
        asyncio_only(app).assert_clean()


def test_a_request_that_raises_undisturbed_is_not_swept_unless_it_may() -> None:
    @http
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await anyio.sleep(1)
        raise ValueError("as always")

    request = asyncio_only(app)
    assert "raised ValueError('as always')" in request.run().failures[0]
    assert request.but(may_fail=True).run().points


def test_an_app_that_never_ends_is_at_fault_undisturbed_and_swept_all_the_same() -> None:
    @http
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        try:
            await anyio.sleep_forever()
        except BaseException as exc:
            raise ValueError("planted") from exc

    report = Sweep(app, dialects=["uvicorn"]).get().run()
    assert report.failures == []
    assert all(run.endless and run.checkpoints == 1 for run in report.usual)
    hang = found(report, "hang")
    assert hang.at == "undisturbed"
    assert "was still running 60 seconds after its client had left" in hang.sentence
    assert "sleep_forever" in hang.stack[-1]
    assert codes(report, "message") == codes(report, "checkpoint") == {"hang"}
    assert codes(report, "cancel") == {"raised"}


def test_an_app_that_is_busy_for_ever_is_not_swept() -> None:
    @http
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while True:
            await anyio.lowlevel.checkpoint()

    report = asyncio_only(app, steps=100).run()
    assert "does not end, not even when the client leaves" in report.failures[0]
    assert report.points == {}


def test_an_app_that_does_not_start_is_not_swept() -> None:
    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        raise RuntimeError("no database")
        yield

    report = asyncio_only(hesper(plain, lifespan=lifespan)).run()
    assert "did not start" in report.failures[0]


# Options and reports.


def planted() -> ASGIApp:
    @http
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        for _ in range(4):
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            await anyio.sleep(1)
        try:
            await send({"type": "http.response.body", "body": b"x"})
            await anyio.sleep(1)
        except BaseException as exc:
            raise ValueError("planted") from exc

    return app


async def tick(request: Request) -> StreamingResponse:
    async def ticks() -> AsyncIterator[bytes]:
        try:
            yield b"tick"
            await anyio.sleep(3600)
        finally:
            with anyio.move_on_after(10, shield=True):
                await anyio.sleep(1)

    return StreamingResponse(ticks())


@http
async def breaks_at_its_end(scope: Scope, receive: Receive, send: Send) -> None:
    await send(START)
    await anyio.sleep(1)
    await send({"type": "http.response.body", "body": b"x"})
    try:
        await anyio.sleep(1)
    except BaseException as exc:
        raise ValueError("planted") from exc


# Each seed draws other points, and has trio run the tasks in another order.
seeds = pytest.mark.parametrize("seeds", [range(0, 100), range(100, 200)], ids=str)


def with_seed(app: ASGIApp, seed: int, **options: Any) -> Report:
    dialect = ("uvicorn", "specification")[seed % 2]
    report = Sweep(app, dialects=[dialect], seed=seed, **options).get().run()
    assert [run.backend for run in report.usual] == ["asyncio", "trio"]
    return report


@pytest.mark.patience(90)
@seeds
def test_a_clean_app_is_clean_with_200_of_200_seeds(seeds: range) -> None:
    app = hesper(tick)
    for seed in seeds:
        report = with_seed(app, seed, limit=1)
        assert report.clean, report


@pytest.mark.patience(90)
@seeds
def test_a_planted_fault_is_found_with_200_of_200_seeds(seeds: range) -> None:
    for seed in seeds:
        report = with_seed(breaks_at_its_end, seed, kinds=["cancel"])
        assert codes(report) == {"raised"}, report


def test_the_same_seed_gives_the_same_report() -> None:
    def report() -> dict[str, Any]:
        data = Sweep(planted(), seed=3, limit=3).get().run().to_dict()
        return {**data, "seconds": 0}

    assert report() == report()


def test_a_report_has_no_addresses_and_no_numbers_that_are_others_each_time() -> None:
    class Row:
        pass

    @http
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        try:
            await anyio.sleep(1)
        except BaseException as exc:
            logging.getLogger("app").error("lost %r", Row())
            raise ValueError(f"{Row()} at {scope['path']}") from exc

    report = asyncio_only(app, kinds=["cancel"], check=lambda outcome: repr(Row())).run()
    said = {violation.code: violation for violation in report.violations if violation.n}
    assert said["raised"].sentence.count("Row object at ...> at /") == 1
    assert said["check"].sentence.endswith("Row object at ...>")
    assert not re.search("0x[0-9a-f]", str(report))
    assert not [event for event in said["raised"].timeline if "0x" in event.text]
    assert said["logged"].sentence.endswith("Row object at ...>.")

    @http
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError(Row())

    assert "Row object at ...>" in asyncio_only(broken).run().failures[0]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<trio.CancelScope at 0x7f01e2, bound>", "<trio.CancelScope at ..., bound>"),
        ("<Task pending name='Task-31' coro=<f()>>", "<Task pending name='Task-...' coro=<f()>>"),
        ("Cancelled via cancel scope 7f01e2 by x", "Cancelled via cancel scope ... by x"),
        ("mask 0xff of task Task-7", "mask 0xff of task Task-7"),
    ],
)
def test_what_is_another_each_time_is_left_out(text: str, shown: str) -> None:
    assert repeatable(text) == shown


def test_points_beyond_the_limit_are_drawn_and_the_report_says_so() -> None:
    report = asyncio_only(planted(), limit=2, kinds=["cancel"]).run()
    assert report.points == {"cancel": 2}
    assert report.skipped == [
        "cancel: of up to 5 points in a dialect and backend 2 were tried, drawn with seed 0"
    ]


def test_a_suppression_needs_a_reason_and_shows_it() -> None:
    suppression = Suppression("raised", "known, see issue 7", about="planted")
    report = asyncio_only(planted(), suppress=[suppression]).assert_clean()
    assert "known, see issue 7" in str(report)
    assert report.suppressed[0].reason == "known, see issue 7"


def test_a_replay_shows_the_violation_again_with_its_time_line() -> None:
    request = asyncio_only(planted())
    violation = found(request.run(), "raised")
    again = request.replay(violation.at, dialect=violation.dialect, backend=violation.backend)
    assert again.violations == [violation]
    assert [event.text for event in violation.timeline if event.kind == "ending"] == [violation.at]
    assert {event.kind for event in violation.timeline} == {"server", "checkpoint", "ending"}


def test_a_replay_of_a_point_that_is_not_reached_says_so() -> None:
    report = asyncio_only(planted()).replay("cancel:99")
    assert report.failures == ["the run did not get to cancel:99"]
    assert asyncio_only(planted()).replay("undisturbed").clean


def test_own_checks_and_first_states_are_called_for_each_run() -> None:
    runs = []

    request = asyncio_only(
        planted(),
        kinds=["message"],
        before=lambda: runs.append("run"),
        check=lambda outcome: "no x was sent" if outcome.point.n == 1 else None,
    )
    report = request.run()
    assert found(report, "check").sentence == "no x was sent"
    assert len(runs) == report.runs


def test_progress_is_told() -> None:
    told: list[tuple[int, int]] = []
    asyncio_only(planted(), kinds=["message"]).run(lambda *numbers: told.append(numbers))
    assert told[0] == (0, 7)
    assert told[-1] == (7, 7)
