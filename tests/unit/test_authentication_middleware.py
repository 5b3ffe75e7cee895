"""``AuthenticationMiddleware``: who asks, and what they get who say so wrongly."""

from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi import Request as FastAPIRequest
from starlette.applications import Starlette
from starlette.middleware import Middleware as StarletteMiddleware
from starlette.requests import Request as StarletteRequest
from starlette.responses import PlainTextResponse as StarlettePlain
from starlette.responses import Response as StarletteResponse
from starlette.routing import Route as StarletteRoute

from hesper.applications import Hesper
from hesper.authentication import (
    AuthCredentials,
    AuthenticationBackend,
    AuthenticationError,
    BaseUser,
    SimpleUser,
    UnauthenticatedUser,
)
from hesper.exceptions import HTTPException, UsageError
from hesper.middleware import Middleware
from hesper.middleware.authentication import AuthenticationMiddleware
from hesper.requests import HTTPConnection, Request
from hesper.responses import JSONResponse, PlainTextResponse, Response
from hesper.routing import Route, WebSocketRoute
from hesper.testing import Result
from hesper.types import ASGIApp, Receive, Scope, Send
from hesper.websockets import WebSocket

from .asking import ask, connect


class Basic(AuthenticationBackend):
    """HTTP Basic; every password is right."""

    async def authenticate(
        self, conn: HTTPConnection[Any]
    ) -> tuple[AuthCredentials, BaseUser] | None:
        header = conn.headers.get("authorization")
        if header is None:
            return None
        try:
            kind, encoded = header.split()
            name, _, _ = b64decode(encoded).decode().partition(":")
        except ValueError as exc:
            raise AuthenticationError("Invalid basic auth credentials") from exc
        if kind == "Teapot":
            raise HTTPException(418)
        return AuthCredentials(["authenticated"]), SimpleUser(name)


ALICE = {"authorization": "Basic " + b64encode(b"alice:secret").decode()}
WRONG = {"authorization": "Basic nonsense nonsense"}


async def who(request: Request) -> Response:
    user = request.user
    return JSONResponse([user.is_authenticated, user.display_name, request.auth.scopes])


