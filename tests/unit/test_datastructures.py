"""hesper.datastructures: multidicts, headers, URLs, uploads and the small values."""

from __future__ import annotations

import copy
import io
import pickle
import string
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import parse_qsl, unquote, unquote_to_bytes, urlsplit

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hesper import _headers
from hesper._headers import encode_header
from hesper._host import ParsedHost, parse_host_header
from hesper._multidict import parse_query
from hesper.datastructures import (
    URL,
    Address,
    CommaSeparatedStrings,
    FormData,
    Headers,
    ImmutableMultiDict,
    MultiDict,
    MutableHeaders,
    QueryParams,
    Secret,
    State,
    UploadFile,
    URLPath,
)

modest = settings(max_examples=60, deadline=None)
# Everything that UTF-8 can say: no lone surrogates.
texts = st.text(st.characters(codec="utf-8"), max_size=20)
backends = pytest.mark.parametrize("backend", ["asyncio", "trio"])


def run(backend: str, main: Callable[[], Awaitable[None]]) -> None:
    anyio.run(main, backend=backend)


# Multidicts


PAIRS = [("a", 1), ("b", 2), ("a", 3)]


def test_a_multidict_is_a_mapping_to_last_values() -> None:
    multi = ImmutableMultiDict(PAIRS)
    assert isinstance(multi, Mapping)
    assert (multi["a"], multi["b"], len(multi), list(multi)) == (3, 2, 2, ["a", "b"])
    assert (list(multi.keys()), list(multi.values())) == (["a", "b"], [3, 2])
    assert dict(multi.items()) == dict(multi) == {"a": 3, "b": 2}
    assert (multi.get("a"), multi.get("z"), multi.get("z", 9)) == (3, None, 9)
    assert "a" in multi
    assert "z" not in multi
    with pytest.raises(KeyError, match="z"):
        multi["z"]


def test_a_multidict_keeps_every_value_in_order() -> None:
    multi = ImmutableMultiDict(PAIRS)
    assert (multi.getlist("a"), multi.getlist("z"), multi.multi_items()) == ([1, 3], [], PAIRS)
    assert repr(multi) == "ImmutableMultiDict([('a', 1), ('b', 2), ('a', 3)])"


@pytest.mark.parametrize(
    "source",
    [PAIRS, tuple(PAIRS), iter(PAIRS), ImmutableMultiDict(PAIRS), MultiDict(PAIRS)],
    ids=lambda source: type(source).__name__,
)
def test_a_multidict_is_made_from_any_collection_of_pairs(source: Any) -> None:
    assert ImmutableMultiDict(source).multi_items() == PAIRS


def test_a_multidict_is_made_from_mappings_and_keywords() -> None:
    assert ImmutableMultiDict({"a": 1}, a=2, b=3).multi_items() == [("a", 1), ("a", 2), ("b", 3)]
    assert ImmutableMultiDict({}).multi_items() == ImmutableMultiDict().multi_items() == []


@pytest.mark.parametrize("make", [ImmutableMultiDict, QueryParams, MultiDict().update])
def test_two_collections_are_too_many(make: Any) -> None:
    with pytest.raises(TypeError) as caught:
        make({"a": 1}, {"b": 2})
    assert str(caught.value) == "Too many arguments: expected at most one collection, got 2."


def test_a_multidict_does_not_share_the_list_it_was_made_from() -> None:
    source = [("a", 1)]
    multi = MultiDict(source)
    multi.append("b", 2)
    multi.multi_items().append(("c", 3))
    assert source == [("a", 1)]
    assert multi.multi_items() == [("a", 1), ("b", 2)]


def test_multidicts_are_equal_by_key_with_order_under_a_key() -> None:
    assert ImmutableMultiDict(PAIRS) == ImmutableMultiDict([("b", 2), ("a", 1), ("a", 3)])
    assert ImmutableMultiDict(PAIRS) != ImmutableMultiDict([("a", 3), ("b", 2), ("a", 1)])
    assert ImmutableMultiDict(PAIRS) != ImmutableMultiDict([("b", 2), ("a", 3)])


def test_multidicts_of_other_classes_and_dicts_are_never_equal() -> None:
    assert ImmutableMultiDict(a="1") != MultiDict(a="1")
    assert MultiDict(a="1") != ImmutableMultiDict(a="1")
    assert QueryParams(a="1") != {"a": "1"}
    with pytest.raises(TypeError, match="unhashable"):
        hash(QueryParams())


def test_setdefault_leaves_a_key_that_is_there() -> None:
    items = MultiDict([("a", "1"), ("a", "2")])
    assert (items.setdefault("a", "3"), items.setdefault("b", "4")) == ("2", "4")
    assert items.multi_items() == [("a", "1"), ("a", "2"), ("b", "4")]


def test_popitem_of_an_empty_multidict_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        MultiDict().popitem()


def test_deleting_a_missing_key_of_a_multidict_is_a_key_error() -> None:
    multi = MultiDict(PAIRS)
    with pytest.raises(KeyError, match="z"):
        del multi["z"]
    assert multi.multi_items() == PAIRS


def test_setdefault_without_a_default_sets_none() -> None:
    multi = MultiDict()
    assert multi.setdefault("a") is None
    assert multi.multi_items() == [("a", None)]


Model = list[tuple[str, int]]
keys = st.sampled_from("abcd")
values = st.integers(0, 9)
pairs = st.lists(st.tuples(keys, values), max_size=6)


def without(model: Model, *gone: str) -> Model:
    return [pair for pair in model if pair[0] not in gone]


def under(model: Model, key: str) -> list[int]:
    return [value for name, value in model if name == key]


