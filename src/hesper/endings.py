"""How requests end, and hooks to observe it: ``Hesper(on_ending=[log_ending])``.

An app calls each of its hooks once a request, when the request is over, with one ``RequestEnded``.

The law: what a client wrote can neither forge a line of the log nor make a series of its own. In a
line it is percent-encoded; a label is never a path, and a method only if HTTP defines it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPMethod
from logging import INFO, getLogger
from typing import Literal, NamedTuple
from urllib.parse import quote

__all__ = ["Ending", "EndingCounter", "RequestEnded", "Series", "log_ending"]

logger = getLogger("hesper.endings")


class Ending(StrEnum):
    """What can become of a request, or of a WebSocket."""

    COMPLETED = "completed"
    LEFT_BEFORE_RESPONSE = "client left before response"
    LEFT_IN_RESPONSE = "client left in response"
    LEFT_IN_UPLOAD = "client left in upload"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed out"
    SHUT_DOWN = "shut down"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class RequestEnded:
    """A request is over.

    Args:
        ending: how it ended.
        kind: what it was.
        method: as the client wrote it; "" for a WebSocket.
        path: as the client wrote it, decoded.
        route: the template of the route that answered, such as ``/users/{id}``; None if none did.
        status: of the response; None if none was begun.
        seconds: how long it took.
    """

    ending: Ending
    kind: Literal["http", "websocket"]
    method: str
    path: str
    route: str | None
    status: int | None
    seconds: float


# RFC 3986 section 3.3, pchar, and "/": what may stand in a path as it is. RFC 9110 section 5.6.2,
# tchar, has a few more, of which no method in use has one.
_SAFE = "/:@!$&'()*+,;=~"


def _escape(text: str) -> str:
    """What a client wrote, as ASCII without controls, spaces, quotes, backslashes."""
    return quote(text, _SAFE, errors="backslashreplace")  # a surrogate has no UTF-8


def log_ending(event: RequestEnded) -> None:
    """Log an ending: a hook for ``Hesper(on_ending=[...])``.

    It is one record of level INFO on the logger ``hesper.endings``, whatever the ending (errors are
    logged where they happen), such as ``GET /users/{id} 200 completed in 12 ms``; ``-`` stands for
    the status of a response that was not begun, ``WEBSOCKET`` for the method of a WebSocket, and
    the path for the route if there is none. The record has the fields of ``RequestEnded`` as
    attributes. What the client wrote is percent-encoded, in the text and in the attributes.
    """
    if not logger.isEnabledFor(INFO):
        return
    method, path = _escape(event.method), _escape(event.path)
    logger.info(
        "%s %s %s %s in %.0f ms",
        "WEBSOCKET" if event.kind == "websocket" else method,
        path if event.route is None else event.route,
        "-" if event.status is None else event.status,
        event.ending,
        event.seconds * 1000,
        extra={
            "ending": str(event.ending),
            "kind": event.kind,
            "method": method,
            "path": path,
            "route": event.route,
            "status": event.status,
            "seconds": event.seconds,
        },
    )


class Series(NamedTuple):
    """What endings are counted by; a client can add no new ones at will."""

    kind: str
    method: str
    """"other" if HTTP does not define it, "" for a WebSocket."""
    route: str
    """"" if no route answered."""
    status: int | None
    ending: Ending


_METHODS = frozenset(["", *HTTPMethod])


def _series(event: RequestEnded) -> Series:
    method = event.method if event.method in _METHODS else "other"
    return Series(event.kind, method, event.route or "", event.status, event.ending)


class EndingCounter:
    """Counts endings and the time they took: a hook for ``Hesper(on_ending=[counter])``.

    ``render`` gives what Prometheus reads, and no library is needed:
    ``Response(counter.render(), media_type=counter.media_type)``. It counts in this process; with
    several workers each has its own numbers. It may be called from any thread.
    """

    media_type = "text/plain; version=0.0.4"
    """Of what ``render`` gives."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[Series, int] = {}
        self._seconds: dict[Series, float] = {}

    def __call__(self, event: RequestEnded) -> None:
        """Count one."""
        series = _series(event)
        with self._lock:
            self._counts[series] = self._counts.get(series, 0) + 1
            self._seconds[series] = self._seconds.get(series, 0.0) + event.seconds

    @property
    def counts(self) -> Mapping[Series, int]:
        """How many requests ended in each way until now; a copy."""
        with self._lock:
            return dict(self._counts)

    def render(self) -> str:
        """The numbers in the text format of Prometheus, version 0.0.4.

        ``hesper_requests_total`` counts requests; ``hesper_request_seconds_sum`` and ``_count`` give
        their mean duration. The labels are the fields of ``Series``; ``status`` is "" if no response
        was begun.
        """
        with self._lock:
            counts, seconds = dict(self._counts), dict(self._seconds)
        rows = sorted((_labels(series), series) for series in counts)
        lines = [
            "# HELP hesper_requests_total Requests and WebSockets that have ended.",
            "# TYPE hesper_requests_total counter",
            *(f"hesper_requests_total{labels} {counts[series]}" for labels, series in rows),
            "# HELP hesper_request_seconds How long they took.",
            "# TYPE hesper_request_seconds summary",
        ]
        for labels, series in rows:
            lines.append(f"hesper_request_seconds_sum{labels} {seconds[series]}")
            lines.append(f"hesper_request_seconds_count{labels} {counts[series]}")
        return "\n".join(lines) + "\n"


def _labels(series: Series) -> str:
    status = "" if series.status is None else str(series.status)
    values = series.kind, series.method, series.route, status, series.ending
    pairs = zip(Series._fields, values, strict=True)
    return "{" + ",".join(f'{name}="{_label(value)}"' for name, value in pairs) + "}"


def _label(text: str) -> str:
    # "label_value can be any sequence of UTF-8 characters, but the backslash, double-quote, and line
    # feed characters have to be escaped" (Prometheus, Exposition formats).
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
