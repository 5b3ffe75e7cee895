"""Endpoints as handlers: what a route's author wrote, as what a router calls.

A function gets a ``Request`` or a ``WebSocket``; everything else that can be called is an ASGI app.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from hesper._asgi.http import Handler
from hesper._stack import Face, SocketHandler, Stack, serve, stack_of
from hesper.concurrency import run_in_threadpool
from hesper.exceptions import HTTPException, UsageError
from hesper.requests import Request
from hesper.responses import Response
from hesper.types import ASGIApp, Receive, Scope, Send
from hesper.websockets import WebSocket


def get_name(endpoint: Callable[..., Any]) -> str:
    """The name that a route of this endpoint gets by default."""
    return getattr(endpoint, "__name__", endpoint.__class__.__name__)


def function_of(endpoint: Any) -> Any:
    """The function or method that an endpoint is, inside ``functools.partial``; None for an app."""
    while isinstance(endpoint, functools.partial):
        endpoint = endpoint.func
    return endpoint if inspect.isfunction(endpoint) or inspect.ismethod(endpoint) else None


def endpoint_handler(endpoint: Any) -> Handler:
    """The handler of an endpoint: a function of a request, async or sync, or an ASGI app."""
    function = function_of(endpoint)
    if function is None:
        return stack_of(endpoint).http
    if inspect.iscoroutinefunction(function):
        handler: Handler = endpoint
        return handler

    async def in_thread(request: Request) -> Response:
        response: Response = await run_in_threadpool(endpoint, request)
        return response

    return in_thread


def socket_handler(endpoint: Any) -> SocketHandler:
    """The handler of a WebSocket endpoint: an async function of a WebSocket, or an ASGI app."""
    function = function_of(endpoint)
    if function is None:
        return stack_of(endpoint, governs=False).websocket
    if inspect.iscoroutinefunction(function):
        handler: SocketHandler = endpoint
        return handler

    async def checked(websocket: WebSocket) -> None:
        # A sync function may still give something to await, as one that wraps an async one does.
        work = endpoint(websocket)
        if not inspect.isawaitable(work):
            raise UsageError(
                f"Expected `async def {get_name(endpoint)}(websocket)`, got {endpoint!r}, which "
                f"is not async and returned {work!r}. Write `async def`."
            )
        await work

    return checked


async def not_a_socket(websocket: WebSocket) -> None:
    """What an HTTP route does for a WebSocket: it refuses it."""
    await websocket.close()


async def not_a_request(request: Request) -> Response:
    """What a WebSocket route does for a request."""
    raise HTTPException(404)


async def no_lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    """A route has no lifespan; a server goes on without."""
    raise UsageError(
        f"Expected a scope of type 'http' or 'websocket', got {scope['type']!r}: a route has no "
        "lifespan of its own. Put it into an app."
    )


def request_response(func: Callable[[Request], Awaitable[Response] | Response]) -> ASGIApp:
    """A function of a request as an ASGI app."""
    return Face(Stack(endpoint_handler(func), not_a_socket, no_lifespan))


def websocket_session(func: Callable[[WebSocket], Awaitable[None]]) -> ASGIApp:
    """A function of a WebSocket as an ASGI app."""
    return Face(Stack(not_a_request, socket_handler(func), no_lifespan))


async def refuse(exc: HTTPException, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer as if an endpoint had raised ``exc``: by the app's handlers if there is an app."""

    async def raises(request: Request) -> Response:
        raise exc

    await serve(Stack(raises, not_a_socket, no_lifespan), scope, receive, send)
