"""The debug page, as text made of an exception: nothing is imported, fetched or stored.

The rules:

1. What comes from outside (texts of exceptions, paths, source, headers) is escaped where it enters
   a template. Values of variables are never shown; headers that hold secrets are masked.
2. The work is bounded: frames, exceptions, and the length of a text each have a limit, so that a
   deep recursion or a long chain makes a page as fast as any other.
3. What an exception says of itself may fail, and then the page says so.
"""

from __future__ import annotations

import functools
import inspect
import linecache
import os.path
import platform
import sysconfig
import traceback
from collections.abc import Callable, Iterator, Mapping
from dis import Positions
from html import escape
from itertools import islice
from types import TracebackType

from hesper.middleware._debug_templates import (
    CENTER_LINE,
    EXCEPTION,
    FRAME_TEMPLATE,
    JS,
    LINE,
    OMITTED,
    REQUEST,
    REQUEST_MARK,
    STYLES,
    TEMPLATE,
)

FIRST_FRAMES, LAST_FRAMES = 10, 40
"""How many frames are shown of the outermost calls, and of the innermost."""

MAX_EXCEPTIONS = 30
"""How many exceptions are shown, of chains and groups together."""

MAX_DEPTH = 8
"""How deep groups are followed into groups."""

MAX_TEXT = 5_000
"""How many characters are shown of an exception's text, a header, or a path."""

MAX_LINE = 500
"""How many characters are shown of a line of source."""

SECRET_HEADERS = {"authorization", "cookie", "proxy-authorization", "set-cookie", "x-api-key"}

FrameWriter = Callable[[inspect.FrameInfo, bool], str]


# -- text that cannot fail ------------------------------------------------------------------------


def cut(text: str, limit: int = MAX_TEXT) -> str:
    """``text``, shortened to ``limit`` characters."""
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text) - limit} more characters)"


def text_of(exc: BaseException) -> str:
    """What an exception says."""
    try:
        return cut(str(exc))
    except Exception as error:
        return f"(its __str__ raised {type(error).__name__})"


def notes_of(exc: BaseException) -> Iterator[str]:
    """What was added to an exception with ``add_note``."""
    notes = getattr(exc, "__notes__", None)
    if isinstance(notes, list):
        yield from (cut(note) for note in notes[:MAX_EXCEPTIONS] if isinstance(note, str))


def name_of(exc: BaseException) -> str:
    """The class of an exception, with its module unless that is ``builtins``."""
    kind = type(exc)
    module = str(kind.__module__)
    return kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}"


def plain_text(exc: BaseException) -> str:
    """The traceback as Python prints it, without the middle of a very deep one."""
    return "".join(traceback.TracebackException.from_exception(exc, limit=-LAST_FRAMES).format())


# -- frames ---------------------------------------------------------------------------------------


def frames_of(tb: TracebackType | None, context: int) -> tuple[list[inspect.FrameInfo], int]:
    """The frames of a traceback, outermost first, and how many were left out of their middle.

    Args:
        context: how many lines of source to read around each.
    """
    found: list[TracebackType] = []
    while tb is not None:
        found.append(tb)
        tb = tb.tb_next
    omitted = len(found) - FIRST_FRAMES - LAST_FRAMES
    if omitted > 0:
        del found[FIRST_FRAMES:-LAST_FRAMES]
    return [_frame_info(each, context) for each in found], max(omitted, 0)


