"""The stretch of a request in which its response is sent."""

from __future__ import annotations

from types import TracebackType

from hesper._asgi.exchange import Exchange
from hesper._concurrency import interruptible, on_asyncio


class Sending:
    """A ``with`` block in which the client's leaving interrupts the request's own task.

    On asyncio nothing is made for it until the block waits (see ``Exchange.suspended``); on trio a
    scope must be there before. The interruption ends with the block: look at ``disconnected``.

    A response that is to reach its end in any case is not interrupted: see ``bodies.deliver``.
    """

    __slots__ = ("_exchange",)

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def __enter__(self) -> None:
        exchange = self._exchange
        if exchange.finishing:
            return
        exchange.sending = True
        if not on_asyncio():
            exchange.stretch = interruptible().__enter__()
            exchange.incoming.add_stretch(exchange.stretch)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        return self._exchange.stop_sending(exc)
