"""``Middleware``: a class and its arguments, until the application is frozen."""

import functools
from typing import Any

import starlette.middleware

from hesper.middleware import Middleware, _MiddlewareFactory


class Wrapper:
    def __init__(self, app: Any, foo: str = "", *, bar: int = 0) -> None: ...

    async def __call__(self, *args: Any) -> None: ...


def test_it_iterates_as_class_arguments_and_keywords() -> None:
    cls, args, kwargs = Middleware(Wrapper, "foo", bar=123)
    assert (cls, args, kwargs) == (Wrapper, ("foo",), {"bar": 123})


def test_repr_is_how_it_was_written() -> None:
    for module in (starlette.middleware, __import__("hesper.middleware").middleware):
        make: Any = module.Middleware
        assert repr(make(Wrapper)) == "Middleware(Wrapper)"
        assert repr(make(Wrapper, "foo", bar=123)) == "Middleware(Wrapper, 'foo', bar=123)"


def test_repr_of_a_factory_without_a_name_is_its_own() -> None:
    nameless = functools.partial(Wrapper)
    assert repr(Middleware(nameless, "1")) == f"Middleware({nameless!r}, '1')"


def test_the_protocol_has_starlettes_private_name() -> None:
    factory: _MiddlewareFactory[...] = Wrapper
    assert factory is Wrapper
