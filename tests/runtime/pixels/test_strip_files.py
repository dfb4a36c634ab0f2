"""Files written in strips hold what files written whole hold."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile

from drawing import deep_noise
from helpers import drawn_photo
from impasto.errors import PictureError
from impasto.runtime.picture import Picture, PictureInfo
from impasto.runtime.pixels import deep, icc, strip_files
from impasto.runtime.pixels.encode import quantized
from impasto.runtime.pixels.strip_files import grey_of, is_grey, write_strips
from impasto.runtime.tiles import Area


def exif() -> bytes:
    block = Image.Exif()
    block[0x010E] = "a place"
    block[0x8769] = {0x9003: "2024:01:02 03:04:05"}
    block[0x8825] = {1: "N", 2: (1.0, 2.0, 3.0)}
    return block.tobytes().removeprefix(b"Exif\0\0")


def info(**fields: Any) -> PictureInfo:
    given = {"exif": exif(), "xmp": b"<x:xmpmeta/>", "dpi": (300.0, 300.0), "icc": icc.srgb_profile()}
    return PictureInfo(**(given | fields))


def written(
    samples: np.ndarray[Any, Any], kind: str, about: PictureInfo, monkeypatch: pytest.MonkeyPatch, **options: Any
) -> bytes:
    """The file in bands of few rows, each asked for once."""
    monkeypatch.setattr(strip_files, "_BAND", 2000)
    asked: list[Area] = []

    def rows(area: Area) -> np.ndarray[Any, Any]:
        asked.append(area)
        return samples[area.top : area.bottom]

    file = io.BytesIO()
    shape: Any = samples.shape
    write_strips(file, kind, shape, rows, about, depth=8 * samples.dtype.itemsize, **options)
    assert [area.top for area in asked] == [0, *(area.bottom for area in asked[:-1])]
    # Strips of a TIFF have more rows than that, and those of a JPEG at least 64.
    whole = kind in ("WEBP", "AVIF") or len(samples) <= 64 or (kind == "TIFF" and samples.nbytes < 1 << 18)
    assert asked[-1].bottom == len(samples) and (len(asked) > 1) != whole
    return file.getvalue()


def drawn(channels: int, dtype: type, width: int = 73, height: int = 205) -> np.ndarray[Any, Any]:
    if dtype is np.uint16:
        return deep_noise(channels, width, height)
    rgb = drawn_photo(width, height)
    alpha = np.random.default_rng(0).random((height, width), dtype=np.float32)
    return quantized(rgb, alpha if channels == 4 else None, 255)


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_lossless_formats(monkeypatch: pytest.MonkeyPatch, kind: str, dtype: type, channels: int) -> None:
    samples = drawn(channels, dtype)
    about = info(depth=16 if dtype is np.uint16 else 8)
    opened = Picture.open(written(samples, kind, about, monkeypatch))
    levels = np.iinfo(dtype).max
    np.testing.assert_array_equal(quantized(opened.rgb, opened.alpha, levels), samples)
    whole = Picture.open(Picture.from_array(samples).__class__(opened.rgb, opened.alpha, about).to_bytes(kind))
    assert opened.info == whole.info
    assert opened.info.exif is not None and opened.info.dpi is not None and opened.info.xmp is not None


def test_a_tiff_is_byte_for_byte_that_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    for channels, dtype in ((3, np.uint8), (4, np.uint16)):
        samples = drawn(channels, dtype, 300, 400)
        expected = deep.write_tiff(samples, exif=None, xmp=b"<x/>", icc=None, dpi=(72.0, 72.0))
        about = PictureInfo(xmp=b"<x/>", dpi=(72.0, 72.0))
        assert written(samples, "TIFF", about, monkeypatch) == expected


def test_a_big_tiff(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = drawn(4, np.uint16, 300, 400)
    data = written(samples, "TIFF", info(), monkeypatch, big=True)
    assert data[:8] == b"II+\0\x08\0\0\0"
    opened = Picture.open(data)
    np.testing.assert_array_equal(quantized(opened.rgb, opened.alpha, 65535), samples)
    assert opened.info.exif is not None and opened.info.icc is not None
    one = drawn(3, np.uint8, 20, 5)
    np.testing.assert_array_equal(
        np.asarray(Image.open(io.BytesIO(written(one, "TIFF", info(), monkeypatch, big=True)))), one
    )


def test_when_a_tiff_is_big(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = drawn(3, np.uint8, 50, 40)
    monkeypatch.setattr(strip_files, "_CLASSIC", 50 * 40 * 3)
    assert written(samples, "TIFF", info(), monkeypatch)[2] == 42
    monkeypatch.setattr(strip_files, "_CLASSIC", 50 * 40 * 3 - 1)
    assert written(samples, "TIFF", info(), monkeypatch)[2] == 43


@pytest.mark.parametrize(("width", "height"), [(73, 205), (64, 64), (129, 300), (9, 7), (200, 65)])
@pytest.mark.parametrize("quality", [None, 40, 100])
def test_a_jpeg_decodes_to_that_of_the_whole(
    monkeypatch: pytest.MonkeyPatch, width: int, height: int, quality: int | None
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", False)
    samples = drawn(3, np.uint8, width, height)
    about = info()
    data = written(samples, "JPEG", about, monkeypatch, quality=quality)
    whole = Picture(samples.astype(np.float32) / 255, None, about).to_bytes("jpeg", quality=quality)
    ours, theirs = Image.open(io.BytesIO(data)), Image.open(io.BytesIO(whole))
    assert ours.size == (width, height)
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))
    assert Picture.open(data).info == Picture.open(whole).info
    assert ours.info["exif"] == theirs.info["exif"]
    assert data.count(b"a place") == 1
    assert len(data) < len(whole) * 1.1 + 200


@pytest.mark.parametrize("kind", ["WEBP", "AVIF"])
def test_formats_that_have_no_strips(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    samples = drawn(4, np.uint8)
    data = written(samples, kind, info(), monkeypatch, quality=100)
    whole = Picture.from_array(samples)
    assert data == Picture(whole.rgb, whole.alpha, info()).to_bytes(kind.lower(), quality=100)


def test_strip_leaves_metadata_out(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("JPEG", "PNG", "TIFF", "WEBP"):
        data = written(drawn(3, np.uint8), kind, info(text=(("impasto", "drawn"),)), monkeypatch, strip=True)
        opened = Picture.open(data)
        assert opened.info.exif is None and opened.info.xmp is None and opened.info.icc is not None
        assert b"a place" not in data and b"drawn" not in data
    data = written(drawn(3, np.uint8), "PNG", info(text=(("impasto", "drawn"),)), monkeypatch)
    assert Image.open(io.BytesIO(data)).text["impasto"] == "drawn"


def test_a_grey_picture_stays_grey(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = np.repeat(drawn(3, np.uint8)[..., :1], 3, axis=2)
    shape: Any = samples.shape
    rows = lambda area: samples[area.top : area.bottom]  # noqa: E731
    monkeypatch.setattr(strip_files, "_BAND", 2000)
    assert is_grey(rows, shape)
    file = io.BytesIO()
    write_strips(file, "PNG", (*shape[:2], 1), grey_of(rows), PictureInfo())
    image = Image.open(file)
    assert image.mode == "L"
    np.testing.assert_array_equal(np.asarray(image), samples[..., 0])
    samples[-1, -1, 2] ^= 1
    assert not is_grey(rows, shape)


def test_what_a_format_cannot_hold_is_refused() -> None:
    def never(area: Area) -> np.ndarray[Any, Any]:
        raise AssertionError(area)

    with pytest.raises(PictureError, match="at most 65535 pixels a side"):
        write_strips(io.BytesIO(), "JPEG", (10, 70000, 3), never, PictureInfo())
    with pytest.raises(PictureError, match="Quality 0 does not exist"):
        write_strips(io.BytesIO(), "JPEG", (10, 70, 3), never, PictureInfo(), quality=0)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG"])
def test_metadata_that_cannot_be_written_is_one_sentence(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Odd(Image.Exif):
        def tobytes(self, offset: int = 8) -> bytes:
            raise struct.error("ushort format requires 0 <= number <= 65535")

        def items(self) -> Any:
            return self.tobytes()

    monkeypatch.setattr(strip_files, "exif_for", lambda *_: Odd())
    black = np.zeros((10, 20, 3), np.uint8)
    with pytest.raises(PictureError, match=f"could not be written as {kind} .*or strip its metadata"):
        write_strips(io.BytesIO(), kind, black.shape, lambda area: black, info())  # type: ignore[arg-type]
