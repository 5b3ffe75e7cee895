"""``Router``: which route answers, and what is said when none does."""

from contextlib import asynccontextmanager
from typing import Any

import pytest
import starlette.applications
import starlette.responses
import starlette.routing
from hypothesis import given, settings
from hypothesis import strategies as st

import hesper.routing
from hesper.applications import Hesper
from hesper.exceptions import (
    ClientDisconnect,
    HesperDeprecationWarning,
    HTTPException,
    UsageError,
)
from hesper.requests import Request
from hesper.responses import PlainTextResponse, Response
from hesper.routing import (
    BaseRoute,
    Host,
    Match,
    Mount,
    NoMatchFound,
    Route,
    Router,
    WebSocketRoute,
)
from hesper.testclient import AsyncTestClient
from hesper.testing import ScriptedServer
from hesper.types import Receive, Scope, Send
from hesper.websockets import WebSocket, WebSocketClose

from .asking import ask, connect, text_of


def named(text: str) -> Any:
    async def endpoint(request: Request) -> Response:
        return PlainTextResponse(f"{text} {request.path_params}")

    return endpoint


async def raw_app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await PlainTextResponse("raw")(scope, receive, send)
    else:
        await WebSocketClose(4000)(scope, receive, send)


# The order of declaration.


class ByQuery(BaseRoute):
    """A route of a user that does not look at the path."""

    def matches(self, scope: Scope) -> tuple[Match, dict[str, Any]]:
        full = scope.get("query_string") == b"mine"
        return (Match.FULL if full else Match.NONE), {"endpoint": self}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("by query")(scope, receive, send)


class OddOnly(Route):
    """A route of a user with a path."""

    def matches(self, scope: Scope) -> tuple[Match, dict[str, Any]]:
        match, child = super().matches(scope)
        if match is Match.FULL and child["path_params"]["n"] % 2 == 0:
            return Match.NONE, {}
        return match, child


KINDS: dict[str, BaseRoute] = {
    "static": Route("/a/7", named("static")),
    "int": Route("/a/{n:int}", named("int")),
    "str": Route("/{x}/{y}", named("str")),
    "path": Route("/{rest:path}", named("path")),
    "mount": Mount("/a", routes=[Route("/{z}", named("mount"))]),
    "host": Host("h.org", Router([Route("/a/{h}", named("host"))])),
    "query": ByQuery(),
    "odd": OddOnly("/a/{n:int}", named("odd")),
}
WHICH = {  # what matches GET /a/7?mine at h.org, with the text of the answer
    "static": "static {}",
    "int": "int {'n': 7}",
    "str": "str {'x': 'a', 'y': '7'}",
    "path": "path {'rest': 'a/7'}",
    "mount": "mount {'z': '7'}",
    "host": "host {'h': '7'}",
    "query": "by query",
    "odd": "odd {'n': 7}",
}


@pytest.mark.parametrize("first", KINDS)
async def test_the_first_route_that_matches_answers_whatever_its_kind(first: str) -> None:
    h_org = {"host": "h.org"}
    for second in KINDS:
        router = Router([KINDS[first], KINDS[second]])
        assert await text_of(router, "/a/7?mine", headers=h_org) == WHICH[first], second
    # And all others stand behind it.
    router = Router([KINDS[first], *KINDS.values()])
    assert await text_of(router, "/a/7?mine", headers=h_org) == WHICH[first]


async def test_a_route_that_does_not_match_leaves_it_to_the_next() -> None:
    router = Router([KINDS["query"], KINDS["host"], KINDS["odd"], KINDS["int"], KINDS["path"]])
    assert await text_of(router, "/a/7") == "odd {'n': 7}"
    assert await text_of(router, "/a/8") == "int {'n': 8}"
    assert await text_of(router, "/a/x") == "path {'rest': 'a/x'}"
    assert await text_of(router, "/a/8?mine") == "by query"
    assert await text_of(router, "/a/8", headers={"host": "h.org:80"}) == "host {'h': '8'}"


