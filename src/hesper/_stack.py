"""The fold: middleware, router and endpoint become one handler, once.

The rules:

1. A ``Stack`` is what a part of the application does for each kind of scope. Every part of Hesper
   folds into one; a foreign ASGI app is one whose answer is the app itself.
2. ``dispatch(request, call_next)`` is a plain call: no task, no stream, no copy of the context.
3. Between two layers, and nowhere else, an error is given to the handlers of the app that the
   request is in, and a foreign app's answer is bridged.
4. What ``call_next`` hands out may be dropped: a body that must be closed is noted in the exchange.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import anyio

from hesper._asgi.bodies import Body
from hesper._asgi.bridge import Bridge
from hesper._asgi.bridge_body import BridgeBody
from hesper._asgi.exchange import KEY
from hesper._asgi.foreign import caused_by_leaving
from hesper._asgi.http import Handler, OnError, conduct, drive_on
from hesper._asgi.responding import check_answer
from hesper._asgi.websocket import SocketExchange, conduct_socket
from hesper._concurrency import cancelled_type, deliver_again
from hesper._governing import POLICY, Foreign, govern, govern_socket, set_policy
from hesper._response import Response
from hesper.exceptions import ClientDisconnect
from hesper.middleware.exceptions import ExceptionHandlers
from hesper.policies import Policy
from hesper.requests import Request, open_request, request_over
from hesper.types import ASGIApp, Message, Receive, Scope, Send
from hesper.websockets import WebSocket

RequestResponseEndpoint = Callable[[Request], Awaitable[Response]]
"""``call_next``: the rest of the stack."""

DispatchFunction = Callable[[Request, RequestResponseEndpoint], Awaitable[Response]]

SocketHandler = Callable[[WebSocket], Awaitable[None]]


class Stack(NamedTuple):
    """What a part of an application does."""

    http: Handler
    websocket: SocketHandler
    other: ASGIApp
    """For every other scope: the lifespan, and what comes to be."""
    foreign: ASGIApp | None = None
    """The app that answers all requests, if it is a foreign one."""


class Face:
    """A stack as an ASGI app: what a middleware class gets as ``app``."""

    __slots__ = ("_stack",)

    def __init__(self, stack: Stack) -> None:
        self._stack = stack

    def _fold(self) -> Stack:
        return self._stack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await serve(self._stack, scope, receive, send)


async def serve(
    stack: Stack, scope: Scope, receive: Receive, send: Send, on_error: OnError | None = None
) -> None:
    """Run a stack for one scope, as an ASGI app that stands anywhere.

    Args:
        on_error: answers the errors that come out of the stack; by default the handlers that stand
            inside an app do, and without an app those for ``HTTPException``.
    """
    kind = scope["type"]
    if kind != "lifespan" and KEY not in scope:
        inside = getattr(stack.other, "_serve_within", None)
        if inside is not None and folds(
            stack.other
        ):  # an app that is wrapped in middleware: it minds its requests
            await inside(stack, scope, receive, send, on_error or answer_error)
            return
    if kind == "http":
        request = open_request(scope, receive, send)
        work = conduct(stack.http, request, request, scope, on_error or answer_error)
        steps = work.__await__()
        for trap in steps:  # as drive does, without its coroutine
            await drive_on(steps, trap, request)
            break
    elif kind == "websocket":
        websocket = WebSocket(scope, receive, send)
        await conduct_socket(stack.websocket, websocket, websocket._exchange, answer_socket_error)
    else:
        await stack.other(scope, receive, send)


def stack_of(app: Any, *, governs: bool = True) -> Stack:
    """The stack of anything that can be called as an ASGI app.

    Args:
        governs: whether a foreign app's WebSockets ask for a policy; not if what is around does.
    """
    if folds(app):
        stack: Stack = app._fold()
        return stack

    async def http(request: Request) -> Foreign:
        return Foreign(app, request.scope)

    async def websocket(websocket: WebSocket) -> None:
        exchange: SocketExchange = websocket._exchange
        await app(websocket.scope, exchange.receive, exchange.send)

    stack = Stack(http, websocket, app, app)
    return stack._replace(websocket=governed(stack).websocket) if governs else stack


def folds(app: Any) -> bool:
    """Whether a part of Hesper can be looked through.

    Not if a subclass has a ``__call__`` of its own, which is then to be called; nor if a foreign
    wrapper only hands on the attributes of what it wraps. A class that is an app itself, as an
    ``HTTPEndpoint``, folds by a classmethod.
    """
    is_class = inspect.isclass(app)
    for cls in app.__mro__ if is_class else type(app).__mro__:
        members = vars(cls)
        if "_fold" in members:
            return not is_class or isinstance(members["_fold"], classmethod)
        if "__call__" in members:
            return False
    return False


def wrap(dispatch: DispatchFunction, inner: Stack) -> Stack:
    """A dispatch function around a stack."""
    rest, foreign = inner.http, inner.foreign

    async def call_next(request: Request) -> Response:
        try:
            if foreign is not None and POLICY not in request.scope:
                # What the three calls below do, for what a bridge was made for: 1 µs less.
                bridge = Bridge(foreign, request.scope, request)
                response = BridgedResponse(bridge, await bridge.start())
                _note(response._body, request)
                return response
            answer = await rest(request)
            if isinstance(answer, Response) and answer.background is None and not answer._deferred:
                if answer._body is not None:
                    _note(answer._body, request)
                return answer
            return await _settle(answer, request)
        except Exception as exc:
            answer = await answer_error(request, exc)
        return await _settle(answer, request)

    def http(request: Request) -> Awaitable[Response]:
        return dispatch(request, call_next)

    return Stack(http, inner.websocket, inner.other)


def governed(stack: Stack, socket_timeout: float | None = None) -> Stack:
    """An endpoint's stack, which asks its scope for a policy.

    Args:
        socket_timeout: seconds that a WebSocket may be open.
    """

    def http(request: Request) -> Awaitable[Any]:
        if POLICY in request.scope:
            return govern(stack.http, request)
        return stack.http(request)

    def websocket(websocket: WebSocket) -> Awaitable[None]:
        if POLICY in websocket.scope:
            return govern_socket(stack.websocket, websocket, socket_timeout)
        return stack.websocket(websocket)

    return Stack(http, websocket, stack.other)


def with_policy(policy: Policy | None, inner: Stack) -> Stack:
    """A stack in which ``policy`` counts, unless a place further in says otherwise."""
    if policy is None:
        return inner

    def http(request: Request) -> Awaitable[Any]:
        set_policy(policy, request.scope)
        return inner.http(request)

    def websocket(websocket: WebSocket) -> Awaitable[None]:
        set_policy(policy, websocket.scope)
        return inner.websocket(websocket)

    return Stack(http, websocket, inner.other)


_without_app = ExceptionHandlers({})


HANDLERS = "hesper.exception_handlers"
"""Where the handlers of the routers that a scope is in stand, the innermost first."""


async def answer_error(request: Request, exc: Exception) -> Any:
    """The answer of the handlers of the routers and the app that the request is in; raises ``exc``
    without one."""
    for handlers in request.scope.get(HANDLERS, ()):
        if handlers.has_own(exc) and not _only_says_left(request, exc):
            return await handlers.answer(request, exc)
    answer = getattr(request.scope.get("app"), "_answer_error", None)
    if answer is not None:
        return await answer(request, exc)
    return await _without_app.answer(request, exc)


def _only_says_left(request: Request, exc: Exception) -> bool:
    """Whether it is the client's leaving in other words, which are no error to handle."""
    if isinstance(exc, ClientDisconnect):
        return False
    return request._exchange.disconnected and caused_by_leaving(exc)


