"""Whatever a client writes: no 500, no hang, and time that grows with the size and no faster.

The parsers have property tests of their own, beside their modules. Here the same bytes come in
through an application that looks at everything a request has.
"""

import math
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hesper._accept import parse_accept_encoding
from hesper._host import parse_host_header
from hesper.applications import Hesper
from hesper.conditional import parse_etags, parse_range
from hesper.cookies import cookie_parser
from hesper.datastructures import URL, FormData, Headers, QueryParams
from hesper.formparsers import FormParser, MultiPartException, MultiPartParser
from hesper.middleware import Middleware
from hesper.middleware.compression import CompressionMiddleware
from hesper.middleware.cors import CORSMiddleware
from hesper.middleware.sessions import SessionMiddleware
from hesper.middleware.trustedhost import TrustedHostMiddleware
from hesper.requests import Request
from hesper.responses import FileResponse, JSONResponse, Response
from hesper.routing import Host, Match, Mount, Route, Router
from hesper.staticfiles import StaticFiles
from hesper.types import Message, Scope


async def look(request: Request) -> Response:
    """Looks at all that is lazily parsed."""
    content: dict[str, Any] = {
        "url": str(request.url),
        "base": str(request.base_url),
        "here": str(request.url_for("look")),
        "query": request.query_params.multi_items(),
        "cookies": request.cookies,
        "headers": dict(request.headers),
        "session": dict(request.session),
        "with": str(request.url.include_query_params(a="b")),
    }
    async with request.form() as form:
        content["form"] = [(name, str(value)) for name, value in form.multi_items()]
    return JSONResponse(content)


async def read_json(request: Request) -> Response:
    return JSONResponse(await request.json())


async def this_file(request: Request) -> Response:
    return FileResponse(__file__)


app = Hesper(
    routes=[
        Route("/look", look, methods=["GET", "POST"], name="look"),
        Route("/json", read_json, methods=["GET", "POST"]),
        Route("/file", this_file),
        Mount("/static", StaticFiles(directory=".", html=True), name="static"),
    ],
    middleware=[
        Middleware(TrustedHostMiddleware, allowed_hosts=["*"]),
        Middleware(CORSMiddleware, allow_origin_regex=r"https://.*\.example\.org"),
        Middleware(SessionMiddleware, secret_key="secret"),
        Middleware(CompressionMiddleware),
    ],
    max_body_size=100_000,
)

names = st.sampled_from(
    [
        b"host",
        b"cookie",
        b"range",
        b"if-range",
        b"if-none-match",
        b"if-modified-since",
        b"accept-encoding",
        b"origin",
        b"content-type",
        b"content-length",
        b"authorization",
        b"expect",
        b"x-forwarded-host",
    ]
)
pieces = st.sampled_from(
    [
        b"bytes=", b"0-", b"-1", b",", b";", b"=", b'"', b"W/", b"*", b"gzip", b"q=", b"1.5", b"\\",
        b"multipart/form-data", b"boundary=x", b"application/x-www-form-urlencoded", b"session=",
        b"example.org", b":80", b"[::1]", b"@", b"//", b"%", b"%ff", b"..", b" ", b"\t", b"\xff",
    ]
)  # fmt: skip
values = st.one_of(st.binary(max_size=60), st.lists(pieces, max_size=12).map(b"".join))


async def ask(scope: Scope, body: bytes) -> list[Message]:
    """As a server asks that has let all of this through."""
    sent: list[Message] = []
    given = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if not given:
            await anyio.sleep_forever()
        return given.pop()

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent


@settings(max_examples=150)
@given(
    path=st.one_of(
        st.sampled_from(["/look", "/json", "/file", "/static/", "/static/README.md"]),
        st.text(max_size=40).map(lambda text: "/static/" + text),
        st.text(max_size=40),
    ),
    method=st.sampled_from(["GET", "POST", "HEAD", "OPTIONS", "get", "\xff", "QUERY"]),
    query=values,
    headers=st.lists(st.tuples(names, values), max_size=6),
    body=st.one_of(st.binary(max_size=80), st.lists(pieces, max_size=12).map(b"".join)),
)
async def test_no_request_is_answered_with_a_500(
    path: str, method: str, query: bytes, headers: list[tuple[bytes, bytes]], body: bytes
) -> None:
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(errors="replace"),
        "query_string": query,
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 5000),
        "server": ("testserver", 80),
    }
    sent = await ask(scope, body)
    assert sent[0]["type"] == "http.response.start"
    assert sent[0]["status"] < 500, sent
    assert not sent[-1].get("more_body", False)


# -- time ------------------------------------------------------------------------------------------

SMALL, FACTOR = 2_000, 16


def seconds(function: Callable[[], object]) -> float:
    """CPU time of the quickest of three."""

    def once() -> float:
        began = time.process_time()
        function()
        return time.process_time() - began

    return min(once() for _ in range(3))


def quietly(parse: Callable[[Any], object]) -> Callable[[Any], object]:
    """Refusing is as good as parsing, if it is quick."""

    def run(value: Any) -> object:
        try:
            return parse(value)
        except ValueError:
            return None

    return run


def form(body: bytes, content_type: str = "application/x-www-form-urlencoded") -> FormData | None:
    """A form without limits; None if it is refused. All of it is there, so nothing waits."""

    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    headers = Headers({"content-type": content_type})
    parser: Any
    if content_type.startswith("multipart"):
        parser = MultiPartParser(headers, stream(), max_fields=math.inf, max_part_size=2**30)
    else:
        parser = FormParser(headers, stream(), max_fields=math.inf, max_part_size=2**30)
    try:
        parser.parse().send(None)
    except StopIteration as done:
        fields: FormData = done.value
        return fields
    except MultiPartException:
        return None
    raise AssertionError("it waits for something")


