"""Half of a download is finished as if it were all of it.

The bug: the last message is sent in a `finally`. If the upstream breaks off, or the server cancels
the request, the client gets what there was, and the end: a transfer that has succeeded, a truncated
file, and no way to tell.

Reported in: gpustack/gpustack#5939, Kludex/starlette#1459, pallets/werkzeug#2090. Mended by sending
the last message only at the end: without it the server breaks the connection off, as it must.
"""

import anyio

REQUEST = ("GET", "/backup")
FINDS = "truncated"


async def rows():
    for number in range(3):
        await anyio.sleep(1)  # the database
        yield b"%d;" % number


async def begin(send):
    headers = [(b"content-type", b"text/csv")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def send_rows(send):
    async for row in rows():
        await send({"type": "http.response.body", "body": row, "more_body": True})


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    await begin(send)
    try:
        await send_rows(send)
    finally:
        await send({"type": "http.response.body"})


async def mended(scope, receive, send):
    if scope["type"] != "http":
        return
    await begin(send)
    await send_rows(send)
    await send({"type": "http.response.body"})