def _frame_info(tb: TracebackType, context: int) -> inspect.FrameInfo:
    # Not by inspect.getinnerframes, which looks for the module of every frame: 1,000 times slower.
    frame, code = tb.tb_frame, tb.tb_frame.f_code
    lineno = tb.tb_lineno or 1  # None for an instruction that has no line
    linecache.checkcache(code.co_filename)
    lines = linecache.getlines(code.co_filename, frame.f_globals)
    start = max(0, min(lineno - 1 - context // 2, len(lines) - context))
    shown = lines[start : start + context] if lineno <= len(lines) else []
    index = lineno - 1 - start if shown else None
    return inspect.FrameInfo(
        frame,
        code.co_filename,
        lineno,
        code.co_qualname,
        shown or None,
        index,
        positions=_positions(tb),
    )


def _positions(tb: TracebackType) -> Positions | None:
    """Where in its line a frame stands, where the interpreter knows (PEP 657)."""
    if tb.tb_lasti < 0:  # a traceback that somebody made by hand
        return None
    return Positions(*next(islice(tb.tb_frame.f_code.co_positions(), tb.tb_lasti // 2, None)))


@functools.cache
def _library_folders() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    own = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    return (own + os.sep, "<", *(paths[name] + os.sep for name in names))


def is_library(filename: str) -> bool:
    """Whether a file belongs to Python, to an installed package, or to Hesper."""
    return filename.startswith(_library_folders())


# -- templates filled in --------------------------------------------------------------------------


def line_html(
    index: int,
    line: str,
    frame_lineno: int,
    frame_index: int,
    positions: Positions | None = None,
) -> str:
    """One line of source; ``positions`` marks what of it is meant."""
    text = line.rstrip("\r\n")
    if index != frame_index:
        code = escape(cut(text, MAX_LINE))
    else:
        code = _marked(text, positions)
    template = CENTER_LINE if index == frame_index else LINE
    return template.format(lineno=frame_lineno - frame_index + index, line=code)


def _marked(text: str, positions: Positions | None) -> str:
    if (
        positions is None
        or positions.lineno != positions.end_lineno
        or positions.col_offset is None
        or positions.end_col_offset is None
        or len(text) > MAX_LINE
    ):
        return escape(cut(text, MAX_LINE))
    # Columns count bytes of UTF-8.
    raw = text.encode("utf-8", "surrogatepass")
    start, end = positions.col_offset, positions.end_col_offset
    before, meant, after = (
        escape(part.decode("utf-8", "replace")) for part in (raw[:start], raw[start:end], raw[end:])
    )
    if not meant or not (before.strip() or after.strip()):
        return before + meant + after  # a whole line that is marked says nothing
    return f"{before}<mark>{meant}</mark>{after}"


def frame_html(frame: inspect.FrameInfo, is_collapsed: bool, code: str) -> str:
    """One frame around its lines."""
    folder, name = os.path.split(frame.filename)
    return FRAME_TEMPLATE.format(
        state="" if is_collapsed else " open",
        kind="library" if is_library(frame.filename) else "app",
        function=escape(cut(frame.function)),
        folder=escape(cut(os.path.join(folder, ""))) if folder else "",
        file=escape(cut(name)),
        lineno=frame.lineno,
        code=code or '<span class="line">The source is not available.</span>\n',
    )


class PageWriter:
    """Writes the exceptions of one page.

    Args:
        context: how many lines of source to show around each frame.
        frame: writes one frame.
    """

    def __init__(self, context: int, frame: FrameWriter) -> None:
        self._context = context
        self._frame = frame
        self._seen: set[int] = set()

    def page(self, exc: BaseException) -> str:
        """The page for an exception, with ``REQUEST_MARK`` in the place of the request."""
        name, text = name_of(exc), text_of(exc)
        return TEMPLATE.format(
            styles=STYLES,
            js=JS,
            title=escape(cut(f"{name}: {text}", 200)),
            name=escape(name),
            text=escape(text),
            request=REQUEST_MARK,
            exceptions=self._chain(exc, 0, "Raised here"),
            plain=escape(plain_text(exc)),
            python=escape(f"{platform.python_implementation()} {platform.python_version()}"),
        )

    def _chain(self, exc: BaseException, depth: int, relation: str) -> str:
        """An exception and, one after the other, those that led to it."""
        parts: list[str] = []
        following: BaseException | None = exc
        while following is not None and id(following) not in self._seen:
            if len(self._seen) == MAX_EXCEPTIONS:
                parts.append(OMITTED.format(what="More exceptions are not shown."))
                break
            self._seen.add(id(following))
            parts.append(self._exception(following, depth, relation))
            if following.__cause__ is not None:
                following, relation = following.__cause__, "Caused by"
            elif following.__suppress_context__:
                following = None
            else:
                following, relation = following.__context__, "While handling"
        return "".join(parts)

    def _exception(self, exc: BaseException, depth: int, relation: str) -> str:
        return EXCEPTION.format(
            relation=relation,
            name=escape(name_of(exc)),
            text=escape(text_of(exc)),
            notes="".join(f'<p class="note">{escape(note)}</p>' for note in notes_of(exc)),
            frames=self._frames(exc),
            members=self._members(exc, depth),
        )

    def _frames(self, exc: BaseException) -> str:
        frames, omitted = frames_of(exc.__traceback__, self._context)
        parts: list[str] = []
        for number, frame in enumerate(reversed(frames)):
            if omitted and number == LAST_FRAMES:
                parts.append(OMITTED.format(what=f"{omitted} frames are not shown."))
            # The frame that raised is open, and so are those of the app: there one looks first.
            parts.append(self._frame(frame, number > 0 and is_library(frame.filename)))
        return "".join(parts)

    def _members(self, exc: BaseException, depth: int) -> str:
        if not isinstance(exc, BaseExceptionGroup):
            return ""
        if depth == MAX_DEPTH:
            return OMITTED.format(what="Groups inside of this one are not shown.")
        members = exc.exceptions
        return "".join(
            self._chain(member, depth + 1, f"Member {number} of {len(members)}")
            for number, member in enumerate(members[:MAX_EXCEPTIONS], 1)
        )


def request_html(method: str, path: str, headers: Mapping[str, str]) -> str:
    """The request, with secrets masked."""
    rows = "".join(
        f"<dt>{escape(cut(name))}</dt><dd>{escape(cut(_masked(name, value)))}</dd>"
        for name, value in headers.items()
    )
    return REQUEST.format(method=escape(cut(method)), path=escape(cut(path)), headers=rows)


def _masked(name: str, value: str) -> str:
    return "(not shown)" if name.lower() in SECRET_HEADERS else value
