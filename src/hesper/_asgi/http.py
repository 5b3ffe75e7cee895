"""HTTP: a handler's answer, a value, becomes messages.

``conduct`` is the whole of a request: the handler, the response, what must be closed, background
work. ``drive`` runs it and tells the exchange whenever it waits; a request that never waits and
never reads pays for two sends and nothing else: no pump, no task, no scope.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import nullcontext
from functools import partial
from logging import getLogger
from types import coroutine
from typing import Any, ClassVar

import anyio

from hesper._asgi.bodies import GRACE, Body, close_unused
from hesper._asgi.exchange import (
    KEY,
    Exchange,
    Holder,
    Receiver,
    Sending,
    close_exchange,
    open_exchange,
)
from hesper._asgi.foreign import Sender, caused_by_leaving
from hesper._asgi.incoming import Incoming
from hesper._asgi.states import ENDED, IDLE, STARTED
from hesper._concurrency import cancelled_type, outlast, running_loop
from hesper.exceptions import ClientDisconnect, UsageError
from hesper.types import ASGIApp, Message, Receive, Scope, Send

logger = getLogger("hesper")


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
    try:
        while True:
            exchange.suspended()
            try:
                sent = yield trap
            except BaseException as exc:
                trap = steps.throw(exc)
            else:
                trap = steps.send(sent)
    except StopIteration:
        pass


async def conduct(
    handler: Handler, request: Any, held: Any, scope: Scope, on_error: OnError | None
) -> None:
    """Run a handler and give its answer to the client; leave nothing behind.

    Args:
        held: a ``Holder``: the exchange, or the request that makes it when it is needed, and is told
            until then how far the response is.
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
            and (exchange is None or exchange.untouched)
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
                if scope.get(KEY) is held:
                    del scope[KEY]
                return
            exchange.state = ENDED
            if exchange.stretch is not None:
                exchange.stop_sending(None)
        else:
            exchange = held._exchange
            await respond(exchange, answer, scope)
    except BaseException as exc:
        exchange = held._exchange
        try:
            await _recover(exchange, request, scope, exc, on_error)
        finally:
            await _end(exchange, scope)
    else:
        await _end(exchange, scope)
    if exchange.failure is not None:
        failure, exchange.failure = exchange.failure, None
        raise failure


async def _end(exchange: Exchange, scope: Scope) -> None:
    try:
        if exchange._incoming is not None or exchange.bodies:
            await _tidy(exchange)
        exchange.state = ENDED
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
        raise exc
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
            await _close_dropped(exchange)
    finally:
        exchange.end()
        incoming = exchange._incoming
        if exchange.owner and incoming is not None:
            try:
                await incoming.close()
            finally:
                await _run_all(incoming)


async def serve_answer(answer: Answer, scope: Scope, receive: Receive, send: Send) -> None:
    """Send an answer that nobody handled a request for: a response used as an ASGI app."""

    async def handler(request: None) -> Answer:
        return answer

    exchange = open_exchange(scope, receive, send)
    await drive(conduct(handler, None, exchange, scope, None), exchange)


async def respond(exchange: Exchange, answer: Answer | ASGIApp, scope: Scope) -> None:
    """Send an answer, then run what comes after it.

    Raises:
        BaseException: as ``conduct``; when it does, the body is closed and background work has run.
    """
    if not isinstance(answer, Answer):
        await _run_foreign(exchange, answer, scope)
        if exchange.background:
            await outlast(partial(_run_background, exchange), GRACE, late=False)
        return
    try:
        if answer._deferred:
            await answer._resolve(scope)
        body = answer._body
        if body is not None:
            await body.send(exchange, answer._start_message())
            if body.over and exchange.untouched and answer.background is None:
                exchange.bodies = tuple(other for other in exchange.bodies if other is not body)
                return
        else:
            with Sending(exchange):
                await _send_whole(exchange, answer)
    except BaseException as exc:
        if not (isinstance(exc, ClientDisconnect) and exchange.disconnected):
            await _after_failure(exchange, answer, exc, concluded=False)
            raise
    if answer.background is not None or answer._body is not None or exchange.background:
        try:
            await _conclude(exchange, answer)
        except BaseException as exc:
            await _after_failure(exchange, answer, exc, concluded=True)
            raise
        await _run_after(exchange, answer, late=False)


async def _send_whole(exchange: Exchange, answer: Answer) -> None:
    exchange.begin()
    exchange.incoming.unwanted = True
    await exchange.send(answer._start_message())
    await exchange.send({"type": "http.response.body", "body": answer.body})


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
            await _close_dropped(exchange)
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
    except Exception as later:
        logger.error("Background work of a broken response failed.", exc_info=later)


async def _run_all(incoming: Incoming) -> None:
    if not incoming.at_end:
        return
    with anyio.move_on_after(GRACE, shield=True):
        for close in incoming.at_end:
            try:
                await close()
            except Exception as exc:
                logger.error("Closing what a request had opened failed.", exc_info=exc)


async def _close_dropped(exchange: Exchange) -> None:
    bodies, exchange.bodies = exchange.bodies, ()
    await close_unused(bodies)
