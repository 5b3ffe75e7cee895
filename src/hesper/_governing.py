"""Policies at work: a handler that is cancelled with its client, reaches its end in any case, or is
held to a time.

The rules:

1. What counts stands in the scope, where the places that a request passes leave it, the innermost
   last; the endpoint runs under it. So a middleware sees what it would see of any endpoint:
   ``ClientDisconnect`` if the handler was cancelled with its client, ``HandlerTimeout``.
2. ``"cancel"``: the handler is cancelled once, at its current wait or at the next one, and then may
   await for ``cancel_grace`` seconds. A response that it gives all the same counts.
3. ``"finish"``: the handler runs in a task of the app's supervisor, in the context of the request.
   A cancellation of the request goes through at once; the handler goes on, and so do the body and
   the background work of its response, which nobody gets.
4. A time limit runs inside of both, from the first step of the handler to the last byte of the
   response. For a WebSocket only that of its own route counts: it may live for ever.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from logging import getLogger
from typing import Any, TypeVar

import anyio

from hesper._asgi.exchange import KEY, Exchange, Receiver, Terms
from hesper._asgi.http import Handler
from hesper._asgi.incoming import Incoming
from hesper._asgi.responding import Answer, inherit, respond, say_unavailable
from hesper._asgi.socket_incoming import SocketIncoming
from hesper._concurrency import (
    Interrupted,
    Interruptible,
    cancelled_type,
    leashed,
    resumed,
    running_loop,
)
from hesper.exceptions import ClientDisconnect, HandlerTimeout
from hesper.policies import CANCEL_GRACE, Policy
from hesper.supervision import Supervisor
from hesper.types import ASGIApp, Receive, Scope, Send
from hesper.websockets import WebSocket, WebSocketDisconnect

logger = getLogger("hesper")

T = TypeVar("T")

POLICY = "hesper.policy"
"""Where the policy that counts stands in the scope, if there is one."""

_stray = Supervisor()
"""For endpoints that no app is around."""


def set_policy(policy: Policy, scope: Scope) -> None:
    """Enter a place: what it says counts from here on inwards."""
    outer = scope.get(POLICY)
    scope[POLICY] = policy if outer is None else policy.within(outer)


def supervisor_of(scope: Scope) -> Supervisor:
    """The supervisor of the app that a scope is in."""
    found = getattr(scope.get("app"), "supervisor", None)
    return found if isinstance(found, Supervisor) else _stray


def name_of(scope: Scope) -> str:
    """An endpoint's name, for the log."""
    endpoint = scope.get("endpoint")
    name = getattr(endpoint, "__qualname__", None) or type(endpoint).__qualname__
    return f"{scope.get('method', 'WEBSOCKET')} {scope['path']!r} ({name})"


async def govern(handler: Handler, request: Any) -> Any:
    """Run the handler of an endpoint under the policy of its scope.

    Raises:
        ClientDisconnect: the policy is "cancel", and the client has left.
        HandlerTimeout: it took longer than the policy's ``timeout``.
        BaseException: what the handler raised, and what cancelled the request.
    """
    policy: Policy = request.scope[POLICY]
    if policy.on_disconnect == "cancel" and policy.timeout is None:
        return await _cancel(handler, request, policy)
    exchange: Exchange = request._exchange
    work: Callable[[], Awaitable[Any]] = partial(handler, request)
    terms = exchange.terms = Terms()
    if policy.timeout is not None:
        terms.deadline = anyio.current_time() + policy.timeout
        work = partial(in_time, work, terms)
    if policy.on_disconnect == "cancel":
        return await cancel_with_client(work, exchange.incoming, policy, request.scope)
    if policy.on_disconnect == "finish":
        terms.supervisor = supervisor_of(request.scope)
        return await _finish(work, terms, exchange, request.scope)
    return await work()


async def _cancel(handler: Handler, request: Any, policy: Policy) -> Any:
    work: Callable[[], Awaitable[Any]] = partial(handler, request)
    if running_loop() is not None:
        # A handler that answers without waiting cannot be cancelled, and pays for none of it.
        steps = handler(request).__await__()
        try:
            trap = next(steps)
        except StopIteration as done:
            return done.value
        work = partial(resumed, steps, trap)
    return await cancel_with_client(work, request._exchange.incoming, policy, request.scope)


async def in_time(work: Callable[[], Awaitable[T]], terms: Terms) -> T:
    """Run ``work`` until the deadline of ``terms``; then cancel it and raise HandlerTimeout."""
    assert terms.deadline is not None
    with anyio.CancelScope(deadline=terms.deadline) as limit:
        return await work()
    assert limit.cancelled_caught
    terms.timed_out = True
    raise HandlerTimeout("its handler did not answer in time.")


