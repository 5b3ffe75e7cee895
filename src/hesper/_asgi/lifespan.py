"""The lifespan protocol (ASGI "Lifespan Protocol" 2.0), for an app and for what is mounted in it.

The rules:

1. Contexts are entered and left in the lifespan's own task: they may hold cancel scopes.
2. Parents are entered before their children and left after them; children are left in reverse. An
   app that is mounted more than once runs once, inside of all that it is mounted in.
3. What was entered is left, whatever comes. A cancellation by the server is a shutdown to the
   contexts: they are left without an error, may await for ``GRACE`` seconds (see ``Grace``), and
   then the cancellation comes out. The server is sent nothing: it did not ask.
4. Whether a cancellation came from outside is asked when all contexts have been left: a task group
   around a ``yield`` cancels the lifespan's task too when one of its tasks fails.
5. Errors come out as the objects that they are, after the server was told.
6. Requests and supervised work come to their end before the contexts are left, on which they
   depend: uvicorn, granian and gunicorn send the shutdown while requests still run.
"""

from __future__ import annotations

import inspect
import math
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from logging import getLogger
from typing import Any, TypeAlias

import anyio

from hesper._asgi.lifespan_host import GRACE, Hosted
from hesper._asgi.lifespan_order import each_app_once
from hesper._concurrency import Grace, cancelled_type, interruptible
from hesper.exceptions import HesperDeprecationWarning, UsageError
from hesper.types import ASGIApp, Receive, Scope, Send

logger = getLogger("hesper")

STATES = "hesper.states"
"""Where the states of mounted apps stand in the server's state: there, and not in the app, because
an app may run under two servers at a time. Only there if a mounted app has a lifespan."""

Context: TypeAlias = Callable[[Any], AbstractAsyncContextManager[Any]]
"""A lifespan function: it is given the app, and yields None or a mapping."""


class DefaultLifespan:
    """The lifespan of an app that has none."""

    def __call__(self, app: object) -> AbstractAsyncContextManager[None]:
        """A context that does nothing."""
        return nullcontext()


def as_context(lifespan: Any, stacklevel: int = 2) -> Context:
    """A lifespan as it is given, as a lifespan function.

    Args:
        lifespan: a function that gives an async context manager; None; or, deprecated, a generator
            function, async or not.
        stacklevel: where the deprecation warning points, as in ``warnings.warn``.

    Raises:
        UsageError: it cannot be called.
    """
    if lifespan is None:
        return DefaultLifespan()
    if inspect.isasyncgenfunction(lifespan):
        _warn("@contextlib.asynccontextmanager", stacklevel)
        return asynccontextmanager(lifespan)
    if inspect.isgeneratorfunction(lifespan):
        _warn("`async def` and @contextlib.asynccontextmanager", stacklevel)
        manager = contextmanager(lifespan)

        @asynccontextmanager
        async def context(app: Any) -> Any:
            with manager(app) as state:
                yield state

        return context
    if not callable(lifespan):
        raise UsageError(
            f"Expected lifespan to be a function that is given the app, got {lifespan!r}: "
            "pass a function decorated with @contextlib.asynccontextmanager."
        )
    known: Context = lifespan
    return known


def _warn(remedy: str, stacklevel: int) -> None:
    warnings.warn(
        f"A generator function as a lifespan is deprecated: make it a context with {remedy}.",
        HesperDeprecationWarning,
        stacklevel=stacklevel + 1,
    )


class OwnLifespan:
    """An app or router of Hesper's inside another one.

    Args:
        context: its lifespan function, which runs in the task of the whole.
        app: what the function is given.
        children: what runs inside of it.
    """

    __slots__ = ("app", "children", "context")

    def __init__(self, context: Context, app: Any, children: Sequence[Child] = ()) -> None:
        self.context = context
        self.app = app
        self.children = children


class ForeignLifespan:
    """A foreign ASGI app inside a Hesper app: the protocol is played to it.

    An app that does not support lifespan is ignored, as servers do.
    """

    __slots__ = ("app",)

    def __init__(self, app: ASGIApp) -> None:
        self.app = app


Child: TypeAlias = OwnLifespan | ForeignLifespan
"""What runs inside a lifespan, and is the key to its state: see ``state_of``."""


def state_of(child: Child, scope: Scope) -> dict[str, Any] | None:
    """What ``scope["state"]`` is for a request to ``child``: its parent's, and its own over it.

    Returns:
        The scope's own dict if the child's lifespan gave nothing; None if the scope has none.
    """
    state: dict[str, Any] | None = scope.get("state")
    if not state or STATES not in state:
        return state
    own = state[STATES].get(child)
    return {**state, **own} if own else state


