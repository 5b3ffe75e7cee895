"""E5: knowing costs nothing.

`request.disconnected` never waits and never loses a message; `await request.wait_disconnected()`
waits; `await request.is_disconnected()` (the known name) is true within one poll, also when the
client was gone on arrival or the server's `receive` suspends first, behind any middleware, and never
swallows body or events.
"""

from collections.abc import Callable
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.middleware import Middleware as StarletteMiddleware
from starlette.middleware.base import BaseHTTPMiddleware as StarletteBaseHTTPMiddleware
from starlette.routing import Mount as StarletteMount

from hesper.applications import Hesper
from hesper.middleware import Middleware
from hesper.middleware.base import BaseHTTPMiddleware
from hesper.requests import Request
from hesper.responses import PlainTextResponse, Response, StreamingResponse
from hesper.routing import Route
from hesper.testing import Dialect, ScriptedServer
from hesper.types import ASGIApp, Message, Receive, Scope, Send

from .apps import (
    CallNext,
    Endpoint,
    Gate,
    assert_quiet,
    hesper,
    listen,
    nest,
    over,
    pass_on,
    settle,
)

depths = over("depth", [0, 1, 4])
BODY = [b"one", b"two", b"three"]


class Asked:
    """What the endpoint saw."""

    def __init__(self) -> None:
        self.answers: list[bool] = []
        self.body = b""
        self.waited = 0.0


# "`request.disconnected` never waits and never loses a message"


@depths
async def test_e05_disconnected_never_waits_and_turns_true_when_the_client_left(
    depth: int, dialect: Dialect
) -> None:
    """`request.disconnected` never waits."""
    asked = Asked()
    gate = Gate()

    async def endpoint(request: Request) -> Response:
        asked.answers.append(request.disconnected)
        await gate.wait()
        asked.answers.append(request.disconnected)
        return PlainTextResponse("done")

    async with ScriptedServer(hesper(endpoint, *[pass_on] * depth), dialect).get().open() as client:
        await client.wait_receiving()
        client.leave()
        await settle()
        gate.open.set()
        assert_quiet(await client.finish())
    assert asked.answers == [False, True]


@depths
async def test_e05_disconnected_never_loses_a_message(depth: int, dialect: Dialect) -> None:
    """`request.disconnected` never loses a message."""
    asked = Asked()

    async def asks(request: Request, call_next: CallNext) -> Response:
        asked.answers.append(request.disconnected)
        await anyio.sleep(0)
        asked.answers.append(request.disconnected)
        return await call_next(request)

    async def endpoint(request: Request) -> Response:
        asked.answers.append(request.disconnected)
        async for chunk in request.stream():
            asked.answers.append(request.disconnected)
            asked.body += chunk
        return PlainTextResponse("done")

    app = hesper(endpoint, *[asks] * depth)
    result = await ScriptedServer(app, dialect).post(body=BODY).run()
    assert_quiet(result)
    assert result.complete
    assert asked.body == b"".join(BODY)
    assert not any(asked.answers)


@depths
async def test_e05_a_request_that_asks_for_nothing_does_not_receive(
    depth: int, dialect: Dialect
) -> None:
    """Knowing costs nothing."""

    async def asks(request: Request, call_next: CallNext) -> Response:
        assert not request.disconnected
        return await call_next(request)

    async def endpoint(request: Request) -> Response:
        assert not request.disconnected
        return PlainTextResponse("done")

    app = hesper(endpoint, *[asks] * depth)
    result = await ScriptedServer(app, dialect.but(send_suspends=False)).get().run()
    assert_quiet(result)
    assert result.receives == 0


# "`await request.wait_disconnected()` waits"


@depths
@over("body", [[], BODY])
async def test_e05_wait_disconnected_waits_until_the_client_has_left(
    body: list[bytes | float], depth: int, dialect: Dialect
) -> None:
    """`await request.wait_disconnected()` waits."""
    asked = Asked()

    async def endpoint(request: Request) -> Response:
        started = anyio.current_time()
        await request.wait_disconnected()
        asked.waited = anyio.current_time() - started
        asked.answers.append(request.disconnected)
        return PlainTextResponse("done")

    app = hesper(endpoint, *[pass_on] * depth)
    result = await ScriptedServer(app, dialect).post(body=body).leave_after(0.03).run()
    assert_quiet(result)
    assert not result.server_cancelled
    assert asked.answers == [True]
    assert 0.02 < asked.waited < 1


