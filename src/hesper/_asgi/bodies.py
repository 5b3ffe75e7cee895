"""A streamed body: run in the request's own task and context, closed exactly once, whatever comes.

The rules:

1. The body is closed in the task that iterates it, before the surrounding scopes are left: a
   generator may hold scopes of its own.
2. A cancel reaches the body once; then it may await for ``GRACE`` seconds (see ``Grace``).
3. What a middleware replaced is closed after what replaced it, newest first: a wrapper that is
   closed early does not close what it iterates.
4. The final message is sent only if the iteration came to its end.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from contextlib import nullcontext
from logging import getLogger
from typing import Any

import anyio

from hesper._asgi.exchange import Exchange, Holder
from hesper._asgi.incoming import Incoming
from hesper._asgi.sending import Sending
from hesper._asgi.states import STARTED, TRAILERS
from hesper._concurrency import Grace, Interruptible, cancelled_type, checkpoint, interruptible
from hesper.exceptions import ClientDisconnect, UsageError
from hesper.types import Message

logger = getLogger("hesper")

GRACE = 5.0
"""Seconds that a body's cleanup may take after the client has left or the request was cancelled."""

YIELD_EVERY = 32
"""Chunks after which a body that never waits lets the pump look whether the client is there: a
checkpoint costs as much as 20 chunks (5 µs against 0.25, CPython 3.13, asyncio)."""


class Body:
    """A response's body iterator, together with those that it replaced."""

    __slots__ = ("_closed", "_parts", "charset")

    def __init__(self, content: AsyncIterable[Any], charset: str) -> None:
        self._parts: tuple[Any, ...] = (content,)
        self._closed = False
        self.charset = charset

    @property
    def farewell(self) -> bytes | None:
        """What ends the body when the app shuts down, so that it is whole; None to let it be."""
        return None

    def opened(self, incoming: Incoming, stretch: Interruptible) -> None:
        """It is about to be iterated, inside of ``stretch``."""

    @property
    def content(self) -> AsyncIterable[Any]:
        """What is iterated."""
        content: AsyncIterable[Any] = self._parts[0]
        return content

    @property
    def is_generator(self) -> bool:
        """Whether what would be iterated is an async generator."""
        return inspect.isasyncgen(self._parts[0])

    def replace(self, content: AsyncIterable[Any]) -> None:
        """Iterate ``content`` instead, which probably wraps what was there; close both."""
        if content is not self._parts[0]:
            self._parts = (content, *self._parts)

    async def send(self, held: Holder, start: Message) -> None:
        """Send a start message and this body: see ``stream``."""
        await stream(held._exchange, self, start)

    def start(self) -> AsyncIterator[Any]:
        """The iterator; closed with the rest."""
        content = self._parts[0]
        iterator: AsyncIterator[Any] = aiter(content)
        if iterator is not content:
            self._parts = (iterator, *self._parts)
        return iterator

    @property
    def over(self) -> bool:
        """Whether it was sent whole, and neither has to be closed nor to be waited for."""
        return False

    @property
    def late(self) -> Sequence[Message]:
        """Messages to send after the last chunk, such as trailers."""
        return ()

    async def finish(self) -> None:
        """Wait until what produced the body has ended, background work included."""

    def encode(self, chunk: Any) -> bytes:
        """A chunk as bytes."""
        if isinstance(chunk, str):
            return chunk.encode(self.charset)
        if isinstance(chunk, bytes):
            return chunk
        if isinstance(chunk, (bytearray, memoryview)):
            return bytes(chunk)  # ASGI asks for a byte string: daphne and granian break off
        raise UsageError(
            f"Expected the body iterator to give str or bytes, got {type(chunk).__name__}: "
            f"{chunk!r:.80}."
        )

    async def aclose(self) -> None:
        """Close every part, once; then raise the first error, or what cancelled it."""
        if self._closed:
            return
        self._closed = True
        failure: Exception | None = None
        cancelled: BaseException | None = None
        for part in self._parts:
            try:
                await close_part(part)
            except Exception as exc:
                if failure is None:
                    failure = exc
                else:
                    logger.error("A part of a response's body failed to close.", exc_info=exc)
            except BaseException as exc:
                cancelled = exc
        try:
            if cancelled is not None:
                raise cancelled
            if failure is not None:
                raise failure
        finally:
            failure = cancelled = None  # their tracebacks hold this frame


async def close_part(part: object) -> None:
    """Close an iterable, if it can be closed."""
    close = getattr(part, "aclose", None) or getattr(part, "close", None)
    if close is None:
        return
    try:
        result = close()
        if inspect.isawaitable(result):
            await result
    except BaseExceptionGroup as group:
        # A generator with a task group around its yield wraps the GeneratorExit that ends it.
        _, rest = group.split(GeneratorExit)
        if rest is not None:
            raise rest from None


