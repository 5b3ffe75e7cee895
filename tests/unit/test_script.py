"""The scripted server plays what each dialect says, and records what it was sent."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from hesper.testing import (
    DIALECTS,
    Dialect,
    LifespanFailed,
    Result,
    Runaway,
    Script,
    ScriptedServer,
    ServerClientDisconnected,
    ServerTransportClosed,
    StillRunning,
)
from hesper.testing.dialects import (
    ANYCORN,
    DAPHNE,
    GRANIAN,
    GUNICORN,
    GUNICORN_H2,
    HYPERCORN,
    HYPERCORN_H2,
    HYPERCORN_TRIO,
    SPECIFICATION,
    UVICORN,
    UVICORN_LEGACY,
    UVICORN_PIPELINED,
)
from hesper.types import ASGIApp, Message, Receive, Scope, Send
from tests.conftest import in_virtual_time, on_asyncio

START: dict[str, Any] = {"type": "http.response.start", "status": 200, "headers": []}
MORE: dict[str, Any] = {"type": "http.response.body", "body": b"x", "more_body": True}
END: Message = {"type": "http.response.body", "body": b"", "more_body": False}
ACCEPT: Message = {"type": "websocket.accept"}
TEXT: Message = {"type": "websocket.send", "text": "hi"}
CLOSE: Message = {"type": "websocket.close", "code": 4001, "reason": "enough"}
DISCONNECT = {"type": "http.disconnect"}

# A time that is real on uvloop, whose timers may be a millisecond early.
SOON = 0.02
EARLY = 0.001


def sending(*messages: Message) -> ASGIApp:
    """An app that sends these and returns."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    return app


respond = sending(START, MORE, END)


class Probe:
    """An app made of a function of `receive` and `send`, whose return value is kept."""

    def __init__(self, function: Callable[[Receive, Send], Awaitable[Any]]) -> None:
        self.function = function
        self.value: Any = None
        self.scope: Scope = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.value = await self.function(receive, send)


async def settle() -> None:
    """Lets everything happen that needs no clock."""
    for _ in range(20):
        await anyio.lowlevel.checkpoint()


async def soon(call: Awaitable[Any], *, meanwhile: Callable[[], None] | None = None) -> Any:
    """What the call gives or raises before all is settled, or "hangs"."""
    outcome: Any = "hangs"
    error: Exception | None = None
    async with anyio.create_task_group() as group:

        async def stop() -> None:
            await settle()
            if meanwhile is not None:
                meanwhile()
                await settle()
            group.cancel_scope.cancel()

        group.start_soon(stop)
        try:
            outcome = await call
        except Exception as exc:
            error = exc
        group.cancel_scope.cancel()
    if error is not None:
        raise error
    return outcome


async def in_cancelled_scope(call: Callable[[], Awaitable[Any]]) -> Any:
    """What the call gives without ever suspending, or "suspends"."""
    with anyio.CancelScope() as scope:
        scope.cancel()
        return await call()
    return "suspends"


def names(*types: str) -> list[str]:
    return [f"http.{name}" for name in types]


# Requests and what is recorded of them.


async def test_a_response_is_recorded_with_its_moments() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        fields = [(b"a", b"1"), (b"set-cookie", b"x"), (b"set-cookie", b"y")]
        await send({"type": "http.response.start", "status": 201, "headers": iter(fields)})
        await send({"type": "http.response.body", "body": "gr\u00fcn".encode(), "more_body": True})
        await anyio.sleep(SOON)
        await send({"type": "http.response.body"})

    result = await ScriptedServer(app).get().run()
    assert (result.ended, result.raised, result.complete) == ("returned", None, True)
    assert (result.status, result.text) == (201, "gr\u00fcn")
    assert result.headers == {"a": "1", "set-cookie": "x, y"}
    assert result.types == names("response.start", "response.body", "response.body")
    assert result.messages[2] == {"type": "http.response.body"}
    assert [entry.delivered for entry in result.sent] == [True, True, True]
    assert result.sent[2].time - result.sent[1].time >= SOON - EARLY
    assert 0 <= result.sent[0].time <= result.sent[2].time <= result.duration
    assert [result.log[entry.step].split()[1] for entry in result.sent] == ["send"] * 3
    assert not result.violations
    assert not result.truncated_as_complete


@pytest.mark.parametrize("dialect", [UVICORN, DAPHNE, HYPERCORN_H2], ids=lambda d: d.name)
async def test_the_scope_says_what_the_dialect_says(dialect: Dialect) -> None:
    probe = Probe(lambda receive, send: send(START))
    server = ScriptedServer(probe, dialect)
    server.state["pool"] = 1
    await server.get("/a%20b?x=1", headers={"X-Y": "z"}, extensions=["extra"]).run()
    scope = probe.scope
    expected = {"version": "3.0", "spec_version": dialect.spec_version}
    assert scope["asgi"] == (expected if dialect.spec_version else {"version": "3.0"})
    assert scope["http_version"] == dialect.http_version
    assert scope.get("state") == ({"pool": 1} if dialect.lifespan else None)
    assert set(scope["extensions"]) == {*dialect.extensions, "extra"}
    assert (scope["path"], scope["raw_path"]) == ("/a b", b"/a%20b")
    assert (scope["query_string"], scope["method"]) == (b"x=1", "GET")
    assert scope["headers"] == [(b"host", b"testserver"), (b"x-y", b"z")]


async def test_a_scope_without_extensions_has_no_such_key() -> None:
    probe = Probe(lambda receive, send: send(START))
    await ScriptedServer(probe, UVICORN).get().run()
    assert "extensions" not in probe.scope


async def test_a_run_does_not_share_its_scope_with_the_next() -> None:
    seen = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(dict(scope))
        scope["path"] = "/other"
        scope["headers"].append((b"more", b""))

    script = ScriptedServer(app).get("/")
    await script.run()
    await script.run()
    assert seen[0] == seen[1]


