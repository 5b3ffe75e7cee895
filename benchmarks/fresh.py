"""Fresh processes: measurements that one process can make only once.

They keep compiled modules, in a directory of the benchmark's own: an environment that keeps none
would have every import compiled, and an installed package compared with one that is not.
"""

import asyncio
import atexit
import functools
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import cast

ROOT = Path(__file__).parents[1]

TIMEOUT = 120.0
"""Seconds that one measurement may take."""


compiled: set[str] = set()
"""The apps whose modules were compiled, by a process that was not counted."""


class Failed(Exception):
    """A process ended with an error, or not in time."""


@functools.cache
def environment() -> dict[str, str]:
    """Return this process's environment, with a place for compiled modules, and the benchmark on
    the path: a server's workers do not look where they were started."""
    made = tempfile.mkdtemp(prefix="hesper-bench-pyc-")
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    path = os.pathsep.join(filter(None, [str(ROOT), kept.get("PYTHONPATH")]))
    return kept | {"PYTHONPYCACHEPREFIX": made, "PYTHONPATH": path}


async def python(*arguments: str) -> str:
    """Run this Python with arguments and return what it prints.

    Raises:
        Failed: it ended with an error, or took more than `TIMEOUT`.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(),
    )
    try:
        async with asyncio.timeout(TIMEOUT):
            output, errors = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise Failed(f"not done in {TIMEOUT:.0f} s")
    if process.returncode:
        last = errors.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
        raise Failed(last[0])
    return output.decode()


async def alone(what: str, app: str, argument: str) -> dict[str, float]:
    """Return what `python -m benchmarks.alone` found.

    Raises:
        Failed: it ended with an error, or took more than `TIMEOUT`.
    """
    if app not in compiled:
        # What the compiler takes is not what the app takes.
        compiled.add(app)
        await alone(what, app, argument)
    output = await python("-m", "benchmarks.alone", what, app, argument)
    return cast(dict[str, float], json.loads(output.strip().splitlines()[-1]))
