"""WSGI apps: PEP 3333 on both sides, one thread, bounded memory, and endings."""

import io
import subprocess
import sys
import threading
import wsgiref.validate
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
import fastapi
import pytest
import starlette.applications
import starlette.routing
from hypothesis import given
from hypothesis import strategies as st

from hesper._concurrency import run_in_thread
from hesper.applications import Hesper
from hesper.exceptions import ClientDisconnect, UsageError
from hesper.middleware._handover import Handover
from hesper.middleware._wsgi_request import SPOOL_SIZE
from hesper.middleware.gzip import GZipMiddleware
from hesper.middleware.wsgi import WSGIMiddleware, WSGIResponder, build_environ
from hesper.requests import Request
from hesper.responses import PlainTextResponse, Response
from hesper.routing import Mount
from hesper.testing import Dialect, Result, ScriptedServer
from hesper.types import Receive, Scope, Send

from ..conftest import ExpectedErrors
from .asking import ask, connect

Environ = dict[str, Any]
Start = Callable[..., Callable[[bytes], None]]


class WSGI(WSGIMiddleware):
    """Runs in the threads of sync endpoints: trio's virtual clock knows of no others."""

    async def _answer(self, request: Request) -> Response:
        self._limiter.set(anyio.to_thread.current_default_thread_limiter())
        return await super()._answer(request)


SCOPE: Scope = {
    "type": "http",
    "http_version": "1.1",
    "method": "GET",
    "path": "/",
    "query_string": b"",
    "headers": [],
}


def hello(environ: Environ, start_response: Start) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"hello"]


def echo(environ: Environ, start_response: Start) -> Iterable[bytes]:
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


def show(*keys: str) -> Any:
    """An app that shows entries of its environ."""

    def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
        start_response("200 OK", [])
        return ["|".join(str(environ.get(key)) for key in keys).encode("latin-1")]

    return app


def giving(*chunks: Any, status: str = "200 OK", headers: Any = ()) -> Any:
    def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
        start_response(status, list(headers))
        return chunks

    return app


class Chunks:
    """What an app returns: endless, and notes in which threads it is used."""

    def __init__(self, limit: int = 1_000_000) -> None:
        self.limit = limit
        self.given = 0
        self.closed = 0
        self.threads: set[int] = set()

    def __call__(self, environ: Environ, start_response: Start) -> Iterable[bytes]:
        self.threads.add(threading.get_ident())
        start_response("200 OK", [])
        return self

    def __iter__(self) -> Iterator[bytes]:
        while self.given < self.limit:
            self.threads.add(threading.get_ident())
            self.given += 1
            yield b"chunk"

    def close(self) -> None:
        self.threads.add(threading.get_ident())
        self.closed += 1


# -- requests and responses ------------------------------------------------------------------------


async def test_a_response_arrives_with_its_status_and_headers() -> None:
    app = giving(
        b"made ", b"", b"it", status="201 Made", headers=[("X-A", " 1 "), ("Set-Cookie", "a=1")] * 2
    )
    result = await ask(WSGI(app))
    assert (result.status, result.text, result.raised) == (201, "made it", None)
    assert result.raw_headers == [(b"x-a", b"1"), (b"set-cookie", b"a=1")] * 2
    assert [message["body"] for message in result.messages[1:]] == [b"made ", b"it", b""]


async def test_a_response_without_a_body_has_a_head() -> None:
    for chunks in ((), (b"",)):
        result = await ask(WSGI(giving(*chunks, status="404")))
        assert (result.status, result.body, result.complete) == (404, b"", True)


@pytest.mark.parametrize(
    "parts", [[], [b"ab"], [b"a", b"b"], [b"x" * 100_000] * 5, [b"x" * SPOOL_SIZE, b"y"]]
)
async def test_a_body_is_there_whole(parts: list[bytes], dialect: Dialect) -> None:
    server = ScriptedServer(WSGI(echo), dialect)
    result = await server.post(body=parts).run()
    assert result.raised is None
    assert result.body == b"".join(parts)


async def test_a_long_body_is_on_disk_and_its_file_is_closed() -> None:
    seen: list[Any] = []

    def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
        seen.append((environ["wsgi.input"], environ["wsgi.input"]._rolled))
        return echo(environ, start_response)

    for size in (SPOOL_SIZE, SPOOL_SIZE + 1):
        result = await ask(WSGI(app), method="POST", body=b"x" * size)
        assert len(result.body) == size
    assert [rolled for _, rolled in seen] == [False, True]
    assert all(file.closed for file, _ in seen)


