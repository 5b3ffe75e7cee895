"""How real servers set the switches of `Dialect`: one row a server.

The law: a row holds what was measured of one server, and nothing else (November 2026, Linux,
loopback; uvicorn 0.54, hypercorn 0.18, granian 2.8, daphne 4.2, gunicorn 27, anycorn 0.20). Rows
build on one another only where the servers share code.
"""

from hesper.testing._dialect import Dialect

__all__ = [
    "ANYCORN",
    "ANYCORN_H2",
    "DAPHNE",
    "DIALECTS",
    "GRANIAN",
    "GUNICORN",
    "GUNICORN_H2",
    "HYPERCORN",
    "HYPERCORN_H2",
    "HYPERCORN_TRIO",
    "SPECIFICATION",
    "UVICORN",
    "UVICORN_LEGACY",
    "UVICORN_PIPELINED",
    "Dialect",
]

UVICORN = Dialect(name="uvicorn")
"""uvicorn on h11 or httptools, with its default WebSockets."""

UVICORN_LEGACY = Dialect(
    name="uvicorn-legacy",
    websocket_lost_code=1006,
    websocket_second="always 1005",
    websocket_send_after_leave="oserror then private",
)
"""uvicorn with the old protocol of ``websockets``."""

UVICORN_PIPELINED = Dialect(name="uvicorn-pipelined", seen_by="nobody", send_after_leave="private")
"""uvicorn on httptools and uvloop behind a second request on the same connection: nothing tells
that the client left but the failing `send`. Not in `DIALECTS`: what cannot be seen is not seen."""

HYPERCORN = Dialect(
    name="hypercorn",
    spec_version="2.1",
    websocket_spec_version="2.3",
    repeats_disconnect=False,
    disconnect_overtakes_body=False,
    unread_body_blocks_send=True,
    continue_at_first_receive=False,
    answers_half_closed=True,
    websocket_lost_code=1006,
    websocket_close_code=1006,
    websocket_no_code=1006,
    websocket_reason=False,
    websocket_second="hang",
    websocket_send_after_leave="silent",
    websocket_own_code=1000,
)
"""hypercorn on asyncio, HTTP/1.1."""

HYPERCORN_TRIO = HYPERCORN.but(
    name="hypercorn-trio",
    receive_suspends=True,
    send_suspends=True,
    shields_blocked_send=True,
)
"""hypercorn on trio, HTTP/1.1."""

HYPERCORN_H2 = HYPERCORN.but(
    name="hypercorn-h2",
    http_version="2",
    extensions=("http.response.trailers", "http.response.early_hint", "http.response.push"),
    send_after_leave="hang",
    blocked_send="stays",
    answers_half_closed=False,
    websocket_send_after_leave="hang",
)
"""hypercorn over HTTP/2, whose client lost the connection."""

GRANIAN = Dialect(
    name="granian",
    websocket_spec_version="2.3",
    extensions=("http.response.pathsend", "websocket.http.response"),
    cancelled_receive="loses",
    disconnect_overtakes_body=False,
    websocket_reason=False,
    websocket_second="always 1005",
    websocket_send_after_leave="silent",
    websocket_leave_before_accept_seen=False,
    websocket_own_code=1005,
)
"""granian."""

DAPHNE = Dialect(
    name="daphne",
    spec_version=None,
    websocket_spec_version=None,
    websocket_extensions=(),
    lifespan=False,
    repeats_disconnect=False,
    disconnect_overtakes_body=False,
    buffers_request=True,
    reads_ahead=1_000_000,
    continue_at_first_receive=False,
    backpressure=False,
    cancels_app="task",
    websocket_lost_code=1006,
    websocket_no_code=None,
    websocket_reason=False,
    websocket_second="hang",
    websocket_send_after_leave="silent",
    websocket_own_code=1006,
    websocket_any_code=False,
)
"""daphne, with an ``application_close_timeout`` of 3 seconds."""

GUNICORN = Dialect(
    name="gunicorn",
    spec_version="2.4",
    websocket_extensions=(),
    cancelled_receive="disconnects",
    second_receive_orphans_first=True,
    disconnect_after_response=False,
    blocked_send="stays",
    cancels_app="task",
    cancels_after_response=True,
    websocket_lost_code=1006,
    websocket_reason=False,
    websocket_second="hang",
    websocket_own_code=1006,
)
"""gunicorn's ASGI worker, HTTP/1.1."""

GUNICORN_H2 = GUNICORN.but(
    name="gunicorn-h2",
    http_version="2",
    extensions=("http.response.trailers", "http.response.priority"),
    send_after_leave="oserror",
    blocked_send="raises",
)
"""gunicorn's ASGI worker, HTTP/2: the one HTTP server whose `send` raises."""

ANYCORN = HYPERCORN_TRIO.but(
    name="anycorn",
    extensions=("http.response.pathsend", "http.response.zerocopysend"),
    cancelled_receive="loses",
    websocket_close_code=None,
    websocket_no_code=1005,
    websocket_own_code=None,
)
"""anycorn, HTTP/1.1."""

ANYCORN_H2 = ANYCORN.but(
    name="anycorn-h2",
    http_version="2",
    extensions=(
        "http.response.pathsend",
        "http.response.trailers",
        "http.response.early_hint",
        "http.response.push",
    ),
    send_after_leave="hang",
    blocked_send="stays",
    shields_blocked_send=False,
    answers_half_closed=False,
    websocket_send_after_leave="hang",
)
"""anycorn over HTTP/2, whose client lost the connection."""

SPECIFICATION = Dialect(
    name="specification",
    spec_version="2.5",
    websocket_spec_version="2.5",
    receive_suspends=True,
    send_suspends=True,
    send_after_leave="oserror",
    blocked_send="raises",
    disconnect_overtakes_body=False,
    websocket_lost_code=1006,
)
"""No server, but the specification's wish (HTTP & WebSocket 2.5): `send` to a client that left
raises an `OSError`. On the `receive` side it is the mildest choice."""

DIALECTS: tuple[Dialect, ...] = (
    UVICORN,
    UVICORN_LEGACY,
    HYPERCORN,
    HYPERCORN_TRIO,
    HYPERCORN_H2,
    GRANIAN,
    DAPHNE,
    GUNICORN,
    GUNICORN_H2,
    ANYCORN,
    ANYCORN_H2,
    SPECIFICATION,
)
"""Every dialect that an application has to be right under."""
