"""Middleware, as it stands in an application's list until the application is frozen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, Protocol

from hesper.types import ASGIApp

__all__ = ["Middleware"]

P = ParamSpec("P")


class _MiddlewareFactory(Protocol[P]):
    def __call__(self, app: ASGIApp, /, *args: P.args, **kwargs: P.kwargs) -> ASGIApp: ...


class Middleware:
    """A middleware class and what to make it with, once the app that it wraps is there.

    Args:
        cls: called as ``cls(app, *args, **kwargs)``.
    """

    def __init__(self, cls: _MiddlewareFactory[P], *args: P.args, **kwargs: P.kwargs) -> None:
        self.cls = cls
        self.args = args
        self.kwargs = kwargs

    def __iter__(self) -> Iterator[Any]:
        return iter((self.cls, self.args, self.kwargs))

    def __repr__(self) -> str:
        name = getattr(self.cls, "__name__", "") or repr(self.cls)
        args = [repr(value) for value in self.args]
        kwargs = [f"{key}={value!r}" for key, value in self.kwargs.items()]
        return f"{type(self).__name__}({', '.join([name, *args, *kwargs])})"


MiddlewareEntry = Middleware | Callable[..., Any]
"""What ``middleware=[...]`` takes: ``Middleware(cls, ...)``, or a function
``async def m(request, call_next)``."""
