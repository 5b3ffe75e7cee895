"""The parts of the sweep: what it reads of suspended coroutines, its options, its loops."""

import asyncio
import gc
import json
import logging
import re
import sys
import types
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import anyio
import pytest
from starlette.middleware.base import BaseHTTPMiddleware as StarletteBase

from hesper.exceptions import UsageError
from hesper.middleware.gzip import GZipMiddleware
from hesper.testing._sweep.frames import (
    Arrival,
    Place,
    awaiting,
    cleanup_in,
    places,
    running,
    unguarded,
)
from hesper.testing._sweep.leftovers import Leftovers
from hesper.testing._sweep.watch import Watch, Watched
from hesper.testing.sweep import (
    CODES,
    Sweep,
    Violation,
    check_middleware,
    sweep_middleware,
)
from hesper.types import ASGIApp, Receive, Scope, Send
from tests.conftest import ExpectedErrors

pytest_plugins = ["pytester"]

START: dict[str, Any] = {"type": "http.response.start", "status": 200, "headers": []}


@pytest.fixture(autouse=True)
def errors_of_swept_apps(expected_errors: ExpectedErrors) -> Iterator[None]:
    """What a swept application logs is the sweep's to report."""
    yield
    expected_errors.clear()


@types.coroutine
def pause() -> Generator[None, None, None]:
    yield


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        raise NotImplementedError("no lifespan")
    await anyio.sleep(1)
    await send(START)
    await send({"type": "http.response.body", "body": b"x"})


def names(coroutine: Any) -> list[str]:
    return [frame.f_code.co_name for frame in awaiting(coroutine)]


# What is read of a suspended coroutine.


async def numbers() -> AsyncIterator[int]:
    try:
        await pause()
        yield 1
    finally:
        await pause()


class Wrapped:
    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __await__(self) -> Generator[Any, Any, Any]:
        return self.inner.__await__()  # type: ignore[no-any-return]


async def loops_over() -> None:
    async for _ in numbers():
        pass


async def takes_next() -> None:
    generator: Any = numbers()
    await anext(generator, None)
    await generator.aclose()


async def wraps() -> None:
    await Wrapped(pause_in_coroutine())


async def pause_in_coroutine() -> None:
    await pause()


@types.coroutine
def drives() -> Generator[None, Any, None]:
    steps = pause_in_coroutine().__await__()
    for trap in steps:  # noqa: UP028
        yield trap


@types.coroutine
def drives_a_coroutine() -> Generator[None, Any, None]:
    inner = pause_in_coroutine()
    inner.send(None)
    yield
    inner.close()


async def driven(driver: Callable[[], Awaitable[None]]) -> None:
    await driver()


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (loops_over, ["loops_over", "numbers", "pause"]),
        (takes_next, ["takes_next", "numbers", "pause"]),
        (wraps, ["wraps", "pause_in_coroutine", "pause"]),
        (lambda: driven(drives), ["driven", "drives", "pause_in_coroutine", "pause"]),
        (
            lambda: driven(drives_a_coroutine),
            ["driven", "drives_a_coroutine", "pause_in_coroutine", "pause"],
        ),
    ],
)
def test_all_that_a_coroutine_awaits_is_seen(make: Callable[[], Any], expected: list[str]) -> None:
    coroutine = make()
    coroutine.send(None)
    assert names(coroutine) == expected
    with suppress(StopIteration):
        while True:
            coroutine.send(None)


def test_an_awaitable_that_keeps_everything_to_itself_ends_the_chain() -> None:
    opaque = type("coroutine_wrapper", (), {})
    assert awaiting(opaque()) == []


def test_a_frame_is_unguarded_outside_of_try_and_with() -> None:
    async def bare() -> AsyncIterator[int]:
        yield 1

    async def guarded() -> AsyncIterator[int]:
        with suppress(ValueError):
            yield 1

    async def frame_of(generator: Any) -> Any:
        await anext(generator)
        return generator.ag_frame

    for make, expected in ((bare, True), (guarded, False)):
        generator = make()
        with pytest.raises(StopIteration) as ended:
            frame_of(generator).send(None)
        assert unguarded(ended.value.value) is expected
        with suppress(StopIteration):
            generator.aclose().send(None)  # type: ignore[attr-defined]


