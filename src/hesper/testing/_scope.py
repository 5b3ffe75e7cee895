"""The scopes of scripted requests, as real servers make them.

The law: what the dialect advertises is in the scope, and what it does not is not there at all.
"""

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote

from hesper.testing._dialect import Dialect
from hesper.types import Scope

Headers = Mapping[str, str] | Iterable[tuple[str | bytes, str | bytes]]
"""Headers as tests like to write them."""

RawFields = list[tuple[bytes, bytes]]
"""Headers as scopes hold them."""


def raw_headers(headers: Headers) -> RawFields:
    """Returns the headers as bytes, names in lower case, with a Host if there was none."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    fields = [(_raw(name).lower(), _raw(value)) for name, value in pairs]
    if all(name != b"host" for name, _ in fields):
        fields.insert(0, (b"host", b"testserver"))
    return fields


def add_framing(
    fields: RawFields, parts: tuple[Any, ...], unfinished: bool, dialect: Dialect
) -> None:
    """Adds the header that says how long the body is, if there is a body and none said it.

    HTTP/2 needs none for a body of unknown length (RFC 9113, section 8.1.1).
    """
    said = {name for name, _ in fields} & {b"content-length", b"transfer-encoding"}
    if said or not (parts or unfinished):
        return
    if not unfinished:
        size = sum(len(part) for part in parts if isinstance(part, bytes))
        fields.append((b"content-length", b"%d" % size))
    elif dialect.http_version == "1.1":
        fields.append((b"transfer-encoding", b"chunked"))


def http_scope(
    dialect: Dialect, method: str, path: str, fields: RawFields, extensions: Iterable[str]
) -> Scope:
    """Returns the scope of an HTTP request."""
    return {
        "type": "http",
        "asgi": _versions(dialect.spec_version),
        "http_version": dialect.http_version,
        "method": method,
        "scheme": "http",
        **_common(path, fields, (*dialect.extensions, *extensions)),
    }


def websocket_scope(
    dialect: Dialect,
    path: str,
    fields: RawFields,
    subprotocols: Iterable[str],
    extensions: Iterable[str],
) -> Scope:
    """Returns the scope of a WebSocket, which is one of HTTP/1.1 in every dialect."""
    handshake = [(b"upgrade", b"websocket"), (b"connection", b"Upgrade")]
    return {
        "type": "websocket",
        "asgi": _versions(dialect.websocket_spec_version),
        "http_version": "1.1",
        "scheme": "ws",
        "subprotocols": list(subprotocols),
        **_common(path, [*fields, *handshake], (*dialect.websocket_extensions, *extensions)),
    }


def _versions(spec_version: str | None) -> dict[str, str]:
    versions = {"version": "3.0"}
    if spec_version is not None:
        versions["spec_version"] = spec_version
    return versions


def _common(path: str, fields: RawFields, extensions: tuple[str, ...]) -> dict[str, Any]:
    raw_path, _, query = path.partition("?")
    common: dict[str, Any] = {
        "path": unquote(raw_path),
        "raw_path": raw_path.encode("ascii"),
        "query_string": query.encode("ascii"),
        "root_path": "",
        "headers": fields,
        "client": ("127.0.0.1", 50000),
        "server": ("testserver", 80),
    }
    if extensions:
        common["extensions"] = {name: {} for name in extensions}
    return common


def _raw(text: str | bytes) -> bytes:
    return text.encode("latin-1") if isinstance(text, str) else text