def apply(multi: MultiDict, model: Model, verb: str, key: str, value: int, new: Model) -> Model:
    """Do one thing to a multidict, check what it says, and give what the model is then."""
    found = under(model, key)
    match verb:
        case "set":
            multi[key] = value
            return [*without(model, key), (key, value)]
        case "delete" if found:
            del multi[key]
            return without(model, key)
        case "pop":
            assert multi.pop(key, -1) == (found[-1] if found else -1)
            assert multi.pop(key) is None
            return without(model, key)
        case "popitem" if model:
            last, popped = multi.popitem()
            assert popped == under(model, last)[-1]
            return without(model, last)
        case "poplist":
            assert multi.poplist(key) == found
            return without(model, key)
        case "clear":
            multi.clear()
            return []
        case "setdefault":
            assert multi.setdefault(key, value) == (found[-1] if found else value)
            return model if found else [*model, (key, value)]
        case "setlist":
            several = [number for _, number in new]
            multi.setlist(key, several)
            return without(model, key) + [(key, number) for number in several]
        case "append":
            multi.append(key, value)
            return [*model, (key, value)]
        case "update":
            multi.update(new)
            return without(model, *(name for name, _ in new)) + new
        case "keywords":
            multi.update(MultiDict(new), **{key: value})
            return without(model, key, *(name for name, _ in new)) + new + [(key, value)]
    return model


VERBS = "set delete pop popitem poplist clear setdefault setlist append update keywords".split()


@modest
@given(pairs, st.lists(st.tuples(st.sampled_from(VERBS), keys, values, pairs), max_size=12))
def test_a_multidict_does_what_a_list_of_pairs_would(
    start: Model, steps: list[tuple[str, str, int, Model]]
) -> None:
    multi, model = MultiDict(start), start
    for step in steps:
        model = apply(multi, model, *step)
        assert multi.multi_items() == model
        assert dict(multi.items()) == dict(model)
        assert (len(multi), set(multi)) == (len(dict(model)), set(dict(model)))
        assert all(multi.getlist(key) == under(model, key) for key in "abcd")


@modest
@given(pairs, pairs)
def test_multidict_equality_is_equality_of_the_lists_under_each_key(one: Model, two: Model) -> None:
    same = all(under(one, key) == under(two, key) for key in "abcd")
    assert (ImmutableMultiDict(one) == ImmutableMultiDict(two)) is same


# Query strings


@pytest.mark.parametrize(
    ("query", "pairs"),
    [
        ("a=1&b=2&a=3", [("a", "1"), ("b", "2"), ("a", "3")]),
        ("a&b=&=c&&;d=1", [("a", ""), ("b", ""), ("", "c"), (";d", "1")]),
        ("a+b=c%2Bd%20", [("a b", "c+d ")]),
        ("a=%ff&b=%zz", [("a", "\ufffd"), ("b", "%zz")]),
        ("a=b=c", [("a", "b=c")]),
        (b"a=\xe9&b=%C3%A9", [("a", "é"), ("b", "é")]),
        ("", []),
        (b"", []),
        (None, []),
        ({"a": 1, "b": None}, [("a", "1"), ("b", "None")]),
        ([("a", 1), (2, True)], [("a", "1"), ("2", "True")]),
        (MultiDict([("a", 1), ("a", 2)]), [("a", "1"), ("a", "2")]),
    ],
)
def test_query_params_are_read(query: Any, pairs: list[tuple[str, str]]) -> None:
    assert QueryParams(query).multi_items() == pairs


def test_query_params_take_keywords() -> None:
    assert QueryParams("a=1", a=2, b=3).multi_items() == [("a", "1"), ("a", "2"), ("b", "3")]
    assert QueryParams(a=1).multi_items() == [("a", "1")]


def test_query_params_show_themselves_as_a_query_string() -> None:
    params = QueryParams([("a", "é &"), ("b", "")])
    assert str(params) == "a=%C3%A9+%26&b="
    assert repr(params) == "QueryParams('a=%C3%A9+%26&b=')"


@modest
@given(st.lists(st.tuples(texts, texts)))
def test_query_params_survive_a_round_trip(pairs: list[tuple[str, str]]) -> None:
    params = QueryParams(pairs)
    assert QueryParams(str(params)).multi_items() == pairs
    assert QueryParams(str(params).encode()) == params


@modest
@given(st.one_of(texts, st.text("&=+%;a1\u20ac", max_size=30)))
def test_any_text_is_read_as_urllib_reads_it(text: str) -> None:
    assert parse_query(text) == parse_qsl(text, keep_blank_values=True)


# Headers


RAW = [(b"a", b"1"), (b"b", b"2"), (b"a", b"3")]


def test_headers_are_a_mapping_without_case() -> None:
    headers = Headers(raw=RAW)
    assert isinstance(headers, Mapping)
    assert headers["a"] == headers["A"] == headers.get("A") == "1"
    assert (headers.getlist("A"), headers.getlist("z")) == (["1", "3"], [])
    assert "A" in headers
    assert "z" not in headers
    assert (headers.get("z"), headers.get("z", "default")) == (None, "default")
    with pytest.raises(KeyError, match="Z"):
        headers["Z"]


def test_headers_show_every_field() -> None:
    headers = Headers(raw=RAW)
    assert headers.keys() == list(headers) == ["a", "b", "a"]
    assert headers.values() == ["1", "2", "3"]
    assert headers.items() == [("a", "1"), ("b", "2"), ("a", "3")]
    assert len(headers) == 3
    assert repr(headers) == f"Headers(raw={RAW!r})"
    assert repr(Headers({"A": "é"})) == "Headers({'a': 'é'})"


