"""E4: after a disconnect, every layer's `receive()` gives `http.disconnect`.

At once and for ever, even where the server says it once. After the response has ended too.
"""

from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.background import BackgroundTask as StarletteBackgroundTask
from starlette.requests import Request as StarletteRequest
from starlette.responses import PlainTextResponse as StarlettePlain
from starlette.responses import Response as StarletteResponse
from starlette.routing import Route as StarletteRoute

from hesper.applications import Hesper
from hesper.background import BackgroundTask
from hesper.middleware import Middleware
from hesper.middleware.base import BaseHTTPMiddleware
from hesper.requests import Request
from hesper.responses import PlainTextResponse, Response
from hesper.routing import Mount, Route
from hesper.testing import Dialect, ScriptedServer
from hesper.types import ASGIApp, Receive, Scope, Send

from .apps import (
    METHODS,
    CallNext,
    assert_quiet,
    hesper,
    listen,
    nest,
    over,
    pass_on,
    send_body,
    send_start,
)

depths = over("depth", [0, 1, 4])

TIMES = 5


class Ear:
    """Receives until the client has left, then some more times, and notes how long that took."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.waited = 0.0

    async def hear(self, receive: Receive) -> None:
        await listen(receive)
        await self.again(receive)

    async def again(self, receive: Receive) -> None:
        started = anyio.current_time()
        with anyio.move_on_after(1):
            for _ in range(TIMES):
                message = await receive()
                self.heard.append(message["type"])
        self.waited = max(self.waited, anyio.current_time() - started)

    def check(self, calls: int = 1) -> None:
        assert self.heard == ["http.disconnect"] * TIMES * calls
        assert self.waited < 0.5


async def play(app: ASGIApp, dialect: Dialect) -> None:
    """Lets a client leave while the app listens."""
    async with ScriptedServer(app, dialect).get().open() as client:
        await client.wait_receiving()
        client.leave()
        result = await client.finish()
    assert_quiet(result)
    assert not result.server_cancelled


@depths
async def test_e04_the_endpoints_receive_gives_the_disconnect_for_ever(
    depth: int, dialect: Dialect
) -> None:
    """After a disconnect, every layer's `receive()` gives `http.disconnect` at once and for ever,
    even where the server says it once."""
    ear = Ear()

    async def endpoint(request: Request) -> Response:
        await ear.hear(request.receive)
        await ear.again(request.receive)
        return PlainTextResponse("done")

    await play(hesper(endpoint, *[pass_on] * depth), dialect)
    ear.check(2)


@over("functions", [False, True])
async def test_e04_every_dispatchs_receive_gives_the_disconnect_for_ever(
    functions: bool, dialect: Dialect
) -> None:
    """After a disconnect, every layer's `receive()` gives `http.disconnect` at once and for ever,
    even where the server says it once."""
    before, after = Ear(), Ear()

    async def listening(request: Request, call_next: CallNext) -> Response:
        await before.hear(request.receive)
        response = await call_next(request)
        await after.hear(request.receive)
        return response

    async def endpoint(request: Request) -> Response:
        return PlainTextResponse("done")

    await play(hesper(endpoint, *[listening] * 4, functions=functions), dialect)
    before.check(4)
    after.check(4)


@depths
async def test_e04_a_foreign_apps_receive_gives_the_disconnect_for_ever(
    depth: int, dialect: Dialect
) -> None:
    """After a disconnect, every layer's `receive()` gives `http.disconnect` at once and for ever,
    even where the server says it once."""
    ear = Ear()

    async def raw(scope: Scope, receive: Receive, send: Send) -> None:
        await ear.hear(receive)
        await send_start(send)
        await send_body(send)

    inner = Hesper(routes=[Mount("/", app=raw)]) if depth == 0 else raw
    await play(nest(inner, *[pass_on] * depth), dialect)
    ear.check()


@depths
async def test_e04_a_starlette_apps_receive_gives_the_disconnect_for_ever(
    depth: int, dialect: Dialect
) -> None:
    """After a disconnect, every layer's `receive()` gives `http.disconnect` at once and for ever,
    even where the server says it once."""
    ear = Ear()

    async def endpoint(request: StarletteRequest) -> StarletteResponse:
        await ear.hear(request.receive)
        return StarlettePlain("done")

    app = Starlette(routes=[StarletteRoute("/", endpoint)])
    inner: Any = Hesper(routes=[Mount("/", app=app)]) if depth == 0 else app
    await play(nest(inner, *[pass_on] * depth), dialect)
    ear.check()


async def test_e04_a_pure_middlewares_receive_gives_the_disconnect_for_ever(
    dialect: Dialect,
) -> None:
    """After a disconnect, every layer's `receive()` gives `http.disconnect` at once and for ever,
    even where the server says it once."""
    outer, inner = Ear(), Ear()

    class Listening:
        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await outer.hear(receive)
            await self.app(scope, receive, send)

    async def endpoint(request: Request) -> Response:
        await inner.hear(request.receive)
        return PlainTextResponse("done")

    ours = Middleware(BaseHTTPMiddleware, dispatch=pass_on)
    app = Hesper(
        routes=[Route("/", endpoint, methods=METHODS)],
        middleware=[ours, Middleware(Listening), ours],
    )
    await play(app, dialect)
    outer.check()
    inner.check()


@depths
async def test_e04_receive_gives_the_disconnect_to_all_who_wait_at_the_same_time(
    depth: int, dialect: Dialect
) -> None:
    """After a disconnect, every layer's `receive()` gives `http.disconnect` at once."""
    ears = [Ear() for _ in range(3)]

    async def endpoint(request: Request) -> Response:
        async with anyio.create_task_group() as group:
            for ear in ears:
                group.start_soon(ear.hear, request.receive)
        return PlainTextResponse("done")

    await play(hesper(endpoint, *[pass_on] * depth), dialect)
    for ear in ears:
        ear.check()


