"""Exceptions become answers: by status, by class, and never the client's leaving."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from hesper.exceptions import (
    ClientDisconnect,
    HTTPException,
    UsageError,
    WebSocketException,
)
from hesper.middleware.exceptions import CACHE_SIZE, ExceptionHandlers, ExceptionMiddleware
from hesper.requests import Request
from hesper.responses import JSONResponse, PlainTextResponse, Response
from hesper.testing import Result, ScriptedServer
from hesper.testing.dialects import DAPHNE, UVICORN
from hesper.types import ASGIApp, Receive, Scope, Send
from hesper.websockets import WebSocket, WebSocketDisconnect


class Boom(Exception):
    """What the apps of these tests raise."""


class Bang(Boom): ...


def request() -> Request[Any]:
    return Request({"type": "http", "method": "GET", "path": "/", "headers": []})


def named(name: str) -> Callable[[Any, Any], Response]:
    """A handler that answers with a name."""

    def handler(request: Any, exc: Exception) -> Response:
        return PlainTextResponse(name)

    return handler


one, two, three = named("1"), named("2"), named("3")


def raising(exc: Exception) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise exc

    return app


# -- which handler --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("handlers", "exc", "found"),
    [
        ({}, Boom(), None),
        ({Boom: one}, Boom(), one),
        ({Boom: one}, Bang(), one),
        ({Boom: one, Bang: two}, Bang(), two),
        ({Bang: one}, Boom(), None),
        ({404: one}, HTTPException(404), one),
        ({404: one}, Boom(), None),
        ({404: one, HTTPException: two}, HTTPException(404), one),
        ({404: one, HTTPException: two}, HTTPException(405), two),
        ({Exception: one, 500: two}, Boom(), None),
        ({OSError: one}, FileNotFoundError(), one),
    ],
)
def test_a_handler_is_found_by_status_and_then_along_the_mro(
    handlers: dict[Any, Any], exc: Exception, found: Any
) -> None:
    table = ExceptionHandlers(handlers)
    assert table.find(exc) is found
    assert table.find(exc) is found  # from the cache


@pytest.mark.parametrize(
    ("handlers", "found"),
    [
        ({}, None),
        ({500: one}, one),
        ({Exception: one}, one),
        ({Exception: one, 500: two}, two),
        ({Boom: one, 404: two}, None),
    ],
)
def test_the_handler_for_server_errors_is_set_apart(handlers: dict[Any, Any], found: Any) -> None:
    table = ExceptionHandlers(handlers)
    assert table.server_error is found
    assert table.find(ValueError()) is None
    if 500 in handlers:
        assert table.find(HTTPException(500)) not in {one, two}


@pytest.mark.parametrize("exc", [ClientDisconnect(), WebSocketDisconnect(1001)])
def test_the_clients_leaving_reaches_only_a_handler_that_asks_for_it(exc: Exception) -> None:
    broad: dict[Any, Any] = {OSError: one, Exception: two, 500: three}
    for server_errors in (True, False):
        table = ExceptionHandlers(broad, server_errors=server_errors)
        assert table.find(exc) is None
        table.add(ClientDisconnect, three)
        assert table.find(exc) is three
    assert ExceptionHandlers(broad, server_errors=False).find(OSError()) is one


def test_a_handler_for_another_base_goes_before_the_built_in_answer() -> None:
    class Invalid(HTTPException, ValueError): ...

    exc = Invalid(400)
    assert ExceptionHandlers({ValueError: one}).find(exc) is one
    assert ExceptionHandlers({ValueError: one, HTTPException: two}).find(exc) is two
    default = ExceptionHandlers({}).find(exc)
    assert default is not None
    everything: dict[Any, Any] = {Exception: one}
    assert ExceptionHandlers(everything, server_errors=False).find(exc) is default


def test_the_cache_is_bounded_and_forgets_when_a_handler_is_added() -> None:
    table = ExceptionHandlers({})
    for _ in range(CACHE_SIZE + 1):
        assert table.find(type("Made", (Boom,), {})()) is None
    assert len(table._found) == CACHE_SIZE
    assert table.find(Boom()) is None
    table.add(Boom, one)
    assert table.find(Boom()) is one


@pytest.mark.parametrize("key", ["404", None, 4.04, BaseException, KeyboardInterrupt, Boom()])
def test_a_key_that_is_neither_status_nor_exception_class_is_refused(key: Any) -> None:
    with pytest.raises(UsageError, match="Expected a status code or a subclass of Exception"):
        ExceptionHandlers({key: one})
    with pytest.raises(UsageError, match="Expected a status code"):
        ExceptionMiddleware(raising(Boom()), {key: one})


@pytest.mark.parametrize("key", [404, 500, Boom])
def test_a_handler_that_cannot_be_called_is_refused(key: Any) -> None:
    handler: Any = "my_handler"
    with pytest.raises(UsageError, match="got 'my_handler'"):
        ExceptionHandlers({key: handler})


# -- the answer to a request ----------------------------------------------------------------------


async def test_an_http_exception_is_answered_with_its_detail_and_headers() -> None:
    exc = HTTPException(401, "who are you?", {"WWW-Authenticate": "Basic"})
    response = await ExceptionHandlers({}).answer(request(), exc)
    assert (response.status_code, response.body) == (401, b"who are you?")
    assert response.headers["www-authenticate"] == "Basic"
    assert response.headers["content-type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize("status", [204, 304])
async def test_a_status_without_content_is_answered_without(status: int) -> None:
    exc = HTTPException(status, headers={"ETag": '"a"'})
    response = await ExceptionHandlers({}).answer(request(), exc)
    assert response.raw_headers == [(b"etag", b'"a"')]
    assert (response.status_code, response.body) == (status, b"")


async def test_an_exception_without_a_handler_comes_out_as_the_same_object() -> None:
    for exc in (Boom(), WebSocketException(1008)):
        with pytest.raises(type(exc)) as raised:
            await ExceptionHandlers({Exception: one}).answer(request(), exc)
        assert raised.value is exc
        assert (exc.__cause__, exc.__context__) == (None, None)


async def test_async_handlers_run_in_the_loop_and_sync_ones_in_a_thread() -> None:
    threads: list[bool] = []

    def note() -> Response:
        threads.append(threading.current_thread() is threading.main_thread())
        return Response()

    async def of_loop(request: Any, exc: Exception) -> Response:
        return note()

    def of_thread(request: Any, exc: Exception) -> Response:
        return note()

    for handler in (of_loop, of_thread, lambda request, exc: of_loop(request, exc)):
        await ExceptionHandlers({Boom: handler}).answer(request(), Boom())
    assert threads == [True, False, True]


async def test_a_handler_is_given_the_request_and_the_exception() -> None:
    given: list[object] = []

    async def handler(*args: object) -> Response:
        given.extend(args)
        return Response()

    mine, exc = request(), Boom()
    await ExceptionHandlers({Boom: handler}).answer(mine, exc)
    assert given == [mine, exc]


async def test_a_handler_may_answer_with_any_asgi_app() -> None:
    app = raising(Boom())
    assert (
        await ExceptionHandlers({Boom: lambda request, exc: app}).answer(request(), Boom()) is app
    )


@pytest.mark.parametrize("answer", [None, {"error": 1}, "text"])
async def test_a_handler_without_an_answer_is_named(answer: Any) -> None:
    async def on_boom(request: Any, exc: Exception) -> Any:
        return answer

    exc = Bang()
    with pytest.raises(UsageError) as raised:
        await ExceptionHandlers({Boom: on_boom}).answer(request(), exc)
    assert f"the exception handler {on_boom.__qualname__} for Bang" in str(raised.value)
    assert f"got {answer!r}" in str(raised.value)
    assert raised.value.__cause__ is exc


async def test_a_handler_without_a_name_is_shown() -> None:
    class Handler:
        async def __call__(self, request: Any, exc: Exception) -> None: ...

        def __repr__(self) -> str:
            return "my handler"

    with pytest.raises(UsageError, match="the exception handler my handler for Boom"):
        await ExceptionHandlers({Boom: Handler()}).answer(request(), Boom())


async def test_what_a_handler_raises_comes_out() -> None:
    later = ValueError()

    async def handler(request: Any, exc: Exception) -> Response:
        raise later

    with pytest.raises(ValueError) as raised:
        await ExceptionHandlers({Boom: handler}).answer(request(), Boom())
    assert raised.value is later


# -- the end of a socket --------------------------------------------------------------------------


async def end(
    table: ExceptionHandlers,
    exc: Exception,
    *,
    accept: bool = False,
    close: bool = False,
    denial: bool = True,
) -> tuple[bool, Result]:
    """What a table does with an exception of a socket."""
    handled: list[bool] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        websocket: WebSocket[Any] = WebSocket(scope, receive, send)
        if accept:
            await websocket.accept()
        if close:
            await websocket.close(4000)
        handled.append(await table.answer_socket(websocket, exc))

    result = await ScriptedServer(app, UVICORN if denial else DAPHNE).websocket().run()
    assert result.raised is None
    return handled[0], result


async def test_a_websocket_exception_closes_with_its_code_and_reason() -> None:
    handled, result = await end(ExceptionHandlers({}), WebSocketException(1008, "no"), accept=True)
    assert handled
    assert result.messages[-1] == {"type": "websocket.close", "code": 1008, "reason": "no"}


async def test_a_websocket_exception_before_the_handshake_refuses_it() -> None:
    handled, result = await end(ExceptionHandlers({}), WebSocketException(1008, "no"))
    assert handled
    assert result.messages == [{"type": "websocket.close", "code": 1008, "reason": "no"}]


async def test_a_websocket_exception_after_the_close_adds_nothing() -> None:
    exc = WebSocketException(1008)
    handled, result = await end(ExceptionHandlers({}), exc, accept=True, close=True)
    assert handled
    assert result.types == ["websocket.accept", "websocket.close"]
    assert result.messages[-1]["code"] == 4000


async def test_an_http_exception_refuses_the_handshake() -> None:
    handled, result = await end(ExceptionHandlers({}), HTTPException(401, "no"))
    assert handled
    assert result.types == ["websocket.http.response.start", "websocket.http.response.body"]
    assert result.messages[0]["status"] == 401
    assert result.violations == []


async def test_an_http_exception_refuses_with_403_where_the_server_can_do_no_other() -> None:
    handled, result = await end(ExceptionHandlers({}), HTTPException(401), denial=False)
    assert handled
    assert result.types == ["websocket.close"]


async def test_an_http_exception_on_an_open_socket_is_no_answer() -> None:
    handled, _ = await end(ExceptionHandlers({}), HTTPException(401), accept=True)
    assert not handled


async def test_a_handler_may_end_the_socket_itself() -> None:
    async def handler(websocket: WebSocket[Any], exc: Exception) -> None:
        await websocket.close(4001)

    handled, result = await end(ExceptionHandlers({Boom: handler}), Boom(), accept=True)
    assert handled
    assert result.messages[-1]["code"] == 4001


async def test_an_exception_without_a_handler_does_not_end_the_socket() -> None:
    handled, result = await end(ExceptionHandlers({Exception: one}), Boom(), accept=True)
    assert not handled
    assert result.types == ["websocket.accept"]


async def test_an_answer_for_a_client_that_left_is_dropped() -> None:
    handled: list[bool] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        websocket: WebSocket[Any] = WebSocket(scope, receive, send)
        await websocket.accept()
        with pytest.raises(WebSocketDisconnect):
            await websocket.receive_text()
        table = ExceptionHandlers({Boom: one})
        handled.append(await table.answer_socket(websocket, Boom()))

    await ScriptedServer(app).websocket().leave_at_message(1).run()
    assert handled == [True]


# -- the middleware -------------------------------------------------------------------------------


async def test_the_middleware_answers_for_a_foreign_app() -> None:
    app = ExceptionMiddleware(raising(Boom("why")), {Boom: lambda r, e: JSONResponse(str(e), 409)})
    result = await ScriptedServer(app).get().run()
    assert (result.status, result.body, result.violations) == (409, b'"why"', [])


async def test_the_middleware_adds_handlers() -> None:
    app = ExceptionMiddleware(raising(HTTPException(404)))
    app.add_exception_handler(404, one)
    assert (await ScriptedServer(app).get().run()).text == "1"
    with pytest.raises(UsageError, match="Expected a status code"):
        app.add_exception_handler("404", one)  # type: ignore[arg-type]


async def test_alone_the_middleware_treats_500_and_exception_as_any_other_key() -> None:
    handlers: dict[Any, Any] = {500: one, Exception: two}
    for exc, text in [(HTTPException(500), "1"), (Boom(), "2"), (HTTPException(404), "Not Found")]:
        result = await ScriptedServer(ExceptionMiddleware(raising(exc), handlers)).get().run()
        assert result.text == text


async def test_without_a_handler_the_exception_comes_out_of_the_middleware() -> None:
    error = Boom()
    result = await ScriptedServer(ExceptionMiddleware(raising(error))).get().run()
    assert result.raised is error
    assert result.messages == []


async def test_after_the_response_has_started_the_exception_comes_out_of_the_middleware() -> None:
    error = Boom()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise error

    result = await ScriptedServer(ExceptionMiddleware(app, {Boom: one})).get().run()
    assert result.raised is error
    assert result.types == ["http.response.start"]


async def test_an_app_that_raises_nothing_passes_through_the_middleware() -> None:
    app = ExceptionMiddleware(PlainTextResponse("fine"))
    assert (await ScriptedServer(app).get().run()).text == "fine"


async def test_the_middleware_passes_the_lifespan() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    server = ScriptedServer(ExceptionMiddleware(app))
    async with server.lifespan():
        pass
    assert server.lifespan_result is not None
    assert server.lifespan_result.violations == []


async def test_the_middleware_ends_sockets() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        raise WebSocketException(1008, "no")

    result = await ScriptedServer(ExceptionMiddleware(app)).websocket().run()
    assert result.raised is None
    assert result.messages[-1] == {"type": "websocket.close", "code": 1008, "reason": "no"}


async def test_an_error_of_a_socket_without_a_handler_comes_out_of_the_middleware() -> None:
    error = Boom()
    result = await ScriptedServer(ExceptionMiddleware(raising(error))).websocket().run()
    assert result.raised is error


@pytest.mark.parametrize("is_async", [True, False])
async def test_the_built_in_answers_can_be_overridden(is_async: bool) -> None:
    class Mine(ExceptionMiddleware):
        def http_exception(self, request: Request[Any], exc: HTTPException) -> Any:
            async def answer() -> Response:
                return JSONResponse({"detail": exc.detail}, exc.status_code)

            return answer() if is_async else JSONResponse({"detail": exc.detail}, exc.status_code)

        async def websocket_exception(self, websocket: Any, exc: WebSocketException) -> None:
            await websocket.close(4000)

    result = await ScriptedServer(Mine(raising(HTTPException(404)))).get().run()
    assert result.text == '{"detail":"Not Found"}'
    result = await ScriptedServer(Mine(raising(WebSocketException(1008)))).websocket().run()
    assert result.messages[0]["code"] == 4000


async def test_the_middlewares_answers_have_starlettes_names() -> None:
    app = ExceptionMiddleware(raising(Boom()), debug=True)
    response = app.http_exception(request(), HTTPException(404))
    assert (response.status_code, response.body) == (404, b"Not Found")
    assert app.debug


async def test_a_client_that_left_is_no_error_in_the_middleware() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await Request[Any](scope, receive, send).body()

    handlers: dict[Any, Any] = {Exception: one, OSError: one}
    script = ScriptedServer(ExceptionMiddleware(app, handlers)).post(body=b"a", unfinished=True)
    result = await script.leave_after_request().run()
    assert result.raised is None
    assert result.messages == []
