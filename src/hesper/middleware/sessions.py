"""Sessions in a cookie: signed, so that the client can read them, but not change them.

The law: what a client sends becomes a session or an empty one, never an error. The cookie is
Starlette's: base64 of JSON, a time stamp and a signature by ``itsdangerous``.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable, Sequence
from logging import getLogger
from typing import Any, Literal

from hesper._stack import RequestResponseEndpoint
from hesper.cookies import render_set_cookie
from hesper.datastructures import MutableHeaders, Secret
from hesper.exceptions import UsageError
from hesper.middleware.base import BaseHTTPMiddleware
from hesper.requests import HTTPConnection, Request
from hesper.responses import Response
from hesper.types import ASGIApp
from hesper.websockets import WebSocket

try:
    from itsdangerous import BadData, TimestampSigner
except ImportError as error:
    raise ImportError(
        'Sessions need the itsdangerous package. Install it with: pip install "hesper[sessions]"'
    ) from error

__all__ = ["Session", "SessionMiddleware"]

logger = getLogger("hesper")

MAX_COOKIE_SIZE = 4096
"""Bytes of a cookie's name and value beyond which browsers drop it (RFC 6265bis section 5.6)."""


class Session(dict[str, Any]):
    """A dict that knows whether it was looked at, and whether it was changed.

    ``request.session`` marks it as looked at. A change inside of a value, as in
    ``session["cart"].append(item)``, is seen when the session is saved.
    """

    accessed: bool = False
    """Whether the response may depend on it."""

    modified: bool = False
    """Whether one of its own methods has changed it."""

    def mark_accessed(self) -> None:
        """Let the response vary by the cookie."""
        self.accessed = True

    def mark_modified(self) -> None:
        """Let the session be saved."""
        self.accessed = True
        self.modified = True

    def __setitem__(self, key: str, value: Any) -> None:
        self.mark_modified()
        super().__setitem__(key, value)

    def __delitem__(self, key: str) -> None:
        self.mark_modified()
        super().__delitem__(key)

    def clear(self) -> None:
        """Forget everything; without anything in it the cookie is deleted."""
        self.mark_modified()
        super().clear()

    def pop(self, key: str, *args: Any) -> Any:
        """As a dict's; no change if the key is not there."""
        if key in self:
            self.mark_modified()
        return super().pop(key, *args)

    def popitem(self) -> tuple[str, Any]:
        """As a dict's."""
        item = super().popitem()
        self.mark_modified()
        return item

    def setdefault(self, key: str, default: Any = None) -> Any:
        """As a dict's; no change if the key is there."""
        if key not in self:
            self.mark_modified()
        return super().setdefault(key, default)

    def update(self, *args: Any, **kwargs: Any) -> None:
        """As a dict's."""
        self.mark_modified()
        super().update(*args, **kwargs)

    def __ior__(self, other: Any, /) -> Session:  # type: ignore[override,misc]
        self.mark_modified()
        return super().__ior__(other)


