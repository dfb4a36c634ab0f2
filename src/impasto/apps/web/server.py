"""The server as a process: uvicorn, told to finish what runs when it is stopped."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from impasto.apps.web.app import Server, with_server
from impasto.apps.web.settings import Settings
from impasto.apps.web.shelf import Shelf
from impasto.errors import ImpastoError

GRACE = 30  # seconds to finish what runs
HEAD_SECONDS = 15.0  # for the head of a request to arrive


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
        http=_Timed,
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


class _Timed(H11Protocol):
    """Closes a connection whose request does not get to its body in time: such ones cost little, but are many."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def _watch(self) -> None:
        """Time runs from the first byte of a request to the end of its head; more bytes do not give it more."""
        known = self.cycle is not None and not self.cycle.response_complete
        if known and self._timer is not None:
            self._timer.cancel()
            self._timer = None
        elif not known and self._timer is None:
            self._timer = self.loop.call_later(HEAD_SECONDS, self._too_slow)

    def _too_slow(self) -> None:
        self._timer = None
        idle = self.cycle is None or self.cycle.response_complete
        if idle and not self.transport.is_closing():
            self.transport.close()


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
