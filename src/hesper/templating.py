"""Pages from Jinja templates.

The laws:

1. What a template is given is escaped, unless its name says that it is no markup.
2. A template sees the request that it was rendered for, and no other: the context that a user gives
   is copied, never changed.
3. With an async environment a response is rendered when it is settled: before a middleware sees it.
   An error of the template then comes out of ``call_next``, and is answered as any other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from os import PathLike
from typing import Any, overload

from hesper._asgi.exchange import KEY, Exchange
from hesper.datastructures import URL
from hesper.exceptions import ClientDisconnect, UsageError
from hesper.requests import Request
from hesper.responses import HTMLResponse
from hesper.types import Scope

try:
    import jinja2
    from jinja2 import pass_context
except ImportError as exc:
    raise ImportError(
        "Jinja2Templates needs the jinja2 package. Install it with: pip install 'hesper[templates]'"
    ) from exc

__all__ = ["Jinja2Templates", "pass_context"]

DEBUG = "http.response.debug"
"""The extension by which test clients learn of the template."""

_MARKUP = frozenset({"html", "htm", "xhtml", "xml", "svg"})


class _TemplateResponse(HTMLResponse):
    """A page, which knows its template and its context."""

    def __init__(
        self,
        template: jinja2.Template,
        context: dict[str, Any],
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        media_type: str | None = None,
        background: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.template = template
        self.context = context
        super().__init__(self._first_content(), status_code, headers, media_type, background)

    def _first_content(self) -> str:
        return self.template.render(self.context)


class _ShownTemplateResponse(_TemplateResponse):
    """A page for a server that is told of its template, as test clients want to be."""

    _deferred = True
    _plain = False
    _shown = False

    async def _resolve(self, scope: Scope) -> None:
        if self._shown or DEBUG not in scope.get("extensions", ()):
            return
        self._shown = True
        exchange: Exchange = scope[KEY]._exchange
        info = {"template": self.template, "context": self.context}
        try:
            await exchange.send({"type": DEBUG, "info": info})
        except ClientDisconnect:
            pass  # whoever sends the response is told as well


class _AsyncTemplateResponse(_ShownTemplateResponse):
    """A page that is rendered when it is settled; its body is empty until then."""

    _sized = False
    _shielded = False
    _rendered = False

    def _first_content(self) -> str:
        return ""

    async def _resolve(self, scope: Scope) -> None:
        if not self._rendered:
            self.body = (await self.template.render_async(self.context)).encode(self.charset)
            self._rendered = True
            # RFC 9110 section 8.6: no length where there is no content.
            if self.status_code >= 200 and self.status_code not in (204, 304):
                self.headers.setdefault("content-length", str(len(self.body)))
        await super()._resolve(scope)


class Jinja2Templates:
    """Renders templates into responses.

    Args:
        directory: where they are; or several, of which the first that has a template counts.
        context_processors: sync functions of the request; what they return is added to every
            context, in place of what is there.
        env: a Jinja environment, instead of ``directory``. With ``enable_async=True`` templates may
            await, and are rendered when the response is settled.

    Raises:
        UsageError: not exactly one of ``directory`` and ``env`` is given.

    The environment that is made for ``directory`` escapes in templates that end in .html, .htm,
    .xhtml, .xml or .svg, before a .j2, .jinja or .jinja2 as well, and in those without any other
    ending. It gets a global ``url_for(name, **path_params)``, as does ``env`` if it has none.
    """

    @overload
    def __init__(
        self,
        directory: str | PathLike[str] | Sequence[str | PathLike[str]],
        *,
        context_processors: list[Callable[[Request[Any]], dict[str, Any]]] | None = None,
    ) -> None: ...

    @overload
    def __init__(
        self,
        *,
        env: jinja2.Environment,
        context_processors: list[Callable[[Request[Any]], dict[str, Any]]] | None = None,
    ) -> None: ...

    def __init__(
        self,
        directory: str | PathLike[str] | Sequence[str | PathLike[str]] | None = None,
        *,
        context_processors: list[Callable[[Request[Any]], dict[str, Any]]] | None = None,
        env: jinja2.Environment | None = None,
    ) -> None:
        if bool(directory) == (env is not None):
            raise UsageError(
                "Expected either directory=... or env=..., got "
                f"{'both' if directory else 'neither'}: Jinja2Templates('templates') is the usual "
                "form; an env has a loader that knows where its templates are."
            )
        self.context_processors = context_processors or []
        if env is None:
            loader = jinja2.FileSystemLoader(directory)  # type: ignore[arg-type]
            env = jinja2.Environment(loader=loader, autoescape=_escapes)
        self.env = env
        env.globals.setdefault("url_for", _url_for)

    def get_template(self, name: str) -> jinja2.Template:
        """A template by its name.

        Raises:
            jinja2.TemplateNotFound: there is none.
            jinja2.TemplateSyntaxError: there is something else in it.
        """
        return self.env.get_template(name)

    def TemplateResponse(
        self,
        request: Request[Any],
        name: str,
        context: dict[str, Any] | None = None,
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        media_type: str | None = None,
        background: Callable[[], Awaitable[None]] | None = None,
    ) -> _TemplateResponse:
        """Render a template.

        Args:
            request: what the response answers; the template sees it as ``request``.
            name: the template's.
            context: what else the template sees.

        Returns:
            A response with ``template`` and ``context``. In a sync environment it is rendered.

        Raises:
            UsageError: the request is not the first argument.
            jinja2.TemplateError: there is no such template, or it fails.
        """
        if isinstance(request, str):
            raise UsageError(
                "Expected TemplateResponse(request, name, context), got a name as the request: "
                f"write TemplateResponse(request, {request!r}, ...)."
            )
        seen = {"request": request, **(context or {})}
        for processor in self.context_processors:
            seen.update(processor(request))
        template = self.get_template(name)
        kind = _TemplateResponse
        if template.environment.is_async:
            kind = _AsyncTemplateResponse
        elif DEBUG in request.get("extensions", ()):
            kind = _ShownTemplateResponse
        return kind(template, seen, status_code, headers, media_type, background)


def _escapes(name: str | None) -> bool:
    """Whether a template is markup, for all that its name says; one from a string is."""
    stem = (name or "").rpartition("/")[2].lower()
    for ending in (".j2", ".jinja", ".jinja2"):
        stem = stem.removesuffix(ending)
    _, dot, ending = stem.rpartition(".")
    return not dot or ending in _MARKUP


@pass_context
def _url_for(context: Mapping[str, Any], name: str, /, **path_params: Any) -> URL:
    """The URL of a route, in a template."""
    if "request" not in context:
        raise UsageError(
            f"url_for({name!r}) needs the request, which this template does not see: import it "
            "`with context`, or render it with TemplateResponse."
        )
    request: Request[Any] = context["request"]
    return request.url_for(name, **path_params)