async def answer_socket_error(websocket: WebSocket, exc: Exception) -> bool:
    """Let a handler of the routers and the app that the socket is in end it; False without one."""
    for handlers in websocket.scope.get(HANDLERS, ()):
        if handlers.has_own(exc):
            ended: bool = await handlers.answer_socket(websocket, exc)
            return ended
    answer = getattr(websocket.scope.get("app"), "_answer_socket_error", None)
    if answer is None:
        answer = _without_app.answer_socket
    answered: bool = await answer(websocket, exc)
    return answered


def with_handlers(handlers: ExceptionHandlers, inner: Stack) -> Stack:
    """A stack whose errors ``handlers`` are asked for first."""

    async def http(request: Request) -> Any:
        with _asked_first(handlers, request.scope):
            try:
                return await inner.http(request)
            except Exception as exc:
                return await answer_error(request, exc)

    async def websocket(websocket: WebSocket) -> None:
        with _asked_first(handlers, websocket.scope):
            try:
                await inner.websocket(websocket)
            except Exception as exc:
                if not await answer_socket_error(websocket, exc):
                    raise

    return Stack(http, websocket, inner.other)


@contextmanager
def _asked_first(handlers: ExceptionHandlers, scope: Scope) -> Iterator[None]:
    outer = scope.get(HANDLERS, ())
    scope[HANDLERS] = (handlers, *outer)
    try:
        yield
    finally:
        scope[HANDLERS] = outer  # a router shares its scope with the app around it


