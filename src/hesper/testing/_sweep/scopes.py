"""Which cancel scope the current task is in, and whether it is about to be cancelled.

The law: only identities are given; anyio and trio keep the rest to themselves. Where a later
version keeps it elsewhere, nothing is found, and so nothing is said.
"""

import asyncio
import sys
from typing import Any


def current_scope() -> Any:
    """Returns the innermost cancel scope of this task; compare it by identity."""
    task = _asyncio_task()
    if task is None:
        trio: Any = sys.modules["trio"]
        return trio.lowlevel.current_task()._cancel_status
    from anyio._backends import _asyncio

    return getattr(_asyncio._task_states.get(task), "cancel_scope", None)


def cancel_pending() -> bool:
    """Returns whether this task was cancelled, and has not been told."""
    return bool(getattr(_asyncio_task(), "_must_cancel", False))


def _asyncio_task() -> "asyncio.Task[Any] | None":
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None
