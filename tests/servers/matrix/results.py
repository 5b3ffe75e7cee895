"""The outcome of each server's run, which is made once in a process, when it is first asked for."""

from __future__ import annotations

import asyncio
from functools import cache

from tests.servers.matrix.run import Outcome, run
from tests.servers.matrix.servers import COMMANDS


@cache
def outcome_of(server: str) -> Outcome:
    """What the run of one server has found."""
    return asyncio.run(run(server))


def all_outcomes() -> dict[str, Outcome]:
    """What was found on all servers, in the order of the page."""
    return {server: outcome_of(server) for server in COMMANDS}
