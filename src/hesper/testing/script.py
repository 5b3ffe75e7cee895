"""The scripted server: an ASGI server without sockets that plays a dialect and leaves on cue.

The law: what it does follows from the dialect, the script and the seed alone. It reads no clock but
the event loop's and starts no thread, and runs on asyncio and trio::

    server = ScriptedServer(app, GUNICORN)
    result = await server.post("/upload", body=[b"a", b"b"]).leave_at_message(1).run()
    assert result.ended == "returned"
"""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Literal

import anyio

from hesper.testing._dialect import Dialect
from hesper.testing._exchange import PATIENCE
from hesper.testing._http import HTTPConnection
from hesper.testing._lifespan import LifespanExchange
from hesper.testing._plan import Plan
from hesper.testing._scope import (
    Headers,
    add_framing,
    http_scope,
    raw_headers,
    websocket_scope,
)
from hesper.testing._websocket import WebSocketConnection
from hesper.testing.client import Client
from hesper.testing.dialects import UVICORN
from hesper.testing.result import Result
from hesper.types import ASGIApp


class ScriptedServer:
    """Plays a server in front of an application.

    Args:
        app: any ASGI application.
        dialect: how the server behaves when things end.
        seed: decides by chance, but repeatably, whether each `receive` and `send` suspends; None
            leaves it to the dialect.
    """

    def __init__(
        self, app: ASGIApp, dialect: Dialect = UVICORN, *, seed: int | None = None
    ) -> None:
        self.app = app
        self.dialect = dialect
        self.seed = seed
        self.state: dict[str, Any] = {}
        """The lifespan's state; every request gets a shallow copy."""
        self.lifespan_result: Result | None = None
        """What the application did in `lifespan`."""
        self._lifespan: LifespanExchange | None = None

    def get(
        self, path: str = "/", *, headers: Headers = (), extensions: Iterable[str] = ()
    ) -> "Script":
        """Returns a script for a GET request without a body."""
        return self.request("GET", path, headers=headers, extensions=extensions)

    def post(
        self,
        path: str = "/",
        *,
        body: bytes | Iterable[bytes | float] = b"",
        headers: Headers = (),
        unfinished: bool = False,
        extensions: Iterable[str] = (),
    ) -> "Script":
        """Returns a script for a POST request; see `request`."""
        return self.request(
            "POST", path, body=body, headers=headers, unfinished=unfinished, extensions=extensions
        )

    def request(
        self,
        method: str,
        path: str = "/",
        *,
        body: bytes | Iterable[bytes | float] = b"",
        headers: Headers = (),
        unfinished: bool = False,
        extensions: Iterable[str] = (),
    ) -> "Script":
        """Returns a script for an HTTP request.

        Args:
            method: the method, in upper case.
            path: the path as on the wire, with the query.
            body: the body, each part in a message of its own; numbers are pauses in seconds.
            headers: the headers; Host, and Content-Length or Transfer-Encoding, are added.
            unfinished: leaves the body open after the last part; go on with `Client.send`.
            extensions: extensions to offer besides the dialect's.
        """
        parts = ((body,) if body else ()) if isinstance(body, bytes) else tuple(body)
        fields = raw_headers(headers)
        add_framing(fields, parts, unfinished, self.dialect)
        scope = http_scope(self.dialect, method, path, fields, extensions)
        return Script(self, Plan(scope=scope, parts=parts, unfinished=unfinished))

    def websocket(
        self,
        path: str = "/",
        *,
        messages: Iterable[str | bytes | float] = (),
        headers: Headers = (),
        subprotocols: Iterable[str] = (),
        extensions: Iterable[str] = (),
    ) -> "Script":
        """Returns a script for a WebSocket.

        Args:
            path: the path as on the wire, with the query.
            messages: what the client sends once it is accepted, str as text and bytes as binary;
                numbers are pauses in seconds.
            headers: the headers of the handshake; Host and the like are added.
            subprotocols: what the client offers.
            extensions: extensions to offer besides the dialect's.
        """
        fields = raw_headers(headers)
        scope = websocket_scope(self.dialect, path, fields, subprotocols, extensions)
        return Script(self, Plan(scope=scope, parts=tuple(messages)))

    @asynccontextmanager
    async def lifespan(
        self, *, ends: Literal["shutdown", "cancel"] = "shutdown"
    ) -> AsyncIterator[dict[str, Any]]:
        """Starts the application, gives its state, and shuts it down at the end of the block.

        What it did is in `lifespan_result` afterwards. An application without lifespan, or a
        dialect without it, is no error.

        Args:
            ends: ``"cancel"`` cancels the application instead, as a server that is forced to exit.

        Raises:
            LifespanFailed: the application said so, or raised in its shutdown.
            StillRunning: it did not answer in time; its text holds the log.
        """
        if not self.dialect.lifespan:
            yield {}
            return
        exchange = self._lifespan = LifespanExchange(self.dialect)
        self.lifespan_result, self.state = exchange.result, exchange.state
        error: BaseException | None = None
        async with anyio.create_task_group() as server:
            server.start_soon(exchange.run_app, self.app)
            try:
                await exchange.startup()
                yield self.state
                if ends == "shutdown":
                    await exchange.shutdown()
            except anyio.get_cancelled_exc_class():
                raise
            except BaseException as exc:
                # Outside of the task group, which would wrap it in an ExceptionGroup.
                error = exc
            finally:
                server.cancel_scope.cancel()
        if error is not None:
            raise error

    async def shutdown(self) -> None:
        """Sends ``lifespan.shutdown`` inside a `lifespan` block, and waits for its end.

        uvicorn with a graceful timeout, granian and gunicorn do so while requests still run.

        Raises:
            LifespanFailed: the application said so, or raised in its shutdown.
            RuntimeError: there is no `lifespan` block around.
        """
        if self._lifespan is None:
            raise RuntimeError("there is nothing to shut down: use it in `async with lifespan()`")
        await self._lifespan.shutdown()


