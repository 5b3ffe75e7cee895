"""The cases, in the order in which they run."""

from collections.abc import Awaitable, Callable

from benchmarks.cases import (
    bridge,
    dispatch,
    documents,
    files,
    imports,
    memory,
    over_sockets,
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
    "allocations": memory.run_allocations,
    "idle": memory.run_streams,
    "peaks": memory.run_peaks,
    "imports": imports.run,
    "servers": over_sockets.run,
}

GROUPS = {
    "routing": ("routed", "routes"),
    "middleware": ("dispatch", "bridge"),
    "memory": ("allocations", "idle", "peaks"),
    "bodies": ("json", "streams", "files", "uploads"),
}
"""Names for several cases at once."""
