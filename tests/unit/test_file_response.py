"""Files as responses: what is sent, what of it was asked for, and that the file is closed."""

import email.parser
import email.policy
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
import starlette.responses
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hesper._asgi.bodies import close_unused
from hesper._concurrency import run_in_thread
from hesper._file_body import FileBody, FileSource
from hesper.conditional import RangePart
from hesper.exceptions import UsageError
from hesper.responses import FileResponse, MalformedRangeHeader, RangeNotSatisfiable
from hesper.testing import Dialect, Result, ScriptedServer
from hesper.types import ASGIApp, Message, Receive, Scope, Send

SMALL = bytes(range(100))
LARGE = bytes(number % 251 for number in range(200_000))
PATHSEND = "http.response.pathsend"

FDS = Path("/proc/self/fd")
needs_fds = pytest.mark.skipif(not FDS.exists(), reason="open files are counted in /proc")


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a file of some 100 KB is a large one."""
    monkeypatch.setattr(FileResponse, "chunk_size", 64 * 1024)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.txt"
    path.write_bytes(SMALL)
    os.utime(path, (1e9, 1e9))
    return path


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large.bin"
    path.write_bytes(LARGE)
    return path


def times_open(path: Path) -> int:
    count = 0
    for fd in os.listdir(FDS):
        try:
            count += os.readlink(FDS / fd).removesuffix(" (deleted)") == str(path)
        except FileNotFoundError:
            pass
    return count


async def request(
    app: ASGIApp,
    method: str = "GET",
    headers: dict[str, str] | None = None,
    extensions: tuple[str, ...] = (),
) -> Result:
    return (
        await ScriptedServer(app)
        .request(method, headers=headers or {}, extensions=extensions)
        .run()
    )


# -- the whole file --------------------------------------------------------------------------------


async def test_a_small_file_is_one_message(small: Path) -> None:
    result = await request(FileResponse(small))
    start, body = result.messages
    assert start["status"] == 200
    assert dict(start["headers"]) == {
        b"content-type": b"text/plain; charset=utf-8",
        b"accept-ranges": b"bytes",
        b"content-length": b"100",
        b"last-modified": b"Sun, 09 Sep 2001 01:46:40 GMT",
        b"etag": dict(start["headers"])[b"etag"],
    }
    assert body == {"type": "http.response.body", "body": SMALL}


@needs_fds
async def test_a_large_file_goes_chunk_by_chunk_and_is_closed(large: Path) -> None:
    result = await request(FileResponse(large))
    sizes = [len(message["body"]) for message in result.messages[1:]]
    assert sizes == [65536, 65536, 65536, 200_000 - 3 * 65536, 0]
    assert result.body == LARGE
    assert result.complete
    assert times_open(large) == 0


async def test_the_chunk_size_can_be_set(small: Path) -> None:
    class InTens(FileResponse):
        chunk_size = 10

    result = await request(InTens(small))
    assert [len(message["body"]) for message in result.messages[1:]] == [10] * 10 + [0]
    assert result.body == SMALL


async def test_a_file_of_exactly_one_chunk_is_one_message(tmp_path: Path) -> None:
    path = tmp_path / "exact"
    path.write_bytes(b"x" * FileResponse.chunk_size)
    assert (await request(FileResponse(path))).types == [
        "http.response.start",
        "http.response.body",
    ]


@pytest.mark.parametrize("extensions", [(), (PATHSEND,)])
async def test_an_empty_file_has_an_empty_body(tmp_path: Path, extensions: tuple[str, ...]) -> None:
    path = tmp_path / "empty"
    path.touch()
    result = await request(
        FileResponse(path), headers={"range": "bytes=0-5"}, extensions=extensions
    )
    assert (result.status, result.body, result.headers["content-length"]) == (200, b"", "0")
    assert result.types == ["http.response.start", "http.response.body"]


@pytest.mark.parametrize("range_", [None, "bytes=0-9", "bytes=0-1,5-6", "bytes=500-", "bytes=x"])
async def test_head_gets_the_headers_of_get_without_a_body(small: Path, range_: str | None) -> None:
    headers = {"range": range_} if range_ else {}
    head = await request(FileResponse(small), "HEAD", headers)
    get = await request(FileResponse(small), "GET", headers)
    for result in (head, get):
        result.raw_headers = [(n, v) for n, v in result.raw_headers if not v.startswith(b"multi")]
    assert head.messages[1:] == [{"type": "http.response.body", "body": b""}]
    assert (head.status, head.raw_headers) == (get.status, get.raw_headers)


@pytest.mark.parametrize(("status", "length"), [(204, None), (304, None), (404, "100")])
async def test_a_status_without_a_body_has_none(
    small: Path, status: int, length: str | None
) -> None:
    result = await request(FileResponse(small, status), headers={"range": "bytes=0-1"})
    assert result.status == status
    assert result.headers.get("content-length") == length
    assert result.body == (b"" if length is None else SMALL)
    assert "etag" in result.headers


async def test_background_runs_after_the_body(large: Path) -> None:
    ran: list[str] = []

    async def background() -> None:
        ran.append("background")

    result = await request(FileResponse(large, background=background))
    assert result.complete
    assert ran == ["background"]


# -- what is said of it ----------------------------------------------------------------------------


async def test_a_known_stat_result_gives_the_headers_at_once(small: Path) -> None:
    response = FileResponse(small, stat_result=os.stat(small))
    headers = response.headers
    before = list(response.raw_headers)
    assert (await request(response)).raw_headers == before
    assert headers["content-length"] == "100"
    assert headers["last-modified"] == "Sun, 09 Sep 2001 01:46:40 GMT"
    assert headers["etag"].startswith('"')


def test_the_entity_tag_changes_with_time_and_size(small: Path) -> None:
    def tag() -> str:
        return FileResponse(small, stat_result=os.stat(small)).headers["etag"]

    first = tag()
    assert tag() == first
    os.utime(small, (2e9, 2e9))
    second = tag()
    small.write_bytes(b"longer" * 100)
    os.utime(small, (2e9, 2e9))
    assert len({first, second, tag()}) == 3


USERS_OWN = {
    "content-length": "7",
    "etag": '"mine"',
    "accept-ranges": "none",
    "Content-Type": "text/x",
    "content-disposition": "inline",
    "last-modified": "Mon, 10 Sep 2001 01:46:40 GMT",
}


@pytest.mark.parametrize("known", [False, True])
async def test_headers_that_the_user_set_stand(small: Path, known: bool) -> None:
    response = FileResponse(
        small,
        headers=USERS_OWN,
        filename="other.png",
        stat_result=os.stat(small) if known else None,
    )
    os.utime(small, (5, 5))  # so that a known one is out of date
    await response._resolve({"type": "http", "method": "GET", "headers": []})
    assert dict(response.headers) == {name.lower(): value for name, value in USERS_OWN.items()}


@pytest.mark.parametrize(
    "name",
    "a.html a.js a.css a.json a.svg a.gz a.tar.gz a.txt a.md a.unknown a A.HTML a.b/c".split(),
)
def test_media_types_are_those_of_starlette(name: str) -> None:
    for arguments in ({"path": name}, {"path": "x", "filename": name}, {"path": Path(name)}):
        ours, theirs = (
            kind(**arguments) for kind in (FileResponse, starlette.responses.FileResponse)
        )
        assert ours.media_type == theirs.media_type
        assert ours.raw_headers == theirs.raw_headers


def test_a_media_type_that_is_given_is_not_guessed() -> None:
    response = FileResponse("a.html", media_type="application/x-own")
    assert response.headers["content-type"] == "application/x-own"


@given(st.text().filter(lambda name: not any("\ud800" <= char <= "\udfff" for char in name)))
def test_the_disposition_of_every_name_is_that_of_starlette(name: str) -> None:
    ours = FileResponse("x", filename=name, content_disposition_type="inline")
    theirs = starlette.responses.FileResponse("x", filename=name, content_disposition_type="inline")
    assert ours.headers["content-disposition"] == theirs.headers["content-disposition"]


def test_a_name_that_the_disk_has_but_unicode_has_not_is_given_as_well_as_it_can_be() -> None:
    response = FileResponse("x", filename=os.fsdecode(b"caf\xe9.txt"))
    assert response.headers["content-disposition"] == "attachment; filename*=utf-8''caf%3F.txt"


def test_a_disposition_that_would_split_the_response_is_refused() -> None:
    with pytest.raises(ValueError, match="CR, LF or NUL"):
        FileResponse("x", filename="a", content_disposition_type="inline\r\nSet-Cookie: a=b")


# -- ranges ----------------------------------------------------------------------------------------


async def starlettes(
    path: Path, method: str, headers: list[tuple[bytes, bytes]]
) -> tuple[Message, bytes]:
    sent: list[Message] = []

    async def receive() -> Message:
        await anyio.sleep_forever()
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "headers": headers}
    await starlette.responses.FileResponse(path)(scope, receive, send)
    return sent[0], b"".join(message["body"] for message in sent[1:])


def comparable(headers: list[tuple[bytes, bytes]], body: bytes) -> tuple[dict[str, str], bytes]:
    """Without what is random, or hashed differently."""
    plain = {name.decode(): value.decode() for name, value in headers}
    plain.pop("etag", None)
    kind, _, boundary = plain.get("content-type", "").partition("; boundary=")
    if boundary:
        plain["content-type"] = kind
        body = body.replace(boundary.encode(), b"BOUNDARY")
    return plain, body


RANGES = [
    "bytes=0-1",
    "bytes=0-",
    "bytes=-5",
    "bytes=-500",
    "bytes=5-500",
    "bytes=99-99",
    "bytes=0-99",
    "bytes=0-1,2-3",
    "bytes=5-6,0-1",
    "bytes=0-1, 5-6, 90-",
    "bytes=0-9,5-20,40-50",
    "bytes=0-1,abc",
    "bytes=" + ",".join(f"{start}-{start}" for start in range(0, 100, 2)),
    "bytes=500-",
    "bytes=100-",
    "bytes=-0",
    "bytes",
    "bytes=",
    "bytes=abc",
    "bytes=5-2",
    "",
]


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
async def test_ranges_are_answered_as_by_starlette(small: Path, method: str) -> None:
    for range_ in RANGES:
        ours = await request(FileResponse(small), method, {"range": range_})
        start, body = await starlettes(small, method, [(b"range", range_.encode())])
        if method == "HEAD":
            body = b""  # Starlette answers a HEAD that it refuses with a text
        assert ours.status == start["status"], range_
        assert comparable(ours.raw_headers, ours.body) == comparable(start["headers"], body)


@pytest.mark.parametrize("range_", ["lines=0-1", "bytes=" + ",".join(["0-0"] * 101)])
async def test_ranges_of_another_unit_or_too_many_are_ignored(small: Path, range_: str) -> None:
    result = await request(FileResponse(small), headers={"range": range_})
    assert (result.status, result.body) == (200, SMALL)


async def test_max_ranges_can_be_set(small: Path) -> None:
    class Two(FileResponse):
        max_ranges = 2

    assert (await request(Two(small), headers={"range": "bytes=0-0,2-2"})).status == 206
    assert (await request(Two(small), headers={"range": "bytes=0-0,2-2,4-4"})).status == 200


async def test_of_ranges_of_which_some_lie_beyond_the_others_are_sent(small: Path) -> None:
    result = await request(FileResponse(small), headers={"range": "bytes=0-1,700-800"})
    assert (result.status, result.body) == (206, SMALL[:2])
    assert result.headers["content-range"] == "bytes 0-1/100"


def parts_of(result: Result) -> Iterator[tuple[str, str, bytes]]:
    """The parts, read by somebody else's parser."""
    head = b"Content-Type: " + result.headers["content-type"].encode() + b"\r\n\r\n"
    # It takes a lone CR for a line's end, so the bytes are sent through it in another guise.
    body = result.body.decode("latin-1").translate({13: "\r", 10: "\n"})
    message = email.parser.Parser(policy=email.policy.compat32).parsestr(head.decode() + body)
    for part in message.get_payload():
        assert not isinstance(part, str)
        payload = part.get_payload()
        assert isinstance(payload, str)
        yield part["content-type"], part["content-range"], payload.encode("latin-1")


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    ranges=st.lists(st.tuples(st.integers(0, 4999), st.integers(0, 400)), min_size=1, max_size=8),
    chunk_size=st.sampled_from([30, 64, 1000, 65536]),
)
async def test_every_byte_that_was_asked_for_arrives_where_it_belongs(
    tmp_path: Path, ranges: list[tuple[int, int]], chunk_size: int
) -> None:
    content = bytes(ord("a") + number % 26 for number in range(5000))
    path = tmp_path / "file.css"
    path.write_bytes(content)
    asked = set()
    for start, length in ranges:
        asked |= set(range(start, min(start + length + 1, 5000)))
    response = FileResponse(path)
    response.chunk_size = chunk_size
    header = ",".join(f"{start}-{start + length}" for start, length in ranges)
    result = await request(response, headers={"range": f"bytes={header}"})
    assert result.status == 206
    assert int(result.headers["content-length"]) == len(result.body)
    if "content-range" in result.headers:
        got = [(result.headers["content-type"], result.headers["content-range"], result.body)]
    else:
        got = list(parts_of(result))
    arrived: set[int] = set()
    for content_type, place, data in got:
        assert content_type == "text/css; charset=utf-8"
        unit, _, where = place.partition(" ")
        span, _, size = where.partition("/")
        first, last = map(int, span.split("-"))
        assert (unit, size, data) == ("bytes", "5000", content[first : last + 1])
        arrived |= set(range(first, last + 1))
    assert arrived == asked


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=30))
async def test_no_range_header_makes_a_500(small: Path, value: str) -> None:
    for range_ in (value, f"bytes={value}"):
        result = await request(FileResponse(small), headers={"range": range_, "if-range": '"x"'})
        assert (result.ended, result.status) == ("returned", 200)
        result = await request(FileResponse(small), headers={"range": range_})
        assert result.ended == "returned"
        assert result.status in (200, 206, 400, 416)


