"""How a body is read, piece by piece.

The law: what reads waits only for the next chunk of the application. It is no async generator, which
somebody would have to close: a test may stop in the middle of a loop.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Generic, Protocol, TypeVar

from hesper._testclient.http.stages import Stage, Undecodable

_Piece = TypeVar("_Piece", str, bytes)


class Body(Protocol):
    """The body of a response, while the application makes it."""

    @property
    def closed(self) -> bool:
        """Whether the exchange is over."""
        ...

    def leave(self) -> None:
        """Leaves, and does not wait."""
        ...

    async def chunk(self) -> bytes:
        """The next chunk, as it was sent; empty at the end."""
        ...

    async def aclose(self) -> None:
        """Leaves, unless it is at its end, waits for the application, and raises what it raised."""
        ...

    async def abandon(self) -> None:
        """The same, whatever it raised."""
        ...


class Whole:
    """A body that was read already."""

    closed = True

    def __init__(self, content: bytes) -> None:
        self._content = content

    def leave(self) -> None:
        """There is nothing to leave."""

    async def chunk(self) -> bytes:
        """The content, once."""
        content, self._content = self._content, b""
        return content

    async def aclose(self) -> None:
        """There is nothing to close."""

    abandon = aclose


class Reading(AsyncIterator[_Piece], Generic[_Piece]):
    """One iteration over a body.

    Args:
        body: what is read.
        stage: what makes the pieces.
        undecodable: makes the error of a body that the stage cannot read.
    """

    def __init__(
        self,
        body: Body,
        stage: Stage[bytes, _Piece],
        undecodable: Callable[[Undecodable], Exception],
    ) -> None:
        self._body = body
        self._stage: Stage[bytes, _Piece] = stage
        self._undecodable = undecodable
        self._ready: deque[_Piece] = deque()
        self._over = False

    async def __anext__(self) -> _Piece:
        while not self._ready and not self._over:
            chunk = await self._body.chunk()
            self._over = not chunk
            try:
                self._ready.extend(self._stage.feed(chunk) if chunk else self._stage.end())
            except Undecodable as error:
                raise self._undecodable(error) from error
        if not self._ready:
            raise StopAsyncIteration
        return self._ready.popleft()

    async def aclose(self) -> None:
        """Reads no further: leaves, unless the body is at its end, and waits for the application.

        A second call does nothing.
        """
        self._over = True
        self._ready.clear()
        await self._body.aclose()
