"""An upload that breaks off leaves its temporary file, open and on the disk.

The bug: the file is closed and removed where the upload has succeeded, and where it has failed with
an error that somebody thought of. That the client leaves, or that the request is cancelled, nobody
thought of: each aborted upload costs a file descriptor and up to 100 MB.

Reported in: NousResearch/hermes-agent#48259 (FastAPI), Kludex/python-multipart#325. It is the
application's own in every framework; here in Hesper, which is quiet about the leaving. Mended with
a `finally`.
"""

import atexit
import os
from shutil import rmtree
from tempfile import NamedTemporaryFile, mkdtemp

import anyio

from hesper.applications import Hesper
from hesper.exceptions import HTTPException
from hesper.responses import PlainTextResponse
from hesper.routing import Route

REQUEST = ("POST", "/videos", (b"a long ", 5, b"video"))
FINDS = "file-left"

MOST = 100_000_000  # bytes

UPLOADS = mkdtemp(prefix="uploads-")
atexit.register(rmtree, UPLOADS)


def create():
    return NamedTemporaryFile(dir=UPLOADS, delete=False)


def remove(file):
    file.close()
    os.unlink(file.name)


async def leaking(request):
    file = create()
    try:
        async for chunk in request.stream():
            file.write(chunk)
            if file.tell() > MOST:
                raise HTTPException(413)
    except HTTPException:
        remove(file)
        raise
    await anyio.sleep(1)  # it is moved to the store
    remove(file)
    return PlainTextResponse("kept", status_code=201)


async def clean(request):
    file = create()
    try:
        async for chunk in request.stream():
            file.write(chunk)
            if file.tell() > MOST:
                raise HTTPException(413)
        await anyio.sleep(1)  # it is moved to the store
    finally:
        remove(file)
    return PlainTextResponse("kept", status_code=201)


app = Hesper(routes=[Route("/videos", leaking, methods=["POST"])])
mended = Hesper(routes=[Route("/videos", clean, methods=["POST"])])
