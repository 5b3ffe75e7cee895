"""`AsyncTestClient` and `TestClient` send the same and read the same.

`TestClient` is one of httpx2, so what is the same here is what a test may take over when it changes
from the one to the other.
"""

import gzip
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hesper.applications import Hesper
from hesper.requests import Request
from hesper.responses import PlainTextResponse, Response
from hesper.routing import Route
from hesper.testclient import AsyncTestClient, HTTPStatusError, TestClient
from hesper.types import Receive, Scope, Send

BOUNDARY = {"content-type": "multipart/form-data; boundary=1234567890"}


async def nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """For clients that only build requests."""


def built(client: Any, method: str, url: str, options: dict[str, Any]) -> Any:
    """What a request says, in a form that both clients have."""
    request = client.build_request(method, url, **options)
    headers = [(name.lower(), value) for name, value in request.headers.raw]
    # Which codings httpx2 knows is a matter of what is installed.
    headers = [field for field in headers if field[0] != b"accept-encoding"]
    content = request.read() if isinstance(client, TestClient) else request.content
    to = request.url
    parts = to.scheme, to.userinfo, to.raw_host, to.port, to.raw_path, to.fragment
    return request.method, parts, sorted(headers), content


def same_request(method: str, url: str, defaults: dict[str, Any], **options: Any) -> None:
    ours = built(AsyncTestClient(nothing, **defaults), method, url, options)
    assert built(TestClient(nothing, **defaults), method, url, options) == ours


# -- what is sent ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "/",
        "",
        "relative/path",
        "/a/../b/./c/",
        "/../../a",
        "/a b/é/%41/%zz/%C3%A9",
        "/a?b=c d&é=1&%20=#part é",
        "//other/path",
        "/a;b=c,d:e@f",
        "?only=query",
        "http://other",
        "http://OTHER.example:80/X",
        "https://other:8443/x?y#z",
        "https://user:p%40ss@other/x",
        "http://[::1]:8000/x",
        "http://bücher.example/ü",
        "/a//b",
        "/a\\b|c^d[e]{f}",
    ],
)
@pytest.mark.parametrize("base_url", ["http://testserver", "https://api.example:8443/v1/"])
def test_the_same_url(url: str, base_url: str) -> None:
    same_request("GET", url, {"base_url": base_url})


@pytest.mark.parametrize("method", ["get", "POST", "PUT", "PATCH", "DELETE", "HEAD", "QUERY"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"content": b"bytes"},
        {"content": "téxt"},
        {"content": b""},
        {"json": {"a": [1, None, "é"]}},
        {"json": 0},
        {"data": {"a": "1", "b": ["2", 3], "c": None, "d": True, "é": "&="}},
        {"data": {}},
        {"content": b"chunked", "headers": {"Transfer-Encoding": "chunked"}},
        {"content": b"sized", "headers": {"Content-Length": "7"}},
        {"json": 1, "headers": {"Content-Type": "application/problem+json"}},
        {"headers": {"Host": "elsewhere", "Accept": "text/html", "X": "1"}},
        {"headers": [("X", "1"), ("x", "2")]},
        {"headers": {b"raw": b"\xff"}},
        {"params": {"a": "1", "b": ["2", 3], "c": None, "d": False}},
        {"params": [("a", "1"), ("a", "2 é")]},
        {"params": "a=1&b=2"},
        {"params": b"a=1"},
        {"params": {}},
        {"cookies": {"a": "1", "b": "2"}},
        {"cookies": {"a": "1"}, "headers": {"Cookie": "b=2"}},
    ],
)
def test_the_same_request(method: str, options: dict[str, Any]) -> None:
    same_request(method, "/path?query=1", {}, **options)


@pytest.mark.parametrize(
    "files",
    [
        {"a": b"content"},
        {"a": "content"},
        {"a": ("name.txt", b"content")},
        {"a": ('näme "quoted"\\\n.png', b"content")},
        {"a": ("name.unknown", b"content")},
        {"a": (None, b"content")},
        {"a": ("name", b"content", "text/x")},
        {"a": ("name", b"content", "text/x", {"X-More": "1"})},
        {"a": ("name", b"content", "text/x", {"Content-Type": "text/y"})},
        {"a": ("name", b"content", None)},
        [("a", b"1"), ("a", b"2")],
    ],
)
def test_the_same_form_with_files(files: Any) -> None:
    data = {"field": "é", "more": ["1", b"2", 3], "none": None}
    same_request("POST", "/", {}, files=files, data=data, headers=BOUNDARY)


