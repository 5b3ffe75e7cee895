"""E18: exceptions arrive as the same object with the same chain through any number of middlewares; an
``ExceptionGroup`` is one only if the app raised one. ``HTTPException`` and handled exceptions raised
in a middleware are answered by the handlers; the 500 response passes through the user's
middleware."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import pytest
import starlette.applications
import starlette.routing

from hesper.applications import Hesper
from hesper.exceptions import HTTPException
from hesper.middleware import Middleware
from hesper.requests import Request
from hesper.responses import PlainTextResponse, Response, StreamingResponse
from hesper.routing import Mount, Route, Router
from hesper.testing import Dialect, ScriptedServer
from hesper.types import ASGIApp, Receive, Scope, Send
from tests.contract.apps import (
    CallNext,
    Dispatch,
    PassOn,
    Recorder,
    assert_quiet,
    hesper,
    mounted,
    over,
    pass_on,
)

every_depth = over("depth", [0, 1, 4, 8])


class Custom(Exception):
    """An exception of the user's."""


def chained(error: BaseException) -> BaseException:
    """An error with a cause, and a context that has one of its own."""
    try:
        try:
            try:
                raise KeyError("the context's context")
            except KeyError:
                raise IndexError("the context")
        except IndexError:
            raise error from OSError("the cause")
    except BaseException as exc:
        return exc


def chain(error: BaseException | None) -> list[Any]:
    """The identities of an error and all that hangs on it."""
    if error is None:
        return []
    links = [error.__cause__, error.__context__, error.__suppress_context__]
    return [id(error), *map(id, links), *chain(error.__cause__), *chain(error.__context__)]


Place = Callable[[BaseException, list[Dispatch]], ASGIApp]


def in_task(error: BaseException, layers: list[Dispatch]) -> ASGIApp:
    async def endpoint(request: Request) -> Response:
        await anyio.lowlevel.checkpoint()
        raise error

    return hesper(endpoint, *layers)


def in_thread(error: BaseException, layers: list[Dispatch]) -> ASGIApp:
    def endpoint(request: Request) -> Response:
        raise error

    return hesper(endpoint, *layers, functions=True)


def in_foreign_app(error: BaseException, layers: list[Dispatch]) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await anyio.lowlevel.checkpoint()
        raise error

    return mounted(app, *layers)


def behind_foreign_middleware(error: BaseException, layers: list[Dispatch]) -> ASGIApp:
    async def endpoint(request: Request) -> Response:
        raise error

    return Hesper(routes=[Route("/", endpoint)], middleware=[*layers, Middleware(PassOn), pass_on])


def in_starlette(error: BaseException, layers: list[Dispatch]) -> ASGIApp:
    async def endpoint(request: Any) -> Any:
        raise error

    routes = [starlette.routing.Route("/", endpoint)]
    app = starlette.routing.Router(routes=routes)
    return mounted(app, *layers)


every_place = over(
    "place", [in_task, in_thread, in_foreign_app, behind_foreign_middleware, in_starlette]
)

ERRORS: dict[str, Callable[[], BaseException]] = {
    "ValueError": lambda: ValueError("plain"),
    "OSError": lambda: OSError("not the client's leaving"),
    "RuntimeError": lambda: RuntimeError("No response returned."),
    "ExceptionGroup": lambda: ExceptionGroup("the app's own", [ValueError("one")]),
    "nested group": lambda: ExceptionGroup("one", [ExceptionGroup("two", [ValueError("three")])]),
}


@every_place
@every_depth
@over("kind", ERRORS)
async def test_e18_exceptions_arrive_as_the_same_object_with_the_same_chain(
    place: Place, depth: int, kind: str
) -> None:
    """Exceptions arrive as the same object with the same chain through any number of middlewares; an
    ``ExceptionGroup`` is one only if the app raised one."""
    error = chained(ERRORS[kind]())
    before = chain(error)
    recorders = [Recorder() for _ in range(depth)]
    result = await ScriptedServer(place(error, list(recorders))).get().run()
    assert result.raised is error
    assert chain(error) == before
    for recorder in recorders:
        assert len(recorder.raised) == 1
        assert recorder.raised[0] is error
    assert (result.status, result.complete) == (500, True)


@every_place
async def test_e18_exceptions_arrive_as_the_same_object_on_every_server(
    dialect: Dialect, place: Place
) -> None:
    """Exceptions arrive as the same object, whatever the server."""
    error = chained(ValueError("plain"))
    before = chain(error)
    recorder = Recorder()
    result = await ScriptedServer(place(error, [recorder, pass_on]), dialect).get().run()
    assert result.raised is error
    assert [id(exc) for exc in recorder.raised] == [id(error)]
    assert chain(error) == before


