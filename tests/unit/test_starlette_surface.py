"""A Starlette app ports by changing its imports: every public name, every parameter."""

import pytest

from tests.surface.compare import NAMES, STARLETTE, gaps, ours
from tests.surface.differences import BETTER, DIFFERENT, MEMBERS, RENAMED
from tests.surface.page import PAGE, text


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_there_with_its_parameters_and_attributes(name: str) -> None:
    assert [f"{gap.name} {gap.what}" for gap in gaps(name)] == []


def test_at_most_ten_names_are_missing_and_each_says_why() -> None:
    assert len(DIFFERENT) + len(MEMBERS) <= 10
    assert all([*DIFFERENT.values(), *MEMBERS.values()])
    for name in DIFFERENT:
        with pytest.raises((ImportError, AttributeError)):
            ours(name)


def test_what_is_said_of_names_is_said_of_theirs() -> None:
    assert {*RENAMED, *DIFFERENT, *BETTER} <= set(NAMES)
    for member in MEMBERS:
        full, _, attribute = member.rpartition(".")
        module, _, name = full.rpartition(".")
        assert attribute in STARLETTE[module][name]["members"]


def test_the_page_is_made_of_this() -> None:
    assert PAGE.read_text("utf-8") == text(), "run python -m tests.surface"
