"""What the apps get and give: JSON, chunks, texts, files and an upload. The same for every app."""

import asyncio
import atexit
import functools
import json
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from benchmarks.asgi import Message

CHUNKS = 1000
CHUNK = b"one of a thousand chunks, each of sixty-four bytes with its end.\n"[-64:]
TEXTS = 100
TEXT = "a message of a socket, about as long as those of a chat are"
EVENT = b"id: 1\ndata: hello\n\n"
MEGABYTE = 1024 * 1024
UPLOADED = 50 * MEGABYTE
BOUNDARY = b"----WebKitFormBoundary7MA4YWxkTrZu0gW"

FILES = {"small.txt": 1024, "large.bin": 10 * MEGABYTE}
"""The files of the folder, and their bytes."""


async def chunks() -> AsyncIterator[bytes]:
    """Yield what a stream is made of. It never suspends: only the framework's work is left."""
    for _ in range(CHUNKS):
        yield CHUNK


async def events() -> AsyncIterator[bytes]:
    """Yield one event, and then nothing for ever, as most event streams do most of the time."""
    yield EVENT
    await asyncio.Event().wait()


def record(number: int) -> dict[str, object]:
    return {
        "id": number,
        "name": f"Person number {number}",
        "email": f"person.{number}@example.org",
        "active": number % 2 == 0,
        "score": number * 1.25,
        "tags": ["reader", "writer"],
    }


def document(size: int) -> bytes:
    """Return a JSON document of about this many bytes, with records such as an API has."""
    if size < 100:
        return json.dumps({"id": 7, "name": "Ada", "active": True}, separators=(",", ":")).encode()
    records: list[dict[str, object]] = []
    while len(body := json.dumps({"people": records}, separators=(",", ":"))) < size:
        records.append(record(len(records)))
    return body.encode()


def body_of(name: str) -> bytes:
    """Return the content of a file of the folder."""
    line = b"The same line again and again, to fill a file.\n"
    return (line * (FILES[name] // len(line) + 1))[: FILES[name]]


@functools.cache
def folder() -> Path:
    """Return a directory with the files; it goes when the process ends."""
    made = Path(tempfile.mkdtemp(prefix="hesper-bench-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    for name in FILES:
        (made / name).write_bytes(body_of(name))
    return made


def upload() -> list[Message]:
    """Return the messages of a form with a field and a file of 50 MB, as a server reads them.

    The file is one piece of 64 KB again and again: the form weighs nothing, and its pieces are in
    the processor's cache, as those are that a server has just read.
    """
    part = b"--" + BOUNDARY + b'\r\nContent-Disposition: form-data; name="'
    head = (
        part + b'title"\r\n\r\nA large file\r\n',
        part + b'file"; filename="large.bin"\r\nContent-Type: application/octet-stream\r\n\r\n',
    )
    piece = bytes(range(256)) * 256
    pieces = [b"".join(head), *[piece] * (UPLOADED // len(piece)), b"\r\n--" + BOUNDARY + b"--\r\n"]
    return [
        {"type": "http.request", "body": body, "more_body": number < len(pieces)}
        for number, body in enumerate(pieces, 1)
    ]


UPLOAD_TYPE = b"multipart/form-data; boundary=" + BOUNDARY
