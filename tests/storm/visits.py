"""What each client of the storm does: drawn from a seed and its number, so that it can be repeated."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from tests.storm.pieces import BIG_PIECE, FILE_SIZE, PIECE


class Moment(StrEnum):
    """When a client leaves."""

    IN_HEAD = "before the head is complete"
    IN_UPLOAD = "in the body of an upload"
    BEFORE_RESPONSE = "before the response"
    MID_RESPONSE = "in the middle of the response"
    AFTER_LAST_BYTE = "right after the last byte"
    NEVER = "never: asks again, then ends"


class How(StrEnum):
    """How it leaves."""

    FIN = "close"
    RST = "reset"
    HALF = "half-close"


@dataclass(frozen=True, slots=True)
class Call:
    """One request."""

    head: bytes
    body: bytes
    method: str
    answer: bytes | int | None
    """The body of the response, or its length; None for one that is not known before."""

    @property
    def is_ignored(self) -> bool:
        """Whether the app answers without reading the body."""
        return self.head.startswith(b"POST /ignore")

    @property
    def wire(self) -> bytes:
        """All that is sent."""
        return self.head + self.body


@dataclass(frozen=True, slots=True)
class Visit:
    """One connection."""

    number: int
    call: Call
    second: Call | None
    """What is asked next; in the same segment if ``pipelined``."""
    pipelined: bool
    moment: Moment
    how: How
    cut: float
    """Where between its ends a head or a body is cut."""
    pause: float
    """Seconds between the last that is sent or received and the leaving."""
    reads: bool
    """Whether it reads while it waits: one that does not stalls the server."""


BOUNDARY = b"storm"


PROVOKING = 1_000_000
"""Visits from this number on have a body that nobody reads: of what servers do wrong by themselves,
that shows the rarest (1 client of 5,000), so the bare app gets more of it."""


def draw(seed: int, number: int) -> Visit:
    """The visit of client ``number``."""
    random = Random(f"{seed}/{number}")
    call = _draw_ignored(random) if number >= PROVOKING else _draw_call(random)
    moments = list(Moment) if call.body else [m for m in Moment if m is not Moment.IN_UPLOAD]
    moment = random.choice(moments)
    pipelined = random.random() < 0.15
    second = _draw_call(random) if pipelined or moment is Moment.NEVER else None
    return Visit(
        number=number,
        call=call,
        second=second,
        pipelined=pipelined,
        moment=moment,
        how=random.choices(list(How), [4, 4, 1])[0],
        cut=random.random(),
        pause=random.choice([0.0, 0.001, random.uniform(0, 0.04)]),
        reads=random.random() < 0.9,
    )


def _draw_call(random: Random) -> Call:
    name, weight = zip(*WEIGHTS.items(), strict=True)
    kind: str = random.choices(name, weight)[0]
    n = random.randint(1, 20)
    if kind == "slow":
        return _get(f"/slow?seconds={random.uniform(0, 0.05):.3f}", None)
    if kind == "ignore":  # a body that nobody reads, as large as the server's buffers and larger
        return _draw_ignored(random)
    if kind in {"tokens", "threaded"}:
        return _get(f"/{kind}?n={n}", len(PIECE) * n)
    if kind == "torrent":
        return _get(f"/torrent?n={n * 20}", len(BIG_PIECE) * n * 20)
    if kind == "upload":
        return _post(random, "/upload", b"u" * random.randint(1, 150_000), None)
    if kind == "echo":
        data = json.dumps({"n": n, "text": "e" * random.randint(1, 5000)}, separators=(",", ":"))
        return _post(random, "/echo", data.encode(), data.encode())
    if kind == "form":
        return _form(random, random.choice([100, 1_200_000]))
    return _get(f"/{kind}", ANSWERS[kind])


def _draw_ignored(random: Random) -> Call:
    target = f"/ignore?seconds={random.uniform(0, 0.05):.3f}"
    return _post(random, target, b"i" * random.randint(1, 300_000), None)


WEIGHTS = {
    "slow": 4,
    "ignore": 2,
    "tokens": 6,
    "torrent": 1,
    "threaded": 2,
    "upload": 4,
    "echo": 3,
    "form": 0.5,
    "file": 1,
    "background": 3,
    "wait": 3,
    "thread": 1,
}

ANSWERS: dict[str, bytes | int] = {
    "file": FILE_SIZE,
    "background": b"later\n",
    "wait": b"nothing new\n",
    "thread": b"from a thread\n",
}


def _get(target: str, answer: bytes | int | None) -> Call:
    head = f"GET {target} HTTP/1.1\r\nHost: storm\r\nUser-Agent: storm\r\n\r\n"
    return Call(head.encode(), b"", "GET", answer)


def _post(
    random: Random, target: str, body: bytes, answer: bytes | int | None, kind: str = "text/plain"
) -> Call:
    head = f"POST {target} HTTP/1.1\r\nHost: storm\r\nContent-Type: {kind}\r\n"
    if random.random() < 0.5:
        head += f"Content-Length: {len(body)}\r\n"
    else:
        head += "Transfer-Encoding: chunked\r\n"
        body = _chunked(body, random.randint(1, 1 << 16))
    if random.random() < 0.1:
        head += "Expect: 100-continue\r\n"  # and does not wait for it: RFC 9110 section 10.1.1
    return Call(f"{head}\r\n".encode(), body, "POST", answer)


def _chunked(body: bytes, size: int) -> bytes:
    size = max(size, len(body) // 50)
    chunks = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


def _form(random: Random, size: int) -> Call:
    body = (
        b"--" + BOUNDARY + b"\r\n"
        b'Content-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
        + b"f" * size
        + b"\r\n--"
        + BOUNDARY
        + b"--\r\n"
    )
    kind = f"multipart/form-data; boundary={BOUNDARY.decode()}"
    return _post(random, "/form", body, b"%d" % size, kind)
