"""Two questions that FastAPI asks Starlette, with the same answers."""

import functools
from typing import Any

import pytest
import starlette._utils

from hesper._utils import get_route_path, is_async_callable


async def function() -> None: ...


def sync_function() -> None: ...


class Async:
    async def __call__(self) -> None: ...

    async def method(self) -> None: ...


class Sync:
    def __call__(self) -> None: ...

    def method(self) -> None: ...


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (function, True),
        (sync_function, False),
        (lambda: None, False),
        (Async(), True),
        (Async().method, True),
        (Sync(), False),
        (Sync().method, False),
        (functools.partial(function), True),
        (functools.partial(functools.partial(Async())), True),
        (functools.partial(sync_function), False),
        (3, False),
        (None, False),
        (int, False),
    ],
)
def test_is_async_callable_looks_inside(obj: Any, expected: bool) -> None:
    assert is_async_callable(obj) is expected
    assert starlette._utils.is_async_callable(obj) is expected


@pytest.mark.parametrize("path", ["", "/", "/a", "/a/", "/a/b", "/ab", "/b", "a", "/a/a/b"])
@pytest.mark.parametrize("root_path", [None, "", "/a", "/a/b", "/", "a"])
def test_get_route_path_takes_the_root_path_away_at_a_border(
    path: str, root_path: str | None
) -> None:
    scope: dict[str, Any] = {"path": path}
    if root_path is not None:
        scope["root_path"] = root_path
    assert get_route_path(scope) == starlette._utils.get_route_path(scope)
