"""``impasto serve``: a page to play on, and an HTTP API (docs/web-api.md)."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from impasto.apps.cli.painter import Engine, Threads
from impasto.apps.cli.terminal import default_of, put, say
from impasto.errors import ImpastoError, UnknownName
from impasto.runtime.engine import ENGINES
from impasto.runtime.memory import parse_size
from impasto.runtime.style import StyleModel


def serve(
    host: Annotated[
        str | None, typer.Option("--host", metavar="ADDRESS", help="Where to listen; 127.0.0.1: this machine alone.")
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", min=0, max=65535, help="8017 without it; 0: any that is free.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model", metavar="NAME|FILE", help="Only these models; without it all of 'impasto models list'."
        ),
    ] = None,
    token: Annotated[
        str | None, typer.Option("--token", help="What clients must show; better in the environment's IMPASTO_TOKEN.")
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option("--allow-host", metavar="NAME", help="A name that this server is called by.")
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-origin", metavar="ORIGIN", help="A site whose pages may use the API: https://example.org."
        ),
    ] = None,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    engine: Engine = default_of(StyleModel.load, "engine"),
    threads: Threads = default_of(StyleModel.load, "threads"),
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, max=64, help="Pictures painted at once; one for each core.")
    ] = None,
    queue: Annotated[
        int | None,
        typer.Option("--queue", min=0, max=10_000, help="Requests that may wait; the next are answered 429."),
    ] = None,
    max_body: Annotated[
        str | None, typer.Option("--max-body", metavar="SIZE", help="Of one request, such as 20MB.")
    ] = None,
    max_pixels: Annotated[
        int | None, typer.Option("--max-pixels", min=1, help="Refuse pictures of more pixels than this.")
    ] = None,
    timeout: Annotated[
        float | None, typer.Option("--timeout", metavar="SECONDS", help="That one request may take.")
    ] = None,
) -> None:
    """Open a page to play on in the browser, and an HTTP API for programs (docs/web-api.md).

    Prints the page's address. Stop it with Ctrl-C; what is being painted then is finished.
    """
    try:
        from impasto.apps.web import server
        from impasto.apps.web.settings import TOKEN_VARIABLE, Settings
        from impasto.apps.web.shelf import Shelf
    except ImportError as error:
        raise ImpastoError(f"'serve' needs {error.name}: pip install 'impasto[web]'.") from error
    chosen = next((known for known in ENGINES if known == engine), None)
    if chosen is None:
        raise UnknownName("engine", engine, ENGINES)
    wanted = {
        "models": model,
        "host": host,
        "port": port,
        "token": token or os.environ.get(TOKEN_VARIABLE) or None,
        "allow_hosts": allow_host,
        "allow_origins": allow_origin,
        "workers": workers,
        "waiting": queue,
        "body_bytes": None if max_body is None else parse_size(max_body),
        "pixels": max_pixels,
        "seconds": timeout,
    }
    # What is not said has its default in Settings.
    given = {name: value for name, value in wanted.items() if value is not None}
    settings = Settings(**given, engine=chosen, threads=threads)  # type: ignore[arg-type]  # of the right types above
    bound = server.bind(settings)
    try:
        shelf = Shelf(settings.models, engine=settings.engine, threads=settings.threads)
    except BaseException:
        bound.close()
        raise
    address = server.address_of(settings, bound)
    if not settings.loopback:
        say(_warning(settings.token is None))

    def started() -> None:
        put(address)
        if open_page:
            import webbrowser

            webbrowser.open(address if settings.token is None else f"{address}#token={settings.token}")

    server.serve(settings, shelf, bound, started=started)


def _warning(open_to_all: bool) -> str:
    warning = "Others on the network can reach this server, over a line that is not encrypted"
    if open_to_all:
        return f"{warning}, and anyone may use it: set a secret in IMPASTO_TOKEN, or leave --host out."
    return f"{warning}: let a proxy with TLS stand before it where the token must stay secret."
