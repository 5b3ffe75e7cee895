"""What holds for every form: its limits, its text, and the error that tells a client so.

The law: nothing that a client sends makes these raise anything but `MultiPartException`, and its
message names the limit or the rule that the form broke.
"""

from encodings import normalize_encoding
from encodings.aliases import aliases

# KOI8-U is the one charset of the WHATWG Encoding standard that Python has without an alias.
_CODECS = frozenset(aliases.values()) | {"koi8_u"}


class MultiPartException(ValueError):
    """The client sent a form that is malformed or over a limit. Answer 400 with the message.

    Args:
        message: a sentence for the client.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


def require_library() -> None:
    """Say what to install before the first byte is read.

    Raises:
        ImportError: if the extra `forms` is not installed.
    """
    try:
        import python_multipart  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "Reading forms needs the python-multipart package. "
            'Install it with: pip install "hesper[forms]"'
        ) from error


def check_count(what: str, count: int, limit: int | float) -> None:
    """Refuse one more of something than there may be.

    Raises:
        MultiPartException: if the count is over the limit.
    """
    if count > limit:
        raise MultiPartException(f"Too many {what}. Maximum number of {what} is {limit}.")


def check_size(what: str, size: int, limit: int) -> None:
    """Refuse what is longer than it may be, both in bytes.

    Raises:
        MultiPartException: if the size is over the limit.
    """
    if size > limit:
        maximum = f"{limit} bytes" if limit % 1024 else f"{limit // 1024}KB"
        raise MultiPartException(f"{what} exceeded maximum size of {maximum}.")


def base_name(filename: str) -> str:
    """Take the name from a path on Windows: old browsers and a few programs send it whole."""
    if filename[1:3] == ":\\" or filename.startswith("\\\\"):
        return filename.rpartition("\\")[2]
    return filename


def text_codec(charset: str) -> str:
    """Find the codec for a charset that a client named.

    Only codecs with an alias count. Python itself knows more, and would look for anything else in
    modules and remember the failure for ever, so that names made up by clients fill the memory;
    and decoding "punycode" or "idna", which have none, takes quadratic time.

    Raises:
        MultiPartException: if there is none for text.
    """
    name = normalize_encoding(charset).lower()
    codec = aliases.get(name, name)
    try:
        if codec in _CODECS:
            b"a".decode(codec)
            return codec
    except UnicodeError:
        return codec
    except LookupError:
        # Codecs from bytes to bytes, such as zlib, and those of other platforms.
        pass
    raise MultiPartException(f"Unknown charset in multipart: {charset[:40]!r}.")
