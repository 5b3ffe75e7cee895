"""What is wrong with a run, and how that is usually mended.

The law: a check reads one `Outcome`, and the undisturbed one beside it; it names a code of the
table, and what it is about. Each code has one sentence for what is wrong and one for the mending.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from hesper.testing._sweep.frames import Place
from hesper.testing._sweep.loops import cancelled_class
from hesper.testing._sweep.play import Outcome

CODES = {
    "raised": (
        "The application raised {} into the server, which logs it as a crash.",
        "An ending is no error: catch what belongs to it where it is known what to clean up, and "
        "return; only the server's own exception of send, and a cancellation, may go through.",
    ),
    "self-cancelled": (
        "A cancellation that nobody had asked for came out of the application: {}.",
        "Something that was cancelled inside was awaited outside: catch the cancellation of a task "
        "that you cancelled where you await it.",
    ),
    "cancel-swallowed": (
        "The application was cancelled, and returned as if it had not been{}.",
        "Do not swallow the cancellation: no bare `except`, no `except BaseException`, no "
        "`except CancelledError` without `raise`.",
    ),
    "logged": (
        "An error was logged: {}.",
        "A client that leaves is daily life, not an error: do not log it as one, and catch what the "
        "ending makes fail.",
    ),
    "hang": (
        "The application {}.",
        "Something waits that nothing will wake: listen for the disconnect beside the work, give "
        "waits a timeout, and let cancellations through.",
    ),
    "task-left": (
        "A task was left behind when the server had shut down: {}.",
        "Give the task an owner that waits for it or cancels it: a task group around its use, one "
        "in the lifespan, or a background task of the response.",
    ),
    "generator-left": (
        "An asynchronous generator was left to the garbage collector in the middle: {}.",
        "Close it where it is used, with `async with aclosing(generator)`; its `finally` may else "
        "run much later, in another task, or not at all.",
    ),
    "cleanup-cut": (
        "A cleanup was broken off by a second cancellation: {}.",
        "What is awaited in a `finally`, an `except` or an `__aexit__` is cancelled again: put it "
        "in `with anyio.move_on_after(10, shield=True)`.",
    ),
    "receive-left": (
        "{} of receive was still open when the application had ended.",
        "End the task that listens before the application returns: cancel it, and await it.",
    ),
    "file-left": (
        "A temporary file was left open: {}.",
        "Close it in a `finally` or a `with`: `async with request.form() as form` closes uploads.",
    ),
    "scope-left": (
        "A cancel scope that was entered in the request's task was not left{}.",
        "Leave scopes and task groups in the order and in the task in which they were entered: do "
        "not `yield` inside of one, and use `with`.",
    ),
    "sent-twice": (
        "The application began a second response: {}.",
        "What answers errors has to know whether the response has begun, and raise if it has.",
    ),
    "protocol": (
        "The application broke the ASGI specification: {}.",
        "Send each message once and in the order of the specification, and nothing after the end.",
    ),
    "truncated": (
        "A part of the body was passed off as the whole: {}.",
        "Do not send the last message (`more_body=False`) after something went wrong: raise, or "
        "return without it, and the server breaks the connection off.",
    ),
    "lifespan": (
        "The shutdown failed: {}.",
        "What the lifespan closes is in use until the requests have ended: end them first, and let "
        "nothing wait for a client.",
    ),
    "unseen": (
        "Something failed where nobody could see it: {}.",
        "Await every coroutine, and let no generator or destructor raise while it is closed.",
    ),
    "check": ("{}", "This is a check of your own."),
}
"""Code -> what is wrong, with a place for what it is about, and how it is usually mended."""


class Finding(NamedTuple):
    """One thing that is wrong with one run."""

    code: str
    about: str
    """What it is about; the same for the same fault at other points."""

    @property
    def sentence(self) -> str:
        return CODES[self.code][0].format(self.about)

    @property
    def mending(self) -> str:
        return CODES[self.code][1]


def check(outcome: Outcome, usual: Outcome | None = None) -> list[Finding]:
    """Returns what is wrong with a run.

    Args:
        usual: the undisturbed run; what it has raised or logged as well is not the ending's fault.
    """
    if outcome.hung is not None:
        # It was killed, so whatever it left is not its fault.
        return [Finding("hang", outcome.hung), *_repeatable(_protocol(outcome))]
    found = dict.fromkeys(_repeatable(finding for rule in _RULES for finding in rule(outcome)))
    if usual is not None and usual.hung is None:
        found.update(dict.fromkeys(_compared(outcome, usual)))
        for known in _repeatable((*_raised(usual), *_logged(usual))):
            found.pop(known, None)
    return list(found)


def repeatable(text: str) -> str:
    """Returns a text without what is another each time: addresses, and asyncio's task numbers."""
    return _BY_CHANCE.sub("...", text)


