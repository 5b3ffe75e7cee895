"""Lifespans: what was entered is left, in its own task, and the server hears the truth."""

import asyncio
import sys
import traceback
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from hesper._asgi import lifespan as module
from hesper._asgi import lifespan_host
from hesper._asgi.lifespan import (
    STATES,
    Child,
    Context,
    DefaultLifespan,
    ForeignLifespan,
    OwnLifespan,
    as_context,
    serve_lifespan,
    state_of,
)
from hesper.exceptions import HesperDeprecationWarning, UsageError
from hesper.testing import LifespanFailed, ScriptedServer
from hesper.types import ASGIApp, Message, Receive, Scope, Send
from tests.conftest import ExpectedErrors, on_asyncio

STARTED = "lifespan.startup.complete"
START_FAILED = "lifespan.startup.failed"
STOPPED = "lifespan.shutdown.complete"
STOP_FAILED = "lifespan.shutdown.failed"


class Boom(Exception):
    """What the apps of these tests raise."""


class App:
    """What lifespan functions are given."""


APP = App()


class Log(list[str]):
    """What happened, in order."""

    def context(
        self,
        name: str,
        state: Mapping[str, Any] | None = None,
        *,
        enter: BaseException | None = None,
        leave: BaseException | None = None,
    ) -> Context:
        """A lifespan that awaits on both sides and notes it."""

        @asynccontextmanager
        async def context(app: Any) -> AsyncIterator[Any]:
            await anyio.lowlevel.checkpoint()
            self.append(f"{name} enters")
            if enter is not None:
                raise enter
            yield state
            await anyio.lowlevel.checkpoint()
            self.append(f"{name} leaves")
            if leave is not None:
                raise leave

        return context

    def app(
        self,
        name: str,
        state: Mapping[str, Any] | None = None,
        *,
        start: BaseException | None = None,
        stop: BaseException | None = None,
    ) -> ASGIApp:
        """A foreign app that does as the specification says."""

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            assert (await receive())["type"] == "lifespan.startup"
            await anyio.lowlevel.checkpoint()
            self.append(f"{name} starts")
            if start is not None:
                await send({"type": START_FAILED, "message": "the database is down"})
                raise start
            if state is not None:
                scope["state"].update(state)
            await send({"type": STARTED})
            assert (await receive())["type"] == "lifespan.shutdown"
            await anyio.lowlevel.checkpoint()
            self.append(f"{name} stops")
            if stop is not None:
                await send({"type": STOP_FAILED, "message": "the database hangs"})
                raise stop
            await send({"type": STOPPED})

        return app


class Server:
    """The server's side of one lifespan, by hand."""

    def __init__(self, *, state: bool = True) -> None:
        self.scope: Scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}}
        if state:
            self.scope["state"] = {}
        self.sent: list[Message] = []
        self.waiting = anyio.Event()
        self.stop = anyio.Event()
        self._received = 0

    @property
    def types(self) -> list[str]:
        return [message["type"] for message in self.sent]

    async def receive(self) -> Message:
        await anyio.lowlevel.checkpoint()
        self._received += 1
        if self._received == 1:
            return {"type": "lifespan.startup"}
        self.waiting.set()
        await self.stop.wait()
        return {"type": "lifespan.shutdown"}

    async def send(self, message: Message) -> None:
        await anyio.lowlevel.checkpoint()
        self.sent.append(message)

    async def serve(self, context: Context, *children: Child) -> None:
        await serve_lifespan(context, APP, self.scope, self.receive, self.send, children)

    async def serve_shortly(self, context: Context, *children: Child) -> None:
        self.stop.set()
        await self.serve(context, *children)


async def cancelled_by_scope(work: Callable[[], Any], ready: anyio.Event) -> None:
    """Runs ``work`` and cancels it when it is ready, as anyio and trio do: again and again."""
    came: list[BaseException] = []

    async def run() -> None:
        try:
            await work()
        except BaseException as exc:
            came.append(exc)
            raise

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        await ready.wait()
        await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    assert [type(exc) for exc in came] == [anyio.get_cancelled_exc_class()]


