"""The answer to an error that nothing else answers, and the debug page."""

import inspect
import linecache
import re
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from dis import Positions
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hesper.exceptions import UsageError
from hesper.middleware import _debug_page, errors
from hesper.middleware.errors import ServerErrorMiddleware
from hesper.requests import Request
from hesper.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from hesper.testing import ScriptedServer
from hesper.types import ASGIApp, Receive, Scope, Send

HOSTILE = "<script>alert('&\"')</script><!-- request --></title></pre>{styles}"
BROWSER = {"accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"}


class Boom(Exception):
    """What the apps of these tests raise."""


def raising(exc: Exception) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise exc

    return app


def raised(function: Callable[[], object]) -> Exception:
    """The error that a function raises."""
    try:
        function()
    except Exception as exc:
        return exc
    raise AssertionError("it raised nothing")


def page(exc: Exception, limit: int = 7) -> str:
    return ServerErrorMiddleware(raising(exc), debug=True).generate_html(exc, limit)


class Reader(HTMLParser):
    """What a browser makes of a page: its elements, and their text."""

    void = frozenset({"meta"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.frames: list[bool] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in self.void:
            self.open.append(tag)
        names = dict(attrs)
        if tag == "details" and str(names["class"]).startswith("frame"):
            self.frames.append("open" in names)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.setdefault(self.open[-1] if self.open else "", []).append(data)

    def text(self, tag: str) -> str:
        return "".join(self.texts[tag])


# -- the answer -----------------------------------------------------------------------------------


async def test_an_error_becomes_a_500_that_says_nothing_and_goes_on_to_the_server() -> None:
    error = Boom("the password is hunter2")
    result = await ScriptedServer(ServerErrorMiddleware(raising(error))).get().run()
    assert (result.status, result.text) == (500, "Internal Server Error")
    assert result.headers["content-type"] == "text/plain; charset=utf-8"
    assert result.raised is error
    assert (error.__cause__, error.__context__) == (None, None)
    assert result.violations == []


async def test_a_handler_makes_the_answer_in_the_loop_or_in_a_thread() -> None:
    threads: list[bool] = []
    given: list[object] = []

    def answer(request: Request[Any], exc: Exception) -> Response:
        given.append(exc)
        threads.append(threading.current_thread() is threading.main_thread())
        return JSONResponse({"path": request.url.path}, 503)

    async def async_answer(request: Request[Any], exc: Exception) -> Response:
        return answer(request, exc)

    error = Boom()
    for handler in (answer, async_answer):
        app = ServerErrorMiddleware(raising(error), handler=handler)
        result = await ScriptedServer(app).get("/a").run()
        assert (result.status, result.text) == (503, '{"path":"/a"}')
        assert result.raised is error
    assert threads == [False, True]
    assert given == [error, error]


async def test_a_handler_that_returns_nothing_is_named() -> None:
    async def on_error(request: Request[Any], exc: Exception) -> None: ...

    error = Boom()
    result = await ScriptedServer(ServerErrorMiddleware(raising(error), on_error)).get().run()
    assert isinstance(result.raised, UsageError)
    assert on_error.__qualname__ in str(result.raised)
    assert result.raised.__cause__ is error
    assert result.messages == []


async def test_an_error_after_the_start_message_only_goes_on() -> None:
    error = Boom()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise error

    result = await ScriptedServer(ServerErrorMiddleware(app, debug=True)).get().run()
    assert result.raised is error
    assert result.types == ["http.response.start", "http.response.body"]


async def test_an_app_without_errors_passes() -> None:
    result = await ScriptedServer(ServerErrorMiddleware(PlainTextResponse("fine"))).get().run()
    assert (result.raised, result.text) == (None, "fine")


async def test_a_client_that_left_is_no_error() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await Request[Any](scope, receive, send).body()

    script = ScriptedServer(ServerErrorMiddleware(app)).post(body=b"a", unfinished=True)
    result = await script.leave_after_request().run()
    assert (result.raised, result.messages) == (None, [])


async def test_other_scopes_pass() -> None:
    error = Boom()
    app = ServerErrorMiddleware(raising(error), debug=True)
    result = await ScriptedServer(app).websocket().run()
    assert result.raised is error
    assert result.messages == []


async def test_what_is_no_exception_is_not_answered() -> None:
    sent: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise SystemExit

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    with pytest.raises(SystemExit):
        await ServerErrorMiddleware(app, debug=True)(scope, receive, send)
    assert sent == []


# -- which debug answer ---------------------------------------------------------------------------


async def test_with_debug_a_browser_gets_a_page_and_others_get_text() -> None:
    error = Boom("why")
    server = ScriptedServer(ServerErrorMiddleware(raising(error), debug=True))
    result = await server.get("/a?b=c", headers=BROWSER).run()
    assert result.raised is error
    assert (result.status, result.headers["content-type"]) == (500, "text/html; charset=utf-8")
    reader = Reader(result.text)
    assert "GET" in reader.text("b")
    assert "/a?b=c" in reader.text("summary")
    result = await server.get("/a").run()
    assert (result.status, result.headers["content-type"]) == (500, "text/plain; charset=utf-8")
    assert result.text.startswith("Traceback (most recent call last):")
    assert result.text.endswith("Boom: why\n")


async def test_with_debug_the_traceback_goes_before_the_handlers_answer() -> None:
    # As in Starlette.
    app = ServerErrorMiddleware(raising(Boom("why")), lambda r, e: PlainTextResponse("mine"), True)
    assert (await ScriptedServer(app).get().run()).text.endswith("Boom: why\n")


async def test_the_page_is_made_in_a_thread() -> None:
    threads: list[bool] = []

    class Mine(ServerErrorMiddleware):
        def generate_plain_text(self, exc: Exception) -> str:
            threads.append(threading.current_thread() is threading.main_thread())
            return "mine"

    result = await ScriptedServer(Mine(raising(Boom()), debug=True)).get().run()
    assert result.text == "mine"
    assert threads == [False]


async def test_every_step_can_be_overridden() -> None:
    class Mine(ServerErrorMiddleware):
        def error_response(self, request: Request[Any], exc: Exception) -> Response:
            return HTMLResponse("<p>sorry", 500)

        def generate_html(self, exc: Exception, limit: int = 7) -> str:
            return super().generate_html(exc, 1)

        def generate_frame_html(self, frame: inspect.FrameInfo, is_collapsed: bool) -> str:
            return f"[{super().generate_frame_html(frame, is_collapsed)}]"

        def format_line(self, index: int, line: str, *args: Any) -> str:
            return f"<i>{index}</i>"

    assert (await ScriptedServer(Mine(raising(Boom()))).get().run()).text == "<p>sorry"
    server = ScriptedServer(Mine(raising(Boom()), debug=True))
    text = (await server.get(headers=BROWSER).run()).text
    assert "[<details" in text
    assert "<i>0</i>" in text
    assert "<i>1</i>" not in text


# -- what the page shows --------------------------------------------------------------------------


def fail_here() -> None:
    secret_local = "hunter2"
    values = {"ключ": len(secret_local)}
    values["ключ"] + values["missing"]


def test_the_page_shows_the_error_its_frames_and_its_source_but_no_locals() -> None:
    text = page(raised(fail_here))
    reader = Reader(text)
    assert reader.text("h1") == "KeyError"
    assert "fail_here" in text
    assert (
        '    values["ключ"] + <mark>values["missing"]</mark>'.replace('"', "&quot;").replace(
            "=&quot;", '="'
        )
        in text
    )
    assert reader.text("mark") == 'values["missing"]'
    assert text.count("hunter2") == 1  # the source line, not the value
    assert f"test_errors.py:{fail_here.__code__.co_firstlineno + 3}" in text
    assert sys.version.split()[0] in text


def test_the_page_needs_nothing_from_elsewhere() -> None:
    text = page(raised(fail_here))
    assert not re.search(r"https?:|src=|href=|@import|url\(", text)
    assert "prefers-color-scheme: dark" in text


def test_frames_are_shown_from_the_innermost_and_those_of_libraries_are_collapsed() -> None:
    import json

    def decode() -> None:
        json.loads("{", object_hook=lambda value: value)

    error = raised(decode)
    text = page(error)
    reader = Reader(text)
    names = re.findall(r'class="function">([^<]*)<', text)
    assert names[0].endswith("raw_decode")
    assert names[-1] == "raised"
    assert names[-2].endswith("decode")
    assert reader.frames[0]  # what raised is open, though it is a library
    assert reader.frames[1:-2] == [False] * (len(names) - 3)
    assert reader.frames[-2:] == [True, True]


def test_causes_and_contexts_are_shown_in_their_order() -> None:
    def fail() -> None:
        try:
            try:
                raise ValueError("first")
            except ValueError:
                raise KeyError("second")
        except KeyError as exc:
            raise Boom("third") from exc

    text = page(raised(fail))
    relations = re.findall(r'class="relation">([^<]*)<', text)
    assert relations == ["Raised here", "Caused by", "While handling"]
    assert [*re.findall(r"<h2>([^<]*)<", text)] == [f"{__name__}.Boom", "KeyError", "ValueError"]


def test_a_suppressed_context_is_not_shown() -> None:
    def fail() -> None:
        try:
            raise ValueError("first")
        except ValueError:
            raise Boom("second") from None

    assert "ValueError" not in re.findall(r"<h2>([^<]*)<", page(raised(fail)))


def test_a_chain_that_goes_round_ends() -> None:
    first, second = Boom("first"), Boom("second")
    first.__cause__, second.__cause__ = second, first
    assert len(re.findall("<h2>", page(first))) == 2


def test_the_members_of_a_group_are_shown_with_their_own_chains() -> None:
    cause, member = ValueError("cause"), Boom("member")
    member.__cause__ = cause
    group = ExceptionGroup("outer", [member, ExceptionGroup("inner", [KeyError("deep")])])
    text = page(group)
    relations = re.findall(r'class="relation">([^<]*)<', text)
    assert relations == [
        *("Raised here", "Member 1 of 2", "Caused by", "Member 2 of 2", "Member 1 of 1"),
    ]
    assert Reader(text).open == []


def test_notes_are_shown() -> None:
    error = Boom()
    error.add_note("look at the config")
    text = page(error)
    assert '<p class="note">look at the config</p>' in text
    error.__notes__ = "no list"  # type: ignore[assignment]
    assert 'class="note"' not in page(error)


# -- lines ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("positions", "html"),
    [
        (None, "a &lt; b + é"),
        (Positions(3, 3, 0, 1), "<mark>a</mark> &lt; b + é"),
        (Positions(3, 3, 8, 10), "a &lt; b + <mark>é</mark>"),
        (Positions(3, 3, 0, 10), "a &lt; b + é"),  # the whole line
        (Positions(3, 3, 4, 4), "a &lt; b + é"),  # nothing
        (Positions(3, 4, 0, 1), "a &lt; b + é"),  # it goes on in the next line
        (Positions(3, 3, None, None), "a &lt; b + é"),
        (Positions(3, 3, 0, None), "a &lt; b + é"),
    ],
)
def test_a_line_is_escaped_and_what_is_meant_is_marked(positions: Any, html: str) -> None:
    middleware = ServerErrorMiddleware(raising(Boom()))
    line = middleware.format_line(2, "a < b + é\n", 3, 2, positions)
    assert line == errors.CENTER_LINE.format(lineno=3, line=html)
    other = middleware.format_line(0, "a < b + é\n", 3, 2, positions)
    assert other == errors.LINE.format(lineno=1, line="a &lt; b + é")


def test_a_long_line_is_cut() -> None:
    line = ServerErrorMiddleware(raising(Boom())).format_line(
        0, "x" * 100_000, 1, 0, Positions(1, 1, 0, 1)
    )
    assert len(line) < 1000
    assert "(99500 more characters)" in line


@pytest.mark.parametrize("limit", [1, 3, 7, 1000])
def test_the_limit_is_the_number_of_lines_around_a_frame(limit: int) -> None:
    numbers = re.findall(r'class="number">(\d+)<', page(raised(fail_here), limit))
    total = len(linecache.getlines(__file__))
    assert len(numbers) == 2 * min(limit, total)
    here = fail_here.__code__.co_firstlineno + 3
    assert str(here) in numbers


def test_the_first_and_the_last_lines_of_a_file_can_be_shown() -> None:
    linecache.cache["edges.py"] = (0, None, [f"line{number}\n" for number in range(9)], "edges.py")
    try:
        for lineno, expected in [(1, "1234567"), (9, "3456789"), (5, "2345678"), (10, "")]:
            code = compile("\n" * (lineno - 1) + "1 / 0", "edges.py", "exec")
            error = raised(lambda code=code: exec(code))  # type: ignore[misc]
            assert error.__traceback__ is not None
            text = Reader(page(error)).text("span")
            shown = "".join(re.findall(r"line(\d)", text))
            assert shown == "".join(str(int(digit) - 1) for digit in expected)
            assert ("The source is not available." in text) is (expected == "")
    finally:
        del linecache.cache["edges.py"]


def test_a_frame_in_a_folder_shows_it_and_one_without_shows_none() -> None:
    for filename, folder in [("/srv/app/main.py", "/srv/app/"), ("main.py", "")]:
        error = raised(lambda name=filename: exec(compile("1 / 0", name, "exec")))  # type: ignore[misc]
        assert f'<span class="place">{folder}<b>main.py:1</b></span>' in page(error)


# -- hostile input --------------------------------------------------------------------------------


async def test_hostile_paths_headers_and_texts_are_escaped() -> None:
    error = Boom(HOSTILE)
    error.add_note(HOSTILE)
    hostile_class = type(HOSTILE, (Boom,), {"__module__": HOSTILE})
    error.__cause__ = hostile_class(HOSTILE)
    app = ServerErrorMiddleware(raising(error), debug=True)
    scope: dict[str, Any] = {
        "type": "http",
        "method": HOSTILE,
        "path": HOSTILE,
        "query_string": HOSTILE.encode(),
        "headers": [
            (b"accept", b"text/html"),
            (b"x-" + HOSTILE.encode(), HOSTILE.encode()),
            (b"cookie", b"session=hunter2"),
            (b"authorization", b"Basic hunter2"),
        ],
    }
    response = await app.answer(Request(scope), error)
    text = response.body.decode()
    plain = Reader(page(Boom("plain"))).tags
    reader = Reader(text)
    assert set(reader.tags) - set(plain) <= {"b", "dl", "dt", "dd"}
    assert reader.tags.count("script") == plain.count("script") == 1
    assert text.count(HOSTILE) == 0
    assert reader.text("h1") == f"{__name__}.Boom"
    assert HOSTILE in reader.text("dd")
    assert f"{HOSTILE}?{HOSTILE}" in reader.text("summary")
    assert "hunter2" not in text
    assert reader.text("dd").endswith("(not shown)(not shown)")


def test_hostile_source_function_and_file_names_are_escaped() -> None:
    code = compile(f"def f():\n    raise Boom\n    {HOSTILE!r}\nf()", HOSTILE, "exec")
    lines = [f"{HOSTILE}\n"] * 4
    linecache.cache[HOSTILE] = (0, None, lines, HOSTILE)
    inner = next(const for const in code.co_consts if isinstance(const, types.CodeType))
    renamed = inner.replace(co_name=HOSTILE, co_qualname=HOSTILE)
    code = code.replace(
        co_consts=tuple(renamed if const is inner else const for const in code.co_consts)
    )
    try:
        text = page(raised(lambda: exec(code, {"Boom": Boom})))
    finally:
        del linecache.cache[HOSTILE]
    reader = Reader(text)
    assert reader.tags.count("script") == 1
    # The function's name, and three lines in each of two frames; the fourth has a mark inside.
    assert reader.text("span").count(HOSTILE) == 7
    assert text.count(HOSTILE) == 0


def test_the_bodies_can_be_sent_whatever_is_in_them() -> None:
    error = Boom("\udcff\x00")
    middleware = ServerErrorMiddleware(raising(error))
    for accept in (b"text/html", b"*/*"):
        scope = {
            "type": "http",
            "method": "GET",
            "path": "/\udcff",
            "headers": [(b"accept", accept)],
        }
        assert rb"\udcff" in middleware.debug_response(Request(scope), error).body


class Mute(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")

    __repr__ = __str__


def test_an_exception_that_cannot_say_what_it_is_has_a_page() -> None:
    text = page(Mute())
    assert "(its __str__ raised ValueError)" in text
    assert "Mute" in text
    assert "KeyError" in page(KeyError(Mute()))
    middleware = ServerErrorMiddleware(raising(Mute()))
    assert "Mute" in middleware.generate_plain_text(Mute())


def test_a_traceback_made_by_hand_has_a_page() -> None:
    error = raised(fail_here)
    assert error.__traceback__ is not None
    frame = error.__traceback__.tb_frame
    made = Boom().with_traceback(types.TracebackType(None, frame, -1, frame.f_lineno))
    reader = Reader(page(made))
    assert reader.frames == [True]
    assert "mark" not in reader.tags


@settings(max_examples=50)
@given(st.text())
def test_any_text_of_an_exception_arrives_as_text(text: str) -> None:
    reader = Reader(page(Boom(text)))
    assert reader.tags.count("script") == 1
    assert text in reader.text("p")


# -- limits ---------------------------------------------------------------------------------------


def recurse(depth: int) -> None:
    if depth == 0:
        raise Boom("deep")
    recurse(depth - 1)


@pytest.fixture
def deep_stack() -> Iterator[None]:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    yield
    sys.setrecursionlimit(before)


@pytest.mark.usefixtures("deep_stack")
def test_a_deep_recursion_makes_a_short_page_soon() -> None:
    error = raised(lambda: recurse(10_000))
    began = time.process_time()
    text = page(error)
    middleware = ServerErrorMiddleware(raising(error))
    plain = middleware.generate_plain_text(error)
    # Measured 20 ms.
    assert time.process_time() - began < 1
    shown = _debug_page.FIRST_FRAMES + _debug_page.LAST_FRAMES
    assert len(Reader(text).frames) == shown
    assert f"{10_003 - shown} frames are not shown." in text
    assert len(text) < 100_000
    assert len(plain) < 10_000
    names = re.findall(r'class="function">([^<]*)<', text)
    assert names[-1] == "raised"


def test_a_long_chain_is_cut() -> None:
    error: Exception = Boom("0")
    for number in range(1000):
        following = Boom(str(number))
        following.__cause__ = error
        error = following
    text = page(error)
    assert len(re.findall("<h2>", text)) == _debug_page.MAX_EXCEPTIONS
    assert "More exceptions are not shown." in text


def test_a_large_and_deep_group_is_cut() -> None:
    wide = ExceptionGroup("wide", [Boom(str(number)) for number in range(1000)])
    text = page(wide)
    assert len(re.findall("<h2>", text)) == _debug_page.MAX_EXCEPTIONS
    assert "More exceptions are not shown." in text
    deep: Exception = Boom("deepest")
    for _ in range(50):
        deep = ExceptionGroup("deep", [deep])
    text = page(deep)
    assert len(re.findall("<h2>", text)) == _debug_page.MAX_DEPTH + 1
    assert "Groups inside of this one are not shown." in text


def test_a_long_text_is_cut() -> None:
    text = page(Boom("x" * 1_000_000))
    assert f"({1_000_000 - _debug_page.MAX_TEXT} more characters)" in text
