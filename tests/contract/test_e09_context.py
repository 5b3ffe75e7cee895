"""E9: context variables flow both ways between middleware and endpoint, from thread endpoints too;
the endpoint, its body and its background work share one context, so a token set in one can be reset
in the other."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar, Token
from typing import Any

import anyio
import pytest
import starlette.applications
import starlette.responses
import starlette.routing

from hesper.applications import Hesper
from hesper.background import BackgroundTask
from hesper.middleware import Middleware
from hesper.requests import Request
from hesper.responses import PlainTextResponse, Response, StreamingResponse
from hesper.routing import Route
from hesper.testing import Dialect, ScriptedServer
from hesper.types import ASGIApp, Receive, Scope, Send
from tests.contract.apps import (
    CallNext,
    Dispatch,
    PassOn,
    assert_quiet,
    hesper,
    mounted,
    nest,
    over,
    pass_on,
    send_body,
    send_start,
    settle,
)

up: ContextVar[str] = ContextVar("up", default="nothing")
down: ContextVar[str] = ContextVar("down", default="nothing")


@pytest.fixture(autouse=True)
def clean_context() -> None:
    up.set("nothing")
    down.set("nothing")


# Endpoints that look at `down` and set `up`, in every place where an endpoint may live.

Seen = dict[str, str]


def in_task(seen: Seen, depth: int) -> ASGIApp:
    async def endpoint(request: Request) -> Response:
        seen["endpoint"] = down.get()
        await anyio.lowlevel.checkpoint()
        up.set("set below")
        return PlainTextResponse("whole")

    return hesper(endpoint, *[pass_on] * depth)


def in_thread(seen: Seen, depth: int) -> ASGIApp:
    def endpoint(request: Request) -> Response:
        seen["endpoint"] = down.get()
        up.set("set below")
        return PlainTextResponse("whole")

    return hesper(endpoint, *[pass_on] * depth, functions=True)


def in_foreign_app(seen: Seen, depth: int) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen["endpoint"] = down.get()
        await anyio.lowlevel.checkpoint()
        up.set("set below")
        await send_start(send)
        await send_body(send, b"whole")

    return nest(app, *[pass_on] * depth)


def in_mounted_app(seen: Seen, depth: int) -> ASGIApp:
    return mounted(in_foreign_app(seen, 0), *[pass_on] * depth)


def in_starlette(seen: Seen, depth: int) -> ASGIApp:
    async def endpoint(request: Any) -> Any:
        seen["endpoint"] = down.get()
        up.set("set below")
        return starlette.responses.PlainTextResponse("whole")

    app = starlette.applications.Starlette(routes=[starlette.routing.Route("/", endpoint)])
    return nest(app, *[pass_on] * depth)


def behind_foreign_middleware(seen: Seen, depth: int) -> ASGIApp:
    async def endpoint(request: Request) -> Response:
        seen["endpoint"] = down.get()
        up.set("set below")
        return PlainTextResponse("whole")

    return Hesper(
        routes=[Route("/", endpoint)],
        middleware=[*[pass_on] * depth, Middleware(PassOn), pass_on, Middleware(PassOn)],
    )


every_place = over(
    "place",
    [
        in_task,
        in_thread,
        in_foreign_app,
        in_mounted_app,
        in_starlette,
        behind_foreign_middleware,
    ],
)
every_depth = over("depth", [0, 1, 4])

Place = Callable[[Seen, int], ASGIApp]


@every_place
@every_depth
async def test_e09_what_a_middleware_sets_is_seen_in_the_endpoint_and_the_reverse(
    dialect: Dialect, place: Place, depth: int
) -> None:
    """Context variables flow both ways between middleware and endpoint, from thread endpoints
    too."""
    seen: Seen = {}

    async def dispatch(request: Request, call_next: CallNext) -> Response:
        down.set("set above")
        response = await call_next(request)
        seen["dispatch"] = up.get()
        return response

    app = nest(place(seen, depth), dispatch)
    assert_quiet(await ScriptedServer(app, dialect).get().run())
    assert seen == {"endpoint": "set above", "dispatch": "set below"}


@every_place
async def test_e09_a_foreign_middleware_above_sees_what_is_set_below(place: Place) -> None:
    """Context variables flow both ways: a pure ASGI reader above call_next sees what a setter below
    it set (Starlette #2943)."""
    seen: Seen = {}

    async def reader(scope: Scope, receive: Receive, send: Send) -> None:
        down.set("set above")
        await app(scope, receive, send)
        seen["reader"] = up.get()

    for depth in (0, 1, 4):
        app = place(seen, depth)
        if place is in_foreign_app and depth == 0:
            continue  # nothing of ours is in between
        up.set("nothing")
        assert_quiet(await ScriptedServer(reader).get().run())
        assert seen == {"endpoint": "set above", "reader": "set below"}


@every_place
async def test_e09_a_token_of_a_middleware_is_reset_after_call_next(place: Place) -> None:
    """Context variables flow both ways: a middleware stays in its own context."""
    seen: Seen = {}

    async def dispatch(request: Request, call_next: CallNext) -> Response:
        token = down.set("set above")
        other = up.set("set above")
        response = await call_next(request)
        seen["before"] = up.get()
        up.reset(other)
        down.reset(token)
        seen["after"] = up.get() + ", " + down.get()
        return response

    app = nest(place(seen, 1), dispatch)
    assert_quiet(await ScriptedServer(app).get().run())
    assert seen["before"] == "set below"
    assert seen["after"] == "nothing, nothing"


async def test_e09_each_middleware_sees_what_the_ones_below_it_set(dialect: Dialect) -> None:
    """Context variables flow both ways between middlewares as well, foreign ones in between."""
    seen: list[str] = []

    def layer(name: str) -> Dispatch:
        async def dispatch(request: Request, call_next: CallNext) -> Response:
            down.set(down.get() + name)
            response = await call_next(request)
            seen.append(up.get())
            up.set(up.get() + name)
            return response

        return dispatch

    async def endpoint(request: Request) -> Response:
        up.set(down.get())
        return PlainTextResponse("whole")

    down.set("")
    app = nest(PassOn(nest(hesper(endpoint, layer("c")), layer("b"))), layer("a"))
    assert_quiet(await ScriptedServer(app, dialect).get().run())
    assert seen == ["abc", "abcc", "abccb"]


@over("depth", [0, 1, 4])
async def test_e09_endpoint_body_and_background_work_share_one_context(
    dialect: Dialect, depth: int
) -> None:
    """The endpoint, its body and its background work share one context, so a token set in one can
    be reset in the other."""
    seen: list[str] = []
    tokens: dict[str, Token[str]] = {}

    async def body() -> AsyncIterator[str]:
        up.reset(tokens["endpoint"])
        seen.append(up.get())
        tokens["body"] = up.set("body")
        yield "whole"
        seen.append(up.get())

    async def work() -> None:
        seen.append(up.get())
        up.reset(tokens["body"])
        seen.append(up.get())

    async def endpoint(request: Request) -> Response:
        tokens["endpoint"] = up.set("endpoint")
        return StreamingResponse(body(), background=BackgroundTask(work))

    app = hesper(endpoint, *[pass_on] * depth)
    assert_quiet(await ScriptedServer(app, dialect).get().run())
    assert seen == ["nothing", "body", "body", "nothing"]


@over("depth", [0, 1, 4])
@over("ending", ["leave", "cancel", "native cancel"])
async def test_e09_a_token_is_reset_in_the_bodys_finally_however_it_ends(
    dialect: Dialect, depth: int, ending: str
) -> None:
    """The endpoint, its body and its background work share one context: also when the client leaves
    or the server cancels."""
    seen: list[str] = []

    async def endpoint(request: Request) -> Response:
        token = up.set("endpoint")

        async def body() -> AsyncIterator[str]:
            try:
                yield "first"
                await anyio.sleep_forever()
            finally:
                await anyio.lowlevel.checkpoint()
                up.reset(token)

        async def work() -> None:
            seen.append(up.get())

        return StreamingResponse(body(), background=BackgroundTask(work))

    app = hesper(endpoint, *[pass_on] * depth)
    async with ScriptedServer(app, dialect).get().open() as client:
        await client.wait_message(2)
        await settle()
        if ending == "leave":
            client.leave()
        else:
            client.cancel_app(native=ending == "native cancel")
        result = await client.finish()
    assert seen == ["nothing"]
    assert result.raised is None


async def test_e09_a_body_that_a_middleware_wraps_shares_the_context_too(dialect: Dialect) -> None:
    """The endpoint, its body and its background work share one context, with what wraps the
    body."""
    seen: list[str] = []

    async def dispatch(request: Request, call_next: CallNext) -> Response:
        response = await call_next(request)
        inner = response.body_iterator

        async def wrapper() -> AsyncIterator[str]:
            async for chunk in inner:
                seen.append(up.get())
                yield chunk

        response.body_iterator = wrapper()
        return response

    async def body() -> AsyncIterator[str]:
        for part in ("a", "b"):
            up.set(part)
            yield part

    async def endpoint(request: Request) -> Response:
        return StreamingResponse(body())

    app = hesper(endpoint, dispatch)
    assert_quiet(await ScriptedServer(app, dialect).get().run())
    assert seen == ["a", "b"]


async def test_e09_a_sync_generator_and_sync_background_work_share_the_context(
    dialect: Dialect,
) -> None:
    """... from threads too."""
    seen: list[str] = []

    def body() -> Iterator[str]:
        seen.append(up.get())
        up.set("body")
        yield "a"
        seen.append(up.get())
        up.set("end of body")
        yield "b"

    def work() -> None:
        seen.append(up.get())

    def endpoint(request: Request) -> Response:
        up.set("endpoint")
        return StreamingResponse(body(), background=BackgroundTask(work))

    app = hesper(endpoint, pass_on)
    assert_quiet(await ScriptedServer(app, dialect).get().run())
    assert seen == ["endpoint", "body", "end of body"]


async def test_e09_what_a_foreign_app_leaves_alone_is_left_alone() -> None:
    """Through the bridge only what changed is set: a token of a variable that the app only read is
    still good, and its value is that of the middleware."""
    seen: list[str] = []

    async def dispatch(request: Request, call_next: CallNext) -> Response:
        token = down.set("set above")
        response = await call_next(request)
        seen.append(down.get())
        down.reset(token)
        return response

    app = nest(in_foreign_app({}, 0), dispatch)
    assert_quiet(await ScriptedServer(app).get().run())
    assert seen == ["set above"]


@over("depth", [1, 4])
async def test_e09_what_a_foreign_app_sets_before_it_fails_is_seen(depth: int) -> None:
    """Context variables flow both ways: an error takes them along."""
    seen: list[str] = []

    async def dispatch(request: Request, call_next: CallNext) -> Response:
        try:
            return await call_next(request)
        except ValueError:
            seen.append(up.get())
            return PlainTextResponse("mended")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        up.set("set below")
        raise ValueError

    def in_a_thread(request: Request) -> Response:
        up.set("set below")
        raise ValueError

    layers = [dispatch, *[pass_on] * depth]
    for outer in (nest(app, *layers), hesper(in_a_thread, *layers)):
        up.set("nothing")
        result = await ScriptedServer(outer).get().run()
        assert result.body == b"mended"
    assert seen == ["set below", "set below"]