async def cancelled_natively(work: Callable[[], Any], ready: anyio.Event) -> None:
    """Runs ``work`` and cancels it once, as asyncio does; on trio there is no such thing."""
    if "trio" in sys.modules and _on_trio():
        await cancelled_by_scope(work, ready)
        return
    task = asyncio.create_task(work())
    await ready.wait()
    await anyio.lowlevel.checkpoint()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


def _on_trio() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return True
    return False


cancels = pytest.mark.parametrize("cancel", [cancelled_by_scope, cancelled_natively])


# -- the protocol ---------------------------------------------------------------------------------


async def test_the_context_is_entered_at_startup_and_left_at_shutdown() -> None:
    log, server = Log(), Server()
    apps: list[object] = []
    inner = log.context("a", {"db": 1})

    def context(app: object) -> AbstractAsyncContextManager[Any]:
        apps.append(app)
        return inner(app)

    async with anyio.create_task_group() as group:
        group.start_soon(server.serve, context)
        await server.waiting.wait()
        assert log == ["a enters"]
        assert server.sent == [{"type": STARTED}]
        assert server.scope["state"] == {"db": 1}
        server.stop.set()
    assert log == ["a enters", "a leaves"]
    assert server.sent == [{"type": STARTED}, {"type": STOPPED}]
    assert apps == [APP]


async def test_a_context_with_a_state_of_none_or_nothing_needs_no_server_with_state() -> None:
    states: tuple[dict[str, Any] | None, ...] = (None, {})
    for state in states:
        server = Server(state=False)
        await server.serve_shortly(Log().context("a", state))
        assert server.types == [STARTED, STOPPED]
        assert "state" not in server.scope


async def test_a_state_that_the_server_cannot_keep_fails_the_startup() -> None:
    log, server = Log(), Server(state=False)
    with pytest.raises(UsageError, match='does not support "state"'):
        await server.serve_shortly(log.context("a", {"db": 1}))
    assert server.types == [START_FAILED]
    assert 'does not support "state"' in server.sent[0]["message"]
    assert log == ["a enters"]


async def test_the_protocol_holds_on_a_scripted_server() -> None:
    log = Log()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        child = ForeignLifespan(log.app("b"))
        await serve_lifespan(log.context("a", {"db": 1}), APP, scope, receive, send, [child])

    server = ScriptedServer(app)
    async with server.lifespan() as state:
        assert state == {"db": 1}
    assert log == ["a enters", "b starts", "b stops", "a leaves"]
    assert server.lifespan_result is not None
    assert server.lifespan_result.violations == []
    async with server.lifespan(ends="cancel"):
        log.clear()
    assert log == ["b stops", "a leaves"]
    assert server.lifespan_result.violations == []
    assert server.lifespan_result.types == [STARTED]


async def test_a_startup_that_raises_is_told_with_its_traceback_and_the_same_error_comes_out() -> (
    None
):
    error, server = Boom("no database"), Server()
    with pytest.raises(Boom) as raised:
        await server.serve_shortly(Log().context("a", enter=error))
    assert raised.value is error
    assert (error.__cause__, error.__context__) == (None, None)
    assert server.types == [START_FAILED]
    assert server.sent[0]["message"].startswith("Traceback (most recent call last)")
    assert "Boom: no database" in server.sent[0]["message"]


async def test_a_shutdown_that_raises_is_told_with_its_traceback_and_the_same_error_comes_out() -> (
    None
):
    error, server = Boom("no database"), Server()
    with pytest.raises(Boom) as raised:
        await server.serve_shortly(Log().context("a", leave=error))
    assert raised.value is error
    assert server.types == [STARTED, STOP_FAILED]
    assert "raise leave" in server.sent[1]["message"]


@pytest.mark.parametrize("when", ["enter", "leave"])
async def test_an_exception_group_comes_out_as_the_same_object(when: Any) -> None:
    group = ExceptionGroup("two", [Boom(), ValueError()])
    failing: dict[str, Any] = {when: group}
    server = Server()
    with pytest.raises(ExceptionGroup) as raised:
        await server.serve_shortly(Log().context("a", **failing))
    assert raised.value is group
    assert server.types[-1] == {"enter": START_FAILED, "leave": STOP_FAILED}[when]


