"""How the server of the test clients takes what the application sends.

The law: what ASGI does not allow raises, in the application; what every server takes is taken. And
nothing has a limit of time, because a debugger stops at a breakpoint for as long as it takes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from hesper.exceptions import UsageError
from hesper.testing import Dialect
from hesper.testing._exchange import Exchange
from hesper.testing.result import Sent
from hesper.types import Message

DIALECT = Dialect(
    name="testclient",
    spec_version="2.4",
    websocket_spec_version="2.5",
    extensions=("http.response.debug", "http.response.trailers"),
    disconnect_overtakes_body=False,
    # A leaving is seen at once, however much lies unread before it.
    reads_ahead=1_000_000,
    # An application that sends for ever must let the client in between, so that it can leave.
    send_suspends=True,
    send_after_leave="oserror",
    blocked_send="raises",
    cancels_app="scope",
    cancels_after_response=True,
    websocket_lost_code=1006,
    websocket_second="always 1005",
)
"""What the specification wishes for (HTTP & WebSocket 2.4, "Disconnected Client"), and a cancellation
for an application that does not listen."""


class IllegalMessage(UsageError, AssertionError):
    """The application sent something that the ASGI specification does not allow.

    An `AssertionError` too, as whatever a test client finds wrong with the application.
    """

    def __init__(self, violations: Iterable[str]) -> None:
        super().__init__(f"The application broke the ASGI specification: {'; '.join(violations)}.")


class Strict(Exchange):
    """An exchange in which a message that ASGI does not allow raises, and waiting has no limit."""

    async def send(self, message: Message) -> None:
        await super().send(_as_servers_take_it(message))

    async def transmit(self, entry: Sent, valid: bool) -> None:
        if not valid:
            raise IllegalMessage(self.result.violations)
        await super().transmit(entry, valid)  # type: ignore[safe-super]  # a mixin: there is one

    async def wait_until(
        self, happened: Callable[[], bool], otherwise: str, timeout: float = math.inf
    ) -> None:
        await super().wait_until(happened, otherwise, timeout)

    def note(self, what: str) -> None:
        # An endless stream would fill the memory; an error shows no more than these.
        super().note(what)
        del self.result.log[:-30]


def _as_servers_take_it(message: Message) -> Message:
    """The message as all servers understand it, who are milder than the specification here."""
    mild = dict(message)
    if isinstance(mild.get("body"), (bytearray, memoryview)):
        mild["body"] = bytes(mild["body"])
    headers = mild.get("headers")
    if isinstance(headers, Iterable) and not isinstance(headers, (str, bytes)):
        mild["headers"] = [_in_lower_case(field) for field in headers]
    return mild


def _in_lower_case(field: Any) -> Any:
    match field:
        case [bytes(name), value]:
            return name.lower(), value
    return field
