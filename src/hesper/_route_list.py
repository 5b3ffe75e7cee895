"""A list that tells when it was changed: a router's routes, which users change as any list."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


def _telling(name: str) -> Callable[..., Any]:
    method = getattr(list, name)

    def change(self: TellingList[Any], *args: Any, **kwargs: Any) -> Any:
        try:
            return method(self, *args, **kwargs)
        finally:
            self.on_change()  # also after an error: `extend` keeps what it got before

    change.__name__ = name
    change.__doc__ = method.__doc__
    return change


class TellingList(list[T]):
    """A list that calls ``on_change`` after each change of its items.

    Asking a flag for each request would cost what two ``len`` do (60 ns, CPython 3.13), and a
    comparison of lengths would not see one route that takes another's place.
    """

    on_change: Callable[[], None]

    def __init__(self, items: Iterable[T], on_change: Callable[[], None]) -> None:
        super().__init__(items)
        self.on_change = on_change


for _name in (
    "append",
    "extend",
    "insert",
    "pop",
    "remove",
    "clear",
    "sort",
    "reverse",
    "__setitem__",
    "__delitem__",
    "__iadd__",
    "__imul__",
):
    setattr(TellingList, _name, _telling(_name))
