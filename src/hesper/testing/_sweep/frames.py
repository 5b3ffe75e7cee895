"""Reads suspended coroutines: what awaits what, and what would be lost if that ended here.

The law: everything is read from frames and code objects, nothing is run and no source is needed.
CPython keeps, for each instruction, where an exception in it goes (``Objects/exception_handling_
notes.txt`` in its source); from that table one sees whether a frame is inside a ``try`` or a
``with``, and whether it is on the way out of one with an exception.
"""

import asyncio
import dis
import gc
import linecache
import sys
from bisect import bisect_right
from collections.abc import Iterable
from functools import lru_cache
from inspect import CO_ASYNC_GENERATOR, CO_GENERATOR
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

import anyio

_TESTING = str(Path(__file__).parents[1])
_LOOPS = [str(Path(str(library.__file__)).parent) for library in (asyncio, anyio)]
_LOOP_NAMES = ("/trio/", "/uvloop/")

# Awaitables of CPython that keep what they await to themselves, python/cpython#76991.
_OPAQUE = frozenset(
    {"async_generator_asend", "async_generator_athrow", "coroutine_wrapper", "anext_awaitable"}
)


class Place(NamedTuple):
    """A line that was about to be continued."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        source = linecache.getline(self.file, self.line).strip()
        return f"{self.file}:{self.line} in {self.function}" + (f": {source}" if source else "")


def awaiting(coroutine: Any) -> list[FrameType]:
    """Returns the frames of a suspended coroutine, and of all that it awaits, outermost first."""
    frames: list[FrameType] = []
    while coroutine is not None:
        for frame_name, next_name in _LINKS:
            frame = getattr(coroutine, frame_name, None)
            if frame is not None:
                frames.append(frame)
                coroutine = getattr(coroutine, next_name) or _driven_by(frame)
                break
        else:
            coroutine = _within(coroutine) if type(coroutine).__name__ in _OPAQUE else None
    return frames


_LINKS = (("cr_frame", "cr_await"), ("ag_frame", "ag_await"), ("gi_frame", "gi_yieldfrom"))


def _driven_by(frame: FrameType) -> Any:
    """What a generator drives by hand, if it does: Hesper's rim does."""
    if not frame.f_code.co_flags & CO_GENERATOR:
        return None
    for value in frame.f_locals.values():
        if type(value).__name__ == "coroutine_wrapper" or getattr(value, "cr_suspended", False):
            return value
    return None


def _within(opaque: Any) -> Any:
    for referent in gc.get_referents(opaque):
        if type(referent).__name__ in _OPAQUE or any(hasattr(referent, f) for f, _ in _LINKS):
            return referent
    return None


def running(frame: FrameType | None) -> list[FrameType]:
    """Returns a running frame and its callers, outermost first."""
    frames = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames[::-1]


def places(frames: Iterable[FrameType]) -> tuple[Place, ...]:
    """Returns the frames that are the application's: what stands between the server's, without
    the event loop's."""
    found: list[Place] = []
    for frame in frames:
        code = frame.f_code
        if not code.co_filename.startswith(_TESTING):
            if not _is_loop(code):
                found.append(place_in(frame))
        elif code.co_name in ("receive_watched", "send_watched"):
            break
        else:
            found.clear()
    return tuple(found)


def place_in(frame: FrameType) -> Place:
    """Returns where a frame stands."""
    return Place(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_qualname)


def place_of(code: CodeType) -> Place:
    """Returns where a function begins."""
    return Place(code.co_filename, code.co_firstlineno, code.co_qualname)


def unguarded(frame: FrameType) -> bool:
    """Returns whether a suspended frame is in no ``try`` and no ``with``: its end loses nothing."""
    return all(kind == "end" for kind in _handlers(frame.f_code, frame.f_lasti))


def cleanup_in(frames: list[FrameType]) -> FrameType | None:
    """Returns the innermost frame that is cleaning up, in a place that an exception would end.

    That is an ``except`` or ``finally`` block that was entered by an exception, or the exit of an
    ``async with``. Exits of task groups and scopes do not count, they outlast cancellations; nor
    does an await that has a ``try`` or ``with`` of its own, which may be made for them.
    """
    outlasts = False
    for frame in reversed(frames):
        code = frame.f_code
        if code.co_filename.endswith("contextlib.py"):
            continue
        if _is_loop(code):
            outlasts = code.co_name == "__aexit__"
            continue
        if not outlasts and _cleans_up(frame):
            return frame
        # The exit of a context manager that is made of one that outlasts does so as well.
        is_exit = code.co_name == "__aexit__" or bool(code.co_flags & CO_ASYNC_GENERATOR)
        outlasts = outlasts and is_exit
    return None


class Arrival:
    """Whether an exception arrives in a frame that is suspended now, while the block runs.

    Args:
        frame: the frame; what it awaits may keep the exception to itself. None is no frame.
        kind: the class of the exception.
    """

    def __init__(self, frame: FrameType | None, kind: type[BaseException]) -> None:
        self.places: tuple[Place, ...] = ()
        """Where the frame stood, if it did."""
        self._frame = frame
        self._kind = kind
        self._stood = () if frame is None else (place_in(frame),)

    def __enter__(self) -> None:
        if self._frame is not None:
            self._tracers = sys.gettrace(), self._frame.f_trace
            sys.settrace(self._on_call)

    def __exit__(self, *_: object) -> None:
        if self._frame is not None:
            sys.settrace(self._tracers[0])
            self._frame.f_trace = self._tracers[1]

    def _on_call(self, frame: FrameType, event: str, arg: Any) -> Any:
        return self._on_event if frame is self._frame else None

    def _on_event(self, frame: FrameType, event: str, arg: Any) -> Any:
        if event == "exception" and issubclass(arg[0], self._kind):
            self.places = self._stood
        return self._on_event


def _cleans_up(frame: FrameType) -> bool:
    for kind in _handlers(frame.f_code, frame.f_lasti):
        if kind == "leave":
            return True
        if kind == "enter":
            return False
    return False


@lru_cache(maxsize=4096)
def _is_loop(code: CodeType) -> bool:
    name = code.co_filename
    return name.startswith((_TESTING, *_LOOPS)) or any(part in name for part in _LOOP_NAMES)


@lru_cache(maxsize=4096)
def _handlers(code: CodeType, at: int) -> tuple[str, ...]:
    """Where an exception at an instruction would go, from the inside out.

    ``"enter"`` is an ``except``, ``finally`` or ``with``; ``"leave"`` is the end of one that is
    running, for an exception; ``"end"`` is the end of the function. What compilers add is left out.
    """
    starts, ends, targets = _table(code)
    found: list[str] = []
    while True:
        index = bisect_right(starts, at) - 1
        if index < 0 or at >= ends[index]:
            return tuple(found)
        at = targets[index]
        kind = _KINDS.get(dis.opname[code.co_code[at]])
        if kind is not None:
            found.append(kind)


_KINDS = {"PUSH_EXC_INFO": "enter", "COPY": "leave", "CALL_INTRINSIC_1": "end"}


@lru_cache(maxsize=1024)
def _table(code: CodeType) -> tuple[list[int], list[int], list[int]]:
    entries = dis.Bytecode(code).exception_entries  # type: ignore[attr-defined]
    return (
        [entry.start for entry in entries],
        [entry.end for entry in entries],
        [entry.target for entry in entries],
    )
