"""One HTTP request, as a server in its dialect takes it to the application and back.

The law: "HTTP & WebSocket ASGI Message Format" 2.5, "HTTP"; where it is silent, the dialect.
"""

from collections.abc import Iterator
from typing import Any

from hesper.testing._connection import Connection
from hesper.testing._dialect import SendMode
from hesper.types import ASGIApp, Message

# RFC 9110, sections 9.3.2, 15.3.5 and 15.4.5: their Content-Length is not about this body.
_BODILESS = frozenset({204, 304})


class HTTPConnection(Connection):
    """The exchange of one HTTP request and its response."""

    body_arrived = False
    """Whether the end of the request body was read from the wire."""

    made_up_disconnect = False
    """Whether a cancelled `receive` made the server believe that the client left."""

    awaits_continue = False
    """Whether the client holds its body back until ``100 Continue`` (RFC 9110, 10.1.1)."""

    def send_after_leave(self) -> SendMode:
        return self.dialect.send_after_leave

    def parts(self) -> Iterator[Message | float]:
        parts = self.plan.parts
        last = max((n for n, part in enumerate(parts) if isinstance(part, bytes)), default=None)
        for n, part in enumerate(parts):
            if isinstance(part, bytes):
                yield self.frame(part, more=n != last or self.plan.unfinished)
            else:
                yield part
        if last is None and not self.plan.unfinished:
            yield self.frame(b"", more=False)

    def frame(self, data: Any, *, more: bool) -> Message:
        return {"type": "http.request", "body": data, "more_body": more}

    def begin(self) -> None:
        expects = any(name == b"expect" for name, _ in self.scope["headers"])
        if expects and self.dialect.continue_at_first_receive:
            self.awaits_continue = True
        else:
            self.result.continued = expects
            self.feed()

    async def run_app(self, app: ASGIApp) -> None:
        while self.dialect.buffers_request and not self.body_arrived and not self.seen_leaving:
            await self.receivers.wait()
        if self.body_arrived or not self.dialect.buffers_request:
            await super().run_app(app)
        else:
            self.result.ended = "not called"
            self.ended.set()
            self.progress.ring()

    # The server reads.

    async def receive(self) -> Message:
        if self.awaits_continue:
            self.awaits_continue = False
            self.result.continued = True
            self.feed()
        return await super().receive()

    def message_read(self, message: Message) -> None:
        self.body_arrived = not message["more_body"]

    def on_receive_cancelled(self) -> None:
        self.made_up_disconnect = self.dialect.cancelled_receive == "disconnects"
        super().on_receive_cancelled()

    def has_message(self) -> bool:
        disconnected = (
            self.seen_leaving
            or (self.finished and self.dialect.disconnect_after_response)
            or (self.made_up_disconnect and self.body_arrived)
        )
        may_say_so = self.dialect.repeats_disconnect or not self.disconnect_given
        return bool(self.arrived) or (disconnected and may_say_so)

    def take_message(self) -> Message:
        if self.seen_leaving and self.dialect.disconnect_overtakes_body:
            self.arrived.clear()
        if self.arrived:
            message = self.arrived.popleft()
            self.read_wire()
            return message
        self.disconnect_given = True
        self.result.told = self.result.told or not self.finished
        return {"type": "http.disconnect"}

    # The server writes.

    def deliver(self, message: Message) -> None:
        result = self.result
        match message["type"]:
            case "http.response.start":
                result.status = message["status"]
                result.raw_headers = [(bytes(n), bytes(v)) for n, v in message.get("headers", ())]
            case "http.response.body":
                result.body += message.get("body", b"")
            case "http.response.trailers":
                result.trailers += [(bytes(n), bytes(v)) for n, v in message.get("headers", ())]
            case "http.response.pathsend":
                with open(message["path"], "rb") as file:
                    result.body += file.read()
            case "http.response.zerocopysend":
                file = message["file"]
                if message.get("offset") is not None:
                    file.seek(message["offset"])
                result.body += file.read(message.get("count", -1))

    def advance(self) -> None:
        already = self.finished
        super().advance()
        if self.result.complete and not already:
            self._check_whole()

    def _check_whole(self) -> None:
        result = self.result
        broken = any(entry.error is not None for entry in result.sent)
        declared = result.headers.get("content-length", "")
        bodiless = self.scope["method"] == "HEAD" or result.status in _BODILESS
        missing = 0
        if declared.isdecimal() and not bodiless:
            missing = int(declared) - len(result.body)
        if missing < 0:
            result.violations.append(
                f"the body has {len(result.body)} bytes, its Content-Length says {declared}"
            )
        result.truncated_as_complete = broken or missing > 0
