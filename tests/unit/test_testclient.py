"""The synchronous test client: requests, scopes, errors and the lifespan; see also
`test_testclient_streams` and `test_testclient_websocket`."""

import contextvars
import functools
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, nullcontext
from http import HTTPStatus
from typing import Any

import anyio
import httpx2
import pytest
import starlette.applications
import starlette.background
import starlette.requests
import starlette.responses
import starlette.routing
import starlette.testclient
from fastapi import BackgroundTasks as FastAPIBackgroundTasks
from fastapi import FastAPI, UploadFile

import hesper.testclient
from hesper._testclient import library
from hesper.applications import Hesper
from hesper.background import BackgroundTask
from hesper.exceptions import HesperDeprecationWarning, HTTPException, UsageError
from hesper.requests import Request
from hesper.responses import (
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
)
from hesper.routing import Route
from hesper.testclient import TestClient, TestResponse
from hesper.testing import LifespanFailed
from hesper.types import ASGIApp, Message, Receive, Scope, Send

MakeClient = Callable[..., TestClient]

START: Message = {"type": "http.response.start", "status": 200, "headers": []}
BODY: Message = {"type": "http.response.body", "body": b"whole"}
PART: Message = {"type": "http.response.body", "body": b"part", "more_body": True}

backends = pytest.mark.parametrize("backend", ["asyncio", "trio"])


@pytest.fixture(params=["asyncio", "trio"])
def make_client(request: pytest.FixtureRequest) -> Iterator[MakeClient]:
    """Makes test clients of each backend, and sees that none leaves a thread behind."""
    threads = set(threading.enumerate())
    yield functools.partial(TestClient, backend=request.param)
    left = [thread for thread in threading.enumerate() if "portal" in thread.name]
    assert not set(left) - threads


def sending(*messages: Mapping[str, Any]) -> ASGIApp:
    """An application that sends these messages, and returns."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(dict(message))

    return app


def showing(scopes: list[Scope]) -> ASGIApp:
    """An application that keeps its scopes."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await sending(START, BODY)(scope, receive, send)

    return app


async def echo(request: Request) -> JSONResponse:
    """Shows what it was asked."""
    form = await request.form()
    files = {
        name: [value.filename, (await value.read()).decode()]
        for name, value in form.items()
        if not isinstance(value, str)
    }
    return JSONResponse(
        {
            "method": request.method,
            "path": request.url.path,
            "query": dict(request.query_params),
            "cookies": request.cookies,
            "header": request.headers.get("x-header"),
            "form": {name: value for name, value in form.items() if isinstance(value, str)},
            "files": files,
            "body": None if form else (await request.body()).decode(),
        }
    )


METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]

ECHO = Hesper(routes=[Route("/{rest:path}", echo, methods=METHODS)])


# -- requests -------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_every_method_arrives(make_client: MakeClient, method: str) -> None:
    response = getattr(make_client(ECHO), method.lower())("/a/b")
    assert isinstance(response, TestResponse)
    assert response.http_version == "HTTP/1.1"
    assert response.json()["method"] == method
    assert response.json()["path"] == "/a/b"


def test_a_body_arrives_as_json_as_a_form_or_as_it_is(make_client: MakeClient) -> None:
    client = make_client(ECHO)
    assert client.post("/", json={"a": 1}).json()["body"] == '{"a":1}'
    assert client.post("/", data={"a": "1", "b": "é"}).json()["form"] == {"a": "1", "b": "é"}
    assert client.post("/", content=b"raw").json()["body"] == "raw"
    assert client.post("/").json()["body"] == ""


def test_files_arrive_with_their_fields(make_client: MakeClient) -> None:
    files = {"file": ("a.txt", b"content", "text/plain")}
    told = make_client(ECHO).post("/", data={"field": "1"}, files=files).json()
    assert told["files"] == {"file": ["a.txt", "content"]}
    assert told["form"] == {"field": "1"}


def test_params_headers_and_cookies_arrive(make_client: MakeClient) -> None:
    client = make_client(ECHO, headers={"X-Header": "default"}, cookies={"c": "1"})
    told = client.get("/", params={"q": "a b"}).json()
    assert (told["query"], told["header"], told["cookies"]) == ({"q": "a b"}, "default", {"c": "1"})
    assert client.get("/", headers={"X-Header": "own"}).json()["header"] == "own"