@pytest.mark.parametrize(
    ("dialect", "options", "expected"),
    [
        (UVICORN, {"body": b"abc"}, (b"content-length", b"3")),
        (UVICORN, {"body": [b"a", 0, b"b"]}, (b"content-length", b"2")),
        (UVICORN, {"body": [b"a"], "unfinished": True}, (b"transfer-encoding", b"chunked")),
        (
            UVICORN,
            {"body": b"abc", "headers": [(b"content-length", "9")]},
            (b"content-length", b"9"),
        ),
        (GUNICORN_H2, {"body": [b"a"], "unfinished": True}, None),
        (UVICORN, {}, None),
    ],
)
async def test_the_length_of_the_body_is_declared(
    dialect: Dialect, options: dict[str, Any], expected: tuple[bytes, bytes] | None
) -> None:
    probe = Probe(lambda receive, send: send(START))
    await ScriptedServer(probe, dialect).post("/", **options).run()
    framing = [field for field in probe.scope["headers"] if field[0] != b"host"]
    assert framing == ([] if expected is None else [expected])


async def test_a_host_of_the_test_is_kept() -> None:
    probe = Probe(lambda receive, send: send(START))
    await ScriptedServer(probe).get("/", headers={"Host": "example.org"}).run()
    assert probe.scope["headers"] == [(b"host", b"example.org")]


async def read_all(receive: Receive, send: Send) -> list[tuple[bytes, bool]]:
    parts: list[tuple[bytes, bool]] = []
    while not parts or parts[-1][1]:
        message = await receive()
        parts.append((message["body"], message["more_body"]))
    return parts


@pytest.mark.parametrize(
    ("body", "parts"),
    [
        (b"", [(b"", False)]),
        (b"ab", [(b"ab", False)]),
        ([b"a", b"b"], [(b"a", True), (b"b", False)]),
        ([b"a", 0.01, b"b", 0.01], [(b"a", True), (b"b", False)]),
    ],
)
async def test_the_body_arrives_in_parts(body: Any, parts: list[tuple[bytes, bool]]) -> None:
    probe = Probe(read_all)
    await ScriptedServer(probe).post("/", body=body).run()
    assert probe.value == parts


async def test_a_pause_in_the_body_takes_time() -> None:
    result = await ScriptedServer(Probe(read_all)).post("/", body=[b"a", SOON, b"b"]).run()
    assert result.duration >= SOON - EARLY


async def test_a_test_can_go_on_with_an_unfinished_body() -> None:
    probe = Probe(read_all)
    async with ScriptedServer(probe).post("/", body=[b"a"], unfinished=True).open() as client:
        client.send(b"b")
        client.send(b"c", more=False)
        await client.finish()
    assert probe.value == [(b"a", True), (b"b", True), (b"c", False)]


async def test_every_kind_of_body_message_counts(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"from a path")
    start = {"type": "http.response.start", "status": 200, "trailers": True}
    zero = {"type": "http.response.zerocopysend"}
    file = open(path, "rb")
    app = sending(
        {"type": "http.response.early_hint", "links": [b"</style.css>"]},
        start,
        {**zero, "file": file, "more_body": True, "offset": 5, "count": 2},
        {**zero, "file": file, "more_body": True},
        END,
        {"type": "http.response.trailers", "headers": [(b"a", b"1")], "more_trailers": True},
        {"type": "http.response.trailers", "headers": [(b"b", b"2")]},
    )
    offered = [f"http.response.{name}" for name in ("early_hint", "zerocopysend", "trailers")]
    result = await ScriptedServer(app).get("/", extensions=offered).run()
    file.close()
    assert not result.violations
    assert (result.body, result.complete) == (b"a path", True)
    assert result.trailers == [(b"a", b"1"), (b"b", b"2")]

    app = sending(START, {"type": "http.response.pathsend", "path": str(path)})
    result = await ScriptedServer(app, GRANIAN).get().run()
    assert (result.body, result.complete, result.violations) == (b"from a path", True, [])


# How the application ends.


async def test_an_exception_is_recorded_and_not_raised() -> None:
    error = ValueError("no")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        raise error

    result = await ScriptedServer(app).get().run()
    assert (result.ended, result.raised, result.complete) == ("raised", error, False)


@on_asyncio  # trio.Cancelled cannot be made by hand
async def test_a_cancellation_that_nobody_asked_for_is_an_exception() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise anyio.get_cancelled_exc_class()

    result = await ScriptedServer(app).get().run()
    assert result.ended == "raised"
    assert isinstance(result.raised, anyio.get_cancelled_exc_class())
    assert not result.server_cancelled


async def test_an_application_that_does_not_end_is_told_with_its_log() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await anyio.sleep_forever()

    with pytest.raises(StillRunning) as caught:
        await ScriptedServer(app).get().run(timeout=SOON)
    assert "did not end within 0.02 seconds" in str(caught.value)
    assert "send called with http.response.start" in str(caught.value)


async def test_an_outer_cancellation_reaches_the_application_and_the_test() -> None:
    cleaned = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            cleaned.append(True)

    with anyio.move_on_after(SOON) as scope:
        await ScriptedServer(app).get().run()
    assert scope.cancelled_caught
    assert cleaned


async def test_a_runaway_application_is_stopped() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        while True:
            await send(MORE)

    result = await ScriptedServer(app, UVICORN).get().leave_at_message(2).run()
    assert isinstance(result.raised, Runaway)
    assert len(result.sent) > 10_000


# Moments of leaving.


async def drain(receive: Receive, send: Send) -> list[Any]:
    """The bodies up to the disconnect."""
    bodies: list[Any] = []
    while (message := await receive())["type"] == "http.request":
        bodies.append(message["body"])
    return bodies


UPLOAD = [b"a", b"b", b"c"]


@pytest.mark.parametrize(
    ("leave", "bodies"),
    [
        (lambda script: script.leave_before_body(), []),
        (lambda script: script.leave_after_request(2), [b"a", b"b"]),
        (lambda script: script.leave_after_request(3), UPLOAD),
        (lambda script: script.leave_after_request(), UPLOAD),
        (lambda script: script.leave_at_message(0), UPLOAD),
        (lambda script: script.leave_after(SOON), UPLOAD),
    ],
)
async def test_the_client_leaves_in_its_request(
    leave: Callable[[Script], Script], bodies: list[bytes]
) -> None:
    probe = Probe(drain)
    result = await leave(ScriptedServer(probe, HYPERCORN).post("/", body=UPLOAD)).run()
    assert probe.value == bodies
    assert result.told