async def greet(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text(f"hello {websocket.user.display_name}")


async def raising(request: Request) -> Response:
    raise AuthenticationError("by the endpoint")


def make(on_error: Any = None, backend: AuthenticationBackend | None = None) -> Hesper:
    return Hesper(
        routes=[Route("/", who), Route("/raising", raising), WebSocketRoute("/ws", greet)],
        middleware=[
            Middleware(AuthenticationMiddleware, backend=backend or Basic(), on_error=on_error)
        ],
    )


async def test_a_client_that_says_who_it_is_is_known() -> None:
    assert (await ask(make(), headers=ALICE)).text == '[true,"alice",["authenticated"]]'


async def test_a_client_that_does_not_is_nobody_with_no_scopes() -> None:
    assert (await ask(make())).text == '[false,"",[]]'


async def test_wrong_credentials_are_400_and_the_app_is_not_called() -> None:
    result = await ask(make(), headers=WRONG)
    assert (result.status, result.text) == (400, "Invalid basic auth credentials")
    assert result.raised is None


def sync_on_error(conn: HTTPConnection[Any], exc: AuthenticationError) -> Response:
    return JSONResponse({"error": str(exc), "path": conn.url.path}, status_code=401)


async def async_on_error(conn: HTTPConnection[Any], exc: AuthenticationError) -> Response:
    return sync_on_error(conn, exc)


class OnError:
    """An object that is called."""

    async def __call__(self, conn: HTTPConnection[Any], exc: AuthenticationError) -> Response:
        return sync_on_error(conn, exc)


@pytest.mark.parametrize("on_error", [sync_on_error, async_on_error, OnError()])
async def test_on_error_makes_the_response_async_or_not(on_error: Callable[..., Any]) -> None:
    result = await ask(make(on_error), headers=WRONG)
    assert result.status == 401
    assert result.text == '{"error":"Invalid basic auth credentials","path":"/"}'


async def test_a_subclass_may_have_another_default_answer() -> None:
    class Ours(AuthenticationMiddleware):
        @staticmethod
        def default_on_error(conn: HTTPConnection[Any], exc: Exception) -> Response:
            return PlainTextResponse("ours", status_code=401)

    app = Ours(Route("/", who), backend=Basic())
    assert (await ask(app, headers=WRONG)).text == "ours"


async def test_an_on_error_without_a_response_lets_nobody_in() -> None:
    def nothing(conn: HTTPConnection[Any], exc: AuthenticationError) -> None: ...

    result = await ask(make(nothing), headers=WRONG)
    assert result.status == 500
    assert isinstance(result.raised, UsageError)
    assert (await connect(make(nothing), "/ws", headers=WRONG)).status == 403


async def test_other_errors_of_the_backend_go_their_way() -> None:
    result = await ask(make(), headers={"authorization": "Teapot YTpi"})
    assert (result.status, result.raised) == (418, None)

    class Broken(AuthenticationBackend):
        async def authenticate(self, conn: HTTPConnection[Any]) -> None:
            raise LookupError("broken")

    broken = await ask(make(backend=Broken()))
    assert broken.status == 500
    assert isinstance(broken.raised, LookupError)


async def test_an_error_of_that_class_from_the_endpoint_is_not_ours() -> None:
    result = await ask(make(), "/raising", headers=ALICE)
    assert result.status == 500
    assert isinstance(result.raised, AuthenticationError)


async def test_the_backend_may_read_the_body_and_the_endpoint_reads_it_again() -> None:
    class ByBody(AuthenticationBackend):
        async def authenticate(self, conn: HTTPConnection[Any]) -> tuple[AuthCredentials, BaseUser]:
            assert isinstance(conn, Request)
            return AuthCredentials(), SimpleUser((await conn.body()).decode())

    async def echo(request: Request) -> Response:
        return PlainTextResponse(f"{request.user.identity} {(await request.body()).decode()}")

    app = AuthenticationMiddleware(Route("/", echo, methods=["POST"]), ByBody())
    assert (await ask(app, method="POST", body=b"bob")).text == "bob bob"


# WebSockets.


async def test_a_websocket_has_a_user_too() -> None:
    assert (await connect(make(), "/ws", headers=ALICE)).frames == ["hello alice"]
    assert (await connect(make(), "/ws")).frames == ["hello "]


@pytest.mark.parametrize("denying", [True, False])
async def test_a_websocket_with_wrong_credentials_is_refused(denying: bool) -> None:
    called: list[str] = []

    async def on_error(conn: HTTPConnection[Any], exc: AuthenticationError) -> Response:
        called.append(f"{type(conn).__name__}: {exc}")
        return PlainTextResponse("not sent")

    result = await connect(make(on_error), "/ws", headers=WRONG, denying=denying)
    assert (result.status, result.accepted, result.raised) == (403, False, None)
    assert [message for message in result.messages if message["type"] == "websocket.close"] == [
        {"type": "websocket.close", "code": 1000, "reason": ""}
    ]
    assert called == ["WebSocket: Invalid basic auth credentials"]


# Elsewhere.


async def test_other_scopes_pass() -> None:
    seen: list[str] = []

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    async def never(*args: Any) -> Any:
        raise AssertionError

    await AuthenticationMiddleware(inner, Basic())({"type": "lifespan"}, never, never)
    assert seen == ["lifespan"]


async def check_elsewhere(app: ASGIApp) -> None:
    def told(result: Result) -> tuple[int | None, str]:
        return result.status, result.text.strip('"')

    assert told(await ask(app, headers=ALICE)) == (200, "True alice")
    assert told(await ask(app)) == (200, "False ")
    assert told(await ask(app, headers=WRONG)) == (400, "Invalid basic auth credentials")


async def test_it_stands_in_a_starlette_app() -> None:
    async def who(request: StarletteRequest) -> StarletteResponse:
        return StarlettePlain(f"{request.user.is_authenticated} {request.user.display_name}")

    app = Starlette(
        routes=[StarletteRoute("/", who)],
        middleware=[StarletteMiddleware(AuthenticationMiddleware, backend=Basic())],
    )
    await check_elsewhere(app)


async def test_it_stands_in_a_fastapi_app() -> None:
    app = FastAPI()

    @app.get("/")
    async def who(request: FastAPIRequest) -> str:
        return f"{request.user.is_authenticated} {request.user.display_name}"

    app.add_middleware(AuthenticationMiddleware, backend=Basic())
    await check_elsewhere(app)


async def test_it_sets_what_starlette_sets() -> None:
    seen: list[Any] = []

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append((scope["auth"], scope["user"]))
        await PlainTextResponse("x")(scope, receive, send)

    await ask(AuthenticationMiddleware(inner, Basic()))
    await ask(AuthenticationMiddleware(inner, Basic()), headers=ALICE)
    (no_auth, nobody), (auth, alice) = seen
    assert (type(no_auth), no_auth.scopes) == (AuthCredentials, [])
    assert type(nobody) is UnauthenticatedUser
    assert (auth.scopes, alice.username) == (["authenticated"], "alice")
