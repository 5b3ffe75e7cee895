"""Requests of the asynchronous test client, and where redirects lead them."""

from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from hesper._testclient.http.requests import TestRequest
from hesper.applications import Hesper
from hesper.exceptions import HesperDeprecationWarning, UsageError
from hesper.requests import Request
from hesper.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from hesper.routing import Route
from hesper.testclient import AsyncTestClient, RemoteProtocolError, TooManyRedirects
from hesper.types import Receive, Scope, Send
from hesper.websockets import WebSocket

METHODS = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "QUERY"]


async def show(request: Request) -> Response:
    """Shows what came."""
    body = (await request.body()).decode()
    names = ("authorization", "cookie", "content-type", "content-length", "x-a")
    shown = {name: request.headers[name] for name in names if name in request.headers}
    return JSONResponse([request.method, str(request.url), body, shown])


def client_of(endpoint: Any = show, **options: Any) -> AsyncTestClient:
    return AsyncTestClient(
        Hesper(routes=[Route("/{path:path}", endpoint, methods=METHODS)]), **options
    )


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


# -- requests -------------------------------------------------------------------------------------


async def test_every_method_has_a_call() -> None:
    client = client_of()
    for method in METHODS:
        response = await getattr(client, method.lower())(
            "/x", params={"a": 1}, headers={"X-A": "1"}
        )
        assert response.request.method == method
        if method != "HEAD":
            assert response.json()[:2] == [method, "http://testserver/x?a=1"]


async def test_a_body_in_parts_is_read_by_the_test_or_by_the_application() -> None:
    client = client_of()
    request = client.build_request("POST", "/", content=pieces(b"a", b"b"))
    with pytest.raises(UsageError, match=r"`await request.aread\(\)` reads them"):
        _ = request.content
    assert await request.aread() == await request.aread() == request.content == b"ab"
    assert (await client.send(request)).json()[2] == "ab"
    assert (await client.post("/", content=[b"c", b"d"])).json()[2] == "cd"


async def test_what_the_test_wants_to_find_again_is_in_the_request() -> None:
    response = await client_of().get("/", extensions={"of.the.test": 1})
    assert response.request.extensions == {"of.the.test": 1}


def test_its_text() -> None:
    assert repr(TestRequest("get", "http://host/")) == "<TestRequest('GET', 'http://host/')>"


async def test_whom_a_request_comes_from() -> None:
    def signed(request: TestRequest) -> TestRequest:
        request.headers["authorization"] = "signed"
        return request

    def seen(response: Any) -> str | None:
        value: str | None = response.json()[3].get("authorization")
        return value

    client = client_of()
    assert seen(await client.get("/", auth=("user", "pass"))) == "Basic dXNlcjpwYXNz"
    assert seen(await client.get("/", auth=signed)) == "signed"
    assert seen(await client.get("http://user:pass@testserver/")) == "Basic dXNlcjpwYXNz"
    client.auth = signed
    assert seen(await client.get("/")) == "signed"
    assert seen(await client.get("/", auth=None)) is None
    async with client.stream("GET", "/", auth=None) as response:
        await response.aread()
        assert seen(response) is None


async def test_a_timeout_warns_in_every_call() -> None:
    client = client_of()
    with pytest.warns(HesperDeprecationWarning, match=r"use anyio.fail_after\(\)"):
        async with client.stream("GET", "/", timeout=1):
            pass
    with pytest.warns(HesperDeprecationWarning, match=r"use anyio.fail_after\(\)"):
        async with client.leaving("GET", "/", timeout=None):
            pass


async def test_a_socket_is_not_a_request() -> None:
    with pytest.raises(UsageError, match=r"use client.websocket_connect\(\)"):
        await client_of().get("ws://testserver/")


async def test_another_scheme_is_refused() -> None:
    with pytest.raises(UsageError, match="Expected a URL of http, https, ws or wss"):
        await client_of().get("ftp://testserver/")


async def test_a_handshake_has_the_headers_and_cookies_of_the_client() -> None:
    seen: dict[str, str] = {}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        websocket = WebSocket(scope, receive, send)
        seen.update(websocket.headers)
        await websocket.accept()
        await websocket.close()

    client = AsyncTestClient(app, headers={"x-a": "1"}, cookies={"c": "1"})
    client.auth = ("user", "pass")
    async with client.websocket_connect("/", headers={"x-b": "2"}):
        pass
    assert (seen["x-a"], seen["x-b"], seen["cookie"]) == ("1", "2", "c=1")
    assert seen["authorization"] == "Basic dXNlcjpwYXNz"
    assert (seen["connection"], seen["sec-websocket-version"]) == ("upgrade", "13")


# -- redirects ------------------------------------------------------------------------------------


def redirecting(*locations: str, status: int = 307) -> AsyncTestClient:
    """Leads from each location to the next, and shows what came at the last."""
    left = list(locations)

    async def step(request: Request) -> Response:
        if left:
            return RedirectResponse(left.pop(0), status)
        return await show(request)

    return client_of(step)