async def serve_lifespan(
    context: Context,
    app: Any,
    scope: Scope,
    receive: Receive,
    send: Send,
    children: Sequence[Child] = (),
) -> None:
    """Run a lifespan, from ``lifespan.startup`` to ``lifespan.shutdown``.

    Args:
        context: the app's lifespan function; the mapping that it yields goes into
            ``scope["state"]``.
        app: what the function is given.
        children: what runs inside of the context, in this order.

    Raises:
        BaseException: what a context raised, the same object, or what cancelled the lifespan.
    """
    await receive()
    talk = _Talk(scope, receive, send)
    root = OwnLifespan(context, app, children)
    failure = cancelled = None
    try:
        with interruptible() as stretch:
            try:
                with Grace(stretch, GRACE) as grace:
                    try:
                        await grace.run(talk.run(root, grace))
                    finally:
                        cancelled = grace.cause
            except BaseException as exc:
                failure = exc
            if cancelled is not None and (  # rule 4
                stretch.cancelled_from_outside() or anyio.current_effective_deadline() == -math.inf
            ):
                _log_error_of_cancelled(failure)
                raise cancelled
        await talk.conclude(failure)
    finally:
        failure = cancelled = None  # their tracebacks hold this frame


def _log_error_of_cancelled(failure: BaseException | None) -> None:
    """A cancelled lifespan failed too: the cancellation comes out, the error must not be lost."""
    if isinstance(failure, BaseExceptionGroup):
        _, failure = failure.split(cancelled_type())
    if failure is not None and not isinstance(failure, cancelled_type()):
        logger.error("A lifespan failed while it was cancelled.", exc_info=failure)


def working_apps(node: OwnLifespan) -> list[Any]:
    """The apps in a lifespan that have work of their own to end, each once, parents first; a foreign
    one is told by its own lifespan."""
    found: dict[Any, None] = {}
    todo = [node]
    while todo:
        node = todo.pop(0)
        if hasattr(node.app, "_end_work"):
            found.setdefault(node.app)
        todo += [child for child in node.children if isinstance(child, OwnLifespan)]
    return [*found]


class _Talk:
    """The conversation with the server."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._asked: str | None = "startup"
        """What the server waits for an answer to."""

    async def run(self, root: OwnLifespan, grace: Grace) -> None:
        """Enter the contexts, wait for the shutdown, leave them."""
        async with AsyncExitStack() as contexts:
            self._publish(await _enter_own(root, contexts))
            order = each_app_once(root.children)
            for places in order:
                await self._enter(places, contexts)
            if grace.settle():
                return  # a context swallowed the cancellation
            self._asked = None
            for app in reversed(working_apps(root)):
                app._begin_work()
                # Rule 6: the outermost first, whose requests the others' are.
                contexts.push_async_callback(self._end_work, app)
            await self._send({"type": "lifespan.startup.complete"})
            try:
                await self._receive()
                self._asked = "shutdown"
            except cancelled_type():
                pass  # rule 3

    async def _end_work(self, app: Any) -> None:
        # A server that did not ask is in a hurry: what is under way has no time but for cleanup.
        await app._end_work(0.0 if self._asked is None else app.shutdown_grace)

    async def _enter(self, places: Sequence[Child], contexts: AsyncExitStack) -> None:
        """Enter the lifespan of one app, which is mounted in these places."""
        child = places[0]
        state: Mapping[str, Any]
        if isinstance(child, OwnLifespan):
            state = await _enter_own(child, contexts)
        else:
            state = await contexts.enter_async_context(Hosted(child.app, self._scope))
        if state:
            known = self._scope.get("state", {}).get(STATES, {})
            self._publish({STATES: {**known, **dict.fromkeys(places, state)}})

    def _publish(self, state: Mapping[str, Any]) -> None:
        if not state:
            return
        if "state" not in self._scope:
            raise UsageError(
                'The server does not support "state" in the lifespan scope, so the lifespan can '
                "yield nothing: keep its values in `app.state`, or use another server."
            )
        self._scope["state"].update(state)

    async def conclude(self, failure: BaseException | None) -> None:
        """Tell the server how it went, and raise ``failure``."""
        if isinstance(failure, (GeneratorExit, KeyboardInterrupt)):
            raise failure  # the program ends: there is nobody to tell
        if failure is None and self._asked == "shutdown":
            await self._send({"type": "lifespan.shutdown.complete"})
            return
        if failure is None:
            failure = UsageError(
                "The lifespan ended by itself: something cancelled a scope that it has around its "
                "`yield`. Keep such scopes open until the code after the `yield` runs."
            )
        if self._asked is None:
            logger.error("The lifespan ended while the app was running.", exc_info=failure)
        else:
            text = "".join(traceback.format_exception(failure))
            await self._send({"type": f"lifespan.{self._asked}.failed", "message": text})
        raise failure


async def _enter_own(node: OwnLifespan, contexts: AsyncExitStack) -> Mapping[str, Any]:
    """Enter a context of ours.

    Raises:
        UsageError: the lifespan function gave no async context manager, or that no mapping.
    """
    manager: Any = node.context(node.app)
    if not hasattr(manager, "__aenter__"):
        if inspect.iscoroutine(manager):
            manager.close()  # without a warning that nobody awaited it
        raise UsageError(
            f"Expected the lifespan {node.context!r} to give an async context manager, got "
            f"{manager!r}: decorate it with @contextlib.asynccontextmanager and `yield` once."
        )
    state = await contexts.enter_async_context(manager)
    if state is None:
        return {}
    if not isinstance(state, Mapping):
        raise UsageError(
            f"Expected the lifespan {node.context!r} to yield None or a mapping, got {state!r}."
        )
    return state