@depths
async def test_e05_wait_disconnected_swallows_no_body(depth: int, dialect: Dialect) -> None:
    """`wait_disconnected()` waits, and a body that was received is still there afterwards."""
    asked = Asked()

    async def endpoint(request: Request) -> Response:
        with anyio.move_on_after(0.01):
            await request.wait_disconnected()
        asked.answers.append(request.disconnected)
        asked.body = await request.body()
        return PlainTextResponse("done")

    app = hesper(endpoint, *[pass_on] * depth)
    result = await ScriptedServer(app, dialect).post(body=BODY).run()
    assert_quiet(result)
    assert result.complete
    assert asked.answers == [False]
    assert asked.body == b"".join(BODY)


async def test_e05_wait_disconnected_wakes_all_who_wait(dialect: Dialect) -> None:
    """`await request.wait_disconnected()` waits: in every layer, at the same time."""
    asked = Asked()

    async def waits(request: Request) -> None:
        await request.wait_disconnected()
        asked.answers.append(request.disconnected)

    async def watching(request: Request, call_next: CallNext) -> Response:
        async with anyio.create_task_group() as group:
            group.start_soon(waits, request)
            return await call_next(request)
        raise AssertionError("the group was cancelled")

    async def endpoint(request: Request) -> Response:
        await waits(request)
        return PlainTextResponse("done")

    app = hesper(endpoint, watching, watching)
    async with ScriptedServer(app, dialect).get().open() as client:
        await client.wait_receiving()
        client.leave()
        assert_quiet(await client.finish())
    assert asked.answers == [True] * 3


# "`await request.is_disconnected()` is true within one poll"


def asking_once_left(asked: Asked, gate: Gate) -> Endpoint:
    """Asks while the client is there, and once when it has left."""

    async def endpoint(request: Request) -> Response:
        asked.answers.append(await request.is_disconnected())
        await gate.wait()
        asked.answers.append(await request.is_disconnected())
        return PlainTextResponse("done")

    return endpoint


async def play(app: ASGIApp, gate: Gate, dialect: Dialect) -> None:
    async with ScriptedServer(app, dialect).get().open() as client:
        await gate.reached.wait()
        client.leave()
        gate.open.set()
        result = await client.finish()
    assert_quiet(result)
    assert not result.server_cancelled


@depths
@over("functions", [False, True])
async def test_e05_is_disconnected_is_true_within_one_poll(
    functions: bool, depth: int, dialect: Dialect
) -> None:
    """`await request.is_disconnected()` is true within one poll, behind any middleware."""
    asked, gate = Asked(), Gate()
    endpoint = asking_once_left(asked, gate)
    await play(hesper(endpoint, *[pass_on] * depth, functions=functions), gate, dialect)
    assert asked.answers == [False, True]


@depths
async def test_e05_is_disconnected_is_true_within_one_poll_if_nothing_was_asked_before(
    depth: int, dialect: Dialect
) -> None:
    """`await request.is_disconnected()` is true within one poll."""
    asked, gate = Asked(), Gate()

    async def endpoint(request: Request) -> Response:
        await gate.wait()
        asked.answers.append(await request.is_disconnected())
        return PlainTextResponse("done")

    await play(hesper(endpoint, *[pass_on] * depth), gate, dialect)
    assert asked.answers == [True]


@depths
async def test_e05_is_disconnected_is_true_in_every_dispatch(depth: int, dialect: Dialect) -> None:
    """`await request.is_disconnected()` is true within one poll, behind any middleware."""
    asked, gate = Asked(), Gate()

    async def asks(request: Request, call_next: CallNext) -> Response:
        asked.answers.append(await request.is_disconnected())
        response = await call_next(request)
        asked.answers.append(await request.is_disconnected())
        return response

    app = hesper(asking_once_left(asked, gate), *[asks] * depth)
    await play(app, gate, dialect)
    assert asked.answers == [False] * (depth + 1) + [True] * (depth + 1)


@depths
async def test_e05_is_disconnected_stays_true(depth: int, dialect: Dialect) -> None:
    """`await request.is_disconnected()` is true: each time."""
    asked = Asked()

    async def endpoint(request: Request) -> Response:
        await request.wait_disconnected()
        for _ in range(3):
            asked.answers.append(await request.is_disconnected())
            asked.answers.append(await Request(request.scope, request.receive).is_disconnected())
        return PlainTextResponse("done")

    app = hesper(endpoint, *[pass_on] * depth)
    result = await ScriptedServer(app, dialect).get().leave_after(0.001).run()
    assert_quiet(result)
    assert asked.answers == [True] * 6


