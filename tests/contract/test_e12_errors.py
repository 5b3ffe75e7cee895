"""E12: an error before the start message becomes a response; after it, the response is **never ended
cleanly**, behind any number of middlewares, so the server aborts the connection and no client takes
half a body for a whole one; the error is logged once."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import starlette.applications
import starlette.responses
import starlette.routing

from hesper.requests import Request
from hesper.responses import PlainTextResponse, Response, StreamingResponse
from hesper.testing import Dialect, Result, ScriptedServer
from hesper.types import ASGIApp, Receive, Scope, Send
from tests.contract.apps import (
    CallNext,
    PassOn,
    ends_cleanly,
    hesper,
    mounted,
    nest,
    over,
    pass_on,
    send_body,
    send_start,
)

every_depth = over("depth", [0, 1, 4])
Place = Callable[[Exception, int], ASGIApp]


def assert_aborted(result: Result, error: BaseException) -> None:
    """The server is told by the error itself, once, and has no end to send."""
    assert result.raised is error
    assert not ends_cleanly(result)
    assert not result.complete
    assert not result.truncated_as_complete
    assert result.types.count("http.response.start") == 1
    assert result.status == 200
    assert result.violations == []


# An error before the start message.


@every_depth
@over("thread", [False, True])
async def test_e12_an_error_before_the_start_message_becomes_a_response(
    dialect: Dialect, depth: int, thread: bool
) -> None:
    """An error before the start message becomes a response ... the error is logged once: it is raised
    into the server, which logs it, and by nobody else."""
    error = ValueError("before")

    def in_thread(request: Request) -> Response:
        raise error

    async def in_task(request: Request) -> Response:
        await anyio.lowlevel.checkpoint()
        raise error

    app = hesper(in_thread if thread else in_task, *[pass_on] * depth, functions=thread)
    result = await ScriptedServer(app, dialect).get().run()
    assert (result.status, result.body, result.complete) == (500, b"Internal Server Error", True)
    assert result.raised is error
    assert result.violations == []


@every_depth
async def test_e12_an_error_of_a_foreign_app_before_its_start_becomes_a_response(
    dialect: Dialect, depth: int
) -> None:
    """An error before the start message becomes a response."""
    error = ValueError("before")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await anyio.lowlevel.checkpoint()
        raise error

    result = await ScriptedServer(mounted(app, *[pass_on] * depth), dialect).get().run()
    assert (result.status, result.body, result.complete) == (500, b"Internal Server Error", True)
    assert result.raised is error


async def test_e12_an_error_of_a_middleware_after_call_next_becomes_a_response(
    dialect: Dialect,
) -> None:
    """An error before the start message becomes a response: a response that was not sent yet is no
    hindrance."""
    error = ValueError("after call_next")
    closed: list[str] = []

    async def dispatch(request: Request, call_next: CallNext) -> Response:
        await call_next(request)
        raise error

    async def parts() -> AsyncIterator[str]:
        try:
            yield "half"
        finally:
            closed.append("native")

    async def endpoint(request: Request) -> Response:
        return StreamingResponse(parts())

    async def foreign(scope: Scope, receive: Receive, send: Send) -> None:
        await send_start(send)
        await send_body(send, b"half", more=True)
        await anyio.sleep_forever()

    for app in (hesper(endpoint, dispatch), mounted(foreign, pass_on, dispatch)):
        result = await ScriptedServer(app, dialect).get().run()
        assert (result.status, result.body) == (500, b"Internal Server Error")
        assert result.complete
        assert result.raised is error


async def test_e12_an_error_of_the_error_handler_is_raised_and_answered(dialect: Dialect) -> None:
    """An error before the start message becomes a response."""
    first, second = ValueError("first"), KeyError("second")

    async def endpoint(request: Request) -> Response:
        raise first

    async def handler(request: Request, exc: Exception) -> Response:
        raise second

    app = hesper(endpoint, pass_on, handlers={ValueError: handler})
    result = await ScriptedServer(app, dialect).get().run()
    assert result.status == 500
    assert result.raised is second
    assert second.__context__ is first


# An error after the start message.


def native_stream(error: Exception, depth: int) -> ASGIApp:
    async def parts() -> AsyncIterator[str]:
        yield "half"
        await anyio.lowlevel.checkpoint()
        raise error

    async def endpoint(request: Request) -> Response:
        return StreamingResponse(parts())

    return hesper(endpoint, *[pass_on] * depth)


def native_first_chunk(error: Exception, depth: int) -> ASGIApp:
    async def parts() -> AsyncIterator[str]:
        raise error
        yield ""

    async def endpoint(request: Request) -> Response:
        return StreamingResponse(parts())

    return hesper(endpoint, *[pass_on] * depth)


def sync_stream(error: Exception, depth: int) -> ASGIApp:
    def parts() -> Any:
        yield "half"
        raise error

    def endpoint(request: Request) -> Response:
        return StreamingResponse(parts())

    return hesper(endpoint, *[pass_on] * depth, functions=True)


def wrapped_stream(error: Exception, depth: int) -> ASGIApp:
    async def wrapping(request: Request, call_next: CallNext) -> Response:
        response = await call_next(request)
        inner = response.body_iterator

        async def wrapper() -> AsyncIterator[Any]:
            async for chunk in inner:
                yield chunk

        response.body_iterator = wrapper()
        return response

    return nest(native_stream(error, 0), *[wrapping] * depth)


def failing_wrapper(error: Exception, depth: int) -> ASGIApp:
    async def wrapping(request: Request, call_next: CallNext) -> Response:
        response = await call_next(request)
        inner = response.body_iterator

        async def wrapper() -> AsyncIterator[Any]:
            async for chunk in inner:
                yield chunk
                raise error

        response.body_iterator = wrapper()
        return response

    async def endpoint(request: Request) -> Response:
        return PlainTextResponse("half", headers={"content-length": "8"})

    return hesper(endpoint, *[pass_on] * depth, wrapping)


def foreign_stream(error: Exception, depth: int) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send_start(send)
        await send_body(send, b"half", more=True)
        await anyio.lowlevel.checkpoint()
        raise error

    return nest(app, *[pass_on] * depth) if depth else mounted(app)


def foreign_after_start(error: Exception, depth: int) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send_start(send)
        raise error

    return mounted(app, *[pass_on] * depth)


def starlette_stream(error: Exception, depth: int) -> ASGIApp:
    async def parts() -> AsyncIterator[str]:
        yield "half"
        raise error

    async def endpoint(request: Any) -> Any:
        return starlette.responses.StreamingResponse(parts())

    app = starlette.applications.Starlette(routes=[starlette.routing.Route("/", endpoint)])
    return mounted(app, *[pass_on] * depth)


def behind_foreign_middleware(error: Exception, depth: int) -> ASGIApp:
    return nest(PassOn(native_stream(error, depth)), *[pass_on] * depth)


@every_depth
@over(
    "place",
    [
        native_stream,
        native_first_chunk,
        sync_stream,
        wrapped_stream,
        failing_wrapper,
        foreign_stream,
        foreign_after_start,
        behind_foreign_middleware,
    ],
)
async def test_e12_an_error_after_the_start_message_never_ends_the_response_cleanly(
    dialect: Dialect, place: Place, depth: int
) -> None:
    """After it, the response is never ended cleanly, behind any number of middlewares, so the server
    aborts the connection and no client takes half a body for a whole one; the error is logged
    once."""
    error = ValueError("in the middle")
    result = await ScriptedServer(place(error, depth), dialect).get().run()
    assert_aborted(result, error)


@every_depth
async def test_e12_starlette_inside_never_ends_a_broken_response_cleanly(
    dialect: Dialect, depth: int
) -> None:
    """... whatever is inside."""
    app = starlette_stream(ValueError("in the middle"), depth)
    result = await ScriptedServer(app, dialect).get().run()
    assert result.raised is not None
    assert not ends_cleanly(result)


@every_depth
async def test_e12_handlers_do_not_see_an_error_that_comes_too_late(
    dialect: Dialect, depth: int
) -> None:
    """After it the response is never ended cleanly: a handler that would answer is not asked."""
    error = ValueError("in the middle")
    asked: list[Exception] = []

    async def handler(request: Request, exc: Exception) -> Response:
        asked.append(exc)
        return PlainTextResponse("handled")

    async def parts() -> AsyncIterator[str]:
        yield "half"
        raise error

    async def endpoint(request: Request) -> Response:
        return StreamingResponse(parts())

    app = hesper(endpoint, *[pass_on] * depth, handlers={ValueError: handler, 500: handler})
    assert_aborted(await ScriptedServer(app, dialect).get().run(), error)
    assert asked == []


@every_depth
async def test_e12_a_foreign_app_that_returns_in_the_middle_is_an_error(
    dialect: Dialect, depth: int
) -> None:
    """After it, the response is never ended cleanly: an app that returned without an end has not
    ended it, and nobody ends it in its place."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send_start(send)
        await send_body(send, b"half", more=True)

    result = await ScriptedServer(mounted(app, *[pass_on] * depth), dialect).get().run()
    assert not ends_cleanly(result)
    if depth:
        assert isinstance(result.raised, RuntimeError)


