"""Cookies as text: reading `Cookie`, writing `Set-Cookie` (RFC 6265).

The law: reading is lenient and never fails, because the header holds what any site of the domain,
any script and any attacker once set; writing is strict, because one stray `;` or line break in a
value becomes another attribute or another header.
"""

import re
import time
from datetime import datetime
from typing import Literal

from hesper._grammar import CONTROL, COOKIE_WORD, format_http_date

# How `http.cookies` has written values since RFC 2109: a backslash and three octal digits.
_ESCAPED = re.compile(r"\\(?:([0-3][0-7][0-7])|(.))")

# What a quoted value still has to escape: the two that quoting uses, the two that clients split
# at, and everything beyond ASCII, whose encoding nobody agrees on.
_ESCAPES = {code: f"\\{code:03o}" for code in (ord(","), ord(";"), *range(0x80, 0x100))}
_ESCAPES |= {ord('"'): '\\"', ord("\\"): "\\\\"}

# `http.cookies` reads a pair of these names as an attribute of the cookie before it.
_ATTRIBUTES = frozenset(
    {"comment", "domain", "expires", "httponly", "max-age"}
    | {"partitioned", "path", "samesite", "secure", "version"}
)


def cookie_parser(cookie_string: str) -> dict[str, str]:
    """Read a `Cookie` header as browsers do: never fails, and the last of two equal names wins.

    A piece without `=` is the value of the cookie with the empty name (RFC 6265bis section 5.6).
    Values in double quotes are unquoted, and their escapes read. Takes linear time.

    Args:
        cookie_string: the field value; join several fields with `; `.

    Returns:
        The cookies by name.
    """
    cookies: dict[str, str] = {}
    for pair in cookie_string.split(";"):
        name, equals, value = pair.partition("=")
        if not equals:
            name, value = "", name
        name, value = name.strip(), value.strip()
        if name or value:
            cookies[name] = _unquote(value)
    return cookies


def _unquote(value: str) -> str:
    if len(value) < 2 or value[0] != '"' or value[-1] != '"':
        return value
    return _ESCAPED.sub(_unescape, value[1:-1])


def _unescape(found: re.Match[str]) -> str:
    octal = found[1]
    return chr(int(octal, 8)) if octal else found[2]


def render_set_cookie(
    key: str,
    value: str = "",
    max_age: int | None = None,
    expires: datetime | str | int | None = None,
    path: str | None = "/",
    domain: str | None = None,
    secure: bool = False,
    httponly: bool = False,
    samesite: Literal["lax", "strict", "none"] | None = "lax",
    partitioned: bool = False,
) -> str:
    """Write the value of a `Set-Cookie` header (RFC 6265 section 4.1).

    Args:
        key: the cookie's name.
        value: its value; quoted and escaped where it has to be, and unescaped by `cookie_parser`.
        max_age: its life in seconds; 0 or less deletes it. None: no such attribute.
        expires: the end of its life: a datetime with a time zone, seconds from now, or the
            finished text. None: no such attribute, so it ends with the browser's session.
        path: the paths it is sent to. None or "": those beside the request's own.
        domain: the hosts it is sent to. None or "": only the one that set it.
        secure: only over HTTPS.
        httponly: not shown to scripts.
        samesite: whether requests that other sites cause carry it. None: no such attribute.
        partitioned: kept apart for each top-level site (CHIPS); browsers want `secure` with it.

    Returns:
        The field value, which latin-1 can encode.

    Raises:
        ValueError: for a bad name, a control character anywhere, `;` in an attribute, an unknown
            `samesite`, a datetime without a time zone; as UnicodeEncodeError for characters
            beyond latin-1, which no header can hold.
    """
    _check_name(key)
    header = f"{key}={_quote(str(value))}"
    # In the order of `http.cookies`, so that golden files and caches of a ported app stay valid.
    if domain:
        header += f"; Domain={_checked('domain', domain)}"
    if expires is not None and expires != "":
        header += f"; expires={_expires(expires)}"
    if httponly:
        header += "; HttpOnly"
    if max_age is not None:
        header += f"; Max-Age={int(max_age)}"
    if partitioned:
        header += "; Partitioned"
    if path:
        header += f"; Path={_checked('path', path)}"
    if samesite is not None:
        header += f"; SameSite={_checked_samesite(samesite)}"
    if secure:
        header += "; Secure"
    if not header.isascii():
        header.encode("latin-1")
    return header


def _check_name(key: str) -> None:
    if not COOKIE_WORD.fullmatch(key):
        raise ValueError(
            f"A cookie's name must be one or more of letters, digits and !#$%&'*+-.^_`|~: "
            f"(RFC 6265 section 4.1.1), got {key!r}."
        )
    if key.lower() in _ATTRIBUTES:
        raise ValueError(
            f"A cookie cannot be named {key!r}: clients read it as the attribute of that name. "
            f"Choose another, such as 'app_{key}'."
        )


def _quote(value: str) -> str:
    if COOKIE_WORD.fullmatch(value):
        return value
    # CPython's http.cookies refuses these as well since 2026 (gh-143919).
    if CONTROL.search(value):
        raise ValueError(
            f"A cookie's value cannot hold control characters such as line breaks, got {value!r}. "
            "Encode it first, for instance with urllib.parse.quote or base64."
        )
    return f'"{value.translate(_ESCAPES)}"'


def _expires(expires: datetime | str | float) -> str:
    if isinstance(expires, str):
        return _checked("expires", expires)
    if isinstance(expires, datetime):
        return format_http_date(expires)
    return format_http_date(time.time() + expires)


def _checked(attribute: str, value: str) -> str:
    # RFC 6265 section 4.1.1, av-octet: any CHAR except CTLs or ";".
    if ";" in value or CONTROL.search(value):
        raise ValueError(
            f"A cookie's {attribute} cannot hold ';' or control characters, which would start "
            f"another attribute or header, got {value!r}."
        )
    return value


def _checked_samesite(samesite: str) -> str:
    if samesite.lower() not in ("lax", "strict", "none"):
        raise ValueError(
            f"A cookie's samesite must be 'lax', 'strict', 'none', or None for no attribute, "
            f"got {samesite!r}."
        )
    return samesite
