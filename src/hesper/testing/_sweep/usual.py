"""The undisturbed run: whether it can be the measure for others.

The law: a request that fails by itself is not swept, because every other run would fail as well.
"""

from hesper.testing._sweep.play import Outcome
from hesper.testing._sweep.report import Usual

# What an application says that uses asyncio itself, when it is run on trio.
_ONLY_ASYNCIO = ("asyncio", "no running event loop", "no current event loop")


def problem_of(outcome: Outcome, may_fail: bool) -> str | None:
    """Returns why a request whose undisturbed run this is cannot be swept, if it cannot."""
    result = outcome.result
    if outcome.idle:
        return None  # that is a violation, and its messages and checkpoints can be counted
    if outcome.hung is not None:
        return f"does not end, not even when the client leaves: it {outcome.hung}"
    if outcome.crashed is not None and not outcome.scope_left:
        return f"broke down with {outcome.crashed!r}"
    if outcome.lifespan is not None and not result.sent:
        return f"was not made, because the application did not start: {outcome.lifespan}"
    if may_fail:
        return None
    if result.raised is not None and not outcome.endless:
        return f"raised {result.raised!r}"
    if not result.sent:
        return "was not answered"
    if result.status is not None and result.status >= 500:
        return f"was answered with {result.status}"
    return None


def needs_asyncio(outcome: Outcome) -> bool:
    """Returns whether a run on trio failed because the application uses asyncio itself."""
    said = [repr(outcome.crashed), repr(outcome.result.raised), str(outcome.lifespan)]
    text = " ".join([*said, *outcome.left.errors])
    return any(phrase in text for phrase in _ONLY_ASYNCIO)


def summary(outcome: Outcome) -> Usual:
    """Returns what the report shows of an undisturbed run."""
    return Usual(
        dialect=outcome.dialect.name,
        backend=outcome.backend,
        messages=len(outcome.result.sent),
        checkpoints=outcome.checkpoints,
        duration=outcome.result.duration,
        endless=outcome.endless,
    )
