"""The CPU time in which a fresh process imports what a small app needs.

The bare interpreter's start is taken off, round by round. asyncio and anyio are listed as well,
and what Hesper and Starlette take where asyncio is loaded already, as it is in every server.
"""

from statistics import median

from benchmarks.fresh import Failed, python
from benchmarks.outcome import Bar, Chart, Duel, Outcome, Peers, Table, times
from benchmarks.timing import Clock

SHARE = 0.6
BARE = "bare"
# The same parts of each: an app, routes, a request, text and JSON, and one middleware.
TOOLKIT = """
from {0}.applications import {1}
from {0}.middleware import Middleware
from {0}.middleware.base import BaseHTTPMiddleware
from {0}.requests import Request
from {0}.responses import JSONResponse, PlainTextResponse
from {0}.routing import Route
"""
NEEDS = {
    BARE: "",
    "asyncio": "import asyncio",
    "anyio": "import anyio",
    "hesper": TOOLKIT.format("hesper", "Hesper"),
    "starlette": TOOLKIT.format("starlette", "Starlette"),
    "fastapi": "from fastapi import FastAPI, Request",
    "blacksheep": "from blacksheep import Application, Request, Router, json, text",
    "falcon": "import falcon\nfrom falcon.asgi import App, Request, Response",
    "litestar": "from litestar import Litestar, Request, get\n"
    "from litestar.middleware import ASGIMiddleware",
    "quart": "from quart import Quart, Response, request",
    "sanic": "from sanic import Request, Sanic\nfrom sanic.response import json, text",
}
CODE = "{0}\nimport time\nprint(time.process_time())"
AFTER = "import asyncio, time\nbegan = time.process_time()\n{0}\nprint(time.process_time() - began)"
SUFFIX = ", asyncio loaded"
REFERENCES = (BARE, "asyncio", "anyio")


async def run(peers: Peers, clock: Clock) -> Outcome:
    clock.progress("imports")
    names = [name for name in NEEDS if name in peers or name in REFERENCES]
    names += [name + SUFFIX for name in ("hesper", "starlette") if name in peers]
    found = await rounds(names, max(3, clock.rounds // 6), clock)
    costs = {
        name: [
            (one if name.endswith(SUFFIX) else one - bare) * 1000
            for one, bare in zip(times, found[BARE], strict=True)
        ]
        for name, times in found.items()
        if name != BARE
    }
    middle = {name: median(values) for name, values in costs.items()}
    outcome = Outcome([table(found[BARE], costs, middle)], [bar(middle)])
    shown = {name: middle[name] for name in middle if name in peers}
    outcome.charts.append(Chart("Imports", "ms", shown))
    if "hesper" in middle and "starlette" in middle:
        outcome.duels.append(Duel("imports", middle["hesper"], middle["starlette"], "ms"))
    return outcome


async def rounds(names: list[str], count: int, clock: Clock) -> dict[str, list[float]]:
    """Return CPU seconds of processes: for each name one in each round.

    A round more is made, in which the modules are compiled.
    """
    found: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(count + 1):
        for name in list(found):
            try:
                # Not -I: the path of this process is the one where the peers are.
                code = AFTER if name.endswith(SUFFIX) else CODE
                needs = NEEDS[name.removesuffix(SUFFIX)]
                found[name].append(float(await python("-c", code.format(needs))))
            except Failed as fault:
                clock.leave_out("imports", name, str(fault))
                del found[name]
    return {name: times[1:] for name, times in found.items()}


def table(bare: list[float], costs: dict[str, list[float]], middle: dict[str, float]) -> Table:
    title = f"imports of a small app (CPU ms over a bare interpreter's {median(bare) * 1000:.0f})"
    table = Table(title, ["app", "median", "fastest", "/ starlette's"])
    for name, values in costs.items():
        share = times(middle[name] / middle["starlette"]) if "starlette" in middle else "-"
        table.rows.append([name, f"{middle[name]:.0f}", f"{min(values):.0f}", share])
    return table


def bar(middle: dict[str, float]) -> Bar:
    promise = f"imports: at most {SHARE * 100:.0f} % of Starlette's time"
    if "hesper" not in middle or "starlette" not in middle:
        return Bar(promise, "not measured", None)
    mine, theirs = middle["hesper"], middle["starlette"]
    figure = f"{mine:.0f} ms against {theirs:.0f} ({mine / theirs:.0%})"
    return Bar(promise, figure, mine <= SHARE * theirs)
