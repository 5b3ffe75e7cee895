"""What every test runs under.

The law: a test function that is ``async def`` runs on every backend, without a decorator, and time
is virtual where the backend allows it (all but uvloop). A test that passes has left nothing behind:
no task, no open async generator, no ERROR log record that it did not expect, no exception that
nobody saw (pytest reports those, and ``filterwarnings = error`` makes them failures).
"""

import asyncio
import asyncio.constants as constants
import faulthandler
import functools
import gc
import importlib.util
import inspect
import logging
import os
import sys
import weakref
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextlib import contextmanager
from types import AsyncGeneratorType, CodeType
from typing import Any

import hypothesis
import pytest

from hesper.testing import DIALECTS, Dialect, trio_virtual_time_options, virtual_time_loop_factory
from hesper.testing.dialects import DAPHNE, HYPERCORN_H2, SPECIFICATION, UVICORN

# No test takes a tenth of it; a test that really does has @pytest.mark.patience(seconds).
_PATIENCE = 20.0

# A deadline in real time would fail on a busy machine. Imported here, and not by the first test
# that needs it: its plugins look for objects with `gc`, which does not see what is frozen below.
hypothesis.settings.register_profile("hesper", deadline=None)
hypothesis.settings.load_profile("hesper")

_REAL_STDERR = pytest.StashKey[int]()


# Backends.


# In debug mode asyncio keeps, of each callback, where it was made: half of the time of the tests, for
# ten frames that nobody reads.
constants.DEBUG_STACK_DEPTH = 1  # type: ignore[misc]  # Final


def _asyncio_debug() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"debug": True, "loop_factory": virtual_time_loop_factory(debug=True)}


def _asyncio_eager() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"loop_factory": virtual_time_loop_factory(eager=True)}


def _uvloop() -> tuple[str, dict[str, Any]]:
    import uvloop

    return "asyncio", {"loop_factory": uvloop.new_event_loop}


def _trio() -> tuple[str, dict[str, Any]]:
    return "trio", trio_virtual_time_options()


_needs_uvloop = pytest.mark.skipif(
    importlib.util.find_spec("uvloop") is None, reason="uvloop is not installed"
)
# Where Python has no eager tasks there is nothing to skip: the backend is not there.
_EAGER = [pytest.param(_asyncio_eager, id="asyncio-eager")] if sys.version_info >= (3, 12) else []


_BACKENDS = [
    pytest.param(_asyncio_debug, id="asyncio-debug"),
    *_EAGER,
    pytest.param(_uvloop, id="uvloop", marks=_needs_uvloop),
    pytest.param(_trio, id="trio"),
]


