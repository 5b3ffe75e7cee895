"""Responses of the asynchronous test client, and how their bodies are read."""

import gzip
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import pytest

from hesper._testclient.http.responses import AsyncTestResponse
from hesper.applications import Hesper
from hesper.exceptions import UsageError
from hesper.requests import Request
from hesper.responses import PlainTextResponse, Response, StreamingResponse
from hesper.routing import Route
from hesper.testclient import AsyncTestClient, DecodingError, HTTPStatusError
from hesper.types import Message, Receive, Scope, Send

START: Message = {"type": "http.response.start", "status": 200, "headers": []}


def client_of(*chunks: bytes, **headers: str) -> AsyncTestClient:
    """A client of an application that answers with these chunks."""

    async def stream() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    async def answer(request: Request) -> Response:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        return StreamingResponse(stream(), headers=fields)

    return AsyncTestClient(Hesper(routes=[Route("/", answer)]))


# -- the head -------------------------------------------------------------------------------------


def test_a_response_without_a_request_says_so() -> None:
    response = AsyncTestResponse(404, content=b"text")
    assert response.text == "text"
    with pytest.raises(UsageError, match="This response has no request"):
        response.raise_for_status()


def test_a_response_that_is_made_whole_is_decoded() -> None:
    content = gzip.compress(b"content")
    assert AsyncTestResponse(200, headers={"content-encoding": "gzip"}, content=content).text == (
        "content"
    )


async def test_a_status_that_is_no_success_can_be_raised() -> None:
    async def answer(request: Request) -> Response:
        status = int(request.query_params["status"])
        return Response(status_code=status, headers={"location": "/there"})

    client = AsyncTestClient(Hesper(routes=[Route("/", answer)]), follow_redirects=False)
    response = await client.get("/?status=204")
    assert response.raise_for_status() is response
    with pytest.raises(HTTPStatusError, match="Redirect location: '/there'") as caught:
        (await client.get("/?status=302")).raise_for_status()
    assert caught.value.response.status_code == 302
    assert caught.value.request is caught.value.response.request
    with pytest.raises(HTTPStatusError, match="Invalid status code '700 '"):
        (await client.get("/?status=700")).raise_for_status()


async def test_its_text() -> None:
    assert repr(await client_of(b"x").get("/")) == "<AsyncTestResponse [200 OK]>"


# -- the body -------------------------------------------------------------------------------------


async def test_json() -> None:
    response = await client_of(b'{"a": ', b"1.5}").get("/")
    assert response.json() == {"a": 1.5}
    assert response.json(parse_float=str) == {"a": "1.5"}


async def test_the_encoding_can_be_set() -> None:
    response = await client_of("é".encode("latin-1")).get("/")
    assert response.text == "\ufffd"
    response.encoding = "latin-1"
    assert response.text == "é"


@pytest.mark.parametrize("charset", ["unknown", "base64"])
async def test_a_charset_that_is_none_is_utf_8(charset: str) -> None:
    response = await client_of("é".encode(), content_type=f"text/plain; charset={charset}").get("/")
    assert response.charset_encoding == charset
    assert (response.encoding, response.text) == ("utf-8", "é")


READINGS: list[tuple[Callable[[AsyncTestResponse], Any], list[Any]]] = [
    (lambda response: response.aiter_raw(), [b"on", b"e\ntwo\xc3", b"\xa9"]),
    (lambda response: response.aiter_raw(4), [b"one\n", b"two\xc3", b"\xa9"]),
    (lambda response: response.aiter_bytes(), [b"on", b"e\ntwo\xc3", b"\xa9"]),
    (lambda response: response.aiter_bytes(5), [b"one\nt", b"wo\xc3\xa9"]),
    (lambda response: response.aiter_text(), ["on", "e\ntwo", "é"]),
    (lambda response: response.aiter_text(3), ["one", "\ntw", "oé"]),
    (lambda response: response.aiter_lines(), ["one", "twoé"]),
]


@pytest.mark.parametrize(("reading", "pieces"), READINGS)
async def test_a_body_is_read_in_every_form(
    reading: Callable[[AsyncTestResponse], Any], pieces: list[Any]
) -> None:
    client = client_of(b"on", b"e\ntwo\xc3", b"\xa9")
    async with client.stream("GET", "/") as response:
        assert [piece async for piece in reading(response)] == pieces
        assert response.is_closed
        assert response.is_stream_consumed
        with pytest.raises(UsageError, match="was read as a stream already, and is not kept"):
            await response.aread()