@depths
async def test_e05_is_disconnected_is_true_while_a_stream_is_sent(
    depth: int, dialect: Dialect
) -> None:
    """`await request.is_disconnected()` is true within one poll: in a generator that looks before
    each item, as users of Starlette do."""
    asked = Asked()

    async def endpoint(request: Request) -> Response:
        async def stream() -> Any:
            while True:
                left = await request.is_disconnected()
                asked.answers.append(left)
                if left:
                    break
                yield b"x"

        return StreamingResponse(stream())

    app = hesper(endpoint, *[pass_on] * depth)
    async with ScriptedServer(app, dialect).get().open() as client:
        await client.wait_message(4)
        client.leave()
        result = await client.finish()
    assert_quiet(result)
    assert asked.answers[:3] == [False] * 3
    assert result.sends_after_leave <= 2


# "also when the client was gone on arrival"


@depths
@over("body", [[], [b"one"], BODY])
async def test_e05_is_disconnected_is_true_also_when_the_client_was_gone_on_arrival(
    body: list[bytes | float], depth: int, dialect: Dialect
) -> None:
    """True within one poll, also when the client was gone on arrival."""
    asked = Asked()

    async def endpoint(request: Request) -> Response:
        asked.answers.append(await request.is_disconnected())
        return PlainTextResponse("done")

    app = hesper(endpoint, *[pass_on] * depth)
    result = await ScriptedServer(app, dialect).post(body=body).leave_at_message(0).run()
    assert_quiet(result)
    assert asked.answers == [True]


# "or the server's `receive` suspends first"


@over("seed", range(4))
async def test_e05_is_disconnected_is_true_also_when_receive_suspends_or_not_as_it_likes(
    seed: int, dialect: Dialect
) -> None:
    """True within one poll, also when the server's `receive` suspends first."""
    asked, gate = Asked(), Gate()
    app = hesper(asking_once_left(asked, gate), pass_on)
    async with ScriptedServer(app, dialect, seed=seed).get().open() as client:
        await gate.reached.wait()
        client.leave()
        gate.open.set()
        assert_quiet(await client.finish())
    assert asked.answers == [False, True]


# "behind any middleware"


class Wrapping:
    """A pure ASGI middleware whose `receive` goes through a function of its own."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def own(*args: Any) -> Message:
            await anyio.lowlevel.checkpoint()
            return await receive()

        await self.app(scope, own, send)


class Queueing:
    """A pure ASGI middleware that receives in a task and hands on through a stream."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sender, receiver = anyio.create_memory_object_stream[Message](10)

        async def pump() -> None:
            while True:
                message = await receive()
                await sender.send(message)
                if message["type"] == "http.disconnect":
                    return

        with sender, receiver:
            async with anyio.create_task_group() as group:
                group.start_soon(pump)
                await self.app(scope, receiver.receive, send)
                group.cancel_scope.cancel()


async def starlette_pass_on(request: Any, call_next: Any) -> Any:
    return await call_next(request)


FOREIGN: dict[str, Middleware] = {
    "wrapping": Middleware(Wrapping),
    "queueing": Middleware(Queueing),
    "starlette": Middleware(StarletteBaseHTTPMiddleware, dispatch=starlette_pass_on),
}


@over("foreign", FOREIGN)
@over("times", [1, 2])
async def test_e05_is_disconnected_is_true_behind_any_middleware_in_the_stack(
    foreign: str, times: int, dialect: Dialect
) -> None:
    """True within one poll, behind any middleware."""
    asked, gate = Asked(), Gate()
    ours = Middleware(BaseHTTPMiddleware, dispatch=pass_on)
    app = Hesper(
        routes=[Route("/", asking_once_left(asked, gate))],
        middleware=[ours, *[FOREIGN[foreign]] * times, ours],
    )
    await play(app, gate, dialect)
    assert asked.answers == [False, True]


