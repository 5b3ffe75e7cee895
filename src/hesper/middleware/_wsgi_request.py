"""A request as a WSGI app sees it (PEP 3333): its environ, and its body as a file.

The law: nothing that a client sends can pass for something that the server says.
"""

from __future__ import annotations

import io
import sys
from tempfile import SpooledTemporaryFile
from typing import IO, Any

from hesper._spools import Spools
from hesper._utils import get_route_path
from hesper.requests import Request
from hesper.types import Scope

Environ = dict[str, Any]

SPOOL_SIZE = 1024 * 1024
"""Bytes of a body that are kept in memory; a longer one is on disk."""


def build_environ(scope: Scope, body: bytes | IO[bytes]) -> Environ:
    """The environ of a request (PEP 3333, "environ Variables").

    Args:
        scope: of type "http".
        body: all of it, or a file that is at its beginning.

    Fields of one name are joined with ",", cookies with "; " (RFC 9113 section 8.2.3). Left out are
    fields whose name has an underscore, which could not be told from those with a hyphen; ``Proxy``,
    which would become the variable that HTTP clients take for their proxy (CVE-2016-5385); and
    ``Transfer-Encoding``, which the server has undone.
    """
    script_name = scope.get("root_path", "").rstrip("/")
    path_info = get_route_path({"path": scope["path"], "root_path": script_name})
    scheme = scope.get("scheme", "http")
    host, port = scope.get("server") or ("localhost", None)
    environ: Environ = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": _as_latin_1(script_name),
        "PATH_INFO": _as_latin_1(path_info),
        "QUERY_STRING": scope.get("query_string", b"").decode("latin-1"),
        "SERVER_NAME": host,
        "SERVER_PORT": str(port or {"https": 443}.get(scheme, 80)),  # a Unix socket has none
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scheme,
        "wsgi.input": io.BytesIO(body) if isinstance(body, bytes) else body,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    if scope.get("client"):
        environ["REMOTE_ADDR"] = scope["client"][0]
    for raw_name, raw_value in scope.get("headers", ()):
        # As bytes, of which only ASCII letters change: str.upper() makes "SS" of a sharp s.
        name = raw_name.upper()
        if b"_" in name or name in (b"PROXY", b"TRANSFER-ENCODING"):
            continue
        key = name.decode("latin-1").replace("-", "_")
        if key not in ("CONTENT_LENGTH", "CONTENT_TYPE"):
            key = f"HTTP_{key}"
        value = raw_value.decode("latin-1")
        if key in environ:
            value = f"{environ[key]}{'; ' if name == b'COOKIE' else ','}{value}"
        environ[key] = value
    return environ


def _as_latin_1(path: str) -> str:
    """PEP 3333, "Unicode Issues": each byte as one character."""
    return path.encode("utf-8", "surrogateescape").decode("latin-1")


async def spool_body(request: Request) -> tuple[IO[bytes], int]:
    """The whole body as a file at its beginning, and its size in bytes.

    Raises:
        ClientDisconnect: the client left before it was complete; there is no file then.
    """
    spools = Spools()
    file = SpooledTemporaryFile(max_size=SPOOL_SIZE)  # noqa: SIM115
    spools.add(file)  # type: ignore[arg-type]
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            spools.on_disk = size > SPOOL_SIZE
            spools.append(chunk)
            await spools.flush()
        await spools.finish()
    except BaseException:
        spools.close()
        raise
    return file, size