def test_the_headers_given_to_a_client_are_not_changed() -> None:
    headers = {"a": "1"}
    TestClient(ECHO, headers=headers)
    assert headers == {"a": "1"}


def test_cookies_persist_from_one_request_to_the_next(make_client: MakeClient) -> None:
    async def login(request: Request) -> Response:
        response = PlainTextResponse("in")
        response.set_cookie("session", "s1")
        return response

    client = make_client(Hesper(routes=[Route("/login", login), Route("/me", echo)]))
    assert client.get("/me").json()["cookies"] == {}
    client.get("/login")
    assert client.get("/me").json()["cookies"] == {"session": "s1"}
    assert client.cookies["session"] == "s1"


def test_redirects_are_followed_unless_one_says_no(make_client: MakeClient) -> None:
    async def old(request: Request) -> Response:
        return RedirectResponse("/new", 307)

    routes = [Route("/old", old, methods=["POST"]), Route("/new", echo, methods=["POST"])]
    client = make_client(Hesper(routes=routes))
    followed = client.post("/old", content=b"kept")
    assert (followed.json()["body"], len(followed.history)) == ("kept", 1)
    assert client.post("/old", follow_redirects=False).status_code == 307
    assert make_client(client.app, follow_redirects=False).post("/old").status_code == 307


def test_authentication_and_event_hooks_of_the_library_work(make_client: MakeClient) -> None:
    async def who(request: Request) -> Response:
        return PlainTextResponse(request.headers["authorization"])

    client = make_client(Hesper(routes=[Route("/", who)]))
    client.auth = ("a", "b")
    seen: list[str] = []
    client.event_hooks["request"].append(lambda request: seen.append(request.method))
    assert client.get("/").text == "Basic YTpi"
    assert seen == ["GET"]


def test_a_timeout_warns_because_it_has_no_effect(make_client: MakeClient) -> None:
    client = make_client(ECHO)
    with pytest.warns(HesperDeprecationWarning, match="should not use the 'timeout' argument"):
        client.get("/", timeout=1)
    with pytest.warns(HesperDeprecationWarning, match="should not use the 'timeout' argument"):
        with client.stream("GET", "/", timeout=1):
            pass


def test_several_threads_can_share_a_client(make_client: MakeClient) -> None:
    with make_client(ECHO) as client:
        paths: list[str] = []
        threads = [
            threading.Thread(target=lambda n=n: paths.append(client.get(f"/{n}").json()["path"]))
            for n in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
    assert sorted(paths) == [f"/{n}" for n in range(8)]


def test_context_variables_of_the_test_are_seen_by_the_application(make_client: MakeClient) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")

    async def show(request: Request) -> Response:
        return PlainTextResponse(variable.get())

    variable.set("of the test")
    assert make_client(Hesper(routes=[Route("/", show)])).get("/").text == "of the test"


# -- scopes ---------------------------------------------------------------------------------------


def test_the_scope_is_that_of_a_server_of_http_1_1(make_client: MakeClient) -> None:
    scopes: list[Scope] = []
    client = make_client(showing(scopes), root_path="/root", client=("1.2.3.4", 5))
    client.app_state["key"] = "value"
    client.get("/a%20b/é/%2525?q=%20", headers={"X-A": "1"})
    [scope] = scopes
    headers = scope.pop("headers")
    assert scope == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/a b/é/%25",
        "raw_path": b"/a%20b/%C3%A9/%2525",
        "query_string": b"q=%20",
        "root_path": "/root",
        "client": ("1.2.3.4", 5),
        "server": ("testserver", 80),
        "extensions": {"http.response.debug": {}, "http.response.trailers": {}},
        "state": {"key": "value"},
    }
    assert dict(headers) == {
        b"host": b"testserver",
        b"accept": b"*/*",
        b"accept-encoding": dict(headers)[b"accept-encoding"],
        b"connection": b"keep-alive",
        b"user-agent": b"testclient",
        b"x-a": b"1",
    }