class SessionMiddleware(BaseHTTPMiddleware):
    """Gives requests and WebSockets a ``session``, kept in a signed cookie.

    A changed session is saved when the response is there, also that to an ``HTTPException``; not
    if an error comes out that nothing answers. What a streaming body or background work changes
    comes too late. On a WebSocket the session is there to read: changes are not saved.

    A response has ``Set-Cookie`` only if the session was changed, and ``Vary: Cookie`` if it was
    looked at. An emptied session deletes the cookie. One that is tampered with, expired or no JSON
    object is an empty session.

    The cookie is all that there is: whoever has a copy has that session until it expires, also
    after a logout. Call ``session.clear()`` when a user logs in, so that nothing is left in it that
    somebody else has planted in the browser (session fixation). Against cookies from neighbouring
    subdomains name it ``__Host-session``, with ``https_only`` and without ``domain``.

    Args:
        app: the ASGI app.
        secret_key: signs the cookie. A list rotates keys: the first signs, all verify.
        session_cookie: the cookie's name.
        max_age: seconds that a session is valid after it was last changed; None: the cookie lives
            as long as the browser runs, and its signature does not expire.
        path: the paths that the cookie is sent to.
        same_site: whether requests that other sites cause carry it; "none" needs ``https_only``.
        https_only: sent over HTTPS only.
        domain: the hosts it is sent to, with their subdomains; None: only the one that set it.
        partitioned: kept apart for each top-level site; browsers want ``https_only`` with it.

    Raises:
        UsageError: there is no secret key, or an empty one; or, from a request, the session holds
            something that JSON has no form for.
        ValueError: a part of the cookie has a character that would end it.
    """

    def __init__(
        self,
        app: ASGIApp,
        secret_key: str | Secret | Sequence[str | Secret],
        session_cookie: str = "session",
        max_age: int | None = 14 * 24 * 60 * 60,
        path: str = "/",
        same_site: Literal["lax", "strict", "none"] = "lax",
        https_only: bool = False,
        domain: str | None = None,
        partitioned: bool = False,
    ) -> None:
        super().__init__(app)
        # Only for what it raises: what is sent is Starlette's form, to the letter.
        render_set_cookie(session_cookie, path=path, domain=domain, samesite=same_site)
        self.signer = TimestampSigner(_keys(secret_key))
        self.session_cookie = session_cookie
        self.max_age = max_age
        self.path = path
        self.security_flags = "httponly; samesite=" + same_site
        if https_only:
            self.security_flags += "; secure"
        if domain is not None:
            self.security_flags += f"; domain={domain}"
        if partitioned:
            self.security_flags += "; partitioned"

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        stored = self._stored(request)
        request.scope["session"] = session = _session_of(stored)
        response = await call_next(request)
        if session.accessed:
            self._save(session, stored, response.headers)
        return response

    async def dispatch_websocket(
        self, websocket: WebSocket, call_next: Callable[[WebSocket], Awaitable[None]]
    ) -> None:
        websocket.scope["session"] = _session_of(self._stored(websocket))
        await call_next(websocket)

    def _stored(self, connection: HTTPConnection[Any]) -> bytes | None:
        """The JSON of the session that the client sent, if it is one that we signed."""
        cookie = connection.cookies.get(self.session_cookie)
        if cookie is None:
            return None
        try:
            stored = b64decode(self.signer.unsign(cookie, max_age=self.max_age))
            # What is signed is ours, but so may be other things that were signed with this key.
            return stored if isinstance(json.loads(stored), dict) else None
        except (BadData, ValueError, RecursionError):
            return None

    def _save(self, session: Session, stored: bytes | None, headers: MutableHeaders) -> None:
        headers.add_vary_header("Cookie")
        if not session.modified and session == _session_of(stored):
            return
        if session:
            headers.append("Set-Cookie", self._cookie(self._sign(session), self._lifetime()))
        elif stored is not None:
            headers.append("Set-Cookie", self._cookie("null", _EXPIRED))

    def _lifetime(self) -> str:
        return "" if self.max_age is None else f"Max-Age={self.max_age}; "

    def _cookie(self, value: str, lifetime: str) -> str:
        size = len(self.session_cookie) + len(value)
        if size > MAX_COOKIE_SIZE:
            logger.warning(
                "The session cookie %r has %d bytes: browsers drop it beyond %d, and keep the "
                "session that they had. Keep less in it.",
                self.session_cookie,
                size,
                MAX_COOKIE_SIZE,
            )
        return f"{self.session_cookie}={value}; path={self.path}; {lifetime}{self.security_flags}"

    def _sign(self, session: Session) -> str:
        try:
            text = json.dumps(session)
        except (TypeError, ValueError, RecursionError) as exc:
            raise UsageError(
                f"The session cannot be saved, because it is not JSON: {exc}. "
                "Put only str, numbers, bool, None, lists and dicts into it."
            ) from exc
        return self.signer.sign(b64encode(text.encode())).decode()


_EXPIRED = "expires=Thu, 01 Jan 1970 00:00:00 GMT; "


def _session_of(stored: bytes | None) -> Session:
    return Session() if stored is None else Session(json.loads(stored))


def _keys(secret_key: str | Secret | Sequence[str | Secret]) -> list[str]:
    """The keys in the order of ``itsdangerous``: the last one signs."""
    given = [secret_key] if isinstance(secret_key, (str, Secret)) else secret_key
    keys = [str(key) for key in given]
    if not keys or not all(keys):
        raise UsageError(
            "Expected a secret_key, got none or an empty one, with which anybody could sign. "
            "Make one with `python -c 'import secrets; print(secrets.token_urlsafe())'`."
        )
    return keys[::-1]
