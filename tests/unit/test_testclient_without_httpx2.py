"""`AsyncTestClient` needs no extra, and `hesper.testclient` asks for none before it has to."""

import subprocess
import sys
from pathlib import Path

import pytest

import hesper.testclient

ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> str:
    command = [sys.executable, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_async_client_works_where_no_http_library_is_installed(backend: str) -> None:
    printed = run("-W", "error", "-m", "tests.unit.without_httpx2", backend)
    assert 'pip install "hesper[testclient]"' in printed
    assert "AsyncTestClient needs no extra" in printed
    assert printed.endswith("All of it works.\n")


def test_the_library_is_imported_when_the_synchronous_client_is_asked_for() -> None:
    code = (
        "import sys, hesper.testclient as c\n"
        "c.AsyncTestClient\n"
        "assert 'httpx2' not in sys.modules\n"
        "{name}\n"
        "print('httpx2' in sys.modules)"
    )
    for name in ("TestClient", "TestResponse", "WebSocketTestSession", "WebSocketDenialResponse"):
        assert run("-c", code.format(name=f"c.{name}")) == "True\n"


def test_every_public_name_is_there_and_no_other() -> None:
    for name in hesper.testclient.__all__:
        assert getattr(hesper.testclient, name).__name__
    with pytest.raises(AttributeError, match="has no attribute 'Test'"):
        _ = hesper.testclient.Test
