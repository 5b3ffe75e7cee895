"""The WebSocket sessions of the test clients: the synchronous one, and the asynchronous below it."""

import functools
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import anyio
import httpx2
import pytest
import starlette.applications
import starlette.responses
import starlette.routing
import starlette.websockets
from fastapi import FastAPI
from fastapi import WebSocket as FastAPIWebSocket

from hesper.applications import Hesper
from hesper.exceptions import HTTPException, UsageError
from hesper.responses import JSONResponse, PlainTextResponse
from hesper.routing import WebSocketRoute
from hesper.testclient import (
    AsyncTestClient,
    AsyncWebSocketDenialResponse,
    AsyncWebSocketTestSession,
    TestClient,
    WebSocketDenialResponse,
    WebSocketTestSession,
)
from hesper.types import ASGIApp, Message, Receive, Scope, Send
from hesper.websockets import WebSocket, WebSocketDisconnect

MakeClient = Callable[..., TestClient]

ACCEPT: Message = {"type": "websocket.accept"}


@pytest.fixture(params=["asyncio", "trio"])
def make_client(request: pytest.FixtureRequest) -> Iterator[MakeClient]:
    """Makes test clients of each backend, and sees that none leaves a thread behind."""
    threads = set(threading.enumerate())
    yield functools.partial(TestClient, backend=request.param)
    left = [thread for thread in threading.enumerate() if "portal" in thread.name]
    assert not set(left) - threads


def app_of(endpoint: Callable[[WebSocket], Awaitable[None]]) -> Hesper:
    return Hesper(routes=[WebSocketRoute("/", endpoint)])


