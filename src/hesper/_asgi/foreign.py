"""What a foreign ASGI app is given as ``receive`` and ``send``, and what its errors mean."""

from __future__ import annotations

from hesper._asgi.exchange import Exchange
from hesper._concurrency import checkpoint, interruptible
from hesper.exceptions import ClientDisconnect
from hesper.types import Message, Scope


class Sender:
    """An ASGI ``send`` over an exchange, for a foreign app that answers without a bridge.

    After the disconnect it does what the ASGI version that the app was told of asks for: from 2.4
    on it raises an ``OSError`` (``ClientDisconnect``), before that it does nothing.
    """

    __slots__ = ("_exchange", "void")

    def __init__(self, exchange: Exchange, scope: Scope) -> None:
        self._exchange = exchange
        self.void = Void(scope)

    async def __call__(self, message: Message) -> None:
        exchange = self._exchange
        if not exchange.disconnected:
            incoming = exchange.incoming
            # Not Sending, which is for the request's own task: the app may send from any of its own.
            with interruptible() as stretch:
                incoming.add_stretch(stretch)
                try:
                    await exchange.send(message)
                except ClientDisconnect:
                    pass
                finally:
                    incoming.remove_stretch(stretch)
        if exchange.disconnected:
            await self.void.send()


PATIENCE = 1000
"""Sends after the disconnect after which an app that takes no notice is told by an error."""


class Void:
    """What a foreign app's ``send`` does when there is nobody to send to.

    ASGI HTTP, "Disconnected Client - send exception": from ``spec_version`` 2.4 on it raises an
    ``OSError``; an app that was told of an older one expects it to do nothing.
    """

    __slots__ = ("_patience",)

    def __init__(self, scope: Scope) -> None:
        version = str(scope.get("asgi", {}).get("spec_version", "2.0"))
        self._patience = PATIENCE if version in {"2.0", "2.1", "2.2", "2.3"} else 0

    @property
    def raises(self) -> bool:
        """Whether it says that nobody is there."""
        return self._patience == 0

    async def send(self) -> None:
        """Do nothing, or raise ClientDisconnect."""
        if self._patience == 0:
            raise ClientDisconnect("before the response was sent")
        self._patience -= 1
        await checkpoint()  # the app's own listener must get its turn


NO_RESPONSE = "No response returned."
"""What Starlette's ``BaseHTTPMiddleware`` says of an app that gave up quietly, as ASGI lets it."""


def caused_by_leaving(exc: BaseException | None) -> bool:
    """Whether an error is only another word for the client's leaving.

    A foreign app translates what it was told: the ``OSError`` of ``send`` becomes its own exception,
    perhaps in a group, and ``http.disconnect`` becomes Starlette's or Litestar's ``ClientDisconnect``.
    Ask only when the client has left.
    """
    while exc is not None:
        if isinstance(exc, BaseExceptionGroup):
            return all(caused_by_leaving(member) for member in exc.exceptions)
        if type(exc).__name__ in {"ClientDisconnect", "ClientDisconnected"}:
            return True
        if type(exc) is RuntimeError and str(exc) == NO_RESPONSE:
            return True
        exc = exc.__cause__  # not its context: an error made while handling the leaving is one
    return False
