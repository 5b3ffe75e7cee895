"""The command ``hesper``: what it serves, what it shows, and what it says to mistakes."""

import contextlib
import functools
import importlib
import importlib.metadata
import logging
import os
import pty
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hesper._cli.access import AccessLog, client_address, escape, has_left, target
from hesper._cli.loading import BrokenModule, LoadError, load_app, own_traceback
from hesper._cli.routes import Row, plain, print_rich, rows
from hesper._cli.serving import (
    APP_DIR,
    GRACE,
    MARGIN,
    TARGET,
    CannotListen,
    Options,
    arguments,
    check_address,
    child_app,
    log_config,
)
from hesper._cli.stopping import StopSignals
from hesper.applications import Hesper
from hesper.cli import main
from hesper.exceptions import ClientDisconnect
from hesper.requests import Request
from hesper.responses import PlainTextResponse, Response, StreamingResponse
from hesper.routing import BaseRoute, Host, Mount, Route, WebSocketRoute
from hesper.testing import Result, ScriptedServer
from hesper.types import ASGIApp, Message, Receive, Scope, Send
from hesper.websockets import WebSocket
from tests.servers.process import free_port

# The access log.


class Lines(logging.Handler):
    """Keeps the records of ``hesper.access``."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def lines() -> Iterator[list[logging.LogRecord]]:
    """The records of ``hesper.access``."""
    handler, logger = Lines(), logging.getLogger("hesper.access")
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    yield handler.records
    logger.removeHandler(handler)
    logger.setLevel(level)


def text_of(record: logging.LogRecord) -> str:
    """The line without its duration."""
    ending: str = vars(record)["ending"]
    milliseconds, _, rest = ending.partition(" ms")
    assert milliseconds.isdigit()
    return record.getMessage().partition(" - ")[2] + rest


async def run(app: ASGIApp, path: str = "/", leave_after: float | None = None) -> Result:
    script = ScriptedServer(AccessLog(app)).get(path)
    return await (script if leave_after is None else script.leave_after(leave_after)).run()


async def silent() -> Message:
    """The ``receive`` of a client that stays."""
    await anyio.sleep_forever()
    raise AssertionError


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("hello")(scope, receive, send)


async def test_a_request_is_one_line_like_uvicorns(lines: list[logging.LogRecord]) -> None:
    await run(answer, "/a/b?c=d")
    (line,) = lines
    assert line.levelno == logging.INFO
    assert line.getMessage() == '127.0.0.1:50000 - "GET /a/b?c=d HTTP/1.1" 200'
    assert text_of(line) == '"GET /a/b?c=d HTTP/1.1" 200'


async def test_the_messages_pass_untouched(lines: list[logging.LogRecord]) -> None:
    sent = [
        {"type": "http.response.start", "status": 202, "headers": [], "unknown": 1},
        {"type": "http.response.body", "body": b"a", "more_body": True},
        {"type": "http.response.body", "body": b"b", "unknown": 2},
    ]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in sent:
            await send(message)

    got: list[Message] = []

    async def keep(message: Message) -> None:
        got.append(message)

    scope = {"type": "http", "method": "GET", "path": "/", "http_version": "1.1"}
    await AccessLog(app)(scope, silent, keep)
    assert all(one is other for one, other in zip(got, sent, strict=True))
    assert [text_of(line) for line in lines] == ['"GET / HTTP/1.1" 202']


async def test_the_receive_is_the_servers_own() -> None:
    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        raise AssertionError("nothing is sent")

    async def app(scope: Scope, inner_receive: Receive, inner_send: Send) -> None:
        assert inner_receive is receive

    scope = {"type": "http", "method": "GET", "path": "/", "client": None, "query_string": b""}
    await AccessLog(app)(scope, receive, send)


async def test_a_client_that_leaves_before_the_response_is_499(
    lines: list[logging.LogRecord],
) -> None:
    async def slow(request: Request) -> Response:
        await anyio.sleep(0.05)
        return PlainTextResponse("late")

    await run(Hesper(routes=[Route("/", slow)]), leave_after=0.01)
    assert [text_of(line) for line in lines] == ['"GET / HTTP/1.1" 499']


async def test_an_app_that_does_not_notice_that_its_client_left_is_499(
    lines: list[logging.LogRecord],
) -> None:
    """FastAPI, of a plain endpoint: it sends the whole response, to nobody."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await anyio.sleep(0.05)
        await answer(scope, receive, send)

    result = await run(app, leave_after=0.01)
    assert len(result.sent) == 2
    assert [text_of(line) for line in lines] == ['"GET / HTTP/1.1" 499']


