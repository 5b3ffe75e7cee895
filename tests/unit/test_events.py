"""Server-sent events: what is written is read again, in any pieces, as WHATWG HTML 9.2 says."""

import dataclasses
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hesper._events import EventParser, ServerSentEvent

from .forms import SIZES, cut


def parse(stream: bytes, sizes: list[int] | None = None) -> list[ServerSentEvent]:
    parser = EventParser()
    pieces = cut(stream, sizes) if sizes else [stream]
    return [event for piece in pieces for event in parser.feed(piece)]


def data(stream: bytes | str) -> list[str | None]:
    """The data of the events of a stream."""
    whole = stream.encode() if isinstance(stream, str) else stream
    return [event.data for event in parse(whole)]


# -- writing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "encoded"),
    [
        (ServerSentEvent("hello"), "data: hello\n\n"),
        (ServerSentEvent(""), "data: \n\n"),
        (ServerSentEvent(" a: b"), "data:  a: b\n\n"),
        (ServerSentEvent("a\nb\rc\r\nd"), "data: a\ndata: b\ndata: c\ndata: d\n\n"),
        (ServerSentEvent("\n"), "data: \ndata: \n\n"),
        (ServerSentEvent("a\n\r\nb"), "data: a\ndata: \ndata: b\n\n"),
        (ServerSentEvent("é☃\u2028\x85\0"), "data: é☃\u2028\x85\0\n\n"),
        (ServerSentEvent("x", event="tick"), "event: tick\ndata: x\n\n"),
        (ServerSentEvent("x", id="7"), "id: 7\ndata: x\n\n"),
        (ServerSentEvent(id=""), "id: \n\n"),
        (ServerSentEvent(retry=0), "retry: 0\n\n"),
        (ServerSentEvent(comment="ping"), ": ping\n\n"),
        (ServerSentEvent(comment=""), ": \n\n"),
        (ServerSentEvent(comment="a\r\ndata: b"), ": a\n: data: b\n\n"),
        (
            ServerSentEvent("x", event="e", id="i", retry=1500, comment="c"),
            ": c\nid: i\nevent: e\nretry: 1500\ndata: x\n\n",
        ),
    ],
)
def test_an_event_is_written_with_its_blank_line(event: ServerSentEvent, encoded: str) -> None:
    assert event.encode() == encoded.encode()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"data": "x", "id": "a\0b"},
            r"Expected id without NUL, got 'a\x00b': clients ignore it.",
        ),
        (
            {"data": "x", "id": "a\nb"},
            r"Expected id on one line, got 'a\nb': what follows a line break would be read as "
            "another field. Only data and comment may have several lines.",
        ),
        (
            {"data": "x", "event": "a\rb"},
            r"Expected event on one line, got 'a\rb': what follows a line break would be read as "
            "another field. Only data and comment may have several lines.",
        ),
        (
            {"event": "shutdown"},
            "Expected data with the event 'shutdown': clients drop an event that has none. "
            'Pass data="" if there is nothing to say.',
        ),
        ({}, 'Expected at least one field of an event, such as data="".'),
        ({"retry": -1}, "Expected retry from 0 to 10**18 ms, got -1."),
        ({"retry": 10**18}, "Expected retry from 0 to 10**18 ms, got 1e+18."),
    ],
)
def test_what_clients_would_drop_or_misread_is_refused(
    fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError) as raised:
        ServerSentEvent(**fields)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"data": {"a": 1}},
            "Expected data to be str or None, got dict: {'a': 1}. "
            "Write it as text, with json.dumps().",
        ),
        (
            {"data": "x", "id": 7},
            "Expected id to be str or None, got int: 7. Write it as text, with str().",
        ),
        (
            {"retry": 1.5},
            "Expected retry to be milliseconds as int or None, got float: 1.5.",
        ),
        (
            {"retry": True},
            "Expected retry to be milliseconds as int or None, got bool: True.",
        ),
    ],
)
def test_a_field_of_another_type_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError) as raised:
        ServerSentEvent(**fields)
    assert str(raised.value) == message


