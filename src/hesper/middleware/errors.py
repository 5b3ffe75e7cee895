"""The page for errors that nothing else answers.

The law (E12): an error before the start message becomes a response and then goes on to the server,
the same object, to be logged; one after it only goes on, so that no client takes half a body for a
whole one. That the client left is not an error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hesper._asgi.foreign import caused_by_leaving
from hesper._concurrency import run_in_thread
from hesper._stack import serve, stack_of
from hesper.middleware._debug_templates import (
    CENTER_LINE,
    FRAME_TEMPLATE,
    JS,
    LINE,
    REQUEST_MARK,
    STYLES,
    TEMPLATE,
)
from hesper.middleware.exceptions import answer_of
from hesper.requests import Request
from hesper.responses import HTMLResponse, PlainTextResponse, Response
from hesper.types import ASGIApp, Receive, Scope, Send

if TYPE_CHECKING:
    import inspect
    from dis import Positions

__all__ = [
    "CENTER_LINE",
    "FRAME_TEMPLATE",
    "JS",
    "LINE",
    "STYLES",
    "TEMPLATE",
    "ServerErrorMiddleware",
]


class ServerErrorMiddleware:
    """Answers an error with a 500. An application has one around everything else.

    Args:
        app: the ASGI app.
        handler: ``handler(request, exc)``, async or not, makes the response.
        debug: answer with the traceback instead. It shows source code: never in production.
    """

    def __init__(
        self,
        app: ASGIApp,
        handler: Callable[[Any, Any], Any] | None = None,
        debug: bool = False,
    ) -> None:
        self.app = app
        self.handler = handler
        self.debug = debug

    async def answer(self, request: Request[Any], exc: Exception) -> Any:
        """The response to an error: the debug page, or the handler's, or a plain 500.

        Raises:
            UsageError: the handler gave no response; it says which handler.
            Exception: what the handler raised.
        """
        if self.debug:
            # In a thread because it reads the sources from disk.
            return await run_in_thread(self.debug_response, request, exc)
        if self.handler is None:
            return self.error_response(request, exc)
        return await answer_of(self.handler, request, exc)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the app; answer what it raises, and raise it again."""

        async def on_error(request: Request[Any], exc: Exception) -> Any:
            if request._exchange.incoming.disconnected and caused_by_leaving(exc):
                raise exc
            response = await self.answer(request, exc)
            request._exchange.failure = exc
            return response

        if scope["type"] == "http":
            await serve(stack_of(self.app), scope, receive, send, on_error)
        else:
            await self.app(scope, receive, send)

    # -- responses --------------------------------------------------------------------------------

    def debug_response(self, request: Request[Any], exc: Exception) -> Response:
        """The traceback: a page for a browser, plain text for others."""
        if "text/html" not in request.headers.get("accept", ""):
            return PlainTextResponse(_encode(self.generate_plain_text(exc)), status_code=500)
        from hesper.middleware._debug_page import request_html  # here: it takes 4 ms to import

        query = request.scope.get("query_string", b"").decode("latin-1")
        path = request.scope["path"] + (f"?{query}" if query else "")
        shown = request_html(request.method, path, request.headers)
        page = self.generate_html(exc).replace(REQUEST_MARK, shown, 1)
        return HTMLResponse(_encode(page), status_code=500)

    def error_response(self, request: Request[Any], exc: Exception) -> Response:
        """What a client is told without ``debug``: nothing of the error."""
        return PlainTextResponse("Internal Server Error", status_code=500)

    # -- parts of the page ------------------------------------------------------------------------

    def generate_plain_text(self, exc: Exception) -> str:
        """The traceback as Python prints it."""
        from hesper.middleware._debug_page import plain_text

        return plain_text(exc)

    def generate_html(self, exc: Exception, limit: int = 7) -> str:
        """The page.

        Args:
            limit: how many lines of source to show around each frame.
        """
        from hesper.middleware._debug_page import PageWriter

        return PageWriter(limit, self.generate_frame_html).page(exc)

    def generate_frame_html(self, frame: inspect.FrameInfo, is_collapsed: bool) -> str:
        """One frame: where it is, and its source."""
        from hesper.middleware._debug_page import frame_html

        index = frame.index or 0
        code = "".join(
            self.format_line(number, line, frame.lineno, index, frame.positions)
            for number, line in enumerate(frame.code_context or ())
        )
        return frame_html(frame, is_collapsed, code)

    def format_line(
        self,
        index: int,
        line: str,
        frame_lineno: int,
        frame_index: int,
        positions: Positions | None = None,
    ) -> str:
        """One line of source.

        Args:
            index: which line of those that are shown, from 0.
            line: the line.
            frame_lineno: the number of the line that the frame is at.
            frame_index: which line of those that are shown that is.
            positions: what of that line is meant, if it is known.
        """
        from hesper.middleware._debug_page import line_html

        return line_html(index, line, frame_lineno, frame_index, positions)


def _encode(text: str) -> bytes:
    # A path that is no UTF-8 has surrogates in it.
    return text.encode("utf-8", "backslashreplace")
