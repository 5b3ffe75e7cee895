"""The smallest application: two routes, one with a parameter."""

from hesper.applications import Hesper
from hesper.requests import Request
from hesper.responses import JSONResponse, PlainTextResponse
from hesper.routing import Route


async def hello(request: Request) -> PlainTextResponse:
    return PlainTextResponse("Hello.\n")


async def square(request: Request) -> JSONResponse:
    number = request.path_params["number"]
    return JSONResponse({"number": number, "square": number * number})


app = Hesper(
    routes=[
        Route("/", hello),
        Route("/squares/{number:int}", square),
    ]
)
