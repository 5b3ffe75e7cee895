"""Files of a directory, as they are.

The laws:

1. Nothing outside of the directories is looked at, and nothing that a client asks for is an error of
   the server: what is not there is 404, and what may not be read 401.
2. The disk is touched in worker threads only.
3. What the client has already is not sent again (RFC 9110 section 13).
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from hesper._accept import choose_encoding
from hesper._concurrency import run_in_thread
from hesper._endpoints import no_lifespan, not_a_socket
from hesper._stack import Stack, serve
from hesper._static_lookup import (
    NO_SUCH_NAME,
    Precompressed,
    check_directory,
    find,
    is_directory,
    is_file,
    normal_path,
    package_directory,
    precompressed,
    stays_inside,
)
from hesper._static_responses import EncodedFile, NotModifiedResponse, decide, settle
from hesper._utils import get_route_path
from hesper.conditional import Decision
from hesper.datastructures import URL, Headers
from hesper.exceptions import HTTPException, UsageError
from hesper.requests import Request
from hesper.responses import FileResponse, RedirectResponse, Response
from hesper.types import Receive, Scope, Send

__all__ = ["NotModifiedResponse", "PathLike", "StaticFiles"]

PathLike = str | os.PathLike[str]

Package = str | tuple[str, str]
"""A package's name, or that and the name of a directory in it."""


