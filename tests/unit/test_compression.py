"""Compression: which coding, what of a response changes with it, and that nothing is left behind."""

import gc
import gzip
import sys
import threading
import weakref
import zlib
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import anyio.to_thread
import brotli  # type: ignore[import-untyped]
import fastapi
import pytest
import starlette.applications
import starlette.middleware
import starlette.responses
import starlette.routing
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from hesper.applications import Hesper
from hesper.exceptions import UsageError
from hesper.middleware import Middleware
from hesper.middleware._codecs import ENCODINGS, Encoder, load_codecs
from hesper.middleware.compression import CompressionMiddleware
from hesper.requests import Request
from hesper.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from hesper.responses import StreamingResponse as Streaming
from hesper.routing import Route, WebSocketRoute
from hesper.testing import Dialect, Result, ScriptedServer
from hesper.types import ASGIApp, Receive, Scope, Send
from hesper.websockets import WebSocket

from .asking import ask, connect

TEXT = "some text, and again some text. " * 100
PATHSEND = "http.response.pathsend"

DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "br": brotli.decompress,
    "zstd": zstd.decompress,
    "gzip": gzip.decompress,
}


def decoder(encoding: str) -> Callable[[bytes], bytes]:
    """Decodes piece by piece, as a browser does."""
    if encoding == "br":
        process: Callable[[bytes], bytes] = brotli.Decompressor().process
        return process
    if encoding == "zstd":
        return zstd.ZstdDecompressor().decompress
    return zlib.decompressobj(16 + zlib.MAX_WBITS).decompress


def decoded(result: Result) -> str:
    return DECODERS[result.headers["content-encoding"]](result.body).decode()


def around(response: ASGIApp, **options: Any) -> ASGIApp:
    """The middleware around a response; an app that is no response is a foreign one."""
    return CompressionMiddleware(respond(response), **options)


def respond(response: Any) -> ASGIApp:
    if not isinstance(response, Response):
        app: ASGIApp = response
        return app

    async def endpoint(request: Request) -> Response:
        return response

    return Route("/", endpoint, methods=["GET", "POST"])


async def fetch(
    app: ASGIApp, accept: str | None = "br, zstd, gzip", method: str = "GET", **headers: str
) -> Result:
    if accept is not None:
        headers["accept-encoding"] = accept
    result = await ask(app, method=method, headers=headers)
    assert (result.raised, result.violations) == (None, []), result.log
    return result


def untouched(result: Result) -> bool:
    return "content-encoding" not in result.headers


# -- which coding ----------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip"])
async def test_a_plain_response_is_compressed_in_one_piece(encoding: str) -> None:
    result = await fetch(around(PlainTextResponse(TEXT)), encoding)
    assert result.types == ["http.response.start", "http.response.body"]
    assert result.headers["content-encoding"] == encoding
    assert result.headers["content-length"] == str(len(result.body))
    assert result.headers["vary"] == "Accept-Encoding"
    assert result.headers["content-type"] == "text/plain; charset=utf-8"
    assert len(result.body) < len(TEXT) / 10
    assert decoded(result) == TEXT


@pytest.mark.parametrize(
    ("accept", "encoding"),
    [
        ("gzip, deflate, br, zstd", "br"),
        ("gzip, zstd", "zstd"),
        ("br;q=0, *", "zstd"),
        ("br;q=0.1, gzip;q=0.5", "gzip"),
        ("br;q=0, zstd;q=0, gzip;q=0", None),
        ("gzip;q=0", None),
        ("identity", None),
        ("identity, gzip;q=0.5", None),
        ("deflate", None),
        ("", None),
        (None, None),
    ],
)
async def test_the_client_decides(accept: str | None, encoding: str | None) -> None:
    result = await fetch(around(PlainTextResponse(TEXT)), accept)
    assert result.headers.get("content-encoding") == encoding
    assert result.headers["vary"] == "Accept-Encoding"
    if encoding is None:
        assert result.text == TEXT
        assert result.headers["content-length"] == str(len(TEXT))


