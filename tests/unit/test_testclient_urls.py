"""The URLs of the asynchronous test client."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hesper._testclient.http.urls import RequestURL, pairs_of
from hesper.datastructures import QueryParams
from hesper.exceptions import UsageError


def test_its_parts() -> None:
    url = RequestURL("https://us%40er:p%C3%A9@Host.example:8443/a%20b?c=d&e#f%20g")
    assert (url.scheme, url.host, url.raw_host, url.port) == (
        "https",
        "host.example",
        b"host.example",
        8443,
    )
    assert (url.userinfo, url.username, url.password) == (b"us%40er:p%C3%A9", "us@er", "pé")
    assert (url.netloc, url.path, url.query) == (b"host.example:8443", "/a b", b"c=d&e")
    assert (url.raw_path, url.fragment) == (b"/a%20b?c=d&e", "f g")
    assert url.params.multi_items() == [("c", "d"), ("e", "")]
    assert url.is_absolute_url
    assert url.origin == ("https", "host.example", 8443)


def test_what_it_has_not() -> None:
    url = RequestURL("/a")
    assert (url.scheme, url.host, url.port, url.username, url.password) == ("", "", None, "", "")
    assert (url.query, url.fragment, url.is_absolute_url) == (b"", "", False)


def test_the_port_of_the_scheme_is_left_out() -> None:
    for scheme, port in {"http": 80, "https": 443, "ws": 80, "wss": 443}.items():
        url = RequestURL(f"{scheme}://host:{port}/")
        assert (url.port, url.netloc) == (None, b"host")
    assert RequestURL("http://host:443/").port == 443


def test_hosts_of_every_kind() -> None:
    assert RequestURL("http://[::1]:80/").netloc == b"[::1]"
    assert RequestURL("http://[::1]/").host == "::1"
    assert RequestURL("http://bücher.example/").host == "xn--bcher-kva.example"


@pytest.mark.parametrize(
    ("path", "resolved"),
    [
        ("", "/"),
        ("/a/./b/../c", "/a/c"),
        ("/a/..", "/"),
        ("/a/b/..", "/a/"),
        ("/a/.", "/a/"),
        ("/../../a", "/a"),
        ("//a//b/", "//a//b/"),
    ],
)
def test_dots_are_resolved(path: str, resolved: str) -> None:
    assert RequestURL(f"http://host{path}").path == resolved


@pytest.mark.parametrize(
    "url", ["/a\nb", "\x00", "http://host:port/", "http://host:99999/", "http://[::1/", "//[x]/"]
)
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="URL"):
        RequestURL(url)


def test_a_host_that_cannot_be_written_in_ascii_is_refused() -> None:
    with pytest.raises(UsageError, match="Expected a URL"):
        RequestURL(f"http://{'é' * 100}/")


def test_it_is_equal_to_what_means_the_same() -> None:
    url = RequestURL("http://host/a b")
    assert url == "HTTP://HOST:80/a%20b"
    assert url == RequestURL(url)
    assert hash(url) == hash(RequestURL("http://host/a%20b"))
    assert url != "http://host/a"
    assert url != 1


def test_it_shows_no_password() -> None:
    url = RequestURL("http://user:secret@host/")
    assert repr(url) == "RequestURL('http://user:[secure]@host/')"
    assert str(url) == "http://user:secret@host/"
    assert repr(RequestURL("/a")) == "RequestURL('/a')"


def test_join() -> None:
    url = RequestURL("http://host/a/b?c")
    assert url.join("d") == "http://host/a/d"
    assert url.join("//other/") == "http://other/"
    assert url.join(RequestURL("?e")) == "http://host/a/b?e"


def test_append() -> None:
    url = RequestURL("http://host/v1")
    assert url.append(RequestURL("/a?b")) == "http://host/v1/a?b"
    assert url.append(RequestURL("")) == "http://host/v1/"


def test_parameters_take_the_place_of_the_query() -> None:
    url = RequestURL("http://host/?old=1#part")
    params: dict[str, Any] = {"a": ["1", 2], "b": None, "c": True}
    assert url.with_params(params) == "http://host/?a=1&a=2&b=&c=true#part"
    assert url.with_params(()) == "http://host/#part"


def test_parameters_of_every_kind() -> None:
    pairs = [("a", "1"), ("a", "é")]
    for params in ("a=1&a=%C3%A9", b"a=1&a=%C3%A9", QueryParams(pairs), pairs, {"a": ("1", "é")}):
        assert pairs_of(params) == pairs
    assert pairs_of(None) == []
    assert pairs_of({"a": False, "b": 1.5}) == [("a", "false"), ("b", "1.5")]


@given(st.text())
def test_any_text_is_a_url_or_refused(text: str) -> None:
    try:
        url = RequestURL(text)
    except UsageError:
        return
    assert str(url).isascii()
    assert RequestURL(str(url)) == url
    assert url.join("x").raw_path.isascii()
