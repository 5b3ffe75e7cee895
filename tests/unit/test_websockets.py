"""What a handler does with its `WebSocket`; how the end reaches it is in `test_asgi_websocket`."""

import json
import math
import pickle
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hesper.applications import Hesper
from hesper.exceptions import ClientDisconnect, UsageError, WebSocketException
from hesper.testing import ScriptedServer
from hesper.types import Message, Receive, Scope, Send
from hesper.websockets import (
    MalformedJSONMessage,
    UnexpectedMessage,
    WebSocket,
    WebSocketClose,
    WebSocketDisconnect,
    WebSocketDisconnected,
    WebSocketState,
)

CONNECT: Message = {"type": "websocket.connect"}
LEFT: Message = {"type": "websocket.disconnect", "code": 1001, "reason": "bye"}


def text(data: str) -> Message:
    return {"type": "websocket.receive", "text": data}


def binary(data: bytes) -> Message:
    return {"type": "websocket.receive", "bytes": data, "text": None}


def socket(*messages: Message) -> tuple[WebSocket, list[Message]]:
    """A WebSocket that is given these messages after the handshake, and what it sends."""
    waiting = [CONNECT, *messages]
    sent: list[Message] = []

    async def receive() -> Message:
        return waiting.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Scope = {"type": "websocket", "path": "/abc/", "headers": []}
    return WebSocket(scope, receive, send), sent


async def accepted(*messages: Message) -> tuple[WebSocket, list[Message]]:
    websocket, sent = socket(*messages)
    await websocket.accept()
    sent.clear()
    return websocket, sent


async def test_who_waits_for_a_shutdown_that_has_begun_goes_on_at_once() -> None:
    app = Hesper()
    app.begin_shutdown()
    websocket, _ = await accepted()
    websocket.scope["app"] = app
    assert websocket.shutting_down
    await websocket.wait_shutting_down()


# -- the object -----------------------------------------------------------------------------------


def test_it_is_a_mapping_of_its_scope_and_equal_to_itself_alone() -> None:
    websocket, _ = socket()
    other, _ = socket()
    assert dict(websocket) == {"type": "websocket", "path": "/abc/", "headers": []}
    assert websocket["path"] == "/abc/"
    assert websocket == websocket
    assert websocket != other
    assert len({websocket, other}) == 2


def test_a_scope_of_another_type_is_refused() -> None:
    async def nothing(*args: Any) -> Any: ...

    with pytest.raises(UsageError, match="\"websocket\", got 'http'"):
        WebSocket({"type": "http"}, nothing, nothing)


def test_the_states_have_the_known_names_and_values() -> None:
    assert {state.name: state.value for state in WebSocketState} == {
        "CONNECTING": 0,
        "CONNECTED": 1,
        "DISCONNECTED": 2,
        "RESPONSE": 3,
    }


async def test_the_states_follow_the_socket() -> None:
    websocket, _ = socket(text("x"), LEFT)
    seen = []

    def note() -> None:
        seen.append((websocket.client_state.name, websocket.application_state.name))

    note()
    await websocket.receive()
    note()
    await websocket.accept()
    note()
    assert not websocket.disconnected
    await websocket.receive_text()
    await websocket.wait_disconnected()
    assert websocket.disconnected
    note()
    assert seen == [
        ("CONNECTING", "CONNECTING"),
        ("CONNECTED", "CONNECTING"),
        ("CONNECTED", "CONNECTED"),
        ("DISCONNECTED", "DISCONNECTED"),
    ]


# -- the exceptions -------------------------------------------------------------------------------


def test_a_disconnect_has_a_code_and_a_reason() -> None:
    plain = WebSocketDisconnect()
    assert (plain.code, plain.reason) == (1000, "")
    given = WebSocketDisconnect(code=4001, reason="bye")
    assert (given.code, given.reason) == (4001, "bye")
    assert str(given) == "4001: bye"
    assert repr(given) == "WebSocketDisconnect(code=4001, reason='bye')"
    again = pickle.loads(pickle.dumps(given))
    assert (again.code, again.reason) == (4001, "bye")


def test_a_disconnect_is_what_asgi_asks_of_a_send_and_what_the_client_did_over_http() -> None:
    assert issubclass(WebSocketDisconnect, ClientDisconnect)
    assert issubclass(WebSocketDisconnect, OSError)
    assert issubclass(WebSocketDisconnected, RuntimeError)
    assert WebSocketDisconnect(4001).errno is None


@pytest.mark.parametrize("error", [UnexpectedMessage("text"), MalformedJSONMessage("x", "y", 0)])
def test_what_is_wrong_with_a_message_can_be_pickled(error: WebSocketException) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.code, str(again)) == (type(error), error.code, str(error))


# -- the handshake and the end --------------------------------------------------------------------


async def test_accept_takes_the_connect_and_answers() -> None:
    websocket, sent = socket(text("x"))
    await websocket.accept()
    assert sent == [{"type": "websocket.accept", "subprotocol": None, "headers": []}]
    assert await websocket.receive_text() == "x"