async def test_an_exit_in_the_startup_is_told() -> None:
    server = Server()
    with pytest.raises(SystemExit):
        await server.serve_shortly(Log().context("a", enter=SystemExit("no config")))
    assert "SystemExit: no config" in server.sent[0]["message"]


async def test_an_interrupt_is_told_to_nobody() -> None:
    server = Server()
    with pytest.raises(KeyboardInterrupt):
        await server.serve_shortly(Log().context("a", enter=KeyboardInterrupt()))
    assert server.sent == []


async def test_an_error_that_cannot_be_printed_is_told_nevertheless() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise ValueError

    server = Server()
    with pytest.raises(Mute):
        await server.serve_shortly(Log().context("a", enter=Mute()))
    assert "Mute" in server.sent[0]["message"]


async def test_scopes_of_the_context_stay_open_around_the_yield() -> None:
    log = Log()

    async def work() -> None:
        log.append("works")
        await anyio.sleep_forever()

    @asynccontextmanager
    async def context(app: object) -> AsyncIterator[None]:
        with anyio.CancelScope():
            async with anyio.create_task_group() as group:
                group.start_soon(work)
                yield
                group.cancel_scope.cancel()
        log.append("left")

    server = Server()
    inner = ForeignLifespan(log.app("b"))
    await server.serve_shortly(context, OwnLifespan(context, APP), inner)
    assert sorted(log[:3]) == ["b starts", "works", "works"]
    assert log[3:] == ["b stops", "left", "left"]
    assert server.types == [STARTED, STOPPED]


# -- the context ends by itself -------------------------------------------------------------------


@asynccontextmanager
async def anyio_group(app: object) -> AsyncIterator[None]:
    async def crash() -> None:
        await anyio.sleep(0.001)
        raise Boom("worker")

    async with anyio.create_task_group() as group:
        group.start_soon(crash)
        yield
        await anyio.sleep_forever()


@asynccontextmanager
async def asyncio_group(app: object) -> AsyncIterator[None]:
    if _on_trio():
        async with anyio_group(app):
            yield
        return

    async def crash() -> None:
        await asyncio.sleep(0.001)
        raise Boom("worker")

    async with asyncio.TaskGroup() as group:
        group.create_task(crash())
        yield


@pytest.mark.parametrize("context", [anyio_group, asyncio_group])
async def test_a_worker_that_crashes_ends_the_lifespan_with_its_group(
    context: Context, expected_errors: ExpectedErrors
) -> None:
    log, server = Log(), Server()
    with pytest.raises(ExceptionGroup) as raised:
        await server.serve(log.context("a"), OwnLifespan(context, APP))
    assert [type(error) for error in raised.value.exceptions] == [Boom]
    assert server.types == [STARTED]  # it was not asked to shut down
    (record,) = expected_errors
    assert record.exc_info is not None
    assert record.exc_info[1] is raised.value
    assert expected_errors.take() == ["The lifespan ended while the app was running."]


async def test_a_scope_that_is_cancelled_around_the_yield_is_named(
    expected_errors: ExpectedErrors,
) -> None:
    @asynccontextmanager
    async def context(app: object) -> AsyncIterator[None]:
        with anyio.move_on_after(0.001):
            yield

    server = Server()
    with pytest.raises(UsageError, match="something cancelled a scope"):
        await server.serve(context)
    assert server.types == [STARTED]
    assert expected_errors.take() == ["The lifespan ended while the app was running."]


async def test_a_scope_that_is_cancelled_in_the_startup_is_its_own_affair() -> None:
    @asynccontextmanager
    async def context(app: object) -> AsyncIterator[None]:
        with anyio.move_on_after(0.001):
            await anyio.sleep_forever()
        yield
        with anyio.move_on_after(0.001):
            await anyio.sleep_forever()

    server = Server()
    await server.serve_shortly(context)
    assert server.types == [STARTED, STOPPED]


async def test_a_scope_that_is_still_cancelled_at_the_yield_fails_the_startup() -> None:
    @asynccontextmanager
    async def context(app: object) -> AsyncIterator[None]:
        with anyio.move_on_after(0.001):
            try:
                await anyio.sleep_forever()
            except anyio.get_cancelled_exc_class():
                pass
            yield

    server = Server()
    with pytest.raises(UsageError, match="something cancelled a scope"):
        await server.serve(context)
    assert server.types == [START_FAILED]


