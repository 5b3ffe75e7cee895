"""Static files: what is served, what is not sent again, and that nothing leads out."""

import os
import sys
import threading
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
import starlette.applications
import starlette.routing
import starlette.staticfiles
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hesper.staticfiles
from hesper._stack import folds
from hesper._static_lookup import MAX_LENGTH, NO_SUCH_NAME, normal_path, stays_inside
from hesper.applications import Hesper
from hesper.datastructures import Headers
from hesper.exceptions import HTTPException, UsageError
from hesper.middleware.base import BaseHTTPMiddleware
from hesper.requests import Request
from hesper.responses import FileResponse, PlainTextResponse, Response
from hesper.routing import Mount
from hesper.staticfiles import NotModifiedResponse, StaticFiles
from hesper.testing import Result, ScriptedServer
from hesper.types import ASGIApp, Receive, Scope, Send

from .asking import ask, connect, script, text_of

SECRET = "secret: nobody may read this"
DATE = 1e9
"""When the files of the tests were changed last."""


def build(root: Path) -> Path:
    """A directory to serve, beside what must not be served."""
    files = {
        "secret.txt": SECRET,
        "static-private/secret.txt": SECRET,
        "static/example.txt": "example",
        "static/large.bin": "x" * 200_000,
        "static/empty": "",
        "static/app.js": "let a = 1; // long",
        "static/app.js.br": "br",
        "static/app.js.zst": "zst",
        "static/app.js.gz": "gz",
        "static/style.css": "a {}",
        "static/style.css.gz": "gz",
        "static/sub/index.html": "<p>sub</p>",
        "static/sub/page.txt": "page",
        "static/noindex/a.txt": "a",
        "static/evil.com/index.html": "<p>not evil</p>",
        "static/a b/ü.txt": "spaced",
        "static/..dots.txt": "dots",
        "static/10:30": "time",
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        os.utime(path, (DATE, DATE))
    for name, target in {
        "link_in.txt": "example.txt",
        "link_out.txt": "../secret.txt",
        "link_dir": "..",
        "link_absolute": str(root / "secret.txt"),
        "loop": "loop",
        "dangling": "nothing",
        "style.css.br": "../secret.txt",
    }.items():
        (root / "static" / name).symlink_to(target)
    return root / "static"


@pytest.fixture
def static(tmp_path: Path) -> Path:
    return build(tmp_path)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for tests that change nothing."""
    return build(tmp_path_factory.mktemp("shared"))


def html(static: Path) -> Path:
    """With the pages of a site."""
    (static / "index.html").write_text("<p>index</p>")
    (static / "404.html").write_text("<p>not here</p>")
    return static


class Base(BaseHTTPMiddleware):
    """A middleware that changes nothing."""

    async def dispatch(self, request: Request[Any], call_next: Any) -> Response:
        response: Response = await call_next(request)
        return response


def places(app: ASGIApp) -> dict[str, tuple[ASGIApp, str]]:
    """An app wherever it may stand, and the path of it there."""
    theirs: Any = starlette.applications.Starlette
    mount: Any = starlette.routing.Mount
    return {
        "alone": (app, ""),
        "mounted": (Hesper(routes=[Mount("/static", app)]), "/static"),
        "deep": (
            Hesper(
                routes=[Mount("/a", routes=[Mount("/{b}", app)])],
                middleware=[Base(PlainTextResponse("")).dispatch],
            ),
            "/a/b",
        ),
        "middleware": (Base(Base(app)), ""),
        "starlette": (theirs(routes=[mount("/static", app)]), "/static"),
    }


PLACES = sorted(places(PlainTextResponse("")))


async def get(app: ASGIApp, path: str, **headers: str) -> Result:
    return await ask(
        app, path, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )


# -- what is served --------------------------------------------------------------------------------


@pytest.mark.parametrize("place", PLACES)
async def test_a_file_is_served_with_what_is_known_of_it(static: Path, place: str) -> None:
    app, prefix = places(StaticFiles(directory=static))[place]
    result = await ask(app, f"{prefix}/example.txt")
    assert (result.status, result.text, result.raised) == (200, "example", None)
    assert result.headers == {
        "content-type": "text/plain; charset=utf-8",
        "accept-ranges": "bytes",
        "content-length": "7",
        "last-modified": "Sun, 09 Sep 2001 01:46:40 GMT",
        "etag": result.headers["etag"],
    }
    assert result.violations == []


@pytest.mark.parametrize("place", PLACES)
async def test_head_gets_the_same_headers_and_no_body(static: Path, place: str) -> None:
    app, prefix = places(StaticFiles(directory=static))[place]
    for path in ("/example.txt", "/large.bin", "/missing"):
        head = await ask(app, prefix + path, "HEAD")
        assert head.headers == (await ask(app, prefix + path)).headers
        assert sum(len(message.get("body", b"")) for message in head.messages) in (0, 9)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "QUERY", "get"])
@pytest.mark.parametrize("place", PLACES)
async def test_other_methods_are_405_with_those_that_are_allowed(
    static: Path, place: str, method: str
) -> None:
    app, prefix = places(StaticFiles(directory=static))[place]
    result = await ask(app, f"{prefix}/example.txt", method)
    assert (result.status, result.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/sub/page.txt", "page"),
        ("/sub/../example.txt", "example"),
        ("/./sub//page.txt", "page"),
        ("/missing/../example.txt", "example"),
        ("/example.txt/", "example"),
        ("/empty", ""),
        ("/a%20b/%C3%BC.txt", "spaced"),
        ("/..dots.txt", "dots"),
        ("/10:30", "time"),
        ("/link_in.txt", "example"),
    ],
)
async def test_a_path_is_read_as_a_browser_writes_it(static: Path, path: str, text: str) -> None:
    assert await text_of(StaticFiles(directory=static), path) == text
    assert await text_of(StaticFiles(directory=static, follow_symlink=True), path) == text


@pytest.mark.parametrize(
    "path", ["/", "", "/missing", "/sub", "/sub/", "/example.txt/more", "/dangling", "/loop", "/s"]
)
async def test_what_is_no_file_is_404(static: Path, path: str) -> None:
    for follow_symlink in (False, True):
        app = StaticFiles(directory=static, follow_symlink=follow_symlink)
        result = await ask(app, path)
        assert (result.status, result.text, result.raised) == (404, "Not Found", None)


async def test_a_pipe_is_not_opened(static: Path) -> None:
    os.mkfifo(static / "pipe")
    assert (await ask(StaticFiles(directory=static), "/pipe")).status == 404


@pytest.mark.parametrize("kind", [str, Path])
async def test_the_directory_may_be_relative(
    static: Path, monkeypatch: pytest.MonkeyPatch, kind: Any
) -> None:
    monkeypatch.chdir(static.parent)
    assert await text_of(StaticFiles(directory=kind("static")), "/example.txt") == "example"


async def test_an_app_for_the_whole_of_a_disk_is_possible(static: Path) -> None:
    assert await text_of(StaticFiles(directory="/"), f"{static}/example.txt") == "example"


async def test_an_error_of_the_app_answers_through_its_handlers(static: Path) -> None:
    async def answer(request: Request[Any], exc: HTTPException) -> Response:
        return PlainTextResponse("handled", exc.status_code)

    app = Hesper(
        routes=[Mount("/static", StaticFiles(directory=static))], exception_handlers={404: answer}
    )
    assert (await ask(app, "/static/missing")).text == "handled"


async def test_it_is_looked_through(static: Path) -> None:
    seen: list[Response] = []

    async def look(request: Request[Any], call_next: Any) -> Response:
        seen.append(await call_next(request))
        return seen[-1]

    app = StaticFiles(directory=static)
    assert folds(app)
    await ask(Hesper(routes=[Mount("/", app)], middleware=[look]), "/example.txt")
    assert type(seen[0]) is FileResponse
    assert seen[0].body == b"example"


async def test_a_websocket_is_refused(static: Path) -> None:
    app = StaticFiles(directory=static)
    for each in (app, Hesper(routes=[Mount("/", app)])):
        result = await connect(each)
        assert (result.status, result.raised) == (403, None)


async def test_an_app_with_static_files_starts_and_stops(static: Path) -> None:
    app = Hesper(routes=[Mount("/static", StaticFiles(directory=static))])
    server = ScriptedServer(app)
    async with server.lifespan():
        assert (await server.get("/static/example.txt").run()).text == "example"


async def test_a_large_file_is_closed_when_a_middleware_drops_it(static: Path) -> None:
    async def drop(request: Request[Any], call_next: Any) -> Response:
        await call_next(request)
        return PlainTextResponse("instead")

    app = Hesper(routes=[Mount("/", StaticFiles(directory=static))], middleware=[drop])
    assert await text_of(app, "/large.bin") == "instead"
    for name in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else ():
        try:
            assert not os.readlink(f"/proc/self/fd/{name}").endswith("large.bin")
        except FileNotFoundError:
            pass


async def test_the_disk_is_touched_in_threads_only(
    static: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touched: list[tuple[str, Any]] = []

    def watch(name: str) -> None:
        real = getattr(os, name)

        def watched(path: Any, *args: Any, **kwargs: Any) -> Any:
            if str(path).startswith(str(static)):
                main = threading.current_thread() is threading.main_thread()
                touched.append(("on the loop" if main else "in a thread", path))
            return real(path, *args, **kwargs)

        monkeypatch.setattr(os, name, watched)

    app = StaticFiles(directory=html(static), html=True, precompressed=True, fallback="index.html")
    for name in ("stat", "lstat", "readlink"):
        watch(name)
    for path in ("/app.js", "/sub/", "/sub", "/missing.txt", "/missing", "/link_in.txt"):
        result = await get(app, path, accept_encoding="gzip, br")
        assert result.raised is None
    monkeypatch.undo()
    assert {where for where, _ in touched} == {"in a thread"}


# -- where files are -------------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    root = tmp_path / "path" / "hesper_test_package"
    for name in ("statics", "other"):
        (root / name).mkdir(parents=True)
        (root / name / "where.txt").write_text(name)
    (root / "other" / "example.txt").write_text("of the package")
    (root / "__init__.py").touch()
    (tmp_path / "path" / "hesper_test_namespace").mkdir()
    monkeypatch.syspath_prepend(tmp_path / "path")
    yield root.name
    sys.modules.pop(root.name, None)


async def test_packages_have_files_in_statics_or_elsewhere(package: str, static: Path) -> None:
    assert await text_of(StaticFiles(packages=[package]), "/where.txt") == "statics"
    app = StaticFiles(directory=static, packages=[(package, "other"), package])
    assert await text_of(app, "/where.txt") == "other"
    assert await text_of(app, "/example.txt") == "example"
    assert app.all_directories[0] == static


def test_a_package_that_is_not_there_is_named(package: str) -> None:
    for missing in ("hesper_no_such", "hesper_no_such.below", "hesper_test_namespace"):
        with pytest.raises(UsageError, match=f"Package '{missing}' could not be found"):
            StaticFiles(packages=[missing])
    with pytest.raises(UsageError, match=f"Directory 'none' in package '{package}' could not"):
        StaticFiles(packages=[(package, "none")])


async def test_the_directory_is_looked_for_when_it_is_made_or_at_the_first_request(
    static: Path,
) -> None:
    with pytest.raises(UsageError, match=r"^Directory '.*missing' does not exist$"):
        StaticFiles(directory=static / "missing")
    for name, text in (("missing", "does not exist"), ("example.txt", "is not a directory")):
        app = StaticFiles(directory=static / name, check_dir=False)
        result = await ask(app, "/example.txt")
        assert isinstance(result.raised, UsageError)
        assert str(result.raised) == f"StaticFiles directory '{static / name}' {text}."
    (static / "missing").mkdir()
    app = StaticFiles(directory=static / "missing", check_dir=False)
    assert (await ask(app, "/a")).status == 404


async def test_the_directory_is_checked_once(static: Path) -> None:
    checks: list[bool] = []

    class Counting(StaticFiles):
        async def check_config(self) -> None:
            checks.append(True)
            await super().check_config()

    app = Counting(directory=static)
    assert not app.config_checked
    for _ in range(3):
        await text_of(app, "/example.txt")
    assert (checks, app.config_checked) == ([True], True)


async def test_without_a_directory_nothing_is_found() -> None:
    assert (await ask(StaticFiles(), "/a")).status == 404


# -- a site ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", PLACES)
async def test_html_serves_the_index_of_a_directory(static: Path, place: str) -> None:
    app, prefix = places(StaticFiles(directory=html(static), html=True))[place]
    assert await text_of(app, f"{prefix}/") == "<p>index</p>"
    assert await text_of(app, f"{prefix}/sub/") == "<p>sub</p>"
    assert await text_of(app, f"{prefix}/sub/index.html") == "<p>sub</p>"


@pytest.mark.parametrize("place", PLACES)
async def test_html_redirects_a_directory_to_its_slash_with_its_query(
    static: Path, place: str
) -> None:
    app, prefix = places(StaticFiles(directory=html(static), html=True))[place]
    result = await ask(app, f"{prefix}/sub?a=1&b=%20")
    assert result.status == 307
    assert result.headers["location"] == f"http://testserver{prefix}/sub/?a=1&b=%20"
    assert (await ask(app, f"{prefix}/sub", "HEAD")).status == 307


@pytest.mark.parametrize("path", ["/missing", "/noindex", "/noindex/", "/missing/", "/../x"])
async def test_html_has_a_page_for_what_is_not_there(static: Path, path: str) -> None:
    app = StaticFiles(directory=html(static), html=True)
    result = await get(app, path, range="bytes=0-1", if_none_match="*")
    assert (result.status, result.text) == (404, "<p>not here</p>")
    assert result.headers["content-type"] == "text/html; charset=utf-8"
    (static / "404.html").unlink()
    result = await ask(app, path)
    assert (result.status, result.text) == (404, "Not Found")


# -- what is not sent again ------------------------------------------------------------------------


async def test_a_client_that_has_the_file_is_told_so(static: Path) -> None:
    app = StaticFiles(directory=static, cache_control="no-cache")
    first = await get(app, "/example.txt")
    etag = first.headers["etag"]
    for headers in (
        {"if_none_match": etag},
        {"if_none_match": f'"other", W/{etag}'},
        {"if_none_match": "*"},
        {"if_modified_since": first.headers["last-modified"]},
        {"if_modified_since": formatdate(DATE + 60, usegmt=True)},
        {"if_none_match": etag, "if_modified_since": formatdate(DATE - 60, usegmt=True)},
        {"if_none_match": etag, "range": "bytes=0-1"},
    ):
        result = await get(app, "/example.txt", **headers)
        assert (result.status, result.body) == (304, b"")
        assert result.headers == {"cache-control": "no-cache", "etag": etag}


async def test_a_client_that_has_another_file_gets_this_one(static: Path) -> None:
    app = StaticFiles(directory=static)
    etag = (await get(app, "/example.txt")).headers["etag"]
    for headers in (
        {"if_none_match": '"other"'},
        {"if_none_match": etag.strip('"')},
        {"if_none_match": '"other"', "if_modified_since": formatdate(DATE, usegmt=True)},
        {"if_modified_since": formatdate(DATE - 1, usegmt=True)},
        {"if_modified_since": "yesterday"},
        {"if_match": etag},
        {"if_unmodified_since": formatdate(DATE, usegmt=True)},
    ):
        result = await get(app, "/example.txt", **headers)
        assert (result.status, result.text) == (200, "example")


async def test_a_client_that_wants_another_state_is_refused(static: Path) -> None:
    app = StaticFiles(directory=static)
    for headers in (
        {"if_match": '"other"'},
        {"if_unmodified_since": formatdate(DATE - 1, usegmt=True), "range": "bytes=3-"},
    ):
        assert (await get(app, "/example.txt", **headers)).status == 412


async def test_a_part_of_a_file_can_be_had(static: Path) -> None:
    app = StaticFiles(directory=static)
    result = await get(app, "/example.txt", range="bytes=2-4")
    assert (result.status, result.text) == (206, "amp")
    assert result.headers["content-range"] == "bytes 2-4/7"
    result = await get(app, "/example.txt", range="bytes=2-4", if_range='"other"')
    assert (result.status, result.text) == (200, "example")
    assert (await get(app, "/example.txt", range="bytes=9-")).status == 416


def test_not_modified_keeps_what_a_cache_needs() -> None:
    names = NotModifiedResponse.NOT_MODIFIED_HEADERS
    headers = {name: f"<{name}>" for name in (*names, "content-type", "content-length", "x-mark")}
    response = NotModifiedResponse(Headers(headers))
    assert response.status_code == 304
    assert dict(response.headers) == {name: f"<{name}>" for name in names}
    assert names == starlette.staticfiles.NotModifiedResponse.NOT_MODIFIED_HEADERS


@pytest.mark.parametrize("etag", ["", "none", '"a"'])
def test_is_not_modified_takes_any_headers(etag: str) -> None:
    app = StaticFiles()
    asked = Headers({"if-none-match": '"a"'})
    assert app.is_not_modified(Headers({"etag": etag}), asked) is (etag == '"a"')
    assert app.is_not_modified({}, {"if-modified-since": "x"}) is False


async def test_preconditions_are_for_answers_that_are_200(static: Path) -> None:
    class Sorry(StaticFiles):
        def file_response(
            self, full_path: Any, stat_result: Any, scope: Any, status_code: int = 404
        ) -> Response:
            return super().file_response(full_path, stat_result, scope, status_code)

    result = await get(Sorry(directory=static), "/example.txt", if_none_match="*")
    assert (result.status, result.text) == (404, "example")


# -- Cache-Control ---------------------------------------------------------------------------------


async def test_cache_control_is_on_every_file_and_on_nothing_else(static: Path) -> None:
    app = StaticFiles(
        directory=html(static), html=True, fallback="index.html", cache_control="max-age=60"
    )
    for path in ("/example.txt", "/", "/some/page"):
        assert (await ask(app, path)).headers["cache-control"] == "max-age=60"
    for path in ("/missing.txt", "/sub"):
        assert "cache-control" not in (await ask(app, path)).headers
    assert (await get(app, "/example.txt", range="bytes=0-1")).headers["cache-control"]
    for headers in ({"range": "bytes=9-"}, {"if_match": '"a"'}):
        assert "cache-control" not in (await get(app, "/example.txt", **headers)).headers


# -- precompressed files ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accepted", "coding", "text"),
    [
        ("gzip, deflate, br, zstd", "br", "br"),
        ("gzip, zstd", "zstd", "zst"),
        ("gzip", "gzip", "gz"),
        ("x-gzip", "gzip", "gz"),
        ("*", "br", "br"),
        ("br;q=0.5, gzip;q=0.9", "gzip", "gz"),
        ("br;q=0, *", "zstd", "zst"),
        ("gzip;q=0", None, "let a = 1; // long"),
        ("identity, gzip;q=0.5", None, "let a = 1; // long"),
        ("deflate", None, "let a = 1; // long"),
        ("", None, "let a = 1; // long"),
        (None, None, "let a = 1; // long"),
    ],
)
async def test_the_smaller_form_that_the_client_likes_best_is_sent(
    static: Path, accepted: str | None, coding: str | None, text: str
) -> None:
    app = StaticFiles(directory=static, precompressed=True)
    headers = {} if accepted is None else {"accept_encoding": accepted}
    result = await get(app, "/app.js", **headers)
    assert (result.status, result.text) == (200, text)
    assert result.headers.get("content-encoding") == coding
    assert result.headers["content-type"] == "text/javascript; charset=utf-8"
    assert result.headers["content-length"] == str(len(text))
    assert result.headers["vary"] == "Accept-Encoding"
    head = await ask(app, "/app.js", "HEAD", headers={"accept-encoding": accepted or ""})
    assert head.headers == result.headers


async def test_each_form_has_its_own_tag_and_is_not_sent_again(static: Path) -> None:
    app = StaticFiles(directory=static, precompressed=True)
    tags = set()
    for accepted in ("br", "zstd", "gzip", ""):
        result = await get(app, "/app.js", accept_encoding=accepted)
        etag = result.headers["etag"]
        tags.add(etag)
        again = await get(app, "/app.js", accept_encoding=accepted, if_none_match=etag)
        assert again.status == 304
        assert again.headers == {"etag": etag, "vary": "Accept-Encoding"}
        part = await get(app, "/app.js", accept_encoding=accepted, range="bytes=1-", if_range=etag)
        assert (part.status, part.text) == (206, result.text[1:])
    assert len(tags) == 4
    same = (static / "app.js.br").stat().st_size == (static / "app.js.gz").stat().st_size
    assert same, "the tags of two files of one size and date differ too"


async def test_a_form_that_is_not_there_is_not_sent(static: Path) -> None:
    app = StaticFiles(directory=static, precompressed=True)
    result = await get(app, "/example.txt", accept_encoding="gzip")
    assert (result.text, result.headers["vary"]) == ("example", "Accept-Encoding")
    (static / "example.txt.gz").mkdir()
    assert (await get(app, "/example.txt", accept_encoding="gzip")).text == "example"
    (static / "example.txt.br").write_text("small")
    (static / "example.txt").unlink()
    assert (await get(app, "/example.txt", accept_encoding="br")).status == 404


async def test_only_precompressed_files_that_are_asked_for_are_served(static: Path) -> None:
    result = await get(StaticFiles(directory=static), "/app.js", accept_encoding="br")
    assert "content-encoding" not in result.headers
    assert "vary" not in result.headers
    app = StaticFiles(directory=static, precompressed=True)
    result = await get(app, "/app.js.gz", accept_encoding="gzip, br")
    assert (result.text, "content-encoding" in result.headers) == ("gz", False)


async def test_the_index_and_the_fallback_have_smaller_forms_too(static: Path) -> None:
    html(static)
    (static / "index.html.br").write_text("small")
    app = StaticFiles(directory=static, html=True, precompressed=True, fallback="index.html")
    for path in ("/", "/some/page"):
        result = await get(app, path, accept_encoding="br")
        assert (result.text, result.headers["content-encoding"]) == ("small", "br")
        assert result.headers["content-type"] == "text/html; charset=utf-8"


async def test_an_override_sees_the_name_of_the_file_itself(static: Path) -> None:
    names: list[str] = []

    class Named(StaticFiles):
        def file_response(self, full_path: Any, *args: Any, **kwargs: Any) -> Response:
            names.append(os.path.basename(full_path))
            response = super().file_response(full_path, *args, **kwargs)
            response.headers["x-mark"] = "yes"
            return response

    result = await get(
        Named(directory=static, precompressed=True), "/app.js", accept_encoding="gzip"
    )
    assert (result.text, result.headers["x-mark"], names) == ("gz", "yes", ["app.js"])


async def test_several_accept_encoding_fields_are_one(static: Path) -> None:
    request = ScriptedServer(StaticFiles(directory=static, precompressed=True)).get(
        "/app.js", headers=[("accept-encoding", "gzip;q=0.1"), ("accept-encoding", "zstd")]
    )
    assert (await request.run()).headers["content-encoding"] == "zstd"


# -- the fallback ----------------------------------------------------------------------------------


@pytest.mark.parametrize("place", PLACES)
async def test_a_path_without_an_extension_falls_back_to_the_page_of_the_app(
    static: Path, place: str
) -> None:
    app, prefix = places(StaticFiles(directory=html(static), fallback="index.html"))[place]
    for path in ("/", "/users", "/users/1/edit", "/users/", "/noindex", "/a.b/c"):
        result = await ask(app, prefix + path)
        assert (result.status, result.text) == (200, "<p>index</p>")
        assert result.headers["content-type"] == "text/html; charset=utf-8"
    assert await text_of(app, f"{prefix}/example.txt") == "example"
    assert await text_of(app, f"{prefix}/empty") == ""
    for path in ("/missing.txt", "/users/missing.js"):
        assert (await ask(app, prefix + path)).status == 404
    assert (await ask(app, f"{prefix}/users", "POST")).status == 405


async def test_with_html_the_rest_has_its_page(static: Path) -> None:
    app = StaticFiles(directory=html(static), html=True, fallback="sub/page.txt")
    assert await text_of(app, "/") == "<p>index</p>"
    assert await text_of(app, "/noindex") == "page"
    assert (await ask(app, "/missing.txt")).text == "<p>not here</p>"


async def test_a_fallback_that_is_not_there_is_told_at_the_first_request(static: Path) -> None:
    for fallback in ("missing.html", "sub", "../secret.txt", "link_out.txt"):
        result = await ask(StaticFiles(directory=static, fallback=fallback), "/example.txt")
        assert isinstance(result.raised, UsageError)
        assert str(result.raised).startswith(f"StaticFiles fallback '{fallback}' does not exist")


async def test_a_fallback_that_goes_away_is_404(static: Path) -> None:
    app = StaticFiles(directory=html(static), fallback="index.html")
    assert await text_of(app, "/a") == "<p>index</p>"
    (static / "index.html").unlink()
    assert (await ask(app, "/a")).status == 404


# -- overriding ------------------------------------------------------------------------------------


async def test_every_step_can_be_overridden(static: Path) -> None:
    class Versioned(StaticFiles):
        def get_directories(self, directory: Any = None, packages: Any = None) -> list[Any]:
            return [*super().get_directories(directory, packages), static / "sub"]

        def get_path(self, scope: Scope) -> str:
            return super().get_path(scope).removeprefix("v1" + os.sep)

        async def get_response(self, path: str, scope: Scope) -> Response:
            try:
                response = await super().get_response(path, scope)
            except HTTPException as exc:
                return PlainTextResponse(f"none: {exc.status_code}", 404)
            response.headers["x-path"] = path
            return response

        def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
            return super().lookup_path(path.replace("alias", "page"))

        def is_not_modified(self, response_headers: Any, request_headers: Any) -> bool:
            return "x-known" in request_headers

    app = Versioned(directory=static)
    result = await ask(app, "/v1/example.txt")
    assert (result.text, result.headers["x-path"]) == ("example", "example.txt")
    assert await text_of(app, "/v1/alias.txt") == "page"
    assert (await ask(app, "/v1/missing")).text == "none: 404"
    assert (await get(app, "/example.txt", x_known="yes")).status == 304


async def test_an_overridden_call_is_called(static: Path) -> None:
    class Guarded(StaticFiles):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            if scope["path"].endswith("private.txt"):
                await PlainTextResponse("no", 403)(scope, receive, send)
            else:
                await super().__call__(scope, receive, send)

    app = Hesper(routes=[Mount("/", Guarded(directory=static))])
    assert (await ask(app, "/private.txt")).status == 403
    assert await text_of(app, "/example.txt") == "example"


async def test_an_override_may_answer_with_any_file(static: Path) -> None:
    class Elsewhere(StaticFiles):
        async def get_response(self, path: str, scope: Scope) -> Response:
            return FileResponse(static / path)

    app = Elsewhere(directory=static)
    assert await text_of(app, "/example.txt") == "example"
    result = await ask(app, "/missing")
    assert "does not exist" in str(result.raised), "its own mistake is told"


# -- what the disk says ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (PermissionError(13, "no"), 401),
        (OSError(36, "name too long"), 404),
        (OSError(40, "a loop"), 404),
        (OSError(22, "invalid"), 404),
        (OSError(84, "illegal bytes"), 404),
        (ValueError("embedded null byte"), 404),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates"), 404),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="the numbers are those of Linux")
async def test_an_error_of_the_disk_about_a_name_is_no_error_of_the_server(
    static: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    def fail(self: StaticFiles, path: str) -> Any:
        raise error

    monkeypatch.setattr(StaticFiles, "lookup_path", fail)
    result = await ask(StaticFiles(directory=static), "/example.txt")
    assert (result.status, result.raised) == (status, None)


async def test_trouble_of_the_disk_is_an_error(
    static: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = TimeoutError(110, "the disk is far away")

    def fail(self: StaticFiles, path: str) -> Any:
        raise error

    monkeypatch.setattr(StaticFiles, "lookup_path", fail)
    assert (await ask(StaticFiles(directory=static), "/example.txt")).raised is error


@pytest.mark.parametrize("place", PLACES)
async def test_a_file_that_may_not_be_read_is_401(
    static: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    def fail(*args: Any) -> Any:
        raise PermissionError(13, "no")

    monkeypatch.setattr("hesper._file_body.open", fail, raising=False)
    app, prefix = places(StaticFiles(directory=static))[place]
    result = await ask(app, f"{prefix}/example.txt")
    assert (result.status, result.text, result.raised) == (401, "Unauthorized", None)


@pytest.mark.parametrize("place", PLACES)
async def test_a_file_that_goes_away_after_it_was_found_is_404(static: Path, place: str) -> None:
    class Slow(StaticFiles):
        def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
            found = super().lookup_path(path)
            os.unlink(found[0])
            return found

    app, prefix = places(Slow(directory=static))[place]
    result = await ask(app, f"{prefix}/example.txt")
    assert (result.status, result.raised) == (404, None)


# -- security: paths that lead out -----------------------------------------------------------------

LEADING_OUT = [
    "/../secret.txt",
    "/../../secret.txt",
    "/sub/../../secret.txt",
    "/sub/../../static-private/secret.txt",
    "/../static-private/secret.txt",
    "/./../secret.txt",
    "/sub/./.././../secret.txt",
    "/%2e%2e/secret.txt",
    "/%2e%2e%2fsecret.txt",
    "/..%2fsecret.txt",
    "/.%2e/secret.txt",
    "/..;/secret.txt",
    "/%252e%252e/secret.txt",
    "/%252e%252e%252fsecret.txt",
    "/..%252fsecret.txt",
    "/..%255csecret.txt",
    "/..%5csecret.txt",
    "/..%5c..%5csecret.txt",
    "/sub/..%5c..%5csecret.txt",
    "/%5c..%5csecret.txt",
    "/%c0%ae%c0%ae/secret.txt",
    "/%uff0e%uff0e/secret.txt",
    "/....//secret.txt",
    "/..././secret.txt",
    "/secret.txt%00.txt",
    "/../secret.txt%00",
    "/example.txt%00/../../secret.txt",
    "/example.txt%00",
    "/%00",
    "/link_out.txt",
    "/link_dir/secret.txt",
    "/link_dir/static-private/secret.txt",
    "/link_absolute",
    "/link_dir/../secret.txt",
    "//secret.txt",
    "/C:/secret.txt",
    "/C:secret.txt",
    "/c%3a%5csecret.txt",
    "/C%3A../secret.txt",
    "/sub/C:/secret.txt",
    "//host/share/secret.txt",
    "/%5c%5chost%5cshare%5csecret.txt",
    "/%5c%5c%3f%5cC:%5csecret.txt",
    "/%5c%5c.%5cC:%5csecret.txt",
    "/~root/secret.txt",
    "/" + "a" * 300,
    "/" + "a/" * 3000,
    "/" + "a" * 60_000,
    "/" + "../" * 3000 + "secret.txt",
]


@pytest.mark.parametrize("path", LEADING_OUT)
@pytest.mark.parametrize("options", [{}, {"html": True}, {"precompressed": True}], ids=str)
async def test_security_path_traversal_is_404_and_opens_nothing(
    shared: Path, monkeypatch: pytest.MonkeyPatch, path: str, options: Any
) -> None:
    def opened(*args: Any) -> None:
        raise AssertionError(f"opened {args}")

    monkeypatch.setattr("hesper._file_body.open", opened, raising=False)
    static = StaticFiles(directory=shared, **options)
    for app, prefix in places(static).values():
        result = await get(app, prefix + path, accept_encoding="br, gzip")
        assert (result.status, result.raised) == (404, None), result.log
        assert SECRET not in result.text


@pytest.mark.parametrize(
    "path", [p for p in LEADING_OUT if "link" not in p and "a" * 300 not in p and ".txt" in p]
)
async def test_security_path_traversal_does_not_reach_a_page_for_everything(
    static: Path, path: str
) -> None:
    app = StaticFiles(directory=html(static), fallback="index.html")
    assert (await ask(app, path)).status == 404


@pytest.mark.parametrize("path", ["/../secret", "/..", "/%00", "/C:", "/..%5csecret", "/C:secret"])
async def test_security_a_path_that_leads_out_is_not_taken_for_a_page_of_the_app(
    static: Path, path: str
) -> None:
    (static.parent / "secret").write_text(SECRET)
    app = StaticFiles(directory=html(static), fallback="index.html")
    assert (await ask(app, path)).status == 404


@pytest.mark.parametrize(
    "path", ["../a", "a\\..\\..\\b", "/a", "\\a", "\\\\host\\share", "C:", "c:a", "a\0", "//a/b"]
)
def test_security_unc_and_drive_paths_are_refused_before_the_disk_is_asked(
    monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    def asked(*args: Any) -> None:
        raise AssertionError(f"asked for {args}")

    monkeypatch.setattr(hesper.staticfiles, "find", asked)
    assert StaticFiles(directory=".").lookup_path(path) == ("", None)
    assert StaticFiles(directory=".").lookup_path("a" * (MAX_LENGTH + 1)) == ("", None)


def test_security_another_drive_is_refused_after_it_was_resolved(
    static: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ``os.path.commonpath`` says on Windows of two drives becomes a 404, see above."""

    def fail(paths: Any) -> str:
        raise ValueError("Paths don't have the same drive")

    monkeypatch.setattr(os.path, "commonpath", fail)
    with pytest.raises(ValueError, match="same drive"):
        StaticFiles(directory=static).lookup_path("example.txt")


async def test_security_symlinks_lead_out_only_if_they_are_followed(static: Path) -> None:
    app = StaticFiles(directory=static, follow_symlink=True)
    for path in ("/link_out.txt", "/link_dir/secret.txt", "/link_absolute"):
        assert await text_of(app, path) == SECRET
    for path in ("/../secret.txt", "/link_dir/../../secret.txt", "/..%5csecret.txt"):
        assert (await ask(app, path)).status == 404


async def test_security_a_precompressed_file_is_no_way_out(static: Path) -> None:
    app = StaticFiles(directory=static, precompressed=True)
    result = await get(app, "/style.css", accept_encoding="br, gzip;q=0.1")
    assert (result.text, result.headers["content-encoding"]) == ("gz", "gzip")
    app = StaticFiles(directory=static, precompressed=True, follow_symlink=True)
    assert (await get(app, "/style.css", accept_encoding="br")).text == SECRET


async def test_security_a_directory_with_the_same_beginning_is_another(static: Path) -> None:
    (static / "link_beside").symlink_to("../static-private")
    assert (await ask(StaticFiles(directory=static), "/link_beside/secret.txt")).status == 404


async def test_security_a_directory_that_is_itself_a_link_is_served(static: Path) -> None:
    (static.parent / "current").symlink_to("static")
    app = StaticFiles(directory=static.parent / "current")
    assert await text_of(app, "/example.txt") == "example"
    assert (await ask(app, "/link_out.txt")).status == 404


# -- security: redirects, pages and ranges ---------------------------------------------------------


@pytest.mark.parametrize("host", [{}, {"host": "example.org"}, {"host": "a b/\\evil"}], ids=str)
@pytest.mark.parametrize(
    "path",
    [
        "//evil.com",
        "///evil.com",
        "/%2fevil.com",
        "/%2f%2fevil.com",
        "//evil.com/.",
        "/.//evil.com",
        "//evil.com/sub/..",
        "//evil.com/%2e",
        "/missing/..//evil.com",
        "//evil.com?//evil.com/",
    ],
)
async def test_security_a_slash_redirect_never_leaves_the_site(
    static: Path, host: dict[str, str], path: str
) -> None:
    app = StaticFiles(directory=static, html=True)
    result = await ask(app, path, headers=host)
    assert result.status == 307
    location = result.headers["location"]
    site = urlsplit(urljoin("http://here.example/", location)).netloc
    assert site in {"here.example", "testserver", "testserver:80", "127.0.0.1", *host.values()}
    assert "\\" not in location
    assert (await ask(app, path.replace("evil.com", "other.com"), headers=host)).status == 404


@pytest.mark.parametrize("options", [{}, {"html": True}], ids=str)
async def test_security_xss_a_page_about_a_path_does_not_repeat_it(
    static: Path, options: Any
) -> None:
    app = StaticFiles(directory=static, **options)
    for path in ("/%3Cscript%3Ealert(1)%3C/script%3E", "/a?q=%3Cscript%3E"):
        result = await ask(app, path)
        assert (result.status, result.text) == (404, "Not Found")
        assert result.headers["content-type"] == "text/plain; charset=utf-8"
        assert "script" not in str(result.raw_headers)


async def test_security_a_range_header_has_no_quadratic_cost(static: Path) -> None:
    app = StaticFiles(directory=static)
    size = 200_000
    for ranges in (
        ",".join(f"{n}-{n}" for n in range(0, 20_000, 2)),
        ",".join(["0-"] * 90),
        ",".join(f"{n}-" for n in range(100)),
        ",".join(["0-0"] * 20_000),
        "," * 60_000,
        "0-0" + "," * 60_000,
    ):
        result = await get(app, "/large.bin", range=f"bytes={ranges}")
        assert result.status in (200, 206, 400)
        assert len(result.body) <= size + 20_000
        assert result.raised is None


# -- properties ------------------------------------------------------------------------------------

NAMES = [
    *["", ".", "..", "...", "~", "example.txt", "sub", "page.txt", "index.html", "secret.txt"],
    *["static", "static-private", "link_in.txt", "link_out.txt", "link_dir", "link_absolute"],
    *[
        "loop",
        "dangling",
        "evil.com",
        "noindex",
        "large.bin",
        "style.css",
        "style.css.br",
        "app.js",
    ],
    *["%2e%2e", "..\\", "\\..", "..\\..\\secret.txt", "C:", "c:\\", "\\\\host\\share", "a" * 300],
    *["\0", "example.txt\0", "..\0", "\ud800", "\udcff", "nul", "CON", "::$DATA", "\n", "\x7f"],
]
paths = st.lists(st.sampled_from(NAMES) | st.text(max_size=4), max_size=6).map(
    lambda names: "/" + "/".join(names)
)
ALLOWED = {b"example", b"page", b"<p>sub</p>", b"<p>not evil</p>", b"gz", b"br", b"zst"}


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=paths, html=st.booleans(), precompressed=st.booleans(), head=st.booleans())
async def test_no_path_leaves_the_directory_or_is_an_error(
    shared: Path, path: str, html: bool, precompressed: bool, head: bool
) -> None:
    app = StaticFiles(directory=shared, html=html, precompressed=precompressed)
    mounted = Hesper(routes=[Mount("/in", app)])
    for each, full in ((app, path), (mounted, "/in" + path)):
        request = script(
            each,
            "/",
            "HEAD" if head else "GET",
            headers={"accept-encoding": "br"},
            scope={"path": full},
        )
        result = await request.run()
        assert result.raised is None
        assert result.status in (200, 307, 404)
        assert SECRET.encode() not in result.body
        if result.status == 200 and not head:
            assert result.body in ALLOWED or len(result.body) in (0, 4, 18, 200_000)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(paths)
