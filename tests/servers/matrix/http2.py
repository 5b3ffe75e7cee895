"""A client of HTTP/2, without TLS and with prior knowledge (RFC 9113 section 3.3)."""

from __future__ import annotations

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, StreamEnded

from tests.servers.matrix.client import PART, Client, How


class Http2Client(Client):
    """One connection, and the first stream on it."""

    def __init__(self) -> None:
        super().__init__()
        self._http = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self._ended: set[int] = set()

    async def connect(self, port: int, buffer: int | None = None) -> None:
        """Connect and send the preface."""
        await super().connect(port, buffer)
        self._http.initiate_connection()
        await self._flush()

    async def get(self, target: str, stream: int = 1) -> None:
        """Ask for something."""
        self._http.send_headers(stream, _head("GET", target), end_stream=True)
        await self._flush()

    async def post_part(self, target: str) -> None:
        """Send the beginning of a request with a body of 1,000 bytes."""
        self._http.send_headers(1, [*_head("POST", target), ("content-length", "1000")])
        self._http.send_data(1, PART)
        await self._flush()

    async def read(self) -> bytes:
        """The next of what comes on any stream, without the frames."""
        before = len(self.received)
        received = await super().read()
        self.received = self.received[:before]
        for event in self._http.receive_data(received):
            if isinstance(event, DataReceived):
                self.received += event.data
                self._http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, StreamEnded):
                self._ended.add(event.stream_id)
        if received:
            await self._flush()
        return received

    @property
    def has_all(self) -> bool:
        """Whether the first response has come to its end."""
        return self.has_ended(1)

    def has_ended(self, stream: int) -> bool:
        """Whether a response has come to its end."""
        return stream in self._ended

    def leave(self, how: How) -> None:
        """Leave: with the stream or with the connection."""
        if how is How.STREAM:
            self._http.reset_stream(1, ErrorCodes.CANCEL)
            self.socket.send(self._http.data_to_send())  # a few bytes: they are taken at once
        else:
            super().leave(how)

    async def _flush(self) -> None:
        await self.send(self._http.data_to_send())


def _head(method: str, target: str) -> list[tuple[str, str]]:
    return [
        (":method", method),
        (":path", target),
        (":scheme", "http"),
        (":authority", "matrix"),
    ]
