"""An answer becomes messages, and what belongs to it comes to its end.

The rules:

1. The response first; then what produced its body ends; then background work runs, whatever became
   of the response (E8), in the context of the endpoint.
2. A response that broke off still has both, if its start message was sent.
3. Under a supervisor (the policy ``"finish"``) all of this outlives a request that the server
   cancels: what it would send is dropped.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from functools import partial
from logging import getLogger
from typing import Any, ClassVar

import anyio

from hesper._asgi.bodies import GRACE, Body, close_unused, deliver
from hesper._asgi.exchange import Exchange, Receiver
from hesper._asgi.foreign import Sender
from hesper._asgi.incoming import Incoming
from hesper._asgi.sending import Sending, send_untouched
from hesper._asgi.states import IDLE
from hesper._asgi.terms import Terms
from hesper._concurrency import cancelled_type, outlast, running_loop
from hesper.exceptions import ClientDisconnect, HandlerTimeout, UsageError
from hesper.types import ASGIApp, Message, Scope

logger = getLogger("hesper")

SHUT_DOWN_TIMEOUT = 1.0
"""Seconds that the 503 of a request which a shutdown has cancelled may take to be sent."""


class Answer:
    """What the rim knows of a response. ``hesper.responses.Response`` is the one that users see."""

    status_code: int
    raw_headers: list[tuple[bytes, bytes]]
    body: bytes | memoryview
    background: Callable[[], Awaitable[None]] | None
    _body: Body | None = None
    """The body that is produced step by step; None if ``body`` is all of it."""
    _deferred: bool = False
    """Whether ``_resolve`` has something to do."""
    _plain: bool = True
    """Whether ``body`` is all there is to send: no ``_body``, and nothing deferred."""

    _shielded: ClassVar[bool] = True
    """Whether a cancellation waits for ``_resolve``; not if it may wait for long."""

    async def _resolve(self, scope: Scope) -> None:
        """Look at the request, and at the disk, and settle status, headers and body, once."""

    def _start_message(self) -> Message:
        return {
            "type": "http.response.start",
            "status": self.status_code,
            "headers": self.raw_headers,
        }


async def respond_on(
    terms: Terms, exchange: Exchange, answer: Answer | ASGIApp, scope: Scope
) -> None:
    """``respond``, on the terms of a policy: under a supervisor, if there is one (rule 3)."""
    if terms.supervisor is None:
        await respond(exchange, answer, scope)
        return
    ended = False

    async def work() -> None:
        nonlocal ended
        try:
            await respond(exchange, answer, scope)
        finally:
            ended = True
            await inherit(terms, exchange)

    try:
        await terms.supervisor.finish(work, f"the response to {scope['method']} {scope['path']}")
    except cancelled_type():
        if not ended:
            # One of them is being produced, and it may be around others.
            terms.bodies, exchange.bodies = exchange.bodies, ()
            hand_over(terms, exchange)
        raise


def hand_over(terms: Terms, exchange: Exchange) -> None:
    """The request is cancelled while its work goes on: from here on nobody is there for that."""
    terms.heirs += 1
    exchange.incoming.lost()


async def inherit(terms: Terms, exchange: Exchange) -> None:
    """The work has come to its end; if the request did not wait for it, close what that had open."""
    bodies, terms.bodies = terms.bodies, ()
    try:
        await close_unused(bodies)
    finally:
        if terms.heirs:
            terms.heirs -= 1
            # If the request itself has not come to its end yet, that closes it.
            if not terms.heirs and exchange.owner and exchange.incoming.closed:
                await close_what_was_opened(exchange.incoming)


async def say_unavailable(exchange: Exchange) -> None:
    """Answer a request that a shutdown has cancelled, if it has no response and its client is there
    (RFC 9110 section 15.6.4)."""
    if not exchange.cut or exchange.state is not IDLE or exchange.disconnected:
        return
    text = b"Service Unavailable"
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"%d" % len(text)),
        (b"retry-after", b"1"),
        (b"connection", b"close"),
    ]
    with anyio.move_on_after(SHUT_DOWN_TIMEOUT, shield=True):
        try:
            await exchange.send({"type": "http.response.start", "status": 503, "headers": headers})
            await exchange.send({"type": "http.response.body", "body": text})
        except ClientDisconnect:
            pass


async def respond(held: Any, answer: Answer | ASGIApp, scope: Scope) -> None:
    """Send an answer, then run what comes after it.

    Args:
        held: a ``Holder``. It has an exchange afterwards, unless none was needed.

    Raises:
        BaseException: as ``conduct``; when it does, the body is closed and background work has run.
    """
    exchange: Exchange
    if not isinstance(answer, Answer):
        exchange = held._exchange
        await _run_foreign(exchange, answer, scope)
        if exchange.background:
            await outlast(partial(_run_background, exchange), GRACE, late=False)
        return
    try:
        if answer._deferred:
            await answer._resolve(scope)
        body = answer._body
        shared: Exchange | None = held._shared
        terms = None if shared is None else shared.terms
        if terms is not None and terms.deadline is not None:
            await _send_in_time(terms, terms.deadline, held._exchange, answer)
        elif body is None:
            await _send_plain(held._exchange, answer)
        else:
            await body.send(held, answer._start_message())
            if body.over and answer.background is None and _drop(held, body):
                return
    except BaseException as exc:
        exchange = held._exchange
        if not (isinstance(exc, ClientDisconnect) and exchange.disconnected):
            await _after_failure(exchange, answer, exc, concluded=False)
            raise
    exchange = held._exchange
    if answer.background is not None or answer._body is not None or exchange.background:
        try:
            await _conclude(exchange, answer)
        except BaseException as exc:
            await _after_failure(exchange, answer, exc, concluded=True)
            raise
        await _run_after(exchange, answer, late=False)


def _drop(held: Any, body: Body) -> bool:
    """Whether nothing is left to do for a request whose response was ``body``, of which nobody has
    to think any more."""
    exchange: Exchange | None = held._shared
    if exchange is None:  # then nobody has handed on another body
        held._bodies = ()
        return True
    if not exchange.untouched:
        return False
    exchange.bodies = tuple(other for other in exchange.bodies if other is not body)
    return True


async def _send_plain(exchange: Exchange, answer: Answer) -> None:
    last: Message = {"type": "http.response.body", "body": answer.body}
    fresh = exchange.state is IDLE and exchange.untouched and not exchange.disconnected
    if fresh and running_loop() is not None:
        await send_untouched(exchange, answer._start_message(), last)
        return
    if exchange.finishing:
        # Not the request's own task, which is what ``Sending`` interrupts.
        exchange.begin()
        exchange.incoming.unwanted = True
        await deliver(exchange, answer._start_message())
        await deliver(exchange, last)
        return
    with Sending(exchange):
        exchange.begin()
        exchange.incoming.unwanted = True
        await exchange.send(answer._start_message())
        await exchange.send(last)


async def _send_in_time(terms: Terms, deadline: float, exchange: Exchange, answer: Answer) -> None:
    with anyio.CancelScope(deadline=deadline) as limit:
        if answer._body is None:
            await _send_plain(exchange, answer)
        else:
            await answer._body.send(exchange, answer._start_message())
    if limit.cancelled_caught:
        raise terms.time_out("it was not whole in time.")


async def _run_foreign(exchange: Exchange, app: ASGIApp, scope: Scope) -> None:
    check_answer(app, scope)
    await app(scope, Receiver(exchange), Sender(exchange, scope))


def check_answer(answer: object, scope: Scope) -> None:
    """Raise UsageError unless ``answer`` can be the answer to the request of ``scope``."""
    if not callable(answer):
        endpoint = scope.get("endpoint")
        name = getattr(endpoint, "__qualname__", None) or repr(endpoint)
        raise UsageError(
            f"No response returned: expected a Response (or an ASGI app) for {scope['method']} "
            f"{scope['path']!r} from the endpoint {name}, or from a middleware around it, got "
            f"{answer!r:.80}. Add a `return` with a response."
        )


async def _conclude(exchange: Exchange, answer: Answer) -> None:
    """The response has ended, whole or not: wait for what belongs to it."""
    exchange.end()
    body = answer._body
    if body is not None:
        if exchange.bodies == (body,):
            exchange.bodies = ()
        elif exchange.bodies:
            exchange.bodies = tuple(other for other in exchange.bodies if other is not body)
            await close_dropped(exchange)
        await body.finish()
    incoming = exchange._incoming
    if exchange.owner and incoming is not None and incoming.pump is not None:
        await incoming.close()


async def _run_after(exchange: Exchange, answer: Answer, *, late: bool) -> None:
    if answer.background is not None:
        exchange.background += (answer.background,)
    if exchange.background:
        await outlast(partial(_run_background, exchange), GRACE, late=late)


async def _run_background(exchange: Exchange) -> None:
    """Run all background work, the endpoint's first; then raise the first error."""
    work, exchange.background = exchange.background, ()
    failure: Exception | None = None
    for each in work:
        try:
            await each()
        except Exception as exc:
            if failure is None:
                failure = exc
            else:
                logger.error("A background task failed.", exc_info=exc)
    try:
        if failure is not None:
            raise failure
    finally:
        failure = None  # its traceback holds this frame


