"""hesper.status: codes by their registered names."""

from __future__ import annotations

import http
import re

import pytest
import starlette.status

from hesper import status
from hesper.exceptions import HesperDeprecationWarning

RENAMED = {
    "HTTP_413_REQUEST_ENTITY_TOO_LARGE": "HTTP_413_CONTENT_TOO_LARGE",
    "HTTP_414_REQUEST_URI_TOO_LONG": "HTTP_414_URI_TOO_LONG",
    "HTTP_416_REQUESTED_RANGE_NOT_SATISFIABLE": "HTTP_416_RANGE_NOT_SATISFIABLE",
    "HTTP_422_UNPROCESSABLE_ENTITY": "HTTP_422_UNPROCESSABLE_CONTENT",
}


def test_there_are_63_http_codes_and_15_websocket_codes() -> None:
    prefixes = [name.split("_")[0] for name in status.__all__]
    assert (prefixes.count("HTTP"), prefixes.count("WS"), len(prefixes)) == (63, 15, 78)


def test_the_names_are_starlettes() -> None:
    assert sorted(status.__all__) == sorted(starlette.status.__all__)


@pytest.mark.parametrize("name", status.__all__)
def test_a_name_holds_its_code(name: str) -> None:
    assert getattr(status, name) == int(name.split("_")[1])


def test_http_names_are_the_registered_phrases() -> None:
    # 306 has no phrase, and the four renamed ones have their old phrase before Python 3.13.
    renamed = {name.split("_")[1] for name in RENAMED}
    for name in status.__all__:
        prefix, code, words = name.split("_", 2)
        if prefix == "HTTP" and code != "306" and code not in renamed:
            phrase = http.HTTPStatus(int(code)).phrase.upper().replace("'", "")
            assert words == re.sub("[ -]", "_", phrase)


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_an_old_name_works_and_warns_at_the_line_that_uses_it(old: str, new: str) -> None:
    with pytest.warns(HesperDeprecationWarning) as caught:
        assert getattr(status, old) == getattr(status, new)
    assert str(caught[0].message) == f"{old!r} is deprecated. Use {new!r} instead."
    assert caught[0].filename == __file__


def test_importing_an_old_name_warns_at_the_import() -> None:
    with pytest.warns(HesperDeprecationWarning) as caught:
        from hesper.status import HTTP_422_UNPROCESSABLE_ENTITY
    assert HTTP_422_UNPROCESSABLE_ENTITY == 422
    assert caught[0].filename == __file__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"module 'hesper\.status' has no attribute 'HTTP_2'"):
        status.HTTP_2


def test_dir_lists_old_names_but_a_star_import_does_not_warn() -> None:
    assert set(dir(status)) == set(status.__all__) | set(RENAMED)
    namespace: dict[str, int] = {}
    exec("from hesper.status import *", namespace)
    assert set(status.__all__) <= namespace.keys()
    assert not namespace.keys() & RENAMED.keys()
