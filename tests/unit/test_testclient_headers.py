"""Headers as the asynchronous test client has them."""

import pytest

from hesper._testclient.http.headers import JoinedHeaders


def test_fields_of_one_name_are_read_as_one() -> None:
    headers = JoinedHeaders([("A", "1"), ("b", "2"), (b"a", b"3, 4")])
    assert headers["a"] == headers["A"] == "1, 3, 4"
    assert headers.get_list("A") == ["1", "3, 4"]
    assert headers.get_list("a", split_commas=True) == ["1", "3", "4"]
    assert headers.multi_items() == [("a", "1"), ("b", "2"), ("a", "3, 4")]
    assert dict(headers) == {"a": "1, 3, 4", "b": "2"}
    assert len(headers) == 2
    assert headers.raw == [(b"a", b"1"), (b"b", b"2"), (b"a", b"3, 4")]


def test_a_missing_name() -> None:
    headers = JoinedHeaders({"a": "1"})
    assert "a" in headers
    assert "b" not in headers
    something: object = 1
    assert something not in headers
    assert headers.get("b") is None
    assert headers.get("b", "x") == "x"
    with pytest.raises(KeyError, match="b"):
        headers["b"]
    with pytest.raises(KeyError, match="b"):
        del headers["b"]


def test_a_field_that_is_set_takes_the_place_of_all_of_its_name() -> None:
    headers = JoinedHeaders([("a", "1"), ("b", "2"), ("a", "3")])
    headers["A"] = "4"
    headers["c"] = "5"
    assert headers.multi_items() == [("a", "4"), ("b", "2"), ("c", "5")]
    del headers["A"]
    assert headers.pop("b") == "2"
    assert headers.multi_items() == [("c", "5")]


def test_update_keeps_all_of_the_new_ones() -> None:
    headers = JoinedHeaders({"a": "1", "b": "2"})
    headers.update([("A", "3"), ("a", "4")], c="5")
    headers.update()
    assert headers.multi_items() == [("b", "2"), ("a", "3"), ("a", "4"), ("c", "5")]


def test_a_copy_is_another_one() -> None:
    headers = JoinedHeaders({"a": "1"})
    copy = headers.copy()
    copy["a"] = "2"
    assert (headers["a"], copy["a"]) == ("1", "2")


def test_they_are_equal_in_any_order() -> None:
    headers = JoinedHeaders([("a", "1"), ("b", "2")])
    assert headers == JoinedHeaders([("B", "2"), ("a", "1")])
    assert headers == {"A": "1", "b": "2"}
    assert headers == [("a", "1"), (b"b", b"2")]
    assert headers != {"a": "1"}
    assert headers != 1


def test_bytes_are_read_as_utf_8_or_else_as_latin_1() -> None:
    headers = JoinedHeaders([(b"a", "é".encode()), (b"b", b"\xe9")])
    assert list(headers.values()) == ["é", "é"]
    assert JoinedHeaders({"a": "é"}).raw == [(b"a", b"\xe9")]


def test_its_text() -> None:
    assert repr(JoinedHeaders({"a": "1"})) == "JoinedHeaders([('a', '1')])"
