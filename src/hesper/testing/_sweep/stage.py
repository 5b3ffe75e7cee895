"""One run: the server starts, the request is made, it is disturbed at one point, all ends.

The law: whatever the application does, the run ends, and soon: what goes on is killed.
"""

import gc
import sys
from collections.abc import Callable

import anyio
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint

from hesper.testing._exchange import Runaway, StillRunning
from hesper.testing._lifespan import LifespanFailed
from hesper.testing._sweep.frames import Place, awaiting, place_of, places, running
from hesper.testing._sweep.leftovers import Leftovers, Recorder
from hesper.testing._sweep.play import Event, Outcome, Setting
from hesper.testing._sweep.scopes import cancel_pending, current_scope
from hesper.testing._sweep.watch import Watch
from hesper.testing.client import Client
from hesper.testing.script import ScriptedServer
from hesper.types import Message, Receive, Scope, Send

# How many turns of the loop tasks get to end in that were cancelled, and waited for by nobody.
_SETTLING = 10

# An application that has not ended by itself after a day, in virtual time, or in fewer checkpoints
# than these after the usual time, is endless.
_DAY = 86_400.0
_ENOUGH = 30


class Stage:
    """The server and the application of one run."""

    def __init__(
        self,
        setting: Setting,
        outcome: Outcome,
        watch: Watch,
        recorder: Recorder,
        usual: Outcome | None,
        trace: bool,
    ) -> None:
        self.setting = setting
        self.outcome = outcome
        self.watch = watch
        self.recorder = recorder
        self.patience = setting.seconds
        if usual is not None:
            self.patience += usual.result.duration
        self.trace = trace
        self.logged = 0
        self.client: Client | None = None

    # The application, watched.

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application, with its task, its `receive` and its `send` watched."""
        if scope["type"] == "lifespan":
            await self.setting.app(scope, receive, self.limited(send))
            return
        watch, outcome = self.watch, self.outcome
        watch.enter()
        before = current_scope()
        try:
            await self.setting.app(scope, self.receiving(receive), self.sending(send))
        finally:
            outcome.scope_left = current_scope() is not before
            outcome.cancel_pending = cancel_pending()
            outcome.checkpoints = watch.checkpoints
            outcome.cancels = watch.leave()

    def receiving(self, receive: Receive) -> Receive:
        """`receive`, whose work is the server's."""
        watch = self.watch

        async def receive_watched() -> Message:
            late = self.outcome.result.receives_after_disconnect
            if late > self.setting.steps:
                raise Runaway(f"{late} calls to receive after the disconnect")
            watch.aside()
            try:
                return await receive()
            finally:
                watch.enter_again()

        return receive_watched

    def sending(self, send: Send) -> Send:
        """`send`, whose work is the server's."""
        watch, outcome = self.watch, self.outcome

        async def send_watched(message: Message) -> None:
            number = len(outcome.result.sent) + 1
            if outcome.point == ("message", number):
                self.note_ending(places(running(sys._getframe())))
            watch.aside()
            try:
                if number == self.setting.steps and not outcome.result.client_left:
                    # An endless stream that never suspends leaves no other moment.
                    self.give_up()
                await send(message)
            finally:
                watch.enter_again()

        return send_watched

    def limited(self, send: Send) -> Send:
        """`send` of the lifespan: an application that takes it for a request may send for ever."""
        calls = 0

        async def send_limited(message: Message) -> None:
            nonlocal calls
            calls += 1
            if calls > self.setting.steps:
                raise Runaway(f"{calls} messages in a lifespan scope")
            await send(message)

        return send_limited

    # The server.

    async def main(self) -> None:
        """The whole run."""
        outcome, watch = self.outcome, self.watch
        server = ScriptedServer(self.app, outcome.dialect)
        with outcome.left.watched_generators(watch.owns):
            try:
                async with server.lifespan():
                    answer = server.lifespan_result
                    outcome.has_lifespan = answer is not None and bool(answer.sent)
                    await self.request(server)
            except (LifespanFailed, StillRunning) as exc:
                outcome.lifespan = outcome.lifespan or f"{type(exc).__name__}: {exc}"
            for _ in range(_SETTLING):
                if not watch.living:
                    break
                await checkpoint()
            outcome.tasks = [place_of(task.inner.cr_code) for task in watch.living]
            outcome.files = outcome.left.open_files()
        # What died unseen speaks now. All that this run made is in the youngest generation, because
        # the collector does not run by itself; looking at the oldest as well takes a fifth longer.
        gc.collect(1)
        outcome.cuts = list(watch.cuts)
        self.recorder.now = Leftovers()

    async def request(self, server: ScriptedServer) -> None:
        """The request, from its beginning to its end."""
        outcome, watch, point = self.outcome, self.watch, self.outcome.point
        script = self.setting.script(server)
        if point.kind == "message":
            script = script.leave_at_message(point.n)
            if point.n == 0:
                self.note_ending(())
        async with script.open() as client, anyio.create_task_group() as tasks:
            self.client = client
            outcome.result = client.result
            watch.on_overrun = client._connection.progress.ring
            if self.trace:
                watch.trace = self.note_checkpoint
            if point.kind in ("checkpoint", "cancel", "shutdown"):
                watch.arm(point.n, lambda: self.strike(server, tasks))
            await self.wait(self.patience)
            if point.kind == "undisturbed" and not self.setting.real_time:
                await self.wait(_DAY, lambda: self.watch.checkpoints >= _ENOUGH)
            if self.goes_on() and not watch.overrun():
                await self.insist()
            if self.goes_on():
                self.note_hang()
                await self.kill(client)
            elif isinstance(client.result.raised, Runaway):
                outcome.hung = f"went on for ever ({client.result.raised})"
            outcome.reached = watch.struck
            outcome.stack = outcome.stack or watch.stack
            self.note_log()

    def strike(self, server: ScriptedServer, tasks: TaskGroup) -> None:
        """Disturbs the run."""
        assert self.client is not None
        self.note_ending(self.watch.stack)
        if self.outcome.point.kind == "checkpoint":
            self.client.leave()
        elif self.outcome.point.kind == "cancel":
            self.client.cancel_app(native=True)
        else:
            tasks.start_soon(self.shut_down, server)

    async def shut_down(self, server: ScriptedServer) -> None:
        """Sends ``lifespan.shutdown``, and waits for its end."""
        try:
            await server.shutdown()
        except (LifespanFailed, StillRunning) as exc:
            self.outcome.lifespan = f"{type(exc).__name__}: {exc}"

    def goes_on(self) -> bool:
        """Whether the application is running."""
        return self.client is not None and not self.client._connection.ended.is_set()

    async def wait(self, seconds: float, enough: Callable[[], bool] = lambda: False) -> None:
        """Waits for the application to end, or to do too much."""
        assert self.client is not None
        connection = self.client._connection
        try:
            await connection.wait_until(
                lambda: not self.goes_on() or self.watch.overrun() or enough(), "", seconds
            )
        except StillRunning:
            pass

    async def insist(self) -> None:
        """Does what a server does with an application that goes on."""
        assert self.client is not None
        kind, struck = self.outcome.point.kind, self.watch.struck
        if kind == "shutdown" and struck:
            self.client.cancel_app(native=True)
        elif (kind == "cancel" and struck) or self.outcome.result.client_left:
            return
        else:
            self.give_up()
        await self.wait(self.setting.seconds)

    def give_up(self) -> None:
        """Ends an endless application as its client would."""
        assert self.client is not None
        self.outcome.endless = True
        self.note("ending", "the client had waited long enough, and left")
        self.client.leave()

    async def kill(self, client: Client) -> None:
        """Ends the application at any price."""
        self.watch.killing = True
        client._connection.close()
        client._connection.cancel_app("scope")
        await self.wait(1.0)

    # What is written down.

    def note_hang(self) -> None:
        """Notes that the application did not end, and where it is."""
        outcome, watch = self.outcome, self.watch
        if watch.overrun():
            outcome.hung = f"went on for more than {self.setting.steps} steps"
        else:
            since = "after its client had left" if outcome.endless else "later"
            outcome.hung = f"was still running {self.patience:g} seconds {since}"
            outcome.idle = not self.setting.real_time
        outcome.stack = places(awaiting(watch.entered and watch.entered.inner))

    def note_ending(self, stack: tuple[Place, ...]) -> None:
        """Notes that the run is disturbed now."""
        self.watch.struck_now(stack)
        if self.client is not None:
            elapsed = self.client._connection.elapsed()
            self.outcome.struck = elapsed, len(self.outcome.result.sent)
        self.note("ending", str(self.outcome.point))

    def note_checkpoint(self, stack: tuple[Place, ...]) -> None:
        """Notes a checkpoint in the time line."""
        self.note("checkpoint", f"{self.watch.checkpoints}: {stack[-1] if stack else 'a task'}")

    def note(self, kind: str, text: str) -> None:
        """Writes into the time line."""
        if self.trace:
            self.note_log()
            elapsed = 0.0 if self.client is None else self.client._connection.elapsed()
            self.outcome.timeline.append(Event(elapsed, kind, text))  # type: ignore[arg-type]

    def note_log(self) -> None:
        """Moves what the server has logged into the time line."""
        if self.trace:
            for line in self.outcome.result.log[self.logged :]:
                time, _, text = line.partition(" ")
                self.outcome.timeline.append(Event(float(time), "server", text))
            self.logged = len(self.outcome.result.log)
