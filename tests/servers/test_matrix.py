"""Every server of the matrix, over real sockets: what it tells an app, what Hesper makes of it, and
whether the page docs/reference/servers.md says so."""

import pytest

from tests.servers.matrix import page
from tests.servers.matrix.results import all_outcomes, outcome_of
from tests.servers.matrix.run import STOPS, Cell, cells_of
from tests.servers.matrix.servers import COMMANDS

# All cells of a server are run at once, by the first test that asks.
pytestmark = pytest.mark.patience(90)

servers = pytest.mark.parametrize("server", COMMANDS)


@pytest.mark.parametrize(
    ("server", "cell"),
    [pytest.param(s, cell, id=f"{s}, {cell}") for s in COMMANDS for cell in cells_of(s)],
)
def test_every_ending_is_as_promised(server: str, cell: Cell) -> None:
    result = outcome_of(server).results[cell]
    if isinstance(result, AssertionError):
        raise result
    assert result


@servers
@pytest.mark.parametrize("way", STOPS)
def test_a_server_that_is_stopped_ends_what_is_open_as_promised(server: str, way: str) -> None:
    result = outcome_of(server).stops[way]
    if isinstance(result, BaseException):
        raise result
    assert result


@servers
def test_nothing_of_ours_is_left(server: str) -> None:
    assert outcome_of(server).left == []


@servers
def test_nothing_is_in_the_log(server: str) -> None:
    assert outcome_of(server).troubles == []


@pytest.mark.patience(180)
def test_the_page_says_what_was_found() -> None:
    written = page.PAGE.read_text("utf-8")
    found = page.filled(written, all_outcomes(), compared=True)
    assert found == written, "see what has changed: python -m tests.servers --write; git diff"
