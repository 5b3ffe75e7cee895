"""Clients of raw sockets: leaving by a reset, or by half, is not what a library offers."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from enum import StrEnum


class How(StrEnum):
    """How a client leaves."""

    FIN = "closes (FIN)"
    RST = "resets (RST)"
    HALF = "closes its sending side only"
    STREAM = "resets its stream (RST_STREAM)"


PART = b"half"
"""The beginning of a body of 1,000 bytes."""


class Client:
    """One connection of HTTP/1.1."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.received = b""
        """All that came, as far as it was read."""
        self.ended = False
        """Whether the server has closed, or reset, its side."""

    async def connect(self, port: int, buffer: int | None = None) -> None:
        """Connect.

        Args:
            port: of the server.
            buffer: bytes that the system takes for this client before it reads; it doubles them.
        """
        if buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        await self._loop.sock_connect(self.socket, ("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def send(self, data: bytes) -> None:
        """Send all of it."""
        await self._loop.sock_sendall(self.socket, data)

    async def read(self) -> bytes:
        """What comes next; nothing when the server has ended its side, in whatever way."""
        try:
            data = await self._loop.sock_recv(self.socket, 1 << 16)
        except ConnectionError:
            data = b""
        self.received += data
        self.ended = self.ended or not data
        return data

    async def read_until(self, marker: bytes) -> bool:
        """Read until ``marker`` has come; False if the server ended its side before."""
        while marker not in self.received:
            if not await self.read():
                return False
        return True

    async def read_all(self) -> bytes:
        """Read until the server has ended its side; all that has come."""
        while await self.read():
            pass
        return self.received

    async def get(self, target: str) -> None:
        """Ask for something."""
        await self.send(request("GET", target))

    async def post_part(self, target: str) -> None:
        """Send the beginning of a request with a body of 1,000 bytes."""
        await self.send(request("POST", target, "Content-Length: 1000") + PART)

    async def open(self, target: str) -> None:
        """Open a WebSocket."""
        await self.send(handshake(target))
        assert await self.read_until(b"\r\n\r\n"), f"no handshake, but {self.received!r}"

    @property
    def has_all(self) -> bool:
        """Whether the response has come to its end."""
        return whole(self.received)

    def leave(self, how: How) -> None:
        """Leave; after half of it there is something to read yet."""
        if how is How.HALF:
            self.socket.shutdown(socket.SHUT_WR)
            return
        if how is How.RST:
            linger = struct.pack("ii", 1, 0)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        else:
            self._drain()  # a socket that is closed with something unread is reset
        self.socket.close()

    def close(self) -> None:
        """Close it, if that has not been done."""
        self.socket.close()

    def _drain(self) -> None:
        try:
            while self.socket.recv(1 << 16):
                pass
        except OSError:
            pass


def request(method: str, target: str, *headers: str) -> bytes:
    """The head of a request of HTTP/1.1."""
    lines = [f"{method} {target} HTTP/1.1", "Host: matrix", *headers, "", ""]
    return "\r\n".join(lines).encode()


def handshake(target: str) -> bytes:
    """The request that opens a WebSocket (RFC 6455 section 4.1)."""
    return request(
        "GET",
        target,
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    )


def close_frame(code: int | None = None, reason: str = "") -> bytes:
    """A close frame of a client (RFC 6455 sections 5.2, 5.5.1), with or without a code."""
    payload = b"" if code is None else struct.pack("!H", code) + reason.encode()
    mask = os.urandom(4)
    masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
    return bytes([0x88, 0x80 | len(payload)]) + mask + masked


def close_code(received: bytes) -> int | None:
    """The code of the close frame that a server sent last; None if there is none."""
    _, _, frames = received.partition(b"\r\n\r\n")
    start = frames.rfind(b"\x88")
    return None if start < 0 else int.from_bytes(frames[start + 2 : start + 4])


def whole(response: bytes) -> bool:
    """Whether a response that is chunked, or has a length, has come to its end."""
    head, _, body = response.partition(b"\r\n\r\n")
    lowered = head.lower()
    if b"transfer-encoding: chunked" in lowered:
        return body.endswith(b"0\r\n\r\n")
    length = lowered.partition(b"content-length: ")[2].partition(b"\r\n")[0]
    return bool(length) and len(body) == int(length)