@pytest.mark.parametrize(("reading", "pieces"), READINGS[2:])
async def test_a_body_that_was_read_is_read_again_in_every_form(
    reading: Callable[[AsyncTestResponse], Any], pieces: list[Any]
) -> None:
    response = await client_of(b"on", b"e\ntwo\xc3", b"\xa9").get("/")
    for _ in range(2):
        read = [piece async for piece in reading(response)]
        assert type(pieces[0])().join(read) == type(pieces[0])().join(pieces)
    assert await response.aread() == response.content


async def test_a_body_is_not_there_before_it_is_read() -> None:
    async with client_of(b"body").stream("GET", "/") as response:
        with pytest.raises(UsageError, match=r"`await response.aread\(\)` reads it"):
            _ = response.text
        assert not response.is_closed
        assert await response.aread() == response.content == b"body"


async def test_a_closed_response_cannot_be_read() -> None:
    async with client_of(b"body").stream("GET", "/") as response:
        await response.aclose()
        await response.aclose()
        response.disconnect()
        with pytest.raises(UsageError, match="The response is closed, and its body was not read"):
            await response.aread()


async def test_half_a_body_that_was_closed_is_not_at_its_end() -> None:
    async with client_of(b"a", b"b").stream("GET", "/") as response:
        chunks = response.aiter_raw()
        assert await anext(chunks) == b"a"
        await response.aclose()
        with pytest.raises(UsageError, match="The client has left"):
            await anext(chunks)


async def test_a_reading_that_is_closed_is_at_its_end() -> None:
    async with client_of(b"a\nb\n").stream("GET", "/") as response:
        lines = response.aiter_lines()
        assert await anext(lines) == "a"
        await lines.aclose()
        await lines.aclose()
        assert [line async for line in lines] == []
        assert response.is_closed


async def test_a_reading_that_was_read_whole_has_nothing_to_close() -> None:
    response = await client_of(b"body").get("/")
    chunks = response.aiter_bytes()
    assert await anext(chunks) == b"body"
    await chunks.aclose()
    response.disconnect()
    await AsyncTestResponse(200).aclose()
    AsyncTestResponse(200).disconnect()


async def test_a_loop_may_stop_in_the_middle() -> None:
    async with client_of(b"a\n", b"b\n").stream("GET", "/") as response:
        async for line in response.aiter_lines():
            assert line == "a"
            break


async def test_a_wait_for_the_next_piece_can_be_given_up() -> None:
    go_on = anyio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(dict(START))
        await go_on.wait()
        await send({"type": "http.response.body", "body": b"late\n"})

    async with AsyncTestClient(app).stream("GET", "/") as response:
        lines = response.aiter_lines()
        with anyio.move_on_after(0.01) as scope:
            await anext(lines)
        assert scope.cancelled_caught
        go_on.set()
        assert await anext(lines) == "late"


async def test_a_compressed_body_is_read_as_it_is_made() -> None:
    compressed = gzip.compress(b"one\n") + b""
    client = client_of(compressed[:8], compressed[8:], content_encoding="gzip")
    async with client.stream("GET", "/") as response:
        assert [line async for line in response.aiter_lines()] == ["one"]
    assert (await client.get("/")).text == "one\n"
    async with client.stream("GET", "/") as response:
        assert b"".join([chunk async for chunk in response.aiter_raw()]) == compressed


@pytest.mark.parametrize(
    "content", [b"not compressed", gzip.compress(b"content")[:-1]], ids=["none", "half"]
)
async def test_a_body_that_is_not_in_its_coding_is_an_error(content: bytes) -> None:
    client = client_of(content, content_encoding="gzip")
    with pytest.raises(DecodingError, match="'gzip'") as caught:
        await client.get("/")
    assert caught.value.request.url == "http://testserver/"


async def test_a_head_and_a_304_have_a_coding_and_no_body() -> None:
    async def answer(request: Request) -> Response:
        return PlainTextResponse("body", headers={"content-encoding": "gzip"})

    client = AsyncTestClient(Hesper(routes=[Route("/", answer)]))
    assert (await client.head("/")).content == b""