async def test_an_error_of_the_servers_receive_reaches_the_contexts(
    expected_errors: ExpectedErrors,
) -> None:
    seen: list[BaseException] = []

    @asynccontextmanager
    async def context(app: object) -> AsyncIterator[None]:
        try:
            yield
        except OSError as exc:
            seen.append(exc)
            raise

    server, error = Server(), OSError("server")

    async def receive() -> Message:
        if server.sent:
            raise error
        return {"type": "lifespan.startup"}

    with pytest.raises(OSError) as raised:
        await serve_lifespan(context, APP, server.scope, receive, server.send)
    assert raised.value is error
    assert seen == [error]
    assert expected_errors.take() == ["The lifespan ended while the app was running."]


def test_a_lifespan_that_is_dropped_leaves_its_context() -> None:
    log = Log()

    @asynccontextmanager
    async def context(app: object) -> AsyncIterator[None]:
        try:
            yield
        finally:
            log.append("left")

    async def drop() -> None:
        server = Server()
        work = server.serve(context)
        while not server.waiting.is_set():
            work.send(None)
        work.close()
        assert server.types == [STARTED]

    with anyio.from_thread.start_blocking_portal() as portal:
        portal.call(drop)
    assert log == ["left"]


# -- the server cancels ---------------------------------------------------------------------------


@cancels
async def test_a_cancellation_while_the_app_runs_is_a_shutdown_to_the_contexts(cancel: Any) -> None:
    log, server = Log(), Server()

    @asynccontextmanager
    async def context(app: object) -> AsyncIterator[None]:
        yield
        await anyio.sleep(0.01)  # not in a `finally`: and yet it runs
        log.append("left")

    children: list[Child] = [OwnLifespan(log.context("b"), APP), ForeignLifespan(log.app("c"))]
    await cancel(lambda: server.serve(context, *children), server.waiting)
    assert log == ["b enters", "c starts", "c stops", "b leaves", "left"]
    assert server.types == [STARTED]


