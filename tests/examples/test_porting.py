"""Two Starlette apps port by changing their imports: the same answers before and after."""

import importlib
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette

from hesper.applications import Hesper
from hesper.testing import Result, ScriptedServer
from hesper.types import ASGIApp

PORTING = Path(__file__).parents[2] / "examples" / "porting"
NAMES = ["board", "rooms"]


def module_of(name: str, framework: str) -> Any:
    """A fresh copy: the rooms keep what was said."""
    suffix = "_starlette" if framework == "starlette" else ""
    return importlib.reload(importlib.import_module(f"examples.porting.{name}{suffix}"))


@pytest.mark.parametrize("name", NAMES)
def test_a_port_is_another_import_and_another_name_of_the_application(name: str) -> None:
    before = (PORTING / f"{name}_starlette.py").read_text("utf-8")
    ported = re.sub(r"\bstarlette\.", "hesper.", before)
    ported = re.sub(r"\bStarlette\b", "Hesper", ported).replace("_starlette:app", ":app")
    after = (PORTING / f"{name}.py").read_text("utf-8")
    # The imports are in the order of the alphabet, before and after.
    assert sorted(filter(None, after.splitlines())) == sorted(filter(None, ported.splitlines()))
    assert after != before
    assert type(module_of(name, "starlette").app) is Starlette
    assert type(module_of(name, "hesper").app) is Hesper


class Browser:
    """Asks, and keeps the cookie that it was given."""

    def __init__(self, server: ScriptedServer) -> None:
        self._server = server
        self._cookie = ""

    async def ask(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> Result:
        sent = {"cookie": self._cookie} if self._cookie else {}
        script = self._server.request(method, path, body=body, headers={**sent, **(headers or {})})
        result = await script.run()
        assert result.raised is None
        self._cookie = result.headers.get("set-cookie", self._cookie).partition(";")[0]
        return result


FORM = {"content-type": "application/x-www-form-urlencoded"}
ORIGIN = {"origin": "https://example.org"}

VISIT: list[tuple[Any, ...]] = [
    ("GET", "/"),
    ("POST", "/notes", b"text=early", FORM),
    ("POST", "/login", b"name=Grace", FORM),
    ("GET", "/"),
    ("POST", "/notes", b"text=A%20%3Cb%3Esecond%3C%2Fb%3E", FORM),
    ("POST", "/notes", b"text=" + b"x" * 20_000, FORM),
    ("GET", "/"),
    ("GET", "/api/notes", b"", ORIGIN),
    ("GET", "/api/notes?limit=1", b"", {"origin": "https://elsewhere.org"}),
    ("OPTIONS", "/api/notes", b"", {**ORIGIN, "access-control-request-method": "GET"}),
    ("OPTIONS", "/api/notes", b"", {**ORIGIN, "access-control-request-method": "PUT"}),
    ("GET", "/api/notes/0"),
    ("GET", "/api/notes/9"),
    ("GET", "/api/notes/nine"),
    ("GET", "/static/board.css"),
    ("GET", "/static/none.css"),
    ("GET", "/static/../board.py"),
    ("GET", "/none"),
    ("GET", "/logout"),
    ("GET", "/"),
]

COMPARED = "content-type content-length location allow vary access-control-allow-origin".split()


def seen(result: Result) -> tuple[Any, ...]:
    """What a client sees of a response, but for the cookie, which holds the time, and the wording
    of a refusal."""
    headers = {name: result.headers.get(name) for name in COMPARED}
    if result.status == 400:
        return result.status, headers["content-type"]
    headers["set-cookie"] = result.headers.get("set-cookie", "").partition("=")[0]
    return result.status, result.text, headers


@asynccontextmanager
async def started(app: ASGIApp) -> AsyncIterator[ScriptedServer]:
    server = ScriptedServer(app)
    async with server.lifespan():
        yield server


async def visit_the_board(framework: str) -> list[tuple[Any, ...]]:
    async with started(module_of("board", framework).app) as server:
        browser = Browser(server)
        return [seen(await browser.ask(*request)) for request in VISIT]


async def test_the_board_answers_as_before() -> None:
    before, after = await visit_the_board("starlette"), await visit_the_board("hesper")
    for request, theirs, ours in zip(VISIT, before, after, strict=True):
        assert ours == theirs, request
    statuses = [found[0] for found in after]
    assert statuses[:7] == [200, 403, 303, 200, 303, 400, 200]
    assert "A &lt;b&gt;second&lt;/b&gt;" in after[6][1]


TALK: list[tuple[Any, ...]] = [
    ("POST", "/rooms/tea", b'{"text": "hello"}'),
    ("POST", "/rooms/tea", b'{"text": "again"}'),
    ("GET", "/rooms/tea"),
    ("GET", "/rooms/tea/history"),
    ("GET", "/count"),
    ("HEAD", "/rooms/tea"),
    ("DELETE", "/rooms/tea"),
    ("GET", "/rooms/tea"),
    ("PATCH", "/rooms/tea"),
    ("GET", "/rooms/tea/more/of/it"),
]


async def visit_the_rooms(framework: str) -> tuple[list[Any], list[str]]:
    module = module_of("rooms", framework)
    server = ScriptedServer(module.app)
    browser = Browser(server)
    found: list[Any] = []
    for request in TALK:
        result = await browser.ask(*request)
        assert result.headers.get("server-timing", "").startswith("app;dur=")
        found.append(seen(result))
    found.append(await talk(server))
    found.append(await echo(server))
    assert not any(module.members.values())
    return found, module.log


async def talk(server: ScriptedServer) -> list[Any]:
    async with server.websocket("/rooms/tea/talk", subprotocols=["talk"]).open() as client:
        await client.wait_message(1)
        client.send("one")
        await client.wait_message(2)
        client.close(1000)
        result = await client.finish()
    assert result.raised is None
    return result.messages


async def echo(server: ScriptedServer) -> list[Any]:
    async with server.websocket("/echo").open() as client:
        await client.wait_message(1)
        client.send(json.dumps({"a": 1}))
        await client.wait_message(2)
        client.close(1001)
        result = await client.finish()
    assert result.raised is None
    return [result.messages[0]["type"], json.loads(result.messages[1]["text"])]


async def test_the_rooms_answer_as_before() -> None:
    theirs, ours = await visit_the_rooms("starlette"), await visit_the_rooms("hesper")
    assert ours == theirs
    assert ours[1] == ["tea: hello", "tea: again", "gone", "left with 1001"]
