"""What an application may send, as tables: the law that `Result.violations` reports against.

One table says which message may follow which, one which keys a message has and of what type. Both
are of "HTTP & WebSocket ASGI Message Format" 2.5, "Lifespan Protocol" 2.0 and "Extensions". Keys
that no table knows are allowed: extensions live by them.
"""

from collections.abc import Callable, Iterable
from typing import Any

from hesper.types import Message

# (state, event) -> next state. An event is a message's type, with " last" after it if the message
# has no `more_body` or `more_trailers`.
_BODY = ("http.response.body", "http.response.zerocopysend")
_ASIDE = ("http.response.push", "http.response.early_hint")
_Table = dict[tuple[str, str], str]

_HTTP: _Table = {
    ("new", "http.response.start"): "started",
    ("new", "http.response.start with trailers"): "started with trailers",
    ("new", "http.response.debug"): "new",
    **{("new", event): "new" for event in _ASIDE},
    **{("started", event): "started" for event in (*_BODY, *_ASIDE)},
    **{("started", f"{event} last"): "ended" for event in (*_BODY, "http.response.pathsend")},
    **{("started with trailers", event): "started with trailers" for event in (*_BODY, *_ASIDE)},
    **{
        ("started with trailers", f"{event} last"): "trailers"
        for event in (*_BODY, "http.response.pathsend")
    },
    ("trailers", "http.response.trailers"): "trailers",
    ("trailers", "http.response.trailers last"): "ended",
}

_WEBSOCKET: _Table = {
    ("new", "websocket.accept"): "accepted",
    ("new", "websocket.close"): "ended",
    ("new", "websocket.http.response.start"): "denying",
    ("accepted", "websocket.send"): "accepted",
    ("accepted", "websocket.close"): "ended",
    ("denying", "websocket.http.response.body"): "denying",
    ("denying", "websocket.http.response.body last"): "ended",
}

_LIFESPAN: _Table = {
    ("starting", "lifespan.startup.complete"): "running",
    ("starting", "lifespan.startup.failed"): "ended",
    ("stopping", "lifespan.shutdown.complete"): "ended",
    ("stopping", "lifespan.shutdown.failed"): "ended",
}

_TABLES = {"http": _HTTP, "websocket": _WEBSOCKET, "lifespan": _LIFESPAN}

_WHEN = {
    "new": "before anything else of the response",
    "started": "after http.response.start",
    "started with trailers": "after http.response.start",
    "trailers": "after the body, where only http.response.trailers may follow",
    "accepted": "after websocket.accept",
    "denying": "in the middle of a denial response",
    "starting": "before lifespan.startup was answered",
    "running": "before lifespan.shutdown was received",
    "stopping": "after lifespan.shutdown was received",
    "ended": "after the end",
}

_MORE = {
    "http.response.body": "more_body",
    "http.response.zerocopysend": "more_body",
    "http.response.pathsend": "",
    "http.response.trailers": "more_trailers",
    "websocket.http.response.body": "more_body",
}

_EXTENSIONS = {
    **{
        f"http.response.{name}": f"http.response.{name}"
        for name in ("trailers", "push", "early_hint", "pathsend", "zerocopysend", "debug")
    },
    "websocket.http.response.start": "websocket.http.response",
    "websocket.http.response.body": "websocket.http.response",
}


def _is(*types: type) -> Callable[[Any], bool]:
    return lambda value: (
        isinstance(value, types) and not (isinstance(value, bool) and bool not in types)
    )


def _is_headers(value: Any) -> bool:
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        return False
    for field in value:
        if not isinstance(field, (tuple, list)) or len(field) != 2:
            return False
        if not all(isinstance(part, bytes) for part in field):
            return False
        # "lower cased, ordering preserved" is asked of the application as well.
        if field[0] != field[0].lower():
            return False
    return True