def test_headers_are_latin_1() -> None:
    headers = Headers({"X-Name": "é"})
    assert headers.raw == [(b"x-name", b"\xe9")]
    assert headers["x-name"] == "é"


def test_headers_refer_to_the_list_of_the_scope() -> None:
    scope = {"headers": [(b"a", b"1")]}
    headers = Headers(scope=scope)
    scope["headers"].append((b"b", b"2"))
    assert "b" in headers


def test_headers_accept_pairs_that_are_lists() -> None:
    assert Headers(scope={"headers": [[b"a", b"1"]]})["a"] == "1"


def test_headers_of_a_one_time_iterable_are_kept_in_the_scope() -> None:
    scope: dict[str, Any] = {"headers": iter(RAW)}
    assert Headers(scope=scope).raw == Headers(scope=scope).raw == scope["headers"] == RAW
    assert Headers(raw=iter(RAW)).raw == RAW


def test_a_message_without_headers_has_none() -> None:
    # ASGI: "headers" is optional in http.response.start.
    message: dict[str, Any] = {"type": "http.response.start", "status": 200}
    assert len(Headers(scope=message)) == 0
    MutableHeaders(scope=message)["a"] = "1"
    assert message["headers"] == [(b"a", b"1")]


def test_the_raw_list_of_immutable_headers_is_a_copy() -> None:
    headers = Headers({"a": "1"})
    headers.raw.clear()
    assert headers["a"] == "1"


@pytest.mark.parametrize(
    "arguments",
    [
        {"headers": {}, "raw": []},
        {"headers": {}, "scope": {"headers": []}},
        {"raw": [], "scope": {"headers": []}},
    ],
)
def test_headers_have_one_source(arguments: dict[str, Any]) -> None:
    with pytest.raises(TypeError) as caught:
        Headers(**arguments)
    expected = 'Cannot set more than one of "headers", "raw" and "scope".'
    assert str(caught.value) == expected


def test_headers_are_equal_whatever_the_order() -> None:
    assert Headers(raw=RAW) == Headers(raw=RAW[::-1]) == MutableHeaders(raw=RAW)
    assert Headers(raw=RAW) != Headers(raw=RAW[:2])
    assert Headers({"a": "1"}) != {"a": "1"}
    with pytest.raises(TypeError, match="unhashable"):
        hash(Headers())


def test_a_name_that_no_header_can_have_is_not_there() -> None:
    headers = Headers(raw=RAW)
    for name in ("\u20ac", "a\n"):
        assert name not in headers
        assert headers.get(name) is None
        assert headers.getlist(name) == []
        with pytest.raises(KeyError):
            headers[name]


def test_a_name_is_lowered_as_ascii_only() -> None:
    # str.lower() turns KELVIN SIGN into "k", and would find a header that was not asked for.
    assert "coo\u212aie" not in Headers({"cookie": "1"})


@pytest.mark.parametrize("name", [1, None, b"a"])
def test_a_name_that_is_no_text_is_a_type_error(name: Any) -> None:
    with pytest.raises(TypeError) as caught:
        Headers().get(name)
    expected = f"Expected a header name as str, got {type(name).__name__}: {name!r}."
    assert str(caught.value) == expected


tokens = st.text(string.ascii_letters + string.digits + "-_!#$%&'*+.^`|~", min_size=1, max_size=12)


@modest
@given(st.lists(st.tuples(tokens, texts.filter(str.isascii))), tokens, st.randoms())
def test_the_case_of_a_name_never_matters(
    fields: list[tuple[str, str]], wanted: str, random: Any
) -> None:
    headers = Headers(raw=[(name.lower().encode(), value.encode()) for name, value in fields])
    assert headers.values() == [value for _, value in fields]
    for name in [wanted, *headers.keys()]:
        spelled = "".join(random.choice((char.upper(), char.lower())) for char in name)
        found = [value for other, value in fields if other.lower() == name.lower()]
        assert headers.getlist(spelled) == found
        assert (spelled in headers) is bool(found)
        assert headers.get(spelled) == (found[0] if found else None)


def test_the_cache_of_names_is_bounded_in_number_and_length(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_headers, "_NAMES", {})
    headers = Headers()
    headers.get("x" * 65)
    assert _headers._NAMES == {}
    for number in range(600):
        headers.get(f"x-{number}")
    assert len(_headers._NAMES) == 512
    assert Headers({"X-599": "found"})["x-599"] == "found"


def mutable() -> MutableHeaders:
    return MutableHeaders(raw=RAW[:])


@pytest.mark.parametrize(
    ("change", "raw"),
    [
        (lambda h: h.__setitem__("C", "9"), [*RAW, (b"c", b"9")]),
        (lambda h: h.__setitem__("A", "9"), [(b"a", b"9"), (b"b", b"2")]),
        (lambda h: h.__setitem__("B", "9"), [(b"a", b"1"), (b"b", b"9"), (b"a", b"3")]),
        (lambda h: h.__delitem__("A"), [(b"b", b"2")]),
        (lambda h: h.__delitem__("z"), RAW),
        (lambda h: h.append("A", "9"), [*RAW, (b"a", b"9")]),
        (lambda h: h.setdefault("A", "9"), RAW),
        (lambda h: h.setdefault("C", "9"), [*RAW, (b"c", b"9")]),
        (lambda h: h.update({"A": "9", "c": "8"}), [(b"a", b"9"), (b"b", b"2"), (b"c", b"8")]),
        (lambda h: h.__ior__({"B": "9"}), [(b"a", b"1"), (b"b", b"9"), (b"a", b"3")]),
        (lambda h: h | {"B": "9"}, RAW),
    ],
)
def test_a_change_is_made_in_the_raw_list_itself(
    change: Callable[[MutableHeaders], object], raw: list[tuple[bytes, bytes]]
) -> None:
    given_list = RAW[:]
    headers = MutableHeaders(raw=given_list)
    change(headers)
    assert given_list == raw
    assert headers.raw is given_list


