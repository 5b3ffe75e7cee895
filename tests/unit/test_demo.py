"""The demo: its journal tells the truth about every ending, by public API alone."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

import hesper.demo
from hesper.demo import app
from hesper.demo.journal import KEPT, Ending, Journal, RecordedBody, journal
from hesper.testing import Result, Script, ScriptedServer
from hesper.testing.dialects import UVICORN_PIPELINED

server = ScriptedServer(app)


@pytest.fixture(autouse=True)
def fresh_journal() -> Iterator[None]:
    """The app's journal is one for its process."""
    journal.clear()
    journal.idle_tasks = None
    yield
    journal.clear()
    assert (journal.running, journal.generators_open) == (0, 0)


async def ending_of(script: Script) -> Ending | None:
    """Run a script; the ending of its entry."""
    await script.run()
    (entry,) = journal.entries
    return entry.ending


async def snapshot() -> dict[str, Any]:
    result = await server.get("/journal").run()
    value: dict[str, Any] = json.loads(result.text)
    return value


# Endings.


async def test_a_slow_answer_that_was_waited_for_is_completed() -> None:
    assert await ending_of(server.get("/slow?seconds=0.02")) is Ending.COMPLETED


async def test_a_slow_answer_that_was_not_waited_for_is_left_before_the_response() -> None:
    script = server.get("/slow?seconds=0.05").leave_after(0.01)
    assert await ending_of(script) is Ending.LEFT_BEFORE


async def test_a_stream_that_was_read_to_its_end_is_completed() -> None:
    result = await server.get("/tokens?n=2").run()
    assert result.text == "id: 0\ndata: the\n\nid: 1\ndata: evening\n\n"
    (entry,) = journal.entries
    assert (entry.ending, entry.note) == (Ending.COMPLETED, "2 pieces")


async def test_a_stream_without_end_is_left_in_mid_stream() -> None:
    assert await ending_of(server.get("/tokens").leave_at_message(3)) is Ending.LEFT_MIDWAY


async def test_a_stream_that_the_server_cancels_has_failed() -> None:
    async with server.get("/tokens").open() as client:
        await client.wait_message(3)
        client.cancel_app()
        await client.finish()
    (entry,) = journal.entries
    assert entry.ending is Ending.FAILED


async def test_a_stream_that_breaks_off_has_failed_and_is_not_ended() -> None:
    result = await server.get("/break?n=1").run()
    assert isinstance(result.raised, RuntimeError)
    assert (result.text, result.complete) == ("id: 0\ndata: the\n\n", False)
    assert journal.endings == {Ending.FAILED: 1}


async def test_an_error_is_a_500_and_has_failed() -> None:
    result = await server.get("/fail").run()
    assert result.status == 500
    assert isinstance(result.raised, RuntimeError)
    assert journal.endings == {Ending.FAILED: 1}


async def test_an_upload_is_counted() -> None:
    result = await server.post("/upload?pause=0", body=[b"1234", b"567"]).run()
    (entry,) = journal.entries
    assert json.loads(result.text) == {"bytes": 7, "request_id": entry.id}
    assert (entry.ending, entry.note) == (Ending.COMPLETED, "7 bytes")


async def test_an_upload_that_breaks_off_is_cut() -> None:
    script = server.post("/upload", body=[b"1234", b"567"], unfinished=True)
    result = await script.leave_after(0.02).run()
    (entry,) = journal.entries
    assert (result.ended, result.types) == ("returned", [])
    assert (entry.ending, entry.note) == (Ending.CUT_UPLOAD, "7 bytes")


async def test_a_socket_that_its_client_closed_is_completed() -> None:
    async with server.websocket("/echo", messages=["good", "evening"]).open() as client:
        await client.wait_message(3)
        assert journal.running == 1
        client.close(1000)
        result = await client.finish()
    assert result.frames == ["good", "evening"]
    assert journal.endings == {Ending.COMPLETED: 1}


async def test_a_socket_that_the_server_cancels_has_failed() -> None:
    async with server.websocket("/echo").open() as client:
        await client.wait_message(1)
        client.cancel_app()
        await client.finish()
    assert journal.endings == {Ending.FAILED: 1}


async def test_what_nobody_can_see_is_not_guessed() -> None:
    """Behind pipelined requests no server tells of the disconnect."""
    blind = ScriptedServer(app, UVICORN_PIPELINED)
    script = blind.get("/slow?seconds=0.05").leave_after(0.01)
    assert await ending_of(script) is Ending.COMPLETED


# The body that records.


class Gone:
    """As much of a request as a body looks at."""

    def __init__(self, disconnected: bool) -> None:
        self.disconnected = disconnected


