"""HTTP: a handler's answer, a value, becomes messages.

``conduct`` is the whole of a request: the handler, the response, what must be closed, background
work. ``drive`` runs it and tells the exchange whenever it waits; a request that never waits and
never reads pays for two sends and nothing else: no pump, no task, no scope.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Generator
from logging import getLogger
from types import coroutine
from typing import Any

from hesper._asgi.exchange import KEY, Exchange, Holder, close_exchange, open_exchange
from hesper._asgi.foreign import caused_by_leaving
from hesper._asgi.responding import (
    Answer,
    close_dropped,
    close_what_was_opened,
    respond,
    respond_on,
    say_unavailable,
)
from hesper._asgi.states import ENDED, IDLE, STARTED
from hesper._concurrency import running_loop
from hesper.exceptions import ClientDisconnect, HandlerTimeout
from hesper.types import ASGIApp, Receive, Scope, Send

logger = getLogger("hesper")

Handler = Callable[[Any], Awaitable[Answer | ASGIApp]]
"""What a request is given to. Any ASGI app is an answer too: it is run, or bridged."""

OnError = Callable[[Any, Exception], Awaitable[Answer | ASGIApp]]
"""Turns an error into an answer, or raises."""


async def drive(work: Coroutine[Any, Any, None], held: Holder) -> None:
    """Run ``work`` as if awaited, and tell the exchange each time that it is about to wait."""
    # The first step as a for loop: a coroutine that returns None ends it without an exception, which
    # is half of what `work.send(None)` and `except StopIteration` take (0.1 µs against 0.2, CPython
    # 3.13). What never waits pays for no more than that.
    steps = work.__await__()
    for trap in steps:
        await drive_on(steps, trap, held)
        break


@coroutine
def drive_on(
    steps: Generator[Any, Any, None], trap: Any, held: Holder
) -> Generator[Any, Any, None]:
    """The rest of ``drive``, from the first wait on."""
    exchange = held._exchange
    thrown: BaseException | None = None
    try:
        while True:
            exchange.suspended()
            try:
                sent = yield trap
            except BaseException as exc:
                thrown = exc
            else:
                trap = steps.send(sent)
                continue
            # Not inside of the `except`: it would be the context of every error from here on.
            trap = steps.throw(thrown)
            thrown = None
    except StopIteration:
        pass
    finally:
        thrown = None  # its traceback holds this frame


async def conduct(
    handler: Handler, request: Any, held: Any, scope: Scope, on_error: OnError | None
) -> None:
    """Run a handler and give its answer to the client; leave nothing behind.

    Args:
        held: a ``Holder``; a request is told how far the response is, until it has an exchange.
        on_error: makes an answer of an error that comes before the start message; None to raise it.

    Raises:
        BaseException: an error that ``on_error`` did not handle or that came too late for it, and
            what cancelled the request. Never the client's leaving.
    """
    try:
        answer = await handler(request)
        exchange = held._shared
        if (
            isinstance(answer, Answer)
            and answer._plain
            and answer.background is None
            and (exchange is None or (exchange.untouched and exchange.terms is None))
            and running_loop() is not None
        ):
            # What _send_whole does, for a request that nobody looked at twice: the calls between
            # would take longer than the sends (0.4 µs), and the exchange as long again.
            if exchange is None:
                held._progress = STARTED
                send = held._send
            else:
                exchange.sending, exchange.state = True, STARTED
                send = exchange._send
                if exchange.owner and exchange._incoming is not None:
                    exchange._incoming.responding = exchange._incoming.unwanted = True
            await send(
                {
                    "type": "http.response.start",
                    "status": answer.status_code,
                    "headers": answer.raw_headers,
                }
            )
            exchange = held._shared  # there since the start message, if that had to wait
            if exchange is None or not exchange.disconnected:
                await send({"type": "http.response.body", "body": answer.body})
                exchange = held._shared
            if exchange is None:
                held._progress = ENDED
                if not held._bodies:
                    scope.pop(KEY, None)
                    return
                exchange = held._exchange
            exchange.state = ENDED
            if exchange.stretch is not None:
                exchange.stop_sending(None)
        else:
            if exchange is None or exchange.terms is None:
                await respond(held, answer, scope)
                exchange = held._shared
                if exchange is None:
                    held._progress = ENDED
                    scope.pop(KEY, None)
                    return
            else:
                await respond_on(exchange.terms, exchange, answer, scope)
    except BaseException as exc:
        exchange = held._exchange
        try:
            await _recover(exchange, request, scope, exc, on_error)
        except BaseException as error:
            exchange.failure = error
    await _end(exchange, scope)
    if exchange.failure is not None:
        failure, exchange.failure = exchange.failure, None
        try:
            raise failure
        finally:
            del failure  # its traceback holds this frame


async def _end(exchange: Exchange, scope: Scope) -> None:
    try:
        incoming = exchange._incoming
        if incoming is not None and exchange.owner and exchange.untouched and not exchange.bodies:
            incoming.closed = True
        elif incoming is not None or exchange.bodies:
            await _tidy(exchange)
        exchange.state = ENDED
    except BaseException:
        failure, exchange.failure = exchange.failure, None
        if isinstance(failure, Exception):
            # No ERROR: the cancellation is what comes out, and it was asked for.
            logger.warning("A request that was cancelled afterwards failed.", exc_info=failure)
        failure = None  # its traceback holds this frame
        raise
    finally:
        close_exchange(exchange, scope)


async def _recover(
    exchange: Exchange, request: Any, scope: Scope, exc: BaseException, on_error: OnError | None
) -> None:
    """Make the best of an error: nothing, a response, or the error."""
    if exchange.sending:
        if exchange.stop_sending(exc):
            return
        try:
            await exchange.judge(exc)
        except ClientDisconnect:
            return
        raise exc
    if not isinstance(exc, Exception):
        await say_unavailable(exchange)
        raise exc
    if isinstance(exc, HandlerTimeout) and exchange.state is not IDLE:
        exchange.end()
        logger.warning(
            "The response of %s %r was broken off: %s",
            ascii(scope["method"])[1:-1],  # what the client wrote: a record stays one line
            scope["path"],
            exc.reason,
        )
        return  # ends nothing properly (E12): the server cuts the connection
    leaving = exchange.disconnected and caused_by_leaving(exc)
    # A handler may ask for the client's leaving itself, but not for what others make of it.
    heard = not leaving or isinstance(exc, ClientDisconnect)
    if on_error is None or exchange.state is not IDLE or not heard:
        if leaving:
            return
        raise exc
    try:
        await respond(exchange, await on_error(request, exc), scope)
    except Exception as error:
        if not (exchange.disconnected and caused_by_leaving(error)):
            raise


async def _tidy(exchange: Exchange) -> None:
    # Each step whatever becomes of the one before: in a cancelled request waiting raises.
    try:
        if exchange.bodies:
            await close_dropped(exchange)
    finally:
        exchange.end()
        incoming = exchange._incoming
        if exchange.owner and incoming is not None:
            try:
                await incoming.close()
            finally:
                if exchange.terms is None or not exchange.terms.heirs:
                    await close_what_was_opened(incoming)


async def serve_answer(answer: Answer, scope: Scope, receive: Receive, send: Send) -> None:
    """Send an answer that nobody handled a request for: a response used as an ASGI app."""

    async def handler(request: None) -> Answer:
        return answer

    exchange = open_exchange(scope, receive, send)
    await drive(conduct(handler, None, exchange, scope, None), exchange)