@every_depth
async def test_e18_an_exception_of_a_body_arrives_as_the_same_object(
    dialect: Dialect, depth: int
) -> None:
    """Exceptions arrive as the same object with the same chain, those of a body too; an
    ``ExceptionGroup`` is one only if the app raised one."""
    for kind in ERRORS:
        error = chained(ERRORS[kind]())
        before = chain(error)

        async def parts(error: BaseException = error) -> AsyncIterator[str]:
            yield "half"
            raise error

        async def endpoint(request: Request, parts: Any = parts) -> Response:
            return StreamingResponse(parts())

        app = hesper(endpoint, *[pass_on] * depth)
        result = await ScriptedServer(app, dialect).get().run()
        assert result.raised is error
        assert chain(error) == before


@every_place
async def test_e18_a_middleware_can_catch_what_the_endpoint_raised(
    dialect: Dialect, place: Place
) -> None:
    """Exceptions arrive as the same object: a middleware that answers it has ended it, nothing is
    raised any more."""

    async def catching(request: Request, call_next: CallNext) -> Response:
        try:
            return await call_next(request)
        except Custom:
            return PlainTextResponse("caught", 418)

    app = place(Custom(), [pass_on, catching, pass_on])
    result = await ScriptedServer(app, dialect).get().run()
    assert_quiet(result)
    assert (result.status, result.body) == (418, b"caught")


@every_depth
async def test_e18_an_exception_raised_anew_keeps_its_chain(depth: int) -> None:
    """... with the same chain: a middleware's ``raise ... from exc`` hangs on the very object."""
    error = ValueError("the endpoint's")

    async def translating(request: Request, call_next: CallNext) -> Response:
        try:
            return await call_next(request)
        except ValueError as exc:
            raise Custom("translated") from exc

    app = in_task(error, [*[pass_on] * depth, translating, *[pass_on] * depth])
    result = await ScriptedServer(app).get().run()
    assert isinstance(result.raised, Custom)
    assert result.raised.__cause__ is error
    assert error.__cause__ is None


# What a middleware raises is answered by the handlers.


async def custom_handler(request: Request, exc: Exception) -> Response:
    return PlainTextResponse(f"handled {type(exc).__name__}", 409)


async def error_handler(request: Request, exc: Exception) -> Response:
    return PlainTextResponse("the 500 page", 500)


async def teapot_handler(request: Request, exc: Exception) -> Response:
    return PlainTextResponse("the 418 page", 418)


HANDLERS = {Custom: custom_handler, 418: teapot_handler}


def raising(error: Exception, *, after: bool) -> Dispatch:
    async def dispatch(request: Request, call_next: CallNext) -> Response:
        if after:
            await call_next(request)
        raise error

    return dispatch


async def header(request: Request, call_next: CallNext) -> Response:
    """A middleware that adds a header to every response."""
    response = await call_next(request)
    response.headers["x-header"] = "there"
    return response


async def whole(request: Request) -> Response:
    return PlainTextResponse("whole")


def at_app(layer: Dispatch) -> ASGIApp:
    return Hesper(routes=[Route("/", whole)], middleware=[layer], exception_handlers=HANDLERS)


def at_app_inside_of_others(layer: Dispatch) -> ASGIApp:
    middleware: list[Any] = [pass_on, header, layer, pass_on]
    return Hesper(routes=[Route("/", whole)], middleware=middleware, exception_handlers=HANDLERS)


def with_foreign_ones(layer: Dispatch) -> ASGIApp:
    middleware: list[Any] = [header, Middleware(PassOn), layer, Middleware(PassOn)]
    return Hesper(routes=[Route("/", whole)], middleware=middleware, exception_handlers=HANDLERS)


def at_router(layer: Dispatch) -> ASGIApp:
    router = Router(routes=[Route("/", whole)], middleware=[layer])
    return Hesper(routes=[Mount("/", router)], middleware=[header], exception_handlers=HANDLERS)


def at_mount(layer: Dispatch) -> ASGIApp:
    mount = Mount("/", routes=[Route("/", whole)], middleware=[layer])
    return Hesper(routes=[mount], middleware=[header], exception_handlers=HANDLERS)


def at_route(layer: Dispatch) -> ASGIApp:
    route = Route("/", whole, middleware=[layer])
    return Hesper(routes=[route], middleware=[header], exception_handlers=HANDLERS)


