"""Cross-origin requests: what scripts of other sites may read, and what a cache may keep."""

import re
from collections.abc import Collection, Mapping
from typing import Any

import pytest
import starlette.middleware.cors
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
from hesper.datastructures import Headers, MutableHeaders
from hesper.exceptions import HTTPException, UsageError
from hesper.middleware import Middleware
from hesper.middleware import cors as module
from hesper.middleware.base import RequestResponseEndpoint
from hesper.middleware.cors import ALL_METHODS, SAFELISTED_HEADERS, CORSMiddleware
from hesper.requests import Request
from hesper.responses import PlainTextResponse, Response, StreamingResponse
from hesper.routing import Route, WebSocketRoute
from hesper.testing import Result, ScriptedServer
from hesper.types import ASGIApp, Message, Receive, Scope, Send
from hesper.websockets import WebSocket

from .asking import ask, connect

ORIGIN = "https://example.com"
OTHER = "https://evil.example"


async def plain(request: Request) -> Response:
    return PlainTextResponse("plain")


async def varying(request: Request) -> Response:
    return PlainTextResponse("varying", headers={"Vary": "Accept-Encoding, origin"})


async def stream(request: Request) -> Response:
    return StreamingResponse(iter([b"a", b"b"]))


async def refuse(request: Request) -> Response:
    raise HTTPException(418, "teapot", headers={"X-Reason": "tea"})


async def broken(request: Request) -> Response:
    raise LookupError("broken")


