"""The page: the files of one folder, and no others."""

from __future__ import annotations

import hashlib
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from impasto.apps.web.problems import Problem

FOLDER = Path(__file__).with_name("page")
INDEX = "index.html"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".webp": "image/webp",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
}


class PageFiles:
    """Answers with files of a folder, by a table made when the server starts: no path of a client is ever opened."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._files = {
            path.relative_to(folder).as_posix(): path
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.suffix in _TYPES and not path.name.startswith(".")
        }

    async def answer(self, request: Request) -> Response:
        """One file; 304 where the browser has it already.

        Raises:
            Problem: 404, there is none of that name.
        """
        path = self._files.get(request.path_params["path"] or INDEX)
        if path is None:
            raise Problem(
                404, "There is nothing at this address: the page is at /, the API is told of at /v1/openapi.json."
            )
        try:
            data = path.read_bytes()
        except OSError:
            raise Problem(404, f"The page's file {path.name} is gone: install impasto again.") from None
        tag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
        # Always asked for again, and rarely sent again: a new version shows at once.
        headers = {"Cache-Control": "no-cache", "ETag": tag}
        if tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(data, headers=headers, media_type=_TYPES[path.suffix])
