"""Responses: their head and body are Starlette's, and what they stream is closed once."""

import re
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest
import starlette.responses
from hypothesis import given, settings
from hypothesis import strategies as st

import hesper._response
import hesper.responses
from hesper.applications import Hesper
from hesper.datastructures import URL
from hesper.exceptions import UsageError
from hesper.requests import Request
from hesper.responses import (
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from hesper.routing import Route
from hesper.testing import Dialect, Result, ScriptedServer
from hesper.types import ASGIApp, Receive, Scope, Send

theirs = starlette.responses


async def request(app: ASGIApp) -> Result:
    return await ScriptedServer(app).get("/").run()


def same(ours: Response, other: starlette.responses.Response) -> bool:
    assert (ours.status_code, ours.raw_headers) == (other.status_code, other.raw_headers)
    assert bytes(ours.body) == bytes(other.body)
    return True


# -- the head and the body -------------------------------------------------------------------------


def test_every_name_of_starlette_is_there() -> None:
    defined = {
        name
        for name, value in vars(theirs).items()
        if isinstance(value, type) and value.__module__ == "starlette.responses"
    }
    assert defined <= set(hesper.responses.__all__)
    for name in hesper.responses.__all__:
        assert getattr(hesper.responses, name) is not None


CONTENTS = [None, "", "text", "ünï", b"", b"bytes", memoryview(b"view")]
HEADERS: list[Mapping[str, str] | None] = [
    None,
    {},
    {"X-Own": "1", "set-cookie": "a=b"},
    {"Content-Length": "5"},
    {"Content-Type": "text/own"},
    {"content-type": "a/b", "content-length": "0"},
]


@pytest.mark.parametrize("status", [100, 101, 199, 200, 201, 204, 206, 299, 304, 404, 500])
@pytest.mark.parametrize("name", ["Response", "HTMLResponse", "PlainTextResponse"])
def test_heads_and_bodies_are_those_of_starlette(name: str, status: int) -> None:
    for content in CONTENTS:
        for headers in HEADERS:
            for media_type in [None, "text/css", "text/css; charset=latin-1", "a/b"]:
                arguments: Any = content, status, headers, media_type
                assert same(
                    getattr(hesper.responses, name)(*arguments), getattr(theirs, name)(*arguments)
                )


async def test_a_memoryview_is_sent_as_the_bytes_that_the_specification_asks_for() -> None:
    class Own(Response):
        def render(self, content: Any) -> memoryview:
            return memoryview(content).cast("I")

    for response in (Response(memoryview(b"12345678").cast("I")), Own(b"12345678")):
        assert response.body == b"12345678"
        assert response.headers["content-length"] == "8"
        assert (await request(response)).violations == []


def test_another_charset_encodes_and_is_named() -> None:
    class Latin(PlainTextResponse):
        charset = "latin-1"

    class TheirLatin(starlette.responses.PlainTextResponse):
        charset = "latin-1"

    assert same(Latin("ü"), TheirLatin("ü"))
    assert Latin("ü").body == b"\xfc"


def test_any_number_of_content_types_is_written_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hesper._response, "_content_types", {})
    for _ in range(2):
        for number in range(300):
            response = Response(media_type=f"text/{number}")
            assert response.headers["content-type"] == f"text/{number}; charset=utf-8"
    assert len(hesper._response._content_types) == 256


def test_content_of_another_type_is_refused_with_what_to_do() -> None:
    with pytest.raises(TypeError, match="got dict: JSONResponse renders other values"):
        Response({"a": 1})


@pytest.mark.parametrize("bad", ["a\r\nb", "a\nb", "a\rb", "a\0b"])
def test_what_would_split_the_response_is_refused(bad: str) -> None:
    response = Response()
    attempts: list[Callable[[], object]] = [
        lambda: Response(headers={"x": bad}),
        lambda: Response(headers={bad: "x"}),
        lambda: Response(media_type=bad),
        lambda: StreamingResponse([], headers={"x": bad}),
        lambda: RedirectResponse("/", headers={"x": bad}),
        lambda: response.headers.__setitem__("x", bad),
        lambda: response.headers.append("x", bad),
        lambda: response.set_cookie(bad, "x"),
        lambda: response.set_cookie("x", bad),
        lambda: response.set_cookie("x", path=bad),
        lambda: response.set_cookie("x", domain=bad),
        lambda: response.set_cookie("x", expires=bad),
        lambda: response.delete_cookie("x", path=bad),
    ]
    for attempt in attempts:
        with pytest.raises(ValueError):
            attempt()
    assert response.raw_headers == [(b"content-length", b"0")]


