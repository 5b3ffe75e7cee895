"""Sessions: what is kept, for whom, and what a client cannot do to it."""

import importlib
import json
import logging
import sys
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any

import pytest
import starlette.middleware.sessions
from fastapi import FastAPI
from fastapi import Request as FastAPIRequest
from hypothesis import given
from hypothesis import strategies as st
from itsdangerous import Signer, TimestampSigner
from starlette.applications import Starlette
from starlette.middleware import Middleware as StarletteMiddleware
from starlette.requests import Request as StarletteRequest
from starlette.responses import JSONResponse as StarletteJSON
from starlette.responses import Response as StarletteResponse
from starlette.routing import Route as StarletteRoute

from hesper.applications import Hesper
from hesper.datastructures import Secret
from hesper.exceptions import HTTPException, UsageError
from hesper.middleware import Middleware
from hesper.middleware import sessions as module
from hesper.middleware.sessions import Session, SessionMiddleware
from hesper.requests import HTTPConnection, Request
from hesper.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from hesper.routing import Mount, Route, WebSocketRoute
from hesper.testing import Result
from hesper.types import ASGIApp
from hesper.websockets import WebSocket

from .asking import ask, connect

KEY = "a key for tests"


async def view(request: Request) -> Response:
    return JSONResponse(request.session)


async def put(request: Request) -> Response:
    request.session.update(request.query_params)
    return JSONResponse(request.session)


async def clear(request: Request) -> Response:
    request.session.clear()
    return JSONResponse(request.session)


async def append(request: Request) -> Response:
    request.session.setdefault("cart", []).append("item")
    return JSONResponse(request.session)


async def untouched(request: Request) -> Response:
    return PlainTextResponse("untouched")


async def flash(request: Request) -> Response:
    return PlainTextResponse(str(request.session.pop("flash", None)))


async def refuse(request: Request) -> Response:
    request.session["tries"] = request.session.get("tries", 0) + 1
    raise HTTPException(403)


async def broken(request: Request) -> Response:
    request.session["broken"] = True
    raise LookupError("broken")


async def stream(request: Request) -> Response:
    request.session["stream"] = True
    return StreamingResponse(iter([b"a", b"b"]), headers={"Vary": "Accept"})


async def unsavable(request: Request) -> Response:
    request.session["user"] = object()
    return PlainTextResponse("never sent")


async def login(request: Request) -> Response:
    kept = dict(request.session)
    request.session.clear()
    request.session["user"] = "alice"
    return JSONResponse(kept)


