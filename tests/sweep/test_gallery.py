"""The gallery: the sweep finds each bug, repeats it, and finds nothing in the app without it."""

import importlib
import pkgutil
from typing import Any

import examples.sweep
import pytest

from hesper.testing.sweep import Sweep, SweptRequest, Violation
from tests.conftest import ExpectedErrors

NAMES = [info.name for info in pkgutil.iter_modules(examples.sweep.__path__)]


def request_of(module: Any, app: Any) -> SweptRequest:
    method, path, *body = module.REQUEST
    options: dict[str, Any] = {"limit": 40}
    for option in ("before", "check"):
        if hasattr(module, option):
            options[option] = getattr(module, option)
    if hasattr(module, "BACKENDS"):
        options["backends"] = module.BACKENDS
    sweep = Sweep(app, **options)
    if method == "WEBSOCKET":
        return sweep.websocket(path, messages=body[0] if body else ())
    return sweep.request(method, path, body=body[0] if body else b"")


@pytest.mark.patience(120)
@pytest.mark.parametrize("name", NAMES)
def test_the_bug_is_found_and_can_be_repeated(name: str, expected_errors: ExpectedErrors) -> None:
    module = importlib.import_module(f"examples.sweep.{name}")
    request = request_of(module, module.app)
    report = request.run()
    expected_errors.clear()
    found = [each for each in report.violations if each.code == module.FINDS]
    assert found, str(report)
    assert repeated(request, found[0]).code == module.FINDS
    expected_errors.clear()


def repeated(request: SweptRequest, violation: Violation) -> Violation:
    report = request.replay(violation.at, dialect=violation.dialect, backend=violation.backend)
    return next(each for each in report.violations if each.code == violation.code)


@pytest.mark.patience(120)
@pytest.mark.parametrize("name", NAMES)
def test_without_the_bug_it_is_clean(name: str) -> None:
    module = importlib.import_module(f"examples.sweep.{name}")
    request_of(module, module.mended).assert_clean()