async def test_input_can_be_read_in_every_way() -> None:
    def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
        body = environ["wsgi.input"]
        start_response("200 OK", [])
        lines = [body.read(1), body.readline(), *body.readlines(1), *body, body.read()]
        return [repr(lines).encode()]

    result = await ask(WSGI(app), method="POST", body=b"ab\ncd\nef\ngh")
    assert result.text == "[b'a', b'b\\n', b'cd\\n', b'ef\\n', b'gh', b'']"


async def test_a_length_is_what_came_and_not_what_was_announced() -> None:
    # Request smuggling: two lengths, or one beside a body in chunks, are the server's affair. What
    # the app is told is the size of the body that is there.
    app = WSGI(show("CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING"))
    for headers in (
        {"transfer-encoding": "chunked"},
        {"content-length": "100"},
        [("content-length", "3"), ("content-length", "5")],
        [("content-length", "0"), ("transfer-encoding", "chunked")],
    ):
        result = await ScriptedServer(app).post(body=[b"a", b"bc"], headers=headers).run()
        assert result.text == "3|None"
    assert (await ask(app)).text == "None|None"
    assert (await ask(app, headers={"content-length": "0"})).text == "0|None"


async def test_an_app_sees_the_prefix_that_it_is_mounted_at() -> None:
    app = WSGI(show("SCRIPT_NAME", "PATH_INFO", "QUERY_STRING"))
    inner = Hesper(routes=[Mount("/b", app=app)])
    ours = Hesper(routes=[Mount("/a/{which}", app=inner), Mount("/é", app=app)])
    assert (await ask(ours, "/a/x/b/c/d?e=f")).text == "/a/x/b|/c/d|e=f"
    assert (await ask(ours, "/a/x/b/")).text == "/a/x/b|/|"
    assert (await ask(ours, "/%C3%A9/%C3%BC")).body.decode() == "/é|/ü|"
    theirs = starlette.applications.Starlette(routes=[starlette.routing.Mount("/a", app=app)])
    assert (await ask(theirs, "/a/b?c")).text == "/a|/b|c"
    api = fastapi.FastAPI()
    api.mount("/a", app)
    assert (await ask(api, "/a/b?c")).text == "/a|/b|c"
    proxied = await ask(app, "/prefix/x", scope={"root_path": "/prefix/"})
    assert proxied.text == "/prefix|/x|"
    assert (await ask(app, "/other", scope={"root_path": "/prefix"})).text == "/prefix|/other|"


def test_the_environ_is_what_the_specification_asks_for() -> None:
    scope: Scope = {
        **SCOPE,
        "method": "POST",
        "scheme": "https",
        "path": "/x",
        "query_string": b"a=\xff",
        "headers": [
            (b"host", b"example.org"),
            (b"content-type", b"text/plain"),
            (b"content-length", b"4"),
            (b"Accept", b"a"),
            (b"accept", b"b"),
            (b"cookie", b"a=1"),
            (b"cookie", b"b=2"),
        ],
        "client": ("1.2.3.4", 5),
        "server": ("example.org", 8443),
    }
    environ = build_environ(scope, b"body")
    assert environ.pop("wsgi.input").read() == b"body"
    assert environ == {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/x",
        "QUERY_STRING": "a=\xff",
        "SERVER_NAME": "example.org",
        "SERVER_PORT": "8443",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "1.2.3.4",
        "CONTENT_TYPE": "text/plain",
        "CONTENT_LENGTH": "4",
        "HTTP_HOST": "example.org",
        "HTTP_ACCEPT": "a,b",
        "HTTP_COOKIE": "a=1; b=2",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "https",
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }


@pytest.mark.parametrize(
    ("server", "scheme", "expected"),
    [
        (None, "http", ("localhost", "80")),
        (None, "https", ("localhost", "443")),
        (("/run/socket", None), "http", ("/run/socket", "80")),
    ],
)
def test_a_server_always_has_a_name_and_a_port(
    server: Any, scheme: str, expected: tuple[str, str]
) -> None:
    environ = build_environ({**SCOPE, "server": server, "scheme": scheme}, io.BytesIO())
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == expected
    assert "REMOTE_ADDR" not in environ


