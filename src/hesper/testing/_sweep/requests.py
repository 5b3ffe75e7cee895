"""What to sweep, as a user writes it: the application, the request, and the options."""

import json as json_module
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from hesper.exceptions import UsageError
from hesper.testing._dialect import Dialect
from hesper.testing._scope import Headers
from hesper.testing._sweep.loops import Backend, check_no_loop
from hesper.testing._sweep.plan import Options, Progress, Sweeper
from hesper.testing._sweep.play import KINDS, UNDISTURBED, Point, Setting
from hesper.testing._sweep.report import Report
from hesper.testing.dialects import DIALECTS, UVICORN
from hesper.testing.script import Script, ScriptedServer
from hesper.types import ASGIApp

Fields = Mapping[str, str] | Iterable[tuple[str, str]]


class Sweep:
    """Proves the endings of an application: ``Sweep(app).get("/stream").assert_clean()``.

    Args:
        app: any ASGI application. Each run starts it and shuts it down, if it has a lifespan.
        options: fields of `Options`; `SweptRequest.but` sets them for one request.
    """

    def __init__(self, app: ASGIApp, **options: Any) -> None:
        self._app = app
        self._options = _changed(Options(), options)

    def get(self, path: str = "/", *, headers: Headers = ()) -> "SweptRequest":
        """Returns a GET request to sweep."""
        return self.request("GET", path, headers=headers)

    def post(
        self,
        path: str = "/",
        *,
        body: bytes | Iterable[bytes | float] = b"",
        json: Any = None,
        form: Fields | None = None,
        headers: Headers = (),
    ) -> "SweptRequest":
        """Returns a POST request to sweep; see `request`."""
        return self.request("POST", path, body=body, json=json, form=form, headers=headers)

    def request(
        self,
        method: str,
        path: str = "/",
        *,
        body: bytes | Iterable[bytes | float] = b"",
        json: Any = None,
        form: Fields | None = None,
        headers: Headers = (),
    ) -> "SweptRequest":
        """Returns an HTTP request to sweep.

        Args:
            method: the method, in upper case.
            path: the path as on the wire, with the query.
            body: the body, each part in a message of its own; numbers are pauses in seconds.
            json: a value to send as JSON instead.
            form: fields to send as a form instead.
            headers: the headers; what says the type and length of the body is added.
        """
        fields = list(headers.items() if isinstance(headers, Mapping) else headers)
        if json is not None:
            body = json_module.dumps(json).encode()
            fields.append(("content-type", "application/json"))
        elif form is not None:
            pairs = form.items() if isinstance(form, Mapping) else form
            body = urlencode(list(pairs)).encode()
            fields.append(("content-type", "application/x-www-form-urlencoded"))
        parts = body if isinstance(body, bytes) else tuple(body)

        def script(server: ScriptedServer) -> Script:
            return server.request(method, path, body=parts, headers=fields)

        return SweptRequest(self._app, script, f"{method} {path}", self._options)

    def websocket(
        self,
        path: str = "/",
        *,
        messages: Iterable[str | bytes | float] = (),
        headers: Headers = (),
        subprotocols: Iterable[str] = (),
    ) -> "SweptRequest":
        """Returns a WebSocket to sweep.

        Args:
            path: the path as on the wire, with the query.
            messages: what the client sends once it is accepted, str as text and bytes as binary;
                numbers are pauses in seconds.
            headers: the headers of the handshake.
            subprotocols: what the client offers.
        """
        sent, offered = tuple(messages), tuple(subprotocols)

        def script(server: ScriptedServer) -> Script:
            return server.websocket(path, messages=sent, headers=headers, subprotocols=offered)

        return SweptRequest(self._app, script, f"WebSocket {path}", self._options)


@dataclass(frozen=True)
class SweptRequest:
    """One request of an application, to be ended in every way; made by `Sweep`."""

    app: ASGIApp
    script: Any
    """Makes the script of the request for a `ScriptedServer`."""
    title: str
    options: Options

    def but(self, **options: Any) -> "SweptRequest":
        """Returns the same request with some options set otherwise.

        Args:
            options: fields of `Options`.

        Raises:
            UsageError: there is no such option, or no such kind.
        """
        return replace(self, options=_changed(self.options, options))

    def run(self, progress: Progress | None = None) -> Report:
        """Makes all runs, in event loops of its own, and returns what they found.

        Args:
            progress: called before each run with the number of runs made, and that of all.

        Raises:
            UsageError: an event loop runs in this thread.
        """
        return self._sweeper().sweep(progress)

    def assert_clean(self, progress: Progress | None = None) -> Report:
        """Does `run`, and returns its report if there is nothing wrong in it.

        Raises:
            AssertionError: with the report as its text.
        """
        report = self.run(progress)
        if not report.clean:
            raise AssertionError(str(report))
        return report

    def replay(
        self, at: str, *, dialect: Dialect | str = UVICORN, backend: Backend = "asyncio"
    ) -> Report:
        """Repeats one run, after the undisturbed one.

        Args:
            at: the point as a violation's `at` says it: ``"cancel:17"``.
            dialect: the server, or its name.
            backend: ``"asyncio"`` or ``"trio"``.

        Raises:
            UsageError: there is no such point or dialect.
        """
        return self._sweeper().replay(_point(at), _dialect(dialect), backend)

    def _sweeper(self) -> Sweeper:
        check_no_loop()
        options = self.options
        seconds = options.seconds
        if seconds is None:
            seconds = 5.0 if options.real_time else 60.0
        setting = Setting(
            self.app, self.script, seconds, options.steps, options.seed, options.real_time
        )
        return Sweeper(setting, options, self.title)


def _changed(options: Options, changes: dict[str, Any]) -> Options:
    known = options.__dataclass_fields__
    for name, value in changes.items():
        if name not in known:
            raise UsageError(f"The sweep has no option {name!r}; it has {', '.join(known)}.")
        if name in ("dialects", "backends", "kinds", "suppress"):
            if isinstance(value, str):
                raise UsageError(f"Expected {name} to be a sequence, got {value!r}.")
            changes[name] = tuple(value)
    wrong = [kind for kind in changes.get("kinds", ()) if kind not in KINDS]
    if wrong:
        raise UsageError(f"There is no kind {wrong[0]!r}; the kinds are {', '.join(KINDS)}.")
    if "dialects" in changes:
        changes["dialects"] = tuple(map(_dialect, changes["dialects"]))
    return replace(options, **changes)


def _dialect(dialect: Dialect | str) -> Dialect:
    if isinstance(dialect, Dialect):
        return dialect
    for known in DIALECTS:
        if known.name == dialect:
            return known
    names = ", ".join(known.name for known in DIALECTS)
    raise UsageError(f"There is no dialect {dialect!r}; the dialects are {names}.")


def _point(at: str) -> Point:
    kind, _, number = at.partition(":")
    if at == str(UNDISTURBED):
        return UNDISTURBED
    if kind not in KINDS or not number.isdecimal():
        raise UsageError(f"Expected a point such as 'cancel:17', got {at!r}.")
    return Point(kind, int(number))
