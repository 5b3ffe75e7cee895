"""A pytest plugin: the fixture `sweep`, and options for it.

The options are for all sweeps of a test run; what a test sets itself stands::

    def test_endings(sweep):
        sweep(app).get("/stream").assert_clean()
"""

from collections.abc import Callable
from typing import Any

import pytest

from hesper.testing._sweep.play import KINDS
from hesper.testing._sweep.requests import Sweep
from hesper.types import ASGIApp

__all__ = ["pytest_addoption", "sweep"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the options."""
    group = parser.getgroup("hesper", "Hesper's sweep of endings")
    group.addoption(
        "--sweep-kinds",
        metavar="KINDS",
        help=f"The ways to end a request, with commas: {','.join(KINDS)}.",
    )
    group.addoption(
        "--sweep-limit",
        type=int,
        metavar="N",
        help="How many points of each kind are tried, on each dialect and backend.",
    )
    group.addoption(
        "--sweep-seed",
        type=int,
        metavar="SEED",
        help="Says which points are tried if there are more than the limit.",
    )


@pytest.fixture
def sweep(request: pytest.FixtureRequest) -> Callable[..., Sweep]:
    """Makes a `hesper.testing.sweep.Sweep`, with the options of the command line."""
    config = request.config
    given: dict[str, Any] = {
        "limit": config.getoption("--sweep-limit"),
        "seed": config.getoption("--sweep-seed"),
    }
    kinds = config.getoption("--sweep-kinds")
    if kinds is not None:
        given["kinds"] = kinds.split(",")
    usual = {name: value for name, value in given.items() if value is not None}

    def make(app: ASGIApp, **options: Any) -> Sweep:
        return Sweep(app, **{**usual, **options})

    return make