def cancelled(make: Callable[[], Any]) -> tuple[str, ...]:
    """The function that is cleaning up after an exception, if there is one."""
    coroutine = make()
    coroutine.send(None)
    coroutine.throw(KeyError())
    frame = cleanup_in(awaiting(coroutine))
    with suppress(KeyError, StopIteration):
        while True:
            coroutine.send(None)
    return () if frame is None else (frame.f_code.co_name,)


async def in_finally() -> None:
    try:
        await pause()
    finally:
        await pause()


async def in_except() -> None:
    try:
        await pause()
    except KeyError as exc:
        await pause()
        raise exc


async def in_exit() -> None:
    async with resource():
        await pause()


@asynccontextmanager
async def resource() -> AsyncIterator[None]:
    try:
        yield
    finally:
        await pause()


class Resource:
    async def __aenter__(self) -> None: ...

    async def __aexit__(self, *exc: object) -> None:
        await pause()


async def in_exit_of_a_class() -> None:
    async with Resource():
        await pause()


async def with_a_try_of_its_own() -> None:
    try:
        await pause()
    finally:
        with suppress(ValueError):
            await pause()


async def in_the_body() -> None:
    try:
        with suppress(KeyError):
            await pause()
        await pause()
    finally:
        pass


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (in_finally, ("in_finally",)),
        (in_except, ("in_except",)),
        (in_exit, ("resource",)),
        (in_exit_of_a_class, ("in_exit_of_a_class",)),
        (with_a_try_of_its_own, ()),
        (in_the_body, ()),
    ],
)
def test_a_cleanup_is_told_from_other_awaits(
    make: Callable[[], Any], expected: tuple[str, ...]
) -> None:
    assert cancelled(make) == expected


class OwnGroup:
    """A context manager of a task group."""

    async def __aenter__(self) -> None:
        self.group = anyio.create_task_group()
        await self.group.__aenter__()
        self.group.start_soon(sleep_shielded)

    async def __aexit__(self, *exc: Any) -> Any:
        return await self.group.__aexit__(*exc)


async def sleep_shielded() -> None:
    with anyio.CancelScope(shield=True):
        await anyio.sleep(1)


