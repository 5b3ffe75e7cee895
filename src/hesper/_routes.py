"""Routes with a path: for requests, and for WebSockets."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Literal

from hesper._base_route import BaseRoute, Match, NoMatchFound
from hesper._build import build
from hesper._endpoints import (
    endpoint_handler,
    function_of,
    get_name,
    no_lifespan,
    not_a_request,
    not_a_socket,
    refuse,
    socket_handler,
)
from hesper._governing import POLICY, govern
from hesper._paths import Pattern, compile_path, replace_params
from hesper._stack import Face, Stack, governed, stack_of, with_policy
from hesper._utils import get_route_path
from hesper.convertors import Convertor
from hesper.datastructures import URLPath
from hesper.exceptions import HTTPException, UsageError
from hesper.middleware import MiddlewareEntry
from hesper.middleware.concurrency import limits
from hesper.policies import ConcurrencyLimit, OnDisconnect, policy_of
from hesper.requests import Request
from hesper.types import ASGIApp, Receive, Scope, Send
from hesper.websockets import WebSocket


def convert_params(
    match: re.Match[str], convertors: Mapping[str, Convertor[Any]]
) -> dict[str, Any] | None:
    """The parameters in a path; None if one cannot be converted: then the path does not match."""
    try:
        return {key: convertors[key].convert(value) for key, value in match.groupdict().items()}
    except ValueError:
        return None


class PathRoute(BaseRoute, ours=True):
    """What routes with a path have in common."""

    path: str
    path_regex: re.Pattern[str]
    path_format: str
    param_convertors: dict[str, Convertor[Any]]
    name: str
    _protocol: Literal["http", "websocket"] = "http"
    _refuses_itself = False

    def _compile(self, path: str) -> None:
        if not path.startswith("/"):
            raise UsageError(f"Routed paths must start with '/': write {'/' + path!r}.")
        self.path = path
        self.path_regex, self.path_format, self.param_convertors = compile_path(path)

    def _pattern(self) -> Pattern | None:
        return Pattern(self.path, convertors=self.param_convertors)

    def _match_path(self, scope: Scope) -> dict[str, Any] | None:
        match = self.path_regex.fullmatch(get_route_path(scope))
        params = match and convert_params(match, self.param_convertors)
        return None if params is None else {**scope.get("path_params", {}), **params}

    def url_path_for(self, name: str, /, **path_params: Any) -> URLPath:
        if name != self.name or path_params.keys() != self.param_convertors.keys():
            raise NoMatchFound(name, path_params)
        path, _ = replace_params(self.path_format, self.param_convertors, path_params)
        return URLPath(path=path, protocol=self._protocol)


class Route(PathRoute, ours=True):
    """A path and the endpoint that answers it.

    Args:
        path: starts with "/"; may have parameters, "/users/{id:int}".
        endpoint: ``async def endpoint(request)`` that returns a response; a sync function, which is
            run in a worker thread; or an ASGI app.
        methods: the HTTP methods that it answers; by default GET for a function, all for an app.
            HEAD comes with GET; OPTIONS is the endpoint's own.
        name: for ``url_for``; by default the endpoint's.
        include_in_schema: whether ``hesper.schemas`` describes it.
        middleware: for this route alone, inside that of the application.
        max_body_size: bytes that a request's body may have, in place of the limit around.
        on_disconnect: what the client's leaving means for the handler: see ``hesper.policies``.
        cancel_grace: seconds that the cleanup of a cancelled handler may take.
        timeout: seconds in which the response has to be whole: 504, or broken off if it has begun.
        max_concurrency: requests at a time, or a ``ConcurrencyLimit``; one too many gets a 503.
    """

    def __init__(
        self,
        path: str,
        endpoint: Callable[..., Any],
        *,
        methods: Collection[str] | None = None,
        name: str | None = None,
        include_in_schema: bool = True,
        middleware: Sequence[MiddlewareEntry] | None = None,
        max_body_size: int | None = None,
        on_disconnect: OnDisconnect | None = None,
        cancel_grace: float | None = None,
        timeout: float | None = None,
        max_concurrency: int | ConcurrencyLimit | None = None,
    ) -> None:
        self._compile(path)
        self.endpoint = endpoint
        self._named = name is not None
        self.name = get_name(endpoint) if name is None else name
        self.include_in_schema = include_in_schema
        if methods is None and function_of(endpoint) is not None:
            methods = ["GET"]
        self.methods: set[str] | None = None
        if methods is not None:
            self.methods = {method.upper() for method in methods}
            if "GET" in self.methods:
                self.methods.add("HEAD")
        policy = policy_of(on_disconnect, cancel_grace, timeout)
        around = limits(max_concurrency, max_body_size, middleware)
        stack = Stack(endpoint_handler(endpoint), not_a_socket, no_lifespan)
        self.app = Face(with_policy(policy, build(around, governed(stack))))
        if policy is None and not around:
            self._bare = True
            self._handler = stack.http

    _bare = False
    """Whether ``_handler`` is the endpoint's own, and does not ask for a policy itself: a call less
    for each request (60 ns)."""

    @property
    def app(self) -> ASGIApp:
        """The endpoint, within its middleware, as an ASGI app. May be set, to wrap it."""
        return self._app

    @app.setter
    def app(self, app: ASGIApp) -> None:
        self._app = app
        self._handler = stack_of(app).http
        self._bare = False

    def matches(self, scope: Scope) -> tuple[Match, dict[str, Any]]:
        params = self._match_path(scope) if scope["type"] == "http" else None
        if params is None:
            return Match.NONE, {}
        full = not self.methods or scope["method"] in self.methods
        child_scope = {"endpoint": self.endpoint, "path_params": params}
        return Match.FULL if full else Match.PARTIAL, child_scope

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.methods and scope["method"] not in self.methods:
            await refuse(method_not_allowed(self.methods), scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _answer(self, request: Request, params: Mapping[str, Any]) -> Awaitable[Any] | None:
        scope = request.scope
        methods = self.methods
        if methods and scope["method"] not in methods:
            return None
        known = scope.get("path_params")
        scope["path_params"] = {**known, **params} if known else {**params}
        scope["endpoint"] = self.endpoint
        scope["route"] = self
        return self._run(request)

    def _run(self, request: Request) -> Awaitable[Any]:
        if self._bare and POLICY in request.scope:
            return govern(self._handler, request)
        return self._handler(request)

    def _answer_socket(
        self, websocket: WebSocket, params: Mapping[str, Any]
    ) -> Awaitable[None] | None:
        return None

    def _allowed(self, scope: Scope) -> Collection[str]:
        return self.methods or ()

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Route)
            and self.path == other.path
            and self.endpoint == other.endpoint
            and self.methods == other.methods
        )

    __hash__ = BaseRoute.__hash__

    def __repr__(self) -> str:
        methods = sorted(self.methods or [])
        return f"{type(self).__name__}(path={self.path!r}, name={self.name!r}, methods={methods!r})"


def method_not_allowed(methods: Collection[str]) -> HTTPException:
    """405, with the methods that are allowed (RFC 9110 section 15.5.6)."""
    return HTTPException(405, headers={"Allow": ", ".join(sorted(methods))})


class WebSocketRoute(PathRoute, ours=True):
    """A path and the endpoint for its WebSockets.

    Args:
        endpoint: ``async def endpoint(websocket)``, or an ASGI app.
        middleware: ASGI middleware for this route alone; value-level ones pass WebSockets by.
        on_disconnect: what the client's leaving means for the handler: see ``hesper.policies``.
        cancel_grace: seconds that the cleanup of a cancelled handler may take.
        timeout: seconds that the socket may be open, and that of no place around: then it is closed
            with 1001.
        max_concurrency: sockets at a time, or a ``ConcurrencyLimit``; one too many is refused.
    """

    _protocol = "websocket"

    def __init__(
        self,
        path: str,
        endpoint: Callable[..., Any],
        *,
        name: str | None = None,
        middleware: Sequence[MiddlewareEntry] | None = None,
        on_disconnect: OnDisconnect | None = None,
        cancel_grace: float | None = None,
        timeout: float | None = None,
        max_concurrency: int | ConcurrencyLimit | None = None,
    ) -> None:
        self._compile(path)
        self.endpoint = endpoint
        self._named = name is not None
        self.name = get_name(endpoint) if name is None else name
        policy = policy_of(on_disconnect, cancel_grace, timeout)
        stack = governed(
            Stack(not_a_request, socket_handler(endpoint), no_lifespan), policy and policy.timeout
        )
        self.app = Face(
            with_policy(policy, build(limits(max_concurrency, None, middleware), stack))
        )

    @property
    def app(self) -> ASGIApp:
        """The endpoint, within its middleware, as an ASGI app. May be set, to wrap it."""
        return self._app

    @app.setter
    def app(self, app: ASGIApp) -> None:
        self._app = app
        self._handler = stack_of(app).websocket

    def matches(self, scope: Scope) -> tuple[Match, dict[str, Any]]:
        params = self._match_path(scope) if scope["type"] == "websocket" else None
        if params is None:
            return Match.NONE, {}
        return Match.FULL, {"endpoint": self.endpoint, "path_params": params}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)

    def _answer(self, request: Request, params: Mapping[str, Any]) -> Awaitable[Any] | None:
        return None

    def _answer_socket(
        self, websocket: WebSocket, params: Mapping[str, Any]
    ) -> Awaitable[None] | None:
        scope = websocket.scope
        scope["path_params"] = {**scope.get("path_params", {}), **params}
        scope["endpoint"] = self.endpoint
        scope["route"] = self
        return self._handler(websocket)

    def _run_socket(self, websocket: WebSocket) -> Awaitable[None]:
        return self._handler(websocket)

    def _allowed(self, scope: Scope) -> Collection[str]:
        return ()

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, WebSocketRoute)
            and self.path == other.path
            and self.endpoint == other.endpoint
        )

    __hash__ = BaseRoute.__hash__

    def __repr__(self) -> str:
        return f"{type(self).__name__}(path={self.path!r}, name={self.name!r})"
