"""Where a URL's path leads to on the disk: inside of the directory that is served, or nowhere.

The laws:

1. A path that could lead out is refused by its text, before the disk is asked: on Windows even to
   ask for ``//host/share`` sends the user's credentials there.
2. What is found is looked at again when its symbolic links are resolved, unless they are followed.
3. Whatever a client writes leads to a file or to none. What raises is the server's own trouble.

All of it touches the disk: call it in worker threads.
"""

from __future__ import annotations

import errno
import importlib.util
import ntpath
import os
import stat
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TypeGuard

from hesper.exceptions import UsageError

CODINGS: Mapping[str, str] = MappingProxyType({"br": ".br", "zstd": ".zst", "gzip": ".gz"})
"""What a precompressed file's name ends in, by content coding; the best comes first."""

MAX_LENGTH = 4096
"""Characters in a path. Linux takes no more (PATH_MAX); looking at each of its segments would cost
the square of its length."""

NO_SUCH_NAME = frozenset(
    {
        errno.ENAMETOOLONG,
        errno.ELOOP,  # a symbolic link that leads to itself
        errno.EINVAL,  # Windows: a character that no name may have
        errno.EILSEQ,  # macOS: no UTF-8
    }
)
"""What a system says of a path that cannot be a file, besides that there is none."""


def package_directory(name: str, inside: str) -> str:
    """The directory in a package. Raises UsageError if it, or the package, is not there."""
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        spec = None
    if spec is None or spec.origin is None:
        raise UsageError(f"Package {name!r} could not be found.")
    directory = os.path.normpath(os.path.join(spec.origin, "..", inside))
    if not os.path.isdir(directory):
        raise UsageError(f"Directory {inside!r} in package {name!r} could not be found.")
    return directory


def check_directory(directory: str | os.PathLike[str]) -> None:
    """Raises UsageError if it is none."""
    if not os.path.isdir(directory):
        what = "is not a directory" if os.path.exists(directory) else "does not exist"
        raise UsageError(f"StaticFiles directory '{directory}' {what}.")


def normal_path(path: str) -> str:
    """A URL's path as a relative one of the system, without "." and ".." where that leaves it."""
    parts: list[str] = []
    for segment in path.split("/"):
        if segment == ".." and parts and parts[-1] != "..":
            parts.pop()
        elif segment not in ("", "."):
            parts.append(segment)
    return os.sep.join(parts) or "."


def stays_inside(path: str) -> bool:
    """Whether a path can only lead into the directory that it is relative to, on any system.

    Refused are absolute paths, drives ("C:", "C:name"), network shares, ".." between slashes of
    either kind, NUL, and what is longer than a path may be.
    """
    if "\0" in path or len(path) > MAX_LENGTH or path.startswith(("/", "\\")):
        return False
    return not ntpath.splitdrive(path)[0] and ".." not in path.replace("\\", "/").split("/")


def find(
    directory: str | os.PathLike[str], path: str, follow_symlink: bool
) -> tuple[str, os.stat_result] | None:
    """What is at a path inside of a directory; None if nothing is, or if it is not inside.

    Args:
        path: one that ``stays_inside``.
        follow_symlink: whether symbolic links may lead out.

    Raises:
        PermissionError: the server may not look there.
        OSError: the disk cannot be asked, or no file can have this name (``NO_SUCH_NAME``).
        ValueError: no file can have this name.
    """
    resolve = os.path.abspath if follow_symlink else os.path.realpath
    root = resolve(directory)
    full_path = resolve(os.path.join(root, path))
    if os.path.commonpath([root, full_path]) != root:
        return None
    try:
        return full_path, os.stat(full_path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def is_file(status: os.stat_result | None) -> TypeGuard[os.stat_result]:
    """Whether it is an ordinary file: to open a pipe or a device may wait for ever."""
    return status is not None and stat.S_ISREG(status.st_mode)


def is_directory(status: os.stat_result | None) -> TypeGuard[os.stat_result]:
    """Whether it is a directory."""
    return status is not None and stat.S_ISDIR(status.st_mode)


class Precompressed(str):
    """The path of a file of which something smaller is sent; reads as the file's own path."""

    coding: str
    """The content coding of what is sent."""
    sent: str
    """The path of what is sent."""


def precompressed(
    full_path: str, follow_symlink: bool
) -> dict[str, tuple[Precompressed, os.stat_result]]:
    """What stands beside a file and is the same, smaller, by content coding; the best first."""
    # full_path has no links left where they are not followed: only this last name can be one.
    look: Any = os.stat if follow_symlink else os.lstat
    found: dict[str, tuple[Precompressed, os.stat_result]] = {}
    for coding, ending in CODINGS.items():
        path = Precompressed(full_path)
        path.coding, path.sent = coding, full_path + ending
        try:
            status = look(path.sent)
        except OSError:
            continue
        if is_file(status):
            found[coding] = path, status
    return found