@pytest.mark.parametrize(
    ("url", "scheme", "server", "host"),
    [
        ("https://example.org/", "https", ("example.org", 443), b"example.org"),
        ("http://example.org:8000/", "http", ("example.org", 8000), b"example.org:8000"),
        ("http://[::1]:8000/", "http", ("::1", 8000), b"[::1]:8000"),
        ("http://[::1]:0/", "http", ("::1", 0), b"[::1]:0"),
    ],
)
def test_the_url_gives_scheme_server_and_host(
    url: str, scheme: str, server: tuple[str, int], host: bytes
) -> None:
    scopes: list[Scope] = []
    TestClient(showing(scopes), base_url=url).get("/")
    assert (scopes[0]["scheme"], scopes[0]["server"]) == (scheme, server)
    assert dict(scopes[0]["headers"])[b"host"] == host


def test_a_url_of_another_scheme_is_refused(make_client: MakeClient) -> None:
    with pytest.raises(UsageError, match=r"http, https, ws or wss, got 'ftp://example.org/'"):
        make_client(ECHO).get("ftp://example.org/")


def test_each_request_has_its_own_copy_of_the_state(make_client: MakeClient) -> None:
    async def count(request: Request) -> Response:
        request.state.count = getattr(request.state, "count", 0) + 1
        return PlainTextResponse(str(request.state.count))

    client = make_client(Hesper(routes=[Route("/", count)]))
    assert [client.get("/").text for _ in range(2)] == ["1", "1"]


@backends
def test_the_scope_holds_what_starlettes_client_says(backend: Any) -> None:
    ours: list[Scope] = []
    theirs: list[Scope] = []
    TestClient(showing(ours), backend=backend).post("/a?b=c", json={"d": 1})
    starlette.testclient.TestClient(showing(theirs), backend=backend).post("/a?b=c", json={"d": 1})
    assert {**theirs[0], "server": tuple(theirs[0]["server"])} == {
        key: value for key, value in ours[0].items() if key != "asgi"
    }


# -- applications ---------------------------------------------------------------------------------


def test_an_asgi_2_function_is_called_twice(make_client: MakeClient) -> None:
    def app(scope: Scope) -> hesper.testclient.ASGIInstance:
        async def instance(receive: Receive, send: Send) -> None:
            await sending(START, BODY)(scope, receive, send)

        return instance

    assert make_client(app).get("/").text == "whole"


def test_an_asgi_2_class_is_called_twice(make_client: MakeClient) -> None:
    class App:
        def __init__(self, scope: Scope) -> None:
            self.scope = scope

        async def __call__(self, receive: Receive, send: Send) -> None:
            await sending(START, BODY)(self.scope, receive, send)

    assert make_client(App).get("/").text == "whole"


def test_an_asgi_3_object_need_not_be_a_coroutine_function(make_client: MakeClient) -> None:
    app = sending(START, BODY)
    assert make_client(lambda scope, receive, send: app(scope, receive, send)).get("/").is_success


def test_a_class_that_is_awaited_is_an_asgi_3_application(make_client: MakeClient) -> None:
    class Endpoint:
        def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
            self.call = sending(START, BODY)(scope, receive, send)

        def __await__(self) -> Any:
            return self.call.__await__()

    assert make_client(Endpoint).get("/").text == "whole"


def test_what_cannot_be_called_is_refused() -> None:
    with pytest.raises(UsageError, match="Expected an ASGI application, got None"):
        TestClient(None)  # type: ignore[arg-type]


def test_a_starlette_application_works(make_client: MakeClient) -> None:
    ran: list[str] = []

    async def home(request: starlette.requests.Request) -> starlette.responses.Response:
        task = starlette.background.BackgroundTask(ran.append, "background")
        return starlette.responses.JSONResponse(await request.json(), background=task)

    async def boom(request: starlette.requests.Request) -> starlette.responses.Response:
        raise ValueError("boom")

    app = starlette.applications.Starlette(
        routes=[
            starlette.routing.Route("/", home, methods=["POST"]),
            starlette.routing.Route("/boom", boom),
        ]
    )
    with make_client(app) as client:
        assert client.post("/", json={"a": 1}).json() == {"a": 1}
        assert ran == ["background"]
        with pytest.raises(ValueError, match="boom"):
            client.get("/boom")
        assert client.get("/missing").status_code == 404
    response = make_client(app, raise_server_exceptions=False).get("/boom")
    assert (response.status_code, response.text) == (500, "Internal Server Error")


