"""The bridge: a foreign ASGI app's answer as a value.

The app runs in a child task, because scopes that it opens (timeouts, task groups) may still be open
when it sends its start message, and would interleave with the scopes around ``call_next`` (PEP 789).

The rules:

1. A start message that was produced is delivered, whatever is being cancelled.
2. One message is handed over at a time. ``send`` returns to the app when its message was forwarded,
   so a stalled client holds one message, and background work never starts before its response left.
3. What comes before the start message (early hints, debug) is forwarded at once; what comes after
   it keeps its place.
4. When nobody wants the rest, the app is told as a server would tell it: ``http.disconnect``, and
   ``send`` that raises or does nothing. An app that listens ends by itself, background work
   included; one that does not is cancelled.
"""

from __future__ import annotations

from contextvars import copy_context

from hesper._asgi.bodies import GRACE
from hesper._asgi.exchange import Holder, Receiver
from hesper._asgi.foreign import Sender, caused_by_leaving
from hesper._asgi.states import ENDED, STARTED, ResponseState, next_response_state
from hesper._concurrency import (
    Child,
    Event,
    Signal,
    adopt,
    cancelled_type,
    deliver_again,
    new_baton,
    new_event,
    new_signal,
    spawn,
    wait_at_most,
)
from hesper.exceptions import ClientDisconnect
from hesper.types import ASGIApp, Message, Scope