def test_what_utf_8_cannot_say_is_refused_when_it_is_written() -> None:
    with pytest.raises(UnicodeEncodeError):
        ServerSentEvent("\ud83d").encode()


def test_an_event_cannot_be_changed() -> None:
    event = ServerSentEvent("x")
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.data = "y"  # type: ignore[misc]
    assert not hasattr(event, "__dict__")


# -- reading: the examples of the specification (9.2.6) --------------------------------------------


def test_the_three_messages_of_the_specification() -> None:
    assert data(
        "data: This is the first message.\n\n"
        "data: This is the second message, it\ndata: has two lines.\n\n"
        "data: This is the third message.\n\n"
    ) == [
        "This is the first message.",
        "This is the second message, it\nhas two lines.",
        "This is the third message.",
    ]


def test_the_stock_of_the_specification() -> None:
    assert data("data: YHOO\ndata: +2\ndata: 10\n\n") == ["YHOO\n+2\n10"]


def test_the_ids_of_the_specification() -> None:
    parser = EventParser()
    stream = b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third\n"
    assert parser.feed(stream) == [
        ServerSentEvent("first event", id="1"),
        ServerSentEvent("second event", id=""),
    ]
    assert parser.last_event_id == ""
    assert parser.feed(b"\n") == [ServerSentEvent(" third")]


def test_the_empty_data_of_the_specification() -> None:
    assert data("data\n\ndata\ndata\n\ndata:") == ["", "\n"]


def test_the_space_of_the_specification() -> None:
    assert data("data:test\n\ndata: test\n\n") == ["test", "test"]


# -- reading ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        ("data: a\r\rdata: b\r\n\r\ndata: c\n\n", ["a", "b", "c"]),
        ("data: a\rdata: b\n\r\n", ["a\nb"]),
        ("data: a\n\r", ["a"]),
        ("data: a\u2028b\x85c\x0bd\n\n", ["a\u2028b\x85c\x0bd"]),
        ("data: a:b: c\n\n", ["a:b: c"]),
        ("data:\ta\n\n", ["\ta"]),
        (" data: a\n\n", []),
        ("DATA: a\n\n", []),
        ("data : a\n\n", []),
        ("dat: a\ndatas: b\ndata: c\n\n", ["c"]),
        (":\n:data: a\ndata: b\n: c\ndata: d\n\n", ["b\nd"]),
        ("event: tick\n\ndata: a\n\n", ["a"]),
        ("\n\n\ndata: a\n\n\n\n", ["a"]),
        ("data: \0\n\n", ["\0"]),
        ("data: a\n\ndata: b\n", ["a"]),
        ("data: a\n\ndata: b", ["a"]),
        ("", []),
    ],
)
def test_the_data_of_a_stream(stream: str, events: list[str]) -> None:
    assert data(stream) == events


@pytest.mark.parametrize(
    ("stream", "event"),
    [
        ("event: tick\ndata: a\n\n", "tick"),
        ("event: tick\nevent: tock\ndata: a\n\n", "tock"),
        ("event: tick\nevent\ndata: a\n\n", None),
        ("event: tick\n\ndata: a\n\n", None),
        ("event: message\ndata: a\n\n", "message"),
    ],
)
def test_the_type_of_an_event(stream: str, event: str | None) -> None:
    assert parse(stream.encode()) == [ServerSentEvent("a", event)]


def test_a_byte_order_mark_at_the_beginning_is_passed_over() -> None:
    assert data("\ufeffdata: a\n\n") == ["a"]
    assert data("\ufeff\ufeffdata: a\n\n") == []
    assert data("data: a\n\n\ufeffdata: b\n\n") == ["a"]
    assert data("data: \ufeffa\n\n") == ["\ufeffa"]
    assert parse("\ufeffdata: a\n\n".encode(), [1]) == [ServerSentEvent("a")]


