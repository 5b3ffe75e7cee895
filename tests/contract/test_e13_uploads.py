"""E13: a body upload that breaks off raises ``ClientDisconnect`` from the reader, never a parse error,
never half a form to the endpoint, no error log. Temporary files go. A body read whole in one layer
can be read again in any other, before or after ``call_next``."""

import os
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import starlette.applications
import starlette.requests
import starlette.responses
import starlette.routing

from hesper.applications import Hesper
from hesper.datastructures import UploadFile
from hesper.exceptions import ClientDisconnect
from hesper.middleware import Middleware
from hesper.requests import Request
from hesper.responses import PlainTextResponse, Response
from hesper.routing import Mount, Route
from hesper.testing import Dialect, ScriptedServer
from hesper.types import ASGIApp, Receive, Scope, Send
from tests.contract.apps import (
    CallNext,
    Dispatch,
    PassOn,
    assert_quiet,
    hesper,
    mounted,
    nest,
    over,
    pass_on,
)

every_depth = over("depth", [0, 1, 4])

MULTIPART = {"content-type": "multipart/form-data; boundary=x"}
URLENCODED = {"content-type": "application/x-www-form-urlencoded"}


def form_parts(size: int = 10) -> list[bytes]:
    """A form with a field and a file, in four messages."""
    return [
        b'--x\r\nContent-Disposition: form-data; name="field"\r\n\r\nvalue\r\n',
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n' + b"a" * size,
        b"a" * size,
        b"\r\n--x--\r\n",
    ]


# The upload breaks off.


async def read_stream(request: Request) -> bytes:
    return b"".join([chunk async for chunk in request.stream()])


Read = Callable[[Request], Awaitable[Any]]
READERS: dict[str, tuple[Read, dict[str, str], list[bytes]]] = {
    "body": (lambda request: request.body(), {}, [b"a", b"b", b"c"]),
    "stream": (read_stream, {}, [b"a", b"b", b"c"]),
    "json": (lambda request: request.json(), {}, [b'{"a"', b': "b"', b"}"]),
    "urlencoded": (lambda request: _await(request.form()), URLENCODED, [b"a=1&", b"b", b"=2"]),
    "multipart": (lambda request: _await(request.form()), MULTIPART, form_parts()),
}
every_reader = over("reader", READERS)


async def _await(what: Awaitable[Any]) -> Any:
    return await what


@every_reader
@every_depth
async def test_e13_an_upload_that_breaks_off_raises_client_disconnect_from_the_reader(
    dialect: Dialect, reader: str, depth: int
) -> None:
    """A body upload that breaks off raises ``ClientDisconnect`` from the reader, never a parse error,
    never half a form to the endpoint, no error log."""
    read, headers, parts = READERS[reader]
    raised: list[BaseException] = []
    got: list[Any] = []

    async def endpoint(request: Request) -> Response:
        try:
            got.append(await read(request))
        except BaseException as exc:
            raised.append(exc)
            raise
        return PlainTextResponse("whole")

    handled: list[Exception] = []

    async def handler(request: Request, exc: Exception) -> Response:
        handled.append(exc)
        return PlainTextResponse("handled", 500)

    app = hesper(endpoint, *[pass_on] * depth, handlers={500: handler})
    server = ScriptedServer(app, dialect)
    for cut in range(len(parts)):
        raised.clear()
        script = server.post(body=parts, headers=headers).leave_after_request(cut)
        result = await script.run()
        assert_quiet(result)
        assert result.messages == []
        if result.ended == "returned":
            assert [type(exc) for exc in raised] == [ClientDisconnect]
    assert got == []
    assert handled == []
    result = await server.post(body=parts, headers=headers).run()
    assert_quiet(result)
    assert result.body == b"whole"
    assert len(got) == 1


@every_reader
async def test_e13_a_middleware_that_reads_gets_client_disconnect_too(
    dialect: Dialect, reader: str
) -> None:
    """... from the reader, whichever layer it is in; once it has broken off it stays so."""
    read, headers, parts = READERS[reader]
    raised: list[str] = []

    async def dispatch(request: Request, call_next: CallNext) -> Response:
        for _ in range(2):
            try:
                await read(request)
            except ClientDisconnect as exc:
                raised.append(type(exc).__name__)
        return await call_next(request)

    async def endpoint(request: Request) -> Response:
        await read(request)
        raise AssertionError("half a body was given")

    app = hesper(endpoint, pass_on, dispatch, functions=True)
    for cut in range(len(parts)):
        raised.clear()
        script = ScriptedServer(app, dialect).post(body=parts, headers=headers)
        result = await script.leave_after_request(cut).run()
        assert_quiet(result)
        if result.ended == "returned":
            assert raised == ["ClientDisconnect"] * 2


