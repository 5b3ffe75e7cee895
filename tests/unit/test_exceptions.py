"""Exceptions: whose fault it is, what they say, and that they survive a trip between processes."""

import json
import pickle

import pytest

from hesper.exceptions import (
    ClientDisconnect,
    HesperDeprecationWarning,
    HTTPException,
    MalformedJSON,
    ServerProtocolError,
    UsageError,
    WebSocketException,
)


@pytest.mark.parametrize(
    ("cls", "base"),
    [
        (ClientDisconnect, OSError),
        (UsageError, RuntimeError),
        (ServerProtocolError, RuntimeError),
        (MalformedJSON, HTTPException),
        (MalformedJSON, json.JSONDecodeError),
        (HesperDeprecationWarning, UserWarning),
    ],
)
def test_it_can_be_caught_as_what_its_users_know(
    cls: type[Exception], base: type[Exception]
) -> None:
    assert issubclass(cls, base)


def test_a_client_disconnect_says_when_it_happened() -> None:
    assert str(ClientDisconnect()) == "The client left."
    assert str(ClientDisconnect("before the body")) == "The client left before the body."


def test_an_http_exception_without_detail_has_the_phrase_of_its_status() -> None:
    exc = HTTPException(404)
    assert (exc.status_code, exc.detail, exc.headers) == (404, "Not Found", None)
    assert str(exc) == "404: Not Found"


def test_an_http_exception_of_a_status_without_a_name_has_no_detail() -> None:
    assert HTTPException(499).detail == ""


def test_an_http_exception_keeps_its_detail_and_headers() -> None:
    exc = HTTPException(401, "Who are you?", {"www-authenticate": "Basic"})
    assert exc.detail == "Who are you?"
    assert exc.headers == {"www-authenticate": "Basic"}
    assert HTTPException(400, "").detail == ""


def test_the_repr_of_an_http_exception_names_the_subclass() -> None:
    class Teapot(HTTPException):
        pass

    assert repr(Teapot(418, "short")) == "Teapot(status_code=418, detail='short')"


def test_malformed_json_is_an_answer_and_a_decode_error() -> None:
    exc = MalformedJSON("Extra data", "1 2", 2)
    assert (exc.status_code, exc.detail) == (400, "Malformed JSON: Extra data.")
    assert (exc.msg, exc.doc, exc.pos, exc.colno) == ("Extra data", "1 2", 2, 3)
    assert str(exc) == "400: Malformed JSON: Extra data."


def test_a_websocket_exception_has_a_code_and_perhaps_a_reason() -> None:
    exc = WebSocketException(1008, "policy")
    assert (exc.code, exc.reason) == (1008, "policy")
    assert str(exc) == "1008: policy"
    assert repr(exc) == "WebSocketException(code=1008, reason='policy')"
    assert WebSocketException(1001).reason == ""


@pytest.mark.parametrize(
    "exc", [HTTPException(404, "gone"), WebSocketException(1008, "policy"), UsageError("do this")]
)
def test_an_exception_can_be_pickled(exc: Exception) -> None:
    again = pickle.loads(pickle.dumps(exc))
    assert type(again) is type(exc)
    assert vars(again) == vars(exc)
    assert str(again) == str(exc)
