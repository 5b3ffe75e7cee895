"""`benchmarks.served:app`: the app that a server process runs, chosen by the environment."""

import os

from benchmarks import floors
from benchmarks.asgi import App
from benchmarks.cases.common import PATHS, expected
from benchmarks.peers import load

NAME = "HESPER_BENCH_APP"
LAYERS = "HESPER_BENCH_LAYERS"


def build(name: str, layers: int) -> App:
    """Return the app with ten routes of a peer, behind middlewares; or the raw app."""
    if name == "raw":
        return floors.with_lifespan(floors.constant(expected(layers)))
    return load([name])[0][name].builders[name](PATHS, layers)


if NAME in os.environ:
    app = build(os.environ[NAME], int(os.environ[LAYERS]))