def test_what_a_lookup_finds_is_inside_of_the_directory(shared: Path, path: str) -> None:
    app = StaticFiles(directory=shared)
    for asked in (path, path[1:], app.get_path({"path": path})):
        try:
            full_path, status = app.lookup_path(asked)
        except ValueError:
            continue
        except OSError as exc:
            if exc.errno in NO_SUCH_NAME:
                continue
            raise
        if status is not None:
            assert Path(full_path).resolve().is_relative_to(shared.resolve())
            assert os.path.samestat(os.stat(full_path), status)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(paths)
def test_paths_are_read_as_starlette_reads_them(shared: Path, path: str) -> None:
    scope = {"path": path}
    theirs = starlette.staticfiles.StaticFiles(directory=shared)
    if "\0" not in path:  # where Python 3.11's normpath cuts a path off
        assert StaticFiles().get_path(scope) == theirs.get_path(scope)


@given(paths)
def test_a_path_that_stays_inside_has_no_step_upwards(path: str) -> None:
    normal = normal_path(path)
    assert normal_path(normal) == normal
    if stays_inside(normal):
        depth = 0
        for part in normal.replace("\\", "/").split("/"):
            depth += -1 if part == ".." else part not in ("", ".")
            assert depth >= 0
        assert not normal.startswith(("/", "\\"))
    else:
        assert "\0" in path or "\\" in path or ":" in path or ".." in path


def test_the_work_for_a_path_grows_with_its_length(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []

    def look(path: Any, *args: Any, **kwargs: Any) -> Any:
        looks.append(path)
        raise FileNotFoundError(path)

    monkeypatch.setattr(os, "lstat", look)
    app = StaticFiles(directory="/missing", check_dir=False)
    for count in (10, 1000, 100_000):
        looks.clear()
        app.lookup_path(app.get_path({"path": "/a" * count}))
        assert len(looks) <= min(count, MAX_LENGTH) + 10
