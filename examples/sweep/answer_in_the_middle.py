"""An error page in the middle of a download.

The bug: a middleware answers every error with a 500, also when the response has begun long ago. If
the client leaves, and `send` says so as the specification wants, that is such an error: a second
`http.response.start` follows the first one, and its error hides the one that was.

Reported in: litestar-org/litestar#3479, modelcontextprotocol/python-sdk#3192,
rootlyhq/rootly-mcp-server#132 (66,000 log lines in four hours). Mended by raising again if the
response has begun.
"""

import anyio

REQUEST = ("GET", "/export")
FINDS = "sent-twice"


async def export(scope, receive, send):
    await send({"type": "http.response.start", "status": 200})
    for row in range(3):
        await anyio.sleep(1)  # the database
        await send({"type": "http.response.body", "body": b"%d;" % row, "more_body": True})
    await send({"type": "http.response.body"})


async def sorry(send):
    await send({"type": "http.response.start", "status": 500})
    await send({"type": "http.response.body", "body": b"Sorry."})


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    try:
        await export(scope, receive, send)
    except Exception:
        await sorry(send)


async def mended(scope, receive, send):
    if scope["type"] != "http":
        return
    begun = False

    async def watched_send(message):
        nonlocal begun
        begun = True
        await send(message)

    try:
        await export(scope, receive, watched_send)
    except Exception:
        if begun:
            raise
        await sorry(send)
