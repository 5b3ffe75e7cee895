"""What an app is busy with: told of a shutdown, waited for, and cancelled at its end."""

from typing import Any

import anyio
import pytest

from hesper._asgi.workload import Workload
from hesper.applications import Hesper
from hesper.requests import Request
from hesper.responses import PlainTextResponse, Response
from hesper.routing import Mount, Route
from hesper.testing import ScriptedServer
from hesper.testing.dialects import DAPHNE
from hesper.types import Receive, Scope, Send
from tests.conftest import in_virtual_time
from tests.contract.apps import settle


class Socket:
    """Something that is under way for some seconds."""

    def __init__(self, seconds: float = 600) -> None:
        self.seconds = seconds
        self.cut = False
        self.told = 0
        self.ended = ""

    def shut_down(self) -> None:
        self.told += 1

    async def work(self) -> None:
        try:
            await anyio.sleep(self.seconds)
            self.ended = "finished"
        except anyio.get_cancelled_exc_class():
            self.ended = "cancelled"
            raise


@in_virtual_time
async def test_each_is_told_once_and_waited_for() -> None:
    workload, socket = Workload(), Socket(2)
    assert not workload.shutting_down
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(workload.carry_socket, socket.work(), socket)
        await settle()
        before = anyio.current_time()
        workload.begin(5)
        assert workload.shutting_down
        await workload.end(60)
        assert 1.9 < anyio.current_time() - before < 2.1
    assert (socket.told, socket.cut, socket.ended) == (1, False, "finished")


@in_virtual_time
async def test_what_is_left_at_the_end_of_the_grace_is_cancelled() -> None:
    workload, socket = Workload(), Socket()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(workload.carry_socket, socket.work(), socket)
        await settle()
        before = anyio.current_time()
        await workload.end(3)
        assert 2.9 < anyio.current_time() - before < 3.1
    assert (socket.told, socket.cut, socket.ended) == (1, True, "cancelled")


@in_virtual_time
@pytest.mark.parametrize("others", [0, 1])
async def test_what_comes_during_a_shutdown_is_told_and_has_the_rest_of_the_grace(
    others: int,
) -> None:
    workload = Workload()
    sockets = [Socket() for _ in range(others)]
    late = Socket()
    async with anyio.create_task_group() as tasks:
        for socket in sockets:
            tasks.start_soon(workload.carry_socket, socket.work(), socket)
        await settle()
        workload.begin(3)  # and nobody ends it: daphne knows no lifespan
        await anyio.sleep(1)
        tasks.start_soon(workload.carry_socket, late.work(), late)
        before = anyio.current_time()
    assert anyio.current_time() - before < 2.1
    assert (late.told, late.cut, late.ended) == (1, True, "cancelled")


@in_virtual_time
async def test_what_comes_when_the_grace_is_over_is_cancelled_at_once() -> None:
    workload, late = Workload(), Socket()
    workload.begin(1)
    await anyio.sleep(2)
    before = anyio.current_time()
    await workload.carry_socket(late.work(), late)
    assert anyio.current_time() == pytest.approx(before, abs=0.1)
    assert late.ended == "cancelled"


@in_virtual_time
async def test_an_end_that_is_cancelled_leaves_what_is_under_way_to_itself() -> None:
    workload, socket = Workload(), Socket(5)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(workload.carry_socket, socket.work(), socket)
        await settle()
        with anyio.move_on_after(1):
            await workload.end(10)
    assert socket.ended == "finished"


@in_virtual_time
async def test_a_new_start_forgets_the_end() -> None:
    workload = Workload()
    workload.begin(0)
    assert workload.shutting_down
    workload.reopen()
    assert not workload.shutting_down


def test_runs_of_a_loop_that_has_ended_are_forgotten() -> None:
    workload = Workload()

    async def end() -> None:
        await workload.end(0)

    assert not workload.shutting_down
    for _ in range(2):
        anyio.run(end)
        assert workload.shutting_down
        assert len(workload._runs) == 1


@in_virtual_time
async def test_a_request_that_never_waits_is_not_counted() -> None:
    counts: list[int] = []

    async def endpoint(request: Request) -> Response:
        if request.url.path == "/waits":
            await anyio.sleep(0)
        counts.append(sum(len(run.open) for run in app._workload._runs.values()))
        return PlainTextResponse("x")

    app = Hesper(routes=[Route("/{path:path}", endpoint)])
    await ScriptedServer(app).get("/").run()
    await ScriptedServer(app).get("/waits").run()
    assert counts[-1] == 1
    assert sum(len(run.open) for run in app._workload._runs.values()) == 0


@in_virtual_time
async def test_a_request_of_an_app_inside_is_the_outer_apps_affair() -> None:
    begun = anyio.Event()

    async def endpoint(request: Request) -> Response:
        begun.set()
        await request.wait_shutting_down()
        assert not inner._workload._runs
        return PlainTextResponse("told")

    inner = Hesper(routes=[Route("/", endpoint)])

    async def foreign(scope: Scope, receive: Receive, send: Send) -> None:
        await inner(scope, receive, send)

    async def keep(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        return response

    for middleware in ([], [keep]):
        begun = anyio.Event()
        app = Hesper(routes=[Mount("/", foreign)], middleware=middleware)
        async with ScriptedServer(app, DAPHNE).get("/").open() as client:
            await begun.wait()
            app.begin_shutdown()
            assert (await client.finish()).body == b"told"
