"""A proxy in front of a language model. When nobody reads any more, the model stops.

The model answers for as long as it is asked, and every second of it costs money. Run both, and leave:

    hesper run examples.llm_proxy:model --port 9000
    hesper run examples.llm_proxy:app
    curl -N -d '{"prompt": "light"}' --max-time 1 http://127.0.0.1:8000/chat
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from itertools import count

import anyio
from httpx2 import AsyncClient, HTTPError

from hesper.applications import Hesper
from hesper.requests import Request
from hesper.responses import PlainTextResponse, Response, StreamingResponse
from hesper.routing import Route
from hesper.sse import EventSourceResponse

# -- the proxy -------------------------------------------------------------------------------------


async def chat(request: Request) -> Response:
    """Pass the question on, and the tokens back, as they come."""
    client: AsyncClient = request.state.client
    question = client.build_request("POST", "/generate", content=await request.body())
    try:
        # The model may think for a minute before its first token: cancelled here, the client
        # library closes the connection.
        answer = await client.send(question, stream=True)
    except HTTPError as exc:
        return PlainTextResponse(f"The model cannot be reached: {exc}\n", 502)
    # The library's stream has aclose(): it is closed with the response, whatever becomes of that.
    return StreamingResponse(
        answer.stream,
        answer.status_code,
        media_type=answer.headers.get("content-type"),
    )


def proxy(connect: Callable[[], AsyncClient]) -> Hesper:
    """The application, with one client for all requests to the model."""

    @asynccontextmanager
    async def lifespan(app: Hesper) -> AsyncGenerator[dict[str, AsyncClient], None]:
        async with connect() as client:
            yield {"client": client}

    return Hesper(
        routes=[Route("/chat", chat, methods=["POST"], on_disconnect="cancel")],
        lifespan=lifespan,
    )


def connect() -> AsyncClient:
    """A client for the model, which may be silent for two minutes."""
    return AsyncClient(
        base_url=os.environ.get("MODEL_URL", "http://127.0.0.1:9000"),
        headers={"accept-encoding": "identity"},  # its bytes are passed on as they are
        timeout=120,
    )


app = proxy(connect)

# -- the model -------------------------------------------------------------------------------------

PACE = 0.2
"""Seconds that the model takes for a token; for the first one, twenty times as many."""


async def generate(request: Request) -> EventSourceResponse:
    """Tokens without end: what stands for a model."""
    await request.body()
    await anyio.sleep(20 * PACE)

    async def tokens() -> AsyncGenerator[str, None]:
        for number in count():
            yield f"token {number}"
            await anyio.sleep(PACE)

    return EventSourceResponse(tokens())


model = Hesper(routes=[Route("/generate", generate, methods=["POST"], on_disconnect="cancel")])
