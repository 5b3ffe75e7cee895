"""The types of ASGI: what a server and an application say to each other.

The aliases that applications and middleware are annotated with, which are Starlette's, name by name;
and every scope and message as a ``TypedDict`` (see ``hesper._messages``), which is made when somebody
asks for it: an application that only runs need not wait for thirty classes (2 ms).
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from hesper._messages import *  # noqa: F403
    from hesper.requests import Request
    from hesper.responses import Response
    from hesper.websockets import WebSocket

AppType = TypeVar("AppType")
"""The application that a lifespan function is given."""

Scope = MutableMapping[str, Any]
"""A connection scope, as servers and middlewares of every kind pass it."""

Message = MutableMapping[str, Any]
"""An event in either direction."""

Receive = Callable[[], Awaitable[Message]]
"""Waits for the next event from the server."""

Send = Callable[[Message], Awaitable[None]]
"""Hands an event to the server."""

ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
"""An ASGI 3 application."""

StatelessLifespan = Callable[[AppType], AbstractAsyncContextManager[None]]
"""A lifespan that gives its requests nothing."""

StatefulLifespan = Callable[[AppType], AbstractAsyncContextManager[Mapping[str, Any]]]
"""A lifespan whose mapping becomes the ``state`` of every request."""

Lifespan = StatelessLifespan[AppType] | StatefulLifespan[AppType]
"""A lifespan of either kind."""

HTTPExceptionHandler = Callable[["Request", Any], "Response | Awaitable[Response]"]
"""Turns an exception into the response to a request; may be annotated with its class."""

WebSocketExceptionHandler = Callable[["WebSocket", Any], Awaitable[None]]
"""Ends a WebSocket whose endpoint raised."""

ExceptionHandler = HTTPExceptionHandler | WebSocketExceptionHandler
"""An exception handler of either kind."""

RawHeaders = Iterable[tuple[bytes, bytes]]
"""Header names in lower case with their values, in order, duplicates kept."""


def __getattr__(name: str) -> Any:
    if not name.startswith("_"):  # such as __path__, which each import of a name asks for
        from hesper import _messages  # here: see above

        if name in _messages.__all__:
            return getattr(_messages, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
