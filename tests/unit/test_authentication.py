"""``requires``: who gets to an endpoint, and where the others are sent."""

import functools
import inspect
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import starlette.authentication

from hesper import authentication as module
from hesper.applications import Hesper
from hesper.authentication import (
    AuthCredentials,
    AuthenticationBackend,
    BaseUser,
    SimpleUser,
    UnauthenticatedUser,
    has_required_scope,
    requires,
)
from hesper.exceptions import UsageError
from hesper.middleware import Middleware
from hesper.middleware.authentication import AuthenticationMiddleware
from hesper.requests import HTTPConnection, Request
from hesper.responses import PlainTextResponse, Response
from hesper.routing import Mount, Route, WebSocketRoute
from hesper.testing import Result
from hesper.types import ASGIApp
from hesper.websockets import WebSocket

from .asking import ask, connect


class ByHeader(AuthenticationBackend):
    """Takes the scopes from a header, as no real one should."""

    async def authenticate(
        self, conn: HTTPConnection[Any]
    ) -> tuple[AuthCredentials, BaseUser] | None:
        scopes = conn.headers.get("scopes")
        return None if scopes is None else (AuthCredentials(scopes.split()), SimpleUser("alice"))


@requires("reader")
async def read(request: Request) -> Response:
    """Reads."""
    return PlainTextResponse(f"for {request.user.display_name}")


@requires(["reader", "writer"], status_code=404)
def write(request: Request) -> Response:
    return PlainTextResponse(f"for {request.user.display_name}")


@requires("reader", redirect="login")
async def page(request: Request) -> Response:
    return PlainTextResponse("page")


@requires("reader", redirect="login")
def sync_page(request: Request) -> Response:
    return PlainTextResponse("page")


@requires("reader")
async def chat(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text(f"for {websocket.user.display_name}")


async def login(request: Request) -> Response:
    return PlainTextResponse("login")


class Endpoints:
    """Methods, as endpoints."""

    name = "of an object"

    @requires("reader")
    async def read(self, request: Request) -> Response:
        return PlainTextResponse(self.name)

    @requires("reader")
    def write(self, request: Request) -> Response:
        return PlainTextResponse(self.name)

    @requires("reader")
    async def chat(self, websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(self.name)

    @requires("reader")
    async def __call__(self, more: str, request: Request) -> Response:
        return PlainTextResponse(more)


endpoints = Endpoints()


def injecting(endpoint: Callable[..., Any], **values: Any) -> Callable[..., Any]:
    """A decorator of a user, which calls by name."""

    async def inject(request: Request) -> Any:
        answer = endpoint(request=request, **values)
        return await answer if inspect.isawaitable(answer) else answer

    return inject


async def inject_socket(websocket: WebSocket) -> None:
    await chat(websocket=websocket)


@requires("reader")
async def with_more(more: str, request: Request) -> Response:
    return PlainTextResponse(more)


@requires("reader")
def by_name_only(*args: str, request: Request) -> Response:
    return PlainTextResponse("by name")


app = Hesper(
    routes=[
        Route("/read", read),
        Route("/write", write),
        Route("/page", page, methods=["GET", "POST"]),
        Route("/sync_page", sync_page),
        Route("/deep/{path:path}", page),
        Route("/login", login, name="login"),
        Route("/method", endpoints.read),
        Route("/sync_method", endpoints.write),
        Route("/injected", injecting(with_more, more="more")),
        Route("/by_name", injecting(by_name_only)),
        Route("/object", requires("reader")(functools.partial(endpoints, "partial"))),
        WebSocketRoute("/chat", chat),
        WebSocketRoute("/method_chat", endpoints.chat),
        WebSocketRoute("/injected_chat", inject_socket),
    ],
    middleware=[Middleware(AuthenticationMiddleware, backend=ByHeader())],
)


async def get(path: str, scopes: str | None = None, **options: Any) -> Result:
    headers = {} if scopes is None else {"scopes": scopes}
    return await ask(app, path, headers=headers, **options)


# Who gets there.


async def test_a_client_with_the_scope_gets_there() -> None:
    assert (await get("/read", "reader")).text == "for alice"
    assert (await get("/write", "writer other reader")).text == "for alice"


async def test_another_client_gets_403_or_what_was_asked_for() -> None:
    for scopes in (None, "", "other", "READER"):
        assert (await get("/read", scopes)).status == 403
    for scopes in (None, "reader", "writer"):
        assert (await get("/write", scopes)).status == 404


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/method", "of an object"),
        ("/sync_method", "of an object"),
        ("/injected", "more"),
        ("/by_name", "by name"),
        ("/object", "partial"),
    ],
)
async def test_methods_and_calls_by_name_are_looked_at_too(path: str, text: str) -> None:
    assert (await get(path, "reader")).text == text
    assert (await get(path)).status == 403


