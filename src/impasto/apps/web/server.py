"""The server as a process: uvicorn, told to finish what runs when it is stopped."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress

import uvicorn

from impasto.apps.web.app import Server, with_server
from impasto.apps.web.settings import Settings
from impasto.apps.web.shelf import Shelf
from impasto.errors import ImpastoError

GRACE = 30  # seconds to finish what runs


def bind(settings: Settings) -> socket.socket:
    """A socket that listens where the settings say.

    Raises:
        ImpastoError: the address is not one of this machine, or the port is taken.
    """
    host = settings.host.strip("[]")
    try:
        family, kind, number, _, address = socket.getaddrinfo(host, settings.port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, number)
    except (OSError, UnicodeError) as error:
        raise ImpastoError(
            f"{host} is no address of this machine ({_reason(error)}): choose another --host."
        ) from error
    try:
        # A server that was just stopped leaves its port waiting for a minute; elsewhere this would let two share one.
        if hasattr(socket, "SO_REUSEADDR") and not hasattr(socket, "SO_EXCLUSIVEADDRUSE"):
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(128)
    except OSError as error:
        bound.close()
        raise ImpastoError(
            f"{host}:{settings.port} cannot be listened on ({_reason(error)}): choose another --host or --port."
        ) from error
    return bound


def address_of(settings: Settings, bound: socket.socket) -> str:
    """The URL of the page, for a browser on this machine."""
    port = bound.getsockname()[1]
    host = settings.host.strip("[]")
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}/"


def serve(
    settings: Settings, shelf: Shelf, bound: socket.socket, *, started: Callable[[], None] = lambda: None
) -> None:
    """Answer until a signal comes (SIGTERM, Ctrl-C); then finish what runs, and return.

    Args:
        settings, shelf: what it is told, and its models.
        bound: where it listens; closed at the end.
        started: called when it answers.
    """
    app, server = with_server(settings, shelf)
    config = uvicorn.Config(
        app,
        # One set of parts everywhere: what else is installed must not change how requests are read.
        http="h11",
        ws="none",
        loop="asyncio",
        lifespan="on",
        # Nothing of what clients ask for is written anywhere.
        access_log=False,
        log_level="error",
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=GRACE,
        limit_concurrency=1024,
    )
    try:
        _Graceful(config, server, started).run(sockets=[bound])
    except (KeyboardInterrupt, SystemExit):
        # uvicorn gives the signal on when it is done; being told to stop is the way that a server ends.
        pass
    finally:
        server.pool.close()
        with suppress(OSError):
            bound.close()


class _Graceful(uvicorn.Server):
    """Tells the pool when it starts and when it begins to stop."""

    def __init__(self, config: uvicorn.Config, server: Server, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._server, self._told = server, started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            await asyncio.to_thread(self._told)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._server.pool.closing = True
        await super().shutdown(sockets)


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
