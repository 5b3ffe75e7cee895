"""Pages from templates: what they are given, what is escaped, and when they are rendered."""

import importlib
import sys
from pathlib import Path
from typing import Any

import anyio
import jinja2
import pytest
import starlette.applications
import starlette.routing
import starlette.templating
from hypothesis import given
from hypothesis import strategies as st

import hesper.templating
from hesper.applications import Hesper
from hesper.background import BackgroundTask
from hesper.exceptions import UsageError
from hesper.middleware import MiddlewareEntry
from hesper.requests import Request
from hesper.responses import HTMLResponse, PlainTextResponse, Response
from hesper.routing import Mount, Route
from hesper.templating import Jinja2Templates, _escapes, pass_context
from hesper.testing import ScriptedServer
from hesper.types import Receive, Scope, Send

from ..conftest import on_asyncio
from .asking import ask, text_of

DEBUG = "http.response.debug"
SCRIPT = "<script>alert('x')</script>"


def env_of(enable_async: bool = False, **templates: str) -> jinja2.Environment:
    """An environment with these templates, each named as its keyword, with .html."""
    loader = jinja2.DictLoader({f"{name}.html": text for name, text in templates.items()})
    return jinja2.Environment(loader=loader, autoescape=True, enable_async=enable_async)


def request_of(**scope: Any) -> Request[Any]:
    return Request({"type": "http", "method": "GET", "path": "/", "headers": [], **scope})


def app_of(
    templates: Jinja2Templates,
    context: dict[str, Any] | None = None,
    middleware: list[MiddlewareEntry] | None = None,
    **options: Any,
) -> Hesper:
    """An app whose page is the template "page.html"."""

    async def page(request: Request[Any]) -> Response:
        return templates.TemplateResponse(request, "page.html", context, **options)

    routes = [Route("/", page, name="page"), Route("/users/{name}", page, name="user")]
    return Hesper(routes=routes, middleware=middleware)


# -- rendering -------------------------------------------------------------------------------------


