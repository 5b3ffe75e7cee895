"""E7: a body's `finally` may await, within a grace time.

A cancel reaches the body once; then it has five seconds. Timeouts of its own are its own affair.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from hesper._asgi import bodies as rim
from hesper.requests import Request
from hesper.responses import Response, StreamingResponse
from hesper.testing import Dialect, ScriptedServer
from hesper.types import ASGIApp

from .apps import (
    CallNext,
    Dispatch,
    assert_quiet,
    ends_cleanly,
    hesper,
    over,
    pass_on,
    settle,
)
from .bodies import (
    Body,
    Witness,
    clean,
    cleaning_for_ever,
    current_asyncio_task,
    idle_then_cleaning,
    swallowing,
    swallowing_then_waiting,
    ticking_then_cleaning,
)

depths = over("depth", [0, 4])
natures = over("native", [False, True])


@pytest.fixture
def grace(real_time: bool, monkeypatch: pytest.MonkeyPatch) -> float:
    """The grace time in seconds; a short one where time is real."""
    if real_time:
        monkeypatch.setattr(rim, "GRACE", 0.05)
    return rim.GRACE


def streaming(body: Body, witness: Witness, *dispatches: Dispatch) -> ASGIApp:
    async def endpoint(request: Request) -> Response:
        return StreamingResponse(body(witness))

    return witness.watching(hesper(endpoint, *dispatches))


# "Its `finally` may await"


@depths
@over("stalls", [False, True])
@over("body", [idle_then_cleaning, ticking_then_cleaning])
async def test_e07_a_finally_that_awaits_completes_when_the_client_leaves(
    body: Body, stalls: bool, depth: int, dialect: Dialect
) -> None:
    """Its `finally` may await: while the body waits, and while it is suspended at its `yield`."""
    witness = Witness()
    script = ScriptedServer(streaming(body, witness, *[pass_on] * depth), dialect).get()
    script = script.stall_at_message(2) if stalls else script
    async with script.open() as client:
        await client.wait_message(2)
        await settle()
        client.leave()
        result = await client.finish()
    assert_quiet(result)
    assert not result.server_cancelled
    assert witness.cleaned_up == 1
    assert witness.cancels <= 1
    witness.assert_closed_once()


@natures
@depths
@over("stalls", [False, True])
@over("body", [idle_then_cleaning, ticking_then_cleaning])
async def test_e07_a_finally_that_awaits_completes_when_the_app_is_cancelled(
    body: Body, stalls: bool, depth: int, native: bool
) -> None:
    """Its `finally` may await."""
    witness = Witness()
    script = ScriptedServer(streaming(body, witness, *[pass_on] * depth)).get()
    script = script.stall_at_message(2) if stalls else script
    async with script.open() as client:
        await client.wait_message(2)
        await settle()
        client.cancel_app(native=native)
        result = await client.finish()
    assert result.ended == "cancelled"
    assert not ends_cleanly(result)
    assert witness.cleaned_up == 1
    assert witness.cancels <= 1
    witness.assert_closed_once()


async def test_e07_a_finally_that_awaits_completes_in_each_of_several_wrappers(
    dialect: Dialect,
) -> None:
    """Its `finally` may await: that of the body and of each wrapper."""
    witness = Witness()

    async def wrap(request: Request, call_next: CallNext) -> Response:
        response = await call_next(request)
        inside = response.body_iterator

        async def wrapper() -> AsyncIterator[Any]:
            try:
                async for chunk in inside:
                    yield chunk
            finally:
                await clean(witness, 0.001)

        response.body_iterator = wrapper()
        return response

    app = streaming(idle_then_cleaning, witness, wrap, wrap)
    async with ScriptedServer(app, dialect).get().open() as client:
        await client.wait_message(2)
        await settle()
        client.leave()
        assert_quiet(await client.finish())
    assert witness.cleaned_up == 3
    witness.assert_closed_once()


async def test_e07_a_client_that_leaves_while_the_server_cancels_disturbs_no_finally(
    dialect: Dialect,
) -> None:
    """Its `finally` may await: whatever comes first."""
    for native in (False, True):
        witness = Witness()
        app = streaming(idle_then_cleaning, witness, pass_on)
        async with ScriptedServer(app, dialect.but(cancels_app=None)).get().open() as client:
            await client.wait_message(2)
            await settle()
            client.leave()
            client.cancel_app(native=native)
            await client.finish()
        assert witness.cleaned_up == 1
        witness.assert_closed_once()


# "within a grace time"


@depths
@over("body", [cleaning_for_ever, swallowing_then_waiting])
async def test_e07_a_finally_that_is_too_slow_is_cut_at_the_end_of_the_grace_time(
    body: Body, depth: int, grace: float, caplog: pytest.LogCaptureFixture, dialect: Dialect
) -> None:
    """Within a grace time: after it the body is cut, with a warning."""
    caplog.clear()
    witness = Witness()
    app = streaming(body, witness, *[pass_on] * depth)
    async with ScriptedServer(app, dialect.but(cancels_app=None)).get().open() as client:
        await client.wait_message(2)
        await settle()
        left = anyio.current_time()
        client.leave()
        result = await client.finish()
    assert_quiet(result)
    assert grace * 0.9 <= anyio.current_time() - left < grace + 1
    assert witness.cleaned_up == 0
    witness.assert_closed_once()
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len([record for record in warnings if record.name.startswith("hesper")]) == 1


@natures
@over("body", [cleaning_for_ever, swallowing_then_waiting])
async def test_e07_a_finally_that_is_too_slow_does_not_hold_up_a_cancellation_for_ever(
    body: Body, native: bool, grace: float
) -> None:
    """Within a grace time."""
    witness = Witness()
    app = streaming(body, witness, pass_on)
    async with ScriptedServer(app).get().open() as client:
        await client.wait_message(2)
        await settle()
        started = anyio.current_time()
        client.cancel_app(native=native)
        result = await client.finish()
    assert result.ended == "cancelled"
    assert grace * 0.9 <= anyio.current_time() - started < grace + 1
    witness.assert_closed_once()


# A body that swallows the cancel.


@natures
@depths
async def test_e07_a_body_that_swallows_a_real_cancel_does_not_go_on(
    depth: int, native: bool
) -> None:
    """A body iterator is closed exactly once; the cancellation goes on without it."""
    witness = Witness()
    app = streaming(swallowing, witness, *[pass_on] * depth)
    async with ScriptedServer(app).get().open() as client:
        await client.wait_message(2)
        await settle()
        client.cancel_app(native=native)
        result = await client.finish()
    assert result.ended == "cancelled"
    assert not ends_cleanly(result)
    assert witness.cancels == 1
    assert witness.items <= 2
    witness.assert_closed_once()


async def ending_when_cancelled(witness: Witness) -> AsyncIterator[bytes]:
    """Makes a regular end of the cancel."""
    witness.begin()
    try:
        yield b"x"
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            witness.cancelled()
    finally:
        witness.close()


@natures
async def test_e07_a_body_that_ends_when_it_is_cancelled_is_not_taken_for_whole(
    native: bool,
) -> None:
    """A body that makes a regular end of a real cancel has been cut all the same."""
    witness = Witness()
    app = streaming(ending_when_cancelled, witness, pass_on)
    async with ScriptedServer(app).get().open() as client:
        await client.wait_message(2)
        await settle()
        client.cancel_app(native=native)
        result = await client.finish()
    assert result.ended == "cancelled"
    assert not ends_cleanly(result)
    witness.assert_closed_once()


# Timeouts of the body's own.


async def heartbeats(witness: Witness) -> AsyncIterator[bytes]:
    """Waits for news with a timeout that always expires, and gives a sign of life."""
    witness.begin()
    try:
        while True:
            try:
                with anyio.move_on_after(0.01):
                    await anyio.sleep_forever()
            except anyio.get_cancelled_exc_class():
                witness.cancelled()
                raise
            witness.item()
            yield b"beat"
    finally:
        await clean(witness, 0.001)
        witness.close()


async def heartbeats_by_error(witness: Witness) -> AsyncIterator[bytes]:
    """The same with an exception, as `asyncio.timeout` or `fail_after` has it."""
    witness.begin()
    try:
        while True:
            try:
                if current_asyncio_task():
                    await asyncio.wait_for(asyncio.Event().wait(), 0.01)
                else:
                    with anyio.fail_after(0.01):
                        await anyio.sleep_forever()
            except TimeoutError:
                pass
            except anyio.get_cancelled_exc_class():
                witness.cancelled()
                raise
            witness.item()
            yield b"beat"
    finally:
        await clean(witness, 0.001)
        witness.close()


async def heartbeats_by_timeout(witness: Witness) -> AsyncIterator[bytes]:
    """The same with `asyncio.timeout`, around each wait."""
    witness.begin()
    try:
        while True:
            try:
                if current_asyncio_task():
                    async with asyncio.timeout(0.01):
                        await anyio.sleep_forever()
                else:
                    with anyio.fail_after(0.01):
                        await anyio.sleep_forever()
            except TimeoutError:
                pass
            except anyio.get_cancelled_exc_class():
                witness.cancelled()
                raise
            witness.item()
            yield b"beat"
    finally:
        await clean(witness, 0.001)
        witness.close()


async def heartbeats_by_task_group(witness: Witness) -> AsyncIterator[bytes]:
    """The same with a task group whose scope is cancelled by a child."""
    witness.begin()
    try:
        while True:
            try:
                async with anyio.create_task_group() as group:

                    async def stop(scope: anyio.CancelScope) -> None:
                        await anyio.sleep(0.01)
                        scope.cancel()

                    group.start_soon(stop, group.cancel_scope)
                    await anyio.sleep_forever()
            except anyio.get_cancelled_exc_class():
                witness.cancelled()
                raise
            witness.item()
            yield b"beat"
    finally:
        await clean(witness, 0.001)
        witness.close()


BEATING: list[Body] = [
    heartbeats,
    heartbeats_by_error,
    heartbeats_by_timeout,
    heartbeats_by_task_group,
]


@over("depth", [0, 1])
@over("body", BEATING)
async def test_e07_a_timeout_of_the_bodys_own_does_not_disturb_it(
    body: Body, depth: int, real_time: bool, dialect: Dialect
) -> None:
    """A cancel that belongs to a scope of the body's own is no ending: heartbeats go on, and the
    client's leaving is delivered once, later."""
    witness = Witness()
    trio = current_asyncio_task() is None
    app = streaming(body, witness, *[pass_on] * depth)
    async with ScriptedServer(app, dialect).get().open() as client:
        started = anyio.current_time()
        await client.wait_message(5)
        assert 0.03 < anyio.current_time() - started < 2
        await anyio.sleep(0.005)
        assert witness.cancels == 0
        client.leave()
        result = await client.finish()
    assert_quiet(result)
    assert not result.server_cancelled
    # On trio a task group that is in the way takes the cancel for its own.
    # Where time is real, the client may leave in the middle of a send.
    assert witness.cancels == 1 or real_time or (trio and body is heartbeats_by_task_group)
    assert witness.cleaned_up == 1
    witness.assert_closed_once()


