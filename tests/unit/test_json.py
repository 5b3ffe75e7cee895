"""JSON behind one seam: the standard library's by default, msgspec's if the process says so."""

import sys
from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hesper import _json
from hesper.applications import Hesper
from hesper.config import use_json
from hesper.exceptions import UsageError
from hesper.requests import Request
from hesper.responses import JSONResponse, Response
from hesper.routing import Route
from hesper.testing import ScriptedServer

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@pytest.fixture(autouse=True)
def standard_again() -> Iterator[None]:
    """The choice is the process's: it is taken back."""
    yield
    use_json("standard")


async def give_back(request: Request) -> Response:
    return JSONResponse(await request.json())


async def ask(body: bytes) -> Any:
    app = Hesper(routes=[Route("/", give_back, methods=["POST"])])
    return await ScriptedServer(app).post("/", body=body).run()


LIBRARIES: list[Any] = ["standard", "msgspec"]


@pytest.mark.parametrize("library", LIBRARIES)
async def test_a_value_is_read_and_written(library: Any) -> None:
    use_json(library)
    result = await ask('{"name": "Ada", "tags": ["ä", null]}'.encode())
    assert (result.status, result.text) == (200, '{"name":"Ada","tags":["ä",null]}')


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("body", [b"", b"{", b"nonsense", b'{"a": \xff}', b"[" * 100_000])
async def test_what_is_no_json_is_a_400(library: Any, body: bytes) -> None:
    use_json(library)
    assert (await ask(body)).status == 400


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "utf-8-sig"])
async def test_the_standard_library_reads_other_encodings(encoding: str) -> None:
    assert (await ask('{"a": "ä"}'.encode(encoding))).text == '{"a":"ä"}'


@given(VALUES)
def test_both_libraries_say_the_same(value: Any) -> None:
    use_json("msgspec")
    theirs = _json.encode(value)
    assert _json.decode(theirs) == _json.standard_decode(theirs) == value
    use_json("standard")
    assert _json.decode(_json.encode(value)) == value


def test_msgspec_writes_more_types() -> None:
    with pytest.raises(TypeError):
        JSONResponse(date(2026, 11, 28))
    use_json("msgspec")
    assert JSONResponse(date(2026, 11, 28)).body == b'"2026-11-28"'


def test_another_library_is_refused() -> None:
    wrong: Any = "yaml"
    with pytest.raises(UsageError, match="one of 'standard', 'msgspec', got 'yaml'"):
        use_json(wrong)


def test_a_library_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "msgspec", None)
    with pytest.raises(ImportError, match=r"pip install 'hesper\[msgspec\]'"):
        use_json("msgspec")