def test_bytes_that_are_no_utf_8_are_replaced() -> None:
    assert data(b"data: \xff\xc3\n\ndata: \xe2\x98\n\n") == ["\ufffd\ufffd", "\ufffd"]


def test_the_last_id_stays_until_an_event_has_another() -> None:
    parser = EventParser("0")
    assert parser.last_event_id == "0"
    parser.feed(b"data: a\n\n")
    assert parser.last_event_id == "0"
    assert parser.feed(b"data: a\nid: 1\n\ndata: b\n\n") == [
        ServerSentEvent("a", id="1"),
        ServerSentEvent("b"),
    ]
    assert parser.last_event_id == "1"
    parser.feed(b"id: 2\0\n\n")
    assert parser.last_event_id == "1"
    parser.feed(b"id: 3\n")
    assert parser.last_event_id == "1"  # of an event that has not ended
    assert parser.feed(b"\n") == []
    assert parser.last_event_id == "3"
    parser.feed(b"id: 4\nid: 5\n\n")
    assert parser.last_event_id == "5"


@pytest.mark.parametrize(
    ("value", "retry"),
    [
        ("1500", 1500),
        ("0", 0),
        ("007", 7),
        ("0" * 10_000 + "7", 7),
        ("9" * 18, 10**18 - 1),
        ("9" * 19, 3),
        ("9" * 10_000, 3),
        ("", 3),
        ("-1", 3),
        ("+1", 3),
        ("1.5", 3),
        ("1 ", 3),
        ("٣", 3),
    ],
)
def test_the_reconnection_time_is_digits_or_ignored(value: str, retry: int) -> None:
    parser = EventParser()
    assert parser.retry is None
    parser.feed(b"retry: 3\n\n")
    assert parser.retry == 3
    (event,) = parser.feed(f"retry: {value}\ndata: a\n\n".encode())
    assert parser.retry == retry
    assert event.retry == (None if retry == 3 else retry)


def test_an_event_comes_out_with_its_last_byte() -> None:
    for end in (b"\n\n", b"\r\r", b"\r\n\r"):
        parser = EventParser()
        pieces = cut(b"data: a" + end, [1])
        assert [parser.feed(piece) for piece in pieces] == [
            *([[]] * (len(pieces) - 1)),
            [ServerSentEvent("a")],
        ]
        # The line feed of a CRLF ends no second event.
        assert parser.feed(b"") == []
        assert parser.feed(b"\n" * end.endswith(b"\r") + b"data: b\n\n") == [ServerSentEvent("b")]


# -- in any pieces ---------------------------------------------------------------------------------

ONE_LINE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), max_size=8)
LINES = st.lists(ONE_LINE | st.text("a: \r\n", max_size=5), max_size=4).map("\n".join)
EVENTS = st.builds(
    ServerSentEvent,
    data=LINES,
    event=st.none() | ONE_LINE.filter(bool),
    id=st.none() | ONE_LINE.filter(lambda text: "\0" not in text),
    retry=st.none() | st.integers(0, 10**18 - 1),
    comment=st.none() | LINES,
)


def as_read(event: ServerSentEvent) -> ServerSentEvent:
    assert event.data is not None
    lines = event.data.replace("\r\n", "\n").replace("\r", "\n")
    return dataclasses.replace(event, data=lines, comment=None)


@given(st.lists(EVENTS, max_size=4), SIZES)
def test_what_is_written_is_read_again_in_any_pieces(
    events: list[ServerSentEvent], sizes: list[int]
) -> None:
    stream = b"".join(event.encode() for event in events)
    assert parse(stream, sizes) == [as_read(event) for event in events]


@given(EVENTS, EVENTS, st.sampled_from([b"\n", b"\r", b"\r\n"]))
def test_every_two_pieces_of_a_stream_give_the_same(
    one: ServerSentEvent, other: ServerSentEvent, line_end: bytes
) -> None:
    stream = (one.encode() + other.encode()).replace(b"\n", line_end)
    expected = [as_read(one), as_read(other)]
    for border in range(len(stream) + 1):
        parser = EventParser()
        assert parser.feed(stream[:border]) + parser.feed(stream[border:]) == expected


