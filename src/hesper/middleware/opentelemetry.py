"""``OpenTelemetryMiddleware``: a span and a duration for each request.

The law: a span tells how the request ended for the client. It ends when the last byte was handed to
the server, not when the endpoint returned; a client that left is said to have left, and is no error.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter
from typing import Any

try:
    from opentelemetry import context as contexts
    from opentelemetry import metrics, propagate, trace
    from opentelemetry.context import Context
    from opentelemetry.propagators.textmap import Getter
    from opentelemetry.trace import Span, SpanKind, Status, StatusCode
except ImportError as exc:
    raise ImportError(
        "OpenTelemetryMiddleware needs the opentelemetry-api package. "
        'Install it with: pip install "hesper[opentelemetry]"'
    ) from exc

from hesper import __version__
from hesper._asgi.exchange import Exchange
from hesper._asgi.foreign import caused_by_leaving
from hesper._asgi.websocket import tells_of_end
from hesper._concurrency import cancelled_type
from hesper._connection import HTTPConnection
from hesper._observing import Witness, ending_of, socket_ending_of
from hesper._stack import RequestResponseEndpoint
from hesper.datastructures import Headers
from hesper.endings import Ending
from hesper.exceptions import HTTPException, WebSocketException
from hesper.middleware._telemetry import (
    Attributes,
    method_of,
    request_attributes,
    route_template,
)
from hesper.middleware.base import BaseHTTPMiddleware
from hesper.requests import Request
from hesper.responses import Response
from hesper.types import ASGIApp, Message
from hesper.websockets import WebSocket

__all__ = ["OpenTelemetryMiddleware"]

SEEN = "hesper.opentelemetry"
"""In a scope that has a span already: of two middlewares the outer one makes it."""

ENDING = "hesper.ending"
"""The attribute that says how a request ended: a value of ``hesper.endings.Ending``."""

# Semantic conventions 1.23, "Metric: http.server.request.duration".
BOUNDARIES = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]


class OpenTelemetryMiddleware(BaseHTTPMiddleware):
    """Makes a server span for each request and WebSocket, and measures how long requests take
    (OpenTelemetry semantic conventions for HTTP; ``http.server.request.duration``, in seconds).

    The span continues the trace of the request's headers, and is current in the endpoint, its body
    and its background work. It is named after the route, ``GET /users/{id}``, and ends with the
    body; background work is not counted.

    An error of the app or a 5xx makes its status an error. The attribute ``hesper.ending`` says how
    it ended (``hesper.endings.Ending``); when the client left there is an event "client left", and
    no error. Of a query, values that may be credentials are not recorded.

    Put it outside of the others: what is not inside of it is not in the span.

    Args:
        excluded_urls: regular expressions for URLs that get no span, as a sequence or in one text,
            separated by commas. Each is searched for anywhere in the URL.
        tracer_provider: where spans go; the global one if None.
        meter_provider: where the durations go; the global one if None.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        excluded_urls: str | Sequence[str] = (),
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
    ) -> None:
        super().__init__(app)
        if isinstance(excluded_urls, str):
            excluded_urls = [text for part in excluded_urls.split(",") if (text := part.strip())]
        self._excluded = [re.compile(pattern) for pattern in excluded_urls]
        self._tracer = trace.get_tracer("hesper", __version__, tracer_provider)
        meter = metrics.get_meter("hesper", __version__, meter_provider)
        self._duration = meter.create_histogram(
            "http.server.request.duration",
            unit="s",
            description="Duration of HTTP server requests.",
            explicit_bucket_boundaries_advisory=BOUNDARIES,
        )

    def _passes(self, connection: HTTPConnection[Any]) -> bool:
        if SEEN in connection.scope:
            return True
        url = str(connection.url) if self._excluded else ""
        return any(pattern.search(url) for pattern in self._excluded)

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        if self._passes(request):
            return await call_next(request)
        scope = request.scope
        measured = _Measured(request, *self._begin(request), self._duration)
        scope[SEEN] = True
        try:
            return await call_next(request)
        except BaseException as exc:
            measured.failed(exc)
            raise
        finally:
            del scope[SEEN]
            measured.found(route_template(scope))

    async def dispatch_websocket(
        self, websocket: WebSocket, call_next: Callable[[WebSocket], Awaitable[None]]
    ) -> None:
        if self._passes(websocket):
            await call_next(websocket)
            return
        span, context = self._begin(websocket)
        scope, exchange = websocket.scope, websocket._exchange
        scope[SEEN] = True
        attached = _Attached(context)
        error: BaseException | None = None
        try:
            await call_next(websocket)
        except (HTTPException, WebSocketException):
            raise  # an answer
        except cancelled_type() as exc:
            error = None if exchange.cut else exc
            raise
        except BaseException as exc:
            if not (exchange.over and tells_of_end(exc)):
                error = exc
                _record(span, exc)
            raise
        finally:
            del scope[SEEN]
            span.set_attribute(ENDING, str(socket_ending_of(exchange, error)))
            error = None  # its traceback holds this frame
            if exchange.disconnected:
                span.add_event("client left")
            _name(span, "WEBSOCKET", route_template(scope))
            span.end()
            attached.detach()

    def _begin(self, connection: HTTPConnection[Any]) -> tuple[Span, Context]:
        context = propagate.extract(connection.headers, getter=_from_headers)
        span = self._tracer.start_span(
            "HTTP" if connection.scope["type"] == "http" else "WEBSOCKET",
            context=context,
            kind=SpanKind.SERVER,
            attributes=request_attributes(connection),
        )
        return span, trace.set_span_in_context(span, context)


