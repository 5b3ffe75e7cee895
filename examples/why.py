"""One application, two toolkits, four endings. Run it: `python -m examples.why`.

The source below is the same for both; only the package that it imports from differs.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextvars import ContextVar
from importlib import import_module
from typing import Any

import anyio

from hesper.testing import ScriptedServer
from hesper.types import ASGIApp

user: ContextVar[str] = ContextVar("user")


def make_app(toolkit: str, facts: dict[str, bool]) -> ASGIApp:
    """An application with one middleware, made with "starlette" or "hesper"."""
    Application: Any = getattr(import_module(f"{toolkit}.applications"), toolkit.capitalize())
    Middleware: Any = import_module(f"{toolkit}.middleware").Middleware
    Base: Any = import_module(f"{toolkit}.middleware.base").BaseHTTPMiddleware
    responses: Any = import_module(f"{toolkit}.responses")
    Route: Any = import_module(f"{toolkit}.routing").Route

    class Limit(Base):  # type: ignore[misc]
        async def dispatch(self, request: Any, call_next: Any) -> Any:
            with anyio.move_on_after(0.2) as limit:
                response = await call_next(request)
            if request.url.path == "/poll":
                facts["context variable seen"] = user.get("") == "ada"
            if limit.cancelled_caught:
                return responses.PlainTextResponse("Too slow.", status_code=504)
            return response

    async def slow(request: Any) -> Any:
        try:
            await anyio.sleep(0.4)
        except BaseException:
            facts["endpoint cancelled in time"] = True
            raise
        return responses.PlainTextResponse("done")

    async def poll(request: Any) -> Any:
        user.set("ada")
        await anyio.sleep(0.05)
        facts["client seen to leave"] = await request.is_disconnected()
        return responses.PlainTextResponse("done")

    async def broken(request: Any) -> Any:
        async def body() -> AsyncGenerator[bytes, None]:
            yield b"half of "
            raise ValueError

        return responses.StreamingResponse(body())

    routes = [Route("/slow", slow), Route("/poll", poll), Route("/broken", broken)]
    return Application(routes=routes, middleware=[Middleware(Limit)])  # type: ignore[no-any-return]


async def observe(toolkit: str) -> dict[str, bool]:
    """What became of four requests; every fact should be True."""
    facts = {"endpoint cancelled in time": False}
    server = ScriptedServer(make_app(toolkit, facts))
    await server.get("/slow").run()
    await server.get("/poll").leave_after(0.01).run()
    broken = await server.get("/broken").run()
    facts["half a body not ended as whole"] = not broken.complete
    return facts


async def main() -> None:
    found = {toolkit: await observe(toolkit) for toolkit in ("starlette", "hesper")}
    print(f"{'':32}{'starlette':12}{'hesper':12}")
    for fact in found["hesper"]:
        print(f"{fact:32}{found['starlette'][fact]!s:12}{found['hesper'][fact]!s:12}")


if __name__ == "__main__":
    anyio.run(main)