async def test_a_range_in_a_large_file_is_read_in_chunks(large: Path) -> None:
    result = await request(FileResponse(large), headers={"range": "bytes=10-150009"})
    assert result.body == LARGE[10:150010]
    assert [len(message["body"]) for message in result.messages[1:]] == [65536, 65536, 18928, 0]


async def validators(path: Path) -> tuple[str, str]:
    headers = (await request(FileResponse(path), "HEAD")).headers
    return headers["etag"], headers["last-modified"]


async def test_if_range_lets_the_range_count_only_for_the_same_file(small: Path) -> None:
    etag, modified = await validators(small)
    for condition, status in [
        (etag, 206),
        (modified, 206),
        (f"W/{etag}", 200),
        ('"other"', 200),
        ("Sun, 09 Sep 2001 01:46:41 GMT", 200),
        ("nonsense", 200),
    ]:
        headers = {"range": "bytes=0-1", "if-range": condition}
        assert (await request(FileResponse(small), headers=headers)).status == status, condition


async def test_if_range_is_compared_with_the_validators_that_were_sent(small: Path) -> None:
    own = {"etag": '"mine"', "last-modified": "never"}
    for condition, status in [('"mine"', 206), ("Sun, 09 Sep 2001 01:46:40 GMT", 200)]:
        headers = {"range": "bytes=0-1", "if-range": condition}
        result = await request(FileResponse(small, headers=own), headers=headers)
        assert result.status == status
    unusable = FileResponse(small, headers={"etag": "no tag"})
    headers = {"range": "bytes=0-1", "if-range": '"mine"'}
    assert (await request(unusable, headers=headers)).status == 200


