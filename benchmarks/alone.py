"""`python -m benchmarks.alone WHAT APP [NUMBER]`: one measurement in a fresh process, as JSON.

What is measured here would be spoilt by what else a process has done: memory, peaks, allocations.
APP is a peer or "raw". `benchmarks.fresh` starts these processes.
"""

import asyncio
import gc
import json
import os
import resource
import sys
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median

from benchmarks import floors, samples
from benchmarks.asgi import FIRST_ID, LEFT, Answer, App, Ask, Client, Message, answer, post, started
from benchmarks.peers import Peer, load
from benchmarks.plan import ASK, PATHS, expected

RAW = "raw"
STATUS = Path("/proc/self/status")
EVENTS = Ask("/events", fixed=True)
LARGE = Ask("/files/large.bin", fixed=True)
WARM_UP = 300
COUNTED = 200


def memory(line: str) -> int:
    """Return bytes: of `VmRSS`, what the process has in memory, or `VmHWM`, the most it had.

    Elsewhere than on Linux both are the peak. (On Linux the peak that `getrusage` knows begins
    with that of the process which started this one.)
    """
    if STATUS.exists():
        found = next(row for row in STATUS.read_text().splitlines() if row.startswith(line))
        return int(found.split()[1]) * 1024
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def peer(name: str) -> Peer:
    return load([name])[0][name]


class Listener:
    """The client of an event stream, which stays: it counts what comes."""

    begun = 0

    def __init__(self) -> None:
        self.messages = iter(EVENTS.messages)

    async def receive(self) -> Message:
        message = next(self.messages, None)
        if message is None:
            await asyncio.get_running_loop().create_future()
        return message or LEFT

    async def send(self, message: Message) -> None:
        if message.get("body"):
            Listener.begun += 1


async def events(name: str, count: int) -> None:
    """Open event streams, wait until each has sent its first event, and weigh them."""
    if name == RAW:
        start = Answer(200, ((b"content-type", b"text/event-stream"),), b"")
        app = floors.streaming(start, samples.events)
    else:
        app = peer(name).features["events"]()
    async with as_started(name, app):
        # The first one imports and compiles what is left to.
        tasks = [open_stream(app, 0)]
        await begun(1)
        gc.collect()
        before = memory("VmRSS")
        tasks += [open_stream(app, number) for number in range(count)]
        await begun(count + 1)
        gc.collect()
        report({"bytes": (memory("VmRSS") - before) / count, "tasks": len(asyncio.all_tasks())})
        # Cancelling ten thousand streams would be another benchmark.
        os._exit(0)


def open_stream(app: App, number: int) -> asyncio.Task[None]:
    client = Listener()

    async def run() -> None:
        await app(EVENTS.scope(number), client.receive, client.send)

    return asyncio.create_task(run())


async def begun(count: int) -> None:
    """Let the event loop turn until this many streams have sent something, and some turns more.

    Raises:
        TimeoutError: they have not after 60 seconds.
    """
    async with asyncio.timeout(60):
        while Listener.begun < count:  # noqa: ASYNC110  # a turn is what is waited for
            await asyncio.sleep(0)
    for _ in range(20):
        await asyncio.sleep(0)


@asynccontextmanager
async def as_started(name: str, app: App) -> AsyncIterator[None]:
    """Run the lifespan of an app around a block; the raw one has none."""
    if name == RAW:
        yield
    else:
        async with started(app):
            yield


async def request(app: App, ask: Ask, number: int = FIRST_ID) -> None:
    client = Client(ask.messages)
    await app(ask.scope(number), client.receive, client.send)


async def peak(name: str, kind: str) -> dict[str, float]:
    """Return the most memory that a process had while it answered requests of one kind.

    The whole process's for the routed ones; for the others what came on top of that: they follow
    when the first of them have imported and compiled what is left to.
    """
    app, ask, times = {"routed": routed, "upload": upload, "file": file}[kind](name)
    before = 0
    async with as_started(name, app):
        if kind != "routed":
            await request(app, ask, FIRST_ID)
            gc.collect()
            before = forget_peak()
        for number in range(times):
            await request(app, ask, FIRST_ID + number)
    return {"bytes": memory("VmHWM") - before}


def forget_peak() -> int:
    """Let the peak begin anew, where Linux allows it, and return what the process has now."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass
    return memory("VmRSS")


Plan = tuple[App, Ask, int]


def routed(name: str) -> Plan:
    return floors.constant(expected()) if name == RAW else peer(name).build(PATHS), ASK, 2000


def upload(name: str) -> Plan:
    floor = floors.reading(answer(200, b"", []))
    ask = post("/upload", samples.UPLOAD_TYPE, samples.upload())
    return floor if name == RAW else peer(name).features["upload"](), ask, 2


def file(name: str) -> Plan:
    floor = floors.file(answer(200, b"", []), samples.folder() / "large.bin")
    return floor if name == RAW else peer(name).features["files"](), LARGE, 2


async def allocations(name: str, layers: int) -> dict[str, float]:
    """Return the blocks that a request holds when it answers, its peak, and what it leaves."""
    app = (
        floors.constant(expected(layers))
        if name == RAW
        else peer(name).builders[name](PATHS, layers)
    )
    async with as_started(name, app):
        for number in range(WARM_UP):
            await request(app, ASK, FIRST_ID + number)
        gc.collect()
        gc.disable()
        held = [await blocks(app, number) for number in range(COUNTED)]
        before = sys.getallocatedblocks()
        for number in range(COUNTED):
            await request(app, ASK, FIRST_ID + WARM_UP + number)
        left = (sys.getallocatedblocks() - before) / COUNTED
        tracemalloc.start()
        peaks = [await traced(app, number) for number in range(COUNTED)]
        tracemalloc.stop()
    return {"blocks": median(held), "left": left, "bytes": median(peaks)}


async def blocks(app: App, number: int) -> int:
    """Return how many blocks of memory a request holds when its response starts."""
    client = Client(ASK.messages)
    at_start: list[int] = []

    async def send(message: Message) -> None:
        if not at_start:
            at_start.append(sys.getallocatedblocks())
        await client.send(message)

    before = sys.getallocatedblocks()
    await app(ASK.scope(FIRST_ID + number), client.receive, send)
    return at_start[0] - before


async def traced(app: App, number: int) -> int:
    """Return the most bytes that a request held at once."""
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    await request(app, ASK, FIRST_ID + number)
    return tracemalloc.get_traced_memory()[1] - before


def report(found: dict[str, float]) -> None:
    print(json.dumps(found), flush=True)


async def main(what: str, name: str, argument: str) -> None:
    if what == "events":
        await events(name, int(argument))
    elif what == "peak":
        report(await peak(name, argument))
    else:
        report(await allocations(name, int(argument)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