async def greet(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_json(dict(websocket.session))
    websocket.session["changed"] = True


ROUTES = [
    Route("/view", view),
    Route("/put", put),
    Route("/clear", clear),
    Route("/append", append),
    Route("/untouched", untouched),
    Route("/flash", flash),
    Route("/refuse", refuse),
    Route("/broken", broken),
    Route("/stream", stream),
    Route("/unsavable", unsavable),
    Route("/login", login),
    WebSocketRoute("/ws", greet),
]


def make(secret_key: Any = KEY, **options: Any) -> Hesper:
    middleware = Middleware(SessionMiddleware, secret_key=secret_key, **options)
    return Hesper(routes=ROUTES, middleware=[middleware])


class Browser:
    """Keeps the cookies of one site."""

    def __init__(self, app: ASGIApp, cookies: Mapping[str, str] | None = None) -> None:
        self.app = app
        self.cookies = dict(cookies or {})

    @property
    def headers(self) -> dict[str, str]:
        if not self.cookies:
            return {}
        return {"cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}

    async def get(self, path: str) -> Result:
        result = await ask(self.app, path, headers=self.headers)
        for name, field in result.raw_headers:
            if name == b"set-cookie":
                pair, _, attributes = field.decode("latin-1").partition("; ")
                key, _, value = pair.partition("=")
                if "expires=Thu, 01 Jan 1970" in attributes:
                    self.cookies.pop(key, None)
                else:
                    self.cookies[key] = value
        return result

    async def session(self) -> Any:
        """What the app sees of it."""
        return json.loads((await self.get("/view")).text)


def signed(data: bytes, key: str = KEY) -> str:
    return TimestampSigner(key).sign(b64encode(data)).decode()


# What is kept.


async def test_a_session_is_kept_in_a_cookie() -> None:
    browser = Browser(make())
    assert await browser.session() == {}
    assert json.loads((await browser.get("/put?a=1")).text) == {"a": "1"}
    await browser.get("/put?b=2")
    assert await browser.session() == {"a": "1", "b": "2"}
    assert await Browser(make()).session() == {}


async def test_the_cookie_is_only_set_when_the_session_was_changed() -> None:
    browser = Browser(make())
    assert "set-cookie" in (await browser.get("/put?a=1")).headers
    for path in ("/view", "/untouched", "/flash"):
        assert "set-cookie" not in (await browser.get(path)).headers, path


async def test_the_response_varies_by_the_cookie_when_the_session_was_looked_at() -> None:
    browser = Browser(make())
    for path in ("/view", "/put?flash=now", "/view", "/flash", "/flash", "/clear"):
        assert (await browser.get(path)).headers["vary"] == "Cookie", path
    assert "vary" not in (await browser.get("/untouched")).headers
    assert (await browser.get("/stream")).headers["vary"] == "Accept, Cookie"


async def test_a_change_inside_of_a_value_is_saved() -> None:
    browser = Browser(make())
    for _ in range(3):
        assert "set-cookie" in (await browser.get("/append")).headers
    assert await browser.session() == {"cart": ["item"] * 3}


async def test_an_emptied_session_deletes_the_cookie() -> None:
    browser = Browser(make(path="/", domain="example.com", https_only=True))
    await browser.get("/put?flash=now")
    result = await browser.get("/clear")
    assert result.headers["set-cookie"] == (
        "session=null; path=/; expires=Thu, 01 Jan 1970 00:00:00 GMT; "
        "httponly; samesite=lax; secure; domain=example.com"
    )
    assert browser.cookies == {}
    assert "set-cookie" not in (await browser.get("/clear")).headers
    await browser.get("/put?flash=now")
    await browser.get("/flash")
    assert browser.cookies == {}


async def test_a_session_is_saved_with_an_http_exception_too() -> None:
    browser = Browser(make())
    for tries in (1, 2):
        assert (await browser.get("/refuse")).status == 403
        assert await browser.session() == {"tries": tries}


async def test_a_session_is_saved_with_an_error_that_a_handler_answers_and_with_no_other() -> None:
    app = make()
    browser = Browser(app)
    result = await browser.get("/broken")
    assert (result.status, browser.cookies) == (500, {})
    assert isinstance(result.raised, LookupError)

    async def answer(request: Request, exc: LookupError) -> Response:
        return PlainTextResponse("answered", 400)

    handled = make()
    handled.add_exception_handler(LookupError, answer)
    browser = Browser(handled)
    assert (await browser.get("/broken")).text == "answered"
    assert await browser.session() == {"broken": True}


async def test_a_session_is_saved_before_a_stream() -> None:
    browser = Browser(make())
    assert (await browser.get("/stream")).text == "ab"
    assert await browser.session() == {"stream": True}


async def test_a_session_that_is_not_json_is_told() -> None:
    result = await Browser(make()).get("/unsavable")
    assert result.status == 500
    assert isinstance(result.raised, UsageError)
    assert str(result.raised) == (
        "The session cannot be saved, because it is not JSON: Object of type object is not JSON "
        "serializable. Put only str, numbers, bool, None, lists and dicts into it."
    )


async def test_a_session_beyond_what_browsers_keep_is_saved_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    browser = Browser(make())
    await browser.get("/put?a=" + "x" * 2900)
    assert caplog.messages == []
    with caplog.at_level(logging.WARNING, "hesper"):
        await browser.get("/put?a=" + "x" * 4000)
    size = len("session") + len(browser.cookies["session"])
    assert caplog.messages == [
        f"The session cookie 'session' has {size} bytes: browsers drop it beyond 4096, and keep "
        "the session that they had. Keep less in it."
    ]
    assert len((await browser.session())["a"]) == 4000


async def test_a_mounted_app_has_a_session_of_its_own() -> None:
    inner = make(session_cookie="inner", path="/inner")
    outer = Hesper(
        routes=[*ROUTES, Mount("/inner", inner)],
        middleware=[Middleware(SessionMiddleware, secret_key="another")],
    )
    browser = Browser(outer)
    await browser.get("/put?a=1")
    await browser.get("/inner/put?b=2")
    assert await browser.session() == {"a": "1"}
    assert json.loads((await browser.get("/inner/view")).text) == {"b": "2"}
    assert browser.cookies.keys() == {"session", "inner"}


async def test_a_websocket_has_the_session_to_read() -> None:
    browser = Browser(make())
    await browser.get("/put?a=1")
    result = await connect(browser.app, "/ws", headers=browser.headers)
    assert result.frames == ['{"a":"1"}']
    assert "set-cookie" not in result.headers
    assert (await connect(browser.app, "/ws")).frames == ["{}"]


# The cookie.


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"max_age": 60, "path": "/app", "session_cookie": "sid"},
        {"max_age": None, "same_site": "strict"},
        {"same_site": "none", "https_only": True, "domain": ".example.com", "partitioned": True},
    ],
)
async def test_the_cookie_is_starlettes_to_the_letter(options: dict[str, Any]) -> None:
    async def put(request: StarletteRequest) -> StarletteResponse:
        request.session.update(request.query_params)
        return StarletteJSON({})

    async def clear(request: StarletteRequest) -> StarletteResponse:
        request.session.clear()
        return StarletteJSON({})

    theirs = Starlette(
        routes=[StarletteRoute("/put", put), StarletteRoute("/clear", clear)],
        middleware=[
            StarletteMiddleware(
                starlette.middleware.sessions.SessionMiddleware, secret_key=KEY, **options
            )
        ],
    )
    seen = []
    for app in (make(**options), theirs):
        browser = Browser(app)
        fields = [
            (await browser.get(path)).headers["set-cookie"] for path in ("/put?a=1", "/clear")
        ]
        set_value, _, set_attributes = fields[0].partition(";")
        seen.append((set_value.partition(".")[0], set_attributes, fields[1]))
    assert seen[0] == seen[1]