def test_headers_and_raw_headers_are_one() -> None:
    response = Response(headers={"X-One": "1"})
    assert response.headers is response.headers
    response.headers["x-two"] = "2"
    assert (b"x-two", b"2") in response.raw_headers
    response.raw_headers.append((b"x-three", b"3"))
    assert response.headers["x-three"] == "3"


# -- cookies ---------------------------------------------------------------------------------------


COOKIES: list[dict[str, Any]] = [
    {},
    {"value": "plain"},
    {"value": 'quoted "; \\ ü'},
    {"max_age": 0},
    {"max_age": 10, "secure": True, "httponly": True},
    {"expires": "Thu, 01 Jan 1970 00:00:00 GMT"},
    {"expires": datetime(2037, 1, 22, 12, 0, 0, tzinfo=UTC)},
    {"path": None, "samesite": None},
    {"path": "/sub", "domain": "example.org", "samesite": "strict"},
    {"samesite": "none", "secure": True},
]


@pytest.mark.parametrize("arguments", COOKIES)
def test_cookies_are_those_of_starlette(arguments: dict[str, Any]) -> None:
    ours, other = Response(), theirs.Response()
    ours.set_cookie("name", **arguments)
    other.set_cookie("name", **arguments)
    assert same(ours, other)


def test_seconds_until_a_cookie_expires_count_from_now() -> None:
    response = Response()
    response.set_cookie("name", expires=0)
    found = re.search("expires=(.*) GMT", response.headers["set-cookie"])
    assert found is not None
    expires = datetime.strptime(found[1], "%a, %d %b %Y %H:%M:%S").replace(tzinfo=UTC)
    assert abs((expires - datetime.now(UTC)).total_seconds()) < 5


@pytest.mark.parametrize("arguments", [{}, {"path": "/a", "domain": "b", "secure": True}])
def test_a_cookie_is_deleted_as_by_starlette(arguments: dict[str, Any]) -> None:
    def without_time(cookie: str) -> str:
        return re.sub("expires=[^;]*", "expires", cookie)

    ours, other = Response(), theirs.Response()
    ours.delete_cookie("name", **arguments)
    other.delete_cookie("name", **arguments)
    assert without_time(ours.headers["set-cookie"]) == without_time(other.headers["set-cookie"])
    assert "expires=" in ours.headers["set-cookie"]


def test_several_cookies_are_several_headers() -> None:
    response = Response()
    response.set_cookie("a", "1")
    response.set_cookie("b", "2", partitioned=True, secure=True)
    assert response.headers.getlist("set-cookie") == [
        "a=1; Path=/; SameSite=lax",
        "b=2; Partitioned; Path=/; SameSite=lax; Secure",
    ]


# -- JSON ------------------------------------------------------------------------------------------

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)


@settings(max_examples=50)
@given(json_values)
def test_json_is_that_of_starlette(value: Any) -> None:
    try:
        other = theirs.JSONResponse(value)
    except UnicodeEncodeError:
        with pytest.raises(UnicodeEncodeError):
            JSONResponse(value)
    else:
        assert same(JSONResponse(value), other)


@pytest.mark.parametrize("value", [float("nan"), [float("inf")], {"a": -float("inf")}])
def test_what_json_has_no_number_for_is_refused(value: Any) -> None:
    with pytest.raises(ValueError):
        JSONResponse(value)


def test_what_json_has_no_form_for_is_refused() -> None:
    with pytest.raises(TypeError):
        JSONResponse({"a": object()})


def test_another_encoder_renders() -> None:
    class Own(JSONResponse):
        def render(self, content: Any) -> bytes:
            return repr(content).encode()

    assert Own({}).body == b"{}"
    assert Own({}).headers["content-length"] == "2"


# -- redirects -------------------------------------------------------------------------------------


