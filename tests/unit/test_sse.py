"""Event streams: what a response says of itself, and how it is put together."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from hesper.exceptions import UsageError
from hesper.sse import EventSourceResponse, ServerSentEvent


async def events() -> AsyncIterator[Any]:
    yield "one"
    yield 2


def test_the_headers_keep_proxies_from_holding_events_back() -> None:
    response = EventSourceResponse(events(), headers={"Cache-Control": "no-cache"})
    assert dict(response.headers) == {
        "cache-control": "no-cache",
        "content-type": "text/event-stream; charset=utf-8",
        "x-accel-buffering": "no",
    }
    assert "content-length" not in response.headers


@pytest.mark.parametrize("ping", [0, -1, float("nan")])
def test_a_ping_has_to_have_its_time(ping: float) -> None:
    with pytest.raises(UsageError, match="leave it out for 15, or say None for none"):
        EventSourceResponse(events(), ping=ping)
    EventSourceResponse(events(), ping=None)


async def test_its_content_is_bytes_for_everybody() -> None:
    response = EventSourceResponse(events())
    content = response.body_iterator
    assert aiter(content) is content
    assert [chunk async for chunk in content] == [b"data: one\n\n", b"data: 2\n\n"]


async def test_it_is_closed_as_a_generator_is() -> None:
    generator = events()
    body = EventSourceResponse(generator)._body
    assert body is not None
    assert body.is_generator
    assert await anext(aiter(body.content)) == b"data: one\n\n"
    await body.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(generator)
    await body.aclose()


async def test_what_is_not_begun_is_closed_too() -> None:
    class Content:
        closed = 0

        def __aiter__(self) -> Any:
            raise AssertionError("nobody iterates")

        async def aclose(self) -> None:
            self.closed += 1

    content = Content()
    body = EventSourceResponse(content)._body
    assert body is not None
    assert not body.is_generator
    await body.aclose()
    assert content.closed == 1


async def test_what_has_no_form_in_json_is_the_apps_mistake() -> None:
    async def wrong() -> AsyncIterator[Any]:
        yield float("nan")

    body = EventSourceResponse(wrong())._body
    assert body is not None
    with pytest.raises(ValueError, match="not JSON compliant"):
        await anext(aiter(body.content))
    await body.aclose()


def test_the_last_event_is_sent_only_if_the_stream_is_as_it_was() -> None:
    response = EventSourceResponse(events(), last_event=ServerSentEvent("bye"))
    body = response._body
    assert body is not None
    assert body.farewell == b"data: bye\n\n"
    response.body_iterator = events()
    assert body.farewell is None
    assert EventSourceResponse(events(), last_event=None)._body.farewell == b""