def test_a_fastapi_application_works(make_client: MakeClient) -> None:
    app = FastAPI()
    ran: list[str] = []

    @app.post("/items/{number}")
    async def create(number: int, work: FastAPIBackgroundTasks, file: UploadFile) -> dict[str, Any]:
        work.add_task(ran.append, "background")
        return {"number": number, "file": (await file.read()).decode()}

    with make_client(app) as client:
        response = client.post("/items/3", files={"file": b"content"})
        assert (response.json(), ran) == ({"number": 3, "file": "content"}, ["background"])
        assert client.post("/items/x").status_code == 422
        assert client.get("/openapi.json").json()["info"]["title"] == "FastAPI"


# -- errors ---------------------------------------------------------------------------------------


def test_what_the_application_raises_comes_out_of_the_call(make_client: MakeClient) -> None:
    error = ValueError("boom")

    async def fail(request: Request) -> Response:
        raise error

    app = Hesper(routes=[Route("/", fail)])
    with pytest.raises(ValueError, match="boom") as caught:
        make_client(app).get("/")
    assert caught.value is error
    response = make_client(app, raise_server_exceptions=False).get("/")
    assert (response.status_code, response.text) == (500, "Internal Server Error")


def test_an_http_exception_is_an_answer(make_client: MakeClient) -> None:
    async def fail(request: Request) -> Response:
        raise HTTPException(418)

    assert make_client(Hesper(routes=[Route("/", fail)])).get("/").status_code == 418


@pytest.mark.parametrize("messages", [(), (START,), (START, PART)])
def test_an_error_comes_out_wherever_the_response_stands(
    make_client: MakeClient, messages: tuple[Message, ...]
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await sending(*messages)(scope, receive, send)
        raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        make_client(app).get("/")


def test_without_a_response_an_error_is_a_500(make_client: MakeClient) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError("boom")

    response = make_client(app, raise_server_exceptions=False).request("GET", "/")
    assert (response.status_code, response.content) == (500, b"")
    response.disconnect()  # it is over


def test_half_a_body_is_never_given_as_a_whole_one(make_client: MakeClient) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await sending(START, PART)(scope, receive, send)
        raise ValueError("boom")

    with pytest.raises(httpx2.RemoteProtocolError, match="ended within its response"):
        make_client(app, raise_server_exceptions=False).get("/")


def test_an_error_after_the_response_comes_out_too(make_client: MakeClient) -> None:
    async def fail() -> None:
        raise ValueError("boom")

    async def answer(request: Request) -> Response:
        return PlainTextResponse("fine", background=BackgroundTask(fail))

    app = Hesper(routes=[Route("/", answer)])
    with pytest.raises(ValueError, match="boom"):
        make_client(app).get("/")
    assert make_client(app, raise_server_exceptions=False).get("/").text == "fine"


def test_a_system_exit_always_comes_out(make_client: MakeClient) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise SystemExit(3)

    for raising in (True, False):
        with pytest.raises(SystemExit):
            make_client(app, raise_server_exceptions=raising).get("/")


def test_an_application_that_returns_without_a_response_is_told_so(make_client: MakeClient) -> None:
    with pytest.raises(AssertionError, match="TestClient did not receive any response"):
        make_client(sending()).get("/")
    assert make_client(sending(), raise_server_exceptions=False).get("/").status_code == 500


def test_an_application_that_returns_within_its_response_is_told_so(
    make_client: MakeClient,
) -> None:
    with pytest.raises(AssertionError, match=r"send a last http.response.body without more_body"):
        make_client(sending(START, PART)).get("/")
    with pytest.raises(httpx2.RemoteProtocolError):
        make_client(sending(START, PART), raise_server_exceptions=False).get("/")


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ([BODY], "http.response.body was sent before anything else of the response"),
        ([START, START], "http.response.start was sent after http.response.start"),
        ([START, BODY, BODY], "http.response.body was sent after the end"),
        ([{"type": "http.nothing"}], "unknown message type 'http.nothing'"),
        ([{"type": "websocket.accept"}], "unknown message type 'websocket.accept'"),
        ([{}], "unknown message type None"),
        ([{"type": "http.response.start"}], "http.response.start has no 'status'"),
        ([{**START, "headers": [("a", "b")]}], "'headers' of http.response.start is"),
        ([{**START, "headers": "a: b"}], "'headers' of http.response.start is 'a: b'"),
        ([START, {**BODY, "body": "text"}], "'body' of http.response.body is 'text'"),
        ([{"type": "http.response.early_hint", "links": []}], "does not offer the extension"),
    ],
)
def test_an_illegal_message_is_an_error_that_says_what_is_wrong(
    make_client: MakeClient, messages: list[Message], problem: str
) -> None:
    with pytest.raises(
        UsageError, match="The application broke the ASGI specification: "
    ) as caught:
        make_client(sending(*messages)).get("/")
    assert problem in str(caught.value)


