"""The examples do what they say, on every backend, also when the client leaves."""

import hashlib
import json
import logging

import pytest
from examples import (
    around_fastapi,
    errors,
    hello,
    middleware,
    mounts,
    streaming,
    upload,
    websocket_echo,
    why,
)

from hesper.applications import Hesper
from hesper.testing import Dialect, Result, ScriptedServer
from tests.conftest import ExpectedErrors, in_virtual_time

FORM = (
    b'--mark\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
    b"some text\r\n--mark--\r\n"
)
MULTIPART = {"content-type": "multipart/form-data; boundary=mark"}


@pytest.fixture(autouse=True)
def a_fast_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """On uvloop time is real."""
    monkeypatch.setattr(streaming, "PACE", 0.01)


def assert_quiet(result: Result) -> None:
    """The app returned, and broke no rule."""
    assert result.ended in {"returned", "not called"}, result.log
    assert result.violations == []


async def test_hello_answers(dialect: Dialect) -> None:
    server = ScriptedServer(hello.app, dialect)
    assert (await server.get("/").run()).text == "Hello.\n"
    assert json.loads((await server.get("/squares/7").run()).body) == {"number": 7, "square": 49}
    assert (await server.get("/squares/seven").run()).status == 404


async def test_middleware_adds_what_it_says(dialect: Dialect) -> None:
    result = await ScriptedServer(middleware.app, dialect).get("/slow/0.01").run()
    assert result.text == f"{result.headers['x-request-id']} is done.\n"
    assert result.headers["server-timing"].startswith("app;dur=")


async def test_middleware_tries_again_after_a_503(dialect: Dialect) -> None:
    result = await ScriptedServer(middleware.app, dialect).get("/flaky").run()
    assert (result.status, result.text) == (200, "The second attempt went well.\n")


@pytest.mark.parametrize("app", [middleware.app, around_fastapi.app], ids=["hesper", "fastapi"])
async def test_nothing_goes_wrong_when_the_client_leaves_five_middlewares(
    app: Hesper, dialect: Dialect, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "examples.middleware")
    result = await ScriptedServer(app, dialect).get("/slow/0.1").leave_after(0.02).run()
    assert_quiet(result)
    # The log line stands after `call_next`: it returned, with the response of the endpoint.
    assert caplog.messages == ["/slow/0.1 200, but the client left"]


@in_virtual_time
async def test_a_time_limit_in_a_middleware_cancels_the_endpoint() -> None:
    result = await ScriptedServer(middleware.app).get("/slow/3600").run(timeout=20)
    assert (result.status, result.text) == (504, "That took too long.\n")
    assert result.duration == pytest.approx(10, abs=0.1)


async def test_fastapi_answers_through_the_same_middlewares(dialect: Dialect) -> None:
    server = ScriptedServer(around_fastapi.app, dialect)
    result = await server.get("/slow/0.01").run()
    assert json.loads(result.body) == {"slept": 0.01}
    assert "x-request-id" in result.headers
    assert (await server.get("/private").run()).status == 401
    assert (await server.get("/private", headers={"authorization": "me"}).run()).status == 200


async def test_streaming_gives_all_words(dialect: Dialect) -> None:
    result = await ScriptedServer(streaming.app, dialect).get("/chat?prompt=all").run()
    assert [event[6:] for event in result.text.split("\n\n")[:-1]] == streaming.ANSWER
    assert streaming.usage.pop("all") == len(streaming.ANSWER)
    assert streaming.finished.pop() == "all"


async def test_streaming_saves_its_usage_when_the_client_leaves(dialect: Dialect) -> None:
    script = ScriptedServer(streaming.app, dialect).get("/chat?prompt=leave")
    result = await script.leave_at_message(3).run()  # the start, and two words
    assert_quiet(result)
    assert streaming.usage.pop("leave") in {2, 3}
    assert streaming.finished.pop() == "leave"


async def test_upload_gives_the_digest_of_a_stream(dialect: Dialect) -> None:
    server = ScriptedServer(upload.app, dialect)
    result = await server.post("/digest", body=[b"some ", b"text"]).run()
    expected = {"size": 9, "sha256": hashlib.sha256(b"some text").hexdigest()}
    assert json.loads(result.body) == expected


