"""Path parameter types: what "{name:kind}" matches, how it is read and how it is written.

The law of a convertor: a parameter's text matches `regex`; `convert` reads that text and raises
ValueError for text it cannot read, which routing takes as "this route does not match"; `to_string`
writes a value into a URL and raises ValueError for a value that the same convertor could not read
back. Own types go through `register_url_convertor`.
"""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Iterable
from typing import Any, ClassVar, Generic, TypeVar

T = TypeVar("T")


class Convertor(Generic[T]):
    """The base of path parameter types: subclass it and register an instance.

    `convert` must not depend on the request: it is also called for routes that another one wins.
    """

    regex: ClassVar[str] = ""
    """What the parameter may hold, as a regular expression without anchors or named groups."""

    def convert(self, value: str) -> T:
        """Read the text of a parameter.

        Args:
            value: text that matched `regex`, percent-decoded.

        Raises:
            ValueError: when the text has no value; the route then does not match.
        """
        raise NotImplementedError(f"{type(self).__name__} must define convert(value)")

    def to_string(self, value: T) -> str:
        """Write a value as path text, for `url_for`.

        Raises:
            ValueError: when the value has no text that `regex` matches.
        """
        raise NotImplementedError(f"{type(self).__name__} must define to_string(value)")


class StringConvertor(Convertor[str]):
    """`{name}` or `{name:str}`: one path segment, or a part of one, that is not empty."""

    regex = "[^/]+"

    def convert(self, value: str) -> str:
        """Return the text as it is."""
        return value

    def to_string(self, value: str) -> str:
        """Return `str(value)`.

        Raises:
            ValueError: when it is empty or holds a "/".
        """
        text = str(value)
        if not text:
            raise ValueError("Must not be empty: a str path parameter is one whole segment")
        if "/" in text:
            raise ValueError(
                f"May not contain path separators, got {text!r}: declare the parameter as"
                " {name:path} if it may span segments"
            )
        return text


class PathConvertor(Convertor[str]):
    """`{name:path}`: the rest of the path, slashes included; may be empty, holds no newline."""

    regex = ".*"

    def convert(self, value: str) -> str:
        """Return the text as it is."""
        return value

    def to_string(self, value: str) -> str:
        """Return `str(value)`."""
        return str(value)


class IntegerConvertor(Convertor[int]):
    """`{name:int}`: ASCII digits without a sign."""

    regex = "[0-9]+"

    def convert(self, value: str) -> int:
        """Read the number.

        Raises:
            ValueError: above `sys.get_int_max_str_digits()` digits (4300 unless changed), where
                reading would take quadratic time.
        """
        return int(value)

    def to_string(self, value: int) -> str:
        """Write a number, or anything that `int()` accepts.

        Raises:
            ValueError: when it is negative.
        """
        number = int(value)
        if number < 0:
            raise ValueError(f"Negative integers are not supported, got {number}")
        return str(number)


class FloatConvertor(Convertor[float]):
    """`{name:float}`: ASCII digits with an optional fraction, without sign or exponent."""

    regex = r"[0-9]+(\.[0-9]+)?"

    def convert(self, value: str) -> float:
        """Read the number.

        Raises:
            ValueError: when it is too large for a float: an infinity could not be written back.
        """
        number = float(value)
        if math.isinf(number):
            raise ValueError(f"Infinite values are not supported, got {len(value)} digits")
        return number

    def to_string(self, value: float) -> str:
        """Write a number, or anything that `float()` accepts, with up to 20 decimals.

        Raises:
            ValueError: when it is negative, infinite or not a number.
        """
        number = float(value)
        if number < 0.0:
            raise ValueError(f"Negative floats are not supported, got {number}")
        if math.isnan(number):
            raise ValueError("NaN values are not supported")
        if math.isinf(number):
            raise ValueError("Infinite values are not supported")
        # abs: the sign of -0.0 would be a sign that `regex` does not read.
        return f"{abs(number):.20f}".rstrip("0").rstrip(".")


class UUIDConvertor(Convertor[uuid.UUID]):
    """`{name:uuid}`: a UUID of either case, with or without its dashes."""

    regex = "[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}"

    def convert(self, value: str) -> uuid.UUID:
        """Read the UUID."""
        return uuid.UUID(value)

    def to_string(self, value: uuid.UUID) -> str:
        """Return `str(value)`: lower case with dashes for a UUID."""
        return str(value)


CONVERTOR_TYPES: dict[str, Convertor[Any]] = {
    "str": StringConvertor(),
    "path": PathConvertor(),
    "int": IntegerConvertor(),
    "float": FloatConvertor(),
    "uuid": UUIDConvertor(),
}
"""The kinds a path may name. Change it through `register_url_convertor`."""


class UnknownConvertor(ValueError, AssertionError):
    """A path names a kind of parameter that nobody registered.

    An AssertionError too, because that is what Starlette raises and ported code may catch.
    """

    def __init__(self, kind: str, path: str, known: Iterable[str]) -> None:
        super().__init__(kind, path, tuple(known))
        self.kind, self.path, self.known = self.args

    def __str__(self) -> str:
        return (
            f"Unknown path convertor {self.kind!r} in {self.path!r}: known are"
            f" {', '.join(sorted(self.known))}. Before the route is made, call"
            f" hesper.convertors.register_url_convertor({self.kind!r}, YourConvertor())."
        )


def register_url_convertor(key: str, convertor: Convertor[Any]) -> None:
    """Make `{name:key}` available to the paths compiled from now on, or replace what it means.

    Args:
        key: ASCII letters, digits and "_", not starting with a digit.
        convertor: an instance, shared by all routes.

    Raises:
        TypeError: when given a class instead of an instance.
        ValueError: when no path could name the key.
    """
    if isinstance(convertor, type):
        raise TypeError(
            f"Expected an instance of a Convertor, got the class {convertor.__name__}:"
            f" register {convertor.__name__}()"
        )
    if not re.fullmatch("[a-zA-Z_][a-zA-Z0-9_]*", key):
        raise ValueError(
            f"No path could name the convertor {key!r}: use ASCII letters, digits and '_',"
            " not starting with a digit"
        )
    CONVERTOR_TYPES[key] = convertor