async def test_starlette_reads_our_sessions_and_we_read_starlettes() -> None:
    data = {"a": "ä\n", "n": [1, 2.5, None, True], "d": {"x": "y"}}

    async def put(request: StarletteRequest) -> StarletteResponse:
        request.session.update(data)
        return StarletteJSON({})

    async def view(request: StarletteRequest) -> StarletteResponse:
        return StarletteJSON(request.session)

    async def our_put(request: Request) -> Response:
        request.session.update(data)
        return JSONResponse({})

    theirs: ASGIApp = Starlette(
        routes=[StarletteRoute("/put", put), StarletteRoute("/view", view)],
        middleware=[
            StarletteMiddleware(starlette.middleware.sessions.SessionMiddleware, secret_key=KEY)
        ],
    )
    ours: ASGIApp = Hesper(
        routes=[Route("/put", our_put), Route("/view", globals()["view"])],
        middleware=[Middleware(SessionMiddleware, secret_key=KEY)],
    )
    for writer, reader in ((theirs, ours), (ours, theirs)):
        browser = Browser(writer)
        await browser.get("/put")
        assert await Browser(reader, browser.cookies).session() == data


async def test_a_cookie_name_with_the_host_prefix_works() -> None:
    browser = Browser(make(session_cookie="__Host-session", https_only=True))
    await browser.get("/put?a=1")
    assert await browser.session() == {"a": "1"}


@pytest.mark.parametrize(
    "options",
    [
        {"session_cookie": "a b"},
        {"session_cookie": "a\r\nX: y"},
        {"path": "/;domain=evil.example"},
        {"path": "/\r\nX: y"},
        {"domain": "example.com; secure"},
        {"same_site": "lax\r\nX: y"},
        {"same_site": "sometimes"},
    ],
)
def test_a_part_that_would_inject_an_attribute_or_a_header_is_told(options: Any) -> None:
    with pytest.raises(ValueError, match=r"cookie"):
        SessionMiddleware(make(), KEY, **options)


# Keys.


async def test_a_key_may_be_a_secret() -> None:
    browser = Browser(make(Secret(KEY)))
    await browser.get("/put?a=1")
    assert await Browser(make(KEY), browser.cookies).session() == {"a": "1"}


async def test_of_several_keys_the_first_signs_and_all_verify() -> None:
    old, new = Browser(make("old")), Browser(make("new"))
    await old.get("/put?a=1")
    await new.get("/put?b=2")
    both = make([Secret("new"), "old"])
    assert await Browser(both, old.cookies).session() == {"a": "1"}
    assert await Browser(both, new.cookies).session() == {"b": "2"}
    changed = Browser(both, old.cookies)
    await changed.get("/put?c=3")
    assert await Browser(make("new"), changed.cookies).session() == {"a": "1", "c": "3"}
    assert await Browser(make("old"), changed.cookies).session() == {}


