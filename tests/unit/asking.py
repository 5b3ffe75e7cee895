"""How the tests of composition ask an app: one request, played by the scripted server."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hesper.testing import Result, ScriptedServer
from hesper.testing.dialects import UVICORN
from hesper.testing.script import Script
from hesper.types import ASGIApp

DENYING = replace(UVICORN, websocket_extensions=("websocket.http.response",))
"""A server that can refuse a handshake with any response."""

PLAIN = replace(UVICORN, websocket_extensions=())
"""A server that can refuse a handshake with 403 only."""


def script(
    app: ASGIApp,
    path: str = "/",
    method: str = "GET",
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    scope: Mapping[str, Any] | None = None,
) -> Script:
    """One request; ``scope`` replaces entries of it, for what the wire cannot say."""
    made = ScriptedServer(app).request(method, path, headers=headers or {}, body=body)
    return replace(made, plan=replace(made.plan, scope={**made.plan.scope, **(scope or {})}))


async def ask(app: ASGIApp, path: str = "/", method: str = "GET", **options: Any) -> Result:
    """Play one request. Whatever the app raised is in the result."""
    return await script(app, path, method, **options).run()


async def text_of(app: ASGIApp, path: str = "/", method: str = "GET", **options: Any) -> str:
    """Play one request that has to succeed, and give the text of its response."""
    result = await ask(app, path, method, **options)
    assert (result.status, result.raised) == (200, None), result.log
    return result.text


async def connect(app: ASGIApp, path: str = "/", *, denying: bool = True, **options: Any) -> Result:
    """Play one WebSocket."""
    dialect = DENYING if denying else PLAIN
    return await ScriptedServer(app, dialect).websocket(path, **options).run()