@over("times", [1, 2])
async def test_e05_is_disconnected_is_true_inside_of_a_starlette_app(
    times: int, dialect: Dialect
) -> None:
    """True within one poll, behind any middleware."""
    asked, gate = Asked(), Gate()
    inner = hesper(asking_once_left(asked, gate), pass_on)
    app = Starlette(
        routes=[StarletteMount("/", app=inner)],
        middleware=[StarletteMiddleware(StarletteBaseHTTPMiddleware, dispatch=starlette_pass_on)]
        * times,
    )
    # Starlette sends to a client that it knows has left, which hangs on HTTP/2 of some.
    dialect = dialect.but(send_after_leave="silent")
    async with ScriptedServer(app, dialect).get().open() as client:
        await gate.reached.wait()
        client.leave()
        gate.open.set()
        await client.finish()
    assert asked.answers == [False, True]


# "and never swallows body or events"


@depths
@over("body", [[b"one"], BODY])
@over("where", ["dispatch", "endpoint", "both"])
async def test_e05_is_disconnected_never_swallows_the_body(
    where: str, body: list[bytes | float], depth: int, dialect: Dialect
) -> None:
    """And never swallows body."""
    asked = Asked()

    async def asks(request: Request, call_next: CallNext) -> Response:
        if where != "endpoint":
            asked.answers.append(await request.is_disconnected())
        return await call_next(request)

    async def endpoint(request: Request) -> Response:
        if where != "dispatch":
            asked.answers.append(await request.is_disconnected())
        asked.body = await request.body()
        asked.answers.append(await request.is_disconnected())
        return PlainTextResponse("done")

    app = hesper(endpoint, *[asks] * depth)
    result = await ScriptedServer(app, dialect).post(body=body).run()
    assert_quiet(result)
    assert result.complete
    assert asked.body == b"".join(part for part in body if isinstance(part, bytes))
    assert not any(asked.answers)


@depths
async def test_e05_is_disconnected_never_swallows_a_stream(depth: int, dialect: Dialect) -> None:
    """And never swallows body: asked between the chunks of a slow upload."""
    asked = Asked()

    async def endpoint(request: Request) -> Response:
        async for chunk in request.stream():
            asked.answers.append(await request.is_disconnected())
            asked.body += chunk
        return PlainTextResponse("done")

    app = hesper(endpoint, *[pass_on] * depth)
    body: list[bytes | float] = [b"one", 0.001, b"two", 0.001, b"three"]
    result = await ScriptedServer(app, dialect).post(body=body).run()
    assert_quiet(result)
    assert result.complete
    assert asked.body == b"onetwothree"
    assert not any(asked.answers)


@depths
async def test_e05_is_disconnected_never_swallows_the_body_of_a_foreign_app(
    depth: int, dialect: Dialect
) -> None:
    """And never swallows body."""
    asked = Asked()

    async def asks(request: Request, call_next: CallNext) -> Response:
        asked.answers.append(await request.is_disconnected())
        return await call_next(request)

    async def raw(scope: Scope, receive: Receive, send: Send) -> None:
        more = True
        while more:
            message = await receive()
            asked.body += message["body"]
            more = message["more_body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    app = nest(raw, *[asks] * (depth + 1))
    result = await ScriptedServer(app, dialect).post(body=BODY).run()
    assert_quiet(result)
    assert asked.body == b"onetwothree"


@depths
async def test_e05_is_disconnected_never_swallows_the_event(depth: int, dialect: Dialect) -> None:
    """And never swallows events: who listens hears of the disconnect all the same."""
    asked, gate = Asked(), Gate()

    async def endpoint(request: Request) -> Response:
        await gate.wait()
        asked.answers.append(await request.is_disconnected())
        with anyio.fail_after(1):
            await listen(request.receive)
            await request.wait_disconnected()
        asked.answers.append(await request.is_disconnected())
        return PlainTextResponse("done")

    app = hesper(endpoint, *[pass_on] * depth)
    await play(app, gate, dialect)
    assert asked.answers == [True, True]


@depths
async def test_e05_a_poll_in_a_cancelled_scope_swallows_nothing(
    depth: int, dialect: Dialect
) -> None:
    """And never swallows body or events: a poll that is cancelled does neither."""
    asked = Asked()

    async def endpoint(request: Request) -> Response:
        calls: list[Callable[[], Any]] = [
            request.is_disconnected,
            request.wait_disconnected,
            request.body,
        ]
        for call in calls:
            with anyio.CancelScope() as scope:
                scope.cancel()
                await call()
        asked.body = await request.body()
        return PlainTextResponse("done")

    app = hesper(endpoint, *[pass_on] * depth)
    body: list[bytes | float] = [b"one", 0.001, b"two"]
    result = await ScriptedServer(app, dialect).post(body=body).run()
    assert_quiet(result)
    assert asked.body == b"onetwo"
