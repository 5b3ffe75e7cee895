"""Which hosts an application answers to."""

import re
from typing import Any

import pytest
import starlette.middleware.trustedhost
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
from hesper.exceptions import UsageError
from hesper.middleware import Middleware
from hesper.middleware.trustedhost import ENFORCE_DOMAIN_WILDCARD, TrustedHostMiddleware
from hesper.requests import Request
from hesper.responses import PlainTextResponse, Response
from hesper.routing import Route, WebSocketRoute
from hesper.testing import Result
from hesper.types import ASGIApp
from hesper.websockets import WebSocket

from .asking import ask, connect


async def show(request: Request) -> Response:
    return PlainTextResponse(str(request.url))


async def greet(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text("hello")


def make(*hosts: str, **options: Any) -> Hesper:
    return Hesper(
        routes=[Route("/{path:path}", show), WebSocketRoute("/ws", greet)],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=hosts, **options)],
    )


async def at(app: ASGIApp, host: str, path: str = "/", **options: Any) -> Result:
    return await ask(app, path, headers={"host": host}, **options)


HOSTS = ("example.com", "*.example.org", "xn--bcher-kva.de", "127.0.0.1", "[::1]", "2001:db8::5")


@pytest.mark.parametrize(
    "host",
    [
        "example.com",
        "EXAMPLE.com",
        "example.com:8000",
        "example.com.",
        "example.com.:80",
        "a.example.org",
        "a.b_c.D.example.org",
        "xn--bcher-kva.de",
        "127.0.0.1:1",
        "[::1]",
        "[::1]:8000",
        "[0:0::0:1]",
        "[2001:DB8:0:0::5]",
    ],
)
async def test_an_allowed_host_is_answered(host: str) -> None:
    assert (await at(make(*HOSTS), host)).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "sub.example.com",  # only the host itself is allowed
        "example.org",  # only what is below it
        ".example.org",
        "a..example.org",
        "evil.example%2f.example.org",
        "evil.example&.example.org",
        "notexample.org",
        "example.com..",
        "[::2]",
        "127.1",
    ],
)
async def test_another_host_is_400(host: str) -> None:
    result = await at(make(*HOSTS), host)
    assert (result.status, result.text) == (400, "Invalid host header")
    assert result.raised is None


@pytest.mark.parametrize(
    "host",
    [
        "",
        " ",
        "user@example.com",
        "user:password@example.com",
        "example.com@evil.example",
        "evil.example#example.com",
        "evil.example/example.com",
        "evil.example\\example.com",
        "evil.example?.example.org",
        "example.com,evil.example",
        "example.com evil.example",
        "example.com:80:80",
        "example.com:http",
        "example.com:99999",
        "example.com:-1",
        "http://example.com",
        "::1",
        "[::1",
        "[::1]evil.example",
        "[::1]@evil.example",
        "[::1].",
        "[::1%25eth0]",
        "[v1.x]",
        "exämple.com",
        "a" * 300 + ".example.org",
        "a." * 40_000 + "example.org",
    ],
)
async def test_host_header_tricks_are_400(host: str) -> None:
    result = await at(make(*HOSTS), host)
    assert (result.status, result.text) == (400, "Invalid host header")


@pytest.mark.parametrize(
    "host",
    [
        "example.com\r\nX: y",
        "example.com\n",
        "example.com\0",
        "evil.example\r\n.example.org",
        "evil.example\n.example.org",
    ],
)
async def test_line_breaks_in_the_host_get_nowhere(host: str) -> None:
    result = await at(make(*HOSTS), host)
    assert (result.status, result.text) == (400, "Invalid host header")
    assert set(result.headers) == {"content-length", "content-type"}


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [b"example.com", b"evil.example"],
        [b"evil.example", b"example.com"],
        [b"example.com", b"example.com"],
        [b"example.com", b""],
        [b"example.com\xb2"],
    ],
)
async def test_a_host_that_is_missing_or_there_twice_is_400(fields: list[bytes]) -> None:
    headers = [(b"host", field) for field in fields]
    assert (await ask(make(*HOSTS), scope={"headers": headers})).status == 400


async def test_every_host_is_allowed_by_default_and_by_a_star() -> None:
    assert TrustedHostMiddleware(make()).allowed_hosts == ["*"]
    for app in (TrustedHostMiddleware(Route("/", show)), make("example.com", "*")):
        for host in ("anything.example", "mal@formed"):
            assert (await at(app, host)).status == 200
        assert (await ask(app, scope={"headers": []})).status == 200


async def test_no_host_is_allowed_by_an_empty_list() -> None:
    assert (await at(make(), "example.com")).status == 400


async def test_a_single_str_is_one_host_and_not_its_letters() -> None:
    app = TrustedHostMiddleware(Route("/", show), allowed_hosts="example.com")
    assert app.allowed_hosts == ["example.com"]
    assert (await at(app, "example.com")).status == 200
    assert (await at(app, "e")).status == 400


async def test_the_allowed_hosts_are_compared_as_hosts_too() -> None:
    app = make("EXAMPLE.com.", "[0:0:0:0:0:0:0:1]", "*.Example.ORG")
    for host in ("example.com", "[::1]", "a.example.org"):
        assert (await at(app, host)).status == 200, host


# Redirects to www.


