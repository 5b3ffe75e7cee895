"""hesper.types: every scope and message, with the keys its specification names."""

from __future__ import annotations

from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
import starlette.types

import hesper.types
from hesper import _messages
from hesper.types import HTTPReceiveMessage, HTTPResponseStartEvent, ReceiveMessage, SendMessage

ALIASES = (
    "Scope Message Receive Send ASGIApp AppType Lifespan StatelessLifespan StatefulLifespan"
).split()

HANDLERS = "HTTPExceptionHandler WebSocketExceptionHandler ExceptionHandler".split()

SCOPES = {
    "http": (
        "asgi http_version method path query_string headers",
        "scheme raw_path root_path client server state extensions",
    ),
    "websocket": (
        "asgi path headers",
        "http_version scheme raw_path query_string root_path client server subprotocols state "
        "extensions",
    ),
    "lifespan": ("asgi", "state"),
}
# Type of message -> required keys, optional keys.
RECEIVED = {
    "http.request": ("", "body more_body"),
    "http.disconnect": ("", ""),
    "websocket.connect": ("", ""),
    "websocket.receive": ("", "bytes text"),
    "websocket.disconnect": ("code", "reason"),
    "lifespan.startup": ("", ""),
    "lifespan.shutdown": ("", ""),
}
SENT = {
    "http.response.start": ("status", "headers trailers"),
    "http.response.body": ("", "body more_body"),
    "http.response.trailers": ("headers", "more_trailers"),
    "http.response.push": ("path headers", ""),
    "http.response.early_hint": ("links", ""),
    "http.response.pathsend": ("path", ""),
    "http.response.zerocopysend": ("file", "offset count more_body"),
    "http.response.debug": ("info", ""),
    "websocket.accept": ("", "subprotocol headers"),
    "websocket.send": ("", "bytes text"),
    "websocket.close": ("", "code reason"),
    "websocket.http.response.start": ("status", "headers"),
    "websocket.http.response.body": ("", "body more_body"),
    "lifespan.startup.complete": ("", ""),
    "lifespan.startup.failed": ("", "message"),
    "lifespan.shutdown.complete": ("", ""),
    "lifespan.shutdown.failed": ("", "message"),
}


def keys_by_type(*dicts: Any) -> dict[str, tuple[set[str], set[str]]]:
    found = {}
    for typed in dicts:
        (kind,) = get_args(get_type_hints(typed)["type"])
        found[kind] = (set(typed.__required_keys__) - {"type"}, set(typed.__optional_keys__))
    return found


def expected(table: dict[str, tuple[str, str]]) -> dict[str, tuple[set[str], set[str]]]:
    return {kind: (set(must.split()), set(may.split())) for kind, (must, may) in table.items()}


def typed_dicts() -> list[Any]:
    return [value for value in vars(_messages).values() if hasattr(value, "__required_keys__")]


@pytest.mark.parametrize("name", ALIASES)
def test_an_alias_is_the_same_type_as_starlettes(name: str) -> None:
    assert repr(getattr(hesper.types, name)) == repr(getattr(starlette.types, name))


def test_every_scope_and_message_is_found_and_nothing_else() -> None:
    for typed in typed_dicts():
        assert getattr(hesper.types, typed.__name__) is typed
    for name in ("NoSuchEvent", "Literal"):
        with pytest.raises(AttributeError, match=f"'hesper.types' has no attribute '{name}'"):
            getattr(hesper.types, name)


@pytest.mark.parametrize("name", HANDLERS)
def test_an_exception_handler_may_be_annotated_with_its_own_exception(name: str) -> None:
    """Starlette's aliases ask for ``Exception``, which no handler of ``HTTPException`` is for mypy."""
    theirs = repr(getattr(starlette.types, name))
    wider = theirs.replace(", Exception]", ", typing.Any]")
    assert repr(getattr(hesper.types, name)) == wider != theirs


def test_scopes_have_the_keys_of_the_specification() -> None:
    scopes = (hesper.types.HTTPScope, hesper.types.WebSocketScope, hesper.types.LifespanScope)
    assert keys_by_type(*scopes) == expected(SCOPES)


def test_received_messages_have_the_keys_of_the_specification() -> None:
    assert keys_by_type(*get_args(ReceiveMessage)) == expected(RECEIVED)


def test_sent_messages_have_the_keys_of_the_specification() -> None:
    assert keys_by_type(*get_args(SendMessage)) == expected(SENT)


def test_the_unions_of_the_protocols_make_up_the_unions_of_all() -> None:
    for direction, whole in (("Receive", ReceiveMessage), ("Send", SendMessage)):
        parts: list[Any] = []
        for protocol in ("HTTP", "WebSocket", "Lifespan"):
            members = get_args(getattr(hesper.types, f"{protocol}{direction}Message"))
            kinds = keys_by_type(*members)
            assert all(kind.startswith(f"{protocol.lower()}.") for kind in kinds)
            parts += members
        assert set(parts) == set(get_args(whole))


def test_only_a_version_has_no_literal_type() -> None:
    without = [
        typed
        for typed in typed_dicts()
        if get_origin(get_type_hints(typed).get("type")) is not Literal
    ]
    assert without == [hesper.types.ASGIVersions]
    assert hesper.types.ASGIVersions.__optional_keys__ == {"spec_version"}


@pytest.mark.parametrize("typed", typed_dicts(), ids=lambda typed: str(typed.__name__))
def test_every_scope_and_message_names_its_section(typed: Any) -> None:
    assert any(
        f"({document}" in " ".join(typed.__doc__.split())
        for document in (
            "ASGI specification, ",
            "HTTP & WebSocket 2.5, ",
            "Lifespan 2.0, ",
            "Extensions, ",
        )
    )


def body_of(message: HTTPReceiveMessage) -> bytes | None:
    # That this passes mypy --strict is the proof: the literal narrows, and the key is known.
    if message["type"] == "http.request":
        return message.get("body", b"")
    return None


def test_a_checker_narrows_a_message_by_its_type() -> None:
    assert body_of({"type": "http.request", "body": b"x"}) == b"x"
    assert body_of({"type": "http.disconnect"}) is None


def test_an_optional_key_may_be_left_out() -> None:
    start: HTTPResponseStartEvent = {"type": "http.response.start", "status": 200}
    assert start.keys() == HTTPResponseStartEvent.__required_keys__
