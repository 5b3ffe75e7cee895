"""``hesper sweep``: what is asked for, what is shown, and how the command ends."""

import io
import json
import shlex
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from hesper._cli import sweeping
from hesper._cli.sweep_page import page
from hesper._cli.sweeping import Asked, swept_request
from hesper.applications import Hesper
from hesper.cli import main
from hesper.exceptions import UsageError
from hesper.requests import Request
from hesper.responses import JSONResponse, Response
from hesper.routing import Route, WebSocketRoute
from hesper.testing.sweep import Report, Suppression, Sweep, Usual, Violation
from hesper.websockets import WebSocket

APP = """
import asyncio

import anyio

from hesper.applications import Hesper
from hesper.responses import PlainTextResponse
from hesper.routing import Route

kept = set()


async def clean(request):
    await anyio.sleep(1)
    return PlainTextResponse("clean")


async def leaving(request):
    kept.add(asyncio.create_task(asyncio.sleep(3600)))
    await anyio.sleep(1)
    return PlainTextResponse("left a task")


async def failing(request):
    return PlainTextResponse("no", status_code=500)


app = Hesper(routes=[Route("/", clean), Route("/leaving", leaving), Route("/failing", failing)])
"""


@pytest.fixture
def target(tmp_path: Path) -> str:
    (tmp_path / "swept_app.py").write_text(APP)
    return "swept_app:app"


def run(*args: str) -> int:
    """The status with which the command ends."""
    with pytest.raises(SystemExit) as ended:
        main(["sweep", *args])
    status = ended.value.code
    return status if isinstance(status, int) else 0