async def answer_failure(request: Request, exc: Exception) -> Response:
    """The 500 that the app around the request would give outside of all its middleware, for one
    that has to be on every response; raises ``exc`` where there is no such app."""
    answer = getattr(request.scope.get("app"), "_on_error", None)
    if answer is None:
        raise exc
    return await _settle(await answer(request, exc), request)


FOUND_BELOW = ("endpoint", "route", "path_params", "hesper.route_prefix")
"""What was found in a scope of its own is told upwards, for the middleware there."""


async def descend(handler: Handler, request: Request, child: Scope) -> Any:
    """Give a request to what lies below, with a scope of its own; its answer remembers that."""
    inner = request_over(child, request._exchange)
    try:
        answer: Any = await handler(inner)
    finally:
        _tell_upwards(child, request.scope)
    if isinstance(answer, (Response, Foreign)):
        return answer
    check_answer(answer, child)
    return Foreign(answer, child)


async def descend_socket(handler: SocketHandler, websocket: WebSocket, child: Scope) -> None:
    """The same for a WebSocket."""
    exchange = websocket._exchange
    try:
        await handler(WebSocket(child, exchange.receive, exchange.send))
    finally:
        _tell_upwards(child, websocket.scope)


def _tell_upwards(child: Scope, scope: Scope) -> None:
    for key in FOUND_BELOW:
        if key in child:
            scope[key] = child[key]


async def _resolve(response: Response, scope: Scope) -> None:
    """Settle a response; a cancellation meanwhile does not lose it, and arrives at the next wait."""
    if not response._shielded:
        await response._resolve(scope)
        return
    try:
        with anyio.CancelScope(shield=True):
            await response._resolve(scope)
    except cancelled_type() as exc:  # a native one, which no shield holds up
        deliver_again(exc)


async def _settle(answer: Any, request: Request) -> Response:
    """A response that a middleware can look at."""
    if isinstance(answer, Response):
        if answer._deferred:
            await _resolve(answer, request.scope)
        response = answer
    else:
        check_answer(answer, request.scope)
        bridge = Bridge(answer, request.scope, request)
        response = BridgedResponse(bridge, await bridge.start())
    if response.background is not None:
        # Taken out, so that a middleware that sets its own, or makes a new response of this one,
        # does not undo the endpoint's.
        request._exchange.background += (response.background,)
        response.background = None
    if response._body is not None:
        _note(response._body, request)
    return response


def _note(body: Body, request: Request) -> None:
    """A body was handed through ``call_next``: the rim closes it, if nobody does before (rule 4)."""
    if request._shared is None and request.scope.get(KEY) is request:
        known = request._bodies  # the rim's own request, of which nobody has wanted more
        if not known:
            request._bodies = (body,)
        if not known or known[0] is body:
            return
    exchange = request._exchange
    if not any(body is other for other in exchange.bodies):
        exchange.bodies = (*exchange.bodies, body)


class BridgedResponse(Response):
    """A foreign app's response: its head, and a body that comes from the running app."""

    background = None
    _plain = False
    _body: BridgeBody

    def __init__(self, bridge: Bridge, start: Message) -> None:
        self._start = start
        self.status_code = start["status"]
        self.raw_headers = list(start.get("headers", ()))
        self._body = BridgeBody(bridge)

    def _start_message(self) -> Message:
        start = self._start
        headers, raw = start.get("headers", ()), self.raw_headers
        same = isinstance(headers, (list, tuple)) and len(headers) == len(raw)
        if same and raw == list(headers) and self.status_code == start["status"]:
            return start  # as it was, to the last key
        return {**start, "status": self.status_code, "headers": raw}