def test_the_methods_that_change_headers_say_what_is_there_then() -> None:
    headers = mutable()
    assert (headers.setdefault("A", "9"), headers.setdefault("c", "9")) == ("1", "9")
    merged = headers | Headers({"d": "1"})
    assert (merged["d"], "d" in headers) == ("1", False)
    same = headers
    headers |= {"d": "2"}
    assert headers is same
    assert headers["d"] == "2"


@pytest.mark.parametrize("verb", ["update", "__or__", "__ior__"])
def test_headers_are_updated_from_mappings_only(verb: str) -> None:
    with pytest.raises(TypeError) as caught:
        getattr(mutable(), verb)([("a", "1")])
    assert str(caught.value) == "Expected a mapping but got list"


def test_mutable_headers_over_a_scope_leave_the_servers_list_alone() -> None:
    servers = RAW[:]
    scope = {"headers": servers}
    headers = MutableHeaders(scope=scope)
    headers["c"] = "1"
    assert servers == RAW
    assert scope["headers"] is headers.raw
    assert Headers(scope=scope)["c"] == "1"


def test_a_mutable_copy_is_independent() -> None:
    headers = Headers(raw=RAW)
    changed = headers.mutablecopy()
    changed["a"] = "9"
    assert (headers["a"], changed["a"], type(changed)) == ("1", "9", MutableHeaders)


FORBIDDEN = (
    " contains CR, LF or NUL, which would split the response (RFC 9110 section 5.5). "
    "Remove them, or percent-encode them."
)
setters: list[Callable[[str, str], object]] = [
    lambda name, value: mutable().__setitem__(name, value),
    lambda name, value: mutable().append(name, value),
    lambda name, value: mutable().setdefault(name, value),
    lambda name, value: mutable().update({name: value}),
    lambda name, value: mutable() | {name: value},
    lambda name, value: Headers({name: value}),
    encode_header,
]


@pytest.mark.parametrize("setter", setters)
@pytest.mark.parametrize("bad", ["x\r\nset-cookie: a=b", "x\r", "x\n", "x\0"])
def test_a_value_or_name_that_splits_the_response_is_refused(
    setter: Callable[[str, str], object], bad: str
) -> None:
    with pytest.raises(ValueError) as caught:
        setter("x-a", bad)
    assert str(caught.value) == f"Header value {bad!r} for 'x-a'" + FORBIDDEN
    with pytest.raises(ValueError) as caught:
        setter(bad, "x")
    assert str(caught.value) == f"Header name {bad!r}" + FORBIDDEN


@pytest.mark.parametrize("setter", setters)
def test_a_value_that_is_no_text_is_refused(setter: Callable[..., object]) -> None:
    with pytest.raises(TypeError) as caught:
        setter("content-length", 5)
    expected = "Expected the value of header 'content-length' as str, got int: 5."
    assert str(caught.value) == expected


def test_a_value_beyond_latin_1_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="latin-1"):
        mutable()["a"] = "\u20ac"


@modest
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("123"))),
    st.lists(
        st.tuples(
            st.sampled_from(["set", "delete", "append", "setdefault"]),
            st.sampled_from("abcABC"),
            st.sampled_from("456"),
        ),
        max_size=8,
    ),
)
def test_mutable_headers_do_what_a_list_of_fields_would(
    start: list[tuple[str, str]], steps: list[tuple[str, str, str]]
) -> None:
    headers = MutableHeaders(raw=[(name.encode(), value.encode()) for name, value in start])
    model = start
    for verb, spelled, value in steps:
        name = spelled.lower()
        rest = [field for field in model if field[0] != name]
        if verb == "append" or (verb != "delete" and len(rest) == len(model)):
            model = [*model, (name, value)]
        elif verb == "set":
            first = [field[0] for field in model].index(name)
            after = [field for field in model[first + 1 :] if field[0] != name]
            model = [*model[:first], (name, value), *after]
        elif verb == "delete":
            model = rest
        if verb == "set":
            headers[spelled] = value
        elif verb == "delete":
            del headers[spelled]
        else:
            getattr(headers, verb)(spelled, value)
        assert headers.items() == model


@pytest.mark.parametrize(
    ("present", "added", "vary"),
    [
        ([], "Origin", ["Origin"]),
        (["Accept-Encoding"], "Origin", ["Accept-Encoding, Origin"]),
        (["a", "b"], "c", ["a, b, c"]),
        (["a, Origin"], "origin", ["a, Origin"]),
        (["a, b"], "b, c", ["a, b, c"]),
        ([""], "c", ["c"]),
        (["*"], "c", ["*"]),
        (["c"], "*", ["c, *"]),
    ],
)
def test_vary_lists_each_name_once(present: list[str], added: str, vary: list[str]) -> None:
    headers = MutableHeaders(raw=[(b"vary", value.encode()) for value in present])
    headers.add_vary_header(added)
    assert headers.getlist("vary") == vary


# Hosts and URLs


