"""Policies at work: a handler that is cancelled with its client, reaches its end in any case, or is
held to a time.

The rules:

1. What counts stands in the scope, where the places that a request passes leave it, the innermost
   last; the endpoint runs under it. So a middleware sees what it would see of any endpoint:
   ``ClientDisconnect`` if the handler was cancelled with its client, ``HandlerTimeout``.
2. ``"cancel"``, and a time limit: the handler is cancelled once, at its current wait or at the next
   one, and then may await for ``cancel_grace`` seconds. A response that it gives all the same counts,
   and after a time limit has as long again to become whole.
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

from hesper._asgi.exchange import KEY, Exchange, Receiver
from hesper._asgi.http import Handler
from hesper._asgi.incoming import Incoming
from hesper._asgi.responding import Answer, hand_over, inherit, respond, say_unavailable
from hesper._asgi.socket_incoming import SocketIncoming
from hesper._asgi.terms import Terms
from hesper._concurrency import (
    Grace,
    Interrupted,
    cancelled_type,
    interruptible,
    leashed,
    leashed_from,
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
    # What the client wrote is escaped: a record of the log stays one line.
    method = ascii(scope.get("method", "WEBSOCKET"))[1:-1]
    return f"{method} {scope['path']!r} ({name})"


class Foreign:
    """A foreign ASGI app as the answer to one request: the app, and the scope to give it."""

    __slots__ = ("app", "scope")

    def __init__(self, app: ASGIApp, scope: Scope) -> None:
        self.app = app
        self.scope = scope

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        if POLICY in self.scope:
            await govern_app(self.app, self.scope, receive, send)
        else:
            await self.app(self.scope, receive, send)

    def __repr__(self) -> str:
        return repr(self.app)


# -- limits ----------------------------------------------------------------------------------------


def limited(
    work: Callable[[], Awaitable[T]],
    terms: Terms,
    client: Callable[[], Incoming | SocketIncoming],
    scope: Scope,
) -> Callable[[], Awaitable[T]]:
    """``work``, cancelled when its client leaves, if the policy says so, and at the deadline of
    ``terms``, if it has one."""
    policy: Policy = scope[POLICY]
    cancels = policy.on_disconnect == "cancel"
    if terms.deadline is not None:
        gone = client() if cancels else None
        return partial(_run_until, terms.deadline, work, terms, gone, policy, scope)
    return partial(cancel_with_client, work, client(), policy, scope) if cancels else work


async def cancel_with_client(
    work: Callable[[], Awaitable[T]],
    client: Incoming | SocketIncoming,
    policy: Policy,
    scope: Scope,
) -> T:
    """Run ``work``; cancel it when the client leaves (rule 2).

    Raises:
        ClientDisconnect: it was cancelled.
    """
    seconds = CANCEL_GRACE if policy.cancel_grace is None else policy.cancel_grace
    try:
        return await leashed(work, seconds, client)
    except Interrupted as interrupted:
        raise _left(interrupted, scope, seconds) from None


def _left(interrupted: Interrupted, scope: Scope, seconds: float) -> ClientDisconnect:
    if interrupted.exceeded:
        _warn_abandoned(scope, seconds)
    return ClientDisconnect("before there was a response")


def _warn_abandoned(scope: Scope, seconds: float) -> None:
    logger.warning(
        "%s was abandoned: its cleanup took longer than %g seconds after it was cancelled.",
        name_of(scope),
        seconds,
    )


async def _run_until(
    deadline: float,
    work: Callable[[], Awaitable[T]],
    terms: Terms,
    client: Incoming | SocketIncoming | None,
    policy: Policy,
    scope: Scope,
) -> T:
    """As ``cancel_with_client``, and cancel it at the deadline too.

    Raises:
        ClientDisconnect: it was cancelled because the client left.
        HandlerTimeout: it was cancelled at the deadline.
    """
    seconds = CANCEL_GRACE if policy.cancel_grace is None else policy.cancel_grace
    with anyio.CancelScope(deadline=deadline) as limit, interruptible() as stretch:
        grace = Grace(stretch, seconds)
        if client is not None:
            client.add_stretch(stretch)
            if client.disconnected:
                stretch.interrupt()
        try:
            with grace:
                result = await grace.run(work())
            if limit.cancel_called:
                terms.deadline = anyio.current_time() + seconds
            return result
        finally:
            if client is not None:
                client.remove_stretch(stretch)
            if grace.exceeded:
                _warn_abandoned(scope, seconds)
    if limit.cancelled_caught:
        raise terms.time_out("its handler did not answer in time.")
    raise ClientDisconnect("before there was a response")


# -- requests --------------------------------------------------------------------------------------


async def govern(handler: Handler, request: Any) -> Any:
    """Run the handler of an endpoint under the policy of its scope.

    Raises:
        ClientDisconnect: the policy is "cancel", and the client has left.
        HandlerTimeout: it took longer than the policy's ``timeout``.
        BaseException: what the handler raised, and what cancelled the request.
    """
    scope = request.scope
    policy: Policy = scope[POLICY]
    if policy.on_disconnect == "cancel" and policy.timeout is None:
        answer = await _cancel(handler, request, policy)
    else:
        answer = await _on_terms(handler, request, policy)
    if callable(answer) and not isinstance(answer, (Answer, Foreign)):
        return Foreign(answer, scope)  # what it does is under the policy too
    return answer


async def _cancel(handler: Handler, request: Any, policy: Policy) -> Any:
    if running_loop() is None:
        work = partial(handler, request)
        return await cancel_with_client(work, request._exchange.incoming, policy, request.scope)
    # A handler that answers without waiting cannot be cancelled, and pays for none of it.
    steps: Any = handler(request).__await__()
    try:
        trap = next(steps)
    except StopIteration as done:
        return done.value
    seconds = CANCEL_GRACE if policy.cancel_grace is None else policy.cancel_grace
    try:
        return await leashed_from(steps, trap, seconds, request._exchange.incoming)
    except Interrupted as interrupted:
        raise _left(interrupted, request.scope, seconds) from None


async def _on_terms(handler: Handler, request: Any, policy: Policy) -> Any:
    scope = request.scope
    exchange: Exchange = request._exchange
    terms = exchange.terms = Terms()
    if policy.timeout is not None:
        terms.deadline = anyio.current_time() + policy.timeout
    work = limited(partial(handler, request), terms, lambda: exchange.incoming, scope)
    if policy.on_disconnect == "finish":
        terms.supervisor = supervisor_of(scope)
        return await _finish(work, terms, exchange, scope)
    return await work()


async def _finish(
    work: Callable[[], Awaitable[Any]],
    terms: Terms,
    exchange: Exchange,
    scope: Scope,
    *,
    sends: bool = False,
) -> Any:
    """Run ``work`` to its end, whatever becomes of the request (rule 3).

    Args:
        sends: whether it sends its answer itself, and gives none.
    """
    answers: list[Any] = []
    ended = False

    async def run() -> None:
        nonlocal ended
        try:
            answers.append(await work())
            if terms.heirs and not sends:
                await _conclude_alone(answers[0], exchange, scope)
        finally:
            ended = True
            await inherit(terms, exchange)

    async def conclude() -> None:
        try:
            await _conclude_alone(answers[0], exchange, scope)
        finally:
            await inherit(terms, exchange)

    assert isinstance(terms.supervisor, Supervisor)
    try:
        await terms.supervisor.finish(run, name_of(scope))
    except cancelled_type():
        if not ended:
            terms.heirs += 1
            await say_unavailable(exchange)
            exchange.incoming.lost()
        elif answers and not sends:
            # The answer came with the cancellation: it is not lost, nor is what it leaves to do.
            hand_over(terms, exchange)
            terms.supervisor.start_soon(conclude, name=name_of(scope))
        raise
    return answers[0]


async def _conclude_alone(answer: Any, exchange: Exchange, scope: Scope) -> None:
    """What an answer that nobody waits for still does: its body, its background work."""
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
    terms.timed_out = False
    if policy.timeout is not None and terms.deadline is None:
        terms.deadline = anyio.current_time() + policy.timeout
    work = limited(partial(app, scope, receive, send), terms, lambda: exchange.incoming, scope)
    if policy.on_disconnect == "finish":
        terms.supervisor = supervisor_of(scope)
        await _finish(work, terms, exchange, scope, sends=True)
        return
    try:
        await work()
    except ClientDisconnect:
        if policy.on_disconnect != "cancel" or not exchange.disconnected:
            raise


# -- sockets ---------------------------------------------------------------------------------------


async def govern_socket(
    handler: Callable[[WebSocket], Awaitable[None]],
    websocket: WebSocket,
    seconds: float | None = None,
) -> None:
    """Run the handler of a WebSocket under the policy of its scope.

    Args:
        seconds: how long it may take; then the socket is closed with 1001.

    Raises:
        WebSocketDisconnect: the policy is "cancel", and the client has left.
        BaseException: what the handler raised, and what cancelled it.
    """
    policy: Policy = websocket.scope[POLICY]
    exchange = websocket._exchange
    terms = Terms()
    if seconds is not None:
        terms.deadline = anyio.current_time() + seconds
    work = limited(partial(handler, websocket), terms, lambda: exchange, websocket.scope)
    try:
        if policy.on_disconnect == "finish":
            await _finish_socket(work, websocket)
        else:
            await work()
    except HandlerTimeout:
        if not terms.timed_out:
            raise
        exchange.timed_out = True
        await exchange.close_if_open(1001)
    except ClientDisconnect as exc:
        if isinstance(exc, WebSocketDisconnect) or not exchange.disconnected:
            raise
        gone = exchange.disconnect
        raise WebSocketDisconnect(gone["code"], gone["reason"]) from None


async def _finish_socket(work: Callable[[], Awaitable[None]], websocket: WebSocket) -> None:
    try:
        await supervisor_of(websocket.scope).finish(work, name_of(websocket.scope))
    except cancelled_type():
        await websocket._exchange.leave_cut()
        websocket._exchange.lost()
        raise