async def test_the_server_decides_between_equals() -> None:
    app = around(PlainTextResponse(TEXT), encodings=["gzip", "br"])
    assert (await fetch(app)).headers["content-encoding"] == "gzip"
    assert (await fetch(app, "zstd, br")).headers["content-encoding"] == "br"
    assert untouched(await fetch(app, "zstd"))


async def test_several_lines_are_one_field() -> None:
    app = around(PlainTextResponse(TEXT))
    fields = [("accept-encoding", "br;q=0.1"), ("accept-encoding", "gzip")]
    result = await ScriptedServer(app).get(headers=fields).run()
    assert result.headers["content-encoding"] == "gzip"


async def test_a_field_with_100_000_entries_is_answered() -> None:
    accept = ",".join(f"coding-{number};q=0.{number % 1000:03}" for number in range(100_000))
    assert untouched(await fetch(around(PlainTextResponse(TEXT)), accept))
    result = await fetch(around(PlainTextResponse(TEXT)), f"{accept},gzip")
    assert decoded(result) == TEXT


# -- what is compressed ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "response",
    [
        Response(TEXT, 206, {"content-range": "bytes 0-1/2"}),
        Response(None, 204),
        Response(None, 205),
        PlainTextResponse(TEXT, headers={"content-encoding": "identity"}),
        PlainTextResponse(TEXT, headers={"repr-digest": "sha-256=:x:"}),
        PlainTextResponse(TEXT, headers={"cache-control": "public, No-Transform"}),
        PlainTextResponse("short"),
        Response(TEXT, media_type="image/png"),
        Response(TEXT, media_type="Video/MP4; codecs=x"),
        Response(TEXT, media_type="application/grpc"),
        Response(TEXT, media_type="application/grpc+proto"),
        Response(TEXT, media_type="application/grpc-web+proto"),
        Response(TEXT, media_type="text/event-stream"),
    ],
    ids=lambda response: f"{response.status_code} {response.headers.get('content-type')}",
)
async def test_what_should_stay_as_it_is_passes_as_the_same_object(response: Response) -> None:
    before = list(response.raw_headers)
    passed: list[Response] = []

    async def keep(request: Request, call_next: Any) -> Response:
        passed.append(await call_next(request))
        return passed[0]

    async def endpoint(request: Request) -> Response:
        return response

    app = Hesper(
        routes=[Route("/", endpoint)], middleware=[keep, Middleware(CompressionMiddleware)]
    )
    result = await fetch(app)
    assert untouched(result) or result.headers["content-encoding"] == "identity"
    assert passed[0] is response
    assert result.raw_headers == before


async def test_content_types_can_be_chosen() -> None:
    pages = around(PlainTextResponse(TEXT), exclude_content_types=["TEXT/plain; charset=utf-8"])
    assert untouched(await fetch(pages))
    images = around(Response(TEXT, media_type="image/png"), exclude_content_types=())
    assert decoded(await fetch(images)) == TEXT
    bare = around(Response(TEXT))
    assert decoded(await fetch(bare)) == TEXT


async def test_the_minimum_size_is_in_bytes() -> None:
    for size, compressed in ((9, False), (10, True)):
        result = await fetch(around(PlainTextResponse("x" * size), minimum_size=10), "gzip")
        assert untouched(result) is not compressed
        assert ("vary" in result.headers) is compressed


async def test_an_empty_body_is_never_compressed() -> None:
    assert untouched(await fetch(around(PlainTextResponse(""), minimum_size=0)))


async def test_other_answers_than_200_are_compressed_too() -> None:
    assert decoded(await fetch(around(PlainTextResponse(TEXT, 404)))) == TEXT


async def test_an_etag_is_weakened_and_ranges_are_not_offered_any_more() -> None:
    headers = {"etag": '"tag"', "accept-ranges": "bytes", "vary": "Cookie"}
    app = around(PlainTextResponse(TEXT, headers=headers))
    result = await fetch(app)
    assert result.headers["etag"] == 'W/"tag"'
    assert "accept-ranges" not in result.headers
    assert result.headers["vary"] == "Cookie, Accept-Encoding"
    as_it_is = await fetch(app, None)
    assert as_it_is.headers["etag"] == '"tag"'
    assert as_it_is.headers["accept-ranges"] == "bytes"
    weak = await fetch(around(PlainTextResponse(TEXT, headers={"etag": 'W/"tag"'})))
    assert weak.headers["etag"] == 'W/"tag"'