def events_of_the_specification(stream: bytes) -> list[tuple[str, str, str]]:
    """9.2.6 to the letter, on a stream that is there whole: data, type and last id of each event."""
    text = stream.decode("utf-8", "replace").removeprefix("\ufeff")
    *lines, _ = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    found, data, event, last_id = [], "", "", ""
    for line in lines:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if line == "":
            if data:
                found.append((data.removesuffix("\n"), event or "message", last_id))
            data = event = ""
        elif name == "event":
            event = value
        elif name == "data":
            data += value + "\n"
        elif name == "id" and "\0" not in value:
            last_id = value
    return found


TOKENS = [b"data", b"event", b"id", b"retry", b":", b" ", b"\n", b"\r", b"\r\n", b"\n\n", b"\0"]
TOKENS += [b"7", "é".encode(), "☃".encode()[:2], "☃".encode()[2:], b"\xff", "\ufeff".encode()]
STREAMS = st.lists(st.sampled_from(TOKENS), max_size=40).map(b"".join)


@given(STREAMS | st.binary(max_size=30), SIZES)
@example("\ufeffdata: ☃\r\n\r\n".encode(), [1])
def test_any_bytes_in_any_pieces_are_read_as_the_specification_says(
    stream: bytes, sizes: list[int]
) -> None:
    parser = EventParser()
    found = []
    last_id = ""
    for piece in cut(stream, sizes):
        for event in parser.feed(piece):
            last_id = last_id if event.id is None else event.id
            found.append((event.data, event.event or "message"))
    assert found == [(data, kind) for data, kind, _ in events_of_the_specification(stream)]


@given(STREAMS)
def test_the_last_id_is_the_one_of_the_specification(stream: bytes) -> None:
    # An event after the stream shows the last id of the specification's reader.
    probe = b"\n\ndata: probe\n\n"
    parser = EventParser()
    parser.feed(stream + probe)
    *_, (_, _, last_id) = events_of_the_specification(stream + probe)
    assert parser.last_event_id == last_id


# -- in linear time --------------------------------------------------------------------------------

SIZE = 500_000

WITHIN = 6
"""Seconds: 0.3 without coverage, 2.5 with it; a copy of the rest for each byte takes 12 at least."""


@pytest.mark.parametrize(
    "stream",
    [
        b"data: " + b"x" * SIZE + b"\n\n",
        b"data: x\n" * (SIZE // 8) + b"\n",
        b"data: x\n\n" * (SIZE // 9),
        b"\n" * SIZE,
        b"\r" * SIZE,
        b"\r\n" * (SIZE // 2),
        b":" * SIZE,
        b": x\n" * (SIZE // 4),
        b"id: " + b"7" * SIZE + b"\n\n",
        b"retry: " + b"7" * SIZE + b"\n\n",
        b"retry: " + b"0" * SIZE + b"\n\n",
        b"event: " + b"\xff" * SIZE + b"\n\n",
    ],
    ids=lambda stream: repr(stream[:12]),
)
def test_hostile_streams_take_linear_time(stream: bytes) -> None:
    began = time.process_time()
    EventParser().feed(stream)
    assert time.process_time() - began < WITHIN


def test_a_long_line_byte_by_byte_takes_linear_time() -> None:
    parser = EventParser()
    began = time.process_time()
    for _ in range(SIZE):
        parser.feed(b"x")
    assert time.process_time() - began < WITHIN


@pytest.mark.parametrize("text", ["\n" * SIZE, "\r" * SIZE, "x" * SIZE])
def test_long_data_is_written_in_linear_time(text: str) -> None:
    began = time.process_time()
    ServerSentEvent(text, comment=text).encode()
    assert time.process_time() - began < WITHIN