@pytest.mark.parametrize(
    ("path", "text"),
    [("/chat", "for alice"), ("/method_chat", "of an object"), ("/injected_chat", "for alice")],
)
async def test_a_websocket_without_the_scope_is_refused(path: str, text: str) -> None:
    assert (await connect(app, path, headers={"scopes": "reader"})).frames == [text]
    for denying in (True, False):
        result = await connect(app, path, denying=denying)
        assert (result.status, result.accepted, result.raised) == (403, False, None)


async def test_a_websocket_that_is_open_is_closed_with_1000() -> None:
    async def late(websocket: WebSocket) -> None:
        await websocket.accept()
        await chat(websocket)

    routed = Hesper(
        routes=[WebSocketRoute("/", late)],
        middleware=[Middleware(AuthenticationMiddleware, backend=ByHeader())],
    )
    assert (await connect(routed)).close_code == 1000


# Where the others are sent.


@pytest.mark.parametrize("path", ["/page", "/sync_page"])
async def test_another_client_is_sent_to_a_route_with_the_url_as_next(path: str) -> None:
    result = await get(f"{path}?a=b&c=d")
    assert result.status == 303
    target = urlsplit(result.headers["location"])
    assert (target.netloc, target.path) == ("testserver", "/login")
    assert parse_qs(target.query) == {"next": [f"http://testserver{path}?a=b&c=d"]}
    assert (await get(path, "reader")).text == "page"
    assert (await get("/page", method="POST", body=b"x")).status == 303


async def test_next_is_added_to_a_query_that_is_there() -> None:
    class Asking(Route):
        def url_path_for(self, name: str, /, **path_params: Any) -> Any:
            path = super().url_path_for(name, **path_params)
            return type(path)(f"{path}?lang=en")

    routed = Hesper(
        routes=[Route("/page", page), Asking("/login", login, name="login")],
        middleware=[Middleware(AuthenticationMiddleware, backend=ByHeader())],
    )
    location = (await ask(routed, "/page")).headers["location"]
    assert location == ("http://testserver/login?lang=en&next=http%3A%2F%2Ftestserver%2Fpage")


@pytest.mark.parametrize(
    ("path", "seen"),
    [
        ("/deep///evil.example", "/deep///evil.example"),
        ("/deep/\\evil.example", "/deep/%5Cevil.example"),
        ("/deep/@evil.example", "/deep/@evil.example"),
        ("/deep/a&next=https://evil.example", "/deep/a&next=https://evil.example"),
        ("/deep/?next=https://evil.example", "/deep/%3Fnext=https://evil.example"),
    ],
)
async def test_next_is_no_open_redirect_and_injects_nothing(path: str, seen: str) -> None:
    scope = {"path": path, "query_string": b"a\r\nSet-Cookie: a=b"}
    result = await get("/deep/", scope=scope)
    target = urlsplit(result.headers["location"])
    assert (target.scheme, target.netloc, target.path) == ("http", "testserver", "/login")
    url = f"http://testserver{seen}?a%0D%0ASet-Cookie: a=b"
    assert parse_qs(target.query) == {"next": [url]}
    assert "set-cookie" not in result.headers


async def test_next_of_a_query_and_of_a_malformed_host_is_this_site() -> None:
    result = await get("/page?next=https://evil.example&next=//evil.example%0d%0aX:y")
    query = parse_qs(urlsplit(result.headers["location"]).query)
    assert query == {
        "next": ["http://testserver/page?next=https://evil.example&next=//evil.example%0d%0aX:y"]
    }
    for host in ("evil.example\r\nX: y", "testserver@evil.example", "evil.example/"):
        result = await ask(app, "/page", headers={"host": host})
        assert result.headers["location"] == (
            "http://testserver/login?next=http%3A%2F%2Ftestserver%2Fpage"
        )


