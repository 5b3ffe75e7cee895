"""The policies, limits, timeouts and event streams end well, always."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import pytest

from hesper.applications import Hesper
from hesper.background import BackgroundTask
from hesper.endings import EndingCounter
from hesper.policies import ConcurrencyLimit
from hesper.requests import Request
from hesper.responses import PlainTextResponse, Response, StreamingResponse
from hesper.routing import Mount, Route, WebSocketRoute
from hesper.sse import EventSourceResponse
from hesper.testing.sweep import USUAL_DIALECTS, Sweep, SweptRequest
from hesper.types import Receive, Scope, Send
from hesper.websockets import WebSocket

STARTING = [dialect for dialect in USUAL_DIALECTS if dialect.lifespan]

POLICIES: dict[str, dict[str, Any]] = {
    "cancel": {"on_disconnect": "cancel"},
    "finish": {"on_disconnect": "finish"},
    "timeout": {"timeout": 30},
    "timeout and cancel": {"timeout": 30, "on_disconnect": "cancel"},
    "timeout and finish": {"timeout": 30, "on_disconnect": "finish"},
    "max_concurrency": {"max_concurrency": 1},
    "max_concurrency with a queue": {"max_concurrency": ConcurrencyLimit(1, queue=1)},
}


async def keep(request: Request, call_next: Any) -> Response:
    response: Response = await call_next(request)
    return response


async def work() -> None:
    await anyio.sleep(1)


async def plain(request: Request) -> Response:
    try:
        await anyio.sleep(1)
    finally:
        with anyio.move_on_after(10, shield=True):
            await anyio.sleep(1)
    return PlainTextResponse(await request.body(), background=BackgroundTask(work))


async def stream(request: Request) -> Response:
    async def chunks() -> AsyncIterator[str]:
        try:
            for number in range(2):
                yield f"{number}\n"
                await anyio.sleep(1)
        finally:
            await anyio.sleep(1)

    return StreamingResponse(chunks(), background=BackgroundTask(work))


class App:
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await anyio.sleep(1)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        await anyio.sleep(1)
        await send({"type": "http.response.body", "body": b"whole"})


async def talk(websocket: WebSocket) -> None:
    await websocket.accept()
    try:
        async for text in websocket.iter_text():
            await websocket.send_text(text)
    finally:
        with anyio.move_on_after(10, shield=True):
            await anyio.sleep(1)


REQUESTS: dict[str, Callable[[Sweep], SweptRequest]] = {
    "plain": lambda sweep: sweep.post("/plain", body=[b"a", 1, b"b"]),
    "stream": lambda sweep: sweep.get("/stream"),
    "foreign": lambda sweep: sweep.get("/foreign"),
    "socket": lambda sweep: sweep.websocket("/talk", messages=["a", 1, "b"]),
}


def app(*, middleware: bool = False, **policy: Any) -> Hesper:
    return Hesper(
        routes=[
            Route("/plain", plain, methods=["POST"]),
            Route("/stream", stream),
            WebSocketRoute("/talk", talk),
            Mount("/foreign", App()),
        ],
        middleware=[keep] if middleware else [],
        on_ending=[EndingCounter()],
        **policy,
    )


@pytest.mark.patience(300)
@pytest.mark.parametrize("middleware", [False, True], ids=["bare", "middleware"])
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("request_name", REQUESTS)
def test_a_policy_ends_well(policy: str, request_name: str, middleware: bool) -> None:
    swept = app(middleware=middleware, **POLICIES[policy])
    # Without a lifespan nobody waits for what is finished, which a sweep sees.
    dialects = STARTING if "finish" in policy else USUAL_DIALECTS
    REQUESTS[request_name](Sweep(swept, limit=12, dialects=dialects)).assert_clean()


async def events(request: Request) -> Response:
    async def content() -> AsyncIterator[Any]:
        try:
            yield "one"
            await anyio.sleep(25)
            yield {"two": 2}
        finally:
            with anyio.move_on_after(10, shield=True):
                await anyio.sleep(1)

    return EventSourceResponse(content(), ping=10)


@pytest.mark.patience(120)
@pytest.mark.parametrize("middleware", [[], [keep]], ids=["bare", "middleware"])
def test_an_event_stream_ends_well(middleware: Any) -> None:
    swept = Hesper(routes=[Route("/", events)], middleware=middleware)
    Sweep(swept, limit=30).get("/").assert_clean()