async def cancel_with_client(
    work: Callable[[], Awaitable[T]],
    incoming: Incoming | SocketIncoming,
    policy: Policy,
    scope: Scope,
) -> T:
    """Run ``work``; cancel it when the client leaves (rule 2).

    Raises:
        ClientDisconnect: it was cancelled.
    """
    seconds = CANCEL_GRACE if policy.cancel_grace is None else policy.cancel_grace

    def attach(stretch: Interruptible) -> None:
        incoming.add_stretch(stretch)
        if incoming.disconnected:
            stretch.interrupt()

    try:
        return await leashed(work, seconds, attach, incoming.remove_stretch)
    except Interrupted as interrupted:
        if interrupted.exceeded:
            logger.warning(
                "%s was abandoned: its cleanup took longer than %g seconds after its client had "
                "left.",
                name_of(scope),
                seconds,
            )
    raise ClientDisconnect("before there was a response")


async def _finish(
    work: Callable[[], Awaitable[Any]], terms: Terms, exchange: Exchange, scope: Scope
) -> Any:
    """Run ``work`` to its end, whatever becomes of the request (rule 3)."""
    answers: list[Any] = []
    ended = False

    async def run() -> None:
        nonlocal ended
        try:
            answers.append(await work())
            if terms.heirs:
                await _conclude_alone(answers[0], exchange, scope)
        finally:
            ended = True
            await inherit(terms, exchange)

    assert isinstance(terms.supervisor, Supervisor)
    try:
        await terms.supervisor.finish(run, name_of(scope))
    except cancelled_type():
        if not ended:
            terms.heirs += 1
            await say_unavailable(exchange)
            exchange.incoming.lost()
        elif answers:
            # The answer came with the cancellation: it is not lost, nor is what it leaves to do.
            terms.heirs += 1
            exchange.incoming.lost()
            terms.supervisor.start_soon(_inherit_answer, answers[0], terms, exchange, scope)
        raise
    return answers[0]


async def _inherit_answer(answer: Any, terms: Terms, exchange: Exchange, scope: Scope) -> None:
    try:
        await _conclude_alone(answer, exchange, scope)
    finally:
        await inherit(terms, exchange)


async def _conclude_alone(answer: Any, exchange: Exchange, scope: Scope) -> None:
    """What an answer that nobody waits for still does: its body, its background work."""
    if isinstance(answer, Answer):
        alone = Exchange({**scope, KEY: None}, exchange._receive, exchange._send)
        alone.join(exchange.incoming)
        alone.terms = exchange.terms
        alone._lost = True  # the client may be there yet, and getting a 503
        await respond(alone, answer, scope)


async def govern_app(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Run a foreign ASGI app as the endpoint that it is, under the policy of its scope.

    Raises:
        HandlerTimeout: it took longer than the policy's ``timeout``.
        BaseException: what the app raised, and what cancelled the request. An app that was cancelled
            with its client just ends.
    """
    policy: Policy = scope[POLICY]
    held: Any = receive.exchange if isinstance(receive, Receiver) else scope[KEY]
    exchange: Exchange = held._exchange
    terms = exchange.terms = exchange.terms or Terms()  # a handler that gave the app has some
    work: Callable[[], Awaitable[None]] = partial(app, scope, receive, send)
    if policy.timeout is not None:
        terms.deadline = anyio.current_time() + policy.timeout
        work = partial(in_time, work, terms)
    if policy.on_disconnect == "cancel":
        try:
            await cancel_with_client(work, exchange.incoming, policy, scope)
        except ClientDisconnect:
            if not exchange.disconnected:
                raise
    elif policy.on_disconnect == "finish":
        terms.supervisor = supervisor_of(scope)
        await _finish(work, terms, exchange, scope)
    else:
        await work()


async def close_in_time(
    handler: Callable[[WebSocket], Awaitable[None]], seconds: float, websocket: WebSocket
) -> None:
    """Run the handler of a WebSocket for so long at most; then close the socket with 1001."""
    with anyio.move_on_after(seconds) as limit:
        await handler(websocket)
    if limit.cancelled_caught:
        await websocket._exchange.close_if_open(1001)


async def govern_socket(
    handler: Callable[[WebSocket], Awaitable[None]], websocket: WebSocket
) -> None:
    """Run the handler of a WebSocket under the policy of its scope.

    Raises:
        WebSocketDisconnect: the policy is "cancel", and the client has left.
        BaseException: what the handler raised, and what cancelled it.
    """
    policy: Policy = websocket.scope[POLICY]
    exchange = websocket._exchange
    if policy.on_disconnect == "cancel":
        try:
            await cancel_with_client(partial(handler, websocket), exchange, policy, websocket.scope)
        except ClientDisconnect as exc:
            if isinstance(exc, WebSocketDisconnect) or not exchange.disconnected:
                raise
            gone = exchange.disconnect
            raise WebSocketDisconnect(gone["code"], gone["reason"]) from None
    elif policy.on_disconnect == "finish":
        work = partial(handler, websocket)
        try:
            await supervisor_of(websocket.scope).finish(work, name_of(websocket.scope))
        except cancelled_type():
            await exchange.leave_cut()
            exchange.lost()
            raise
    else:
        await handler(websocket)