async def test_a_client_that_leaves_in_mid_stream_is_499(lines: list[logging.LogRecord]) -> None:
    async def endless(request: Request) -> Response:
        async def body() -> Any:
            while True:
                yield b"x"
                await anyio.sleep(0.01)

        return StreamingResponse(body())

    await run(Hesper(routes=[Route("/", endless)]), leave_after=0.03)
    assert [text_of(line) for line in lines] == ['"GET / HTTP/1.1" 499']


async def test_a_foreign_disconnect_error_of_a_client_that_left_is_not_raised(
    lines: list[logging.LogRecord],
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await anyio.sleep(0.05)
        raise ClientDisconnect

    result = await run(app, leave_after=0.01)
    assert result.ended == "returned"
    assert [text_of(line) for line in lines] == ['"GET / HTTP/1.1" 499']


async def test_another_error_of_a_client_that_left_is_raised(
    lines: list[logging.LogRecord],
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await anyio.sleep(0.05)
        raise ValueError("a bug")

    result = await run(app, leave_after=0.01)
    assert isinstance(result.raised, ValueError)
    assert [text_of(line) for line in lines] == ['"GET / HTTP/1.1" 499']


async def test_a_send_that_fails_means_that_the_client_left(
    lines: list[logging.LogRecord],
) -> None:
    """ASGI HTTP, "Disconnected Client - send exception"."""

    async def send(message: Message) -> None:
        raise ClientDisconnect

    scope = {"type": "http", "method": "GET", "path": "/", "query_string": b""}
    await AccessLog(answer)(scope, silent, send)
    assert [text_of(line) for line in lines] == ['"GET / HTTP/1.1" 499']


async def test_an_error_before_the_response_is_500_and_raised(
    lines: list[logging.LogRecord],
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError("a bug")

    result = await run(app)
    assert isinstance(result.raised, ValueError)
    assert [text_of(line) for line in lines] == ['"GET / HTTP/1.1" 500']


async def test_an_app_without_a_response_is_500(lines: list[logging.LogRecord]) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()

    await run(app)
    assert [text_of(line) for line in lines] == ['"GET / HTTP/1.1" 500 (no response)']


async def test_a_response_without_its_end_is_broken_off(lines: list[logging.LogRecord]) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ValueError("a bug")

    await run(app)
    assert [text_of(line) for line in lines] == ['"GET / HTTP/1.1" 200 (broken off)']


async def test_a_second_final_message_is_no_second_line(lines: list[logging.LogRecord]) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(scope, receive, send)
        await send({"type": "http.response.body", "body": b""})

    await run(app)
    assert len(lines) == 1


async def test_unlogged_paths_and_other_scopes_have_no_line(
    lines: list[logging.LogRecord],
) -> None:
    async def echo(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close()

    app = Hesper(routes=[WebSocketRoute("/ws", echo), Route("/quiet", endpoint)])
    server = ScriptedServer(AccessLog(app, unlogged=["/quiet"]))
    async with server.lifespan():
        assert (await server.websocket("/ws").run()).close_code == 1000
        assert (await server.get("/quiet").run()).status == 200
    assert lines == []


async def test_asking_whether_the_client_left_lets_nothing_else_run() -> None:
    ran: list[int] = []

    async def body() -> Message:
        return {"type": "http.request"}

    async def gone() -> Message:
        return {"type": "http.disconnect"}

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_append, ran)
        assert [has_left(receive) for receive in (silent, body, gone)] == [False, False, True]
        assert ran == []


async def _append(ran: list[int]) -> None:
    ran.append(1)


@given(st.text(st.characters(max_codepoint=255)))
def test_an_escaped_text_is_printable_and_can_be_read_back(text: str) -> None:
    escaped = escape(text)
    assert escaped.isascii()
    assert escaped.isprintable()
    assert not set(escaped) & set(' "')
    assert escaped.encode().decode("unicode_escape") == text


def test_a_path_is_written_as_it_came() -> None:
    scope = {"path": "/a b", "raw_path": b"/a%20b", "query_string": b'q="\r\n'}
    assert target(scope) == "/a%20b?q=\\x22\\x0d\\x0a"
    assert target({"path": "/a b\n"}) == "/a%20b%0A"


def test_a_client_is_an_address_or_nothing() -> None:
    assert client_address({"client": ["::1", 80]}) == "::1:80"
    assert client_address({"client": ['x"\n', 0]}) == "x\\x22\\x0a:0"
    assert client_address({}) == "-"


# Loading.


class Callable2:
    """A WSGI app."""

    def __call__(self, environ: Any, start_response: Any) -> None: ...


class Callable3:
    """An ASGI app."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


MODULE = """
from hesper.applications import Hesper

class Box:
    app = Hesper()

app = Hesper()
box = Box()
number = 1
builtin = max
def factory(): return Hesper()
def wsgi(environ, start_response): ...
def four(a, b, c, d): ...
async def endpoint(request): ...
async def no_arguments(): ...
async def asgi(scope, receive, send): ...
async def told(scope, receive, send): ...
told.begin_shutdown = lambda grace: None
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with the module ``shop``."""
    (tmp_path / "shop.py").write_text(MODULE)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    for name in ("shop", "broken", "needy", "typo"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    importlib.invalidate_caches()
    return tmp_path


@pytest.mark.parametrize("target", ["shop:app", "shop:box.app", "shop:asgi", "shop:builtin"])
def test_an_app_is_loaded(shop: Path, target: str) -> None:
    assert callable(load_app(target, str(shop)))
    assert callable(load_app(target, str(shop)))
    assert sys.path.count(str(shop)) == 1


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ("shop", "expected module:attribute, got 'shop': write 'shop:app'"),
        (":app", "expected module:attribute, got ':app': write 'main:app'"),
        ("shp:app", "no module 'shp' in {shop} or on Python's path (did you mean 'shop'?)"),
        ("store:app", "no module 'store' in {shop} or on Python's path. Is --app-dir right?"),
        ("shop.py:app", "'shop.py' is a file, not a module: write 'shop:app'."),
        ("shop.below:app", "no module 'shop.below'"),
        ("shop:ap", "module 'shop' has no attribute 'ap' (did you mean 'app'?)."),
        ("shop:box.zzz", "Box 'shop' has no attribute 'zzz'."),
        ("shop:number", "'shop:number' is no ASGI app: expected something to call"),
        ("shop:Box", "got the class Box: make an instance of it."),
        ("shop:factory", "if it makes the app, call it: app = factory()."),
        ("shop:wsgi", "if it is a WSGI app, run it with a WSGI server."),
        ("shop:four", "got a callable with (a, b, c, d): give it these three parameters."),
        ("shop:endpoint", "if it is an endpoint, put it into a Route of an app."),
        ("shop:no_arguments", "if it is an endpoint, put it into a Route of an app."),
    ],
)
def test_a_mistake_says_what_to_write(shop: Path, target: str, error: str) -> None:
    with pytest.raises(LoadError) as raised:
        load_app(target, str(shop))
    assert error.format(shop=shop) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "source", "error"),
    [
        ("broken", "1 / 0", "ZeroDivisionError: division by zero"),
        ("needy", "import not_installed", "No module named 'not_installed'"),
        ("typo", "def (:", "SyntaxError: "),
    ],
)
def test_a_module_that_raises_is_broken_by_its_own_lines(
    shop: Path, name: str, source: str, error: str
) -> None:
    (shop / f"{name}.py").write_text(source)
    with pytest.raises(BrokenModule, match=f"module '{name}' cannot be imported: .*{error}") as got:
        load_app(f"{name}:app", str(shop))
    cause = got.value.__cause__
    assert cause is not None
    traceback = own_traceback(cause)
    if name == "typo":
        assert traceback is None
    else:
        assert traceback is not None
        assert traceback.tb_frame.f_code.co_filename == str(shop / f"{name}.py")


# Routes.


def endpoint(request: Request) -> Response:
    return Response()


async def socket_endpoint(websocket: WebSocket) -> None: ...


class Custom(BaseRoute):
    """A route without a path."""


TABLE = [
    Row(0, "/", "GET HEAD", "endpoint", f"{__name__}.endpoint"),
    Row(0, "/asgi", "any", "Callable3", f"{__name__}.Callable3"),
    Row(0, "/partial", "POST", "made", f"{__name__}.endpoint"),
    Row(0, "/ws", "WEBSOCKET", "socket_endpoint", f"{__name__}.socket_endpoint"),
    Row(0, "/api", "(mount)", "api", "hesper.routing.Router"),
    Row(1, "/api/v1", "(mount)", "", "hesper.routing.Router"),
    Row(2, "/api/v1/{id:int}", "GET HEAD", "endpoint", f"{__name__}.endpoint"),
    Row(0, "/foreign", "(mount)", "", f"{__name__}.Callable3"),
    Row(0, "/", "(mount)", "", "hesper.routing.Router"),
    Row(0, "a.example", "(mount)", "", "hesper.applications.Hesper"),
    Row(1, "/in", "GET HEAD", "endpoint", f"{__name__}.endpoint"),
    Row(0, "(Custom)", "", "", f"{__name__}.Custom"),
]


def routed() -> Hesper:
    return Hesper(
        routes=[
            Route("/", endpoint),
            Route("/asgi", Callable3()),
            Route("/partial", functools.partial(endpoint), methods=["post"], name="made"),
            WebSocketRoute("/ws", socket_endpoint),
            Mount("/api", routes=[Mount("/v1", routes=[Route("/{id:int}", endpoint)])], name="api"),
            Mount("/foreign", Callable3()),
            Mount("", routes=[]),
            Host("a.example", Hesper(routes=[Route("/in", endpoint)])),
            Custom(),
        ]
    )


def test_routes_are_rows_with_whole_paths() -> None:
    assert list(rows(routed().routes)) == TABLE


def test_a_mounted_app_without_routes_is_a_row() -> None:
    """As Starlette's Mount, which says that it has no routes by having none."""

    class Opaque:
        path = "/opaque"
        name = ""
        app = Callable3()

    (row,) = rows([Opaque()])
    assert row == (0, "/opaque", "(mount)", "", f"{__name__}.Callable3")


def test_a_plain_table_is_aligned_and_indented() -> None:
    assert plain(TABLE[4:7]).splitlines() == [
        "Path                  Methods   Name      Endpoint",
        "/api                  (mount)   api       hesper.routing.Router",
        "  /api/v1             (mount)             hesper.routing.Router",
        f"    /api/v1/{{id:int}}  GET HEAD  endpoint  {__name__}.endpoint",
    ]


def test_a_rich_table_shows_markup_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    print_rich([Row(0, "/[red]x", "any", "n", "e")])
    assert "/[red]x" in capsys.readouterr().out


# Serving.


def test_the_address_can_be_had() -> None:
    check_address("127.0.0.1", 0)


def test_an_address_in_use_is_named_with_another(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotListen, match=f"127.0.0.1:{port} is in use: .*--port {port + 1}"):
            check_address("127.0.0.1", port)


@pytest.mark.parametrize(
    ("host", "error"),
    [
        ("no such host", "'no such host' is no address of this machine: see --host."),
        ("192.0.2.1", "cannot listen on 192.0.2.1:1025: Cannot assign requested address."),
    ],
)
def test_an_address_that_is_not_ours_is_refused(host: str, error: str) -> None:
    with pytest.raises(CannotListen) as raised:
        check_address(host, 1025)
    assert str(raised.value) == error


def test_one_process_gets_the_app_and_children_a_name() -> None:
    alone = arguments(answer, Options(port=1, log_level="debug"))
    assert isinstance(alone["app"], AccessLog)
    assert (alone["factory"], alone["reload_dirs"], alone["access_log"]) == (False, None, False)
    several = arguments(answer, Options(workers=2))
    assert (several["app"], several["factory"]) == ("hesper._cli.serving:child_app", True)
    reloading = arguments(answer, Options(reload=True, app_dir="src"))
    assert (reloading["app"], reloading["reload_dirs"]) == (several["app"], ["src"])


class Told(Callable3):
    """An app that wants to know when it has to stop."""

    def begin_shutdown(self, grace: float | None = None) -> None: ...


def test_uvicorn_cancels_at_the_end_of_the_grace_and_later_what_was_told_itself() -> None:
    foreign = arguments(answer, Options(grace=2.0))
    assert foreign["app"].app is answer
    assert foreign["timeout_graceful_shutdown"] == 2.0
    told = arguments(Told(), Options(grace=2.0))
    assert isinstance(told["app"].app, StopSignals)
    assert told["app"].app.grace == 2.0
    assert told["timeout_graceful_shutdown"] == 2.0 + MARGIN


def test_a_child_loads_what_its_parent_was_told(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TARGET, "shop:asgi")
    monkeypatch.setenv(APP_DIR, str(shop))
    monkeypatch.setenv(GRACE, "2.5")
    served = child_app()
    assert isinstance(served, AccessLog)
    assert not isinstance(served.app, StopSignals)
    monkeypatch.setenv(TARGET, "shop:told")
    served = child_app()
    assert isinstance(served, AccessLog)
    assert isinstance(served.app, StopSignals)
    assert served.app.grace == 2.5
    monkeypatch.setenv(TARGET, "shop:gone")
    with pytest.raises(SystemExit, match="Error: module 'shop' has no attribute 'gone'"):
        child_app()


def test_the_log_level_is_ours_too() -> None:
    loggers = log_config("trace")["loggers"]
    assert (loggers["hesper"]["level"], loggers["hesper.access"]["level"]) == ("DEBUG", "DEBUG")
    assert log_config("warning")["loggers"]["hesper.access"]["level"] == "WARNING"


@pytest.fixture
def untouched_loggers() -> Iterator[None]:
    """uvicorn configures the loggers of its process, which is ours here."""
    names = ["hesper", "hesper.access", "uvicorn", "uvicorn.error", "uvicorn.access"]
    loggers = [logging.getLogger(name) for name in names]
    before = [(each.handlers.copy(), each.level, each.propagate) for each in loggers]
    yield
    for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


@pytest.mark.parametrize("command", [["run", "shop:asgi"], ["demo"]])
@pytest.mark.usefixtures("untouched_loggers")
def test_a_server_serves_until_it_is_told_to_stop(
    shop: Path, command: list[str], capfd: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    (shop / "shop.py").write_text(
        "from hesper.responses import PlainTextResponse\n"
        "async def asgi(scope, receive, send):\n"
        "    if scope['type'] == 'http':\n"
        "        await PlainTextResponse('hello')(scope, receive, send)\n"
    )
    monkeypatch.chdir(shop)
    monkeypatch.setenv(TARGET, "")
    monkeypatch.setenv(APP_DIR, "")
    monkeypatch.setenv(GRACE, "")
    port = free_port()
    got: list[bytes] = []

    def visit() -> None:
        try:
            got.append(_get(port))
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    visitor = threading.Thread(target=visit)
    visitor.start()
    with pytest.raises(SystemExit) as ended:
        main([*command, "--port", str(port)])
    visitor.join()
    assert ended.value.code == 0
    assert os.environ[TARGET] == (command[1] if command[0] == "run" else "hesper.demo:app")
    assert got[0].startswith(b"HTTP/1.1 200")
    assert '"GET / HTTP/1.1" 200 OK' in capfd.readouterr().out


def _get(port: int) -> bytes:
    for _ in range(1000):
        try:
            client = socket.create_connection(("127.0.0.1", port), timeout=10)
        except ConnectionRefusedError:
            threading.Event().wait(0.01)
            continue
        with client, client.makefile("rb") as answer:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return answer.read()
    raise AssertionError(f"nothing listens on port {port}")


# The command.


def hesper(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run it as a process of its own."""
    command = [sys.executable, "-c", "from hesper.cli import main; main()"]
    return subprocess.run(
        [*command, *arguments], cwd=cwd, capture_output=True, text=True, timeout=30
    )


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[Any, str, str]:
    """The exit status of a command in this process, and what it wrote."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    out, err = capsys.readouterr()
    return ended.value.code, out, err


def test_the_table_of_routes_goes_into_a_pipe_as_plain_text(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = said(capsys, "routes", "hesper.demo:app")
    assert (status, err) == (0, "")
    assert out.splitlines()[0].split() == ["Path", "Methods", "Name", "Endpoint"]
    assert "/upload" in out
    assert "\x1b" not in out


def test_the_table_of_routes_is_drawn_on_a_terminal() -> None:
    ours, theirs = pty.openpty()
    try:
        with open(theirs, "w") as terminal, contextlib.redirect_stdout(terminal):
            with pytest.raises(SystemExit) as ended:
                main(["routes", "hesper.demo:app"])
            terminal.flush()
            shown = os.read(ours, 65536).decode()
    finally:
        os.close(ours)
    assert ended.value.code == 0
    assert "/upload" in shown
    assert "─" in shown


def test_an_app_without_routes_says_so(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = said(capsys, "routes", "shop:asgi", "--app-dir", str(shop))
    assert (status, out) == (1, "")
    assert err.startswith("Error: 'shop:asgi' has no routes to show: expected an app or router, ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "status", "error"),
    [
        (["run", "shp:app"], 1, "Error: no module 'shp' in "),
        (["routes", "shp:app"], 1, "Error: no module 'shp' in "),
        (["run", "shop:ap"], 1, "Error: module 'shop' has no attribute 'ap'"),
        (["run", "shop:number"], 1, "Error: 'shop:number' is no ASGI app"),
        (["run", "shop:app", "--host", "no such host"], 1, "Error: 'no such host' is no address"),
        (["run", "shop:app", "--reload", "--workers", "2"], 2, "Error: --reload runs one process"),
        (["run", "shop:app", "--grace", "-1"], 2, "Error: Invalid value for '--grace'"),
        (["run", "shop:app", "--port", "x"], 2, "Error: Invalid value for '--port'"),
        (["rnu"], 2, "Error: No such command 'rnu'."),
    ],
)
def test_a_mistake_is_one_line_and_no_traceback(
    shop: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    status: int,
    error: str,
) -> None:
    if arguments[0] in ("run", "routes"):
        arguments = [*arguments, "--app-dir", str(shop)]
    code, out, err = said(capsys, *arguments)
    assert (code, out) == (status, "")
    # click puts the usage before what was written wrong.
    assert err.splitlines()[-1].startswith(error)
    assert status == 2 or err.count("\n") == 1
    assert "Traceback" not in err


def test_a_port_in_use_is_one_line(shop: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = hesper("run", "shop:app", "--port", port, cwd=shop)
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"Error: 127.0.0.1:{port} is in use: ")
    assert ended.stderr.count("\n") == 1


def test_a_broken_module_shows_its_own_traceback_and_one_line(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (shop / "broken.py").write_text("def f():\n    1 / 0\nf()\n")
    status, _, err = said(capsys, "run", "broken:app", "--app-dir", str(shop))
    lines = err.splitlines()
    assert status == 1
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1] == f'  File "{shop / "broken.py"}", line 3, in <module>'
    assert lines[-1].startswith("Error: module 'broken' cannot be imported: ZeroDivisionError: ")
    assert "importlib" not in err


@pytest.mark.parametrize("library", ["click", "rich", "uvicorn"])
def test_a_library_that_is_missing_is_named_with_its_extra(
    library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, "hesper._cli.commands", raising=False)
    with pytest.raises(SystemExit) as ended:
        main(["demo"])
    assert ended.value.code == (
        f"Error: the command hesper needs {library}, which is not installed: "
        'pip install "hesper[standard]"'
    )


def test_another_library_that_is_missing_is_our_mistake(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "hesper._cli.routes", None)
    monkeypatch.delitem(sys.modules, "hesper._cli.commands", raising=False)
    with pytest.raises(ModuleNotFoundError, match=r"hesper\._cli\.routes"):
        main(["demo"])


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = said(capsys, "--version")
    assert status == 0
    assert out.startswith("hesper 0.")


def test_the_installed_command_is_ours() -> None:
    (script,) = importlib.metadata.entry_points(group="console_scripts", name="hesper")
    assert script.load() is main