@every_depth
async def test_e13_a_foreign_app_is_told_of_the_broken_upload(dialect: Dialect, depth: int) -> None:
    """... and a foreign app inside is told by ``http.disconnect``, never by an end of the body."""

    async def endpoint(request: starlette.requests.Request) -> Any:
        await request.body()
        raise AssertionError("half a body was given")

    route = starlette.routing.Route("/", endpoint, methods=["POST"])
    app = starlette.applications.Starlette(routes=[route])
    for outer in (nest(app, *[pass_on] * depth), mounted(app, *[pass_on] * depth)):
        if outer is app:
            continue
        for cut in range(3):
            script = ScriptedServer(outer, dialect).post(body=[b"a", b"b", b"c"])
            result = await script.leave_after_request(cut).run()
            assert_quiet(result)
            assert result.messages == []


# Temporary files.


def open_temporary_files() -> int:
    """How many deleted files this process has open: spooled parts of forms have no name."""
    count = 0
    for fd in os.listdir("/proc/self/fd"):
        try:
            count += "(deleted)" in os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            pass
    return count


needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")


@needs_proc
async def test_e13_temporary_files_of_a_broken_upload_go(dialect: Dialect) -> None:
    """Temporary files go: of a form that broke off, before the app returns."""

    async def endpoint(request: Request) -> Response:
        await request.form()
        raise AssertionError("half a form was given")

    before = open_temporary_files()
    parts = form_parts(1024 * 1024 + 1)
    app = hesper(endpoint, pass_on)
    for cut in (2, 3):
        script = ScriptedServer(app, dialect).post(body=parts, headers=MULTIPART)
        assert_quiet(await script.leave_after_request(cut).run())
        assert open_temporary_files() == before


@needs_proc
@over("ending", ["returns", "fails", "leaves", "is cancelled"])
@over("depth", [0, 2])
async def test_e13_temporary_files_of_a_form_go_with_the_request(ending: str, depth: int) -> None:
    """Temporary files go: of a form that the endpoint read and did not close."""
    files: list[UploadFile] = []

    async def endpoint(request: Request) -> Response:
        form = await request.form()
        file = form["file"]
        assert isinstance(file, UploadFile)
        files.append(file)
        assert open_temporary_files() == before + 1
        if ending == "fails":
            raise ValueError
        if ending == "leaves":
            await request.wait_disconnected()
        if ending == "is cancelled":
            client.cancel_app()
            await request.wait_disconnected()
        return PlainTextResponse("whole")

    before = open_temporary_files()
    app = hesper(endpoint, *[pass_on] * depth)
    script = ScriptedServer(app).post(body=form_parts(1024 * 1024), headers=MULTIPART)
    if ending == "leaves":
        script = script.leave_after_request()
    async with script.open() as client:
        await client.finish()
    assert open_temporary_files() == before
    assert [file.file.closed for file in files] == ([True] if files else [])


@needs_proc
async def test_e13_temporary_files_are_there_for_background_work() -> None:
    """Temporary files go, but not before the background work that uses them has ended."""
    sizes: list[int] = []

    async def endpoint(request: Request) -> Response:
        file = (await request.form())["file"]
        assert isinstance(file, UploadFile)

        async def work() -> None:
            sizes.append(len(await file.read()))

        return PlainTextResponse("whole", background=work)

    before = open_temporary_files()
    script = ScriptedServer(hesper(endpoint, pass_on)).post(
        body=form_parts(1024 * 1024), headers=MULTIPART
    )
    assert_quiet(await script.run())
    assert sizes == [2 * 1024 * 1024]
    assert open_temporary_files() == before


# A body can be read again.


class Readers:
    """Dispatch functions and endpoints that read the body where they are told to."""

    def __init__(self, *where: str) -> None:
        self.where = where
        self.got: dict[str, bytes] = {}

    async def read(self, place: str, request: Request) -> None:
        if place in self.where:
            self.got[place] = await request.body()

    def layer(self, name: str) -> Dispatch:
        async def dispatch(request: Request, call_next: CallNext) -> Response:
            await self.read(f"{name} before", request)
            response = await call_next(request)
            await self.read(f"{name} after", request)
            return response

        return dispatch

    async def endpoint(self, request: Request) -> Response:
        await self.read("endpoint", request)
        return PlainTextResponse("whole")

    def native(self) -> ASGIApp:
        return hesper(self.endpoint, self.layer("outer"), self.layer("inner"), functions=True)

    def with_foreign_middleware(self) -> ASGIApp:
        return Hesper(
            routes=[Route("/", self.endpoint, methods=["POST"])],
            middleware=[
                self.layer("outer"),
                Middleware(PassOn),
                self.layer("inner"),
                Middleware(PassOn),
            ],
        )

    def with_reading_foreign_middleware(self) -> ASGIApp:
        class Reads(PassOn):
            async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
                assert await Request(scope, receive).body() == b"abc"
                await self.app(scope, receive, send)

        return Hesper(
            routes=[Route("/", self.endpoint, methods=["POST"])],
            middleware=[
                Middleware(Reads),
                self.layer("outer"),
                Middleware(Reads),
                self.layer("inner"),
            ],
        )

    def with_starlette_inside(self) -> ASGIApp:
        async def endpoint(request: starlette.requests.Request) -> Any:
            if "endpoint" in self.where:
                self.got["endpoint"] = await request.body()
            return starlette.responses.PlainTextResponse("whole")

        route = starlette.routing.Route("/", endpoint, methods=["POST"])
        app = starlette.applications.Starlette(routes=[route])
        return nest(app, self.layer("outer"), self.layer("inner"))

    def mounted_deep(self) -> ASGIApp:
        inner = Hesper(
            routes=[Route("/", self.endpoint, methods=["POST"])], middleware=[self.layer("inner")]
        )
        return Hesper(routes=[Mount("/", PassOn(inner))], middleware=[self.layer("outer")])