async def test_the_client_leaves_in_the_response() -> None:
    result = await ScriptedServer(respond, UVICORN).get().leave_at_message(2).run()
    assert [entry.delivered for entry in result.sent] == [True, True, False]
    assert [entry.after_leave for entry in result.sent] == [False, False, True]
    assert (result.status, result.body, result.complete) == (200, b"x", False)
    assert result.sends_after_leave == 1
    assert result.client_left
    assert not result.told


async def test_a_client_that_left_sends_nothing_more() -> None:
    probe = Probe(drain)
    script = ScriptedServer(probe, HYPERCORN).post("/", body=[b"a", SOON, b"b"])
    async with script.open() as client:
        client.leave()
        client.leave()
        client.send(b"late")
        result = await client.finish()
        await anyio.sleep(2 * SOON)
    assert probe.value == [b"a"]
    assert sum("client left" in line for line in result.log) == 1


async def test_closing_is_leaving_where_there_is_no_closing_frame() -> None:
    probe = Probe(drain)
    async with ScriptedServer(probe, UVICORN).get().open() as client:
        client.close()
        await client.finish()
    assert probe.value == []


async def test_a_step_leaves_the_script_as_it_was() -> None:
    script = ScriptedServer(respond).get()
    script.leave_at_message(1)
    result = await script.run()
    assert result.complete
    assert not result.client_left


# The switches of `receive`.


async def twice(receive: Receive, send: Send) -> list[Any]:
    first = await receive()
    while first["type"] == "http.request":
        first = await receive()
    return [first, await soon(receive())]


async def test_a_disconnect_is_repeated_or_said_once(dialect: Dialect) -> None:
    probe = Probe(twice)
    result = await ScriptedServer(probe, dialect).get().leave_at_message(0).run()
    assert probe.value == [DISCONNECT, DISCONNECT if dialect.repeats_disconnect else "hangs"]
    assert result.receives_after_disconnect == 1


async def test_receive_suspends_or_not(dialect: Dialect) -> None:
    probe = Probe(lambda receive, send: in_cancelled_scope(receive))
    await ScriptedServer(probe, dialect).get().run()
    assert (probe.value == "suspends") is dialect.receive_suspends


async def test_send_suspends_or_not(dialect: Dialect) -> None:
    probe = Probe(lambda receive, send: in_cancelled_scope(lambda: send(START)))
    await ScriptedServer(probe, dialect).get().run()
    assert (probe.value == "suspends") is dialect.send_suspends


async def test_a_seed_decides_by_chance_and_repeatably() -> None:
    async def suspensions(receive: Receive, send: Send) -> list[Any]:
        return [await in_cancelled_scope(receive) == "suspends" for _ in range(20)]

    async def outcome(seed: int) -> Any:
        probe = Probe(suspensions)
        await ScriptedServer(probe, UVICORN, seed=seed).get().leave_at_message(0).run()
        return probe.value

    assert await outcome(1) == await outcome(1) != await outcome(2)
    assert set(await outcome(1)) == {True, False}


async def test_a_cancelled_receive_is_harmless_or_not(dialect: Dialect) -> None:
    async def impatient(receive: Receive, send: Send) -> list[Any]:
        bodies = []
        for _ in range(2):
            bodies.append((await receive())["body"])
        await soon(receive())
        return [bodies, await soon(receive())]

    probe = Probe(impatient)
    # A body without pauses, as daphne waits for the whole.
    result = await ScriptedServer(probe, dialect).post("/", body=[b"a", b"b"]).run()
    after = DISCONNECT if dialect.cancelled_receive == "disconnects" else "hangs"
    assert probe.value == [[b"a", b"b"], after]
    assert result.told is (after == DISCONNECT)
    assert result.receives_cancelled == (1 if after == DISCONNECT else 2)
    assert result.receive_cancelled


@pytest.mark.parametrize("suspended", [False, True])
@pytest.mark.parametrize("dialect", [UVICORN, GRANIAN, GUNICORN], ids=lambda d: d.name)
async def test_a_cancelled_receive_loses_one_part(dialect: Dialect, suspended: bool) -> None:
    async def impatient(receive: Receive, send: Send) -> list[Any]:
        # Cancelled when the part is there, or before it is.
        await in_cancelled_scope(receive)
        return [(await receive())["body"] for _ in range(2)]

    probe = Probe(impatient)
    server = ScriptedServer(probe, dialect.but(receive_suspends=suspended))
    async with server.post("/", body=[b"a"] * suspended, unfinished=True).open() as client:
        await settle()
        for part in (b"b", b"c") if suspended else (b"a", b"b", b"c"):
            client.send(part)
        await client.finish()
    loses = dialect.cancelled_receive == "loses"
    assert probe.value == ([b"b", b"c"] if loses else [b"a", b"b"])


async def test_two_receivers(dialect: Dialect) -> None:
    async def both(receive: Receive, send: Send) -> list[Any]:
        await receive()
        outcomes: list[Any] = [None, None]

        async def one(number: int, meanwhile: Callable[[], None] | None) -> None:
            outcomes[number] = await soon(receive(), meanwhile=meanwhile)

        async with anyio.create_task_group() as group:
            group.start_soon(one, 0, client.leave)
            await anyio.lowlevel.checkpoint()
            group.start_soon(one, 1, lambda: None)
        return outcomes

    probe = Probe(both)
    async with ScriptedServer(probe, dialect).get().open() as client:
        result = await client.finish()
    if dialect.second_receive_orphans_first:
        expected: list[Any] = ["hangs", DISCONNECT]
    else:
        expected = [DISCONNECT, DISCONNECT if dialect.repeats_disconnect else "hangs"]
    # trio starts tasks in any order.
    assert sorted(probe.value, key=repr) == sorted(expected, key=repr)
    assert result.concurrent_receives == 2


async def test_a_disconnect_comes_before_or_behind_the_body(dialect: Dialect) -> None:
    probe = Probe(drain)
    await ScriptedServer(probe, dialect).post("/", body=b"x").leave_after_request().run()
    assert probe.value == ([] if dialect.disconnect_overtakes_body else [b"x"])