async def _after_failure(
    exchange: Exchange, answer: Answer, exc: BaseException, *, concluded: bool
) -> None:
    """What a response that broke off still needs; ``exc``, which broke it, is raised afterwards."""
    if exchange.state is IDLE or not isinstance(exc, (Exception, cancelled_type())):
        return
    late = not isinstance(exc, Exception)
    try:
        if not concluded:
            with anyio.move_on_after(GRACE, shield=True) if late else nullcontext():
                await _conclude(exchange, answer)
        await _run_after(exchange, answer, late=late)
    except HandlerTimeout:
        pass  # of a foreign app, which has the same deadline as its response
    except Exception as later:
        logger.error("Background work of a broken response failed.", exc_info=later)


async def close_dropped(exchange: Exchange) -> None:
    bodies, exchange.bodies = exchange.bodies, ()
    await close_unused(bodies)


async def close_what_was_opened(incoming: Incoming) -> None:
    """The request is over: files are closed, counts are brought down. Each once."""
    closers, incoming.at_end = incoming.at_end, ()
    if not closers:
        return
    cancelled: BaseException | None = None
    try:
        with anyio.move_on_after(GRACE, shield=True):
            for close in closers:
                try:
                    await close()
                except Exception as exc:
                    logger.error("Closing what a request had opened failed.", exc_info=exc)
                except BaseException as exc:
                    cancelled = exc  # the others are closed all the same
            if cancelled is not None:
                raise cancelled
    finally:
        cancelled = None  # its traceback holds this frame
