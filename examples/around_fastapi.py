"""The five middlewares of `middleware.py` around a FastAPI application: one bridge for all."""

from __future__ import annotations

from typing import Annotated

import anyio
from fastapi import FastAPI, Header, HTTPException

from examples.middleware import MIDDLEWARE
from hesper.applications import Hesper
from hesper.routing import Mount

api = FastAPI()


@api.get("/slow/{seconds}")
async def slow(seconds: float) -> dict[str, float]:
    await anyio.sleep(seconds)
    return {"slept": seconds}


@api.get("/private")
async def private(authorization: Annotated[str | None, Header()] = None) -> dict[str, str]:
    if authorization is None:
        raise HTTPException(401)
    return {"hello": "you"}


app = Hesper(routes=[Mount("/", app=api)], middleware=MIDDLEWARE)
