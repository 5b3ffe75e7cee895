"""``Hesper``: who answers which error, what may be changed when, and how apps nest."""

import contextvars
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
import starlette.applications

from hesper.applications import Hesper
from hesper.exceptions import (
    ClientDisconnect,
    HTTPException,
    UsageError,
    WebSocketException,
)
from hesper.middleware import Middleware
from hesper.middleware.base import BaseHTTPMiddleware
from hesper.requests import Request
from hesper.responses import PlainTextResponse, Response, StreamingResponse
from hesper.routing import Mount, NoMatchFound, Route, Router, WebSocketRoute
from hesper.testing import LifespanFailed, ScriptedServer
from hesper.types import ASGIApp, Receive, Scope, Send
from hesper.websockets import WebSocket

from .asking import ask, connect, script, text_of

DEPTHS = [0, 1, 4]


async def show(request: Request) -> Response:
    return PlainTextResponse("shown")


async def pass_on(request: Request, call_next: Any) -> Response:
    response: Response = await call_next(request)
    return response


class Statuses:
    """A middleware that writes down what it sees."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    async def __call__(self, request: Request, call_next: Any) -> Response:
        try:
            response: Response = await call_next(request)
        except Exception as exc:
            self.seen.append(type(exc))
            raise
        self.seen.append(response.status_code)
        return response


def raising(exc: Exception) -> Any:
    async def endpoint(request: Request) -> Response:
        raise exc

    return endpoint


def handler(status: int, text: str = "") -> Any:
    async def handle(request: Request, exc: Exception) -> Response:
        return PlainTextResponse(f"{text}{type(exc).__name__}", status)

    return handle


class Teapot(LookupError):
    """An error of the tests' own, with a known base."""


# Handlers: by class, by MRO, by status.


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize(
    ("exc", "keys", "status"),
    [
        (Teapot(), [Teapot, LookupError], 400),
        (Teapot(), [LookupError], 400),
        (HTTPException(404), [404, HTTPException], 400),
        (HTTPException(404), [HTTPException, 404], 401),
        (HTTPException(403), [404, HTTPException], 401),
        (HTTPException(404), [405], 404),
        (HTTPException(599), [], 599),
    ],
)
async def test_the_nearest_handler_answers(
    depth: int, exc: Exception, keys: list[Any], status: int
) -> None:
    statuses = Statuses()
    handlers = {key: handler(400 + index) for index, key in enumerate(keys)}
    app = Hesper(
        routes=[Route("/", raising(exc))],
        middleware=[statuses] * depth,
        exception_handlers=handlers,
    )
    result = await ask(app)
    assert (result.status, result.raised) == (status, None)
    assert statuses.seen == [status] * depth


async def test_a_sync_handler_runs_in_a_thread() -> None:
    threads: list[threading.Thread] = []

    def handle(request: Request, exc: Exception) -> Response:
        threads.append(threading.current_thread())
        return PlainTextResponse("sync", 418)

    app = Hesper(routes=[Route("/", raising(Teapot()))], exception_handlers={Teapot: handle})
    assert (await ask(app)).text == "sync"
    assert threads[0] is not threading.current_thread()


@pytest.mark.parametrize("position", [0, 1, 2])
async def test_an_error_raised_in_a_middleware_is_answered_too(position: int) -> None:
    statuses = Statuses()

    async def failing(request: Request, call_next: Any) -> Response:
        await call_next(request)
        raise Teapot

    for entry in (failing, Middleware(BaseHTTPMiddleware, dispatch=failing)):
        middleware: list[Any] = [statuses, statuses]
        middleware.insert(position, entry)
        app = Hesper(
            routes=[Route("/", show)],
            middleware=middleware,
            exception_handlers={Teapot: handler(418)},
        )
        statuses.seen.clear()
        result = await ask(app)
        assert (result.status, result.raised) == (418, None)
        assert statuses.seen == [200] * (2 - position) + [418] * position


async def test_an_http_exception_of_a_middleware_has_the_default_answer() -> None:
    async def gate(request: Request, call_next: Any) -> Response:
        raise HTTPException(401, headers={"www-authenticate": "Basic"})

    result = await ask(Hesper(middleware=[pass_on, gate]))
    assert (result.status, result.text, result.raised) == (401, "Unauthorized", None)
    assert result.headers["www-authenticate"] == "Basic"


