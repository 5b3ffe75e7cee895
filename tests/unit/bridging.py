"""Foreign apps, and middleware in front of them, for the tests of the bridge."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from hesper._concurrency import checkpoint
from hesper.applications import Hesper
from hesper.middleware.base import BaseHTTPMiddleware
from hesper.requests import Request
from hesper.responses import Response
from hesper.routing import Mount
from hesper.testing import Result
from hesper.types import ASGIApp, Message, Receive, Scope, Send

START: Message = {"type": "http.response.start", "status": 200, "headers": []}


def part(body: bytes, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}


def saying(*messages: Message) -> ASGIApp:
    """A foreign app that sends these."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    return app


def unwanted(log: list[str]) -> ASGIApp:
    """A foreign app whose body nobody wants, and which writes down that it was told."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        try:
            await send(part(b"never wanted"))
        except OSError:
            log.append("told")

    return app


async def pass_on(request: Request, call_next: Any) -> Response:
    response: Response = await call_next(request)
    return response


async def read_through(request: Request, call_next: Any) -> Response:
    """Puts a generator around the body, as a middleware does that looks at every chunk."""
    response: Any = await call_next(request)
    inner = response.body_iterator

    async def chunks() -> AsyncIterator[bytes]:
        async for chunk in inner:
            yield chunk.upper()

    response.body_iterator = chunks()
    return response  # type: ignore[no-any-return]


def behind(middleware: Callable[..., Awaitable[Response]], foreign: ASGIApp) -> Hesper:
    return Hesper(routes=[Mount("/", app=foreign)], middleware=[middleware])


def right_behind(
    middleware: Callable[..., Awaitable[Response]], foreign: ASGIApp
) -> BaseHTTPMiddleware:
    """The same without an app of ours around them."""
    return BaseHTTPMiddleware(foreign, dispatch=middleware)


def bodies(result: Result) -> list[bytes]:
    return [
        sent.message.get("body", b"")
        for sent in result.sent
        if sent.message["type"] == "http.response.body"
    ]


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await checkpoint()
