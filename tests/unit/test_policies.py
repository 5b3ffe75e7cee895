"""What may be said of a place: what is taken, and what is refused with words."""

from typing import Any

import pytest

from hesper.applications import Hesper
from hesper.exceptions import UsageError
from hesper.policies import ConcurrencyLimit, Policy, limit_of, policy_of
from hesper.routing import Host, Mount, Route, Router, WebSocketRoute


async def endpoint(request: Any) -> None: ...


def test_nothing_said_is_no_policy() -> None:
    assert policy_of(None, None, None) is None
    assert policy_of("continue", None, None) == Policy("continue")
    assert policy_of(None, 0, 2.5) == Policy(None, 0, 2.5)


def test_what_is_said_further_in_counts_each_by_itself() -> None:
    outer = Policy("cancel", 1.0, 10.0)
    assert Policy().within(outer) == outer
    assert Policy("finish").within(outer) == Policy("finish", 1.0, 10.0)
    assert Policy(cancel_grace=0.0).within(outer) == Policy("cancel", 0.0, 10.0)
    assert Policy(timeout=2.0).within(Policy()) == Policy(None, None, 2.0)


@pytest.mark.parametrize("value", ["stop", "", True, 5])
def test_another_word_is_refused(value: Any) -> None:
    with pytest.raises(UsageError) as caught:
        policy_of(value, None, None)
    assert str(caught.value) == (
        f"Expected on_disconnect to be one of 'continue', 'cancel', 'finish', got {value!r}."
    )


@pytest.mark.parametrize("value", [-1, "5", True, float("inf"), float("nan")])
def test_what_is_no_time_is_refused(value: Any) -> None:
    for arguments in ((None, value, None), (None, None, value)):
        with pytest.raises(UsageError, match=r"to be a number of seconds, got .*\. Leave it out"):
            policy_of(*arguments)


def test_no_time_at_all_is_refused() -> None:
    with pytest.raises(UsageError, match="nothing could be answered"):
        policy_of(None, None, 0)


def test_a_limit_is_a_number_or_more() -> None:
    assert limit_of(None) is None
    assert limit_of(7) == ConcurrencyLimit(7, queue=0, retry_after=1)
    limit = ConcurrencyLimit(1, 2, 3)
    assert limit_of(limit) is limit


@pytest.mark.parametrize(
    ("arguments", "name", "least"),
    [
        ((0,), "limit", 1),
        ((1, -1), "queue", 0),
        ((1, 0, -1), "retry_after", 0),
        ((True,), "limit", 1),
        (("5",), "limit", 1),
    ],
)
def test_a_limit_that_is_none_is_refused(arguments: Any, name: str, least: int) -> None:
    with pytest.raises(UsageError, match=f"Expected {name} to be an int of {least} or more, got"):
        ConcurrencyLimit(*arguments)


@pytest.mark.parametrize(
    "place",
    [
        lambda **said: Hesper(**said),
        lambda **said: Router(**said),
        lambda **said: Mount("/", Router(), **said),
        lambda **said: Host("host", Router(), **said),
        lambda **said: Route("/", endpoint, **said),
        lambda **said: WebSocketRoute("/", endpoint, **said),
    ],
)
def test_a_mistake_is_told_where_the_place_is_made(place: Any) -> None:
    for said in ({"on_disconnect": "stop"}, {"timeout": 0}, {"max_concurrency": 0}):
        with pytest.raises(UsageError):
            place(**said)
    place(on_disconnect="cancel", cancel_grace=1, timeout=2, max_concurrency=3)
