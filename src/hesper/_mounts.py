"""Routes that hand on: ``Mount`` by path, ``Host`` by name.

The app below gets a scope of its own, a copy: what it changes there (its root path) is not left for
a second run of the stack. What it found (endpoint, route, parameters) is told upwards.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

from hesper._asgi.lifespan import Child, ForeignLifespan, state_of
from hesper._base_route import BaseRoute, Match, NoMatchFound
from hesper._build import build
from hesper._host import parse_host_header
from hesper._paths import Pattern, compile_path, replace_params
from hesper._routes import convert_params
from hesper._stack import Face, descend, descend_socket, folds, stack_of, with_policy
from hesper._utils import get_route_path
from hesper.datastructures import Headers, URLPath
from hesper.exceptions import UsageError
from hesper.middleware import MiddlewareEntry
from hesper.middleware.concurrency import limits
from hesper.policies import ConcurrencyLimit, OnDisconnect, Policy, policy_of
from hesper.requests import Request
from hesper.types import ASGIApp, Receive, Scope, Send
from hesper.websockets import WebSocket


class _Below(BaseRoute, ours=True):
    """A route with an application below it."""

    name: str | None
    _base_app: Any
    _lifespan: Child | None = None
    _refuses_itself = False

    def _put_below(
        self, app: Any, middleware: Sequence[MiddlewareEntry], policy: Policy | None
    ) -> None:
        self._base_app = app
        if middleware or policy is not None:
            self.app = Face(with_policy(policy, build(middleware, stack_of(app))))
        else:
            self.app = app

    @property
    def app(self) -> ASGIApp:
        """The app below, within its middleware. May be set, to wrap it."""
        return self._app

    @app.setter
    def app(self, app: ASGIApp) -> None:
        self._app = app
        self._stack = stack_of(app)

    @property
    def lifespan_child(self) -> Child:
        """The lifespan of the app below, which runs inside that of the app above."""
        if self._lifespan is None:
            below = self._base_app
            own = getattr(below, "_own_lifespan", None) if folds(below) else None
            self._lifespan = ForeignLifespan(below) if own is None else own()
        return self._lifespan

    @lifespan_child.setter
    def lifespan_child(self, child: Child) -> None:
        self._lifespan = child

    def _below(self, scope: Scope, found: dict[str, Any]) -> dict[str, Any]:
        """The scope for the app below."""
        # The templates of the mounts, for telemetry: a path has their values. The second one is told
        # upwards, where a retry must not take it for its own.
        at = scope.get("hesper.mounted_at", "") + getattr(self, "path", "")
        child = {
            **scope,
            **found,
            "route": self,
            "hesper.mounted_at": at,
            "hesper.route_prefix": at,
        }
        if self._lifespan is not None and "state" in scope:
            child["state"] = state_of(self._lifespan, scope)
        return child

    @property
    def routes(self) -> list[BaseRoute]:
        """The routes of the app below, if it has some."""
        return getattr(self._base_app, "routes", [])

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)

    def _answer_by_matching(self, request: Request, wanted: Match) -> Awaitable[Any] | None:
        match, found = self.matches(request.scope)
        if match is not wanted:
            return None
        return descend(self._run, request, self._below(request.scope, found))

    def _answer_socket_by_matching(self, websocket: WebSocket) -> Awaitable[None] | None:
        match, found = self.matches(websocket.scope)
        if match is not Match.FULL:
            return None
        return descend_socket(self._run_socket, websocket, self._below(websocket.scope, found))

    def _run(self, request: Request) -> Awaitable[Any]:
        return self._stack.http(request)

    def _run_socket(self, websocket: WebSocket) -> Awaitable[None]:
        return self._stack.websocket(websocket)

    def _url_path_below(
        self, name: str, prefix: str, params: dict[str, Any], given: dict[str, Any]
    ) -> URLPath:
        """The path of a route below, which has this one's name and ":" before its own."""
        name_below = name
        if self.name is not None:
            if not name.startswith(f"{self.name}:"):
                raise NoMatchFound(name, given)
            name_below = name[len(self.name) + 1 :]
        for route in self.routes:
            try:
                below = route.url_path_for(name_below, **params)
            except NoMatchFound:
                continue
            return URLPath(
                path=prefix.rstrip("/") + str(below), protocol=below.protocol, host=below.host
            )
        raise NoMatchFound(name, given)