@every_depth
@over("number", [1, 2, 3])
async def test_e12_a_send_that_failed_is_not_followed_by_an_end(depth: int, number: int) -> None:
    """After it, the response is never ended cleanly: not after a message that could not be sent
    either, whatever a body does with the error."""
    error = RuntimeError("the server's own trouble")
    closed: list[str] = []

    async def parts() -> AsyncIterator[str]:
        try:
            for _ in range(3):
                try:
                    yield "part"
                except Exception:
                    yield "more"
        finally:
            closed.append("closed")

    async def endpoint(request: Request) -> Response:
        return StreamingResponse(parts())

    app = hesper(endpoint, *[pass_on] * depth)

    async def failing_server(scope: Scope, receive: Receive, send: Send) -> None:
        sent: list[Any] = []

        async def failing_send(message: Any) -> None:
            sent.append(message)
            if len(sent) == number:
                raise error
            await send(message)

        await app(scope, receive, failing_send)

    result = await ScriptedServer(failing_server).get().run()
    assert result.raised is error
    assert not ends_cleanly(result)
    assert len(result.messages) == number - 1
    assert closed == (["closed"] if number > 1 else [])


@every_depth
async def test_e12_a_body_of_the_wrong_type_never_ends_the_response_cleanly(
    dialect: Dialect, depth: int
) -> None:
    """After it, the response is never ended cleanly: whatever is wrong with the body."""

    async def parts() -> AsyncIterator[Any]:
        yield "half"
        yield 5

    async def endpoint(request: Request) -> Response:
        return StreamingResponse(parts())

    result = await ScriptedServer(hesper(endpoint, *[pass_on] * depth), dialect).get().run()
    assert isinstance(result.raised, RuntimeError)
    assert "int" in str(result.raised)
    assert not ends_cleanly(result)


async def test_e12_an_error_while_the_body_is_closed_is_not_lost(dialect: Dialect) -> None:
    """The error is logged once: also that of a ``finally`` that follows the last chunk."""
    error = ValueError("in the finally")

    async def parts() -> AsyncIterator[str]:
        try:
            yield "whole"
        finally:
            await anyio.lowlevel.checkpoint()
            raise error

    async def endpoint(request: Request) -> Response:
        return StreamingResponse(parts())

    assert_aborted(await ScriptedServer(hesper(endpoint, pass_on), dialect).get().run(), error)
