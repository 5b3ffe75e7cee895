"""E17: backpressure reaches the producer: a stalled client holds at most one item per layer."""

import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anyio
import starlette.applications
import starlette.responses
import starlette.routing

from hesper.requests import Request
from hesper.responses import FileResponse, Response, StreamingResponse
from hesper.testing import Dialect, ScriptedServer
from hesper.types import ASGIApp, Receive, Scope, Send
from tests.contract.apps import (
    CallNext,
    PassOn,
    assert_quiet,
    hesper,
    mounted,
    nest,
    over,
    pass_on,
    send_body,
    send_start,
    settle,
)

ITEMS = 8
every_depth = over("depth", [0, 1, 4])


class Producer:
    """Counts what was taken of it."""

    def __init__(self) -> None:
        self.taken = 0

    async def items(self) -> AsyncIterator[str]:
        while self.taken < ITEMS:
            self.taken += 1
            yield "x"

    def sync_items(self) -> Iterator[str]:
        while self.taken < ITEMS:
            self.taken += 1
            yield "x"


async def wrapping(request: Request, call_next: CallNext) -> Response:
    """A middleware that wraps the body."""
    response = await call_next(request)
    inner = response.body_iterator

    async def wrapper() -> AsyncIterator[Any]:
        async for chunk in inner:
            yield chunk

    response.body_iterator = wrapper()
    return response


def native(producer: Producer, depth: int) -> ASGIApp:
    async def endpoint(request: Request) -> Response:
        return StreamingResponse(producer.items())

    return hesper(endpoint, *[pass_on] * depth)


def wrapped(producer: Producer, depth: int) -> ASGIApp:
    return nest(native(producer, 0), *[wrapping] * depth)


def in_threads(producer: Producer, depth: int) -> ASGIApp:
    def endpoint(request: Request) -> Response:
        return StreamingResponse(producer.sync_items())

    return hesper(endpoint, *[pass_on] * depth)


def foreign(producer: Producer, depth: int) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send_start(send)
        async for item in producer.items():
            await send_body(send, item.encode(), more=True)
        await send_body(send)

    return mounted(app, *[pass_on] * depth)


def foreign_wrapped(producer: Producer, depth: int) -> ASGIApp:
    return nest(foreign(producer, 0), *[wrapping] * depth)


def in_starlette(producer: Producer, depth: int) -> ASGIApp:
    async def endpoint(request: Any) -> Any:
        return starlette.responses.StreamingResponse(producer.items())

    app = starlette.applications.Starlette(routes=[starlette.routing.Route("/", endpoint)])
    return mounted(app, *[pass_on] * depth)


def behind_foreign_middleware(producer: Producer, depth: int) -> ASGIApp:
    app = native(producer, 1)
    for _ in range(depth):
        app = nest(PassOn(app), pass_on)
    return app


@over(
    "make",
    [
        native,
        wrapped,
        in_threads,
        foreign,
        foreign_wrapped,
        in_starlette,
        behind_foreign_middleware,
    ],
)
@every_depth
async def test_e17_a_stalled_client_holds_at_most_one_item_per_layer(
    dialect: Dialect, make: Callable[[Producer, int], ASGIApp], depth: int
) -> None:
    """Backpressure reaches the producer: a stalled client holds at most one item per layer."""
    producer = Producer()
    script = ScriptedServer(make(producer, depth), dialect).get().stall_at_message(2)
    async with script.open() as client:
        await client.wait_message(2)
        # Threads are not tasks: the clock goes on when they are idle too.
        await anyio.sleep(0.002)
        await settle()
        if dialect.backpressure:
            assert producer.taken <= 1 + depth
            assert len(client.messages) == 2
        client.release()
        result = await client.finish()
    assert_quiet(result)
    assert result.complete
    assert result.body == b"x" * ITEMS


async def test_e17_without_layers_exactly_one_item_is_held(dialect: Dialect) -> None:
    """A stalled client holds at most one item: value-level middlewares are no layers that hold."""
    if not dialect.backpressure:
        return
    producer = Producer()
    script = ScriptedServer(native(producer, 4), dialect).get().stall_at_message(5)
    async with script.open() as client:
        await client.wait_message(5)
        await settle()
        assert producer.taken == 4


async def test_e17_a_file_is_not_read_ahead(dialect: Dialect) -> None:
    """Backpressure reaches the producer: a file is read as the client takes it."""
    if not dialect.backpressure or "http.response.pathsend" in dialect.extensions:
        return
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"a" * 1024 * 1024)
        file.flush()

        async def endpoint(request: Request) -> Response:
            return FileResponse(file.name)

        script = ScriptedServer(hesper(endpoint, pass_on), dialect).get().stall_at_message(2)
        async with script.open() as client:
            await client.wait_message(2)
            await anyio.sleep(0.002)
            assert len(client.messages) == 2
            client.release()
            result = await client.finish()
        assert_quiet(result)
        assert len(result.body) == 1024 * 1024


async def test_e17_an_upload_is_not_read_without_bound(dialect: Dialect) -> None:
    """Backpressure reaches the producer, the client too: what an endpoint does not take is not read
    into memory without bound."""
    if dialect.buffers_request or dialect.reads_ahead > 1000:
        return
    parts = [b"a" * 64 * 1024] * 40
    arrived: list[int] = []

    async def endpoint(request: Request) -> Response:
        stream = request.stream()
        async for _ in stream:
            await anyio.sleep(0.001)
            await settle()
            arrived.append(client.result.receives)
            break
        await stream.aclose()
        return Response()

    script = ScriptedServer(hesper(endpoint, pass_on), dialect).post(body=parts)
    async with script.open() as client:
        await client.finish()
    assert arrived[0] <= 7
