"""The policy "finish", on money: what was started is paid and written down once, in every run."""

import json
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

import anyio
import pytest
from examples import payments
from examples.payments import Bank

from hesper.applications import Hesper
from hesper.testing import DIALECTS, Dialect, ScriptedServer
from hesper.testing.sweep import USUAL_DIALECTS, Sweep
from tests.conftest import in_virtual_time

STARTING = [dialect for dialect in DIALECTS if dialect.lifespan]
"""The ledger is opened by the lifespan: daphne has none."""

CENTS = 450

PACE = 0.02
"""Seconds of each half of the bank's work."""


@pytest.fixture(autouse=True)
def no_power_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a minute of waiting for the disk shows nothing here: only the power could fail."""
    monkeypatch.setattr(payments, "SCHEMA", "PRAGMA synchronous = OFF;" + payments.SCHEMA)


def order(payment: str) -> bytes:
    return json.dumps({"id": payment, "cents": CENTS}).encode()


class Books:
    """What the file says, and the bank."""

    def __init__(self, path: Path, bank: Bank) -> None:
        self.bank = bank
        connection = sqlite3.connect(path)
        rows = connection.execute("SELECT id, receipt FROM payments").fetchall()
        self.account: int = connection.execute("SELECT cents FROM account").fetchone()[0]
        connection.close()
        self.started = [row[0] for row in rows]
        self.settled = [row[0] for row in rows if row[1] is not None]

    def problem(self) -> str | None:
        """What is wrong with them, if anything is."""
        taken = Counter(self.bank.taken)
        if max(taken.values(), default=1) > 1:
            return "the bank took money twice"
        if set(self.started) != set(taken):
            return "a payment was started and not paid"
        if self.settled != self.started:
            return "money was taken and not written down"
        if self.account != CENTS * len(self.settled):
            return "half a transaction was written down"
        return None


async def pay_and_vanish(server: ScriptedServer, payment: str, random: Random) -> None:
    """A client that leaves, or a server that cancels its request, at a random moment."""
    moment = random.uniform(0, 2.5 * PACE)
    async with server.post("/payments", body=order(payment)).open() as client:
        await anyio.sleep(moment)
        if random.random() < 0.5:
            client.leave()
        else:
            client.cancel_app(native=random.random() < 0.5)
        await client.finish()


async def vanish(app: Hesper, count: int) -> None:
    """So many clients pay, 50 at a time, on all servers, each in one of the ways to vanish."""
    random = Random(5)
    home = ScriptedServer(app)
    async with home.lifespan() as state:
        servers = []
        for dialect in STARTING:
            servers.append(ScriptedServer(app, dialect, seed=random.randrange(1000)))
            servers[-1].state = state
        crowd = anyio.Semaphore(50)

        async def visit(number: int) -> None:
            async with crowd:
                await pay_and_vanish(random.choice(servers), f"payment {number}", random)

        async with anyio.create_task_group() as clients:
            for number in range(count):
                clients.start_soon(visit, number)


async def test_of_1000_payments_whose_clients_vanish_each_that_was_started_is_recorded_once(
    tmp_path: Path,
) -> None:
    path, bank = tmp_path / "ledger.db", Bank(PACE)
    await vanish(payments.payments(path, bank), 1000)
    books = Books(path, bank)
    assert books.problem() is None
    assert len(books.started) > 500, "most clients leave only when their payment was started"


async def test_without_the_policy_money_is_lost(tmp_path: Path) -> None:
    """The control: the test above can fail."""
    path, bank = tmp_path / "ledger.db", Bank(PACE)
    await vanish(payments.payments(path, bank, on_disconnect="continue"), 100)
    assert Books(path, bank).problem() is not None
