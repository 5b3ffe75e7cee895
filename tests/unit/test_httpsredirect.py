"""From HTTP to HTTPS: where a request is sent, and where it is never sent."""

from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import starlette.middleware.httpsredirect
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.middleware import Middleware as StarletteMiddleware
from starlette.requests import Request as StarletteRequest
from starlette.responses import PlainTextResponse as StarlettePlain
from starlette.responses import Response as StarletteResponse
from starlette.routing import Route as StarletteRoute

from hesper.applications import Hesper
from hesper.middleware import Middleware
from hesper.middleware.httpsredirect import HTTPSRedirectMiddleware
from hesper.requests import Request
from hesper.responses import PlainTextResponse, Response
from hesper.routing import Route, WebSocketRoute
from hesper.types import ASGIApp, Receive, Scope, Send
from hesper.websockets import WebSocket

from .asking import ask, connect, text_of


async def show(request: Request) -> Response:
    return PlainTextResponse("shown")


async def greet(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text("hello")


app = Hesper(
    routes=[Route("/", show), WebSocketRoute("/ws", greet)],
    middleware=[Middleware(HTTPSRedirectMiddleware)],
)


async def location(path: str = "/", host: str = "example.com", **options: Any) -> str:
    """Where a request is sent."""
    result = await ask(app, path, headers={"host": host}, **options)
    assert (result.status, result.raised) == (307, None), result.log
    return result.headers["location"]


async def test_a_request_without_tls_is_sent_to_the_same_url_with_it() -> None:
    assert await location() == "https://example.com/"
    assert await location("/a/b?c=d", method="POST", body=b"x") == "https://example.com/a/b?c=d"


async def test_a_request_with_tls_passes() -> None:
    assert await text_of(app, scope={"scheme": "https"}) == "shown"


async def test_a_server_that_leaves_out_the_scheme_means_http() -> None:
    for scheme in (None, ""):
        assert await location(scope={"scheme": scheme}) == "https://example.com/"


@pytest.mark.parametrize(
    ("host", "authority"),
    [
        ("example.com:80", "example.com"),
        ("example.com:443", "example.com"),
        ("example.com:00080", "example.com"),
        ("example.com:8000", "example.com:8000"),
        ("EXAMPLE.com", "EXAMPLE.com"),
        ("[::1]", "[::1]"),
        ("[::1]:80", "[::1]"),
        ("[::1]:8000", "[::1]:8000"),
    ],
)
async def test_a_default_port_is_left_out_and_another_stays(host: str, authority: str) -> None:
    assert await location(host=host) == f"https://{authority}/"


@pytest.mark.parametrize(
    "path",
    [
        "/a%2Fb/c%252F",
        "/100%25",
        "/a%3Fb%23c",
        "/a%20b+c",
        "/%C3%A4",
        "/%FF",
        "//a//b/",
        "/a/../b/./c",
        "/a;b=c,d:e@f!$&'()*~",
        "/%e4%E4",
        "/x?",
        "/?a=b&a=%26&c=d+e%20f&g=%C3%A4&h=?/:@[1]",
        "/?next=https%3A%2F%2Fevil.example&x=https://evil.example/",
    ],
)
async def test_path_and_query_are_kept_exactly(path: str) -> None:
    assert await location(path) == f"https://example.com{path.removesuffix('?')}"


async def test_a_path_that_was_replaced_is_the_one_that_counts() -> None:
    scope: dict[str, Any] = {"path": "/new path/100%?#", "raw_path": b"/old"}
    assert await location(scope=scope) == "https://example.com/new%20path/100%25%3F%23"
    for missing in (None, b""):
        scope = {"path": "/ä%41", "raw_path": missing}
        assert await location(scope=scope) == "https://example.com/%C3%A4%2541"


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
async def test_the_method_does_not_matter(method: str) -> None:
    assert await location(method=method) == "https://example.com/"


# Security.


@pytest.mark.parametrize(
    "host",
    [
        "",
        "user@example.com",
        "example.com/evil.example",
        "example.com\\@evil.example",
        "example.com#",
        "example.com?",
        "example.com:x",
        "example.com:65536",
        "[:::]",
        "[::1]evil.example",
        "example.com, evil.example",
        "exämple.com",
    ],
)
async def test_a_malformed_host_is_400(host: str) -> None:
    result = await ask(app, headers={"host": host})
    assert (result.status, result.text) == (400, "Invalid host header")


@pytest.mark.parametrize("fields", [[], [b"example.com", b"evil.example"], [b"a", b"a"]])
async def test_a_host_that_is_missing_or_there_twice_is_400(fields: list[bytes]) -> None:
    result = await ask(app, scope={"headers": [(b"host", field) for field in fields]})
    assert (result.status, result.text) == (400, "Invalid host header")


@pytest.mark.parametrize(
    "path",
    [
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "@evil.example",
        ".evil.example",
        ":80@evil.example",
        "http://evil.example/",
        "*",
        "",
        "/\t/evil.example",
    ],
)
async def test_an_open_redirect_by_slashes_or_hosts_stays_on_the_host(path: str) -> None:
    for raw in (path.encode(), None):
        target = await location(scope={"path": path, "raw_path": raw})
        assert urlsplit(target).netloc == "example.com", target
        assert target.startswith("https://example.com/")
        assert "\\" not in target


async def test_line_breaks_do_not_end_the_header() -> None:
    broken = "/a\r\nSet-Cookie: a=b\0"
    for scope in (
        {"path": broken, "raw_path": broken.encode()},
        {"path": broken, "raw_path": None},
        {"query_string": broken.encode()},
    ):
        assert "%0D%0ASet-Cookie:%20a=b%00" in await location(scope=scope)
    result = await ask(app, headers={"host": "example.com\r\nSet-Cookie: a=b"})
    assert (result.status, "set-cookie" in result.headers) == (400, False)


@given(
    path=st.text(st.characters(codec="utf-8"), max_size=20)
    | st.text("/\\@:?#%.\r\n*é", max_size=8),
    raw=st.none() | st.binary(max_size=20),
    query=st.binary(max_size=20),
)
def test_every_path_is_read_again_as_it_was(path: str, raw: bytes | None, query: bytes) -> None:
    scope = {
        "type": "http",
        "path": path,
        "raw_path": raw,
        "query_string": query,
        "headers": [(b"host", b"example.com")],
    }
    response = HTTPSRedirectMiddleware(app)._answer(Request(scope))
    assert response is not None
    target = response.headers["location"]
    parts = urlsplit(target)
    assert target.isascii()
    assert target.isprintable()
    assert (parts.scheme, parts.netloc, parts.fragment) == ("https", "example.com", "")
    slash = "" if path.startswith("/") else "/"
    assert unquote(parts.path) == slash + path
    assert unquote(parts.query) == unquote(query.decode("utf-8", "replace"))


# WebSockets.


async def test_a_websocket_is_sent_to_wss() -> None:
    result = await connect(app, "/ws?a=b", headers={"host": "example.com"})
    assert (result.status, result.headers["location"]) == (307, "wss://example.com/ws?a=b")
    assert not result.accepted


async def test_where_the_server_cannot_redirect_a_websocket_it_is_refused() -> None:
    result = await connect(app, "/ws", denying=False)
    assert (result.status, result.accepted, result.raised) == (403, False, None)


async def test_a_websocket_with_a_malformed_host_is_400() -> None:
    result = await connect(app, "/ws", headers={"host": "a@b"})
    assert (result.status, result.text) == (400, "Invalid host header")


async def test_a_websocket_with_tls_passes() -> None:
    async def secure(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "scheme": "wss"}, receive, send)

    assert (await connect(secure, "/ws")).frames == ["hello"]


# Elsewhere.


async def theirs(request: StarletteRequest) -> StarletteResponse:
    return StarlettePlain("theirs")


async def test_it_stands_in_starlette_and_fastapi_apps() -> None:
    starlette_app = Starlette(
        routes=[StarletteRoute("/", theirs)],
        middleware=[StarletteMiddleware(HTTPSRedirectMiddleware)],
    )
    fastapi_app = FastAPI()
    fastapi_app.get("/")(lambda: "theirs")
    fastapi_app.add_middleware(HTTPSRedirectMiddleware)
    outer: ASGIApp
    for outer in (starlette_app, fastapi_app):
        assert (await ask(outer)).headers["location"] == "https://testserver/"
        assert "theirs" in await text_of(outer, scope={"scheme": "https"})


@pytest.mark.parametrize("host", ["example.com", "example.com:80", "example.com:8000", "[::1]"])
@pytest.mark.parametrize("path", ["/", "/a/b?c=d", "/%C3%A4"])
async def test_it_sends_where_starlette_sends(host: str, path: str) -> None:
    their_class = starlette.middleware.httpsredirect.HTTPSRedirectMiddleware
    result = await ask(their_class(StarlettePlain("x")), path, headers={"host": host})
    assert await location(path, host) == result.headers["location"]
