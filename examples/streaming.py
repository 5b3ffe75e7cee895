"""Tokens as server-sent events: whoever ends the stream, its `finally` may await."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import anyio

from hesper.applications import Hesper
from hesper.background import BackgroundTask
from hesper.requests import Request
from hesper.responses import StreamingResponse
from hesper.routing import Route

ANSWER = ["The", "first", "light", "to", "come", "and", "the", "last", "one", "to", "leave."]

PACE = 0.3
"""Seconds that the model takes for a word."""

usage: dict[str, int] = {}
"""What a database would hold: how many words each prompt was given."""

finished: list[str] = []
"""The prompts whose background work has run."""


async def save_usage(prompt: str, words: int) -> None:
    await anyio.sleep(0.01)  # the database
    usage[prompt] = words


async def tokens(prompt: str) -> AsyncGenerator[str, None]:
    words = 0
    try:
        for word in ANSWER:
            await anyio.sleep(PACE)  # the model
            words += 1
            yield f"data: {word}\n\n"
    finally:
        await save_usage(prompt, words)


async def chat(request: Request) -> StreamingResponse:
    prompt = request.query_params.get("prompt", "")
    return StreamingResponse(
        tokens(prompt),
        media_type="text/event-stream",
        headers={"cache-control": "no-store"},
        background=BackgroundTask(finished.append, prompt),
    )


app = Hesper(routes=[Route("/chat", chat)])