async def test_the_answer_to_head_is_not_compressed_and_says_nothing_untrue() -> None:
    app = around(PlainTextResponse(TEXT, headers={"etag": '"tag"'}))
    result = await fetch(app, method="HEAD")
    assert untouched(result)
    assert "content-length" not in result.headers
    assert result.headers["etag"] == 'W/"tag"'
    assert result.headers["vary"] == "Accept-Encoding"
    plain = await fetch(app, None, method="HEAD")
    assert plain.headers["content-length"] == str(len(TEXT))
    short = await fetch(around(PlainTextResponse("short")), method="HEAD")
    assert short.headers["content-length"] == "5"


async def test_a_304_names_the_tag_that_the_compressed_response_has() -> None:
    # RFC 9110 section 15.4.5: the ETag and Vary that the 200 would have.
    app = around(Response(None, 304, {"etag": '"tag"'}))
    result = await fetch(app)
    assert (result.headers["etag"], result.headers["vary"]) == ('W/"tag"', "Accept-Encoding")
    assert untouched(result)
    assert (await fetch(app, None)).headers["etag"] == '"tag"'


async def test_one_response_object_serves_clients_of_all_kinds() -> None:
    response = PlainTextResponse(TEXT, headers={"etag": '"tag"'})
    app = around(response)
    for _ in range(2):
        for accept in ("br", None, "gzip", "identity", "zstd"):
            result = await fetch(app, accept)
            assert (result.text if untouched(result) else decoded(result)) == TEXT
    assert response.body == TEXT.encode()
    assert response.headers["etag"] == '"tag"'


