"""What the demo serves: slow answers, endless streams, uploads, failures, and its page."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from importlib.resources import files
from itertools import count, cycle

import anyio

from hesper.demo.journal import Ending, journal, request_id
from hesper.exceptions import HTTPException
from hesper.requests import Request
from hesper.responses import HTMLResponse, JSONResponse, PlainTextResponse, StreamingResponse
from hesper.websockets import WebSocket

PAGE = files("hesper.demo").joinpath("page.html").read_text("utf-8")

WORDS = [
    "the",
    "evening",
    "star",
    "is",
    "the",
    "first",
    "light",
    "to",
    "come",
    "and",
    "the",
    "last",
]
WORDS += ["one", "to", "leave"]


def number(request: Request, name: str, default: float, most: float) -> float:
    """A number of the query.

    Raises:
        HTTPException: 400, it is none, or not from 0 to ``most``.
    """
    text = request.query_params.get(name, str(default))
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value <= most:
        raise HTTPException(400, f"Expected {name}, a number from 0 to {most:g}; got {text!r}.")
    return value


async def page(request: Request) -> HTMLResponse:
    """The page."""
    return HTMLResponse(PAGE)


async def slow(request: Request) -> PlainTextResponse:
    """An answer after ``?seconds=``; it is worked out to its end even if the client leaves."""
    seconds = number(request, "seconds", 3, 60)
    await anyio.sleep(seconds)
    return PlainTextResponse(f"{request_id.get()} took {seconds:g} seconds.\n")


async def tokens(request: Request) -> StreamingResponse:
    """Words as server-sent events, ``?n=`` of them; without it, or with 0, without end."""
    n = int(number(request, "n", 0, 10_000))
    return StreamingResponse(generate(n, breaks=False), media_type="text/event-stream")


async def break_off(request: Request) -> StreamingResponse:
    """A stream that fails after ``?n=`` words: the client must not take it for a whole one."""
    n = int(number(request, "n", 5, 10_000))
    return StreamingResponse(generate(n, breaks=True), media_type="text/event-stream")


async def generate(n: int, breaks: bool) -> AsyncGenerator[str, None]:
    """``n`` words, one in a tenth of a second; its ``finally`` may await, whoever ends it."""
    journal.generators_open += 1
    try:
        for index, word in zip(range(n) if n else count(), cycle(WORDS), strict=False):
            yield f"id: {index}\ndata: {word}\n\n"
            await anyio.sleep(0.1)
        if breaks:
            raise RuntimeError("The demo's stream broke off, as it was asked to.")
    finally:
        await anyio.sleep(0.05)  # where others close a cursor or write down what was used
        journal.generators_open -= 1


async def upload(request: Request) -> JSONResponse:
    """Count the bytes of the body, with ``?pause=`` seconds between its chunks."""
    pause = number(request, "pause", 0, 1)
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        request.state.entry.note = f"{received:,} bytes"
        await anyio.sleep(pause)
    return JSONResponse({"bytes": received, "request_id": request_id.get()})


async def fail(request: Request) -> PlainTextResponse:
    """An error before the response: a 500, and one traceback in the server's log."""
    raise RuntimeError("The demo's endpoint failed, as it was asked to.")


async def echo(websocket: WebSocket) -> None:
    """Every text comes back."""
    entry = journal.begin("WS", websocket.url.path)
    try:
        await websocket.accept()
        async for text in websocket.iter_text():
            await websocket.send_text(text)
    except BaseException:
        journal.end(entry, Ending.FAILED)
        raise
    journal.end(entry, Ending.COMPLETED)


async def show_journal(request: Request) -> JSONResponse:
    """What became of the requests."""
    return JSONResponse(journal.as_json())


async def clear_journal(request: Request) -> JSONResponse:
    """Forget it."""
    journal.clear()
    return JSONResponse(journal.as_json())
