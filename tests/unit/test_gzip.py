"""``GZipMiddleware``: Starlette's names over the compression middleware, and what differs."""

import gzip
import inspect
from collections.abc import AsyncIterator
from typing import Any

import fastapi
import pytest
import starlette.middleware.gzip
import starlette.responses

import hesper.middleware.gzip
from hesper.applications import Hesper
from hesper.exceptions import UsageError
from hesper.middleware import Middleware
from hesper.middleware.compression import CompressionMiddleware
from hesper.middleware.gzip import (
    DEFAULT_EXCLUDED_CONTENT_TYPES,
    GZipMiddleware,
    GZipResponder,
    IdentityResponder,
    unattached_send,
)
from hesper.requests import Request
from hesper.responses import PlainTextResponse, Response, StreamingResponse
from hesper.routing import Route
from hesper.testing import Result
from hesper.types import ASGIApp

from .asking import ask

TEXT = "some text, and again some text. " * 100


async def fetch(app: ASGIApp, accept: str | None = "gzip") -> Result:
    result = await ask(app, headers={} if accept is None else {"accept-encoding": accept})
    assert (result.raised, result.violations) == (None, []), result.log
    return result


def app_of(response: Response, **options: Any) -> ASGIApp:
    async def endpoint(request: Request) -> Response:
        return response

    middleware = [Middleware(GZipMiddleware, **options)]
    return Hesper(routes=[Route("/", endpoint)], middleware=middleware)


@pytest.mark.parametrize("name", ["GZipMiddleware", "GZipResponder", "IdentityResponder"])
def test_the_parameters_are_starlettes(name: str) -> None:
    ours = inspect.signature(getattr(hesper.middleware.gzip, name)).parameters.values()
    theirs = inspect.signature(getattr(starlette.middleware.gzip, name)).parameters.values()
    assert [(each.name, each.kind, each.default) for each in ours] == [
        (each.name, each.kind, each.default) for each in theirs
    ]


def test_the_names_are_starlettes() -> None:
    assert starlette.middleware.gzip.DEFAULT_EXCLUDED_CONTENT_TYPES == (
        DEFAULT_EXCLUDED_CONTENT_TYPES
    )
    for name in hesper.middleware.gzip.__all__:
        assert hasattr(starlette.middleware.gzip, name)
    middleware = GZipMiddleware(PlainTextResponse(TEXT), 1, 2, 3, exclude_content_types=["A/B ; c"])
    assert isinstance(middleware, CompressionMiddleware)
    assert middleware.minimum_size == 1
    assert middleware.compresslevel == 2
    assert middleware.thread_minimum_size == 3
    assert middleware.exclude_content_types == ("a/b",)


async def test_gzip_is_all_it_knows() -> None:
    app = app_of(PlainTextResponse(TEXT))
    result = await fetch(app, "br, zstd, gzip;q=0.1")
    assert result.headers["content-encoding"] == "gzip"
    assert result.headers["content-length"] == str(len(result.body))
    assert gzip.decompress(result.body).decode() == TEXT
    for accept in (None, "br", "identity"):
        result = await fetch(app, accept)
        assert "content-encoding" not in result.headers
        assert (result.text, result.headers["vary"]) == (TEXT, "Accept-Encoding")


@pytest.mark.parametrize(
    ("accept", "encoding"), [("gzip;q=0", None), ("*", "gzip"), ("not-gzip", None)]
)
async def test_the_field_is_read_and_not_searched(accept: str, encoding: str | None) -> None:
    # Starlette looks for "gzip" anywhere in the field.
    result = await fetch(app_of(PlainTextResponse(TEXT)), accept)
    assert result.headers.get("content-encoding") == encoding


async def test_the_level_counts() -> None:
    sizes = [
        len((await fetch(app_of(PlainTextResponse(TEXT), compresslevel=level))).body)
        for level in (0, 1, 9)
    ]
    assert sizes[0] > sizes[1] >= sizes[2]
    with pytest.raises(UsageError, match="Expected a level from -1 to 9 for 'gzip', got 10"):
        GZipMiddleware(PlainTextResponse(TEXT), compresslevel=10)


CASES: dict[str, dict[str, Any]] = {
    "plain": {"content": TEXT},
    "short": {"content": "short"},
    "just large enough": {"content": "x" * 500},
    "just too small": {"content": "x" * 499},
    "partial": {"content": TEXT, "status_code": 206},
    "not found": {"content": TEXT, "status_code": 404},
    "encoded": {"content": TEXT, "headers": {"content-encoding": "text"}},
    "varying": {"content": TEXT, "headers": {"vary": "Cookie"}},
    "an image": {"content": TEXT, "media_type": "image/png"},
    "a video": {"content": TEXT, "media_type": "video/webm"},
    "grpc": {"content": TEXT, "media_type": "application/grpc+proto"},
    "events": {"content": TEXT, "media_type": "text/event-stream"},
    "no type": {"content": TEXT, "media_type": ""},
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("accept", ["gzip", None])
@pytest.mark.parametrize("streamed", [False, True])
async def test_what_starlette_compresses_is_compressed(
    name: str, accept: str | None, streamed: bool
) -> None:
    options = dict(CASES[name])
    content = options.pop("content")

    async def chunks() -> AsyncIterator[str]:
        for at in range(0, len(content), 100):
            yield content[at : at + 100]

    if streamed:
        ours: Any = app_of(StreamingResponse(chunks(), **options))
        response: Any = starlette.responses.StreamingResponse(chunks(), **options)
    else:
        ours = app_of(Response(content, **options))
        response = starlette.responses.Response(content, **options)
    theirs = starlette.middleware.gzip.GZipMiddleware(response)
    result, expected = await fetch(ours, accept), await fetch(theirs, accept)
    assert result.status == expected.status
    assert result.headers == expected.headers
    if result.headers.get("content-encoding") == "gzip":
        assert gzip.decompress(result.body) == gzip.decompress(expected.body)
    else:
        assert result.body == expected.body


async def test_a_responder_does_not_ask() -> None:
    endpoint: ASGIApp = PlainTextResponse(TEXT)
    for accept in ("gzip", None):
        result = await fetch(IdentityResponder(endpoint, 500), accept)
        assert (result.text, result.headers["vary"]) == (TEXT, "Accept-Encoding")
        result = await fetch(GZipResponder(endpoint, 500, 1, thread_minimum_size=10), accept)
        assert result.headers["content-encoding"] == GZipResponder.content_encoding
        assert gzip.decompress(result.body).decode() == TEXT


async def test_nothing_is_attached_to_send_to() -> None:
    with pytest.raises(RuntimeError, match="send awaitable not set"):
        await unattached_send({"type": "http.response.start"})


async def test_it_stands_in_a_fastapi_app() -> None:
    app = fastapi.FastAPI()
    app.add_middleware(GZipMiddleware, minimum_size=10)

    @app.get("/")
    async def page() -> str:
        return TEXT

    result = await fetch(app)
    assert gzip.decompress(result.body).decode() == f'"{TEXT}"'
