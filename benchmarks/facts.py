"""Where and with what was measured: without that a figure says nothing."""

import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.peers import Peer

BESIDE = ("anyio", "uvicorn", "granian", "uvloop", "httptools", "python-multipart")
"""Distributions that take part, and are no peers."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a run is called; `short` says that it had fewer rounds than a run that counts."""

    machine: str
    python: str
    versions: str
    day: str
    command: str
    rounds: int
    short: bool


def facts(peers: dict[str, Peer], rounds: int, short: bool) -> Facts:
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return Facts(
        machine=machine(),
        python=python,
        versions=", ".join(versions(peers)),
        day=f"{date.today():%-d %B %Y}" if os.name != "nt" else date.today().isoformat(),
        command=" ".join(["python", "-m", "benchmarks", *sys.argv[1:]]),
        rounds=rounds,
        short=short,
    )


def versions(peers: dict[str, Peer]) -> Iterator[str]:
    for peer in peers.values():
        yield f"{peer.name} {peer.version}"
    for name in BESIDE:
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:
            pass


def machine() -> str:
    """Return the processor, how many of it, the system, and how busy they were at the start."""
    known = Path("/proc/cpuinfo")
    lines = known.read_text().splitlines() if known.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    model = models[0] if models else platform.processor() or platform.machine()
    busy = ""
    if hasattr(os, "getloadavg"):
        busy = f", load average {os.getloadavg()[0]:.1f} at the start"
    return f"{model}, {os.cpu_count()} processors, {platform.system()} {platform.release()}{busy}"