_HEADERS = ("an iterable of (lower-case bytes, bytes)", _is_headers)
_INT = ("int", _is(int))
_BOOL = ("bool", _is(bool))
_STR = ("str", _is(str))
_BYTES = ("bytes", _is(bytes))
_STR_OR_NONE = ("str or None", _is(str, type(None)))
_BYTES_OR_NONE = ("bytes or None", _is(bytes, type(None)))
_DICT = ("dict", _is(dict))
_FILE = ("a file", lambda value: hasattr(value, "fileno"))

# Message type -> key -> (type in words, check); a "!" marks a key that has to be there.
_KEYS: dict[str, dict[str, tuple[str, Callable[[Any], bool]]]] = {
    "http.response.start": {"status!": _INT, "headers": _HEADERS, "trailers": _BOOL},
    "http.response.body": {"body": _BYTES, "more_body": _BOOL},
    "http.response.trailers": {"headers": _HEADERS, "more_trailers": _BOOL},
    "http.response.push": {"path!": _STR, "headers!": _HEADERS},
    "http.response.early_hint": {"links": ("a list of bytes", lambda value: _all_bytes(value))},
    "http.response.pathsend": {"path!": _STR},
    "http.response.zerocopysend": {
        "file!": _FILE,
        "offset": _INT,
        "count": _INT,
        "more_body": _BOOL,
    },
    "http.response.debug": {"info!": _DICT},
    "websocket.accept": {"subprotocol": _STR_OR_NONE, "headers": _HEADERS},
    "websocket.send": {"bytes": _BYTES_OR_NONE, "text": _STR_OR_NONE},
    "websocket.close": {"code": _INT, "reason": _STR_OR_NONE},
    "websocket.http.response.start": {"status!": _INT, "headers": _HEADERS},
    "websocket.http.response.body": {"body": _BYTES, "more_body": _BOOL},
    "lifespan.startup.complete": {},
    "lifespan.startup.failed": {"message": _STR},
    "lifespan.shutdown.complete": {},
    "lifespan.shutdown.failed": {"message": _STR},
}


def _all_bytes(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(item, bytes) for item in value)


class Conduct:
    """Follows what one application sends, and says what is wrong with it.

    Args:
        kind: the scope's type: ``http``, ``websocket`` or ``lifespan``.
        extensions: the names that the scope offers.
    """

    def __init__(self, kind: str, extensions: Iterable[str] = ()) -> None:
        self._table = _TABLES[kind]
        self._kind = kind
        self._extensions = frozenset(extensions)
        self.state = "starting" if kind == "lifespan" else "new"
        """Where the exchange stands; ``"ended"`` when nothing more may be sent."""

    def check(self, message: Message) -> list[str]:
        """Returns a sentence for each rule that this message breaks, and takes the next step.

        A message out of place does not change the state.
        """
        kind = message.get("type")
        if not isinstance(kind, str) or kind not in _KEYS or not kind.startswith(self._kind):
            return [f"unknown message type {kind!r} in a scope of type {self._kind!r}"]
        wrong = [*self._check_place(kind, message), *_check_keys(kind, message)]
        extension = _EXTENSIONS.get(kind)
        if extension is not None and extension not in self._extensions:
            wrong.append(f"{kind} was sent, but the scope does not offer the extension")
        return wrong

    def _check_place(self, kind: str, message: Message) -> list[str]:
        event = kind
        if kind in _MORE and not message.get(_MORE[kind], False):
            event += " last"
        elif kind == "http.response.start" and message.get("trailers", False):
            event += " with trailers"
        following = self._table.get((self.state, event))
        if following is None:
            return [f"{kind} was sent {_WHEN[self.state]}"]
        self.state = following
        return []


def _check_keys(kind: str, message: Message) -> list[str]:
    wrong = []
    for rule, (words, fits) in _KEYS[kind].items():
        key = rule.rstrip("!")
        if key not in message:
            if rule != key:
                wrong.append(f"{kind} has no {key!r}")
        elif not fits(message[key]):
            wrong.append(f"{key!r} of {kind} is {message[key]!r}, expected {words}")
    if kind == "websocket.send":
        given = [key for key in ("bytes", "text") if message.get(key) is not None]
        if len(given) != 1:
            wrong.append("websocket.send needs one of 'bytes' and 'text'")
    return wrong
