"""The routed request over sockets: requests a second of uvicorn and granian, with an app in each.

All servers of a kind run at once, each asked for a second in every round, so what is compared was
measured in the same seconds. Idle servers cost next to nothing.
"""

from contextlib import AsyncExitStack
from statistics import median

from benchmarks.outcome import Bar, Chart, Duel, Outcome, Peers, Table
from benchmarks.servers import CONNECTIONS, Server, Unfit, client_name, installed, rate, serving
from benchmarks.timing import Clock

RAW = "raw"
LAYERS = (0, 5)
DEEPEST = LAYERS[-1]
SHARE = 0.9
SECONDS = 1

Rates = dict[tuple[str, int], list[float]]


async def run(peers: Peers, clock: Clock) -> Outcome:
    outcome = Outcome()
    for server in installed():
        rates = await measure(server, peers, clock)
        outcome.tables.append(table(server, rates))
        outcome.bars.append(bar(server, rates))
        for layers in LAYERS:
            duel(outcome, server, layers, rates)
        outcome.charts.append(chart(server, rates))
    missing = {"uvicorn", "granian"} - set(installed())
    outcome.notes.extend(f"over sockets: without {name}: not installed" for name in missing)
    outcome.notes.append(f"over sockets: client: {client_name()}, {CONNECTIONS} connections")
    return outcome


async def measure(server: str, peers: Peers, clock: Clock) -> Rates:
    """Return the requests a second of each app and number of middlewares, in each round."""
    title = f"over sockets, {server}"
    async with AsyncExitStack() as stack:
        running: dict[tuple[str, int], Server] = {}
        for name, layers in [(RAW, 0), *((name, layers) for name in peers for layers in LAYERS)]:
            clock.progress(f"{title}: {name} +{layers}")
            try:
                context = serving(server, name, layers)
                running[name, layers] = await stack.enter_async_context(context)
                # The interpreter specialises, and caches fill.
                await rate(running[name, layers], SECONDS)
            except Unfit as fault:
                running.pop((name, layers), None)
                clock.leave_out(title, f"{name} +{layers}", str(fault))
        return await rounds(title, running, max(2, clock.rounds // 15), clock)


async def rounds(
    title: str, running: dict[tuple[str, int], Server], count: int, clock: Clock
) -> Rates:
    rates: Rates = {key: [] for key in running}
    for number in range(count):
        clock.progress(f"{title}: round {number + 1} of {count}")
        for key in list(rates):
            try:
                rates[key].append(await rate(running[key], SECONDS))
            except Unfit as fault:
                del rates[key]
                clock.leave_out(title, f"{key[0]} +{key[1]}", str(fault))
    return rates


def of_raw(rates: Rates, key: tuple[str, int]) -> list[float]:
    """Return what part of the raw app's requests were answered, in each round."""
    return [one / raw for one, raw in zip(rates[key], rates[RAW, 0], strict=True)]


def table(server: str, rates: Rates) -> Table:
    columns = ["app"]
    for layers in LAYERS:
        columns += [f"requests/s, {layers} middlewares", "of raw", "worst"]
    raw = rates[RAW, 0]
    title = f"over sockets, {server} (raw app {median(raw):,.0f} requests/s, best {max(raw):,.0f})"
    table = Table(title, columns)
    for name in dict.fromkeys(name for name, _ in rates if name != RAW):
        row = [name]
        for layers in LAYERS:
            if (name, layers) not in rates:
                row += ["-", "-", "-"]
                continue
            shares = of_raw(rates, (name, layers))
            row.append(f"{median(rates[name, layers]):,.0f}")
            row += [f"{median(shares):.1%}", f"{min(shares):.1%}"]
        table.rows.append(row)
    return table


def bar(server: str, rates: Rates) -> Bar:
    promise = f"{server}, {DEEPEST} middlewares: at least {SHARE:.0%} of raw's requests a second"
    if ("hesper", DEEPEST) not in rates:
        return Bar(promise, "not measured", None)
    share = median(of_raw(rates, ("hesper", DEEPEST)))
    figure = f"{share:.1%}"
    if ("starlette", DEEPEST) in rates:
        figure += f", Starlette {median(of_raw(rates, ('starlette', DEEPEST))):.1%}"
    return Bar(promise, figure, share >= SHARE)


def duel(outcome: Outcome, server: str, layers: int, rates: Rates) -> None:
    mine, theirs = rates.get(("hesper", layers)), rates.get(("starlette", layers))
    if mine and theirs:
        case = f"{server}, {layers} middlewares, wall time"
        outcome.duels.append(Duel(case, 1e6 / median(mine), 1e6 / median(theirs)))


def chart(server: str, rates: Rates) -> Chart:
    times = {RAW: 1e6 / median(rates[RAW, 0])}
    for name, layers in rates:
        if layers == DEEPEST:
            times[name] = 1e6 / median(rates[name, layers])
    return Chart(f"{server}, {DEEPEST} middlewares, wall time", "µs", times)
