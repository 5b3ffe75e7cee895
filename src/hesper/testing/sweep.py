"""The sweep: proves what an application does at every possible ending.

It makes a request once and counts its messages and its checkpoints, the suspensions of all its
tasks. Then it makes it again and again: the client leaves at each message, and at each checkpoint;
the server cancels the application, and shuts down, at each checkpoint; as each server does it, on
asyncio and on trio, in virtual time::

    def test_the_stream_ends_well() -> None:
        Sweep(app).get("/stream").assert_clean()

The law: what it reports has happened in a run, which the violation's `replay` repeats.
"""

from hesper.testing._sweep.checks import CODES
from hesper.testing._sweep.middleware import check_middleware, sweep_middleware
from hesper.testing._sweep.plan import USUAL_DIALECTS, Options
from hesper.testing._sweep.play import KINDS, Event, Outcome
from hesper.testing._sweep.report import Report, Suppression, Usual, Violation
from hesper.testing._sweep.requests import Sweep, SweptRequest

__all__ = [
    "CODES",
    "KINDS",
    "USUAL_DIALECTS",
    "Event",
    "Options",
    "Outcome",
    "Report",
    "Suppression",
    "Sweep",
    "SweptRequest",
    "Usual",
    "Violation",
    "check_middleware",
    "sweep_middleware",
]