def test_an_illegal_message_is_a_failed_assertion_too(make_client: MakeClient) -> None:
    with pytest.raises(AssertionError, match="The application broke the ASGI specification"):
        make_client(sending(BODY)).get("/")


def test_an_illegal_message_comes_out_even_if_the_application_hides_it(
    make_client: MakeClient,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send(dict(BODY))
        except RuntimeError:
            pass
        await sending(START, BODY)(scope, receive, send)

    with pytest.raises(UsageError, match="before anything else"):
        make_client(app).get("/")
    assert make_client(app, raise_server_exceptions=False).get("/").text == "whole"


def test_what_every_server_takes_is_no_error(make_client: MakeClient) -> None:
    start = {"type": "http.response.start", "status": HTTPStatus.OK, "headers": [[b"X-A", b"1"]]}
    body = {"type": "http.response.body", "body": memoryview(b"whole")}
    response = make_client(sending(start, body)).get("/")
    assert (response.text, response.headers["x-a"]) == ("whole", "1")


def test_an_endless_application_that_ignores_its_client_is_ended(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hesper.testing._exchange.MOST_SENDS_AFTER_LEAVE", 100)

    async def deaf(scope: Scope, receive: Receive, send: Send) -> None:
        await send(dict(START))
        while True:
            try:
                await send(dict(PART))
            except OSError:
                pass

    with pytest.raises(BaseException, match="100 messages after the client had left"):
        with make_client(deaf, grace=60).stream("GET", "/"):
            pass


# -- after the response ---------------------------------------------------------------------------


def test_background_work_is_done_when_the_call_returns(make_client: MakeClient) -> None:
    ran: list[str] = []

    async def work() -> None:
        await anyio.sleep(0.01)
        ran.append("work")

    async def answer(request: Request) -> Response:
        return PlainTextResponse("fine", background=BackgroundTask(work))

    assert make_client(Hesper(routes=[Route("/", answer)])).get("/").text == "fine"
    assert ran == ["work"]


@pytest.mark.parametrize("entered", [False, True], ids=["own loop", "shared loop"])
def test_endless_background_work_can_be_interrupted(make_client: MakeClient, entered: bool) -> None:
    ended: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await sending(START, BODY)(scope, receive, send)
            # As Ctrl-C does; by then the test waits for this application to end.
            await anyio.sleep(0.05)
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            try:
                await anyio.sleep_forever()
            finally:
                ended.append("cancelled")

    client = make_client(app, grace=0.01)
    with client if entered else nullcontext():
        with pytest.raises(KeyboardInterrupt):
            client.get("/")
    assert ended == ["cancelled"]


def test_receive_waits_for_the_end_of_the_response_and_says_it_for_ever(
    make_client: MakeClient,
) -> None:
    received: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        received.append((await receive())["body"].decode())
        with anyio.move_on_after(0.01):
            received.append((await receive())["type"])
        await sending(START, BODY)(scope, receive, send)
        received.extend([(await receive())["type"], (await receive())["type"]])

    make_client(app).post("/", content=b"body")
    assert received == ["body", "http.disconnect", "http.disconnect"]


# -- the lifespan ---------------------------------------------------------------------------------


class Life:
    """An application with a lifespan, and what happened in it."""

    def __init__(self, *, startup: Exception | None = None, shutdown: Exception | None = None):
        self.events: list[str] = []
        self.loops: list[object] = []
        self.startup = startup
        self.shutdown = shutdown
        self.app = Hesper(routes=[Route("/", self.home)], lifespan=self.lifespan)

    @asynccontextmanager
    async def lifespan(self, app: Hesper) -> AsyncIterator[dict[str, Any]]:
        self.loops.append(anyio.lowlevel.current_token())
        self.events.append("startup")
        if self.startup is not None:
            raise self.startup
        yield {"key": "value"}
        self.events.append("shutdown")
        if self.shutdown is not None:
            raise self.shutdown

    async def home(self, request: Request) -> Response:
        self.loops.append(anyio.lowlevel.current_token())
        return PlainTextResponse(str(request.state.key))


def test_the_block_runs_the_lifespan_and_gives_its_state(make_client: MakeClient) -> None:
    life = Life()
    client = make_client(life.app)
    with client as entered:
        assert entered is client
        assert client.app_state == {"key": "value"}
        assert client.get("/").text == "value"
        assert life.events == ["startup"]
    assert life.events == ["startup", "shutdown"]


def test_everything_in_the_block_is_in_one_event_loop(make_client: MakeClient) -> None:
    life = Life()
    with make_client(life.app) as client:
        client.get("/")
        client.get("/")
        assert client.portal is not None
        assert client.portal.call(anyio.lowlevel.current_token) == life.loops[0]
    assert client.portal is None
    assert life.loops == [life.loops[0]] * 3


def test_a_client_can_be_entered_again_and_used_after_the_block(make_client: MakeClient) -> None:
    life = Life()
    client = make_client(life.app)
    with client:
        pass
    with client:
        pass
    assert life.events == ["startup", "shutdown"] * 2
    assert client.get("/").text == "value"


def test_a_client_runs_one_lifespan_at_a_time(make_client: MakeClient) -> None:
    life = Life()
    with make_client(life.app) as client:
        with pytest.raises(UsageError, match="The client is open already"):
            client.__enter__()
        assert client.get("/").text == "value"
    assert life.events == ["startup", "shutdown"]


def test_without_a_block_there_is_no_lifespan(make_client: MakeClient) -> None:
    life = Life()
    with pytest.raises(AttributeError):
        make_client(life.app).get("/")
    assert life.events == []


def test_an_error_in_the_startup_comes_out_of_the_block(make_client: MakeClient) -> None:
    error = ValueError("boom")
    client = make_client(Life(startup=error).app)
    with pytest.raises(ValueError, match="boom") as caught:
        with client:
            raise AssertionError("it has not started")
    assert caught.value is error
    assert client.portal is None


def test_an_error_in_the_shutdown_comes_out_of_the_block(make_client: MakeClient) -> None:
    error = ValueError("boom")
    with pytest.raises(ValueError, match="boom") as caught:
        with make_client(Life(shutdown=error).app) as client:
            client.get("/")
    assert caught.value is error


@pytest.mark.parametrize("step", ["startup", "shutdown"])
@pytest.mark.parametrize("ends", ["returns", "raises", "goes on"])
def test_a_failure_of_the_lifespan_that_is_only_told_comes_out(
    make_client: MakeClient, step: str, ends: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hesper._testclient.base.GRACE", 0.01)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (message := await receive())["type"] != f"lifespan.{step}":
            await send({"type": f"{message['type']}.complete"})
        await send({"type": f"{message['type']}.failed", "message": "no database"})
        if ends == "raises":
            raise ValueError("no database")
        if ends == "goes on":
            await anyio.sleep_forever()

    expected = ValueError if ends == "raises" else LifespanFailed
    with pytest.raises(expected, match="no database"):
        with make_client(app):
            pass


def test_an_application_may_do_without_a_lifespan(make_client: MakeClient) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await sending(START, BODY)(scope, receive, send)

    with make_client(app) as client:
        assert client.get("/").text == "whole"


def test_an_application_that_raises_in_its_lifespan_scope_is_heard(make_client: MakeClient) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"

    with pytest.raises(AssertionError):
        with make_client(app):
            pass


def test_a_lifespan_that_fails_while_it_runs_is_heard_at_the_end(make_client: MakeClient) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["asgi"] == {"version": "3.0", "spec_version": "2.0"}
        await receive()
        await send({"type": "lifespan.startup.complete"})
        raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        with make_client(app):
            pass


def test_an_illegal_message_of_the_lifespan_is_an_error(make_client: MakeClient) -> None:
    app = sending({"type": "lifespan.shutdown.complete"})
    with pytest.raises(UsageError, match=r"sent before lifespan.startup was answered"):
        with make_client(app):
            pass


def test_a_test_that_fails_in_the_block_still_shuts_down(make_client: MakeClient) -> None:
    life = Life()
    with pytest.raises(KeyError, match="of the test"):
        with make_client(life.app):
            raise KeyError("of the test")
    assert life.events == ["startup", "shutdown"]


# -- extensions -----------------------------------------------------------------------------------


@pytest.mark.parametrize("late", [False, True])
def test_what_the_application_tells_for_debugging_is_on_the_response(
    make_client: MakeClient, late: bool
) -> None:
    debug = {
        "type": "http.response.debug",
        "info": {"template": "a.html", "context": {"b": 1}, "more": 2},
    }
    messages = [START, debug, BODY] if late else [debug, START, BODY]
    response: Any = make_client(sending(*messages)).get("/")
    assert response.extensions["http.response.debug"] == debug["info"]
    assert (response.template, response.context) == ("a.html", {"b": 1})


def test_without_debugging_there_is_no_template(make_client: MakeClient) -> None:
    response = make_client(sending(START, BODY)).get("/")
    assert not hasattr(response, "template")
    assert not hasattr(response, "context")
    assert "http.response.debug" not in response.extensions
    assert "http.response.trailers" not in response.extensions


def test_trailers_are_on_the_response(make_client: MakeClient) -> None:
    response = make_client(
        sending(
            {**START, "trailers": True},
            BODY,
            {"type": "http.response.trailers", "headers": [(b"a", b"1")], "more_trailers": True},
            {"type": "http.response.trailers", "headers": [(b"b", b"2")]},
        )
    ).get("/")
    assert response.text == "whole"
    assert response.extensions["http.response.trailers"] == [(b"a", b"1"), (b"b", b"2")]


def test_a_body_is_whole_without_the_trailers_that_were_announced(make_client: MakeClient) -> None:
    trailers = {"type": "http.response.trailers", "headers": [(b"a", b"1")], "more_trailers": True}
    response = make_client(sending({**START, "trailers": True}, BODY, trailers)).get("/")
    assert response.text == "whole"
    assert response.extensions["http.response.trailers"] == [(b"a", b"1")]


# -- the extra ------------------------------------------------------------------------------------


def test_httpx_serves_with_a_warning_where_httpx2_is_not_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import httpx

    assert library.load() is httpx2
    monkeypatch.setitem(sys.modules, "httpx2", None)
    with pytest.warns(HesperDeprecationWarning, match="install httpx2"):
        assert library.load() is httpx
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(ImportError, match=r"pip install \"hesper\[testclient\]\""):
        library.load()


def test_the_client_works_on_httpx_as_well() -> None:
    code = """
import sys, warnings
sys.modules["httpx2"] = None
warnings.simplefilter("ignore")
from hesper.applications import Hesper
from hesper.responses import PlainTextResponse
from hesper.routing import Route
from hesper.testclient import TestClient

async def echo(request):
    return PlainTextResponse(await request.body())

with TestClient(Hesper(routes=[Route("/", echo, methods=["POST"])])) as client:
    with client.stream("POST", "/", content=iter([b"a", b"b"])) as response:
        print(response.read().decode(), type(response).__mro__[1].__module__)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["ab", "httpx"]