def test_a_clean_app_is_said_to_be_clean(
    target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(target, "/", "--app-dir", str(tmp_path), "--dialect", "uvicorn") == 0
    said = capsys.readouterr().out
    assert "GET /:" in said
    assert "Clean." in said


def test_a_violation_is_shown_with_a_command_that_repeats_it(
    target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--app-dir", str(tmp_path)]
    assert run(target, "get", "/leaving", *where, "--dialect", "uvicorn", "--kind", "cancel") == 1
    said = capsys.readouterr().out
    assert "task-left" in said
    again = next(line for line in said.splitlines() if "--at cancel" in line)
    words = shlex.split(again)
    assert words[:3] == ["hesper", "sweep", target]
    assert run(*words[2:]) == 1
    assert "task-left" in capsys.readouterr().out


def test_a_violation_with_a_reason_does_not_count(
    target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["--app-dir", str(tmp_path), "--dialect", "uvicorn", "--limit", "2", "--seed", "3"]
    assert run(target, "/leaving", *args, "--suppress", "task-left=it is kept") == 0
    assert "Suppressed: task-left" in capsys.readouterr().out


def test_the_report_is_written_for_machines_and_as_a_page(
    target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = tmp_path / "report.html"
    args = ["--app-dir", str(tmp_path), "--dialect", "uvicorn", "--html", str(written)]
    assert run(target, "/leaving", *args, "--report-json", "-") == 1
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert not report["clean"]
    assert report["violations"][0]["code"] == "task-left"
    assert "task-left" in captured.err
    assert "task-left" in written.read_text()
    file = tmp_path / "report.json"
    assert run(target, "/", *args[:4], "--report-json", str(file)) == 0
    assert json.loads(file.read_text())["clean"]


def test_what_cannot_be_swept_is_said(
    target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["--app-dir", str(tmp_path), "--dialect", "uvicorn", "--real-time"]
    assert run(target, "/failing", *args) == 1
    assert "Cannot be swept" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["nowhere"], "[METHOD] /PATH"),
        (["GET", "POST", "/"], "[METHOD] /PATH"),
        (["/", "--header", "no colon"], "--header"),
        (["/", "--json", "{"], "--json to be JSON"),
        (["/", "--json", "1", "--body", "x"], "one body"),
        (["/", "--form", "novalue"], "--form name=value"),
        (["/", "--ws", "[]", "--body", "x"], "no body"),
        (["/", "--ws", "{}"], "JSON list"),
        (["/", "--suppress", "task-left"], "--suppress"),
        (["/", "--dialect", "nginx"], "no dialect 'nginx'"),
        (["/", "--at", "nowhere:1"], "nowhere:1"),
        (["/", "--at", "cancel:1", "--dialect", "uvicorn", "--dialect", "daphne"], "one run"),
    ],
)
def test_what_is_written_wrong_is_said_in_a_line(
    target: str, tmp_path: Path, args: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(target, *args, "--app-dir", str(tmp_path)) == 2
    said = capsys.readouterr().err
    assert "Error: " in said
    assert text in said


def test_an_app_that_is_not_there_is_said_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("no_such_module:app", "/", "--app-dir", str(tmp_path)) == 1
    assert "no_such_module" in capsys.readouterr().err


# -- what is asked ---------------------------------------------------------------------------------


async def echo(request: Request) -> Response:
    body = (await request.body()).decode()
    async with request.form() as form:
        fields = [list(item) for item in form.multi_items()]
    seen.append((request.method, request.headers.get("x-a"), body, fields))
    return JSONResponse({})


async def talk(websocket: WebSocket) -> None:
    await websocket.accept()
    seen.append([text async for text in websocket.iter_text()])


seen: list[Any] = []
app = Hesper(routes=[Route("/", echo, methods=["GET", "POST"]), WebSocketRoute("/ws", talk)])


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (Asked("GET", "/", headers=("X-A: b",)), ("GET", "b", "", [])),
        (Asked("POST", "/", body="text"), ("POST", None, "text", [])),
        (Asked("POST", "/", json='{"a": 1}'), ("POST", None, '{"a": 1}', [])),
        (Asked("POST", "/", form=("a=b", "a=c=d")), None),
        (Asked("GET", "/ws", ws='["one", 0.5, "two"]'), ["one", "two"]),
    ],
)
def test_a_request_is_made_of_the_words(asked: Asked, expected: Any) -> None:
    seen.clear()
    request = swept_request(app, asked, {"dialects": ["uvicorn"], "backends": ["asyncio"]})
    report = request.but(kinds=[]).run()
    assert (report.failures, report.runs) == ([], 1)
    found = seen[0] if expected is not None else seen[0][3]
    assert found == (expected if expected is not None else [["a", "b"], ["a", "c=d"]])


# -- what is shown ---------------------------------------------------------------------------------

VIOLATION = Violation(
    code="task-left",
    sentence="A task was <left>.",
    mending="Own it.",
    kind="cancel",
    n=3,
    dialect="uvicorn",
    backend="asyncio",
    stack=["/app.py:3 in endpoint: await <b>"],
    runs=2,
)


def report_of(**fields: Any) -> Report:
    return Report(
        title="GET /<script>", usual=[Usual("uvicorn", "asyncio", 2, 3, 1.0, True)], **fields
    )


class Texts(HTMLParser):
    """The elements of a page, and that each is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            assert name not in ("src", "href", "onclick"), (tag, value)


def test_the_page_escapes_what_it_shows_and_fetches_nothing() -> None:
    suppressed = Violation(**{**vars(VIOLATION), "reason": "known & fine", "runs": 1})
    report = report_of(
        violations=[VIOLATION], suppressed=[suppressed], skipped=["trio: <no>"], failures=["x < y"]
    )
    text = page(report, "hesper sweep 'a:b' /")
    parser = Texts()
    parser.feed(text)
    assert "script" not in parser.tags
    assert "A task was &lt;left&gt;." in text
    assert "known &amp; fine" in text
    assert "--at cancel:3 --dialect uvicorn --backend asyncio" in text
    assert "until left" in text


def test_a_page_of_a_sweep_that_did_not_run_has_no_table() -> None:
    parser = Texts()
    parser.feed(page(Report(title="GET /", failures=["raised"]), "hesper sweep a:b /"))
    assert "table" not in parser.tags


def test_the_table_says_what_was_tried_left_out_and_found() -> None:
    console = Console(file=io.StringIO(), width=100)
    report = report_of(violations=[VIOLATION], skipped=["trio: no"], points={"cancel": 4})
    sweeping.show(report, "hesper sweep a:b /", console)
    file = console.file
    assert isinstance(file, io.StringIO)
    said = file.getvalue()
    for text in ("4 x cancel", "Left out: trio: no", "until left", "(2 runs)", "--at cancel:3"):
        assert text in said


def test_where_somebody_looks_there_is_a_progress_bar() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    request = Sweep(app, dialects=["uvicorn"], backends=["asyncio"]).get("/")
    assert sweeping.run_sweep(request, console).clean
    file = console.file
    assert isinstance(file, io.StringIO)
    assert "GET /" in file.getvalue()


def test_a_suppression_names_a_code_and_a_reason() -> None:
    assert sweeping.suppression("task-left = kept on purpose") == Suppression(
        "task-left", "kept on purpose"
    )
    with pytest.raises(UsageError, match="why it is no fault"):
        sweeping.suppression("task-left=")