async def greet(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text("hello")


ROUTES = [
    Route("/", plain, methods=["GET", "POST", "OPTIONS"]),
    Route("/varying", varying),
    Route("/stream", stream),
    Route("/refuse", refuse),
    Route("/broken", broken),
    WebSocketRoute("/ws", greet),
]


def make(cls: Any = CORSMiddleware, **options: Any) -> Hesper:
    return Hesper(routes=ROUTES, middleware=[Middleware(cls, **options)])


async def cross(app: ASGIApp, path: str = "/", origin: str = ORIGIN, **options: Any) -> Result:
    """A simple request from a script."""
    return await ask(app, path, headers={"origin": origin}, **options)


async def preflight(
    app: ASGIApp,
    origin: str = ORIGIN,
    method: str = "GET",
    headers: str | None = None,
    more: Mapping[str, str] | None = None,
) -> Result:
    """What a browser asks before it lets a script send its request."""
    fields = {"origin": origin, "access-control-request-method": method, **(more or {})}
    if headers is not None:
        fields["access-control-request-headers"] = headers
    return await ask(app, "/", "OPTIONS", headers=fields)


def allowed(result: Result) -> str | None:
    """The origin whose scripts may read the response."""
    return result.headers.get("access-control-allow-origin")


# Simple requests.


async def test_an_allowed_origin_may_read_the_response() -> None:
    result = await cross(make(allow_origins=[ORIGIN], expose_headers=["X-A", "X-B"]))
    assert (result.status, result.text) == (200, "plain")
    assert allowed(result) == ORIGIN
    assert result.headers["access-control-expose-headers"] == "X-A, X-B"
    assert result.headers["vary"] == "Origin"
    assert "access-control-allow-credentials" not in result.headers


async def test_another_origin_gets_the_response_without_any_cors_header() -> None:
    app = make(allow_origins=[ORIGIN], allow_credentials=True, expose_headers=["X-A"])
    result = await cross(app, origin=OTHER)
    assert (result.status, result.text) == (200, "plain")
    assert not [name for name in result.headers if name.startswith("access-control")]
    assert result.headers["vary"] == "Origin"


async def test_a_request_without_origin_varies_by_it_too() -> None:
    for origins in ([ORIGIN], ["*"]):
        result = await ask(make(allow_origins=origins))
        assert allowed(result) is None
        assert result.headers["vary"] == "Origin"


async def test_what_the_response_varies_by_already_stays_and_is_not_said_twice() -> None:
    app = make(allow_origins=[ORIGIN])
    assert (await cross(app, "/varying")).headers["vary"] == "Accept-Encoding, origin"
    assert (await ask(app, "/varying")).headers["vary"] == "Accept-Encoding, origin"


async def test_a_wildcard_without_credentials_is_a_star() -> None:
    result = await cross(make(allow_origins=["*"]))
    assert allowed(result) == "*"
    assert "access-control-allow-credentials" not in result.headers


async def test_a_stream_gets_the_headers_and_streams() -> None:
    result = await cross(make(allow_origins=[ORIGIN]), "/stream")
    assert (allowed(result), result.body) == (ORIGIN, b"ab")
    assert result.types.count("http.response.body") == 3


async def test_a_single_str_is_one_entry_and_not_its_letters() -> None:
    app = make(
        allow_origins=ORIGIN, allow_methods="POST", allow_headers="X-A", expose_headers="X-B"
    )
    assert allowed(await cross(app)) == ORIGIN
    assert (await cross(app)).headers["access-control-expose-headers"] == "X-B"
    assert allowed(await cross(app, origin="https://example.co")) is None
    assert (await preflight(app, method="POST", headers="x-a")).status == 200
    assert (await preflight(app, method="PO")).status == 400
    star = make(allow_origins="*", allow_methods="*", allow_headers="*")
    assert (await preflight(star, method="PUT", headers="x-y")).status == 200


async def test_origins_may_be_added_later() -> None:
    origins = [ORIGIN]
    app = make(allow_origins=origins)
    assert allowed(await cross(app, origin=OTHER)) is None
    origins.append(OTHER)
    assert allowed(await cross(app, origin=OTHER)) == OTHER


async def test_a_websocket_passes() -> None:
    result = await connect(make(allow_origins=[ORIGIN]), "/ws", headers={"origin": OTHER})
    assert result.frames == ["hello"]


# Preflight requests.


async def test_a_preflight_is_answered_without_the_app() -> None:
    app = make(
        allow_origins=[ORIGIN], allow_methods=["GET", "PUT"], allow_headers=["X-A"], max_age=5
    )
    result = await preflight(app, method="PUT", headers="x-a, content-type")
    assert (result.status, result.text) == (200, "OK")
    assert {name: value for name, value in result.headers.items() if name != "content-type"} == {
        "content-length": "2",
        "vary": "Origin, Access-Control-Request-Method, Access-Control-Request-Headers, "
        "Access-Control-Request-Private-Network",
        "access-control-allow-origin": ORIGIN,
        "access-control-allow-methods": "GET, PUT",
        "access-control-allow-headers": "Accept, Accept-Language, Content-Language, Content-Type, "
        "X-A",
        "access-control-max-age": "5",
    }


async def test_a_preflight_says_all_that_is_not_allowed() -> None:
    app = make(allow_origins=[ORIGIN])
    result = await preflight(
        app,
        OTHER,
        "PUT",
        "X-Nope, X-No",
        {"access-control-request-private-network": "true"},
    )
    assert result.status == 400
    assert result.text == "Disallowed CORS origin, method, headers, private-network"
    assert allowed(result) is None
    assert result.headers["vary"].startswith("Origin, ")


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"method": "PUT"}, "method"),
        ({"method": "get"}, "method"),
        ({"method": ""}, "method"),
        ({"headers": "X-Nope"}, "headers"),
        ({"headers": "X-A, X-Nope"}, "headers"),
        ({"headers": "X-A X-B"}, "headers"),
    ],
)
async def test_a_preflight_with_something_that_is_not_allowed_is_400(
    asked: dict[str, Any], text: str
) -> None:
    result = await preflight(make(allow_origins=[ORIGIN], allow_headers=["X-A"]), **asked)
    assert (result.status, result.text) == (400, f"Disallowed CORS {text}")