async def test_a_host_is_redirected_to_its_www() -> None:
    app = make("www.example.com")
    result = await at(app, "example.com:8000", "/a%2Fb%20c%25?q=%C3%A4&r=a+b")
    assert result.status == 307
    assert result.headers["location"] == ("http://www.example.com:8000/a%2Fb%20c%25?q=%C3%A4&r=a+b")
    assert (await at(app, "EXAMPLE.com")).headers["location"] == "http://www.EXAMPLE.com/"
    assert (await at(app, "example.com", scope={"scheme": "https"})).headers["location"] == (
        "https://www.example.com/"
    )


async def test_a_host_is_not_redirected_if_it_is_allowed_or_that_is_not_wanted() -> None:
    assert (await at(make("example.com", "www.example.com"), "example.com")).status == 200
    assert (await at(make("www.example.com", www_redirect=False), "example.com")).status == 400
    assert (await at(make("*.example.com"), "example.com")).status == 400
    assert (await at(make("www.example.com"), "evil.example")).status == 400


@pytest.mark.parametrize(
    "path", ["//evil.example", "/\\evil.example", "@evil.example", "http://evil.example/", "*"]
)
async def test_no_path_makes_the_redirect_leave_the_host(path: str) -> None:
    for scope in ({"path": path, "raw_path": path.encode()}, {"path": path, "raw_path": None}):
        result = await at(make("www.example.com"), "example.com", scope=scope)
        assert result.headers["location"].startswith("http://www.example.com/"), path


# WebSockets.


async def test_a_websocket_of_an_allowed_host_passes() -> None:
    result = await connect(make("example.com"), "/ws", headers={"host": "example.com"})
    assert result.frames == ["hello"]


async def test_a_websocket_of_another_host_is_denied() -> None:
    for host in ("evil.example", "", "mal@formed"):
        result = await connect(make("example.com"), "/ws", headers={"host": host})
        assert (result.status, result.text, result.accepted) == (400, "Invalid host header", False)
        plain = await connect(make("example.com"), "/ws", headers={"host": host}, denying=False)
        assert (plain.status, plain.accepted, plain.raised) == (403, False, None)


async def test_a_websocket_is_redirected_to_www_too() -> None:
    result = await connect(make("www.example.com"), "/ws?a=b", headers={"host": "example.com"})
    assert (result.status, result.headers["location"]) == (307, "ws://www.example.com/ws?a=b")


# What may be configured.


@pytest.mark.parametrize("pattern", ["*example.com", "a.*.com", "example.*", "**", "*.*.com", "*."])
def test_a_wildcard_elsewhere_is_told(pattern: str) -> None:
    with pytest.raises(UsageError, match=r"^Domain wildcard patterns|^Expected a host such as"):
        TrustedHostMiddleware(make(), allowed_hosts=[pattern])


def test_what_is_said_about_a_wildcard() -> None:
    with pytest.raises(UsageError) as caught:
        TrustedHostMiddleware(make(), allowed_hosts=["*example.com"])
    assert str(caught.value) == f"{ENFORCE_DOMAIN_WILDCARD} Got '*example.com'."
    theirs = starlette.middleware.trustedhost.ENFORCE_DOMAIN_WILDCARD
    assert theirs == ENFORCE_DOMAIN_WILDCARD


@pytest.mark.parametrize(
    "pattern",
    ["", "example.com:80", "http://example.com", "example.com/", ".example.com", ".", "bücher.de"],
)
def test_what_is_no_host_is_told(pattern: str) -> None:
    with pytest.raises(UsageError) as caught:
        TrustedHostMiddleware(make(), allowed_hosts=["example.com", pattern])
    assert str(caught.value) == (
        "Expected a host such as 'example.com', '*.example.com' or '[::1]', got "
        f"{pattern!r}. Leave out scheme, port and path: every port of a host is allowed. Write "
        "names beyond ASCII as xn--...."
    )


# Elsewhere.


async def theirs(request: StarletteRequest) -> StarletteResponse:
    return StarlettePlain("theirs")


async def test_it_stands_in_a_starlette_app() -> None:
    app = Starlette(
        routes=[StarletteRoute("/", theirs)],
        middleware=[StarletteMiddleware(TrustedHostMiddleware, allowed_hosts=["example.com"])],
    )
    assert (await at(app, "example.com")).text == "theirs"
    assert (await at(app, "evil.example")).status == 400


async def test_it_stands_in_a_fastapi_app() -> None:
    app = FastAPI()
    app.get("/")(lambda: "theirs")
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["example.com"])
    assert (await at(app, "example.com")).text == '"theirs"'
    assert (await at(app, "evil.example")).status == 400


# Every host.

letters = st.text("aeE0-_.:[]%@,;&*\r\n /\\ä", max_size=12)


async def never(*args: Any) -> None:
    raise AssertionError


@given(st.lists(st.binary(max_size=40) | letters.map(lambda text: text.encode("latin-1"))))
def test_no_host_of_a_client_makes_it_crash_or_passes(hosts: list[bytes]) -> None:
    middleware = TrustedHostMiddleware(never, allowed_hosts=["example.com", "*.example.org"])
    headers = [(b"host", host) for host in hosts]
    answer = middleware._answer(Request({"type": "http", "headers": headers}))
    assert answer is not None
    assert answer.status_code == 400


@given(letters, letters)
def test_whatever_stands_around_a_domain_is_looked_at(before: str, after: str) -> None:
    middleware = TrustedHostMiddleware(never, allowed_hosts=["example.com", "*.example.com"])
    host = f"{before}example.com{after}"
    scope = {"type": "http", "headers": [(b"host", host.encode("latin-1"))]}
    if middleware._answer(Request(scope)) is None:
        assert re.fullmatch(r"([a-z0-9_-]+\.)*example\.com\.?(:[0-9]+)?", host.lower())
