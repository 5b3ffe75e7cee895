"""``ConcurrencyLimitMiddleware``: who has a place, and who gets it next."""

import asyncio
from typing import Any

import anyio
import pytest

from hesper._asgi.incoming import Incoming
from hesper.exceptions import ClientDisconnect
from hesper.middleware import Middleware
from hesper.middleware.body_limit import RequestBodyLimitMiddleware
from hesper.middleware.concurrency import ConcurrencyLimitMiddleware, limits
from hesper.policies import ConcurrencyLimit
from hesper.types import Message, Receive, Scope, Send
from tests.conftest import on_asyncio
from tests.contract.apps import settle


async def app(scope: Scope, receive: Receive, send: Send) -> None: ...


async def receive() -> Message:
    await anyio.sleep_forever()
    raise AssertionError


def made(limit: int, queue: int = 0) -> ConcurrencyLimitMiddleware:
    return ConcurrencyLimitMiddleware(app, ConcurrencyLimit(limit, queue))


def client() -> Incoming:
    return Incoming({"type": "http"}, receive)


def test_limits_stand_outside_of_the_middleware() -> None:
    async def dispatch(request: Any, call_next: Any) -> Any: ...

    assert limits(None, None, None) == []
    outer, inner, last = limits(5, 100, [dispatch])
    assert isinstance(outer, Middleware)
    assert isinstance(inner, Middleware)
    found: list[Any] = [outer.cls, outer.args, inner.cls, last]
    assert found == [
        ConcurrencyLimitMiddleware,
        (ConcurrencyLimit(5),),
        RequestBodyLimitMiddleware,
        dispatch,
    ]


async def test_a_place_is_handed_over_at_once() -> None:
    middleware, first, second = made(1, 1), client(), client()
    await middleware._enter(first)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(middleware._enter, second)
        await settle()
        assert middleware._full
        await middleware._leave(first)
        assert middleware._inside == {second}  # before it knows
        assert not middleware._full  # the queue has room, but no place is free
    await middleware._leave(second)
    assert (middleware._inside, list(middleware._waiting)) == (set(), [])


async def test_who_waits_in_vain_is_out_of_the_queue() -> None:
    middleware, first, second = made(1, 1), client(), client()
    await middleware._enter(first)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(middleware._enter, second)
        await settle()
        tasks.cancel_scope.cancel()
    assert list(middleware._waiting) == []
    assert middleware._inside == {first}


async def test_who_leaves_while_it_waits_hears_of_that() -> None:
    middleware, first, second = made(1, 1), client(), client()
    await middleware._enter(first)
    second.lost()
    with pytest.raises(ClientDisconnect):
        await middleware._enter(second)
    assert list(middleware._waiting) == []


@on_asyncio
async def test_a_turn_that_comes_together_with_a_cancel_goes_on_to_the_next() -> None:
    middleware, first, second, third = made(1, 2), client(), client(), client()
    await middleware._enter(first)
    waiting = asyncio.create_task(middleware._enter(second))
    await settle()
    after = asyncio.create_task(middleware._enter(third))
    await settle()
    await middleware._leave(first)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await after
    assert middleware._inside == {third}


async def test_a_place_that_comes_too_late_goes_on_to_the_next() -> None:
    for turns in range(4):
        middleware, first, second, third = made(1, 2), client(), client(), client()
        await middleware._enter(first)
        outcome: list[str] = []

        async def wait(
            middleware: ConcurrencyLimitMiddleware = middleware,
            second: Incoming = second,
            outcome: list[str] = outcome,
        ) -> None:
            try:
                await middleware._enter(second)
            except ClientDisconnect:
                outcome.append("left")
            else:
                outcome.append("entered")
                await middleware._leave(second)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await settle()
            tasks.start_soon(middleware._enter, third)
            await settle()
            await middleware._leave(first)
            for _ in range(turns):
                await anyio.lowlevel.checkpoint()
            second.lost()
            await settle()
        assert middleware._inside == {third}, turns
        assert outcome in (["left"], ["entered"])