# What a decorator leaves as it is.


def test_names_and_signatures_stay() -> None:
    assert (read.__name__, read.__doc__, read.__module__) == ("read", "Reads.", __name__)
    assert list(inspect.signature(with_more).parameters) == ["more", "request"]
    assert list(inspect.signature(Endpoints.write).parameters) == ["self", "request"]
    for function in (read, chat, Endpoints.read):
        assert inspect.iscoroutinefunction(function)
    assert not inspect.iscoroutinefunction(write)
    assert list(inspect.signature(requires).parameters) == list(
        inspect.signature(starlette.authentication.requires).parameters
    )


async def test_a_function_decorated_twice_needs_both() -> None:
    both = requires("writer")(requires("reader")(login))
    routed = Hesper(
        routes=[Route("/", both)],
        middleware=[Middleware(AuthenticationMiddleware, backend=ByHeader())],
    )
    assert (await ask(routed, headers={"scopes": "reader writer"})).status == 200
    assert (await ask(routed, headers={"scopes": "reader"})).status == 403


# Mistakes.


def test_a_function_without_the_parameter_is_told() -> None:
    def nothing(a: int, b: int) -> None: ...

    with pytest.raises(UsageError) as caught:
        requires("reader")(nothing)
    assert str(caught.value) == (
        'No "request" or "websocket" argument on function '
        "test_a_function_without_the_parameter_is_told.<locals>.nothing: expected one of these "
        "among its parameters, got (a, b)."
    )
    with pytest.raises(UsageError, match=r"on function functools\.partial\("):
        requires("reader")(functools.partial(nothing, 1))


async def test_an_argument_of_another_kind_is_told() -> None:
    untyped: Any = read
    with pytest.raises(UsageError) as caught:
        await untyped("no request")
    assert str(caught.value) == (
        "Expected the argument 'request' of read to be a Request, got 'no request'."
    )
    untyped = write
    with pytest.raises(UsageError, match=r"'request' of write to be a Request, got None"):
        untyped()
    untyped = chat
    with pytest.raises(UsageError, match=r"'websocket' of chat to be a WebSocket, got None"):
        await untyped()


async def test_without_the_middleware_the_user_is_told() -> None:
    bare: ASGIApp = Hesper(routes=[Route("/", read)])
    raised = (await ask(bare)).raised
    assert isinstance(raised, UsageError)
    assert "AuthenticationMiddleware must be installed" in str(raised)


async def test_a_redirect_in_a_mounted_app_goes_to_a_route_of_it() -> None:
    routed = Hesper(routes=[Mount("/mounted", app)])
    location = (await ask(routed, "/mounted/page")).headers["location"]
    assert location == (
        "http://testserver/mounted/login?next=http%3A%2F%2Ftestserver%2Fmounted%2Fpage"
    )


# Users and scopes.


def test_the_users() -> None:
    alice, nobody = SimpleUser("alice"), UnauthenticatedUser()
    assert (alice.is_authenticated, alice.display_name, alice.identity) == (True, "alice", "alice")
    assert (nobody.is_authenticated, nobody.display_name, nobody.identity) == (False, "", "")
    assert alice.username == "alice"
    for name in ("is_authenticated", "display_name", "identity"):
        with pytest.raises(NotImplementedError):
            getattr(BaseUser(), name)


async def test_a_backend_without_authenticate_is_none() -> None:
    with pytest.raises(NotImplementedError):
        await AuthenticationBackend().authenticate(Request({"type": "http"}))


def test_scopes_are_needed_all() -> None:
    given = ["a", "b"]
    credentials = AuthCredentials(given)
    request: Request = Request({"type": "http", "auth": credentials})
    assert has_required_scope(request, ["a", "b"])
    assert has_required_scope(request, [])
    assert not has_required_scope(request, ["a", "c"])
    assert credentials.scopes is not given
    assert AuthCredentials().scopes == []


def test_the_known_names_are_there() -> None:
    for name in module.__all__:
        assert hasattr(starlette.authentication, name)
    assert {"AuthenticationError", "requires", "has_required_scope"} <= set(module.__all__)
