"""Endpoints as classes: which method answers, and that ``on_disconnect`` hears of every ending."""

import functools
import json
import threading
from typing import Any

import anyio
import pytest
import starlette.endpoints
from hypothesis import given
from hypothesis import strategies as st

from hesper._stack import folds
from hesper.applications import Hesper
from hesper.endpoints import METHODS, HTTPEndpoint, WebSocketEndpoint
from hesper.exceptions import HTTPException, UsageError, WebSocketException
from hesper.middleware import Middleware
from hesper.middleware.base import BaseHTTPMiddleware
from hesper.requests import Request
from hesper.responses import PlainTextResponse, Response
from hesper.routing import Mount, Route, Router, WebSocketRoute
from hesper.testing import Dialect, Result, ScriptedServer
from hesper.types import ASGIApp, Message, Receive, Scope, Send
from hesper.websockets import MalformedJSONMessage, UnexpectedMessage, WebSocket

from ..conftest import ExpectedErrors, in_virtual_time, on_asyncio
from .asking import ask, connect, text_of


class Users(HTTPEndpoint):
    """Answers with the name of the method that was called, and where."""

    async def get(self, request: Request[Any]) -> Response:
        return PlainTextResponse(f"get {request.path_params}")

    def post(self, request: Request[Any]) -> Response:
        thread = threading.current_thread() is threading.main_thread()
        return PlainTextResponse(f"post {'main' if thread else 'worker'}")

    async def query(self, request: Request[Any]) -> Response:
        return PlainTextResponse(f"query {(await request.body()).decode()}")

    async def trace(self, request: Request[Any]) -> Response:
        raise AssertionError("clients call no method that is none of HTTP's")

    dispatch_count = trace


def places(endpoint: Any) -> dict[str, ASGIApp]:
    """An endpoint wherever it may stand: each of them has to behave as the others."""

    async def foreign(scope: Scope, receive: Receive, send: Send) -> None:
        await endpoint(scope, receive, send)

    async def pass_on(request: Request[Any], call_next: Any) -> Response:
        response: Response = await call_next(request)
        return response

    return {
        "app": Hesper(routes=[Route("/", endpoint)]),
        "middleware": Hesper(routes=[Route("/", endpoint)], middleware=[pass_on, pass_on]),
        "router": Router([Route("/", endpoint)]),
        "foreign": Hesper(routes=[Mount("/", app=foreign)]),
        "mount": Hesper(routes=[Mount("/", app=endpoint)]),
    }


PLACES = sorted(places(Users))


# -- HTTP: which method answers --------------------------------------------------------------------


@pytest.mark.parametrize("place", PLACES)
async def test_the_method_of_the_request_answers(place: str) -> None:
    app = places(Users)[place]
    assert (await text_of(app)).startswith("get {")
    assert await text_of(app, method="POST") == "post worker"
    assert await text_of(app, method="QUERY", body=b"name=a") == "query name=a"


async def test_an_endpoint_is_looked_through() -> None:
    assert folds(Users)
    seen: list[Any] = []

    async def look(request: Request[Any], call_next: Any) -> Response:
        response = await call_next(request)
        seen.append(response)
        return PlainTextResponse("changed") if request.method == "PUT" else response

    class Kept(HTTPEndpoint):
        response = PlainTextResponse("kept")

        async def get(self, request: Request[Any]) -> Response:
            return self.response

    assert await text_of(Hesper(routes=[Route("/", Kept)], middleware=[look])) == "kept"
    assert seen == [Kept.response]


@pytest.mark.parametrize("place", PLACES)
async def test_head_falls_back_to_get(place: str) -> None:
    result = await ask(places(Users)[place], method="HEAD")
    assert result.status == 200

    class Own(HTTPEndpoint):
        async def get(self, request: Request[Any]) -> Response:
            raise AssertionError

        async def head(self, request: Request[Any]) -> Response:
            return Response(headers={"x-own": "yes"})

    assert (await ask(places(Own)[place], method="HEAD")).headers["x-own"] == "yes"


@pytest.mark.parametrize("method", ["PUT", "OPTIONS", "TRACE", "DISPATCH_COUNT", "GET "])
@pytest.mark.parametrize("place", PLACES)
async def test_what_the_class_has_not_is_405_with_what_it_has(place: str, method: str) -> None:
    result = await ask(places(Users)[place], method=method)
    assert (result.status, result.text) == (405, "Method Not Allowed")
    assert result.headers["allow"] == "GET, HEAD, POST, QUERY"