async def test_an_error_of_a_handler_goes_on_as_an_error() -> None:
    async def broken(request: Request, exc: Exception) -> Response:
        raise KeyError("in the handler") from exc

    statuses = Statuses()
    app = Hesper(
        routes=[Route("/", raising(Teapot()))],
        middleware=[statuses],
        exception_handlers={Teapot: broken},
    )
    result = await ask(app)
    assert (result.status, type(result.raised)) == (500, KeyError)
    assert statuses.seen == [KeyError]
    app = Hesper(
        routes=[Route("/", raising(Teapot()))],
        middleware=[statuses],
        exception_handlers={Teapot: broken, KeyError: handler(409)},
    )
    assert (await ask(app)).status == 409


# 500.


@pytest.mark.parametrize("depth", DEPTHS)
async def test_an_error_without_a_handler_is_a_500_and_raised_afterwards(depth: int) -> None:
    error, statuses = Teapot(), Statuses()
    app = Hesper(routes=[Route("/", raising(error))], middleware=[statuses] * depth)
    result = await ask(app)
    assert (result.status, result.text) == (500, "Internal Server Error")
    assert result.raised is error
    assert statuses.seen == [Teapot] * depth


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("key", [500, Exception])
async def test_the_500_of_a_handler_passes_through_the_middleware(key: Any, depth: int) -> None:
    error, statuses = Teapot(), Statuses()
    app = Hesper(
        routes=[Route("/", raising(error))],
        middleware=[statuses] * depth,
        exception_handlers={key: handler(503, "sorry: ")},
    )
    result = await ask(app)
    assert (result.status, result.text) == (503, "sorry: Teapot")
    assert result.raised is error
    assert statuses.seen == [503] * depth


async def test_a_500_handler_that_fails_is_asked_once_and_there_is_an_answer() -> None:
    asked: list[Exception] = []

    async def broken(request: Request, exc: Exception) -> Response:
        asked.append(exc)
        raise KeyError("in the handler")

    async def none(request: Request, exc: Exception) -> None:
        asked.append(exc)

    for function, kind in ((broken, KeyError), (none, UsageError)):
        for depth in DEPTHS:
            asked.clear()
            app = Hesper(
                routes=[Route("/", raising(Teapot()))],
                middleware=[pass_on] * depth,
                exception_handlers={500: function},  # type: ignore[dict-item]
            )
            result = await ask(app)
            assert (result.status, result.text) == (500, "Internal Server Error")
            assert isinstance(result.raised, kind)
            assert len(asked) == 1


async def test_an_http_exception_500_is_answered_as_one() -> None:
    app = Hesper(routes=[Route("/", raising(HTTPException(500, "planned")))])
    result = await ask(app)
    assert (result.status, result.text, result.raised) == (500, "planned", None)


async def test_an_error_after_the_start_is_only_raised() -> None:
    async def numbers() -> AsyncIterator[bytes]:
        yield b"1"
        raise Teapot

    async def endpoint(request: Request) -> Response:
        return StreamingResponse(numbers())

    asked: list[Exception] = []

    async def handle(request: Request, exc: Exception) -> Response:
        asked.append(exc)
        return Response()

    for depth in DEPTHS:
        app = Hesper(
            routes=[Route("/", endpoint)],
            middleware=[pass_on] * depth,
            exception_handlers={Teapot: handle, 500: handle},
        )
        result = await ask(app)
        assert (result.status, result.body, result.complete) == (200, b"1", False)
        assert isinstance(result.raised, Teapot)
    assert asked == []


async def test_debug_shows_the_traceback_and_not_the_handler() -> None:
    for depth in DEPTHS:
        app = Hesper(
            debug=True,
            routes=[Route("/", raising(Teapot("for the page")))],
            middleware=[pass_on] * depth,
            exception_handlers={500: handler(503)},
        )
        result = await ask(app)
        assert result.status == 500
        assert "Teapot: for the page" in result.text
        assert result.headers["content-type"] == "text/plain; charset=utf-8"
        assert isinstance(result.raised, Teapot)
        html = await ask(app, headers={"accept": "text/html"})
        assert html.text.lstrip().startswith("<")


async def test_debug_answers_handled_errors_as_ever() -> None:
    app = Hesper(debug=True, exception_handlers={404: handler(410)})
    assert (await ask(app)).status == 410


# A client that leaves is not an error.