async def test_headers_are_compared_without_case_and_empty_members_do_not_count() -> None:
    app = make(allow_origins=[ORIGIN], allow_headers=["X-Mixed"])
    for asked in ("x-mixed", "X-MIXED,accept", ", x-mixed\t,,", ""):
        assert (await preflight(app, headers=asked)).status == 200, asked


async def test_every_field_of_the_asked_headers_counts() -> None:
    fields = [
        (b"host", b"testserver"),
        (b"origin", ORIGIN.encode()),
        (b"access-control-request-method", b"GET"),
        (b"access-control-request-headers", b"accept"),
        (b"access-control-request-headers", b"x-nope"),
    ]
    result = await ask(make(allow_origins=[ORIGIN]), "/", "OPTIONS", scope={"headers": fields})
    assert (result.status, result.text) == (400, "Disallowed CORS headers")


async def test_all_headers_are_allowed_by_name_which_covers_authorization_too() -> None:
    app = make(allow_origins=["*"], allow_headers=["*"])
    result = await preflight(app, headers="authorization, x-any")
    assert result.headers["access-control-allow-headers"] == "authorization, x-any"
    assert "access-control-allow-headers" not in (await preflight(app)).headers


async def test_all_methods_are_named() -> None:
    result = await preflight(make(allow_origins=["*"], allow_methods=["*"]), method="QUERY")
    assert result.status == 200
    assert result.headers["access-control-allow-methods"] == ", ".join(ALL_METHODS)
    assert allowed(result) == "*"


async def test_a_private_network_is_asked_for_and_allowed() -> None:
    asked = {"access-control-request-private-network": "true"}
    app = make(allow_origins=[ORIGIN], allow_private_network=True)
    result = await preflight(app, more=asked)
    assert result.headers["access-control-allow-private-network"] == "true"
    assert "access-control-allow-private-network" not in (await preflight(app)).headers


async def test_an_options_request_that_is_no_preflight_goes_to_the_app() -> None:
    app = make(allow_origins=[ORIGIN])
    for headers in ({"origin": ORIGIN}, {"access-control-request-method": "GET"}, {}):
        assert (await ask(app, "/", "OPTIONS", headers=headers)).text == "plain"


# Errors.


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [("/nowhere", "GET", 404), ("/", "PUT", 405), ("/refuse", "GET", 418)],
)
async def test_an_error_response_has_the_headers(path: str, method: str, status: int) -> None:
    result = await cross(make(allow_origins=[ORIGIN], allow_credentials=True), path, method=method)
    assert (result.status, allowed(result)) == (status, ORIGIN)
    assert result.headers["access-control-allow-credentials"] == "true"
    assert result.raised is None


@pytest.mark.parametrize("debug", [False, True])
async def test_an_unhandled_error_has_the_headers_and_is_raised_into_the_server(
    debug: bool,
) -> None:
    app = make(allow_origins=[ORIGIN])
    app.debug = debug
    result = await cross(app, "/broken")
    assert (result.status, allowed(result)) == (500, ORIGIN)
    assert ("LookupError" in result.text) is debug
    assert isinstance(result.raised, LookupError)


async def test_the_apps_own_500_has_the_headers() -> None:
    async def handler(request: Request, exc: Exception) -> Response:
        return PlainTextResponse("ours", 500)

    app = make(allow_origins=[ORIGIN])
    app.add_exception_handler(500, handler)
    result = await cross(app, "/broken")
    assert (result.text, allowed(result)) == ("ours", ORIGIN)
    assert isinstance(result.raised, LookupError)


async def test_an_error_of_a_middleware_inside_has_the_headers() -> None:
    async def failing(request: Request, call_next: RequestResponseEndpoint) -> Response:
        raise HTTPException(401)

    cors = Middleware(CORSMiddleware, allow_origins=[ORIGIN])
    result = await cross(Hesper(routes=ROUTES, middleware=[cors, failing]))
    assert (result.status, allowed(result)) == (401, ORIGIN)