async def test_the_response_ends_with_a_disconnect_or_not(dialect: Dialect) -> None:
    async def app(receive: Receive, send: Send) -> list[Any]:
        await receive()
        await respond({}, receive, send)
        return [await soon(receive()), await soon(receive())]

    probe = Probe(app)
    result = await ScriptedServer(probe, dialect).get().run()
    if dialect.disconnect_after_response:
        assert probe.value == [DISCONNECT, DISCONNECT if dialect.repeats_disconnect else "hangs"]
    else:
        assert probe.value == ["hangs", DISCONNECT]
    # That is no news of the client, unless the server made it up.
    assert not result.told


async def test_without_a_disconnect_after_the_response_it_comes_when_the_client_leaves() -> None:
    async def app(receive: Receive, send: Send) -> Any:
        await receive()
        await respond({}, receive, send)
        return await receive()

    dialect = GUNICORN.but(cancel_grace=60)
    probe = Probe(app)
    async with ScriptedServer(probe, dialect).get().open() as client:
        await client.wait_message(3)
        await settle()
        assert client.result.ended == "running"
        client.leave()
        await client.finish()
    assert probe.value == DISCONNECT


@pytest.mark.parametrize(
    ("seen_by", "expected"),
    [
        ("receive", [DISCONNECT, DISCONNECT]),
        ("next receive", ["hangs", DISCONNECT]),
        ("nobody", ["hangs", "hangs"]),
    ],
)
async def test_who_sees_the_leaving(seen_by: Any, expected: list[Any]) -> None:
    async def app(receive: Receive, send: Send) -> list[Any]:
        await receive()
        return [await soon(receive(), meanwhile=client.leave), await soon(receive())]

    probe = Probe(app)
    async with ScriptedServer(probe, UVICORN.but(seen_by=seen_by)).get().open() as client:
        await client.finish()
    assert probe.value == expected


async def test_leaving_is_hidden_behind_unread_parts() -> None:
    async def app(receive: Receive, send: Send) -> list[Any]:
        return [(await receive())["type"], (await receive())["type"]]

    dialect = UVICORN.but(reads_ahead=2)
    for count, first in [(3, "http.request"), (2, "http.disconnect")]:
        probe = Probe(app)
        script = ScriptedServer(probe, dialect).post("/", body=[b"x"] * count)
        await script.leave_after_request().run()
        assert probe.value == [first, "http.disconnect"]


async def test_an_unread_body_blocks_send_until_it_is_read() -> None:
    async def app(receive: Receive, send: Send) -> list[Any]:
        return [
            await soon(send(START)),
            (await receive())["type"],
            await soon(send(START)),
        ]

    body = [b"x"] * (HYPERCORN.reads_ahead + 1)
    probe = Probe(app)
    await ScriptedServer(probe, HYPERCORN).post("/", body=body).run()
    assert probe.value == ["hangs", "http.request", None]
    # Not even the client's leaving frees it.
    probe = Probe(app)
    await ScriptedServer(probe, HYPERCORN).post("/", body=body).leave_after_request().run()
    assert probe.value[0] == "hangs"
    # Others do not care.
    probe = Probe(app)
    await ScriptedServer(probe, UVICORN).post("/", body=body).run()
    assert probe.value[0] is None


async def test_daphne_calls_the_application_only_with_the_whole_body() -> None:
    probe = Probe(read_all)
    result = await ScriptedServer(probe, DAPHNE).post("/", body=UPLOAD).leave_after_request(2).run()
    assert result.ended == "not called"
    assert probe.value is None

    async def when_called(receive: Receive, send: Send) -> float:
        return anyio.current_time()

    probe, began = Probe(when_called), anyio.current_time()
    result = await ScriptedServer(probe, DAPHNE).post("/", body=[b"a", SOON, b"b"]).run()
    assert result.ended == "returned"
    assert probe.value - began >= SOON - EARLY


async def test_100_continue_waits_for_receive_or_not(dialect: Dialect) -> None:
    headers = {"Expect": "100-continue"}
    server = ScriptedServer(respond, dialect)
    result = await server.post("/", body=b"x", headers=headers).run()
    assert result.continued is not dialect.continue_at_first_receive
    probe = Probe(read_all)
    result = await ScriptedServer(probe, dialect).post("/", body=b"x", headers=headers).run()
    assert result.continued
    assert probe.value == [(b"x", False)]
    result = await server.post("/", body=b"x").run()
    assert not result.continued


# The switches of `send`.


async def attempt(call: Awaitable[Any], **options: Any) -> str:
    try:
        return "hang" if await soon(call, **options) == "hangs" else "silent"
    except ServerClientDisconnected:
        return "oserror"
    except ServerTransportClosed:
        return "private"


@pytest.mark.parametrize("dialect", [*DIALECTS, UVICORN_PIPELINED], ids=lambda d: d.name)
async def test_send_after_the_client_left(dialect: Dialect) -> None:
    probe = Probe(lambda receive, send: attempt(send(START)))
    result = await ScriptedServer(probe, dialect).get().leave_at_message(0).run()
    assert probe.value == dialect.send_after_leave
    assert result.told is (probe.value in ("oserror", "private"))
    assert result.sends_after_leave == 1
    assert not result.sends_after_disconnect
    assert not result.complete


async def test_sends_after_the_application_was_told_are_counted() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert await receive() == DISCONNECT
        await send(START)

    result = await ScriptedServer(app, UVICORN).get().leave_at_message(0).run()
    assert (result.sends_after_disconnect, result.told) == (1, True)


async def test_a_stalled_client_blocks_send_or_not(dialect: Dialect) -> None:
    async def app(receive: Receive, send: Send) -> Any:
        await send(START)
        return await soon(send(MORE))

    probe = Probe(app)
    # A shielded send cannot be timed out.
    dialect = dialect.but(shields_blocked_send=False)
    result = await ScriptedServer(probe, dialect).get().stall_at_message(2).run()
    assert probe.value == ("hangs" if dialect.backpressure else None)
    assert result.sent[1].delivered is not dialect.backpressure


