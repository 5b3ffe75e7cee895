"""One WebSocket, as a server in its dialect takes it to the application and back.

The law: "HTTP & WebSocket ASGI Message Format" 2.5, "WebSocket"; where it is silent, the dialect.
"""

from collections.abc import Iterator
from typing import Any

from hesper.testing._connection import Connection
from hesper.testing._dialect import SendMode
from hesper.types import Message

# RFC 6455, section 7.4.1: the frame had no code; there was no frame.
_NO_CODE = 1005
_LOST = 1006


class WebSocketConnection(Connection):
    """The exchange of one WebSocket, from the handshake to the end."""

    disconnects = 0
    """How many times `receive` gave a disconnect."""

    closing_frame: tuple[int | None, str] | None = None
    """Code and reason with which the client left."""

    def send_after_leave(self) -> SendMode:
        return self.dialect.websocket_send_after_leave

    def parts(self) -> Iterator[Message | float]:
        for part in self.plan.parts:
            yield part if isinstance(part, (int, float)) else self.frame(part, more=True)

    def frame(self, data: Any, *, more: bool) -> Message:
        return {"type": "websocket.receive", "text" if isinstance(data, str) else "bytes": data}

    def begin(self) -> None:
        self.closing_frame = self.plan.close
        self.write({"type": "websocket.connect"})

    # The server reads.

    def has_message(self) -> bool:
        # A handshake that was answered, with whatever, is no longer "before accept".
        answered = self.conduct.state != "new"
        seen = self.seen_leaving and (answered or self.dialect.websocket_leave_before_accept_seen)
        limit = {"hang": 1, "once 1005": 2}.get(self.dialect.websocket_second)
        may_say_so = limit is None or self.disconnects < limit
        return bool(self.arrived) or ((seen or self.finished) and may_say_so)

    def take_message(self) -> Message:
        if self.arrived:
            message = self.arrived.popleft()
            self.read_wire()
            return message
        code, reason = self._first_ending() if self.disconnects == 0 else (_NO_CODE, "")
        self.disconnects += 1
        self.disconnect_given = True
        self.result.told = self.result.told or not self.finished
        message = {"type": "websocket.disconnect", "code": code}
        if reason and self.dialect.websocket_reason:
            message["reason"] = reason
        return message

    def _first_ending(self) -> tuple[int | None, str]:
        result, dialect = self.result, self.dialect
        if result.close_code is not None:
            if dialect.websocket_own_code is not None:
                return dialect.websocket_own_code, ""
            return result.close_code, result.close_reason or ""
        if not result.accepted:
            return _LOST, ""
        if self.closing_frame is None:
            return dialect.websocket_lost_code, ""
        code, reason = self.closing_frame
        if dialect.websocket_close_code is not None:
            return dialect.websocket_close_code, reason
        return dialect.websocket_no_code if code is None else code, reason

    # The server writes.

    async def send(self, message: Message) -> None:
        """The `send` of the application."""
        if message["type"] == "websocket.close" and self.result.accepted and not self.left:
            code = message.get("code", 1000)
            if 1000 < code < 3000 and not self.dialect.websocket_any_code:
                raise Exception(f"invalid close code {code} (must be 1000 or from [3000, 4999])")
        await super().send(message)

    def deliver(self, message: Message) -> None:
        result = self.result
        match message["type"]:
            case "websocket.accept":
                result.accepted, result.status = True, 101
                result.subprotocol = message.get("subprotocol")
                result.raw_headers = [(bytes(n), bytes(v)) for n, v in message.get("headers", ())]
                self.feed()
            case "websocket.send":
                text = message.get("text")
                result.frames.append(message["bytes"] if text is None else text)
            case "websocket.close" if result.accepted:
                result.close_code = message.get("code", 1000)
                result.close_reason = message.get("reason")
            case "websocket.close":
                result.status = 403
            case "websocket.http.response.start":
                result.status = message["status"]
                result.raw_headers = [(bytes(n), bytes(v)) for n, v in message.get("headers", ())]
            case _:  # websocket.http.response.body, by the table of `Conduct`
                result.body += message.get("body", b"")

    def advance(self) -> None:
        super().advance()
        # Where a leaving before the handshake is not seen, its answer is what uncovers it.
        self.receivers.ring()