@settings(max_examples=50)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_redirect_to_any_text_is_that_of_starlette(url: str) -> None:
    assert same(RedirectResponse(url), theirs.RedirectResponse(url))
    assert "\r" not in RedirectResponse(url).headers["location"]


def test_a_redirect_takes_a_url_a_status_and_headers() -> None:
    response = RedirectResponse(URL("https://example.org/ü?a=%20b#c"), 303, {"x": "1"})
    assert response.status_code == 303
    assert dict(response.headers) == {
        "x": "1",
        "content-length": "0",
        "location": "https://example.org/%C3%BC?a=%20b#c",
    }


async def test_a_redirect_runs_its_background() -> None:
    ran: list[int] = []

    async def background() -> None:
        ran.append(1)

    assert (await request(RedirectResponse("/", background=background))).status == 307
    assert ran == [1]


# -- sending ---------------------------------------------------------------------------------------


async def test_a_plain_response_is_two_messages_and_can_be_sent_again() -> None:
    response = PlainTextResponse("hello", 201, {"x": "1"})
    for _ in range(2):
        result = await request(response)
        assert result.messages == [
            {"type": "http.response.start", "status": 201, "headers": response.raw_headers},
            {"type": "http.response.body", "body": b"hello"},
        ]


async def test_a_websockets_handshake_is_refused_with_it() -> None:
    server = ScriptedServer(PlainTextResponse("no", 403))
    result = await server.websocket(extensions=("websocket.http.response",)).run()
    assert (result.status, result.body) == (403, b"no")


class Chunks:
    """An async iterator that counts how often it is closed."""

    def __init__(self, *chunks: Any) -> None:
        self._chunks = iter(chunks)
        self.closed = 0

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        try:
            return next(self._chunks)
        except StopIteration:
            raise StopAsyncIteration from None

    async def aclose(self) -> None:
        self.closed += 1


