"""Telemetry: one span a request, that ends with the body, and what it says of endings."""

import logging
import runpy
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
import fastapi
import pytest
import starlette.applications
import starlette.middleware
import starlette.responses
import starlette.routing
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import baggage, propagate, trace
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import TextMapPropagator, default_getter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

import hesper.middleware.opentelemetry
from hesper.applications import Hesper
from hesper.exceptions import HTTPException, WebSocketException
from hesper.middleware import Middleware
from hesper.middleware._telemetry import (
    MAX_LENGTH,
    ROUTE_PREFIX,
    redact_query,
    route_template,
    tidy,
)
from hesper.middleware.opentelemetry import OpenTelemetryMiddleware
from hesper.requests import Request
from hesper.responses import FileResponse, PlainTextResponse, Response, StreamingResponse
from hesper.routing import Mount, Route, WebSocketRoute
from hesper.testing import Dialect, Result, ScriptedServer
from hesper.types import ASGIApp, Message, Receive, Scope, Send
from hesper.websockets import WebSocket

from ..conftest import ExpectedErrors
from .asking import ask, connect, script

PATHSEND = "http.response.pathsend"


class Telemetry:
    """Where spans and durations go, and how to look at them."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader], shutdown_on_exit=False)

    @property
    def options(self) -> dict[str, Any]:
        return {"tracer_provider": self.tracers, "meter_provider": self.meters}

    def middleware(self, **options: Any) -> Middleware:
        return Middleware(OpenTelemetryMiddleware, **self.options, **options)

    def app(self, endpoint: Any, path: str = "/", **options: Any) -> Hesper:
        return Hesper(routes=[Route(path, endpoint)], middleware=[self.middleware(**options)])

    def around(self, app: ASGIApp, **options: Any) -> ASGIApp:
        return OpenTelemetryMiddleware(app, **self.options, **options)

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())

    @property
    def span(self) -> ReadableSpan:
        (span,) = self.spans
        return span

    @property
    def attributes(self) -> dict[str, Any]:
        return dict(self.span.attributes or {})

    @property
    def durations(self) -> list[Any]:
        data: Any = self.reader.get_metrics_data()
        if data is None:
            return []
        (metric,) = data.resource_metrics[0].scope_metrics[0].metrics
        assert (metric.name, metric.unit) == ("http.server.request.duration", "s")
        return list(metric.data.data_points)

    def say_that_it_left(self) -> bool:
        """The one span says that the client left, and takes it for no error."""
        left = str(self.attributes.get("hesper.ending")).startswith("client left")
        assert ["client left"] * left == [event.name for event in self.span.events]
        if left:
            assert self.span.status.status_code is StatusCode.UNSET
            assert "error.type" not in self.attributes
        return left


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    made = Telemetry()
    yield made
    made.tracers.shutdown()
    made.meters.shutdown()


async def page(request: Request) -> Response:
    return PlainTextResponse("page")


async def failing(request: Request) -> Response:
    raise LookupError("broken")


# -- what a span says ------------------------------------------------------------------------------


async def test_a_request_makes_one_span_with_what_is_known_of_it(telemetry: Telemetry) -> None:
    app = telemetry.app(page, "/users/{id:int}")
    headers = {"host": "example.org:8000", "user-agent": "agent"}
    result = await ask(app, "/users/5?page=2", headers=headers)
    assert result.status == 200
    span = telemetry.span
    assert (span.name, span.kind) == ("GET /users/{id}", SpanKind.SERVER)
    assert (span.parent, span.status.status_code, span.events) == (None, StatusCode.UNSET, ())
    assert telemetry.attributes == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "http.route": "/users/{id}",
        "url.path": "/users/5",
        "url.query": "page=2",
        "url.scheme": "http",
        "server.address": "example.org",
        "server.port": 8000,
        "client.address": "127.0.0.1",
        "network.protocol.version": "1.1",
        "user_agent.original": "agent",
        "hesper.ending": "completed",
    }
    assert span.instrumentation_scope is not None
    assert span.instrumentation_scope.name == "hesper"


async def test_what_is_not_known_is_left_out(telemetry: Telemetry) -> None:
    scope: Scope = {"server": None, "client": None, "headers": [], "http_version": ""}
    await ask(telemetry.app(page), scope=scope)
    assert telemetry.attributes == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "http.route": "/",
        "url.path": "/",
        "url.scheme": "http",
        "hesper.ending": "completed",
    }


async def test_the_port_is_the_servers_where_the_client_names_none(telemetry: Telemetry) -> None:
    scopes: list[tuple[Scope, int | None]] = [({}, 80), ({"server": None}, None)]
    for scope, port in scopes:
        telemetry.exporter.clear()
        await ask(telemetry.app(page), headers={"host": "example.org"}, scope=scope)
        assert telemetry.attributes["server.address"] == "example.org"
        assert telemetry.attributes.get("server.port") == port


async def test_the_trace_of_the_client_goes_on(telemetry: Telemetry) -> None:
    seen: list[Any] = []

    async def endpoint(request: Request) -> Response:
        seen.append(baggage.get_baggage("key"))
        return PlainTextResponse("")

    trace_id, span_id = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    headers = {"traceparent": f"00-{trace_id}-{span_id}-01", "baggage": "key=value"}
    await ask(telemetry.app(endpoint), headers=headers)
    context, parent = telemetry.span.context, telemetry.span.parent
    assert context is not None
    assert parent is not None
    assert (f"{context.trace_id:032x}", f"{parent.span_id:016x}") == (trace_id, span_id)
    assert parent.is_remote
    assert seen == ["value"]


class ByPrefix(TextMapPropagator):
    """A propagator that looks at all names, as that of Jaeger does."""

    def extract(self, carrier: Any, context: Any = None, getter: Any = default_getter) -> Context:
        for key in getter.keys(carrier):
            if key.startswith("x-trace-"):
                (value,) = getter.get(carrier, key)
                context = baggage.set_baggage(key.removeprefix("x-trace-"), value, context)
        return context or Context()

    def inject(self, carrier: Any, context: Any = None, setter: Any = None) -> None: ...

    @property
    def fields(self) -> set[str]:
        return set()


async def test_propagators_may_look_at_all_headers(telemetry: Telemetry) -> None:
    async def endpoint(request: Request) -> Response:
        return PlainTextResponse(str(baggage.get_baggage("user")))

    before = propagate.get_global_textmap()
    propagate.set_global_textmap(ByPrefix())
    try:
        result = await ask(telemetry.app(endpoint), headers={"x-trace-user": "me"})
    finally:
        propagate.set_global_textmap(before)
    assert result.text == "me"


@pytest.mark.parametrize(
    ("path", "name"),
    [("/", "GET /"), ("/nowhere", "GET"), ("/files/a/b", "GET /files")],
)
async def test_a_span_is_named_after_its_route(telemetry: Telemetry, path: str, name: str) -> None:
    async def files(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("file")(scope, receive, send)

    app = Hesper(
        routes=[Route("/", page), Mount("/files", app=files)], middleware=[telemetry.middleware()]
    )
    # What a mount tells upwards.
    await ask(app, path, scope={ROUTE_PREFIX: "/files" if "files" in path else ""})
    assert telemetry.span.name == name


def test_a_template_has_what_is_around_the_route() -> None:
    route = Route("/users/{id}", page)
    mount = Mount("/api", app=PlainTextResponse(""))
    assert route_template({}) is None
    assert route_template({"route": object()}) is None
    assert route_template({"route": route}) == "/users/{id}"
    assert route_template({"route": route, "root_path": "/v1/"}) == "/v1/users/{id}"
    scope = {"route": route, "root_path": "/v1", ROUTE_PREFIX: "/{tenant}"}
    assert route_template(scope) == "/v1/{tenant}/users/{id}"
    below = {**scope, "root_path": "/v1/acme", "app_root_path": "/v1"}
    assert route_template(below) == "/v1/{tenant}/users/{id}"
    assert route_template({"route": mount, ROUTE_PREFIX: "/api"}) == "/api"
    assert route_template({"route": mount}) == "/"


# -- where it is current, and when it ends ---------------------------------------------------------


def current() -> str:
    context = trace.get_current_span().get_span_context()
    return f"{context.span_id:x}" if context.is_valid else "none"


async def test_it_is_current_in_middleware_endpoint_body_and_background(
    telemetry: Telemetry,
) -> None:
    seen: dict[str, str] = {}

    async def body() -> AsyncIterator[str]:
        seen["body"] = current()
        yield "one"
        await anyio.sleep(0)
        seen["later"] = current()
        yield "two"

    async def background() -> None:
        seen["background"] = current()
        assert len(telemetry.spans) == 1  # it has ended by now

    async def endpoint(request: Request) -> Response:
        seen["endpoint"] = current()
        return StreamingResponse(body(), background=background)

    async def inside(request: Request, call_next: Any) -> Response:
        seen["middleware"] = current()
        response: Response = await call_next(request)
        return response

    app = Hesper(routes=[Route("/", endpoint)], middleware=[telemetry.middleware(), inside])
    assert current() == "none"
    assert (await ask(app)).text == "onetwo"
    context = telemetry.span.context
    assert context is not None
    assert seen == dict.fromkeys(
        ["middleware", "endpoint", "body", "later", "background"], f"{context.span_id:x}"
    )
    assert current() == "none"


async def test_it_is_detached_in_the_task_of_the_request(telemetry: Telemetry) -> None:
    # A server may run two requests in one context: the second must not continue the first.
    after: list[str] = []
    app = telemetry.app(page)

    async def server_task(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)
        after.append(current())

    for _ in range(2):
        await ask(server_task)
    assert after == ["none", "none"]
    assert [span.parent for span in telemetry.spans] == [None, None]


async def test_threads_see_it_too(telemetry: Telemetry) -> None:
    def endpoint(request: Request) -> Response:
        return PlainTextResponse(current())

    text = (await ask(telemetry.app(endpoint))).text
    context = telemetry.span.context
    assert context is not None
    assert text == f"{context.span_id:x}"


async def test_it_ends_with_the_body_and_not_with_the_endpoint(telemetry: Telemetry) -> None:
    counts: list[int] = []

    async def body() -> AsyncIterator[bytes]:
        for _ in range(3):
            counts.append(len(telemetry.spans))
            yield b"chunk"
        trace.get_current_span().set_attribute("body", "ended")

    async def endpoint(request: Request) -> Response:
        return StreamingResponse(body())

    async with ScriptedServer(telemetry.app(endpoint)).get().stall_at_message(3).open() as client:
        await client.wait_message(3)
        assert telemetry.spans == []
        client.release()
        await client.finish()
    assert counts == [0, 0, 0]
    assert telemetry.attributes["body"] == "ended"


async def test_background_work_is_not_counted(telemetry: Telemetry) -> None:
    release = anyio.Event()

    async def endpoint(request: Request) -> Response:
        return PlainTextResponse("", background=release.wait)

    async with ScriptedServer(telemetry.app(endpoint)).get().open() as client:
        await client.wait_message(2)
        while not telemetry.spans:
            await anyio.sleep(0)
        assert client.result.ended == "running"
        assert len(telemetry.durations) == 1
        release.set()
        await client.finish()
    assert len(telemetry.spans) == 1


async def test_a_file_is_still_sent_by_its_path(telemetry: Telemetry, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100_000)

    async def endpoint(request: Request) -> Response:
        return FileResponse(path)

    script = ScriptedServer(telemetry.app(endpoint)).get(extensions=[PATHSEND])
    result = await script.run()
    assert PATHSEND in result.types
    assert telemetry.attributes["http.response.status_code"] == 200
    assert telemetry.attributes["hesper.ending"] == "completed"


async def test_messages_of_foreign_apps_pass_as_they_are(telemetry: Telemetry) -> None:
    messages: list[Message] = [
        {"type": "http.response.start", "status": 203, "headers": [], "trailers": True, "own": 1},
        {"type": "http.response.body", "body": b"a", "more_body": True},
        {"type": "http.response.body", "body": b"b", "own": 2},
        {"type": "http.response.trailers", "headers": [(b"x-sum", b"1")]},
    ]

    async def foreign(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    server = ScriptedServer(telemetry.around(foreign))
    result = await server.get(extensions=["http.response.trailers"]).run()
    assert result.messages == messages
    assert telemetry.attributes["http.response.status_code"] == 203


# -- errors ----------------------------------------------------------------------------------------


async def test_an_error_is_recorded_with_the_status_that_the_client_got(
    telemetry: Telemetry,
) -> None:
    result = await ask(telemetry.app(failing))
    assert (result.status, type(result.raised)) == (500, LookupError)
    assert telemetry.span.status.status_code is StatusCode.ERROR
    assert telemetry.attributes["error.type"] == "LookupError"
    assert telemetry.attributes["http.response.status_code"] == 500
    (event,) = telemetry.span.events
    assert event.name == "exception"
    assert dict(event.attributes or {})["exception.message"] == "broken"
    (point,) = telemetry.durations
    assert point.attributes["error.type"] == "LookupError"
    assert point.attributes["http.response.status_code"] == 500


async def test_without_an_answer_it_is_recorded_once(telemetry: Telemetry) -> None:
    result = await ask(telemetry.around(Route("/", failing)))
    assert (result.status, type(result.raised)) == (None, LookupError)
    assert [event.name for event in telemetry.span.events] == ["exception"]
    assert telemetry.attributes["error.type"] == "LookupError"
    assert "http.response.status_code" not in telemetry.attributes


async def test_an_error_in_the_body_is_recorded(telemetry: Telemetry) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"half"
        raise LookupError("halfway")

    async def streaming(request: Request) -> Response:
        return StreamingResponse(body())

    async def foreign(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise LookupError("halfway")

    for app in (telemetry.app(streaming), telemetry.around(foreign)):
        telemetry.exporter.clear()
        result = await ask(app)
        assert isinstance(result.raised, LookupError)
        assert telemetry.span.status.status_code is StatusCode.ERROR
        assert telemetry.attributes["error.type"] == "LookupError"
        assert telemetry.attributes["http.response.status_code"] == 200
        assert [event.name for event in telemetry.span.events] == ["exception"]


@pytest.mark.parametrize(
    ("status", "error"), [(200, None), (404, None), (499, None), (500, "500"), (503, "503")]
)
async def test_only_a_5xx_is_an_error(telemetry: Telemetry, status: int, error: str | None) -> None:
    async def raising(request: Request) -> Response:
        raise HTTPException(status)

    async def returning(request: Request) -> Response:
        return PlainTextResponse("", status)

    for endpoint in (raising, returning):
        telemetry.exporter.clear()
        await ask(telemetry.app(endpoint))
        assert telemetry.attributes["http.response.status_code"] == status
        assert telemetry.attributes.get("error.type") == error
        assert (telemetry.span.status.status_code is StatusCode.ERROR) is (error is not None)
        assert telemetry.span.events == ()


# -- endings ---------------------------------------------------------------------------------------


class Ticks:
    def __aiter__(self) -> "Ticks":
        return self

    async def __anext__(self) -> bytes:
        await anyio.sleep(0.01)
        return b"tick"


@pytest.mark.parametrize("leave_at", [1, 2, 4])
async def test_a_client_that_leaves_is_said_to_have_left(dialect: Dialect, leave_at: int) -> None:
    async def endpoint(request: Request) -> Response:
        return StreamingResponse(Ticks())

    telemetry = Telemetry()
    server = ScriptedServer(telemetry.app(endpoint), dialect)
    result = await server.get().leave_at_message(leave_at).run()
    assert result.raised is None, result.log
    assert telemetry.say_that_it_left()
    assert telemetry.attributes["http.response.status_code"] == 200
    assert telemetry.span.name == "GET /"
    assert len(telemetry.durations) == 1


async def test_a_client_that_leaves_while_its_body_is_read_is_no_error(dialect: Dialect) -> None:
    async def endpoint(request: Request) -> Response:
        return PlainTextResponse(await request.body())

    telemetry = Telemetry()
    server = ScriptedServer(telemetry.around(Route("/", endpoint, methods=["POST"])), dialect)
    result = await server.post(body=b"half", unfinished=True).leave_after_request(1).run()
    assert result.raised is None
    if result.ended != "not called":
        assert telemetry.say_that_it_left()
        assert "http.response.status_code" not in telemetry.attributes


async def test_a_foreign_app_whose_client_leaves_is_no_error(dialect: Dialect) -> None:
    api = fastapi.FastAPI()

    @api.get("/")
    async def endpoint() -> Any:
        return fastapi.responses.StreamingResponse(Ticks())

    telemetry = Telemetry()
    server = ScriptedServer(telemetry.around(api), dialect)
    result = await server.get().leave_at_message(3).run()
    assert result.raised is None, result.log
    assert telemetry.say_that_it_left()


async def test_an_error_is_one_although_the_client_left(telemetry: Telemetry) -> None:
    async def endpoint(request: Request) -> Response:
        await request.wait_disconnected()
        raise LookupError("of its own")

    result = await ScriptedServer(telemetry.app(endpoint)).get().leave_at_message(0).run()
    assert isinstance(result.raised, LookupError)
    assert telemetry.attributes["error.type"] == "LookupError"
    assert telemetry.attributes["hesper.ending"] == "failed"


async def test_a_cancelled_request_is_said_to_be_cancelled(telemetry: Telemetry) -> None:
    async def endpoint(request: Request) -> Response:
        await anyio.sleep_forever()
        raise AssertionError

    async def streaming(request: Request) -> Response:
        return StreamingResponse(Ticks())

    for inner in (endpoint, streaming):
        telemetry.exporter.clear()
        async with ScriptedServer(telemetry.app(inner)).get().open() as client:
            await anyio.sleep(0.05)
            client.cancel_app()
            result = await client.finish()
        assert result.ended == "cancelled"
        assert telemetry.attributes["hesper.ending"] == "cancelled"
        assert telemetry.span.status.status_code is StatusCode.UNSET
        assert telemetry.span.events == ()


# -- the metric ------------------------------------------------------------------------------------


async def test_durations_are_measured_in_seconds(telemetry: Telemetry) -> None:
    async def endpoint(request: Request) -> Response:
        return PlainTextResponse("")

    await ask(telemetry.app(endpoint, "/users/{id}"), "/users/1")
    (point,) = telemetry.durations
    assert point.count == 1
    assert 0 < point.sum < 1
    assert point.explicit_bounds == tuple(hesper.middleware.opentelemetry.BOUNDARIES)
    assert dict(point.attributes) == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "http.route": "/users/{id}",
        "network.protocol.version": "1.1",
        "url.scheme": "http",
    }


async def test_clients_cannot_make_up_metrics_or_names(telemetry: Telemetry) -> None:
    # CVE-2023-45142: unbounded cardinality by methods, hosts and user agents of the client's own.
    app = telemetry.app(page, "/{path:path}")
    for number in range(50):
        await ask(
            app,
            f"/{number}?{number}",
            f"METHOD{number}",
            headers={"host": f"host{number}", "user-agent": f"agent{number}"},
        )
    assert len(telemetry.durations) == 1
    assert {span.name for span in telemetry.spans} == {"HTTP /{path}"}
    first = dict(telemetry.spans[0].attributes or {})
    assert first["http.request.method"] == "_OTHER"
    assert first["http.request.method_original"] == "METHOD0"


async def test_a_method_in_other_letters_is_known(telemetry: Telemetry) -> None:
    await ask(telemetry.app(page), method="get")
    assert telemetry.attributes["http.request.method"] == "GET"
    assert telemetry.attributes["http.request.method_original"] == "get"


# -- what is not recorded --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "recorded"),
    [
        ("", ""),
        ("page=2&sort=name", "page=2&sort=name"),
        ("token=s3cret&page=2", "token=REDACTED&page=2"),
        (
            "access_token=a&API-Key=b;Signature=c",
            "access_token=REDACTED&API-Key=REDACTED;Signature=REDACTED",
        ),
        ("%74oken=s3cret", "%74oken=REDACTED"),
        ("s3cret", "REDACTED"),
        ("&&=&a=", "&&=&a="),
        ("next=https://user:s3cret@host/", "next=REDACTED"),
        ("next=https%3A%2F%2Fuser%3As3cret%40host", "next=REDACTED"),
        ("next=/login%3Ftoken%3Ds3cret", "next=REDACTED"),
        ("next=/login?token=s3cret", "next=REDACTED"),
        ("next=/keyboards", "next=/keyboards"),
    ],
)
async def test_credentials_in_a_query_are_not_recorded(
    telemetry: Telemetry, query: str, recorded: str
) -> None:
    assert redact_query(query) == recorded
    await ask(telemetry.app(page), f"/?{query}")
    assert telemetry.attributes.get("url.query", "") == recorded
    assert "s3cret" not in telemetry.span.to_json()


async def test_credentials_in_a_path_are_not_recorded(telemetry: Telemetry) -> None:
    # The absolute form of a request's target, which some servers pass on as the path.
    scope = {"path": "http://user:s3cret@host/path"}
    await ask(telemetry.app(page), scope=scope)
    assert telemetry.attributes["url.path"] == "http://host/path"
    assert "s3cret" not in telemetry.span.to_json()


async def test_control_characters_forge_no_log_line_and_break_nothing(
    telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    # Log injection: a client's text is the value of an attribute, and never a name or a log record.
    caplog.set_level(logging.DEBUG)
    evil = "a\r\nERROR root: forged\x1b[31m\0"
    scope = {"path": f"/{evil}", "query_string": evil.encode(), "method": evil}
    headers = {"user-agent": evil, "traceparent": evil, "baggage": evil}
    result = await ask(telemetry.app(page, "/{path:path}"), headers=headers, scope=scope)
    assert result.status == 404
    assert telemetry.attributes["url.path"] == f"/{evil}"
    assert telemetry.attributes["user_agent.original"] == evil
    assert telemetry.span.name == "HTTP"
    assert "forged\n" not in caplog.text
    assert "\n" not in telemetry.span.to_json(indent=None)


@given(st.text(st.characters()))  # lone surrogates among them
def test_every_text_can_be_exported_and_is_bounded(text: str) -> None:
    for tidied in (tidy(text), redact_query(text)):
        tidied.encode()
    assert len(tidy(text * 1000)) <= 6 * MAX_LENGTH


@pytest.mark.parametrize("piece", ["a=", "&", "=", "//", "//@", "//a@", "%2f%2f@", "key"])
def test_a_long_query_takes_no_time(piece: str) -> None:
    # With a quadratic pattern, or without a bound, this would take minutes: the watchdog ends it.
    assert len(redact_query(piece * 1_000_000)) < 10 * MAX_LENGTH
    hesper.middleware._telemetry._USERINFO.sub("", piece * 1_000_000)


# -- which requests --------------------------------------------------------------------------------


@pytest.mark.parametrize("excluded", ["health, metrics$", ["health", "metrics$"]])
async def test_excluded_urls_have_no_span(telemetry: Telemetry, excluded: Any) -> None:
    app = telemetry.app(page, "/{path:path}", excluded_urls=excluded)
    for path in ("/health?x", "/metrics", "/metrics/more", "/"):
        assert (await ask(app, path)).status == 200
    assert [dict(span.attributes or {})["url.path"] for span in telemetry.spans] == [
        "/metrics/more",
        "/",
    ]
    telemetry.exporter.clear()
    await ask(telemetry.app(page, excluded_urls=""))
    assert len(telemetry.spans) == 1


async def test_of_two_the_outer_one_makes_the_span(telemetry: Telemetry) -> None:
    inner = telemetry.app(page)
    app = Hesper(routes=[Mount("/", app=inner)], middleware=[telemetry.middleware()])
    assert (await ask(app)).status == 200
    assert len(telemetry.spans) == 1


async def test_a_retry_is_a_span_of_its_own(telemetry: Telemetry) -> None:
    async def retry(request: Request, call_next: Any) -> Response:
        await call_next(request)
        response: Response = await call_next(request)
        return response

    app = Hesper(routes=[Route("/", page)], middleware=[retry, telemetry.middleware()])
    assert (await ask(app)).status == 200
    assert len(telemetry.spans) == 2


async def test_the_global_providers_are_used_by_default() -> None:
    async def endpoint(request: Request) -> Response:
        return PlainTextResponse(current())

    assert (await ask(OpenTelemetryMiddleware(Route("/", endpoint)))).text == "none"


# -- WebSockets ------------------------------------------------------------------------------------


async def talk(telemetry: Telemetry, endpoint: Any, **options: Any) -> Result:
    app = Hesper(
        routes=[WebSocketRoute("/talk/{name}", endpoint)], middleware=[telemetry.middleware()]
    )
    return await connect(app, "/talk/a?token=s3cret", **options)


async def test_a_websocket_is_a_span(telemetry: Telemetry) -> None:
    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(current())
        await websocket.close()

    result = await talk(telemetry, endpoint)
    span = telemetry.span
    assert span.context is not None
    assert result.frames == [f"{span.context.span_id:x}"]
    assert (span.name, span.kind) == ("WEBSOCKET /talk/{name}", SpanKind.SERVER)
    assert telemetry.attributes["http.route"] == "/talk/{name}"
    assert telemetry.attributes["url.query"] == "token=REDACTED"
    assert telemetry.attributes["url.scheme"] == "ws"
    assert not telemetry.say_that_it_left()
    assert current() == "none"
    assert telemetry.durations == []


async def test_a_websocket_whose_client_leaves_says_so(dialect: Dialect) -> None:
    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        while True:
            await websocket.receive_text()

    telemetry = Telemetry()
    app = telemetry.around(WebSocketRoute("/", endpoint))
    result = await ScriptedServer(app, dialect).websocket().leave_at_message(1).run()
    assert result.raised is None
    assert telemetry.say_that_it_left()


async def test_an_error_in_a_websocket_is_recorded(
    telemetry: Telemetry, expected_errors: ExpectedErrors
) -> None:
    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        raise LookupError("broken")

    result = await talk(telemetry, endpoint)
    assert isinstance(result.raised, LookupError)
    assert telemetry.span.status.status_code is StatusCode.ERROR
    assert telemetry.attributes["error.type"] == "LookupError"
    expected_errors.clear()


@pytest.mark.parametrize("refusal", [HTTPException(403), WebSocketException(3000)])
async def test_a_refusal_is_no_error(telemetry: Telemetry, refusal: Exception) -> None:
    async def endpoint(websocket: WebSocket) -> None:
        raise refusal

    result = await talk(telemetry, endpoint)
    assert (result.raised, result.accepted) == (None, False)
    assert telemetry.span.status.status_code is StatusCode.UNSET
    assert telemetry.span.events == ()


async def test_a_cancelled_websocket_is_said_to_be_cancelled(telemetry: Telemetry) -> None:
    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        await anyio.sleep_forever()

    app = telemetry.around(WebSocketRoute("/", endpoint))
    async with ScriptedServer(app).websocket().open() as client:
        await client.wait_message(1)
        client.cancel_app()
        assert (await client.finish()).ended == "cancelled"
    assert telemetry.attributes["hesper.ending"] == "cancelled"


async def test_an_excluded_websocket_has_no_span(telemetry: Telemetry) -> None:
    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()

    app = telemetry.around(WebSocketRoute("/", endpoint), excluded_urls="ws")
    assert (await connect(app)).accepted
    assert telemetry.spans == []


# -- where it stands -------------------------------------------------------------------------------


async def test_it_stands_in_a_starlette_app(telemetry: Telemetry) -> None:
    async def user(request: Any) -> Any:
        return starlette.responses.PlainTextResponse(current())

    async def broken(request: Any) -> Any:
        raise LookupError("theirs")

    routes = [
        starlette.routing.Mount("/api", routes=[starlette.routing.Route("/users/{id}", user)]),
        starlette.routing.Route("/broken", broken),
    ]
    middleware = [starlette.middleware.Middleware(OpenTelemetryMiddleware, **telemetry.options)]
    app = starlette.applications.Starlette(routes=routes, middleware=middleware)
    assert (await ask(app, "/api/users/1")).text != "none"
    assert telemetry.span.name == "GET /api/users/{id}"
    assert telemetry.attributes["http.response.status_code"] == 200
    telemetry.exporter.clear()
    assert isinstance((await ask(app, "/broken")).raised, LookupError)
    assert telemetry.attributes["error.type"] == "LookupError"
    assert telemetry.span.name == "GET /broken"


async def test_it_stands_in_a_fastapi_app(telemetry: Telemetry) -> None:
    counts: list[int] = []
    app = fastapi.FastAPI()
    app.add_middleware(OpenTelemetryMiddleware, **telemetry.options)

    @app.get("/users/{id}")
    async def user(id: int, tasks: fastapi.BackgroundTasks) -> str:
        tasks.add_task(lambda: counts.append(len(telemetry.spans)))
        return current()

    result = await ask(app, "/users/1")
    context = telemetry.span.context
    assert context is not None
    assert result.text == f'"{context.span_id:x}"'
    assert telemetry.span.name == "GET /users/{id}"
    assert counts == [1]


async def test_inside_of_another_task_it_is_not_detached_there(telemetry: Telemetry) -> None:
    # A Hesper app in a foreign middleware of a Hesper app: the outer one ends the request.
    async def endpoint(request: Request) -> Response:
        return StreamingResponse(Ticks())

    async def keep(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        return response

    inner = telemetry.app(endpoint)

    async def foreign(scope: Scope, receive: Receive, send: Send) -> None:
        await inner(scope, receive, send)

    app = Hesper(routes=[Mount("/", app=foreign)], middleware=[keep])
    result = await script(app).leave_at_message(3).run()
    assert result.raised is None
    assert telemetry.say_that_it_left()


def test_the_library_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(ImportError) as caught:
        runpy.run_path(hesper.middleware.opentelemetry.__file__)
    assert str(caught.value) == (
        "OpenTelemetryMiddleware needs the opentelemetry-api package. "
        'Install it with: pip install "hesper[opentelemetry]"'
    )


async def test_a_mounted_route_has_the_templates_of_its_mounts(telemetry: Telemetry) -> None:
    inner = Hesper(routes=[Mount("/v{version}", routes=[Route("/users/{id}", page)])])
    app = Hesper(routes=[Mount("/{tenant}/api", app=inner)], middleware=[telemetry.middleware()])
    await ask(app, "/acme/api/v1/users/5")
    assert telemetry.span.name == "GET /{tenant}/api/v{version}/users/{id}"
