"""The fold: what counts as middleware, what is looked through, and what is bridged."""

import functools
from typing import Any

import pytest

from hesper._asgi.bridge import Bridge
from hesper._build import build, check_middleware
from hesper._governing import Foreign
from hesper._stack import BridgedResponse, Face, Stack, answer_failure, folds, stack_of
from hesper.applications import Hesper
from hesper.exceptions import HTTPException, UsageError, WebSocketException
from hesper.middleware import Middleware
from hesper.middleware.base import BaseHTTPMiddleware
from hesper.requests import Request
from hesper.responses import FileResponse, PlainTextResponse, Response, StreamingResponse
from hesper.routing import Mount, Route, Router, WebSocketRoute
from hesper.types import Receive, Scope, Send
from hesper.websockets import WebSocket

from .asking import ask, connect, text_of


async def show(request: Request) -> Response:
    return PlainTextResponse("shown")


async def pass_on(request: Request, call_next: Any) -> Response:
    response: Response = await call_next(request)
    return response


async def raw_app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await PlainTextResponse("raw")(scope, receive, send)
    else:
        websocket = WebSocket(scope, receive, send)
        await websocket.accept()
        await websocket.send_text("raw")
        await websocket.close(3000)


class PassOn:
    """An ASGI middleware that hands everything on, attributes included."""

    def __init__(self, app: Any) -> None:
        self.app = app

    def __getattr__(self, name: str) -> Any:
        return getattr(self.app, name)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def marked(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-passed", b"on")]
            await send(message)

        await self.app(scope, receive, marked)


def bridges(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The apps that were bridged from now on."""
    made: list[Any] = []
    start = Bridge.start

    async def counted(self: Bridge) -> Any:
        made.append(self)
        return await start(self)

    monkeypatch.setattr(Bridge, "start", counted)
    return made


# What is looked through.


class FoldingClass:
    """A class that is an app itself: each request makes one."""

    @classmethod
    def _fold(cls) -> Stack:
        raise NotImplementedError


class OwnCall(Hesper):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await super().__call__(scope, receive, send)


class NoCallOfItsOwn(Hesper):
    """Overrides nothing that counts."""


@pytest.mark.parametrize(
    ("app", "expected"),
    [
        (Hesper(), True),
        (NoCallOfItsOwn(), True),
        (Router(), True),
        (Route("/", show), True),
        (Mount("/", raw_app), True),
        (BaseHTTPMiddleware(raw_app), True),
        (FoldingClass, True),
        (OwnCall(), False),
        (Hesper, False),
        (PassOn(Hesper()), False),
        (raw_app, False),
        (object(), False),
    ],
)
def test_parts_of_hesper_are_looked_through_and_nothing_else(app: Any, expected: bool) -> None:
    assert folds(app) is expected


async def test_a_subclass_with_a_call_of_its_own_is_called(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = bridges(monkeypatch)
    log: list[str] = []

    class Logged(Router):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            log.append(scope["type"])
            await super().__call__(scope, receive, send)

    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()

    inner = Logged([Route("/", show), WebSocketRoute("/", socket)])
    app = Hesper(routes=[Mount("/", app=inner)], middleware=[pass_on])
    assert await text_of(app) == "shown"
    assert (await connect(app)).accepted
    assert log == ["http", "websocket"]
    assert len(made) == 1


async def test_a_wrapper_that_hands_on_attributes_is_not_left_out() -> None:
    app = Hesper(routes=[Mount("/", app=PassOn(Hesper(routes=[Route("/", show)])))])
    assert (await ask(app)).headers["x-passed"] == "on"


# What is a middleware.


async def sync_return(request: Request, call_next: Any) -> Response:
    raise AssertionError


def not_async(request: Request, call_next: Any) -> None: ...


async def one_argument(request: Request) -> None: ...


class Instance:
    async def __call__(self, request: Request, call_next: Any) -> Response:
        return await pass_on(request, call_next)


NOT_MIDDLEWARE: list[tuple[Any, str]] = [
    (
        BaseHTTPMiddleware,
        "Expected a middleware, got the class BaseHTTPMiddleware: write "
        "Middleware(BaseHTTPMiddleware, ...).",
    ),
    (
        not_async,
        f"Expected `async def not_async(request, call_next)`, got {not_async!r}, which is not "
        "async: a middleware awaits call_next. Write `async def`.",
    ),
    (
        one_argument,
        f"Expected `async def one_argument(request, call_next)`, got {one_argument!r}, which does "
        "not take two arguments.",
    ),
    (
        Middleware(pass_on, 1),  # type: ignore[arg-type]
        "Expected Middleware(cls, ...), got the function pass_on with arguments: put the function "
        "itself into the list, or bind them with functools.partial.",
    ),
    (
        Middleware(one_argument),  # type: ignore[arg-type]
        f"Expected `async def one_argument(request, call_next)`, got {one_argument!r}, which does "
        "not take two arguments.",
    ),
    (
        "gzip",
        "Expected `async def 'gzip'(request, call_next)`, got 'gzip', which is not async: a "
        "middleware awaits call_next. Write `async def`.",
    ),
]


@pytest.mark.parametrize(("entry", "text"), NOT_MIDDLEWARE)
def test_what_is_no_middleware_is_told_when_it_is_given(entry: Any, text: str) -> None:
    for make in (
        lambda: check_middleware([entry]),
        lambda: build([entry], stack_of(raw_app)),
        lambda: Hesper(middleware=[entry]),
        lambda: Router(middleware=[entry]),
        lambda: Mount("/", raw_app, middleware=[entry]),
        lambda: Route("/", show, middleware=[entry]),
    ):
        with pytest.raises(UsageError) as caught:
            make()
        assert str(caught.value) == text


def test_an_instance_of_a_middleware_class_is_no_entry() -> None:
    instance = BaseHTTPMiddleware(raw_app)
    with pytest.raises(UsageError, match="which does not take two arguments"):
        check_middleware([instance])


def test_a_factory_that_makes_nothing_is_named() -> None:
    entry = Middleware(lambda app: None)  # type: ignore[arg-type]
    with pytest.raises(UsageError) as caught:
        build([entry], stack_of(raw_app))
    assert str(caught.value) == (
        f"Expected the middleware {entry!r} to make an ASGI app, got None: it is called as "
        "cls(app, *args, **kwargs) and returns what stands around app."
    )


@pytest.mark.parametrize(
    "entry",
    [
        pass_on,
        Instance(),
        functools.partial(pass_on),
        Instance().__call__,
        Middleware(pass_on),  # type: ignore[arg-type]
        Middleware(Instance()),  # type: ignore[arg-type, call-arg]
        Middleware(functools.partial(pass_on)),  # type: ignore[arg-type]
        Middleware(BaseHTTPMiddleware, dispatch=pass_on),
        Middleware(functools.partial(BaseHTTPMiddleware, dispatch=pass_on)),
        Middleware(PassOn),
        Middleware(lambda app: PassOn(app)),
    ],
)
async def test_middleware_of_every_kind_stands_around_the_app(entry: Any) -> None:
    app = Hesper(routes=[Route("/", show)], middleware=[entry])
    assert await text_of(app) == "shown"


async def test_the_first_middleware_is_the_outermost() -> None:
    log: list[str] = []

    def logged(name: str) -> Any:
        async def dispatch(request: Request, call_next: Any) -> Response:
            log.append(f"+{name}")
            response: Response = await call_next(request)
            log.append(f"-{name}")
            return response

        return dispatch

    entries = [
        logged("a"),
        Middleware(PassOn),
        Middleware(BaseHTTPMiddleware, dispatch=logged("b")),
    ]
    await ask(Hesper(routes=[Route("/", show)], middleware=entries))
    assert log == ["+a", "+b", "-b", "-a"]


# What call_next gives.


async def test_call_next_gives_the_very_response() -> None:
    made: list[Response] = []
    seen: list[Response] = []

    async def endpoint(request: Request) -> Response:
        made.append(PlainTextResponse("x"))
        return made[0]

    async def watch(request: Request, call_next: Any) -> Response:
        seen.append(await call_next(request))
        return seen[-1]

    app = Hesper(routes=[Mount("/", routes=[Route("/", endpoint)])], middleware=[watch] * 3)
    await ask(app)
    assert seen == made * 3


async def test_call_next_bridges_a_foreign_app_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = bridges(monkeypatch)
    seen: list[Response] = []

    async def watch(request: Request, call_next: Any) -> Response:
        seen.append(await call_next(request))
        return seen[-1]

    for app in (
        Hesper(routes=[Mount("/", app=raw_app)], middleware=[watch] * 4),
        functools.reduce(
            lambda inner, _: BaseHTTPMiddleware(inner, watch),
            range(4),
            raw_app,
        ),
    ):
        made.clear()
        seen.clear()
        assert await text_of(app) == "raw"
        assert len(made) == 1
        assert seen == [seen[0]] * 4
        assert isinstance(seen[0], BridgedResponse)
        assert seen[0].headers["content-type"] == "text/plain; charset=utf-8"


async def test_without_a_middleware_nothing_is_bridged(monkeypatch: pytest.MonkeyPatch) -> None:
    made = bridges(monkeypatch)
    app = Hesper(routes=[Mount("/", app=raw_app)], middleware=[Middleware(PassOn)])
    assert await text_of(app) == "raw"
    assert made == []


async def test_a_file_has_its_headers_when_a_middleware_sees_it(tmp_path: Any) -> None:
    (tmp_path / "x.txt").write_text("of a file")
    lengths: list[str] = []

    async def endpoint(request: Request) -> Response:
        return FileResponse(tmp_path / "x.txt")

    async def watch(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        lengths.append(response.headers["content-length"])
        return response

    assert await text_of(Hesper(routes=[Route("/", endpoint)], middleware=[watch] * 2)) == (
        "of a file"
    )
    assert lengths == ["9", "9"]


async def test_a_body_that_a_middleware_drops_is_closed() -> None:
    closed: list[str] = []

    async def numbers() -> Any:
        try:
            yield b"1"
        finally:
            closed.append("inner")

    class Closable:
        def __aiter__(self) -> Any:
            return numbers()

        async def aclose(self) -> None:
            closed.append("object")

    async def endpoint(request: Request) -> Response:
        return StreamingResponse(Closable())

    async def replace(request: Request, call_next: Any) -> Response:
        await call_next(request)
        return PlainTextResponse("another")

    app = Hesper(routes=[Route("/", endpoint)], middleware=[replace, pass_on])
    assert await text_of(app) == "another"
    assert closed == ["object"]


@pytest.mark.parametrize("depth", [0, 1, 4])
async def test_no_answer_is_named_at_every_depth(depth: int) -> None:
    async def forgetful(request: Request) -> None: ...

    async def forgetting(request: Request, call_next: Any) -> Any:
        await call_next(request)

    for app, name in (
        (Hesper(routes=[Route("/", forgetful)], middleware=[pass_on] * depth), "forgetful"),
        (Hesper(routes=[Route("/", show)], middleware=[pass_on] * depth + [forgetting]), "show"),
    ):
        result = await ask(app)
        assert (result.status, result.text) == (500, "Internal Server Error")
        assert isinstance(result.raised, UsageError)
        text = str(result.raised)
        assert text.startswith(
            "No response returned: expected a Response (or an ASGI app) for GET '/' from the "
            "endpoint "
        )
        assert text.endswith(
            f"{name}, or from a middleware around it, got None. Add a `return` with a response."
        )


async def test_an_answer_that_is_too_long_to_show_is_cut() -> None:
    async def endpoint(request: Request) -> Any:
        return {"key": "x" * 1000}

    text = str((await ask(Hesper(routes=[Route("/", endpoint)]))).raised)
    assert "got {'key': 'xxx" in text
    assert len(text) < 400


async def test_bodies_of_two_runs_are_both_closed() -> None:
    closed: list[int] = []

    class Numbered:
        def __init__(self, number: int) -> None:
            self.number = number

        async def __aiter__(self) -> Any:
            yield str(self.number)

        async def aclose(self) -> None:
            closed.append(self.number)

    runs = iter(range(3))

    async def endpoint(request: Request) -> Response:
        return StreamingResponse(Numbered(next(runs)))

    async def twice(request: Request, call_next: Any) -> Response:
        await call_next(request)
        return await pass_on(request, call_next)

    app = Hesper(routes=[Route("/", endpoint)], middleware=[pass_on, twice, pass_on])
    assert await text_of(app) == "1"
    assert sorted(closed) == [0, 1]


async def test_what_an_endpoint_below_gives_as_an_app_runs_in_the_scope_below() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse(scope["root_path"])(scope, receive, send)

    async def endpoint(request: Request) -> Any:
        return app

    mount = Mount("/a", routes=[Route("/b", endpoint)])
    for middleware in ([], [pass_on]):
        assert await text_of(Hesper(routes=[mount], middleware=middleware), "/a/b") == "/a"


async def test_an_app_below_that_found_nothing_tells_nothing() -> None:
    seen: list[Scope] = []

    async def watch(request: Request, call_next: Any) -> Response:
        response = await pass_on(request, call_next)
        seen.append(request.scope)
        return response

    assert (await ask(BaseHTTPMiddleware(Hesper(), watch))).status == 404
    assert not {"endpoint", "route", "path_params", "app"} & seen[0].keys()


@pytest.mark.parametrize("depth", [1, 4])
async def test_background_work_of_the_endpoint_and_of_a_middleware_both_run(depth: int) -> None:
    log: list[str] = []

    def noting(name: str) -> Any:
        async def work() -> None:
            log.append(name)

        return work

    async def endpoint(request: Request) -> Response:
        return PlainTextResponse("x", background=noting("endpoint"))

    async def adding(request: Request, call_next: Any) -> Response:
        response = await pass_on(request, call_next)
        response.background = noting("middleware")
        return response

    app = Hesper(routes=[Route("/", endpoint)], middleware=[adding] + [pass_on] * (depth - 1))
    assert await text_of(app) == "x"
    assert sorted(log) == ["endpoint", "middleware"]


async def test_a_bridged_response_shows_what_a_middleware_changed_and_keeps_the_rest() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"x-own", b"1")]
        start = {"type": "http.response.start", "status": 200, "headers": headers, "custom": 1}
        await send(start)
        await send({"type": "http.response.body", "body": b"body"})

    async def header(request: Request, call_next: Any) -> Response:
        response = await pass_on(request, call_next)
        response.headers["x-added"] = "2"
        return response

    async def status(request: Request, call_next: Any) -> Response:
        response = await pass_on(request, call_next)
        response.status_code = 202
        return response

    for dispatch, expected in (
        (pass_on, (200, {"x-own": "1"})),
        (header, (200, {"x-own": "1", "x-added": "2"})),
        (status, (202, {"x-own": "1"})),
    ):
        result = await ask(BaseHTTPMiddleware(app, dispatch))
        assert (result.status, result.headers) == expected
        assert result.messages[0]["custom"] == 1


# Errors between the layers.


async def test_an_http_exception_of_a_foreign_app_becomes_a_response_for_the_middleware() -> None:
    async def refusing(scope: Scope, receive: Receive, send: Send) -> None:
        raise HTTPException(403, "not you")

    statuses: list[int] = []

    async def watch(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        statuses.append(response.status_code)
        return response

    for app in (
        Hesper(routes=[Mount("/", app=refusing)], middleware=[watch] * 2),
        BaseHTTPMiddleware(BaseHTTPMiddleware(refusing, watch), watch),
    ):
        result = await ask(app)
        assert (result.status, result.text, result.raised) == (403, "not you", None)
    assert statuses == [403] * 4


async def test_an_error_keeps_its_identity_through_the_layers() -> None:
    error = LookupError("mine")
    seen: list[Exception] = []

    async def broken(request: Request) -> Response:
        raise error

    async def watch(request: Request, call_next: Any) -> Response:
        try:
            response: Response = await call_next(request)
        except LookupError as exc:
            seen.append(exc)
            raise
        return response

    app = Hesper(routes=[Route("/", broken)], middleware=[watch] * 3)
    assert (await ask(app)).raised is error
    assert seen == [error] * 3


# Faces and foreign apps.


async def test_a_face_is_its_stack_for_every_kind_of_scope() -> None:
    log: list[str] = []

    async def other(scope: Scope, receive: Receive, send: Send) -> None:
        log.append(scope["type"])

    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()

    face = Face(Stack(show, socket, other))
    assert stack_of(face).http is show
    assert await text_of(face) == "shown"
    assert (await connect(face)).accepted
    await face({"type": "lifespan"}, other, other)  # type: ignore[arg-type]
    assert log == ["lifespan"]


async def test_websockets_pass_value_middleware_and_reach_foreign_apps() -> None:
    app = Hesper(routes=[Mount("/", app=raw_app)], middleware=[pass_on, Middleware(PassOn)])
    result = await connect(app)
    assert (result.frames, result.close_code) == (["raw"], 3000)


async def test_a_foreign_answer_shows_its_app_and_brings_its_scope() -> None:
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["which"])
        await raw_app(scope, receive, send)

    foreign = Foreign(app, {"which": "own", "type": "http"})
    assert repr(foreign) == repr(app)
    assert await text_of(foreign) == "raw"
    assert seen == ["own"]


async def test_a_socket_error_is_answered_by_the_app_that_it_is_in_behind_any_middleware() -> None:
    class Wrapped(PassOn):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            async def own_receive() -> Any:
                return await receive()

            async def own_send(message: Any) -> None:
                await send(message)

            await self.app(scope, own_receive, own_send)

    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        raise LookupError("mine")

    async def handler(websocket: WebSocket, exc: Exception) -> None:
        await websocket.close(3005, str(exc))

    for wrappers in ([PassOn], [Wrapped], [Wrapped, Wrapped]):
        app = Hesper(
            routes=[WebSocketRoute("/", socket)],
            middleware=[Middleware(wrapper) for wrapper in wrappers],
            exception_handlers={LookupError: handler},
        )
        result = await connect(app)
        assert (result.close_code, result.raised) == (3005, None)


async def test_a_socket_error_without_an_app_has_the_default_answers() -> None:
    def failing(exc: Exception, accept: bool) -> Any:
        async def socket(websocket: WebSocket) -> None:
            if accept:
                await websocket.accept()
            raise exc

        return Router([WebSocketRoute("/", socket)])

    result = await connect(failing(WebSocketException(3001, "so"), True))
    assert (result.close_code, result.close_reason, result.raised) == (3001, "so", None)
    result = await connect(failing(HTTPException(401), False))
    assert (result.status, result.text, result.raised) == (401, "Unauthorized", None)
    result = await connect(failing(HTTPException(401), False), denying=False)
    assert (result.status, result.raised) == (403, None)
    error = LookupError()
    assert (await connect(failing(error, False))).raised is error


# -- a response for every failure --------------------------------------------------------------------


async def seal(request: Request, call_next: Any) -> Response:
    try:
        response: Response = await call_next(request)
    except Exception as exc:
        response = await answer_failure(request, exc)
    response.headers["x-seal"] = "on"
    return response


async def fail(request: Request) -> Response:
    raise ValueError("in the endpoint")


async def test_a_middleware_can_have_the_500_that_the_app_would_give() -> None:
    result = await ask(Hesper(routes=[Route("/", fail)], middleware=[seal]))
    assert (result.status, result.headers["x-seal"]) == (500, "on")
    assert isinstance(result.raised, ValueError)  # the server logs it, once


async def test_without_an_app_there_is_no_such_500() -> None:
    app = BaseHTTPMiddleware(Router([Route("/", fail)]), dispatch=seal)
    result = await ask(app)
    assert (result.status, type(result.raised)) == (None, ValueError)
