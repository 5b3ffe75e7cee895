"""``Hesper``: routes, middleware and handlers, folded once into one handler.

From the outside in: server errors (the only layer that sees everything), the user's middleware, the
router. Handlers of other exceptions are no layer: they are asked wherever an error passes between
two layers, so that one raised in a middleware is answered as well, and the answer, a 500 included,
passes through the middleware outside of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import anyio

from hesper._asgi.foreign import caused_by_leaving
from hesper._asgi.http import Handler, OnError, conduct
from hesper._asgi.lifespan import OwnLifespan, as_context, working_apps
from hesper._asgi.websocket import conduct_socket
from hesper._asgi.workload import Workload
from hesper._build import build, check_middleware
from hesper._concurrency import running_loop
from hesper._stack import (
    Face,
    SocketHandler,
    Stack,
    answer_socket_error,
    descend,
    descend_socket,
    stack_of,
    with_policy,
)
from hesper.datastructures import State, URLPath
from hesper.exceptions import ClientDisconnect, UsageError
from hesper.middleware import Middleware, MiddlewareEntry
from hesper.middleware.concurrency import limits
from hesper.middleware.errors import ServerErrorMiddleware
from hesper.middleware.exceptions import ExceptionHandlers
from hesper.policies import ConcurrencyLimit, OnDisconnect, limit_of, policy_of
from hesper.requests import Request, open_request
from hesper.routing import BaseRoute, Router
from hesper.supervision import Supervisor
from hesper.types import ASGIApp, ExceptionHandler, Lifespan, Receive, Scope, Send
from hesper.websockets import WebSocket, WebSocketState

if TYPE_CHECKING:
    from hesper.endings import RequestEnded

__all__ = ["Hesper"]

AppT = TypeVar("AppT", bound="Hesper")


class Hesper:
    """An ASGI application.

    Args:
        debug: answer unhandled errors with the traceback. Never in production: it shows source.
        routes: in the order in which they count.
        middleware: the first is the outermost; ``Middleware(cls, ...)``, or functions
            ``async def m(request, call_next)``.
        exception_handlers: by status code or exception class, ``handler(request, exc)``, async or
            not. The one for 500 or ``Exception`` answers what nothing else does; the error is
            raised into the server afterwards, which logs it.
        lifespan: an async context manager function that is given the application; what it yields
            becomes the state of every request. Lifespans of mounted apps run inside of it.
        max_body_size: bytes that a request's body may have, else 413; a router, mount or route may
            have its own. None for no limit.
        on_disconnect: what a client's leaving means for the handlers: see ``hesper.policies``.
        cancel_grace: seconds that the cleanup of a cancelled handler may take.
        timeout: seconds in which a response has to be whole: 504, or broken off if it has begun.
        max_concurrency: requests at a time, or a ``ConcurrencyLimit``; one too many gets a 503.
        shutdown_grace: seconds that requests, sockets and supervised work have to come to an end when
            the app shuts down; then they are cancelled.
        on_ending: called with a ``hesper.endings.RequestEnded`` when a request or socket has ended.

    An application can be changed until it serves its first request or lifespan.
    """

    def __init__(
        self: AppT,
        debug: bool = False,
        routes: Sequence[BaseRoute] | None = None,
        middleware: Sequence[MiddlewareEntry] | None = None,
        exception_handlers: Mapping[Any, ExceptionHandler] | None = None,
        lifespan: Lifespan[AppT] | None = None,
        *,
        max_body_size: int | None = None,
        on_disconnect: OnDisconnect | None = None,
        cancel_grace: float | None = None,
        timeout: float | None = None,
        max_concurrency: int | ConcurrencyLimit | None = None,
        shutdown_grace: float = 5.0,
        on_ending: Sequence[Callable[[RequestEnded], object]] = (),
    ) -> None:
        self.debug = debug
        self.state = State()
        self.max_body_size = max_body_size
        self.max_concurrency = limit_of(max_concurrency)
        self.shutdown_grace = shutdown_grace
        self.supervisor = Supervisor()
        self._policy = policy_of(on_disconnect, cancel_grace, timeout)
        self._workload = Workload()
        self._on_ending = tuple(on_ending)
        self.router = Router(routes, lifespan=as_context(lifespan, stacklevel=3))
        self.exception_handlers: dict[Any, ExceptionHandler] = dict(exception_handlers or {})
        self.user_middleware: list[MiddlewareEntry] = check_middleware(middleware)
        self.middleware_stack: ASGIApp | None = None
        self._handlers = ExceptionHandlers(self.exception_handlers)
        self._server_errors = ServerErrorMiddleware(self.router, debug=debug)
        self._http: Handler | None = None
        self._answers_errors: OnError = self._on_error  # bound once, and not for each request

    # -- folding ----------------------------------------------------------------------------------

    def build_middleware_stack(self) -> ASGIApp:
        """The middleware around the router, as an ASGI app. Called once, when the app is frozen."""
        return Face(with_policy(self._policy, build(self._around(), self.router._fold())))

    def _around(self) -> list[MiddlewareEntry]:
        return limits(self.max_concurrency, self.max_body_size, self.user_middleware)

    def _freeze(self) -> Stack:
        if self.middleware_stack is None:
            self._handlers = ExceptionHandlers(self.exception_handlers)
            self._server_errors = ServerErrorMiddleware(
                self.router, self._handlers.server_error, self.debug
            )
            self.middleware_stack = self.build_middleware_stack()
        stack = stack_of(self.middleware_stack)
        self._http = stack.http
        return stack

    def _fold(self) -> Stack:
        """What the application does inside another one: a whole application, errors and all.

        It is not frozen by this: what is mounted can be changed until it serves a request.
        """
        return Stack(self._inside, self._inside_socket, self)

    def _inside(self, request: Request) -> Awaitable[Any]:
        # In a scope of its own: the one around still belongs to the application around.
        return descend(self._answer, request, {**request.scope, "app": self})

    def _inside_socket(self, websocket: WebSocket) -> Awaitable[None]:
        return descend_socket(self._answer_socket, websocket, {**websocket.scope, "app": self})

    async def _answer(self, request: Request) -> Any:
        http = self._http or self._freeze().http
        try:
            return await http(request)
        except Exception as exc:
            return await self._on_error(request, exc)

    async def _answer_socket(self, websocket: WebSocket) -> None:
        try:
            await self._freeze().websocket(websocket)
        except Exception as exc:
            if not await self._on_socket_error(websocket, exc):
                raise

    def _own_lifespan(self) -> OwnLifespan:
        return self.router._own_lifespan(self)

    # -- the shutdown -----------------------------------------------------------------------------

    @property
    def shutting_down(self) -> bool:
        """Whether the shutdown has begun. It is over when the lifespan starts again."""
        return self._workload.shutting_down

    def begin_shutdown(self, grace: float | None = None) -> None:
        """Tell all requests and sockets that the app shuts down; does not wait.

        Event streams end with their last event, idle sockets close with 1012; who waits for
        ``wait_shutting_down()``, and everybody else, may come to an end in his own way. What is left
        when the grace time is over is cancelled: 503 if there was no response. Called again, it
        cancels at once. The end of the lifespan does the same, if nobody did before. Call it in the
        thread of the event loop.

        Args:
            grace: seconds; ``shutdown_grace`` if None.
        """
        for app in working_apps(self._own_lifespan()):
            app._workload.begin(app.shutdown_grace if grace is None else grace)

    def _begin_work(self) -> None:
        self._workload.reopen()
        self.supervisor.open()

    async def _end_work(self, grace: float) -> None:
        ending = anyio.current_time() + grace
        try:
            await self._workload.end(grace)
        finally:
            await self.supervisor.close(max(0.0, ending - anyio.current_time()))

    # -- errors -----------------------------------------------------------------------------------

    async def _answer_error(self, request: Request, exc: Exception) -> Any:
        """The answer of a handler of this application; raises ``exc`` if there is none."""
        leaving = request._exchange.disconnected and caused_by_leaving(exc)
        if leaving and not isinstance(exc, ClientDisconnect):
            raise exc  # it only says so in other words, which are no error to handle
        if self._handlers.find(exc) is not None:
            return await self._handlers.answer(request, exc)
        if leaving or self.debug or self._handlers.server_error is None:
            raise exc
        return await self._answer_server_error(request, exc)

    async def _answer_server_error(self, request: Request, exc: Exception) -> Any:
        """A 500, after which the error is raised into the server."""
        try:
            answer = await self._server_errors.answer(request, exc)
        except Exception as error:
            # The handler has failed: it is not asked again, and there is an answer all the same.
            exc, answer = error, self._server_errors.error_response(request, error)
        request._exchange.failure = exc
        return answer

    async def _on_error(self, request: Request, exc: Exception) -> Any:
        """As ``_answer_error``; what has no handler becomes a 500."""
        try:
            return await self._answer_error(request, exc)
        except Exception as error:
            if request._exchange.disconnected and caused_by_leaving(error):
                raise
            return await self._answer_server_error(request, error)

    async def _answer_socket_error(self, websocket: WebSocket, exc: Exception) -> bool:
        """Let a handler end the socket; False if there is none."""
        return await self._handlers.answer_socket(websocket, exc)

    async def _on_socket_error(self, websocket: WebSocket, exc: Exception) -> bool:
        """As above; what has no handler closes an open socket with 1011, and is to be raised."""
        try:
            answered, error = await self._answer_socket_error(websocket, exc), exc
        except Exception as later:
            answered, error = False, later
        if not answered and websocket.application_state is WebSocketState.CONNECTED:
            # RFC 6455 section 7.4.1: "an unexpected condition". uvicorn, left alone, says nothing.
            await websocket.close(1011)
        if error is not exc:
            raise error
        return answered

    # -- ASGI -------------------------------------------------------------------------------------

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self
        http = self._http
        if http is None:
            http = self._freeze().http
        kind = scope["type"]
        if kind == "http":
            if self._on_ending:
                await self._observed(http, scope, receive, send, self._answers_errors)
                return
            request = open_request(scope, receive, send)
            work = conduct(http, request, request, scope, self._answers_errors)
            if running_loop() is None:
                await self._workload.carry_whole(work, request)
                return
            # As drive does, without its coroutine (0.15 µs).
            steps = work.__await__()
            for trap in steps:
                await self._workload.carry(steps, trap, request)
                break
        elif kind == "websocket":
            handler = self._freeze().websocket
            await self._serve_socket(handler, scope, receive, send, self._on_socket_error)
        else:
            await self._freeze().other(scope, receive, send)

    async def _serve_within(
        self, stack: Stack, scope: Scope, receive: Receive, send: Send, on_error: OnError
    ) -> None:
        """Serve a stack that this app is the inside of: middleware around it."""
        if scope["type"] == "http":
            if self._on_ending:
                await self._observed(stack.http, scope, receive, send, on_error)
                return
            request = open_request(scope, receive, send)
            work = conduct(stack.http, request, request, scope, on_error)
            await self._workload.carry_whole(work, request)
        elif scope["type"] == "websocket":
            await self._serve_socket(stack.websocket, scope, receive, send, answer_socket_error)
        else:
            await stack.other(scope, receive, send)

    async def _observed(
        self, http: Handler, scope: Scope, receive: Receive, send: Send, on_error: OnError
    ) -> None:
        from hesper._observing import Witness, ending_of, observe  # for those who want to know

        witness = Witness(send)
        request = open_request(scope, receive, witness)
        work = conduct(http, request, request, scope, on_error)
        await observe(
            self._on_ending,
            scope,
            witness,
            self._workload.carry_whole(work, request),
            lambda error: ending_of(request._shared, witness, error),
        )

    async def _serve_socket(
        self,
        handler: SocketHandler,
        scope: Scope,
        receive: Receive,
        send: Send,
        on_error: Callable[[WebSocket, Exception], Awaitable[bool]],
    ) -> None:
        def work(websocket: WebSocket) -> Awaitable[None]:
            exchange = websocket._exchange
            conducted = conduct_socket(handler, websocket, exchange, on_error)
            return self._workload.carry_socket(conducted, exchange)

        if not self._on_ending:
            await work(WebSocket(scope, receive, send))
            return
        from hesper._observing import Witness, observe, socket_ending_of

        witness = Witness(send)
        websocket = WebSocket(scope, receive, witness)
        await observe(
            self._on_ending,
            scope,
            witness,
            work(websocket),
            lambda error: socket_ending_of(websocket._exchange, error),
        )

    # -- building ---------------------------------------------------------------------------------

    @property
    def routes(self) -> list[BaseRoute]:
        """The router's routes."""
        return self.router.routes

    def url_path_for(self, name: str, /, **path_params: Any) -> URLPath:
        """The path of the route ``name``.

        Raises:
            NoMatchFound: no route has this name and takes exactly these parameters.
        """
        return self.router.url_path_for(name, **path_params)

    def mount(self, path: str, app: ASGIApp, name: str | None = None) -> None:
        """Add a ``Mount``."""
        self.router.mount(path, app=app, name=name)

    def host(self, host: str, app: ASGIApp, name: str | None = None) -> None:
        """Add a ``Host``."""
        self.router.host(host, app=app, name=name)

    def add_route(
        self,
        path: str,
        route: Callable[..., Any],
        methods: Collection[str] | None = None,
        name: str | None = None,
        include_in_schema: bool = True,
    ) -> None:
        """Add a ``Route``."""
        self.router.add_route(path, route, methods, name, include_in_schema)

    def add_websocket_route(
        self, path: str, route: Callable[..., Any], name: str | None = None
    ) -> None:
        """Add a ``WebSocketRoute``."""
        self.router.add_websocket_route(path, route, name)

    def add_middleware(self, middleware_class: Any, *args: Any, **kwargs: Any) -> None:
        """Add a middleware, outside of those that are there.

        Raises:
            UsageError: it is none, or the application has begun to serve.
        """
        self._must_not_have_started("add_middleware")
        self.user_middleware[:0] = check_middleware([Middleware(middleware_class, *args, **kwargs)])

    def add_exception_handler(
        self, exc_class_or_status_code: int | type[Exception], handler: ExceptionHandler
    ) -> None:
        """Add, or replace, an exception handler.

        Raises:
            UsageError: the application has begun to serve.
        """
        self._must_not_have_started("add_exception_handler")
        self.exception_handlers[exc_class_or_status_code] = handler

    def _must_not_have_started(self, name: str) -> None:
        if self.middleware_stack is not None:
            raise UsageError(
                f"{name} was called after the application had started: the stack is folded once. "
                "Call it before the first request, or give it to Hesper(...)."
            )