async def test_a_response_keeps_its_class_and_its_background_work() -> None:
    log: list[str] = []

    async def work() -> None:
        log.append("background")

    async def see(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        log.append(type(response).__name__)
        return response

    async def endpoint(request: Request) -> Response:
        return JSONResponse([TEXT], background=work)

    app = Hesper(routes=[Route("/", endpoint)], middleware=[see, Middleware(CompressionMiddleware)])
    assert TEXT in decoded(await fetch(app))
    assert log == ["JSONResponse", "background"]


# -- streams ---------------------------------------------------------------------------------------


class Closing:
    """A body that notes how it ended."""

    def __init__(self, chunks: Iterable[Any]) -> None:
        self.chunks = chunks
        self.closed = 0

    async def __aiter__(self) -> AsyncIterator[Any]:
        try:
            for chunk in self.chunks:
                await anyio.sleep(0)
                yield chunk
        finally:
            self.closed += 1


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip"])
async def test_each_chunk_of_a_stream_can_be_decoded_when_it_comes(encoding: str) -> None:
    body = Closing(["one", b"two", "", memoryview(b"three")])
    headers = {"content-length": "500000"}
    result = await fetch(around(Streaming(body, headers=headers, media_type="text/x")), encoding)
    assert result.headers["content-encoding"] == encoding
    assert "content-length" not in result.headers
    decode = decoder(encoding)
    *chunks, last, end = result.messages[1:]
    assert [decode(message["body"]) for message in chunks] == [b"one", b"two", b"three"]
    assert (decode(last["body"]), end["body"], end["more_body"]) == (b"", b"", False)
    assert decoded(result) == "onetwothree"
    assert body.closed == 1


async def test_event_streams_are_compressed_where_they_are_not_excluded() -> None:
    async def events() -> AsyncIterator[str]:
        for number in range(3):
            yield f"data: {number}\n\n"

    response = Streaming(events(), media_type="text/event-stream")
    result = await fetch(around(response, exclude_content_types=()), "gzip")
    decode = decoder("gzip")
    events_seen = [decode(message["body"]) for message in result.messages[1:4]]
    assert events_seen == [b"data: 0\n\n", b"data: 1\n\n", b"data: 2\n\n"]


async def test_a_stream_that_says_that_it_is_short_is_not_compressed() -> None:
    for length, compressed in (("3", False), ("500", True), ("no number", True)):
        response = Streaming(Closing(["abc"]), headers={"content-length": length})
        result = await ask(around(response), headers={"accept-encoding": "gzip"})
        assert untouched(result) is not compressed


async def test_a_stream_is_left_alone_where_the_client_wants_no_coding() -> None:
    body = Closing(["one", "two"])
    result = await fetch(around(Streaming(body)), None)
    assert (result.text, result.headers["vary"], body.closed) == ("onetwo", "Accept-Encoding", 1)


async def test_a_chunk_that_is_none_is_told_and_the_body_is_not_ended() -> None:
    body = Closing(["fine", 5])
    result = await ask(around(Streaming(body)), headers={"accept-encoding": "gzip"})
    assert isinstance(result.raised, UsageError)
    assert not result.complete
    assert body.closed == 1


async def test_an_error_in_the_body_is_never_a_proper_end() -> None:
    error = LookupError("halfway")

    async def halfway() -> AsyncIterator[bytes]:
        yield b"half"
        raise error

    result = await ask(around(Streaming(halfway())), headers={"accept-encoding": "br"})
    assert result.raised is error
    assert not result.complete
    assert not result.truncated_as_complete


class Counting:
    """An encoder that can be waited for, and that notes in which threads it works."""

    def __init__(self) -> None:
        self.encoders: list[weakref.ref[Encoder]] = []
        self.threads: list[int] = []

    def __call__(self) -> Encoder:
        inner = load_codecs(["gzip"], {})["gzip"]()
        threads = self.threads

        class Watched:
            def chunk(self, data: bytes) -> bytes:
                threads.append(threading.get_ident())
                return inner.chunk(data)

            def last(self, data: bytes = b"") -> bytes:
                threads.append(threading.get_ident())
                return inner.last(data)

        encoder = Watched()
        self.encoders.append(weakref.ref(encoder))
        return encoder

    def put_into(self, app: Any) -> None:
        app._codecs = {"gzip": self}

    async def all_released(self) -> bool:
        # A thread that was at work lets go of it a moment after its result has come.
        await anyio.to_thread.run_sync(int)
        gc.collect()
        return all(ref() is None for ref in self.encoders)


async def test_what_is_large_is_compressed_in_a_thread() -> None:
    here = threading.get_ident()
    for response in (
        lambda: PlainTextResponse("x" * 1000),
        lambda: Streaming(Closing(["x" * 1000])),
    ):
        for least, inline in ((1000, False), (1001, True)):
            counting = Counting()
            app = around(response(), thread_minimum_size=least)
            counting.put_into(app)
            assert decoded(await fetch(app, "gzip")) == "x" * 1000
            assert (counting.threads[0] == here) is inline
            assert await counting.all_released()


@pytest.mark.parametrize("leave_at", [0, 1, 2, 3])
@pytest.mark.parametrize("thread_minimum_size", [1, 1000])
async def test_a_client_that_leaves_in_mid_stream_leaves_nothing_behind(
    dialect: Dialect, leave_at: int, thread_minimum_size: int
) -> None:
    counting, body = Counting(), Closing(["chunk"] * 1000)
    app = around(Streaming(body), thread_minimum_size=thread_minimum_size)
    counting.put_into(app)
    server = ScriptedServer(app, dialect)
    script = server.get(headers={"accept-encoding": "gzip"}).leave_at_message(leave_at)
    result = await script.run()
    assert result.raised is None, result.log
    assert not result.truncated_as_complete
    assert len(result.sent) < 900
    assert body.closed <= 1  # a client that was gone on arrival may be seen before it begins
    assert await counting.all_released()


async def test_a_cancelled_request_leaves_nothing_behind() -> None:
    counting, body = Counting(), Closing([])

    async def waits() -> AsyncIterator[bytes]:
        try:
            yield b"first"
            await anyio.sleep_forever()
        finally:
            body.closed += 1

    app = around(Streaming(waits()))
    counting.put_into(app)
    async with ScriptedServer(app).get(headers={"accept-encoding": "gzip"}).open() as client:
        await client.wait_message(2)
        client.cancel_app()
        result = await client.finish()
    assert result.ended == "cancelled"
    assert body.closed == 1
    assert await counting.all_released()


async def test_an_iterator_without_aclose_is_wrapped_too() -> None:
    class Plain:
        def __init__(self) -> None:
            self.left = 2

        def __aiter__(self) -> Any:
            return Steps(self)

    class Steps:
        def __init__(self, plain: Plain) -> None:
            self.plain = plain

        async def __anext__(self) -> bytes:
            if not self.plain.left:
                raise StopAsyncIteration
            self.plain.left -= 1
            return b"step"

        def __aiter__(self) -> Any:
            return self

    assert decoded(await fetch(around(Streaming(Plain())))) == "stepstep"


# -- files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [10, 1000, 1_000_000])
@pytest.mark.parametrize("extensions", [(), (PATHSEND,)])
async def test_files_are_compressed_whole_and_never_in_part(
    tmp_path: Path, size: int, extensions: tuple[str, ...]
) -> None:
    path = tmp_path / "file.txt"
    path.write_bytes(b"x" * size)

    async def endpoint(request: Request) -> Response:
        return FileResponse(path)

    app = CompressionMiddleware(Route("/", endpoint))
    server = ScriptedServer(app)

    async def get(method: str = "GET", **headers: str) -> Result:
        headers["accept-encoding"] = "gzip"
        return await server.request(method, headers=headers, extensions=extensions).run()

    whole = await get()
    part = await get(range="bytes=2-4")
    head = await get("HEAD")
    assert (part.status, part.body, part.headers["content-length"]) == (206, b"xxx", "3")
    assert untouched(part)
    assert part.headers["etag"].startswith('"')
    if size == 10:
        assert untouched(whole)
        assert head.headers["content-length"] == "10"
        return
    assert decoded(whole) == "x" * size
    assert whole.headers["etag"] == f"W/{part.headers['etag']}" == head.headers["etag"]
    assert "accept-ranges" not in whole.headers
    assert "content-length" not in head.headers
    assert PATHSEND not in whole.types


# -- around foreign apps ---------------------------------------------------------------------------


def foreign(*messages: dict[str, Any], **start: Any) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [], **start})
        for message in messages:
            await send(message)

    return app