async def test_a_page_is_rendered_from_a_directory(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("Hello, {{ name }}: {{ request.url.path }}")
    templates = Jinja2Templates(tmp_path)
    result = await ask(app_of(templates, {"name": "Ada"}))
    assert (result.status, result.text) == (200, "Hello, Ada: /")
    assert result.headers == {"content-length": "13", "content-type": "text/html; charset=utf-8"}
    assert await text_of(app_of(Jinja2Templates(str(tmp_path)))) == "Hello, : /"


async def test_of_several_directories_the_first_that_has_a_template_counts(tmp_path: Path) -> None:
    for name, files in (("a", ["only_a"]), ("b", ["only_a", "page"])):
        (tmp_path / name).mkdir()
        for file in files:
            (tmp_path / name / f"{file}.html").write_text(f"{file} of {name}")
    templates = Jinja2Templates([tmp_path / "a", str(tmp_path / "b")])
    assert await text_of(app_of(templates)) == "page of b"
    assert templates.get_template("only_a.html").render() == "only_a of a"


async def test_status_headers_media_type_and_background_are_those_of_any_response() -> None:
    done: list[str] = []
    app = app_of(
        Jinja2Templates(env=env_of(page="<a/>")),
        status_code=201,
        headers={"x-mark": "yes"},
        media_type="application/xml",
        background=BackgroundTask(done.append, "ran"),
    )
    result = await ask(app)
    assert (result.status, result.text, done) == (201, "<a/>", ["ran"])
    assert result.headers["x-mark"] == "yes"
    assert result.headers["content-type"] == "application/xml"


def test_a_response_knows_its_template_and_context() -> None:
    templates = Jinja2Templates(env=env_of(page="{{ a }}"))
    request = request_of()
    response = templates.TemplateResponse(request, "page.html", {"a": 1})
    assert response.template.name == "page.html"
    assert response.context == {"request": request, "a": 1}
    assert isinstance(response, HTMLResponse)
    assert response.body == b"1"


def test_the_context_that_is_given_is_not_changed() -> None:
    """Starlette puts the request into it: a shared dict would show the first request for ever."""
    templates = Jinja2Templates(
        env=env_of(page="{{ request.url.path }}"), context_processors=[lambda request: {"b": 2}]
    )
    shared: dict[str, Any] = {"a": 1}
    for path in ("/one", "/two"):
        response = templates.TemplateResponse(request_of(path=path), "page.html", shared)
        assert response.body == path.encode()
    assert shared == {"a": 1}


def test_context_processors_add_to_the_context_in_place_of_what_is_there() -> None:
    templates = Jinja2Templates(
        env=env_of(page="{{ a }} {{ b }} {{ path }}"),
        context_processors=[lambda r: {"path": r.url.path, "b": 2}, lambda r: {"b": 3}],
    )
    response = templates.TemplateResponse(request_of(path="/p"), "page.html", {"a": 1, "b": 1})
    assert response.body == b"1 3 /p"


def test_a_request_in_the_context_stands() -> None:
    templates = Jinja2Templates(env=env_of(page="{{ request }}"))
    assert templates.TemplateResponse(request_of(), "page.html", {"request": 1}).body == b"1"


def test_an_error_of_a_sync_template_is_raised_where_the_response_is_made() -> None:
    templates = Jinja2Templates(env=env_of(page="{{ 1 / 0 }}"))
    with pytest.raises(ZeroDivisionError):
        templates.TemplateResponse(request_of(), "page.html")
    with pytest.raises(jinja2.TemplateNotFound):
        templates.TemplateResponse(request_of(), "other.html")


def test_what_is_given_wrongly_is_told() -> None:
    with pytest.raises(UsageError, match="got neither: "):
        Jinja2Templates()  # type: ignore[call-overload]
    with pytest.raises(UsageError, match="got both: "):
        Jinja2Templates("templates", env=env_of())  # type: ignore[call-overload]
    templates = Jinja2Templates(env=env_of(page=""))
    with pytest.raises(UsageError, match=r"write TemplateResponse\(request, 'page.html', \.\.\."):
        templates.TemplateResponse("page.html", {"request": request_of()})  # type: ignore[arg-type]


# -- links -----------------------------------------------------------------------------------------


async def test_url_for_is_there_and_gives_absolute_urls() -> None:
    page = "{{ url_for('user', name='a b') }} {{ url_for('page').include_query_params(q=1) }}"
    app = Hesper(routes=[Mount("/in", app_of(Jinja2Templates(env=env_of(page=page))))])
    assert await text_of(app, "/in/") == "http://testserver/in/users/a b http://testserver/in/?q=1"


async def test_an_url_for_of_the_environment_stands() -> None:
    env = env_of(page="{{ url_for('page') }}")

    @pass_context
    def url_for(context: Any, name: str) -> str:
        return f"{name} of {context['request'].url.path}"

    env.globals["url_for"] = url_for
    assert await text_of(app_of(Jinja2Templates(env=env))) == "page of /"


def test_url_for_without_the_request_says_how_to_get_it() -> None:
    env = env_of(
        page="{% import 'macros.html' as m %}{{ m.link() }}",
        good="{% import 'macros.html' as m with context %}{{ m.link() }}",
        macros="{% macro link() %}{{ url_for('page') }}{% endmacro %}",
    )
    templates = Jinja2Templates(env=env)
    app = app_of(templates)
    request = request_of(router=app.router, headers=[(b"host", b"host")])
    with pytest.raises(UsageError, match=r"url_for\('page'\) needs the request.*`with context`"):
        templates.TemplateResponse(request, "page.html")
    assert templates.TemplateResponse(request, "good.html").body == b"http://host/"


# -- escaping (XSS) --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "escaped"),
    [
        ("page.html", True),
        ("PAGE.HTML", True),
        ("dir.txt/page.htm", True),
        ("feed.xml", True),
        ("page.xhtml", True),
        ("image.svg", True),
        ("page.html.j2", True),
        ("page.html.jinja", True),
        ("page.html.jinja2", True),
        ("page.j2", True),
        ("page", True),
        ("mail.txt", False),
        ("mail.txt.j2", False),
        ("dir.html/script.js", False),
        ("data.json", False),
    ],
)
async def test_xss_markup_is_escaped_by_default(tmp_path: Path, name: str, escaped: bool) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("{{ text }}")
    response = Jinja2Templates(tmp_path).TemplateResponse(request_of(), name, {"text": SCRIPT})
    assert (response.body == SCRIPT.encode()) is not escaped
    assert (b"<" not in response.body) is escaped


def test_xss_a_template_from_a_string_is_escaped(tmp_path: Path) -> None:
    env = Jinja2Templates(tmp_path).env
    assert "<" not in env.from_string("{{ text }}").render(text=SCRIPT)


