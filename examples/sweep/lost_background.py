"""Background work is cancelled although its response has arrived.

The bug: a middleware cancels the application as soon as `receive` says that the client has left.
After the response that is always so: "if receive is called after a response has been sent", the
specification has it give a disconnect. What the response left for later is lost.

Reported in: Kludex/starlette#1438, Kludex/starlette#1654, Kludex/starlette#1700 (whose own
BaseHTTPMiddleware did it), and of such middlewares in ITISFoundation/osparc-simcore#7279. Mended
by not cancelling once the response is whole.
"""

import anyio
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import PlainTextResponse
from starlette.routing import Route

REQUEST = ("POST", "/orders")
FINDS = "check"

billed = []


async def bill(order):
    await anyio.sleep(2)  # the bank
    billed.append(order)


async def order(request):
    return PlainTextResponse("Thank you.", background=BackgroundTask(bill, "a book"))


shop = Starlette(routes=[Route("/orders", order, methods=["POST"])])


def cancel_on_disconnect(spares_background):
    async def app(scope, receive, send):
        if scope["type"] != "http":
            await shop(scope, receive, send)
            return
        whole, error = False, None

        async def watched_send(message):
            nonlocal whole
            whole = message["type"] == "http.response.body" and not message.get("more_body")
            await send(message)

        async def watch():
            while (await receive())["type"] != "http.disconnect":
                pass
            if not (whole and spares_background):
                tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            try:
                await shop(scope, receive, watched_send)
            except Exception as exc:
                error = exc  # it would come out in an ExceptionGroup
            tasks.cancel_scope.cancel()
        if error is not None:
            raise error

    return app


before = billed.clear


def check(outcome):
    promised = outcome.result.complete and not outcome.result.server_cancelled
    return "What the response left for later was not done." if promised and not billed else None


app = cancel_on_disconnect(spares_background=False)
mended = cancel_on_disconnect(spares_background=True)
