"""`RuntimeError: No response returned.` for a client that left.

The bug: below a `BaseHTTPMiddleware` of Starlette a middleware cancels the work when the client has
left, and returns without a response, as the specification allows. `call_next` takes that for a
crash, and raises it into the server.

Reported in: Kludex/starlette#2516, galaxyproject/galaxy#14202, ITISFoundation/osparc-simcore#9297,
BerriAI/litellm#20816. It is Starlette's, and is mended by Hesper's class of that name: one import.
"""

import anyio
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware as StarlettesMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from hesper.middleware.base import BaseHTTPMiddleware as HespersMiddleware

REQUEST = ("GET", "/report")
FINDS = "raised"


class CancelOnDisconnect:
    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        async with anyio.create_task_group() as tasks:

            async def watch():
                while (await receive())["type"] != "http.disconnect":
                    pass
                tasks.cancel_scope.cancel()

            tasks.start_soon(watch)
            await self.app(scope, receive, send)
            tasks.cancel_scope.cancel()


async def report(request):
    await anyio.sleep(2)  # the database
    return PlainTextResponse("all is well")


async def name_the_server(request, call_next):
    response = await call_next(request)
    response.headers["x-served-by"] = "worker-1"
    return response


def make(base):
    stack = [Middleware(base, dispatch=name_the_server), Middleware(CancelOnDisconnect)]
    return Starlette(routes=[Route("/report", report)], middleware=stack)


app = make(StarlettesMiddleware)
mended = make(HespersMiddleware)
