"""The addresses of the server, and what is done at each (docs/web-api.md)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from impasto import __version__
from impasto.apps.web.body import Asked, read_asked
from impasto.apps.web.drawing import Drawing
from impasto.apps.web.fields import DREAM, GENERATE, STYLES, STYLIZE, THUMBNAILS, Field
from impasto.apps.web.guard import Guard
from impasto.apps.web.openapi import document
from impasto.apps.web.page_files import PageFiles
from impasto.apps.web.painting import MEDIA_TYPES, Emit, LargePictureError, Made, Painting, format_wanted
from impasto.apps.web.pool import Pool
from impasto.apps.web.problems import CLIENT_GONE, answer, fields_of, problem_of
from impasto.apps.web.settings import Settings
from impasto.apps.web.shelf import Shelf
from impasto.errors import ImpastoError

T = TypeVar("T")

LINES = "application/x-ndjson"
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")


class ClientGoneError(Exception):
    """Nobody waits for the answer any more."""


class Server:
    """What the handlers share.

    Attributes:
        settings, shelf, pool: see there.
    """

    def __init__(self, settings: Settings, shelf: Shelf) -> None:
        self.settings, self.shelf = settings, shelf
        self.pool = self.new_pool()
        self.painting, self.drawing = Painting(shelf, settings.pixels), Drawing(shelf)
        self._document = document(settings, shelf)
        self._api = self._calls()

    def new_pool(self) -> Pool:
        """Those who work and wait, all of them new."""
        return Pool(self.settings.places, self.settings.waiting, self.settings.seconds)

    def routes(self) -> list[Route]:
        """Every address."""
        rest = [
            Route("/v1/{rest:path}", self.nowhere, methods=_METHODS),
            Route("/{path:path}", PageFiles().answer),
        ]
        return [*self._api, *rest]

    def _calls(self) -> list[Route]:
        return [
            Route("/v1/health", self.health),
            Route("/v1/models", self.models),
            Route("/v1/styles", self.styles),
            Route("/v1/styles/{name}/thumbnail", self.thumbnail),
            Route("/v1/openapi.json", self.openapi),
            Route("/v1/stylize", self.stylize, methods=["POST"]),
            Route("/v1/thumbnails", self.thumbnails, methods=["POST"]),
            Route("/v1/dream", self.dream),
            Route("/v1/generate", self.generate, methods=["GET", "POST"]),
        ]

    async def health(self, request: Request) -> Response:
        """It lives; and how busy it is."""
        status = "stopping" if self.pool.closing else "ok"
        counts = {"working": self.pool.working, "waiting": self.pool.waiting}
        return JSONResponse({"status": status, "version": __version__, **counts})

    async def models(self, request: Request) -> Response:
        """What can be asked for, and how much of it."""
        settings = self.settings
        return JSONResponse(
            {
                "default": {kind: self.shelf.default(kind) for kind in ("style", "generator")},
                "models": await asyncio.to_thread(self.shelf.describe),
                "limits": {
                    "body_bytes": settings.body_bytes,
                    "pixels": settings.pixels,
                    "seconds": settings.seconds,
                    "waiting": settings.waiting,
                },
            }
        )

    async def styles(self, request: Request) -> Response:
        """The named styles of a model."""
        asked = await read_asked(request, STYLES, self.settings)
        return JSONResponse(self.shelf.describe_styles(asked.values.get("model")))

    async def openapi(self, request: Request) -> Response:
        """This API in a form for programs."""
        return JSONResponse(self._document)

    async def nowhere(self, request: Request) -> Response:
        """An address of the API that there is not, or not with this method."""
        for route in self._api:
            if route.matches(request.scope)[0] is Match.PARTIAL:
                raise HTTPException(405, headers={"Allow": ", ".join(sorted(route.methods or ()))})
        raise HTTPException(404)

    async def stylize(self, request: Request) -> Response:
        """A painted photo."""

        async def work(asked: Asked) -> Made:
            accepted = self._accepted(request, asked)
            try:
                return await self.pool.run(partial(self.painting.stylize, asked, accepted, alone=False))
            except LargePictureError:
                async with self.pool.alone():
                    return await self.pool.run(partial(self.painting.stylize, asked, accepted, alone=True))

        return await self._picture(request, STYLIZE, work, "painted")

    async def dream(self, request: Request) -> Response:
        """A landscape in a style that no painting has."""

        async def work(asked: Asked) -> Made:
            return await self.pool.run(partial(self.painting.dream, asked, self._accepted(request, asked)))

        return await self._picture(request, DREAM, work, "dream")

    async def thumbnail(self, request: Request) -> Response:
        """A landscape in a named style."""

        async def work(asked: Asked) -> Made:
            return await self.pool.run(partial(self.painting.thumbnail, request.path_params["name"], asked))

        response = await self._picture(request, STYLES, work, "thumbnail")
        response.headers["Cache-Control"] = "private, max-age=3600"
        return response

    async def generate(self, request: Request) -> Response:
        """One drawn picture, or several as lines."""

        async def work(asked: Asked) -> Made:
            return await self.pool.run(partial(self.drawing.one, asked, self._accepted(request, asked)))

        def lines(asked: Asked, emit: Emit) -> None:
            self.drawing.several(asked, self._accepted(request, asked, lines=True), emit)

        async with AsyncExitStack() as stack:
            asked = await stack.enter_async_context(self._asked(request, GENERATE))
            if asked.values.get("count", 1) > 1:
                return await self._lines(request, partial(lines, asked), stack)
            return _sent(await _unless_gone(request, work(asked)), "drawn")

    async def thumbnails(self, request: Request) -> Response:
        """A photo in many styles, as lines."""
        async with AsyncExitStack() as stack:
            asked = await stack.enter_async_context(self._asked(request, THUMBNAILS))
            return await self._lines(request, partial(self.painting.thumbnails, asked), stack)

    @asynccontextmanager
    async def _asked(self, request: Request, fields: tuple[Field, ...]) -> AsyncIterator[Asked]:
        async with self.pool.place():
            yield await read_asked(request, fields, self.settings)

    async def _picture(
        self, request: Request, fields: tuple[Field, ...], work: Callable[[Asked], Awaitable[Made]], name: str
    ) -> Response:
        begun = asyncio.get_running_loop().time()
        async with self._asked(request, fields) as asked:
            made = await _unless_gone(request, work(asked))
        whole = 1000 * (asyncio.get_running_loop().time() - begun)
        made.times = {"wait": max(0.0, whole - sum(made.times.values())), **made.times}
        return _sent(made, name)

    def _accepted(self, request: Request, asked: Asked, *, lines: bool = False) -> Callable[[str], str]:
        # Who accepts lines says nothing of the pictures in them.
        accept = None if lines else request.headers.get("accept")
        return lambda own: format_wanted(asked, accept, own)

    async def _lines(self, request: Request, work: Callable[[Emit], None], stack: AsyncExitStack) -> Response:
        """Answer with a line as soon as there is one; what is wrong before the first is an ordinary problem.

        What the stack holds is kept until the last line is sent.
        """
        loop = asyncio.get_running_loop()
        ready: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()

        def emit(line: dict[str, Any]) -> None:
            loop.call_soon_threadsafe(ready.put_nowait, line)

        job = asyncio.create_task(self.pool.run(partial(work, emit)))
        job.add_done_callback(lambda _: ready.put_nowait(None))
        try:
            first = await _unless_gone(request, ready.get())
            if first is None:
                await job
        except BaseException:
            job.cancel()
            raise
        return _Lines(first, ready, job, stack.pop_all())


class _Lines(Response):
    """JSON lines as they come; whoever leaves stops the work."""

    media_type = LINES

    def __init__(
        self,
        first: dict[str, Any] | None,
        ready: asyncio.Queue[dict[str, Any] | None],
        job: asyncio.Task[None],
        stack: AsyncExitStack,
    ) -> None:
        super().__init__(media_type=LINES)
        del self.headers["content-length"]
        self._first, self._ready, self._job, self._stack = first, ready, job, stack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            line = self._first
            while line is not None:
                await send({"type": "http.response.body", "body": _encoded(line), "more_body": True})
                line = await _unless_gone_by(receive, self._ready.get())
            # The status is sent: a problem now can only be a line itself.
            if (error := self._job.exception()) is not None:
                last = {"problem": fields_of(problem_of(error))}
                await send({"type": "http.response.body", "body": _encoded(last), "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except ClientGoneError:
            pass
        finally:
            self._job.cancel()
            await self._stack.aclose()


def _encoded(line: dict[str, Any]) -> bytes:
    return json.dumps(line).encode() + b"\n"


def _sent(made: Made, name: str) -> Response:
    """The answer that carries a picture."""
    width, height = made.size
    media = MEDIA_TYPES[made.kind]
    headers = {
        "Server-Timing": ", ".join(f"{part};dur={time:.1f}" for part, time in made.times.items()),
        "Impasto-Size": f"{width}x{height}",
        "Impasto-Notes": json.dumps(list(made.notes)),
        "Content-Disposition": f'inline; filename="{name}.{media.partition("/")[2]}"',
        **made.about,
    }
    return Response(made.data, headers=headers, media_type=media)


async def _unless_gone(request: Request, work: Awaitable[T]) -> T:
    return await _unless_gone_by(request.receive, work)


async def _unless_gone_by(receive: Receive, work: Awaitable[T]) -> T:
    """What the work gives; it is cancelled when the client leaves.

    Raises:
        ClientGoneError: it left.
    """

    async def until_gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    job, leaving = asyncio.ensure_future(work), asyncio.ensure_future(until_gone())
    try:
        await asyncio.wait({job, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if job.done():
            return job.result()
        raise ClientGoneError
    finally:
        for task in (job, leaving):
            if not task.done():
                task.cancel()
                with suppress(asyncio.CancelledError, ImpastoError):
                    await task


async def _to_nobody(request: Request, error: Exception) -> Response:
    return Response(status_code=CLIENT_GONE)


def make_app(settings: Settings, shelf: Shelf | None = None) -> ASGIApp:
    """The server as an ASGI application.

    Args:
        settings: what it is told.
        shelf: its models; None: those of the settings, loaded here.

    Raises:
        ImpastoError: a model cannot be used.
    """
    return with_server(settings, shelf)[0]


def with_server(settings: Settings, shelf: Shelf | None = None) -> tuple[ASGIApp, Server]:
    """The same, and what its handlers share."""
    models = shelf or Shelf(settings.models, engine=settings.engine, threads=settings.threads)
    server = Server(settings, models)

    @asynccontextmanager
    async def life(app: Starlette) -> AsyncIterator[None]:
        models.warm()
        if server.pool.closing:  # it was stopped before, and starts again
            server.pool = server.new_pool()
        yield
        server.pool.close()

    inner = Starlette(
        routes=server.routes(),
        lifespan=life,
        exception_handlers={
            HTTPException: answer,
            ImpastoError: answer,
            Exception: answer,
            ClientGoneError: _to_nobody,
            ClientDisconnect: _to_nobody,
        },
    )
    inner.router.redirect_slashes = False
    return Guard(inner, settings), server
