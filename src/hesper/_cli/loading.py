"""``module:attribute`` becomes an ASGI app, or an error that says what to write instead."""

from __future__ import annotations

import difflib
import importlib
import inspect
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from hesper.types import ASGIApp


class LoadError(Exception):
    """The app cannot be had; the text says why, in one line."""


class BrokenModule(LoadError):
    """The module is there and raised while it was imported; the error is the ``__cause__``."""


def load_app(target: str, app_dir: str) -> ASGIApp:
    """The ASGI app that ``target`` names.

    Args:
        target: ``"module:attribute"``, either of them dotted.
        app_dir: where to look first, in front of ``sys.path``; it stays there.

    Raises:
        LoadError: there is none, and what to write instead.
        BrokenModule: its module raised.
    """
    module_name, _, attribute = target.partition(":")
    if not (module_name and attribute):
        module_name = module_name or "main"
        raise LoadError(
            f"expected module:attribute, got {target!r}: write {module_name + ':app'!r} for the "
            f"app that is called app in {module_name}."
        )
    directory = str(Path(app_dir).resolve())
    if directory not in sys.path:
        sys.path.insert(0, directory)
    app = _attribute(_module(module_name, attribute, directory), attribute)
    check_asgi_app(app, target)
    asgi_app: ASGIApp = app
    return asgi_app


def _module(name: str, attribute: str, directory: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as exc:
        if exc.name is None or not f"{name}.".startswith(f"{exc.name}."):
            raise BrokenModule(_broken(name, exc)) from exc
    except Exception as exc:
        raise BrokenModule(_broken(name, exc)) from exc
    if name.endswith(".py"):
        dotted = name[:-3].strip("./").replace("/", ".")
        raise LoadError(f"{name!r} is a file, not a module: write {dotted + ':' + attribute!r}.")
    around = Path(directory)
    near = {path.stem for path in around.glob("*.py")} | {
        path.parent.name for path in around.glob("*/__init__.py")
    }
    raise LoadError(
        f"no module {name!r} in {directory} or on Python's path"
        f"{_hint(name, near)}. Is --app-dir right?"
    )


def _broken(name: str, exc: Exception) -> str:
    return f"module {name!r} cannot be imported: {type(exc).__name__}: {exc}"


def own_traceback(exc: BaseException) -> TracebackType | None:
    """The part of a traceback that is the user's: without this file and the import system."""
    traceback = exc.__traceback__
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if file not in (__file__, importlib.__file__) and not file.startswith("<frozen importlib"):
            return traceback
        traceback = traceback.tb_next
    return None


def _attribute(module: ModuleType, attribute: str) -> Any:
    found: Any = module
    for name in attribute.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            where = "module" if found is module else type(found).__name__
            names = [each for each in vars(module) if not each.startswith("_")]
            raise LoadError(
                f"{where} {module.__name__!r} has no attribute {name!r}{_hint(name, names)}."
            ) from None
    return found


def _hint(wrong: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(wrong, known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def check_asgi_app(app: Any, target: str) -> None:
    """Raise LoadError unless ``app`` can be called as an ASGI 3 app."""
    expected = f"{target!r} is no ASGI app: expected something to call with (scope, receive, send)"
    if inspect.isclass(app):
        raise LoadError(f"{expected}, got the class {app.__qualname__}: make an instance of it.")
    if not callable(app):
        raise LoadError(f"{expected}, got {app!r:.80}.")
    try:
        signature = inspect.signature(app)
    except ValueError:  # a builtin that does not tell
        return
    if _takes(signature, 3):
        return
    advice = "give it these three parameters"
    if inspect.iscoroutinefunction(app) or _takes(signature, 1):
        advice = "if it is an endpoint, put it into a Route of an app"
    elif _takes(signature, 0):
        advice = f"if it makes the app, call it: app = {target.partition(':')[2]}()"
    elif _takes(signature, 2):
        advice = "if it is a WSGI app, run it with a WSGI server"
    raise LoadError(f"{expected}, got a callable with {signature}: {advice}.")


def _takes(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True
