"""What an exchange is for its client: a head, an end, or the chance to leave before both.

The law: the two clients see the same of one exchange, each in the classes of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hesper._testclient.exchanges import HTTPExchange


class LeavingRequest:
    """A request that is with the application; its client does not wait for the response.

    Args:
        leave: leaves, and does not wait.
    """

    def __init__(self, leave: Callable[[], object]) -> None:
        self._leave = leave

    def disconnect(self) -> None:
        """Leaves, now, without waiting for the application; a second call does nothing."""
        self._leave()


def head_of(exchange: HTTPExchange) -> dict[str, Any]:
    """Status, headers and extensions of a response; without a head the 500 that a server would
    send."""
    result, head, debug = exchange.result, exchange.head, exchange.debug
    extensions: dict[str, Any] = {"http_version": b"HTTP/1.1"}
    if debug is not None:
        extensions["http.response.debug"] = debug
    if head is not None and head.get("trailers", False):
        extensions["http.response.trailers"] = result.trailers
    return {
        "status_code": 500 if result.status is None else result.status,
        "headers": result.raw_headers,
        "extensions": extensions,
    }


def tell_template(response: Any, exchange: HTTPExchange) -> None:
    """Sets the template of a response, and its context, if the application told about them."""
    for name in ("template", "context"):
        if exchange.debug is not None and name in exchange.debug:
            setattr(response, name, exchange.debug[name])


def check(
    exchange: HTTPExchange, raise_server_exceptions: bool, broken: Callable[[str], Exception]
) -> None:
    """Raises what went wrong with an exchange that has ended.

    Raises:
        BaseException: what the application raised, if ``raise_server_exceptions``.
        AssertionError: it returned without a whole body, if ``raise_server_exceptions``.
        Exception: that of ``broken``: it ended within its response, which a client sees as well.
    """
    failure = exchange.failure
    if failure is not None and (raise_server_exceptions or not isinstance(failure, Exception)):
        raise failure
    if exchange.whole or exchange.left_early:
        return
    if raise_server_exceptions:
        raise AssertionError(
            "TestClient did not receive any response: the application returned before it sent one."
            if exchange.head is None
            else "The application returned within its response: send a last http.response.body "
            "without more_body."
        )
    if exchange.head is not None:
        raise broken("The application ended within its response.")
