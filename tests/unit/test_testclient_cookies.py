"""The cookies of the asynchronous test client."""

from http.cookiejar import CookieJar

import pytest

from hesper._testclient.http.cookies import Cookies
from hesper._testclient.http.headers import JoinedHeaders
from hesper._testclient.http.urls import RequestURL
from hesper.exceptions import UsageError

HERE = RequestURL("http://testserver/")


def set_by(*fields: str, url: RequestURL = HERE) -> Cookies:
    cookies = Cookies()
    cookies.extract(JoinedHeaders([("set-cookie", field) for field in fields]), url)
    return cookies


def test_they_are_a_mapping() -> None:
    cookies = Cookies({"a": "1"})
    cookies["b"] = "2"
    assert dict(cookies) == {"a": "1", "b": "2"}
    assert len(cookies) == 2
    assert bool(cookies)
    assert not Cookies()
    assert cookies.get("a") == "1"
    assert cookies.get("c") is None
    assert cookies.get("c", "x") == "x"
    del cookies["a"]
    with pytest.raises(KeyError, match="a"):
        cookies["a"]


def test_they_are_made_of_whatever_holds_some() -> None:
    jar = CookieJar()
    for source in ({"a": "1"}, [("a", "1")], Cookies({"a": "1"})):
        cookies = Cookies(source)
        assert dict(cookies) == {"a": "1"}
        for cookie in cookies.jar:
            jar.set_cookie(cookie)
    assert dict(Cookies(jar)) == {"a": "1"}


def test_those_without_a_host_go_everywhere() -> None:
    cookies = Cookies({"a": "1"})
    for url in ("http://testserver/", "https://elsewhere.example/deep"):
        assert cookies.header_for(RequestURL(url)) == "a=1"


def test_those_of_a_host_and_a_path_go_there() -> None:
    cookies = Cookies()
    cookies.set("a", "1", domain="example.com", path="/deep")
    assert cookies.header_for(RequestURL("http://example.com/deep/er")) == "a=1"
    assert cookies.header_for(RequestURL("http://example.com/")) is None
    assert cookies.header_for(RequestURL("http://testserver/deep")) is None


def test_what_a_response_sets_goes_back_to_where_it_came_from() -> None:
    cookies = set_by("a=1; Path=/", "b=2; Secure", "c=3; Domain=elsewhere.example")
    assert cookies.header_for(HERE) == "a=1"
    assert cookies.header_for(RequestURL("https://testserver/")) == "a=1; b=2"
    assert cookies.header_for(RequestURL("wss://testserver/")) == "a=1; b=2"
    assert cookies.header_for(RequestURL("http://elsewhere.example/")) is None


def test_a_cookie_that_is_deleted_or_over_is_gone() -> None:
    cookies = set_by("a=1", "b=2")
    cookies.extract(JoinedHeaders({"set-cookie": "a=; Max-Age=0"}), HERE)
    assert dict(cookies) == {"b": "2"}


def test_two_of_one_name_are_told_apart() -> None:
    cookies = Cookies()
    cookies.set("a", "1", domain="one.example")
    cookies.set("a", "2", domain="two.example", path="/deep")
    with pytest.raises(UsageError, match="There are 2 cookies 'a': name a domain or a path"):
        cookies.get("a")
    assert cookies.get("a", domain="one.example") == "1"
    assert cookies.get("a", path="/deep") == "2"
    cookies.delete("a", domain="two.example")
    assert cookies["a"] == "1"
    cookies.delete("missing")


def test_they_are_cleared() -> None:
    cookies = Cookies({"a": "1"})
    cookies.set("a", "2", domain="one.example")
    cookies.set("b", "2", domain="one.example", path="/deep")
    cookies.clear(domain="one.example", path="/deep")
    assert len(cookies) == 2
    cookies.clear()
    assert len(cookies) == 0


def test_their_text() -> None:
    cookies = Cookies()
    cookies.set("a", "1", domain="one.example")
    assert repr(cookies) == """<Cookies ["a=1 for 'one.example'"]>"""