async def test_trailers_still_pass() -> None:
    body = {"type": "http.response.body", "body": b"data"}
    trailers = {"type": "http.response.trailers", "headers": [(b"x-sum", b"1")]}
    app = CompressionMiddleware(foreign(body, trailers, trailers=True))
    script = ScriptedServer(app).get(
        headers={"accept-encoding": "gzip"}, extensions=["http.response.trailers"]
    )
    result = await script.run()
    assert decoded(result) == "data"
    assert result.messages[0]["trailers"] is True
    assert result.trailers == [(b"x-sum", b"1")]


async def test_a_file_sent_by_its_path_is_compressed_or_passes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 1000)
    message = {"type": PATHSEND, "path": str(path)}
    for headers, compressed in (([], True), ([(b"content-type", b"image/png")], False)):
        app = CompressionMiddleware(foreign(message, headers=headers))
        script = ScriptedServer(app).get(headers={"accept-encoding": "gzip"}, extensions=[PATHSEND])
        result = await script.run()
        assert (PATHSEND in result.types) is not compressed
        assert (decoded(result) if compressed else result.text) == "x" * 1000


async def test_a_response_of_an_app_that_is_short_is_not_compressed() -> None:
    body = {"type": "http.response.body", "body": b"short", "extra": 1}
    app = CompressionMiddleware(foreign(body, headers=[(b"content-length", b"5")]))
    result = await fetch(app)
    assert untouched(result)
    assert result.messages[1] == body


async def test_it_stands_in_a_starlette_app() -> None:
    async def page(request: Any) -> Any:
        return starlette.responses.PlainTextResponse(TEXT)

    async def short(request: Any) -> Any:
        return starlette.responses.PlainTextResponse("short")

    app = starlette.applications.Starlette(
        routes=[starlette.routing.Route("/", page), starlette.routing.Route("/short", short)],
        middleware=[starlette.middleware.Middleware(CompressionMiddleware)],
    )
    assert decoded(await fetch(app)) == TEXT
    result = await ask(app, "/short", headers={"accept-encoding": "br"})
    assert (untouched(result), result.headers["content-length"]) == (True, "5")