class StaticFiles:
    """Serves the files of directories; mount it.

    Args:
        directory: where they are.
        packages: Python packages with files in their directory "statics"; or tuples of a package
            and another directory in it. Of several files of one name the first counts.
        html: serve ``index.html`` for a directory, redirect (307) to its path with a slash, and
            serve ``404.html`` for what is not there.
        check_dir: raise here if ``directory`` is not there; else at the first request.
        follow_symlink: let symbolic links lead out of the directories.
        cache_control: the ``Cache-Control`` of every file; not of ``404.html``.
        precompressed: send ``name.br``, ``name.zst`` or ``name.gz`` from beside a file to a client
            that takes it. Keep them up to date: their dates are not compared.
        fallback: a file in the directories, served (200) for a path that is not there and has no
            file extension: the page of a single-page application.

    Raises:
        UsageError: a directory or a package is not there.
    """

    def __init__(
        self,
        *,
        directory: PathLike | None = None,
        packages: list[Package] | None = None,
        html: bool = False,
        check_dir: bool = True,
        follow_symlink: bool = False,
        cache_control: str | None = None,
        precompressed: bool = False,
        fallback: str | None = None,
    ) -> None:
        self.directory = directory
        self.packages = packages
        self.all_directories = self.get_directories(directory, packages)
        self.html = html
        self.config_checked = False
        self.follow_symlink = follow_symlink
        self.cache_control = cache_control
        self.precompressed = precompressed
        self.fallback = fallback
        if check_dir and directory is not None and not os.path.isdir(directory):
            raise UsageError(f"Directory '{directory}' does not exist")

    def get_directories(
        self, directory: PathLike | None = None, packages: list[Package] | None = None
    ) -> list[PathLike]:
        """Where to look for files, in this order.

        Raises:
            UsageError: a package is not there, or has no such directory.
        """
        directories = [] if directory is None else [directory]
        for package in packages or []:
            name, inside = package if isinstance(package, tuple) else (package, "statics")
            directories.append(package_directory(name, inside))
        return directories

    # -- ASGI -------------------------------------------------------------------------------------

    def _fold(self) -> Stack:
        return Stack(self._answer, not_a_socket, no_lifespan)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request. A WebSocket is refused."""
        await serve(self._fold(), scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        scope = request.scope
        if not self.config_checked:
            await self.check_config()
            self.config_checked = True
        response = await self.get_response(self.get_path(scope), scope)
        if isinstance(response, FileResponse):
            await settle(response, scope)
        return response

    # -- the steps, to be overridden --------------------------------------------------------------

    def get_path(self, scope: Scope) -> str:
        """The path that is asked for, relative and as the system writes it: without "." and "..",
        but for a ".." that would lead out of the directory, which is refused later."""
        return normal_path(get_route_path(scope))

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The response to a request.

        Args:
            path: what ``get_path`` gave.

        Raises:
            HTTPException: 405, it is neither GET nor HEAD; 404, there is no such file; 401, the
                server may not look.
        """
        if scope["method"] not in ("GET", "HEAD"):
            raise HTTPException(405, headers={"Allow": "GET, HEAD"})
        full_path, status = await self._look(path, scope)
        if self.html and is_directory(status):
            full_path, status = await self._look(os.path.join(path, "index.html"), scope)
            if is_file(status) and not scope["path"].endswith("/"):
                return RedirectResponse(URL(scope={**scope, "path": scope["path"] + "/"}))
        if not is_file(status) and self.fallback is not None and _may_fall_back(path):
            full_path, status = await self._look(self.fallback, scope)
        if is_file(status):
            return self.file_response(full_path, status, scope)
        if self.html:
            full_path, status = await self._look("404.html")
            if is_file(status):
                return FileResponse(full_path, stat_result=status, status_code=404)
        raise HTTPException(404)

    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        """Look for a file or directory; called in a worker thread.

        Args:
            path: a relative one. Whatever it is, it leads to nothing outside of the directories.

        Returns:
            Its full path and what the system knows of it; ``("", None)`` if it is not there.

        Raises:
            PermissionError: the server may not look there.
            OSError: the disk cannot be asked, or no file can have this name.
            ValueError: no file can have this name.
        """
        if stays_inside(path):
            for directory in self.all_directories:
                found = find(directory, path, self.follow_symlink)
                if found is not None:
                    return found
        return "", None

    def file_response(
        self,
        full_path: PathLike,
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        """The response with a file: the file, 304 if the client has it, 412 if it wants another.

        Args:
            full_path: where it is.
            stat_result: what the system knows of it.
        """
        headers: dict[str, str] = {}
        if self.cache_control is not None:
            headers["cache-control"] = self.cache_control
        if self.precompressed:
            headers["vary"] = "Accept-Encoding"
        if isinstance(full_path, Precompressed):
            response: FileResponse = EncodedFile(full_path, status_code, headers, stat_result)
        else:
            response = FileResponse(full_path, status_code, headers, stat_result=stat_result)
        if status_code != 200:
            return response  # RFC 9110 section 13.2.1
        request_headers = Headers(scope=scope)
        if self.is_not_modified(response.headers, request_headers):
            return NotModifiedResponse(response.headers)
        if decide(response.headers, request_headers) is Decision.PRECONDITION_FAILED:
            raise HTTPException(412)
        return response

    async def check_config(self) -> None:
        """Look once whether there is what was promised; before the first request is answered.

        Raises:
            UsageError: ``directory`` or ``fallback`` is not there.
        """
        if self.directory is not None:
            await run_in_thread(check_directory, self.directory)
        if self.fallback is not None:
            _, status = await run_in_thread(self.lookup_path, self.fallback)
            if not is_file(status):
                raise UsageError(
                    f"StaticFiles fallback '{self.fallback}' does not exist: expected the path of "
                    "a file, relative to the directory."
                )

    def is_not_modified(
        self, response_headers: Mapping[str, str], request_headers: Mapping[str, str]
    ) -> bool:
        """Whether the client has what a response with these headers would bring."""
        return decide(response_headers, request_headers) is Decision.NOT_MODIFIED

    # -- looking ----------------------------------------------------------------------------------

    async def _look(
        self, path: str, scope: Scope | None = None
    ) -> tuple[str, os.stat_result | None]:
        """``lookup_path`` in a thread; of several forms of a file the one that the request of
        ``scope`` likes best.

        Raises:
            HTTPException: 401, the server may not look.
        """
        accepted = None
        if scope is not None and self.precompressed:
            accepted = ", ".join(Headers(scope=scope).getlist("accept-encoding"))
        try:
            return await run_in_thread(self._look_now, path, accepted)
        except PermissionError:
            raise HTTPException(401)
        except OSError as exc:
            if exc.errno not in NO_SUCH_NAME:
                raise
        except ValueError:
            pass
        return "", None

    def _look_now(self, path: str, accepted: str | None) -> tuple[str, os.stat_result | None]:
        full_path, status = self.lookup_path(path)
        if accepted and is_file(status):
            forms = precompressed(full_path, self.follow_symlink)
            coding = choose_encoding(accepted, list(forms))
            if coding is not None:
                return forms[coding]
        return full_path, status


def _may_fall_back(path: str) -> bool:
    return stays_inside(path) and not os.path.splitext(path)[1]
