"""The clients: raw sockets, because leaving by a reset, or by half, is not what a library offers."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import h11

from tests.storm.visits import Call, How, Moment, Visit, draw

AT_A_TIME = 200
"""Connections that are open at one time."""

PATIENCE = 12.0
"""Seconds after which a client that is not answered, or not let go, says so."""

STALLED_BUFFER = 4096
"""Bytes that the system takes for a client that does not read; it doubles them."""


@dataclass
class Tally:
    """What the clients saw."""

    left: Counter[tuple[Moment, How]] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    """Those that stayed and were not answered as they should have been."""
    hung: list[str] = field(default_factory=list)
    """Those that stayed and waited for an answer in vain."""
    held: list[str] = field(default_factory=list)
    """Those that had left, by half, and waited for the server's end in vain."""


async def storm(port: int, seed: int, numbers: range, patience: float = PATIENCE) -> Tally:
    """Let all clients of ``numbers`` come and go, each within ``patience`` seconds."""
    tally = Tally()
    queue = iter(numbers)
    async with asyncio.TaskGroup() as group:
        for _ in range(min(AT_A_TIME, len(numbers))):
            group.create_task(_come_and_go(port, seed, queue, patience, tally))
    return tally


async def _come_and_go(
    port: int, seed: int, queue: Iterator[int], patience: float, tally: Tally
) -> None:
    for number in queue:
        visit = draw(seed, number)
        client = Client(visit)
        try:
            async with asyncio.timeout(patience):
                await client.run(port)
        except TimeoutError:
            book = tally.hung if client.owed else tally.held
            book.append(client.describe("was left waiting"))
        except (OSError, h11.RemoteProtocolError, WrongAnswer) as exc:
            if client.owed:
                tally.wrong.append(client.describe(f"{type(exc).__name__}: {exc}"))
        finally:
            client.close()
        tally.left[visit.moment, visit.how] += 1


class WrongAnswer(Exception):
    """A response is not the one that was asked for."""


class Client:
    """One connection."""

    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._loop = asyncio.get_running_loop()
        self._socket = socket.socket()
        self._socket.setblocking(False)
        self.owed = visit.moment in {Moment.NEVER, Moment.AFTER_LAST_BYTE}
        """Whether it has a right to an answer, or to one more."""
        self._answers = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)

    def describe(self, what: str) -> str:
        """Tell what happened to it."""
        visit = self._visit
        target = visit.call.head.partition(b" HTTP")[0].decode()
        more = ", pipelined" if visit.pipelined else ""
        return f"client {visit.number} ({target}{more}; {visit.how} {visit.moment}) {what}"

    async def run(self, port: int) -> None:
        """Come, ask, and leave as planned."""
        visit = self._visit
        if not visit.reads:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, STALLED_BUFFER)
        await self._loop.sock_connect(self._socket, ("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.owed:
            await self._be_answered()
            self.owed = False
        else:
            await self._ask_in_vain()
        if visit.moment is not Moment.AFTER_LAST_BYTE:
            await asyncio.sleep(visit.pause)
        await self._leave()

    async def _ask_in_vain(self) -> None:
        visit = self._visit
        call = visit.call
        if visit.moment is Moment.IN_HEAD:
            await self._send(call.head[: max(1, int(visit.cut * (len(call.head) - 1)))])
        elif visit.moment is Moment.IN_UPLOAD:
            await self._send(call.head + call.body[: int(visit.cut * (len(call.body) - 1))])
        else:
            await self._send(self._first_segment())
        if visit.moment is Moment.MID_RESPONSE:
            await self._receive()

    def _first_segment(self) -> bytes:
        visit = self._visit
        if visit.pipelined and visit.second is not None:
            return visit.call.wire + visit.second.wire
        return visit.call.wire

    async def _be_answered(self) -> None:
        visit = self._visit
        sending = asyncio.ensure_future(self._send(self._first_segment()))
        try:
            await self._read_answer(visit.call)
            # A server need not read on what nobody wants, and may close instead.
            self.owed = not visit.call.is_ignored
            if visit.second is not None and self._may_ask_again():
                if not visit.pipelined:
                    await sending
                    await asyncio.sleep(visit.pause)
                    await self._send(visit.second.wire)
                await self._read_answer(visit.second)
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    def _may_ask_again(self) -> bool:
        """Whether the server keeps the connection: it may close it after any response."""
        if self._answers.their_state is not h11.DONE:
            return False
        self._answers.start_next_cycle()
        return True

    async def _read_answer(self, call: Call) -> None:
        """Read one whole response and compare it."""
        parser = self._answers
        parser.send(h11.Request(method=call.method, target="/", headers=[("host", "storm")]))
        parser.send(h11.EndOfMessage())
        body = bytearray()
        while True:
            event = parser.next_event()
            if event is h11.NEED_DATA:
                parser.receive_data(await self._receive())
            elif isinstance(event, h11.Response) and event.status_code != 200:
                raise WrongAnswer(f"status {event.status_code}")
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                break
            elif isinstance(event, h11.ConnectionClosed):
                raise WrongAnswer("closed without an answer")
        expected = call.answer
        if isinstance(expected, bytes) and body != expected:
            raise WrongAnswer(f"expected {expected!r:.40}, got {bytes(body)!r:.40}")
        if isinstance(expected, int) and len(body) != expected:
            raise WrongAnswer(f"expected {expected} bytes, got {len(body)}")

    async def _send(self, data: bytes) -> None:
        await self._loop.sock_sendall(self._socket, data)

    async def _receive(self) -> bytes:
        return await self._loop.sock_recv(self._socket, 1 << 16)

    async def _leave(self) -> None:
        if self._visit.how is How.HALF:
            self._socket.shutdown(socket.SHUT_WR)
            while await self._receive():
                pass
        elif self._visit.how is How.RST:
            linger = struct.pack("ii", 1, 0)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    def close(self) -> None:
        """Close the socket: with what ``SO_LINGER`` says, that is a reset."""
        self._socket.close()
