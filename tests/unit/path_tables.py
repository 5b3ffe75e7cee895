"""What the tests of paths share: users' convertors, odd tables, and the scan they stand for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hypothesis import strategies as st

from hesper._paths import Matches, PathTable, Pattern, compile_path
from hesper._paths.templates import PARAM_REGEX
from hesper.convertors import CONVERTOR_TYPES, Convertor, IntegerConvertor, StringConvertor

UUID = "12345678-1234-1234-1234-123456789abc"


class Slug(Convertor[tuple[str, str]]):
    """Confined: its expression cannot match a slash."""

    regex = "[a-z0-9]+(?:-[a-z0-9]+)*"

    def convert(self, value: str) -> tuple[str, str]:
        return ("slug", value)


class Anything(Convertor[tuple[str, str]]):
    """Opaque, and refuses some of what it matches."""

    regex = ".+"

    def convert(self, value: str) -> tuple[str, str]:
        if "b" in value:
            raise ValueError("no b")
        return ("any", value)


class Letters(Slug):
    """Matches the empty segment too, and refuses some of what it matches."""

    regex = "[a-z]*"

    def convert(self, value: str) -> tuple[str, str]:
        if value == "x":
            raise ValueError("no x")
        return ("letters", value)


class Twins(StringConvertor):
    """Opaque: holds a slash itself."""

    regex = "[a-z]/[a-z]"


class UnicodeDigits(IntegerConvertor):
    regex = r"\d+"


class SameString(StringConvertor):
    """A subclass that changes nothing that the expression would show."""

    def convert(self, value: str) -> str:
        return value.upper()


def changed_string() -> StringConvertor:
    convertor = StringConvertor()
    convertor.regex = "[ab]+"  # type: ignore[misc]
    return convertor


OWN: dict[str, Convertor[Any]] = {
    "slug": Slug(),
    "any": Anything(),
    "letters": Letters(),
    "twins": Twins(),
    "digits": UnicodeDigits(),
    "same": SameString(),
    "changed": changed_string(),
}


@contextmanager
def own_convertors_registered() -> Iterator[None]:
    before = dict(CONVERTOR_TYPES)
    CONVERTOR_TYPES.update(OWN)
    yield
    CONVERTOR_TYPES.clear()
    CONVERTOR_TYPES.update(before)


def table(*patterns: str | Pattern | None) -> PathTable:
    return PathTable([Pattern(p) if isinstance(p, str) else p for p in patterns])


def scan(patterns: Sequence[Pattern | None], path: str) -> Matches:
    """The definition: every pattern's expression, one after the other."""
    matches: list[tuple[int, Any]] = []
    for index, pattern in enumerate(patterns):
        if pattern is None:
            matches.append((index, {}))
            continue
        regex, _, convertors = compile_path(pattern.path + "/{path:path}" * pattern.prefix)
        found = regex.match(path)
        if found is not None:
            try:
                params = {name: convertors[name].convert(found[name]) for name in convertors}
            except ValueError:
                continue
            matches.append((index, params))
    return tuple(matches)


MIX = ["", ":int", ":float", ":uuid", ":slug"]

ODD_TABLES: dict[str, list[Pattern | None]] = {
    "crowded by wild entries": [*[None] * 20, Pattern("/a"), Pattern("/a/{b}"), Pattern("/{c}")],
    "crowded by prefixes": [Pattern("/a"), *[Pattern("", prefix=True)] * 20],
    "crowded by mixes": [
        Pattern("/abb"),
        *[Pattern(f"/a{{x{k}}}{{y{m}}}") for k in MIX for m in MIX],
    ],
    "crowded by rests": [Pattern("/ab"), Pattern("/abb"), *[Pattern("/a{p:path}b")] * 20],
    "two methods": [Pattern("/a/{b:int}"), Pattern("/a/{b:int}"), Pattern("/a/{c:int}")],
    "literal and parameter": [Pattern("/a/{b}"), Pattern("/{a}/b"), Pattern("/a/b/{c}")],
    "two kinds": [Pattern("/{a:int}/b"), Pattern("/{a}/b"), Pattern("/{a:float}/{b}")],
    "below a prefix": [
        Pattern("/a", prefix=True),
        Pattern("/a/{b:int}"),
        Pattern("/a/{b:int}/{c:int}/{d:slug}"),
        Pattern("/a/{b:int}/x{c}"),
        Pattern("", prefix=True),
    ],
    "own convertors": [Pattern("/{a:slug}/{b:letters}"), Pattern("/{a:same}/{b:slug}-{c:slug}")],
    "rests": [Pattern("/{a:path}/{b}/x/{c:path}"), Pattern("/a{b:path}b"), Pattern("/{a:twins}/b")],
    "ends that overlap": [Pattern("/a{b}a"), Pattern("/a{b:path}/a"), Pattern("/{b}")],
}


ODD_PATHS = (
    "/ // /a /a/ /a/b /ab /abb /aab /aba /a//a /a/1 /a/1/x /a/1/2/z /a/1/b-c"
    " /a/b/c /a/b/x /a/b/x/y /1/b /1.5/b"
).split()


KINDS = ["", ":int", ":float", ":path", ":uuid", *(f":{kind}" for kind in OWN)]
LITERALS = ["/", "/", "/", "/a", "/a", "a", "b", "1", "-", ".", ".json", "\n", "/1.", "x"]
TEXTS = [
    "a",
    "b",
    "1",
    "12",
    "1.5",
    "a-b",
    "",
    "a/b",
    "x",
    "٣",
    UUID,
    "1.",
    "\n",
    "ab",
    "\0",
    "%2F",
]


@st.composite
def templates(draw: st.DrawFn) -> str:
    pieces = draw(st.lists(st.sampled_from(LITERALS) | st.sampled_from(KINDS), max_size=6))
    path = "/"
    for number, piece in enumerate(pieces):
        is_kind = piece in KINDS
        path += f"{{p{number}{piece}}}" if is_kind else piece
    return path


def patterns() -> st.SearchStrategy[list[Pattern | None]]:
    prefixes = templates().map(lambda path: Pattern(path.rstrip("/"), prefix=True))
    return st.lists(st.none() | templates().map(Pattern) | prefixes, min_size=1, max_size=8)


@st.composite
def tables_and_paths(draw: st.DrawFn) -> tuple[list[Pattern | None], list[str]]:
    chosen = draw(patterns())
    asked = []
    for pattern in chosen:
        path = "/" if pattern is None else pattern.path + "/{z}" * pattern.prefix
        path = PARAM_REGEX.sub(lambda _: draw(st.sampled_from(TEXTS)), path)
        asked.append(path + draw(st.sampled_from(["", "", "", "/", "\n", "a", "/a", "//"])))
    asked += [draw(st.sampled_from(TEXTS)), draw(st.text("/a1-.\n", max_size=8))]
    return chosen, asked