async def test_accept_sends_a_subprotocol_and_headers_in_lower_case() -> None:
    websocket, sent = socket()
    await websocket.receive()
    await websocket.accept("chat", [(b"X-A", b"B")])
    assert sent == [
        {"type": "websocket.accept", "subprotocol": "chat", "headers": [(b"x-a", b"B")]}
    ]


async def test_a_second_accept_is_an_error() -> None:
    websocket, _ = await accepted()
    with pytest.raises(UsageError, match="accepted already"):
        await websocket.accept()


async def test_accept_after_the_client_left_raises() -> None:
    websocket, sent = socket(LEFT)
    await websocket.wait_disconnected()
    with pytest.raises(WebSocketDisconnect, match="1001: bye"):
        await websocket.accept()
    assert sent == []


async def test_a_client_that_left_before_the_handshake_is_gone_for_readers_too() -> None:
    websocket, _ = socket(LEFT)
    await websocket.wait_disconnected()
    with pytest.raises(WebSocketDisconnect, match="1001: bye"):
        await websocket.receive_text()


async def test_close_sends_code_and_reason() -> None:
    websocket, sent = await accepted()
    await websocket.close(4001, "bye")
    assert sent == [{"type": "websocket.close", "code": 4001, "reason": "bye"}]


async def test_a_second_close_is_an_error() -> None:
    websocket, sent = await accepted()
    await websocket.close()
    with pytest.raises(WebSocketDisconnected, match='Cannot call "send" once a close'):
        await websocket.close()
    assert sent == [{"type": "websocket.close", "code": 1000, "reason": ""}]


async def test_websocket_close_is_an_app_that_closes() -> None:
    result = await ScriptedServer(WebSocketClose(4001, "bye")).websocket().run()
    assert result.messages == [{"type": "websocket.close", "code": 4001, "reason": "bye"}]
    assert result.status == 403
    assert WebSocketClose().reason == ""


# -- receiving ------------------------------------------------------------------------------------


async def test_texts_and_bytes_are_received() -> None:
    websocket, _ = await accepted(text("a"), binary(b"b"), text(""), binary(b""))
    assert await websocket.receive_text() == "a"
    assert await websocket.receive_bytes() == b"b"
    assert await websocket.receive_text() == ""
    assert await websocket.receive_bytes() == b""


async def test_json_is_received_as_text_or_binary() -> None:
    websocket, _ = await accepted(text('{"a": 1}'), binary(b"[true]"))
    assert await websocket.receive_json() == {"a": 1}
    assert await websocket.receive_json("binary") == [True]


async def test_a_message_of_the_other_kind_is_named_and_closes_with_1003() -> None:
    websocket, _ = await accepted(binary(b"abc"), text("ab"), binary(b""))
    with pytest.raises(UnexpectedMessage) as raised:
        await websocket.receive_text()
    assert raised.value.code == 1003
    assert raised.value.reason == "Expected a text message, got a binary message of length 3."
    with pytest.raises(
        ValueError, match="Expected a binary message, got a text message of length 2"
    ):
        await websocket.receive_bytes()
    with pytest.raises(WebSocketException):
        await websocket.receive_json()


BAD_JSON = [
    ("{", "Expecting property name"),
    ("", "Expecting value"),
    ("[" * 200_000, "nested too deeply"),
    ("1" * 5000, "a number has too many digits"),
]


@pytest.mark.parametrize(("data", "problem"), BAD_JSON, ids=["broken", "empty", "deep", "long"])
async def test_malformed_json_is_named_and_closes_with_1007(data: str, problem: str) -> None:
    websocket, _ = await accepted(text(data))
    with pytest.raises(MalformedJSONMessage, match=problem) as raised:
        await websocket.receive_json()
    assert raised.value.code == 1007
    assert len(raised.value.reason) <= 123
    assert isinstance(raised.value, json.JSONDecodeError)
    assert isinstance(raised.value, WebSocketException)


async def test_malformed_json_says_where() -> None:
    websocket, _ = await accepted(text('{"a": 1,\n x}'))
    with pytest.raises(json.JSONDecodeError) as raised:
        await websocket.receive_json()
    assert (raised.value.doc, raised.value.lineno, raised.value.colno) == ('{"a": 1,\n x}', 2, 2)


async def test_json_that_is_not_utf8_is_malformed() -> None:
    websocket, _ = await accepted(binary(b'"\xff"'))
    with pytest.raises(MalformedJSONMessage, match="not UTF-8"):
        await websocket.receive_json("binary")


async def test_another_mode_is_refused_before_anything_is_received() -> None:
    websocket, sent = await accepted(text("1"))
    with pytest.raises(RuntimeError, match='"text" or "binary", got \'xml\''):
        await websocket.receive_json(mode="xml")
    with pytest.raises(RuntimeError, match='The "mode" argument should be'):
        await websocket.send_json(1, mode="xml")
    assert await websocket.receive_json() == 1
    assert sent == []


async def test_receivers_raise_the_clients_code_every_time() -> None:
    websocket, _ = await accepted(LEFT)
    for receive in (websocket.receive_text, websocket.receive_bytes, websocket.receive_json):
        with pytest.raises(WebSocketDisconnect) as raised:
            await receive()
        assert (raised.value.code, raised.value.reason) == (1001, "bye")


