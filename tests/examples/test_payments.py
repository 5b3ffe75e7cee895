"""The policy "finish", on money: what was started is paid and written down once, in every run."""

import json
import sqlite3
from collections import Counter
from pathlib import Path
from random import Random

import anyio
import pytest
from examples import payments
from examples.payments import Bank

from hesper.applications import Hesper
from hesper.testing import DIALECTS, ScriptedServer
from hesper.testing.sweep import USUAL_DIALECTS, Outcome, Sweep
from tests.conftest import where

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


# asyncio's debug mode keeps a whole traceback of each future: five times the time, nothing more to see.
@where(lambda params: "debug" not in params["anyio_backend"].__name__)
async def test_of_1000_payments_whose_clients_vanish_each_that_was_started_is_recorded_once(
    tmp_path: Path,
) -> None:
    path, bank = tmp_path / "ledger.db", Bank(PACE)
    await vanish(payments.payments(path, bank), 1000)
    books = Books(path, bank)
    assert books.problem() is None
    assert len(books.started) > 500  # most leave when theirs was started


async def test_without_the_policy_money_is_lost(tmp_path: Path) -> None:
    """The control: the test above can fail."""
    path, bank = tmp_path / "ledger.db", Bank(PACE)
    await vanish(payments.payments(path, bank, on_disconnect="continue"), 100)
    assert Books(path, bank).problem() is not None


async def test_a_payment_is_answered_and_found_and_not_made_twice(tmp_path: Path) -> None:
    bank = Bank(0.001)
    server = ScriptedServer(payments.payments(tmp_path / "ledger.db", bank))
    async with server.lifespan():
        paid = await server.post("/payments", body=order("tea")).run()
        again = await server.post("/payments", body=order("tea")).run()
        found = await server.get("/payments/tea").run()
        unknown = await server.get("/payments/coffee").run()
    assert [paid.status, again.status, found.status, unknown.status] == [201, 409, 200, 404]
    assert json.loads(found.body) == json.loads(paid.body)
    assert bank.taken == ["tea"]


async def test_a_client_that_left_in_its_order_has_ordered_nothing(tmp_path: Path) -> None:
    path, bank = tmp_path / "ledger.db", Bank(0.001)
    server = ScriptedServer(payments.payments(path, bank))
    async with server.lifespan():
        script = server.post("/payments", body=[b'{"id": "tea"'], unfinished=True)
        result = await script.leave_after_request(1).run()
    assert (result.ended, result.raised, bank.taken) == ("returned", None, [])
    assert Books(path, bank).started == []


class Swept:
    """The ledger and the bank of each run of a sweep."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "swept.db"
        self.bank = Bank(1)
        self.runs = 0

    def renew(self) -> None:
        """Before a run."""
        self.path.unlink(missing_ok=True)
        self.bank.taken.clear()

    def problem(self, outcome: Outcome) -> str | None:
        """After it: whatever was disturbed, nothing is lost."""
        self.runs += 1
        if outcome.point.kind == "undisturbed":
            return None
        return Books(self.path, self.bank).problem()


def test_the_sweep_loses_nothing_at_any_checkpoint(tmp_path: Path) -> None:
    """Cancelled at every checkpoint, left at every checkpoint and message, shut down at each."""
    swept = Swept(tmp_path)
    app = payments.payments(swept.path, swept.bank)
    dialects = [dialect for dialect in USUAL_DIALECTS if dialect.lifespan]
    sweep = Sweep(app, dialects=dialects, before=swept.renew, check=swept.problem)
    sweep.post("/payments", body=[order("tea")[:9], order("tea")[9:]]).assert_clean()
    assert swept.runs > 100