def test_a_header_with_an_underscore_cannot_pass_for_another() -> None:
    # Header spoofing, as in CVE-2015-0219 (Django): a proxy that sets X-Auth-User does not remove it.
    headers = [
        (b"x_auth_user", b"admin"),
        (b"content_length", b"5"),
        (b"content_type", b"a/b"),
        (b"x-auth-user", b"guest"),
    ]
    environ = build_environ({**SCOPE, "headers": headers}, b"")
    assert environ["HTTP_X_AUTH_USER"] == "guest"
    assert not {"CONTENT_LENGTH", "CONTENT_TYPE", "HTTP_CONTENT_LENGTH"} & environ.keys()


def test_a_letter_beyond_ascii_is_not_spelled_out() -> None:
    environ = build_environ({**SCOPE, "headers": [(b"x-pa\xdf", b"1")]}, b"")
    assert environ["HTTP_X_PA\xdf"] == "1"


def test_a_proxy_header_does_not_become_the_proxy_of_http_clients() -> None:
    # httpoxy, CVE-2016-5385.
    environ = build_environ({**SCOPE, "headers": [(b"Proxy", b"http://evil")]}, b"")
    assert "HTTP_PROXY" not in environ


@given(st.text(), st.text(), st.binary(), st.lists(st.tuples(st.binary(), st.binary()), max_size=5))
def test_no_request_makes_the_environ_raise(
    path: str, root_path: str, query: bytes, headers: list[tuple[bytes, bytes]]
) -> None:
    scope = {**SCOPE, "path": path, "root_path": root_path, "query_string": query}
    environ = build_environ({**scope, "headers": headers}, b"")
    strings = [value for key, value in environ.items() if "." not in key]
    for value in [*strings, *environ]:
        value.encode("latin-1")  # PEP 3333, "Unicode Issues"


def test_a_path_that_is_no_utf_8_keeps_its_bytes() -> None:
    path = b"/\xff".decode("utf-8", "surrogateescape")
    assert build_environ({**SCOPE, "path": path}, b"")["PATH_INFO"] == "/\xff"


@pytest.mark.parametrize("app", [hello, echo, giving(b"a", headers=[("Content-Type", "a/b")])])
async def test_the_validator_of_the_standard_library_is_content(app: Any) -> None:
    def typed(environ: Environ, start_response: Start) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            fields = dict([("Content-Type", "text/plain"), *headers])
            return start_response(status, list(fields.items()))

        body = app(environ, start)
        yield from body

    def limited(environ: Environ, start_response: Any) -> Iterable[bytes]:
        # The validator wants reads with a size, which `echo` does not have.
        read = environ["wsgi.input"].read
        environ["wsgi.input"] = io.BytesIO(read(int(environ.get("CONTENT_LENGTH", 0))))
        return typed(environ, start_response)

    validated: Any = wsgiref.validate.validator(limited)
    result = await ask(WSGI(validated), method="POST", body=b"data")
    assert (result.status, result.raised) == (200, None)


# -- start_response and write ----------------------------------------------------------------------


async def raised_by(app: Any, **options: Any) -> BaseException | None:
    result = await ask(WSGI(app), **options)
    assert not result.truncated_as_complete
    return result.raised


async def test_write_sends_at_once() -> None:
    def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
        write = start_response("200 OK", [])
        write(b"a")
        write(b"")
        write(b"b")
        return [b"c"]

    result = await ask(WSGI(app))
    assert [message["body"] for message in result.messages[1:]] == [b"a", b"b", b"c", b""]


async def test_the_head_waits_for_the_first_bytes_and_may_be_replaced_until_then() -> None:
    error = LookupError("found out late")

    def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Length", "9")])
        yield b""
        try:
            raise error
        except LookupError:
            start_response("503 Sorry", [("X-A", "1")], sys.exc_info())
        yield b"sorry"

    result = await ask(WSGI(app))
    assert (result.status, result.text, result.headers) == (503, "sorry", {"x-a": "1"})
    assert result.complete
    # As any error that was answered it goes on to the server, to be logged.
    assert result.raised is error


async def test_after_the_first_bytes_the_error_goes_on_and_the_response_is_not_ended() -> None:
    error = LookupError("too late")

    def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
        start_response("200 OK", [])
        yield b"half"
        try:
            raise error
        except LookupError:
            start_response("500 Sorry", [], sys.exc_info())
        raise AssertionError  # it does not come here

    result = await ask(WSGI(app))
    assert result.raised is error
    assert (result.text, result.complete) == ("half", False)


