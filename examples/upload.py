"""Uploads, as a stream and as a form. One that breaks off is not an error, and leaves nothing."""

from __future__ import annotations

import hashlib

from hesper.applications import Hesper
from hesper.datastructures import UploadFile
from hesper.exceptions import ClientDisconnect, HTTPException
from hesper.requests import Request
from hesper.responses import JSONResponse
from hesper.routing import Route

broken_off: list[int] = []
"""How many bytes had come of the uploads that broke off."""


async def digest(request: Request) -> JSONResponse:
    """Read the body chunk by chunk; it is never in memory as a whole."""
    sha256 = hashlib.sha256()
    size = 0
    try:
        async for chunk in request.stream():
            sha256.update(chunk)
            size += len(chunk)
    except ClientDisconnect:
        broken_off.append(size)
        raise  # nobody is there to answer: this ends the request quietly
    return JSONResponse({"size": size, "sha256": sha256.hexdigest()})


async def form(request: Request) -> JSONResponse:
    """Read a multipart form; its temporary files are closed with the block."""
    async with request.form(max_files=1) as fields:
        file = fields.get("file")
        if not isinstance(file, UploadFile):
            raise HTTPException(400, "Expected a file in the field 'file'.")
        size = len(await file.read())
        return JSONResponse({"name": file.filename, "size": size})


app = Hesper(
    routes=[
        Route("/digest", digest, methods=["POST"]),
        Route("/form", form, methods=["POST"]),
    ]
)
