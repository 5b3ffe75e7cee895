"""HTTP header fields, over the raw list that ASGI carries.

The laws:

1. There is one truth, the raw list of ``(name, value)`` byte pairs. Nothing is parsed or indexed in
   advance: a request has some twenty fields, and a handler asks for two.
2. Names are compared without case, by looking for the lower-case name, which is how ASGI demands
   them (HTTP & WebSocket 2.5: "Header names must be lowercased"). Names and values are latin-1.
3. Whatever a user sets is checked for CR, LF and NUL, which would let a value end its field and
   forge the next one (RFC 9110 section 5.5: "Field values containing CR, LF, or NUL characters are
   invalid and dangerous"). Raw lists come from servers and from ourselves and are not checked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import Any, NoReturn, TypeVar, overload

__all__ = ["Headers", "MutableHeaders", "encode_header"]

_Default = TypeVar("_Default")

# Name as the user writes it -> lower-case bytes; only valid names are in it. CPython 3.13: 25 ns to
# look one up, 75 ns to encode and lower it. Where a proxy loops over a client's headers the client
# chooses the names, so the cache stops growing, and never holds a long one.
_NAMES: dict[str, bytes] = {}
_MAX_NAMES = 512
_MAX_NAME_LENGTH = 64


def _encode_name(name: str) -> bytes:
    """Lower-case bytes of a name that is not in ``_NAMES`` yet."""
    if not isinstance(name, str):
        raise TypeError(f"Expected a header name as str, got {type(name).__name__}: {name!r}.")
    if "\n" in name or "\r" in name or "\0" in name:
        raise ValueError(_forbidden("name", name))
    # Encoded first: str.lower() would turn a KELVIN SIGN into a k.
    encoded = name.encode("latin-1").lower()
    if len(_NAMES) < _MAX_NAMES and len(name) <= _MAX_NAME_LENGTH:
        _NAMES[name] = encoded
    return encoded


def _find_name(name: str) -> bytes | None:
    """As ``_encode_name``, for looking up: a name that cannot be a header is not there."""
    try:
        return _encode_name(name)
    except ValueError:
        return None


def _encode_value(name: str, value: str) -> bytes:
    """Bytes of a value that may be set."""
    try:
        encoded = value.encode("latin-1")
    except AttributeError:
        _reject_value(name, value)
    if "\n" in value or "\r" in value or "\0" in value:
        _reject_value(name, value)
    return encoded


def _reject_value(name: str, value: object) -> NoReturn:
    if isinstance(value, str):
        raise ValueError(_forbidden("value", value, f" for {name!r}"))
    raise TypeError(
        f"Expected the value of header {name!r} as str, got {type(value).__name__}: {value!r}."
    )


def _forbidden(part: str, text: str, where: str = "") -> str:
    return (
        f"Header {part} {text!r}{where} contains CR, LF or NUL, which would split the response "
        "(RFC 9110 section 5.5). Remove them, or percent-encode them."
    )


def encode_header(name: str, value: str) -> tuple[bytes, bytes]:
    """Encode one field for a raw list.

    Raises:
        ValueError: If the name or the value contains CR, LF or NUL, or is not latin-1.
        TypeError: If the name or the value is not a str.
    """
    return _NAMES.get(name) or _encode_name(name), _encode_value(name, value)


class Headers(Mapping[str, str]):
    """Header fields, in order, with case-insensitive names.

    Args:
        headers: Fields to encode.
        raw: A raw list. It is referred to, not copied.
        scope: An ASGI scope or message; its ``headers`` are referred to, not copied.

    Raises:
        TypeError: If more than one of them is given.
        ValueError: If a name or value in ``headers`` contains CR, LF or NUL, or is not latin-1.
    """

    # No __slots__: many have learned to edit a request's headers by `headers.__dict__["_list"]`.
    _list: list[tuple[bytes, bytes]]

    def __init__(
        self,
        headers: Mapping[str, str] | None = None,
        raw: Iterable[tuple[bytes, bytes]] | None = None,
        scope: MutableMapping[str, Any] | None = None,
    ) -> None:
        if raw is not None:
            self._list = raw if isinstance(raw, list) else list(raw)
            alone = headers is None and scope is None
        elif scope is not None:
            self._list = self._list_of(scope)
            alone = headers is None
        else:
            fields = {} if headers is None else headers
            self._list = [encode_header(name, value) for name, value in fields.items()]
            return
        if not alone:
            raise TypeError('Cannot set more than one of "headers", "raw" and "scope".')

    @staticmethod
    def _list_of(scope: MutableMapping[str, Any]) -> list[tuple[bytes, bytes]]:
        headers = scope.get("headers", ())
        if not isinstance(headers, list):
            # ASGI promises no more than an iterable, which may be good for one loop only.
            headers = scope["headers"] = list(headers)
        return headers

    @property
    def raw(self) -> list[tuple[bytes, bytes]]:
        """A copy of the raw list."""
        return self._list[:]

    def keys(self) -> list[str]:  # type: ignore[override]
        """The names, in order, duplicates kept."""
        return [name.decode("latin-1") for name, _ in self._list]

    def values(self) -> list[str]:  # type: ignore[override]
        """The values, in order."""
        return [value.decode("latin-1") for _, value in self._list]

    def items(self) -> list[tuple[str, str]]:  # type: ignore[override]
        """Names with values, in order, duplicates kept."""
        return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self._list]

    @overload
    def get(self, key: str, /) -> str | None: ...
    @overload
    def get(self, key: str, default: str, /) -> str: ...
    @overload
    def get(self, key: str, default: _Default, /) -> str | _Default: ...
    @overload
    def get(self, key: str, /, *, default: _Default) -> str | _Default: ...
    def get(self, key: str, default: Any = None) -> Any:
        """The first value under the name, or the default."""
        wanted = _NAMES.get(key) or _find_name(key)
        for name, value in self._list:
            if name == wanted:
                return value.decode("latin-1")
        return default

    def getlist(self, key: str) -> list[str]:
        """All values under the name, in order; an empty list if there are none."""
        wanted = _NAMES.get(key) or _find_name(key)
        return [value.decode("latin-1") for name, value in self._list if name == wanted]

    def mutablecopy(self) -> MutableHeaders:
        """The same fields over a list of their own, to be changed."""
        return MutableHeaders(raw=self._list[:])

    def __getitem__(self, key: str) -> str:
        wanted = _NAMES.get(key) or _find_name(key)
        for name, value in self._list:
            if name == wanted:
                return value.decode("latin-1")
        raise KeyError(key)

    def __contains__(self, key: Any) -> bool:
        wanted = _NAMES.get(key) or _find_name(key)
        for name, _ in self._list:  # noqa: SIM110 - any() with a generator takes twice as long
            if name == wanted:
                return True
        return False

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self._list)

    def __eq__(self, other: Any) -> bool:
        if not isinstance(other, Headers):
            return NotImplemented
        return sorted(self._list) == sorted(other._list)

    def __repr__(self) -> str:
        fields = dict(self.items())
        if len(fields) == len(self):
            return f"{type(self).__name__}({fields!r})"
        return f"{type(self).__name__}(raw={self._list!r})"


class MutableHeaders(Headers):
    """Header fields that can change.

    Over ``raw=`` a list, every change is made in that list, in place. Over ``scope=`` the scope or
    message first gets a list of its own, so that a list the server still uses stays as it was.
    """

    @staticmethod
    def _list_of(scope: MutableMapping[str, Any]) -> list[tuple[bytes, bytes]]:
        headers = scope["headers"] = list(scope.get("headers", ()))
        return headers

    @property
    def raw(self) -> list[tuple[bytes, bytes]]:
        """The raw list itself."""
        return self._list

    def __setitem__(self, key: str, value: str) -> None:
        # What every header-setting middleware pays: 0.3 us over a list of three (CPython 3.13). So
        # _encode_value is written out: the call would add 0.1 us.
        wanted = _NAMES.get(key) or _encode_name(key)
        try:
            encoded = value.encode("latin-1")
        except AttributeError:
            _reject_value(key, value)
        if "\n" in value or "\r" in value or "\0" in value:
            _reject_value(key, value)
        fields = self._list
        for field in fields:
            if field[0] == wanted:
                self._replace(field, (wanted, encoded))
                return
        fields.append((wanted, encoded))

    def _replace(self, first: tuple[bytes, bytes], field: tuple[bytes, bytes]) -> None:
        """Put a field where the first of its name is, and drop the others."""
        fields = self._list
        index = fields.index(first)  # an equal one before it would itself have been the first
        fields[index] = field
        for other in range(len(fields) - 1, index, -1):
            if fields[other][0] == field[0]:
                del fields[other]

    def __delitem__(self, key: str) -> None:
        """Remove all fields of the name; no error if there are none."""
        wanted = _NAMES.get(key) or _find_name(key)
        self._list[:] = [field for field in self._list if field[0] != wanted]

    def __ior__(self, other: Mapping[str, str]) -> MutableHeaders:
        self.update(other)
        return self

    def __or__(self, other: Mapping[str, str]) -> MutableHeaders:
        merged = self.mutablecopy()
        merged.update(other)
        return merged

    def setdefault(self, key: str, value: str) -> str:
        """The first value under the name, which is the given one if there was none."""
        current = self.get(key)
        if current is None:
            self.append(key, value)
            return value
        return current

    def update(self, other: Mapping[str, str]) -> None:
        """Set each field of the mapping.

        Raises:
            TypeError: If it is not a mapping.
        """
        if not isinstance(other, Mapping):
            raise TypeError(f"Expected a mapping but got {type(other).__name__}")
        for name, value in other.items():
            self[name] = value

    def append(self, key: str, value: str) -> None:
        """Add a field, and keep those of the same name."""
        self._list.append((_NAMES.get(key) or _encode_name(key), _encode_value(key, value)))

    def add_vary_header(self, vary: str) -> None:
        """Say that the response depends on these request headers too (RFC 9110 section 12.5.5).

        Names that are listed already are not listed again; "*" covers all of them.
        """
        if "vary" not in self:
            self.append("vary", vary)
            return
        listed = [name for value in self.getlist("vary") for name in _split_list(value)]
        known = {name.lower() for name in listed}
        added = [name for name in _split_list(vary) if name.lower() not in known]
        if "*" not in known:
            self["vary"] = ", ".join(listed + added)


def _split_list(value: str) -> list[str]:
    """The members of a comma-separated list; empty ones do not count (RFC 9110 section 5.6.1)."""
    return [member for part in value.split(",") if (member := part.strip())]