async def slow_after_a_timeout(witness: Witness) -> AsyncIterator[bytes]:
    """Has a timeout that expires, and works for longer than the grace time afterwards."""
    witness.begin()
    try:
        with anyio.move_on_after(0.01):
            await anyio.sleep_forever()
        await anyio.sleep(rim.GRACE * 3)
        witness.item()
        yield b"late"
        with anyio.move_on_after(0.01):
            await anyio.sleep_forever()
        witness.item()
        yield b"later"
    finally:
        witness.close()


@over("depth", [0, 1])
async def test_e07_a_timeout_of_the_bodys_own_starts_no_grace_time(
    depth: int, grace: float, dialect: Dialect
) -> None:
    """A cancel that belongs to a scope of the body's own is no ending: it may work on for longer
    than the grace time."""
    witness = Witness()
    app = streaming(slow_after_a_timeout, witness, *[pass_on] * depth)
    result = await ScriptedServer(app, dialect).get().run()
    assert_quiet(result)
    assert result.body == b"latelater"
    assert result.complete
    witness.assert_closed_once()


async def expiring_as_the_client_leaves(witness: Witness) -> AsyncIterator[bytes]:
    """Has a timeout that expires just when the test's client leaves."""
    witness.begin()
    try:
        yield b"x"
        with anyio.move_on_after(0.02):
            await anyio.sleep_forever()
        while True:
            await anyio.sleep(0.001)
            witness.item()
            yield b"x"
    finally:
        await clean(witness, 0.001)
        witness.close()


async def test_e07_a_timeout_of_the_bodys_own_may_expire_as_the_client_leaves(
    dialect: Dialect,
) -> None:
    """Its `finally` may await: also if the body's own timeout expired at the same moment."""
    witness = Witness()
    app = streaming(expiring_as_the_client_leaves, witness, pass_on)
    result = await ScriptedServer(app, dialect).get().leave_after(0.02).run()
    assert_quiet(result)
    assert not result.server_cancelled
    assert witness.cleaned_up == 1
    witness.assert_closed_once()