PLACES = ["outer before", "inner before", "endpoint", "inner after", "outer after"]
TWO_PLACES = [(a, b) for i, a in enumerate(PLACES) for b in PLACES[i + 1 :]]


@over(
    "make",
    [
        Readers.native,
        Readers.with_foreign_middleware,
        Readers.with_reading_foreign_middleware,
        Readers.with_starlette_inside,
        Readers.mounted_deep,
    ],
)
@over("where", [*TWO_PLACES, tuple(PLACES)])
async def test_e13_a_body_read_whole_in_one_layer_can_be_read_again_in_any_other(
    dialect: Dialect, make: Callable[[Readers], ASGIApp], where: tuple[str, ...]
) -> None:
    """A body read whole in one layer can be read again in any other, before or after
    ``call_next``."""
    if make is Readers.with_starlette_inside and not where[0].endswith("before"):
        return  # a foreign app takes the body as a stream, which is not kept
    readers = Readers(*where)
    result = await ScriptedServer(make(readers), dialect).post(body=[b"a", b"b", b"c"]).run()
    assert_quiet(result)
    assert result.body == b"whole"
    assert readers.got == dict.fromkeys(where, b"abc")


@over("make", [Readers.native, Readers.with_foreign_middleware, Readers.with_starlette_inside])
async def test_e13_an_empty_body_can_be_read_again_too(
    dialect: Dialect, make: Callable[[Readers], ASGIApp]
) -> None:
    """A body read whole in one layer can be read again in any other: an empty one as well."""
    readers = Readers(*PLACES)
    assert_quiet(await ScriptedServer(make(readers), dialect).post().run())
    assert readers.got == dict.fromkeys(PLACES, b"")


@every_depth
async def test_e13_body_json_form_and_stream_can_follow_one_another(
    dialect: Dialect, depth: int
) -> None:
    """A body read whole can be read again, in whatever form."""
    got: list[Any] = []

    async def dispatch(request: Request, call_next: CallNext) -> Response:
        got.append(await request.body())
        got.append(dict(await request.form()))
        return await call_next(request)

    async def endpoint(request: Request) -> Response:
        got.append(await read_stream(request))
        got.append(dict(await request.form()))
        got.append(await request.body())
        return PlainTextResponse("whole")

    app = hesper(endpoint, *[pass_on] * depth, dispatch, *[pass_on] * depth)
    script = ScriptedServer(app, dialect).post(body=[b"a=", b"1"], headers=URLENCODED)
    assert_quiet(await script.run())
    assert got == [b"a=1", {"a": "1"}, b"a=1", {"a": "1"}, b"a=1"]


async def test_e13_a_form_read_in_a_middleware_can_be_read_in_the_endpoint(
    dialect: Dialect,
) -> None:
    """A body read whole in one layer can be read again in any other: also one that was read as a
    form, whose file is there for all."""
    got: list[bytes] = []

    async def dispatch(request: Request, call_next: CallNext) -> Response:
        file = (await request.form())["file"]
        assert isinstance(file, UploadFile)
        got.append(await file.read())
        await file.seek(0)
        return await call_next(request)

    async def endpoint(request: Request) -> Response:
        file = (await request.form())["file"]
        assert isinstance(file, UploadFile)
        got.append(await file.read())
        return PlainTextResponse("whole")

    for app in (
        hesper(endpoint, pass_on, dispatch),
        Hesper(
            routes=[Route("/", endpoint, methods=["POST"])],
            middleware=[dispatch, Middleware(PassOn)],
        ),
    ):
        got.clear()
        script = ScriptedServer(app, dialect).post(body=form_parts(), headers=MULTIPART)
        result = await script.run()
        assert_quiet(result)
        assert got == [b"a" * 20] * 2