@pytest.mark.parametrize(
    ("field", "parsed"),
    [
        ("example.org", ParsedHost("example.org", None)),
        ("Example.ORG:8000", ParsedHost("Example.ORG", "8000")),
        ("a_b.c", ParsedHost("a_b.c", None)),
        ("a%20b", ParsedHost("a%20b", None)),
        ("127.0.0.1:0", ParsedHost("127.0.0.1", "0")),
        ("h:65535", ParsedHost("h", "65535")),
        ("h:000080", ParsedHost("h", "000080")),
        ("[::1]", ParsedHost("[::1]", None)),
        ("[::ffff:1.2.3.4]:80", ParsedHost("[::ffff:1.2.3.4]", "80")),
        ("[v1.x:y]", ParsedHost("[v1.x:y]", None)),
        ("a" * 255 + ":12345", ParsedHost("a" * 255, "12345")),
    ],
)
def test_a_host_field_is_read(field: str, parsed: ParsedHost) -> None:
    assert parse_host_header(field) == parsed
    assert parsed.authority == field


BAD_HOSTS = [
    *("", " a", "a ", "a b", "a/b", "a?b", "a#b", "a@b", "u:p@h", "a\\b", "a\n", "a\0", "é", "a<b"),
    *("a:", "a:x", "a:-1", "a:+1", "a:65536", "a:100000", "a:80:80", "a:\u0661", "a%zz", ":80"),
    *("[::1", "::1", "[]", "[zz]", "[::1]x", "[::1]:", "[fe80::1%25eth0]", "[fe80::1%eth0]"),
    *("[v1]", "a" * 300, "a" * 70_000 + "!", "a%41" * 20_000 + "!"),
]


@pytest.mark.parametrize("field", BAD_HOSTS, ids=lambda field: repr(field[:20]))
def test_what_is_no_host_is_refused_and_the_servers_address_stands_in(field: str) -> None:
    assert parse_host_header(field) is None
    scope = {
        "type": "http",
        "scheme": "http",
        "server": ("srv", 8000),
        "path": "/",
        "query_string": b"",
        "headers": [(b"host", field.encode("utf-8")), (b"host", b"second.example")],
    }
    assert URL(scope=scope) == "http://srv:8000/"


def test_no_host_field_is_no_host() -> None:
    assert parse_host_header(None) is None


@modest
@given(st.one_of(st.text(), st.text("[]:.%aA1v@/ ")))
def test_any_host_field_is_refused_or_is_the_netloc_of_its_url(field: str) -> None:
    host = parse_host_header(field)
    if host is not None:
        parts = urlsplit(f"http://{host.authority}/x")
        assert (host.authority, parts.netloc, parts.path) == (field, field, "/x")
        assert parts.username is None
        assert parts.port == (None if host.port is None else int(host.port))


def scope_of(**changes: Any) -> dict[str, Any]:
    scope = {
        "type": "http",
        "scheme": "http",
        "server": ("srv", 123),
        "path": "/p",
        "query_string": b"",
        "headers": [(b"accept", b"*/*"), (b"host", b"example.org")],
    }
    return {**scope, **changes}


@pytest.mark.parametrize(
    ("changes", "url"),
    [
        ({}, "http://example.org/p"),
        ({"scheme": "wss"}, "wss://example.org/p"),
        ({"query_string": b"a=1&b=%20"}, "http://example.org/p?a=1&b=%20"),
        ({"path": "/a b/é%41"}, "http://example.org/a b/é%41"),
        ({"path": "/a?b#c\\d"}, "http://example.org/a%3Fb%23c%5Cd"),
        ({"path": "/a\r\n\t\0\x7fb"}, "http://example.org/a%0D%0A%09%00%7Fb"),
        ({"path": "//evil.example"}, "http://example.org//evil.example"),
        ({"path": ""}, "http://example.org"),
        ({"path": "*"}, "http://example.org/*"),
        ({"root_path": "/root", "path": "/root/x"}, "http://example.org/root/x"),
        ({"query_string": "é".encode()}, "http://example.org/p?é"),
        ({"query_string": b"a=\xff&b#c\r\n"}, "http://example.org/p?a=%FF&b%23c%0D%0A"),
    ],
)
def test_a_url_is_what_the_client_asked_for(changes: dict[str, Any], url: str) -> None:
    assert str(URL(scope=scope_of(**changes))) == url


@pytest.mark.parametrize(
    ("changes", "url"),
    [
        ({}, "http://srv:123/p"),
        ({"server": ["srv", 80]}, "http://srv/p"),
        ({"server": ("srv", 443)}, "http://srv:443/p"),
        ({"server": ("srv", 443), "scheme": "https"}, "https://srv/p"),
        ({"server": ("srv", 443), "scheme": "wss"}, "wss://srv/p"),
        ({"server": ("srv", 443), "scheme": "other"}, "other://srv:443/p"),
        ({"server": ("::1", 80)}, "http://[::1]/p"),
        ({"server": ("::1", 81)}, "http://[::1]:81/p"),
        ({"server": ("/run/app.sock", None)}, "/p"),
        ({"server": None}, "/p"),
        ({"server": None, "query_string": b"q"}, "/p?q"),
        ({"server": None, "path": "//evil.example/x"}, "/%2Fevil.example/x"),
        ({"server": None, "path": "/\\evil.example"}, "/%5Cevil.example"),
    ],
)
def test_without_a_host_field_a_url_has_the_servers_address(
    changes: dict[str, Any], url: str
) -> None:
    assert str(URL(scope=scope_of(headers=[], **changes))) == url


def test_a_url_needs_no_more_of_a_scope_than_path_and_headers() -> None:
    assert str(URL(scope={"path": "/p", "headers": []})) == "/p"
    assert str(URL(scope={"path": "/p", "headers": [(b"host", b"h")]})) == "http://h/p"


