"""Falcon's ASGI app, with middleware objects that have `process_response`."""

from collections.abc import Sequence
from typing import cast

import falcon
from falcon.asgi import App as FalconApp
from falcon.asgi import Request, Response

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


BUILDERS = {"falcon": build}
