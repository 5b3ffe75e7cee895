"""The examples of policies and endings do what they say, on every backend and server."""

import logging

import anyio
import pytest
from examples import events, limits, observing

from hesper.endings import Ending, Series
from hesper.sse import EventParser, ServerSentEvent
from hesper.testing import Dialect, Result, ScriptedServer
from tests.conftest import in_virtual_time
from tests.contract.apps import assert_quiet


@pytest.fixture(autouse=True)
def a_fast_world(monkeypatch: pytest.MonkeyPatch) -> None:
    """On uvloop time is real."""
    monkeypatch.setattr(events, "PACE", 0.1)


def events_of(result: Result) -> list[ServerSentEvent]:
    return EventParser().feed(result.body)


async def until_shutdown(path: str, dialect: Dialect) -> Result:
    """Reads some events, and what comes when the app shuts down."""
    server = ScriptedServer(events.app, dialect)
    async with server.lifespan(), server.get(path).open() as client:
        await client.wait_message(3)
        await anyio.sleep(0.01)  # the stream waits for its next event
        if dialect.lifespan:
            await server.shutdown()
        else:
            events.app.begin_shutdown()
        return await client.finish()


async def test_the_news_end_with_a_last_event_when_the_app_shuts_down(dialect: Dialect) -> None:
    result = await until_shutdown("/news", dialect)
    *headlines, last = events_of(result)
    assert [event.data for event in headlines[:2]] == ["headline 0", "headline 1"]
    assert last == ServerSentEvent("", event="goodbye", retry=1000)
    assert result.complete
    assert_quiet(result)


async def test_the_news_go_on_where_the_client_was(dialect: Dialect) -> None:
    script = ScriptedServer(events.app, dialect).get("/news", headers={"last-event-id": "41"})
    result = await script.leave_at_message(2).run()
    assert events_of(result)[0] == ServerSentEvent("headline 42", id="42")
    assert_quiet(result)


async def test_the_game_says_goodbye_itself(dialect: Dialect) -> None:
    result = await until_shutdown("/game", dialect)
    *moves, last = events_of(result)
    assert {event.event for event in moves} == {"move"}
    assert last == ServerSentEvent(f"adjourned after move {len(moves)}", event="adjourned")
    assert result.complete
    assert events.saved.pop() == len(moves)
    assert_quiet(result)


async def test_the_game_is_saved_when_the_client_leaves(dialect: Dialect) -> None:
    result = await ScriptedServer(events.app, dialect).get("/game").leave_at_message(3).run()
    assert events.saved.pop() in {2, 3}
    assert_quiet(result)


@in_virtual_time
async def test_a_search_that_takes_too_long_is_a_504(dialect: Dialect) -> None:
    result = await ScriptedServer(limits.app, dialect).get("/search?seconds=3600").run(timeout=20)
    assert result.status == 504
    assert result.duration == pytest.approx(10, abs=0.1)
    assert_quiet(result)


@in_virtual_time
async def test_an_export_that_takes_too_long_is_broken_off(dialect: Dialect) -> None:
    """Half of it must not be taken for the whole; the route may take longer than the app."""
    script = ScriptedServer(limits.app, dialect).get("/reports/export?rows=1000")
    result = await script.run(timeout=70)
    assert (result.status, result.complete) == (200, False)
    assert result.duration == pytest.approx(60, abs=0.1)


@in_virtual_time
async def test_of_eleven_exports_two_run_eight_wait_and_one_is_refused(dialect: Dialect) -> None:
    server = ScriptedServer(limits.app, dialect)
    results: list[Result] = []

    async def ask() -> None:
        results.append(await server.get("/reports/export").run())

    async with anyio.create_task_group() as clients:
        for _ in range(11):
            clients.start_soon(ask)
    assert [result.status for result in results] == [503] + [200] * 10
    assert results[0].headers["retry-after"] == "30"
    assert results[-1].duration == pytest.approx(25, abs=0.1)  # five times two, of 5 seconds each


async def test_endings_are_logged_and_counted(
    dialect: Dialect, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "hesper.endings")
    observing.counter.__init__()  # type: ignore[misc]  # as if the process had begun
    server = ScriptedServer(observing.app, dialect)
    await server.get("/users/7").run()
    await server.get("/slow").leave_after(0.01).run()
    text = (await server.get("/metrics").run()).text
    found, left, asked = [message.rpartition(" in ")[0] for message in caplog.messages]
    assert found == "GET /users/{id} 200 completed"
    assert left == "GET /slow - client left before response"
    assert asked == "GET /metrics 200 completed"
    series = Series("http", "GET", "/slow", None, Ending.LEFT_BEFORE_RESPONSE)
    assert observing.counter.counts[series] == 1
    assert 'route="/slow",status="",ending="client left before response"} 1\n' in text
    assert observing.impatient.pop() == "/slow"
