"""Schemas: which endpoints are found, what of their docstrings counts, and what comes out."""

import functools
import sys
from typing import Any

import pytest
import starlette.routing
import starlette.schemas
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hesper.applications import Hesper
from hesper.convertors import UnknownConvertor
from hesper.endpoints import HTTPEndpoint
from hesper.exceptions import UsageError
from hesper.requests import Request
from hesper.responses import PlainTextResponse, Response
from hesper.routing import BaseRoute, Host, Mount, Route, Router, WebSocketRoute
from hesper.schemas import BaseSchemaGenerator, EndpointInfo, OpenAPIResponse, SchemaGenerator
from hesper.websockets import WebSocket

from .asking import ask

INFO = {"title": "Tests", "version": "1.0"}


async def list_users(request: Request[Any]) -> Response:
    """All users.
    ---
    responses:
      200:
        description: A list of users.
    """
    return PlainTextResponse("users")


async def show_user(request: Request[Any]) -> Response:
    """
    responses:
      200:
        description: One user.
    """
    return PlainTextResponse("user")


def plain(request: Request[Any]) -> Response:
    """Says: nothing: to a machine, though it is no YAML either."""
    return PlainTextResponse("plain")


async def silent(request: Request[Any]) -> Response:
    return PlainTextResponse("silent")


async def broken(request: Request[Any]) -> Response:
    """Tries.
    ---
    a: b: c
    """
    return PlainTextResponse("broken")


async def talk(websocket: WebSocket[Any]) -> None:
    """
    responses: {}
    """


class Organisations(HTTPEndpoint):
    def get(self, request: Request[Any]) -> Response:
        """
        responses: {200: {description: All organisations.}}
        """
        return PlainTextResponse("get")

    def post(self, request: Request[Any]) -> Response:
        """
        responses: {201: {description: A new organisation.}}
        """
        return PlainTextResponse("post")

    def query(self, request: Request[Any]) -> Response:
        """
        responses: {200: {description: Some organisations.}}
        """
        return PlainTextResponse("query")


ROUTES: list[BaseRoute] = [
    Route("/users", list_users, methods=["GET", "HEAD"]),
    Route("/users/{id:int}", functools.partial(show_user), methods=["PUT", "GET"]),
    Route("/plain", plain),
    Route("/silent", silent),
    Route("/hidden", show_user, include_in_schema=False),
    Route("/orgs", Organisations),
    WebSocketRoute("/talk", talk),
    Mount("/below/{name}", routes=[Route("/{path:path}", show_user, methods=["DELETE"])]),
    Mount("/empty", app=PlainTextResponse("no routes")),
    Host("api.example.org", Router([Route("/hosted", list_users)])),
]


# -- which endpoints -------------------------------------------------------------------------------


def test_every_method_of_every_route_is_found_once_in_order() -> None:
    found = BaseSchemaGenerator().get_endpoints(ROUTES)
    assert [(info.path, info.http_method) for info in found] == [
        ("/users", "get"),
        ("/users/{id}", "get"),
        ("/users/{id}", "put"),
        ("/plain", "get"),
        ("/silent", "get"),
        ("/orgs", "get"),
        ("/orgs", "post"),
        ("/orgs", "query"),
        ("/below/{name}/{path}", "delete"),
        ("/hosted", "get"),
    ]
    assert found[0] == EndpointInfo("/users", "get", list_users)
    assert found[5].func is Organisations.get


def test_a_route_of_a_class_lets_only_its_methods_through() -> None:
    (info,) = BaseSchemaGenerator().get_endpoints([Route("/", Organisations, methods=["POST"])])
    assert info == EndpointInfo("/", "post", Organisations.post)


def test_a_route_that_takes_all_methods_is_described_as_get() -> None:
    (info,) = BaseSchemaGenerator().get_endpoints([Route("/", list_users, methods=[])])
    assert info == EndpointInfo("/", "get", list_users)


def test_an_app_below_may_have_no_list_of_routes() -> None:
    class Odd:
        routes = None

        async def __call__(self, *args: Any) -> None: ...

    assert BaseSchemaGenerator().get_endpoints([Mount("/odd", app=Odd())]) == []


@given(
    st.lists(
        st.sampled_from(["/", "a", ":b", "{x:int}", "{y}", "{", "}", ":path}", "{z:uuid}"]),
        max_size=6,
        unique=True,
    ).map(lambda pieces: "/" + "".join(pieces))
)
def test_the_path_of_any_route_is_that_of_its_format(path: str) -> None:
    try:
        route = Route(path, list_users)
    except (UnknownConvertor, ValueError):
        return
    (info,) = BaseSchemaGenerator().get_endpoints([route])
    assert info.path == route.path_format