@asynccontextmanager
async def group() -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(OwnGroup())
        yield


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_exit_of_a_task_group_outlasts_every_cancellation(backend: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async with group():
            await answer(scope, receive, send)

    Sweep(app, backends=[backend], dialects=["uvicorn"]).get().assert_clean()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_timeout_inside_of_a_cleanup_is_not_its_end(backend: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await answer(scope, receive, send)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(1)
                await tidy_up()

    async def tidy_up() -> None:
        try:
            raise KeyError
        except KeyError:
            await gives_up()

    async def gives_up() -> None:
        for _ in range(3):
            with anyio.move_on_after(1):
                await anyio.sleep_forever()

    sweep = Sweep(app, backends=[backend], dialects=["uvicorn"], kinds=["message", "checkpoint"])
    sweep.get().assert_clean()


def test_the_servers_frames_and_the_loops_are_left_out() -> None:
    here = places(running(sys._getframe()))
    assert here[-1].function == "test_the_servers_frames_and_the_loops_are_left_out"
    assert "sys._getframe()" in str(here[-1])
    assert str(Place("nowhere.py", 3, "nothing")) == "nowhere.py:3 in nothing"


# Loops.


def test_inside_of_a_running_loop_the_sweep_says_where_to_call_it() -> None:
    async def call() -> None:
        Sweep(answer).get().run()

    for backend in ("asyncio", "trio"):
        with pytest.raises(UsageError, match="not async"):
            anyio.run(call, backend=backend)


def test_without_trio_the_sweep_runs_on_asyncio_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "trio", None)
    report = Sweep(answer, dialects=["uvicorn"]).get().assert_clean()
    assert {run.backend for run in report.usual} == {"asyncio"}
    assert "hesper[trio]" in report.skipped[0]


def test_a_task_that_outlives_everything_is_left_with_the_loop() -> None:
    async def stubborn() -> None:
        while True:
            try:
                await asyncio.sleep(1)
            except BaseException:
                pass

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            kept.append(asyncio.ensure_future(stubborn()))
        await answer(scope, receive, send)

    kept: list[Any] = []
    report = Sweep(app, backends=["asyncio"], dialects=["uvicorn"]).get().run()
    assert {violation.code for violation in report.violations} == {"task-left"}
    for task in kept:
        assert task.done()


def test_a_task_that_nobody_can_end_is_named() -> None:
    """It was not made by the loop, which could kill it: the sweep does not go on for ever."""

    async def stubborn() -> None:
        while True:
            try:
                await asyncio.sleep(1)
            except asyncio.CancelledError:
                pass

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            kept.append(asyncio.Task(stubborn()))
            kept[-1]._log_destroy_pending = False
        await answer(scope, receive, send)

    kept: list[Any] = []
    report = Sweep(app, backends=["asyncio"], dialects=["uvicorn"]).get().run()
    assert re.search("cannot end <Task .*stubborn.*create_task", report.failures[0])
    kept.clear()
    gc.collect()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_app_that_swallows_even_its_killing_is_let_go_of(backend: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(scope, receive, send)
        while True:
            try:
                await anyio.sleep(0)
            except BaseException:
                pass

    sweep = Sweep(app, backends=[backend], dialects=["uvicorn"], steps=100)
    assert "100 steps" in sweep.get().run().failures[0]


def test_a_request_that_outlasts_the_shutdown_is_cancelled_as_by_a_server() -> None:
    stopping: list[bool] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            stopping.clear()
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            stopping.append(True)
            await send({"type": "lifespan.shutdown.complete"})
            return
        await anyio.sleep(1)
        if stopping:
            await anyio.sleep_forever()
        await answer(scope, receive, send)

    sweep = Sweep(app, kinds=["shutdown"], backends=["asyncio"], dialects=["uvicorn"])
    report = sweep.get().assert_clean()
    assert report.runs > 1


def test_a_native_error_of_the_loop_does_not_escape() -> None:
    """A foreign future breaks trio's rules, and an app that goes on after it breaks trio."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise SystemError("broken")

    report = Sweep(app, dialects=["uvicorn"], backends=["asyncio"], may_fail=True).get().run()
    assert report.clean


# Options and reports.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nonsense": 1}, "no option 'nonsense'"),
        ({"kinds": "cancel"}, "to be a sequence"),
        ({"kinds": ["leave"]}, "no kind 'leave'"),
        ({"dialects": ["iis"]}, "no dialect 'iis'"),
    ],
)
def test_a_wrong_option_is_refused_with_what_there_is(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        Sweep(answer, **options)


@pytest.mark.parametrize("at", ["cancel", "cancel:x", "leave:1", "undisturbed:1"])
def test_a_wrong_point_is_refused(at: str) -> None:
    with pytest.raises(UsageError, match="cancel:17"):
        Sweep(answer).get().replay(at)


def test_a_report_is_json_and_a_table() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(scope, receive, send)
        raise ExceptionGroup("both", [ValueError("one\ntwo"), KeyError()])

    request = Sweep(app, dialects=["uvicorn"], backends=["asyncio"]).get("/there?a=1")
    report = request.but(may_fail=True, check=lambda outcome: "as you like it").run()
    data = json.loads(json.dumps(report.to_dict()))
    assert data["clean"] is False
    assert data["violations"][0]["replay"] == report.violations[0].replay
    assert data["violations"][0]["timeline"][0].keys() == {"time", "kind", "text"}
    assert "GET /there?a=1: " in str(report)
    assert "as you like it (" in str(report)
    assert report.violations[0].id == "check-undisturbed-uvicorn-asyncio"


def test_a_report_says_what_was_raised_in_a_group() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await answer(scope, receive, send)
        except BaseException:
            raise BaseExceptionGroup("both", [ValueError("one\ntwo"), KeyError()]) from None

    report = Sweep(app, dialects=["uvicorn"], backends=["asyncio"]).get().run()
    assert "ExceptionGroup(ValueError: one, KeyError)" in report.violations[0].sentence


def test_a_failure_beside_violations_shows_both() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["asgi"].get("spec_version") is None:
            raise KeyError("spec_version")
        try:
            await answer(scope, receive, send)
        except BaseException:
            raise ValueError("cleanup") from None

    report = Sweep(app, dialects=["uvicorn", "daphne"], backends=["asyncio"]).get().run()
    assert "could not be swept; " in str(report)
    assert report.failures
    assert report.violations


def test_each_code_has_a_sentence_and_says_how_it_is_mended() -> None:
    for sentence, mending in CODES.values():
        assert "{}" in sentence
        assert mending.endswith(".")


def test_a_violation_shows_its_stack() -> None:
    violation = Violation(
        code="hang",
        sentence="It hangs.",
        mending="Do not.",
        kind="cancel",
        n=17,
        dialect="hypercorn",
        backend="trio",
        stack=["app.py:3 in app"],
    )
    assert str(violation).splitlines() == [
        "[hang-cancel:17-hypercorn-trio] It hangs.",
        "  Do not.",
        "  --at cancel:17 --dialect hypercorn --backend trio",
        "    app.py:3 in app",
    ]


# Middleware.


class Pure:
    def __init__(self, app: ASGIApp, name: str) -> None:
        self.app = app
        self.name = name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


async def dispatch(request: Any, call_next: Any) -> Any:
    response = await call_next(request)
    response.headers["x-seen"] = "yes"
    return response


@pytest.mark.patience(60)
def test_a_middleware_of_each_sort_sweeps_clean() -> None:
    for reports in (
        check_middleware(dispatch),
        check_middleware(GZipMiddleware, minimum_size=1),
        check_middleware(Pure, "pure"),
    ):
        assert [report.title for report in reports] == [
            "GET /plain",
            "GET /slow",
            "GET /stream",
            "POST /upload",
            "GET /foreign",
            "GET /failing",
        ]


def test_a_middleware_that_breaks_endings_is_refused_with_the_reports() -> None:
    class Breaks(Pure):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            try:
                await self.app(scope, receive, send)
            except BaseException:
                raise ValueError("broken by " + self.name) from None

    with pytest.raises(AssertionError, match="broken by Breaks"):
        check_middleware(Breaks, name="Breaks")


def test_starlettes_base_middleware_raises_when_nothing_is_returned() -> None:
    class Dispatching(StarletteBase):
        async def dispatch(self, request: Any, call_next: Any) -> Any:
            return await call_next(request)

    reports = sweep_middleware(Dispatching, dialects=["uvicorn"], kinds=["message"])
    assert "RuntimeError: No response returned." in "\n".join(map(str, reports))


# The plugin.


def test_the_fixture_makes_sweeps_with_the_options_of_the_command_line(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(
        """
        import anyio

        async def app(scope, receive, send):
            assert scope["type"] == "http"
            for _ in range(9):
                await anyio.sleep(1)
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"x"})

        def test_endings(sweep):
            report = sweep(app, dialects=["uvicorn"]).get("/").assert_clean()
            assert report.seed == 7
            assert report.points == {"cancel": 8}

        def test_what_a_test_sets_stands(sweep):
            report = sweep(app, dialects=["uvicorn"], kinds=["message"]).get("/").run()
            assert report.points.keys() == {"message"}
        """
    )
    options = ["--sweep-kinds=cancel", "--sweep-limit=4", "--sweep-seed=7"]
    plugin = "hesper.testing.pytest_plugin"
    result = pytester.runpytest("-p", plugin, "-p", "no:cacheprovider", *options)
    result.assert_outcomes(passed=2)


def test_without_options_the_fixture_sweeps_everything(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        async def app(scope, receive, send):
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"x"})

        def test_endings(sweep):
            assert set(sweep(app, dialects=["specification"]).get().run().points) >= {"cancel"}
        """
    )
    plugin = "hesper.testing.pytest_plugin"
    result = pytester.runpytest("-p", plugin, "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)


# The corners.


def swept(app: ASGIApp, **options: Any) -> Any:
    return Sweep(app, backends=["asyncio"], dialects=["uvicorn"], **options).get().run()


def test_a_coroutine_that_has_not_begun_awaits_nothing() -> None:
    coroutine = pause_in_coroutine()
    assert names(coroutine) == ["pause_in_coroutine"]
    coroutine.close()


def test_a_watched_coroutine_can_be_awaited() -> None:
    async def awaits() -> None:
        await Watched(pause_in_coroutine(), Watch(KeyError, 1), mine=False)

    coroutine = awaits()
    coroutine.send(None)
    with pytest.raises(StopIteration):
        coroutine.send(None)


def test_a_watched_coroutine_is_closed_with_what_is_in_it() -> None:
    inner = pause_in_coroutine()
    watched = Watched(inner, Watch(KeyError, 1), mine=False)
    watched.send(None)
    watched.close()
    assert watched.cr_frame is None


def test_an_arrival_sees_its_exception_in_its_frame_alone() -> None:
    """Called by hand: no tool that measures coverage sees what runs under another tracer."""
    frame, other = sys._getframe(), sys._getframe(1)
    arrival: Any = Arrival(frame, LookupError)
    arrival._tracers = sys.gettrace(), frame.f_trace
    assert arrival._on_call(other, "call", None) is None
    on_event = arrival._on_call(frame, "call", None)
    on_event(frame, "exception", (ValueError, ValueError(), None))
    assert len(arrival.places) == 0
    on_event(frame, "line", None)
    on_event(frame, "exception", (KeyError, KeyError(), None))
    assert [place.function for place in arrival.places] == [frame.f_code.co_qualname]
    arrival.__exit__()


def test_generators_are_watched_where_no_loop_watches_them() -> None:
    left = Leftovers()

    def run(steps: Any) -> None:
        with suppress(StopIteration):
            while True:
                steps.send(None)

    with left.watched_generators(lambda: True):
        generator: Any = bare_numbers()
        run(anext(generator))
        dropped: Any = bare_numbers()
        run(anext(dropped))
        del dropped
        finished: Any = bare_numbers()
        run(anext(finished))
        run(finished.aclose())
        del finished
    assert [stands.function for _, stands in left.generators] == ["bare_numbers"] * 2
    run(generator.aclose())


async def bare_numbers() -> AsyncIterator[int]:
    try:
        yield 1
    finally:
        pass


def test_warnings_and_milder_logs_are_no_faults() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        logging.getLogger("app").warning("about to answer")
        warnings.warn("this is slow", RuntimeWarning, stacklevel=1)
        await answer(scope, receive, send)

    assert swept(app).clean


def test_the_collector_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gc, "get_freeze_count", lambda: 0)
    gc.disable()
    try:
        assert swept(answer).clean
        assert not gc.isenabled()
    finally:
        gc.enable()
        gc.freeze()


