"""Errors as answers: ``application/problem+json`` (RFC 9457) with the sentences of the command line."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from impasto.apps.cli.terminal import explain
from impasto.errors import BundleError, EngineError, ImpastoError, UnknownName
from impasto.runtime.stopping import StoppedError

MEDIA_TYPE = "application/problem+json"
CLIENT_GONE = 499
"""What is answered to nobody: the client left."""

log = logging.getLogger("impasto.web")


class Problem(ImpastoError):
    """An error that knows its status.

    Args:
        status: of HTTP.
        detail: one sentence.
        headers: to send along.
    """

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.headers = status, dict(headers or {})


def too_busy(status: int, detail: str, seconds: float) -> Problem:
    """A problem that passes: it says after how many seconds to ask again."""
    return Problem(status, detail, {"Retry-After": str(min(3600, max(1, math.ceil(seconds))))})


def problem_of(error: BaseException) -> Problem:
    """The answer to any error."""
    match error:
        case Problem():
            return error
        case HTTPException():
            return _of_http(error)
        case UnknownName():
            return Problem(404, str(error))
        case StoppedError() | MemoryError():
            sentence = "There is not enough memory for this picture now: make it smaller, or ask again later."
            return too_busy(503, str(error) if isinstance(error, StoppedError) else sentence, 5)
        case BundleError() | EngineError() | ImpastoError():
            return Problem(422, str(error))
        case _:
            log.error("An error that nobody foresaw", exc_info=error)
            return Problem(500, explain(error))


def fields_of(problem: Problem) -> dict[str, Any]:
    """The members of the JSON object."""
    try:
        title = HTTPStatus(problem.status).phrase
    except ValueError:
        title = "Client Closed Request"
    # Half a letter, from bytes that are no UTF-8, cannot be sent.
    detail = str(problem).encode("utf-8", "replace").decode()
    return {"type": "about:blank", "title": title, "status": problem.status, "detail": detail}


def answer_of(error: BaseException) -> Response:
    """The response to any error."""
    problem = problem_of(error)
    return JSONResponse(fields_of(problem), problem.status, problem.headers, MEDIA_TYPE)


async def answer(request: Request, error: Exception) -> Response:
    """The same, as Starlette calls it."""
    return answer_of(error)


def _of_http(error: HTTPException) -> Problem:
    """What Starlette's routing says, in our words."""
    sentences = {
        404: "There is nothing at this address: see docs/web-api.md, or /v1/openapi.json.",
        405: "This address knows no such method: see the header Allow for those that it knows.",
    }
    return Problem(error.status_code, sentences.get(error.status_code, error.detail), error.headers)