def sending(*messages: Message) -> ASGIApp:
    """An application that sends these messages, and returns."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == "websocket.connect"
        for message in messages:
            await send(dict(message))

    return app


async def echo(websocket: WebSocket) -> None:
    """Gives back whatever comes."""
    await websocket.accept()
    while (message := await websocket.receive())["type"] == "websocket.receive":
        await websocket.send({**message, "type": "websocket.send"})


# -- messages -------------------------------------------------------------------------------------


@pytest.mark.parametrize("entered", [False, True], ids=["own loop", "shared loop"])
def test_messages_of_every_kind_come_back(make_client: MakeClient, entered: bool) -> None:
    client = make_client(app_of(echo))
    if entered:
        client.__enter__()
    with client.websocket_connect("/") as session:
        assert isinstance(session, WebSocketTestSession)
        session.send_text("text")
        assert session.receive_text() == "text"
        session.send_bytes(b"bytes")
        assert session.receive_bytes() == b"bytes"
        session.send_json({"a": "é"})
        assert session.receive_json() == {"a": "é"}
        session.send_json([1], mode="binary")
        assert session.receive_json(mode="binary") == [1]
        session.send({"type": "websocket.receive", "text": "raw"})
        assert session.receive() == {"type": "websocket.send", "text": "raw"}
    if entered:
        client.__exit__()


def test_json_is_written_without_spaces_and_in_unicode(make_client: MakeClient) -> None:
    with make_client(app_of(echo)).websocket_connect("/") as session:
        session.send_json({"a": ["é", 1]})
        assert session.receive_text() == '{"a":["é",1]}'
        session.send_json({"a": ["é", 1]}, mode="binary")
        assert session.receive_bytes() == '{"a":["é",1]}'.encode()


def test_json_has_two_modes(make_client: MakeClient) -> None:
    with make_client(app_of(echo)).websocket_connect("/") as session:
        with pytest.raises(UsageError, match='"text" or "binary", got \'bytes\''):
            session.send_json(1, mode="bytes")  # type: ignore[arg-type]
        with pytest.raises(UsageError, match='"text" or "binary", got \'bytes\''):
            session.receive_json(mode="bytes")  # type: ignore[arg-type]


def test_a_message_of_the_other_kind_is_shown(make_client: MakeClient) -> None:
    with make_client(app_of(echo)).websocket_connect("/") as session:
        session.send_bytes(b"abc")
        with pytest.raises(AssertionError, match=r"a message with 'text', got .*b'abc'"):
            session.receive_text(timeout=5)


def test_receiving_takes_no_longer_than_its_timeout(make_client: MakeClient) -> None:
    with make_client(app_of(echo)).websocket_connect("/") as session:
        receivers: list[Callable[..., object]] = [
            session.receive,
            session.receive_text,
            session.receive_bytes,
            session.receive_json,
        ]
        for receive in receivers:
            with pytest.raises(TimeoutError, match=r"sent nothing for 0.01 seconds"):
                receive(timeout=0.01)
        session.send_text("still open")
        assert session.receive_text(timeout=5) == "still open"


def test_a_session_holds_what_the_application_sends_without_being_read(
    make_client: MakeClient,
) -> None:
    done = threading.Event()

    async def chatty(websocket: WebSocket) -> None:
        await websocket.accept()
        for n in range(100):
            await websocket.send_text(str(n))
        done.set()

    with make_client(app_of(chatty)).websocket_connect("/") as session:
        assert done.wait(5)
        assert [session.receive_text() for _ in range(100)] == [str(n) for n in range(100)]


# -- the handshake --------------------------------------------------------------------------------


def test_the_scope_is_that_of_a_handshake(make_client: MakeClient) -> None:
    scopes: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(dict(scope))
        await sending(ACCEPT)(scope, receive, send)

    client = make_client(app, client=("1.2.3.4", 5), cookies={"c": "1"})
    options: dict[str, Any] = {"headers": {"X-A": "1"}, "params": {"q": "1"}}
    with client.websocket_connect("/a%20b", ["x", "y"], **options):
        pass
    assert options["headers"] == {"X-A": "1"}, "what the test gives is not changed"
    [scope] = scopes
    headers = dict(scope.pop("headers"))
    assert scope == {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "1.1",
        "scheme": "ws",
        "path": "/a b",
        "raw_path": b"/a%20b",
        "query_string": b"q=1",
        "root_path": "",
        "client": ("1.2.3.4", 5),
        "server": ("testserver", 80),
        "subprotocols": ["x", "y"],
        "extensions": {"websocket.http.response": {}},
        "state": {},
    }
    assert headers[b"sec-websocket-protocol"] == b"x, y"
    del headers[b"accept-encoding"], headers[b"sec-websocket-protocol"]
    assert headers == {
        b"host": b"testserver",
        b"accept": b"*/*",
        b"connection": b"upgrade",
        b"user-agent": b"testclient",
        b"x-a": b"1",
        b"sec-websocket-key": b"testserver==",
        b"sec-websocket-version": b"13",
    } | {b"cookie": headers[b"cookie"]}


def test_the_accepted_subprotocol_and_headers_are_seen(make_client: MakeClient) -> None:
    async def accept(websocket: WebSocket) -> None:
        await websocket.accept("y", [(b"X-A", b"1")])

    client = make_client(app_of(accept))
    with client.websocket_connect("wss://example.org/", subprotocols=["x", "y"]) as session:
        assert session.accepted_subprotocol == "y"
        assert session.extra_headers == [(b"x-a", b"1")]
        assert session.scope["scheme"] == "wss"


def test_a_handshake_that_is_closed_raises(make_client: MakeClient) -> None:
    async def refuse(websocket: WebSocket) -> None:
        await websocket.close(1008, "no")

    with pytest.raises(WebSocketDisconnect) as caught:
        with make_client(app_of(refuse)).websocket_connect("/"):
            raise AssertionError("it is not open")
    assert (caught.value.code, caught.value.reason) == (1008, "no")


def test_a_handshake_that_is_refused_with_a_response_raises_it(make_client: MakeClient) -> None:
    async def refuse(websocket: WebSocket) -> None:
        await websocket.send_denial_response(JSONResponse({"why": "full"}, 503, {"x-a": "1"}))

    with pytest.raises(WebSocketDenialResponse) as caught:
        with make_client(app_of(refuse)).websocket_connect("/"):
            raise AssertionError("it is not open")
    denial = caught.value
    assert isinstance(denial, httpx2.Response)
    assert isinstance(denial, WebSocketDisconnect)
    assert (denial.status_code, denial.headers["x-a"], denial.json()) == (503, "1", {"why": "full"})
    assert (denial.code, denial.reason) == (1006, "")
    assert str(denial) == repr(denial) == "<Response [503 Service Unavailable]>"


def test_a_denial_in_parts_is_joined(make_client: MakeClient) -> None:
    app = sending(
        {"type": "websocket.http.response.start", "status": 401},
        {"type": "websocket.http.response.body", "body": b"a", "more_body": True},
        {"type": "websocket.http.response.body", "body": b"b"},
    )
    with pytest.raises(WebSocketDenialResponse) as caught:
        with make_client(app).websocket_connect("/"):
            raise AssertionError("it is not open")
    assert (caught.value.status_code, caught.value.content) == (401, b"ab")


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [
            {"type": "websocket.http.response.start", "status": 401, "headers": []},
            {"type": "websocket.http.response.body", "body": b"a", "more_body": True},
        ],
    ],
)
def test_half_an_answer_to_the_handshake_is_an_error(
    make_client: MakeClient, messages: list[Message]
) -> None:
    with pytest.raises(AssertionError, match="without a whole answer to the handshake"):
        with make_client(sending(*messages)).websocket_connect("/"):
            raise AssertionError("it is not open")


def test_an_http_exception_before_the_handshake_is_a_denial(make_client: MakeClient) -> None:
    async def refuse(websocket: WebSocket) -> None:
        raise HTTPException(403, "no")

    with pytest.raises(WebSocketDenialResponse) as caught:
        with make_client(app_of(refuse)).websocket_connect("/"):
            raise AssertionError("it is not open")
    assert caught.value.status_code == 403


# -- the end --------------------------------------------------------------------------------------


def test_the_applications_close_is_received_and_stays(make_client: MakeClient) -> None:
    async def close(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text("last")
        await websocket.close(1001, "bye")

    with make_client(app_of(close)).websocket_connect("/") as session:
        assert session.receive_text() == "last"
        with pytest.raises(WebSocketDisconnect) as caught:
            session.receive_text()
        assert (caught.value.code, caught.value.reason) == (1001, "bye")
        for _ in range(2):
            assert session.receive() == {"type": "websocket.close", "code": 1001, "reason": "bye"}
            with pytest.raises(WebSocketDisconnect):
                session.receive_bytes()
            with pytest.raises(WebSocketDisconnect):
                session.receive_json()


def test_an_application_that_returns_has_closed(make_client: MakeClient) -> None:
    with make_client(sending(ACCEPT)).websocket_connect("/") as session:
        assert session.receive() == {"type": "websocket.close", "code": 1000, "reason": ""}


class Listener:
    """An application that keeps what it receives at the end."""

    def __init__(self) -> None:
        self.received: list[Message] = []
        self.ended = threading.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await sending(ACCEPT)(scope, receive, send)
        while (message := await receive())["type"] == "websocket.receive":
            pass
        self.received.append(message)
        self.received.append(await receive())
        self.ended.set()


def test_the_end_of_the_block_closes_and_waits(make_client: MakeClient) -> None:
    app = Listener()
    with make_client(app).websocket_connect("/"):
        pass
    assert app.received[0] == {"type": "websocket.disconnect", "code": 1000}


def test_a_client_closes_with_its_code_and_reason_once(make_client: MakeClient) -> None:
    app = Listener()
    with make_client(app).websocket_connect("/") as session:
        session.close(3001, "bye")
        session.close(3002)
        assert app.ended.wait(5)
        session.send_text("nobody gets this")
    assert app.received == [
        {"type": "websocket.disconnect", "code": 3001, "reason": "bye"},
        {"type": "websocket.disconnect", "code": 1005},
    ]


def test_a_disconnect_message_is_a_close(make_client: MakeClient) -> None:
    app = Listener()
    with make_client(app).websocket_connect("/") as session:
        session.send({"type": "websocket.disconnect", "code": 1001})
    assert app.received[0] == {"type": "websocket.disconnect", "code": 1001}


def test_a_client_can_vanish_without_a_word(make_client: MakeClient) -> None:
    app = Listener()
    with make_client(app).websocket_connect("/") as session:
        session.disconnect()
    assert app.received[0] == {"type": "websocket.disconnect", "code": 1006}


def test_what_was_sent_before_the_close_is_received_first(make_client: MakeClient) -> None:
    got: list[str] = []

    async def listen(websocket: WebSocket) -> None:
        await websocket.accept()
        async for text in websocket.iter_text():
            got.append(text)

    with make_client(app_of(listen)).websocket_connect("/") as session:
        for n in range(30):
            session.send_text(str(n))
    assert got == [str(n) for n in range(30)]


def test_send_raises_after_the_client_left_and_that_is_no_error(make_client: MakeClient) -> None:
    raised: list[BaseException] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await sending(ACCEPT)(scope, receive, send)
        while True:
            try:
                await send({"type": "websocket.send", "text": "on and on"})
            except OSError as exc:
                raised.append(exc)
                raise

    with make_client(app).websocket_connect("/") as session:
        assert session.receive_text() == "on and on"
    assert len(raised) == 1


def test_an_application_that_goes_on_is_ended_after_the_grace_time(
    make_client: MakeClient,
) -> None:
    ended: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await sending(ACCEPT, {"type": "websocket.close"})(scope, receive, send)
            await anyio.sleep_forever()
        finally:
            ended.append("cancelled")

    with make_client(app, grace=0.01).websocket_connect("/") as session:
        assert session.receive()["type"] == "websocket.close"
    assert ended == ["cancelled"]


# -- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("accepts", [False, True])
def test_what_the_application_raises_comes_out_of_the_block(
    make_client: MakeClient, accepts: bool
) -> None:
    error = ValueError("boom")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await sending(*[ACCEPT][:accepts])(scope, receive, send)
        raise error

    with pytest.raises(ValueError, match="boom") as caught:
        with make_client(app).websocket_connect("/"):
            assert accepts
    assert caught.value is error


def test_what_the_application_raises_comes_out_of_the_call_that_waits_for_it(
    make_client: MakeClient,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await sending(ACCEPT, {"type": "websocket.send", "text": "first"})(scope, receive, send)
        await receive()
        raise ValueError("boom")

    with make_client(app).websocket_connect("/") as session:
        session.send_text("go")
        assert session.receive_text() == "first"
        with pytest.raises(ValueError, match="boom"):
            session.receive_text()
    # And not again at the end of the block.


def test_what_a_hesper_application_raises_closes_the_socket_before_it_comes_out(
    make_client: MakeClient,
) -> None:
    async def fail(websocket: WebSocket) -> None:
        await websocket.accept()
        raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        with make_client(app_of(fail)).websocket_connect("/") as session:
            assert session.receive()["code"] == 1011


def test_an_error_that_comes_of_the_clients_leaving_comes_out(make_client: MakeClient) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await sending(ACCEPT)(scope, receive, send)
        await receive()
        raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        with make_client(app).websocket_connect("/"):
            pass


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ([{"type": "websocket.send", "text": "early"}], "before anything else"),
        ([ACCEPT, ACCEPT], "websocket.accept was sent after websocket.accept"),
        ([ACCEPT, {"type": "websocket.send"}], "needs one of 'bytes' and 'text'"),
        ([ACCEPT, {"type": "http.response.start", "status": 200}], "unknown message type"),
    ],
)
def test_an_illegal_message_is_an_error_that_says_what_is_wrong(
    make_client: MakeClient, messages: list[Message], problem: str
) -> None:
    with pytest.raises(UsageError, match="The application broke the ASGI specification") as caught:
        with make_client(sending(*messages)).websocket_connect("/") as session:
            session.receive()
    assert problem in str(caught.value)


def test_an_illegal_message_comes_out_once_even_if_the_application_hides_it(
    make_client: MakeClient,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await sending(ACCEPT)(scope, receive, send)
        try:
            await send(dict(ACCEPT))
        except RuntimeError:
            pass

    with make_client(app).websocket_connect("/") as session:
        with pytest.raises(UsageError, match="broke the ASGI specification"):
            session.receive()


# -- other applications ---------------------------------------------------------------------------


def test_a_starlette_application_works(make_client: MakeClient) -> None:
    async def greet(websocket: starlette.websockets.WebSocket) -> None:
        await websocket.accept()
        await websocket.send_json({"hello": await websocket.receive_text()})
        await websocket.close(1001)

    async def refuse(websocket: starlette.websockets.WebSocket) -> None:
        await websocket.send_denial_response(starlette.responses.PlainTextResponse("no", 401))

    app = starlette.applications.Starlette(
        routes=[
            starlette.routing.WebSocketRoute("/", greet),
            starlette.routing.WebSocketRoute("/refuse", refuse),
        ]
    )
    with make_client(app) as client:
        with client.websocket_connect("/") as session:
            session.send_text("world")
            assert session.receive_json() == {"hello": "world"}
            assert session.receive()["code"] == 1001
        with pytest.raises(WebSocketDenialResponse) as caught:
            with client.websocket_connect("/refuse"):
                raise AssertionError("it is not open")
        assert caught.value.text == "no"


def test_a_disconnect_that_a_fastapi_application_does_not_catch_comes_out(
    make_client: MakeClient,
) -> None:
    app = FastAPI()

    @app.websocket("/{name}")
    async def loop(websocket: FastAPIWebSocket, name: str) -> None:
        await websocket.accept()
        while True:
            await websocket.send_text(f"{name}: {await websocket.receive_text()}")

    with pytest.raises(starlette.websockets.WebSocketDisconnect):
        with make_client(app).websocket_connect("/a") as session:
            session.send_text("b")
            assert session.receive_text() == "a: b"


def test_a_disconnect_that_a_hesper_application_does_not_catch_is_quiet(
    make_client: MakeClient,
) -> None:
    async def loop(websocket: WebSocket) -> None:
        await websocket.accept()
        while True:
            await websocket.send_text(await websocket.receive_text())

    with make_client(app_of(loop)).websocket_connect("/") as session:
        session.send_text("b")
        assert session.receive_text() == "b"


# -- asynchronous sessions ------------------------------------------------------------------------


async def test_async_messages_of_every_kind_come_back() -> None:
    async with AsyncTestClient(app_of(echo)).websocket_connect("/", ["x"]) as session:
        assert isinstance(session, AsyncWebSocketTestSession)
        assert session.scope["subprotocols"] == ["x"]
        await session.send_text("text")
        assert await session.receive_text() == "text"
        await session.send_bytes(b"bytes")
        assert await session.receive_bytes() == b"bytes"
        await session.send_json({"a": "é"})
        assert await session.receive_json() == {"a": "é"}
        await session.send_json([1], mode="binary")
        assert await session.receive_json(mode="binary") == [1]


async def test_an_async_session_ends_as_a_synchronous_one_does() -> None:
    app = Listener()
    async with AsyncTestClient(app).websocket_connect("/") as session:
        with pytest.raises(TimeoutError):
            await session.receive(timeout=0.01)
        await session.close(1001, "bye")
    assert app.received[0] == {"type": "websocket.disconnect", "code": 1001, "reason": "bye"}
    app = Listener()
    async with AsyncTestClient(app).websocket_connect("/") as session:
        await session.disconnect()
    assert app.received[0] == {"type": "websocket.disconnect", "code": 1006}


async def test_an_async_session_that_is_cancelled_ends_its_application() -> None:
    app = Listener()
    with anyio.CancelScope() as scope:
        async with AsyncTestClient(app).websocket_connect("/") as session:
            scope.cancel()
            await session.receive()
    assert scope.cancelled_caught
    assert app.ended.is_set()


async def test_an_async_handshake_that_is_cancelled_ends_its_application() -> None:
    ended: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        ended.append((await receive())["type"])

    with anyio.CancelScope() as scope:
        scope.cancel()
        async with AsyncTestClient(app).websocket_connect("/"):
            raise AssertionError("it is not open")
    assert scope.cancelled_caught
    assert ended == ["websocket.disconnect"]


async def test_what_the_application_raises_comes_out_of_an_async_session() -> None:
    async def fail(websocket: WebSocket) -> None:
        await websocket.accept()
        raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        async with AsyncTestClient(app_of(fail)).websocket_connect("/"):
            pass


async def test_an_async_handshake_can_be_refused_with_a_response() -> None:
    async def deny(websocket: WebSocket) -> None:
        await websocket.send_denial_response(PlainTextResponse("not you", 401, {"x-a": "1"}))

    with pytest.raises(AsyncWebSocketDenialResponse) as caught:
        async with AsyncTestClient(app_of(deny)).websocket_connect("/"):
            raise AssertionError("it is not open")
    denial = caught.value
    assert isinstance(denial, WebSocketDisconnect)
    assert (denial.status_code, denial.headers["x-a"], denial.text) == (401, "1", "not you")
    assert str(denial) == "<AsyncWebSocketDenialResponse [401 Unauthorized]>"