@cancels
async def test_a_teardown_that_awaits_too_long_after_a_cancellation_is_cut(
    cancel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GRACE", 0.01)
    log, server = Log(), Server()

    @asynccontextmanager
    async def context(app: object) -> AsyncIterator[None]:
        yield
        log.append("leaves")
        await anyio.sleep_forever()
        log.append("never")

    await cancel(lambda: server.serve(log.context("a"), OwnLifespan(context, APP)), server.waiting)
    assert log == ["a enters", "leaves"]
    assert server.types == [STARTED]


@cancels
async def test_a_cancellation_in_the_startup_reaches_it_once_and_tells_the_server_nothing(
    cancel: Any,
) -> None:
    log, server, inside = Log(), Server(), anyio.Event()

    @asynccontextmanager
    async def context(app: object) -> AsyncIterator[None]:
        inside.set()
        try:
            await anyio.sleep_forever()
        finally:
            await anyio.sleep(0.01)
            log.append("cleaned up")
        yield

    await cancel(lambda: server.serve(context), inside)
    assert log == ["cleaned up"]
    assert server.sent == []


@cancels
async def test_a_startup_that_swallows_the_cancellation_is_undone(cancel: Any) -> None:
    log, server, inside = Log(), Server(), anyio.Event()

    @asynccontextmanager
    async def context(app: object) -> AsyncIterator[None]:
        inside.set()
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            pass
        yield
        await anyio.sleep(0.01)
        log.append("left")

    await cancel(lambda: server.serve(context), inside)
    assert log == ["left"]
    assert server.sent == []


@cancels
async def test_a_cancellation_in_the_teardown_reaches_it_once(cancel: Any) -> None:
    log, server, inside = Log(), Server(), anyio.Event()

    @asynccontextmanager
    async def context(app: object) -> AsyncIterator[None]:
        yield
        inside.set()
        try:
            await anyio.sleep_forever()
        finally:
            await anyio.sleep(0.01)
            log.append("cleaned up")

    await cancel(lambda: server.serve_shortly(log.context("a"), OwnLifespan(context, APP)), inside)
    assert log == ["a enters", "cleaned up"]
    assert server.types == [STARTED]


@cancels
@pytest.mark.parametrize("error", [Boom("mine"), ExceptionGroup("mine", [Boom()])])
async def test_an_error_of_a_cancelled_lifespan_is_logged_and_the_cancellation_comes_out(
    cancel: Any, error: Exception, expected_errors: ExpectedErrors
) -> None:
    server = Server()
    await cancel(lambda: server.serve(Log().context("a", leave=error)), server.waiting)
    assert server.types == [STARTED]
    (record,) = expected_errors
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == str(error)
    assert expected_errors.take() == ["A lifespan failed while it was cancelled."]


@cancels
async def test_a_group_of_cancellations_is_no_error(cancel: Any) -> None:
    server, inside = Server(), anyio.Event()

    @asynccontextmanager
    async def context(app: object) -> AsyncIterator[None]:
        inside.set()
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class() as exc:
            raise BaseExceptionGroup("only", [exc]) from None
        yield

    await cancel(lambda: server.serve(context), inside)
    assert server.sent == []


def test_the_end_of_asyncio_run_is_a_shutdown_also_for_foreign_apps() -> None:
    log = Log()

    tasks: list[asyncio.Task[None]] = []

    async def main() -> Server:
        server = Server()
        children: list[Child] = [ForeignLifespan(log.app("b")), OwnLifespan(log.context("c"), APP)]
        tasks.append(asyncio.create_task(server.serve(log.context("a"), *children)))
        await server.waiting.wait()
        return server

    server = asyncio.run(main())
    assert log[:3] == ["a enters", "b starts", "c enters"]
    assert sorted(log[3:]) == ["a leaves", "b stops", "c leaves"]
    assert log[-1] == "a leaves"
    assert tasks[0].cancelled()
    assert server.types == [STARTED]


@on_asyncio  # trio has no such thing
async def test_a_cancelled_error_of_the_apps_own_making_is_a_failed_startup() -> None:
    server = Server()
    with pytest.raises(asyncio.CancelledError):
        await server.serve_shortly(Log().context("a", enter=asyncio.CancelledError()))
    assert server.types == [START_FAILED]


# -- children -------------------------------------------------------------------------------------


async def test_children_are_entered_after_their_parent_and_left_before_it_in_reverse() -> None:
    log, server = Log(), Server()
    nested = OwnLifespan(
        log.context("b"),
        APP,
        [ForeignLifespan(log.app("c")), OwnLifespan(log.context("d"), APP)],
    )
    await server.serve_shortly(log.context("a"), nested, ForeignLifespan(log.app("e")))
    assert log == [
        *("a enters", "b enters", "c starts", "d enters", "e starts"),
        *("e stops", "d leaves", "c stops", "b leaves", "a leaves"),
    ]
    assert server.types == [STARTED, STOPPED]


async def test_an_app_in_several_places_runs_once_inside_of_all_of_them() -> None:
    log, server = Log(), Server()
    shared_context, shared_app = log.context("shared", {"a": 1}), App()
    foreign = log.app("foreign", {"b": 2})
    places: list[Child] = [OwnLifespan(shared_context, shared_app) for _ in range(3)]
    foreign_places = [ForeignLifespan(foreign) for _ in range(2)]
    outer = OwnLifespan(log.context("outer"), App(), [places[0], foreign_places[0]])
    other = OwnLifespan(log.context("other"), App(), [foreign_places[1], places[1]])
    await server.serve_shortly(log.context("root"), places[2], outer, other)
    assert log[:5] == [
        *("root enters", "outer enters", "other enters", "foreign starts", "shared enters"),
    ]
    assert log[5:] == [
        *("shared leaves", "foreign stops", "other leaves", "outer leaves", "root leaves"),
    ]
    scope: dict[str, Any] = {"type": "http", "state": server.scope["state"]}
    for place in places:
        assert (state_of(place, scope) or {})["a"] == 1
    for place in foreign_places:
        assert (state_of(place, scope) or {})["b"] == 2


async def test_an_app_in_several_places_ends_its_work_once() -> None:
    log, server = Log(), Server()

    class Working(App):
        shutdown_grace = 5.0

        def _begin_work(self) -> None:
            log.append("work begins")

        async def _end_work(self, grace: float) -> None:
            log.append(f"work ends in {grace:g} s")

    context, app = log.context("a"), Working()
    outer = OwnLifespan(log.context("outer"), App(), [OwnLifespan(context, app)])
    await server.serve_shortly(DefaultLifespan(), outer, OwnLifespan(context, app))
    assert log == [
        *(
            "outer enters",
            "a enters",
            "work begins",
            "work ends in 5 s",
            "a leaves",
            "outer leaves",
        ),
    ]


async def test_a_child_is_given_its_own_app() -> None:
    apps: list[object] = []

    @asynccontextmanager
    async def context(app: object) -> AsyncIterator[None]:
        apps.append(app)
        yield

    own = App()
    await Server().serve_shortly(context, OwnLifespan(context, own))
    assert apps == [APP, own]


async def test_each_child_has_a_state_over_that_of_its_parent() -> None:
    log, server = Log(), Server()
    plain = OwnLifespan(log.context("plain"), APP)
    inner = ForeignLifespan(log.app("inner", {"cache": 3}))
    outer = OwnLifespan(log.context("outer", {"db": 2}), APP, [inner])
    await server.serve_shortly(log.context("a", {"db": 1, "name": "a"}), plain, outer)
    scope: dict[str, Any] = {"type": "http", "state": server.scope["state"].copy()}
    shared: dict[str, Any] = scope["state"]
    assert state_of(plain, scope) == shared
    outer_state = state_of(outer, scope)
    assert outer_state is not None
    assert {key: outer_state[key] for key in ("db", "name")} == {"db": 2, "name": "a"}
    inner_state = state_of(inner, {"type": "http", "state": outer_state})
    assert inner_state is not None
    inner_state.pop(STATES)
    assert inner_state == {"db": 2, "name": "a", "cache": 3}
    assert shared["db"] == 1
    assert "cache" not in shared


@pytest.mark.parametrize("scope", [{}, {"state": {}}, {"state": {"db": 1}}])
def test_without_states_of_children_the_state_is_the_scopes_own(scope: Scope) -> None:
    assert state_of(ForeignLifespan(Log().app("a")), scope) is scope.get("state")


async def test_the_servers_state_holds_nothing_of_children_that_gave_nothing() -> None:
    log, server = Log(), Server()
    children: list[Child] = [ForeignLifespan(log.app("b")), OwnLifespan(log.context("c"), APP)]
    await server.serve_shortly(log.context("a", {"db": 1}), *children)
    assert server.scope["state"] == {"db": 1}


async def test_a_childs_state_that_the_server_cannot_keep_fails_the_startup() -> None:
    server = Server(state=False)
    with pytest.raises(UsageError, match='does not support "state"'):
        await server.serve_shortly(
            DefaultLifespan(), OwnLifespan(Log().context("a", {"b": 1}), APP)
        )
    assert server.types == [START_FAILED]


async def test_a_child_that_fails_to_start_undoes_what_was_entered() -> None:
    log, server, error = Log(), Server(), Boom("child")
    seen: list[BaseException] = []

    @asynccontextmanager
    async def watching(app: object) -> AsyncIterator[None]:
        try:
            yield
        except Boom as exc:
            seen.append(exc)
            raise

    children: list[Child] = [
        ForeignLifespan(log.app("b")),
        OwnLifespan(log.context("c", enter=error), APP),
        OwnLifespan(log.context("never"), APP),
    ]
    with pytest.raises(Boom) as raised:
        await server.serve_shortly(watching, *children)
    assert raised.value is error
    assert seen == [error]
    assert log == ["b starts", "c enters", "b stops"]
    assert server.types == [START_FAILED]


# -- foreign apps ---------------------------------------------------------------------------------


async def host(app: ASGIApp, server: Server | None = None) -> list[str]:
    """Mounts ``app`` and gives what the server heard."""
    server = server or Server()
    await server.serve_shortly(DefaultLifespan(), ForeignLifespan(app))
    return server.types


async def test_a_foreign_app_gets_the_scope_of_a_server() -> None:
    scopes: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(dict(scope))

    await host(app)
    await host(app, Server(state=False))
    asgi = {"version": "3.0", "spec_version": "2.0"}
    assert scopes == [
        {"type": "lifespan", "asgi": asgi, "state": {}},
        {"type": "lifespan", "asgi": asgi},
    ]


async def test_a_foreign_app_that_raises_at_once_does_not_support_lifespan() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"]["half"] = 1
        raise AssertionError("only http")

    assert await host(app) == [STARTED, STOPPED]


async def test_a_foreign_app_that_returns_at_once_does_not_support_lifespan() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()

    assert await host(app) == [STARTED, STOPPED]


async def test_a_foreign_app_that_returns_after_its_startup_needs_no_shutdown() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": STARTED})

    assert await host(app) == [STARTED, STOPPED]


@pytest.mark.parametrize("when", ["start", "stop"])
async def test_a_foreign_app_that_fails_and_raises_fails_the_whole_by_name(when: Any) -> None:
    error = Boom("no database")
    failing: dict[str, Any] = {when: error}
    app, server = Log().app("b", **failing), Server()
    with pytest.raises(Boom) as raised:
        await host(app, server)
    assert raised.value is error
    last = server.sent[-1]
    assert last["type"] == {"start": START_FAILED, "stop": STOP_FAILED}[when]
    assert "Boom: no database" in last["message"]
    assert f"the mounted app {app!r}" in last["message"]


async def test_a_foreign_app_that_says_that_it_failed_fails_the_whole_by_name() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": START_FAILED, "message": "no database"})

    server = Server()
    with pytest.raises(
        RuntimeError, match=r"The startup of the mounted app .* failed: no database"
    ):
        await host(app, server)
    assert server.types == [START_FAILED]


async def test_a_foreign_app_that_says_that_its_shutdown_failed_fails_the_whole_by_name() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": STARTED})
        await receive()
        await send({"type": STOP_FAILED})

    with pytest.raises(RuntimeError, match=r"The shutdown of the mounted app .* failed"):
        await host(app)


async def test_a_foreign_app_that_raises_in_its_shutdown_fails_the_whole() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": STARTED})
        await receive()
        raise Boom

    with pytest.raises(Boom):
        await host(app)


async def test_a_foreign_app_that_crashes_while_it_serves_is_logged_once(
    expected_errors: ExpectedErrors,
) -> None:
    error = Boom("worker")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": STARTED})
        try:
            raise error
        except Boom:  # as Starlette does it
            await send({"type": STOP_FAILED, "message": traceback.format_exc()})
            raise

    assert await host(app) == [STARTED, STOPPED]
    (record,) = expected_errors
    assert record.exc_info is not None
    assert record.exc_info[1] is error
    assert expected_errors.take() == [f"The lifespan of the mounted app {app!r} ended."]


async def test_a_foreign_app_that_speaks_out_of_turn_is_told_what_was_expected() -> None:
    errors: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        for kind in (STOPPED, STARTED):
            try:
                await send({"type": kind})
            except UsageError as exc:
                errors.append(str(exc))
        await receive()
        for _ in range(2):
            try:
                await send({"type": STOPPED})
            except UsageError as exc:
                errors.append(str(exc))

    assert await host(app) == [STARTED, STOPPED]
    assert [error.partition("which is ")[2] for error in errors] == [
        f"starting, to send {STARTED} or {START_FAILED}, got '{STOPPED}'.",
        f"stopped, to send nothing, got '{STOPPED}'.",
    ]


async def test_a_foreign_app_may_clean_up_after_its_last_word() -> None:
    log = Log()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await log.app("b")(scope, receive, send)
        await anyio.sleep(0.01)
        log.append("returns")

    await host(app)
    assert log == ["b starts", "b stops", "returns"]


async def test_a_foreign_app_that_does_not_return_is_cancelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lifespan_host, "GRACE", 0.01)
    log = Log()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await log.app("b")(scope, receive, send)
            await receive()
        finally:
            log.append("cancelled")

    assert await host(app) == [STARTED, STOPPED]
    assert log == ["b starts", "b stops", "cancelled"]


