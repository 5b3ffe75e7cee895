"""E2: `call_next` returns a response or raises what the inner code raised.

If the client left before there was a response and the inner app gave up for that reason, it raises
`ClientDisconnect`; if a foreign app returned without responding, a `RuntimeError` that names the app.
It may be called more than once (a retry).
"""

from collections.abc import AsyncIterator
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect as StarletteClientDisconnect
from starlette.requests import Request as StarletteRequest
from starlette.responses import PlainTextResponse as StarlettePlain
from starlette.responses import Response as StarletteResponse
from starlette.routing import Route as StarletteRoute

from hesper.exceptions import ClientDisconnect, HTTPException
from hesper.requests import Request
from hesper.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from hesper.testing import Dialect, ScriptedServer
from hesper.types import ASGIApp, Receive, Scope, Send

from .apps import (
    CallNext,
    Gate,
    Recorder,
    assert_quiet,
    hesper,
    listen,
    nest,
    over,
    pass_on,
    send_body,
    send_start,
)

depths = over("depth", [1, 4])


class Own(Exception):
    """An exception of the endpoint's."""


class OwnBase(BaseException):
    """One that `except Exception` does not see."""


def recorders(depth: int) -> list[Recorder]:
    return [Recorder() for _ in range(depth)]


# "returns a response"


@depths
@over("functions", [False, True])
@over("cls", [Response, PlainTextResponse, JSONResponse])
async def test_e02_call_next_returns_the_response_that_the_endpoint_made(
    cls: type[Response], functions: bool, depth: int, dialect: Dialect
) -> None:
    """`call_next` returns a response: the endpoint's own object."""
    made: list[Response] = []

    async def endpoint(request: Request) -> Response:
        made.append(cls("text"))
        return made[0]

    layers = recorders(depth)
    app = hesper(endpoint, *layers, functions=functions)
    result = await ScriptedServer(app, dialect).get().run()
    assert_quiet(result)
    assert result.complete
    assert all(layer.responses == made for layer in layers)


def starlette_plain() -> ASGIApp:
    async def endpoint(request: StarletteRequest) -> StarletteResponse:
        return StarlettePlain("text", status_code=201, headers={"x-inner": "yes"})

    return Starlette(routes=[StarletteRoute("/", endpoint)])


async def raw_plain(scope: Scope, receive: Receive, send: Send) -> None:
    headers = [(b"content-type", b"text/plain"), (b"x-inner", b"yes")]
    await send({"type": "http.response.start", "status": 201, "headers": headers})
    await send_body(send, b"te", more=True)
    await send_body(send, b"xt")


@depths
@over("inner", [raw_plain, starlette_plain()])
async def test_e02_call_next_returns_a_response_of_a_foreign_app(
    inner: ASGIApp, depth: int, dialect: Dialect
) -> None:
    """`call_next` returns a response: the same one for every layer."""
    layers = recorders(depth)
    result = await ScriptedServer(nest(inner, *layers), dialect).get().run()
    assert_quiet(result)
    assert (result.status, result.headers["x-inner"], result.body) == (201, "yes", b"text")
    assert len({id(response) for layer in layers for response in layer.responses}) == 1
    assert isinstance(layers[0].responses[0], Response)
    assert layers[0].responses[0].headers["x-inner"] == "yes"


# "or raises what the inner code raised"


@depths
@over("error", [Own("x"), OwnBase("x")])
async def test_e02_call_next_raises_what_the_endpoint_raised(
    error: BaseException, depth: int, dialect: Dialect
) -> None:
    """`call_next` raises what the inner code raised."""

    async def endpoint(request: Request) -> Response:
        raise error

    layers = recorders(depth)
    app = hesper(endpoint, *layers)
    result = await ScriptedServer(app, dialect).get().run()
    assert [layer.raised for layer in layers] == [[error]] * depth
    assert result.raised is error


