"""Settings: from the environment, else from a ``.env`` file, else a default.

The law: a setting is read as it was when the process came up. Whoever changes a variable that was
already read is told so, and a value that cannot be cast names its setting.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any, TypeVar, overload

from hesper._json import use_json

__all__ = ["Config", "Environ", "EnvironError", "environ", "undefined", "use_json"]

T = TypeVar("T")

_BOOLS = {"true": True, "1": True, "false": False, "0": False}


class undefined:
    """Stands for a default that was not given, where None may be one."""


class EnvironError(Exception):
    """The environment was changed where it had been read already."""


class Environ(MutableMapping[str, str]):
    """An environment that refuses to change what was read from it.

    Tests set variables before the settings are read; one that comes too late would have no effect,
    and nobody would see why. To look whether a variable is there is to read it.

    Args:
        environ: what it reads from and writes to.
    """

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        self._environ = environ
        self._has_been_read: set[str] = set()

    def __getitem__(self, key: str) -> str:
        self._has_been_read.add(key)
        return self._environ[key]

    def __setitem__(self, key: str, value: str) -> None:
        """Raises EnvironError if the variable was read."""
        self._refuse_if_read(key, "set")
        self._environ[key] = value

    def __delitem__(self, key: str) -> None:
        """Raises EnvironError if the variable was read."""
        self._refuse_if_read(key, "delete")
        del self._environ[key]

    def _refuse_if_read(self, key: str, what: str) -> None:
        if key in self._has_been_read:
            raise EnvironError(
                f"Attempting to {what} environ[{key!r}], but the value has already been read: "
                "change it before the settings are made, that is before they are imported."
            )

    def __iter__(self) -> Iterator[str]:
        return iter(self._environ)

    def __len__(self) -> int:
        return len(self._environ)


environ = Environ()
"""The environment of the process."""


class Config:
    """Reads settings.

    Args:
        env_file: a file of ``KEY=value`` lines; if it is not there a warning says so.
        environ: what counts before the file.
        env_prefix: stands before every key, in the environment and in the file.
        encoding: the file's; a byte order mark before it is passed over.

    Raises:
        OSError: the file cannot be read.
        UnicodeDecodeError: it is not in this encoding.

    In the file a value may stand in one pair of quotes, which are taken off; nothing else in it has
    a meaning. Lines that start with "#" or have no "=" are passed over. The last of one key counts.
    """

    def __init__(
        self,
        env_file: str | Path | None = None,
        environ: Mapping[str, str] = environ,
        env_prefix: str = "",
        encoding: str = "utf-8",
    ) -> None:
        self.environ = environ
        self.env_prefix = env_prefix
        self.file_values: dict[str, str] = {}
        if env_file is not None:
            if os.path.isfile(env_file):
                with open(env_file, encoding=encoding) as file:
                    self.file_values = _parse(file)
            else:
                warnings.warn(f"Config file '{env_file}' not found.", stacklevel=2)

    @overload
    def __call__(self, key: str, *, default: None) -> str | None: ...

    @overload
    def __call__(self, key: str, cast: type[T], default: T = ...) -> T: ...

    @overload
    def __call__(self, key: str, cast: type[str] = ..., default: str = ...) -> str: ...

    @overload
    def __call__(self, key: str, cast: Callable[[Any], T] = ..., default: Any = ...) -> T: ...

    @overload
    def __call__(self, key: str, cast: type[str] = ..., default: T = ...) -> T | str: ...

    def __call__(
        self, key: str, cast: Callable[[Any], Any] | None = None, default: Any = undefined
    ) -> Any:
        """The same as ``get``, with its type."""
        return self.get(key, cast, default)

    def get(
        self, key: str, cast: Callable[[Any], Any] | None = None, default: Any = undefined
    ) -> Any:
        """One setting.

        Args:
            key: its name, without the prefix.
            cast: makes the value of the text, and of the default; ``bool`` takes true, false, 1 and
                0 in any case.
            default: the value if there is none; None is not cast.

        Raises:
            KeyError: there is no value and no default.
            ValueError: the value cannot be cast.
        """
        key = self.env_prefix + key
        if key in self.environ:
            return _cast(key, self.environ[key], cast)
        if key in self.file_values:
            return _cast(key, self.file_values[key], cast)
        if default is not undefined:
            return _cast(key, default, cast)
        raise KeyError(f"Config '{key}' is missing, and has no default. Set it in the environment.")


def _parse(lines: Iterable[str]) -> dict[str, str]:
    """The values of a ``.env`` file."""
    values: dict[str, str] = {}
    for line in lines:
        # Editors on Windows write a byte order mark, which "utf-8" leaves in the text.
        line = line.strip().removeprefix("\ufeff").lstrip()
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            value = value.strip()
            if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
                value = value[1:-1]
            values[key.strip()] = value
    return values


def _cast(key: str, value: Any, cast: Callable[[Any], Any] | None) -> Any:
    if cast is None or value is None:
        return value
    if cast is bool and isinstance(value, str):
        if value.lower() not in _BOOLS:
            raise ValueError(
                f"Config '{key}' has value '{value}'. Not a valid bool: "
                "expected true, false, 1 or 0."
            )
        return _BOOLS[value.lower()]
    try:
        return cast(value)
    except (TypeError, ValueError) as exc:
        name = getattr(cast, "__name__", repr(cast))
        raise ValueError(f"Config '{key}' has value '{value}'. Not a valid {name}.") from exc
