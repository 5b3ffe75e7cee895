"""E19: a middleware that changes nothing changes nothing: the same messages, one-message bodies stay
one, every extension message and unknown key passes through, in both directions."""

import tempfile
from typing import Any

import anyio
import pytest
import starlette.applications
import starlette.responses
import starlette.routing

from hesper.applications import Hesper
from hesper.middleware import Middleware
from hesper.requests import Request
from hesper.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from hesper.routing import Route
from hesper.testing import Dialect, ScriptedServer
from hesper.types import ASGIApp, Message, Receive, Scope, Send
from tests.contract.apps import PassOn, hesper, mounted, nest, over, pass_on

HEADERS = [
    (b"content-type", b"text/plain"),
    (b"X-Mixed", b"Case"),
    (b"x-twice", b"1"),
    (b"x-twice", b"2"),
]
START: Message = {"type": "http.response.start", "status": 200, "headers": HEADERS}
LAST: Message = {"type": "http.response.body", "body": b"whole", "more_body": False}


def body(part: bytes, **keys: Any) -> Message:
    return {"type": "http.response.body", "body": part, "more_body": True, **keys}


HINT: Message = {"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]}
PUSH: Message = {"type": "http.response.push", "path": "/a.css", "headers": [(b"a", b"b")]}
TRAILERS: Message = {"type": "http.response.trailers", "headers": [(b"x-sum", b"1")]}

SEQUENCES: dict[str, list[Message]] = {
    "one message": [START, LAST],
    "no more_body key": [START, {"type": "http.response.body", "body": b"whole"}],
    "no body key": [START, {"type": "http.response.body"}],
    "no headers": [{"type": "http.response.start", "status": 204}, {"type": "http.response.body"}],
    "headers as a tuple": [{**START, "headers": tuple(HEADERS)}, LAST],
    "headers as lists": [{**START, "headers": [list(field) for field in HEADERS]}, LAST],
    "several messages": [START, body(b"a"), body(b"b"), LAST],
    "an empty end": [START, body(b"a"), {"type": "http.response.body", "body": b""}],
    "empty parts": [START, body(b""), body(b"a"), body(b""), LAST],
    "unknown keys": [
        {**START, "x-unknown": 1},
        body(b"a", flush=True, nested={"a": [1]}),
        {**LAST, "x-unknown": object()},
    ],
    "debug": [{"type": "http.response.debug", "info": {"template": object()}}, START, LAST],
    "early hint before the start": [HINT, START, LAST],
    "early hint after the start": [START, HINT, LAST],
    "early hint between parts": [START, body(b"a"), HINT, LAST],
    "two early hints before the start": [HINT, HINT, START, LAST],
    "push before the start": [PUSH, START, LAST],
    "push after the start": [START, PUSH, LAST],
    "trailers": [{**START, "trailers": True}, LAST, TRAILERS],
    "several trailers": [
        {**START, "trailers": True},
        body(b"a"),
        LAST,
        {**TRAILERS, "more_trailers": True},
        TRAILERS,
    ],
    "trailers flag that is False": [{**START, "trailers": False}, LAST],
    "unknown message before the start": [{"type": "http.response.unknown", "x": 1}, START, LAST],
    "unknown message after the start": [START, {"type": "http.response.unknown", "x": 1}, LAST],
    "unknown message between parts": [START, body(b"a"), {"type": "x.y", "a": object()}, LAST],
    "an error status": [{**START, "status": 503}, LAST],
}

every_sequence = over("name", SEQUENCES)


def sending(*messages: Message) -> ASGIApp:
    """A foreign app that sends messages."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    return app


async def play(app: ASGIApp, *incoming: Message) -> tuple[list[Message], list[float]]:
    """Calls an app without a server; gives what it sent, the very objects, and when."""
    sent: list[Message] = []
    times: list[float] = []
    rest = list(incoming) or [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Message:
        if rest:
            return rest.pop(0)
        await anyio.sleep_forever()
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)
        times.append(anyio.current_time())

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "root_path": "",
        "headers": [],
        "extensions": {"http.response.push": {}, "x-unknown": {"a": 1}},
    }
    await app(scope, receive, send)
    return sent, times


def layers(app: ASGIApp) -> dict[str, ASGIApp]:
    """An app inside of middlewares that change nothing, in every way that there is."""
    foreign_ones: list[Any] = [pass_on, Middleware(PassOn), pass_on, Middleware(PassOn)]
    mixed = Hesper(routes=[Route("/", PassOn(app))], middleware=[*foreign_ones])
    return {
        "mounted": mounted(app),
        "1 middleware": nest(app, pass_on),
        "4 middlewares": nest(app, *[pass_on] * 4),
        "1 middleware, mounted": mounted(app, pass_on),
        "4 middlewares, mounted": mounted(app, *[pass_on] * 4),
        "foreign ones between": nest(PassOn(nest(PassOn(app), pass_on)), pass_on),
        "as an endpoint": mixed,
    }


@every_sequence
async def test_e19_a_middleware_that_changes_nothing_changes_no_message(name: str) -> None:
    """A middleware that changes nothing changes nothing: the same messages, one-message bodies stay
    one, every extension message and unknown key passes through."""
    messages = SEQUENCES[name]
    for how, app in layers(sending(*messages)).items():
        sent, _ = await play(app)
        assert sent == messages, how


@every_sequence
async def test_e19_no_message_changes_on_any_server(dialect: Dialect, name: str) -> None:
    """The same messages, whatever the server."""
    messages = SEQUENCES[name]
    app = sending(*messages)
    alone = await ScriptedServer(app, dialect).get().run()
    for outer in (nest(app, pass_on), mounted(app, *[pass_on] * 4)):
        result = await ScriptedServer(outer, dialect).get().run()
        assert result.messages == alone.messages
        assert result.violations == alone.violations
        assert result.raised is None
        assert (result.status, result.body) == (alone.status, alone.body)
        assert (result.complete, result.trailers) == (alone.complete, alone.trailers)


async def test_e19_files_by_path_and_by_descriptor_pass(dialect: Dialect) -> None:
    """Every extension message passes through: pathsend and zerocopysend."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"0123456789")
        file.flush()
        part: Message = {
            "type": "http.response.zerocopysend",
            "file": file,
            "offset": 0,
            "count": 5,
            "more_body": True,
        }
        for messages in (
            [START, {"type": "http.response.pathsend", "path": file.name}],
            [START, {**part, "more_body": False}],
            [START, part, body(b"a"), part, LAST],
            [START, {"type": "http.response.zerocopysend", "file": file}],
            [
                {**START, "trailers": True},
                {"type": "http.response.pathsend", "path": file.name, "x": 1},
                TRAILERS,
            ],
        ):
            app = sending(*messages)
            extensions = [
                "http.response.pathsend",
                "http.response.zerocopysend",
                "http.response.trailers",
            ]
            for outer in (nest(app, pass_on), nest(app, *[pass_on] * 4), mounted(app, pass_on)):
                script = ScriptedServer(outer, dialect).get(extensions=extensions)
                result = await script.run()
                assert result.messages == messages
                assert result.raised is None
                assert result.complete


async def test_e19_headers_that_can_be_read_once_pass() -> None:
    """The same messages: headers may be any iterable (ASGI HTTP, "Response Start")."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({**START, "headers": iter(HEADERS)})
        await send(LAST)

    for outer in layers(app).values():
        sent, _ = await play(outer)
        assert list(sent[0]["headers"]) == HEADERS
        assert sent[1:] == [LAST]


async def test_e19_early_messages_pass_at_once() -> None:
    """A middleware that changes nothing changes nothing: nor when a message is sent."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in (HINT, START, body(b"a"), LAST):
            await send(message)
            await anyio.sleep(0.01)

    for outer in layers(app).values():
        sent, times = await play(outer)
        assert sent == [HINT, START, body(b"a"), LAST]
        assert times[0] < times[1] < times[2] < times[3]


CHUNKS: list[Message] = [
    {"type": "http.request", "body": b"a", "more_body": True, "x-unknown": 1},
    {"type": "http.request", "more_body": True, "nested": {"a": [1]}},
    {"type": "http.request", "body": b"b", "more_body": False, "x-unknown": 2},
    {"type": "http.disconnect", "x-reason": "reset"},
]


@pytest.mark.parametrize("count", [1, 3])
async def test_e19_received_messages_pass_too(count: int) -> None:
    """Every ... unknown key passes through, in both directions."""
    got: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while len(got) < count + 1:
            got.append(await receive())
        await send(START)
        await send(LAST)

    chunks = CHUNKS[-1 - count :]
    for outer in layers(app).values():
        got.clear()
        await play(outer, *chunks)
        assert got == chunks


@over("depth", [1, 4])
async def test_e19_received_messages_pass_on_every_server(dialect: Dialect, depth: int) -> None:
    """The same messages, in both directions, whatever the server."""
    got: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        got.clear()
        while not got or got[-1].get("more_body"):
            got.append(await receive())
        await send(START)
        await send(LAST)

    for parts in ([], [b"a"], [b"a", b"b", b"c"]):
        await ScriptedServer(app, dialect).post(body=parts).run()
        alone = list(got)
        await ScriptedServer(nest(app, *[pass_on] * depth), dialect).post(body=parts).run()
        assert got == alone


async def test_e19_the_scope_passes_as_it_is() -> None:
    """A middleware that changes nothing changes nothing: a foreign app gets the server's scope, with
    what the server put there."""
    scopes: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(dict(scope))
        await send(START)
        await send(LAST)

    await play(app)
    for depth in (1, 4):
        await play(nest(app, *[pass_on] * depth))
    alone, *others = scopes
    for scope in others:
        assert {key: scope[key] for key in alone} == alone
        assert {key for key in scope if key not in alone} <= {"hesper.exchange"}


# Hesper's own responses.


async def chunks() -> Any:
    yield "a"
    yield b"b"


NATIVE: dict[str, Any] = {
    "plain": lambda: PlainTextResponse("whole"),
    "empty": lambda: Response(),
    "no content": lambda: Response(status_code=204),
    "json": lambda: JSONResponse({"a": 1}, headers={"x-a": "b"}),
    "stream": lambda: StreamingResponse(chunks()),
    "empty stream": lambda: StreamingResponse([]),
    "error": lambda: PlainTextResponse("no", 404),
}


@over("name", NATIVE)
async def test_e19_native_responses_do_not_change(dialect: Dialect, name: str) -> None:
    """The same messages, one-message bodies stay one."""

    async def endpoint(request: Request) -> Response:
        response: Response = NATIVE[name]()
        return response

    alone = await ScriptedServer(hesper(endpoint), dialect).get().run()
    app = hesper(endpoint, pass_on, functions=True)
    for outer in (app, hesper(endpoint, *[pass_on] * 4), nest(PassOn(app), pass_on)):
        result = await ScriptedServer(outer, dialect).get().run()
        assert result.messages == alone.messages
        assert result.violations == alone.violations == []


async def test_e19_starlettes_responses_do_not_change(dialect: Dialect) -> None:
    """The same messages: those of a Starlette app inside."""

    async def plain(request: Any) -> Any:
        return starlette.responses.PlainTextResponse("whole")

    async def stream(request: Any) -> Any:
        return starlette.responses.StreamingResponse(chunks())

    async def file(request: Any) -> Any:
        return starlette.responses.FileResponse(__file__)

    for endpoint in (plain, stream, file):
        app = starlette.applications.Starlette(routes=[starlette.routing.Route("/", endpoint)])
        alone = await ScriptedServer(app, dialect).get().run()
        for outer in (nest(app, pass_on), mounted(app, *[pass_on] * 4)):
            result = await ScriptedServer(outer, dialect).get().run()
            assert result.messages == alone.messages
            assert result.violations == alone.violations == []


async def test_e19_what_an_endpoint_sends_ahead_passes(dialect: Dialect) -> None:
    """Every extension message passes through: what ``send_push_promise`` and ``send_early_hints``
    send, behind middlewares as well."""

    async def endpoint(request: Request) -> Response:
        await request.send_early_hints("</a.css>; rel=preload")
        await request.send_push_promise("/a.css")
        return PlainTextResponse("whole")

    extensions = ["http.response.early_hint", "http.response.push"]
    for app in (hesper(endpoint), hesper(endpoint, pass_on, pass_on)):
        script = ScriptedServer(app, dialect).get(extensions=extensions)
        result = await script.run()
        assert result.types == [
            "http.response.early_hint",
            "http.response.push",
            "http.response.start",
            "http.response.body",
        ]
        assert result.violations == []
