"""Settings: where they come from, what they become, and what a ``.env`` file may hold."""

import functools
import os
import warnings
from pathlib import Path
from typing import Any

import pytest
import starlette.config
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hesper.config import Config, Environ, EnvironError, environ, undefined
from hesper.datastructures import URL, CommaSeparatedStrings, Secret

FILE = """\
# What the tests read.
DEBUG = yes
NAME=from the file
QUOTED="a value = with spaces "
SINGLE='it"s'
OPEN="half
QUOTE="
EMPTY=
   INDENTED   =   here
# COMMENT=not
no equals sign
TWICE=1
TWICE=2
URL=postgres://u:p@host/db?x=1#y
"""


@pytest.fixture
def env_file(tmp_path: Path) -> Path:
    path = tmp_path / ".env"
    path.write_text(FILE, "utf-8")
    return path


def both(path: Path, **options: Any) -> tuple[Any, Any]:
    """The same file, read by Hesper and by Starlette."""
    return Config(path, environ={}, **options), starlette.config.Config(path, environ={}, **options)


# -- where a value comes from ----------------------------------------------------------------------


def test_the_environment_counts_before_the_file_and_the_file_before_the_default(
    env_file: Path,
) -> None:
    config = Config(env_file, environ={"NAME": "from the environment"})
    assert config("NAME") == "from the environment"
    assert Config(env_file, environ={})("NAME", default="x") == "from the file"
    assert config("OTHER", default="the default") == "the default"
    assert config.get("OTHER", default="the default") == "the default"


def test_a_missing_value_without_a_default_is_named() -> None:
    with pytest.raises(KeyError, match="Config 'APP_KEY' is missing, and has no default"):
        Config(environ={}, env_prefix="APP_")("KEY")


def test_none_is_a_default_and_is_not_cast() -> None:
    config = Config(environ={})
    assert config("KEY", default=None) is None
    assert config.get("KEY", cast=int, default=None) is None
    assert config.get("KEY", default=undefined.__name__) == "undefined"


def test_the_prefix_stands_before_every_key(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("APP_A=1\nB=2\n")
    config = Config(path, environ={"APP_C": "3", "D": "4"}, env_prefix="APP_")
    assert (config("A"), config("C")) == ("1", "3")
    for key in ("B", "D"):
        with pytest.raises(KeyError):
            config(key)


def test_a_file_that_is_not_there_is_warned_of_where_the_config_is_made(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"Config file '.*missing' not found\.") as caught:
        config = Config(tmp_path / "missing", environ={})
    assert caught[0].filename == __file__
    assert config.file_values == {}
    with pytest.warns(UserWarning, match="not found"):
        Config(str(tmp_path))  # a directory is no file


def test_the_environment_of_the_process_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HESPER_TEST_CONFIG", "there")
    assert Config()("HESPER_TEST_CONFIG") == "there"
    assert environ._environ is os.environ


# -- what it becomes -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "cast", "expected"),
    [
        ("12", int, 12),
        ("12", None, "12"),
        ("1.5", float, 1.5),
        ("true", bool, True),
        ("TRUE", bool, True),
        ("1", bool, True),
        ("False", bool, False),
        ("0", bool, False),
        ("12", functools.partial(int, base=8), 10),
        ("https://example.org", URL, URL("https://example.org")),
        ("/tmp", Path, Path("/tmp")),
    ],
)
def test_a_value_is_cast(text: str, cast: Any, expected: object) -> None:
    environ = {"KEY": text}
    assert Config(environ=environ).get("KEY", cast=cast) == expected
    assert starlette.config.Config(environ=environ).get("KEY", cast=cast) == expected


def test_the_types_for_settings_are_casts() -> None:
    config = Config(environ={"SECRET": "hunter2", "HOSTS": "a.example, b.example"})
    secret = config("SECRET", cast=Secret)
    assert str(secret) == "hunter2"
    assert "hunter2" not in repr(secret)
    assert list(config("HOSTS", cast=CommaSeparatedStrings)) == ["a.example", "b.example"]


def test_a_default_is_cast_too() -> None:
    config = Config(environ={})
    assert config.get("KEY", cast=int, default="7") == 7
    assert config("KEY", cast=bool, default=False) is False
    assert config.get("KEY", cast=bool, default="true") is True