async def test_a_released_client_gets_the_blocked_message() -> None:
    async with ScriptedServer(respond).get().stall_at_message(2).open() as client:
        await client.wait_message(2)
        assert not client.result.sent[1].delivered
        client.release()
        result = await client.finish()
    assert result.complete


async def test_a_test_can_stall_the_client() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await receive()
        await receive()
        await respond(scope, receive, send)

    async with ScriptedServer(sending(START, MORE)).get().open() as client:
        client.stall()
        await client.wait_message(1)
        assert client.messages == [START]
        client.release()
        assert (await client.finish()).types == names("response.start", "response.body")


@pytest.mark.parametrize(
    ("mode", "outcome"), [("returns", "silent"), ("raises", "oserror"), ("stays", "hang")]
)
async def test_a_blocked_send_when_the_client_leaves(mode: Any, outcome: str) -> None:
    probe = Probe(lambda receive, send: attempt(send(START), meanwhile=client.leave))
    server = ScriptedServer(probe, UVICORN.but(blocked_send=mode))
    async with server.get().stall_at_message(1).open() as client:
        result = await client.finish()
    assert probe.value == outcome
    assert not result.sent[0].delivered


async def test_a_shielded_send_is_not_cancelled_but_freed_by_leaving() -> None:
    async def app(receive: Receive, send: Send) -> bool:
        with anyio.move_on_after(SOON) as scope:
            await send(START)
        return scope.cancel_called

    probe = Probe(app)
    async with ScriptedServer(probe, HYPERCORN_TRIO).get().stall_at_message(1).open() as client:
        await client.wait_message(1)
        await anyio.sleep(2 * SOON)
        assert client.result.ended == "running"
        client.leave()
        await client.finish()
    assert probe.value is True


async def test_a_shielded_send_does_not_outlive_the_test() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)

    dialect = ANYCORN.but(blocked_send="stays")
    with pytest.raises(StillRunning):
        await ScriptedServer(app, dialect).get().stall_at_message(1).run(timeout=SOON)


async def test_a_half_closed_client_gets_its_answer_or_not(dialect: Dialect) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        assert await receive() == DISCONNECT
        await send(START)
        await send(END)

    dialect = dialect.but(send_after_leave="silent")
    async with ScriptedServer(app, dialect).get().open() as client:
        await client.wait_receiving()
        await anyio.wait_all_tasks_blocked()
        client.half_close()
        result = await client.finish()
    assert result.complete is dialect.answers_half_closed
    assert result.told


# Cancellation by the server.


@pytest.mark.parametrize(
    "dialect", [dialect.but(cancel_grace=0) for dialect in DIALECTS], ids=lambda d: d.name
)
async def test_the_application_is_cancelled_or_not(dialect: Dialect) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await settle()

    result = await ScriptedServer(app, dialect).get().leave_at_message(0).run()
    cancels = dialect.cancels_app is not None
    assert result.server_cancelled is cancels
    assert result.ended == ("cancelled" if cancels else "returned")
    assert result.raised is None


@in_virtual_time
async def test_the_cancellation_comes_after_a_grace() -> None:
    probe = Probe(lambda receive, send: anyio.sleep_forever())
    result = await ScriptedServer(probe, GUNICORN).get().leave_after(1).run()
    assert result.duration == pytest.approx(4)


@pytest.mark.parametrize("dialect", [GUNICORN, DAPHNE], ids=lambda d: d.name)
async def test_work_after_the_response_is_cancelled_or_not(dialect: Dialect) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await respond(scope, receive, send)
        await settle()

    server = ScriptedServer(app, dialect.but(cancel_grace=0))
    result = await server.get().leave_at_message(3).run()
    assert result.server_cancelled is dialect.cancels_after_response
    assert result.complete


@pytest.mark.parametrize("native", [True, False])
async def test_a_native_cancellation_comes_once_and_a_scope_goes_on(
    native: bool, anyio_backend_name: str
) -> None:
    cleaned = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            await settle()
            cleaned.append(True)

    async with ScriptedServer(app).get().open() as client:
        await anyio.wait_all_tasks_blocked()
        client.cancel_app(native=native)
        result = await client.finish()
    assert result.server_cancelled
    assert result.ended == "cancelled"
    assert bool(cleaned) is (native and anyio_backend_name == "asyncio")


async def test_an_application_may_swallow_the_cancellation() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        with pytest.raises(anyio.get_cancelled_exc_class()):
            await receive()
            await receive()

    async with ScriptedServer(app).get().open() as client:
        await client.wait_receiving()
        await anyio.wait_all_tasks_blocked()
        client.cancel_app(native=True)
        result = await client.finish()
        client.cancel_app()
    assert (result.server_cancelled, result.ended) == (True, "returned")
    # It was the server's doing, not the application's.
    assert not result.receives_cancelled


# What the application left or did wrong.


async def test_a_receive_left_open_is_counted() -> None:
    group = anyio.create_task_group()
    async with group:

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            async def listen() -> None:
                await receive()

            await receive()
            group.start_soon(listen)
            await settle()

        result = await ScriptedServer(app).get().run()
        group.cancel_scope.cancel()
    assert (result.receives, result.pending_receives) == (2, 1)


async def test_a_receive_cancelled_at_the_end_is_not_held_against_the_application() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await respond(scope, receive, send)
        await soon(receive())

    dialect = GUNICORN
    result = await ScriptedServer(app, dialect).get().run()
    assert (result.receives_cancelled, result.receive_cancelled) == (1, False)


async def test_a_receive_cancelled_before_a_send_is() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await soon(receive())
        await send(START)

    assert (await ScriptedServer(app).get().run()).receive_cancelled


async def test_a_body_ended_after_a_cancelled_send_is_truncated_as_complete() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await soon(send(MORE))
        client.release()
        await send(END)

    async with ScriptedServer(app, GRANIAN).get().stall_at_message(2).open() as client:
        result = await client.finish()
    assert result.complete
    assert result.truncated_as_complete
    assert isinstance(result.sent[1].error, anyio.get_cancelled_exc_class())