async def test_an_upload_that_breaks_off_ends_quietly(dialect: Dialect) -> None:
    script = ScriptedServer(upload.app, dialect).post(
        "/digest", body=[b"some ", b"text"], unfinished=True
    )
    result = await script.leave_after_request(2).run()
    assert_quiet(result)
    if result.ended == "returned":  # daphne calls no app for half a body
        assert 0 <= upload.broken_off.pop() <= 9
    assert upload.broken_off == []


async def test_upload_reads_a_form(dialect: Dialect) -> None:
    server = ScriptedServer(upload.app, dialect)
    result = await server.post("/form", body=FORM, headers=MULTIPART).run()
    assert json.loads(result.body) == {"name": "a.txt", "size": 9}
    assert (await server.post("/form", body=b"x").run()).status == 400


async def test_a_form_that_breaks_off_ends_quietly(dialect: Dialect) -> None:
    server = ScriptedServer(upload.app, dialect)
    script = server.post("/form", body=[FORM[:70], b"a"], headers=MULTIPART, unfinished=True)
    assert_quiet(await script.leave_after_request(2).run())


async def test_the_websocket_echoes(dialect: Dialect) -> None:
    server = ScriptedServer(websocket_echo.app, dialect)
    script = server.websocket("/echo", messages=["a", "b"]).leave_by_closing(1000)
    result = await script.leave_at_message(3).run()  # the handshake, and both texts
    assert_quiet(result)
    assert result.frames == ["a", "b"]


async def test_a_socket_that_only_sends_learns_that_the_client_left(dialect: Dialect) -> None:
    async with ScriptedServer(websocket_echo.app, dialect).websocket("/ticker").open() as client:
        await client.wait_message(2)
        client.leave()
        assert_quiet(await client.finish())
    assert websocket_echo.left.pop() in {1005, 1006}


async def test_lifespans_of_mounted_apps_run_inside_their_parents() -> None:
    server = ScriptedServer(mounts.app)
    async with server.lifespan():
        result = await server.get("/shop/orders/7").run()
    assert json.loads(result.body) == {
        "database": "shop.db",
        "printer": "lp0",
        "again": "http://testserver/shop/orders/7",
    }
    assert mounts.events == ["open database", "open printer", "close printer", "close database"]
    mounts.events.clear()


async def test_errors_before_the_response_are_answered(
    dialect: Dialect, expected_errors: ExpectedErrors
) -> None:
    server = ScriptedServer(errors.app, dialect)
    for script, status, text in [
        (server.post("/buy"), 409, "no tea left"),
        (server.get("/secret"), 403, "Not for you."),
        (server.get("/nowhere"), 404, "Not Found"),
    ]:
        result = await script.run()
        assert (result.status, json.loads(result.body)) == (status, {"error": text})
        assert result.headers["x-served-by"] == "hesper"


async def test_a_bug_is_answered_through_the_middleware_and_raised_into_the_server(
    dialect: Dialect,
) -> None:
    result = await ScriptedServer(errors.app, dialect).get("/crash").run()
    assert (result.status, json.loads(result.body)) == (500, {"error": "our fault"})
    assert result.headers["x-served-by"] == "hesper"
    assert isinstance(result.raised, ValueError)


async def test_a_body_that_fails_is_not_ended_as_if_it_were_whole(dialect: Dialect) -> None:
    result = await ScriptedServer(errors.app, dialect).get("/half").run()
    assert result.body == b"half of the "
    assert not result.complete
    assert isinstance(result.raised, ValueError)


async def test_every_ending_of_the_comparison_is_right() -> None:
    facts = await why.observe("hesper")
    assert set(facts.values()) == {True}
    assert len(facts) == 4


async def test_the_comparison_prints_a_row_for_each_fact(
    capsys: pytest.CaptureFixture[str],
) -> None:
    await why.main()
    heading, *rows = capsys.readouterr().out.splitlines()
    assert heading.split() == ["starlette", "hesper"]
    assert [row.split()[-1] for row in rows] == ["True"] * 4