@pytest.mark.parametrize("key", ["", Secret(""), [], ["new", ""]])
def test_an_empty_key_is_told(key: Any) -> None:
    with pytest.raises(
        UsageError, match=r"^Expected a secret_key, got none or an empty one, with "
    ):
        SessionMiddleware(make(), key)


# Security.


async def test_tampering_gives_an_empty_session() -> None:
    browser = Browser(make())
    await browser.get("/put?role=user")
    cookie = browser.cookies["session"]
    payload, stamp, signature = cookie.split(".")
    admin = b64encode(b'{"role": "admin"}').decode()
    forged = [
        f"{admin}.{stamp}.{signature}",
        f"{admin}.{stamp}.",
        f"{admin}.{stamp}",
        f"{admin}",
        f"{admin}..",
        f"{payload}.{stamp}.{signature[::-1]}",
        f"{payload}.AAAAAA.{signature}",
        f"{payload}..{signature}",
        f"{admin}.{cookie}",
        f"{cookie}.{signature}",
        signed(b'{"role": "admin"}', "another key"),
        signed(b'{"role": "admin"}', ""),
        cookie.swapcase(),
        cookie[:-1],
        "null",
        ".",
        "",
    ]
    forged += [
        cookie[:index] + ("A" if cookie[index] != "A" else "B") + cookie[index + 1 :]
        for index in range(len(payload) + len(stamp) + 1)
    ]
    for each in forged:
        result = await Browser(make(), {"session": each}).get("/view")
        assert (result.status, result.text) == (200, "{}"), each
    assert await Browser(make(), {"session": cookie}).session() == {"role": "user"}


async def test_fixation_a_planted_session_is_worth_nothing_after_the_login() -> None:
    app = make()
    attacker = Browser(app)
    await attacker.get("/put?csrf=known")
    victim = Browser(app, attacker.cookies)  # planted, for instance from a subdomain
    assert json.loads((await victim.get("/login")).text) == {"csrf": "known"}
    assert await victim.session() == {"user": "alice"}  # nothing planted is left
    assert await attacker.session() == {"csrf": "known"}  # and the attacker's copy is no login


class Old(TimestampSigner):
    """Signs as if it were long ago."""

    def get_timestamp(self) -> int:
        return super().get_timestamp() - 100


async def test_an_expired_session_is_an_empty_one() -> None:
    old = Old(KEY).sign(b64encode(b'{"a": 1}')).decode()
    assert await Browser(make(max_age=99), {"session": old}).session() == {}
    assert await Browser(make(max_age=110), {"session": old}).session() == {"a": 1}
    assert await Browser(make(max_age=None), {"session": old}).session() == {"a": 1}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b'[["a", 1]]',
        b'"text"',
        b"1",
        b"{",
        b"{'a': 1}",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"a": ' + b"9" * 5000 + b"}",
    ],
    ids=range(12),
)
async def test_what_is_signed_but_no_json_object_is_an_empty_session(data: bytes) -> None:
    browser = Browser(make(), {"session": signed(data)})
    assert (await browser.get("/view")).text == "{}"
    await browser.get("/put?a=1")
    assert await browser.session() == {"a": "1"}


@pytest.mark.parametrize("pattern", ["a", ".", "=", "e30.", '"', "\\", "session=a; "])
async def test_an_oversized_cookie_is_an_empty_session(pattern: str) -> None:
    browser = Browser(make(), {"session": pattern * (64 * 1024 // len(pattern))})
    assert await browser.session() == {}


async def test_what_is_signed_but_not_base64_is_an_empty_session() -> None:
    signer = TimestampSigner(KEY)
    for data in (b"abc", b"\xff", b""):
        cookie = signer.sign(data).decode("latin-1")
        assert await Browser(make(), {"session": cookie}).session() == {}
    without_time = Signer(KEY, salt=signer.salt).sign(b64encode(b"{}")).decode()
    assert await Browser(make(), {"session": without_time}).session() == {}


middleware = SessionMiddleware(make(), KEY)


@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda data: signed(data).encode()))
def test_no_cookie_of_a_client_makes_it_crash(cookie: bytes) -> None:
    headers = [(b"cookie", b"session=" + cookie)]
    stored = middleware._stored(HTTPConnection({"type": "http", "headers": headers}))
    assert stored is None or isinstance(json.loads(stored), dict)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), json_values, max_size=5))