@pytest.mark.parametrize(
    ("method", "status", "length", "truncated", "violations"),
    [
        ("GET", 200, b"1", False, []),
        ("GET", 200, b"2", True, []),
        ("GET", 200, b"many", False, []),
        ("HEAD", 200, b"2", False, []),
        ("GET", 304, b"2", False, []),
        ("GET", 200, b"0", False, ["the body has 1 bytes, its Content-Length says 0"]),
    ],
)
async def test_content_length_is_held_against_the_body(
    method: str, status: int, length: bytes, truncated: bool, violations: list[str]
) -> None:
    fields = [(b"content-length", length)]
    start = {"type": "http.response.start", "status": status, "headers": fields}
    result = await ScriptedServer(sending(start, MORE, END)).request(method).run()
    assert (result.truncated_as_complete, result.violations) == (truncated, violations)


HEADERS = "an iterable of (lower-case bytes, bytes)"


@pytest.mark.parametrize(
    ("messages", "violation"),
    [
        ([MORE], "http.response.body was sent before anything else of the response"),
        ([START, START], "http.response.start was sent after http.response.start"),
        ([START, END, END], "http.response.body was sent after the end"),
        (
            [START | {"trailers": True}, END, END],
            "http.response.body was sent after the body, where only http.response.trailers may "
            "follow",
        ),
        (
            [START, END, {"type": "http.response.trailers", "headers": []}],
            "http.response.trailers was sent after the end",
        ),
        (
            [{"type": "http.nonsense"}],
            "unknown message type 'http.nonsense' in a scope of type 'http'",
        ),
        ([{"type": 3}], "unknown message type 3 in a scope of type 'http'"),
        ([{}], "unknown message type None in a scope of type 'http'"),
        ([ACCEPT], "unknown message type 'websocket.accept' in a scope of type 'http'"),
        ([{"type": "http.response.start"}], "http.response.start has no 'status'"),
        ([START | {"status": "200"}], "'status' of http.response.start is '200', expected int"),
        ([START | {"status": True}], "'status' of http.response.start is True, expected int"),
        (
            [START | {"headers": "no"}],
            f"'headers' of http.response.start is 'no', expected {HEADERS}",
        ),
        ([START | {"headers": 3}], f"'headers' of http.response.start is 3, expected {HEADERS}"),
        (
            [START | {"headers": [b"ab"]}],
            f"'headers' of http.response.start is [b'ab'], expected {HEADERS}",
        ),
        (
            [START | {"headers": [("a", "b")]}],
            f"'headers' of http.response.start is [('a', 'b')], expected {HEADERS}",
        ),
        (
            [START | {"headers": [(b"A", b"b")]}],
            f"'headers' of http.response.start is [(b'A', b'b')], expected {HEADERS}",
        ),
        ([START, MORE | {"body": "x"}], "'body' of http.response.body is 'x', expected bytes"),
        ([START, MORE | {"more_body": 1}], "'more_body' of http.response.body is 1, expected bool"),
        (
            [{"type": "http.response.debug", "info": {}}],
            "http.response.debug was sent, but the scope does not offer the extension",
        ),
    ],
)
async def test_a_breach_of_the_specification_is_recorded(
    messages: list[Message], violation: str
) -> None:
    result = await ScriptedServer(sending(*messages), UVICORN).get().run()
    assert violation in result.violations


@pytest.mark.parametrize(
    ("message", "violation"),
    [
        (
            {"type": "http.response.early_hint", "links": [1]},
            "'links' of http.response.early_hint is [1], expected a list of bytes",
        ),
        (
            {"type": "http.response.zerocopysend", "file": 1},
            "'file' of http.response.zerocopysend is 1, expected a file",
        ),
    ],
)
async def test_a_breach_in_an_extension_is_recorded(message: Message, violation: str) -> None:
    app = sending(START, message)
    result = await ScriptedServer(app).get("/", extensions=[message["type"]]).run()
    assert result.violations == [violation]
    assert not result.sent[1].delivered


async def test_unknown_keys_are_no_breach() -> None:
    app = sending(START | {"x": 1}, {"type": "http.response.push", "path": "/", "headers": []}, END)
    result = await ScriptedServer(app).get("/", extensions=["http.response.push"]).run()
    assert result.violations == []
    assert result.complete


# Steps by hand.


async def test_waiting_for_a_message_gives_it() -> None:
    async with ScriptedServer(respond).get().open() as client:
        assert await client.wait_message(2) == MORE


async def test_waiting_for_a_message_that_never_comes_tells_so() -> None:
    with pytest.raises(StillRunning, match="did not send message 4"):
        async with ScriptedServer(respond).get().open() as client:
            await client.wait_message(4)


async def test_waiting_for_receive_tells_if_it_is_not_called() -> None:
    with pytest.raises(StillRunning, match="did not wait in receive"):
        async with ScriptedServer(respond).get().open() as client:
            await client.wait_receiving()


async def test_the_client_leaves_at_the_end_of_the_block() -> None:
    probe = Probe(drain)
    async with ScriptedServer(probe, UVICORN).get().open() as client:
        await client.wait_receiving()
    assert client.result.ended == "returned"
    assert client.result.told


async def test_an_error_in_the_block_comes_out_as_it_is() -> None:
    with pytest.raises(KeyError):
        async with ScriptedServer(Probe(drain)).get().open():
            raise KeyError("x")


# WebSockets.


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept", "subprotocol": "b", "headers": [(b"x", b"1")]})
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})


async def test_a_websocket_conversation_is_recorded() -> None:
    probe = Probe(lambda receive, send: echo({}, receive, send))
    server = ScriptedServer(probe, UVICORN)
    server.state["pool"] = 1
    script = server.websocket(
        "/ws", messages=["hi", SOON, b"\x00", SOON], subprotocols=["a", "b"], headers={"X": "y"}
    )
    result = await script.leave_after_request().run()
    assert (result.accepted, result.status, result.subprotocol) == (True, 101, "b")
    assert result.headers == {"x": "1"}
    assert result.frames == ["hi", b"\x00"]
    assert result.ended == "returned"
    assert not result.violations
    scope = probe.scope
    assert (scope["type"], scope["scheme"], scope["path"]) == ("websocket", "ws", "/ws")
    assert scope["subprotocols"] == ["a", "b"]
    assert scope["asgi"]["spec_version"] == UVICORN.websocket_spec_version
    assert scope["extensions"] == {"websocket.http.response": {}}
    assert scope["state"] == {"pool": 1}
    assert (b"x", b"y") in scope["headers"]


