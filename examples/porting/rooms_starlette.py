"""Rooms to talk in: WebSockets, background tasks and streaming.

Run it with `uvicorn examples.porting.rooms_starlette:app`.
"""

import json
import time
from collections import defaultdict

import anyio
import anyio.lowlevel
from starlette.applications import Starlette
from starlette.background import BackgroundTask, BackgroundTasks
from starlette.endpoints import HTTPEndpoint, WebSocketEndpoint
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocketDisconnect

rooms = defaultdict(list)
members = defaultdict(set)
log = []


class Timing(BaseHTTPMiddleware):
    async def dispatch(self, request, call_next):
        began = time.perf_counter()
        response = await call_next(request)
        response.headers["server-timing"] = f"app;dur={(time.perf_counter() - began) * 1000:.1f}"
        return response


class Room(HTTPEndpoint):
    async def get(self, request):
        return JSONResponse(rooms[request.path_params["room"]])

    async def post(self, request):
        room = request.path_params["room"]
        said = await request.json()
        await say(room, said["text"])
        tasks = BackgroundTasks()
        tasks.add_task(log.append, f"{room}: {said['text']}")
        tasks.add_task(keep, room)
        return JSONResponse({"count": len(rooms[room])}, status_code=201, background=tasks)

    async def delete(self, request):
        rooms.pop(request.path_params["room"], None)
        return PlainTextResponse("gone", background=BackgroundTask(log.append, "gone"))


async def keep(room, count=100):
    del rooms[room][:-count]


async def say(room, text):
    rooms[room].append(text)
    for member in list(members[room]):
        await member.send_text(text)


async def talk(websocket):
    room = websocket.path_params["room"]
    await websocket.accept(
        subprotocol="talk" if "talk" in websocket.scope["subprotocols"] else None
    )
    members[room].add(websocket)
    try:
        async for text in websocket.iter_text():
            await say(room, text)
    except WebSocketDisconnect:
        pass
    finally:
        members[room].discard(websocket)


class Echo(WebSocketEndpoint):
    encoding = "json"

    async def on_receive(self, websocket, data):
        await websocket.send_json({"you said": data})

    async def on_disconnect(self, websocket, close_code):
        log.append(f"left with {close_code}")


async def history(request):
    async def lines():
        for text in rooms[request.path_params["room"]]:
            yield json.dumps(text) + "\n"
            await anyio.lowlevel.checkpoint()

    return StreamingResponse(lines(), media_type="application/x-ndjson")


def count(request):
    def numbers():
        for number in range(3):
            yield f"{number} "

    return StreamingResponse(numbers(), media_type="text/plain")


app = Starlette(
    routes=[
        Mount(
            "/rooms",
            routes=[
                Route("/{room}", Room),
                Route("/{room}/history", history),
                WebSocketRoute("/{room}/talk", talk),
            ],
        ),
        Route("/count", count),
        WebSocketRoute("/echo", Echo),
    ],
    middleware=[Middleware(Timing)],
)
