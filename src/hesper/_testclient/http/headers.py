"""Header fields as a client looks at them.

The law: a name is looked up without case, and fields of the same name are read as one, joined by
commas (RFC 9110 section 5.2). Nothing is checked: a test may send what no client would.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import Any, TypeAlias, cast

HeaderTypes: TypeAlias = (
    Mapping[str, str] | Mapping[bytes, bytes] | Iterable[tuple[str | bytes, str | bytes]]
)
"""Headers as tests like to write them."""


class JoinedHeaders(MutableMapping[str, str]):
    """Header fields, in order.

    Args:
        headers: a mapping, or pairs where a name may come again; str is sent as latin-1.
    """

    def __init__(self, headers: HeaderTypes | None = None) -> None:
        self._list = _raw_list(headers)

    @property
    def raw(self) -> list[tuple[bytes, bytes]]:
        """The fields in bytes, names in lower case; a copy."""
        return self._list[:]

    def multi_items(self) -> list[tuple[str, str]]:
        """Names with values, in order, duplicates kept."""
        return [(_text(name), _text(value)) for name, value in self._list]

    def get_list(self, key: str, split_commas: bool = False) -> list[str]:
        """All values of the name.

        Args:
            key: the name.
            split_commas: whether to give the members of lists, and not the fields.
        """
        wanted = _raw(key).lower()
        values = [_text(value) for name, value in self._list if name == wanted]
        if split_commas:
            return [member.strip() for value in values for member in value.split(",")]
        return values

    def copy(self) -> JoinedHeaders:
        """The same fields, to be changed."""
        return JoinedHeaders(self._list)

    def update(self, headers: HeaderTypes | None = None, /, **named: str) -> None:  # type: ignore[override]
        """Puts these fields in place of all of their names; several of one name are all kept."""
        new = [*_raw_list(headers), *_raw_list(named)]
        names = {name for name, _ in new}
        self._list = [field for field in self._list if field[0] not in names] + new

    def __getitem__(self, key: str) -> str:
        if values := self.get_list(key):
            return ", ".join(values)
        raise KeyError(key)

    def __setitem__(self, key: str, value: str) -> None:
        """Sets a field in the place of the first of its name, and removes the others."""
        field = (_raw(key).lower(), _raw(value))
        places = [index for index, (name, _) in enumerate(self._list) if name == field[0]]
        for index in reversed(places):
            del self._list[index]
        self._list.insert(places[0] if places else len(self._list), field)

    def __delitem__(self, key: str) -> None:
        if key not in self:
            raise KeyError(key)
        wanted = _raw(key).lower()
        self._list = [field for field in self._list if field[0] != wanted]

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and bool(self.get_list(key))

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(_text(name) for name, _ in self._list))

    def __len__(self) -> int:
        return len({name for name, _ in self._list})

    def __eq__(self, other: object) -> bool:
        """Whether the fields are the same, in any order; those of a mapping or of pairs too."""
        if not isinstance(other, (Mapping, list, tuple)):
            return NotImplemented
        return sorted(self._list) == sorted(_raw_list(other))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.multi_items()!r})"


def _raw_list(headers: HeaderTypes | None) -> list[tuple[bytes, bytes]]:
    if headers is None:
        return []
    if isinstance(headers, JoinedHeaders):
        return headers.raw
    pairs = cast(Iterable[Any], headers.items() if isinstance(headers, Mapping) else headers)
    return [(_raw(name).lower(), _raw(value)) for name, value in pairs]


def _raw(text: str | bytes) -> bytes:
    return text.encode("latin-1") if isinstance(text, str) else text


def _text(raw: bytes) -> str:
    # Servers send latin-1, where they do not send UTF-8 (RFC 9110 section 5.5).
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")