async def test_a_test_can_talk_by_itself() -> None:
    async with ScriptedServer(echo).websocket().open() as client:
        await client.wait_message(1)
        client.send("a")
        assert (await client.wait_message(2))["text"] == "a"
        client.close(4000)
        await client.finish()


async def disconnects(receive: Receive, send: Send) -> list[Any]:
    """All the disconnects that come, up to three, with "hangs" for one that does not."""
    await receive()
    await send(ACCEPT)
    found: list[Any] = []
    while len(found) < 3:
        message = await soon(receive())
        found.append(message if message == "hangs" else (message["code"], message.get("reason")))
    return found


LOST: Callable[[Script], Script] = lambda script: script  # noqa: E731
UNCODED: Callable[[Script], Script] = lambda script: script.leave_by_closing(None)  # noqa: E731
BYE: Callable[[Script], Script] = lambda script: script.leave_by_closing(4001, "bye")  # noqa: E731


@pytest.mark.parametrize(
    ("dialect", "bye", "uncoded", "lost", "then"),
    [
        (UVICORN, (4001, "bye"), 1005, 1005, [(1005, None), "hangs"]),
        (UVICORN_LEGACY, (4001, "bye"), 1005, 1006, [(1005, None), (1005, None)]),
        (HYPERCORN, (1006, None), 1006, 1006, ["hangs", "hangs"]),
        (GRANIAN, (4001, None), 1005, 1005, [(1005, None), (1005, None)]),
        (DAPHNE, (4001, None), None, 1006, ["hangs", "hangs"]),
        (GUNICORN, (4001, None), 1005, 1006, ["hangs", "hangs"]),
        (ANYCORN, (4001, None), 1005, 1006, ["hangs", "hangs"]),
    ],
    ids=lambda value: value.name if isinstance(value, Dialect) else "",
)
async def test_the_close_code_is_what_the_dialect_makes_of_it(
    dialect: Dialect,
    bye: tuple[int, str | None],
    uncoded: int | None,
    lost: int,
    then: list[Any],
) -> None:
    for manner, first in [(BYE, bye), (UNCODED, (uncoded, None)), (LOST, (lost, None))]:
        probe = Probe(disconnects)
        script = manner(ScriptedServer(probe, dialect).websocket())
        result = await script.leave_after_request(0).run()
        assert probe.value == [first, *then]
        assert result.told


async def test_messages_come_before_the_disconnect(dialect: Dialect) -> None:
    async def app(receive: Receive, send: Send) -> list[str]:
        await receive()
        await send(ACCEPT)
        await settle()
        return [(await receive())["type"] for _ in range(2)]

    probe = Probe(app)
    await ScriptedServer(probe, dialect).websocket(messages=["a"]).leave_after_request().run()
    assert probe.value == ["websocket.receive", "websocket.disconnect"]


async def test_a_client_gone_before_accept_is_seen_or_not(dialect: Dialect) -> None:
    async def app(receive: Receive, send: Send) -> list[Any]:
        await receive()
        before = await soon(receive())
        await attempt(send(ACCEPT))
        return [before, await soon(receive())]

    probe = Probe(app)
    result = await ScriptedServer(probe, dialect).websocket().leave_at_message(0).run()
    gone = {"type": "websocket.disconnect", "code": 1006}
    if dialect.websocket_leave_before_accept_seen:
        assert probe.value[0] == gone
    else:
        assert probe.value == ["hangs", gone]
    assert not result.accepted


async def test_websocket_send_after_the_client_left(dialect: Dialect) -> None:
    async def app(receive: Receive, send: Send) -> list[str]:
        await receive()
        await send(ACCEPT)
        first = await attempt(send(TEXT))
        await receive()
        return [first, await attempt(send(TEXT))]

    probe = Probe(app)
    result = await ScriptedServer(probe, dialect).websocket().leave_at_message(1).run()
    mode = dialect.websocket_send_after_leave
    expected = ["oserror", "private"] if mode == "oserror then private" else [mode, mode]
    assert probe.value == expected
    assert result.frames == []
    assert result.sends_after_leave == 2


@pytest.mark.parametrize(
    ("dialect", "code", "reason"),
    [
        (UVICORN, 4001, "enough"),
        (HYPERCORN, 1000, None),
        (GRANIAN, 1005, None),
        (DAPHNE, 1006, None),
        (GUNICORN, 1006, None),
        (ANYCORN, 4001, None),
    ],
    ids=lambda value: value.name if isinstance(value, Dialect) else "",
)
async def test_the_disconnect_after_an_own_close(
    dialect: Dialect, code: int, reason: str | None
) -> None:
    async def app(receive: Receive, send: Send) -> Any:
        await receive()
        await send(ACCEPT)
        await send(CLOSE)
        return await receive()

    probe = Probe(app)
    result = await ScriptedServer(probe, dialect).websocket().run()
    expected: Message = {"type": "websocket.disconnect", "code": code}
    assert probe.value == (expected if reason is None else {**expected, "reason": reason})
    assert (result.close_code, result.close_reason) == (4001, "enough")
    assert result.complete
    assert not result.told


async def test_a_close_before_accept_is_a_403() -> None:
    async def app(receive: Receive, send: Send) -> Any:
        await receive()
        await send({"type": "websocket.close"})
        return await receive()

    probe = Probe(app)
    result = await ScriptedServer(probe).websocket().run()
    assert (result.status, result.accepted, result.close_code) == (403, False, None)
    assert probe.value == {"type": "websocket.disconnect", "code": 1006}


async def test_a_denial_is_recorded() -> None:
    kind = "websocket.http.response"
    app = sending(
        {"type": f"{kind}.start", "status": 401, "headers": [(b"a", b"1")]},
        {"type": f"{kind}.body", "body": b"n", "more_body": True},
        {"type": f"{kind}.body", "body": b"o"},
    )
    result = await ScriptedServer(app, UVICORN).websocket().run()
    assert (result.status, result.body, result.complete) == (401, b"no", True)
    assert result.headers == {"a": "1"}
    assert not result.violations
    result = await ScriptedServer(app, GUNICORN).websocket().run()
    assert "does not offer the extension" in result.violations[0]