async def stream(exchange: Exchange, body: Body, start: Message) -> None:
    """Send a start message and a body that is produced step by step.

    Raises:
        ClientDisconnect: the client left; the body has been closed.
        BaseException: what the body or a real cancellation raised; the body has been closed and
            the response is not ended, so that the server cuts the connection.
    """
    incoming = exchange.incoming
    failure: BaseException | None = None
    with interruptible() as stretch:
        if not exchange.finishing:
            incoming.add_stretch(stretch)
        body.opened(incoming, stretch)
        grace = Grace(stretch, GRACE)
        try:
            with grace:
                try:
                    await deliver(exchange, start)
                    await grace.run(_iterate(exchange, body, grace))
                except BaseException as exc:
                    failure = exc
                grace.arm()
                try:
                    await body.aclose()
                except Exception as exc:
                    if failure is not None and not _is_stray(failure, grace):
                        logger.error("A response's body failed to close.", exc_info=exc)
                    else:
                        failure = exc
                if failure is not None:
                    if _is_stray(failure, grace):
                        raise UsageError(SCOPE_AROUND_YIELD) from failure
                    raise failure
            if failure is not None:  # the closing of a body that had failed was cut
                raise failure
        finally:
            incoming.remove_stretch(stretch)
            failure = None  # the frame and its traceback would keep each other alive
            if grace.exceeded:
                logger.warning(
                    "A response's body was abandoned: its cleanup took longer than %s seconds.",
                    GRACE,
                )
    if stretch.interrupted and body.farewell is not None and exchange.state is STARTED:
        # Interrupted by a shutdown: nothing is sent to a client that has left.
        # Under a supervisor it is not the request's own task, which is what Sending interrupts.
        with nullcontext() if exchange.finishing else Sending(exchange):
            await deliver(exchange, _chunk(body.farewell))
            await _send_end(exchange, body)


SCOPE_AROUND_YIELD = (
    "A timeout or task group that the response's body holds open around its `yield` has ended while "
    "a chunk was sent, and cancelled the sending (PEP 789). Close it before the `yield`."
)


def _is_stray(failure: BaseException, grace: Grace) -> bool:
    """Whether it is a cancellation that a scope of the body's own has sent into ``send``."""
    return isinstance(failure, cancelled_type()) and not grace.was_asked_for()


async def _iterate(exchange: Exchange, body: Body, grace: Grace) -> None:
    """Send what the body gives, and then its end.

    What ``Exchange.send`` does for each chunk is done here for all of them, and what can only have
    changed while the task waited is asked only when it did: beside the 0.6 µs of the body and the
    server a chunk takes 0.5, where it would take 1.9 (CPython 3.13).
    """
    iterator = body.start()
    send = exchange._send
    bytes_pass = type(body).encode is Body.encode
    # Under a supervisor nothing drives the task that could count, and nobody need be there.
    counts = not exchange.finishing
    waits, streak = -1, 0
    while True:
        if exchange.suspensions != waits:
            waits, streak = exchange.suspensions, 0
            if exchange.disconnected and counts:
                return
        try:
            chunk = await iterator.__anext__()
        except StopAsyncIteration:
            break
        if exchange.suspensions != waits or not counts:
            _check_swallowed(grace)
            if exchange.disconnected and counts:
                return
        if chunk.__class__ is bytes and bytes_pass and counts:
            try:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            except BaseException as exc:
                await exchange.judge(exc)
                raise
        else:  # a dict is a foreign app's message, as it is
            await deliver(
                exchange, chunk if isinstance(chunk, dict) else _chunk(body.encode(chunk))
            )
        streak += 1
        if streak == YIELD_EVERY:
            streak = 0
            await checkpoint()
    _check_swallowed(grace)
    await _send_end(exchange, body)


def _check_swallowed(grace: Grace) -> None:
    """Whether the body swallowed a cancel. Went it on or ended: it is not whole then (rule 4)."""
    cancelled = grace.settle()
    if cancelled is not None:
        raise cancelled


def _chunk(chunk: bytes) -> Message:
    return {"type": "http.response.body", "body": chunk, "more_body": True}


async def deliver(exchange: Exchange, message: Message) -> None:
    """Send a message; where the body is to reach its end, drop it if nobody is there."""
    if not exchange.finishing:
        await exchange.send(message)
    elif not exchange.disconnected:
        with interruptible() as stretch:
            exchange.incoming.add_stretch(stretch)
            try:
                await exchange.send(message)
            except ClientDisconnect:
                pass
            finally:
                exchange.incoming.remove_stretch(stretch)


async def _send_end(exchange: Exchange, body: Body) -> None:
    await deliver(exchange, {"type": "http.response.body", "body": b"", "more_body": False})
    for message in body.late:
        await deliver(exchange, message)
    if exchange.state is TRAILERS:  # announced by an app whose messages a middleware did not read
        await exchange.send({"type": "http.response.trailers", "headers": []})


async def close_unused(bodies: tuple[Body, ...]) -> None:
    """Close bodies that a middleware dropped, latest first.

    Generators are closed as they are: one that a middleware has begun may hold scopes, which a
    scope of ours would cross. Other objects get the shield and the grace.
    """
    cancelled: BaseException | None = None
    for body in reversed(bodies):
        try:
            if body.is_generator:
                await body.aclose()
            else:
                with anyio.move_on_after(GRACE, shield=True):
                    await body.aclose()
            await body.finish()
        except Exception as exc:
            logger.error("A response's body that was dropped failed to close.", exc_info=exc)
        except BaseException as exc:
            cancelled = exc  # the others are closed all the same
    try:
        if cancelled is not None:
            raise cancelled
    finally:
        cancelled = None  # its traceback holds this frame
