"""Routes alone: what they match, what they answer, and what a user's subclass changes."""

import functools
import threading
from collections.abc import Awaitable
from typing import Any

import pytest
import starlette.routing

from hesper._endpoints import request_response, websocket_session
from hesper.convertors import CONVERTOR_TYPES, Convertor
from hesper.exceptions import HTTPException, UsageError
from hesper.requests import Request
from hesper.responses import PlainTextResponse, Response
from hesper.routing import BaseRoute, Match, NoMatchFound, Route, Router, WebSocketRoute, get_name
from hesper.types import Receive, Scope, Send
from hesper.websockets import WebSocket

from .asking import ask, connect, text_of


async def show(request: Request) -> Response:
    return PlainTextResponse(f"{request.method} {request.path_params}")


async def greet(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text(f"{websocket.path_params}")
    await websocket.close()


async def raw_app(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse(f"raw {scope['method']}")(scope, receive, send)


def scope_of(path: str, method: str = "GET", **more: Any) -> Scope:
    return {"type": "http", "method": method, "path": path, "headers": [], **more}


# Making one.


def test_a_path_without_a_slash_is_refused_with_the_right_one() -> None:
    with pytest.raises(UsageError) as caught:
        Route("users", show)
    assert str(caught.value) == "Routed paths must start with '/': write '/users'."


def test_the_name_is_that_of_the_function_or_class_unless_it_is_given() -> None:
    class Endpoint:
        async def __call__(self, *args: Any) -> None: ...

    assert Route("/", show).name == "show"
    assert Route("/", show, name="index").name == "index"
    assert WebSocketRoute("/", greet).name == "greet"
    assert get_name(Endpoint) == "Endpoint"
    assert get_name(Endpoint()) == "Endpoint"


@pytest.mark.parametrize(
    ("endpoint", "methods", "expected"),
    [
        (show, None, {"GET", "HEAD"}),
        (functools.partial(show), None, {"GET", "HEAD"}),
        (show, ["post"], {"POST"}),
        (show, ["get", "PUT"], {"GET", "HEAD", "PUT"}),
        (show, [], set()),
        (raw_app, None, {"GET", "HEAD"}),
        (Router(), None, None),
    ],
)
def test_methods_default_to_get_for_functions_and_to_all_for_apps(
    endpoint: Any, methods: Any, expected: Any
) -> None:
    assert Route("/", endpoint, methods=methods).methods == expected
    assert starlette.routing.Route("/", endpoint, methods=methods).methods == expected


def test_equality_is_that_of_path_endpoint_and_methods() -> None:
    assert Route("/a", show) == Route("/a", show, name="other")
    assert Route("/a", show) != Route("/b", show)
    assert Route("/a", show) != Route("/a", raw_app)
    assert Route("/a", show) != Route("/a", show, methods=["POST"])
    assert Route("/a", show) != WebSocketRoute("/a", show)
    assert WebSocketRoute("/a", greet) == WebSocketRoute("/a", greet)
    assert WebSocketRoute("/a", greet) != WebSocketRoute("/b", greet)
    assert WebSocketRoute("/a", greet) != WebSocketRoute("/a", show)
    assert WebSocketRoute("/a", greet) != Route("/a", greet)
    assert len({Route("/a", show), WebSocketRoute("/a", greet)}) == 2


def test_repr_shows_what_was_given() -> None:
    route = Route("/a/{id:int}", show, methods=["POST", "GET"])
    assert repr(route) == "Route(path='/a/{id:int}', name='show', methods=['GET', 'HEAD', 'POST'])"
    assert repr(WebSocketRoute("/ws", greet)) == "WebSocketRoute(path='/ws', name='greet')"


# Matching: the table runs on Starlette too.

PATTERNS = ["/", "/a", "/u/{id:int}", "/f/{rest:path}", "/x/{a}-{b}", "/d/{when:uuid}", "/é/{n}"]
PATHS = ["", "/", "/a", "/a/", "/A", "/u/7", "/u/-7", "/u/x", "/f/", "/f/a/b", "/x/1-2-3", "/é/ü"]


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("path", PATHS)
def test_matches_says_what_starlette_says(pattern: str, path: str) -> None:
    ours, theirs = Route(pattern, show), starlette.routing.Route(pattern, show)
    for method in ("GET", "POST", "get"):
        scope = scope_of(path, method, path_params={"outer": 1})
        match, child = ours.matches(scope)
        their_match, their_child = theirs.matches(scope)
        assert (match.name, child) == (their_match.name, their_child)
    socket_scope = {**scope_of(path), "type": "websocket"}
    socket_route = WebSocketRoute(pattern, greet)
    their_socket_route = starlette.routing.WebSocketRoute(pattern, greet)
    match, child = socket_route.matches(socket_scope)
    their_match, their_child = their_socket_route.matches(socket_scope)
    assert (match.name, child) == (their_match.name, their_child)


def test_a_route_matches_only_scopes_of_its_kind() -> None:
    assert Route("/", show).matches({"type": "websocket", "path": "/"}) == (Match.NONE, {})
    assert Route("/", show).matches({"type": "lifespan"}) == (Match.NONE, {})
    assert WebSocketRoute("/", greet).matches(scope_of("/")) == (Match.NONE, {})


def test_a_parameter_that_cannot_be_converted_does_not_match() -> None:
    # More digits than Python makes an int of.
    path = "/u/" + "9" * 5000
    assert Route("/u/{id:int}", show).matches(scope_of(path)) == (Match.NONE, {})
    assert WebSocketRoute("/u/{id:int}", greet).matches(
        {**scope_of(path), "type": "websocket"}
    ) == (Match.NONE, {})


# Reversal.


def test_url_path_for_fills_the_parameters() -> None:
    route = Route("/u/{id:int}/{name}", show, name="user")
    path = route.url_path_for("user", id=7, name="x")
    assert (path, path.protocol, path.host) == ("/u/7/x", "http", "")
    assert WebSocketRoute("/ws", greet).url_path_for("greet").protocol == "websocket"


@pytest.mark.parametrize(
    ("name", "params", "text"),
    [
        ("user", {}, 'No route exists for name "user" and params "".'),
        (
            "user",
            {"id": 1, "more": 2},
            'No route exists for name "user" and params "id, more".',
        ),
        ("other", {"id": 1}, 'No route exists for name "other" and params "id".'),
    ],
)
def test_url_path_for_wants_the_name_and_exactly_the_parameters(
    name: str, params: dict[str, Any], text: str
) -> None:
    for route in (
        Route("/u/{id:int}", show, name="user"),
        WebSocketRoute("/u/{id:int}", greet, name="user"),
    ):
        with pytest.raises(NoMatchFound) as caught:
            route.url_path_for(name, **params)
        assert str(caught.value) == text


# A route alone is an ASGI app.


async def test_a_route_alone_answers() -> None:
    route = Route("/u/{id:int}", show)
    assert await text_of(route, "/u/7") == "GET {'id': 7}"
    assert (await ask(route, "/u/7", "HEAD")).status == 200


async def test_a_route_alone_says_404_and_405() -> None:
    route = Route("/u/{id:int}", show, methods=["GET", "PUT"])
    missing = await ask(route, "/nowhere")
    assert (missing.status, missing.text, missing.raised) == (404, "Not Found", None)
    for method in ("POST", "get"):
        refused = await ask(route, "/u/7", method)
        assert (refused.status, refused.text) == (405, "Method Not Allowed")
        assert refused.headers["allow"] == "GET, HEAD, PUT"
        assert refused.raised is None


async def test_a_route_alone_refuses_a_websocket() -> None:
    result = await connect(Route("/", show))
    assert (result.status, result.raised) == (403, None)


async def test_a_websocket_route_alone_answers_its_sockets_and_nothing_else() -> None:
    route = WebSocketRoute("/{room}", greet)
    result = await connect(route, "/tea")
    assert (result.frames, result.close_code) == (["{'room': 'tea'}"], 1000)
    assert (await connect(route, "/a/b")).status == 403
    assert (await ask(route, "/tea")).status == 404


async def test_in_a_router_a_route_and_a_websocket_route_share_a_path() -> None:
    router = Router([Route("/a", show), WebSocketRoute("/a", greet)])
    assert await text_of(router, "/a") == "GET {}"
    assert (await connect(router, "/a")).frames == ["{}"]
    assert (await ask(Router([WebSocketRoute("/a", greet)]), "/a")).status == 404
    assert (await connect(Router([Route("/a", show)]), "/a")).status == 403


async def test_a_route_has_no_lifespan() -> None:
    with pytest.raises(UsageError) as caught:
        await Route("/", show)({"type": "lifespan"}, _never, _never)
    assert str(caught.value) == (
        "Expected a scope of type 'http' or 'websocket', got 'lifespan': a route has no lifespan "
        "of its own. Put it into an app."
    )


async def _never(*args: Any) -> Any:
    raise AssertionError("nobody should call it")


async def test_scope_gets_route_endpoint_and_parameters() -> None:
    seen: list[Scope] = []

    async def endpoint(request: Request) -> Response:
        seen.append(dict(request.scope))
        return Response()

    route = Route("/{a}", endpoint)
    await ask(route, "/1", scope={"path_params": {"outer": 0}})
    assert seen[0]["route"] is route
    assert seen[0]["endpoint"] is endpoint
    assert seen[0]["path_params"] == {"outer": 0, "a": "1"}


# Endpoints of every kind.


class Endpoints:
    """Every kind of endpoint that is a function, and none of them a plain one."""

    async def method(self, request: Request) -> Response:
        return PlainTextResponse("method")

    @staticmethod
    async def static(request: Request) -> Response:
        return PlainTextResponse("static")

    @classmethod
    async def of_class(cls, request: Request) -> Response:
        return PlainTextResponse("of class")


async def with_argument(argument: str, request: Request) -> Response:
    return PlainTextResponse(argument)


def sync_with_argument(argument: str, request: Request) -> Response:
    return PlainTextResponse(argument)


class RawObject:
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await raw_app(scope, receive, send)


class RawClass:
    """An ASGI app as a class: each request makes one and awaits it."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._args = scope, receive, send

    def __await__(self) -> Any:
        return raw_app(*self._args).__await__()


@pytest.mark.parametrize(
    ("endpoint", "text"),
    [
        (Endpoints().method, "method"),
        (Endpoints.static, "static"),
        (Endpoints.of_class, "of class"),
        (functools.partial(with_argument, "partial"), "partial"),
        (functools.partial(functools.partial(with_argument), "twice"), "twice"),
        (functools.partial(sync_with_argument, "sync partial"), "sync partial"),
        (lambda request: PlainTextResponse("lambda"), "lambda"),
        (RawObject(), "raw GET"),
        (functools.partial(RawObject().__call__), None),
        (RawClass, "raw GET"),
        (PlainTextResponse("a response is an app"), "a response is an app"),
        (Router([Route("/", show)]), "GET {}"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-",
)
async def test_endpoints_of_every_kind_answer(endpoint: Any, text: str | None) -> None:
    if text is None:
        # A bound __call__ is a method, so it is taken for a function of a request: as in Starlette.
        assert isinstance((await ask(Route("/", endpoint))).raised, TypeError)
    else:
        assert await text_of(Route("/", endpoint)) == text


async def test_a_sync_endpoint_runs_in_a_thread() -> None:
    threads: list[threading.Thread] = []

    def endpoint(request: Request) -> Response:
        threads.append(threading.current_thread())
        return PlainTextResponse("x")

    assert await text_of(Route("/", endpoint)) == "x"
    assert threads[0] is not threading.current_thread()


async def test_an_endpoint_may_return_any_asgi_app() -> None:
    async def endpoint(request: Request) -> Any:
        return raw_app

    def sync_endpoint(request: Request) -> Any:
        return RawObject()

    assert await text_of(Route("/", endpoint)) == "raw GET"
    assert await text_of(Route("/", sync_endpoint)) == "raw GET"


async def test_an_endpoint_that_returns_none_is_named() -> None:
    async def forgetful(request: Request) -> None: ...

    raised = (await ask(Route("/x", forgetful), "/x")).raised
    assert isinstance(raised, UsageError)
    assert str(raised) == (
        "No response returned: expected a Response (or an ASGI app) for GET '/x' from the endpoint "
        "test_an_endpoint_that_returns_none_is_named.<locals>.forgetful, or from a middleware "
        "around it, got None. Add a `return` with a response."
    )


async def test_a_sync_websocket_endpoint_is_a_named_mistake() -> None:
    def endpoint(websocket: WebSocket) -> None: ...

    raised = (await connect(WebSocketRoute("/", endpoint))).raised
    assert isinstance(raised, UsageError)
    assert str(raised) == (
        f"Expected `async def endpoint(websocket)`, got {endpoint!r}, which is not async and "
        "returned None. Write `async def`."
    )


async def test_a_websocket_endpoint_may_be_anything_that_gives_something_to_await() -> None:
    def wrapper(websocket: WebSocket) -> Awaitable[None]:
        return greet(websocket)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await greet(WebSocket(scope, receive, send))

    class App:
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await app(scope, receive, send)

    for endpoint in (wrapper, functools.partial(greet), App()):
        assert (await connect(WebSocketRoute("/", endpoint))).frames == ["{}"]


async def test_request_response_and_websocket_session_make_apps_of_functions() -> None:
    app = request_response(show)
    assert await text_of(app) == "GET {}"
    assert (await connect(app)).status == 403
    app = websocket_session(greet)
    assert (await connect(app)).frames == ["{}"]
    assert (await ask(app)).status == 404


# Middleware of a route, and apps put around it later.


async def shout(request: Request, call_next: Any) -> Response:
    response: Response = await call_next(request)
    response.headers["x-shout"] = "yes"
    return response


async def test_a_route_has_middleware_of_its_own() -> None:
    result = await ask(Router([Route("/", show, middleware=[shout]), Route("/b", show)]))
    assert result.headers["x-shout"] == "yes"
    result = await ask(Router([Route("/", show, middleware=[shout]), Route("/b", show)]), "/b")
    assert "x-shout" not in result.headers


class Louder:
    """An ASGI middleware, which sees both kinds of scope."""

    def __init__(self, app: Any, log: list[str]) -> None:
        self.app = app
        self.log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.log.append(scope["type"])
        await self.app(scope, receive, send)


async def test_the_app_of_a_route_can_be_wrapped_afterwards() -> None:
    log: list[str] = []
    route, socket_route = Route("/", show), WebSocketRoute("/", greet)
    route.app, socket_route.app = Louder(route.app, log), Louder(socket_route.app, log)
    router = Router([route, socket_route])
    assert await text_of(router) == "GET {}"
    assert (await connect(router)).frames == ["{}"]
    assert log == ["http", "websocket"]
    assert await text_of(route.app) == "GET {}"
    assert (await connect(socket_route.app)).frames == ["{}"]


# Route classes of users.


async def test_the_base_route_names_what_is_missing() -> None:
    class Half(BaseRoute):
        def matches(self, scope: Scope) -> tuple[Match, dict[str, Any]]:
            return Match.FULL, {}

    class Empty(BaseRoute):
        pass

    with pytest.raises(UsageError) as caught:
        Empty().matches({})
    assert str(caught.value) == "Empty has no matches(scope): override it."
    raised = (await ask(Half())).raised
    assert str(raised) == "Half has no handle(scope, receive, send): override it."
    with pytest.raises(NoMatchFound):
        Empty().url_path_for("x")


class ByHeader(BaseRoute):
    """Looks at a header and not at the path."""

    def __init__(self, text: str, partial: bool = False) -> None:
        self.text = text
        self.partial = partial

    def matches(self, scope: Scope) -> tuple[Match, dict[str, Any]]:
        if dict(scope["headers"]).get(b"x-for") != self.text.encode():
            return Match.NONE, {}
        return (Match.PARTIAL if self.partial else Match.FULL), {"found": self.text}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            websocket: WebSocket = WebSocket(scope, receive, send)
            await websocket.accept()
            await websocket.close(3000 + len(scope["found"]))
        else:
            status = 418 if self.partial else 200
            await PlainTextResponse(f"{scope['found']} {scope['route'] is self}", status)(
                scope, receive, send
            )


async def test_a_route_class_of_a_user_is_asked_in_its_turn() -> None:
    router = Router([Route("/first", show), ByHeader("me"), Route("/last", show)])
    for_me = {"x-for": "me"}
    assert await text_of(router, "/first", headers=for_me) == "GET {}"
    assert await text_of(router, "/last", headers=for_me) == "me True"
    assert await text_of(router, "/last") == "GET {}"
    assert await text_of(router, "/anything", headers=for_me) == "me True"
    assert (await ask(router, "/anything")).status == 404
    assert (await connect(router, "/x", headers=for_me)).close_code == 3002
    assert (await connect(router, "/x")).status == 403
    assert await text_of(ByHeader("me"), headers=for_me) == "me True"


async def test_a_partial_match_of_a_users_route_answers_what_nothing_else_does() -> None:
    router = Router([ByHeader("me", partial=True), Route("/", show), Route("/", show, name="2")])
    for_me = {"x-for": "me"}
    assert await text_of(router, "/", headers=for_me) == "GET {}"
    result = await ask(router, "/", "POST", headers=for_me)
    assert (result.status, result.text) == (418, "me True")
    assert (await ask(router, "/", "POST")).status == 405
    assert (await ask(ByHeader("me", partial=True), headers=for_me)).status == 418


async def test_a_route_that_was_refused_first_decides_on_a_partial_match() -> None:
    router = Router([Route("/", show), ByHeader("me", partial=True)])
    assert (await ask(router, "/", "POST", headers={"x-for": "me"})).status == 405


class OnlyWithKey(Route):
    """Overrides ``matches``, and calls the original: what FastAPI does."""

    def matches(self, scope: Scope) -> tuple[Match, dict[str, Any]]:
        match, child = super().matches(scope)
        if match is not Match.NONE and scope["query_string"] != b"key":
            return Match.NONE, {}
        return match, {**child, "keyed": True}


async def test_a_subclass_of_route_may_override_matches() -> None:
    async def endpoint(request: Request) -> Response:
        return PlainTextResponse(f"{request.path_params} {request.scope['keyed']}")

    router = Router([OnlyWithKey("/{a:int}", endpoint, middleware=[shout]), Route("/{a}", show)])
    result = await ask(router, "/1?key")
    assert (result.text, result.headers["x-shout"]) == ("{'a': 1} True", "yes")
    assert await text_of(router, "/1") == "GET {'a': '1'}"
    assert await text_of(router, "/x?key") == "GET {'a': 'x'}"
    refused = await ask(router, "/1?key", "POST")
    assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD")


class Announced(Route):
    """Overrides ``handle``, and calls the original."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["path_params"] = {**scope["path_params"], "by": "handle"}
        if scope["method"] == "DELETE":
            await PlainTextResponse("never", 418)(scope, receive, send)
        else:
            await super().handle(scope, receive, send)


async def test_a_subclass_of_route_may_override_handle() -> None:
    router = Router([Announced("/{a}", show), Route("/{a}", show, methods=["PUT"])])
    assert await text_of(router, "/1") == "GET {'a': '1', 'by': 'handle'}"
    assert await text_of(router, "/1", "PUT") == "PUT {'a': '1'}"
    assert (await ask(router, "/1", "DELETE")).status == 418
    # Its own 405, which knows of no other route.
    assert (await ask(router, "/1", "POST")).headers["allow"] == "GET, HEAD"
    assert (await ask(router, "/x/y")).status == 404


async def test_a_subclass_of_websocket_route_may_override_both() -> None:
    class Both(WebSocketRoute):
        def matches(self, scope: Scope) -> tuple[Match, dict[str, Any]]:
            match, child = super().matches(scope)
            return match, {**child, "path_params": {"by": "matches"}} if child else {}

        async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
            scope["path_params"]["and"] = "handle"
            await super().handle(scope, receive, send)

    class Child(Both):
        """What it inherits counts as well."""

    for cls in (Both, Child):
        router = Router([cls("/ws", greet)])
        assert (await connect(router, "/ws")).frames == ["{'by': 'matches', 'and': 'handle'}"]
        assert (await connect(router, "/other")).status == 403
        assert (await ask(router, "/ws")).status == 404


async def test_a_mixin_that_overrides_counts_too() -> None:
    class Never:
        def matches(self, scope: Scope) -> tuple[Match, dict[str, Any]]:
            return Match.NONE, {}

    class NeverRoute(Never, Route):
        pass

    assert (await ask(Router([NeverRoute("/", show)]))).status == 404


async def test_a_subclass_may_set_its_own_app_and_leave_the_constructor_out() -> None:
    class Own(Route):
        def __init__(self, path: str) -> None:
            from hesper.routing import compile_path

            self.path, self.name, self.endpoint = path, "own", show
            self.methods = {"POST"}
            self.path_regex, self.path_format, self.param_convertors = compile_path(path)
            self.app = RawObject()

    router = Router([Own("/own/{a}")])
    assert await text_of(router, "/own/1", "POST") == "raw POST"
    assert (await ask(router, "/own/1")).status == 405
    assert router.url_path_for("own", a="1") == "/own/1"


async def test_a_convertor_that_was_registered_anew_does_not_change_a_route() -> None:
    class Upper(Convertor[str]):
        regex = "[A-Z]+"

        def convert(self, value: str) -> str:
            return value

        def to_string(self, value: str) -> str:
            return value

    CONVERTOR_TYPES["odd"] = Upper()
    try:
        router = Router([Route("/{a:odd}", show)])
        CONVERTOR_TYPES["odd"] = CONVERTOR_TYPES["int"]
        assert await text_of(router, "/ABC") == "GET {'a': 'ABC'}"
        assert (await ask(router, "/123")).status == 404
    finally:
        del CONVERTOR_TYPES["odd"]


async def test_an_error_of_an_endpoint_goes_through_a_route_alone() -> None:
    async def broken(request: Request) -> Response:
        raise LookupError("here")

    async def teapot(request: Request) -> Response:
        raise HTTPException(418, "teapot")

    assert isinstance((await ask(Route("/", broken))).raised, LookupError)
    result = await ask(Route("/", teapot))
    assert (result.status, result.text, result.raised) == (418, "teapot", None)