async def test_a_last_part_that_no_convertor_reads_is_not_found() -> None:
    async def endpoint(request: Request) -> Response:
        return PlainTextResponse(str(request.path_params["value"]))

    router = Router([Route("/of/{value:float}", endpoint), Route("/by/{value:uuid}", endpoint)])
    assert await text_of(router, "/of/1.5") == "1.5"
    assert (await ask(router, "/of/one")).status == 404
    assert (await ask(router, "/by/one")).status == 404


async def test_a_mount_that_has_no_such_route_answers_404_and_not_the_next() -> None:
    router = Router([Mount("/a", routes=[]), Route("/a/b", named("later"))])
    assert (await ask(router, "/a/b")).status == 404


# Methods.


async def test_the_method_decides_between_routes_of_one_path() -> None:
    router = Router(
        [
            Route("/{x}", named("get")),
            Route("/{x}", named("post"), methods=["POST"]),
            Route("/a", named("any"), methods=[]),
        ]
    )
    assert await text_of(router, "/a") == "get {'x': 'a'}"
    assert await text_of(router, "/a", "POST") == "post {'x': 'a'}"
    assert await text_of(router, "/a", "DELETE") == "any {}"
    assert (await ask(router, "/a", "HEAD")).status == 200


async def test_405_names_the_methods_of_all_routes_of_the_path() -> None:
    seen: dict[str, Any] = {}

    async def watch(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        seen.update(request.scope)
        return response

    put = Route("/{x}", named("put"), methods=["PUT"])
    routes = [
        WebSocketRoute("/a", named("socket")),
        Mount("/b", app=raw_app),
        put,
        Route("/a", named("get")),
        Route("/{x:int}", named("int"), methods=["TRACE"]),
        Host("other.org", raw_app),
    ]
    for app in (Router(routes, middleware=[watch]), Hesper(routes=routes, middleware=[watch])):
        result = await ask(app, "/a", "DELETE")
        assert (result.status, result.text) == (405, "Method Not Allowed")
        assert result.headers["allow"] == "GET, HEAD, PUT"
        assert result.raised is None
        # What Starlette says of it: the first of them.
        assert (seen["route"], seen["endpoint"]) == (put, put.endpoint)
        assert seen["path_params"] == {"x": "a"}


async def test_a_users_route_that_matches_in_part_may_answer_instead_of_405() -> None:
    class Picky(BaseRoute):
        def __init__(self, path: str) -> None:
            self.path = path

        def matches(self, scope: Scope) -> tuple[Match, dict[str, Any]]:
            return (Match.PARTIAL if scope["path"] == self.path else Match.NONE), {}

        async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
            await PlainTextResponse("picky", 418)(scope, receive, send)

    router = Router([Picky("/a"), Route("/{x}", named("x")), Picky("/b")])
    assert await text_of(router, "/a") == "x {'x': 'a'}"
    assert (await ask(router, "/a", "POST")).status == 418
    assert (await ask(router, "/b", "POST")).status == 405


@pytest.mark.parametrize("method", ["get", "Get", "", "G E T", "\u0130"])
async def test_a_method_that_is_none_is_405(method: str) -> None:
    for app in (Router([Route("/", named("x"))]), Hesper(routes=[Route("/", named("x"))])):
        result = await ask(app, "/", scope={"method": method})
        assert (result.status, result.headers["allow"]) == (405, "GET, HEAD")
        assert result.raised is None


async def test_options_is_left_to_the_endpoint() -> None:
    assert (await ask(Router([Route("/", named("x"))]), "/", "OPTIONS")).status == 405
    router = Router([Route("/", named("own"), methods=["GET", "OPTIONS"])])
    assert await text_of(router, "/", "OPTIONS") == "own {}"
    assert (await ask(router, "/", "OPTIONS", scope={"path": "*"})).status == 404


# Slashes at the end: the table runs on Starlette too.


def _app(module: Any, app_class: Any, response_class: Any) -> Any:
    async def endpoint(request: Any) -> Any:
        return response_class("here")

    return app_class(
        routes=[
            module.Route("/plain", endpoint),
            module.Route("/slash/", endpoint),
            module.Route("/post/", endpoint, methods=["POST"]),
            module.Route("/int/{n:int}", endpoint),
            module.Mount(
                "/m",
                routes=[
                    module.Route("/", endpoint),
                    module.Route("/plain", endpoint),
                    module.Route("/slash/", endpoint),
                ],
            ),
            module.Mount("/t/{x}", routes=[module.Route("/", endpoint)]),
            module.Host("h.org", app=module.Router([module.Route("/hosted", endpoint)])),
        ]
    )


OURS = _app(hesper.routing, Hesper, PlainTextResponse)
THEIRS = _app(
    starlette.routing,
    starlette.applications.Starlette,
    starlette.responses.PlainTextResponse,
)

SLASHES = [
    "/plain",
    "/plain/",
    "/plain//",
    "/slash",
    "/slash/",
    "/slash//",
    "/post",
    "/int/7/",
    "/int/x/",
    "/m",
    "/m/",
    "/m//",
    "/m/plain/",
    "/m/slash",
    "/t/1",
    "/hosted/",
    "/none",
    "/none/",
    "//",
    "//plain/",
    "//evil.org/",
    "/%0d%0a/",
    "/plain/?a=1&b=%20x",
    "/slash?q",
    "/%C3%A9/",
    "/",
]


@pytest.mark.parametrize("path", SLASHES)
async def test_slashes_are_redirected_as_starlette_does(path: str) -> None:
    scopes: list[Scope] = [{}, {"root_path": "/m"}, {"root_path": "/elsewhere"}]
    for scope in scopes:
        for method in ("GET", "POST"):
            for headers in ({}, {"host": "h.org"}, {"host": "not a host"}):
                ours = await ask(OURS, path, method, scope=scope, headers=headers)
                theirs = await ask(THEIRS, path, method, scope=scope, headers=headers)
                assert (ours.status, ours.headers.get("location"), ours.raised) == (
                    theirs.status,
                    theirs.headers.get("location"),
                    None,
                )


async def test_a_redirect_keeps_query_method_and_root_path() -> None:
    result = await ask(OURS, "/slash?a=1&b=2", "POST")
    assert (result.status, result.headers["location"]) == (
        307,
        "http://testserver/slash/?a=1&b=2",
    )
    result = await ask(OURS, scope={"root_path": "/r", "path": "/r/m/plain/"})
    assert (result.status, result.headers["location"]) == (307, "http://testserver/r/m/plain")


async def test_no_redirect_leads_to_another_host() -> None:
    router = Router([Route("/{x:path}/end/", named("x")), Route("/{x}", named("y"))])
    hosts: list[Scope] = [
        {},
        {"server": None, "headers": []},
        {"headers": [(b"host", b"bad host")], "server": None},
    ]
    for path in ("//evil.org/end", "//evil.org/end/x/", "///evil.org/end", "/\\evil.org/end"):
        for scope in hosts:
            result = await ask(router, scope={**scope, "path": path})
            if result.status == 307:
                location = result.headers["location"]
                assert location.startswith(("http://testserver/", "/"))
                assert not location.startswith(("//", "/\\"))
            else:
                assert result.status == 404
    assert (await ask(router, scope={"path": "//evil.org/end"})).status == 307


async def test_redirects_can_be_turned_off() -> None:
    router = Router([Route("/a", named("a"))], redirect_slashes=False)
    assert (await ask(router, "/a/")).status == 404
    assert await text_of(router, "/a") == "a {}"


# No route.


async def test_404_in_an_app_and_outside() -> None:
    async def page(request: Request, exc: Exception) -> Response:
        return PlainTextResponse(f"no {request.url.path}", 404)

    for app, text in (
        (Router(), "Not Found"),
        (Hesper(), "Not Found"),
        (Hesper(exception_handlers={404: page}), "no /x"),
        (Hesper(routes=[Mount("/x", app=Hesper())]), "Not Found"),
    ):
        result = await ask(app, "/x")
        assert (result.status, result.text if result.status == 404 else "") in [
            (404, text),
            (307, ""),
        ]
        assert result.raised is None


async def test_sockets_without_a_route_are_refused() -> None:
    for app in (Router(), Hesper(), Router([Mount("/a", routes=[])])):
        result = await connect(app, "/a/b")
        assert (result.status, result.raised) == (403, None)


async def test_a_default_of_ones_own_answers_what_no_route_does() -> None:
    router = Router([Route("/a", named("a"))], default=raw_app)
    assert await text_of(router, "/a") == "a {}"
    assert await text_of(router, "/b") == "raw"
    assert (await connect(router, "/b")).status == 403
    router.default = Router([Route("/b", named("default"))])
    assert await text_of(router, "/b") == "default {}"


async def test_a_subclass_may_override_not_found() -> None:
    class Friendly(Router):
        async def not_found(self, scope: Scope, receive: Receive, send: Send) -> None:
            if scope["path"] == "/hint":
                await PlainTextResponse("try /a", 404)(scope, receive, send)
            else:
                await super().not_found(scope, receive, send)

    router = Friendly([Route("/a", named("a"))])
    assert (await ask(router, "/hint")).text == "try /a"
    for app in (router, Hesper(routes=[Mount("/", app=router)])):
        result = await ask(app, "/other")
        assert (result.status, result.text, result.raised) == (404, "Not Found", None)
        assert (await connect(app, "/other")).status == 403


WEIRD = [
    "/%00",
    "/a%00b",
    "/..",
    "/../../etc/passwd",
    "/./a",
    "/%2e%2e/",
    "/%2F%2F",
    "/a%2Fb/",
    "/%E2%82%AC",
    "/%F0%9F%92%A9/",
    "/%FF",
    "/%0A",
    "/%0d%0ax:y/",
    "/a;b=c",
    "/" + "a/" * 2000,
    "/" + "9" * 5000,
    "/" + "9" * 5000 + "/",
]
RAW = [
    "",
    "*",
    "a",
    "no/slash/",
    "\udcff",
    "/\udcff",
    "/\udcff/",
    "/a\nb/",
    "http://x/",
    "//",
    "/\ud800/",
]

CATCH_FEW = [
    Route("/known/{n:int}", named("int")),
    Route("/{n:int}", named("int")),
    Route("/{n:float}/", named("float")),
    Route("/{a:uuid}", named("uuid")),
    Mount("/m/{n:int}", app=raw_app),
    Host("{n:int}.org", raw_app),
    OddOnly("/odd/{n:int}", named("odd")),
]


@pytest.mark.parametrize("path", [*WEIRD, *RAW], ids=lambda path: ascii(path)[:20])
async def test_a_path_of_whatever_kind_is_a_clear_404(path: str) -> None:
    known = {"path": path} if path in RAW else {}
    for routes in ([], CATCH_FEW):
        for app in (Router(routes), Hesper(routes=routes)):
            for method in ("GET", "POST"):
                result = await ask(app, "/" if known else path, method, scope=known)
                assert result.raised is None
                assert (result.status, result.text) == (404, "Not Found")


@pytest.mark.parametrize("path", ["/\udcff", "/" + chr(0xD800), "/\x00", "/\r\nx: y", "/é", "/?#"])
async def test_a_redirect_of_whatever_path_is_a_valid_header(path: str) -> None:
    router = Router([Route("/{x}/", named("x"))])
    result = await ask(router, scope={"path": path})
    assert (result.status, result.raised) == (307, None)
    location = result.headers["location"]
    assert location.startswith("http://testserver/")
    assert location.isascii()
    assert location.isprintable()


@given(path=st.text(max_size=12), method=st.text(max_size=4), root_path=st.text(max_size=2))
@settings(max_examples=60)
async def test_no_path_and_no_method_is_an_error(path: str, method: str, root_path: str) -> None:
    scope = {"path": path, "method": method, "root_path": root_path}
    result = await ask(Hesper(routes=CATCH_FEW), scope=scope)
    assert result.raised is None
    assert result.status in {200, 307, 404, 405}


# Names.


def test_one_name_for_different_parameters_is_a_mistake() -> None:
    first = Route("/users", named("x"), name="users")
    second = Route("/users/{id}", named("x"), name="users")
    text = (
        f"Two routes are named 'users' but take different parameters: {first!r} takes (), "
        f"{second!r} takes (id). Give one of them another name."
    )
    with pytest.raises(UsageError) as caught:
        Router([first, second])
    assert str(caught.value) == text
    with pytest.raises(UsageError) as caught:
        Hesper(routes=[first, second])
    assert str(caught.value) == text


async def test_one_name_for_different_parameters_is_found_when_it_is_added_later() -> None:
    router = Router([Route("/users", named("x"), name="users")])
    router.add_route("/users/{id}", named("x"), name="users")
    assert isinstance((await ask(router, "/users")).raised, UsageError)


def test_one_name_is_fine_for_the_same_parameters_and_when_nobody_chose_it() -> None:
    endpoint = named("x")
    router = Router(
        [
            Route("/a/{x}", endpoint, name="a"),
            Route("/b/{x}", endpoint, name="a", methods=["POST"]),
            Mount("/a", app=raw_app, name="a"),
            Route("/c", endpoint),
            Route("/c/{y}", endpoint),
        ]
    )
    assert router.url_path_for("a", x=1) == "/a/1"
    assert router.url_path_for("a", path="s") == "/a/s"
    assert router.url_path_for("endpoint", y=1) == "/c/1"
    with pytest.raises(NoMatchFound) as caught:
        router.url_path_for("a", z=1)
    assert str(caught.value) == 'No route exists for name "a" and params "z".'


# Building, also while it serves.


async def test_routes_may_be_added_after_the_first_request() -> None:
    router = Router()
    assert (await ask(router, "/a")).status == 404

    async def socket(websocket: WebSocket) -> None:
        await websocket.close(4001)

    router.add_route("/a", named("a"), ["POST"], "name", include_in_schema=False)
    router.add_websocket_route("/ws", socket, "sock")
    router.mount("/m", raw_app, "mounted")
    router.host("h.org", raw_app, "hosted")
    assert await text_of(router, "/a", "POST") == "a {}"
    assert await text_of(router, "/m/x") == "raw"
    assert await text_of(router, "/", headers={"host": "h.org"}) == "raw"
    assert (await connect(router, "/ws")).status == 403
    route = router.routes[0]
    assert isinstance(route, Route)
    assert (route.name, route.include_in_schema) == ("name", False)
    assert router.url_path_for("sock") == "/ws"
    assert router.url_path_for("mounted", path="/x") == "/m/x"
    assert router.url_path_for("hosted", path="/x").host == "h.org"
    router.routes.pop(0)
    assert (await ask(router, "/a", "POST")).status == 404
    # As many as before, but others.
    router.routes = [Route("/b", named("b")), *router.routes[1:]]
    assert await text_of(router, "/b") == "b {}"


async def test_the_table_is_made_anew_for_sockets_too() -> None:
    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()

    router = Router()
    assert (await connect(router)).status == 403
    router.add_websocket_route("/", socket)
    assert (await connect(router)).accepted


def test_equality_is_that_of_the_routes() -> None:
    endpoint = named("x")
    assert Router([Route("/", endpoint)]) == Router([Route("/", endpoint)])
    assert Router([Route("/", endpoint)]) != Router()
    assert Router() != []
    assert len({Router(), Router()}) == 2


# ASGI.


async def test_app_is_the_router_without_its_middleware() -> None:
    async def mark(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        response.headers["x-mark"] = "1"
        return response

    router = Router([Route("/", named("x"))], middleware=[mark])
    assert "x-mark" in (await ask(router)).headers
    assert "x-mark" not in (await ask(router.app)).headers
    assert await text_of(router.app) == "x {}"


async def test_the_first_router_is_the_one_of_the_scope() -> None:
    seen: list[Any] = []

    async def endpoint(request: Request) -> Response:
        seen.append(request.scope["router"])
        return Response()

    async def socket(websocket: WebSocket) -> None:
        seen.append(websocket.scope["router"])

    inner = Router([Route("/", endpoint), WebSocketRoute("/", socket)])
    outer = Router([Mount("/a", app=inner)])
    await ask(outer, "/a/")
    await connect(outer, "/a/")
    await ask(inner)
    assert seen == [outer, outer, inner]


async def test_a_protocol_that_nobody_knows_is_an_error() -> None:
    async def never(*args: Any) -> Any:
        raise AssertionError

    for app in (Router(), Hesper()):
        with pytest.raises(UsageError) as caught:
            await app({"type": "smtp"}, never, never)
        assert str(caught.value) == (
            "Expected a scope of type 'http', 'websocket' or 'lifespan', got 'smtp': Hesper does "
            "not know this protocol."
        )


async def test_what_is_mounted_twice_is_started_once() -> None:
    log: list[str] = []

    @asynccontextmanager
    async def lifespan(app: Any) -> Any:
        log.append("start")
        yield

    below = Router(lifespan=lifespan)
    router = Router([Route("/", named("x")), Mount("/a", app=below), Host("b.org", below)])
    async with ScriptedServer(router).lifespan():
        assert log == ["start"]


async def test_what_is_mounted_at_two_levels_is_started_once_and_gives_its_state_at_both() -> None:
    log: list[str] = []

    @asynccontextmanager
    async def lifespan(app: Any) -> Any:
        log.append("start")
        yield {"of": "below"}
        log.append("stop")

    async def show(request: Request) -> Response:
        return PlainTextResponse(request.state.of)

    below = Router([Route("/", show)], lifespan=lifespan)
    middle = Router([Mount("/b", app=below)])
    router = Router([Mount("/b", app=below), Mount("/a", app=middle)])
    async with AsyncTestClient(router) as client:
        assert (await client.get("/b/")).text == "below"
        assert (await client.get("/a/b/")).text == "below"
        assert log == ["start"]
    assert log == ["start", "stop"]


async def test_a_router_alone_has_a_lifespan() -> None:
    log: list[str] = []

    @asynccontextmanager
    async def lifespan(app: Router) -> Any:
        assert app is router
        log.append("start")
        yield {"a": 1}
        log.append("stop")

    router = Router(lifespan=lifespan)
    async with ScriptedServer(router).lifespan() as state:
        assert state == {"a": 1}
    assert log == ["start", "stop"]


def test_a_generator_as_lifespan_is_deprecated_where_it_is_given() -> None:
    async def lifespan(app: Any) -> Any:
        yield

    with pytest.warns(HesperDeprecationWarning) as caught:
        Router(lifespan=lifespan)
    assert caught[0].filename == __file__
    with pytest.warns(HesperDeprecationWarning) as caught:
        Hesper(lifespan=lifespan)
    assert caught[0].filename == __file__


def test_the_known_names_are_there() -> None:
    for name in starlette.routing.__dict__:
        if getattr(starlette.routing.__dict__[name], "__module__", "") == "starlette.routing":
            if not name.startswith("_"):
                assert hasattr(hesper.routing, name), name


# Handlers of a router's own.


class Odd(Exception):
    pass


async def raise_odd(request: Request) -> Response:
    raise Odd("odd")


async def not_here(request: Request) -> Response:
    raise HTTPException(404)


def says(text: str) -> Any:
    async def handler(request: Request, exc: Exception) -> Response:
        return PlainTextResponse(f"{text} {type(exc).__name__}", status_code=418)

    return handler


async def pass_on(request: Request, call_next: Any) -> Response:
    response: Response = await call_next(request)
    response.headers["x-passed"] = "on"
    return response


def with_routers(**options: Any) -> Hesper:
    inner = Router(
        [Route("/odd", raise_odd), Route("/missing", not_here)],
        exception_handlers={Odd: says("inner")},
        middleware=[pass_on],
    )
    return Hesper(routes=[Mount("/in", app=inner), Route("/odd", raise_odd)], **options)


async def test_a_routers_handlers_are_asked_before_the_apps_and_inside_its_middleware() -> None:
    app = with_routers(exception_handlers={Odd: says("app"), 404: says("app")})
    result = await ask(app, "/in/odd")
    assert (result.text, result.headers["x-passed"], result.raised) == ("inner Odd", "on", None)
    assert (await ask(app, "/in/missing")).text == "app HTTPException"
    assert (await ask(app, "/odd")).text == "app Odd"


async def test_a_routers_handlers_are_not_asked_for_what_is_raised_around_it() -> None:
    async def odd_after(request: Request, call_next: Any) -> Response:
        await call_next(request)
        raise Odd

    app = Hesper(routes=[Route("/odd", raise_odd)], middleware=[odd_after])
    app.router = Router(app.routes, exception_handlers={Odd: says("router")})
    assert isinstance((await ask(app, "/odd")).raised, Odd)


async def test_of_several_routers_the_innermost_is_asked_first() -> None:
    innermost = Router([Route("/odd", raise_odd)], exception_handlers={404: says("innermost")})
    middle = Router([Mount("/b", app=innermost)], exception_handlers={Odd: says("middle")})
    outer = Router([Mount("/a", app=middle)], exception_handlers={Odd: says("outer")})
    assert (await ask(outer, "/a/b/odd")).text == "middle Odd"
    assert (await ask(outer, "/a/b/none")).text == "innermost HTTPException"
    assert (await ask(outer, "/none")).status == 404


async def test_a_routers_handlers_end_websockets() -> None:
    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        raise Odd

    async def close(websocket: WebSocket, exc: Exception) -> None:
        await websocket.close(4001)

    routes = [WebSocketRoute("/", endpoint)]
    for app in (
        Router(routes, exception_handlers={Odd: close}),
        Hesper(routes=[Mount("/", app=Router(routes, exception_handlers={Odd: close}))]),
    ):
        result = await connect(app)
        assert (result.raised, result.sent[-1].message["code"]) == (None, 4001)
    result = await connect(Router(routes, exception_handlers={404: close}))
    assert isinstance(result.raised, Odd)


async def test_a_foreign_error_that_says_that_the_client_left_is_not_handled() -> None:
    class ClientDisconnected(Exception):
        pass

    async def foreign(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        raise ClientDisconnected

    calls: list[str] = []

    async def handler(request: Request, exc: Exception) -> Response:
        calls.append(type(exc).__name__)
        return PlainTextResponse("handled")

    router = Router(
        [Mount("/", app=foreign)],
        exception_handlers={Exception: handler},
        middleware=[pass_on],
    )
    result = await ScriptedServer(router).get().leave_after(0).run()
    assert (result.raised, calls) == (None, [])


async def test_a_path_without_a_host_is_built_within_what_is_mounted() -> None:
    async def here(request: Request) -> Response:
        return PlainTextResponse(request.url_path_for("a:here", id=5))

    app = Hesper(routes=[Mount("/a", name="a", routes=[Route("/{id:int}", here, name="here")])])
    assert await text_of(app, "/a/1") == "/a/5"
    assert await text_of(app, "/api/a/1", scope={"root_path": "/api"}) == "/api/a/5"


async def test_a_routers_handler_for_the_clients_leaving_hears_of_it() -> None:
    calls: list[str] = []

    async def read(request: Request) -> Response:
        return PlainTextResponse(await request.body())

    async def left(request: Request, exc: Exception) -> Response:
        calls.append(type(exc).__name__)
        return PlainTextResponse("to nobody")

    router = Router([Route("/", read, methods=["POST"])], exception_handlers={OSError: left})
    own = Router([Route("/", read, methods=["POST"])], exception_handlers={ClientDisconnect: left})
    for app in (router, own):
        result = await ScriptedServer(app).post(body=b"cut", unfinished=True).leave_after(0).run()
        assert result.raised is None
    assert calls == ["ClientDisconnect"]


@pytest.mark.parametrize("path", ["/here", "/here/7"])
async def test_a_route_that_takes_anothers_place_is_noticed(path: str) -> None:
    template = "/here" if path == "/here" else "/here/{id:int}"
    router = Router([Route(template, named("old"))])
    assert (await text_of(router, path)).startswith("old")
    router.routes[0] = Route(template, named("new"))
    assert (await text_of(router, path)).startswith("new")
    router.routes.clear()
    assert (await ask(router, path)).status == 404
