"""How a request ended, in one word, for those who count endings.

The law: it is decided once, when all of the request is over, by what the client got and by what the
exchange knows, in this order: a cancellation from outside; what a shutdown or a time limit broke off;
an error; a whole response; the client's leaving. A response that is whole was delivered as far as
anybody knows: what the client does afterwards is its own affair.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from logging import getLogger
from time import perf_counter
from typing import Literal

from hesper._asgi.exchange import Exchange
from hesper._asgi.states import CUT
from hesper._asgi.websocket import SocketExchange
from hesper._concurrency import cancelled_type
from hesper.endings import Ending, RequestEnded
from hesper.middleware._telemetry import route_template
from hesper.types import Message, Scope, Send

logger = getLogger("hesper")

Hook = Callable[[RequestEnded], object]

LAST = {"http.response.body", "http.response.zerocopysend", "http.response.trailers"}


class Witness:
    """A ``send`` that notes what of a response has left: its status, and whether it is whole."""

    __slots__ = ("_send", "_trailers", "status", "whole")

    def __init__(self, send: Send) -> None:
        self._send = send
        self._trailers = False
        self.status: int | None = None
        self.whole = False

    async def __call__(self, message: Message) -> None:
        await self._send(message)
        kind = message["type"]
        if kind == "http.response.start":
            self.status = message["status"]
            self._trailers = bool(message.get("trailers", False))
        elif kind == "http.response.pathsend":
            self.whole = not self._trailers
        elif kind in LAST and not message.get("more_body") and not message.get("more_trailers"):
            self.whole = not self._trailers or kind == "http.response.trailers"
        elif kind == "websocket.accept":
            self.status = 101
        elif kind == "websocket.close" and self.status is None:
            self.status = 403
        elif kind == "websocket.http.response.start":
            self.status = message["status"]


def ending_of(exchange: Exchange | None, witness: Witness, error: BaseException | None) -> Ending:
    """How an HTTP request ended.

    Args:
        exchange: None if nobody needed one.
        error: what came out of the app.
    """
    if isinstance(error, cancelled_type()):
        return Ending.CANCELLED
    if exchange is None:
        return Ending.COMPLETED if error is None else Ending.FAILED
    if exchange.cut and not (witness.whole and witness.status != 503):
        return Ending.SHUT_DOWN
    if exchange.terms is not None and exchange.terms.timed_out:
        return Ending.TIMED_OUT
    if error is not None:
        return Ending.FAILED
    if witness.whole:
        return Ending.COMPLETED
    if not exchange.disconnected:
        return Ending.FAILED  # an app that did not end its response
    if witness.status is not None:
        return Ending.LEFT_IN_RESPONSE
    upload = exchange.incoming.state is CUT
    return Ending.LEFT_IN_UPLOAD if upload else Ending.LEFT_BEFORE_RESPONSE


def socket_ending_of(exchange: SocketExchange, error: BaseException | None) -> Ending:
    """How a WebSocket ended. A closing by either side is its completion; only a loss is none."""
    if isinstance(error, cancelled_type()):
        return Ending.CANCELLED
    if exchange.cut or (exchange.shutting_down and exchange.disconnect["code"] == 1012):
        return Ending.SHUT_DOWN
    if exchange.timed_out:
        return Ending.TIMED_OUT
    if error is not None:
        return Ending.FAILED
    if exchange.disconnected and not exchange.closed and exchange.disconnect["code"] in LOSSES:
        return Ending.LEFT_IN_RESPONSE if exchange.accepted else Ending.LEFT_BEFORE_RESPONSE
    return Ending.COMPLETED


LOSSES = {1005, 1006}
"""Codes of a disconnect without a word (RFC 6455 section 7.4.1)."""


async def observe(
    hooks: Sequence[Hook],
    scope: Scope,
    witness: Witness,
    work: Awaitable[None],
    ending: Callable[[BaseException | None], Ending],
) -> None:
    """Await what an app does for one scope, and tell the hooks how that ended."""
    began = perf_counter()
    error: BaseException | None = None
    try:
        await work
    except BaseException as exc:
        error = exc
        raise
    finally:
        kind: Literal["http", "websocket"] = "http" if scope["type"] == "http" else "websocket"
        event = RequestEnded(
            ending=ending(error),
            kind=kind,
            method=scope.get("method", ""),
            path=scope["path"],
            route=route_template(scope),
            status=witness.status,
            seconds=perf_counter() - began,
        )
        error = None  # its traceback holds this frame
        _tell(hooks, event)


def _tell(hooks: Sequence[Hook], event: RequestEnded) -> None:
    for hook in hooks:
        try:
            hook(event)
        except Exception as exc:
            logger.error("The on_ending hook %r failed.", hook, exc_info=exc)
