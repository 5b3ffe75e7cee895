"""Requests: views of the scope as in Starlette, and one body for however many readers."""

import gc
import json
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
import starlette.requests
from hypothesis import given, settings
from hypothesis import strategies as st

import hesper.requests
from hesper._stack import Stack, serve
from hesper.applications import Hesper
from hesper.datastructures import State, UploadFile
from hesper.exceptions import ClientDisconnect, HTTPException, MalformedJSON, UsageError
from hesper.requests import HTTPConnection, Request, empty_receive, empty_send
from hesper.responses import PlainTextResponse, Response
from hesper.routing import Route
from hesper.testing import Dialect, ScriptedServer
from hesper.types import ASGIApp, Message, Receive, Scope, Send


def served(handler: Callable[[Request], Awaitable[object]]) -> ASGIApp:
    """An app whose requests the rim makes; its answer is empty."""

    async def answering(request: Request) -> Response:
        await handler(request)
        return Response()

    async def never(_: object) -> None:
        raise AssertionError

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await serve(Stack(answering, never, app), scope, receive, send)

    return app


def bare(handler: Callable[[Request], Awaitable[object]]) -> ASGIApp:
    """An app that makes its request itself, as any ASGI app may."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await handler(Request(scope, receive, send))
        await Response()(scope, receive, send)

    return app


@pytest.fixture(params=[served, bare])
def made(request: pytest.FixtureRequest) -> Callable[[Callable[[Request], Any]], ASGIApp]:
    value: Callable[[Callable[[Request], Any]], ASGIApp] = request.param
    return value


def http_scope(**entries: Any) -> dict[str, Any]:
    return {
        "type": "http",
        "method": "GET",
        "path": "/",
        "query_string": b"",
        "headers": [],
        **entries,
    }


def with_body(*chunks: bytes) -> Request:
    """A request without a server, whose body has come."""
    messages: list[Message] = [
        {"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks
    ]
    messages.append({"type": "http.request"})

    async def receive() -> Message:
        if not messages:
            await anyio.sleep_forever()
        return messages.pop(0)

    return Request(http_scope(method="POST"), receive)


# -- views of the scope ----------------------------------------------------------------------------


def test_every_name_of_starlette_is_there() -> None:
    names = ["ClientDisconnect", "HTTPConnection", "Request", "cookie_parser", "empty_receive"]
    names += ["empty_send", "SERVER_PUSH_HEADERS_TO_COPY"]
    for name in names:
        assert hasattr(starlette.requests, name)
        assert hasattr(hesper.requests, name)
    assert (
        hesper.requests.SERVER_PUSH_HEADERS_TO_COPY
        == starlette.requests.SERVER_PUSH_HEADERS_TO_COPY
    )


HOST = (b"host", b"example.org:8080")
SCOPES = [
    http_scope(),
    http_scope(path="/a b/ü", query_string=b"a=1&b=%20&a=2", headers=[HOST]),
    http_scope(root_path="/app", path="/app/x", server=("127.0.0.1", 80), scheme="http"),
    http_scope(root_path="/app/", path="/app/x", server=("::1", 8000), scheme="https"),
    http_scope(root_path="/app/sub", app_root_path="/app", path="/app/sub/x", headers=[HOST]),
    http_scope(client=None),
    http_scope(client=("10.0.0.1", 5), method="PATCH", path_params={"id": 5}),
    http_scope(headers=[(b"x", b"1"), (b"x", b"2"), (b"cookie", b'a=1; b="x\\054"; a=2; c')]),
]


@pytest.mark.parametrize("number", range(len(SCOPES)))
@pytest.mark.parametrize(
    "name",
    ["method", "url", "base_url", "headers", "query_params", "cookies", "client", "path_params"],
)
def test_views_are_those_of_starlette(number: int, name: str) -> None:
    ours = getattr(Request(dict(SCOPES[number])), name)
    theirs = getattr(starlette.requests.Request(dict(SCOPES[number])), name)
    if name in ("headers", "query_params"):
        ours, theirs = (
            ours.multi_items() if name != "headers" else ours.raw,
            (theirs.multi_items() if name != "headers" else theirs.raw),
        )
    elif name in ("url", "base_url"):
        ours, theirs = str(ours), str(theirs)
    assert ours == theirs


@pytest.mark.parametrize("name", ["url", "base_url", "headers", "query_params", "cookies", "state"])
def test_a_view_is_made_once(name: str) -> None:
    request: Request = Request(http_scope())
    assert getattr(request, name) is getattr(request, name)


def test_cookies_of_several_headers_are_put_together() -> None:
    headers = [(b"cookie", b"a=1; b=2"), (b"x", b"y"), (b"cookie", b"b=3"), (b"cookie", b"c=4")]
    assert Request(http_scope(headers=headers)).cookies == {"a": "1", "b": "3", "c": "4"}


def test_a_connection_is_a_mapping_over_the_scope_and_itself() -> None:
    scope = http_scope()
    one, other = HTTPConnection(scope), HTTPConnection(scope)
    assert dict(one) == scope
    assert one["path"] == "/"
    assert len(one) == len(scope)
    assert one == one
    assert one != other
    assert len({one, other, one}) == 2
    assert one


@pytest.mark.parametrize("kind", ["lifespan", "other"])
def test_a_scope_of_another_kind_is_refused(kind: str) -> None:
    with pytest.raises(UsageError, match=f"got '{kind}'"):
        HTTPConnection({"type": kind})
    with pytest.raises(UsageError, match=f"got '{kind}'"):
        Request({"type": kind})


def test_a_websocket_is_a_connection_and_no_request() -> None:
    scope = http_scope(type="websocket", scheme="ws", headers=[HOST])
    assert HTTPConnection(scope).url == "ws://example.org:8080/"
    with pytest.raises(UsageError, match="got 'websocket'"):
        Request(http_scope(type="websocket"))


def test_the_state_starts_with_that_of_the_lifespan_and_is_shared() -> None:
    scope = http_scope(state={"pool": 1})
    request = Request[State](scope)
    assert request.state.pool == 1
    request.state.user = 2
    assert Request[State](scope).state.user == 2
    assert scope["state"] == {"pool": 1, "user": 2}


@pytest.mark.parametrize(
    ("name", "middleware"),
    [
        ("session", "SessionMiddleware"),
        ("user", "AuthenticationMiddleware"),
        ("auth", "AuthenticationMiddleware"),
    ],
)
def test_what_a_middleware_gives_is_there_or_the_middleware_is_named(
    name: str, middleware: str
) -> None:
    assert getattr(Request(http_scope(**{name: "given"})), name) == "given"
    with pytest.raises(UsageError, match=f"{middleware} must be installed"):
        getattr(Request(http_scope()), name)


class Router:
    """What ``url_for`` asks of a router."""

    def url_path_for(self, name: str, /, **params: Any) -> Any:
        class Path(str):
            def make_absolute_url(self, base_url: object) -> str:
                return f"{base_url}{self}"

        return Path(f"{name}/{params['id']}")


@pytest.mark.parametrize("key", ["router", "app"])
def test_a_url_is_built_by_the_router_or_before_it_by_the_app(key: str) -> None:
    request: Request = Request(http_scope(**{key: Router()}, headers=[HOST]))
    url: Any = request.url_for("item", id=5)
    assert url == "http://example.org:8080/item/5"
    with pytest.raises(UsageError, match="url_for needs a router"):
        Request(http_scope()).url_for("item")


def test_the_app_is_that_of_the_scope() -> None:
    assert Request(http_scope(app="app")).app == "app"


async def test_a_request_without_channels_says_so() -> None:
    request: Request = Request(http_scope(extensions={"http.response.push": {}}))
    with pytest.raises(RuntimeError, match="pass `receive`"):
        await request.body()
    with pytest.raises(RuntimeError, match="pass `send`"):
        await request.send_push_promise("/x")
    with pytest.raises(RuntimeError, match="Receive channel"):
        await empty_receive()
    with pytest.raises(RuntimeError, match="Send channel"):
        await empty_send({})


# -- the body --------------------------------------------------------------------------------------


async def test_a_body_is_read_whole_however_often_and_by_however_many(
    made: Any, dialect: Dialect
) -> None:
    got: list[Any] = []

    async def handler(request: Request) -> None:
        got.append(await request.body())
        got.append(await request.body())
        other: Request = Request(request.scope, request.receive)
        got.append(await other.body())
        got.append(await Request(request.scope).body())
        got.append(b"".join([chunk async for chunk in request.stream()]))
        got.append([chunk async for chunk in other.stream()])

    result = await ScriptedServer(made(handler), dialect).post(body=[b"one", b"two"]).run()
    assert got == [b"onetwo"] * 5 + [[b"onetwo", b""]]
    assert (result.ended, result.status, result.violations) == ("returned", 200, [])


async def test_two_tasks_read_one_body() -> None:
    got: list[bytes] = []

    async def handler(request: Request) -> None:
        async def read(reader: Request) -> None:
            got.append(await reader.body())

        async with anyio.create_task_group() as group:
            group.start_soon(read, request)
            group.start_soon(read, request)
            group.start_soon(read, Request(request.scope, request.receive))

    await ScriptedServer(served(handler)).post(body=[b"one", 0.01, b"two", 0.01, b"three"]).run()
    assert got == [b"onetwothree"] * 3


async def test_a_reader_that_is_cancelled_loses_nothing(made: Any) -> None:
    got: list[bytes] = []

    async def handler(request: Request) -> None:
        for _ in range(3):
            with anyio.move_on_after(0.01) as scope:
                await request.body()
            assert scope.cancelled_caught
        got.append(await request.body())

    script = ScriptedServer(made(handler)).post(body=[b"one", 0.025, b"two", 0.1, b"3"])
    await script.run()
    assert got == [b"onetwo3"]


async def test_a_stream_that_is_cancelled_goes_on_where_it_was(made: Any) -> None:
    got: list[bytes] = []

    async def read(request: Request) -> None:
        async for chunk in request.stream():
            got.append(chunk)

    async def handler(request: Request) -> None:
        with anyio.move_on_after(0.02):
            await read(request)
        await read(request)

    await ScriptedServer(made(handler)).post(body=[b"one", 0.05, b"two", b"three"]).run()
    assert b"".join(got) == b"onetwothree"


async def test_a_stream_gives_the_chunks_and_then_nothing() -> None:
    assert [chunk async for chunk in with_body(b"a", b"", b"b").stream()] == [b"a", b"b", b""]
    assert [chunk async for chunk in with_body().stream()] == [b""]


async def test_after_a_stream_there_is_no_body() -> None:
    request = with_body(b"a", b"b")
    assert [chunk async for chunk in request.stream()] == [b"a", b"b", b""]
    for reader in (request, Request(request.scope, request.receive)):
        with pytest.raises(UsageError, match=r"Call body\(\) before stream\(\)"):
            await reader.body()
        with pytest.raises(UsageError, match=r"Call body\(\) before stream\(\)"):
            await anext(reader.stream())


async def test_what_the_server_sends_counts_not_what_the_header_says() -> None:
    for claim in (b"0", b"2", b"999", b"-1", b"x", b"1" * 5000):
        request = with_body(b"four")
        request.scope["headers"] = [(b"content-length", claim)]
        assert await request.body() == b"four"


async def read_stream(request: Request) -> bytes:
    chunks = []
    async for chunk in request.stream():
        assert chunk == b"{}"
        chunks.append(chunk)
    return b"".join(chunks)


READERS: dict[str, Callable[[Request], Awaitable[object]]] = {
    "stream": read_stream,
    "body": lambda request: request.body(),
    "json": lambda request: request.json(),
    "form": lambda request: request.form().__aenter__(),
}


async def test_a_body_that_breaks_off_is_no_body(made: Any, dialect: Dialect) -> None:
    for name, read in READERS.items():
        seen: list[object] = []

        async def handler(request: Request, read: Any = read, seen: list[object] = seen) -> None:
            for _ in range(2):  # the second time as the first
                with pytest.raises(ClientDisconnect):
                    seen.append(await read(request))
                assert request.disconnected
            seen.append("told")

        script = ScriptedServer(made(handler), dialect).post(
            body=[b"{}", b"{}"],
            headers={"content-type": "application/x-www-form-urlencoded"},
            unfinished=True,
        )
        result = await script.leave_after_request(1).run()
        if result.ended != "not called":  # daphne waits for the whole body
            assert (result.ended, seen) == ("returned", ["told"]), (name, result.log)


# -- JSON ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
async def test_json_is_read_in_every_unicode_encoding(encoding: str) -> None:
    assert await with_body('{"ü": [1]}'.encode(encoding)).json() == {"ü": [1]}


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "Expecting value"),
        (b"{", "Expecting property name"),
        (b"[1,]", ""),
        (b'"\xff"', "the text is not UTF-8"),
        (b"\xff\xfe\x00", "the text is not UTF-8"),
        (b"[" * 200_000, ""),
        (b'{"a":' * 200_000, ""),
        (b"1" * 5000, "Exceeds the limit"),
    ],
    ids=["empty", "open", "comma", "bytes", "half", "deep list", "deep dict", "huge"],
)
async def test_json_that_is_none_is_a_400(body: bytes, problem: str) -> None:
    request = with_body(body)
    for _ in range(2):
        with pytest.raises(MalformedJSON) as caught:
            await request.json()
        assert caught.value.status_code == 400
        assert problem in caught.value.detail
        assert isinstance(caught.value, json.JSONDecodeError)
        assert isinstance(caught.value, HTTPException)


@settings(max_examples=40)
@given(st.binary(max_size=40) | st.text('[]{},:"0123456789.eE-+truefalsn\\u ').map(str.encode))
async def test_no_body_makes_json_raise_anything_else(body: bytes) -> None:
    try:
        expected = json.loads(body)
    except (ValueError, RecursionError):
        with pytest.raises(MalformedJSON):
            await with_body(body).json()
    else:
        assert repr(await with_body(body).json()) == repr(expected)


# -- forms -----------------------------------------------------------------------------------------

MULTIPART = b"".join(
    [
        b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n',
        b'--x\r\nContent-Disposition: form-data; name="f"; filename="f.txt"\r\n\r\ncontent\r\n',
        b"--x--\r\n",
    ]
)
MULTIPART_TYPE = {"content-type": "multipart/form-data; boundary=x"}


async def test_a_forms_files_are_closed_when_the_request_ends(made: Any) -> None:
    files: list[UploadFile] = []

    async def handler(request: Request) -> None:
        form = await request.form()
        assert await request.form() is form
        assert form["a"] == "1"
        file = form["f"]
        assert isinstance(file, UploadFile)
        assert await file.read() == b"content"
        assert not file.file.closed
        files.append(file)

    await ScriptedServer(made(handler)).post(body=MULTIPART, headers=MULTIPART_TYPE).run()
    assert files[0].file.closed


async def test_a_forms_files_are_closed_when_the_handler_fails() -> None:
    files: list[UploadFile] = []

    async def handler(request: Request) -> None:
        file = (await request.form())["f"]
        assert isinstance(file, UploadFile)
        files.append(file)
        raise LookupError

    script = ScriptedServer(served(handler)).post(body=MULTIPART, headers=MULTIPART_TYPE)
    assert type((await script.run()).raised) is LookupError
    assert files[0].file.closed


async def test_a_form_as_a_context_closes_its_files() -> None:
    request = with_body(MULTIPART)
    request.scope["headers"] = [(b"content-type", b"multipart/form-data; boundary=x")]
    async with request.form() as form:
        file = form["f"]
        assert isinstance(file, UploadFile)
        assert not file.file.closed
    assert file.file.closed
    await request.close()


async def test_closing_a_request_without_a_form_does_nothing() -> None:
    await with_body(b"").close()


async def test_a_form_can_be_read_again_after_the_body() -> None:
    request = with_body(b"a=1&a=2&b=")
    request.scope["headers"] = [(b"content-type", b"Application/X-WWW-Form-Urlencoded; x=y")]
    assert await request.body() == b"a=1&a=2&b="
    for reader in (request, Request(request.scope, request.receive)):
        form = await reader.form()
        assert form.multi_items() == [("a", "1"), ("a", "2"), ("b", "")]


@pytest.mark.parametrize("content_type", [b"text/plain", b"", b"multipart/mixed; boundary=x"])
async def test_another_content_type_is_an_empty_form(content_type: bytes) -> None:
    request = with_body(b"a=1")
    request.scope["headers"] = [(b"content-type", content_type)]
    assert (await request.form()).multi_items() == []
    assert await request.body() == b"a=1"


@pytest.mark.parametrize(
    ("content_type", "body", "limits"),
    [
        (b"multipart/form-data", MULTIPART, {}),
        (b"multipart/form-data; boundary=x", b"nonsense", {}),
        (b"multipart/form-data; boundary=x", MULTIPART[:-20], {}),
        (b"multipart/form-data; boundary=x", MULTIPART, {"max_files": 0}),
        (b"multipart/form-data; boundary=x", MULTIPART, {"max_fields": 0}),
        (b"multipart/form-data; boundary=x", MULTIPART, {"max_part_size": 0}),
        (b"application/x-www-form-urlencoded", b"a=1&b=2", {"max_fields": 1}),
        (b"application/x-www-form-urlencoded", b"a=12345", {"max_part_size": 2}),
    ],
)
async def test_a_form_that_is_malformed_or_over_a_limit_is_a_400(
    content_type: bytes, body: bytes, limits: dict[str, int]
) -> None:
    request = with_body(body)
    request.scope["headers"] = [(b"content-type", content_type)]
    with pytest.raises(HTTPException) as caught:
        await request.form(**limits)
    assert caught.value.status_code == 400
    assert caught.value.detail


# -- the disconnect --------------------------------------------------------------------------------


async def test_asking_for_the_disconnect_swallows_nothing(made: Any, dialect: Dialect) -> None:
    got: list[Any] = []

    async def handler(request: Request) -> None:
        for _ in range(3):
            got.append(await request.is_disconnected())
            got.append(request.disconnected)
        got.append(await request.body())
        got.append(await request.is_disconnected())

    script = ScriptedServer(made(handler), dialect).post(body=[b"one", 0.01, b"two"])
    await script.run()
    assert got == [False] * 6 + [b"onetwo", False]


async def test_a_client_that_was_gone_on_arrival_is_seen_at_the_first_question(
    made: Any, dialect: Dialect
) -> None:
    got: list[Any] = []

    async def handler(request: Request) -> None:
        got.append(await request.is_disconnected())
        got.append(request.disconnected)
        await request.wait_disconnected()

    await ScriptedServer(made(handler), dialect).get("/").leave_at_message(0).run()
    assert got in ([True, True], [])  # some servers do not even call the app


async def test_the_body_that_came_whole_is_read_after_the_client_left(made: Any) -> None:
    got: list[Any] = []

    async def handler(request: Request) -> None:
        await request.wait_disconnected()
        got.append(request.disconnected)
        got.append(await request.body())

    await ScriptedServer(made(handler)).post(body=[b"one", b"two"]).leave_after(0.01).run()
    assert got == [True, b"onetwo"]


async def test_its_receive_gives_the_body_and_then_the_disconnect_for_ever(made: Any) -> None:
    got: list[Message] = []

    async def handler(request: Request) -> None:
        receive = request.receive
        for _ in range(4):
            got.append(await receive())

    await ScriptedServer(made(handler)).post(body=[b"one", b"two"]).leave_after(0.01).run()
    assert [message.get("body") for message in got] == [b"one", b"two", None, None]
    assert [message["type"] for message in got[2:]] == ["http.disconnect"] * 2


async def test_a_request_that_nobody_holds_any_more_leaves_no_task() -> None:
    request: Request | None = with_body(b"a")
    assert request is not None
    assert await request.body() == b"a"
    assert await request.is_disconnected() is False
    scope = request.scope
    del request
    scope.clear()
    gc.collect()
    for _ in range(5):
        await anyio.sleep(0)  # the guard of these tests looks for what is left


# -- what goes before the response -----------------------------------------------------------------


async def test_a_push_promise_repeats_the_headers_that_the_client_would_send() -> None:
    async def handler(request: Request) -> None:
        await request.send_push_promise("/style.css")

    headers = {"Accept": "text/css", "X-Own": "1", "User-Agent": "test"}
    script = ScriptedServer(served(handler)).get(
        headers=headers, extensions=("http.response.push",)
    )
    message = (await script.run()).messages[0]
    assert message["type"] == "http.response.push"
    assert message["path"] == "/style.css"
    assert [(name.lower(), value) for name, value in message["headers"]] == [
        (b"accept", b"text/css"),
        (b"user-agent", b"test"),
    ]


async def test_early_hints_carry_their_links() -> None:
    async def handler(request: Request) -> None:
        await request.send_early_hints("</a.css>; rel=preload", "</b.js>; rel=preload")
        with pytest.raises(ValueError, match="CR, LF or NUL"):
            await request.send_early_hints("</a>\r\nset-cookie: a=b")

    script = ScriptedServer(served(handler)).get(extensions=("http.response.early_hint",))
    assert (await script.run()).messages[0] == {
        "type": "http.response.early_hint",
        "links": [b"</a.css>; rel=preload", b"</b.js>; rel=preload"],
    }


@pytest.mark.parametrize("gone", [False, True])
async def test_where_it_is_of_no_use_nothing_is_sent_ahead(gone: bool) -> None:
    async def handler(request: Request) -> None:
        if gone:
            await request.wait_disconnected()
        await request.send_push_promise("/style.css")
        await request.send_early_hints("</a.css>")

    extensions = ("http.response.push", "http.response.early_hint") if gone else ()
    script = ScriptedServer(served(handler)).get(extensions=extensions)
    result = await (script.leave_after(0.01) if gone else script).run()
    assert result.types == ([] if gone else ["http.response.start", "http.response.body"])
    assert result.ended == "returned"


async def test_a_request_may_be_looked_at_when_all_is_over() -> None:
    kept: list[Request] = []

    async def endpoint(request: Request) -> Response:
        kept.append(request)
        return PlainTextResponse("x")

    result = await ScriptedServer(Hesper(routes=[Route("/", endpoint)])).get("/").run()
    (request,) = kept
    assert result.complete
    assert await request.is_disconnected()  # the response has ended
    assert not request.disconnected
    assert request.receive is request.receive
    assert (await request.receive())["type"] == "http.disconnect"
