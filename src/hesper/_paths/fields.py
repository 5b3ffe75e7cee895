"""One parameter: what is known about its convertor, and how a text becomes its value.

The law: a field gives a value for exactly the segments that the whole expression of its convertor
matches and that the convertor accepts, and it is called confined only if that expression provably
cannot match a "/" in any surroundings.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeAlias

from hesper.convertors import (
    Convertor,
    FloatConvertor,
    IntegerConvertor,
    PathConvertor,
    StringConvertor,
    UUIDConvertor,
)

Read: TypeAlias = Callable[[str], Any]
"""Gives the value of a text, or None if the text does not fit."""


def _read_str(text: str) -> str | None:
    return text or None


def read_path(text: str) -> str | None:
    return None if "\n" in text else text


def read_int(text: str) -> int | None:
    # isdigit alone also accepts the digits of other scripts; of ASCII only "0" to "9".
    if not (text.isdigit() and text.isascii()):
        return None
    try:
        return int(text)
    except ValueError:
        return None


def _regex_reader(regex: str, convert: Read) -> Read:
    fullmatch = re.compile(regex).fullmatch

    def read(text: str) -> Any:
        if fullmatch(text) is None:
            return None
        try:
            return convert(text)
        except ValueError:
            return None

    return read


# The expression of each built-in class, by which a changed one is known, and a reader where one is
# provably equal to it. A segment is split at "/", so that "[^/]+" says no more than "not empty".
_BUILT_IN: dict[type, tuple[str, Read | None]] = {
    StringConvertor: (StringConvertor.regex, _read_str),
    PathConvertor: (PathConvertor.regex, read_path),
    IntegerConvertor: (IntegerConvertor.regex, read_int),
    FloatConvertor: (FloatConvertor.regex, None),
    UUIDConvertor: (UUIDConvertor.regex, None),
}

# One piece of an expression that cannot consume a "/", whatever stands around it: a plain
# character, an escaped sign or class, a set, a bracket, a bar, a quantifier. Ranges only within
# digits or one case of letters, since others may hold "/". What depends on the text around it is
# missing on purpose: anchors, \b, lookaheads, possessive quantifiers, references, flags.
_SET_ITEM = r"(?:[0-9]-[0-9]|[a-z]-[a-z]|[A-Z]-[A-Z]|\\[dws]|\\[^a-zA-Z0-9/]|[^\]\[\\^/-])"
_CONFINED_REGEX = (  # compiled when it is first needed: 0.9 ms of an app's import
    r"(?:[^/.^$*+?{}\[\]\\|()]"
    r"|\\[dws]|\\[^a-zA-Z0-9/]"
    rf"|\[-?{_SET_ITEM}+-?\]|\[\^-?{_SET_ITEM}*/{_SET_ITEM}*-?\]"
    r"|\(\?:|\((?!\?)|\)|\|"
    r"|(?:[*+?]|\{[0-9]*,?[0-9]*\})(?!\+)\??)*"
)


@lru_cache(256)
def _is_confined(regex: str) -> bool:
    """Tell whether an expression provably matches no "/", and means the same on its own."""
    try:
        re.compile(regex)
    except re.error:
        return False
    return re.fullmatch(_CONFINED_REGEX, regex) is not None


class Field:
    """What the table knows about one convertor."""

    __slots__ = ("built_in", "confined", "convertor", "late", "read")

    def __init__(self, convertor: Convertor[Any]) -> None:
        regex, read = _BUILT_IN.get(type(convertor), ("", None))
        pristine = bool(regex) and regex == convertor.regex and not vars(convertor)
        self.convertor = convertor
        self.built_in: type | None = type(convertor) if pristine else None
        """The built-in class this is; None for a subclass and for a changed instance."""
        self.confined = _is_confined(convertor.regex)
        """Whether it cannot match a "/"; known of all built-in classes but `path`."""
        self.late: Read | None = None if pristine else convertor.convert
        """What is called when the whole template matched: a user's `convert` must not see text for
        which its route does not match."""
        self.read: Read
        """Gives the value of a whole segment, or its text if there is a `late`; None if it does
        not fit. Missing if neither built in nor confined."""
        if pristine and read:
            self.read = read
        elif self.confined:
            self.read = _regex_reader(convertor.regex, convertor.convert if pristine else str)
