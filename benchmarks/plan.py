"""The app with ten routes, which most cases use, and how a server process is told which to build."""

from benchmarks.asgi import FIRST_ID, Answer, Ask, answer
from benchmarks.peers import header

APP = "HESPER_BENCH_APP"
LAYERS = "HESPER_BENCH_LAYERS"
"""The names in the environment: of the app, and of its number of middlewares."""

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
ASK = Ask("/users/")
"""A request for the sixth of them."""


def expected(layers: int = 0) -> Answer:
    """Return the answer to the first `ASK` behind a number of middlewares."""
    headers = [(header(layer).encode(), b"1") for layer in range(layers)]
    return answer(200, f"item {FIRST_ID}".encode(), headers)
