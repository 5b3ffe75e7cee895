"""``BaseHTTPMiddleware``: a class around ``dispatch``, inside of apps and alone."""

from typing import Any

import pytest
import starlette.middleware.base

import hesper.middleware.base
from hesper.applications import Hesper
from hesper.exceptions import UsageError
from hesper.middleware import Middleware
from hesper.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from hesper.requests import Request
from hesper.responses import PlainTextResponse, Response
from hesper.routing import Route, Router, WebSocketRoute
from hesper.types import Receive, Scope, Send
from hesper.websockets import WebSocket

from .asking import ask, connect, text_of


async def show(request: Request) -> Response:
    return PlainTextResponse("shown")


async def greet(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text("hello")


async def raw_app(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("raw")(scope, receive, send)


class Marking(BaseHTTPMiddleware):
    """Sets a header, as its users do."""

    def __init__(self, app: Any, value: str = "yes") -> None:
        super().__init__(app)
        self.value = value

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        response.headers["x-mark"] = self.value
        return response


async def mark(request: Request, call_next: RequestResponseEndpoint) -> Response:
    response = await call_next(request)
    response.headers["x-mark"] = "function"
    return response


async def test_it_stands_in_an_app_with_its_arguments() -> None:
    app = Hesper(routes=[Route("/", show)], middleware=[Middleware(Marking, value="given")])
    assert (await ask(app)).headers["x-mark"] == "given"


async def test_alone_it_stands_around_any_app() -> None:
    for inner in (raw_app, Route("/", show), Router([Route("/", show)]), PlainTextResponse("x")):
        assert (await ask(Marking(inner))).headers["x-mark"] == "yes"
        assert (await ask(BaseHTTPMiddleware(inner, dispatch=mark))).headers["x-mark"] == "function"


async def test_other_scopes_pass() -> None:
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    async def never(*args: Any) -> Any:
        raise AssertionError

    await Marking(Marking(app))({"type": "lifespan"}, never, never)
    assert seen == ["lifespan"]
    assert (await connect(Marking(WebSocketRoute("/", greet)))).frames == ["hello"]


async def test_a_class_without_dispatch_is_told() -> None:
    class Half(BaseHTTPMiddleware):
        pass

    raised = (await ask(Half(raw_app))).raised
    assert isinstance(raised, UsageError)
    assert str(raised) == (
        "Half has no dispatch: write `async def dispatch(self, request, call_next)` in it."
    )


async def test_a_sync_dispatch_is_told() -> None:
    def dispatch(request: Request, call_next: RequestResponseEndpoint) -> Any: ...

    with pytest.raises(UsageError) as caught:
        BaseHTTPMiddleware(raw_app, dispatch=dispatch)
    assert str(caught.value) == (
        "Expected `async def test_a_sync_dispatch_is_told.<locals>.dispatch(request, call_next)`, "
        f"got {dispatch!r}, which is not async: a middleware awaits call_next. Write `async def`."
    )


async def test_a_subclass_with_a_call_of_its_own_is_called() -> None:
    class Choosy(Marking):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            if scope["path"] == "/plain":
                await self.app(scope, receive, send)
            else:
                await super().__call__(scope, receive, send)

    async def outer(request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        response.headers["x-outer"] = "1"
        return response

    routes = [Route("/", show), Route("/plain", show)]
    for app in (
        Hesper(routes=routes, middleware=[outer, Middleware(Choosy)]),
        BaseHTTPMiddleware(Choosy(Router(routes)), dispatch=outer),
    ):
        marked, plain = await ask(app), await ask(app, "/plain")
        assert (marked.headers.get("x-mark"), marked.headers["x-outer"]) == ("yes", "1")
        assert (plain.headers.get("x-mark"), plain.headers["x-outer"]) == (None, "1")


async def test_it_may_be_mounted_and_nested() -> None:
    async def keep(request: Request, call_next: RequestResponseEndpoint) -> Response:
        return await call_next(request)

    app: Any = Router([Route("/", show)])
    for _ in range(5):
        app = BaseHTTPMiddleware(app, dispatch=keep)
    assert await text_of(app) == "shown"


def test_the_known_names_are_there() -> None:
    for name in (
        "BaseHTTPMiddleware",
        "RequestResponseEndpoint",
        "DispatchFunction",
        "BodyStreamGenerator",
        "AsyncContentStream",
    ):
        assert hasattr(starlette.middleware.base, name)
        assert hasattr(hesper.middleware.base, name)


def test_dispatch_func_is_what_is_called() -> None:
    middleware = Marking(raw_app)
    assert middleware.dispatch_func == middleware.dispatch
    assert BaseHTTPMiddleware(raw_app, dispatch=mark).dispatch_func is mark
    assert middleware.app is raw_app


class Counting(BaseHTTPMiddleware):
    """Looks at WebSockets too."""

    def __init__(self, app: Any) -> None:
        super().__init__(app)
        self.log: list[str] = []

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        self.log.append("request")
        return await call_next(request)

    async def dispatch_websocket(self, websocket: WebSocket, call_next: Any) -> None:
        self.log.append("begins")
        try:
            await super().dispatch_websocket(websocket, call_next)
        finally:
            self.log.append("ends")


async def test_one_that_overrides_dispatch_websocket_stands_around_websockets() -> None:
    app = Counting(Router([WebSocketRoute("/", greet), Route("/", show)]))
    assert (await connect(app)).accepted
    assert await text_of(app) == "shown"
    assert app.log == ["begins", "ends", "request"]


async def test_around_a_foreign_app_it_stands_around_its_websockets() -> None:
    async def foreign(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.close", "code": 3001})

    app = Counting(foreign)
    result = await connect(app)
    assert not result.accepted
    assert app.log == ["begins", "ends"]
