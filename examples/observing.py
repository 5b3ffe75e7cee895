"""Observing endings: a line of log and a number for each, without a library.

curl http://127.0.0.1:8000/users/7
curl --max-time 0.5 http://127.0.0.1:8000/slow
curl http://127.0.0.1:8000/metrics
"""

from __future__ import annotations

import anyio

from hesper.applications import Hesper
from hesper.endings import Ending, EndingCounter, RequestEnded, log_ending
from hesper.requests import Request
from hesper.responses import PlainTextResponse, Response
from hesper.routing import Route

counter = EndingCounter()

impatient: list[str] = []
"""The routes that clients did not wait for."""


def note_impatience(event: RequestEnded) -> None:
    """A hook of our own: it is called when all of a request is over, and must not block."""
    if event.ending is Ending.LEFT_BEFORE_RESPONSE and event.route is not None:
        impatient.append(event.route)


async def user(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"user {request.path_params['id']}\n")


async def slow(request: Request) -> PlainTextResponse:
    await anyio.sleep(2)
    return PlainTextResponse("at last\n")


async def metrics(request: Request) -> Response:
    """What Prometheus reads."""
    return Response(counter.render(), media_type=counter.media_type)


app = Hesper(
    routes=[
        Route("/users/{id:int}", user),
        Route("/slow", slow, on_disconnect="cancel"),
        Route("/metrics", metrics),
    ],
    on_ending=[log_ending, counter, note_impatience],
)
