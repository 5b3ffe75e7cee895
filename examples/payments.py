"""Payments: one that was started is paid and written down, once, whoever leaves.

curl -d '{"id": "tea-1", "cents": 450}' --max-time 0.3 http://127.0.0.1:8000/payments
curl http://127.0.0.1:8000/payments/tea-1
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import anyio

from hesper.applications import Hesper
from hesper.concurrency import run_in_threadpool
from hesper.exceptions import HTTPException
from hesper.policies import OnDisconnect
from hesper.requests import Request
from hesper.responses import JSONResponse
from hesper.routing import Route

SCHEMA = """
CREATE TABLE IF NOT EXISTS payments (id TEXT PRIMARY KEY, cents INTEGER NOT NULL, receipt TEXT);
CREATE TABLE IF NOT EXISTS account (cents INTEGER NOT NULL);
INSERT INTO account SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM account);
"""


class Bank:
    """What stands for the bank: in the middle of the call the money is gone."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.taken: list[str] = []
        """The payments whose money it has taken."""

    async def charge(self, payment: str, cents: int) -> str:
        """Take the money; return a receipt."""
        await anyio.sleep(self.seconds)
        self.taken.append(payment)
        await anyio.sleep(self.seconds)
        return f"{cents} cents for {payment}"


class Ledger:
    """The payments, in a file. Its methods block: they are called in threads."""

    def __init__(self, path: Path | str) -> None:
        self._lock = Lock()
        self._connection = sqlite3.connect(path, check_same_thread=False)
        self._connection.executescript(SCHEMA)

    def begin(self, payment: str, cents: int) -> None:
        """Write down that it was started; raises IntegrityError if it was before."""
        with self._lock, self._connection as transaction:
            transaction.execute("INSERT INTO payments VALUES (?, ?, NULL)", (payment, cents))

    def settle(self, payment: str, cents: int, receipt: str) -> None:
        """Write down its receipt and the money: both, or neither."""
        with self._lock, self._connection as transaction:
            transaction.execute("UPDATE payments SET receipt = ? WHERE id = ?", (receipt, payment))
            transaction.execute("UPDATE account SET cents = cents + ?", (cents,))

    def find(self, payment: str) -> dict[str, Any] | None:
        """What became of a payment."""
        query = "SELECT cents, receipt FROM payments WHERE id = ?"
        with self._lock:
            row = self._connection.execute(query, (payment,)).fetchone()
        return row and {"id": payment, "cents": row[0], "receipt": row[1]}

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


async def pay(request: Request) -> JSONResponse:
    """Take the money and write it down. Between the two nothing may go wrong."""
    order = await request.json()  # a client that leaves before this has ordered nothing
    payment, cents = order["id"], order["cents"]
    bank, ledger = request.state.bank, request.state.ledger
    try:
        await run_in_threadpool(ledger.begin, payment, cents)
    except sqlite3.IntegrityError:
        raise HTTPException(409, "This payment was started before: ask what became of it.")
    receipt = await bank.charge(payment, cents)
    await run_in_threadpool(ledger.settle, payment, cents, receipt)
    return JSONResponse({"id": payment, "cents": cents, "receipt": receipt}, status_code=201)


async def show(request: Request) -> JSONResponse:
    """What became of a payment: for a client that left, and comes back."""
    found = await run_in_threadpool(request.state.ledger.find, request.path_params["id"])
    if found is None:
        raise HTTPException(404)
    return JSONResponse(found)


def payments(
    path: Path | str, bank: Bank | None = None, on_disconnect: OnDisconnect = "finish"
) -> Hesper:
    """The application, with its ledger in a file."""

    @asynccontextmanager
    async def lifespan(app: Hesper) -> AsyncGenerator[dict[str, Any], None]:
        ledger = Ledger(path)
        try:
            yield {"ledger": ledger, "bank": bank or Bank(0.5)}
        finally:
            ledger.close()  # when nobody pays any more: shutdown waits for "finish" first

    return Hesper(
        routes=[
            Route("/payments", pay, methods=["POST"], on_disconnect=on_disconnect),
            Route("/payments/{id}", show),
        ],
        lifespan=lifespan,
        shutdown_grace=30,
    )


app = payments("payments.db")
