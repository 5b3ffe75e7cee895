"""An endpoint that has answered by itself returns a second response.

The bug: an endpoint hands `request._send` to something that speaks ASGI and answers, and returns
`Response()` because Starlette calls whatever an endpoint returns. As long as the client reads, and
also after it has left, the server gets a second start after the end of the first response.

Reported in: modelcontextprotocol/python-sdk#883, azizmazrou/ews-mcp#20, fastapi/fastapi#4856.
Mended by mounting the ASGI application as what it is.
"""

import anyio
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Mount, Route

REQUEST = ("GET", "/sse/")
FINDS = "sent-twice"


async def transport(scope, receive, send):
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for number in range(2):
        await anyio.sleep(1)  # the agent
        message = b"data: %d\n\n" % number
        await send({"type": "http.response.body", "body": message, "more_body": True})
    await send({"type": "http.response.body"})


async def handle_sse(request):
    await transport(request.scope, request.receive, request._send)
    return Response()  # else Starlette calls None


app = Starlette(routes=[Route("/sse/", handle_sse)])
mended = Starlette(routes=[Mount("/sse", transport)])