@cancels
async def test_a_cancellation_in_a_foreign_apps_startup_cancels_the_app(cancel: Any) -> None:
    log, server, inside = Log(), Server(), anyio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        inside.set()
        try:
            await receive()
        finally:
            log.append("cancelled")

    await cancel(lambda: server.serve(log.context("a"), ForeignLifespan(app)), inside)
    assert log[:2] == ["a enters", "cancelled"]
    assert server.sent == []


async def test_a_real_starlette_app_is_hosted() -> None:
    from starlette.applications import Starlette

    log = Log()
    app: Any = Starlette(lifespan=log.context("starlette", {"db": 1}))
    server = Server()
    child = ForeignLifespan(app)
    await server.serve_shortly(DefaultLifespan(), child)
    assert log == ["starlette enters", "starlette leaves"]
    state = state_of(child, server.scope)
    assert state is not None
    assert state["db"] == 1


async def test_a_real_starlette_app_that_fails_to_start_fails_the_whole() -> None:
    from starlette.applications import Starlette

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        error = Boom("no database")
        inner: Any = Starlette(lifespan=Log().context("starlette", enter=error))
        child = ForeignLifespan(inner)
        await serve_lifespan(DefaultLifespan(), APP, scope, receive, send, [child])

    with pytest.raises(LifespanFailed, match="no database"):
        async with ScriptedServer(app).lifespan():
            raise AssertionError("it started")