@modest
@given(
    st.text(max_size=20),
    st.binary(max_size=20),
    st.one_of(st.binary(max_size=12), st.just(b"example.org:1")),
)
def test_nothing_that_a_client_sends_makes_a_url_raise_or_name_another_host(
    path: str, query: bytes, host: bytes
) -> None:
    headers = [(b"host", host)]
    url = URL(scope=scope_of(path="/" + path, query_string=query, headers=headers))
    netloc = host.decode("latin-1")
    assert url.netloc == (netloc if parse_host_header(netloc) else "srv:123")
    assert (url.scheme, url.fragment) == ("http", "")
    assert not set(str(url)) & set("\r\n\t\0")
    assert unquote(url.path) == unquote("/" + path)
    assert unquote_to_bytes(url.query) == unquote_to_bytes(query)


@pytest.mark.parametrize("path", ["//h", "///h", "/\\h", "\\\\h", "//h:80/x"])
def test_a_path_is_never_another_site_where_no_host_is_known(path: str) -> None:
    urls = [
        URL(scope=scope_of(headers=[], server=None, path=path)),
        URLPath(path).make_absolute_url(""),
        URL("/x").replace(path=path) if "\\" not in path else URL("/"),
    ]
    assert [url.netloc for url in urls] == ["", "", ""]


FULL = "https://user:pw@Example.org:123/a/b?x=1&y=2#frag"


def test_a_url_has_parts() -> None:
    url = URL(FULL)
    assert url.components == urlsplit(FULL)
    assert (url.scheme, url.netloc) == ("https", "user:pw@Example.org:123")
    assert (url.path, url.query, url.fragment) == ("/a/b", "x=1&y=2", "frag")
    assert (url.username, url.password) == ("user", "pw")
    assert (url.hostname, url.port, url.is_secure) == ("example.org", 123, True)
    assert URL("wss://h").is_secure
    assert not any(URL(f"{scheme}://h").is_secure for scheme in ("http", "ws", "ftp"))


def test_a_url_is_made_from_parts() -> None:
    parts = {"scheme": "https", "hostname": "h", "port": 1, "path": "/p", "query": "q"}
    assert URL(**cast(Any, parts)) == "https://h:1/p?q"


@pytest.mark.parametrize(
    "arguments",
    [
        {"url": "http://h", "scope": {}},
        {"url": "http://h", "path": "/"},
        {"scope": scope_of(), "path": "/"},
    ],
)
def test_a_url_has_one_source(arguments: dict[str, Any]) -> None:
    with pytest.raises(TypeError) as caught:
        URL(**arguments)
    assert str(caught.value) == 'Cannot set more than one of "url", "scope" and "**components".'


@pytest.mark.parametrize("url", [None, b"x", URL("x")])
def test_a_url_that_is_no_text_is_a_type_error(url: Any) -> None:
    with pytest.raises(TypeError) as caught:
        URL(url)
    assert str(caught.value) == f"Expected a URL as str, got {type(url).__name__}. Use str(url)."


def test_urls_are_equal_by_their_text() -> None:
    assert URL("/x") == URL("/x") == "/x"
    assert URL("/x") != URL("/y")
    assert URL("/x") != "/y"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://h/x", "URL('https://h/x')"),
        ("https://user@h/", "URL('https://user@h/')"),
        ("https://user:@h/", "URL('https://user:@h/')"),
        ("https://user:pw@H:1/", "URL('https://user:********@H:1/')"),
        ("https://u:p:w@[::1]:1/", "URL('https://u:********@[::1]:1/')"),
        ("https://u:pw@h:x/", "URL('https://u:********@h:x/')"),
        ("https://u:pw@[::1/", "URL(<invalid>)"),
    ],
)
def test_showing_a_url_hides_the_password_and_never_raises(url: str, shown: str) -> None:
    assert repr(URL(url)) == shown
    assert str(URL(url)) == url


@pytest.mark.parametrize(
    ("url", "changes", "replaced"),
    [
        (FULL, {"scheme": "http"}, "http://user:pw@Example.org:123/a/b?x=1&y=2#frag"),
        (FULL, {"netloc": "h"}, "https://h/a/b?x=1&y=2#frag"),
        (FULL, {"username": "u"}, "https://u:pw@Example.org:123/a/b?x=1&y=2#frag"),
        (FULL, {"password": None}, "https://user@Example.org:123/a/b?x=1&y=2#frag"),
        (FULL, {"username": None}, "https://Example.org:123/a/b?x=1&y=2#frag"),
        (FULL, {"hostname": "h"}, "https://user:pw@h:123/a/b?x=1&y=2#frag"),
        (FULL, {"port": None}, "https://user:pw@Example.org/a/b?x=1&y=2#frag"),
        (FULL, {"port": 0}, "https://user:pw@Example.org:0/a/b?x=1&y=2#frag"),
        (FULL, {"path": "c", "query": None, "fragment": ""}, "https://user:pw@Example.org:123/c"),
        ("http://u@[::1]:80/", {"port": 99}, "http://u@[::1]:99/"),
        ("http://[::1]/", {"port": 99}, "http://[::1]:99/"),
        ("http://[::1]:80/", {"hostname": "::2"}, "http://[::2]:80/"),
        ("http://[::1]:80/", {"hostname": "[::2]"}, "http://[::2]:80/"),
        ("http://a@b@h/", {"username": "c"}, "http://c@h/"),
        ("/x", {"hostname": "h"}, "//h/x"),
        ("/x", {"scheme": "https"}, "https:///x"),
        ("/x?q#f", {"path": "//y"}, "////y?q#f"),
        ("a:x", {"path": "//y"}, "a:////y"),
        ("/x", {}, "/x"),
    ],
)
def test_replace_changes_what_it_names(url: str, changes: dict[str, Any], replaced: str) -> None:
    assert str(URL(url).replace(**changes)) == replaced