@pytest.mark.parametrize(
    ("messages", "violation"),
    [
        ([TEXT], "websocket.send was sent before anything else of the response"),
        ([ACCEPT, ACCEPT], "websocket.accept was sent after websocket.accept"),
        ([ACCEPT, CLOSE, TEXT], "websocket.send was sent after the end"),
        (
            [ACCEPT, {"type": "websocket.send", "text": None}],
            "websocket.send needs one of 'bytes' and 'text'",
        ),
        (
            [{"type": "websocket.http.response.start", "status": 401}, CLOSE],
            "websocket.close was sent in the middle of a denial response",
        ),
        ([START], "unknown message type 'http.response.start' in a scope of type 'websocket'"),
    ],
)
async def test_a_breach_on_a_websocket_is_recorded(messages: list[Message], violation: str) -> None:
    result = await ScriptedServer(sending(*messages)).websocket().run()
    assert result.violations == [violation]


async def test_the_client_is_there_for_binary_frames_too() -> None:
    app = sending(ACCEPT, {"type": "websocket.send", "bytes": b"\x00", "text": None}, CLOSE)
    result = await ScriptedServer(app).websocket().run()
    assert result.frames == [b"\x00"]
    assert not result.violations


# Lifespan.


class Life:
    """A lifespan application with switches."""

    def __init__(self, **switches: Any) -> None:
        self.switches = switches
        self.events: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "lifespan"
        self.events.append((await receive())["type"])
        scope["state"]["pool"] = "open"
        await send(self.switches.get("startup", {"type": "lifespan.startup.complete"}))
        if "silent" in self.switches:
            return
        try:
            self.events.append((await receive())["type"])
        finally:
            self.events.append("cleanup")
        if error := self.switches.get("error"):
            raise error
        await send(self.switches.get("shutdown", {"type": "lifespan.shutdown.complete"}))


def lifespan_result(server: ScriptedServer) -> Result:
    assert server.lifespan_result is not None
    return server.lifespan_result


async def test_a_lifespan_gives_its_state_to_each_request() -> None:
    life, probe = Life(), Probe(lambda receive, send: send(START))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await (life if scope["type"] == "lifespan" else probe)(scope, receive, send)

    server = ScriptedServer(app, SPECIFICATION)
    async with server.lifespan() as state:
        assert state == {"pool": "open"}
        await server.get().run()
        assert probe.scope["state"] == state
        probe.scope["state"]["pool"] = "mine"
        assert state == {"pool": "open"}
    assert life.events == ["lifespan.startup", "lifespan.shutdown", "cleanup"]
    result = lifespan_result(server)
    assert result.types == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert (result.ended, result.violations) == ("returned", [])


async def test_a_failed_startup_is_raised_with_its_message() -> None:
    life = Life(startup={"type": "lifespan.startup.failed", "message": "no database"}, silent=True)
    with pytest.raises(LifespanFailed, match="no database"):
        async with ScriptedServer(life).lifespan():
            raise AssertionError("the block must not run")


async def test_a_failed_shutdown_is_raised_with_its_message() -> None:
    life = Life(shutdown={"type": "lifespan.shutdown.failed", "message": "stuck"})
    with pytest.raises(LifespanFailed, match="stuck"):
        async with ScriptedServer(life).lifespan():
            pass


async def test_an_exception_in_the_shutdown_is_the_cause() -> None:
    error = ValueError("broken")
    with pytest.raises(LifespanFailed, match="raised in its shutdown") as caught:
        async with ScriptedServer(Life(error=error)).lifespan():
            pass
    assert caught.value.__cause__ is error


async def test_an_application_without_lifespan_is_served_all_the_same() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("only http")

    server = ScriptedServer(app)
    async with server.lifespan() as state:
        assert state == {}
    assert isinstance(lifespan_result(server).raised, AssertionError)


async def test_an_application_may_end_before_the_shutdown() -> None:
    server = ScriptedServer(Life(silent=True))
    async with server.lifespan():
        pass
    assert lifespan_result(server).ended == "returned"


async def test_daphne_has_no_lifespan() -> None:
    life = Life()
    server = ScriptedServer(life, DAPHNE)
    async with server.lifespan() as state:
        assert state == {}
    assert (life.events, server.lifespan_result) == ([], None)


async def test_a_lifespan_can_be_cancelled_instead() -> None:
    life = Life()
    server = ScriptedServer(life)
    async with server.lifespan(ends="cancel"):
        pass
    assert life.events == ["lifespan.startup", "cleanup"]
    assert lifespan_result(server).ended == "cancelled"


async def test_a_shutdown_can_come_while_a_request_runs() -> None:
    life, order = Life(), []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await life(scope, receive, send)
        else:
            await drain(receive, send)
            order.append("request")

    server = ScriptedServer(app)
    async with server.lifespan():
        async with server.get().open() as client:
            await client.wait_receiving()
            await server.shutdown()
            order.append("shutdown")
            await server.shutdown()
            client.leave()
            await client.finish()
    assert order == ["shutdown", "request"]
    assert life.events.count("lifespan.shutdown") == 1


async def test_a_shutdown_without_a_lifespan_is_a_mistake_of_the_test() -> None:
    with pytest.raises(RuntimeError, match="nothing to shut down"):
        await ScriptedServer(Life()).shutdown()


async def test_a_lifespan_answer_out_of_place_is_recorded() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "lifespan.shutdown.complete"})
        await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.startup.complete"})

    server = ScriptedServer(app)
    async with server.lifespan():
        pass
    assert lifespan_result(server).violations == [
        "lifespan.shutdown.complete was sent before lifespan.startup was answered",
        "lifespan.startup.complete was sent before lifespan.shutdown was received",
    ]


async def test_an_outer_cancellation_goes_through_a_lifespan() -> None:
    life = Life()
    with anyio.move_on_after(SOON) as scope:
        async with ScriptedServer(life).lifespan():
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert life.events == ["lifespan.startup", "cleanup"]
