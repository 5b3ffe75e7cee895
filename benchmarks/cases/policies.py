"""What `on_disconnect="cancel"` costs: the handler is watched, so somebody has to receive.

Measured on a handler that answers at once, and on one that waits for a turn of the event loop.
"""

import asyncio
from collections.abc import Callable
from typing import Any, cast

from benchmarks.asgi import App
from benchmarks.outcome import Bar, Outcome, Peers, Table, micro, raw_row
from benchmarks.plan import ASK, PATHS, expected
from benchmarks.timing import RAW, Clock, Rounds, Subject

TITLE = 'on_disconnect="cancel"'
WAYS = ("as it is", "app", "route")
HANDLERS = ("answers at once", "waits a turn")


async def run(peers: Peers, clock: Clock) -> Outcome:
    if "hesper" not in peers:
        return Outcome(bars=[Bar(TITLE, "not measured", None)])
    try:
        apps = {(way, kind): build(way, kind) for kind in HANDLERS for way in WAYS}
    except Exception as refusal:
        # A keyword that is not known is a TypeError, or a UsageError.
        return Outcome(notes=[f"{TITLE}: not there yet ({refusal})"])
    rounds = await clock.measure(
        TITLE, [Subject(key(*name), apps[name], ASK, expected()) for name in apps]
    )
    return Outcome([table(rounds)])


def key(way: str, kind: str) -> str:
    return f"{way}, {kind}"


def build(way: str, kind: str) -> App:
    from benchmarks.peers.hesper import show
    from hesper.applications import Hesper
    from hesper.requests import Request
    from hesper.responses import Response
    from hesper.routing import Route

    async def waits(request: Request) -> Response:
        await asyncio.sleep(0)
        return await show(request)

    # The keyword is new: a Hesper without it is measured too, so types cannot be asked.
    new_app: Callable[..., Any] = Hesper
    new_route: Callable[..., Any] = Route
    policy = {"on_disconnect": "cancel"}
    endpoint = show if kind == HANDLERS[0] else waits
    routes = [new_route(path, endpoint, **(policy if way == "route" else {})) for path in PATHS]
    return cast(App, new_app(routes=routes, **(policy if way == "app" else {})))


def table(rounds: Rounds) -> Table:
    columns = ["handler", *(f"{way}, over raw" for way in WAYS), "the policy costs", "min"]
    table = Table(f"{TITLE} (µs; {raw_row(rounds)})", columns)
    for kind in HANDLERS:
        names = [key(way, kind) for way in WAYS]
        if all(name in rounds for name in names):
            cost = rounds.over(names[1], names[0])
            figures = [rounds.over(name, RAW).median for name in names]
            table.rows.append([kind, *map(micro, [*figures, cost.median, cost.minimum])])
    return table
