"""``BaseRoute``: what a router looks at, and what a user subclasses for routes of other kinds.

A route answers by ``_answer(request, params)``: a call, not a search; the router's table has found
the path. ``matches`` and ``handle`` are the same in ASGI terms, for routes that stand alone and for
route classes of users, which override them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Collection, Mapping
from enum import Enum
from typing import Any

from hesper._endpoints import no_lifespan, not_a_socket
from hesper._governing import Foreign
from hesper._paths import Pattern
from hesper._stack import Stack, serve
from hesper.datastructures import URLPath
from hesper.exceptions import HTTPException, UsageError
from hesper.requests import Request
from hesper.types import Receive, Scope, Send
from hesper.websockets import WebSocket


class NoMatchFound(Exception):
    """No route has this name and takes exactly these parameters."""

    def __init__(self, name: str, path_params: Mapping[str, Any]) -> None:
        params = ", ".join(path_params)
        super().__init__(f'No route exists for name "{name}" and params "{params}".')


class Match(Enum):
    """How a route fits a scope."""

    NONE = 0
    PARTIAL = 1
    """The path fits, the method does not."""
    FULL = 2


class BaseRoute:
    """What a router looks at. Subclass it for routes of other kinds: override ``matches``,
    ``handle`` and ``url_path_for``."""

    def matches(self, scope: Scope) -> tuple[Match, dict[str, Any]]:
        """How the route fits, and what to add to the scope for it."""
        raise UsageError(f"{type(self).__name__} has no matches(scope): override it.")

    def url_path_for(self, name: str, /, **path_params: Any) -> URLPath:
        """The path of the route with this name.

        Raises:
            NoMatchFound: it is not this one's.
        """
        raise NoMatchFound(name, path_params)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a scope that ``matches`` has accepted, with its additions."""
        raise UsageError(f"{type(self).__name__} has no handle(scope, receive, send): override it.")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A route alone is an ASGI app: 404 for what it does not match."""
        await serve(self._fold(), scope, receive, send)

    def _fold(self) -> Stack:
        return Stack(self._alone, self._alone_socket, no_lifespan)

    async def _alone(self, request: Request) -> Any:
        answer = self._answer_by_matching(request, Match.FULL)
        if answer is None:
            answer = self._answer_by_matching(request, Match.PARTIAL)
        if answer is None:
            raise HTTPException(404)
        return await answer

    async def _alone_socket(self, websocket: WebSocket) -> None:
        await (self._answer_socket_by_matching(websocket) or not_a_socket(websocket))

    # What the router asks. These serve route classes of users, by what they override; the classes
    # here have faster ones of their own, which a subclass loses that overrides what they replace.

    _ours: type[BaseRoute]
    """The nearest class that is not a user's."""

    def __init_subclass__(cls, ours: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if ours:
            cls._ours = cls
            return
        slow: set[str] = set()
        if cls.matches is not cls._ours.matches:
            slow |= {"_answer", "_answer_socket", "_allowed", "_pattern"}
        if cls.handle is not cls._ours.handle:
            slow |= {"_answer", "_answer_socket", "_run", "_run_socket", "_refuses_itself"}
        for name in slow:
            setattr(cls, name, getattr(BaseRoute, name))

    _refuses_itself = True
    """Whether ``handle`` answers a request whose path fits but whose method does not."""
    _named = False
    """Whether the user chose the name."""

    def _pattern(self) -> Pattern | None:
        """What the router's table needs to know; None: ask ``matches`` for every path."""
        return None

    def _answer(self, request: Request, params: Mapping[str, Any]) -> Awaitable[Any] | None:
        """The answer to a request whose path fits; None if something else does not."""
        return self._answer_by_matching(request, Match.FULL)

    def _answer_socket(
        self, websocket: WebSocket, params: Mapping[str, Any]
    ) -> Awaitable[None] | None:
        """The same for a WebSocket."""
        return self._answer_socket_by_matching(websocket)

    def _allowed(self, scope: Scope) -> Collection[str]:
        """The methods that the route takes for a path that fits; empty if the path is not its."""
        match, _ = self.matches(scope)
        methods: Collection[str] = getattr(self, "methods", None) or ()
        return methods if match is Match.PARTIAL else ()

    def _answer_by_matching(self, request: Request, wanted: Match) -> Awaitable[Any] | None:
        match, child_scope = self.matches(request.scope)
        if match is not wanted:
            return None
        request.scope.update(child_scope)
        request.scope["route"] = self
        return self._run(request) if match is Match.FULL else self._by_handle(request)

    def _answer_socket_by_matching(self, websocket: WebSocket) -> Awaitable[None] | None:
        match, child_scope = self.matches(websocket.scope)
        if match is not Match.FULL:
            return None
        websocket.scope.update(child_scope)
        websocket.scope["route"] = self
        return self._run_socket(websocket)

    def _run(self, request: Request) -> Awaitable[Any]:
        """The answer, when the scope has been prepared."""
        return self._by_handle(request)

    async def _by_handle(self, request: Request) -> Foreign:
        return Foreign(self.handle, request.scope)

    def _run_socket(self, websocket: WebSocket) -> Awaitable[None]:
        """The same for a WebSocket."""
        return self.handle(websocket.scope, websocket._exchange.receive, websocket._exchange.send)


BaseRoute._ours = BaseRoute
