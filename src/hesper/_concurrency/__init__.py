"""The one seam to the event loop: asyncio by hand where that is faster, anyio for everything else.

What differs between the loops has one form here:

- ``spawn``: a child task that may be started in the middle of a handler, where no nursery can be
  opened. asyncio: a task, eager on 3.12+ (it runs at once up to its first real wait, about 2 µs
  against 15 µs for a task that goes through the loop). trio: a system task in a scope of its own.
- ``interruptible``: a stretch of a task's own code that another task may cancel, once. asyncio:
  ``Task.cancel`` with the accounting of ``asyncio.timeout``, so that a real cancellation which comes
  at the same moment is still seen. trio: a cancel scope.
- ``Grace``: code that is cancelled gets the cancel once and may then await, for a bounded time.
- ``run_in_thread``: context variables that a thread sets come back.
"""

from __future__ import annotations

from hesper._concurrency.baton import new_baton
from hesper._concurrency.children import Child, outlast, spawn, spawn_here, wait_at_most
from hesper._concurrency.grace import Grace
from hesper._concurrency.interrupts import Interruptible, deliver_again, interruptible
from hesper._concurrency.leash import Interrupted, leashed, leashed_from, resumed
from hesper._concurrency.loops import (
    Event,
    Signal,
    cancelled_type,
    checkpoint,
    loop_token,
    new_event,
    new_signal,
    now,
    on_asyncio,
    running_loop,
)
from hesper._concurrency.threads import adopt, run_in_thread

__all__ = [
    "Child",
    "Event",
    "Grace",
    "Interrupted",
    "Interruptible",
    "Signal",
    "adopt",
    "cancelled_type",
    "checkpoint",
    "deliver_again",
    "interruptible",
    "leashed",
    "leashed_from",
    "loop_token",
    "new_baton",
    "new_event",
    "new_signal",
    "now",
    "on_asyncio",
    "outlast",
    "resumed",
    "run_in_thread",
    "running_loop",
    "spawn",
    "spawn_here",
    "wait_at_most",
]