@given(st.text() | st.lists(st.sampled_from(["a", ".", "/", "html", ".j2", ".svg"])).map("".join))
def test_xss_whatever_starlette_escapes_is_escaped(name: str) -> None:
    assert _escapes(name) or not jinja2.select_autoescape()(name)


async def test_xss_what_the_client_sends_is_escaped_in_a_page_about_it(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("No {{ request.url.path }} {{ request.query_params.q }}")
    templates = Jinja2Templates(tmp_path)

    async def not_found(request: Request[Any], exc: Exception) -> Response:
        return templates.TemplateResponse(request, "page.html", status_code=404)

    app = Hesper(exception_handlers={404: not_found})
    result = await ask(app, "/%3Cscript%3E?q=%3Cimg%20onerror=x%3E")
    assert result.status == 404
    assert "<" not in result.text


# -- async environments ----------------------------------------------------------------------------


async def double(number: int) -> int:
    await anyio.sleep(0)
    return number * 2


async def numbers() -> Any:
    for number in range(3):
        await anyio.sleep(0)
        yield number


ASYNC_PAGE = "{{ double(21) }} {% for n in numbers() %}{{ n }}{% include 'part.html' %}{% endfor %}"


def async_templates(page: str = ASYNC_PAGE, **globals: Any) -> Jinja2Templates:
    env = env_of(enable_async=True, page=page, part="<br>")
    env.globals.update(double=double, numbers=numbers, **globals)
    return Jinja2Templates(env=env)


async def test_a_template_may_await_in_an_async_environment() -> None:
    result = await ask(app_of(async_templates(), headers={"x-mark": "yes"}))
    assert (result.status, result.text, result.raised) == (200, "42 0<br>1<br>2<br>", None)
    assert result.headers["content-length"] == str(len(result.text))
    assert result.headers["x-mark"] == "yes"


async def test_a_middleware_sees_an_async_page_whole() -> None:
    bodies: list[bytes] = []

    async def look(request: Request[Any], call_next: Any) -> Response:
        response: Response = await call_next(request)
        bodies.append(bytes(response.body))
        response.headers["x-length"] = response.headers["content-length"]
        return response

    result = await ask(app_of(async_templates(), middleware=[look, look]))
    assert bodies == [b"42 0<br>1<br>2<br>"] * 2
    assert result.headers["x-length"] == "18"
    assert result.headers["content-length"] == "18"


async def test_what_is_set_before_an_async_page_is_rendered_stands() -> None:
    templates = async_templates("é")

    async def page(request: Request[Any]) -> Response:
        response = templates.TemplateResponse(request, "page.html", {})
        assert response.body == b""
        assert "content-length" not in response.headers
        response.set_cookie("a", "b")
        response.charset = "latin-1"
        return response

    result = await ask(Route("/", page))
    assert (result.body, result.headers["content-length"]) == (b"\xe9", "1")
    assert result.headers["set-cookie"].startswith("a=b")


@pytest.mark.parametrize("status_code", [204, 304])
async def test_an_async_page_without_content_has_no_length(status_code: int) -> None:
    result = await ask(app_of(async_templates(), status_code=status_code))
    assert "content-length" not in result.headers


@pytest.mark.parametrize("middleware", [0, 2])
async def test_an_error_of_an_async_template_is_answered_as_any_other(middleware: int) -> None:
    seen: list[str] = []

    async def look(request: Request[Any], call_next: Any) -> Response:
        try:
            response: Response = await call_next(request)
        except ZeroDivisionError as exc:
            seen.append(type(exc).__name__)
            raise
        return response

    async def answer(request: Request[Any], exc: Exception) -> Response:
        return PlainTextResponse("no page", 503)

    app = app_of(async_templates("{{ double(21) }}{{ 1 / 0 }}"), middleware=[look] * middleware)
    app.add_exception_handler(ZeroDivisionError, answer)
    result = await ask(app)
    assert (result.status, result.text, result.raised) == (503, "no page", None)


@pytest.mark.parametrize("native", [False, pytest.param(True, marks=on_asyncio)])
async def test_a_cancellation_ends_the_rendering(native: bool) -> None:
    started = anyio.Event()

    async def wait() -> None:
        started.set()
        await anyio.sleep_forever()

    templates = async_templates("{% include 'part.html' %}{{ wait() }}", wait=wait)
    async with ScriptedServer(app_of(templates)).get("/").open() as client:
        await started.wait()
        client.cancel_app(native=native)
        result = await client.finish()
    assert (result.ended, result.messages) == ("cancelled", [])


async def test_a_client_that_leaves_while_an_async_page_is_rendered_is_no_error() -> None:
    async def waits(request: Request[Any]) -> str:
        started.set()
        await request.wait_disconnected()
        return "too late"

    started = anyio.Event()
    app = app_of(async_templates("{{ waits(request) }}", waits=waits))
    async with ScriptedServer(app).get("/").open() as client:
        await started.wait()
        client.leave()
        result = await client.finish()
    assert (result.raised, result.body) == (None, b"")


# -- what a test client is told --------------------------------------------------------------------


@pytest.mark.parametrize("enable_async", [False, True])
@pytest.mark.parametrize("middleware", [0, 2])
async def test_a_server_that_offers_it_is_told_of_the_template_once(
    enable_async: bool, middleware: int
) -> None:
    async def pass_on(request: Request[Any], call_next: Any) -> Response:
        response: Response = await call_next(request)
        return response

    templates = Jinja2Templates(env=env_of(enable_async, page="{{ a }}"))
    app = Hesper(
        routes=[Mount("/in", app_of(templates, {"a": 1}))], middleware=[pass_on] * middleware
    )
    result = await ScriptedServer(app).get("/in/", extensions=[DEBUG]).run()
    assert result.types == [DEBUG, "http.response.start", "http.response.body"]
    info = result.messages[0]["info"]
    assert info["template"].name == "page.html"
    assert (info["context"]["a"], info["context"]["request"].url.path) == (1, "/in/")
    assert (result.text, result.headers["content-length"]) == ("1", "1")
    assert result.violations == []
    assert DEBUG not in (await ask(app, "/in/")).types


async def test_a_client_that_is_gone_is_told_nothing() -> None:
    app = app_of(Jinja2Templates(env=env_of(page="page")))

    async def wait(request: Request[Any], call_next: Any) -> Response:
        await request.wait_disconnected()
        response: Response = await call_next(request)
        assert response.body == b"page"
        return response

    outer = Hesper(routes=[Mount("/", app)], middleware=[wait])
    script = ScriptedServer(outer).get("/", extensions=[DEBUG]).leave_at_message(0)
    result = await script.run()
    assert (result.raised, result.messages) == (None, [])


async def test_the_messages_are_those_of_starlette() -> None:
    text = "{{ a }} {{ request.url.path }}"

    def page(templates: Any) -> Any:
        async def endpoint(request: Any) -> Any:
            return templates.TemplateResponse(request, "page.html", {"a": "<"})

        return endpoint

    ours = page(Jinja2Templates(env=env_of(page=text)))
    theirs = page(starlette.templating.Jinja2Templates(env=env_of(page=text)))
    apps: list[Any] = [
        Hesper(routes=[Route("/", ours)]),
        starlette.applications.Starlette(routes=[starlette.routing.Route("/", theirs)]),
        starlette.applications.Starlette(routes=[starlette.routing.Route("/", ours)]),
    ]
    results = [await ScriptedServer(app).get("/", extensions=[DEBUG]).run() for app in apps]
    for result in results:
        assert result.messages[0]["info"]["context"]["a"] == "<"
        assert result.types == results[0].types
        assert sorted(result.raw_headers) == sorted(results[0].raw_headers)
        assert result.text == "&lt; /"


async def test_a_page_is_an_asgi_app_too() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request[Any](scope, receive, send)
        await async_templates().TemplateResponse(request, "page.html")(scope, receive, send)

    assert await text_of(app) == "42 0<br>1<br>2<br>"


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ImportError, match=r"pip install 'hesper\[templates\]'"):
        importlib.reload(hesper.templating)


async def test_a_time_limit_around_call_next_stops_an_async_template() -> None:
    """E10: rendering may wait for long, and is not shielded from what cancels it."""
    environment = jinja2.Environment(
        enable_async=True, autoescape=True, loader=jinja2.DictLoader({"page": "{{ wait() }}"})
    )
    forever = Jinja2Templates(env=environment)

    async def wait() -> str:
        await anyio.sleep_forever()
        return ""

    async def page(request: Request) -> Response:
        return forever.TemplateResponse(request, "page", {"wait": wait})

    async def limit(request: Request, call_next: Any) -> Response:
        with anyio.move_on_after(0.01):
            response: Response = await call_next(request)
            return response
        return PlainTextResponse("too long")

    assert await text_of(Hesper(routes=[Route("/", page)], middleware=[limit])) == "too long"
