"""Where suspended code waits, read from what awaits what.

The law: nothing is run, and what cannot be told is "not there".
"""

from __future__ import annotations

import gc
from typing import Any

_LINKS = ("cr_await", "gi_yieldfrom", "ag_await")

# Awaitables of CPython that keep what they await to themselves, python/cpython#76991; the garbage
# collector knows it all the same. trio's own `Task.iter_await_frames` asks it too.
_OPAQUE = frozenset(
    {"coroutine_wrapper", "async_generator_asend", "async_generator_athrow", "anext_awaitable"}
)


def waits_in_trios_checkpoint(steps: Any) -> bool:
    """Whether an awaitable that is suspended, on trio, waits in ``trio.lowlevel.checkpoint()``.

    ``trio.sleep(0)`` does, and much of trio and anyio before it does what it was called for.
    ``cancel_shielded_checkpoint()``, called by others, has nothing to do with it.
    """
    import trio

    code = trio.lowlevel.checkpoint.__code__
    while steps is not None:
        if getattr(steps, "cr_code", None) is code:
            return True
        steps = _awaited_by(steps)
    return False


def _awaited_by(waiting: Any) -> Any:
    for link in _LINKS:
        if hasattr(waiting, link):
            return getattr(waiting, link)
    if type(waiting).__name__ not in _OPAQUE:
        return None
    held = gc.get_referents(waiting)
    return next((each for each in held if _awaits(each)), None)


def _awaits(held: object) -> bool:
    return type(held).__name__ in _OPAQUE or any(hasattr(held, link) for link in _LINKS)
