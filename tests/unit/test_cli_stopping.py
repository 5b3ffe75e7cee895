"""What ``hesper run`` tells the app when a signal comes."""

import asyncio
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from hesper._cli.stopping import SIGNALS, can_be_told, told_of_signals
from hesper.types import Message, Receive, Scope, Send

LIFESPAN: Scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}


class App:
    """An app that notes what it is told, and in which thread."""

    def __init__(self) -> None:
        self.told: list[tuple[float, threading.Thread]] = []
        self.served: list[Scope] = []

    def begin_shutdown(self, grace: float | None = None) -> None:
        assert grace is not None
        asyncio.get_running_loop()
        self.told.append((grace, threading.current_thread()))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.served.append(scope)


async def receive() -> Message:
    raise AssertionError


async def send(message: Message) -> None:
    raise AssertionError


@pytest.fixture(autouse=True)
def servers() -> Iterator[list[int]]:
    """What the server's own handlers, which stand before ours, were called with."""
    came: list[int] = []

    def handle_exit(number: int, frame: Any) -> None:
        came.append(number)

    before = {number: signal.signal(number, handle_exit) for number in SIGNALS}
    yield came
    for number, handler in before.items():
        signal.signal(number, handler)


def told_after(*numbers: int, app: App | None = None) -> int:
    """How often an app was told when these signals had come."""
    app = app or App()

    async def serve() -> None:
        await told_of_signals(app, 3.0)(LIFESPAN, receive, send)
        for number in numbers:
            signal.raise_signal(number)
            assert app.told == told  # not in the handler, but in a turn of the loop
            await asyncio.sleep(0)
            told[:] = app.told

    told: list[tuple[float, threading.Thread]] = []
    # Not `asyncio.run`, which has a handler of its own for SIGINT.
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(serve())
    finally:
        loop.close()
    assert all(each == (3.0, threading.main_thread()) for each in app.told)
    return len(app.told)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_told_after_the_server_has_handled_it(number: int, servers: list[int]) -> None:
    assert told_after(number) == 1
    assert servers == [number]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_second_one_is_told_again(number: int, servers: list[int]) -> None:
    assert told_after(number, number) == 2
    assert servers == [number, number]


@pytest.mark.parametrize("again", [0, 1])
def test_a_terminal_and_a_parent_ask_once_together(again: int, servers: list[int]) -> None:
    assert told_after(signal.SIGINT, signal.SIGTERM, *[signal.SIGINT] * again) == 1 + again
    assert len(servers) == 2 + again


@pytest.mark.parametrize("other", [signal.SIG_DFL, signal.SIG_IGN])
def test_where_the_server_has_no_handler_the_app_is_told_all_the_same(other: Any) -> None:
    signal.signal(signal.SIGTERM, other)
    assert told_after(signal.SIGTERM) == 1


def test_requests_are_served_and_touch_no_handler() -> None:
    app, scope = App(), {"type": "http"}
    before = [signal.getsignal(number) for number in SIGNALS]
    asyncio.run(_serve(app, scope))
    assert app.served == [scope]
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_a_server_in_a_thread_has_no_signals() -> None:
    app = App()
    before = [signal.getsignal(number) for number in SIGNALS]
    thread = threading.Thread(target=lambda: asyncio.run(_serve(app, LIFESPAN)))
    thread.start()
    thread.join()
    assert app.served == [LIFESPAN]
    assert [signal.getsignal(number) for number in SIGNALS] == before


async def _serve(app: App, scope: Scope) -> None:
    await told_of_signals(app, 3.0)(scope, receive, send)


def test_an_app_that_cannot_be_told_stays_as_it_is() -> None:
    async def foreign(scope: Scope, receive: Receive, send: Send) -> None: ...

    assert told_of_signals(foreign, 3.0) is foreign
    assert not can_be_told(foreign)
    assert can_be_told(App())