# -- docstrings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("doc", "expected"),
    [
        (None, {}),
        ("", {}),
        ("All of it is text.", {}),
        ("No: yaml: at all", {}),
        ("a: 1", {"a": 1}),
        ("Text.\n    ---\n    a: 1\n    ", {"a": 1}),
        ("Text.\n---\nmore: 1\n---\na: 1", {"a": 1}),
        ("Text.\n---\njust text", {}),
        ("Head\n----\n\n    Parameters: a list", {}),
    ],
)
def test_the_yaml_of_a_docstring_is_found(doc: str | None, expected: Any) -> None:
    def func() -> None: ...

    func.__doc__ = doc
    assert BaseSchemaGenerator().parse_docstring(func) == expected


def test_what_should_be_yaml_and_is_not_names_its_function() -> None:
    with pytest.raises(UsageError, match="in the docstring of broken, got: mapping values"):
        BaseSchemaGenerator().parse_docstring(broken)


@given(st.text() | st.lists(st.sampled_from(["a", ":", " ", "\n", "-", "&x", "*x", "{", "]"])))
def test_any_docstring_without_the_separator_gives_a_mapping(text: Any) -> None:
    def func() -> None: ...

    func.__doc__ = "".join(text).replace("-", "")
    assert isinstance(BaseSchemaGenerator().parse_docstring(func), dict)


# -- the schema ------------------------------------------------------------------------------------


def test_a_schema_has_what_docstrings_say_and_the_base_stays_as_it_was() -> None:
    base: dict[str, Any] = {
        "openapi": "3.2.0",
        "info": INFO,
        "paths": {"/users": {"parameters": []}, "/static": {}},
    }
    before = yaml.safe_dump(base)
    schema = SchemaGenerator(base).get_schema(ROUTES)
    assert yaml.safe_dump(base) == before
    one = {"responses": {200: {"description": "One user."}}}
    users = {"responses": {200: {"description": "A list of users."}}}
    assert schema == {
        "openapi": "3.2.0",
        "info": INFO,
        "paths": {
            "/users": {"parameters": [], "get": users},
            "/static": {},
            "/users/{id}": {"get": one, "put": one},
            "/orgs": {
                "get": {"responses": {200: {"description": "All organisations."}}},
                "post": {"responses": {201: {"description": "A new organisation."}}},
                "query": {"responses": {200: {"description": "Some organisations."}}},
            },
            "/below/{name}/{path}": {"delete": one},
            "/hosted": {"get": users},
        },
    }


@pytest.mark.parametrize(
    ("version", "known"),
    [
        ({"openapi": "3.1.0"}, False),
        ({"openapi": "3.2.0"}, True),
        ({"openapi": 3.2}, True),
        ({"openapi": "10.0"}, True),
        ({"openapi": "new"}, False),
        ({}, False),
    ],
)
def test_query_is_described_for_openapi_that_knows_it(version: Any, known: bool) -> None:
    schema = SchemaGenerator(version).get_schema([Route("/orgs", Organisations)])
    assert ("query" in schema["paths"]["/orgs"]) is known


def test_a_plain_schema_is_the_same_as_starlettes() -> None:
    async def show(request: Any) -> Any:
        """
        responses: {200: {description: Shown.}}
        """

    base = {"openapi": "3.0.0", "info": INFO}
    ours: Any = [Route("/a/{b:int}", show), Mount("/c", routes=[Route("/d", show)])]
    theirs: Any = [
        starlette.routing.Route("/a/{b:int}", show),
        starlette.routing.Mount("/c", routes=[starlette.routing.Route("/d", show)]),
    ]
    expected = starlette.schemas.SchemaGenerator(dict(base)).get_schema(theirs)
    assert SchemaGenerator(base).get_schema(ours) == expected


def test_the_base_of_generators_asks_to_be_overridden() -> None:
    with pytest.raises(UsageError, match=r"BaseSchemaGenerator has no get_schema\(routes\)"):
        BaseSchemaGenerator().get_schema([])


# -- the response ----------------------------------------------------------------------------------


async def test_the_schema_of_the_app_is_a_response() -> None:
    schemas = SchemaGenerator({"openapi": "3.0.0", "info": INFO})

    async def schema(request: Request[Any]) -> Response:
        return schemas.OpenAPIResponse(request)

    app = Hesper(
        routes=[
            Route("/users", list_users),
            Mount("/in", routes=[Route("/schema", schema, include_in_schema=False)]),
        ]
    )
    result = await ask(app, "/in/schema")
    assert (result.status, result.headers["content-type"]) == (200, "application/vnd.oai.openapi")
    assert yaml.safe_load(result.text) == {
        "openapi": "3.0.0",
        "info": INFO,
        "paths": {"/users": {"get": {"responses": {200: {"description": "A list of users."}}}}},
    }
    assert result.text.startswith("info:\n  title: Tests\n")


def test_only_a_dict_is_a_schema() -> None:
    with pytest.raises(UsageError, match=r"to be a dict, got \['a'\]"):
        OpenAPIResponse(["a"])


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    for use in (lambda: OpenAPIResponse({}), lambda: SchemaGenerator({}).get_schema(ROUTES)):
        with pytest.raises(ImportError, match=r"pip install 'hesper\[schemas\]'"):
            use()
    assert SchemaGenerator({}).get_schema([Route("/silent", silent)]) == {"paths": {}}