async def test_leaving_reaches_no_handler_but_its_own() -> None:
    asked: list[str] = []

    def note(name: str) -> Any:
        async def handle(request: Request, exc: Exception) -> Response:
            asked.append(name)
            return Response()

        return handle

    async def endpoint(request: Request) -> Response:
        await request.body()
        return Response()

    async def translating(request: Request) -> Response:
        try:
            return await endpoint(request)
        except ClientDisconnect as exc:
            raise RuntimeError("upload failed") from exc

    handlers = {OSError: note("OSError"), RuntimeError: note("RuntimeError"), 500: note("500")}
    for depth in DEPTHS:
        for function in (endpoint, translating):
            app = Hesper(
                routes=[Route("/", function, methods=["POST"])],
                middleware=[pass_on] * depth,
                exception_handlers=handlers,
            )
            result = await script(app, "/", "POST", body=b"12").leave_before_body().run()
            assert (result.raised, result.sent, asked) == (None, [], [])
    for depth in DEPTHS:
        asked.clear()
        app = Hesper(
            routes=[Route("/", endpoint, methods=["POST"])],
            middleware=[pass_on] * depth,
            exception_handlers={ClientDisconnect: note("own")},
        )
        result = await script(app, "/", "POST", body=b"12").leave_before_body().run()
        assert (result.raised, result.sent, asked) == (None, [], ["own"])


# WebSockets.


def socket_app(exc: Exception, *, accept: bool, handlers: Any = None, depth: int = 0) -> Hesper:
    async def socket(websocket: WebSocket) -> None:
        if accept:
            await websocket.accept()
        raise exc

    route = WebSocketRoute("/", socket)
    below: Hesper | None = None
    for _ in range(depth):
        below = Hesper(routes=[route if below is None else Mount("/", app=below)])
    routes = [route] if below is None else [Mount("/", app=below)]
    return Hesper(routes=routes, exception_handlers=handlers)


@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize("accept", [True, False])
async def test_a_websocket_exception_closes_with_its_code(accept: bool, depth: int) -> None:
    app = socket_app(WebSocketException(4001, "no"), accept=accept, depth=depth)
    result = await connect(app)
    if accept:
        assert (result.close_code, result.close_reason) == (4001, "no")
    else:
        assert result.status == 403
    assert result.raised is None


@pytest.mark.parametrize("depth", [0, 1, 2])
async def test_an_http_exception_refuses_the_handshake(depth: int) -> None:
    app = socket_app(HTTPException(401), accept=False, depth=depth)
    result = await connect(app)
    assert (result.status, result.text, result.raised) == (401, "Unauthorized", None)
    result = await connect(app, denying=False)
    assert (result.status, result.raised) == (403, None)


@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize("exc", [Teapot(), HTTPException(401)])
async def test_another_error_closes_with_1011_and_is_raised(depth: int, exc: Exception) -> None:
    result = await connect(socket_app(exc, accept=True, depth=depth))
    assert result.close_code == 1011
    assert result.raised is exc


async def test_another_error_before_the_handshake_is_left_to_the_server() -> None:
    error = Teapot()
    result = await connect(socket_app(error, accept=False))
    assert (result.raised, result.sent) == (error, [])


async def test_handlers_get_the_websocket() -> None:
    async def close(websocket: WebSocket, exc: Exception) -> None:
        await websocket.close(4000, type(exc).__name__)

    async def deny(websocket: WebSocket, exc: HTTPException) -> Response:
        return PlainTextResponse("mine", exc.status_code)

    handlers = {LookupError: close, WebSocketException: close, 402: deny}
    for exc, accept in ((Teapot(), True), (WebSocketException(3000), True)):
        result = await connect(socket_app(exc, accept=accept, handlers=handlers))
        assert (result.close_code, result.close_reason) == (4000, type(exc).__name__)
        assert result.raised is None
    result = await connect(socket_app(HTTPException(402), accept=False, handlers=handlers))
    assert (result.status, result.text, result.raised) == (402, "mine", None)


async def test_an_error_of_a_socket_handler_closes_and_is_raised() -> None:
    async def broken(websocket: WebSocket, exc: Exception) -> None:
        raise KeyError("in the handler")

    for accept in (True, False):
        app = socket_app(Teapot(), accept=accept, handlers={Teapot: broken})
        result = await connect(app)
        assert isinstance(result.raised, KeyError)
        assert result.close_code == (1011 if accept else None)


async def test_the_500_handler_is_not_for_sockets() -> None:
    asked: list[Exception] = []

    async def note(connection: Any, exc: Exception) -> None:
        asked.append(exc)

    app = socket_app(Teapot(), accept=True, handlers={500: note, Exception: note})
    result = await connect(app)
    assert (result.close_code, asked) == (1011, [])
    assert isinstance(result.raised, Teapot)


# Changing it.


