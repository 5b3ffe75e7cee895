"""What ASGI leaves open, as switches.

The law: a dialect is a value. Everything in which servers differ when a client leaves is one field
here, documented with what was measured; every server is one row of the table in `dialects`. The
specification says nothing on most of it, so an application has to be right under all of them.

A dialect plays a server's manners, not its code: where a server sometimes does the worse thing,
the dialect always does it.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

SendMode = Literal["silent", "oserror", "private", "oserror then private", "hang"]
"""What `send` does for a client that has left.

``"silent"`` takes the message and drops it, ``"oserror"`` raises a subclass of `OSError`,
``"private"`` raises a `RuntimeError`, ``"oserror then private"`` changes from one to the other once
the disconnect was received, ``"hang"`` never returns.
"""


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How one server behaves when things end; the defaults are uvicorn's."""

    name: str
    """The name that tests show."""

    spec_version: str | None = "2.3"
    """``scope["asgi"]["spec_version"]`` of HTTP; None leaves the key out (daphne).

    It predicts nothing: gunicorn says 2.4 and drops messages in silence, against 2.4.
    """

    websocket_spec_version: str | None = "2.4"
    """``scope["asgi"]["spec_version"]`` of WebSockets."""

    http_version: str = "1.1"
    """``scope["http_version"]`` of HTTP requests."""

    extensions: tuple[str, ...] = ()
    """The extensions of HTTP scopes."""

    websocket_extensions: tuple[str, ...] = ("websocket.http.response",)
    """The extensions of WebSocket scopes; daphne and gunicorn do not offer denial responses."""

    lifespan: bool = True
    """Whether the server runs the lifespan protocol; daphne does not, nor has it ``state``."""

    repeats_disconnect: bool = True
    """Whether a second `receive` gives ``http.disconnect`` again, as on uvicorn, granian, gunicorn.

    On hypercorn, daphne and anycorn it hangs for ever.
    """

    receive_suspends: bool = False
    """Whether `receive` passes a checkpoint before it gives a message that is already there.

    hypercorn on trio and anycorn do, so a poll in a cancelled scope never sees the disconnect;
    uvicorn does not, so a loop over `receive` may never let another task run.
    """

    cancelled_receive: Literal["harmless", "loses", "disconnects"] = "harmless"
    """What a cancelled `receive` does.

    ``"loses"`` drops the message it would have given (5 to 23 % of an upload on granian, 2 to 5 %
    on anycorn; here always). ``"disconnects"`` makes up a disconnect for ever after, once the body
    was received, although the client is there (gunicorn).
    """

    second_receive_orphans_first: bool = False
    """Whether a second concurrent `receive` makes the first one hang for ever (gunicorn)."""

    disconnect_overtakes_body: bool = True
    """Whether a disconnect drops the body that was received but not read (uvicorn, gunicorn).

    On the others the body comes first, then the disconnect.
    """

    disconnect_after_response: bool = True
    """Whether `receive` gives the disconnect at once when the response is complete.

    On gunicorn it waits until the client really leaves, which a kept-alive connection does not.
    """

    seen_by: Literal["receive", "next receive", "nobody"] = "receive"
    """Who learns that the client left: a pending `receive`, only the next call, or nobody.

    Behind a pipelined request uvicorn with h11 tells the next call only; uvicorn with httptools,
    hypercorn, granian and anycorn never tell.
    """

    reads_ahead: int = 10
    """How many unread request messages the server takes from the wire before it stops reading.

    A client that leaves behind more than these is not seen until they are read (8 to 64 KB, or ten
    chunks on hypercorn).
    """

    unread_body_blocks_send: bool = False
    """Whether `send` hangs while the client has sent more than ``reads_ahead`` unread messages.

    hypercorn and anycorn; only reading the body frees it, not even the client's leaving does.
    """

    buffers_request: bool = False
    """Whether the app is only called once the whole body has arrived; never, if it breaks off.

    daphne keeps it on disk.
    """

    continue_at_first_receive: bool = True
    """Whether ``100 Continue`` waits for the first `receive` (uvicorn, granian, gunicorn).

    hypercorn, daphne and anycorn send it before the app asked.
    """

    send_suspends: bool = False
    """Whether `send` passes a checkpoint although the client is reading."""

    send_after_leave: SendMode = "silent"
    """What `send` does once the client has left; silent on every HTTP/1.1 server measured.

    OSError on gunicorn's HTTP/2, a RuntimeError on uvloop behind a pipelined request, a hang on
    hypercorn's and anycorn's HTTP/2.
    """

    backpressure: bool = True
    """Whether `send` blocks while the client does not read; on daphne it takes everything."""

    blocked_send: Literal["returns", "raises", "stays"] = "returns"
    """What a blocked `send` does when the client leaves: silent on most, OSError on gunicorn's
    HTTP/2; on gunicorn (HTTP/1.1) and hypercorn's HTTP/2 it stays blocked."""

    shields_blocked_send: bool = False
    """Whether a blocked `send` cannot be cancelled (hypercorn on trio, anycorn)."""

    answers_half_closed: bool = False
    """Whether a client that closed its sending side still gets the response (hypercorn, anycorn).

    All servers report the half-close as a disconnect, and the others close at once.
    """

    cancels_app: Literal["task", "scope"] | None = None
    """Whether and how the app is cancelled when the client has left: `asyncio.Task.cancel`, which
    is delivered once (daphne, gunicorn), or a cancel scope, which cancels every further await. On
    trio both are a scope."""

    cancel_grace: float = 3.0
    """Seconds from the client's leaving to that cancellation (3 on gunicorn, set to 3 on daphne,
    where 10 is the default)."""

    cancels_after_response: bool = False
    """Whether the client's leaving cancels work after the complete response too (gunicorn)."""

    websocket_lost_code: int = 1005
    """The close code for a client that vanished: 1005 on uvicorn and granian, 1006 elsewhere."""

    websocket_close_code: int | None = None
    """The close code given for any closing frame, None for the client's own; 1006 on hypercorn."""

    websocket_no_code: int | None = 1005
    """The close code if the frame had none: None on daphne, 1006 on hypercorn, else 1005."""

    websocket_reason: bool = True
    """Whether the client's reason is passed on; only uvicorn does."""

    websocket_second: Literal["hang", "once 1005", "always 1005"] = "once 1005"
    """What `receive` does after ``websocket.disconnect``: one more with 1005, then it hangs
    (uvicorn); 1005 for ever (uvicorn with websockets' old protocol, granian); it hangs (others)."""

    websocket_send_after_leave: SendMode = "oserror"
    """What `send` does on a WebSocket whose client has left."""

    websocket_leave_before_accept_seen: bool = True
    """Whether `receive` learns of a client that left before the handshake; not on granian."""

    websocket_own_code: int | None = None
    """The code that `receive` gives after the app has closed: None for the app's own and its reason
    (uvicorn), 1000 on hypercorn, 1005 on granian, 1006 on daphne and gunicorn."""

    websocket_any_code: bool = True
    """Whether an open WebSocket may be closed with a code of 1001 to 2999, such as 1012; daphne's
    `send` raises an Exception of no class of its own, and the socket stays open."""

    def but(self, **switches: Any) -> "Dialect":
        """Returns the same dialect with some switches set otherwise.

        Args:
            switches: field names and their values; give a ``name`` if tests show it.
        """
        return replace(self, **switches)
