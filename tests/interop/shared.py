"""What the tests of every framework share: five middlewares of each kind, and what quiet means."""

import contextvars
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import hesper._stack
from hesper._asgi.bridge import Bridge
from hesper.applications import Hesper
from hesper.middleware.base import BaseHTTPMiddleware
from hesper.requests import Request
from hesper.responses import Response
from hesper.routing import Mount
from hesper.testing import Dialect, Result
from hesper.testing.dialects import GRANIAN, HYPERCORN, UVICORN
from hesper.types import ASGIApp

CallNext = Callable[[Request], Awaitable[Response]]
Around = Callable[[ASGIApp], ASGIApp]

dialects = pytest.mark.parametrize(
    "dialect", [UVICORN, HYPERCORN, GRANIAN], ids=lambda dialect: dialect.name
)

outer: contextvars.ContextVar[str] = contextvars.ContextVar("outer", default="unset")
"""Set by a middleware of ours, read in the app below."""

inner: contextvars.ContextVar[str] = contextvars.ContextVar("inner", default="unset")
"""Set in the app below, read by a middleware of ours."""


async def mark(request: Request, call_next: CallNext) -> Response:
    """Sets a header."""
    response = await call_next(request)
    response.headers["x-mark"] = "1"
    return response


async def variables(request: Request, call_next: CallNext) -> Response:
    """Sets a context variable, and shows what the app below has set another one to."""
    token = outer.set("from outside")
    response = await call_next(request)
    outer.reset(token)
    response.headers["x-inner"] = inner.get()
    return response


async def state(request: Request, call_next: CallNext) -> Response:
    """Leaves a value for the app below."""
    request.scope.setdefault("state", {})["left"] = "by a middleware"
    return await call_next(request)


async def read_body(request: Request, call_next: CallNext) -> Response:
    """Reads the body whole, before the app below does."""
    if request.headers.get("x-read"):
        await request.body()
    return await call_next(request)


async def know(request: Request, call_next: CallNext) -> Response:
    """Asks whether the client is there, which loses nothing."""
    await request.is_disconnected()
    response = await call_next(request)
    response.headers["x-length"] = response.headers.get("content-length", "none")
    return response


FIVE = [mark, variables, state, read_body, know]


def as_class(dispatch: Any) -> type[BaseHTTPMiddleware]:
    """The class that a user would have written."""

    class Written(BaseHTTPMiddleware):
        async def dispatch(self, request: Request, call_next: CallNext) -> Response:
            response: Response = await dispatch(request, call_next)
            return response

    return Written


CLASSES = [as_class(dispatch) for dispatch in FIVE]


def in_classes(app: ASGIApp) -> ASGIApp:
    """The app inside of five ``BaseHTTPMiddleware``."""
    for cls in reversed(CLASSES):
        app = cls(app)
    return app


def in_functions(app: ASGIApp) -> ASGIApp:
    """The app below a Hesper app with five functions."""
    return Hesper(routes=[Mount("/", app=app)], middleware=FIVE)


arounds = pytest.mark.parametrize("around", [in_classes, in_functions])


def check_marks(result: Result) -> None:
    """All five have seen the response."""
    assert result.headers["x-mark"] == "1"
    assert result.headers["x-inner"] == "from inside"
    assert result.headers["x-length"] == result.headers.get("content-length", "none")


class Ticks:
    """An endless body, which says how far it came. No generator: nobody has to close it."""

    def __init__(self) -> None:
        self.count = 0

    def __aiter__(self) -> "Ticks":
        return self

    async def __anext__(self) -> bytes:
        if self.count:
            await anyio.sleep(0.01)
        self.count += 1
        return b"tick"


class Parts:
    """Three parts, which show the context that they are made in. No generator, as ``Ticks``."""

    def __init__(self) -> None:
        self.number = -1

    def __aiter__(self) -> "Parts":
        return self

    async def __anext__(self) -> str:
        await anyio.lowlevel.checkpoint()
        self.number += 1
        if self.number == 3:
            raise StopAsyncIteration
        return f"{self.number} {outer.get()};"


def assert_quiet(result: Result) -> None:
    """The app took the client's leaving for what it is; ERROR records fail a test anyway."""
    assert result.raised is None, result.log
    assert result.ended in ("returned", "not called"), result.log
    assert result.violations == [], result.log
    assert result.pending_receives == 0, result.log
    assert not result.truncated_as_complete, result.log


class CountedBridge(Bridge):
    """A bridge that counts how many there are."""

    made = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        CountedBridge.made += 1


@pytest.fixture
def bridges(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Gives the number of bridges since the last call."""
    monkeypatch.setattr(hesper._stack, "Bridge", CountedBridge)
    CountedBridge.made = 0

    def take() -> int:
        made, CountedBridge.made = CountedBridge.made, 0
        return made

    return take


__all__ = [
    "CLASSES",
    "FIVE",
    "Around",
    "Dialect",
    "Parts",
    "Ticks",
    "arounds",
    "as_class",
    "assert_quiet",
    "bridges",
    "check_marks",
    "dialects",
    "in_classes",
    "in_functions",
    "inner",
    "outer",
]
