"""What a server is told when it starts."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from impasto.errors import ImpastoError
from impasto.runtime.engine import ENGINES, EngineName, usable_cores

TOKEN_VARIABLE = "IMPASTO_TOKEN"

LEAST_TOKEN = 8  # characters


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a server is told when it starts.

    Attributes:
        models: names of bundled models, or files; empty: all that came with impasto.
        host: the address to bind.
        port: 0 to 65535; 0: any that is free.
        token: what clients must show, or None.
        allow_hosts: names that this server is called by, beside those of its own machine.
        allow_origins: sites whose pages may use the API, such as ``https://example.org``.
        engine, threads: see :class:`impasto.runtime.engine.Engine`.
        workers: pictures that are worked on at once; None: as many as there are cores, and at least 2, so that a large
            picture does not hold up a preview.
        waiting: requests that may wait beside those; more are answered 429.
        body_bytes: of one request.
        pixels: of one picture, read or painted.
        seconds: that one request may take to be worked on; also to wait, and to send its body.
        idle_seconds: without a single byte of a body that was announced.

    Raises:
        ImpastoError: a value is out of range.
    """

    models: Sequence[str] = ()
    host: str = "127.0.0.1"
    port: int = 8017
    token: str | None = None
    allow_hosts: Sequence[str] = ()
    allow_origins: Sequence[str] = ()
    engine: EngineName = "onnxruntime"
    threads: int | None = None
    workers: int | None = None
    waiting: int = 32
    body_bytes: int = 32 * 1024**2
    pixels: int = 40_000_000
    seconds: float = 120.0
    idle_seconds: float = 15.0

    def __post_init__(self) -> None:
        for name, least, most in (
            ("port", 0, 65535),
            ("workers", 1, 64),
            ("waiting", 0, 10_000),
            ("body_bytes", 1024, 2**31),
            ("pixels", 1, 10**10),
        ):
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise ImpastoError(f"{name} cannot be {value}: choose {least} to {most}.")
        if not (0 < self.seconds <= 86400 and 0 < self.idle_seconds <= 86400):
            raise ImpastoError("A request needs some time, and at most a day: choose another number of seconds.")
        if self.engine not in ENGINES:
            raise ImpastoError(f"There is no engine {self.engine!r}: choose {' or '.join(ENGINES)}.")
        if self.token is not None and not (
            len(self.token) >= LEAST_TOKEN
            and self.token.isascii()
            and self.token.isprintable()
            and " " not in self.token
        ):
            raise ImpastoError(
                f"The token must be {LEAST_TOKEN} or more plain letters, digits and signs, no spaces: choose another."
            )
        for origin in self.allow_origins:
            scheme, _, rest = origin.partition("://")
            if scheme not in ("http", "https") or not rest or "/" in rest or origin != origin.lower():
                raise ImpastoError(f"{origin!r} is no origin: write it like https://example.org, without a path.")

    @property
    def places(self) -> int:
        """How many pictures are worked on at once."""
        return max(2, usable_cores()) if self.workers is None else self.workers

    @property
    def loopback(self) -> bool:
        """Whether only programs of this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return False
