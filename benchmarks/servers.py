"""Servers in processes of their own, and a load on one of them at a time.

Server and client each have a processor, where there are two: a server that had both now and then
would be measured by chance.
"""

import asyncio
import os
import re
import shutil
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from benchmarks.asgi import FIRST_ID
from benchmarks.fresh import environment
from benchmarks.plan import APP, LAYERS

HOST = "127.0.0.1"
PATH = f"/users/{FIRST_ID}"
CONNECTIONS = 32
PATIENCE = 60.0
"""Seconds that a server may take to start, beside others that do."""

COMMANDS = {
    "uvicorn": "--host {host} --port {port} --log-level warning --no-access-log benchmarks.served:app",
    "granian": "--host {host} --port {port} --log-level warning --interface asgi --workers 1 "
    "--loop auto benchmarks.served:app",
}


class Unfit(Exception):
    """A server did not start, or did not answer as it should."""


@dataclass(frozen=True, slots=True)
class Server:
    """A process that serves an app on a port."""

    port: int
    process: Process


def client_name() -> str:
    return "wrk" if shutil.which("wrk") else "an asyncio client (wrk is not installed)"


def installed() -> list[str]:
    return [name for name in COMMANDS if find_spec(name)]


def processors() -> tuple[set[int], set[int]]:
    """Return the processors of the server and of the client; both all of them, if there is one."""
    if not hasattr(os, "sched_getaffinity"):
        return set(), set()
    here = sorted(os.sched_getaffinity(0))
    return ({here[0]}, {here[1]}) if len(here) > 1 else (set(here), set(here))


def bind(process: Process, to: set[int]) -> None:
    """Keep a process, and those that it will start, on some processors."""
    if to:
        os.sched_setaffinity(process.pid, to)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


async def start(server: str, app: str, layers: int) -> Server:
    """Start a server with an app; `answering` waits for it, and `end` ends it."""
    port = free_port()
    arguments = COMMANDS[server].format(host=HOST, port=port).split()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        server,
        *arguments,
        env=environment() | {APP: app, LAYERS: str(layers)},
        stdout=DEVNULL,
        stderr=DEVNULL,
        start_new_session=True,
    )
    bind(process, processors()[0])
    return Server(port, process)


async def answering(server: Server) -> None:
    """Wait until a server gives the item.

    Raises:
        Unfit: it ends, or does not within `PATIENCE`.
    """
    got = b""
    try:
        async with asyncio.timeout(PATIENCE):
            while server.process.returncode is None:
                try:
                    got = await get(server.port)
                    break
                except OSError:
                    await asyncio.sleep(0.1)
    except TimeoutError:
        raise Unfit(f"no answer within {PATIENCE:.0f} s")
    # A response without a length comes in chunks (Sanic), so not at the end.
    if not got.startswith(b"HTTP/1.1 200") or f"item {FIRST_ID}".encode() not in got:
        raise Unfit(f"expected the item, got {got[:200]!r}")


async def get(port: int) -> bytes:
    reader, writer = await asyncio.open_connection(HOST, port)
    lines = f"GET {PATH} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"
    writer.write(lines.encode())
    try:
        return await reader.read()
    finally:
        writer.close()


async def end(server: Server) -> None:
    """End a server and what it started; kill them if they are not gone in 5 seconds."""
    process = server.process
    for how in (signal.SIGTERM, signal.SIGKILL):
        if process.returncode is None:
            try:
                os.killpg(process.pid, how)
                async with asyncio.timeout(5):
                    await process.wait()
            except (ProcessLookupError, TimeoutError):
                pass


def cpu_seconds(server: Server) -> float:
    """Return the CPU time that a server and its workers took so far; 0 where Linux is not."""
    nanoseconds = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[2]) == server.process.pid:  # their process group
                for task in stat.parent.glob("task/*/schedstat"):
                    nanoseconds += int(task.read_text().split()[0])
        except (OSError, ValueError):  # it ended while it was read
            pass
    return nanoseconds / 1e9


@dataclass(frozen=True, slots=True)
class Load:
    """What a server did in a second of load."""

    rate: float
    """Requests answered a second: the wall time, of a machine that others may use."""
    cost: float
    """CPU microseconds of the server per request; 0 where they are not known."""


async def load(server: Server, seconds: int) -> Load:
    """Put a load on a server and return what it did.

    Raises:
        Unfit: no answer came, or some were errors.
    """
    before = cpu_seconds(server)
    rate = await requests_per_second(server, seconds)
    return Load(rate, (cpu_seconds(server) - before) / (rate * seconds) * 1e6)


async def requests_per_second(server: Server, seconds: int) -> float:
    """Run the client and return what it says.

    Raises:
        Unfit: no answer came, or some were errors.
    """
    if shutil.which("wrk"):
        url = f"http://{HOST}:{server.port}{PATH}"
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", url]
    else:
        client = [sys.executable, "-m", "benchmarks.load"]
        command = [*client, str(server.port), PATH, str(seconds)]
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)
    bind(process, processors()[1])
    output, errors = (text.decode() for text in await process.communicate())
    found = re.search(r"Requests/sec:\s*([\d.]+)", output)
    bad = re.search(r"(Non-2xx or 3xx responses|Socket errors).*", output)
    if found is None or bad:
        raise Unfit(bad[0] if bad else (errors.strip() or "the client said nothing"))
    if not float(found[1]):
        raise Unfit("no request was answered")
    return float(found[1])
