"""What the two clients share: the application, its lifespan, and how requests are prepared.

The law: a client that is entered runs one lifespan, from start-up to shutdown, in one task.
"""

from __future__ import annotations

import warnings
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import urljoin

import anyio

from hesper._concurrency import Child, spawn
from hesper._testclient.apps import ASGI2App, ASGI3App, Server, as_asgi3
from hesper._testclient.exchanges import GRACE
from hesper._testclient.http.headers import HeaderTypes, JoinedHeaders
from hesper._testclient.strict import DIALECT, Strict
from hesper.exceptions import HesperDeprecationWarning, UsageError
from hesper.testing import LifespanFailed
from hesper.testing._lifespan import LifespanExchange


class _Lifespan(Strict, LifespanExchange):
    """One run of an application, whose own errors come out."""

    def __init__(self, state: dict[str, Any]) -> None:
        super().__init__(DIALECT)
        self.state = self.scope["state"] = state

    async def step(self, step: Callable[[], Awaitable[None]]) -> None:
        """Takes a step of the protocol, and raises what the application raised meanwhile."""
        try:
            await step()
        except LifespanFailed:
            # It has said so, and may raise the reason as well.
            with anyio.move_on_after(GRACE):
                await self.ended.wait()
            self._raise()
            raise
        self._raise()

    def _raise(self) -> None:
        if self.result.raised is not None:
            raise self.result.raised


class Base:
    """The part of a client that does not wait for anything in its own way."""

    __test__ = False  # a name that pytest would collect

    app: Any
    """The application, in the form of ASGI 3."""

    app_state: dict[str, Any]
    """The state of the lifespan, as the application has filled it; each request has a copy."""

    _running = False
    _run: _Lifespan
    _child: Child

    def _serve(
        self,
        app: ASGI2App | ASGI3App,
        raise_server_exceptions: bool,
        root_path: str,
        client: tuple[str, int],
        grace: float,
    ) -> Server:
        self.app = as_asgi3(app)
        self.app_state = {}
        return Server(
            app=self.app,
            app_state=self.app_state,
            raise_server_exceptions=raise_server_exceptions,
            root_path=root_path,
            client=client,
            grace=grace,
        )

    def _check_not_entered(self) -> None:
        if self._running:
            raise UsageError(
                "The client is open already: one client runs one lifespan at a time. "
                "Make a second client, or enter this one when its block has ended."
            )

    async def lifespan(self) -> None:
        """Runs the application's lifespan; `wait_startup` starts it, in a task of its own."""
        await self._run.run_app(self.app)

    async def wait_startup(self) -> None:
        """Starts the lifespan, and waits until the application is ready.

        Raises:
            LifespanFailed: it said that it cannot start.
            BaseException: what it raised.
        """
        self._check_not_entered()
        self._running = True
        self._run = _Lifespan(self.app_state)
        self._child = spawn(self.lifespan())
        try:
            await self._run.step(self._run.startup)
        except BaseException:
            await self._stop()
            raise

    async def wait_shutdown(self) -> None:
        """Shuts the application down, and waits for the end of its lifespan.

        Raises:
            LifespanFailed: it said that its shutdown failed.
            BaseException: what it raised, now or since it had started.
        """
        try:
            await self._run.step(self._run.shutdown)
        finally:
            await self._stop()

    async def _stop(self) -> None:
        self._running = False
        self._child.cancel()
        await self._child.join()


def client_headers(headers: HeaderTypes | None) -> JoinedHeaders:
    """The headers of all requests of a client."""
    made = JoinedHeaders(headers)
    made.setdefault("user-agent", "testclient")
    return made


def handshake(url: str, subprotocols: Sequence[str] | None, options: dict[str, Any]) -> str:
    """Makes the options of a handshake of those of a request; gives its URL."""
    headers = JoinedHeaders(options.get("headers"))
    headers.setdefault("connection", "upgrade")
    headers.setdefault("sec-websocket-key", "testserver==")
    headers.setdefault("sec-websocket-version", "13")
    if subprotocols is not None:
        headers.setdefault("sec-websocket-protocol", ", ".join(subprotocols))
    options["headers"] = headers.raw
    return urljoin("ws://testserver", url)


def warn_of_timeout() -> None:
    """A timeout of the client library cannot end an application."""
    warnings.warn(
        "You should not use the 'timeout' argument with the TestClient: it has no effect. "
        "Leave with response.disconnect() or client.leaving(), "
        "or use anyio.fail_after() around a call of AsyncTestClient.",
        HesperDeprecationWarning,
        stacklevel=3,
    )
