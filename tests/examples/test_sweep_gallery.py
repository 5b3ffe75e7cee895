"""Each application of the gallery misbehaves as its docstring says, and mended it does not.

By hand, at one point and in one dialect: that the sweep finds the same is another test.
"""

import gc
import importlib
import os
import pkgutil
import sys
import warnings
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import AsyncGeneratorType, ModuleType
from typing import Any

import anyio
import pytest
from examples import sweep

from hesper.testing import Result, Script, ScriptedServer, StillRunning
from hesper.testing.dialects import HYPERCORN, HYPERCORN_H2, SPECIFICATION
from hesper.testing.sweep import CODES
from hesper.types import ASGIApp
from tests.conftest import ExpectedErrors, in_virtual_time, runs_asyncio, where

MODULES: dict[str, ModuleType] = {
    entry.name: importlib.import_module(f"{sweep.__name__}.{entry.name}")
    for entry in pkgutil.iter_modules(sweep.__path__)
}

Misbehaves = Callable[[ASGIApp], Awaitable[bool]]
CHECKS: dict[str, Misbehaves] = {}
"""By the name of the module: whether its bug is in the application."""


def check(misbehaves: Misbehaves) -> Misbehaves:
    """Registers the check of the module it is named after."""
    CHECKS[getattr(misbehaves, "__name__", "")] = misbehaves
    return misbehaves


async def cancelled(script: Script, after: float, *, native: bool = False) -> Result:
    """Plays a request that the server cancels after so many seconds."""
    async with script.open() as client:
        await anyio.sleep(after)
        client.cancel_app(native=native)
        return await client.finish()


async def goes_on(script: Script, seconds: float) -> bool:
    """Whether the application has not ended after so many seconds; then it is cancelled."""
    try:
        await script.run(timeout=seconds)
    except StillRunning:
        return True
    return False


@contextmanager
def generators() -> Iterator[list[AsyncGeneratorType[Any, None]]]:
    """Keeps the async generators that are begun in the block; at its end, those still open."""
    begun: list[Any] = []
    before = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(begun.append, None)
    try:
        yield begun
    finally:
        sys.set_asyncgen_hooks(*before)
    begun[:] = [generator for generator in begun if generator.ag_frame is not None]


@check
async def abandoned_generator(app: ASGIApp) -> bool:
    with generators() as left:
        await cancelled(ScriptedServer(app).get("/users/7"), after=0.5)
    for generator in left:
        await generator.aclose()
    return bool(left)


@check
async def answer_in_the_middle(app: ASGIApp) -> bool:
    result = await ScriptedServer(app, SPECIFICATION).get("/export").leave_at_message(2).run()
    return result.types.count("http.response.start") == 2


@check
async def answered_twice(app: ASGIApp) -> bool:
    result = await ScriptedServer(app).get("/sse/").run()
    assert result.text == "data: 0\n\ndata: 1\n\n"
    return result.types.count("http.response.start") == 2


@check
async def cut_cleanup(app: ASGIApp) -> bool:
    await ScriptedServer(app).get("/events").leave_after(2).run()
    left = len(MODULES["cut_cleanup"].subscriptions)
    MODULES["cut_cleanup"].subscriptions.clear()
    return left == 1


@check
async def deaf_websocket(app: ASGIApp) -> bool:
    script = ScriptedServer(app, HYPERCORN).websocket("/measurements").leave_after(1)
    return await goes_on(script, 10_000)


@check
async def fire_and_forget(app: ASGIApp) -> bool:
    result = await ScriptedServer(app).post("/orders").run()
    assert result.status == 200
    missing = not MODULES["fire_and_forget"].mails
    await anyio.sleep(60)
    MODULES["fire_and_forget"].mails.clear()
    return missing


@check
async def half_as_whole(app: ASGIApp) -> bool:
    result = await cancelled(ScriptedServer(app).get("/backup"), after=1.5)
    assert (result.ended, result.body) == ("cancelled", b"0;")
    return result.complete


@check
async def idle_stream(app: ASGIApp) -> bool:
    return await goes_on(ScriptedServer(app, SPECIFICATION).get("/alerts").leave_after(1), 10_000)


@check
async def left_file(app: ASGIApp) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        upload = ScriptedServer(app).post("/videos", body=[b"a long ", 5, b"video"])
        await upload.leave_after_request(1).run()
        gc.collect()
    folder = MODULES["left_file"].UPLOADS
    left = os.listdir(folder)
    for name in left:
        os.unlink(os.path.join(folder, name))
    return bool(left)


@check
async def left_listener(app: ASGIApp) -> bool:
    result = await ScriptedServer(app).get("/answer").run()
    assert result.text == "42"
    await anyio.sleep(1)  # it is told that the response has ended
    return result.pending_receives == 1


@check
async def logged_leaving(app: ASGIApp) -> bool:
    upload = ScriptedServer(app).post("/photos", body=[b"half", 5, b"and half"])
    result = await upload.leave_after_request(1).run()
    return bool(result.messages[0]["status"] == 500)


@check
async def lost_background(app: ASGIApp) -> bool:
    billed = MODULES["lost_background"].billed
    billed.clear()
    result = await ScriptedServer(app).post("/orders").run()
    assert result.text == "Thank you."
    return not billed


@check
async def lost_connections(app: ASGIApp) -> bool:
    await cancelled(ScriptedServer(app).get("/dashboard"), after=0.5)
    pool = MODULES["lost_connections"].pool
    taken, pool.taken = pool.taken, 0
    return bool(taken == 2)


@check
async def no_response(app: ASGIApp) -> bool:
    result = await ScriptedServer(app).get("/report").leave_after(1).run()
    return "No response returned." in str(result.raised)


@check
async def open_scope(app: ASGIApp) -> bool:
    with generators() as left:
        script = ScriptedServer(app, HYPERCORN_H2).get("/tokens").stall_at_message(3)
        await script.leave_after(1).run()
    for generator in left:
        try:
            await generator.aclose()
        except RuntimeError:
            pass  # "Attempted to exit cancel scope in a different task", as users see it
    return bool(left)


@check
async def swallowed_cancel(app: ASGIApp) -> bool:
    result = await cancelled(ScriptedServer(app).get("/next"), after=5, native=True)
    assert result.duration == (25 if result.ended == "returned" else 5)
    return result.ended == "returned"


def runs_there(params: dict[str, Any]) -> bool:
    """Whether the application runs on that backend."""
    needs_asyncio = getattr(MODULES[params["name"]], "BACKENDS", ()) == ("asyncio",)
    return runs_asyncio(params) or not needs_asyncio


@pytest.mark.parametrize("name", MODULES)
@where(runs_there)
@in_virtual_time
async def test_it_misbehaves_as_it_says(name: str, expected_errors: ExpectedErrors) -> None:
    module = MODULES[name]
    assert await CHECKS[name](module.app)
    assert len(expected_errors.take()) == (module.FINDS == "logged")


@pytest.mark.parametrize("name", MODULES)
@where(runs_there)
@in_virtual_time
async def test_mended_it_does_not(name: str) -> None:
    assert not await CHECKS[name](MODULES[name].mended)


@pytest.mark.parametrize("name", MODULES)
def test_it_says_what_the_sweep_needs(name: str) -> None:
    module = MODULES[name]
    method, path, *_ = module.REQUEST
    assert module.FINDS in CODES
    assert path.startswith("/")
    assert method in {"GET", "POST", "WEBSOCKET"}
    assert f"| `{name}` |" in (sweep.__doc__ or "")
    for part in ("The bug: ", "Reported in: ", "ended"):
        assert part in (module.__doc__ or "")
