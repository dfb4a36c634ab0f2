"""Who may ask, and what every answer says: names of the host, origins, the token, headers. Plain ASGI."""

from __future__ import annotations

import hmac
import ipaddress
import re
import socket
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from impasto.apps.web.problems import Problem, answer_of
from impasto.apps.web.settings import Settings

API = "/v1/"
OPEN = "/v1/health"
"""What needs no token: whoever watches over a server need not know it."""

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self' blob: data:; font-src 'self'; manifest-src 'self'; worker-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
_EXPOSED = "Impasto-Notes, Impasto-Size, Impasto-Seed, Impasto-Class, Server-Timing, Retry-After"


class Guard:
    """Refuses what should not be answered, and sets the headers of what is.

    A page of another site can let a browser send requests to an address of this machine, by its number or by a name
    of its own that it lets point here (DNS rebinding). So the name must be one of ours, and what a browser says comes
    from another site is refused.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._settings = app, settings
        names = {"localhost", settings.host.strip("[]").lower(), *(name.lower() for name in settings.allow_hosts)}
        if not settings.loopback:
            own = socket.gethostname().lower()
            names |= {own, f"{own}.local", socket.getfqdn().lower()}
        self._names = names - {"", "0.0.0.0", "::"}
        self._token = None if settings.token is None else settings.token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        foreign = origin in self._settings.allow_origins

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    answer.setdefault(name, value)
                answer.setdefault("Cache-Control", "no-store")
                answer.add_vary_header("Origin, Accept" if scope["path"].startswith(API) else "Origin")
                if foreign and origin is not None:
                    answer["Access-Control-Allow-Origin"] = origin
                    answer["Access-Control-Expose-Headers"] = _EXPOSED
                    answer["Cross-Origin-Resource-Policy"] = "cross-origin"
            await send(message)

        try:
            self._check(scope, headers, origin, foreign)
        except Problem as problem:
            await answer_of(problem)(scope, receive, told)
            return
        if foreign and scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            await _preflight()(scope, receive, told)
            return
        begun = False

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = True
            await told(message)

        try:
            await self._app(scope, receive, noted)
        except Exception:
            # Starlette raises once more what was answered and logged already.
            if not begun:
                raise

    def _check(self, scope: Scope, headers: Headers, origin: str | None, foreign: bool) -> None:
        host = headers.get("host", "")
        name = _name_of(host)
        if name is None:
            raise Problem(400, "The request names no host that could be read: send a header Host.")
        if not self._ours(name):
            raise Problem(421, f"This server is not called {name[:100]}: start it with --allow-host for that name.")
        if not scope["path"].startswith(API):
            return
        own = origin is None or origin.partition("://")[2] == host
        elsewhere = origin is None and headers.get("sec-fetch-site") in ("cross-site", "same-site")
        if not foreign and (not own or elsewhere):
            raise Problem(
                403, "The request comes from a page of another site: start the server with --allow-origin for it."
            )
        preflight = foreign and scope["method"] == "OPTIONS"
        if self._token is not None and scope["path"] != OPEN and not preflight:
            self._check_token(headers.get("authorization", ""))

    def _check_token(self, authorization: str) -> None:
        scheme, _, shown = authorization.partition(" ")
        right = hmac.compare_digest(shown.strip().encode("utf-8", "replace"), self._token or b"")
        if scheme.lower() != "bearer" or not right:
            sentence = "This server asks for its token: send it in a header Authorization: Bearer TOKEN."
            raise Problem(401, sentence, {"WWW-Authenticate": 'Bearer realm="impasto"'})

    def _ours(self, name: str) -> bool:
        if name in self._names:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        # A number cannot be rebound: whoever uses one means this very machine.
        return address.is_loopback or not self._settings.loopback


def _name_of(host: str) -> str | None:
    """The name in a header Host, without its port; None where there is none."""
    found = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?", host)
    return None if found is None else found[1].strip("[]").lower().rstrip(".")


def _preflight() -> Response:
    allowed: Iterable[tuple[str, str]] = (
        ("Access-Control-Allow-Methods", "GET, POST"),
        ("Access-Control-Allow-Headers", "Authorization, Content-Type"),
        ("Access-Control-Max-Age", "600"),
    )
    return Response(status_code=204, headers=dict(allowed))
