"""`python -m benchmarks.load PORT PATH SECONDS`: a client for where wrk is not installed.

It prints what wrk does: how many requests a second were answered, over connections that each send
the next request when the answer to the last is there.
"""

import asyncio
import sys
from time import perf_counter
from typing import cast

from benchmarks.servers import CONNECTIONS, HOST


class Connection(asyncio.Protocol):
    """Sends one request again and again, and counts the answers by their length."""

    answered = 0
    failed = 0

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.received = b""
        self.length = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's is no subclass.
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.received += data
        # All answers have the length of the first.
        if not self.length:
            self.length = whole(self.received)
        while self.length and len(self.received) >= self.length:
            Connection.answered += 1
            Connection.failed += not self.received.startswith(b"HTTP/1.1 200")
            self.received = self.received[self.length :]
            self.transport.write(self.request)

    def connection_lost(self, error: Exception | None) -> None:
        Connection.failed += error is not None


def whole(received: bytes) -> int:
    """Return the bytes of the first answer, or 0 while its end of headers has not come."""
    head, separator, _ = received.partition(b"\r\n\r\n")
    if not separator:
        return 0
    lines = head.lower().split(b"\r\n")
    lengths = [line for line in lines if line.startswith(b"content-length:")]
    return len(head) + len(separator) + int(lengths[0].split(b":")[1])


async def main(port: int, path: str, seconds: float) -> None:
    request = f"GET {path} HTTP/1.1\r\nHost: {HOST}:{port}\r\n\r\n".encode()
    loop = asyncio.get_running_loop()
    for _ in range(CONNECTIONS):
        await loop.create_connection(lambda: Connection(request), HOST, port)
    began, before = perf_counter(), Connection.answered
    await asyncio.sleep(seconds)
    rate = (Connection.answered - before) / (perf_counter() - began)
    if Connection.failed:
        print(f"Non-2xx or 3xx responses: {Connection.failed}")
    print(f"Requests/sec: {rate:.2f}")


if __name__ == "__main__":
    work = main(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
    try:
        import uvloop
    except ImportError:
        asyncio.run(work)
    else:
        uvloop.run(work)
