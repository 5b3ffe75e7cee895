"""Who asks, and what they may do: the names that backends, middleware and endpoints share."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

from hesper._utils import is_async_callable
from hesper.exceptions import HTTPException, UsageError
from hesper.requests import HTTPConnection, Request
from hesper.responses import RedirectResponse, Response
from hesper.websockets import WebSocket

__all__ = [
    "AuthCredentials",
    "AuthenticationBackend",
    "AuthenticationError",
    "BaseUser",
    "SimpleUser",
    "UnauthenticatedUser",
    "has_required_scope",
    "requires",
]

F = TypeVar("F", bound=Callable[..., Any])

_KINDS: dict[str, type[HTTPConnection[Any]]] = {"request": Request, "websocket": WebSocket}


def has_required_scope(conn: HTTPConnection[Any], scopes: Sequence[str]) -> bool:
    """Whether the client has all of these scopes.

    Raises:
        UsageError: there is no ``AuthenticationMiddleware``.
    """
    granted = conn.auth.scopes
    return all(scope in granted for scope in scopes)


def requires(
    scopes: str | Sequence[str], status_code: int = 403, redirect: str | None = None
) -> Callable[[F], F]:
    """Let only clients with these scopes call an endpoint.

    For functions and methods, async or not, that have a parameter ``request`` or ``websocket``. A
    WebSocket is closed with 1000, which before ``accept()`` refuses it with 403.

    Args:
        scopes: one, or several that are all needed.
        status_code: of the ``HTTPException`` that others get.
        redirect: the name of a route that they are sent to instead (303), with the URL of their
            request as ``?next=``. What reads that must still check that it is a URL of this site.

    Raises:
        UsageError: the function has no such parameter; or, when it is called, its argument is not
            a ``Request`` or a ``WebSocket``.
    """
    needed = [scopes] if isinstance(scopes, str) else list(scopes)

    def refusal(request: Request[Any]) -> Response | None:
        if has_required_scope(request, needed):
            return None
        if redirect is None:
            raise HTTPException(status_code)
        url = request.url_for(redirect).include_query_params(next=request.url)
        return RedirectResponse(url, status_code=303)

    def decorator(func: F) -> F:
        name, index = _connection_parameter(func)

        def connection(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            given = kwargs.get(name, args[index] if index < len(args) else None)
            if not isinstance(given, _KINDS[name]):
                raise UsageError(
                    f"Expected the argument {name!r} of {_name_of(func)} to be a "
                    f"{_KINDS[name].__name__}, got {given!r:.80}."
                )
            return given

        if name == "websocket":

            @functools.wraps(func)
            async def with_websocket(*args: Any, **kwargs: Any) -> None:
                websocket: WebSocket[Any] = connection(args, kwargs)
                if has_required_scope(websocket, needed):
                    await func(*args, **kwargs)
                else:
                    await websocket.close()

            return cast(F, with_websocket)

        if is_async_callable(func):

            @functools.wraps(func)
            async def with_request(*args: Any, **kwargs: Any) -> Any:
                answer = refusal(connection(args, kwargs))
                return await func(*args, **kwargs) if answer is None else answer

            return cast(F, with_request)

        @functools.wraps(func)
        def in_thread(*args: Any, **kwargs: Any) -> Any:
            answer = refusal(connection(args, kwargs))
            return func(*args, **kwargs) if answer is None else answer

        return cast(F, in_thread)

    return decorator


def _connection_parameter(func: Callable[..., Any]) -> tuple[str, int]:
    """Name and place of the parameter that is the connection."""
    parameters = inspect.signature(func).parameters
    for index, name in enumerate(parameters):
        if name in _KINDS:
            return name, index
    raise UsageError(
        f'No "request" or "websocket" argument on function {_name_of(func)}: expected one of '
        f"these among its parameters, got ({', '.join(parameters)})."
    )


def _name_of(func: Callable[..., Any]) -> str:
    return getattr(func, "__qualname__", repr(func))


class AuthenticationError(Exception):
    """The client's credentials are wrong; its text is for the client to read."""


class AuthenticationBackend:
    """Finds out who asks."""

    async def authenticate(
        self, conn: HTTPConnection[Any]
    ) -> tuple[AuthCredentials, BaseUser] | None:
        """Override this.

        Args:
            conn: the request or the WebSocket.

        Returns:
            What the client may do, and who it is; None if it does not say.

        Raises:
            AuthenticationError: it says so and is wrong.
        """
        raise NotImplementedError(f"{type(self).__name__} must define authenticate(conn)")


class AuthCredentials:
    """What a client may do.

    Args:
        scopes: names that ``requires`` asks for.
    """

    def __init__(self, scopes: Sequence[str] | None = None) -> None:
        self.scopes = [] if scopes is None else list(scopes)


class BaseUser:
    """Who asks. Override all three."""

    @property
    def is_authenticated(self) -> bool:
        """Whether that is known."""
        raise NotImplementedError(f"{type(self).__name__} must define is_authenticated")

    @property
    def display_name(self) -> str:
        """A name to show."""
        raise NotImplementedError(f"{type(self).__name__} must define display_name")

    @property
    def identity(self) -> str:
        """What tells this user from all others."""
        raise NotImplementedError(f"{type(self).__name__} must define identity")


class SimpleUser(BaseUser):
    """A user who is known by name."""

    def __init__(self, username: str) -> None:
        self.username = username

    @property
    def is_authenticated(self) -> bool:
        return True

    @property
    def display_name(self) -> str:
        return self.username

    @property
    def identity(self) -> str:
        return self.username


class UnauthenticatedUser(BaseUser):
    """Nobody in particular."""

    @property
    def is_authenticated(self) -> bool:
        return False

    @property
    def display_name(self) -> str:
        return ""

    @property
    def identity(self) -> str:
        return ""
