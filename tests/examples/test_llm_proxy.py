"""The policy "cancel", on a proxy: the model stops when nobody reads any more."""

from collections.abc import AsyncIterator

import anyio
import pytest
from examples import llm_proxy
from httpx2 import (
    AsyncBaseTransport,
    AsyncByteStream,
    AsyncClient,
    ConnectError,
    Request,
    Response,
)

from hesper.applications import Hesper
from hesper.sse import EventParser
from hesper.testclient import AsyncTestClient, AsyncTestResponse
from hesper.testing import Dialect, ScriptedServer
from hesper.testing.dialects import UVICORN
from hesper.testing.sweep import USUAL_DIALECTS, Sweep
from hesper.types import ASGIApp, Receive, Scope, Send
from tests.conftest import where
from tests.contract.apps import assert_quiet

SOON = 0.05
"""Seconds in which the model has to know."""

# The client is opened by the lifespan: daphne has none.
pytestmark = where(lambda params: params.get("dialect", UVICORN).lifespan)


@pytest.fixture(autouse=True)
def a_fast_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """On uvloop time is real."""
    monkeypatch.setattr(llm_proxy, "PACE", 0.01)


class Model:
    """The model, which notes when it was asked and when it was let go."""

    def __init__(self) -> None:
        self.asked = anyio.Event()
        self.let_go_at: list[float] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await llm_proxy.model(scope, receive, send)
            return
        self.asked.set()
        try:
            await llm_proxy.model(scope, receive, send)
        finally:
            self.let_go_at.append(anyio.current_time())


class Wire(AsyncBaseTransport):
    """What the proxy's client sends goes to an app in the same event loop, without a socket."""

    def __init__(self, app: ASGIApp) -> None:
        self._client = AsyncTestClient(app)

    async def handle_async_request(self, request: Request) -> Response:
        question = self._client.build_request("POST", "/generate", content=await request.aread())
        answer = await self._client.send(question, stream=True)
        headers = dict(answer.headers)
        return Response(answer.status_code, headers=headers, stream=Arriving(answer))


class Arriving(AsyncByteStream):
    """What comes from there."""

    def __init__(self, answer: AsyncTestResponse) -> None:
        self._answer = answer

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._answer.aiter_raw()

    async def aclose(self) -> None:
        await self._answer.aclose()


def proxy_to(app: ASGIApp) -> Hesper:
    return llm_proxy.proxy(lambda: AsyncClient(transport=Wire(app), base_url="http://model"))


@pytest.mark.parametrize("moment", ["before the first token", "in the stream"])
async def test_when_the_client_leaves_the_model_is_let_go(dialect: Dialect, moment: str) -> None:
    model = Model()
    server = ScriptedServer(proxy_to(model), dialect)
    async with server.lifespan():
        async with server.post("/chat", body=b'{"prompt": "light"}').open() as client:
            if moment == "before the first token":
                await model.asked.wait()
                await anyio.sleep(llm_proxy.PACE)
            else:
                await client.wait_message(4)  # the start, and three tokens
            left_at = anyio.current_time()
            client.leave()
            result = await client.finish()
        assert len(model.let_go_at) == 1
        assert model.let_go_at[0] - left_at < SOON
    assert_quiet(result)


async def test_the_tokens_arrive_as_they_come(dialect: Dialect) -> None:
    server = ScriptedServer(proxy_to(Model()), dialect)
    async with server.lifespan():
        result = await server.post("/chat").leave_at_message(4).run()
    assert result.headers["content-type"] == "text/event-stream; charset=utf-8"
    events = EventParser().feed(b"".join(m["body"] for m in result.messages[1:4]))
    assert [event.data for event in events] == ["token 0", "token 1", "token 2"]


class Nowhere(AsyncBaseTransport):
    """A network in which nobody is."""

    async def handle_async_request(self, request: Request) -> Response:
        raise ConnectError("nobody listens")


async def test_a_model_that_cannot_be_reached_is_a_502(dialect: Dialect) -> None:
    app = llm_proxy.proxy(lambda: AsyncClient(transport=Nowhere(), base_url="http://model"))
    server = ScriptedServer(app, dialect)
    async with server.lifespan():
        result = await server.post("/chat").run()
    assert (result.status, result.text) == (502, "The model cannot be reached: nobody listens\n")


@pytest.mark.patience(60)
def test_the_proxy_ends_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llm_proxy, "PACE", 5.0)  # of virtual time: the stream has no end
    dialects = [dialect for dialect in USUAL_DIALECTS if dialect.lifespan]
    Sweep(proxy_to(llm_proxy.model), dialects=dialects, limit=8).post(
        "/chat", body=b"{}"
    ).assert_clean()
