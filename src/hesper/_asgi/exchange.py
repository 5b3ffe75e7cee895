"""One request's life, as the rim sees it: what comes in, what has been sent, what must be closed.

The rules of sending:

1. After the disconnect ``send`` is not called again: it hangs on HTTP/2 of hypercorn and anycorn,
   and raises private errors elsewhere. The caller gets ``ClientDisconnect`` instead.
2. An error of ``send`` is judged by the connection's state, not by its type: an ``OSError`` means
   that the client left, and so does uvloop's "the handler is closed"; so does any other error if the
   server says so when it is asked.
3. A send that failed or was cancelled poisons the response: nothing is sent after it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol

from hesper._asgi.incoming import Incoming
from hesper._asgi.states import (
    ENDED,
    IDLE,
    RESPONSE,
    ResponseEvent,
    ResponseState,
    next_response_state,
)
from hesper._asgi.terms import Terms
from hesper._concurrency import Interruptible, interruptible
from hesper.exceptions import ClientDisconnect
from hesper.types import Message, Receive, Scope, Send

if TYPE_CHECKING:
    from hesper._asgi.bodies import Body

KEY = "hesper.exchange"
"""Where the ``Holder`` of a scope's exchange stands, so that every ``Request`` of it finds that."""


class Holder(Protocol):
    """What stands in a scope: an exchange, or the rim's request, which makes one when it is needed.

    Most requests never need it: what they are answered with is sent without waiting (0.3 µs).
    """

    @property
    def _exchange(self) -> Exchange: ...

    @property
    def _shared(self) -> Exchange | None:
        """The exchange, if it is there."""
        ...


