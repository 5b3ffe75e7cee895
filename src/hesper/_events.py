"""Server-sent events (WHATWG HTML, section 9.2), written and read.

The rules:

1. What was written is read again as it was, save that every line break in data becomes a ``\\n``.
2. What a reader would drop without a word, or take for something else, is refused when it is made:
   an ``id`` with NUL, an ``id`` or ``event`` with a line break, an ``event`` without data.
3. The parser is sans-I/O and takes the stream in any pieces, in linear time. An event comes out
   with the last byte of it: a CR ends its line without a look at what follows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["EventParser", "ServerSentEvent"]

# 9.2.5, end-of-line. Not str.splitlines, which also breaks lines at U+2028 and eight others.
_LINE_END = re.compile(r"\r\n?|\n")
_BYTES_LINE_END = re.compile(rb"\r\n?|\n")

_BOM = "\ufeff".encode()

_MOST_DIGITS = 18
"""Of a reconnection time that is believed: 31 million years, and an integer in every language."""


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One event of an event stream.

    Args:
        data: the text; may have several lines. None sends none: the client is given no event.
        event: its type, for ``addEventListener``; a browser calls it ``message`` if it is None or "".
        id: what the client sends back as ``Last-Event-ID`` when it reconnects; "" takes it back.
        retry: after how many milliseconds the client should reconnect when the stream has ended.
        comment: text that clients pass over; keeps a connection from looking idle.

    Raises:
        TypeError: a field has another type.
        ValueError: a field cannot be sent as it is, or there is nothing to send.
    """

    data: str | None = None
    event: str | None = None
    id: str | None = None
    retry: int | None = None
    comment: str | None = None

    def __post_init__(self) -> None:
        for name in ("data", "event", "id", "comment"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                raise TypeError(
                    f"Expected {name} to be str or None, got {type(value).__name__}: {value!r:.80}. "
                    f"Write it as text, with {'json.dumps' if name == 'data' else 'str'}()."
                )
        _check_one_line("event", self.event)
        _check_one_line("id", self.id)
        if self.id is not None and "\0" in self.id:
            raise ValueError(f"Expected id without NUL, got {self.id!r:.80}: clients ignore it.")
        _check_retry(self.retry)
        if self.data is None:
            self._check_without_data()

    def _check_without_data(self) -> None:
        if self.event is not None:
            raise ValueError(
                f"Expected data with the event {self.event!r:.80}: clients drop an event that has "
                'none. Pass data="" if there is nothing to say.'
            )
        if self.id is None and self.retry is None and self.comment is None:
            raise ValueError('Expected at least one field of an event, such as data="".')

    def encode(self) -> bytes:
        """The event as it is sent, with the blank line at its end.

        Raises:
            UnicodeEncodeError: a text has a lone surrogate, which UTF-8 cannot say.
        """
        lines: list[str] = []
        if self.comment is not None:
            lines += [f": {line}" for line in _LINE_END.split(self.comment)]
        if self.id is not None:
            lines.append(f"id: {self.id}")
        if self.event is not None:
            lines.append(f"event: {self.event}")
        if self.retry is not None:
            lines.append(f"retry: {self.retry}")
        if self.data is not None:
            lines += [f"data: {line}" for line in _LINE_END.split(self.data)]
        return "\n".join([*lines, "", ""]).encode()


def _check_one_line(name: str, value: str | None) -> None:
    if value is not None and _LINE_END.search(value):
        raise ValueError(
            f"Expected {name} on one line, got {value!r:.80}: what follows a line break would be "
            "read as another field. Only data and comment may have several lines."
        )


def _check_retry(retry: object) -> None:
    if retry is None:
        return
    if not isinstance(retry, int) or isinstance(retry, bool):
        raise TypeError(
            f"Expected retry to be milliseconds as int or None, got {type(retry).__name__}: "
            f"{retry!r:.80}."
        )
    if not 0 <= retry < 10**_MOST_DIGITS:
        raise ValueError(f"Expected retry from 0 to 10**{_MOST_DIGITS} ms, got {retry:.3g}.")


class EventParser:
    """Reads an event stream, sans-I/O: bytes go in, events come out.

    Args:
        last_event_id: what the stream before this one ended with, if the client has reconnected.

    There is no call for the end of the stream: an event without its blank line is none (9.2.6).
    """

    def __init__(self, last_event_id: str = "") -> None:
        self.last_event_id = last_event_id
        """The id to send as ``Last-Event-ID``: of the last event that had one, with data or not."""
        self.retry: int | None = None
        """The reconnection time that the server asked for last, in milliseconds."""
        self._pieces: list[bytes] = []
        """What there is of the line that has not ended."""
        self._first_line = True
        self._after_cr = False
        """Whether the last byte was a CR, so that an LF would belong to it."""
        self._reset()

    def _reset(self) -> None:
        self._data: list[str] = []
        self._event: str | None = None
        self._id: str | None = None
        self._retry: int | None = None

    def feed(self, data: bytes) -> list[ServerSentEvent]:
        """Take the next bytes of the stream; return the events that are whole now.

        ``id`` and ``retry`` are those that stand in the event itself, ``event`` is None for the type
        "message" that a browser would fill in, comments and unknown fields are passed over. Bytes
        that are no UTF-8 become U+FFFD. It never raises, whatever the server sends.
        """
        if not data:
            return []
        if self._after_cr and data.startswith(b"\n"):
            data = data[1:]
        self._after_cr = data.endswith(b"\r")
        *ends, rest = _BYTES_LINE_END.split(data)
        events: list[ServerSentEvent] = []
        for end in ends:
            line = b"".join([*self._pieces, end])
            self._pieces.clear()
            self._take_line(line, events)
        if rest:
            self._pieces.append(rest)
        return events

    def _take_line(self, line: bytes, events: list[ServerSentEvent]) -> None:
        if self._first_line:
            self._first_line = False
            line = line.removeprefix(_BOM)
        if line:
            name, _, value = line.partition(b":")
            self._take_field(name, value.removeprefix(b" ").decode("utf-8", "replace"))
        else:
            self._dispatch(events)

    def _take_field(self, name: bytes, value: str) -> None:
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._event = value or None
        elif name == b"id" and "\0" not in value:
            self._id = value
        elif name == b"retry" and value.isascii() and value.isdigit():
            # Python refuses to read thousands of digits, and they would mean nothing.
            digits = value.lstrip("0")
            if len(digits) <= _MOST_DIGITS:
                self._retry = self.retry = int(digits or "0")

    def _dispatch(self, events: list[ServerSentEvent]) -> None:
        if self._id is not None:
            self.last_event_id = self._id
        if self._data:
            data = "\n".join(self._data)
            events.append(ServerSentEvent(data, self._event, self._id, self._retry))
        self._reset()