# -- what may be a lifespan -----------------------------------------------------------------------


async def test_no_lifespan_is_the_default_one() -> None:
    context = as_context(None)
    assert isinstance(context, DefaultLifespan)
    async with context(APP) as state:
        assert state is None


def test_a_context_function_is_taken_as_it_is() -> None:
    context = Log().context("a")
    assert as_context(context) is context


async def test_an_async_generator_function_still_works_and_is_deprecated() -> None:
    async def lifespan(app: object) -> AsyncGenerator[dict[str, object]]:
        yield {"app": app}

    with pytest.warns(HesperDeprecationWarning, match="asynccontextmanager") as warned:
        context = as_context(lifespan)
    assert warned[0].filename == __file__
    async with context(APP) as state:
        assert state == {"app": APP}


async def test_a_generator_function_still_works_and_is_deprecated() -> None:
    left: list[object] = []

    def lifespan(app: object) -> Generator[dict[str, object]]:
        try:
            yield {"app": app}
        finally:
            left.append(app)

    with pytest.warns(HesperDeprecationWarning, match="async def") as warned:
        context = as_context(lifespan)
    assert warned[0].filename == __file__
    with pytest.raises(Boom):
        async with context(APP) as state:
            assert state == {"app": APP}
            raise Boom
    assert left == [APP]