async def test_a_refusal_carries_nothing_of_the_file(small: Path) -> None:
    own = {"cache-control": "public", "content-type": "text/x"}
    malformed = await request(FileResponse(small, headers=own), headers={"range": "bytes=x"})
    assert malformed.headers == {
        "content-length": "37",
        "content-type": "text/plain; charset=utf-8",
    }
    assert malformed.text == "Range header: range must be requested"
    beyond = await request(FileResponse(small, headers=own), headers={"range": "bytes=100-"})
    assert beyond.headers == {
        "content-length": "0",
        "content-type": "text/plain; charset=utf-8",
        "content-range": "bytes */100",
    }


def test_the_plan_of_a_multipart_body_is_that_of_starlette() -> None:
    arguments: Any = ([(0, 2), (5, 9), (90, 100)], "BOUNDARY", 100, "text/plain")
    length, header = FileResponse("x").generate_multipart(*arguments)
    their_length, their_header = starlette.responses.FileResponse("x").generate_multipart(
        *arguments
    )
    assert length == their_length
    assert [header(*each) for each in arguments[0]] == [
        their_header(*each) for each in arguments[0]
    ]


async def test_a_subclass_may_plan_a_multipart_body_otherwise(small: Path) -> None:
    class Own(FileResponse):
        def generate_multipart(self, *_: Any) -> tuple[int, Callable[[int, int], bytes]]:
            return 49, lambda start, end: b"<%d>" % start

    result = await request(Own(small), headers={"range": "bytes=0-1,50-52"})
    boundary = result.headers["content-type"].rpartition("=")[2].encode()
    assert result.headers["content-length"] == "49"
    assert result.body == (
        b"<0>" + SMALL[:2] + b"\r\n<50>" + SMALL[50:53] + b"\r\n--" + boundary + b"--"
    )