def test_an_app_that_takes_the_lifespan_for_a_request_and_never_suspends_is_ended() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        while True:
            await send({"type": "http.response.body", "body": b"", "more_body": True})

    assert "went on for ever" in swept(app, steps=100).failures[0]


def test_a_stubborn_task_of_the_lifespan_does_not_hold_up_the_sweep() -> None:
    async def stubborn() -> None:
        while True:
            try:
                await asyncio.sleep(1)
            except BaseException:
                pass

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            kept.append(asyncio.ensure_future(stubborn()))
        await answer(scope, receive, send)

    kept: list[Any] = []
    assert swept(app, kinds=["message"]).clean
    assert all(task.done() for task in kept)


def test_a_shutdown_that_fails_while_requests_run_is_found() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            requests.append(scope)
            try:
                await answer(scope, receive, send)
            finally:
                requests.clear()
            return
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        message = "requests are running"
        await send(
            {"type": "lifespan.shutdown.failed", "message": message}
            if requests
            else {"type": "lifespan.shutdown.complete"}
        )

    requests: list[Scope] = []
    report = swept(app)
    assert [v.kind for v in report.violations] == ["shutdown"]
    assert "requests are running" in report.violations[0].sentence


def test_an_error_that_a_future_holds_is_no_cancellation() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_exception, KeyError())
        with suppress(KeyError):
            await future
        await answer(scope, receive, send)

    assert not swept(app, kinds=["checkpoint"]).violations