async def test_without_an_app_of_ours_an_error_comes_out_as_it_is() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise LookupError("theirs")

    result = await cross(CORSMiddleware(app, allow_origins=[ORIGIN]))
    assert isinstance(result.raised, LookupError)
    assert result.sent == []


async def test_a_client_that_left_is_no_error() -> None:
    async def wait(request: Request) -> Response:
        return Response(await request.body())

    app = Hesper(
        routes=[Route("/", wait, methods=["POST"])],
        middleware=[Middleware(CORSMiddleware, allow_origins=[ORIGIN])],
    )
    result = await ScriptedServer(app).post(body=[b"a", b"b"]).leave_before_body().run()
    assert (result.ended, result.raised, result.sent) == ("returned", None, [])


# Security.


async def test_null_is_only_allowed_by_name_or_by_a_wildcard() -> None:
    assert allowed(await cross(make(allow_origin_regex=".*"), origin="null")) is None
    assert allowed(await cross(make(allow_origins=[ORIGIN]), origin="null")) is None
    assert allowed(await cross(make(allow_origins=["null"]), origin="null")) == "null"
    assert allowed(await cross(make(allow_origins=["*"]), origin="null")) == "*"
    regex = await preflight(make(allow_origin_regex=".*", allow_credentials=True), "null")
    assert (regex.status, regex.text) == (400, "Disallowed CORS origin")


async def test_a_wildcard_with_credentials_names_the_origin_and_varies() -> None:
    app = make(allow_origins=["*"], allow_credentials=True)
    for result in (await cross(app, origin=OTHER), await preflight(app, OTHER)):
        assert result.status == 200
        assert allowed(result) == OTHER
        assert result.headers["access-control-allow-credentials"] == "true"
        assert "Origin" in result.headers["vary"].split(", ")


@pytest.mark.parametrize(
    "origin",
    [
        "https://sub.example.com.evil.example",
        "https://evil.example?https://sub.example.com",
        "https://sub.example.com:80@evil.example",
        "xhttps://sub.example.com",
        "https://sub.example.com\n",
        "https://sub.example.com\nhttps://evil.example",
        "https://sub.exampleXcom",
    ],
)
async def test_a_regex_is_anchored_at_both_ends(origin: str) -> None:
    app = make(allow_origin_regex=r"https://[a-z]+\.example\.com")
    assert allowed(await cross(app, origin="https://sub.example.com")) == "https://sub.example.com"
    assert allowed(await cross(app, origin=origin)) is None
    assert (await preflight(app, origin)).text == "Disallowed CORS origin"


@pytest.mark.parametrize(
    "origin",
    [
        f"{ORIGIN}\r\nSet-Cookie: a=b",
        f"{ORIGIN}\nX: y",
        f"{ORIGIN}\0",
        f"{ORIGIN} {OTHER}",
        "https://exämple.com",
        "",
    ],
)
async def test_what_would_inject_a_header_is_no_origin(origin: str) -> None:
    for options in (
        {"allow_origins": ["*"], "allow_credentials": True},
        {"allow_origin_regex": r"(?s:.*)"},
    ):
        result = await cross(make(**options), origin=origin)
        assert (result.status, allowed(result), result.raised) == (200, None, None)
        assert (await preflight(make(**options), origin)).text == "Disallowed CORS origin"


async def test_what_would_inject_a_header_is_no_header_name() -> None:
    app = make(allow_origins=["*"], allow_headers=["*"])
    for asked in ("x-a\r\nSet-Cookie: a=b", "x-a, \r\nx: y", "x-ä", "x a", "x-a\0"):
        result = await preflight(app, headers=asked)
        assert (result.status, result.text) == (400, "Disallowed CORS headers")
        assert "access-control-allow-headers" not in result.headers
        assert "set-cookie" not in result.headers


async def test_several_origins_are_none() -> None:
    fields = [(b"origin", ORIGIN.encode()), (b"origin", OTHER.encode())]
    for options in ({"allow_origins": [ORIGIN, OTHER]}, {"allow_origin_regex": ".*"}):
        assert allowed(await ask(make(**options), scope={"headers": fields})) is None