def test_every_json_object_comes_back(data: dict[str, Any]) -> None:
    cookie = middleware._sign(Session(data)).encode()
    headers = [(b"cookie", b"session=" + cookie)]
    stored = middleware._stored(HTTPConnection({"type": "http", "headers": headers}))
    assert stored is not None
    assert json.loads(stored) == data
    assert json.loads(b64decode(cookie.partition(b".")[0])) == data


# The dict.


def test_a_session_knows_what_has_changed_it() -> None:
    def changed(change: Any) -> tuple[bool, bool]:
        session = Session({"a": 1, "b": 2})
        change(session)
        return session.accessed, session.modified

    def in_place(session: Session) -> None:
        session |= {"c": 3}

    for change in (
        lambda session: session.__setitem__("c", 3),
        lambda session: session.__delitem__("a"),
        lambda session: session.clear(),
        lambda session: session.pop("a"),
        lambda session: session.popitem(),
        lambda session: session.setdefault("c"),
        lambda session: session.update(c=3),
        lambda session: session.mark_modified(),
        in_place,
    ):
        assert changed(change) == (True, True)
    for change in (
        lambda session: session.pop("c", None),
        lambda session: session.setdefault("a", 3),
        lambda session: session["a"],
    ):
        assert changed(change) == (False, False)
    assert changed(lambda session: session.mark_accessed()) == (True, False)


def test_a_session_is_a_dict() -> None:
    session = Session({"a": 1})
    session.update({"b": 2}, c=3)
    session |= [("d", 4)]
    assert isinstance(session, Session)
    assert session == {"a": 1, "b": 2, "c": 3, "d": 4}
    assert (session.pop("a"), session.pop("a", 0), session.popitem()) == (1, 0, ("d", 4))
    assert (session.setdefault("b", 0), session.setdefault("e")) == (2, None)
    with pytest.raises(KeyError):
        session.pop("nothing")
    with pytest.raises(KeyError):
        Session().popitem()


def test_the_known_names_are_there() -> None:
    theirs = starlette.middleware.sessions.SessionMiddleware(make(), KEY)
    assert vars(theirs).keys() <= vars(SessionMiddleware(make(), KEY)).keys()
    assert set(module.__all__) == {"Session", "SessionMiddleware"}


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "itsdangerous", None)
    monkeypatch.delitem(sys.modules, "hesper.middleware.sessions")
    with pytest.raises(ImportError) as caught:
        importlib.import_module("hesper.middleware.sessions")
    assert str(caught.value) == (
        'Sessions need the itsdangerous package. Install it with: pip install "hesper[sessions]"'
    )


# Elsewhere.


async def check_elsewhere(app: ASGIApp) -> None:
    browser = Browser(app)
    assert "set-cookie" in (await browser.get("/put?a=1")).headers
    result = await browser.get("/view")
    assert json.loads(result.text) == {"a": "1"}
    assert result.headers["vary"] == "Cookie"
    assert "set-cookie" not in result.headers
    assert "vary" not in (await browser.get("/untouched")).headers


async def test_it_stands_in_a_starlette_app() -> None:
    async def put(request: StarletteRequest) -> StarletteResponse:
        request.session.update(request.query_params)
        return StarletteJSON({})

    async def view(request: StarletteRequest) -> StarletteResponse:
        return StarletteJSON(request.session)

    async def untouched(request: StarletteRequest) -> StarletteResponse:
        return StarletteJSON({})

    app = Starlette(
        routes=[StarletteRoute(f"/{each.__name__}", each) for each in (put, view, untouched)],
        middleware=[StarletteMiddleware(SessionMiddleware, secret_key=KEY)],
    )
    await check_elsewhere(app)


async def test_it_stands_in_a_fastapi_app() -> None:
    app = FastAPI()

    @app.get("/put")
    async def put(request: FastAPIRequest) -> None:
        request.session.update(request.query_params)

    @app.get("/view")
    async def view(request: FastAPIRequest) -> dict[str, Any]:
        return request.session

    @app.get("/untouched")
    async def untouched() -> None: ...

    app.add_middleware(SessionMiddleware, secret_key=KEY)
    await check_elsewhere(app)
