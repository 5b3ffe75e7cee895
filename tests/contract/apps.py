"""Small applications and helpers that the contract tests share.

The law: an app here does what its name says and decides nothing about right or wrong; the one
judgement that all tests share, what "quiet" means, is `assert_quiet`.
"""

import functools
import inspect
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import anyio
import anyio.lowlevel

from hesper.applications import Hesper
from hesper.middleware import Middleware
from hesper.middleware.base import BaseHTTPMiddleware
from hesper.requests import Request
from hesper.responses import PlainTextResponse, Response
from hesper.routing import Mount, Route
from hesper.testing import Dialect, Result
from hesper.testing.dialects import ANYCORN, GUNICORN_H2, HYPERCORN_H2, UVICORN
from hesper.types import ASGIApp, Message, Receive, Scope, Send

Endpoint = Callable[[Request], Any]
CallNext = Callable[[Request], Awaitable[Response]]
Dispatch = Callable[[Request, CallNext], Awaitable[Response]]

METHODS = ["GET", "POST"]


def send_can_be_cancelled(dialect: Dialect) -> bool:
    """Whether the server's ``send`` waits for a client that does not read, and gives up when it is
    cancelled."""
    return dialect.backpressure and not dialect.shields_blocked_send


# Middleware.


async def pass_on(request: Request, call_next: CallNext) -> Response:
    """A dispatch function that changes nothing."""
    return await call_next(request)


class Recorder:
    """A dispatch function that changes nothing, and writes down what its `call_next` did."""

    def __init__(self) -> None:
        self.responses: list[Response] = []
        self.raised: list[BaseException] = []

    async def __call__(self, request: Request, call_next: CallNext) -> Response:
        try:
            response = await call_next(request)
        except BaseException as exc:
            self.raised.append(exc)
            raise
        self.responses.append(response)
        return response


def nest(app: ASGIApp, *dispatches: Dispatch) -> ASGIApp:
    """`app` in a `BaseHTTPMiddleware` for each dispatch function; the first is the outermost."""
    for dispatch in reversed(dispatches):
        app = BaseHTTPMiddleware(app, dispatch=dispatch)
    return app


def hesper(
    endpoint: Endpoint,
    *dispatches: Dispatch,
    functions: bool = False,
    handlers: dict[Any, Any] | None = None,
) -> ASGIApp:
    """A `Hesper` app with one route, "/", inside of middlewares.

    Args:
        dispatches: the first is the outermost.
        functions: whether they stand in the list as functions, not as `BaseHTTPMiddleware`.
        handlers: the exception handlers.
    """
    middleware: Iterable[Any] = dispatches
    if not functions:
        middleware = [Middleware(BaseHTTPMiddleware, dispatch=each) for each in dispatches]
    return Hesper(
        routes=[Route("/", endpoint, methods=METHODS)],
        middleware=list(middleware),
        exception_handlers=handlers,
    )


# Foreign apps.


async def listen(receive: Receive) -> None:
    """Receives until the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def send_start(send: Send, status: int = 200) -> None:
    """Sends the start of a text response without a length."""
    headers = [(b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def send_body(send: Send, body: bytes = b"", *, more: bool = False) -> None:
    """Sends a part of a body."""
    await send({"type": "http.response.body", "body": body, "more_body": more})


# Steps.


class Gate:
    """A place where an app waits until the test lets it go on."""

    def __init__(self) -> None:
        self.reached = anyio.Event()
        self.open = anyio.Event()

    async def wait(self) -> None:
        """What the app does."""
        self.reached.set()
        await self.open.wait()


async def settle(turns: int = 20) -> None:
    """Lets everything happen that needs no clock."""
    for _ in range(turns):
        await anyio.lowlevel.checkpoint()


def assert_quiet(result: Result) -> None:
    """The app returned, raised nothing, and did nothing that a server would complain about."""
    log = "\n  ".join(result.log)
    assert result.raised is None, f"{result.raised!r}; the log:\n  {log}"
    assert result.ended in ("returned", "not called"), log
    assert result.violations == [], log
    assert result.pending_receives == 0, log
    assert result.concurrent_receives <= 1, log
    assert not result.receive_cancelled, log
    assert not result.truncated_as_complete, log
    assert result.sends_after_disconnect == 0, log
    assert result.receives_after_disconnect == 0, log


# Endings, seen from the outside.


class Watch:
    """Writes into `log` when the server has taken the last message, and when the app is over."""

    def __init__(self, app: ASGIApp, log: list[str]) -> None:
        self.app = app
        self.log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def watched(message: Message) -> None:
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                self.log.append("last byte")

        try:
            await self.app(scope, receive, watched)
        finally:
            self.log.append("over")


class PassOn:
    """A foreign middleware, in ASGI's own terms, that changes nothing."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


def mounted(app: ASGIApp, *dispatches: Dispatch) -> ASGIApp:
    """A `Hesper` app with a foreign app under "/", inside of middlewares."""
    middleware = [Middleware(BaseHTTPMiddleware, dispatch=each) for each in dispatches]
    return Hesper(routes=[Mount("/", app)], middleware=middleware)


def ends_cleanly(result: Result) -> bool:
    """Whether a last message of a body was sent, so that the client takes what it has for whole."""
    return any(
        message["type"] == "http.response.body" and not message.get("more_body", False)
        for message in result.messages
    )


# Many cases in one test.

Test = Callable[..., Awaitable[None]]


def over(name: str, cases: Iterable[Any]) -> Callable[[Test], Test]:
    """Runs a test for each case of one argument, one after the other.

    `pytest.mark.parametrize` would make as many tests, and a test costs more than what most of these
    do (5 ms against 1). The case that failed is told in a note of the error.
    """

    def decorate(test: Test) -> Test:
        @functools.wraps(test)
        async def each(**arguments: Any) -> None:
            for case in cases:
                try:
                    await test(**arguments, **{name: case})
                except BaseException as exc:
                    exc.add_note(f"{name} = {getattr(case, '__name__', case)!r}")
                    raise

        signature = inspect.signature(test)
        rest = [param for param in signature.parameters.values() if param.name != name]
        each.__signature__ = signature.replace(parameters=rest)  # type: ignore[attr-defined]
        return each

    return decorate


# What the scenarios share.

SILENT = UVICORN
"""A server of `spec_version` 2.3 whose `send` to a client that left says nothing."""

RAISING = GUNICORN_H2
"""One of 2.4 whose `send` raises an `OSError`, and which cancels the app after three seconds."""

STUCK = HYPERCORN_H2
"""One whose `send` to a client that left never returns, and which says the disconnect once."""

SUSPENDING = ANYCORN
"""One whose `receive` suspends first, and loses a message when it is cancelled."""

SERVERS = (SILENT, RAISING, STUCK, SUSPENDING)


class Alarm:
    """A handler for status 500, as an error reporter has one, that notes what it was asked for."""

    def __init__(self) -> None:
        self.errors: list[Exception] = []

    async def __call__(self, request: Request, exc: Exception) -> Response:
        self.errors.append(exc)
        return PlainTextResponse("error page", 500)
