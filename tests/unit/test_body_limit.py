"""The limit of request bodies: where it is given, what counts, and what a client is told."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import fastapi
import pytest

from hesper.applications import Hesper
from hesper.exceptions import HTTPException, UsageError
from hesper.middleware import Middleware
from hesper.middleware.body_limit import MAX_BODY_SIZE_SCOPE_KEY, RequestBodyLimitMiddleware
from hesper.requests import Request
from hesper.responses import PlainTextResponse, Response, StreamingResponse
from hesper.routing import Mount, Route, Router, WebSocketRoute
from hesper.testing import Dialect, Result, ScriptedServer
from hesper.types import ASGIApp, Message, Receive, Scope, Send
from hesper.websockets import WebSocket

from .asking import ask, connect, text_of


async def whole(request: Request) -> Response:
    return PlainTextResponse(f"{len(await request.body())}")


async def stream(request: Request) -> Response:
    return PlainTextResponse(f"{sum([len(chunk) async for chunk in request.stream()])}")


async def form(request: Request) -> Response:
    async with request.form() as data:
        return PlainTextResponse(f"{len(data)}")


async def ignore(request: Request) -> Response:
    return PlainTextResponse("ignored")


class Summing:
    """A foreign app, as an endpoint too: it is no function."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        size = 0
        more = True
        while more:
            message = await receive()
            size += len(message.get("body", b""))
            more = message.get("more_body", False)
        await PlainTextResponse(f"{size}")(scope, receive, send)


asgi = Summing()


def route(endpoint: Any, **options: Any) -> Route:
    return Route("/", endpoint, methods=["POST"], **options)


def in_parts(app: ASGIApp, *parts: bytes, dialect: Dialect | None = None) -> Any:
    """A request whose size is not known before it is there."""
    server = ScriptedServer(app) if dialect is None else ScriptedServer(app, dialect)
    return server.post("/", body=parts, headers={"transfer-encoding": "chunked"})


@pytest.mark.parametrize("endpoint", [whole, stream, form, asgi])
async def test_a_body_of_the_limit_is_read_and_one_byte_more_is_413(endpoint: Any) -> None:
    app = Hesper(routes=[route(endpoint)], max_body_size=10)
    assert (await ask(app, method="POST", body=b"x" * 10)).status == 200
    result = await ask(app, method="POST", body=b"x" * 11)
    assert (result.status, result.text, result.raised) == (413, "Content Too Large", None)


@pytest.mark.parametrize("endpoint", [whole, stream, asgi])
async def test_a_body_that_does_not_say_how_large_it_is_is_counted(
    endpoint: Any, dialect: Dialect
) -> None:
    app = Hesper(routes=[route(endpoint)], max_body_size=10)
    assert (await in_parts(app, b"x" * 5, b"x" * 5, dialect=dialect).run()).text == "10"
    result = await in_parts(app, b"x" * 5, b"x" * 5, b"x", dialect=dialect).run()
    assert (result.status, result.raised) == (413, None)


async def test_a_declared_body_is_refused_also_if_nobody_reads_it() -> None:
    app = Hesper(routes=[route(ignore)], max_body_size=10)
    assert (await ask(app, method="POST", body=b"x" * 11)).status == 413
    assert await text_of(app, method="POST", body=b"x" * 10) == "ignored"


async def test_no_body_at_all_is_allowed_by_zero() -> None:
    app = Hesper(routes=[route(whole)], max_body_size=0)
    assert await text_of(app, method="POST") == "0"
    assert (await ask(app, method="POST", body=b"x")).status == 413


