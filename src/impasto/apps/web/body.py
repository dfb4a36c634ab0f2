"""Reading requests: bounded in bytes and time, in memory alone, and never trusted.

A form is read part by part as it arrives. Starlette's own reader is not used: it writes files to disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from impasto.apps.web.fields import MOST_STYLES, Field, field_called, read_field
from impasto.apps.web.problems import Problem
from impasto.apps.web.settings import Settings
from impasto.runtime.memory import said_size

MOST_PARTS = 4 * MOST_STYLES
STYLE_FIELDS = ("style", "style_file")
_DRAIN_SECONDS = 1.0

_HOW = (
    "send a form (curl -F photo=@photo.jpg), or the picture itself with a Content-Type such as image/jpeg and the "
    "other fields in the query"
)


@dataclass
class Asked:
    """What a request asks for.

    Attributes:
        values: fields by name; of those that may be given several times, lists.
        files: the same of files: their bytes.
        order: names of ``style`` and ``style_file`` in the order of the form.
    """

    values: dict[str, Any] = field(default_factory=dict)
    files: dict[str, list[bytes]] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)

    def file(self, name: str) -> bytes | None:
        """The one file of that name, if it was sent."""
        return self.files[name][0] if name in self.files else None


async def read_asked(request: Request, fields: Sequence[Field], settings: Settings) -> Asked:
    """What a request asks for, from its query and its body.

    Raises:
        Problem: the body is too large, too slow, cut short or of another type; or a field is unknown or out of range.
    """
    asked = Asked()
    _take(asked, request.query_params.multi_items(), fields)
    if request.method in ("GET", "HEAD"):
        return asked
    kind, options = _content_type(request)
    body = _Body(request, settings)
    await body.check_length()
    if kind == "multipart/form-data":
        form = _Form(options.get(b"boundary", b""))
        await body.read(form.write)
        form.finish()
        _take(asked, form.parts, fields)  # goes before the query
        return asked
    chunks: list[bytes] = []
    await body.read(chunks.append)
    data = b"".join(chunks)
    photo = any(one.name == "photo" for one in fields)
    if kind == "application/x-www-form-urlencoded" and not photo:
        _take(asked, _urlencoded(data), fields)
    elif photo and (kind.startswith("image/") or kind == "application/octet-stream"):
        if data:
            asked.files["photo"] = [data]
    elif data or photo:
        raise Problem(
            415, f"A body of type {kind[:60] or 'unknown'!r} is not taken here: {_HOW if photo else 'send a form'}."
        )
    return asked


class _Body:
    """The bytes of a request, as they come."""

    def __init__(self, request: Request, settings: Settings) -> None:
        self._request, self._settings = request, settings

    async def check_length(self) -> None:
        """Refuse before reading."""
        headers = self._request.headers
        length = headers.get("content-length")
        if length is None and "transfer-encoding" not in headers:
            raise Problem(411, "The request has no Content-Length: say how long its body is.")
        if length is not None and not (length.isascii() and length.isdecimal()):
            raise Problem(400, "The Content-Length is no number: say how many bytes the body has.")
        if length is not None and int(length) > self._settings.body_bytes:
            if "expect" not in headers:  # who expects to be asked for the body has not sent it yet
                await _swallow(self._request.stream())
            raise self._too_large()

    async def read(self, take: Callable[[bytes], Any]) -> None:
        """Give every chunk to ``take``, as long as there are not too many."""
        size = 0
        chunks = self._request.stream()
        try:
            async with asyncio.timeout(self._settings.seconds):
                while True:
                    async with asyncio.timeout(self._settings.idle_seconds):
                        chunk = await anext(chunks, None)
                    if chunk is None:
                        return
                    size += len(chunk)
                    if size > self._settings.body_bytes:
                        break
                    take(chunk)
        except TimeoutError:
            sentence = "The body came too slowly: send it again, over a faster line or smaller."
            raise Problem(408, sentence, {"Connection": "close"}) from None
        await _swallow(chunks)
        raise self._too_large()

    def _too_large(self) -> Problem:
        sentence = (
            f"The request is larger than the {said_size(self._settings.body_bytes)} that this server takes: send less."
        )
        return Problem(413, sentence, {"Connection": "close"})


async def _swallow(chunks: AsyncIterator[bytes]) -> None:
    """Read a little more of a body that is refused: whoever still sends sees a broken connection, not the answer."""
    with suppress(TimeoutError, ClientDisconnect):
        async with asyncio.timeout(_DRAIN_SECONDS):
            async for _ in chunks:
                pass


class _Form:
    """A multipart form, read as it comes (RFC 7578)."""

    def __init__(self, boundary: bytes) -> None:
        if not 1 <= len(boundary) <= 70:  # RFC 2046, section 5.1.1
            raise Problem(400, "The form has no boundary of 1 to 70 letters: let a library or curl -F write it.")
        self.parts: list[tuple[str, str | bytes]] = []
        self._name, self._is_file, self._data = "", False, bytearray()
        self._header, self._value, self._disposition = b"", b"", b""
        self._ended = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._on_header,
                "on_header_value": self._on_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers,
                "on_part_data": self._on_data,
                "on_part_end": self._on_part_end,
                "on_end": self._on_end,
            },
        )

    def write(self, chunk: bytes) -> None:
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise Problem(400, f"The form cannot be read ({str(error)[:100].rstrip('.')}): send it again.") from None

    def finish(self) -> None:
        """Refuse a form whose end is missing."""
        if not self._ended:
            raise Problem(400, "The form is cut short: send it again.")

    def _begin(self) -> None:
        if len(self.parts) >= MOST_PARTS:
            raise Problem(422, f"The form has more than {MOST_PARTS} parts: send fewer.")
        self._disposition, self._data = b"", bytearray()

    def _on_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header, self._value = b"", b""

    def _on_headers(self) -> None:
        kind, options = parse_options_header(self._disposition)
        if kind != b"form-data" or b"name" not in options:
            raise Problem(400, "A part of the form has no name: send it again.")
        self._name = options[b"name"].decode("utf-8", "replace")
        self._is_file = b"filename" in options

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        self._data += data[start:end]

    def _on_part_end(self) -> None:
        data = bytes(self._data)
        self.parts.append((self._name, data if self._is_file else data.decode("utf-8", "replace")))
        self._data = bytearray()

    def _on_end(self) -> None:
        self._ended = True


def _content_type(request: Request) -> tuple[str, Mapping[bytes, bytes]]:
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    return kind.decode("latin-1").lower(), options


def _urlencoded(data: bytes) -> list[tuple[str, str]]:
    from urllib.parse import parse_qsl

    try:
        return parse_qsl(data.decode(), keep_blank_values=True, strict_parsing=bool(data), max_num_fields=MOST_PARTS)
    except ValueError:  # also what is no UTF-8
        raise Problem(
            400, "The form cannot be read: send names and values as a library or curl -d writes them."
        ) from None


def _take(asked: Asked, given: Sequence[tuple[str, str | bytes]], fields: Sequence[Field]) -> None:
    """Add fields (texts) and files (bytes) in their order; what is named here takes the place of what was there."""
    values: dict[str, list[Any]] = {}
    files: dict[str, list[bytes]] = {}
    order: list[str] = []
    for name, one in given:
        known = field_called(fields, name)
        if known.is_file and isinstance(one, bytes):
            files.setdefault(name, []).append(one)
        elif isinstance(one, str):
            values.setdefault(name, []).append(read_field(known, one))
        else:
            raise Problem(422, f"The field {name} is no file: send it as a plain field.")
        count = len((files if known.is_file else values)[name])
        if count > (MOST_STYLES if known.many else 1):
            often = "twice: give it once" if not known.many else f"more than {MOST_STYLES} times: give it less often"
            raise Problem(422, f"The field {name} is given {often}.")
        if name in STYLE_FIELDS:
            order.append(name)
    many = {known.name for known in fields if known.many}
    asked.values |= {name: found if name in many else found[0] for name, found in values.items()}
    asked.files |= files
    asked.order = [name for name in asked.order if name not in values] + order
