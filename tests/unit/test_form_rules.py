"""What holds for every form: limits, text, and the error that names what a form broke."""

import encodings
import sys

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hesper._form_rules import (
    MultiPartException,
    base_name,
    check_count,
    check_size,
    require_library,
    text_codec,
)


def test_the_error_is_a_value_error_with_its_message() -> None:
    error = MultiPartException("No form.")
    assert isinstance(error, ValueError)
    assert error.message == str(error) == "No form."


def test_without_the_library_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    require_library()
    monkeypatch.setitem(sys.modules, "python_multipart", None)
    with pytest.raises(ImportError) as raised:
        require_library()
    assert str(raised.value) == (
        "Reading forms needs the python-multipart package. "
        'Install it with: pip install "hesper[forms]"'
    )


def test_as_many_as_the_limit_are_allowed_and_one_more_is_not() -> None:
    check_count("files", 2, 2)
    check_count("files", 10**9, float("inf"))
    with pytest.raises(MultiPartException) as raised:
        check_count("files", 3, 2)
    assert raised.value.message == "Too many files. Maximum number of files is 2."


@pytest.mark.parametrize(
    ("limit", "named"),
    [(0, "0KB"), (1, "1 bytes"), (1023, "1023 bytes"), (1024, "1KB"), (1024 * 1024, "1024KB")],
)
def test_as_long_as_the_limit_is_allowed_and_one_byte_more_is_not(limit: int, named: str) -> None:
    check_size("Part", limit, limit)
    with pytest.raises(MultiPartException) as raised:
        check_size("Part", limit + 1, limit)
    assert raised.value.message == f"Part exceeded maximum size of {named}."


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        ("f.txt", "f.txt"),
        ("", ""),
        ("C:\\dir\\f.txt", "f.txt"),
        ("C:f.txt", "C:f.txt"),
        ("\\\\host\\share\\f.txt", "f.txt"),
        ("\\f.txt", "\\f.txt"),
        ("a\\b.txt", "a\\b.txt"),
        ("../dir/f.txt", "../dir/f.txt"),
        ("C:\\dir\\", ""),
    ],
)
def test_only_whole_paths_on_windows_lose_their_folders(filename: str, expected: str) -> None:
    assert base_name(filename) == expected


@pytest.mark.parametrize(
    ("charset", "codec"),
    [
        ("utf-8", "utf_8"),
        ("UTF8", "utf_8"),
        ("utf_8", "utf_8"),
        ("ISO-8859-1", "latin_1"),
        ("windows-1252", "cp1252"),
        ("koi8-u", "koi8_u"),
        ("Shift_JIS", "shift_jis"),
        # One byte is no text in it, but it is a codec for text.
        ("utf-16", "utf_16"),
    ],
)
def test_a_charset_has_its_codec(charset: str, codec: str) -> None:
    assert text_codec(charset) == codec


@pytest.mark.parametrize(
    "charset", ["nope", "zlib", "hex", "mbcs", "idna", "punycode", "unicode_escape", "../x", ""]
)
def test_what_is_no_charset_for_text_is_refused(charset: str) -> None:
    with pytest.raises(MultiPartException) as raised:
        text_codec(charset)
    assert raised.value.message == f"Unknown charset in multipart: {charset!r}."


def test_a_long_charset_is_not_told_in_full() -> None:
    with pytest.raises(MultiPartException) as raised:
        text_codec("y" * 99)
    assert raised.value.message == f"Unknown charset in multipart: '{'y' * 40}'."


def test_charsets_made_up_by_clients_do_not_fill_the_memory() -> None:
    cache: dict[str, object] = getattr(encodings, "_cache")  # noqa: B009
    known = len(cache)
    for number in range(20):
        with pytest.raises(MultiPartException):
            text_codec(f"made-up-{number}")
    assert len(cache) == known


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=20) | st.sampled_from(sorted(encodings.aliases.aliases)))
@example("\0")
def test_any_charset_has_a_codec_for_text_or_is_refused(charset: str) -> None:
    try:
        codec = text_codec(charset)
    except MultiPartException:
        return
    assert "text".encode(codec).decode(codec) == "text"
