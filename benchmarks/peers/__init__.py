"""The apps, one module a framework, all built from the same plan.

Each module has `DISTRIBUTION` and `BUILDERS`: a name for each way to write the app, and the
function that builds it for a list of paths and a number of middlewares. The first way is the one
that is used where there are no middlewares. `FEATURES` has the apps of the other cases, by name
(`benchmarks.cases.features` says what each must answer), and `CANNOT` the reason where it has not.
Importing the module imports its framework.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version

from benchmarks.asgi import App

NAMES = ("hesper", "starlette", "fastapi", "blacksheep", "falcon", "litestar", "quart", "sanic")

Builder = Callable[[Sequence[str], int], App]
Wrapper = Callable[[App, int], App]


def header(layer: int) -> str:
    """Return the name of the header that middleware number `layer` sets to "1"."""
    return f"x-layer-{layer}"


@dataclass(frozen=True, slots=True)
class Peer:
    """A framework that is installed.

    `wrap` puts a number of its dispatch middlewares around a foreign app, or is None.
    """

    name: str
    version: str
    builders: dict[str, Builder]
    wrap: Wrapper | None
    features: dict[str, Callable[[], App]]
    cannot: dict[str, str]

    def build(self, paths: Sequence[str]) -> App:
        """Return the app with these routes and no middleware."""
        return self.builders[self.name](paths, 0)


def load(names: Sequence[str] = NAMES) -> tuple[dict[str, Peer], dict[str, str]]:
    """Return the peers that are here, and for each that is not the reason."""
    here: dict[str, Peer] = {}
    missing: dict[str, str] = {}
    for name in names:
        try:
            module = import_module(f"benchmarks.peers.{name}")
        except ImportError as error:
            missing[name] = str(error)
        else:
            here[name] = Peer(
                name,
                version(module.DISTRIBUTION),
                module.BUILDERS,
                getattr(module, "wrap", None),
                module.FEATURES,
                getattr(module, "CANNOT", {}),
            )
    return here, missing
