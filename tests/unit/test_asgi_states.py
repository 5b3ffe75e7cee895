"""The two tables of an exchange: every transition, and what is in none."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hesper._asgi import states
from hesper._asgi.states import (
    REQUEST,
    RESPONSE,
    RequestEvent,
    RequestState,
    ResponseEvent,
    ResponseState,
    next_response_state,
    response_event,
)
from hesper.exceptions import UsageError

IDLE, STARTED, TRAILERS, ENDED, POISONED = ResponseState

START: dict[str, Any] = {"type": "http.response.start", "status": 200}
START_WITH_TRAILERS = {**START, "trailers": True}
CHUNK: dict[str, Any] = {"type": "http.response.body", "body": b"x", "more_body": True}
LAST: dict[str, Any] = {"type": "http.response.body", "body": b"x"}
PATH = {"type": "http.response.pathsend", "path": "/f"}
ZERO_COPY = {"type": "http.response.zerocopysend", "file": 3}
ZERO_COPY_CHUNK = {**ZERO_COPY, "more_body": True}
SOME_TRAILERS = {"type": "http.response.trailers", "headers": [], "more_trailers": True}
LAST_TRAILERS = {"type": "http.response.trailers", "headers": []}
HINT = {"type": "http.response.early_hint", "links": []}
DEBUG = {"type": "http.response.debug", "info": {}}
MESSAGES: list[dict[str, Any]] = [
    START,
    CHUNK,
    LAST,
    PATH,
    ZERO_COPY,
    ZERO_COPY_CHUNK,
    SOME_TRAILERS,
    LAST_TRAILERS,
    HINT,
    DEBUG,
]

ALLOWED: list[tuple[ResponseState, dict[str, Any], bool, ResponseState]] = [
    (IDLE, START, False, STARTED),
    (IDLE, HINT, False, IDLE),
    (IDLE, DEBUG, False, IDLE),
    (STARTED, CHUNK, False, STARTED),
    (STARTED, CHUNK, True, STARTED),
    (STARTED, LAST, False, ENDED),
    (STARTED, LAST, True, TRAILERS),
    (STARTED, PATH, False, ENDED),
    (STARTED, PATH, True, TRAILERS),
    (STARTED, ZERO_COPY, False, ENDED),
    (STARTED, ZERO_COPY, True, TRAILERS),
    (STARTED, ZERO_COPY_CHUNK, False, STARTED),
    (STARTED, HINT, False, STARTED),
    (TRAILERS, SOME_TRAILERS, True, TRAILERS),
    (TRAILERS, LAST_TRAILERS, True, ENDED),
    (TRAILERS, DEBUG, True, TRAILERS),
    *[(ENDED, message, False, ENDED) for message in MESSAGES],
]


def forget() -> None:
    """Lets the next step be looked up in the table."""
    states._steps.clear()


@pytest.mark.parametrize(("state", "message", "trailers", "following"), ALLOWED)
def test_a_message_leads_to_its_state_also_when_asked_again(
    state: ResponseState, message: dict[str, Any], trailers: bool, following: ResponseState
) -> None:
    forget()
    assert next_response_state(state, message, trailers) is following
    assert next_response_state(state, message, trailers) is following


def test_every_transition_that_a_message_makes_is_tested_above() -> None:
    tested = {(state, response_event(message, trailers)) for state, message, trailers, _ in ALLOWED}
    made = {step for step in RESPONSE if step[1] is not ResponseEvent.FAILED}
    assert made - {(ENDED, ResponseEvent.LAST_BEFORE_TRAILERS)} == tested


@pytest.mark.parametrize(
    ("state", "message", "expected"),
    [
        (IDLE, CHUNK, "'http.response.start'"),
        (IDLE, LAST, "'http.response.start'"),
        (IDLE, PATH, "'http.response.start'"),
        (IDLE, LAST_TRAILERS, "'http.response.start'"),
        (STARTED, START, "'http.response.body' or 'http.response.pathsend'"),
        (STARTED, LAST_TRAILERS, "'http.response.body' or 'http.response.pathsend'"),
        (TRAILERS, START, "'http.response.trailers'"),
        (TRAILERS, CHUNK, "'http.response.trailers'"),
        (POISONED, LAST, "nothing: an earlier message could not be sent whole"),
        (POISONED, START, "nothing: an earlier message could not be sent whole"),
        (POISONED, HINT, "nothing: an earlier message could not be sent whole"),
    ],
)
def test_a_message_that_is_not_in_the_table_says_what_was_expected(
    state: ResponseState, message: dict[str, Any], expected: str
) -> None:
    forget()
    with pytest.raises(UsageError) as caught:
        next_response_state(state, message, False)
    assert str(caught.value) == (
        f"Expected {expected}, got {message['type']!r}: "
        "an ASGI app sends one start message and then the body."
    )
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("state", ResponseState)
def test_a_failure_poisons_every_response_that_has_not_ended(state: ResponseState) -> None:
    following = RESPONSE[state, ResponseEvent.FAILED]
    assert following is (ENDED if state is ENDED else POISONED)


def test_the_request_table_is_this() -> None:
    assert REQUEST == {
        (RequestState.EXPECTING, RequestEvent.CHUNK): RequestState.EXPECTING,
        (RequestState.EXPECTING, RequestEvent.LAST_CHUNK): RequestState.COMPLETE,
        (RequestState.EXPECTING, RequestEvent.DISCONNECT): RequestState.CUT,
        (RequestState.COMPLETE, RequestEvent.DISCONNECT): RequestState.GONE,
    }


def test_the_names_for_the_hot_paths_are_the_members() -> None:
    for cls in (RequestState, ResponseState):
        for member in cls:
            assert getattr(states, member.name) is member


def test_a_more_body_that_cannot_be_hashed_counts_as_what_it_is_worth() -> None:
    forget()
    assert next_response_state(STARTED, {**LAST, "more_body": []}, False) is ENDED
    assert next_response_state(STARTED, {**LAST, "more_body": [1]}, False) is STARTED
    assert not states._steps


def test_what_is_not_a_body_message_is_not_remembered() -> None:
    forget()
    for number in range(100):
        next_response_state(IDLE, {"type": f"http.response.x{number}"}, False)
        next_response_state(STARTED, {**CHUNK, "more_body": number + 2}, False)
    assert not states._steps


values = st.one_of(st.booleans(), st.none(), st.integers(), st.lists(st.integers()), st.text())


@given(
    state=st.sampled_from(ResponseState),
    kind=st.sampled_from([message["type"] for message in MESSAGES]) | st.text(),
    more=values,
    trailers=st.booleans(),
)
def test_a_message_leads_to_a_state_or_raises_usage_error(
    state: ResponseState, kind: str, more: object, trailers: bool
) -> None:
    message = {"type": kind, "more_body": more, "more_trailers": more}
    outcomes = []
    for _ in range(2):
        try:
            outcomes.append(next_response_state(state, message, trailers))
        except UsageError as exc:
            outcomes.append(str(exc))  # type: ignore[arg-type]
    assert outcomes[0] == outcomes[1]