async def test_a_second_start_response_is_refused() -> None:
    def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
        start_response("200 OK", [])
        start_response("200 OK", [])
        raise AssertionError

    raised = await raised_by(app)
    assert isinstance(raised, UsageError)
    assert str(raised) == ("start_response was called before: pass exc_info to replace the head.")


@pytest.mark.parametrize("chunks", [[], [b"data"]])
async def test_a_body_without_start_response_is_told(chunks: list[bytes]) -> None:
    raised = await raised_by(lambda environ, start_response: chunks)
    assert isinstance(raised, UsageError)
    assert "start_response" in str(raised)


async def test_text_is_not_taken_for_bytes() -> None:
    raised = await raised_by(giving("text"))
    assert isinstance(raised, UsageError)
    assert str(raised) == "Expected a WSGI app to give bytes, got 'text'."


@pytest.mark.parametrize(
    "status", ["", "OK", "99 Low", "100 Continue", "101 Switching", "2000 OK", "200OK", " 200 OK"]
)
async def test_a_status_that_is_none_is_told(status: str) -> None:
    raised = await raised_by(giving(status=status))
    assert isinstance(raised, UsageError)
    assert str(raised) == f"Expected a status such as '200 OK', got {status!r}."


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-A", "1\r\nSet-Cookie: admin=1"),
        ("X-A", "1\n\n<script>"),
        ("X-A", "1\0"),
        ("X-A\r\nX-B", "1"),
        ("X-A: 1\r\nX-B", "1"),
        ("X-A:", "1"),
        ("X A", "1"),
        ("", "1"),
        ("X-A", "\u2028"),
        ("X-\u2028", "1"),
    ],
)
async def test_headers_cannot_be_injected_through_start_response(name: str, value: str) -> None:
    result = await ask(WSGI(giving(b"data", headers=[(name, value)])))
    assert isinstance(result.raised, ValueError)
    assert result.messages == []


async def test_a_status_cannot_inject_a_header() -> None:
    assert isinstance(await raised_by(giving(status="200 OK\r\nX-A: 1")), UsageError)


async def test_a_header_that_is_not_text_is_told() -> None:
    assert isinstance(await raised_by(giving(headers=[("X-A", 1)])), TypeError)
    assert isinstance(await raised_by(giving(headers=[(b"X-A", "1")])), TypeError)


async def test_headers_of_the_connection_are_left_out() -> None:
    headers = [
        ("Connection", "close"),
        ("Keep-Alive", "5"),
        ("Transfer-Encoding", "chunked"),
        ("Upgrade", "x"),
        ("X-A", "1"),
    ]
    result = await ask(WSGI(giving(b"data", headers=headers)))
    assert (result.headers, result.text) == ({"x-a": "1"}, "data")


# -- the length of a response ----------------------------------------------------------------------


async def test_a_body_that_is_shorter_than_its_content_length_is_not_ended() -> None:
    raised = await raised_by(giving(b"abc", headers=[("Content-Length", "10")]))
    assert isinstance(raised, UsageError)
    assert "announced 7 bytes more than it gave" in str(raised)


async def test_a_body_that_is_longer_than_its_content_length_cannot_smuggle_a_response() -> None:
    smuggled = b"HTTP/1.1 200 OK\r\n\r\n"
    app = giving(b"abc", smuggled, headers=[("Content-Length", "3")])
    result = await ask(WSGI(app))
    assert isinstance(result.raised, UsageError)
    assert "gave more bytes than it announced" in str(result.raised)
    assert result.body == b"abc"
    assert result.messages[-1]["more_body"] is True  # so that the server closes the connection


@pytest.mark.parametrize(
    "headers",
    [
        [("Content-Length", "3"), ("Content-Length", "4")],
        [("Content-Length", "3, 3")],
        [("Content-Length", "-3")],
        [("Content-Length", "+3")],
        [("Content-Length", "")],
        [("Content-Length", "\xb2")],
    ],
)
async def test_a_length_that_is_none_is_told(headers: list[tuple[str, str]]) -> None:
    raised = await raised_by(giving(b"abc", headers=headers))
    assert isinstance(raised, UsageError)
    assert "Content-Length" in str(raised)


@pytest.mark.parametrize(("method", "status"), [("HEAD", "200 OK"), ("GET", "304 Not Modified")])
async def test_a_length_of_what_is_not_sent_is_no_lie(method: str, status: str) -> None:
    app = giving(status=status, headers=[("Content-Length", "10")])
    result = await ask(WSGI(app), method=method)
    assert (result.raised, result.headers) == (None, {"content-length": "10"})