@pytest.mark.parametrize(
    "build",
    [
        lambda: Hesper(routes=[route(whole)], max_body_size=1),
        lambda: Hesper(routes=[route(whole, max_body_size=1)]),
        lambda: Hesper(routes=[Mount("/", routes=[route(whole)], max_body_size=1)]),
        lambda: Hesper(routes=[Mount("/", app=asgi, max_body_size=1)]),
        lambda: Router([route(whole)], max_body_size=1),
        lambda: RequestBodyLimitMiddleware(asgi, 1),
        lambda: Hesper(
            routes=[route(whole)],
            middleware=[Middleware(RequestBodyLimitMiddleware, max_body_size=1)],
        ),
    ],
)
async def test_it_can_be_given_at_every_level(build: Callable[[], ASGIApp]) -> None:
    app = build()
    assert await text_of(app, method="POST", body=b"x") == "1"
    assert (await ask(app, method="POST", body=b"xx")).status == 413


@pytest.mark.parametrize(("outer", "inner"), [(1, 10), (10, 1)])
async def test_of_several_the_innermost_counts(outer: int, inner: int) -> None:
    app = Hesper(routes=[route(whole, max_body_size=inner)], max_body_size=outer)
    assert (await ask(app, method="POST", body=b"x" * inner)).status == 200
    assert (await ask(app, method="POST", body=b"x" * (inner + 1))).status == 413


async def test_the_limit_stands_in_the_scope() -> None:
    async def show(request: Request) -> Response:
        return PlainTextResponse(str(request.scope[MAX_BODY_SIZE_SCOPE_KEY]))

    assert await text_of(Hesper(routes=[Route("/", show)], max_body_size=7)) == "7"


async def test_a_handler_for_413_answers() -> None:
    calls: list[str] = []

    async def too_large(request: Request, exc: HTTPException) -> Response:
        calls.append("called")
        return PlainTextResponse("mine", status_code=413)

    for endpoint in (whole, ignore):
        app = Hesper(routes=[route(endpoint)], exception_handlers={413: too_large}, max_body_size=1)
        assert (await ask(app, method="POST", body=b"xx")).text == "mine"
    assert calls == ["called", "called"]


async def test_a_foreign_app_that_takes_it_for_a_parse_error_is_overruled() -> None:
    inner = fastapi.FastAPI()

    @inner.post("/")
    async def take(data: dict[str, Any]) -> int:
        return len(data)

    app = Hesper(routes=[Mount("/", app=inner, max_body_size=10)])
    headers = {"content-type": "application/json"}
    result = await ask(app, method="POST", body=b'{"a": 1}', headers=headers)
    assert result.text == "1"
    result = await ask(app, method="POST", body=b'{"a": 1, "b": 2}', headers=headers)
    assert result.status == 413


async def test_a_response_that_has_started_breaks_off() -> None:
    async def echo(request: Request) -> Response:
        async def chunks() -> AsyncIterator[bytes]:
            yield b"first"
            async for chunk in request.stream():
                yield chunk

        return StreamingResponse(chunks())

    app = Hesper(routes=[route(echo)], max_body_size=3)
    result: Result = await in_parts(app, b"ab", b"cd").run()
    assert isinstance(result.raised, HTTPException)
    assert not result.complete


@pytest.mark.parametrize("length", [b"-1", b"1e9", b"", b"\xb2", b"9" * 6000])
async def test_a_content_length_that_lies_is_no_500(length: bytes) -> None:
    """``int`` refuses more than 4300 digits with an error, and knows digits that are not ASCII's."""

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Scope = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "headers": [(b"host", b"x"), (b"content-length", length)],
    }
    await Hesper(routes=[route(whole)], max_body_size=10)(scope, receive, send)
    assert sent[0]["status"] == (413 if len(length) > 100 else 200)


async def test_websockets_pass() -> None:
    async def greet(websocket: WebSocket) -> None:
        await websocket.accept()

    app = Hesper(routes=[WebSocketRoute("/", greet)], max_body_size=0)
    assert (await connect(app)).accepted


def test_a_negative_limit_is_a_mistake() -> None:
    with pytest.raises(UsageError, match="0 or more, got -1"):
        RequestBodyLimitMiddleware(asgi, -1)
    with pytest.raises(UsageError, match="0 or more, got -1"):
        Route("/", whole, max_body_size=-1)