async def test_it_may_be_changed_until_it_serves() -> None:
    app = Hesper()
    seen = Statuses()
    app.add_route("/a", show, ["POST"], "a", include_in_schema=False)
    app.mount("/m", Router([Route("/b", show)]), "m")
    app.host("h.org", Router([Route("/c", raising(Teapot()))]), "h")
    app.add_exception_handler(Teapot, handler(418))
    app.add_middleware(BaseHTTPMiddleware, dispatch=seen)
    app.add_middleware(pass_on)
    entries: list[Any] = app.user_middleware
    assert [entry.cls for entry in entries] == [pass_on, BaseHTTPMiddleware]

    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()

    app.add_websocket_route("/ws", socket, "ws")
    assert app.routes is app.router.routes
    assert await text_of(app, "/a", "POST") == "shown"
    assert await text_of(app, "/m/b") == "shown"
    assert (await ask(app, "/c", headers={"host": "h.org"})).status == 418
    assert (await connect(app, "/ws")).accepted
    assert app.url_path_for("a") == "/a"
    assert app.url_path_for("ws") == "/ws"
    with pytest.raises(NoMatchFound):
        app.url_path_for("nope")
    assert seen.seen == [200, 200, 418]


@pytest.mark.parametrize("method", ["add_middleware", "add_exception_handler"])
async def test_what_is_folded_once_cannot_be_changed_afterwards(method: str) -> None:
    async def first_request(app: Hesper) -> None:
        await ask(app)

    async def first_socket(app: Hesper) -> None:
        await connect(app)

    async def first_lifespan(app: Hesper) -> None:
        async with ScriptedServer(app).lifespan():
            pass

    async def first_request_below(app: Hesper) -> None:
        await ask(Hesper(routes=[Mount("/", app=app)]))

    for start in (first_request, first_socket, first_lifespan, first_request_below):
        app = Hesper()
        await start(app)
        with pytest.raises(UsageError) as caught:
            if method == "add_middleware":
                app.add_middleware(BaseHTTPMiddleware, dispatch=pass_on)
            else:
                app.add_exception_handler(404, handler(404))
        assert str(caught.value) == (
            f"{method} was called after the application had started: the stack is folded once. "
            "Call it before the first request, or give it to Hesper(...)."
        )


async def test_routes_may_be_added_at_any_time() -> None:
    app = Hesper()
    assert (await ask(app)).status == 404
    app.add_route("/", show)
    assert await text_of(app) == "shown"


async def test_what_was_mounted_may_be_changed_until_it_serves() -> None:
    inner = Hesper(routes=[Route("/", raising(Teapot()))])
    seen = Statuses()
    app = Hesper(routes=[Mount("/", app=inner)], middleware=[pass_on])
    inner.add_middleware(seen)
    inner.add_exception_handler(Teapot, handler(418))
    assert (await ask(app)).status == 418
    assert seen.seen == [418]


def test_a_mistake_in_a_handler_is_told_when_it_is_given() -> None:
    with pytest.raises(UsageError, match="Expected a status code or a subclass of Exception"):
        Hesper(exception_handlers={"404": handler(404)})


def test_a_mistake_in_a_middleware_is_told_when_it_is_added() -> None:
    with pytest.raises(UsageError, match="which does not take two arguments"):
        Hesper().add_middleware(show)


async def test_a_subclass_may_build_its_own_middleware_stack() -> None:
    class Own(Hesper):
        def build_middleware_stack(self) -> ASGIApp:
            inner = super().build_middleware_stack()

            async def app(scope: Scope, receive: Receive, send: Send) -> None:
                scope["built"] = True
                await inner(scope, receive, send)

            return app

    async def endpoint(request: Request) -> Response:
        return PlainTextResponse(str(request.scope["built"]))

    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()

    app = Own(routes=[Route("/", endpoint), WebSocketRoute("/", socket)])
    assert await text_of(app) == "True"
    assert await text_of(app) == "True"
    assert (await connect(app)).accepted
    assert await text_of(Hesper(routes=[Mount("/", app=app)])) == "True"
    async with ScriptedServer(app).lifespan():
        pass


# What the scope holds.


async def test_the_scope_names_the_app_that_a_request_is_in() -> None:
    seen: list[Any] = []

    async def endpoint(request: Request) -> Response:
        seen.append(request.app)
        return Response()

    async def watch(request: Request, call_next: Any) -> Response:
        response = await pass_on(request, call_next)
        seen.append(request.app)
        return response

    inner = Hesper(routes=[Route("/", endpoint)])
    for below in (Mount("/", app=inner), Route("/", inner)):
        outer = Hesper(routes=[below], middleware=[watch])
        await ask(outer)
        assert seen == [inner, outer]
        seen.clear()


