"""`benchmarks.served:app`: the app that a server process runs, chosen by the environment."""

import os

from benchmarks import floors
from benchmarks.asgi import App
from benchmarks.peers import load
from benchmarks.plan import APP, LAYERS, PATHS, expected


def build(name: str, layers: int) -> App:
    """Return the app with ten routes of a peer, behind middlewares; or the raw app."""
    if name == "raw":
        return floors.with_lifespan(floors.constant(expected(layers)))
    return load([name])[0][name].builders[name](PATHS, layers)


if APP in os.environ:
    app = build(os.environ[APP], int(os.environ[LAYERS]))
