"""Malformed, truncated, huge and hostile uploads: each is answered, none by a fault of ours, and the server lives."""

from __future__ import annotations

import io
import json
import random
import struct
import zlib
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from drawing import encoded, gradient, png_chunk, sample
from impasto.apps.web.app import make_app
from impasto.apps.web.settings import Settings
from impasto.apps.web.shelf import Shelf
from impasto.runtime.archive import format_table

KINDS = ("JPEG", "PNG", "WEBP", "AVIF", "TIFF", "GIF", "BMP")
COUNT = 600
FINE = {200, 400, 404, 405, 406, 411, 413, 415, 421, 422, 429, 503}


def hostile_pictures() -> list[bytes]:
    """Files that mean harm by what they say."""
    head = b"\x89PNG\r\n\x1a\n"
    size = struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0)
    empty = struct.pack(">IIBBBBB", 0, 0, 8, 2, 0, 0, 0)
    tiny = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    bomb = zlib.compress(bytes(4_000_000), 9)
    text = png_chunk(b"zTXt", b"Comment\0\0" + bomb)
    profile = png_chunk(b"iCCP", b"icc\0\0" + bomb)
    end = png_chunk(b"IEND", b"")
    pixels = png_chunk(b"IDAT", zlib.compress(bytes(8 * 25)))
    tiff = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 0xFFFF)
    loop = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 0) + struct.pack("<I", 8)
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "<script>alert(1)</script>" * 1000
    deep = encoded(Image.fromarray(np.zeros((5, 5), np.float32) * np.nan), "TIFF")
    return [
        head + png_chunk(b"IHDR", size) + png_chunk(b"IDAT", bomb) + end,
        head + png_chunk(b"IHDR", empty) + pixels + end,
        head + png_chunk(b"IHDR", tiny) + text + pixels + end,
        head + png_chunk(b"IHDR", tiny) + profile + pixels + end,
        head + png_chunk(b"IHDR", tiny) + png_chunk(b"IDAT", bomb) + end,
        head + png_chunk(b"IHDR", tiny) + end,
        head,
        tiff,
        loop,
        deep,
        encoded(Image.fromarray(gradient()), "JPEG", exif=exif),
        b"GIF89a" + b"\xff" * 40,
        b"RIFF\xff\xff\xff\xffWEBPVP8X" + bytes(30),
        b"\0\0\0\x20ftypavif" + bytes(60),
        b"BM" + b"\xff" * 60,
        b"\xff\xd8\xff\xe1\xff\xff" + bytes(100),
        b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
        b"PK\x03\x04" + bytes(50),
        b"\x93NUMPY\x01\x00\xff\xff" + b"{" * 500,
        b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (8,), }" + b" " * 60 + b"\n",
        format_table(np.full(8, 3e38, np.float32)),
        b"",
        b"\0" * 1000,
    ]


