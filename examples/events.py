"""Event streams: one that a shutdown ends, and one that says goodbye itself.

curl -N http://127.0.0.1:8000/news
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from itertools import count

import anyio

from hesper.applications import Hesper
from hesper.requests import Request
from hesper.routing import Route
from hesper.sse import EventSourceResponse, ServerSentEvent

PACE = 1.0
"""Seconds from one event to the next."""

saved: list[int] = []
"""What a database would hold: how far each game had got when its stream ended."""


async def news(request: Request) -> EventSourceResponse:
    """Headlines without end. Where the client was when it reconnects, it says itself."""
    seen = int(request.headers.get("last-event-id", -1))

    async def headlines() -> AsyncGenerator[ServerSentEvent, None]:
        for number in count(seen + 1):
            yield ServerSentEvent(f"headline {number}", id=str(number))
            await anyio.sleep(PACE)

    # When the app shuts down, the stream ends with this, and is whole: come back in a second.
    goodbye = ServerSentEvent("", event="goodbye", retry=1000)
    return EventSourceResponse(headlines(), ping=10, last_event=goodbye)


async def game(request: Request) -> EventSourceResponse:
    """Moves of a game. It listens for the shutdown itself, and has the grace time for its end."""

    async def moves() -> AsyncGenerator[ServerSentEvent, None]:
        move = 0
        try:
            while not request.shutting_down:
                move += 1
                yield ServerSentEvent(f"move {move}", event="move")
                with anyio.move_on_after(PACE):
                    await request.wait_shutting_down()
            yield ServerSentEvent(f"adjourned after move {move}", event="adjourned")
        finally:
            saved.append(move)

    return EventSourceResponse(moves(), last_event=None)


app = Hesper(routes=[Route("/news", news), Route("/game", game)])