async def test_the_way_is_in_the_history() -> None:
    response = await redirecting("/a", "b#part", "c").get("/")
    assert [str(earlier.url) for earlier in response.history] == [
        "http://testserver/",
        "http://testserver/a",
        "http://testserver/b#part",
    ]
    assert [len(earlier.history) for earlier in response.history] == [0, 1, 2]
    assert response.url == "http://testserver/c#part"


async def test_a_body_goes_along_where_it_can() -> None:
    assert (await redirecting("/a").post("/", json=[1])).json()[2] == "[1]"
    assert (await redirecting("/a").post("/", content=[b"x", b"y"])).json()[2] == "xy"
    assert (await redirecting("/a", status=303).post("/", json=[1])).json()[:3] == [
        "GET",
        "http://testserver/a",
        "",
    ]


async def test_an_iterator_cannot_go_along() -> None:
    async def read(request: Request) -> Response:
        await request.body()
        return RedirectResponse("/a")

    with pytest.raises(UsageError, match="use follow_redirects=False"):
        await client_of(read).post("/", content=pieces(b"x"))


async def test_cookies_of_the_way_are_sent_on() -> None:
    async def step(request: Request) -> Response:
        if request.url.path == "/":
            response = RedirectResponse("/there")
            response.set_cookie("seen", "1")
            return response
        return await show(request)

    client = client_of(step, cookies={"own": "1"})
    assert (await client.get("/", cookies={"once": "1"})).json()[3]["cookie"] == "own=1; seen=1"


@pytest.mark.parametrize(
    ("location", "told"),
    [
        ("/there", True),
        ("https://testserver/there", True),
        ("http://elsewhere.example/", False),
        ("https://elsewhere.example/", False),
        ("http://testserver:8000/", False),
    ],
)
async def test_secrets_stay_with_the_site_that_they_are_for(location: str, told: bool) -> None:
    response = await redirecting(location).get("/", headers={"authorization": "secret"})
    assert ("authorization" in response.json()[3]) is told
    assert response.request.headers["host"] == response.url.netloc.decode()


async def test_a_redirect_that_is_not_followed_says_where_it_leads() -> None:
    response = await redirecting("/there").get("/", follow_redirects=False)
    assert response.next_request is not None
    assert response.next_request.url == "http://testserver/there"
    assert (await client_of().send(response.next_request)).json()[0] == "GET"


async def test_a_location_that_is_no_url() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"location", b"http://host:port/")]
        await send({"type": "http.response.start", "status": 302, "headers": headers})
        await send({"type": "http.response.body"})

    response = await AsyncTestClient(app).get("/", follow_redirects=False)
    assert response.next_request is None
    assert response.has_redirect_location
    with pytest.raises(RemoteProtocolError, match="'http://host:port/', which is no URL") as caught:
        await AsyncTestClient(app).get("/")
    assert caught.value.request.url == "http://testserver/"


async def test_redirects_in_a_circle_end() -> None:
    seen: list[str] = []

    async def around(request: Request) -> Response:
        seen.append(request.url.path)
        return RedirectResponse("/")

    with pytest.raises(TooManyRedirects, match="More than 20 redirects, the last to http://tests"):
        await client_of(around).get("/")
    assert len(seen) == 21


async def test_a_stream_follows_redirects() -> None:
    async def step(request: Request) -> Response:
        return PlainTextResponse("there") if request.url.path == "/a" else RedirectResponse("/a")

    async with client_of(step).stream("GET", "/") as response:
        assert [line async for line in response.aiter_lines()] == ["there"]


# -- cancellation ---------------------------------------------------------------------------------


class Protesting:
    """An application that begins its response, and raises when its client leaves."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
        else:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        await receive()
        self.ended.append((await receive())["type"])
        raise ValueError("a protest")


async def test_a_call_that_is_cancelled_is_not_made_an_error() -> None:
    app = Protesting()
    with anyio.move_on_after(0.01) as scope:
        await AsyncTestClient(app).get("/")
    assert scope.cancelled_caught
    assert app.ended == ["http.disconnect"]


@pytest.mark.parametrize("way", ["stream", "leaving", "websocket"])
async def test_a_block_that_is_cancelled_is_not_made_an_error(way: str) -> None:
    app = Protesting()
    client = AsyncTestClient(app)
    blocks = {
        "stream": client.stream("GET", "/"),
        "leaving": client.leaving("GET", "/"),
        "websocket": client.websocket_connect("/"),
    }
    with anyio.CancelScope() as scope:
        async with blocks[way]:
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert app.ended == ["websocket.disconnect" if way == "websocket" else "http.disconnect"]


@pytest.mark.parametrize("way", ["stream", "websocket"])
async def test_a_block_that_fails_tells_what_the_application_raised(way: str) -> None:
    client = AsyncTestClient(Protesting())
    blocks = {"stream": client.stream("GET", "/"), "websocket": client.websocket_connect("/")}
    with pytest.raises(ValueError, match="a protest") as caught:
        async with blocks[way]:
            raise KeyError("of the test")
    assert isinstance(caught.value.__context__, KeyError)
