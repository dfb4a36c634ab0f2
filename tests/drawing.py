"""Pictures and colour profiles drawn by code, for the tests of `impasto.runtime.picture` and what is inside it."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def gradient(width: int = 32, height: int = 24) -> NDArray[np.uint8]:
    """uint8 [H,W,3]: smooth, and different in every corner, so that no flip or turn goes unseen."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    x, y = x / max(1, width - 1), y / max(1, height - 1)
    return np.stack([255 * x, 255 * y, 255 * (1 - x) * (1 - y)], axis=-1).round().astype(np.uint8)


def deep_noise(channels: int, width: int = 13, height: int = 9, seed: int = 0) -> NDArray[np.uint16]:
    """uint16 [H,W,C] that uses all bits."""
    return np.random.default_rng(seed).integers(0, 65536, (height, width, channels), dtype=np.uint16)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """A file of an image, written by Pillow."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def sample(kind: str, width: int = 32, height: int = 24) -> bytes:
    """A plain file of `gradient` in any format that is read."""
    return encoded(Image.fromarray(gradient(width, height)), kind)


def png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def deep_png(samples: NDArray[np.uint16], *, row_filter: int = 0, extra: bytes = b"") -> bytes:
    """A 16-bit PNG written sample by sample, by the letter of the standard: slow, and independent of the package.

    Args:
        samples: uint16 [H,W,C], C from 1 to 4.
        row_filter: the filter of every row, 0 to 4.
        extra: chunks to put before the pixels.
    """
    height, width, channels = samples.shape
    step = 2 * channels
    lines = bytearray()
    above = bytes(width * step)
    for row in samples.astype(">u2"):
        here = row.tobytes()
        lines.append(row_filter)
        for i, value in enumerate(here):
            a = here[i - step] if i >= step else 0
            b, c = above[i], above[i - step] if i >= step else 0
            near = min((abs(b - c), 0, a), (abs(a - c), 1, b), (abs(a + b - 2 * c), 2, c))[2]
            lines.append((value - (0, a, b, (a + b) // 2, near)[row_filter]) % 256)
        above = here
    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    chunks = [png_chunk(b"IHDR", header), extra, png_chunk(b"IDAT", zlib.compress(bytes(lines)))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + png_chunk(b"IEND", b"")


def deep_tiff(samples: NDArray[np.uint16], *, big_endian: bool = False, deflate: bool = False, **tags: int) -> bytes:
    """A one-strip 16-bit TIFF written tag by tag.

    Args:
        samples: uint16 [H,W,C]; C = 1 is grey, 3 RGB, 4 RGBA.
        big_endian: the order of every number.
        deflate: compress the strip.
        tags: ``photometric``, ``extra`` (kind of alpha), ``orientation``.
    """
    order = ">" if big_endian else "<"
    height, width, channels = samples.shape
    strip = samples.astype(f"{order}u2").tobytes()
    strip = zlib.compress(strip) if deflate else strip
    entries: list[tuple[int, str, list[int]]] = [
        (256, "H", [width]),
        (257, "H", [height]),
        (258, "H", [16] * channels),
        (259, "H", [8 if deflate else 1]),
        (262, "H", [tags.get("photometric", 1 if channels == 1 else 2)]),
        (273, "I", [0]),
        (274, "H", [tags.get("orientation", 1)]),
        (277, "H", [channels]),
        (278, "H", [height]),
        (279, "I", [len(strip)]),
    ]
    if channels == 4:
        entries.append((338, "H", [tags.get("extra", 2)]))
    start = 8 + 2 + 12 * len(entries) + 4
    body, aside = b"", b""
    aside_size = sum(len(v) * 2 for _, k, v in entries if k == "H" and len(v) > 2)
    for tag, kind, values in entries:
        values = [start + aside_size] if tag == 273 else values
        packed = struct.pack(f"{order}{len(values)}{kind}", *values)
        if len(packed) > 4:
            aside, packed = aside + packed, struct.pack(f"{order}I", start + len(aside))
        body += struct.pack(f"{order}HHI", tag, {"H": 3, "I": 4}[kind], len(values)) + packed.ljust(4, b"\0")
    head = (b"MM\0*" if big_endian else b"II*\0") + struct.pack(f"{order}IH", 8, len(entries))
    return head + body + bytes(4) + aside + strip


# Colorants under D50 of two well-known RGB spaces: columns R, G, B.
DISPLAY_P3 = [[0.5151, 0.2920, 0.1571], [0.2412, 0.6922, 0.0666], [-0.0011, 0.0419, 0.7841]]
ADOBE_RGB = [[0.6097, 0.2053, 0.1492], [0.3111, 0.6257, 0.0632], [0.0195, 0.0609, 0.7446]]
SWAPPED = [[0.1431, 0.3851, 0.4361], [0.0606, 0.7169, 0.2225], [0.7141, 0.0971, 0.0139]]  # sRGB, red called blue


def gamma_curve(gamma: float) -> bytes:
    return b"curv" + struct.pack(">IIH", 0, 1, round(gamma * 256)) + b"\0\0"


def table_curve(values: list[int]) -> bytes:
    return (b"curv" + struct.pack(f">II{len(values)}H", 0, len(values), *values)).ljust(16, b"\0")


def formula_curve(form: int, *numbers: float) -> bytes:
    fixed = struct.pack(f">{len(numbers)}i", *(round(n * 65536) for n in numbers))
    return b"para" + struct.pack(">IHH", 0, form, 0) + fixed


SRGB_CURVE = formula_curve(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def profile(space: bytes, tags: dict[bytes, bytes], version: int = 4) -> bytes:
    """An ICC profile of the given tags, for the connection space XYZ."""
    tags = {
        b"desc": b"mluc" + struct.pack(">III2s2sII", 0, 1, 12, b"en", b"US", 2, 28) + "x".encode("utf-16-be"),
        b"wtpt": xyz(0.9642, 1.0, 0.8249),
        b"cprt": b"mluc" + struct.pack(">III2s2sII", 0, 1, 12, b"en", b"US", 2, 28) + "x".encode("utf-16-be"),
        **tags,
    }
    table, body = b"", b""
    start = 132 + 12 * len(tags)
    for name, data in tags.items():
        body += bytes(-len(body) % 4)
        table += struct.pack(">4sII", name, start + len(body), len(data))
        body += data
    size = start + len(body)
    head = struct.pack(">I4sI4s4s4s", size, b"\0\0\0\0", version << 24, b"mntr", space, b"XYZ ")
    head += struct.pack(">6H4s", 2025, 1, 1, 0, 0, 0, b"acsp") + bytes(28) + xyz(0.9642, 1.0, 0.8249)[8:]
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def xyz(x: float, y: float, z: float) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(v * 65536) for v in (x, y, z)))


def rgb_profile(matrix: list[list[float]], *curves: bytes) -> bytes:
    """A profile of curves (one for all channels, or three) and a matrix."""
    curves = curves * 3 if len(curves) == 1 else curves
    columns = zip(*matrix, strict=True)
    return profile(
        b"RGB ",
        {
            **{name: xyz(*column) for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns, strict=True)},
            **dict(zip((b"rTRC", b"gTRC", b"bTRC"), curves, strict=True)),
        },
    )


def grey_profile(curve: bytes) -> bytes:
    return profile(b"GRAY", {b"kTRC": curve})