def mangled(chance: random.Random) -> bytes:
    """A picture cut short, with bytes changed, taken out or put in."""
    data = bytearray(sample(chance.choice(KINDS), chance.randint(1, 40), chance.randint(1, 40)))
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(data)) if data else 0
        match chance.randrange(5):
            case 0:
                del data[at:]
            case 1:
                data[at : at + chance.randint(1, 8)] = chance.randbytes(chance.randint(0, 8))
            case 2:
                del data[at : at + chance.randint(1, 64)]
            case 3:
                data[at:at] = chance.randbytes(chance.randint(1, 64))
            case 4:
                # In the head, where sizes and offsets stand.
                data[at % 64 : at % 64 + 4] = chance.choice((b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff"))
    return bytes(data)


RIGHT = {
    "style": "starry-night", "weight": "1", "strength": "0.5", "stroke": "auto", "detail": "0.3", "palette": "3",
    "keep_colors": "histogram", "feather": "2px", "size": "30", "format": "webp", "quality": "40", "precision": "auto",
    "recipe": "false", "strip": "true", "model": "tiny", "seed": "3", "class": "cat", "count": "2", "to": "4",
    "foreground": "auto",
}  # fmt: skip


def odd_text(chance: random.Random, name: str = "") -> str:
    """Mostly what the field takes, else anything."""
    if name in RIGHT and chance.random() < 0.8:
        return RIGHT[name]
    texts = ("", "-1", "0", "1e999", "nan", "../../etc/passwd", "\0", "'; --", "%00", "ü\u202e\ud83d\ude00", "x" * 5000)
    return chance.choice((*texts, "0.5", "dream:3", "dream:-1", "png", "24px", "true", "12", "int8", "luminance"))


def query_of(pairs: list[tuple[str, str]]) -> str:
    return "&".join(f"{quote(name)}={quote(text, errors='surrogatepass')}" for name, text in pairs)


NAMES = (
    "photo", "style", "style_file", "weight", "strength", "stroke", "detail", "keep_colors", "palette", "mask",
    "protect", "feather", "foreground", "size", "format", "quality", "precision", "recipe", "strip", "model", "x", "",
)  # fmt: skip


def form(chance: random.Random, pictures: list[bytes]) -> tuple[bytes, str]:
    """A form that may be anything from right to torn to pieces, and its content type."""
    boundary = chance.choice(("b", "--", "x" * 70, "b b"))
    body = b""
    names = ["photo", "style", *chance.sample(NAMES, k=chance.randint(0, 4))]
    for name in names:
        file = name in ("photo", "style_file", "mask", "protect") and chance.random() < 0.95
        if file:
            right, wrong = sample("PNG", 12, 9), (mangled(chance), chance.choice(pictures))
            data = right if chance.random() < 0.6 else chance.choice(wrong)
        else:
            data = odd_text(chance, name).encode("utf-8", "surrogatepass")
        extra = '; filename="../../x.npy"' if file else ""
        body += (
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n'.encode() + data + b"\r\n"
        )
    body += f"--{boundary}--\r\n".encode()
    if chance.random() < 0.25:
        at = chance.randrange(len(body))
        body = body[:at] if chance.random() < 0.5 else body[:at] + chance.randbytes(9) + body[at:]
    quoted = chance.choice((boundary, f'"{boundary}"', f"{boundary}; charset=utf-7"))
    return body, f"multipart/form-data; boundary={quoted}"


@pytest.fixture
def hardy(shelf: Shelf) -> TestClient:
    settings = Settings(workers=1, waiting=2, body_bytes=300_000, pixels=200_000, seconds=60)
    return TestClient(make_app(settings, shelf), base_url="http://127.0.0.1:8017", raise_server_exceptions=False)


def check(answer: Any, case: object) -> None:
    assert answer.status_code in FINE, (case, answer.status_code, answer.text[:300])
    if answer.status_code != 200:
        assert answer.headers["content-type"] == "application/problem+json", case
        fields = json.loads(answer.text)
        assert fields["status"] == answer.status_code and "\n" not in fields["detail"], case
        assert "/root" not in fields["detail"] and "Traceback" not in fields["detail"], (case, fields)
    elif answer.headers["content-type"].startswith("image/"):
        Image.open(io.BytesIO(answer.content)).load()


# What Pillow says of odd files is said to people, in notes, and not to the log.
@pytest.mark.filterwarnings("ignore:::PIL")
@pytest.mark.parametrize("part", range(4))
def test_hostile_uploads_are_answered(hardy: TestClient, part: int) -> None:
    chance = random.Random(1000 + part)
    pictures = hostile_pictures()
    seen: dict[int, int] = {}
    for number in range(COUNT // 4):
        case = (part, number)
        address = chance.choice(("/v1/stylize", "/v1/stylize", "/v1/stylize", "/v1/thumbnails"))
        if chance.random() < 0.6:
            body, kind = form(chance, pictures)
            query: list[tuple[str, str]] = []
        else:
            kind = chance.choice(
                ("image/png", "image/jpeg", "application/octet-stream", "text/html", "", "multipart/mixed")
            )
            body = mangled(chance) if chance.random() < 0.6 else chance.choice(pictures)
            query = [("style", "starry-night")] if chance.random() < 0.8 else []
            query += [(name, odd_text(chance, name)) for name in chance.sample(NAMES, k=chance.randint(0, 2))]
        answer = hardy.post(
            f"{address}?{query_of(query)}", content=body, headers={"content-type": kind} if kind else {}
        )
        check(answer, case)
        seen[answer.status_code] = seen.get(answer.status_code, 0) + 1
    # It was not all refused at the door.
    assert seen[200] > 4 and seen[422] > 10 and seen[415] > 3, seen
    health = hardy.get("/v1/health").json()
    assert (health["status"], health["working"], health["waiting"]) == ("ok", 0, 0)


@pytest.mark.filterwarnings("ignore:::PIL")
@pytest.mark.parametrize("number", range(len(hostile_pictures())))
def test_every_hostile_file_in_every_place(hardy: TestClient, number: int) -> None:
    picture = hostile_pictures()[number]
    photo = sample("PNG", 12, 9)
    for files in (
        [("photo", ("a", picture))],
        [("photo", ("a", photo)), ("style_file", ("b", picture))],
        [("photo", ("a", photo)), ("mask", ("b", picture))],
    ):
        answer = hardy.post("/v1/stylize", files=files, data={"style": "starry-night"})
        check(answer, number)
    check(hardy.post("/v1/thumbnails", content=picture, headers={"content-type": "image/png"}), number)


def test_hostile_queries(hardy: TestClient) -> None:
    chance = random.Random(7)
    names = ("model", "seed", "class", "truncation", "prior", "to", "at", "count", "format", "quality", "size", "x")
    for number in range(150):
        query = query_of([(name, odd_text(chance, name)) for name in chance.sample(names, k=chance.randint(0, 3))])
        address = chance.choice(
            ("/v1/generate", "/v1/dream", "/v1/styles", "/v1/styles/x/thumbnail", "/v1/../x", "/v1/%ff")
        )
        check(hardy.get(f"{address}?{query}"), (number, query))
