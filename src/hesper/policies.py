"""What may be said of a place in an application: what a client's leaving means there, how long a
request may take, and how many there may be at a time.

``Hesper``, ``Router``, ``Mount``, ``Host``, ``Route`` and ``WebSocketRoute`` take the same arguments.
Of ``on_disconnect``, ``cancel_grace`` and ``timeout`` the innermost place counts, each by itself; of
``max_concurrency`` every place counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Literal, NamedTuple, get_args

from hesper.exceptions import UsageError

__all__ = ["ConcurrencyLimit", "OnDisconnect", "Policy"]

OnDisconnect = Literal["continue", "cancel", "finish"]
"""What a client's leaving means for the handler of its request.

- ``"continue"``: the handler runs to its end, as a part of the request; streams stop.
- ``"cancel"``: the handler is cancelled as soon as the client is known to be gone.
- ``"finish"``: the handler reaches its end, even if the server cancels the request.
"""

CANCEL_GRACE = 5.0
"""Seconds that the cleanup of a cancelled handler may take, where nobody says otherwise."""


class Policy(NamedTuple):
    """What is said of a place; None: what is said further out."""

    on_disconnect: OnDisconnect | None = None
    cancel_grace: float | None = None
    timeout: float | None = None

    def within(self, outer: Policy) -> Policy:
        """What counts at this place, inside of one where ``outer`` counts."""
        return Policy(
            outer.on_disconnect if self.on_disconnect is None else self.on_disconnect,
            outer.cancel_grace if self.cancel_grace is None else self.cancel_grace,
            outer.timeout if self.timeout is None else self.timeout,
        )


@dataclass(frozen=True, slots=True)
class ConcurrencyLimit:
    """How many requests a place works on at a time.

    A request counts until all of it is over, background work included. One that is too many waits
    its turn, if there is room to wait; else it is answered with 503 and ``Retry-After`` (RFC 9110
    section 15.6.4), a WebSocket by refusing it.

    Args:
        limit: requests at a time, 1 or more.
        queue: requests that wait for their turn, 0 or more.
        retry_after: seconds after which the client is told to try again.

    Raises:
        UsageError: a number is out of its range.
    """

    limit: int
    queue: int = 0
    retry_after: int = 1

    def __post_init__(self) -> None:
        for name, least in (("limit", 1), ("queue", 0), ("retry_after", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise UsageError(
                    f"Expected {name} to be an int of {least} or more, got {value!r}: "
                    "ConcurrencyLimit(100, queue=50) works on 100 requests while 50 wait."
                )


def policy_of(
    on_disconnect: OnDisconnect | None, cancel_grace: float | None, timeout: float | None
) -> Policy | None:
    """The policy of a place; None if nothing is said.

    Raises:
        UsageError: an argument is not what it may be.
    """
    if on_disconnect is not None and on_disconnect not in get_args(OnDisconnect):
        raise UsageError(
            f"Expected on_disconnect to be one of {', '.join(map(repr, get_args(OnDisconnect)))}, "
            f"got {on_disconnect!r}."
        )
    _check_seconds("cancel_grace", cancel_grace, "Leave it out for 5 seconds.")
    _check_seconds("timeout", timeout, "Leave it out for no limit.")
    if timeout == 0:
        raise UsageError("Expected timeout to be more than 0 seconds: nothing could be answered.")
    policy = Policy(on_disconnect, cancel_grace, timeout)
    return None if policy == Policy() else policy


def limit_of(max_concurrency: int | ConcurrencyLimit | None) -> ConcurrencyLimit | None:
    """The limit that a place was given.

    Raises:
        UsageError: it is none.
    """
    if max_concurrency is None or isinstance(max_concurrency, ConcurrencyLimit):
        return max_concurrency
    return ConcurrencyLimit(max_concurrency)


def _check_seconds(name: str, value: float | None, otherwise: str) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if value is not None and not (number and isfinite(value) and value >= 0):
        raise UsageError(f"Expected {name} to be a number of seconds, got {value!r}. {otherwise}")
