"""The small values of the toolkit, and the door to the larger ones.

The law: nothing here knows the event loop. Values are built from plain data and answer at once;
only an ``UploadFile`` that has grown out of memory hands its disk work to a thread, and closing one
always closes it, whatever else happens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, BinaryIO, NamedTuple, TypeVar

from hesper._headers import Headers, MutableHeaders
from hesper._multidict import ImmutableMultiDict, MultiDict, QueryParams
from hesper._url import URL, URLPath

__all__ = [
    "URL",
    "Address",
    "CommaSeparatedStrings",
    "FormData",
    "Headers",
    "ImmutableMultiDict",
    "MultiDict",
    "MutableHeaders",
    "QueryParams",
    "Secret",
    "State",
    "URLPath",
    "UploadFile",
]

_Result = TypeVar("_Result")


class Address(NamedTuple):
    """One end of a connection."""

    host: str
    port: int


class Secret:
    """A text that must not show up in logs and tracebacks. ``str()`` reveals it."""

    def __init__(self, value: str) -> None:
        self._value = value

    def __repr__(self) -> str:
        return f"{type(self).__name__}('**********')"

    def __str__(self) -> str:
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)


class CommaSeparatedStrings(Sequence[str]):
    """A sequence of strings, from one text as settings hold it.

    Args:
        value: Strings separated by commas, quoted as in a shell where they hold commas themselves;
            or the strings.

    Raises:
        ValueError: If a quotation is not closed.
    """

    def __init__(self, value: str | Sequence[str]) -> None:
        if isinstance(value, str):
            # Only settings come here: not worth its import time to every application.
            from shlex import shlex

            splitter = shlex(value, posix=True)
            splitter.whitespace = ","
            splitter.whitespace_split = True
            self._items = [item.strip() for item in splitter]
        else:
            self._items = list(value)

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int | slice) -> Any:
        return self._items[index]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._items!r})"

    def __str__(self) -> str:
        return ", ".join(repr(item) for item in self._items)


class UploadFile:
    """A file that a form brought.

    Args:
        file: Where the content is; usually a ``SpooledTemporaryFile``, in memory while it is small.
        size: Its size in bytes, if it is known; ``write`` counts on.
        filename: The name that the client gave it. Not to be trusted as a path.
        headers: The header fields of its part of the form.

    All methods work in the calling task while the file is in memory, and in a worker thread after
    that. A thread that has begun is waited for: a cancelled ``read`` has moved the position, a
    cancelled ``write`` has written.
    """

    def __init__(
        self,
        file: BinaryIO,
        *,
        size: int | None = None,
        filename: str | None = None,
        headers: Headers | None = None,
    ) -> None:
        self.file = file
        self.size = size
        self.filename = filename
        self.headers = Headers() if headers is None else headers

    @property
    def content_type(self) -> str | None:
        """The media type that the client gave it. Not to be trusted."""
        return self.headers.get("content-type")

    @property
    def _in_memory(self) -> bool:
        # A file that has no such flag is no SpooledTemporaryFile, and may be anywhere.
        return not getattr(self.file, "_rolled", True)

    def _will_roll(self, added: int) -> bool:
        """Whether writing so many bytes touches the disk."""
        limit: int = getattr(self.file, "_max_size", 0)
        return not self._in_memory or self.file.tell() + added > limit

    async def write(self, data: bytes) -> None:
        """Write at the current position."""
        if self._will_roll(len(data)):
            await _in_thread(self.file.write, data)
        else:
            self.file.write(data)
        if self.size is not None:
            self.size += len(data)

    async def read(self, size: int = -1) -> bytes:
        """Read from the current position.

        Args:
            size: How many bytes at most; all that is left if it is negative.
        """
        if self._in_memory:
            return self.file.read(size)
        return await _in_thread(self.file.read, size)

    async def seek(self, offset: int) -> None:
        """Go to a position, in bytes from the start."""
        if self._in_memory:
            self.file.seek(offset)
        else:
            await _in_thread(self.file.seek, offset)

    async def close(self) -> None:
        """Close the file, which removes it from the disk. Harmless if it is closed already.

        On cancellation it is closed all the same.
        """
        if self._in_memory:
            self.file.close()
            return
        try:
            await _in_thread(self.file.close)
        except BaseException:
            # A cancelled scope refuses to start the thread. Blocking for one close(2) is the lesser
            # evil than leaving the file to the garbage collector.
            self.file.close()
            raise

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(filename={self.filename!r}, size={self.size!r}, "
            f"headers={self.headers!r})"
        )


async def _in_thread(function: Callable[..., _Result], *args: Any) -> _Result:
    from anyio.to_thread import run_sync

    return await run_sync(function, *args)


class FormData(ImmutableMultiDict[str, UploadFile | str]):
    """The fields of a form, texts and files.

    Takes what every multidict takes.
    """

    __slots__ = ()

    def __init__(
        self,
        *args: FormData | Mapping[str, str | UploadFile] | list[tuple[str, str | UploadFile]],
        **kwargs: str | UploadFile,
    ) -> None:
        super().__init__(*args, **kwargs)

    async def close(self) -> None:
        """Close all files. Harmless if they are closed already.

        If one cannot be closed, or the caller is cancelled meanwhile, the others are closed all the
        same before that is raised.
        """
        uploads = [value for _, value in self._list if isinstance(value, UploadFile)]
        try:
            for upload in uploads:
                await upload.close()
        except BaseException:
            with ExitStack() as rest:
                for upload in uploads:
                    rest.callback(upload.file.close)
            raise


class State:
    """Attributes over a dict: ``state.user`` is ``state["user"]``.

    Args:
        state: The dict to work on; a new one without it.
    """

    __slots__ = ("_state",)

    _state: dict[str, Any]

    def __init__(self, state: dict[str, Any] | None = None) -> None:
        object.__setattr__(self, "_state", {} if state is None else state)

    def __getattr__(self, key: str) -> Any:
        try:
            return self._state[key]
        except KeyError:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {key!r}")

    def __setattr__(self, key: str, value: Any) -> None:
        self._state[key] = value

    def __delattr__(self, key: str) -> None:
        try:
            del self._state[key]
        except KeyError:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {key!r}")

    def __getitem__(self, key: str) -> Any:
        return self._state[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._state[key] = value

    def __delitem__(self, key: str) -> None:
        del self._state[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._state)

    def __len__(self) -> int:
        return len(self._state)

    def __reduce__(self) -> tuple[type[State], tuple[dict[str, Any]]]:
        # Copying and pickling would set the slot through __setattr__, which needs it.
        return type(self), (self._state,)