async def test_every_kind_of_chunk_is_sent_as_bytes() -> None:
    chunks = Chunks("ü", b"b", bytearray(b"c"), memoryview(b"d"))
    result = await request(StreamingResponse(chunks, media_type="text/plain"))
    assert result.violations == []
    assert result.text == "übcd"
    assert result.headers == {"content-type": "text/plain; charset=utf-8"}
    assert result.messages[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
    assert chunks.closed == 1


async def test_every_sync_iterable_is_streamed() -> None:
    contents: list[Iterable[str | bytes]] = [
        ["a", b"b"],
        ("a", "b"),
        iter("ab"),
        (each for each in "ab"),
        {"a": 1, "b": 2},
    ]
    for content in contents:
        assert (await request(StreamingResponse(content))).body == b"ab"


async def test_a_generator_is_streamed_and_closed() -> None:
    ended: list[str] = []

    async def asynchronous() -> AsyncIterator[str]:
        try:
            yield "a"
            yield "b"
        finally:
            ended.append("async")

    def sync() -> Iterator[str]:
        try:
            yield "a"
            yield "b"
        finally:
            ended.append("sync")

    for content in (asynchronous(), sync()):
        assert (await request(StreamingResponse(content, 201))).body == b"ab"
    assert ended == ["async", "sync"]


async def test_a_media_type_can_be_the_class_own() -> None:
    class Events(StreamingResponse):
        media_type = "text/event-stream"

    assert Events([]).headers["content-type"] == "text/event-stream; charset=utf-8"
    assert "content-length" not in Events([]).headers


async def test_a_chunk_that_is_neither_text_nor_bytes_breaks_the_response_off() -> None:
    chunks = Chunks(b"a", 5)
    result = await request(StreamingResponse(chunks))
    assert isinstance(result.raised, UsageError)
    assert "got int: 5" in str(result.raised)
    assert not result.complete
    assert chunks.closed == 1


async def test_a_generator_that_the_client_leaves_is_closed(dialect: Dialect) -> None:
    closed: list[int] = []
    ran: list[int] = []

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x"
                await anyio.sleep(0.01)
        finally:
            await anyio.sleep(0)
            closed.append(1)

    async def background() -> None:
        ran.append(1)

    response = StreamingResponse(endless(), background=background)
    result = await ScriptedServer(response, dialect).get("/").leave_at_message(3).run()
    assert (closed, ran) == ([1], [1])
    assert not result.complete


# -- the body, seen by a middleware ----------------------------------------------------------------


async def test_the_body_of_a_plain_response_can_be_iterated() -> None:
    assert [chunk async for chunk in PlainTextResponse("text").body_iterator] == [b"text"]


@pytest.mark.parametrize("kind", ["plain", "stream"])
async def test_a_body_that_is_replaced_is_streamed_and_both_are_closed(kind: str) -> None:
    inner = Chunks(b"a", b"b")
    response = Response(b"ab") if kind == "plain" else StreamingResponse(inner)

    async def upper(old: Any) -> AsyncIterator[bytes]:
        async for chunk in old:
            yield chunk.upper()

    response.body_iterator = upper(response.body_iterator)
    result = await request(response)
    assert result.body == b"AB"
    assert result.complete
    assert inner.closed == (kind == "stream")


async def test_putting_back_the_same_body_changes_nothing() -> None:
    inner = Chunks(b"a")
    response = StreamingResponse(inner)
    response.body_iterator = response.body_iterator
    assert response.body_iterator is inner
    assert (await request(response)).body == b"a"
    assert inner.closed == 1


async def test_a_body_that_was_never_begun_is_closed() -> None:
    inner = Chunks(b"a")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        response = StreamingResponse(inner)
        response.body_iterator = Chunks(b"instead")
        await response(scope, receive, send)

    assert (await request(app)).body == b"instead"
    assert inner.closed == 1


# -- trailers --------------------------------------------------------------------------------------


async def counted(size: list[int]) -> AsyncIterator[bytes]:
    for chunk in (b"one", b"two"):
        size[0] += len(chunk)
        yield chunk


def with_trailers(sizes: list[int] | None = None) -> StreamingResponse:
    size = [0] if sizes is None else sizes
    return StreamingResponse(counted(size), trailers=lambda: {"X-Size": str(size[0])})


TRAILERS = "http.response.trailers"


@pytest.mark.parametrize("depth", [0, 2])
async def test_trailers_follow_the_body_and_know_what_it_was(depth: int) -> None:
    async def pass_on(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        return response

    async def endpoint(request: Request) -> Response:
        return with_trailers()

    app = Hesper(routes=[Route("/", endpoint)], middleware=[pass_on] * depth)
    result = await ScriptedServer(app).request("GET", "/", extensions=[TRAILERS]).run()
    messages = [sent.message for sent in result.sent]
    assert messages[0]["trailers"] is True
    assert messages[-2] == {"type": "http.response.body", "body": b"", "more_body": False}
    assert messages[-1] == {
        "type": TRAILERS,
        "headers": [(b"x-size", b"6")],
        "more_trailers": False,
    }
    assert (result.complete, result.violations) == (True, [])


async def test_a_server_without_trailers_gets_the_body_alone() -> None:
    result = await request(with_trailers())
    assert "trailers" not in result.sent[0].message
    assert (result.text, result.complete, result.violations) == ("onetwo", True, [])


def test_trailers_that_are_no_function_are_refused() -> None:
    with pytest.raises(UsageError, match=r"got \{'x-size': '1'\}: write trailers=lambda: ..."):
        StreamingResponse(counted([0]), trailers={"x-size": "1"})  # type: ignore[arg-type]


async def test_a_response_whose_trailers_fail_is_not_complete() -> None:
    def fail() -> Mapping[str, str]:
        raise ValueError("no sum")

    response = StreamingResponse(counted([0]), trailers=fail)
    result = await ScriptedServer(response).request("GET", "/", extensions=[TRAILERS]).run()
    assert isinstance(result.raised, ValueError)
    assert result.complete is False


async def test_a_client_that_leaves_gets_no_trailers() -> None:
    called: list[str] = []

    def trailers() -> Mapping[str, str]:
        called.append("called")
        return {}

    async def chunks() -> AsyncIterator[bytes]:
        yield b"one"
        await anyio.sleep_forever()

    response = StreamingResponse(chunks(), trailers=trailers)
    script = ScriptedServer(response).request("GET", "/", extensions=[TRAILERS])
    result = await script.leave_at_message(2).run()
    assert (result.raised, called) == (None, [])
