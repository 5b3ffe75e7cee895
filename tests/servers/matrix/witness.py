"""Between the server and the app: notes what the server says, and how the app's call ends."""

from __future__ import annotations

from urllib.parse import parse_qs

import anyio

from hesper.types import ASGIApp, Message, Receive, Scope, Send
from tests.servers.matrix.journal import Writer

journal = Writer()


def visit_of(scope: Scope) -> str:
    """The visit that a scope belongs to."""
    return parameter(scope, "id", "")


def parameter(scope: Scope, name: str, default: str) -> str:
    """One of the parameters that the client gave."""
    query = parse_qs(scope["query_string"].decode("latin-1"))
    value: str = query.get(name, [default])[0]
    return value


class Witness:
    """An ASGI app that serves another one and takes notes."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        visit = "lifespan" if scope["type"] == "lifespan" else visit_of(scope)
        if not visit:
            await self.app(scope, receive, send)
            return

        async def heard() -> Message:
            message = await receive()
            if message["type"].endswith(".disconnect"):
                more = {key: message[key] for key in ("code", "reason") if key in message}
                journal.note(visit, "told", **more)
            elif message["type"] == "lifespan.shutdown":
                journal.note(visit, message["type"])
            return message

        async def sent(message: Message) -> None:
            try:
                await send(message)
            except Exception as exc:
                journal.note(visit, "send raised", error=kind_of(exc))
                raise

        journal.note(visit, "called")
        try:
            await self.app(scope, heard, sent)
        except anyio.get_cancelled_exc_class():
            journal.note(visit, "call cancelled")
            raise
        except BaseException as exc:
            journal.note(visit, "call raised", error=kind_of(exc))
            raise
        else:
            journal.note(visit, "call returned")


CALL_ENDED = ("call returned", "call raised", "call cancelled")
"""How the app's call ends, as it stands in the journal."""


def kind_of(exc: BaseException) -> str:
    """The class of an error, and whether it is of the kind that ASGI knows."""
    return f"{type(exc).__name__}, {'an' if isinstance(exc, OSError) else 'no'} OSError"