@given(st.lists(st.tuples(st.just(b"origin"), st.binary()), max_size=3), st.binary(), st.binary())
def test_no_header_of_a_client_makes_it_crash(
    origins: list[tuple[bytes, bytes]], method: bytes, names: bytes
) -> None:
    headers = Headers(
        raw=[
            *origins,
            (b"access-control-request-method", method),
            (b"access-control-request-headers", names),
        ]
    )
    for middleware in (
        CORSMiddleware(plain_app, ["*"], ["*"], ["*"], allow_credentials=True),
        CORSMiddleware(plain_app, [ORIGIN], allow_origin_regex=r"https://(?:[a-z]+\.)+com"),
    ):
        response = middleware.preflight_response(headers)
        assert response.status_code in (200, 400)
        raw = b"".join(name + value for name, value in response.raw_headers)
        assert not re.search(rb"[\r\n\0]", raw)


async def plain_app(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("plain")(scope, receive, send)


# What may be configured.


@pytest.mark.parametrize(
    "origin",
    [
        "https://example.com/",
        "https://example.com/path",
        "https://*.example.com",
        "example.com",
        "https://Example.com",
        " https://example.com",
        "https://exämple.com",
        "https://a.com,https://b.com",
        b"https://example.com",
    ],
)
def test_an_origin_that_no_browser_sends_is_told(origin: Any) -> None:
    with pytest.raises(UsageError) as caught:
        CORSMiddleware(plain_app, allow_origins=[ORIGIN, origin])
    assert str(caught.value) == (
        "Expected an origin such as 'https://example.com', '*' or 'null' in allow_origins, got "
        f"{origin!r}, which no browser sends. Leave out the path and the slash at the end; for "
        "patterns there is allow_origin_regex."
    )


def test_origins_of_other_schemes_and_ports_are_fine_and_an_empty_setting_is() -> None:
    origins = ["http://localhost:3000", "http://[::1]", "capacitor://localhost", "file://", "", "*"]
    assert CORSMiddleware(plain_app, allow_origins=origins).allow_all_origins


def test_the_known_attributes_are_there() -> None:
    theirs = starlette.middleware.cors.CORSMiddleware(StarlettePlain("x"), ["*"], ["*"], ["X-A"])
    ours = CORSMiddleware(plain_app, ["*"], ["*"], ["X-A"])
    for name in vars(theirs).keys() - {"app"}:
        assert getattr(ours, name) == getattr(theirs, name), name
    assert (ALL_METHODS, SAFELISTED_HEADERS) == (
        starlette.middleware.cors.ALL_METHODS,
        starlette.middleware.cors.SAFELISTED_HEADERS,
    )
    assert set(module.__all__) == {"ALL_METHODS", "SAFELISTED_HEADERS", "CORSMiddleware"}


# Subclasses.


async def test_a_subclass_may_decide_about_origins_and_have_its_own_patterns() -> None:
    class Dynamic(CORSMiddleware):
        def is_allowed_origin(self, origin: str) -> bool:
            return origin.endswith(".example") or super().is_allowed_origin(origin)

    app = make(Dynamic, allow_origins=["https://*.example"])
    assert allowed(await cross(app, origin=OTHER)) == OTHER
    assert (await preflight(app, OTHER)).status == 200
    assert allowed(await cross(app, origin=ORIGIN)) is None


async def test_a_subclass_may_change_the_answer_to_a_preflight() -> None:
    class Chatty(CORSMiddleware):
        def preflight_response(self, request_headers: Headers) -> Response:
            response = super().preflight_response(request_headers)
            response.headers["x-chatty"] = "1"
            return response

    assert (await preflight(make(Chatty, allow_origins=[ORIGIN]))).headers["x-chatty"] == "1"


async def test_a_subclass_that_overrides_send_is_called_for_each_message() -> None:
    class Sending(CORSMiddleware):
        async def send(self, message: Message, send: Send, request_headers: Headers) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-from", b"send")]
            await super().send(message, send, request_headers)

    app = make(Sending, allow_origins=[ORIGIN])
    result = await cross(app)
    assert (result.text, allowed(result), result.headers["x-from"]) == ("plain", ORIGIN, "send")
    assert (await preflight(app)).text == "OK"
    assert (await connect(app, "/ws")).frames == ["hello"]


async def test_a_subclass_that_overrides_simple_response_is_called() -> None:
    class Answering(CORSMiddleware):
        async def simple_response(
            self, scope: Scope, receive: Receive, send: Send, request_headers: Headers
        ) -> None:
            try:
                await super().simple_response(scope, receive, send, request_headers)
            except LookupError:
                start: Message = {"type": "http.response.start", "status": 503}
                await self.send(start, send, request_headers)
                await self.send({"type": "http.response.body"}, send, request_headers)

    result = await cross(make(Answering, allow_origins=[ORIGIN]), "/broken")
    assert (result.status, allowed(result)) == (503, ORIGIN)


def test_an_explicit_origin_varies() -> None:
    headers = MutableHeaders({"Vary": "Cookie"})
    CORSMiddleware.allow_explicit_origin(headers, ORIGIN)
    assert dict(headers) == {"vary": "Cookie, Origin", "access-control-allow-origin": ORIGIN}


# Elsewhere.


async def theirs(request: StarletteRequest) -> StarletteResponse:
    return StarlettePlain("theirs")


async def test_it_stands_in_a_starlette_app() -> None:
    app = Starlette(
        routes=[StarletteRoute("/", theirs)],
        middleware=[StarletteMiddleware(CORSMiddleware, allow_origins=[ORIGIN])],
    )
    result = await cross(app)
    assert (result.text, allowed(result)) == ("theirs", ORIGIN)
    assert (await preflight(app)).text == "OK"
    assert allowed(await cross(app, "/nowhere")) == ORIGIN


async def test_it_stands_in_a_fastapi_app() -> None:
    app = FastAPI()
    app.get("/")(lambda: "theirs")
    app.add_middleware(CORSMiddleware, allow_origins=[ORIGIN])
    result = await cross(app)
    assert (result.text, allowed(result)) == ('"theirs"', ORIGIN)


REQUESTS: list[tuple[str, dict[str, str]]] = [
    ("GET", {}),
    ("GET", {"origin": ORIGIN}),
    ("OPTIONS", {"origin": ORIGIN, "access-control-request-method": "GET"}),
    (
        "OPTIONS",
        {
            "origin": ORIGIN,
            "access-control-request-method": "PUT",
            "access-control-request-headers": "X-A, Accept",
        },
    ),
]


@pytest.mark.parametrize(("method", "headers"), REQUESTS)
@pytest.mark.parametrize("origins", [["*"], [ORIGIN], ["null"]])
@pytest.mark.parametrize("credentials", [False, True])
async def test_what_it_allows_is_what_starlette_allows(
    method: str, headers: dict[str, str], origins: Collection[str], credentials: bool
) -> None:
    options: dict[str, Any] = {
        "allow_origins": origins,
        "allow_methods": ["GET", "PUT"],
        "allow_headers": ["X-A"],
        "allow_credentials": credentials,
        "expose_headers": ["X-B"],
    }
    ours = await ask(CORSMiddleware(plain_app, **options), "/", method, headers=headers)
    their_class = starlette.middleware.cors.CORSMiddleware
    theirs = await ask(their_class(plain_app, **options), "/", method, headers=headers)
    assert (ours.status, ours.text) == (theirs.status, theirs.text)
    assert allowed(ours) == allowed(theirs)
    assert ours.headers["vary"] == theirs.headers["vary"]
    if allowed(theirs) is not None:
        assert ours.headers == theirs.headers