async def pieces() -> AsyncIterator[bytes]:
    yield b"a"


def recorded(disconnected: bool) -> RecordedBody:
    request: Any = Gone(disconnected)
    return RecordedBody(pieces(), request, journal, journal.begin("GET", "/"))


async def test_a_stream_that_was_never_begun_is_left_before_the_response() -> None:
    await recorded(disconnected=True).aclose()
    assert journal.endings == {Ending.LEFT_BEFORE: 1}


async def test_a_stream_that_came_to_its_end_after_the_client_had_left_is_not_completed() -> None:
    assert [piece async for piece in recorded(disconnected=True)] == [b"a"]
    assert journal.endings == {Ending.LEFT_MIDWAY: 1}


async def test_only_the_first_ending_counts() -> None:
    body = recorded(disconnected=False)
    assert [piece async for piece in body] == [b"a"]
    await body.aclose()
    assert journal.endings == {Ending.COMPLETED: 1}
    assert journal.running == 0


# The middleware.


async def test_the_five_middlewares_leave_their_marks() -> None:
    before = journal.dispatches
    result = await server.get("/slow?seconds=0").run()
    (entry,) = journal.entries
    assert result.text == f"{entry.id} took 0 seconds.\n"
    assert result.headers["x-request-id"] == entry.id
    assert result.headers["server-timing"].startswith("app;dur=")
    assert result.headers["cache-control"] == "no-store"
    assert "default-src 'self'" in result.headers["content-security-policy"]
    assert journal.dispatches == before + 1


async def test_each_request_has_an_id_of_its_own() -> None:
    results: list[Result] = []

    async def get() -> None:
        results.append(await server.get("/slow?seconds=0.02").run())

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(get)
    ids = {result.headers["x-request-id"] for result in results}
    assert len(ids) == 3
    assert ids == {entry.id for entry in journal.entries}


# The journal.


async def test_the_journal_is_shown_and_cleared_latest_first() -> None:
    await server.get("/slow?seconds=0").run()
    await server.get("/tokens?n=1").run()
    shown = await snapshot()
    assert [entry["target"] for entry in shown["entries"]] == ["/tokens?n=1", "/slow?seconds=0"]
    assert shown["endings"] == {**dict.fromkeys(map(str, Ending), 0), "completed": 2}
    cleared = await server.request("DELETE", "/journal").run()
    assert json.loads(cleared.text)["entries"] == []


async def test_clearing_keeps_what_runs() -> None:
    async with server.get("/tokens").open() as client:
        await client.wait_message(2)
        journal.clear()
        shown = await snapshot()
        assert [entry["ending"] for entry in shown["entries"]] == [None]
        assert (shown["running"], shown["generators_open"]) == (1, 1)
        client.leave()
        await client.finish()


async def test_tasks_are_unknown_without_a_lifespan() -> None:
    assert (await snapshot())["tasks_left"] is None


async def test_a_task_that_no_request_accounts_for_is_one_left() -> None:
    async with server.lifespan(), anyio.create_task_group() as tasks:
        assert journal.idle_tasks is not None
        # The scripted server has tasks of its own; what counts is the difference.
        journal.idle_tasks = len(anyio.get_running_tasks()) - 1
        assert journal.tasks_left() == 0
        tasks.start_soon(anyio.sleep_forever)
        assert journal.tasks_left() == 1
        tasks.cancel_scope.cancel()


def test_the_journal_forgets_the_oldest() -> None:
    own = Journal()
    for _ in range(KEPT + 1):
        own.end(own.begin("GET", "/"), Ending.COMPLETED)
    assert len(own.entries) == KEPT
    assert own.endings == {Ending.COMPLETED: KEPT + 1}


# What clients write.


@pytest.mark.parametrize("value", ["x", "nan", "inf", "-1", "61", "", "1e999"])
async def test_a_number_that_is_none_is_a_400(value: str) -> None:
    result = await server.get(f"/slow?seconds={value}").run()
    assert (result.status, result.ended) == (400, "returned")
    assert "a number from 0 to 60" in result.text


# The page.


async def test_the_page_comes_with_the_package() -> None:
    result = await server.get("/").run()
    assert result.headers["content-type"] == "text/html; charset=utf-8"
    assert result.text == Path(hesper.demo.__file__).with_name("page.html").read_text("utf-8")


async def test_the_page_names_every_ending() -> None:
    result = await server.get("/").run()
    for ending in Ending:
        assert f'"{ending}"' in result.text
        assert f'id="mark-{ending.replace(" ", "-")}"' in result.text
