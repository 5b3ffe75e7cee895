"""Sees what a run leaves behind: error logs, temporary files, generators, and what died unseen.

The law: what is looked at is what Python itself says at the end of a thing's life; nothing is
guessed from the application's code. Files are held until the run is judged, so that one that was
only dropped, and closed by its destructor at some time, is told from one that was closed.
"""

import gc
import io
import logging
import sys
import tempfile
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from hesper.testing._sweep.frames import Place, place_in, place_of, unguarded


class Leftovers:
    """What one run left behind."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        """Records of level ERROR and above, with the exceptions they are about."""
        self.unseen: list[str] = []
        """Exceptions that nobody could see, and coroutines that nobody awaited."""
        self.generators: list[tuple[Place, Place]] = []
        """Where the generators begin, and stand, that nobody closed although they had to be."""
        self.files: list[Any] = []
        """The temporary files that were made."""

    def open_files(self) -> list[str]:
        """Names the temporary files that are not closed, and closes them."""
        names = []
        # A spool stands before the file that it writes to, and closes it.
        for file in self.files:
            if not file.closed:
                names.append(type(file).__name__.lstrip("_"))
                file.close()
        self.files.clear()
        return names

    @contextmanager
    def watched_generators(self, owned: Callable[[], bool]) -> Iterator[None]:
        """Watches the asynchronous generators that are begun while ``owned`` says so.

        One that stands where its end loses nothing may be left to the collector.
        """
        before = sys.get_asyncgen_hooks()
        # By id, because the weak reference is gone when the finalizer is called.
        begun: dict[int, weakref.ref[Any]] = {}

        def first(generator: Any) -> None:
            if owned():
                begun[id(generator)] = weakref.ref(generator)
            if before.firstiter is not None:
                before.firstiter(generator)

        def last(generator: Any) -> None:
            if begun.pop(id(generator), None) is not None:
                self._note(generator)
            if before.finalizer is not None:
                before.finalizer(generator)

        sys.set_asyncgen_hooks(first, last)
        try:
            yield
            for ref in begun.values():
                generator = ref()
                if generator is not None:
                    self._note(generator)
        finally:
            sys.set_asyncgen_hooks(*before)

    def _note(self, generator: Any) -> None:
        frame = generator.ag_frame
        if frame is not None and not unguarded(frame):
            self.generators.append((place_of(generator.ag_code), place_in(frame)))


class Recorder:
    """Writes what happens in the process into the `Leftovers` of the run that is on."""

    def __init__(self) -> None:
        self.now = Leftovers()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Records in the block. Nothing is logged in it, and the collector runs only when asked:
        when it runs by itself is not the same each time."""
        with (
            self._collector(),
            self._logs(),
            self._temporary_files(),
            self._unraisable(),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("always", RuntimeWarning)
            warnings.simplefilter("ignore", ResourceWarning)
            warnings.showwarning = self._show_warning
            yield

    def settle(self) -> None:
        """Takes what has been imported meanwhile out of the collector's sight as well: a collection
        takes 0.1 ms then, and not 10."""
        gc.collect()
        gc.freeze()

    def _show_warning(self, message: Any, *_: Any, **__: Any) -> None:
        if "never awaited" in str(message):
            self.now.unseen.append(str(message))

    @contextmanager
    def _collector(self) -> Iterator[None]:
        enabled, frozen = gc.isenabled(), gc.get_freeze_count() > 0
        gc.collect()
        gc.disable()
        if not frozen:
            gc.freeze()
        try:
            yield
        finally:
            if not frozen:
                gc.unfreeze()
            if enabled:
                gc.enable()

    @contextmanager
    def _logs(self) -> Iterator[None]:
        logger: Any = logging.Logger
        handle = logger.handle

        def record(_: logging.Logger, entry: logging.LogRecord) -> None:
            if entry.levelno >= logging.ERROR:
                about = entry.exc_info[1] if entry.exc_info else None
                text = entry.getMessage().partition("\n")[0]
                self.now.errors.append(text if about is None else f"{text} ({about!r})")

        logger.handle = record
        try:
            yield
        finally:
            logger.handle = handle

    @contextmanager
    def _temporary_files(self) -> Iterator[None]:
        module: Any = tempfile
        real_io = module._io

        def open_file(*args: Any, **options: Any) -> Any:
            file = real_io.open(*args, **options)
            self.now.files.append(file)
            return file

        # `NamedTemporaryFile` and `TemporaryFile` may have been imported by name; both open here.
        module._io = SimpleNamespace(**{**vars(io), "open": open_file})
        try:
            with (
                self._held(module.SpooledTemporaryFile),
                self._held(module._TemporaryFileWrapper),
            ):
                yield
        finally:
            module._io = real_io

    @contextmanager
    def _held(self, kind: Any) -> Iterator[None]:
        """Holds what is made of a class, whose destructor would close a file."""
        real_init = kind.__init__

        def init(file: Any, *args: Any, **options: Any) -> None:
            real_init(file, *args, **options)
            self.now.files.insert(0, file)

        kind.__init__ = init
        try:
            yield
        finally:
            kind.__init__ = real_init

    @contextmanager
    def _unraisable(self) -> Iterator[None]:
        hook = sys.unraisablehook

        def record(unraisable: Any) -> None:
            self.now.unseen.append(f"{unraisable.exc_value!r} in {unraisable.object!r}")

        sys.unraisablehook = record
        try:
            yield
        finally:
            sys.unraisablehook = hook
