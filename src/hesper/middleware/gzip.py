"""``GZipMiddleware``: compression under Starlette's name, with gzip alone."""

from __future__ import annotations

from collections.abc import Collection
from typing import NoReturn

from hesper.middleware.compression import DEFAULT_EXCLUDED_CONTENT_TYPES, CompressionMiddleware
from hesper.requests import Request
from hesper.types import ASGIApp, Message

__all__ = [
    "DEFAULT_EXCLUDED_CONTENT_TYPES",
    "GZipMiddleware",
    "GZipResponder",
    "IdentityResponder",
    "unattached_send",
]


class GZipMiddleware(CompressionMiddleware):
    """Compresses responses with gzip where the client accepts it: a ``CompressionMiddleware`` that
    knows no other coding. See there for what is compressed, and how.

    Args:
        minimum_size: bytes; shorter bodies are sent as they are.
        compresslevel: how hard to try, 0 to 9. Brotli and Zstandard are smaller in less time: see
            ``CompressionMiddleware``.
        thread_minimum_size: bytes; chunks of this size or more are compressed in a worker thread.
        exclude_content_types: media types, or "type/*" for all of a kind.

    Raises:
        UsageError: there is no such level.
    """

    def __init__(
        self,
        app: ASGIApp,
        minimum_size: int = 500,
        compresslevel: int = 9,
        thread_minimum_size: int = 128 * 1024,
        *,
        exclude_content_types: Collection[str] = DEFAULT_EXCLUDED_CONTENT_TYPES,
    ) -> None:
        super().__init__(
            app,
            minimum_size,
            encodings=["gzip"],
            levels={"gzip": compresslevel},
            thread_minimum_size=thread_minimum_size,
            exclude_content_types=exclude_content_types,
        )
        self.compresslevel = compresslevel


class IdentityResponder(GZipMiddleware):
    """An app whose responses are not compressed, whatever the client accepts; caches are told that
    others may be."""

    def __init__(
        self,
        app: ASGIApp,
        minimum_size: int,
        *,
        exclude_content_types: Collection[str] = DEFAULT_EXCLUDED_CONTENT_TYPES,
    ) -> None:
        super().__init__(app, minimum_size, exclude_content_types=exclude_content_types)

    def _choose(self, request: Request) -> str | None:
        return None


class GZipResponder(GZipMiddleware):
    """An app whose responses are compressed with gzip, whatever the client accepts."""

    content_encoding = "gzip"

    def __init__(
        self,
        app: ASGIApp,
        minimum_size: int,
        compresslevel: int = 9,
        *,
        thread_minimum_size: int = 128 * 1024,
        exclude_content_types: Collection[str] = DEFAULT_EXCLUDED_CONTENT_TYPES,
    ) -> None:
        super().__init__(
            app,
            minimum_size,
            compresslevel,
            thread_minimum_size,
            exclude_content_types=exclude_content_types,
        )

    def _choose(self, request: Request) -> str | None:
        return self.content_encoding


async def unattached_send(message: Message) -> NoReturn:
    """The ``send`` of something that has none yet.

    Raises:
        RuntimeError: always.
    """
    raise RuntimeError("send awaitable not set: call the app with scope, receive and send.")
