"""The cases, in the order in which they run."""

from collections.abc import Awaitable, Callable

from benchmarks.cases import bridge, dispatch, routed, routes
from benchmarks.outcome import Outcome, Peers
from benchmarks.timing import Clock

CASES: dict[str, Callable[[Peers, Clock], Awaitable[Outcome]]] = {
    "routed": routed.run,
    "dispatch": dispatch.run,
    "bridge": bridge.run,
    "routes": routes.run,
}