@dataclass(frozen=True)
class Script:
    """What happens in one exchange; each step gives a new script, which can be run many times."""

    server: ScriptedServer
    plan: Plan

    def leave_before_body(self) -> "Script":
        """Lets the client leave after the headers of the request, or after the handshake."""
        return self.leave_after_request(0)

    def leave_after_request(self, parts: int | None = None) -> "Script":
        """Lets the client leave when it has sent so many parts of its body, or its messages.

        Args:
            parts: how many; None is the whole request.
        """
        if parts is None:
            return self._with(leaves_after_request=True)
        return self._with(leave_after_part=parts)

    def leave_at_message(self, number: int) -> "Script":
        """Lets the client leave when that message of the application has reached it.

        Args:
            number: 1 is the first message; with 0 the client is gone on arrival, after its whole
                request (a WebSocket client before the handshake is answered).
        """
        return self._with(leave_at=number)

    def leave_after(self, seconds: float) -> "Script":
        """Lets the client leave at a time, in seconds of the event loop's clock."""
        return self._with(leave_after=seconds)

    def leave_by_closing(self, code: int | None = 1000, reason: str = "") -> "Script":
        """Lets a WebSocket client leave with a closing frame, whenever it does; None is a frame
        without a code."""
        return self._with(close=(code, reason))

    def stall_at_message(self, number: int) -> "Script":
        """Lets the client stop reading before that message, so that its `send` blocks."""
        return self._with(stall_at=number)

    def _with(self, **steps: Any) -> "Script":
        return replace(self, plan=replace(self.plan, **steps))

    async def run(self, *, timeout: float = PATIENCE) -> Result:
        """Plays the script until the application ends.

        Args:
            timeout: seconds of the event loop's clock.

        Raises:
            StillRunning: the application did not end in time; its text holds the log.
        """
        async with self.open() as client:
            return await client.finish(timeout=timeout)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Client]:
        """Plays the script and gives the client, for a test that takes its own steps.

        The application runs beside the block. At its end the client leaves, if it is still there,
        and the application has to end.

        Raises:
            StillRunning: it did not.
        """
        error: BaseException | None = None
        async with anyio.create_task_group() as tasks:
            connection = self._connect(tasks)
            client = Client(connection)
            connection.start(self.server.app)
            try:
                yield client
                if not connection.ended.is_set():
                    client.leave()
                    await client.finish()
            except anyio.get_cancelled_exc_class():
                raise
            except BaseException as exc:
                # Outside of the task group, which would wrap it in an ExceptionGroup.
                error = exc
            finally:
                connection.close()
                tasks.cancel_scope.cancel()
        if error is not None:
            raise error

    def _connect(self, tasks: anyio.abc.TaskGroup) -> HTTPConnection | WebSocketConnection:
        server = self.server
        random = None if server.seed is None else Random(server.seed)
        scope = deepcopy(self.plan.scope)
        if server.dialect.lifespan:
            scope["state"] = dict(server.state)
        kind = HTTPConnection if scope["type"] == "http" else WebSocketConnection
        return kind(scope, server.dialect, random, self.plan, tasks)
