"""``hesper run`` and ``hesper demo``: uvicorn with our access log, and an app that is told to stop.

uvicorn makes the app again in every child of ``--reload`` and ``--workers``, from an import string:
there ``child_app`` is what it imports, and the environment says what that is to load.
"""

from __future__ import annotations

import os
import socket
import sys
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from hesper._cli.access import AccessLog
from hesper._cli.loading import LoadError, load_app
from hesper._cli.stopping import can_be_told, told_of_signals
from hesper.types import ASGIApp

TARGET = "HESPER_RUN_TARGET"
APP_DIR = "HESPER_RUN_APP_DIR"
GRACE = "HESPER_RUN_GRACE"

MARGIN = 0.5
"""Seconds after the grace in which an app that was told has ended all by itself. Only then does uvicorn
cancel, so that the process is gone within a second after the grace."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to serve."""

    host: str = "127.0.0.1"
    port: int = 8000
    reload: bool = False
    workers: int = 1
    log_level: str = "info"
    app_dir: str = "."
    grace: float = 5.0
    """Seconds that open requests get when the server is asked to stop."""
    unlogged: tuple[str, ...] = ()
    """Paths whose requests are not logged; only in this process."""


class CannotListen(Exception):
    """The address cannot be had; the text says why, in one line."""


def child_app() -> ASGIApp:
    """The app of a child process."""
    try:
        app = load_app(os.environ[TARGET], os.environ[APP_DIR])
        return AccessLog(told_of_signals(app, float(os.environ[GRACE])))
    except LoadError as exc:
        # One line, and not uvicorn's traceback through the import. A reloader waits for a change.
        sys.exit(f"Error: {exc}")


def serve(target: str, options: Options) -> None:
    """Serve the app that ``target`` names until a signal comes.

    Raises:
        LoadError: there is no such app.
        CannotListen: the address is in use, or is not ours.
        SystemExit: the server could not start; it has said why.
    """
    import uvicorn

    app = load_app(target, options.app_dir)
    check_address(options.host, options.port)
    os.environ[TARGET], os.environ[APP_DIR] = target, options.app_dir
    os.environ[GRACE] = str(options.grace)
    uvicorn.run(**arguments(app, options))


def arguments(app: ASGIApp, options: Options) -> dict[str, Any]:
    """What uvicorn is called with."""
    in_children = options.reload or options.workers > 1
    served = AccessLog(told_of_signals(app, options.grace), options.unlogged)
    return {
        "app": f"{__name__}:{child_app.__name__}" if in_children else served,
        "factory": in_children,
        "interface": "asgi3",
        "host": options.host,
        "port": options.port,
        "reload": options.reload,
        "reload_dirs": [options.app_dir] if options.reload else None,
        "workers": options.workers,
        "log_level": options.log_level,
        "log_config": log_config(options.log_level),
        "access_log": False,
        "timeout_graceful_shutdown": options.grace + (MARGIN if can_be_told(app) else 0),
    }


def log_config(level: str) -> dict[str, Any]:
    """uvicorn's own logging, with ours beside it."""
    from uvicorn.config import LOGGING_CONFIG

    config = deepcopy(LOGGING_CONFIG)
    name = "DEBUG" if level == "trace" else level.upper()
    config["formatters"]["access"]["fmt"] += " %(ending)s"
    config["loggers"]["hesper"] = {"handlers": ["default"], "level": name, "propagate": False}
    config["loggers"]["hesper.access"] = {
        "handlers": ["access"],
        "level": name,
        "propagate": False,
    }
    return config


def check_address(host: str, port: int) -> None:
    """Raise CannotListen if a server could not listen there.

    uvicorn finds out itself, but only when the app's lifespan has started.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind) as probe:
            # As the server will: on Windows it would let two listen on one port.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, os.name == "posix")
            probe.bind(address)
            probe.listen()
    except socket.gaierror:
        raise CannotListen(f"{host!r} is no address of this machine: see --host.") from None
    except OSError as exc:
        if "in use" not in os.strerror(exc.errno or 0):
            raise CannotListen(f"cannot listen on {host}:{port}: {exc.strerror}.") from None
        raise CannotListen(
            f"{host}:{port} is in use: stop what listens there, or choose another port, "
            f"such as --port {port + 1 if port < 65535 else port - 1}."
        ) from None
