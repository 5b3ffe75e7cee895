"""The app of all cases but `routes`: ten routes, and a request for the sixth of them."""

from benchmarks.asgi import FIRST_ID, Answer, answer
from benchmarks.peers import header

PATHS = (
    "/login/{id:int}",
    "/logout/{id:int}",
    "/articles/{id:int}",
    "/articles/{id:int}/comments",
    "/users/{id:int}/articles",
    "/users/{id:int}",
    "/search/{id:int}",
    "/tags/{id:int}",
    "/files/{id:int}",
    "/admin/{id:int}",
)
PREFIX = "/users/"


def expected(layers: int = 0) -> Answer:
    """Return the answer to the first path after `PREFIX` behind a number of middlewares."""
    headers = [(header(layer).encode(), b"1") for layer in range(layers)]
    return answer(200, f"item {FIRST_ID}".encode(), headers)
