"""A router's list of routes behaves as any list, and tells of each change."""

from collections.abc import Callable

import pytest

from hesper._route_list import TellingList

CHANGES: dict[str, Callable[[list[int]], object]] = {
    "append": lambda items: items.append(4),
    "extend": lambda items: items.extend([4, 5]),
    "insert": lambda items: items.insert(0, 4),
    "pop": lambda items: items.pop(),
    "remove": lambda items: items.remove(2),
    "clear": lambda items: items.clear(),
    "sort": lambda items: items.sort(key=lambda item: -item),
    "reverse": lambda items: items.reverse(),
    "an item": lambda items: items.__setitem__(0, 4),
    "a slice": lambda items: items.__setitem__(slice(1, None), [4, 5]),
    "del": lambda items: items.__delitem__(0),
    "+=": lambda items: items.__iadd__([4]),
    "*=": lambda items: items.__imul__(2),
}


@pytest.mark.parametrize("name", CHANGES)
def test_each_change_is_told_and_is_what_a_list_does(name: str) -> None:
    told: list[list[int]] = []
    plain = [1, 2, 3]
    telling: TellingList[int] = TellingList([1, 2, 3], lambda: told.append(list(telling)))
    assert CHANGES[name](plain) == CHANGES[name](telling)
    assert telling == plain
    assert told == [plain]


def test_a_change_that_fails_halfway_is_told() -> None:
    told: list[list[int]] = []
    telling: TellingList[int] = TellingList([1], lambda: told.append(list(telling)))

    with pytest.raises(ZeroDivisionError):
        telling.extend(4 // number for number in (2, 1, 0))
    assert told == [[1, 2, 4]]


def test_reading_tells_nothing() -> None:
    telling = TellingList([1, 2], lambda: pytest.fail("nothing was changed"))
    assert (telling[0], len(telling), [*telling, 3], sorted(telling)) == (1, 2, [1, 2, 3], [1, 2])