# -- endings ---------------------------------------------------------------------------------------


async def test_the_app_runs_and_is_closed_in_one_thread_of_its_own() -> None:
    chunks = Chunks(limit=3)
    assert (await ask(WSGI(chunks))).text == "chunk" * 3
    assert chunks.closed == 1
    assert len(chunks.threads) == 1
    assert threading.get_ident() not in chunks.threads


async def test_context_variables_of_middleware_are_seen_by_the_app() -> None:
    variable: ContextVar[str] = ContextVar("variable", default="unset")

    def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
        start_response("200 OK", [])
        yield variable.get().encode()

    async def setting(request: Request, call_next: Any) -> Response:
        variable.set("set")
        response: Response = await call_next(request)
        return response

    result = await ask(Hesper(routes=[Mount("/", app=WSGI(app))], middleware=[setting]))
    assert result.text == "set"


async def test_an_error_before_the_head_is_answered_and_is_the_same_object() -> None:
    error = LookupError("at once")

    def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
        start_response("200 OK", [])
        raise error

    result = await ask(Hesper(routes=[Mount("/", app=WSGI(app))]))
    assert result.raised is error
    assert (result.status, result.text) == (500, "Internal Server Error")


async def test_an_error_in_the_body_is_never_a_proper_end_and_the_iterable_is_closed() -> None:
    error = LookupError("halfway")

    class Breaking(Chunks):
        def __iter__(self) -> Iterator[bytes]:
            yield b"half"
            raise error

    chunks = Breaking()
    result = await ask(WSGI(chunks))
    assert result.raised is error
    assert (result.text, result.complete, chunks.closed) == ("half", False, 1)


async def test_an_error_of_close_comes_out() -> None:
    error = LookupError("closing")

    class Breaking(Chunks):
        def close(self) -> None:
            raise error

    result = await ask(WSGI(Breaking(limit=1)))
    assert result.raised is error
    assert not result.complete


@pytest.mark.parametrize("leave_at", [0, 1, 3])
async def test_a_client_that_leaves_stops_the_iteration(dialect: Dialect, leave_at: int) -> None:
    chunks = Chunks()
    result = await ScriptedServer(WSGI(chunks), dialect).get().leave_at_message(leave_at).run()
    assert result.raised is None, result.log
    assert not result.truncated_as_complete
    assert chunks.given < 10_000
    # One that was gone on arrival never reaches the app where its server says so in time.
    assert chunks.closed == len(chunks.threads) <= 1


async def test_a_client_that_leaves_makes_write_raise_an_os_error() -> None:
    raised: list[OSError] = []

    def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
        write = start_response("200 OK", [])
        for _ in range(3):
            try:
                while True:
                    write(b"data")
            except OSError as exc:
                raised.append(exc)
        return []

    result = await ScriptedServer(WSGI(app)).get().leave_at_message(3).run()
    assert result.raised is None
    assert [type(exc) for exc in raised] == [ClientDisconnect] * 3


async def test_an_error_of_the_app_while_it_is_stopped_is_logged(
    expected_errors: ExpectedErrors,
) -> None:
    class Breaking(Chunks):
        def close(self) -> None:
            raise LookupError("closing")

    result = await ScriptedServer(WSGI(Breaking())).get().leave_at_message(3).run()
    assert result.raised is None
    assert expected_errors.take() == ["A response's body failed to close."]


async def test_a_client_that_leaves_before_its_body_is_whole_never_reaches_the_app(
    dialect: Dialect,
) -> None:
    chunks = Chunks()
    server = ScriptedServer(WSGI(chunks), dialect)
    script = server.post(body=[b"x" * SPOOL_SIZE, b"y"], unfinished=True).leave_after_request(2)
    result = await script.run()
    assert (result.raised, result.messages) == (None, [])
    assert chunks.threads == set()


async def test_a_client_that_does_not_read_holds_one_chunk() -> None:
    chunks = Chunks()
    async with ScriptedServer(WSGI(chunks)).get().stall_at_message(4).open() as client:
        await client.wait_message(4)
        for _ in range(10):
            await anyio.sleep(0)
        assert chunks.given == 3
        client.leave()
        result = await client.finish()
    assert (result.raised, chunks.closed) == (None, 1)