class _Measured:
    """The span of one request, from its arrival to the last byte of its response.

    The messages to the server are listened to, because nothing else knows in every case when that
    is: the body of a foreign app ends before the app does, and wrapping a body would keep files from
    being sent by their path. What never comes to its end ends with the request.
    """

    def __init__(
        self, request: Request, span: Span, context: Context, duration: metrics.Histogram
    ) -> None:
        self._began = perf_counter()
        self._span = span
        self._attached = _Attached(context)
        self._duration = duration
        self._method = method_of(request.scope)
        self._metric: Attributes = {
            "http.request.method": self._method,
            "url.scheme": request.scope.get("scheme", "http"),
        }
        if version := request.scope.get("http_version"):
            self._metric["network.protocol.version"] = version
        self._cancelled = False
        exchange = request._exchange
        self._exchange: Exchange | None = exchange
        self._witness = Witness(exchange._send)
        exchange._send = self._send
        exchange.incoming.at_end += (self._close,)

    async def _send(self, message: Message) -> None:
        await self._witness(message)
        if message["type"] == "http.response.start":
            self._set("http.response.status_code", message["status"])
        elif self._witness.whole and self._exchange is not None:
            self._end(ending_of(self._exchange, self._witness, self._exchange.failure))

    def _set(self, key: str, value: str | int) -> None:
        self._span.set_attribute(key, value)
        self._metric[key] = value

    def found(self, route: str | None) -> None:
        """Below, this route was found."""
        if route is not None:
            self._metric["http.route"] = route
        _name(self._span, "HTTP" if self._method == "_OTHER" else self._method, route)

    def failed(self, exc: BaseException) -> None:
        """Below, this was raised."""
        exchange = self._exchange
        if isinstance(exc, cancelled_type()):
            self._cancelled = True
        elif not (exchange is not None and exchange.disconnected and caused_by_leaving(exc)):
            self._metric["error.type"] = _record(self._span, exc)

    async def _close(self) -> None:
        if self._exchange is not None:
            exc = self._exchange.failure  # it is on its way to the server
            if exc is not None and "error.type" not in self._metric:
                self.failed(exc)
            cut = isinstance(exc, cancelled_type()) and self._exchange.cut
            ending = ending_of(self._exchange, self._witness, None if cut else exc)
            exc = None  # its traceback holds this frame
            if self._cancelled and not cut:
                ending = Ending.CANCELLED
            if self._exchange.disconnected:
                self._span.add_event("client left")
            self._end(ending)
        self._attached.detach()

    def _end(self, ending: Ending) -> None:
        self._exchange = None  # whose end holds this object
        self._span.set_attribute(ENDING, str(ending))
        status = self._metric.get("http.response.status_code", 0)
        if isinstance(status, int) and status >= 500 and "error.type" not in self._metric:
            self._set("error.type", str(status))
            self._span.set_status(Status(StatusCode.ERROR))
        self._duration.record(perf_counter() - self._began, self._metric)
        self._span.end()


class _Attached:
    """OpenTelemetry's context, which is current until it is detached."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._before = contexts.get_current()
        contexts.attach(context)

    def detach(self) -> None:
        # Not by the token: around a foreign app the request may end in another task, which has taken
        # over what this one had set, and where a token of this one is not good.
        if contexts.get_current() is self._context:
            contexts.attach(self._before)


class _HeaderGetter(Getter[Headers]):
    def get(self, carrier: Headers, key: str) -> list[str] | None:
        return carrier.getlist(key) or None

    def keys(self, carrier: Headers) -> list[str]:
        return carrier.keys()


_from_headers = _HeaderGetter()


def _name(span: Span, method: str, route: str | None) -> None:
    if route is None:
        span.update_name(method)
    else:
        span.update_name(f"{method} {route}")
        span.set_attribute("http.route", route)


def _record(span: Span, exc: BaseException) -> str:
    """Say that the app failed; the error's name."""
    name = type(exc).__qualname__
    span.record_exception(exc)
    span.set_attribute("error.type", name)
    span.set_status(Status(StatusCode.ERROR))
    return name