async def test_an_error_around_an_app_below_is_answered_by_the_app_around() -> None:
    async def failing(request: Request, call_next: Any) -> Response:
        await call_next(request)
        raise Teapot

    inner = Hesper(routes=[Route("/", show)], exception_handlers={Teapot: handler(400, "in ")})
    for below in (Mount("/", app=inner), Route("/", inner)):
        outer = Hesper(
            routes=[below],
            middleware=[pass_on, failing],
            exception_handlers={Teapot: handler(401, "out ")},
        )
        assert (await ask(outer)).text == "out Teapot"


async def test_state_is_the_apps_own() -> None:
    app = Hesper()
    app.state.value = 1

    async def endpoint(request: Request) -> Response:
        return PlainTextResponse(f"{request.app.state.value}")

    app.add_route("/", endpoint)
    assert await text_of(app) == "1"


async def test_context_variables_flow_both_ways() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="")

    def sync_endpoint(request: Request) -> Response:
        text = variable.get()
        variable.set(text + " endpoint")
        return PlainTextResponse(text)

    async def endpoint(request: Request) -> Response:
        return sync_endpoint(request)

    async def watch(request: Request, call_next: Any) -> Response:
        token = variable.set("middleware")
        response = await pass_on(request, call_next)
        response.headers["x-after"] = variable.get()
        variable.reset(token)
        return response

    for function in (endpoint, sync_endpoint):
        result = await ask(Hesper(routes=[Route("/", function)], middleware=[watch]))
        assert (result.text, result.headers["x-after"]) == ("middleware", "middleware endpoint")


# Lifespan.


async def test_the_lifespan_is_given_the_app_and_its_state_reaches_requests() -> None:
    log: list[Any] = []

    @asynccontextmanager
    async def lifespan(app: Hesper) -> AsyncIterator[dict[str, Any]]:
        log.append(app)
        yield {"value": 7}
        log.append("stop")

    async def endpoint(request: Request) -> Response:
        return PlainTextResponse(str(request.state.value))

    app = Hesper(
        routes=[Route("/", endpoint)], lifespan=lifespan, middleware=[pass_on, Middleware(PassOn)]
    )
    server = ScriptedServer(app)
    async with server.lifespan():
        assert (await server.get("/").run()).text == "7"
    assert log == [app, "stop"]


class PassOn:
    """An ASGI middleware that sees the lifespan too."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


async def test_the_lifespan_of_a_mounted_app_is_given_that_app() -> None:
    log: list[Any] = []

    @asynccontextmanager
    async def lifespan(app: Hesper) -> AsyncIterator[None]:
        log.append(app)
        yield

    inner = Hesper(lifespan=lifespan)
    async with ScriptedServer(Hesper(routes=[Mount("/", app=inner)])).lifespan():
        assert log == [inner]


async def test_a_lifespan_that_fails_says_so() -> None:
    @asynccontextmanager
    async def lifespan(app: Hesper) -> AsyncIterator[None]:
        raise Teapot("at start")
        yield

    with pytest.raises(LifespanFailed, match="Teapot: at start"):
        async with ScriptedServer(Hesper(lifespan=lifespan)).lifespan():
            pass


# The known surface.


def test_the_known_names_are_there() -> None:
    known = {name for name in dir(starlette.applications.Starlette()) if not name.startswith("_")}
    assert known - {"max_body_size"} <= set(dir(Hesper()))


async def test_an_app_in_a_middleware_is_told_of_a_shutdown() -> None:
    begun = anyio.Event()

    async def endpoint(request: Request) -> Response:
        begun.set()
        await request.wait_shutting_down()
        return PlainTextResponse("told")

    inner = Hesper(routes=[Route("/", endpoint)])
    app = BaseHTTPMiddleware(inner, dispatch=pass_on)
    async with ScriptedServer(app).get("/").open() as client:
        await begun.wait()
        inner.begin_shutdown()
        assert (await client.finish()).body == b"told"


async def test_an_app_in_a_middleware_does_not_know_other_protocols() -> None:
    app = BaseHTTPMiddleware(Hesper(), dispatch=pass_on)
    with pytest.raises(UsageError, match="does not know this protocol"):
        await app({"type": "smtp"}, never, never)


async def never(*_: Any) -> Any:
    raise AssertionError("nothing is asked")


async def test_a_shutdown_begins_in_every_app_below() -> None:
    lowest = Hesper()
    middle = Router([Mount("/lowest", lowest)])
    app = Hesper(routes=[Mount("/middle", middle), Mount("/again", lowest)])
    app.begin_shutdown(0)
    assert app.shutting_down
    assert lowest.shutting_down