async def test_the_raw_receive_gives_the_disconnect_once() -> None:
    websocket, _ = await accepted(text("x"), LEFT)
    assert await websocket.receive() == text("x")
    assert await websocket.receive() == LEFT
    with pytest.raises(WebSocketDisconnected, match='Cannot call "receive" once a disconnect'):
        await websocket.receive()


async def test_receiving_before_accept_is_an_error() -> None:
    websocket, _ = socket()
    with pytest.raises(WebSocketDisconnected, match='Need to call "accept" first'):
        await websocket.receive_text()
    with pytest.raises(WebSocketDisconnected, match='Need to call "accept" first'):
        async for _ in websocket.iter_text():
            raise AssertionError("nothing can come")


async def test_receiving_after_the_own_close_is_an_error() -> None:
    websocket, _ = await accepted()
    await websocket.close()
    with pytest.raises(WebSocketDisconnected, match="closed or refused"):
        await websocket.receive_bytes()


async def test_receiving_while_refusing_is_an_error() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        websocket: WebSocket = WebSocket(scope, receive, send)
        await websocket.send({"type": "websocket.http.response.start", "status": 404})
        assert websocket.application_state is WebSocketState.RESPONSE
        with pytest.raises(WebSocketDisconnected, match="being refused with a response"):
            await websocket.receive_json()

    result = await ScriptedServer(app).websocket().run()
    assert result.raised is None


async def test_iterators_give_everything_until_the_client_leaves() -> None:
    async def every(items: AsyncIterator[Any]) -> list[Any]:
        return [item async for item in items]

    websocket, _ = await accepted(text("a"), text("b"), LEFT)
    assert await every(websocket.iter_text()) == ["a", "b"]
    assert await every(websocket.iter_text()) == []
    websocket, _ = await accepted(binary(b"a"), LEFT)
    assert await every(websocket.iter_bytes()) == [b"a"]
    websocket, _ = await accepted(text("1"), text("[]"), LEFT)
    assert await every(websocket.iter_json()) == [1, []]


async def test_an_iterator_ends_after_the_own_close() -> None:
    websocket, _ = await accepted(text("a"), text("b"))
    seen = []
    async for data in websocket.iter_text():
        seen.append(data)
        await websocket.close()
    assert seen == ["a"]


# -- sending --------------------------------------------------------------------------------------


async def test_texts_bytes_and_json_are_sent() -> None:
    websocket, sent = await accepted()
    await websocket.send_text("a")
    await websocket.send_bytes(b"b")
    await websocket.send_json({"ä": [1, 2]})
    await websocket.send_json({"ä": [1, 2]}, mode="binary")
    await websocket.send({"type": "websocket.send", "text": "raw"})
    assert [message.get("text", message.get("bytes")) for message in sent] == [
        "a",
        b"b",
        '{"ä":[1,2]}',
        '{"ä":[1,2]}'.encode(),
        "raw",
    ]


async def test_sending_before_accept_is_an_error() -> None:
    websocket, sent = socket()
    with pytest.raises(WebSocketDisconnected, match=r"call accept\(\) first"):
        await websocket.send_text("x")
    assert sent == []


async def test_sending_after_the_client_left_raises_its_code() -> None:
    websocket, sent = await accepted(LEFT)
    await websocket.receive()
    for _ in range(2):
        with pytest.raises(WebSocketDisconnect, match="1001: bye"):
            await websocket.send_text("x")
    await websocket.close()
    await websocket.close()
    assert sent == []


# -- for all messages -----------------------------------------------------------------------------

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text("aäß💥\x00"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=10,
)


@settings(max_examples=30, deadline=None)
@given(value=VALUES, mode=st.sampled_from(["text", "binary"]))
async def test_json_that_was_sent_is_received(value: Any, mode: str) -> None:
    websocket, sent = await accepted()
    await websocket.send_json(value, mode)
    websocket, _ = await accepted({**sent[0], "type": "websocket.receive"})
    assert await websocket.receive_json(mode) == value


@settings(max_examples=50, deadline=None)
@given(data=st.binary(max_size=30) | st.from_regex(rb'[\[\]{}",:0-9eE.nulNa\\-]{0,20}'))
async def test_no_bytes_of_a_client_raise_another_error(data: bytes) -> None:
    websocket, _ = await accepted(binary(data))
    try:
        value = await websocket.receive_json("binary")
    except MalformedJSONMessage as exc:
        value = exc.reason
    assert value is None or isinstance(value, (bool, int, float, str, list, dict))


async def test_nan_is_sent_as_starlette_does() -> None:
    websocket, sent = await accepted()
    await websocket.send_json(math.nan)
    assert sent[0]["text"] == "NaN"


async def test_an_iteration_that_is_left_or_closed_leaves_nothing_open() -> None:
    websocket, _ = await accepted(text("a"), text("b"), text("c"))
    texts = websocket.iter_text()
    async for data in texts:
        assert data == "a"
        break
    assert await anext(texts) == "b"
    await texts.aclose()
    assert [data async for data in texts] == []
