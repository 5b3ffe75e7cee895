"""E11: nothing outlives its request unless it was asked to: no task, no generator, no pending
``receive``."""

import asyncio
import gc
import sys
import weakref
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from types import AsyncGeneratorType
from typing import Any

import anyio
import pytest

from hesper.requests import Request
from hesper.responses import PlainTextResponse, Response, StreamingResponse
from hesper.testing import Dialect, Result, Script, ScriptedServer
from hesper.types import ASGIApp, Receive, Scope, Send
from tests.conftest import where
from tests.contract.apps import (
    CallNext,
    hesper,
    mounted,
    nest,
    over,
    pass_on,
    send_body,
    send_start,
    settle,
)


def living() -> set[Any]:
    """The tasks that there are, without the server's; on trio those that no task owns."""
    try:
        tasks = asyncio.all_tasks()
        return {task for task in tasks if not task.get_name().startswith("hesper.testing")}
    except RuntimeError:
        import trio

        root = trio.lowlevel.current_root_task()
        assert root is not None
        return {task for nursery in root.child_nurseries for task in nursery.child_tasks}


class Census:
    """Counts the tasks at the moment when the app is called, and at the one when it ends."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.before: set[Any] = set()
        self.after: set[Any] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.before = living()
        try:
            await self.app(scope, receive, send)
        finally:
            self.after = living()

    @property
    def left(self) -> set[Any]:
        """The tasks that were there besides, when the app ended."""
        return self.after - self.before


@pytest.fixture
def generators() -> Iterator[list[weakref.ref[AsyncGeneratorType[Any, Any]]]]:
    """Every async generator that is begun."""
    hooks = sys.get_asyncgen_hooks()
    begun: list[weakref.ref[AsyncGeneratorType[Any, Any]]] = []
    yield begun
    sys.set_asyncgen_hooks(*hooks)


def watch_generators(begun: list[weakref.ref[AsyncGeneratorType[Any, Any]]]) -> None:
    hooks = sys.get_asyncgen_hooks()

    def first(generator: Any) -> None:
        begun.append(weakref.ref(generator))
        if hooks.firstiter is not None:
            hooks.firstiter(generator)

    sys.set_asyncgen_hooks(first, hooks.finalizer)


# What an endpoint may be doing when the end comes; in Hesper, and as a foreign app.


async def native(request: Request) -> Response:
    what = request.url.path.removeprefix("/")
    if what == "upload":
        return PlainTextResponse(await request.body())
    if what == "polls":
        await request.is_disconnected()
    elif what == "waits":
        await request.wait_disconnected()
    elif what == "hangs":
        await anyio.sleep_forever()
    elif what == "fails":
        await anyio.lowlevel.checkpoint()
        raise ValueError
    elif what.endswith("stream"):
        return StreamingResponse(parts(what))
    return PlainTextResponse("whole")


async def parts(what: str) -> AsyncGenerator[str]:
    yield "first"
    await anyio.lowlevel.checkpoint()
    if what == "failing-stream":
        raise ValueError
    if what == "idle-stream":
        await anyio.sleep_forever()
    yield "last"


async def foreign(scope: Scope, receive: Receive, send: Send) -> None:
    what = scope["path"].removeprefix("/")
    if what in ("upload", "polls"):
        await receive()
    elif what == "waits":
        while (await receive())["type"] != "http.disconnect":
            pass
    elif what == "hangs":
        await anyio.sleep_forever()
    elif what == "fails":
        await anyio.lowlevel.checkpoint()
        raise ValueError
    await send_start(send)
    if what.endswith("stream"):
        async with aclosing(parts(what)) as stream:
            async for part in stream:
                await send_body(send, part.encode(), more=True)
    await send_body(send)


async def drops(request: Request, call_next: CallNext) -> Response:
    """A middleware that looks at the first chunk and gives another response."""
    response = await call_next(request)
    async for _ in response.body_iterator:
        break
    return PlainTextResponse("another")


async def fails_later(request: Request, call_next: CallNext) -> Response:
    """A middleware that fails when it has the response."""
    await call_next(request)
    raise KeyError("later")


async def twice(request: Request, call_next: CallNext) -> Response:
    """A middleware that asks again."""
    await call_next(request)
    return await call_next(request)


def hesper_app(*dispatches: Any) -> ASGIApp:
    from hesper.applications import Hesper
    from hesper.routing import Route

    return Hesper(
        routes=[Route("/{what}", native, methods=["GET", "POST"])], middleware=list(dispatches)
    )


async def check(script: Script, census: Census, ending: str) -> Result:
    """Plays a script to one of its endings, and looks at what is left."""
    if ending == "leaves":
        result = await script.leave_after(0.001).run()
    elif ending == "is gone":
        result = await script.leave_at_message(0).run()
    elif ending == "leaves in the response":
        result = await script.leave_at_message(2).run()
    elif ending.startswith("cancel"):
        async with script.open() as client:
            await settle()
            client.cancel_app(native=ending == "cancel natively")
            result = await client.finish()
    else:
        result = await script.run()
    assert result.pending_receives == 0, result.log
    assert not result.receive_cancelled, result.log
    if result.ended != "not called":
        assert not census.left, result.log
    return result


CASES = [
    ("plain", "stays"),
    ("plain", "is gone"),
    ("polls", "stays"),
    ("waits", "leaves"),
    ("waits", "cancel"),
    ("hangs", "cancel"),
    ("hangs", "cancel natively"),
    ("fails", "stays"),
    ("fails", "is gone"),
    ("upload", "stays"),
    ("stream", "stays"),
    ("stream", "leaves in the response"),
    ("failing-stream", "stays"),
    ("idle-stream", "leaves in the response"),
    ("idle-stream", "cancel"),
    ("idle-stream", "cancel natively"),
]


@over("case", CASES)
async def test_e11_nothing_outlives_its_request(
    dialect: Dialect,
    case: tuple[str, str],
    generators: list[weakref.ref[AsyncGeneratorType[Any, Any]]],
) -> None:
    """Nothing outlives its request unless it was asked to: no task, no generator, no pending
    ``receive``."""
    what, ending = case
    watch_generators(generators)
    alone = mounted(foreign)
    for app in (
        hesper_app(),
        hesper_app(*[pass_on] * 4),
        nest(foreign, pass_on, pass_on),
        alone,
    ):
        if app is alone and (what, ending) == ("idle-stream", "leaves in the response"):
            continue  # it is told by nobody, and does not ask: so it is without us
        census = Census(app)
        await check(ScriptedServer(census, dialect).get(f"/{what}"), census, ending)
        opened = [ref() for ref in generators]
        assert [each for each in opened if each is not None and each.ag_frame is not None] == []


@over("dispatch", [drops, fails_later, twice])
@over("what", ["plain", "stream", "idle-stream", "waits-not"])
async def test_e11_nothing_of_a_dropped_response_outlives_its_request(
    dialect: Dialect,
    what: str,
    dispatch: Any,
    generators: list[weakref.ref[AsyncGeneratorType[Any, Any]]],
) -> None:
    """Nothing outlives its request: neither the body nor the app whose response was dropped."""
    watch_generators(generators)
    for app in (hesper_app(dispatch), nest(foreign, pass_on, dispatch)):
        census = Census(app)
        ending = "leaves in the response" if dispatch is twice else "stays"
        await check(ScriptedServer(census, dialect).get(f"/{what}"), census, ending)
        opened = [ref() for ref in generators]
        assert [each for each in opened if each is not None and each.ag_frame is not None] == []


@where(lambda params: not params["dialect"].buffers_request)  # else the whole body is there
async def test_e11_an_upload_that_nobody_reads_leaves_nothing(dialect: Dialect) -> None:
    """Nothing outlives its request: no pending ``receive``, although half of the body is still to
    come."""
    for app in (hesper_app(), nest(foreign, pass_on)):
        census = Census(app)
        script = ScriptedServer(census, dialect).post("/plain", body=[b"a"] * 20, unfinished=True)
        result = await check(script, census, "stays")
        assert (result.status, result.complete) == (200, True)


async def test_e11_the_request_itself_is_freed_without_the_collector() -> None:
    """Nothing outlives its request: not even its own objects, until the collector comes."""
    requests: list[weakref.ref[Any]] = []

    async def endpoint(request: Request) -> Response:
        requests.append(weakref.ref(request))
        await request.body()
        await request.is_disconnected()
        return StreamingResponse(parts("stream"))

    gc.disable()
    try:
        for app in (hesper(endpoint), hesper(endpoint, pass_on)):
            await ScriptedServer(app).get().run()
            assert requests.pop()() is None
    finally:
        gc.enable()