@depths
@over("reads", [False, True])
async def test_e04_a_loop_over_request_receive_ends_at_the_disconnect(
    reads: bool, depth: int, dialect: Dialect
) -> None:
    """After a disconnect, every layer's `receive()` gives `http.disconnect` (vllm #11190: a task
    that listens for it next to the work)."""
    ear = Ear()

    async def endpoint(request: Request) -> Response:
        if reads:
            await request.body()
        while (await request.receive())["type"] != "http.disconnect":
            pass
        await ear.again(lambda: request.receive())
        return PlainTextResponse("done")

    await play(hesper(endpoint, *[pass_on] * depth), dialect)
    ear.check()


# "After the response has ended too."


@over("leaves", [False, True])
@depths
async def test_e04_receive_gives_the_disconnect_after_the_response_has_ended(
    depth: int, leaves: bool, dialect: Dialect
) -> None:
    """After the response has ended too."""
    ear = Ear()

    async def endpoint(request: Request) -> Response:
        return PlainTextResponse("done", background=BackgroundTask(ear.hear, request.receive))

    script = ScriptedServer(hesper(endpoint, *[pass_on] * depth), dialect).get()
    result = await (script.leave_at_message(2) if leaves else script).run()
    assert_quiet(result)
    assert not result.server_cancelled
    assert result.complete
    ear.check()


@depths
async def test_e04_a_foreign_apps_receive_gives_the_disconnect_after_the_response_has_ended(
    depth: int, dialect: Dialect
) -> None:
    """After the response has ended too."""
    ear = Ear()

    async def raw(scope: Scope, receive: Receive, send: Send) -> None:
        await send_start(send)
        await send_body(send, b"done")
        await ear.hear(receive)

    inner = Hesper(routes=[Mount("/", app=raw)]) if depth == 0 else raw
    result = await ScriptedServer(nest(inner, *[pass_on] * depth), dialect).get().run()
    assert_quiet(result)
    assert not result.server_cancelled
    assert result.complete
    ear.check()


@depths
async def test_e04_starlettes_background_task_gets_the_disconnect_after_the_response_has_ended(
    depth: int, dialect: Dialect
) -> None:
    """After the response has ended too."""
    ear = Ear()

    async def endpoint(request: StarletteRequest) -> StarletteResponse:
        task = StarletteBackgroundTask(ear.hear, request.receive)
        return StarlettePlain("done", background=task)

    app = Starlette(routes=[StarletteRoute("/", endpoint)])
    inner: Any = Hesper(routes=[Mount("/", app=app)]) if depth == 0 else app
    result = await ScriptedServer(nest(inner, *[pass_on] * depth), dialect).get().run()
    assert_quiet(result)
    assert not result.server_cancelled
    assert result.complete
    ear.check()
