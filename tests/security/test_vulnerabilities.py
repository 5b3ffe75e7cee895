"""One test for each class of vulnerability that was published for Starlette, python-multipart,
aiohttp, Werkzeug or Litestar, and that could be here. Each names the advisory.

Not here, because the server or another library does it: request smuggling in HTTP/1.1 parsers,
decompression of request bodies (there is none), debugger consoles (the debug page runs nothing).
"""

import logging
import time
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Any
from urllib.parse import quote, urlsplit

import anyio
import anyio.to_thread
import pytest

from hesper.applications import Hesper
from hesper.background import BackgroundTask
from hesper.datastructures import UploadFile
from hesper.endings import log_ending
from hesper.middleware import Middleware
from hesper.middleware.cors import CORSMiddleware
from hesper.middleware.httpsredirect import HTTPSRedirectMiddleware
from hesper.middleware.sessions import SessionMiddleware
from hesper.middleware.trustedhost import TrustedHostMiddleware
from hesper.requests import Request
from hesper.responses import (
    FileResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from hesper.routing import Mount, Route
from hesper.staticfiles import StaticFiles
from hesper.testing import Result, ScriptedServer
from hesper.types import ASGIApp
from tests.conftest import ExpectedErrors
from tests.unit.asking import ask

MARK = {"content-type": "multipart/form-data; boundary=mark"}
URLENCODED = {"content-type": "application/x-www-form-urlencoded"}


async def take_form(request: Request) -> Response:
    async with request.form() as form:
        return JSONResponse({"fields": len(form.multi_items())})


async def take_json(request: Request) -> Response:
    return JSONResponse({"read": len(str(await request.json()))})


async def show(request: Request) -> Response:
    return PlainTextResponse("shown")


FORMS = Hesper(
    routes=[
        Route("/", take_form, methods=["POST"]),
        Route("/json", take_json, methods=["POST"]),
    ]
)


def part(name: str, content: bytes = b"", filename: str | None = None) -> bytes:
    file = "" if filename is None else f'; filename="{filename}"'
    head = f'--mark\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
    return head.encode() + content + b"\r\n"


async def post(body: bytes, headers: dict[str, str] | None = None, path: str = "/") -> Result:
    result = await ask(FORMS, path, "POST", body=body, headers=MARK if headers is None else headers)
    assert result.raised is None
    return result


# -- forms -----------------------------------------------------------------------------------------


async def test_multipart_with_endless_fields() -> None:
    """CVE-2023-30798 (Starlette), CVE-2023-25577 (Werkzeug), CVE-2024-52581 (Litestar)."""
    assert (await post(part("a") * 1000 + b"--mark--\r\n")).status == 200
    assert (await post(part("a") * 1001 + b"--mark--\r\n")).status == 400
    assert (await post(part("a", filename="f") * 1001 + b"--mark--\r\n")).status == 400


async def test_multipart_parts_without_limits() -> None:
    """CVE-2024-47874 (Starlette), CVE-2024-49767 (Werkzeug): a field without a file name is held in
    memory."""
    large = b"x" * (1024 * 1024 + 1)
    assert (await post(part("a", large) + b"--mark--\r\n")).status == 400
    assert (await post(part("a", large, "file") + b"--mark--\r\n")).status == 200
    assert (await post(b"a=" + large, URLENCODED)).status == 400


async def test_multipart_headers_without_limits() -> None:
    """python-multipart 0.0.31 and before: a part whose head never ends."""
    endless = b"--mark\r\nX-A: " + b"x" * 200_000
    many = b"--mark\r\n" + b"X-A: b\r\n" * 20_000 + b"\r\nx\r\n--mark--\r\n"
    assert (await post(endless)).status == 400
    assert (await post(many)).status == 400


async def test_urlencoded_fields_without_limits() -> None:
    """Starlette 1.3.1: limits of ``request.form()`` did not reach urlencoded forms."""
    assert (await post(b"&".join([b"a=b"] * 1001), URLENCODED)).status == 400


async def test_rollover_to_disk_does_not_block_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """CVE-2025-54121 (Starlette): what no longer fits in memory is written in a worker thread."""
    threads: list[Any] = []
    run_sync = anyio.to_thread.run_sync

    async def noted(function: Any, *args: Any, **options: Any) -> Any:
        threads.append(function)
        return await run_sync(function, *args, **options)

    monkeypatch.setattr(anyio.to_thread, "run_sync", noted)
    spool: Any = SpooledTemporaryFile(max_size=10)
    file = UploadFile(spool)
    try:
        await file.write(b"x" * 5)
        assert threads == []
        await file.write(b"x" * 50)
        assert len(threads) == 1
    finally:
        await file.close()


async def test_a_boundary_that_is_hard_to_find_takes_linear_time() -> None:
    """CVE-2023-46136 (Werkzeug): a file of CR and LF made the search for the boundary quadratic."""

    async def seconds(size: int) -> float:
        body = part("a", b"\r" * size, "f") + b"--mark--\r\n"
        best = 1e9
        for _ in range(3):
            began = time.process_time()
            assert (await post(body)).status == 200
            best = min(best, time.process_time() - began)
        return best

    assert await seconds(800_000) < max(await seconds(100_000), 0.005) * 8 * 4


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--mark",
        b"--mark--\r\n" * 50,
        b"\r\n" * 10_000 + b"--mark--\r\n",
        b"--mark\r\n\r\n\r\n--mark--\r\n",
        part("a") + b"--mark--\r\n" + b"x" * 100_000,
        b"--mark\r\nContent-Disposition: form-data; name=a\r\n\r\n--mar",
    ],
)
async def test_multipart_that_never_ends_right_neither_hangs_nor_floods_the_log(
    body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """CVE-2024-30251 (aiohttp: endless loop), CVE-2024-53981 (python-multipart: a log line a byte)."""
    with caplog.at_level(logging.DEBUG):
        assert (await post(body)).status in (200, 400)
    assert len([record for record in caplog.records if "multipart" in record.name]) < 10


@pytest.mark.parametrize(
    "value",
    [
        "multipart/form-data" + "; x" * 20_000,
        'multipart/form-data; boundary="' + "\\" * 20_000,
        "multipart/form-data; boundary=" + "b" * 20_000,
        "application/x-www-form-urlencoded; " + '!="' + "\\" * 20_000,
    ],
)
async def test_a_content_type_cannot_stop_the_process(value: str) -> None:
    """CVE-2024-24762 (python-multipart, FastAPI): a regular expression over the options."""
    began = time.process_time()
    assert (await post(b"a=b", {"content-type": value})).status in (200, 400)
    assert time.process_time() - began < 5


@pytest.mark.parametrize("filename", ["../../etc/passwd", "/etc/passwd", "C:\\x", "a\x00b", ""])
async def test_a_file_name_of_a_client_never_becomes_a_path(
    filename: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CVE-2026-24486 (python-multipart): files were kept under the names that clients gave."""
    monkeypatch.chdir(tmp_path)
    result = await post(part("a", b"x", filename) + b"--mark--\r\n")
    assert result.status in (200, 400)
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"a":' * 100_000, b"9" * 10_000, b"\xff", b""])
async def test_json_depth_and_length_are_a_400(body: bytes) -> None:
    """Recursion in ``json.loads`` and the limit of digits in ``int`` are errors of the client."""
    result = await post(body, {"content-type": "application/json"}, path="/json")
    assert result.status == 400


# -- files -----------------------------------------------------------------------------------------


@pytest.fixture
def site(tmp_path: Path) -> Path:
    public = tmp_path / "public"
    (public / "sub").mkdir(parents=True)
    (public / "page.txt").write_text("page")
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "public-too").mkdir()
    (tmp_path / "public-too" / "secret.txt").write_text("secret")
    (public / "link.txt").symlink_to(tmp_path / "secret.txt")
    (public / "out").symlink_to(tmp_path)
    return public


TRAVERSALS = [
    "../secret.txt",
    "../public-too/secret.txt",
    "sub/../../secret.txt",
    "%2e%2e/secret.txt",
    "..%2fsecret.txt",
    "%252e%252e/secret.txt",
    "..\\secret.txt",
    "..%5csecret.txt",
    "/{root}/secret.txt",
    "//{root}/secret.txt",
    "link.txt",
    "out/secret.txt",
    "page.txt%00.html",
    "....//secret.txt",
    "C:/secret.txt",
    "//server/share/secret.txt",
    "%5c%5cserver%5cshare",
    "CON",
    "x" * 5000,
    "a/" * 2000,
]


@pytest.mark.parametrize("path", TRAVERSALS)
@pytest.mark.parametrize("prefix", ["", "/static", "/a/{user}"])
async def test_path_traversal_through_static_files_and_mounts(
    path: str, prefix: str, site: Path
) -> None:
    """CVE-2023-29159 (Starlette: a common prefix of names), CVE-2024-23334 (aiohttp: symbolic links),
    CVE-2024-32982 (Litestar), CVE-2024-49766 and CVE-2025-66221 (Werkzeug: UNC and device names)."""
    app: ASGIApp = Hesper(routes=[Mount(prefix, StaticFiles(directory=site))])
    asked = prefix.replace("{user}", "ann") + "/" + path.replace("{root}", str(site.parent))
    for wire in {asked, quote(asked, safe="/%")}:
        result = await ask(app, wire)
        assert (result.status, result.raised) == (404, None)
        assert "secret" not in result.text


async def test_what_a_client_asked_for_is_not_written_into_a_page(site: Path) -> None:
    """CVE-2024-27306 (aiohttp): file names in an index page were not escaped."""
    app = Hesper(routes=[Mount("/", StaticFiles(directory=site, html=True))])
    result = await ask(app, "/<script>alert(1)</script>")
    assert (result.status, "<script>" in result.text) == (404, False)


async def test_a_range_header_with_quadratic_cost(tmp_path: Path) -> None:
    """CVE-2025-62727 (Starlette): merging thousands of ranges."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * 1000)

    async def download(request: Request) -> Response:
        return FileResponse(path)

    app = Hesper(routes=[Route("/", download)])
    began = time.process_time()
    ranges = ",".join(f"{n}-{n}" for n in range(100_000))
    result = await ask(app, headers={"range": f"bytes={ranges}"})
    assert result.status in (200, 400, 416)
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    "value", ["bytes=\u0660-\u0661", "bytes=0-1_0", "bytes=+0-1", "bytes=0-" + "9" * 5000]
)
async def test_digits_of_a_range_are_those_of_ascii(value: str, tmp_path: Path) -> None:
    """CVE-2025-69225 (aiohttp): ``int`` reads digits of every script, and underscores."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * 10)
    response = FileResponse(path)
    scope = {"headers": [(b"host", b"x"), (b"range", value.encode())]}
    result = await ask(response, scope=scope)
    assert result.status in (200, 400, 206)
    if result.status == 206:  # all of the file: its end was beyond every file
        assert len(result.body) == 10


# -- hosts, origins, redirects ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    ["evil.com", "example.org.evil.com", "evil.com/example.org", "example.org@evil.com",
     "example.org:80@evil.com", "evil.com#example.org", "example.org evil.com", "example.orgx",
     "xexample.org", "example.org:evil.com", "[::1", "", "example.org\\.evil.com"],
)  # fmt: skip
async def test_host_header_tricks(host: str) -> None:
    """CVE-2026-25479 (Litestar: patterns were not anchored or escaped), and URLs built of ``Host``."""

    async def where(request: Request) -> Response:
        return PlainTextResponse(str(request.base_url))

    app = Hesper(
        routes=[Route("/", where)],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=["example.org"])],
    )
    result = await ask(app, scope={"headers": [(b"host", host.encode())]})
    assert (result.status, "evil" in result.text) == (400, False)


@pytest.mark.parametrize(
    "path", ["//evil.com", "//evil.com/", "/\\evil.com/", "///evil.com//", "/%2f%2fevil.com/"]
)
async def test_open_redirect_by_slashes(path: str, site: Path) -> None:
    """CVE-2020-28724 (Werkzeug): ``//evil.com`` became the location of a redirect."""
    routes = [Route("/{path:path}/x", show), Route("/{a}/", show), Route("/", show)]
    for app in (
        Hesper(routes=[*routes, Mount("/", StaticFiles(directory=site, html=True))]),
        Hesper(routes=[Route("/{path:path}/", show)]),
        HTTPSRedirectMiddleware(Hesper(routes=[*routes])),
    ):
        result = await ask(app, path.rstrip("/"))
        location = result.headers.get("location", "http://testserver/")
        assert urlsplit(location).netloc == "testserver", location


async def test_a_redirect_cannot_be_split_into_two_responses() -> None:
    """CVE-2023-49082 (aiohttp): CR and LF in what becomes a header."""
    response = RedirectResponse("/next\r\nSet-Cookie: a=b")
    assert b"\r" not in response.headers["location"].encode()
    with pytest.raises(ValueError, match="would split the response"):
        Response(headers={"x-next": "a\r\nb: c"})


@pytest.mark.parametrize("origin", ["null", "https://evil.com", "https://example.org.evil.com"])
@pytest.mark.parametrize("options", [
    {"allow_origins": ["https://example.org"]},
    {"allow_origin_regex": r"https://example\.org"},
])  # fmt: skip
async def test_cors_null_and_regexes_that_are_not_anchored(
    origin: str, options: dict[str, Any]
) -> None:
    """CVE-2026-25478 (Litestar)."""
    cors = Middleware(CORSMiddleware, allow_credentials=True, **options)
    app = Hesper(routes=[Route("/", show)], middleware=[cors])
    result = await ask(app, headers={"origin": origin})
    assert "access-control-allow-origin" not in result.headers


async def test_cors_wildcard_never_comes_with_credentials() -> None:
    """Fetch, "CORS protocol and credentials": ``*`` and credentials exclude each other."""
    cors = Middleware(CORSMiddleware, allow_origins=["*"], allow_credentials=True)
    app = Hesper(routes=[Route("/", show)], middleware=[cors])
    result = await ask(app, headers={"origin": "https://a.org", "cookie": "a=b"})
    assert result.headers["access-control-allow-origin"] == "https://a.org"
    assert "Origin" in result.headers["vary"]


# -- cookies, logs, pages --------------------------------------------------------------------------


async def give_session(request: Request) -> Response:
    seen = dict(request.session)
    request.session["user"] = "ann"
    return JSONResponse(seen)


SESSIONS = Hesper(
    routes=[Route("/", give_session)],
    middleware=[Middleware(SessionMiddleware, secret_key="secret")],
)


async def test_session_tampering() -> None:
    """A cookie that was changed, cut or signed with another key is no session."""
    cookie = (await ask(SESSIONS)).headers["set-cookie"].partition(";")[0]
    assert (await ask(SESSIONS, headers={"cookie": cookie})).text == '{"user":"ann"}'
    _, _, value = cookie.partition("=")
    data, *signature = value.split(".")
    for forged in (
        data,
        ".".join([data[:-2] + "AA", *signature]),
        ".".join([data, *signature[:-1], signature[-1][:-1] + "A" * (signature[-1][-1] != "A")]),
        ".".join([data, *signature])[:-3],
        "",
        "." * 1000,
    ):
        result = await ask(SESSIONS, headers={"cookie": f"session={forged}"})
        assert (result.status, result.text) == (200, "{}")


async def test_session_fixation() -> None:
    """A session that an attacker planted in a browser is worth nothing once its user has logged in."""

    async def log_in(request: Request) -> Response:
        request.session.clear()
        request.session["user"] = "ann"
        return PlainTextResponse("welcome")

    async def shown(request: Request) -> Response:
        return JSONResponse(dict(request.session))

    async def visit(request: Request) -> Response:
        request.session["csrf"] = "known"
        return PlainTextResponse("welcome")

    app = Hesper(
        routes=[Route("/visit", visit), Route("/login", log_in), Route("/", shown)],
        middleware=[Middleware(SessionMiddleware, secret_key="secret")],
    )
    planted = (await ask(app, "/visit")).headers["set-cookie"].partition(";")[0]
    result = await ask(app, "/login", headers={"cookie": planted})
    own = result.headers["set-cookie"].partition(";")[0]
    assert own != planted
    assert (await ask(app, headers={"cookie": own})).text == '{"user":"ann"}'
    assert (await ask(app, headers={"cookie": planted})).text == '{"csrf":"known"}'


async def test_cookies_without_a_name_do_not_become_others() -> None:
    """CVE-2023-23934 (Werkzeug): ``=__Host-a=b`` was read as the cookie ``__Host-a``."""

    async def cookies(request: Request) -> Response:
        return JSONResponse(request.cookies)

    result = await ask(Route("/", cookies), headers={"cookie": "=__Host-a=bad; __Host-a=good"})
    assert '"__Host-a":"good"' in result.text


async def test_bad_cookies_write_nothing_into_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """CVE-2025-69230 (aiohttp): a log line for each bad cookie."""
    with caplog.at_level(logging.DEBUG, logger="hesper"):
        await ask(SESSIONS, headers={"cookie": "; ".join(["\x01=\x02", "a", "=;"] * 500)})
    assert [record for record in caplog.records if record.name.startswith("hesper")] == []


EVIL = "a\r\nERROR root: forged\x1b[31m\u2028\x85"


async def test_log_injection(
    caplog: pytest.LogCaptureFixture, expected_errors: ExpectedErrors
) -> None:
    """CVE-2024-1681 (Flask-CORS) and its like: a path with line breaks made lines of the log."""

    async def slow(request: Request) -> Response:
        async def body() -> AsyncIterator[str]:
            yield "half"
            await anyio.sleep_forever()

        return StreamingResponse(body())

    async def fail(request: Request) -> Response:
        raise ValueError(request.path_params["path"])

    async def background(request: Request) -> Response:
        return PlainTextResponse("x", background=BackgroundTask(fail, request))

    app = Hesper(
        routes=[
            Route("/slow/{path}", slow, timeout=0.01),
            Route("/fail/{path}", fail),
            Route("/background/{path}", background),
        ],
        on_ending=[log_ending],
    )
    headers = {"cookie": EVIL.encode(), "host": EVIL.encode(), "user-agent": EVIL.encode()}
    with caplog.at_level(logging.DEBUG):
        for name in ("slow", "fail", "background", "missing"):
            await ask(app, f"/{name}/{quote(EVIL)}", headers=headers)
    expected_errors.take()
    messages = [r.getMessage() for r in caplog.records if r.name.startswith("hesper")]
    assert any("was broken off" in message for message in messages)
    assert sum("forged" in message for message in messages) >= 2
    for message in messages:
        assert message.isprintable()


async def test_a_debug_page_escapes_what_a_client_sent(expected_errors: ExpectedErrors) -> None:
    """XSS in debug pages: path, headers and the error's own text are a client's."""

    async def fail(request: Request) -> Response:
        raise ValueError(request.query_params["q"])

    app = Hesper(debug=True, routes=[Route("/{path:path}", fail)])
    script = "<script>alert(1)</script>"
    result = await ask(
        app,
        "/" + quote(script) + "?q=" + quote(script),
        headers={"accept": "text/html", "x-mine": script},
    )
    assert result.status == 500
    assert isinstance(result.raised, ValueError)
    assert "alert(1)" in result.text
    assert script not in result.text


async def test_an_error_page_without_debug_says_nothing_of_the_error() -> None:
    """Source and values are for debug pages alone."""

    async def fail(request: Request) -> Response:
        raise ValueError("password: hunter2")

    result = await ScriptedServer(Hesper(routes=[Route("/", fail)])).get().run()
    assert (result.status, result.text) == (500, "Internal Server Error")