def test_a_lifespan_that_breaks_the_loop_is_not_swept() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            scopes.append(anyio.CancelScope())
            scopes[-1].__enter__()
        await answer(scope, receive, send)

    scopes: list[anyio.CancelScope] = []
    assert "broke down" in swept(app).failures[0]


def test_the_patience_is_an_option() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await answer(scope, receive, send)
        except BaseException:
            await asyncio.sleep(10)
            raise

    assert swept(app, kinds=["cancel"], seconds=20).clean
    assert swept(app, kinds=["cancel"], seconds=2).violations[0].code == "hang"


def test_a_fault_is_shown_where_its_n_is_smallest() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await answer(scope, receive, send)
        except BaseException:
            if len(waits) == 0:
                raise ValueError("planted") from None
            raise

    waits: list[str] = []

    async def waiting(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["asgi"].get("spec_version") == "2.5":
            waits.append("a checkpoint more")
            with suppress(ValueError):
                await asyncio.sleep(1)
            waits.clear()
        await app(scope, receive, send)

    report = Sweep(
        waiting, backends=["asyncio"], dialects=["specification", "uvicorn"], kinds=["cancel"]
    ).get()
    violation = next(v for v in report.run().violations if "planted" in v.sentence)
    assert (violation.n, violation.dialect) == (1, "uvicorn")