def test_the_exceptions_of_starlette_have_their_names() -> None:
    assert issubclass(MalformedRangeHeader, Exception)
    assert RangeNotSatisfiable(100).args == (
        "No requested range lies within the 100 bytes of the content.",
    )


# -- by path ---------------------------------------------------------------------------------------


@needs_fds
async def test_a_server_that_can_send_a_file_gets_its_path(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(small.parent)
    result = await request(FileResponse("small.txt"), extensions=(PATHSEND,))
    assert result.messages[1:] == [{"type": PATHSEND, "path": str(small)}]
    assert result.headers["content-length"] == "100"
    assert result.complete
    assert times_open(small) == 0


@pytest.mark.parametrize(
    ("method", "range_"), [("GET", "bytes=0-1"), ("GET", "bytes=0-1,5-6"), ("HEAD", "bytes=x")]
)
async def test_a_part_of_a_file_is_not_sent_by_path(small: Path, method: str, range_: str) -> None:
    result = await request(FileResponse(small), method, {"range": range_}, (PATHSEND,))
    assert result.types == ["http.response.start", "http.response.body"]


async def test_a_whole_file_is_sent_by_path_when_its_range_does_not_count(small: Path) -> None:
    headers = {"range": "bytes=0-1", "if-range": '"other"'}
    result = await request(FileResponse(small), headers=headers, extensions=(PATHSEND,))
    assert result.types == ["http.response.start", PATHSEND]


async def test_a_middleware_that_reads_the_body_gets_bytes_instead_of_the_path(large: Path) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        response = FileResponse(large)
        await response._resolve(scope)
        inner = response.body_iterator

        async def upper() -> Any:
            async for chunk in inner:
                yield bytes(chunk).upper()

        response.body_iterator = upper()
        await response(scope, receive, send)

    result = await request(app, extensions=(PATHSEND,))
    assert result.body == LARGE.upper()
    assert result.complete


# -- errors, before and during ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["missing", "below a file", "directory", "pipe"])
async def test_what_is_no_file_raises_before_anything_is_sent(small: Path, kind: str) -> None:
    path = {
        "missing": small.parent / "missing",
        "below a file": small / "x",
        "directory": small.parent,
        "pipe": small.parent / "pipe",
    }[kind]
    if kind == "pipe":
        os.mkfifo(path)
    result = await request(FileResponse(path))
    assert result.messages == []
    assert type(result.raised) is RuntimeError
    reason = "is not a file" if kind in ("directory", "pipe") else "does not exist"
    assert str(result.raised) == f"File at path {path} {reason}."


@pytest.mark.parametrize("change", ["removed", "a directory by then"])
async def test_a_file_that_went_after_its_stat_raises_before_anything_is_sent(
    small: Path, change: str
) -> None:
    response = FileResponse(small, stat_result=os.stat(small))
    small.unlink()
    if change == "removed":
        expected: type[Exception] = RuntimeError
    else:
        small.mkdir()
        expected = IsADirectoryError
    result = await request(response)
    assert result.messages == []
    assert type(result.raised) is expected


async def test_a_file_replaced_after_its_stat_is_sent_under_its_own_tag(small: Path) -> None:
    response = FileResponse(small, stat_result=os.stat(small), headers={"x-own": "1"})
    small.write_bytes(b"another content")
    etag, modified = await validators(small)
    result = await request(response)
    assert result.text == "another content"
    assert result.headers["content-length"] == "15"
    assert (result.headers["etag"], result.headers["last-modified"]) == (etag, modified)
    assert result.headers["x-own"] == "1"


def changing(app: ASGIApp, change: Callable[[], object]) -> ASGIApp:
    """The app; ``change`` is called when it has sent its start message."""

    async def changed(scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            await send(message)
            if message["type"] == "http.response.start":
                change()

        await app(scope, receive, sending)

    return changed


async def test_a_file_replaced_while_it_is_sent_is_sent_as_it_was(large: Path) -> None:
    other = large.parent / "other"
    other.write_bytes(b"other")
    result = await request(changing(FileResponse(large), lambda: other.rename(large)))
    assert result.body == LARGE


async def test_a_file_that_grows_is_cut_at_the_length_that_was_announced(large: Path) -> None:
    def grow() -> None:
        with large.open("ab") as file:
            file.write(b"more" * 100_000)

    result = await request(changing(FileResponse(large), grow))
    assert result.body == LARGE
    assert result.complete


@needs_fds
@pytest.mark.parametrize("range_", [None, "bytes=0-149999", "bytes=0-99999,100001-199999"])
async def test_a_file_that_shrinks_is_never_ended_as_if_it_were_whole(
    large: Path, range_: str | None
) -> None:
    response = FileResponse(large)
    app = changing(response, lambda: os.truncate(large, 70_000))
    result = await request(app, headers={"range": range_} if range_ else {})
    assert type(result.raised) is RuntimeError
    assert "became shorter while it was sent" in str(result.raised)
    assert str(large) in str(result.raised)
    assert not result.complete
    assert not result.truncated_as_complete
    assert result.messages[-1]["more_body"] is True
    assert times_open(large) == 0


# -- endings ---------------------------------------------------------------------------------------


@needs_fds
async def test_the_file_is_closed_wherever_the_client_leaves(large: Path, dialect: Dialect) -> None:
    server = ScriptedServer(FileResponse(large), dialect)
    for message in range(6):
        result = await server.get("/").leave_at_message(message).run()
        assert result.ended != "raised"
        assert times_open(large) == 0


@needs_fds
async def test_the_file_is_closed_when_a_stalled_client_leaves(large: Path) -> None:
    async with ScriptedServer(FileResponse(large)).get("/").stall_at_message(2).open() as client:
        with anyio.fail_after(5):
            while times_open(large) == 0:
                await anyio.sleep(0.001)
        client.leave()
        result = await client.finish()
    assert not result.complete
    assert times_open(large) == 0


@needs_fds
async def test_a_body_that_is_never_started_closes_the_file(large: Path) -> None:
    response = FileResponse(large)
    await response._resolve({"type": "http", "method": "GET", "headers": []})
    assert times_open(large) == 1
    assert isinstance(response._body, FileBody)
    await close_unused((response._body,))
    assert times_open(large) == 0
    assert [chunk async for chunk in response.body_iterator] == []


@needs_fds
async def test_the_file_is_closed_when_settling_fails(large: Path) -> None:
    class Broken(FileResponse):
        def generate_multipart(self, *_: Any) -> Any:
            raise LookupError

    result = await request(Broken(large), headers={"range": "bytes=0-1,5-6"})
    assert type(result.raised) is LookupError
    assert result.messages == []
    assert times_open(large) == 0


class Slow(FileSource):
    """Reads when it is allowed to."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.reading = threading.Event()
        self.allowed = threading.Event()

    def _fill(self, *arguments: Any) -> bytes:
        self.reading.set()
        assert self.allowed.wait(5)
        return super()._fill(*arguments)


@needs_fds
async def test_a_file_is_not_closed_under_a_thread_that_reads_it(large: Path) -> None:
    source = Slow(large)
    await run_in_thread(source.open)
    source.select([RangePart(b"", 0, 200_000)])
    got: list[bytes] = []
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.to_thread.run_sync, lambda: got.append(source.read(1000)))
        await anyio.to_thread.run_sync(source.reading.wait)
        source.close()
        source.close()
        assert times_open(large) == 1
        source.allowed.set()
    assert got == [LARGE[:1000]]
    assert times_open(large) == 0
    assert source.ended
    assert source.read(1000) == b""


@needs_fds
async def test_a_file_that_was_closed_while_it_was_opened_does_not_stay_open(
    tmp_path: Path,
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    source = FileSource(pipe)
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.to_thread.run_sync, source.open)
        with anyio.fail_after(5):
            while not source._lock.locked():
                await anyio.sleep(0.001)
        source.close()
        await anyio.to_thread.run_sync(lambda: pipe.open("wb").close())
    assert times_open(pipe) == 0


# -- settled once ----------------------------------------------------------------------------------


async def test_what_a_middleware_changed_after_settling_stays(large: Path) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        response = FileResponse(large)
        await response._resolve(scope)
        assert response.status_code == 206
        del response.headers["etag"]
        response.headers["content-type"] = "text/other"
        response.status_code = 203
        await response._resolve(scope)
        await response(scope, receive, send)

    result = await request(app, headers={"range": "bytes=0-99999"})
    assert (result.status, result.body) == (203, LARGE[:100_000])
    assert result.headers["content-type"] == "text/other"
    assert "etag" not in result.headers


async def test_as_an_asgi_app_it_answers_every_request_anew(large: Path) -> None:
    app = FileResponse(large)
    part = await request(app, headers={"range": "bytes=1-2"})
    whole = await request(app)
    assert (part.status, part.body) == (206, LARGE[1:3])
    assert (whole.status, whole.body) == (200, LARGE)
    assert "content-range" not in whole.headers
    assert [name for name, _ in app.raw_headers] == [b"content-type", b"accept-ranges"]


async def test_a_response_that_was_sent_is_not_settled_for_another_request(large: Path) -> None:
    response = FileResponse(large)
    scope: Scope = {"type": "http", "method": "GET", "headers": []}
    await response._resolve(scope)
    assert (await request(response)).body == LARGE
    with pytest.raises(UsageError, match=f"The FileResponse for {large} was sent already"):
        await response._resolve(scope)


async def test_without_a_method_as_on_a_websocket_the_whole_file_is_the_answer(small: Path) -> None:
    response = FileResponse(small)
    await response._resolve({"type": "websocket", "headers": [(b"range", b"bytes=0-1")]})
    assert (response.status_code, response.body) == (200, SMALL)
