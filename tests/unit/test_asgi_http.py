"""A handler's answer becomes messages: what is sent, what is raised, and what is left behind."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
import pytest

from hesper._asgi.arrivals import BUFFER_SIZE
from hesper._asgi.bodies import Body
from hesper._asgi.exchange import KEY, open_exchange
from hesper._asgi.http import conduct, drive, serve_answer
from hesper._asgi.responding import Answer
from hesper._asgi.states import ENDED
from hesper._concurrency import checkpoint
from hesper.exceptions import ClientDisconnect, UsageError
from hesper.requests import Request, request_over
from hesper.testing import ScriptedServer
from hesper.types import ASGIApp, Message, Receive, Scope, Send
from tests.conftest import ExpectedErrors

Handler = Callable[[Request], Awaitable[Any]]

GONE: Message = {"type": "http.disconnect"}


def start(status: int = 200) -> Message:
    return {"type": "http.response.start", "status": status, "headers": []}


def body(content: bytes = b"") -> Message:
    return {"type": "http.response.body", "body": content}


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await checkpoint()


class Plain(Answer):
    """An answer of one body message."""

    def __init__(self, content: bytes = b"", status: int = 200, background: Any = None) -> None:
        self.body = content
        self.status_code = status
        self.raw_headers = []
        self.background = background


class Streamed(Plain):
    """An answer with a body that is produced."""

    def __init__(self, content: Any, background: Any = None, kind: type[Body] = Body) -> None:
        super().__init__(background=background)
        self._body = kind(content, "utf-8")
        self._plain = False


class Deferred(Plain):
    """An answer that is settled late."""

    _deferred = True
    _plain = False

    async def _resolve(self, scope: Scope) -> None:
        await turns()
        self.body = scope["path"].encode()


class Server:
    """A server that is called by hand."""

    def __init__(self, *messages: Message) -> None:
        self.messages = list(messages)
        self.sent: list[Message] = []
        self.errors: dict[int, BaseException] = {}
        self.blocked_at = -1
        self.suspends = 0
        self.receives = self.pending = 0
        self.left = anyio.Event()
        self.scope: Scope = {
            "type": "http",
            "method": "GET",
            "path": "/p",
            "headers": [],
            "asgi": {"version": "3.0", "spec_version": "2.4"},
        }

    async def receive(self) -> Message:
        self.receives += 1
        if self.messages:
            return self.messages.pop(0)
        self.pending += 1
        try:
            await self.left.wait()
        finally:
            self.pending -= 1
        return GONE

    async def send(self, message: Message) -> None:
        number = len(self.sent)
        await turns(self.suspends)
        if number in self.errors:
            raise self.errors[number]
        if number == self.blocked_at:
            await anyio.sleep_forever()
        self.sent.append(message)

    async def serve(self, handler: Handler, on_error: Any = None) -> None:
        exchange = open_exchange(self.scope, self.receive, self.send)
        request = request_over(self.scope, exchange)
        try:
            await drive(conduct(handler, request, exchange, self.scope, on_error), exchange)
        finally:
            assert KEY not in self.scope
            assert self.pending == 0
            assert exchange.state is ENDED


def giving(answer: Any) -> Handler:
    async def handler(request: Request) -> Any:
        return answer

    return handler


def giving_after_a_wait(answer: Any) -> Handler:
    async def handler(request: Request) -> Any:
        await turns()
        return answer

    return handler


def raising(error: BaseException) -> Handler:
    async def handler(request: Request) -> Any:
        raise error

    return handler


async def as_500(request: Any, exc: Exception) -> Answer:
    return Plain(str(exc).encode(), 500)


HOW = pytest.mark.parametrize("give", [giving, giving_after_a_wait])


# -- plain answers ---------------------------------------------------------------------------------


@HOW
async def test_a_plain_answer_is_two_messages(give: Callable[[Any], Handler]) -> None:
    server = Server()
    await server.serve(give(Plain(b"x", 201)))
    assert server.sent == [start(201), body(b"x")]


async def test_a_request_that_never_waits_and_never_reads_receives_nothing() -> None:
    server = Server()
    await server.serve(giving(Plain()))
    assert server.receives == 0


@HOW
async def test_a_slow_send_is_waited_for(give: Callable[[Any], Handler]) -> None:
    server = Server()
    server.suspends = 5
    await server.serve(give(Plain(b"x")))
    assert server.sent == [start(), body(b"x")]


@HOW
@pytest.mark.parametrize("blocked_at", [0, 1])
async def test_the_leaving_interrupts_a_blocked_send(
    give: Callable[[Any], Handler], blocked_at: int
) -> None:
    server = Server()
    server.blocked_at = blocked_at
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve, give(Plain(b"x")))
        await turns(30)
        server.left.set()
    assert len(server.sent) == blocked_at


@HOW
async def test_a_cancel_goes_through_a_blocked_send(give: Callable[[Any], Handler]) -> None:
    server = Server()
    server.blocked_at = 0
    with anyio.move_on_after(0.01) as scope:
        await server.serve(give(Plain(b"x")))
    assert scope.cancelled_caught


@HOW
@pytest.mark.parametrize("at", [0, 1])
async def test_a_send_that_fails_for_the_leaving_ends_quietly(
    give: Callable[[Any], Handler], at: int
) -> None:
    server = Server()
    server.errors[at] = OSError("reset")
    await server.serve(give(Plain(b"x")), as_500)
    assert len(server.sent) == at


@HOW
async def test_a_send_that_fails_for_another_reason_raises_and_is_not_answered(
    give: Callable[[Any], Handler],
) -> None:
    server = Server()
    server.errors[1] = ValueError("a bug of the server")
    with pytest.raises(ValueError) as caught:
        await server.serve(give(Plain(b"x")), as_500)
    assert caught.value is server.errors[1]
    assert server.sent == [start()]


@HOW
async def test_a_blocked_send_of_an_unread_upload_does_not_stop_the_pump(
    give: Callable[[Any], Handler],
) -> None:
    """A server that sends only when its body is read would wait for ever (hypercorn)."""
    block = {"type": "http.request", "body": bytes(BUFFER_SIZE), "more_body": True}
    server = Server(*[block] * 5, GONE)
    server.blocked_at = 0
    await server.serve(give(Plain(b"x")))
    assert server.receives == 6


async def test_a_client_that_left_before_is_not_sent_to() -> None:
    server = Server(GONE)

    async def handler(request: Request) -> Answer:
        assert await request.is_disconnected()
        return Plain(b"x")

    await server.serve(handler)
    assert server.sent == []


async def test_an_answer_is_an_app_of_its_own() -> None:
    server = Server()
    await serve_answer(Plain(b"x"), server.scope, server.receive, server.send)
    assert server.sent == [start(), body(b"x")]


@HOW
async def test_an_answer_may_be_settled_late(give: Callable[[Any], Handler]) -> None:
    server = Server()
    await server.serve(give(Deferred()))
    assert server.sent == [start(), body(b"/p")]


# -- the task's own count of cancels ---------------------------------------------------------------


@pytest.mark.parametrize("give", [giving, giving_after_a_wait])
def test_an_interruption_leaves_no_trace_in_the_task(give: Callable[[Any], Handler]) -> None:
    async def main() -> None:
        server = Server()
        server.blocked_at = 0
        asyncio.get_running_loop().call_later(0.01, server.left.set)
        await server.serve(give(Plain(b"x")))
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        await asyncio.sleep(0)

    asyncio.run(main())


def test_a_native_cancel_that_comes_with_the_leaving_comes_out() -> None:
    async def main() -> None:
        server = Server()
        server.blocked_at = 0
        task = asyncio.create_task(server.serve(giving(Plain(b"x"))))
        await asyncio.sleep(0.01)
        server.left.set()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelling() == 1

    asyncio.run(main())


def test_an_interruption_that_the_servers_send_swallows_leaves_no_trace() -> None:
    async def main() -> None:
        server = Server()

        async def send(message: Message) -> None:
            try:
                await asyncio.sleep(0.01 if server.left.is_set() else 10)
            except asyncio.CancelledError:
                server.sent.append(message)

        exchange = open_exchange(server.scope, server.receive, send)
        asyncio.get_running_loop().call_later(0.01, server.left.set)
        await drive(conduct(giving(Plain()), None, exchange, server.scope, None), exchange)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        assert server.sent == [start()]

    asyncio.run(main())


# -- errors ----------------------------------------------------------------------------------------


async def test_an_error_before_the_start_becomes_an_answer() -> None:
    server = Server()
    await server.serve(raising(ValueError("mine")), as_500)
    assert server.sent == [start(500), body(b"mine")]


async def test_an_error_that_nobody_answers_comes_out() -> None:
    error = ValueError("mine")
    server = Server()
    with pytest.raises(ValueError) as caught:
        await server.serve(raising(error))
    assert caught.value is error
    assert server.sent == []


async def test_an_error_in_the_answer_to_an_error_comes_out() -> None:
    async def on_error(request: Any, exc: Exception) -> Answer:
        raise KeyError("second") from exc

    with pytest.raises(KeyError):
        await Server().serve(raising(ValueError()), on_error)


async def test_an_error_after_the_start_comes_out_and_the_response_is_not_ended() -> None:
    async def items() -> AsyncIterator[bytes]:
        yield b"half"
        raise ValueError("mine")

    server = Server()
    with pytest.raises(ValueError, match="mine"):
        await server.serve(giving(Streamed(items())), as_500)
    assert [message.get("more_body") for message in server.sent] == [None, True]


async def test_an_error_that_was_answered_may_be_raised_into_the_server_afterwards() -> None:
    error = ValueError("mine")
    server = Server()

    async def on_error(request: Any, exc: Exception) -> Answer:
        request._exchange.failure = exc
        return Plain(b"sorry", 500)

    with pytest.raises(ValueError) as caught:
        await server.serve(raising(error), on_error)
    assert caught.value is error
    assert server.sent == [start(500), body(b"sorry")]


async def test_a_cancelled_handler_is_not_answered() -> None:
    async def handler(request: Request) -> Any:
        await anyio.sleep_forever()

    server = Server()
    with anyio.move_on_after(0.01) as scope:
        await server.serve(handler, as_500)
    assert scope.cancelled_caught
    assert server.sent == []


async def test_a_reader_of_a_client_that_left_ends_quietly() -> None:
    async def handler(request: Request) -> Any:
        return Plain(await request.body())

    server = Server(GONE)
    await server.serve(handler)
    assert server.sent == []


async def test_a_handler_may_be_asked_for_the_leaving_itself_but_not_for_other_words() -> None:
    asked: list[Exception] = []

    async def on_error(request: Any, exc: Exception) -> Answer:
        asked.append(exc)
        raise exc

    async def read(request: Request) -> Any:
        await request.body()

    async def translate(request: Request) -> Any:
        try:
            await request.body()
        except ClientDisconnect as exc:
            raise ValueError from exc

    await Server(GONE).serve(read, on_error)
    await Server(GONE).serve(translate, on_error)
    assert [type(each) for each in asked] == [ClientDisconnect]


async def test_an_error_is_an_error_also_when_the_client_has_left() -> None:
    async def handler(request: Request) -> Any:
        await request.is_disconnected()
        raise ValueError("mine")

    server = Server(GONE)
    with pytest.raises(ValueError, match="mine"):
        await server.serve(handler)
    await Server(GONE).serve(handler, as_500)  # its answer reaches nobody


async def test_a_disconnect_that_is_not_our_clients_is_an_error() -> None:
    server = Server()
    with pytest.raises(ClientDisconnect):
        await server.serve(raising(ClientDisconnect("elsewhere")))
    await server.serve(raising(ClientDisconnect()), as_500)
    assert server.sent[0]["status"] == 500

    async def items() -> AsyncIterator[bytes]:
        yield b"x"
        raise ClientDisconnect("elsewhere")

    with pytest.raises(ClientDisconnect, match="elsewhere"):
        await server.serve(giving(Streamed(items())))


async def test_a_body_that_swallows_the_leaving_of_its_client_ends_quietly() -> None:
    async def items() -> AsyncIterator[bytes]:
        yield b"x"
        raise ValueError from ClientDisconnect()

    server = Server()
    server.errors[1] = OSError()
    await server.serve(giving(Streamed(items())))
    assert server.sent == [start()]


@pytest.mark.parametrize("answer", [None, 7, "text"])
async def test_an_answer_that_is_none_names_the_endpoint(answer: object) -> None:
    server = Server()
    server.scope["endpoint"] = test_an_answer_that_is_none_names_the_endpoint
    with pytest.raises(UsageError) as caught:
        await server.serve(giving(answer))
    assert str(caught.value) == (
        "No response returned: expected a Response (or an ASGI app) for GET '/p' from the endpoint "
        "test_an_answer_that_is_none_names_the_endpoint, or from a middleware around it, got "
        f"{answer!r}. Add a `return` with a response."
    )


async def test_an_endpoint_without_a_name_is_shown_as_it_is() -> None:
    server = Server()
    server.scope["endpoint"] = 7
    with pytest.raises(UsageError, match="from the endpoint 7, or"):
        await server.serve(giving(None))


# -- foreign apps as answers -----------------------------------------------------------------------


async def test_a_foreign_app_as_answer_gets_the_scope_the_body_and_the_send() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["path"] == "/p"
        content = (await receive())["body"]
        await send(start(201))
        await send(body(content))
        assert await receive() == GONE

    server = Server({"type": "http.request", "body": b"x"})
    await server.serve(giving(app))
    assert server.sent == [start(201), body(b"x")]


async def test_an_error_of_a_foreign_app_is_answered() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError("mine")

    server = Server()
    await server.serve(giving(app), as_500)
    assert server.sent == [start(500), body(b"mine")]


async def test_background_work_of_dropped_answers_runs_after_a_foreign_app() -> None:
    log = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        log.append("app")

    async def work() -> None:
        log.append("work")

    async def handler(request: Request) -> ASGIApp:
        request._exchange.background = (work,)
        return app

    await Server().serve(handler)
    assert log == ["app", "work"]


# -- what comes after ------------------------------------------------------------------------------


async def test_background_work_runs_after_the_last_message() -> None:
    server = Server()
    log = []

    async def work() -> None:
        log.append(list(server.sent))
        assert server.pending == 0

    await server.serve(giving(Plain(b"x", background=work)))
    await server.serve(giving_after_a_wait(Plain(b"y", background=work)))
    assert log == [[start(), body(b"x")], [start(), body(b"x"), start(), body(b"y")]]


async def test_background_work_runs_although_the_client_left() -> None:
    log = []

    async def work() -> None:
        log.append("work")

    async def items() -> AsyncIterator[bytes]:
        yield b"x"
        await anyio.sleep_forever()

    server = Server(GONE)
    await server.serve(giving(Streamed(items(), work)))
    assert log == ["work"]


async def test_background_work_of_the_exchange_runs_first_and_all_of_it(
    expected_errors: ExpectedErrors,
) -> None:
    log = []

    def work(name: str) -> Callable[[], Awaitable[None]]:
        async def run() -> None:
            log.append(name)
            raise ValueError(name)

        return run

    async def handler(request: Request) -> Any:
        request._exchange.background = (work("endpoint"),)
        return Plain(background=work("middleware"))

    server = Server()
    with pytest.raises(ValueError, match="endpoint"):
        await server.serve(handler, as_500)
    assert log == ["endpoint", "middleware"]
    assert server.sent == [start(), body()]
    assert expected_errors.take() == ["A background task failed."]


async def test_background_work_runs_after_a_body_that_broke(
    expected_errors: ExpectedErrors,
) -> None:
    async def items() -> AsyncIterator[bytes]:
        yield b"x"
        raise ValueError("first")

    async def work() -> None:
        raise ValueError("second")

    with pytest.raises(ValueError, match="first"):
        await Server().serve(giving(Streamed(items(), work)))
    assert expected_errors.take() == ["Background work of a broken response failed."]


async def test_background_work_runs_in_a_request_that_is_cancelled() -> None:
    log = []

    async def work() -> None:
        await turns()
        log.append("work")

    async def items() -> AsyncIterator[bytes]:
        yield b"x"
        await anyio.sleep_forever()

    with anyio.move_on_after(0.01) as scope:
        await Server().serve(giving(Streamed(items(), work)))
    assert scope.cancelled_caught
    assert log == ["work"]


async def test_there_is_no_background_work_without_a_response() -> None:
    log = []

    async def work() -> None:
        log.append("work")

    class Failing(Deferred):
        async def _resolve(self, scope: Scope) -> None:
            raise ValueError("mine")

    with pytest.raises(ValueError):
        await Server().serve(giving(Failing(background=work)))
    assert log == []


class FinishingBody(Body):
    error: Exception | None = None
    waits = False

    async def finish(self) -> None:
        log.append("finish")
        if self.waits:
            await anyio.sleep_forever()
        if self.error is not None:
            raise self.error


log: list[str] = []


class Part:
    def __init__(self, name: str) -> None:
        self.name = name

    def __aiter__(self) -> "Part":
        return self

    async def __anext__(self) -> bytes:
        raise StopAsyncIteration

    async def aclose(self) -> None:
        log.append(self.name)


async def test_bodies_that_were_dropped_are_closed_before_background_work_and_the_sent_one_once() -> (
    None
):
    log.clear()

    async def work() -> None:
        log.append("work")

    async def handler(request: Request) -> Any:
        answer = Streamed(Part("sent"), work, FinishingBody)
        assert answer._body is not None
        request._exchange.bodies = (Body(Part("dropped"), "utf-8"), answer._body)
        return answer

    await Server().serve(handler)
    assert log == ["sent", "dropped", "finish", "work"]


async def test_a_sent_body_that_was_handed_through_is_not_closed_again() -> None:
    log.clear()

    async def handler(request: Request) -> Any:
        answer = Streamed(Part("sent"))
        assert answer._body is not None
        request._exchange.bodies = (answer._body,)
        return answer

    await Server().serve(handler)
    assert log == ["sent"]


async def test_bodies_are_closed_when_the_handler_raises_after_all() -> None:
    log.clear()

    async def handler(request: Request) -> Any:
        request._exchange.bodies = (Body(Part("dropped"), "utf-8"),)
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        await Server().serve(handler)
    assert log == ["dropped"]


async def test_an_error_of_what_finishes_a_body_comes_out_after_background_work() -> None:
    log.clear()

    async def work() -> None:
        log.append("work")

    answer = Streamed(Part("sent"), work, FinishingBody)
    assert isinstance(answer._body, FinishingBody)
    answer._body.error = ValueError("mine")
    with pytest.raises(ValueError, match="mine"):
        await Server().serve(giving(answer))
    assert log == ["sent", "finish", "work"]


async def test_what_a_request_opened_is_closed_at_its_end_whatever_comes(
    expected_errors: ExpectedErrors,
) -> None:
    log.clear()

    async def fail() -> None:
        raise ValueError

    async def close() -> None:
        await turns()
        log.append("closed")

    async def handler(request: Request) -> Any:
        request._exchange.incoming.at_end = (fail, close)
        request._exchange.bodies = (Body(Part("dropped"), "utf-8"),)
        await anyio.sleep_forever()

    with anyio.move_on_after(0.01) as scope:
        await Server().serve(handler)
    assert scope.cancelled_caught
    assert log == ["dropped", "closed"]
    assert expected_errors.take() == ["Closing what a request had opened failed."]


async def test_a_request_inside_of_another_leaves_what_comes_in_to_it() -> None:
    server = Server({"type": "http.request", "body": b"x"})
    seen = []

    async def outer(request: Request) -> Any:
        inner_exchange = open_exchange(server.scope, server.receive, server.send)
        inner = request_over(server.scope, inner_exchange)

        async def read(request: Request) -> Any:
            seen.append(await request.body())
            return Plain()

        await drive(conduct(read, inner, inner_exchange, server.scope, None), inner_exchange)
        seen.append(await Request(server.scope).body())
        seen.append(await request.body())
        return Plain()

    await server.serve(outer)
    assert seen == [b"x"] * 3


async def test_a_request_that_was_kept_receives_nothing_after_its_end() -> None:
    kept: list[Request] = []

    async def handler(request: Request) -> Any:
        kept.append(request)
        return Plain()

    async def fails(request: Request) -> Any:
        kept.append(request)
        raise ValueError

    server = Server()
    await server.serve(handler)
    with pytest.raises(ValueError):
        await server.serve(fails)
    for request in kept:
        assert await request.is_disconnected()
        await request.wait_disconnected()
        with pytest.raises(ClientDisconnect):
            await request.body()
    assert server.receives == 0


async def test_an_error_thrown_into_a_driven_task_reaches_the_code() -> None:
    exchange = open_exchange({"type": "http"}, Server().receive, Server().send)
    seen = []

    async def work() -> None:
        for _ in range(2):
            with anyio.move_on_after(0.001):
                await anyio.sleep_forever()
            seen.append(exchange.suspensions)

    await drive(work(), exchange)
    assert len(seen) == 2
    assert seen[1] > seen[0] > 0
    exchange.end()
    await exchange.incoming.close()


async def test_the_scripted_server_agrees() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await serve_answer(Plain(b"hello"), scope, receive, send)

    result = await ScriptedServer(app).get().run()
    assert (result.ended, result.body, result.violations) == ("returned", b"hello", [])


def test_the_plain_answer_shows_no_work_to_do() -> None:
    assert not Answer._deferred
    assert Answer._body is None


async def test_an_answer_that_has_nothing_to_settle_settles_nothing() -> None:
    answer = Plain(b"x")
    await answer._resolve({})
    assert answer._start_message() == start()


async def test_what_was_cancelled_and_went_on_has_no_cancellation_as_context() -> None:
    seen: list[Any] = []

    async def handler(request: Request) -> Answer:
        with anyio.move_on_after(0):
            await anyio.sleep(60)
        seen.append(sys.exception())
        return Plain(b"x")

    await Server().serve(handler)
    assert seen == [None]