class Picky:
    def __call__(self, value: str) -> str:
        raise TypeError("no")

    def __repr__(self) -> str:
        return "Picky()"


@pytest.mark.parametrize(
    ("cast", "text"),
    [
        (int, "Config 'KEY' has value 'maybe'. Not a valid int."),
        (
            bool,
            "Config 'KEY' has value 'maybe'. Not a valid bool: expected true, false, 1 or 0.",
        ),
        (Picky(), "Config 'KEY' has value 'maybe'. Not a valid Picky()."),
    ],
)
def test_a_value_that_cannot_be_cast_names_its_setting(cast: Any, text: str) -> None:
    with pytest.raises(ValueError) as caught:
        Config(environ={"KEY": "maybe"}).get("KEY", cast=cast)
    assert str(caught.value) == text


# -- the file --------------------------------------------------------------------------------------


def test_a_file_is_read_as_starlette_reads_it(env_file: Path) -> None:
    ours, theirs = both(env_file)
    assert ours.file_values == theirs.file_values
    assert ours.file_values == {
        "DEBUG": "yes",
        "NAME": "from the file",
        "QUOTED": "a value = with spaces ",
        "SINGLE": 'it"s',
        "OPEN": '"half',
        "QUOTE": '"',
        "EMPTY": "",
        "INDENTED": "here",
        "TWICE": "2",
        "URL": "postgres://u:p@host/db?x=1#y",
    }


def test_the_encoding_can_be_chosen_and_a_byte_order_mark_is_none_of_the_key(
    tmp_path: Path,
) -> None:
    path = tmp_path / ".env"
    path.write_text("KEY=grün\n", "cp1252")
    assert Config(path, environ={}, encoding="cp1252")("KEY") == "grün"
    path.write_text("KEY=grün\n", "utf-8-sig")
    assert Config(path, environ={})("KEY") == "grün"
    path.write_bytes(b"KEY=\xff\n")
    with pytest.raises(UnicodeDecodeError):
        Config(path)


pieces = st.lists(
    st.sampled_from(["KEY", "=", '"', "'", "#", " ", "\t", "\n", "\r", "\u2028", "a", "é", "\0"])
    | st.text(st.characters(codec="utf-8"), max_size=3)
).map("".join)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces)
def test_any_text_is_read_without_an_error_as_starlette_reads_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / ".env"
    path.write_bytes(text.replace("\ufeff", "").encode())
    ours, theirs = both(path)
    assert ours.file_values == theirs.file_values


@given(st.text(), st.sampled_from("\"'"))
def test_a_quoted_value_without_line_ends_comes_back(value: str, quote: str) -> None:
    from hesper.config import _parse

    assert _parse([f" KEY = {quote}{value}{quote} \n"]) == {"KEY": value}


def test_the_work_grows_with_the_length_of_the_file() -> None:
    from hesper.config import _parse

    class Line(str):
        looks = 0

        def strip(self, *args: Any) -> str:
            Line.looks += 1
            return super().strip(*args)

    for size in (10, 1000):
        Line.looks = 0
        values = _parse(Line(f"K{number}={'=' * size}") for number in range(size))
        assert len(values) == Line.looks == size


# -- an environment that notices -------------------------------------------------------------------


def test_what_was_not_read_can_be_changed() -> None:
    raw = {"KEY": "1"}
    env = Environ(raw)
    env["KEY"] = "2"
    env["OTHER"] = "3"
    del env["OTHER"]
    assert raw == {"KEY": "2"}
    assert (list(env), len(env)) == (["KEY"], 1)


def test_what_was_read_can_be_neither_set_nor_deleted() -> None:
    env = Environ({"KEY": "1"})
    assert env["KEY"] == "1"
    with pytest.raises(EnvironError, match=r"set environ\['KEY'\], but the value has already"):
        env["KEY"] = "2"
    with pytest.raises(EnvironError, match=r"delete environ\['KEY'\], but the value has already"):
        del env["KEY"]
    assert env["KEY"] == "1"


def test_that_a_variable_is_missing_is_read_as_well() -> None:
    env = Environ({})
    assert Config(environ=env)("KEY", default="none") == "none"
    with pytest.raises(EnvironError):
        env["KEY"] = "too late"


def test_nothing_is_warned_of_when_all_is_well(env_file: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Config(env_file)