def test_the_deprecation_points_where_it_is_told_to() -> None:
    def lifespan(app: object) -> Generator[None]:
        yield

    def router() -> None:
        as_context(lifespan, stacklevel=3)

    with pytest.warns(HesperDeprecationWarning) as warned:
        router()
    assert warned[0].lineno == router.__code__.co_firstlineno + 4


def test_a_lifespan_that_cannot_be_called_is_refused() -> None:
    with pytest.raises(UsageError, match="Expected lifespan to be a function"):
        as_context(3)


async def coroutine_function(app: object) -> None: ...


@pytest.mark.parametrize(
    ("lifespan", "text"),
    [
        (coroutine_function, "to give an async context manager, got <coroutine object"),
        (lambda app: None, "to give an async context manager, got None"),
        (Log().context("a")(APP), "to give an async context manager, got <function"),
        (Log().context("a", {1, 2}), "to yield None or a mapping, got {1, 2}"),  # type: ignore[arg-type]
    ],
    ids=["a coroutine function", "no context manager", "a context itself", "a set"],
)
async def test_a_lifespan_that_is_none_fails_the_startup(lifespan: Any, text: str) -> None:
    server = Server()
    with pytest.raises(UsageError) as raised:
        await server.serve_shortly(as_context(lifespan))
    assert text in str(raised.value)
    assert server.types == [START_FAILED]