class Exchange:
    """One run of a handler: a request that comes in, a response that goes out.

    Exchanges that lie inside one another (a Hesper app behind a foreign middleware of a Hesper app)
    share one ``incoming``.

    Slots, each set: a default that is read from the class takes 40 ns where some instances have
    their own, and a slot 5 (CPython 3.13).
    """

    __slots__ = (
        "__weakref__",
        "_incoming",
        "_lost",
        "_receive",
        "_scope",
        "_send",
        "_trailers",
        "background",
        "bodies",
        "cut",
        "failure",
        "inner",
        "outer",
        "owner",
        "sending",
        "state",
        "stretch",
        "suspensions",
        "terms",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # The scope holds this exchange: ``conduct`` breaks the cycle when the request is over.
        self._scope = scope
        self._receive = receive
        self._send = send
        self._incoming: Incoming | None = None
        self._lost = False
        self.outer: Exchange | None = None
        """The exchange that stood in the scope before this one."""
        self.inner: tuple[Exchange, ...] = ()
        """Those that stand inside of this one and see another ``receive``, which a middleware has
        wrapped: they are told of a shutdown, which no ``receive`` tells."""
        self.state: ResponseState = IDLE
        self.suspensions = 0
        """How often the task has let others run."""
        self.owner = True
        """Whether it ends its ``incoming``: not if that is another exchange's."""
        self.sending = False
        """Whether a whole response is handed over: what then waits may be interrupted."""
        self.stretch: Interruptible | None = None
        """The interruptible part that ``sending`` made, once it waited."""
        self.bodies: tuple[Body, ...] = ()
        """Bodies that were handed through ``call_next``: closed at the end, if not before."""
        self.background: tuple[Callable[[], Awaitable[None]], ...] = ()
        """Background work of responses that were handed through ``call_next``."""
        self._trailers = False
        self.cut = False
        """Whether a shutdown has cancelled it."""
        self.terms: Terms | None = None
        """What the policy of the endpoint says, if it says something."""
        self.failure: BaseException | None = None
        """An error that is raised into the server when the request is over."""

    @property
    def _exchange(self) -> Exchange:
        return self

    @property
    def _shared(self) -> Exchange:
        return self

    @property
    def finishing(self) -> bool:
        """Whether the body is to reach its end although nobody may be there any more."""
        return self.terms is not None and self.terms.supervisor is not None

    @property
    def untouched(self) -> bool:
        """Whether nobody has looked at the request in a way that the response's end has to undo."""
        incoming = self._incoming
        return (incoming is None or incoming.quiet) and self.terms is None and not self.background

    @property
    def incoming(self) -> Incoming:
        """What comes from the client; made when somebody first looks, a plain request never does."""
        incoming = self._incoming
        if incoming is None:
            incoming = self._incoming = Incoming(self._scope, self._receive)
            incoming.responding = incoming.unwanted = self.state is not IDLE
            incoming.closed = self.state is ENDED
        return incoming

    @property
    def disconnected(self) -> bool:
        """Whether nobody is there to send to."""
        incoming = self._incoming  # as long as nobody has looked there is nothing to know
        return self._lost or (incoming is not None and incoming.disconnected)

    def join(self, incoming: Incoming) -> None:
        """Use the ``incoming`` of another exchange, and end it only if nobody else will."""
        self._incoming = incoming
        self.owner = not incoming.owned
        incoming.owned = True

    def reads(self, receive: Receive) -> bool:
        """Whether this exchange reads from ``receive``."""
        return self._receive == receive

    @property
    def ended(self) -> bool:
        """Whether nothing more can be sent or received."""
        return self.state is ENDED or self.incoming.closed

    def suspended(self) -> None:
        """The task is about to wait: from now on the disconnect matters."""
        self.suspensions += 1
        if self.state is ENDED:
            return
        if self.sending and self.stretch is None:
            self.stretch = interruptible()
            self.incoming.add_stretch(self.stretch)
        # Afterwards: an eager pump may see the disconnect at once.
        self.incoming.watch()

    def shut_down(self) -> None:
        """The app shuts down."""
        self.incoming.shut_down()
        for exchange in self.inner:
            exchange.shut_down()

    # -- receiving --------------------------------------------------------------------------------

    async def wait_disconnected(self) -> None:
        """Wait until the client has left or the response has ended."""
        while not (self.ended or self.incoming.disconnected):
            await self.incoming.wait_disconnected()

    async def is_disconnected(self) -> bool:
        """Whether the client has left or the response has ended; gives the server time to say so."""
        return self.ended or await self.incoming.is_disconnected()

    # -- sending ----------------------------------------------------------------------------------

    async def send(self, message: Message) -> None:
        """Send one message, in the order that the life cycle allows; after the end, ignore it.

        Raises:
            ClientDisconnect: the client left, before or meanwhile.
            UsageError: the message is not allowed at this point.
        """
        state = self.state
        if state is ENDED:
            return
        if self.disconnected:
            raise ClientDisconnect("before the response was sent")
        following = next_response_state(state, message, self._trailers)
        if following is not state and state is IDLE:
            self._trailers = bool(message.get("trailers", False))
            self.begin()
            if self.finishing:
                self.incoming.watch()  # as ``drive`` does, which a supervisor's task is without
        try:
            await self._send(message)
        except BaseException as exc:
            await self.judge(exc)
            raise
        self.state = following
        if following is ENDED:
            if self.owner:
                self.incoming.responded = True
            self.incoming.wake()  # who listens hears http.disconnect now

    def stop_sending(self, exc: BaseException | None) -> bool:
        """Sending is over; whether ``exc`` is the interruption by the client's leaving."""
        self.sending = False
        stretch, self.stretch = self.stretch, None
        if stretch is None:
            return False
        self.incoming.remove_stretch(stretch)
        return stretch.__exit__(None if exc is None else type(exc), exc, None)

    def begin(self) -> None:
        """A response is under way: unread parts of the request may be discarded.

        Not if a middleware around may yet read them, after its ``call_next``.
        """
        if self.owner:
            self.incoming.responding = True
            self.incoming.make_room()

    async def judge(self, exc: BaseException) -> None:
        """A send failed (rules 2 and 3).

        Raises:
            ClientDisconnect: if the client's leaving is the reason.
        """
        self.state = RESPONSE[self.state, ResponseEvent.FAILED]
        if isinstance(exc, OSError) or _transport_closed(exc):
            self._lost = True
            if self.owner:  # else the exchange around knows better: it may only have dropped us
                self.incoming.lost()
        elif isinstance(exc, Exception):
            await self.incoming.is_disconnected()
        else:
            return
        if self.disconnected:
            raise ClientDisconnect("while the response was sent") from exc

    def release(self) -> None:
        """Leave it to whoever comes next to end ``incoming``."""
        self.owner = self.incoming.owned = False

    def end(self) -> None:
        """The response has ended, whole or not: nothing is received any more."""
        self.state = ENDED
        if self._incoming is not None:
            self._incoming.wake()


class Receiver:
    """An ASGI ``receive`` over an exchange, for one foreign app: it has its own place in the body.

    A body that was read whole is given again from its beginning; one that is taken as a stream is
    given from where it stands. Then, when the client has left, the response has ended or the app
    was stopped, ``http.disconnect``, at once and for ever.
    """

    __slots__ = ("_given", "_held", "listeners", "stopped")

    def __init__(self, held: Holder) -> None:
        self._held = held
        self.stopped = False
        """Whether nobody wants this app's response any more."""
        self.listeners = 0
        """Calls that wait now."""
        self._given = False

    @property
    def exchange(self) -> Exchange:
        return self._held._exchange

    def stop(self) -> None:
        """Tell the app what it would be told if its client had left."""
        self.stopped = True
        self.exchange.incoming.wake()

    @property
    def _over(self) -> bool:
        return self.stopped or self.exchange.ended

    async def __call__(self) -> Message:
        incoming = self.exchange.incoming
        self.listeners += 1
        try:
            message = await self._next_part(incoming)
            if message is None:
                self._given = True
                while not (self._over or incoming.disconnected):
                    await incoming.wait_disconnected()
                message = {**incoming.disconnect}
        finally:
            self.listeners -= 1
        return message

    async def _next_part(self, incoming: Incoming) -> Message | None:
        """The next message of the body; None if there is none any more."""
        while not (self._given or self._over):
            try:
                if incoming.whole:
                    if incoming.complete():
                        self._given = True
                        return incoming.whole_message()
                elif incoming.ready():
                    # If somebody has taken the whole stream, what is left is empty.
                    message = incoming.pop() or {"type": "http.request", "body": b""}
                    self._given = not message.get("more_body", False)
                    return message
            except ClientDisconnect:
                break
            await incoming.wait_news()
        return None


def _transport_closed(exc: BaseException) -> bool:
    """Whether it is uvloop's word for a write to a connection that is gone.

    uvicorn lets it out where it will never tell of the disconnect: to a request with another one
    pipelined behind it. Nothing but the text tells it from other errors.
    """
    return type(exc) is RuntimeError and str(exc).endswith("the handler is closed")


def open_exchange(scope: Scope, receive: Receive, send: Send) -> Exchange:
    """The exchange for one run of a handler or app.

    If ``receive`` is ours, or belongs to an exchange of this scope, that one's ``incoming`` is shared:
    the body is read once, and all see one disconnect.
    """
    exchange = Exchange(scope, receive, send)
    held: Holder | None = scope.get(KEY)
    exchange.outer = outer = None if held is None else held._exchange
    if isinstance(receive, Receiver):
        exchange.join(receive.exchange.incoming)
    elif outer is not None and outer.reads(receive):
        exchange.join(outer.incoming)
    elif outer is not None:
        outer.inner = (*outer.inner, exchange)
        if outer._incoming is not None and outer._incoming.shutting_down:
            exchange.shut_down()
    scope[KEY] = exchange
    return exchange


def close_exchange(exchange: Exchange, scope: Scope) -> None:
    """Take an exchange out of its scope: it would close a cycle through the server's own objects."""
    outer, exchange.outer = exchange.outer, None
    if outer is not None and outer.inner:
        outer.inner = tuple(other for other in outer.inner if other is not exchange)
    if scope.get(KEY) is exchange:
        if outer is None:
            del scope[KEY]
        else:
            scope[KEY] = outer  # a middleware around may still make requests of the scope
