"""OpenAPI from docstrings: what an endpoint's author wrote of it, gathered from the routes.

The part of a docstring after a line of three hyphens is YAML, or all of it if there is no such line::

    async def list_users(request):
        \"\"\"All users.
        ---
        responses:
          200:
            description: A list of users.
        \"\"\"
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any, NamedTuple

from hesper._endpoints import function_of
from hesper._paths.templates import PARAM_REGEX
from hesper.exceptions import UsageError
from hesper.requests import Request
from hesper.responses import Response
from hesper.routing import BaseRoute, Host, Mount, Route

__all__ = ["BaseSchemaGenerator", "EndpointInfo", "OpenAPIResponse", "SchemaGenerator"]

_METHODS = ("get", "post", "put", "patch", "delete", "options", "query")
"""What a class of an endpoint may have; HEAD is GET's."""

_SEPARATOR = re.compile(r"^[ \t]*---[ \t]*$", re.MULTILINE)
_VERSION = re.compile(r"(\d+)\.(\d+)")


def _yaml() -> ModuleType:
    try:
        import yaml
    except ImportError as exc:
        raise ImportError(
            "Schemas need the pyyaml package. Install it with: pip install 'hesper[schemas]'"
        ) from exc
    return yaml


class OpenAPIResponse(Response):
    """A schema, as YAML.

    Raises:
        UsageError: the schema is no dict.
        ImportError: the extra ``schemas`` is not installed.
    """

    media_type = "application/vnd.oai.openapi"

    def render(self, content: Any) -> bytes:
        if not isinstance(content, dict):
            raise UsageError(
                f"Expected the schema of an OpenAPIResponse to be a dict, got {content!r:.80}."
            )
        text: str = _yaml().dump(content, default_flow_style=False)
        return text.encode("utf-8")


class EndpointInfo(NamedTuple):
    """One method of one route."""

    path: str
    """As OpenAPI writes it, with parameters in braces."""
    http_method: str
    """In lower case."""
    func: Callable[..., Any]
    """What has the docstring."""


class BaseSchemaGenerator:
    """Finds what there is to describe. Subclass it for a schema of another kind."""

    def get_schema(self, routes: list[BaseRoute]) -> dict[str, Any]:
        """The schema of these routes; override it."""
        raise UsageError(f"{type(self).__name__} has no get_schema(routes): override it.")

    def get_endpoints(self, routes: list[BaseRoute]) -> list[EndpointInfo]:
        """The endpoints of these routes and of what is mounted in them, in their order.

        Left out are routes with ``include_in_schema=False``, HEAD, and what an endpoint has but its
        route does not let through.
        """
        return [info for route in routes for info in self._of_route(route)]

    def _of_route(self, route: BaseRoute) -> Iterator[EndpointInfo]:
        if isinstance(route, (Mount, Host)):
            prefix = _openapi_path(route.path) if isinstance(route, Mount) else ""
            for info in self.get_endpoints(list(route.routes or ())):
                yield info._replace(path=prefix + info.path)
        elif isinstance(route, Route) and route.include_in_schema:
            path = _openapi_path(route.path)
            for method, func in _functions(route):
                yield EndpointInfo(path, method, func)

    def parse_docstring(self, func_or_method: Callable[..., Any]) -> dict[str, Any]:
        """The YAML in a docstring; empty if there is none, or no mapping.

        Raises:
            UsageError: what follows the separator is no YAML; it says whose.
            ImportError: the extra ``schemas`` is not installed.
        """
        if not func_or_method.__doc__:
            return {}
        yaml = _yaml()
        *before, text = _SEPARATOR.split(func_or_method.__doc__)
        try:
            parsed = yaml.safe_load(text)
        except yaml.YAMLError as exc:
            if not before:
                return {}  # a docstring like any other
            name = getattr(func_or_method, "__qualname__", repr(func_or_method))
            raise UsageError(
                f"Expected YAML after the '---' in the docstring of {name}, got: {exc}"
            ) from exc
        return parsed if isinstance(parsed, dict) else {}

    def OpenAPIResponse(self, request: Request[Any]) -> Response:
        """The schema of the application that serves the request, as a response."""
        return OpenAPIResponse(self.get_schema(request.app.routes))


class SchemaGenerator(BaseSchemaGenerator):
    """Adds the paths to a schema.

    Args:
        base_schema: all but the paths, or some of these too. It is not changed.

    QUERY is left out for OpenAPI before 3.2, which does not know it.
    """

    def __init__(self, base_schema: dict[str, Any]) -> None:
        self.base_schema = base_schema

    def get_schema(self, routes: list[BaseRoute]) -> dict[str, Any]:
        """The schema of these routes, without those that say nothing of themselves."""
        paths = {path: dict(item) for path, item in self.base_schema.get("paths", {}).items()}
        for endpoint in self.get_endpoints(routes):
            if endpoint.http_method == "query" and not self._knows_query:
                continue
            parsed = self.parse_docstring(endpoint.func)
            if parsed:
                paths.setdefault(endpoint.path, {})[endpoint.http_method] = parsed
        return {**self.base_schema, "paths": paths}

    @property
    def _knows_query(self) -> bool:
        version = _VERSION.match(str(self.base_schema.get("openapi", "")))
        return version is not None and (int(version[1]), int(version[2])) >= (3, 2)


def _openapi_path(path: str) -> str:
    """A path template without the kinds of its parameters."""
    return PARAM_REGEX.sub(r"{\1}", path)


def _functions(route: Route) -> Sequence[tuple[str, Callable[..., Any]]]:
    """The methods of a route, and the function that answers each."""
    function = function_of(route.endpoint)
    if function is not None:
        methods = sorted(route.methods or ["GET"])
        return [(method.lower(), function) for method in methods if method != "HEAD"]
    allowed = route.methods or {method.upper() for method in _METHODS}
    return [
        (method, getattr(route.endpoint, method))
        for method in _METHODS
        if method.upper() in allowed and hasattr(route.endpoint, method)
    ]