def test_the_same_form_with_open_files(tmp_path: Any) -> None:
    path = tmp_path / "name.css"
    path.write_bytes(b"content")
    with path.open("rb") as file:
        file.read(3)
        same_request("POST", "/", {}, files={"a": file}, headers=BOUNDARY)
    with path.open("rb") as file, path.open("rb") as again:
        ours = built(AsyncTestClient(nothing), "POST", "/", {"content": file})
        theirs = TestClient(nothing).build_request("POST", "/", content=again)
        assert ours[3] == theirs.read()
        assert (b"content-length", b"7") in ours[2]
        assert theirs.headers["content-length"] == "7"


def test_the_same_defaults() -> None:
    ours, theirs = AsyncTestClient(nothing), TestClient(nothing)
    for client in (ours, theirs):
        configured: Any = client
        # httpx2 forgets its user agent here.
        configured.headers = {"authorization": "Bearer token", "user-agent": "test"}
        configured.headers["x-a"] = "1"
        configured.headers.update({"X-B": "2"})
        configured.cookies = {"c": "1"}
        configured.cookies.set("d", "2", domain="testserver.local", path="/api/deep")
        configured.cookies.set("e", "3", domain="elsewhere.example")
        configured.params = {"lang": "en", "page": "1"}
        configured.base_url = "http://testserver/api"
    for options in (
        {},
        {"headers": {"X-A": "other"}, "params": {"page": 2}, "cookies": {"o": "1"}},
    ):
        for url in ("/", "/deep", "http://elsewhere.example/"):
            assert built(ours, "GET", url, options) == built(theirs, "GET", url, options)


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=20)
# Dots at the end are left out: httpx2 takes the slash before them as well, unlike RFC 3986.
PATH = st.lists(TEXT | st.sampled_from([".", "..", "%41", "%2F"])).map(
    lambda p: "/".join([*p, "x"])
)


VALUE = TEXT | st.integers() | st.booleans() | st.none()


@given(PATH, st.dictionaries(TEXT, VALUE | st.lists(VALUE, min_size=1)))
def test_any_path_and_parameters_are_sent_the_same(path: str, params: dict[str, Any]) -> None:
    same_request("GET", f"/_/{path}", {}, params=params)
    same_request("GET", f"http://testserver/{path}", {})


@given(
    st.dictionaries(TEXT, VALUE | st.lists(VALUE)),
    st.dictionaries(TEXT, st.tuples(TEXT, st.binary(max_size=20)), min_size=1),
)
def test_any_form_is_sent_the_same(data: dict[str, Any], files: dict[str, Any]) -> None:
    same_request("POST", "/", {}, data=data)
    same_request("POST", "/", {}, data=data, files=files, headers=BOUNDARY)


# -- what is read ---------------------------------------------------------------------------------


HEAD = ["status_code", "reason_phrase", "http_version", "encoding", "charset_encoding", "is_closed"]
HEAD += ["is_informational", "is_success", "is_redirect", "is_client_error", "is_server_error"]
HEAD += ["is_error", "has_redirect_location", "links", "text", "content"]


def facts(response: Any) -> dict[str, Any]:
    """What a response says, in a form that both clients have."""
    return {
        **{name: getattr(response, name) for name in HEAD},
        "url": str(response.url),
        "request": (response.request.method, str(response.request.url)),
        "headers": sorted(response.headers.multi_items()),
        "joined": sorted(response.headers.items()),
        "cookies": dict(response.cookies),
        "history": [facts(earlier) for earlier in response.history],
        "next": response.next_request and str(response.next_request.url),
        "template": hasattr(response, "template"),
    }


def both(
    app: Callable[..., Awaitable[None]],
    ask: Callable[[Any], Any] = lambda client: client.get("/"),
    **options: Any,
) -> tuple[Any, Any]:
    """What the two clients get."""

    async def ours() -> Any:
        async with AsyncTestClient(app, **options) as client:
            return await ask(client), dict(client.cookies)

    with TestClient(app, **options) as client:
        theirs = ask(client), dict(client.cookies)
    mine = anyio.run(ours)
    assert mine[1] == theirs[1]
    return mine[0], theirs[0]


