"""A test run of its own, in which no HTTP client library can be imported.

`python -m tests.unit.without_httpx2 asyncio` uses all of `AsyncTestClient`, and says so at the end.
"""

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

MISSING = ("httpx", "httpx2", "httpcore", "httpcore2")


class _Missing(MetaPathFinder):
    """Finds that what is missing is not there, before anybody else looks."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name.partition(".")[0] in MISSING:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


assert not set(MISSING) & set(sys.modules)
sys.meta_path.insert(0, _Missing())

import anyio  # noqa: E402  # after the finder
import pytest  # noqa: E402

from hesper.applications import Hesper  # noqa: E402
from hesper.background import BackgroundTask  # noqa: E402
from hesper.requests import Request  # noqa: E402
from hesper.responses import (  # noqa: E402
    JSONResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from hesper.routing import Route, WebSocketRoute  # noqa: E402
from hesper.testclient import (  # noqa: E402
    AsyncTestClient,
    AsyncWebSocketDenialResponse,
    HTTPStatusError,
)
from hesper.websockets import WebSocket  # noqa: E402

log: list[str] = []


@asynccontextmanager
async def lifespan(app: Hesper) -> AsyncIterator[dict[str, str]]:
    log.append("started")
    yield {"of": "lifespan"}
    log.append("stopped")


async def form(request: Request) -> Response:
    async with request.form() as fields:
        file = fields["file"]
        assert not isinstance(file, str)
        content = (await file.read()).decode()
        response = JSONResponse([request.state.of, fields["field"], file.filename, content])
    response.set_cookie("seen", request.cookies.get("seen", "0") + "1")
    response.background = BackgroundTask(log.append, "background")
    return response


async def echo(request: Request) -> Response:
    body = (await request.body()).decode()
    return JSONResponse([str(request.url), dict(request.headers), body])


async def moved(request: Request) -> Response:
    return RedirectResponse("/echo")


async def ticks(request: Request) -> Response:
    async def stream() -> AsyncIterator[str]:
        try:
            while True:
                yield "tick\n"
        finally:
            log.append("stream ended")

    return StreamingResponse(stream())


async def slow(request: Request) -> Response:
    await request.wait_disconnected()
    log.append("disconnected")
    return Response()


async def socket(websocket: WebSocket) -> None:
    if "deny" in websocket.query_params:
        await websocket.send_denial_response(JSONResponse({"no": 1}, 403))
        return
    await websocket.accept(subprotocol=websocket.scope["subprotocols"][0])
    async for text in websocket.iter_text():
        await websocket.send_text(text.upper())
    log.append("socket closed")


APP = Hesper(
    lifespan=lifespan,
    routes=[
        Route("/form", form, methods=["POST"]),
        Route("/echo", echo, methods=["GET", "POST"]),
        Route("/moved", moved, methods=["GET", "POST"]),
        Route("/ticks", ticks),
        Route("/slow", slow),
        WebSocketRoute("/socket", socket),
    ],
)


async def use_requests(client: AsyncTestClient) -> None:
    response = await client.post(
        "/form", data={"field": "é"}, files={"file": ("f.txt", b"content")}
    )
    assert response.json() == ["lifespan", "é", "f.txt", "content"]
    assert response.cookies["seen"] == client.cookies["seen"] == "01"
    assert log == ["started", "background"]

    response = await client.get("/echo", params={"a": "ü"}, headers={"x-a": "1"})
    url, headers, _ = response.json()
    assert url == str(response.url) == "http://testserver/echo?a=%C3%BC"
    assert (headers["x-a"], headers["cookie"]) == ("1", "seen=01")

    response = await client.post("/moved", json={"a": 1})
    assert (response.history[0].status_code, response.json()[2]) == (307, '{"a":1}')
    response = await client.get("/missing")
    with pytest.raises(HTTPStatusError, match="404 Not Found") as error:
        response.raise_for_status()
    assert error.value.response is response


async def use_endings(client: AsyncTestClient) -> None:
    async with client.stream("GET", "/ticks") as response:
        async for line in response.aiter_lines():
            assert line == "tick"
            break
    assert log.pop() == "stream ended"
    async with client.leaving("GET", "/slow") as request:
        request.disconnect()
    assert log.pop() == "disconnected"


async def use_sockets(client: AsyncTestClient) -> None:
    async with client.websocket_connect("/socket", ["x"]) as session:
        assert session.accepted_subprotocol == "x"
        await session.send_text("hello")
        assert await session.receive_text(timeout=5) == "HELLO"
        with pytest.raises(TimeoutError):
            await session.receive(timeout=0.01)
    assert log.pop() == "socket closed"
    with pytest.raises(AsyncWebSocketDenialResponse) as caught:
        async with client.websocket_connect("/socket?deny"):
            raise AssertionError("it is not open")
    denial = caught.value
    assert (denial.status_code, denial.json(), denial.code) == (403, {"no": 1}, 1006)


async def use() -> None:
    async with AsyncTestClient(APP) as client:
        await use_requests(client)
        await use_endings(client)
        await use_sockets(client)
    assert log == ["started", "background", "stopped"]


if __name__ == "__main__":
    anyio.run(use, backend=sys.argv[1])
    with pytest.raises(ImportError) as missing:
        from hesper.testclient import TestClient  # noqa: F401
    print(missing.value)
    assert not set(MISSING) & set(sys.modules)
    print("All of it works.")