def test_replace_refuses_a_part_that_no_url_has() -> None:
    with pytest.raises(TypeError) as caught:
        URL("/x").replace(params="y")
    assert str(caught.value) == (
        "URL.replace() got unknown parts among ['params']. Expected scheme, netloc, path, query, "
        "fragment, username, password, hostname or port."
    )


words = st.text(string.ascii_letters + string.digits + "-._~", min_size=1, max_size=8)
parts_of_urls = st.fixed_dictionaries(
    {"scheme": st.sampled_from(["http", "https", "wss"]), "hostname": words.map(str.lower)},
    optional={
        "username": words,
        "password": words,
        "port": st.integers(0, 65535),
        "path": st.lists(words).map(lambda parts: "".join(f"/{part}" for part in parts)),
        "query": words,
        "fragment": words,
    },
)


def visible(parts: dict[str, Any]) -> dict[str, Any]:
    """The parts as a URL shows them: there is no password without a name."""
    shown = {"username": None, "password": None, "port": None, "path": "", "query": ""}
    shown = {**shown, "fragment": "", **parts}
    return {**shown, "password": shown["password"] if shown["username"] else None}


@modest
@given(parts_of_urls, parts_of_urls, st.data())
def test_replace_sets_the_parts_it_names_and_leaves_the_others(
    parts: dict[str, Any], others: dict[str, Any], data: Any
) -> None:
    changes = {name: others[name] for name in data.draw(st.sets(st.sampled_from(sorted(others))))}
    replaced = URL(**parts).replace(**changes)
    expected = visible({**visible(parts), **changes})
    assert {name: getattr(replaced, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("change", "url"),
    [
        (lambda u: u.include_query_params(c=1), "http://h/?a=1&b=2&a=3&c=1"),
        (lambda u: u.include_query_params(a="é &"), "http://h/?b=2&a=%C3%A9+%26"),
        (lambda u: u.replace_query_params(c=1, d="x y"), "http://h/?c=1&d=x+y"),
        (lambda u: u.replace_query_params(), "http://h/"),
        (lambda u: u.remove_query_params("a"), "http://h/?b=2"),
        (lambda u: u.remove_query_params(["a", "z"]), "http://h/?b=2"),
        (lambda u: u.remove_query_params(("a", "b")), "http://h/"),
    ],
)
def test_query_parameters_are_changed(change: Callable[[URL], URL], url: str) -> None:
    assert str(change(URL("http://h/?a=1&b=2&a=3"))) == url


def test_blank_query_parameters_are_kept() -> None:
    assert str(URL("/?b=&c").include_query_params(a=1)) == "/?b=&c=&a=1"


def test_a_url_path_is_a_str_that_knows_its_protocol_and_host() -> None:
    path = URLPath("/x", "http", "h")
    assert path == "/x"
    assert (path.protocol, path.host) == ("http", "h")
    assert (URLPath("/x").protocol, URLPath("/x").host) == ("", "")
    assert pickle.loads(pickle.dumps(path)).host == "h"


def test_a_url_path_of_another_protocol_is_refused() -> None:
    with pytest.raises(ValueError) as caught:
        URLPath("/x", cast(Any, "ftp"))
    assert str(caught.value) == "Expected protocol 'http', 'websocket' or '', got 'ftp'."


@pytest.mark.parametrize(
    ("path", "base", "url"),
    [
        (URLPath("/x"), "http://h/b/", "http://h/b/x"),
        (URLPath("/x"), "https://h/b", "https://h/b/x"),
        (URLPath("/x"), URL("https://u:p@h:1/b?q#f"), "https://u:p@h:1/b/x"),
        (URLPath("/x", host="z"), "http://h/b", "http://z/b/x"),
        (URLPath("/x", "websocket"), "http://h", "ws://h/x"),
        (URLPath("/x", "websocket"), "https://h", "wss://h/x"),
        (URLPath("/x", "http"), "wss://h", "https://h/x"),
        (URLPath("/x", "http"), "ws://h", "http://h/x"),
        (URLPath("x"), "http://h", "http://h/x"),
        (URLPath("/x"), "", "/x"),
        (URLPath("//x"), "http://h/", "http://h/%2Fx"),
        (URLPath("/a b?c#d\\e\n"), "http://h", "http://h/a b?c#d%5Ce%0A"),
    ],
)
def test_a_url_path_is_made_absolute(path: URLPath, base: str | URL, url: str) -> None:
    absolute = path.make_absolute_url(base)
    assert (type(absolute), str(absolute)) == (URL, url)


# Small values


def test_an_address_is_a_named_tuple() -> None:
    assert Address("h", 1) == ("h", 1) == (Address(port=1, host="h").host, 1)


def test_a_secret_hides_its_text_until_asked() -> None:
    assert (repr(Secret("pw")), str(Secret("pw"))) == ("Secret('**********')", "pw")
    assert (bool(Secret("")), bool(Secret("pw"))) == (False, True)


@pytest.mark.parametrize(
    ("value", "items"),
    [
        ("a, b", ["a", "b"]),
        ("a,,b,", ["a", "b"]),
        ("", []),
        ("a b, \"c, d\" , 'e'", ["a b", "c, d", "e"]),
        (["a", "b, c"], ["a", "b, c"]),
        (("a",), ["a"]),
    ],
)
def test_comma_separated_strings_are_a_sequence(value: Any, items: list[str]) -> None:
    strings = CommaSeparatedStrings(value)
    assert list(strings) == [*strings] == items
    assert len(strings) == len(items)
    assert repr(strings) == f"CommaSeparatedStrings({items!r})"
    assert str(strings) == ", ".join(map(repr, items))


def test_comma_separated_strings_are_indexed_and_searched() -> None:
    strings = CommaSeparatedStrings("a,b")
    assert (strings[0], strings[1:], "b" in strings, "z" in strings) == ("a", ["b"], True, False)


def test_an_open_quotation_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="No closing quotation"):
        CommaSeparatedStrings('"a')


