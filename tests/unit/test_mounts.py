"""``Mount`` and ``Host``: what the app below sees, and what is told upwards."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
import starlette.applications
import starlette.requests
import starlette.responses
import starlette.routing

from hesper.applications import Hesper
from hesper.convertors import CONVERTOR_TYPES, Convertor
from hesper.exceptions import HTTPException, UsageError
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
from hesper.testing import ScriptedServer
from hesper.types import Receive, Scope, Send
from hesper.websockets import WebSocket

from .asking import ask, connect, text_of


async def show(request: Request) -> Response:
    scope = request.scope
    keys = ("root_path", "app_root_path", "path", "path_params")
    return PlainTextResponse(" ".join(str(scope.get(key)) for key in keys))


async def greet(websocket: WebSocket) -> None:
    scope = websocket.scope
    await websocket.accept()
    await websocket.send_text(f"{scope['root_path']} {scope['path']} {scope['path_params']}")


async def raw_app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await PlainTextResponse(f"{scope['root_path']}|{scope['path']}")(scope, receive, send)
    else:
        await send({"type": "websocket.close", "code": 1000})


# Making one.


def test_a_mount_names_what_is_missing() -> None:
    with pytest.raises(UsageError) as caught:
        Mount("users", app=raw_app)
    assert str(caught.value) == "Routed paths must start with '/': write '/users'."
    with pytest.raises(UsageError) as caught:
        Mount("/users")
    assert str(caught.value) == (
        "Mount('/users') needs an app or routes: give 'app=...' or 'routes=[...]'."
    )


def test_a_host_is_no_path() -> None:
    with pytest.raises(UsageError) as caught:
        Host("/x", raw_app)
    assert str(caught.value) == "Expected a host name, got the path '/x': use Mount for paths."


def test_routes_are_those_of_the_app_below() -> None:
    route = Route("/", show)
    assert Mount("/a", routes=[route]).routes == [route]
    assert Mount("/a", app=Hesper(routes=[route])).routes == [route]
    assert Mount("/a", app=raw_app).routes == []
    assert Host("a.org", Router([route])).routes == [route]


def test_equality_and_repr() -> None:
    assert Mount("/a", raw_app) == Mount("/a/", raw_app)
    assert Mount("/a", raw_app) != Mount("/b", raw_app)
    assert Mount("/a", raw_app) != Mount("/a", Router())
    assert Mount("/a", raw_app) != Mount("/a", raw_app, name="a")
    assert Mount("/a", raw_app) != Host("a", raw_app)
    assert Host("a", raw_app) == Host("a", raw_app)
    assert Host("a", raw_app) != Host("b", raw_app)
    assert Host("a", raw_app) != Host("a", Router())
    assert Host("a", raw_app) != Mount("/a", raw_app)
    assert len({Mount("/a", raw_app), Host("a", raw_app)}) == 2
    assert repr(Mount("/a", raw_app)) == f"Mount(path='/a', name='', app={raw_app!r})"
    assert repr(Host("a", raw_app, name="h")) == f"Host(host='a', name='h', app={raw_app!r})"


# Matching: the tables run on Starlette too.


@pytest.mark.parametrize("pattern", ["", "/", "/a", "/a/", "/{x}", "/n/{x:int}", "/p/{x:path}"])
@pytest.mark.parametrize("path", ["", "/", "/a", "/a/", "/a/b", "/ab", "/n/1/r", "/n/x/r", "/p/q/"])
def test_a_mount_matches_what_starlettes_does(pattern: str, path: str) -> None:
    ours, theirs = Mount(pattern, raw_app), starlette.routing.Mount(pattern, raw_app)
    for more in (
        {},
        {"root_path": "/a"},
        {"root_path": "/r", "app_root_path": "", "path_params": {"y": 1}},
    ):
        for kind in ("http", "websocket", "lifespan"):
            scope = {"type": kind, "path": path, **more}
            match, child = ours.matches(scope)
            their_match, their_child = theirs.matches(scope)
            assert (match.name, child) == (their_match.name, their_child)


@pytest.mark.parametrize("pattern", ["a.org", "A.org", "{x}.a.org", "a.org:80", "[::1]"])
@pytest.mark.parametrize(
    "host", ["a.org", "A.ORG", "b.a.org", "a.org:8000", "a.org.evil", "a b", "", "[::1]:8", "[x]"]
)
def test_a_host_matches_what_starlettes_does(pattern: str, host: str) -> None:
    ours, theirs = Host(pattern, raw_app), starlette.routing.Host(pattern, raw_app)
    for kind in ("http", "websocket", "lifespan"):
        scope = {"type": kind, "path": "/", "headers": [(b"host", host.encode())]}
        match, child = ours.matches(scope)
        their_match, their_child = theirs.matches(scope)
        assert (match.name, child) == (their_match.name, their_child)


def test_a_parameter_that_cannot_be_converted_does_not_match() -> None:
    path = "/" + "9" * 5000 + "/x"
    scope = {"type": "http", "path": path, "headers": [(b"host", b"x.org")]}
    assert Mount("/{n:int}", raw_app).matches(scope) == (Match.NONE, {})

    class Never(Convertor[str]):
        regex = "[a-z]+"

        def convert(self, value: str) -> str:
            raise ValueError(value)

        def to_string(self, value: str) -> str:
            return value

    CONVERTOR_TYPES["never"] = Never()
    try:
        assert Host("{n:never}.org", raw_app).matches(scope) == (Match.NONE, {})
    finally:
        del CONVERTOR_TYPES["never"]


# What the app below sees.


async def test_the_app_below_sees_its_part_of_the_path() -> None:
    router = Router(
        [Mount("/a/{x}", routes=[Mount("/b", routes=[Route("/c/{y:int}", show)])], name="a")]
    )
    assert await text_of(router, "/a/1/b/c/2") == (
        "/a/1/b  /a/1/b/c/2 {'x': '1', 'y': 2}"  # app_root_path is ""
    )
    behind_proxy = {"root_path": "/proxy", "path": "/proxy/a/1/b/c/2"}
    assert await text_of(router, "/", scope=behind_proxy) == (
        "/proxy/a/1/b /proxy /proxy/a/1/b/c/2 {'x': '1', 'y': 2}"
    )


async def test_a_foreign_app_below_sees_its_part_of_the_path() -> None:
    router = Router([Mount("/a", app=raw_app), Host("b.org", raw_app)])
    assert await text_of(router, "/a/b/c") == "/a|/a/b/c"
    assert await text_of(router, "/a/") == "/a|/a/"
    assert await text_of(router, "/x", headers={"host": "b.org"}) == "|/x"
    assert (await connect(router, "/a/b")).status == 403


async def test_websockets_go_down_too() -> None:
    router = Router(
        [
            Host("{h}.org", Router([WebSocketRoute("/ws", greet)])),
            Mount("/a/{x}", routes=[WebSocketRoute("/{y}", greet)]),
        ]
    )
    result = await connect(router, "/a/1/2")
    assert result.frames == ["/a/1 /a/1/2 {'x': '1', 'y': '2'}"]
    result = await connect(router, "/ws", headers={"host": "Me.org"})
    assert result.frames == [" /ws {'h': 'me'}"]
    assert (await connect(router, "/ws")).status == 403


async def test_a_mount_alone_and_a_host_alone_are_apps() -> None:
    mount = Mount("/a", routes=[Route("/b", show), WebSocketRoute("/b", greet)])
    assert await text_of(mount, "/a/b") == "/a  /a/b {}"
    assert (await ask(mount, "/b")).status == 404
    assert (await connect(mount, "/a/b")).frames == ["/a /a/b {}"]
    assert (await connect(mount, "/b")).status == 403
    host = Host("x.org", Router([Route("/", show)]))
    assert await text_of(host, headers={"host": "x.org"}) == " None / {}"
    assert (await ask(host)).status == 404


async def test_parts_nest_in_any_order() -> None:
    app = Mount("/a", app=Mount("/b", app=Host("x.org", Mount("/c", app=Route("/d", show)))))
    text = await text_of(app, "/a/b/c/d", headers={"host": "x.org"})
    assert text == "/a/b/c  /a/b/c/d {}"


async def test_handle_serves_what_is_below() -> None:
    mount = Mount("/a", app=raw_app)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        _, child = mount.matches(scope)
        scope.update(child)
        await mount.handle(scope, receive, send)

    assert await text_of(app, "/a/b") == "/a|/a/b"


async def test_a_mount_has_middleware_of_its_own() -> None:
    async def mark(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        response.headers["x-root"] = request.scope["root_path"]
        return response

    for app in (raw_app, Router([Route("/b", show)])):
        result = await ask(Router([Mount("/a", app=app, middleware=[mark])]), "/a/b")
        assert result.headers["x-root"] == "/a"


async def test_the_app_of_a_mount_can_be_wrapped_afterwards() -> None:
    mount = Mount("/a", routes=[Route("/b", show)])
    inner, seen = mount.app, []

    async def wrapper(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["root_path"])
        await inner(scope, receive, send)

    mount.app = wrapper
    assert await text_of(Router([mount]), "/a/b") == "/a  /a/b {}"
    assert seen == ["/a"]
    assert [route.path for route in mount.routes if isinstance(route, Route)] == ["/b"]


async def test_an_app_below_that_answers_none_is_named() -> None:
    async def forgetful(request: Request) -> None: ...

    app = Mount("/a", routes=[Route("/b", forgetful)])
    raised = (await ask(app, "/a/b")).raised
    assert isinstance(raised, UsageError)
    assert str(raised).startswith(
        "No response returned: expected a Response (or an ASGI app) for GET '/a/b' from the "
        "endpoint test_an_app_below_that_answers_none_is_named.<locals>.forgetful, or from"
    )


# The scope of the app above stays what it was.


async def test_the_scope_above_keeps_its_root_path_and_learns_what_was_found() -> None:
    route = Route("/b/{y}", show)
    seen: dict[str, Any] = {}

    async def watch(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        seen.update(request.scope)
        return response

    app = Hesper(routes=[Mount("/a/{x}", routes=[route])], middleware=[watch])
    await ask(app, "/a/1/b/2")
    assert (seen["root_path"], seen.get("app_root_path")) == ("", None)
    assert seen["route"] is route
    assert seen["endpoint"] is show
    assert seen["path_params"] == {"x": "1", "y": "2"}
    assert seen["app"] is app
    assert seen["router"] is app.router


async def test_what_was_found_is_told_upwards_of_errors_too() -> None:
    async def broken(request: Request) -> Response:
        raise LookupError

    seen: dict[str, Any] = {}

    async def watch(request: Request, call_next: Any) -> Response:
        try:
            response: Response = await call_next(request)
        finally:
            seen.update(request.scope)
        return response

    app = Hesper(routes=[Mount("/a", routes=[Route("/b", broken)])], middleware=[watch])
    assert isinstance((await ask(app, "/a/b")).raised, LookupError)
    assert seen["endpoint"] is broken


async def test_a_retry_runs_the_whole_stack_again() -> None:
    tries: list[str] = []

    async def flaky(request: Request) -> Response:
        tries.append(request.scope["root_path"])
        if len(tries) < 3:
            raise LookupError
        return PlainTextResponse(f"{request.path_params} {request.url_for('a:b', x=5, y=6)}")

    async def retry(request: Request, call_next: Any) -> Response:
        for _ in range(2):
            try:
                await call_next(request)
            except LookupError:
                pass
        response: Response = await call_next(request)
        return response

    below = Mount("/a/{x}", routes=[Route("/b/{y}", flaky, name="b")], name="a")
    for app in (
        Hesper(routes=[below], middleware=[retry]),
        Hesper(routes=[Mount("/", routes=[below])], middleware=[retry]),
        Hesper(routes=[Host("testserver", Router([below]))], middleware=[retry]),
    ):
        tries.clear()
        result = await ask(app, "/a/1/b/2")
        assert result.text == "{'x': '1', 'y': '2'} http://testserver/a/5/b/6"
        assert tries == ["/a/1"] * 3
        assert result.raised is None


async def test_an_error_that_an_app_below_has_answered_is_raised_also_after_a_retry() -> None:
    tries: list[int] = []

    async def flaky(request: Request) -> Response:
        tries.append(1)
        if len(tries) < 2:
            raise LookupError
        return PlainTextResponse("ok")

    async def retry(request: Request, call_next: Any) -> Response:
        assert (await call_next(request)).status_code == 500
        response: Response = await call_next(request)
        return response

    below = Hesper(routes=[Route("/", flaky)])
    result = await ask(Hesper(routes=[Mount("/", app=below)], middleware=[retry]))
    assert (result.status, result.text) == (200, "ok")
    assert isinstance(result.raised, LookupError)


# Routes of users that hand on.


async def test_a_subclass_of_mount_may_override_matches_and_handle() -> None:
    class Keyed(Mount):
        def matches(self, scope: Scope) -> tuple[Match, dict[str, Any]]:
            if scope["query_string"] != b"key":
                return Match.NONE, {}
            return super().matches(scope)

    class Loud(Mount):
        async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
            scope["path_params"] = {"by": "handle"}
            await super().handle(scope, receive, send)

    routes = [Route("/b", show), WebSocketRoute("/b", greet)]
    router = Router([Keyed("/a", routes=routes), Loud("/l", routes=routes)])
    assert await text_of(router, "/a/b?key") == "/a  /a/b {}"
    assert (await ask(router, "/a/b")).status == 404
    assert (await connect(router, "/a/b?key")).frames == ["/a /a/b {}"]
    assert (await connect(router, "/a/b")).status == 403
    assert await text_of(router, "/l/b") == "/l  /l/b {'by': 'handle'}"
    assert (await connect(router, "/l/b")).frames == ["/l /l/b {'by': 'handle'}"]


# Reversal: the table runs on Starlette too.


async def nothing(*args: Any) -> Any: ...


def _tree(module: Any, app_class: Any) -> Any:
    deep = [
        module.Route("/", nothing, name="list"),
        module.Route("/{id:int}", nothing, name="one"),
        module.WebSocketRoute("/ws", nothing, name="ws"),
    ]
    return app_class(
        routes=[
            module.Route("/", nothing, name="home"),
            module.Route("/f/{path:path}", nothing, name="file"),
            module.Mount("/users", routes=deep, name="users"),
            module.Mount("/t/{tenant}", app=module.Router(deep), name="tenant"),
            module.Mount("/n", routes=[module.Mount("/m/{x}", routes=deep, name="m")], name="n"),
            module.Mount("/unnamed", routes=[module.Route("/u", nothing, name="u")]),
            module.Mount("/raw", app=nothing, name="raw"),
            module.Mount("/empty", routes=[module.Route("/e", nothing, name="e")], name=""),
            module.Host("api.org", module.Router(deep), name="api"),
            module.Host("{sub}.org", module.Router(deep), name="sub"),
            module.Host("u.org", module.Router([module.Route("/h", nothing, name="h")])),
        ]
    )


OURS = _tree(__import__("hesper.routing").routing, Hesper)
THEIRS = _tree(starlette.routing, starlette.applications.Starlette)

REVERSALS: list[tuple[str, dict[str, Any]]] = [
    ("home", {}),
    ("home", {"x": 1}),
    ("file", {"path": "a/b c"}),
    ("users:list", {}),
    ("users:one", {"id": 7}),
    ("users:one", {}),
    ("users:ws", {}),
    ("users:nope", {}),
    ("users", {}),
    ("users", {"path": "/x"}),
    ("users", {"path": "x"}),
    ("users", {"path": "x", "y": 1}),
    ("list", {}),
    ("tenant:one", {"tenant": "t", "id": 7}),
    ("tenant:one", {"id": 7}),
    ("tenant", {"tenant": "t", "path": "/s"}),
    ("n:m:one", {"x": "y", "id": 1}),
    ("n:m", {"x": "y", "path": "/z"}),
    ("n:one", {"x": "y", "id": 1}),
    ("u", {}),
    (":u", {}),
    ("raw", {"path": "/static.css"}),
    ("raw:x", {"path": "/static.css"}),
    ("e", {}),
    (":e", {}),
    ("", {"path": "/q"}),
    ("api:list", {}),
    ("api:one", {"id": 1}),
    ("api", {"path": "/p"}),
    ("api", {"path": "/p", "q": 1}),
    ("sub:one", {"sub": "s", "id": 1}),
    ("sub:one", {"id": 1}),
    ("sub", {"sub": "s", "path": "/p"}),
    ("h", {}),
    ("", {}),
]


def _reversed(app: Any, name: str, params: Mapping[str, Any]) -> tuple[str, ...]:
    try:
        path = app.url_path_for(name, **params)
    except Exception as exc:
        return type(exc).__name__, str(exc)
    absolute = {
        str(path.make_absolute_url(base)) for base in ("http://h/", "https://h/root/", "http://h/r")
    }
    return str(path), path.protocol, path.host, *sorted(absolute)


@pytest.mark.parametrize(("name", "params"), REVERSALS)
def test_url_path_for_gives_what_starlettes_gives(name: str, params: dict[str, Any]) -> None:
    assert _reversed(OURS, name, params) == _reversed(THEIRS, name, params)


def test_a_name_that_is_not_below_is_not_found() -> None:
    for route in (Mount("/a", app=raw_app, name="a"), Host("a.org", raw_app, name="a")):
        for name, params in (("b", {}), ("a:b", {}), ("a", {"path": "/x", "y": 1})):
            with pytest.raises(NoMatchFound) as caught:
                route.url_path_for(name, **params)
            assert f'No route exists for name "{name}"' in str(caught.value)


@pytest.mark.parametrize("root_path", ["", "/proxy"])
async def test_url_for_below_a_mount_gives_what_starlettes_gives(root_path: str) -> None:
    def page(response_class: Any) -> Any:
        async def endpoint(request: Any) -> Any:
            urls = [request.url_for("home"), request.url_for("a:b:page", x=2), request.base_url]
            return response_class(" ".join(map(str, urls)))

        return endpoint

    def tree(module: Any, app_class: Any, response_class: Any) -> Any:
        inner = [module.Route("/page", page(response_class), name="page")]
        routes = [
            module.Route("/", page(response_class), name="home"),
            module.Mount("/a", routes=[module.Mount("/b/{x}", routes=inner, name="b")], name="a"),
        ]
        return app_class(routes=routes)

    ours = tree(__import__("hesper.routing").routing, Hesper, PlainTextResponse)
    theirs = tree(
        starlette.routing,
        starlette.applications.Starlette,
        starlette.responses.PlainTextResponse,
    )
    scope = {"root_path": root_path, "path": f"{root_path}/a/b/1/page"}
    text = await text_of(ours, scope=scope)
    assert text == await text_of(theirs, scope=scope)
    assert text.startswith(f"http://testserver{root_path}/ ")


# Lifespans of what is mounted.


def lifespan_of(name: str, log: list[str]) -> Any:
    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[dict[str, Any]]:
        log.append(f"+{name}")
        yield {"who": name, name: True}
        log.append(f"-{name}")

    return lifespan


async def show_state(request: Any) -> Any:
    state = request.scope.get("state", {})
    return PlainTextResponse(f"{state.get('who')} {sorted(key for key in state if key < 'e')}")


async def test_lifespans_of_mounted_apps_run_inside_and_their_states_lie_over_it() -> None:
    log: list[str] = []
    routes = [Route("/", show_state)]
    own = Hesper(routes=routes, lifespan=lifespan_of("b", log))
    foreign = starlette.applications.Starlette(
        routes=[starlette.routing.Route("/", show_state)], lifespan=lifespan_of("c", log)
    )
    hosted = Router([Route("/d", show_state)], lifespan=lifespan_of("d", log))
    app = Hesper(
        routes=[
            Route("/", show_state),
            Mount("/b", app=own),
            Mount("/c", app=foreign),
            Host("d.org", hosted),
            Mount("/none", routes=routes),
            Mount("/again", app=own),
        ],
        lifespan=lifespan_of("a", log),
    )
    server = ScriptedServer(app)
    async with server.lifespan():
        assert log == ["+a", "+b", "+c", "+d"]
        assert (await server.get("/b/").run()).text == "b ['a', 'b']"
        assert (await server.get("/c/").run()).text == "c ['a', 'c']"
        assert (await server.get("/none/").run()).text == "a ['a']"
        assert (await server.get("/again/").run()).text == "b ['a', 'b']"
        assert (await server.get("/d", headers={"host": "d.org"}).run()).text == "d ['a', 'd']"
        assert (await server.get("/").run()).text == "a ['a']"
    assert log == ["+a", "+b", "+c", "+d", "-d", "-c", "-b", "-a"]
    async with server.lifespan():  # started a second time
        assert (await server.get("/b/").run()).text == "b ['a', 'b']"
    assert log == ["+a", "+b", "+c", "+d", "-d", "-c", "-b", "-a"] * 2


async def test_a_mounted_app_with_a_call_of_its_own_is_spoken_to_in_asgi() -> None:
    log: list[str] = []

    class Counting(Hesper):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            log.append(scope["type"])
            await super().__call__(scope, receive, send)

    inner = Counting(routes=[Route("/", show_state)], lifespan=lifespan_of("b", log))
    server = ScriptedServer(Hesper(routes=[Mount("/b", app=inner)]))
    async with server.lifespan():
        assert (await server.get("/b/").run()).text == "b ['b']"
    assert log == ["lifespan", "+b", "http", "-b"]


async def test_a_user_route_beside_mounts_has_no_lifespan() -> None:
    class Nothing(BaseRoute):
        def matches(self, scope: Scope) -> tuple[Match, dict[str, Any]]:
            return Match.NONE, {}

    log: list[str] = []
    below = Router(lifespan=lifespan_of("b", log))
    server = ScriptedServer(Router([Nothing(), Mount("/b", app=below)]))
    async with server.lifespan():
        pass
    assert log == ["+b", "-b"]


# Errors below are answered by the app that they are in.


async def test_errors_below_are_answered_by_the_handlers_of_the_app_they_are_in() -> None:
    async def missing(request: Request) -> Response:
        raise HTTPException(404, "inside")

    def handler(text: str) -> Any:
        return lambda request, exc: PlainTextResponse(f"{text}: {exc.detail}", 404)

    inner = Hesper(routes=[Route("/x", missing)], exception_handlers={404: handler("inner")})
    app = Hesper(
        routes=[Mount("/own", app=inner), Mount("/routes", routes=[Route("/x", missing)])],
        exception_handlers={404: handler("outer")},
    )
    for path, text in (
        ("/own/x", "inner: inside"),
        ("/own/y", "inner: Not Found"),
        ("/routes/x", "outer: inside"),
        ("/routes/y", "outer: Not Found"),
        ("/nowhere", "outer: Not Found"),
    ):
        result = await ask(app, path)
        assert (result.status, result.text, result.raised) == (404, text, None)