def multipart(body: bytes) -> FormData | None:
    return form(body, "multipart/form-data; boundary=x")


FIELD = b'--x\r\nContent-Disposition: form-data; name="a"\r\n'

GROWING: dict[str, tuple[Callable[[Any], object], Callable[[int], Any]]] = {
    "cookies": (cookie_parser, lambda n: "a=b; " * n),
    "one cookie": (cookie_parser, lambda n: "a=" + "\\1" * n),
    "quoted cookie": (cookie_parser, lambda n: 'a="' + '\\"' * n),
    "query": (QueryParams, lambda n: "a=b&" * n),
    "query without values": (QueryParams, lambda n: "&" * n),
    "percents": (QueryParams, lambda n: "%" * n),
    "ranges": (quietly(lambda v: parse_range(v, 10**9)), lambda n: "bytes=" + "0-1," * n),
    "spaces in a range": (quietly(lambda v: parse_range(v, 10**9)), lambda n: "bytes=" + " " * n),
    "etags": (quietly(parse_etags), lambda n: '"a", ' * n),
    "an open etag": (quietly(parse_etags), lambda n: '"' + "a" * n),
    "encodings": (parse_accept_encoding, lambda n: "gzip;q=0.5, " * n),
    "commas": (parse_accept_encoding, lambda n: "," * n),
    "a host": (quietly(parse_host_header), lambda n: "a." * n),
    "colons in a host": (quietly(parse_host_header), lambda n: ":" * n),
    "a URL": (quietly(lambda v: URL(v).include_query_params(a=1)), lambda n: "http://a/" + "/" * n),
    "an urlencoded form": (form, lambda n: b"a=b&" * n),
    "an urlencoded form of separators": (form, lambda n: b"&=" * n),
    "an urlencoded field": (form, lambda n: b"a=" + b"%2" * n),
    "a multipart form": (multipart, lambda n: (FIELD + b"\r\n\r\n") * n + b"--x--\r\n"),
    "a multipart field": (multipart, lambda n: FIELD + b"\r\n" + b"\r\n--" * n + b"\r\n--x--\r\n"),
    "a multipart header": (multipart, lambda n: FIELD + b"A: " + b"b" * n),
    "headers": (
        lambda v: Headers(raw=v).getlist("x"),
        lambda n: [(b"x", b"y")] * n,
    ),
}


@pytest.mark.patience(120)  # the large forms take seconds where coverage is measured
@pytest.mark.parametrize("kind", GROWING)
def test_time_grows_with_the_size_and_no_faster(kind: str) -> None:
    """16 times the size takes 16 times as long, and 256 times if it is quadratic."""
    parse, make = GROWING[kind]
    small, large = make(SMALL), make(SMALL * FACTOR)
    floor = 20e-6  # less cannot be measured
    assert seconds(lambda: parse(large)) < max(seconds(lambda: parse(small)), floor) * FACTOR * 5


# Hosts and URLs that a route is found by, and built from.


HOSTS = Router(
    [
        Host("{tenant}.example.org", Router([Route("/", look, name="home")]), name="tenant"),
        Host("example.org", Router([Route("/", look, name="home")]), name="bare"),
    ]
)

BUILT = Router(
    [
        Route("/n/{number:int}/{name}", look, name="numbered"),
        Route("/f/{rest:path}", look, name="rest"),
        Route("/u/{key:uuid}", look, name="keyed"),
        Mount("/m/{name}", routes=[Route("/{number:int}", look, name="inner")], name="mounted"),
    ]
)

SEGMENT = st.text(
    st.characters(exclude_characters="/\n", exclude_categories=["Cs"]), min_size=1, max_size=20
)


@given(
    st.binary(max_size=60) | st.from_regex(rb"[a-z0-9.:\[\]-]{0,60}(example\.org)?", fullmatch=True)
)
async def test_no_host_breaks_a_host_route(host: bytes) -> None:
    scope: Scope = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "root_path": "",
        "headers": [(b"host", host)],
        "query_string": b"",
        "scheme": "http",
        "server": ("example.org", 80),
    }
    found = [route.matches(scope) for route in HOSTS.routes]
    for match, child in found:
        if match is not Match.NONE and "tenant" in child["path_params"]:
            tenant = child["path_params"]["tenant"]
            assert tenant.lower() == tenant
            assert "/" not in tenant


@given(number=st.integers(0, 10**18), name=SEGMENT, rest=SEGMENT, key=st.uuids())
def test_a_path_that_was_built_leads_back(number: int, name: str, rest: str, key: Any) -> None:
    wanted: list[tuple[str, dict[str, Any]]] = [
        ("numbered", {"number": number, "name": name}),
        ("rest", {"rest": f"{rest}/{name}"}),
        ("keyed", {"key": key}),
        ("mounted:inner", {"name": name, "number": number}),
    ]
    for route, params in wanted:
        path = str(BUILT.url_path_for(route, **params))
        scope: Scope = {"type": "http", "method": "GET", "path": path, "root_path": ""}
        found: dict[str, Any] = {}
        for each in BUILT.routes:
            match, child = each.matches(scope)
            if match is Match.NONE:
                continue
            inner = [deeper.matches({**scope, **child}) for deeper in getattr(each, "routes", [])]
            found = inner[0][1]["path_params"] if inner else child["path_params"]
            break
        assert found == params, path
