"""Falcon's ASGI app, with middleware objects that have `process_response`."""

from collections.abc import Sequence
from typing import cast

import falcon
from falcon.asgi import App as FalconApp
from falcon.asgi import Request, Response, WebSocket

from benchmarks import samples
from benchmarks.asgi import App
from benchmarks.peers import header

DISTRIBUTION = "falcon"


class SetHeader:
    def __init__(self, name: str) -> None:
        self.name = name

    async def process_response(
        self, req: Request, resp: Response, resource: object, req_succeeded: bool
    ) -> None:
        resp.set_header(self.name, "1")


class Show:
    async def on_get(self, req: Request, resp: Response, id: int) -> None:
        resp.content_type = falcon.MEDIA_TEXT
        resp.text = f"item {id}"


def build(paths: Sequence[str], layers: int) -> App:
    app = FalconApp(middleware=[SetHeader(header(layer)) for layer in range(layers)])
    for path in paths:
        app.add_route(path, Show())
    return cast(App, app)


class EchoJSON:
    async def on_post(self, req: Request, resp: Response) -> None:
        resp.media = await req.get_media()


class Read:
    async def on_get(self, req: Request, resp: Response, id: int) -> None:
        resp.content_type = falcon.MEDIA_TEXT
        cookies, header = req.cookies, req.get_header
        resp.text = (
            f"{cookies['session']} {cookies['theme']} "
            f"{header('user-agent')} {header('x-request-id')}"
        )


class Stream:
    async def on_get(self, req: Request, resp: Response) -> None:
        resp.content_type = "text/plain"
        resp.stream = samples.chunks()


class Events:
    async def on_get(self, req: Request, resp: Response) -> None:
        resp.content_type = "text/event-stream"
        resp.stream = samples.events()


class Socket:
    async def on_websocket(self, req: Request, ws: WebSocket) -> None:
        await ws.accept()
        try:
            while True:
                await ws.send_text(await ws.receive_text())
        except falcon.WebSocketDisconnected:
            pass


class Upload:
    async def on_post(self, req: Request, resp: Response) -> None:
        """Count the file's bytes: Falcon gives parts as streams, and keeps no file."""
        title, size = "", 0
        async for part in await req.get_media():
            if part.name == "title":
                title = await part.text
            else:
                async for piece in part.stream:
                    size += len(piece)
        resp.content_type = falcon.MEDIA_TEXT
        resp.text = f"{title}: {size}"


def app(path: str, resource: object) -> App:
    app = FalconApp()
    app.add_route(path, resource)
    return cast(App, app)


def files_app() -> App:
    app = FalconApp()
    app.add_static_route("/files", samples.folder())
    return cast(App, app)


BUILDERS = {"falcon": build}
FEATURES = {
    "json": lambda: app("/json", EchoJSON()),
    "read": lambda: app("/read/{id:int}", Read()),
    "stream": lambda: app("/stream", Stream()),
    "socket": lambda: app("/socket", Socket()),
    "files": files_app,
    "upload": lambda: app("/upload", Upload()),
    "events": lambda: app("/events", Events()),
}
