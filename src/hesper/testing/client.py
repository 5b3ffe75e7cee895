"""The test's hand on one running exchange.

The law: every step is something that a client, or the network, or the server's operator can do.
Steps take effect at once and in order; only the methods that are awaited wait.
"""

from hesper.testing._exchange import PATIENCE
from hesper.testing._http import HTTPConnection
from hesper.testing._websocket import WebSocketConnection
from hesper.testing.result import Result
from hesper.types import Message


class Client:
    """The client of one running exchange; made by `Script.open`."""

    def __init__(self, connection: "HTTPConnection | WebSocketConnection") -> None:
        self._connection = connection

    @property
    def result(self) -> Result:
        """What was recorded up to now."""
        return self._connection.result

    @property
    def messages(self) -> list[Message]:
        """What the application has sent up to now."""
        return self.result.messages

    def send(self, data: str | bytes, *, more: bool = True) -> None:
        """Sends a part of the body, or a WebSocket frame.

        Args:
            data: a part of the body as bytes; or a frame, str for text and bytes for binary.
            more: whether the body goes on; says nothing for a WebSocket.
        """
        self._connection.write(self._connection.frame(data, more=more))

    def leave(self) -> None:
        """Vanishes, without a word; a second call does nothing."""
        self._connection.leave()

    def half_close(self) -> None:
        """Closes the sending side only, as some tools do that still read."""
        self._connection.leave(half=True)

    def close(self, code: int | None = 1000, reason: str = "") -> None:
        """Closes a WebSocket with a closing frame; None is a frame without a code."""
        if isinstance(self._connection, WebSocketConnection):
            self._connection.closing_frame = (code, reason)
        self._connection.leave()

    def stall(self) -> None:
        """Stops reading: from now on `send` blocks, if the dialect has backpressure."""
        self._connection.stall()

    def release(self) -> None:
        """Reads again, and wakes what is blocked."""
        self._connection.release()

    def cancel_app(self, *, native: bool = False) -> None:
        """Cancels the application as a server does that shuts down.

        Args:
            native: uses `asyncio.Task.cancel`, which is delivered once, and not a cancel scope;
                there is no difference on trio.
        """
        self._connection.cancel_app("task" if native else "scope")

    async def wait_message(self, number: int, *, timeout: float = PATIENCE) -> Message:
        """Waits until the application has called `send` so many times, and gives that message.

        Args:
            number: 1 is the first message.
            timeout: seconds of the event loop's clock.

        Raises:
            StillRunning: it did not come in time, or the application ended without it.
        """
        sent = self.result.sent
        await self._connection.wait_until(
            lambda: len(sent) >= number, f"did not send message {number}", timeout
        )
        return sent[number - 1].message

    async def wait_receiving(self, *, timeout: float = PATIENCE) -> None:
        """Waits until the application waits in `receive`.

        Raises:
            StillRunning: it did not in time, or the application ended.
        """
        await self._connection.wait_until(
            lambda: self._connection.receiving, "did not wait in receive", timeout
        )

    async def finish(self, *, timeout: float = PATIENCE) -> Result:
        """Waits for the end of the application, and gives what was recorded.

        The client does not leave by this; the server keeps the connection open.

        Raises:
            StillRunning: it did not end in time.
        """
        await self._connection.wait_until(
            self._connection.ended.is_set, f"did not end within {timeout:g} seconds", timeout
        )
        return self.result