def test_state_is_attributes_and_items_over_one_dict() -> None:
    backing: dict[str, Any] = {"a": 1}
    state = State(backing)
    state.b = 2
    state["c"] = 3
    assert backing == {"a": 1, "b": 2, "c": 3}
    assert (state.a, state["b"], state.c, len(state), list(state)) == (1, 2, 3, 3, ["a", "b", "c"])
    del state.a
    del state["b"]
    assert backing == {"c": 3}
    assert "c" in state
    assert len(State()) == 0


def test_a_missing_attribute_of_a_state_is_an_attribute_error() -> None:
    for act in (lambda: State().x, lambda: delattr(State(), "x")):
        with pytest.raises(AttributeError) as caught:
            act()
        assert str(caught.value) == "'State' object has no attribute 'x'"
    assert getattr(State(), "x", 5) == 5
    with pytest.raises(KeyError):
        State()["x"]


def test_a_state_is_copied_and_pickled() -> None:
    state = State({"a": [1]})
    assert copy.copy(state).a is state.a
    assert copy.deepcopy(state).a == [1]
    assert copy.deepcopy(state).a is not state.a
    assert pickle.loads(pickle.dumps(state)).a == [1]


# Uploads


def spooled(max_size: int) -> BinaryIO:
    return cast(BinaryIO, tempfile.SpooledTemporaryFile(max_size=max_size))


@backends
def test_an_upload_is_written_and_read_before_and_after_it_leaves_memory(backend: str) -> None:
    async def main() -> None:
        upload = UploadFile(spooled(8), size=0)
        await upload.write(b"12345678")
        assert (upload._in_memory, upload.size) == (True, 8)
        await upload.seek(0)
        assert await upload.read() == b"12345678"
        await upload.write(b"9")
        assert (upload._in_memory, upload.size) == (False, 9)
        await upload.seek(1)
        assert await upload.read(3) == b"234"
        assert await upload.read() == b"56789"
        await upload.close()
        await upload.close()
        assert upload.file.closed

    run(backend, main)


def test_an_upload_in_memory_never_leaves_the_calling_task() -> None:
    upload = UploadFile(spooled(8))
    for step in (upload.write(b"1234"), upload.seek(0), upload.close()):
        with pytest.raises(StopIteration):
            step.send(None)  # ends at once: it suspended nowhere, with no event loop at all
    assert upload.size is None
    assert upload.file.closed


def test_an_upload_knows_what_the_client_said_of_it() -> None:
    headers = Headers({"Content-Type": "text/plain"})
    upload = UploadFile(io.BytesIO(), size=3, filename="f.txt", headers=headers)
    assert (upload.content_type, upload.filename, upload.size) == ("text/plain", "f.txt", 3)
    assert repr(upload) == (
        "UploadFile(filename='f.txt', size=3, headers=Headers({'content-type': 'text/plain'}))"
    )
    assert UploadFile(io.BytesIO()).content_type is None


@backends
def test_an_upload_over_any_other_file_works_in_a_thread(backend: str, tmp_path: Path) -> None:
    async def main() -> None:
        with (tmp_path / "f").open("w+b") as file:
            upload = UploadFile(file)
            await upload.write(b"abc")
            await upload.seek(0)
            assert await upload.read() == b"abc"
            await upload.close()
            assert file.closed

    run(backend, main)


@backends
def test_a_cancelled_close_closes_the_file_all_the_same(backend: str) -> None:
    async def main() -> None:
        upload, other = UploadFile(spooled(1)), UploadFile(spooled(1))
        for file in (upload, other):
            await file.write(b"on disk")
        form = FormData([("a", upload), ("t", "text"), ("b", other)])
        with anyio.CancelScope() as scope:
            scope.cancel()
            await form.close()
        assert scope.cancelled_caught
        assert upload.file.closed
        assert other.file.closed

    run(backend, main)


class BrokenDisk(io.BytesIO):
    """A file whose first close fails, as when the last write does not fit on the disk."""

    broken = True

    def close(self) -> None:
        if self.broken:
            self.broken = False
            raise OSError("No space left on device")
        super().close()


@backends
def test_a_form_closes_all_files_even_if_one_close_fails(backend: str) -> None:
    async def main() -> None:
        files = [BrokenDisk(), io.BytesIO(), io.BytesIO()]
        form = FormData([(str(number), UploadFile(file)) for number, file in enumerate(files)])
        with pytest.raises(OSError, match="No space left"):
            await form.close()
        assert [file.closed for file in files] == [True, True, True]

    run(backend, main)


@backends
def test_a_form_is_closed_as_often_as_you_like(backend: str) -> None:
    async def main() -> None:
        file = io.BytesIO()
        form = FormData({"a": "text"}, f=UploadFile(file))
        await form.close()
        await form.close()
        assert file.closed

    run(backend, main)


def test_a_form_is_a_multidict_of_texts_and_files() -> None:
    upload = UploadFile(io.BytesIO())
    form = FormData([("a", "1"), ("f", upload), ("a", "2")])
    assert (form["f"], form.getlist("a")) == (upload, ["1", "2"])
    assert repr(FormData(a="1")) == "FormData([('a', '1')])"