class Bridge:
    """One run of a foreign app: a start message, then an iterator over what follows.

    Slots, each set, for the reason that ``Exchange`` gives.
    """

    __slots__ = (
        "_app",
        "_cancelled",
        "_child",
        "_ended",
        "_error",
        "_forwarded",
        "_free",
        "_held",
        "_news",
        "_receiver",
        "_scope",
        "_sender",
        "_slot",
        "_start",
        "_state",
        "_trailers",
        "late",
    )

    def __init__(self, app: ASGIApp, scope: Scope, held: Holder) -> None:
        self._app = app
        self._scope = scope
        self._held = held
        self._receiver = Receiver(held)
        self.late: tuple[Message, ...] = ()
        """Messages that are not the body's, kept while somebody else reads the body."""
        self._start: Message | None = None
        self._slot: Message | None = None
        self._news: Signal | None = None
        """What the consumer waits on: a message, or the app's end."""
        self._forwarded: Signal | None = None
        """What the app's ``send`` waits on."""
        self._free: Event | None = None
        """What further tasks of the app wait on before they send."""
        self._state: ResponseState = STARTED
        """Where the app's response stands, with the message that is in the slot."""
        self._trailers = False
        self._ended = False
        self._error: BaseException | None = None
        self._child: Child | None = None
        self._cancelled = False
        self._sender: Sender | None = None

    # -- the app's side, in the child task -----------------------------------------------------

    async def _run(self) -> None:
        try:
            await self._app(self._scope, self._receiver, self._send)
        except cancelled_type() as exc:
            if not self._cancelled:  # by us; else the app was cancelled as it might be in our task
                self._error = exc
            raise
        except BaseException as exc:
            self._error = exc
        finally:
            self._ended = True
            if self._news is not None:
                self._tell()

    async def _send(self, message: Message) -> None:
        while self._forwarded is not None:  # another task of the app is sending
            if self._free is None:
                self._free = new_event()
            await self._free.wait()
        if self._receiver.stopped:
            await self._ahead.void.send()
        elif self._state is ENDED:
            pass  # what comes after the end is ignored
        elif self._start is not None:
            kind, more = message["type"], message.get("more_body", False)
            if more is False and kind == "http.response.body" and not self._trailers:
                self._state = ENDED  # as the table says, which takes 0.3 µs
            else:
                self._state = next_response_state(self._state, message, self._trailers)
            self._slot = message
            # After the last message the app has only to return: it does so inside of `_release`.
            last = self._state is ENDED
            self._forwarded = forwarded = new_baton() if last else new_signal()
            if self._news is not None:
                self._tell()
            await forwarded.wait()  # rule 2
            if self._receiver.stopped and self._state is not ENDED:
                await self._ahead.void.send()
        elif message["type"] == "http.response.start":
            self._start = message
            self._trailers = bool(message.get("trailers", False))
            if self._news is not None:
                self._tell()
        else:
            await self._ahead(message)  # rule 3

    @property
    def _ahead(self) -> Sender:
        """Sends what goes before the response, or nowhere."""
        if self._sender is None:
            self._sender = Sender(self._held._exchange, self._scope)
        return self._sender

    def _cancel(self) -> None:
        assert self._child is not None
        self._cancelled = True
        self._child.cancel()

    def _tell(self) -> None:
        news, self._news = self._news, None
        assert news is not None
        news.set()

    # -- the consumer's side -------------------------------------------------------------------

    async def start(self) -> Message:
        """Run the app up to its start message.

        Raises:
            ClientDisconnect: the app gave up because the client left.
            RuntimeError: the app returned without a response.
            BaseException: what the app raised, the same object.
        """
        context = copy_context()
        self._child = spawn(self._run(), context)
        try:
            while self._start is None and not self._ended:
                await self._wait_news()
        except BaseException as exc:
            if self._start is None:
                # An app that catches the cancel and answers it would wait for us for ever.
                self._receiver.stop()
                self._cancel()
                await self._child.join()
                raise
            deliver_again(exc)  # rule 1
        adopt(context)
        if self._start is not None:
            return self._start
        self._raise_error("before there was a response")
        raise RuntimeError(
            f"No response returned: the ASGI app {self._app!r} ended without sending "
            "'http.response.start'. An ASGI app sends a response or raises."
        )

    async def _wait_news(self) -> None:
        self._news = new_signal()
        await self._news.wait()

    async def next_message(self) -> Message | None:
        """The next message after the start; None when the response is complete.

        Asking for it says that the one before was forwarded.

        Raises:
            ClientDisconnect: the app gave up because the client left.
            RuntimeError: the app returned in the middle of its response.
        """
        if self._slot is None:  # else what waits to be released is the next message
            self._release()
            if self._state is ENDED:
                return None
        while self._slot is None and not self._ended:
            await self._wait_news()
        message, self._slot = self._slot, None
        if message is None:
            self._raise_error("while the response was sent")
            raise RuntimeError(
                f"The ASGI app {self._app!r} ended in the middle of its response: it sends a "
                "last 'http.response.body' without more_body, or raises."
            )
        return message

    def _raise_error(self, during: str) -> None:
        """Raise what ended the app too early: its error, or the client's leaving in one word."""
        error, self._error = self._error, None
        gone = self._held._exchange.disconnected
        if gone and (error is None or caused_by_leaving(error)):
            raise ClientDisconnect(during) from error
        if error is not None:
            raise error

    def _release(self) -> None:
        forwarded, self._forwarded = self._forwarded, None
        if forwarded is not None:
            if self._free is not None:
                self._free.set()
                self._free = None
            forwarded.set()  # at last, because the app may go on in here

    def take_whole(self) -> Message | None:
        """The message that is all of the body, if the app has sent it and nobody has looked."""
        if self._state is not ENDED or self._trailers:
            return None
        message, self._slot = self._slot, None
        return message

    @property
    def over(self) -> bool:
        """Whether the app has returned after a whole response, and has raised nothing."""
        child = self._child
        return self._state is ENDED and self._error is None and child is not None and child.done

    def stop(self) -> None:
        """Nobody wants the rest (rule 4). Harmless when the response was complete."""
        if self._state is ENDED or self._ended:
            self._release()  # all that it does from here on is background work
            return
        # A send that does nothing tells nothing: the app would go on, or wait, for ever.
        told = self._forwarded is not None and self._ahead.void.raises
        knows = self._receiver.listeners > 0 or told
        self._receiver.stop()
        self._release()
        if not knows:
            self._cancel()

    async def finish(self) -> None:
        """Wait until the app has returned: its background work is done.

        Raises:
            BaseException: what the app raised after its response, or what cancelled the wait; the
                app has then been cancelled.
        """
        child = self._child
        assert child is not None
        try:
            while not self._ended:  # told by the app's task itself: one turn sooner than its end
                await self._wait_news()
        except cancelled_type():
            await wait_at_most(child, GRACE)  # for its cleanup and its background work
            self._cancel()
            raise
        finally:
            await child.join()
        error, self._error = self._error, None
        gone = self._receiver.stopped or self._held._exchange.disconnected
        if error is not None and not (gone and caused_by_leaving(error)):
            raise error