@pytest.mark.parametrize("method", ["__init__", "_allowed_methods", "DISPATCH", "SCOPE", "_run"])
async def test_a_client_calls_no_attribute_that_is_not_an_http_method(method: str) -> None:
    assert (await ask(Route("/", Users), method=method)).status == 405


async def test_an_endpoint_without_methods_allows_none() -> None:
    result = await ask(Route("/", HTTPEndpoint))
    assert (result.status, result.headers["allow"]) == (405, "")


async def test_in_an_app_the_405_goes_to_its_handlers() -> None:
    async def answer(request: Request[Any], exc: HTTPException) -> Response:
        return PlainTextResponse("not here", 405, headers=exc.headers)

    app = Hesper(routes=[Route("/", Users)], exception_handlers={405: answer})
    result = await ask(app, method="PUT")
    assert (result.text, result.headers["allow"]) == ("not here", "GET, HEAD, POST, QUERY")


async def test_the_405_can_be_another_one() -> None:
    class Polite(Users):
        async def method_not_allowed(self, request: Request[Any]) -> Response:
            response = await super().method_not_allowed(request)
            response.headers["x-sorry"] = "yes"
            return response

    result = await ask(Route("/", Polite), method="PUT")
    assert (result.status, result.headers["x-sorry"]) == (405, "yes")


@pytest.mark.parametrize("method", METHODS)
async def test_the_answers_are_those_of_starlettes_class(method: str) -> None:
    def show(self: Any, request: Any) -> Any:
        return PlainTextResponse("shown")

    members = dict.fromkeys(("get", "put", "delete", "options"), show)
    ours = type("Ours", (HTTPEndpoint,), members)
    theirs = type("Theirs", (starlette.endpoints.HTTPEndpoint,), members)
    results = [await ask(app, method=method) for app in (ours, theirs)]
    assert results[0].messages == results[1].messages


async def test_a_sync_method_may_give_something_to_await() -> None:
    async def later() -> Response:
        return PlainTextResponse("later")

    class Late(HTTPEndpoint):
        def get(self, request: Request[Any]) -> Any:
            return later()

    assert await text_of(Route("/", Late)) == "later"


async def test_a_method_may_be_any_callable() -> None:
    async def show(word: str, request: Request[Any]) -> Response:
        return PlainTextResponse(word)

    class Partial(HTTPEndpoint):
        get = staticmethod(functools.partial(show, "partial"))

    assert await text_of(Route("/", Partial)) == "partial"


async def test_a_method_that_returns_nothing_is_named() -> None:
    class Forgetful(HTTPEndpoint):
        async def get(self, request: Request[Any]) -> Any:
            pass

    result = await ask(Route("/", Forgetful))
    assert isinstance(result.raised, UsageError)
    assert "from the endpoint " in str(result.raised)
    assert "Forgetful" in str(result.raised)


# -- HTTP: the object ------------------------------------------------------------------------------


@pytest.mark.parametrize("place", PLACES)
async def test_each_request_gets_its_own_object_with_scope_receive_and_send(place: str) -> None:
    class Raw(HTTPEndpoint):
        def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
            super().__init__(scope, receive, send)
            self.mark = "marked"

        async def post(self, request: Request[Any]) -> Response:
            assert self.scope is request.scope
            assert self.send is not None
            message = await self.receive()
            return PlainTextResponse(self.mark + message["body"].decode())

    assert await text_of(places(Raw)[place], method="POST", body=b" body") == "marked body"


@pytest.mark.parametrize("place", PLACES)
async def test_an_overridden_dispatch_or_await_is_called(place: str) -> None:
    class Closed(Users):
        async def dispatch(self) -> None:
            if self.scope["method"] == "POST":
                response = PlainTextResponse("closed", 503)
                await response(self.scope, self.receive, self.send)
            else:
                await super().dispatch()

    class Awaited(Users):
        def __await__(self) -> Any:
            return PlainTextResponse("awaited")(self.scope, self.receive, self.send).__await__()

    app = places(Closed)[place]
    assert (await ask(app, method="POST")).status == 503
    assert (await text_of(app)).startswith("get {")
    assert (await ask(app, method="PUT")).status == 405
    assert await text_of(places(Awaited)[place]) == "awaited"