@over(
    "level",
    [at_app, at_app_inside_of_others, with_foreign_ones, at_router, at_mount, at_route],
)
@over("after", [False, True])
async def test_e18_what_a_middleware_raises_is_answered_by_the_handlers(
    dialect: Dialect, level: Callable[[Dispatch], ASGIApp], after: bool
) -> None:
    """``HTTPException`` and handled exceptions raised in a middleware are answered by the handlers;
    their answers pass through the middlewares outside of it."""
    for error, status, body in (
        (HTTPException(403, "no"), 403, b"no"),
        (HTTPException(418), 418, b"the 418 page"),
        (Custom(), 409, b"handled Custom"),
    ):
        app = level(raising(error, after=after))
        result = await ScriptedServer(app, dialect).get().run()
        assert_quiet(result)
        assert (result.status, result.body, result.complete) == (status, body, True)
        if level is not at_app:
            assert result.headers["x-header"] == "there"


@every_depth
async def test_e18_what_an_endpoint_raises_is_answered_inside_of_the_middlewares(
    dialect: Dialect, depth: int
) -> None:
    """... are answered by the handlers: before the middlewares, which see a response."""
    recorder = Recorder()

    async def endpoint(request: Request) -> Response:
        raise Custom

    app = hesper(endpoint, recorder, *[pass_on] * depth, handlers=HANDLERS)
    result = await ScriptedServer(app, dialect).get().run()
    assert_quiet(result)
    assert [response.status_code for response in recorder.responses] == [409]


@over("key", [500, Exception])
@over("raiser", ["endpoint", "thread", "foreign app", "middleware", "body of a request"])
@every_depth
async def test_e18_the_500_response_passes_through_the_users_middleware(
    key: Any, raiser: str, depth: int
) -> None:
    """The 500 response passes through the user's middleware; the error is raised into the server
    afterwards."""
    error = ValueError("unhandled")

    async def endpoint(request: Request) -> Response:
        raise error

    def in_a_thread(request: Request) -> Response:
        raise error

    async def foreign(scope: Scope, receive: Receive, send: Send) -> None:
        raise error

    layers: list[Any] = [header, *[pass_on] * depth]
    if raiser == "middleware":
        layers += [raising(error, after=True)]
    route: Any = Route("/", {"thread": in_a_thread, "middleware": whole}.get(raiser, endpoint))
    if raiser == "foreign app":
        route = Mount("/", foreign)
    app = Hesper(routes=[route], middleware=layers, exception_handlers={key: error_handler})
    result = await ScriptedServer(app).get().run()
    assert (result.status, result.body, result.complete) == (500, b"the 500 page", True)
    assert result.headers["x-header"] == "there"
    assert result.raised is error
    assert result.violations == []


async def test_e18_the_500_response_passes_through_middleware_on_every_server(
    dialect: Dialect,
) -> None:
    """The 500 response passes through the user's middleware, also a foreign one."""
    error = ValueError("unhandled")

    async def endpoint(request: Request) -> Response:
        raise error

    class ForeignHeader(PassOn):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            async def with_header(message: Any) -> None:
                if message["type"] == "http.response.start":
                    message = {**message, "headers": [*message["headers"], (b"x-f", b"there")]}
                await send(message)

            await self.app(scope, receive, with_header)

    app = Hesper(
        routes=[Route("/", endpoint)],
        middleware=[header, Middleware(ForeignHeader), pass_on],
        exception_handlers={500: error_handler},
    )
    result = await ScriptedServer(app, dialect).get().run()
    assert (result.status, result.body, result.complete) == (500, b"the 500 page", True)
    assert (result.headers["x-header"], result.headers["x-f"]) == ("there", "there")
    assert result.raised is error


async def test_e18_a_group_that_the_endpoints_task_group_raised_arrives(dialect: Dialect) -> None:
    """An ``ExceptionGroup`` is one only if the app raised one: its own task group does."""
    error = ValueError("in a task")
    recorder = Recorder()

    async def fail() -> None:
        raise error

    async def endpoint(request: Request) -> Response:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fail)
        return PlainTextResponse("never")

    app = hesper(endpoint, recorder, pass_on)
    result = await ScriptedServer(app, dialect).get().run()
    assert isinstance(result.raised, ExceptionGroup)
    assert result.raised.exceptions == (error,)
    assert recorder.raised == [result.raised]


@pytest.mark.parametrize("depth", [0, 1, 4])
async def test_e18_base_exceptions_pass(depth: int) -> None:
    """Exceptions arrive as the same object: those that are no ``Exception`` as well."""

    class Fatal(BaseException):
        pass

    error = Fatal()
    for place in (in_task, in_foreign_app):
        result = await ScriptedServer(place(error, [pass_on] * depth)).get().run()
        assert result.raised is error
        assert result.messages == []