async def test_it_stands_in_a_fastapi_app() -> None:
    log: list[str] = []
    app = fastapi.FastAPI()
    app.add_middleware(CompressionMiddleware, encodings=["zstd"])

    @app.get("/")
    async def page(tasks: fastapi.BackgroundTasks) -> dict[str, str]:
        tasks.add_task(log.append, "background")
        return {"text": TEXT}

    result = await fetch(app)
    assert result.headers["content-encoding"] == "zstd"
    assert TEXT in decoded(result)
    assert log == ["background"]


async def test_websockets_pass() -> None:
    async def greet(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(TEXT)

    app = CompressionMiddleware(WebSocketRoute("/", greet))
    assert (await connect(app)).frames == [TEXT]


# -- codecs ----------------------------------------------------------------------------------------


@given(st.sampled_from(list(ENCODINGS)), st.lists(st.binary(min_size=1)), st.binary())
def test_what_is_compressed_is_what_was_given(
    encoding: str, chunks: list[bytes], last: bytes
) -> None:
    encoder = load_codecs([encoding], {})[encoding]()
    parts = [encoder.chunk(chunk) for chunk in chunks] + [encoder.last(last)]
    assert all(parts)
    assert DECODERS[encoding](b"".join(parts)) == b"".join(chunks) + last


@pytest.mark.parametrize(
    ("encoding", "level"),
    [(name, level) for name, known in ENCODINGS.items() for level in known.levels],
)
def test_every_level_works(encoding: str, level: int) -> None:
    encoder = load_codecs([encoding], {encoding: level})[encoding]()
    assert DECODERS[encoding](encoder.last(TEXT.encode())) == TEXT.encode()


@pytest.mark.parametrize("level", ENCODINGS["zstd"].levels)
def test_no_level_of_zstd_asks_for_more_memory_than_a_browser_gives(level: int) -> None:
    # RFC 9659 section 3: 8 MB. Without knowing the size, as for a stream, a level takes its most.
    encoder = load_codecs(["zstd"], {"zstd": level})["zstd"]()
    options = {int(zstd.DecompressionParameter.window_log_max): 23}
    assert zstd.ZstdDecompressor(options=options).decompress(encoder.chunk(b"x")) == b"x"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"encodings": ["lzma"]}, "Expected encodings among br, zstd, gzip, got 'lzma'."),
        ({"levels": {"deflate": 1}}, "Expected encodings among br, zstd, gzip, got 'deflate'."),
        ({"encodings": "br"}, "Expected encodings as a sequence, got 'br': write [...]."),
        ({"levels": {"br": 12}}, "Expected a level from 0 to 11 for 'br', got 12."),
        ({"levels": {"zstd": 22}}, "Expected a level from 1 to 19 for 'zstd', got 22."),
    ],
)
def test_what_there_is_not_is_told_at_once(options: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError) as caught:
        CompressionMiddleware(PlainTextResponse(TEXT), **options)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("encoding", "modules", "package"),
    [
        ("br", ["brotli"], "brotli"),
        ("zstd", ["compression.zstd", "backports.zstd"], "backports.zstd"),
    ],
)
def test_a_library_that_is_missing_is_not_offered_or_named(
    monkeypatch: pytest.MonkeyPatch, encoding: str, modules: list[str], package: str
) -> None:
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)
    assert list(load_codecs(None, {})) == [name for name in ENCODINGS if name != encoding]
    with pytest.raises(ImportError) as caught:
        CompressionMiddleware(PlainTextResponse(TEXT), encodings=[encoding])
    assert str(caught.value) == (
        f"Compressing with {encoding!r} needs the package {package!r}. "
        'Install it with: pip install "hesper[compression]"'
    )


def test_the_standard_librarys_zstd_is_used_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    standard: Any = ModuleType("compression.zstd")
    standard.ZstdCompressor = zstd.ZstdCompressor
    monkeypatch.setitem(sys.modules, "compression", ModuleType("compression"))
    monkeypatch.setitem(sys.modules, "compression.zstd", standard)
    monkeypatch.setitem(sys.modules, "backports.zstd", None)
    assert zstd.decompress(load_codecs(["zstd"], {})["zstd"]().last(b"x")) == b"x"