def answering(*chunks: bytes, status: int = 200, headers: Any = ()) -> Any:
    """An application that answers so."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": status, "headers": list(headers)})
            for chunk in chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body"})

    return app


@pytest.mark.parametrize("status", [200, 204, 301, 304, 404, 500, 599, 799])
def test_the_same_head(status: int) -> None:
    headers = [
        (b"content-type", b"text/plain; charset=latin-1"),
        (b"set-cookie", b"a=1; Path=/"),
        (b"set-cookie", b"b=2; Max-Age=0"),
        (b"set-cookie", b"c=3; Domain=elsewhere.example"),
        (b"link", b'</1>; rel="next"; title=x, </2>; rel=last, </3>'),
        (b"x-raw", b"\xe9"),
    ]
    ours, theirs = both(answering(b"caf\xe9", status=status, headers=headers))
    assert facts(ours) == facts(theirs)


@pytest.mark.parametrize(
    "content_type",
    [b"text/plain", b"text/plain; charset=utf-16", b'text/x; charset="latin-1"', b"x; charset=no"],
)
def test_the_same_text(content_type: bytes) -> None:
    content = "é\n\u2028x".encode("utf-16")
    ours, theirs = both(answering(content, headers=[(b"content-type", content_type)]))
    assert facts(ours) == facts(theirs)


async def redirecting(scope: Scope, receive: Receive, send: Send) -> None:
    """Redirects as its query says, once; then it shows what came."""
    if scope["type"] != "http":
        return
    if scope["query_string"]:
        status, location = scope["query_string"].split(b",", 1)
        headers = [(b"location", location), (b"set-cookie", b"seen=1")]
        await send({"type": "http.response.start", "status": int(status), "headers": headers})
        await send({"type": "http.response.body", "body": b"moved"})
        return
    body = (await receive())["body"]
    shown = [field for field in sorted(scope["headers"]) if field[0] != b"accept-encoding"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    said = f"{scope['method']} {scope['scheme']} {scope['raw_path']!r} {shown} {body!r}"
    await send({"type": "http.response.body", "body": said.encode()})


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "QUERY"])
def test_the_same_redirects(status: int, method: str) -> None:
    def ask(client: Any) -> Any:
        return client.request(method, f"/?{status},/there", content=b"body")

    ours, theirs = both(redirecting, ask)
    assert facts(ours) == facts(theirs)
    ours, theirs = both(redirecting, ask, follow_redirects=False)
    assert facts(ours) == facts(theirs)


@pytest.mark.parametrize(
    "location",
    [
        "there",
        "../there#part",
        "http://testserver/there",
        "https://testserver/there",
        "http://elsewhere.example/there",
        "https://elsewhere.example:8443/there",
        "//elsewhere.example/there",
    ],
)
def test_the_same_headers_after_a_redirect(location: str) -> None:
    def ask(client: Any) -> Any:
        headers = {"authorization": "secret", "x-a": "1", "cookie": "old=1"}
        return client.get(f"/deep/er/?302,{location.replace('#', '%23')}", headers=headers)

    ours, theirs = both(redirecting, ask)
    assert facts(ours) == facts(theirs)


@pytest.mark.parametrize("auth", [("user", "pässword"), (b"user", b"x"), None])
def test_the_same_authentication(auth: Any) -> None:
    ours, theirs = both(redirecting, lambda client: client.get("/", auth=auth))
    assert facts(ours) == facts(theirs)
    url = "http://us%40er:pass@testserver/"
    ours, theirs = both(redirecting, lambda client: client.get(url, auth=auth))
    assert facts(ours) == facts(theirs)


def test_the_same_errors_of_a_status() -> None:
    ours, theirs = both(answering(status=404))
    with pytest.raises(HTTPStatusError) as our:
        ours.raise_for_status()
    with pytest.raises(httpx2.HTTPStatusError) as their:
        theirs.raise_for_status()
    # httpx2 goes on with a link to an encyclopedia.
    assert str(their.value).startswith(str(our.value))
    assert our.value.response is ours


CODINGS: dict[bytes, Callable[[bytes], bytes]] = {
    b"identity": bytes,
    b"gzip": gzip.compress,
    b"deflate": zlib.compress,
    b"deflate, gzip": lambda content: gzip.compress(zlib.compress(content)),
    b"unknown": bytes,
}


@pytest.mark.parametrize("coding", CODINGS)
def test_the_same_content_in_any_coding(coding: bytes) -> None:
    encoded = CODINGS[coding](b"content " * 10)
    app = answering(encoded[:5], encoded[5:], headers=[(b"content-encoding", coding)])
    ours, theirs = both(app)
    assert facts(ours) == facts(theirs)


async def test_who_wants_all_of_httpx2_has_it() -> None:
    async def home(request: Request) -> Response:
        return PlainTextResponse("home")

    transport = httpx2.ASGITransport(Hesper(routes=[Route("/", home)]))
    async with httpx2.AsyncClient(transport=transport, base_url="http://testserver") as client:
        assert (await client.get("/")).text == "home"