class Mount(_Below, ours=True):
    """An application under a path.

    Args:
        path: the prefix; may have parameters.
        app: any ASGI app; its ``root_path`` is extended by the prefix.
        routes: routes for a new router, instead of an app.
        name: the app's routes are found by "name:theirs".
        middleware: for this app alone.
        max_body_size: bytes that a request's body may have, in place of the limit around.
        on_disconnect: what the client's leaving means for the handler: see ``hesper.policies``.
        cancel_grace: seconds that the cleanup of a cancelled handler may take.
        timeout: seconds in which the response has to be whole: 504, or broken off if it has begun.
        max_concurrency: requests at a time, or a ``ConcurrencyLimit``; one too many gets a 503.
    """

    def __init__(
        self,
        path: str,
        app: ASGIApp | None = None,
        routes: Sequence[BaseRoute] | None = None,
        name: str | None = None,
        *,
        middleware: Sequence[MiddlewareEntry] | None = None,
        max_body_size: int | None = None,
        on_disconnect: OnDisconnect | None = None,
        cancel_grace: float | None = None,
        timeout: float | None = None,
        max_concurrency: int | ConcurrencyLimit | None = None,
    ) -> None:
        if path and not path.startswith("/"):
            raise UsageError(f"Routed paths must start with '/': write {'/' + path!r}.")
        if app is None and routes is None:
            raise UsageError(
                f"Mount({path!r}) needs an app or routes: give 'app=...' or 'routes=[...]'."
            )
        self.path = path.rstrip("/")
        if app is None:
            from hesper.routing import Router

            app = Router(routes=routes)
        self._put_below(
            app,
            limits(max_concurrency, max_body_size, middleware),
            policy_of(on_disconnect, cancel_grace, timeout),
        )
        self._named = name is not None
        self.name = name
        pattern = self.path + "/{path:path}"
        self.path_regex, self.path_format, self.param_convertors = compile_path(pattern)

    def _pattern(self) -> Pattern | None:
        return Pattern(self.path, prefix=True, convertors=self.param_convertors)

    def matches(self, scope: Scope) -> tuple[Match, dict[str, Any]]:
        if scope["type"] not in ("http", "websocket"):
            return Match.NONE, {}
        match = self.path_regex.fullmatch(get_route_path(scope))
        params = match and convert_params(match, self.param_convertors)
        if params is None:
            return Match.NONE, {}
        return Match.FULL, self._child(scope, params)

    def _child(self, scope: Scope, params: dict[str, Any]) -> dict[str, Any]:
        rest = params.pop("path")
        path = get_route_path(scope)
        root_path = scope.get("root_path", "")
        return {
            "path_params": {**scope.get("path_params", {}), **params},
            "app_root_path": scope.get("app_root_path", root_path),
            "root_path": root_path + path[: len(path) - len(rest) - 1],
            "endpoint": self.app,
        }

    def _answer(self, request: Request, params: Mapping[str, Any]) -> Awaitable[Any] | None:
        scope = request.scope
        return descend(self._run, request, self._below(scope, self._child(scope, {**params})))

    def _answer_socket(
        self, websocket: WebSocket, params: Mapping[str, Any]
    ) -> Awaitable[None] | None:
        scope = websocket.scope
        return descend_socket(
            self._run_socket, websocket, self._below(scope, self._child(scope, {**params}))
        )

    def url_path_for(self, name: str, /, **path_params: Any) -> URLPath:
        if self.name is not None and name == self.name and "path" in path_params:
            # The place of the mount itself: its parameters, and what follows.
            path_params["path"] = path_params["path"].lstrip("/")
            path, remaining = replace_params(self.path_format, self.param_convertors, path_params)
            if not remaining:
                return URLPath(path=path, protocol="")
            raise NoMatchFound(name, path_params)
        params = {**path_params, "path": ""}
        prefix, remaining = replace_params(self.path_format, self.param_convertors, params)
        if "path" in path_params:
            remaining["path"] = path_params["path"]
        return self._url_path_below(name, prefix, remaining, path_params)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Mount)
            and self.path == other.path
            and self.app == other.app
            and self.name == other.name
        )

    __hash__ = BaseRoute.__hash__

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(path={self.path!r}, name={self.name or ''!r}, app={self.app!r})"
        )


class Host(_Below, ours=True):
    """An application for a host name.

    Args:
        host: without a port; may have parameters, "{tenant}.example.org". Case does not count.
        on_disconnect: what the client's leaving means for the handler: see ``hesper.policies``.
        cancel_grace: seconds that the cleanup of a cancelled handler may take.
        timeout: seconds in which the response has to be whole: 504, or broken off if it has begun.
        max_concurrency: requests at a time, or a ``ConcurrencyLimit``; one too many gets a 503.
    """

    def __init__(
        self,
        host: str,
        app: ASGIApp,
        name: str | None = None,
        *,
        on_disconnect: OnDisconnect | None = None,
        cancel_grace: float | None = None,
        timeout: float | None = None,
        max_concurrency: int | ConcurrencyLimit | None = None,
    ) -> None:
        if host.startswith("/"):
            raise UsageError(f"Expected a host name, got the path {host!r}: use Mount for paths.")
        self.host = host
        policy = policy_of(on_disconnect, cancel_grace, timeout)
        self._put_below(app, limits(max_concurrency, None, None), policy)
        self._named = name is not None
        self.name = name
        self.host_regex, self.host_format, self.param_convertors = compile_path(host)

    def matches(self, scope: Scope) -> tuple[Match, dict[str, Any]]:
        if scope["type"] not in ("http", "websocket"):
            return Match.NONE, {}
        parsed = parse_host_header(Headers(scope=scope).get("host"))
        match = self.host_regex.fullmatch(parsed.host.lower()) if parsed is not None else None
        params = match and convert_params(match, self.param_convertors)
        if params is None:
            return Match.NONE, {}
        known = scope.get("path_params", {})
        return Match.FULL, {"path_params": {**known, **params}, "endpoint": self.app}

    def url_path_for(self, name: str, /, **path_params: Any) -> URLPath:
        if self.name is not None and name == self.name and "path" in path_params:
            path = path_params.pop("path")
            host, remaining = replace_params(self.host_format, self.param_convertors, path_params)
            if not remaining:
                return URLPath(path=path, host=host)
            raise NoMatchFound(name, path_params)
        host, remaining = replace_params(self.host_format, self.param_convertors, path_params)
        below = self._url_path_below(name, "", remaining, path_params)
        return URLPath(path=str(below), protocol=below.protocol, host=host)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Host) and self.host == other.host and self.app == other.app

    __hash__ = BaseRoute.__hash__

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(host={self.host!r}, name={self.name or ''!r}, app={self.app!r})"
        )