@depths
@over("error", [Own("x"), OwnBase("x")])
async def test_e02_call_next_raises_what_a_foreign_app_raised(
    error: BaseException, depth: int, dialect: Dialect
) -> None:
    """`call_next` raises what the inner code raised."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await anyio.sleep(0)
        raise error

    layers = recorders(depth)
    result = await ScriptedServer(nest(app, *layers), dialect).get().run()
    assert [layer.raised for layer in layers] == [[error]] * depth
    assert result.raised is error


@depths
async def test_e02_call_next_raises_what_a_middleware_below_raised(
    depth: int, dialect: Dialect
) -> None:
    """`call_next` raises what the inner code raised."""
    error = Own("x")

    async def fails(request: Request, call_next: CallNext) -> Response:
        await call_next(request)
        raise error

    async def endpoint(request: Request) -> Response:
        return PlainTextResponse("dropped")

    layers = recorders(depth)
    result = await ScriptedServer(hesper(endpoint, *layers, fails), dialect).get().run()
    assert [layer.raised for layer in layers] == [[error]] * depth
    assert result.raised is error
    assert result.status == 500


# "If the client left before there was a response and the inner app gave up for that reason,
# it raises `ClientDisconnect`"


async def returns(scope: Scope, receive: Receive, send: Send) -> None:
    await listen(receive)


async def raises_starlettes(scope: Scope, receive: Receive, send: Send) -> None:
    await listen(receive)
    raise StarletteClientDisconnect()


async def raises_a_group(scope: Scope, receive: Receive, send: Send) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(raises_starlettes, scope, receive, send)


async def cancels_itself(scope: Scope, receive: Receive, send: Send) -> None:
    async with anyio.create_task_group() as group:

        async def stop() -> None:
            await listen(receive)
            group.cancel_scope.cancel()

        group.start_soon(stop)
        await anyio.sleep_forever()


@depths
@over("inner", [returns, cancels_itself, raises_starlettes, raises_a_group])
async def test_e02_call_next_raises_client_disconnect_if_a_foreign_app_gave_up(
    inner: ASGIApp, depth: int, dialect: Dialect
) -> None:
    """If the client left before there was a response and the inner app gave up for that reason,
    it raises `ClientDisconnect`."""
    layers = recorders(depth)
    server = ScriptedServer(nest(inner, *layers), dialect)
    async with server.get().open() as client:
        await client.wait_receiving()
        client.leave()
        result = await client.finish()
    assert_quiet(result)
    assert not result.server_cancelled
    assert [[type(exc) for exc in layer.raised] for layer in layers] == [[ClientDisconnect]] * depth
    assert result.sent == []


@depths
async def test_e02_call_next_raises_client_disconnect_if_a_pure_middleware_gave_up(
    depth: int, dialect: Dialect
) -> None:
    """If the client left before there was a response and the inner app gave up for that reason,
    it raises `ClientDisconnect` (here: a pure ASGI middleware cancelled the app below it)."""

    async def endpoint(request: Request) -> Response:
        await anyio.sleep_forever()
        return PlainTextResponse("never")

    inside = nest(hesper(endpoint, pass_on), pass_on)

    async def cancels(scope: Scope, receive: Receive, send: Send) -> None:
        async with anyio.create_task_group() as group:

            async def stop() -> None:
                await listen(receive)
                group.cancel_scope.cancel()

            group.start_soon(stop)
            await inside(scope, receive, send)

    layers = recorders(depth)
    server = ScriptedServer(nest(cancels, *layers), dialect)
    async with server.get().open() as client:
        await client.wait_receiving()
        client.leave()
        result = await client.finish()
    assert_quiet(result)
    assert [[type(exc) for exc in layer.raised] for layer in layers] == [[ClientDisconnect]] * depth


@depths
async def test_e02_call_next_raises_client_disconnect_if_the_endpoint_was_reading(
    depth: int, dialect: Dialect
) -> None:
    """If the client left before there was a response and the inner app gave up for that reason,
    it raises `ClientDisconnect`."""

    async def endpoint(request: Request) -> Response:
        return PlainTextResponse(str(await request.body()))

    layers = recorders(depth)
    app = hesper(endpoint, *layers)
    result = await ScriptedServer(app, dialect).post(unfinished=True).leave_after_request().run()
    assert_quiet(result)
    if not dialect.buffers_request:
        assert [[type(exc) for exc in layer.raised] for layer in layers] == [
            [ClientDisconnect]
        ] * depth


# "if a foreign app returned without responding, a `RuntimeError` that names the app"


async def says_nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """Returns without a response."""


async def says_nothing_later(scope: Scope, receive: Receive, send: Send) -> None:
    """Returns without a response, after a while."""
    await anyio.sleep(0.001)


@depths
@over("inner", [says_nothing, says_nothing_later])
async def test_e02_call_next_raises_a_runtime_error_that_names_the_app_that_did_not_respond(
    inner: Any, depth: int, dialect: Dialect
) -> None:
    """If a foreign app returned without responding, a `RuntimeError` that names the app."""
    layers = recorders(depth)
    result = await ScriptedServer(nest(inner, *layers), dialect).get().run()
    assert isinstance(result.raised, RuntimeError)
    assert "No response returned" in str(result.raised)
    assert inner.__name__ in str(result.raised)
    assert [layer.raised for layer in layers] == [[result.raised]] * depth


# "It may be called more than once (a retry)."


def retrying(times: int) -> Any:
    """A dispatch function that calls on until the status is not 503."""

    async def retry(request: Request, call_next: CallNext) -> Response:
        response = await call_next(request)
        for _ in range(times):
            if response.status_code != 503:
                break
            response = await call_next(request)
        return response

    return retry


class Unsteady:
    """An endpoint that fails twice, and an app that does."""

    def __init__(self, streams: bool = False, reads: bool = True) -> None:
        self.streams = streams
        self.reads = reads
        self.calls = 0
        self.closed: list[int] = []
        self.bodies: list[bytes] = []

    async def stream(self, call: int) -> AsyncIterator[bytes]:
        try:
            yield b"call "
            yield str(call).encode()
        finally:
            self.closed.append(call)

    def status(self) -> int:
        self.calls += 1
        return 200 if self.calls == 3 else 503

    async def endpoint(self, request: Request) -> Response:
        if self.reads:
            self.bodies.append(await request.body())
        status = self.status()
        if self.streams:
            return StreamingResponse(self.stream(self.calls), status_code=status)
        return PlainTextResponse(f"call {self.calls}", status_code=status)

    async def raw(self, scope: Scope, receive: Receive, send: Send) -> None:
        more = True
        body = b""
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.bodies.append(body)
        status = self.status()
        call = self.calls
        try:
            await send_start(send, status)
            await send_body(send, b"call ", more=True)
            await send_body(send, str(call).encode())
        finally:
            self.closed.append(call)


@over("streams", [False, True])
@over("functions", [False, True])
async def test_e02_call_next_may_be_called_more_than_once(
    streams: bool, functions: bool, dialect: Dialect
) -> None:
    """It may be called more than once (a retry)."""
    unsteady = Unsteady(streams)
    app = hesper(unsteady.endpoint, pass_on, retrying(3), pass_on, functions=functions)
    result = await ScriptedServer(app, dialect).post(body=[b"bo", b"dy"]).run()
    assert_quiet(result)
    assert (result.status, result.body, result.complete) == (200, b"call 3", True)
    assert result.types.count("http.response.start") == 1
    assert unsteady.bodies == [b"body"] * 3


@over("reads_first", [False, True])
async def test_e02_call_next_may_be_called_more_than_once_over_a_foreign_app(
    reads_first: bool, dialect: Dialect
) -> None:
    """It may be called more than once (a retry): the body has to be read whole before."""
    unsteady = Unsteady()

    async def read(request: Request, call_next: CallNext) -> Response:
        await request.body()
        return await call_next(request)

    app = nest(unsteady.raw, pass_on, read if reads_first else pass_on, retrying(3), pass_on)
    body = [b"bo", b"dy"] if reads_first else []
    result = await ScriptedServer(app, dialect).post(body=body).run()
    assert_quiet(result)
    assert (result.status, result.body, result.complete) == (200, b"call 3", True)
    assert result.types.count("http.response.start") == 1
    assert unsteady.bodies == [b"".join(body)] * 3
    assert sorted(unsteady.closed) == [1, 2, 3]


async def test_e02_call_next_may_be_called_again_after_it_raised(dialect: Dialect) -> None:
    """It may be called more than once (a retry)."""
    errors = [Own("first"), Own("second")]

    async def endpoint(request: Request) -> Response:
        if errors:
            raise errors.pop()
        return PlainTextResponse("third")

    async def retry(request: Request, call_next: CallNext) -> Response:
        while True:
            try:
                return await call_next(request)
            except Own:
                await anyio.sleep(0)

    result = await ScriptedServer(hesper(endpoint, retry, pass_on), dialect).get().run()
    assert_quiet(result)
    assert result.body == b"third"


async def test_e02_call_next_may_be_called_again_when_the_client_has_left(
    dialect: Dialect,
) -> None:
    """It may be called more than once (a retry)."""
    gate = Gate()
    unsteady = Unsteady(reads=False)

    async def slow(request: Request, call_next: CallNext) -> Response:
        await gate.wait()
        return await call_next(request)

    layer = Recorder()
    app = hesper(unsteady.endpoint, layer, retrying(3), slow)
    async with ScriptedServer(app, dialect).get().open() as client:
        await gate.reached.wait()
        client.leave()
        gate.open.set()
        result = await client.finish()
    assert_quiet(result)
    assert [response.status_code for response in layer.responses] == [200]


async def test_e02_call_next_may_be_called_more_than_once_by_every_layer(
    dialect: Dialect,
) -> None:
    """It may be called more than once (a retry)."""
    calls: list[str] = []

    async def twice(request: Request, call_next: CallNext) -> Response:
        await call_next(request)
        return await call_next(request)

    async def endpoint(request: Request) -> Response:
        calls.append("endpoint")
        return PlainTextResponse(str(len(calls)))

    result = await ScriptedServer(hesper(endpoint, twice, twice, twice), dialect).get().run()
    assert_quiet(result)
    assert result.body == b"8"


async def test_e02_an_http_exception_below_is_a_response_for_the_middleware_above(
    dialect: Dialect,
) -> None:
    """`call_next` returns a response: the one that the app's handlers made of the exception."""

    async def endpoint(request: Request) -> Response:
        raise HTTPException(418)

    layer = Recorder()
    result = await ScriptedServer(hesper(endpoint, layer), dialect).get().run()
    assert_quiet(result)
    assert result.status == 418
    assert [response.status_code for response in layer.responses] == [418]
