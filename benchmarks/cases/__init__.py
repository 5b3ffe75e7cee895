"""The cases, in the order in which they run."""

from collections.abc import Awaitable, Callable

from benchmarks.cases import (
    bridge,
    dispatch,
    documents,
    files,
    policies,
    reads,
    routed,
    routes,
    streams,
    uploads,
    websockets,
)
from benchmarks.outcome import Outcome, Peers
from benchmarks.timing import Clock

CASES: dict[str, Callable[[Peers, Clock], Awaitable[Outcome]]] = {
    "routed": routed.run,
    "reads": reads.run,
    "json": documents.run,
    "dispatch": dispatch.run,
    "bridge": bridge.run,
    "routes": routes.run,
    "streams": streams.run,
    "websockets": websockets.run,
    "files": files.run,
    "uploads": uploads.run,
    "policies": policies.run,
}

GROUPS = {
    "routing": ("routed", "routes"),
    "middleware": ("dispatch", "bridge"),
    "bodies": ("json", "streams", "files", "uploads"),
}
"""Names for several cases at once."""
