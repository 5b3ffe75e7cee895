"""Sweeps a middleware around endpoints of every sort.

The law: the endpoints themselves sweep clean, so what is found is the middleware's.
"""

from collections.abc import AsyncIterator, Callable
from inspect import iscoroutinefunction
from typing import Any

import anyio

from hesper.middleware.base import BaseHTTPMiddleware
from hesper.requests import Request
from hesper.responses import PlainTextResponse, StreamingResponse
from hesper.routing import Route, Router
from hesper.testing._sweep.report import Report
from hesper.testing._sweep.requests import Sweep, SweptRequest
from hesper.types import ASGIApp, Receive, Scope, Send

__all__ = ["check_middleware", "sweep_middleware"]


def check_middleware(middleware: Any, *args: Any, **kwargs: Any) -> list[Report]:
    """Sweeps a middleware around standard endpoints, and returns the reports if all are clean.

    The endpoints are a plain one, a slow one, a stream, an upload, a foreign ASGI application, and
    one that fails before its response starts.

    Args:
        middleware: ``async def dispatch(request, call_next)``, a subclass of `BaseHTTPMiddleware`,
            or any class that takes the application first, as ASGI middleware does.
        args: what the class takes besides.
        kwargs: what the class takes besides.

    Raises:
        AssertionError: with the reports that are not clean as its text.
    """

    def wrap(app: ASGIApp) -> ASGIApp:
        if iscoroutinefunction(middleware):
            return BaseHTTPMiddleware(app, middleware)
        wrapped: ASGIApp = middleware(app, *args, **kwargs)
        return wrapped

    reports = sweep_middleware(wrap)
    wrong = [report for report in reports if not report.clean]
    if wrong:
        raise AssertionError("\n\n".join(map(str, wrong)))
    return reports


def sweep_middleware(wrap: Callable[[ASGIApp], ASGIApp], **options: Any) -> list[Report]:
    """Sweeps a middleware around the same endpoints, and returns a report for each.

    Args:
        wrap: puts the middleware around an application.
        options: fields of `Options`.
    """
    return [request.run() for request in _requests(wrap, options)]


def _requests(wrap: Callable[[ASGIApp], ASGIApp], options: dict[str, Any]) -> list[SweptRequest]:
    sweep = Sweep(wrap(_endpoints), **options)
    foreign = Sweep(wrap(_foreign), **options)
    failing = Sweep(wrap(_failing), **{**options, "may_fail": True})
    return [
        sweep.get("/plain"),
        sweep.get("/slow"),
        sweep.get("/stream"),
        sweep.post("/upload", body=[b"one", 1.0, b"two"]),
        foreign.get("/foreign"),
        failing.get("/failing"),
    ]


async def _plain(request: Request) -> PlainTextResponse:
    return PlainTextResponse("plain")


async def _slow(request: Request) -> PlainTextResponse:
    await anyio.sleep(10)
    return PlainTextResponse("slow")


async def _chunks() -> AsyncIterator[bytes]:
    for _ in range(3):
        yield b"chunk"
        await anyio.sleep(1)


async def _stream(request: Request) -> StreamingResponse:
    return StreamingResponse(_chunks())


async def _upload(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"{len(await request.body())} bytes")


_endpoints = Router(
    [
        Route("/plain", _plain),
        Route("/slow", _slow),
        Route("/stream", _stream),
        Route("/upload", _upload, methods=["POST"]),
    ]
)


async def _foreign(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that knows nothing of Hesper, and takes care of its own endings."""
    async with anyio.create_task_group() as tasks:

        async def work() -> None:
            try:
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": b"half", "more_body": True})
                await anyio.sleep(1)
                await send({"type": "http.response.body", "body": b"half"})
            except OSError:
                pass  # in a task group it would be wrapped, and then be no longer the server's own
            tasks.cancel_scope.cancel()

        tasks.start_soon(work)
        while (await receive())["type"] != "http.disconnect":
            pass
        tasks.cancel_scope.cancel()


async def _failing(scope: Scope, receive: Receive, send: Send) -> None:
    await anyio.sleep(1)
    raise RuntimeError("failed on purpose, before the response had started")