async def test_a_cancelled_request_waits_for_the_app_and_stops_it() -> None:
    for native in (False, True):
        chunks = Chunks()
        script = ScriptedServer(WSGI(chunks)).get().stall_at_message(4)
        async with script.open() as client:
            await client.wait_message(4)
            client.cancel_app(native=native)
            result = await client.finish()
        assert result.ended == "cancelled"
        assert (chunks.given, chunks.closed) == (3, 1)


class Gate:
    """An app that waits, before its head, until it is let through."""

    def __init__(self, fails: bool = False) -> None:
        self.entered = anyio.Event()
        self.open = threading.Event()
        self.left = 0
        self.fails = fails

    def __call__(self, environ: Environ, start_response: Start) -> Iterable[bytes]:
        anyio.from_thread.run_sync(self.entered.set)
        self.open.wait()
        self.left += 1
        if self.fails:
            raise LookupError("after all")
        start_response("200 OK", [])
        return [b"through"]


@pytest.mark.parametrize("fails", [False, True])
async def test_a_request_that_is_cancelled_before_the_head_waits_too(
    fails: bool, expected_errors: ExpectedErrors
) -> None:
    gate = Gate(fails)
    async with ScriptedServer(WSGI(gate)).get().open() as client:
        await gate.entered.wait()
        client.cancel_app()
        for _ in range(5):
            await anyio.sleep(0)
        assert client.result.ended == "running"
        gate.open.set()
        result = await client.finish()
    assert result.ended == "cancelled"
    assert gate.left == 1
    expected = ["A worker thread failed after it was told to stop."] if fails else []
    assert expected_errors.take() == expected


async def test_only_so_many_run_at_a_time_and_others_can_be_cancelled_meanwhile() -> None:
    gate = Gate()
    server = ScriptedServer(WSGIMiddleware(gate, workers=1))
    clock = object()
    limiter = anyio.to_thread.current_default_thread_limiter()
    limiter.acquire_on_behalf_of_nowait(clock)  # so that time is real on trio: see the class above
    try:
        async with server.get().open() as first:
            await gate.entered.wait()
            async with server.get().open() as second:
                for _ in range(5):
                    await anyio.sleep(0)
                second.cancel_app()
                assert (await second.finish()).ended == "cancelled"
            # Sync endpoints have threads of their own.
            assert await run_in_thread(lambda: 1) == 1
            gate.open.set()
            result = await first.finish()
        assert result.text == "through"
        assert gate.left == 1
        assert (await server.get().run()).text == "through"
    finally:
        limiter.release_on_behalf_of(clock)


async def test_a_middleware_that_drops_the_response_stops_the_app() -> None:
    chunks = Chunks()

    async def other(request: Request, call_next: Any) -> Response:
        await call_next(request)
        return PlainTextResponse("other")

    app = Hesper(routes=[Mount("/", app=WSGI(chunks))], middleware=[other])
    assert (await ask(app)).text == "other"
    assert (chunks.given, chunks.closed) == (1, 1)


async def test_a_middleware_gets_a_response_and_may_wrap_its_body() -> None:
    app = GZipMiddleware(WSGI(Chunks(limit=200)))
    result = await ask(app, headers={"accept-encoding": "gzip"})
    assert result.headers["content-encoding"] == "gzip"
    assert result.complete


# -- where it stands -------------------------------------------------------------------------------


def test_importing_it_does_not_warn() -> None:
    # Starlette's does: its middleware is deprecated.
    code = "import hesper.middleware.wsgi"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


async def test_a_responder_is_an_asgi_app_for_one_request() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await WSGIResponder(hello, scope)(receive, send)

    assert (await ask(app)).text == "hello"


async def test_a_websocket_is_refused_and_a_lifespan_is_not_there() -> None:
    app = WSGI(hello)
    assert (await connect(app)).status == 403

    async def never(*_: Any) -> Any:
        raise AssertionError

    with pytest.raises(UsageError, match="no lifespan"):
        await app({"type": "lifespan"}, never, never)


async def test_what_was_closed_before_it_began_does_not_begin() -> None:
    log: list[str] = []
    handover = Handover(lambda: log.append("work"), lambda: log.append("release"))
    await handover.aclose()
    await handover.start()
    await handover.aclose()
    assert log == ["release"]


async def test_every_server_gets_the_same(dialect: Dialect) -> None:
    result: Result = await ScriptedServer(WSGI(hello), dialect).get().run()
    assert (result.status, result.text, result.violations) == (200, "hello", [])
    assert result.headers == {"content-type": "text/plain", "content-length": "5"}
