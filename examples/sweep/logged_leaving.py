"""Each upload that a client breaks off is logged as an error.

The bug: `except Exception` around the reading of a body catches `ClientDisconnect` as well. A phone
that loses its network wakes somebody who is on call, and a 500 goes to nobody.

Reported in: modelcontextprotocol/python-sdk#1648, METR/hawk#882, Pocket/proxy-server#107. Mended by
catching `ClientDisconnect` first.
"""

import logging

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

REQUEST = ("POST", "/photos", b"half of a photo, and the rest")
FINDS = "logged"

logger = logging.getLogger(__name__)


async def store(request):
    photo = await request.body()
    return PlainTextResponse(f"{len(photo)} bytes", status_code=201)


async def noisy(request):
    try:
        return await store(request)
    except Exception:
        logger.exception("The upload failed.")
        return PlainTextResponse("Something went wrong.", status_code=500)


async def quiet(request):
    try:
        return await store(request)
    except ClientDisconnect:
        return Response(status_code=499)  # nobody gets it; it is for the access log
    except Exception:
        logger.exception("The upload failed.")
        return PlainTextResponse("Something went wrong.", status_code=500)


app = Starlette(routes=[Route("/photos", noisy, methods=["POST"])])
mended = Starlette(routes=[Route("/photos", quiet, methods=["POST"])])
