"""What a scripted client is going to do, as a value.

The law: a plan never changes. Each step of a script makes a new one, so one script can be run many
times, and varied between the runs.
"""

from dataclasses import dataclass
from typing import Any

from hesper.types import Scope


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The moments of one exchange; None means that it never comes."""

    scope: Scope
    """The scope, copied for each run."""

    parts: tuple[Any, ...] = ()
    """What the client sends: bytes and str, and numbers for pauses in seconds."""

    unfinished: bool = False
    """Whether the last part does not end the body."""

    leave_at: int | None = None
    """The number of the message at whose delivery the client leaves; 0 is before the first."""

    leave_after_part: int | None = None
    """The number of parts after which the client leaves."""

    leaves_after_request: bool = False
    """Whether the client leaves when it has sent everything."""

    leave_after: float | None = None
    """Seconds after the call of the application at which the client leaves."""

    stall_at: int | None = None
    """The number of the message at which the client stops reading."""

    close: tuple[int | None, str] | None = None
    """Code and reason of the frame with which a WebSocket client leaves; None is no frame."""
