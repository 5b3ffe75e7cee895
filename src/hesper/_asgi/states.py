"""The life cycle of an exchange: two tables, one for each direction.

The rules:

1. What is not in a table is not allowed: it raises, and the text says what was expected.
2. ``CUT``, ``GONE`` and ``POISONED`` are for ever. After the first two neither ``receive`` nor
   ``send`` is called again: some servers hang there (hypercorn, daphne).
3. ``POISONED`` means that a send failed, was cancelled or that the body broke. No final message
   follows: granian and gunicorn would show the half body as a whole one.
4. Messages that come after ``ENDED`` are ignored (ASGI HTTP, "Response Body - send event").
"""

from __future__ import annotations

from enum import IntEnum, auto

from hesper.exceptions import UsageError
from hesper.types import Message


class RequestState(IntEnum):
    """What has come from the client."""

    EXPECTING = auto()
    """The body is not complete."""
    COMPLETE = auto()
    """The body is complete; only the disconnect can still come."""
    CUT = auto()
    """The client has left before the body was complete."""
    GONE = auto()
    """The client has left; its body is whole."""


class ResponseState(IntEnum):
    """What has been sent to the client."""

    IDLE = auto()
    """Nothing: an error can still become a response."""
    STARTED = auto()
    """The head, perhaps some of the body."""
    TRAILERS = auto()
    """The whole body; the trailers that the start message announced are due."""
    ENDED = auto()
    """All of it."""
    POISONED = auto()
    """It cannot be ended properly any more."""


# Names for the hot paths: a member looked up in its class takes 60 ns, a global 5 (CPython 3.13).
# IntEnum for the same reason: an Enum is hashed in Python.
EXPECTING, COMPLETE, CUT, GONE = RequestState
IDLE, STARTED, TRAILERS, ENDED, POISONED = ResponseState


class RequestEvent(IntEnum):
    """What a ``receive`` message means."""

    CHUNK = auto()
    LAST_CHUNK = auto()
    DISCONNECT = auto()


class ResponseEvent(IntEnum):
    """What a ``send`` message, or the failure to send one, means."""

    START = auto()
    CHUNK = auto()
    LAST_CHUNK = auto()
    LAST_BEFORE_TRAILERS = auto()
    TRAILERS = auto()
    LAST_TRAILERS = auto()
    EXTENSION = auto()
    """A message that does not change the state: debug, early hints, push, the unknown."""
    FAILED = auto()


REQUEST: dict[tuple[RequestState, RequestEvent], RequestState] = {
    (RequestState.EXPECTING, RequestEvent.CHUNK): RequestState.EXPECTING,
    (RequestState.EXPECTING, RequestEvent.LAST_CHUNK): RequestState.COMPLETE,
    (RequestState.EXPECTING, RequestEvent.DISCONNECT): RequestState.CUT,
    (RequestState.COMPLETE, RequestEvent.DISCONNECT): RequestState.GONE,
}

RESPONSE: dict[tuple[ResponseState, ResponseEvent], ResponseState] = {
    (ResponseState.IDLE, ResponseEvent.START): ResponseState.STARTED,
    (ResponseState.IDLE, ResponseEvent.EXTENSION): ResponseState.IDLE,
    (ResponseState.IDLE, ResponseEvent.FAILED): ResponseState.POISONED,
    (ResponseState.STARTED, ResponseEvent.CHUNK): ResponseState.STARTED,
    (ResponseState.STARTED, ResponseEvent.LAST_CHUNK): ResponseState.ENDED,
    (ResponseState.STARTED, ResponseEvent.LAST_BEFORE_TRAILERS): ResponseState.TRAILERS,
    (ResponseState.STARTED, ResponseEvent.EXTENSION): ResponseState.STARTED,
    (ResponseState.STARTED, ResponseEvent.FAILED): ResponseState.POISONED,
    (ResponseState.TRAILERS, ResponseEvent.TRAILERS): ResponseState.TRAILERS,
    (ResponseState.TRAILERS, ResponseEvent.LAST_TRAILERS): ResponseState.ENDED,
    (ResponseState.TRAILERS, ResponseEvent.EXTENSION): ResponseState.TRAILERS,
    (ResponseState.TRAILERS, ResponseEvent.FAILED): ResponseState.POISONED,
    (ResponseState.POISONED, ResponseEvent.FAILED): ResponseState.POISONED,
} | {(ResponseState.ENDED, event): ResponseState.ENDED for event in ResponseEvent}

EXPECTED = {
    ResponseState.IDLE: "'http.response.start'",
    ResponseState.STARTED: "'http.response.body' or 'http.response.pathsend'",
    ResponseState.TRAILERS: "'http.response.trailers'",
    ResponseState.POISONED: "nothing: an earlier message could not be sent whole",
}


def response_event(message: Message, trailers: bool) -> ResponseEvent:
    """What a message means; ``trailers`` says whether the start message announced some."""
    match message["type"]:
        case "http.response.start":
            return ResponseEvent.START
        case "http.response.body" | "http.response.zerocopysend":
            if message.get("more_body", False):
                return ResponseEvent.CHUNK
        case "http.response.pathsend":
            pass
        case "http.response.trailers":
            if message.get("more_trailers", False):
                return ResponseEvent.TRAILERS
            return ResponseEvent.LAST_TRAILERS
        case _:
            return ResponseEvent.EXTENSION
    return ResponseEvent.LAST_BEFORE_TRAILERS if trailers else ResponseEvent.LAST_CHUNK


_steps: dict[tuple[ResponseState, object, object, bool], ResponseState] = {}
"""What ``next_response_state`` found before, for body messages: a third of its time."""


def next_response_state(state: ResponseState, message: Message, trailers: bool) -> ResponseState:
    """The state that a message leads to.

    Args:
        trailers: whether the start message announced some.

    Raises:
        UsageError: the ASGI specification does not allow the message here.
    """
    kind = message["type"]
    step = (state, kind, message.get("more_body", False), trailers)
    try:
        return _steps[step]
    except (KeyError, TypeError):  # a more_body that cannot be hashed is for the table to judge
        pass
    try:
        following = RESPONSE[state, response_event(message, trailers)]
    except KeyError:
        raise UsageError(
            f"Expected {EXPECTED[state]}, got {kind!r}: "
            "an ASGI app sends one start message and then the body."
        ) from None
    if kind in {"http.response.start", "http.response.body"} and isinstance(step[2], bool):
        _steps[step] = following
    return following
