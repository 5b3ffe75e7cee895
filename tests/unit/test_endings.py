"""How requests end, in the log and in numbers; and that no client can forge either."""

import dataclasses
import logging
import re
import threading
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hesper.endings import Ending, EndingCounter, RequestEnded, Series, log_ending
from hesper.responses import Response

EVENT = RequestEnded(
    Ending.COMPLETED,
    kind="http",
    method="GET",
    path="/users/7",
    route="/users/{id}",
    status=200,
    seconds=0.0124,
)


def event(**changes: Any) -> RequestEnded:
    return dataclasses.replace(EVENT, **changes)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What is logged, from level INFO on."""
    caplog.set_level(logging.INFO, "hesper.endings")
    return caplog


def test_an_ending_is_what_it_says() -> None:
    assert str(Ending.LEFT_IN_UPLOAD) == "client left in upload"
    assert Ending("timed out") is Ending.TIMED_OUT
    assert len(Ending) == 8


def test_an_event_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        EVENT.status = 500  # type: ignore[misc]
    assert not hasattr(EVENT, "__dict__")


# -- the log ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ended", "text"),
    [
        (EVENT, "GET /users/{id} 200 completed in 12 ms"),
        (event(route=None, status=404), "GET /users/7 404 completed in 12 ms"),
        (
            event(status=None, ending=Ending.LEFT_BEFORE_RESPONSE, seconds=61),
            "GET /users/{id} - client left before response in 61000 ms",
        ),
        (
            event(kind="websocket", method="", route="/chat", status=101, seconds=0),
            "WEBSOCKET /chat 101 completed in 0 ms",
        ),
    ],
)
def test_an_ending_is_one_line(
    log: pytest.LogCaptureFixture, ended: RequestEnded, text: str
) -> None:
    log_ending(ended)
    (record,) = log.records
    assert record.getMessage() == text
    assert (record.name, record.levelno) == ("hesper.endings", logging.INFO)


@pytest.mark.parametrize("ending", Ending)
def test_every_ending_is_information_with_fields(
    log: pytest.LogCaptureFixture, ending: Ending
) -> None:
    ended = event(ending=ending)
    log_ending(ended)
    (record,) = log.records
    assert record.levelno == logging.INFO
    fields = {field.name: getattr(record, field.name) for field in dataclasses.fields(ended)}
    assert fields == dataclasses.asdict(ended)
    assert type(fields["ending"]) is str


def test_what_the_client_wrote_is_escaped_in_text_and_fields(
    log: pytest.LogCaptureFixture,
) -> None:
    log_ending(event(method='G"\n', path="/a b\r\n\x1b[31m\u2028é\\%\ud800", route=None))
    (record,) = log.records
    path = "/a%20b%0D%0A%1B%5B31m%E2%80%A8%C3%A9%5C%25%5Cud800"
    assert record.getMessage() == f"G%22%0A {path} 200 completed in 12 ms"
    assert record.__dict__["method"] == "G%22%0A"
    assert record.__dict__["path"] == path


@given(st.text(), st.text())
@example("\x85", "\u2029")
def test_no_client_can_forge_a_line(method: str, path: str) -> None:
    texts: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: texts.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("hesper.endings")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        log_ending(event(method=method, path=path, route=None))
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
    (text,) = texts
    assert re.fullmatch(r"[!-~]* [!-~]* 200 completed in 12 ms", text)


def test_nothing_is_made_where_nobody_listens(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "hesper.endings")
    log_ending(event(path=None))  # could not be escaped
    assert caplog.records == []


# -- the numbers -----------------------------------------------------------------------------------


def test_endings_are_counted() -> None:
    counter = EndingCounter()
    for _ in range(3):
        counter(EVENT)
    counter(event(ending=Ending.FAILED, status=500))
    counter(event(kind="websocket", method="", route="/chat", status=None))
    assert counter.counts == {
        Series("http", "GET", "/users/{id}", 200, Ending.COMPLETED): 3,
        Series("http", "GET", "/users/{id}", 500, Ending.FAILED): 1,
        Series("websocket", "", "/chat", None, Ending.COMPLETED): 1,
    }


def test_the_counts_are_a_copy() -> None:
    counter = EndingCounter()
    before = counter.counts
    counter(EVENT)
    assert before == {}


def test_a_client_cannot_make_endless_series() -> None:
    counter = EndingCounter()
    for number in range(100):
        counter(event(method=f"GET{number}", path=f"/{number}", route=None, status=404))
    assert counter.counts == {Series("http", "other", "", 404, Ending.COMPLETED): 100}


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_known_methods_are_counted_each(method: str) -> None:
    counter = EndingCounter()
    counter(event(method=method))
    assert [series.method for series in counter.counts] == [method]


def test_methods_are_case_sensitive() -> None:
    # RFC 9110 section 9.1.
    counter = EndingCounter()
    counter(event(method="get"))
    assert [series.method for series in counter.counts] == ["other"]


def test_the_numbers_are_rendered_for_prometheus() -> None:
    counter = EndingCounter()
    counter(event(seconds=0.25))
    counter(event(seconds=0.5))
    counter(event(kind="websocket", method="", route=None, status=None, seconds=1.0))
    first = 'kind="http",method="GET",route="/users/{id}",status="200",ending="completed"'
    second = 'kind="websocket",method="",route="",status="",ending="completed"'
    assert counter.render() == (
        "# HELP hesper_requests_total Requests and WebSockets that have ended.\n"
        "# TYPE hesper_requests_total counter\n"
        f"hesper_requests_total{{{first}}} 2\n"
        f"hesper_requests_total{{{second}}} 1\n"
        "# HELP hesper_request_seconds How long they took.\n"
        "# TYPE hesper_request_seconds summary\n"
        f"hesper_request_seconds_sum{{{first}}} 0.75\n"
        f"hesper_request_seconds_count{{{first}}} 2\n"
        f"hesper_request_seconds_sum{{{second}}} 1.0\n"
        f"hesper_request_seconds_count{{{second}}} 1\n"
    )


def test_labels_are_escaped() -> None:
    counter = EndingCounter()
    counter(event(route='/a"b\\c\nd'))
    assert r'route="/a\"b\\c\nd"' in counter.render()


def test_a_counter_that_counted_nothing_renders_its_metrics() -> None:
    assert [line[0] for line in EndingCounter().render().splitlines()] == ["#"] * 4


def test_the_order_of_the_lines_does_not_depend_on_the_order_of_the_events() -> None:
    events = [event(status=None), event(status=500), event(method="PUT"), event(route=None)]
    one, other = EndingCounter(), EndingCounter()
    for each in events:
        one(each)
    for each in reversed(events):
        other(each)
    assert one.render() == other.render()


def test_the_media_type_is_the_one_that_prometheus_asks_for() -> None:
    counter = EndingCounter()
    response = Response(counter.render(), media_type=counter.media_type)
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"


class Watched(dict[Any, Any]):
    """A dict that is slow between a look and the write after it."""

    def get(self, key: Any, default: Any = None) -> Any:
        value = super().get(key, default)
        threading.Event().wait(0.0001)
        return value


def test_threads_may_count_side_by_side() -> None:
    counter = EndingCounter()
    counter._counts = Watched()

    def count() -> None:
        for _ in range(10):
            counter(EVENT)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(counter.counts.values()) == [40]
