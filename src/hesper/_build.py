"""A list of middleware around a stack, and what is wrong with it if it cannot be one."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterable
from typing import Any

from hesper._stack import DispatchFunction, Face, Stack, stack_of, wrap
from hesper._utils import is_async_callable
from hesper.exceptions import UsageError
from hesper.middleware import Middleware, MiddlewareEntry


def build(middleware: Iterable[MiddlewareEntry], inner: Stack) -> Stack:
    """Wrap a stack in a list of middleware; the first is the outermost.

    Raises:
        UsageError: an entry is not one.
    """
    for entry in reversed(check_middleware(middleware)):
        function = _function_of(entry)
        if function is not None:
            inner = wrap(function, inner)
            continue
        app = entry.cls(Face(inner), *entry.args, **entry.kwargs)
        if not callable(app):
            raise UsageError(
                f"Expected the middleware {entry!r} to make an ASGI app, got {app!r}: "
                "it is called as cls(app, *args, **kwargs) and returns what stands around app."
            )
        inner = stack_of(app)
    return inner


def check_middleware(middleware: Iterable[MiddlewareEntry] | None) -> list[Any]:
    """A list of middleware, as early as its mistakes can be seen.

    Raises:
        UsageError: an entry is not one.
    """
    entries = list(middleware or ())
    for entry in entries:
        _function_of(entry)
    return entries


def _function_of(entry: MiddlewareEntry) -> DispatchFunction | None:
    """The dispatch function that an entry is; None if it is a class and its arguments."""
    if not isinstance(entry, Middleware):
        return check_dispatch(entry)
    cls: Any = entry.cls
    inner = cls
    while isinstance(inner, functools.partial):
        inner = inner.func
    # A class with an async __call__ looks as if it were async itself.
    if inspect.isclass(inner) or not is_async_callable(inner):
        return None
    return check_dispatch(cls, *entry.args, **entry.kwargs)


def check_dispatch(function: Any, *args: Any, **kwargs: Any) -> DispatchFunction:
    """``function`` itself, if it can be a middleware.

    Raises:
        UsageError: it cannot, and what to do.
    """
    name = getattr(function, "__qualname__", repr(function))
    if inspect.isclass(function):
        raise UsageError(
            f"Expected a middleware, got the class {name}: write Middleware({name}, ...)."
        )
    if args or kwargs:
        raise UsageError(
            f"Expected Middleware(cls, ...), got the function {name} with arguments: "
            "put the function itself into the list, or bind them with functools.partial."
        )
    if not is_async_callable(function):
        raise UsageError(
            f"Expected `async def {name}(request, call_next)`, got {function!r}, which is not "
            "async: a middleware awaits call_next. Write `async def`."
        )
    try:
        inspect.signature(function).bind(None, None)
    except TypeError:
        raise UsageError(
            f"Expected `async def {name}(request, call_next)`, got {function!r}, which does not "
            "take two arguments."
        ) from None
    dispatch: DispatchFunction = function
    return dispatch
