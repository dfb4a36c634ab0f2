"""Decoding in strips gives what decoding the whole gives."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from drawing import (
    ADOBE_RGB,
    deep_noise,
    deep_png,
    deep_tiff,
    encoded,
    gamma_curve,
    gradient,
    grey_profile,
    png_chunk,
    rgb_profile,
    sample,
)
from impasto.errors import PictureError
from impasto.runtime.files import sniff
from impasto.runtime.fitting import header
from impasto.runtime.picture import Picture
from impasto.runtime.pixels.strips import decode_to_canvas


def both(data: bytes, folder: Path, band: int = 100) -> tuple[Picture, Picture]:
    """The same file decoded whole and in strips."""
    kind = sniff(data[:64])
    assert kind is not None
    canvas, info = decode_to_canvas(io.BytesIO(data), kind, "it", folder, band=band)
    with canvas:
        return Picture.open(data), Picture(canvas.rgb(canvas.whole), canvas.alpha(canvas.whole), info)


def same(data: bytes, folder: Path, atol: float = 1e-7, band: int = 100) -> Picture:
    whole, parts = both(data, folder, band)
    np.testing.assert_allclose(parts.rgb, whole.rgb, atol=atol)
    assert (parts.alpha is None) == (whole.alpha is None)
    if whole.alpha is not None:
        np.testing.assert_allclose(parts.alpha, whole.alpha, atol=atol)
    assert parts.info == whole.info
    return parts


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF", "GIF", "BMP"])
def test_every_format(tmp_path: Path, kind: str) -> None:
    assert same(sample(kind), tmp_path).size == (32, 24)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK", "YCbCr", "LAB"])
def test_every_mode(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(gradient())
    if mode in ("LA", "RGBA"):
        image.putalpha(Image.fromarray(gradient()[..., 0]))
    image = (
        image.convert(mode) if mode != "LAB" else Image.fromarray(gradient(), "LAB") if False else image.convert("RGB")
    )
    if mode == "LAB":
        from PIL import ImageCms

        lab = ImageCms.createProfile("LAB")
        image = ImageCms.profileToProfile(image, ImageCms.createProfile("sRGB"), lab, outputMode="LAB")
    same(encoded(image, "TIFF" if mode in ("CMYK", "YCbCr", "LAB") else "PNG"), tmp_path)


@pytest.mark.parametrize("values", ["integers", "small integers", "floats", "unit floats"])
def test_values_without_a_white_are_stretched_by_those_of_the_whole(tmp_path: Path, values: str) -> None:
    ramp = np.linspace(0, 1, 32 * 24).reshape(24, 32)
    array = {
        "integers": (ramp * 1e6 - 5e5).astype(np.int32),
        "small integers": (ramp * 6e4).astype(np.int32),
        "floats": (ramp * 300 - 20).astype(np.float32),
        "unit floats": (0.1 + 0.7 * ramp).astype(np.float32),
    }[values]
    same(encoded(Image.fromarray(array), "TIFF"), tmp_path, atol=0.51 / 65535)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    parts = same(encoded(Image.fromarray(gradient(33, 24)), "PNG", exif=exif), tmp_path)
    assert parts.size == ((33, 24) if orientation < 5 else (24, 33))
    tiff = encoded(Image.fromarray(gradient(33, 24)), "TIFF", tiffinfo={274: orientation})
    assert same(tiff, tmp_path).size == parts.size


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sixteen_bits_of_a_png(tmp_path: Path, channels: int) -> None:
    samples = deep_noise(channels, 33, 20)
    parts = same(deep_png(samples, row_filter=4), tmp_path)
    assert parts.info.depth == 16
    np.testing.assert_array_equal((parts.rgb[..., 0] * 65535).round(), samples[..., 0])


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_of_a_tiff(tmp_path: Path, channels: int, big_endian: bool, orientation: int) -> None:
    data = deep_tiff(deep_noise(channels, 33, 20), big_endian=big_endian, orientation=orientation)
    assert same(data, tmp_path).info.depth == 16


def test_odd_kinds_of_sixteen_bits(tmp_path: Path) -> None:
    same(deep_tiff(deep_noise(1), photometric=0), tmp_path, band=20)
    same(deep_tiff(deep_noise(4), extra=1, deflate=True), tmp_path, atol=1e-6, band=20)  # premultiplied
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = png_chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    assert same(deep_png(deep_noise(3), extra=turned), tmp_path, band=20).size == (9, 13)
    key = png_chunk(b"tRNS", deep_noise(3)[2, 3].astype(">u2").tobytes())
    parts = same(deep_png(deep_noise(3), extra=key), tmp_path, band=20)
    assert parts.alpha is not None and (parts.alpha == 0).sum() == 1


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("grey", [False, True])
def test_profiles(tmp_path: Path, deep: bool, grey: bool) -> None:
    profile = grey_profile(gamma_curve(1.8)) if grey else rgb_profile(ADOBE_RGB, gamma_curve(2.2))
    if deep:
        import zlib

        chunk = png_chunk(b"iCCP", b"x\0\0" + zlib.compress(profile))
        data = deep_png(deep_noise(1 if grey else 3, 33, 20), extra=chunk)
    else:
        data = encoded(Image.fromarray(gradient()).convert("L" if grey else "RGB"), "PNG", icc_profile=profile)
    parts = same(data, tmp_path, atol=0.51 / 65535 if deep else 1e-7)
    assert parts.info.icc is not None


def test_metadata_and_notes_are_told_once(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "a place"
    data = encoded(Image.fromarray(gradient()), "JPEG", exif=exif, dpi=(300, 300), icc_profile=b"nonsense")
    parts = same(data, tmp_path)
    assert parts.info.dpi == (300, 300) and parts.info.exif is not None
    assert len([note for note in parts.info.notes if "profile" in note]) == 1
    film = encoded(Image.fromarray(gradient()), "GIF", save_all=True, append_images=[Image.fromarray(255 - gradient())])
    assert "Animated" in same(film, tmp_path).info.notes[0]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_a_damaged_file_is_one_sentence_and_leaves_nothing(tmp_path: Path, kind: str) -> None:
    data = sample(kind, 200, 150)
    with pytest.raises(PictureError, match=r"it is damaged or cut short .*copy or download it again"):
        decode_to_canvas(io.BytesIO(data[: len(data) // 2]), kind, "it", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("mode", "pixel"), [("RGB", 4), ("L", 1), ("RGBA", 4), ("CMYK", 4), ("I;16", 2), ("1", 1)])
def test_what_decoding_takes(mode: str, pixel: int) -> None:
    image: Any = Image.new(mode, (40, 30))
    assert header(io.BytesIO(encoded(image, "TIFF")), "TIFF", "it", None) == (40, 30, 1200 * pixel)
    turned = encoded(image, "TIFF", tiffinfo={274: 6})
    assert header(io.BytesIO(turned), "TIFF", "it", None)[2] == 2400 * pixel
    with pytest.raises(PictureError, match="more than the limit of 1,199"):
        header(io.BytesIO(turned), "TIFF", "it", 1199)
    with pytest.raises(PictureError, match="damaged"):
        header(io.BytesIO(turned[:6]), "TIFF", "it", None)


@pytest.mark.parametrize(("sampling", "pixel"), [("4:4:4", 10), ("4:2:2", 8), ("4:2:0", 7)])
def test_a_progressive_jpeg_takes_more(sampling: str, pixel: int) -> None:
    image = Image.new("RGB", (40, 30))
    data = encoded(image, "JPEG", progressive=True, subsampling=sampling)
    assert header(io.BytesIO(data), "JPEG", "it", None) == (40, 30, 1200 * pixel)
    assert header(io.BytesIO(encoded(image, "JPEG")), "JPEG", "it", None)[2] == 4800


@pytest.mark.parametrize("kind", ["WEBP", "AVIF"])
def test_what_is_decoded_whole_takes_more(kind: str) -> None:
    assert header(io.BytesIO(encoded(Image.new("RGB", (40, 30)), kind)), kind, "it", None)[2] == 1200 * 16


def test_a_tiff_that_is_one_packed_strip_takes_more() -> None:
    image = Image.new("RGB", (40, 30))
    for rows, more in ((30, 3600), (10, 1200)):
        data = encoded(image, "TIFF", compression="tiff_adobe_deflate", tiffinfo={278: rows})
        assert header(io.BytesIO(data), "TIFF", "it", None)[2] == 4800 + more
