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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import AsyncGeneratorType, SimpleNamespace
from typing import Any

from hesper.testing._sweep.frames import Place, place_of, places, unguarded


class Leftovers:
    """What one run left behind."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        """Records of level ERROR and above, and what they were about."""
        self.unseen: list[str] = []
        """Exceptions that nobody could see, and coroutines that nobody awaited."""
        self.files: list[Any] = []
        """The temporary files that were made."""
        self.orphans: list[tuple[Place, Place]] = []
        """Where the generators begin, and stood, that were dropped with something to clean up."""
        self._begun: list[AsyncGeneratorType[Any, Any]] = []

    def open_files(self) -> list[str]:
        """Names the temporary files that are not closed, and closes them."""
        left = [file for file in self.files if not file.closed]
        for file in left:
            file.close()
        return [type(file).__name__ for file in left]

    def open_generators(self) -> list[tuple[Place, Place]]:
        """Returns where the generators stand that were begun and not closed; lets go of all."""
        begun, self._begun = self._begun, []
        left = [(g, g.ag_frame) for g in begun if g.ag_frame is not None]
        return self.orphans + [
            (place_of(generator.ag_code), _stands(frame))
            for generator, frame in left
            if not unguarded(frame)
        ]

    @contextmanager
    def generators(self, owned: Callable[[], bool]) -> Iterator[None]:
        """Watches the asynchronous generators that are begun while ``owned`` says so."""
        import weakref

        before = sys.get_asyncgen_hooks()
        begun: list[Any] = []

        def first(generator: Any) -> None:
            if owned():
                begun.append(weakref.ref(generator))
            if before.firstiter is not None:
                before.firstiter(generator)

        def last(generator: Any) -> None:
            if any(ref() is generator for ref in begun) and not unguarded(generator.ag_frame):
                self.orphans.append((place_of(generator.ag_code), _stands(generator.ag_frame)))
            if before.finalizer is not None:
                before.finalizer(generator)

        sys.set_asyncgen_hooks(first, last)
        try:
            yield
            self._begun = [generator for ref in begun if (generator := ref()) is not None]
        finally:
            sys.set_asyncgen_hooks(*before)


def _stands(frame: Any) -> Place:
    return places([frame])[0]