async def test_an_object_can_be_awaited() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await Users(scope, receive, send)

    assert (await text_of(app)).startswith("get {")


def test_an_endpoint_refuses_a_scope_of_another_type() -> None:
    async def call(*_: Any) -> Any: ...

    for cls, kind in ((HTTPEndpoint, "websocket"), (WebSocketEndpoint, "http")):
        with pytest.raises(UsageError, match=f"for the endpoint {cls.__name__}, got '{kind}'"):
            cls({"type": kind}, call, call)


async def test_a_websocket_is_refused_and_a_request_to_a_socket_not_found() -> None:
    assert (await connect(Hesper(routes=[Mount("/", app=Users)]))).status == 403
    assert (await ask(Hesper(routes=[Mount("/", app=Echo)]))).status == 404


# -- WebSockets: what is received ------------------------------------------------------------------


class Echo(WebSocketEndpoint):
    """Sends back what it was given, and keeps what happened."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        super().__init__(scope, receive, send)
        self.codes: Any = scope.get("codes", [])

    async def on_receive(self, websocket: WebSocket[Any], data: Any) -> None:
        await websocket.send_text(repr(data))

    async def on_disconnect(self, websocket: WebSocket[Any], close_code: int) -> None:
        await anyio.sleep(0)
        await anyio.sleep(0)
        self.codes.append(close_code)


class Ended(list[int]):
    """The codes that ``on_disconnect`` was given, kept out of the scope that the server copies."""

    def __init__(self) -> None:
        self.listening = anyio.Event()

    def app(self, endpoint: Any) -> ASGIApp:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            scope["codes"] = self
            await places(endpoint)["mount"](scope, receive, send)

        return app


def kind_of(encoding: Any) -> type[Echo]:
    return type("Kind", (Echo,), {"encoding": encoding})


@pytest.mark.parametrize("place", ["app", "middleware", "router", "mount", "alone"])
@pytest.mark.parametrize(
    ("encoding", "sent", "given"),
    [
        ("text", "é", "é"),
        ("bytes", b"\xff", b"\xff"),
        ("json", '{"a": [1]}', {"a": [1]}),
        ("json", b'"\xc3\xa9"', "é"),
        (None, "a", "a"),
        (None, b"a", b"a"),
        (None, "", ""),
        (None, b"", b""),
        ("text", "", ""),
        ("bytes", b"", b""),
    ],
)
async def test_messages_are_decoded_as_the_class_says(
    place: str, encoding: Any, sent: Any, given: Any
) -> None:
    endpoint: Any = kind_of(encoding)
    app = {
        "app": Hesper(routes=[WebSocketRoute("/", endpoint)]),
        "middleware": Hesper(routes=[WebSocketRoute("/", endpoint, middleware=[Middleware(Base)])]),
        "router": Router([WebSocketRoute("/", endpoint)]),
        "mount": Hesper(routes=[Mount("/", app=endpoint)]),
        "alone": endpoint,
    }[place]
    async with ScriptedServer(app).websocket(messages=[sent]).open() as client:
        await client.wait_message(2)
        assert client.result.frames == [repr(given)]
        client.close(1001)
        result = await client.finish()
    assert result.raised is None


class Base(BaseHTTPMiddleware):
    """A middleware that changes nothing."""


async def converse(app: ASGIApp, *messages: str | bytes) -> Result:
    """Send some messages, and wait for the app to end the socket."""
    async with ScriptedServer(app).websocket(messages=messages).open() as client:
        return await client.finish()


@pytest.mark.parametrize(
    ("encoding", "sent", "code", "reason"),
    [
        ("text", b"a", 1003, "Expected text websocket messages, but got bytes."),
        ("bytes", "a", 1003, "Expected bytes websocket messages, but got text."),
        ("json", "{", 1007, "Malformed JSON: "),
        ("json", b"\xff", 1007, "Malformed JSON: the text is not UTF-8."),
        ("json", "[" * 100_000, 1007, "Malformed JSON: it is nested too deeply."),
        ("json", "9" * 5000, 1007, "Malformed JSON: a number has too many digits."),
    ],
)
async def test_a_message_of_the_wrong_kind_closes_the_socket_and_is_no_error(
    encoding: Any, sent: Any, code: int, reason: str
) -> None:
    codes = Ended()
    result = await converse(codes.app(kind_of(encoding)), sent)
    assert (result.raised, result.close_code) == (None, code)
    assert result.close_reason is not None
    assert result.close_reason.startswith(reason)
    assert codes == [1011]


async def test_an_encoding_that_is_none_is_named_unless_decode_is_its_own() -> None:
    result = await converse(kind_of("msgpack"), b"a")
    assert isinstance(result.raised, UsageError)
    assert "Unsupported 'encoding' attribute 'msgpack' of Kind" in str(result.raised)

    class Own(Echo):
        encoding = "msgpack"  # type: ignore[assignment]

        async def decode(self, websocket: WebSocket[Any], message: Message) -> Any:
            return message["bytes"] + b" decoded"

        async def on_receive(self, websocket: WebSocket[Any], data: Any) -> None:
            await websocket.send_bytes(data)
            await websocket.close()

    assert (await converse(Own, b"a")).frames == [b"a decoded"]


@given(st.text() | st.binary() | st.lists(st.sampled_from('[]{}",:0e-')).map("".join))
def test_any_message_is_decoded_or_refused_with_a_code(content: str | bytes) -> None:
    from hesper.websockets import parse_json

    try:
        value = parse_json(content)
    except MalformedJSONMessage:
        return
    assert repr(value) == repr(json.loads(content))


async def test_what_the_server_leaves_out_is_as_good_as_none() -> None:
    scope = {"type": "websocket", "headers": [], "path": "/"}

    async def call(*_: Any) -> Any: ...

    endpoint = kind_of("text")(scope, call, call)
    websocket = WebSocket[Any](scope, call, call)
    assert await endpoint.decode(websocket, {"text": "a"}) == "a"
    for message in ({"bytes": b"a"}, {"bytes": b"a", "text": None}):
        with pytest.raises(UnexpectedMessage):
            await endpoint.decode(websocket, message)


# -- WebSockets: the ending ------------------------------------------------------------------------


async def test_on_disconnect_is_given_the_clients_code() -> None:
    codes = Ended()
    async with ScriptedServer(codes.app(Echo)).websocket().open() as client:
        await client.wait_message(1)
        client.close(4321)
        result = await client.finish()
    assert (result.raised, codes) == (None, [4321])


async def test_on_disconnect_is_told_of_a_client_that_vanishes_in_every_dialect(
    dialect: Dialect,
) -> None:
    codes = Ended()
    script = ScriptedServer(codes.app(Echo), dialect).websocket(messages=["a"])
    async with script.open() as client:
        await client.wait_message(2)
        client.leave()
        result = await client.finish()
    assert (result.raised, codes) == (None, [dialect.websocket_lost_code])


async def test_on_disconnect_is_given_the_apps_own_code() -> None:
    class Closing(Echo):
        async def on_receive(self, websocket: WebSocket[Any], data: Any) -> None:
            await websocket.close(4000)

    codes = Ended()
    result = await converse(codes.app(Closing), "a")
    assert (result.close_code, codes) == (4000, [4000])


async def test_on_disconnect_is_given_1011_when_the_endpoint_raises() -> None:
    error = ValueError("broken")

    class Broken(Echo):
        async def on_receive(self, websocket: WebSocket[Any], data: Any) -> None:
            raise error

    codes = Ended()
    result = await converse(codes.app(Broken), "a")
    assert (result.raised, codes) == (error, [1011])
    assert (error.__cause__, error.__context__) == (None, None)


async def test_an_error_is_1011_also_when_the_client_is_gone() -> None:
    error = ValueError("broken")

    class Broken(Echo):
        async def on_receive(self, websocket: WebSocket[Any], data: Any) -> None:
            self.codes.listening.set()
            await websocket.wait_disconnected()
            raise error

    codes = Ended()
    async with ScriptedServer(codes.app(Broken)).websocket(messages=["a"]).open() as client:
        await codes.listening.wait()
        client.leave()
        result = await client.finish()
    assert (result.raised, codes[-1]) == (error, 1011)


async def test_a_send_to_a_client_that_left_is_the_clients_code_and_quiet() -> None:
    class Late(Echo):
        async def on_receive(self, websocket: WebSocket[Any], data: Any) -> None:
            self.codes.listening.set()
            await websocket.wait_disconnected()
            await websocket.send_text("too late")

    codes = Ended()
    async with ScriptedServer(codes.app(Late)).websocket(messages=["a"]).open() as client:
        await codes.listening.wait()
        client.close(4321)
        result = await client.finish()
    assert (result.raised, codes) == (None, [4321])


@pytest.mark.parametrize("native", [False, pytest.param(True, marks=on_asyncio)])
async def test_on_disconnect_may_await_when_the_endpoint_is_cancelled(native: bool) -> None:
    codes = Ended()
    async with ScriptedServer(codes.app(Echo)).websocket().open() as client:
        await client.wait_message(1)
        client.cancel_app(native=native)
        result = await client.finish()
    assert (result.ended, codes) == ("cancelled", [1011])


async def test_a_cancellation_after_the_client_left_has_the_clients_code() -> None:
    class Busy(Echo):
        async def on_receive(self, websocket: WebSocket[Any], data: Any) -> None:
            self.codes.listening.set()
            await websocket.wait_disconnected()
            await anyio.sleep_forever()

    codes = Ended()
    async with ScriptedServer(codes.app(Busy)).websocket(messages=["a"]).open() as client:
        await codes.listening.wait()
        client.close(4321)
        await anyio.wait_all_tasks_blocked()
        client.cancel_app()
        result = await client.finish()
    assert (result.ended, codes) == ("cancelled", [4321])


async def test_a_cancellation_that_the_endpoint_swallows_goes_on() -> None:
    class Stubborn(Echo):
        async def on_receive(self, websocket: WebSocket[Any], data: Any) -> None:
            try:
                await anyio.sleep_forever()
            except anyio.get_cancelled_exc_class():
                await websocket.close(4000)

    codes = Ended()
    async with ScriptedServer(codes.app(Stubborn)).websocket(messages=["a"]).open() as client:
        await client.wait_message(1)
        await anyio.wait_all_tasks_blocked()
        client.cancel_app()
        result = await client.finish()
    assert (result.ended, result.close_code, codes) == ("cancelled", 4000, [4000])


@in_virtual_time
@pytest.mark.parametrize("native", [False, pytest.param(True, marks=on_asyncio)])
async def test_a_cancellation_that_a_task_group_of_the_endpoint_takes_goes_on(native: bool) -> None:
    """On trio a task group under a shield takes every cancel for its own."""

    class Grouped(Echo):
        async def on_receive(self, websocket: WebSocket[Any], data: Any) -> None:
            async with anyio.create_task_group():
                await anyio.sleep_forever()

        async def on_disconnect(self, websocket: WebSocket[Any], close_code: int) -> None:
            await anyio.sleep(4)
            self.codes.append(close_code)

    codes = Ended()
    async with ScriptedServer(codes.app(Grouped)).websocket(messages=["a"]).open() as client:
        await client.wait_message(1)
        await anyio.wait_all_tasks_blocked()
        client.cancel_app(native=native)
        result = await client.finish()
    assert (result.ended, codes) == ("cancelled", [1011])


async def test_a_cancellation_in_a_checkpoint_of_the_endpoint_is_not_lost() -> None:
    class Busy(Echo):
        async def on_receive(self, websocket: WebSocket[Any], data: Any) -> None:
            self.codes.listening.set()
            while True:
                await anyio.sleep(0)

        async def on_disconnect(self, websocket: WebSocket[Any], close_code: int) -> None:
            self.codes.append(await anyio.to_thread.run_sync(lambda: close_code))

    codes = Ended()
    async with ScriptedServer(codes.app(Busy)).websocket(messages=["a"]).open() as client:
        await codes.listening.wait()
        client.cancel_app()
        result = await client.finish()
    assert (result.ended, codes) == ("cancelled", [1011])


@in_virtual_time
@pytest.mark.parametrize("native", [False, pytest.param(True, marks=on_asyncio)])
async def test_an_on_disconnect_that_takes_too_long_is_cut(
    native: bool, caplog: pytest.LogCaptureFixture
) -> None:
    class Slow(Echo):
        async def on_disconnect(self, websocket: WebSocket[Any], close_code: int) -> None:
            await anyio.sleep(3600)

    async with ScriptedServer(Slow).websocket().open() as client:
        await client.wait_message(1)
        client.cancel_app(native=native)
        result = await client.finish()
    assert result.ended == "cancelled"
    assert 5 <= result.duration < 6
    assert "on_disconnect was cut: it took longer than 5.0 seconds." in caplog.messages


@in_virtual_time
async def test_without_a_cancellation_on_disconnect_takes_its_time() -> None:
    class Slow(Echo):
        async def on_disconnect(self, websocket: WebSocket[Any], close_code: int) -> None:
            await anyio.sleep(60)
            await super().on_disconnect(websocket, close_code)

    codes = Ended()
    async with ScriptedServer(codes.app(Slow)).websocket().open() as client:
        await client.wait_message(1)
        client.leave()
        await client.finish(timeout=100)
    assert codes == [1005]


@pytest.mark.parametrize("cancel", [False, True])
async def test_scopes_may_be_open_from_connect_to_disconnect(cancel: bool) -> None:
    class Scoped(Echo):
        async def on_connect(self, websocket: WebSocket[Any]) -> None:
            self.scope_of_all = anyio.CancelScope()
            self.scope_of_all.__enter__()
            await websocket.accept()

        async def on_disconnect(self, websocket: WebSocket[Any], close_code: int) -> None:
            self.scope_of_all.__exit__(None, None, None)
            await super().on_disconnect(websocket, close_code)

    codes = Ended()
    async with ScriptedServer(codes.app(Scoped)).websocket().open() as client:
        await client.wait_message(1)
        if cancel:
            client.cancel_app()
        else:
            client.close(4321)
        result = await client.finish()
    assert result.ended == ("cancelled" if cancel else "returned")
    assert codes == [1011 if cancel else 4321]


# -- WebSockets: the beginning ---------------------------------------------------------------------


async def test_a_socket_that_on_connect_closes_has_an_on_disconnect() -> None:
    class Closed(Echo):
        async def on_connect(self, websocket: WebSocket[Any]) -> None:
            await websocket.close(1008)

    codes = Ended()
    result = await connect(codes.app(Closed))
    assert (result.status, result.raised, len(codes)) == (403, None, 1)


async def test_a_refusal_by_raising_before_accept_has_no_on_disconnect() -> None:
    class Refusing(Echo):
        async def on_connect(self, websocket: WebSocket[Any]) -> None:
            raise HTTPException(401)

    codes = Ended()
    result = await connect(codes.app(Refusing))
    assert (result.status, result.raised, codes) == (401, None, [])


async def test_a_client_that_is_gone_before_accept_has_no_on_disconnect() -> None:
    codes = Ended()
    script = ScriptedServer(codes.app(Echo)).websocket().leave_at_message(0)
    result = await script.run()
    assert (result.raised, codes) == (None, [])


@pytest.mark.parametrize("error", [WebSocketException(1008), ValueError()])
async def test_an_error_after_accept_has_an_on_disconnect(error: Exception) -> None:
    class Failing(Echo):
        async def on_connect(self, websocket: WebSocket[Any]) -> None:
            await websocket.accept()
            raise error

    codes = Ended()
    result = await connect(codes.app(Failing))
    raised = error if isinstance(error, ValueError) else None
    assert (result.raised, codes) == (raised, [1011])


async def test_a_client_that_vanishes_in_on_connect_has_an_on_disconnect() -> None:
    class Greeting(Echo):
        async def on_connect(self, websocket: WebSocket[Any]) -> None:
            await websocket.accept()
            await websocket.wait_disconnected()
            await websocket.send_text("hello")

    codes = Ended()
    script = ScriptedServer(codes.app(Greeting)).websocket().leave_at_message(1)
    result = await script.leave_by_closing(4321).run()
    assert (result.raised, codes) == (None, [4321])


async def test_an_overridden_socket_dispatch_or_await_is_called() -> None:
    class Counting(Echo):
        async def dispatch(self) -> None:
            self.codes.append(0)
            await super().dispatch()

    class Awaited(Echo):
        def __await__(self) -> Any:
            self.codes.append(1)
            return self.dispatch().__await__()

    for endpoint, number in ((Counting, 0), (Awaited, 1)):
        codes = Ended()
        async with ScriptedServer(codes.app(endpoint)).websocket().open() as client:
            await client.wait_message(1)
            client.close(4321)
            await client.finish()
        assert codes == [number, 4321]


async def test_an_error_of_on_disconnect_comes_out_with_what_was_before_it(
    expected_errors: ExpectedErrors,
) -> None:
    first, second = ValueError("first"), ValueError("second")

    class Broken(Echo):
        async def on_receive(self, websocket: WebSocket[Any], data: Any) -> None:
            raise first

        async def on_disconnect(self, websocket: WebSocket[Any], close_code: int) -> None:
            raise second

    result = await converse(Broken, "a")
    assert result.raised is second
    assert second.__context__ is first
