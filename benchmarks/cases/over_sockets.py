"""The routed request over sockets: requests a second of uvicorn and granian, with an app in each.

All servers of a kind run at once, each asked for a second in every round, so what is compared was
measured in the same seconds. Idle servers cost next to nothing.
"""

from contextlib import AsyncExitStack
from itertools import product
from statistics import median

from benchmarks.outcome import Bar, Chart, Duel, Outcome, Peers, Table
from benchmarks.servers import (
    COMMANDS,
    CONNECTIONS,
    Load,
    Server,
    Unfit,
    answering,
    client_name,
    end,
    installed,
    load,
    start,
)
from benchmarks.timing import Clock

RAW = "raw"
LAYERS = (0, 5)
DEEPEST = LAYERS[-1]
SHARE = 0.9
SECONDS = 1

Key = tuple[str, int]
Loads = dict[Key, list[Load]]


async def run(peers: Peers, clock: Clock) -> Outcome:
    outcome = Outcome()
    for server in installed():
        loads = await measure(server, peers, clock)
        if all((RAW, layers) in loads for layers in LAYERS):
            outcome.tables.append(table(server, loads))
            outcome.charts.append(chart(server, loads))
        outcome.bars.append(bar(server, loads))
        for layers in LAYERS:
            duel(outcome, server, layers, loads)
    missing = set(COMMANDS) - set(installed())
    outcome.notes.extend(f"over sockets: without {name}: not installed" for name in missing)
    outcome.notes.append(f"over sockets: client: {client_name()}, {CONNECTIONS} connections")
    return outcome


async def measure(server: str, peers: Peers, clock: Clock) -> Loads:
    """Return what each app did, with each number of middlewares, in each round."""
    title = f"over sockets, {server}"
    async with AsyncExitStack() as stack:
        running: dict[Key, Server] = {}
        clock.progress(f"{title}: the servers start")
        for name, layers in product((RAW, *peers), LAYERS):
            running[name, layers] = await start(server, name, layers)
            stack.push_async_callback(end, running[name, layers])
        for key in list(running):
            try:
                await answering(running[key])
            except Unfit as fault:
                del running[key]
                clock.leave_out(title, f"{key[0]} +{key[1]}", str(fault))
        # One round more, and not counted: the interpreter specialises, and caches fill.
        loads = await rounds(title, running, 1 + max(2, clock.rounds // 15), clock)
        return {key: found[1:] for key, found in loads.items()}


async def rounds(title: str, running: dict[Key, Server], count: int, clock: Clock) -> Loads:
    loads: Loads = {key: [] for key in running}
    for number in range(count):
        clock.progress(f"{title}: round {number + 1} of {count}")
        for key in list(loads):
            try:
                loads[key].append(await load(running[key], SECONDS))
            except Unfit as fault:
                del loads[key]
                clock.leave_out(title, f"{key[0]} +{key[1]}", str(fault))
    return loads


def of_raw(loads: Loads, key: Key) -> list[float]:
    """Return what part of the raw app's requests were answered, in each round.

    The raw app sends the same, headers of middlewares included: a server works for each.
    """
    pairs = zip(loads[key], loads[RAW, key[1]], strict=True)
    return [one.rate / raw.rate for one, raw in pairs]


def middle_rate(loads: Loads, key: Key) -> float:
    return median(load.rate for load in loads[key])


def middle_cost(loads: Loads, key: Key) -> float:
    return median(load.cost for load in loads[key])


def table(server: str, loads: Loads) -> Table:
    title = f"over sockets, {server} (requests a second, and the server's CPU µs for each)"
    columns = ["app"]
    for layers in LAYERS:
        columns += [f"{layers} middlewares", "of raw", "worst", "CPU"]
    table = Table(title, columns)
    for name in dict.fromkeys(name for name, _ in loads):
        row = [name]
        for layers in LAYERS:
            key = name, layers
            if key not in loads:
                row += ["-"] * 4
                continue
            shares = of_raw(loads, key)
            row += [f"{middle_rate(loads, key):,.0f}", f"{median(shares):.0%}"]
            row += [f"{min(shares):.0%}", f"{middle_cost(loads, key):.0f}"]
        table.rows.append(row)
    return table


def bar(server: str, loads: Loads) -> Bar:
    promise = f"{server}, {DEEPEST} middlewares: at least {SHARE:.0%} of raw's requests a second"
    if ("hesper", DEEPEST) not in loads or (RAW, DEEPEST) not in loads:
        return Bar(promise, "not measured", None)
    share = median(of_raw(loads, ("hesper", DEEPEST)))
    costs = [middle_cost(loads, (name, DEEPEST)) for name in (RAW, "hesper")]
    figure = f"{share:.1%} (CPU {costs[1]:.0f} µs a request, raw {costs[0]:.0f}"
    if ("starlette", DEEPEST) in loads:
        figure += f"; Starlette {median(of_raw(loads, ('starlette', DEEPEST))):.1%}"
    return Bar(promise, f"{figure})", share >= SHARE)


def duel(outcome: Outcome, server: str, layers: int, loads: Loads) -> None:
    """Note how the two did by CPU time, where it is known: wall time is whoever's that is here."""
    keys = ("hesper", layers), ("starlette", layers)
    if all(key in loads for key in keys):
        figures, kind = [middle_cost(loads, key) for key in keys], "CPU of the server"
        if not all(figures):
            figures, kind = [1e6 / middle_rate(loads, key) for key in keys], "wall time"
        outcome.duels.append(Duel(f"{server}, {layers} middlewares, {kind}", *figures))


def chart(server: str, loads: Loads) -> Chart:
    times = {name: 1e6 / middle_rate(loads, (name, n)) for name, n in loads if n == DEEPEST}
    limit = times[RAW] / SHARE
    return Chart(f"{server}, {DEEPEST} middlewares, wall time", "µs", times, limit)
