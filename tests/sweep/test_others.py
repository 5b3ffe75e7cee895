"""What docs/explanation/sweep.md says of Starlette and FastAPI is what a sweep finds.

A part of the points, in the dialects that differ: the whole of it takes minutes.
"""

import importlib
import re
from pathlib import Path

import pytest

from hesper.testing.sweep import Sweep, SweptRequest
from tests.conftest import ExpectedErrors

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "sweep.md"
TEXT = PAGE.read_text("utf-8")
ROWS = re.findall(r"^\| `(\w+):(\w+)` \| `(/\w+)` \| \d+ \| (.*) \|$", TEXT, re.MULTILINE)
COMMANDS = re.findall(r"sweep_others\.(\w+):(\w+) (/\w+) --at (\S+) --dialect (\w+)", TEXT)


def request_of(module: str, app: str, path: str) -> SweptRequest:
    made = getattr(importlib.import_module(f"examples.sweep_others.{module}"), app)
    dialects = ["uvicorn", "gunicorn", "specification"]
    return Sweep(made, dialects=dialects, limit=4).get(path)


@pytest.mark.patience(60)
@pytest.mark.parametrize(("module", "app", "path", "says"), ROWS)
def test_the_page_says_what_is_found(
    module: str, app: str, path: str, says: str, expected_errors: ExpectedErrors
) -> None:
    report = request_of(module, app, path).run()
    expected_errors.clear()
    assert not report.failures
    assert {found.code for found in report.violations} == set(re.findall("`(.*?)`", says)), report
    assert report.clean == (says == "clean")


@pytest.mark.parametrize(("module", "app", "path", "at", "dialect"), COMMANDS)
def test_the_commands_of_the_page_show_it(
    module: str, app: str, path: str, at: str, dialect: str, expected_errors: ExpectedErrors
) -> None:
    report = request_of(module, app, path).replay(at, dialect=dialect, backend="asyncio")
    expected_errors.clear()
    said = [found.sentence.partition(" (")[0] for found in report.violations]
    assert any(f"> {sentence.rstrip('.')}." in TEXT for sentence in said), report


def test_the_page_has_its_table_and_its_commands() -> None:
    assert len(ROWS) == 13
    assert len(COMMANDS) == 5