# Of module scope, as Hypothesis wants its fixtures.
@pytest.fixture(scope="module", params=_BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """The backend of an async test, as anyio's plugin wants it."""
    return request.param()


def where(applies: Callable[[dict[str, Any]], bool]) -> pytest.MarkDecorator:
    """Collect a test only for those parameters, by name, of which ``applies`` says so: what cannot
    be on some backend or server is not a test that was skipped."""
    return pytest.mark.where(applies=applies)


def runs_asyncio(params: dict[str, Any]) -> bool:
    """Whether a test with these parameters runs on asyncio."""
    return params["anyio_backend"] is not _trio


on_asyncio = where(runs_asyncio)
in_virtual_time = where(lambda params: params["anyio_backend"] is not _uvloop)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leaves out what ``where`` does not want."""
    items[:] = [item for item in items if _applies(item)]


def _applies(item: pytest.Item) -> bool:
    params = getattr(getattr(item, "callspec", None), "params", {})
    if not all(mark.kwargs["applies"](params) for mark in item.iter_markers("where")):
        return False
    backend, dialect = params.get("anyio_backend"), params.get("dialect", UVICORN)
    is_contract = "contract" in item.path.parts
    is_usual = backend not in (_asyncio_eager, _uvloop) and (dialect in _FEW or not is_contract)
    is_long = any(mark.args[0] >= _LONG for mark in item.iter_markers("patience"))
    if _PART and (_PART == "measured") is not (is_usual and not is_long):
        return False
    if _MATRIX == "few":
        return is_usual and not is_long
    if _MATRIX == "some" and backend in (_asyncio_eager, _uvloop):
        return is_contract and dialect in _FEW
    return True


# Which of the tests to run, times backends and dialects. `HESPER_MATRIX=few`: asyncio and trio, for the
# contract four dialects that differ in all that matters (they repeat the disconnect or not, are silent,
# raise or hang, and cancel or not), and nothing that takes long: for a quick look, and CI's second
# interpreter. `some`, for CI: all dialects on asyncio and trio; on eager tasks and uvloop the contract
# with these four.
_MATRIX = os.environ.get("HESPER_MATRIX", "")

# Coverage doubles the time. `HESPER_PART=measured`: what `few` is, with coverage. `rest`: the others.
_PART = os.environ.get("HESPER_PART", "")

_FEW = [UVICORN, HYPERCORN_H2, DAPHNE, SPECIFICATION]

_LONG = 90  # seconds of patience


@pytest.fixture
def real_time(request: pytest.FixtureRequest) -> bool:
    """Whether time is real on this backend, so that a test keeps its sleeps short."""
    return "uvloop" in request.node.callspec.id.split("-")


@pytest.fixture(params=DIALECTS, ids=lambda dialect: dialect.name)
def dialect(request: pytest.FixtureRequest) -> Dialect:
    """Every server dialect in turn."""
    value: Dialect = request.param
    return value


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: Any, name: str, obj: Any) -> None:
    """Marks each async test for anyio, before anyio's own hook looks for the mark."""
    if isinstance(collector, (pytest.Module, pytest.Class)) and collector.istestfunction(obj, name):
        inner = obj.hypothesis.inner_test if hasattr(obj, "hypothesis") else obj
        if inspect.iscoroutinefunction(inner):
            pytest.mark.anyio(obj)


# Nothing is left behind.


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> None:
    """Puts the guard around an async test, inside of the event loop."""
    if inspect.iscoroutinefunction(pyfuncitem.obj) and "anyio_backend" in pyfuncitem.funcargs:
        pyfuncitem.obj = _guarded(pyfuncitem.obj)


def pytest_collection_finish() -> None:
    """Takes everything imported out of the collector's sight, so that it costs tests little."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """Shows everything to the collector again."""
    gc.unfreeze()


def _guarded(test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    @functools.wraps(test)
    async def guarded(**kwargs: Any) -> None:
        count = _TaskCount()
        with _watched_generators() as generators:
            await test(**kwargs)
            # What died unseen speaks now, in the test that it belongs to. The oldest generation is
            # left out: it grows with every test, and what this one made is hardly ever in it.
            gc.collect(1)
            left = [*count.more(), *generators()]
        if left:
            raise AssertionError("the test left behind: " + "; ".join(left))

    return guarded


class _TaskCount:
    """The tasks of the event loop that were there before the test."""

    def __init__(self) -> None:
        self._before = self._living()

    def _living(self) -> Any:
        try:
            return asyncio.all_tasks()
        except RuntimeError:
            import trio

            return trio.lowlevel.current_statistics().tasks_living

    def more(self) -> list[str]:
        """Describes the tasks that are there besides."""
        now = self._living()
        if isinstance(now, set):
            return [repr(task) for task in now - self._before]
        return [f"{now - self._before} trio tasks"] if now > self._before else []


@contextmanager
def _watched_generators() -> Iterator[Callable[[], list[str]]]:
    """Gives a function that names the async generators begun in the block and not closed."""
    before = sys.get_asyncgen_hooks()
    begun: list[weakref.ref[AsyncGeneratorType[Any, Any]]] = []
    orphans: list[str] = []

    def on_first_iteration(generator: Any) -> None:
        begun.append(weakref.ref(generator))
        if before.firstiter is not None:
            before.firstiter(generator)

    def on_collection(generator: Any) -> None:
        orphans.append(f"an async generator that nobody closed: {_place(generator.ag_code)}")
        if before.finalizer is not None:
            before.finalizer(generator)

    def unclosed() -> list[str]:
        alive = [generator for ref in begun if (generator := ref()) is not None]
        open_ones = [generator for generator in alive if generator.ag_frame is not None]
        return orphans + [f"an open async generator: {_place(g.ag_code)}" for g in open_ones]

    sys.set_asyncgen_hooks(on_first_iteration, on_collection)
    try:
        yield unclosed
    finally:
        sys.set_asyncgen_hooks(*before)


def _place(code: CodeType) -> str:
    return f"{code.co_qualname} ({code.co_filename}:{code.co_firstlineno})"


class ExpectedErrors(list[logging.LogRecord]):
    """The records of level ERROR and above; what is still in it at the end fails the test."""

    def take(self) -> list[str]:
        """Takes all records out, and returns their messages."""
        messages = [record.getMessage() for record in self]
        self.clear()
        return messages


@pytest.fixture(autouse=True)
def expected_errors() -> Iterator[ExpectedErrors]:
    """Collects the ERROR records of all loggers; a test that expects some takes them out."""
    make = logging.getLogRecordFactory()
    records = ExpectedErrors()

    # A handler would miss the loggers that do not propagate, as uvicorn's.
    def watch(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        if record.levelno >= logging.ERROR:
            records.append(record)
        return record

    logging.setLogRecordFactory(watch)
    try:
        yield records
    finally:
        logging.setLogRecordFactory(make)
    if records:
        pytest.fail("unexpected errors were logged: " + "; ".join(records.take()))


# Nothing hangs.


def pytest_configure(config: pytest.Config) -> None:
    """Keeps the real stderr, which pytest captures, for the tracebacks of a test that hangs."""
    config.addinivalue_line("markers", "patience(seconds): how long the test may take, for real.")
    config.addinivalue_line("markers", "where(applies): the parameters that it is a test for.")
    capture: Any = config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        config.stash[_REAL_STDERR] = os.dup(2)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Gives the descriptor back."""
    os.close(config.stash[_REAL_STDERR])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """Ends the run, with the traceback of every thread, when a test hangs."""
    mark = item.get_closest_marker("patience")
    seconds = mark.args[0] if mark is not None else _PATIENCE
    faulthandler.dump_traceback_later(seconds, exit=True, file=item.config.stash[_REAL_STDERR])
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()
