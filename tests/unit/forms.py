"""What the tests of forms share: bodies in pieces, and parsers that tell of their files."""

import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from tempfile import SpooledTemporaryFile
from typing import Any, BinaryIO, cast

import anyio
import anyio.lowlevel
from hypothesis import strategies as st

from hesper.datastructures import FormData, Headers, UploadFile
from hesper.formparsers import MultiPartParser

BACKENDS = ["asyncio", "trio"]
MULTIPART = "multipart/form-data; boundary=B"
FIELD = b'Content-Disposition: form-data; name="a"'
FILE = FIELD + b'; filename="f.txt"'
SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=4)

Content = str | tuple[str | None, bytes, str | None]


async def chunks(*pieces: bytes) -> AsyncGenerator[bytes, None]:
    for piece in pieces:
        await anyio.lowlevel.checkpoint()
        yield piece


def cut(body: bytes, sizes: Sequence[int]) -> list[bytes]:
    """Cut a body into pieces of these sizes, over and over."""
    pieces = []
    at = turn = 0
    while at < len(body):
        size = sizes[turn % len(sizes)]
        pieces.append(body[at : at + size])
        at, turn = at + size, turn + 1
    return pieces


def part(headers: bytes, content: bytes = b"x") -> bytes:
    return b"--B\r\n" + headers + b"\r\n\r\n" + content + b"\r\n"


def whole(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--B--\r\n"


async def contents(form: FormData) -> list[tuple[str, Content]]:
    """Take a form apart, checking what holds for every upload, and close it."""
    found: list[tuple[str, Content]] = []
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            data = await value.read()
            assert value.size == len(data)
            found.append((name, (value.filename, data, value.content_type)))
        else:
            found.append((name, value))
    await form.close()
    return found


def parse(
    *pieces: bytes,
    content_type: str = MULTIPART,
    parser_class: type[MultiPartParser] = MultiPartParser,
    **limits: Any,
) -> list[tuple[str, Content]]:
    async def main() -> list[tuple[str, Content]]:
        headers = Headers({"content-type": content_type})
        parser = parser_class(headers, chunks(*pieces), **limits)
        try:
            return await contents(await parser.parse())
        except BaseException:
            assert all(file.closed for file in parser._spools.files)
            raise

    return anyio.run(main)


class SpyFile(SpooledTemporaryFile[bytes]):
    """Records in which thread each write happened, and where the data went."""

    def __init__(self, max_size: int) -> None:
        super().__init__(max_size=max_size)
        self.writes: list[tuple[int, bool]] = []
        self.rollovers: list[int] = []

    def write(self, data: Any) -> int:
        written = super().write(data)
        self.writes.append((threading.get_ident(), bool(getattr(self, "_rolled"))))  # noqa: B009
        return written

    def rollover(self) -> None:
        self.rollovers.append(threading.get_ident())
        super().rollover()


class SpyParser(MultiPartParser):
    """Opens files that tell what happens to them."""

    spool_max_size = 100_000
    file_class: Callable[[int], Any] = SpyFile

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.files: list[Any] = []

    def open_file(self) -> BinaryIO:
        self.files.append(type(self).file_class(self.spool_max_size))
        return cast(BinaryIO, self.files[-1])


def spy(*pieces: bytes, parser_class: type[SpyParser] = SpyParser) -> SpyParser:
    headers = Headers({"content-type": MULTIPART})
    parser = parser_class(headers, chunks(*pieces))
    parser._spools.batch_size = 64 * 1024  # so that forms of some 100 KB have several batches
    return parser


def opened(parser: SpyParser) -> list[Any]:
    """The files of a parser, which must have opened some: else a test would prove nothing."""
    assert parser.files
    return parser.files


START = part(FILE, b"first") + b"--B\r\n" + FILE + b"\r\n\r\n" + b"x" * 150_000