# As object.__repr__ writes them, asyncio's tasks, and anyio's cancellations.
_BY_CHANCE = re.compile(
    r"(?<= at )0x[0-9a-fA-F]+|(?<=name='Task-)\d+|(?<=via cancel scope )[0-9a-f]+"
)


def _repeatable(findings: Iterable[Finding]) -> Iterator[Finding]:
    for code, about in findings:
        yield Finding(code, repeatable(about))


def _raised(outcome: Outcome) -> Iterator[Finding]:
    # A scope that was not left breaks the server's own.
    raised = outcome.result.raised or (None if outcome.scope_left else outcome.crashed)
    if raised is None:
        return
    if any(raised is entry.error for entry in outcome.result.sent):
        return  # "re-raising it" is allowed, Disconnected Client - send exception
    if isinstance(raised, cancelled_class(outcome.backend)):
        yield Finding("self-cancelled", repr(raised))
    else:
        yield Finding("raised", _name(raised))


def _name(error: BaseException) -> str:
    text = str(error).partition("\n")[0]
    kind = type(error).__qualname__
    if isinstance(error, BaseExceptionGroup):
        return f"{kind}({', '.join(_name(inner) for inner in error.exceptions)})"
    return f"{kind}: {text}" if text else kind


def _swallowed(outcome: Outcome) -> Iterator[Finding]:
    if outcome.point.kind != "cancel" or outcome.result.ended != "returned":
        return
    if outcome.backend == "trio":
        return  # there a scope goes on cancelling, and takes in what is left of it
    told = outcome.cancels > 0 and not outcome.cancel_pending
    # An application that is about to end anyway may be cancelling its own tasks at that moment, and
    # the scope that it cancelled takes in every cancellation.
    ending = outcome.result.complete and outcome.struck == (
        outcome.result.duration,
        len(outcome.result.sent),
    )
    if told and not ending:
        yield Finding("cancel-swallowed", "")


def _logged(outcome: Outcome) -> Iterator[Finding]:
    for text in outcome.left.errors:
        yield Finding("logged", text)


def _left(outcome: Outcome) -> Iterator[Finding]:
    for task in outcome.tasks:
        yield Finding("task-left", _where(task))
    for begin, stands in outcome.left.generators:
        yield Finding("generator-left", f"{_where(begin)}, which stood in line {stands.line}")
    for place in outcome.cuts:
        yield Finding("cleanup-cut", _where(place))
    for file in outcome.files:
        yield Finding("file-left", file)
    for text in outcome.left.unseen:
        yield Finding("unseen", text)
    if outcome.scope_left:
        yield Finding("scope-left", "")
    pending = outcome.result.pending_receives
    if pending:
        yield Finding("receive-left", "1 call" if pending == 1 else f"{pending} calls")
    if outcome.lifespan is not None:
        yield Finding("lifespan", outcome.lifespan.partition(";")[0])


def _where(place: Place) -> str:
    return f"{place.function} ({os.path.basename(place.file)}:{place.line})"


def _protocol(outcome: Outcome) -> Iterator[Finding]:
    for text in outcome.result.violations:
        twice = text.startswith(("http.response.start was sent", "websocket.accept was sent"))
        yield Finding("sent-twice" if twice else "protocol", text)


def _truncated(outcome: Outcome) -> Iterator[Finding]:
    if outcome.result.truncated_as_complete:
        yield Finding("truncated", "its end was sent although a message before it had failed")


def _compared(outcome: Outcome, usual: Outcome) -> Iterator[Finding]:
    result, whole = outcome.result, usual.result
    if not (result.complete and whole.complete and result.status == whole.status):
        return
    if result.headers.get("content-type", "").startswith("text/event-stream"):
        return  # each event is whole, and the stream may end after any
    if len(result.body) < len(whole.body) and whole.body.startswith(result.body):
        yield Finding("truncated", "its end was sent although not all of it had been sent")


_RULES: tuple[Callable[[Outcome], Iterator[Finding]], ...] = (
    _raised,
    _swallowed,
    _logged,
    _left,
    _protocol,
    _truncated,
)
