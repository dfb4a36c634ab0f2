"""EXIF, XMP and dpi: kept, made true, or stripped."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from drawing import DISPLAY_P3, SRGB_CURVE, encoded, gradient, rgb_profile
from impasto.runtime.picture import Picture
from impasto.runtime.pixels.metadata import PictureInfo, clean_dpi, clean_xmp

XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description dc:title="Caf\xc3\xa9" exif:PixelXDimension="4000" tiff:ImageLength="3000">'
    b"<tiff:Orientation>1</tiff:Orientation></rdf:Description></rdf:RDF></x:xmpmeta>"
)
FORMATS = ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"]


def camera_exif(orientation: int = 1) -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0112] = "Impasto", "Model 1", orientation
    exif[0x013B] = "A. Painter"
    exif[0x8769] = {
        0x829A: 0.004,  # exposure time
        0x9003: "2025:01:02 03:04:05",
        0x9286: b"ASCII\0\0\0hello",  # comment
        0x927C: b"maker\0\1\2",
        0xA001: 65535,  # colour space: uncalibrated
        0xA002: 4000,
        0xA003: 3000,
        0xA005: {1: "R03"},  # Adobe RGB
    }
    exif[0x8825] = {1: "N", 2: (48.0, 51.0, 30.5), 3: "E", 4: (2.0, 17.0, 40.0)}
    return exif


def read(data: bytes) -> Image.Exif:
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return image.getexif()


def plain(values: dict[int, object]) -> dict[int, object]:
    """Pillow's fractions as floats."""
    return {
        tag: tuple(map(float, value)) if isinstance(value, tuple) else value if isinstance(value, str | bytes)
        else float(value)  # type: ignore[arg-type]
        for tag, value in values.items()
    }  # fmt: skip


@pytest.mark.parametrize("source", FORMATS)
@pytest.mark.parametrize("target", [*FORMATS, "PNG16", "TIFF16"])
def test_exif_travels_between_all_formats(source: str, target: str) -> None:
    picture = Picture.open(encoded(Image.fromarray(gradient()), source, exif=camera_exif(6).tobytes()))
    assert picture.info.notes == ()
    if target.endswith("16"):
        picture = Picture(picture.rgb, None, PictureInfo(exif=picture.info.exif, depth=16))
    exif = read(picture.to_bytes(target.removesuffix("16")))
    assert exif[0x010F] == "Impasto" and exif[0x013B] == "A. Painter"
    assert exif.get(0x0112, 1) == 1
    detail = plain({tag: value for tag, value in exif.get_ifd(0x8769).items() if tag != 0xA005})
    assert detail[0x829A] == pytest.approx(0.004) and detail[0x9003] == "2025:01:02 03:04:05"
    assert detail[0x9286] == b"ASCII\0\0\0hello"
    assert (detail[0xA002], detail[0xA003]) == (24, 32)  # of this file, not of the camera's
    assert plain(exif.get_ifd(0x8825))[2] == (48.0, 51.0, 30.5)
    assert Picture.open(picture.to_bytes(target.removesuffix("16"))).size == (24, 32)


def test_maker_notes_and_interoperability_survive_jpeg() -> None:
    picture = Picture.open(encoded(Image.fromarray(gradient()), "JPEG", exif=camera_exif()))
    exif = read(picture.to_bytes("jpeg"))
    assert exif.get_ifd(0x8769)[0x927C] == b"maker\0\1\2"
    assert exif.get_ifd(0xA005)[1] == "R03"


def test_after_a_conversion_exif_says_srgb() -> None:
    data = encoded(
        Image.fromarray(gradient()), "JPEG", exif=camera_exif(), icc_profile=rgb_profile(DISPLAY_P3, SRGB_CURVE)
    )
    detail = read(Picture.open(data).to_bytes("jpeg")).get_ifd(0x8769)
    assert detail[0xA001] == 1 and 0xA005 not in detail


def test_dimensions_follow_a_resize_and_the_thumbnail_goes() -> None:
    exif = camera_exif()
    data = encoded(Image.fromarray(gradient()), "JPEG", exif=exif)
    thumbnail = encoded(Image.new("RGB", (16, 12), "red"), "JPEG")
    # A second directory, with a thumbnail, behind the first: Pillow itself writes none.
    block = bytearray(exif.tobytes()[6:])
    order = "<" if block[:2] == b"II" else ">"
    (count,) = struct.unpack_from(f"{order}H", block, 8)
    struct.pack_into(f"{order}I", block, 10 + 12 * count, len(block))
    at = len(block) + 2 + 24 + 4
    block += struct.pack(f"{order}HHHIIHHIII", 2, 513, 4, 1, at, 514, 4, 1, len(thumbnail), 0) + thumbnail
    data = encoded(Image.fromarray(gradient()), "JPEG", exif=b"Exif\0\0" + bytes(block))
    assert read(data).get_ifd(ExifTags.IFD.IFD1)  # the thumbnail is there
    out = Picture.open(data).resized(16).to_bytes("jpeg")
    assert thumbnail not in out and not read(out).get_ifd(ExifTags.IFD.IFD1)
    assert read(out).get_ifd(0x8769)[0xA002] == 16 and read(out)[0x010F] == "Impasto"


@pytest.mark.parametrize("source", FORMATS)
@pytest.mark.parametrize("target", [*FORMATS, "PNG16", "TIFF16"])
def test_xmp_travels_between_all_formats(source: str, target: str) -> None:
    image = Image.fromarray(gradient())
    if source == "PNG":
        from PIL.PngImagePlugin import PngInfo

        chunks = PngInfo()
        chunks.add_itxt("XML:com.adobe.xmp", XMP.decode())
        data = encoded(image, "PNG", pnginfo=chunks)
    else:
        data = encoded(image, source, **({"tiffinfo": {700: XMP}} if source == "TIFF" else {"xmp": XMP}))
    picture = Picture.open(data)
    if target.endswith("16"):
        picture = Picture(picture.rgb, None, PictureInfo(xmp=picture.info.xmp, depth=16))
    again = Picture.open(picture.to_bytes(target.removesuffix("16")))
    assert again.info.xmp is not None
    assert "Café".encode() in again.info.xmp and b"<tiff:Orientation>1</tiff:Orientation>" in again.info.xmp
    assert b"4000" not in again.info.xmp and b"3000" not in again.info.xmp


@pytest.mark.parametrize("target", ["JPEG", "PNG", "TIFF", "PNG16", "TIFF16"])
def test_dpi_travels(target: str) -> None:
    picture = Picture.open(encoded(Image.fromarray(gradient()), "JPEG", dpi=(300, 150)))
    assert picture.info.dpi == (300, 150)
    if target.endswith("16"):
        picture = Picture(picture.rgb, None, PictureInfo(dpi=picture.info.dpi, depth=16))
    again = Picture.open(picture.to_bytes(target.removesuffix("16")))
    np.testing.assert_allclose(again.info.dpi, (300, 150), atol=0.02)


@pytest.mark.parametrize("target", [*FORMATS, "PNG16", "TIFF16"])
def test_strip_leaves_the_profile_and_nothing_else(target: str, tmp_path: Path) -> None:
    data = encoded(
        Image.fromarray(gradient()),
        "JPEG",
        exif=camera_exif(),
        xmp=XMP,
        dpi=(300, 300),
        comment=b"secret comment",
        icc_profile=rgb_profile(DISPLAY_P3, SRGB_CURVE),
    )
    picture = Picture.open(data)
    if target.endswith("16"):
        info = picture.info
        picture = Picture(picture.rgb, None, PictureInfo(info.exif, info.xmp, info.dpi, info.icc, 16))
    path = tmp_path / f"out.{target.removesuffix('16').lower()}"
    picture.save(path, strip=True)
    out = path.read_bytes()
    for secret in (b"Impasto", b"A. Painter", b"hello", b"2025:01:02", b"xmpmeta", b"secret"):
        assert secret not in out
    again = Picture.open(out)
    assert again.info.xmp is None and again.info.dpi is None and again.info.icc == picture.info.icc
    assert not read(out).get_ifd(0x8825)
    assert b"A. Painter" in picture.to_bytes("jpeg")  # and without strip it is there


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")  # Pillow's own, where the block ends too soon
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("bad", [b"II*\0\x08\0\0\0\xff\xff" + bytes(range(200)), b"nonsense", b"II*\0\xff\xff\xff\x0f"])
def test_damaged_exif_does_not_stop_the_picture(kind: str, bad: bytes) -> None:
    picture = Picture.open(encoded(Image.fromarray(gradient()), kind, exif=b"Exif\0\0" + bad))
    assert picture.size == (32, 24)
    for out in FORMATS:
        assert Picture.open(picture.to_bytes(out)).size == (32, 24)


def test_metadata_too_long_for_jpeg_is_left_out_aloud(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "x" * 70_000
    image = Image.fromarray(gradient())
    picture = Picture.open(encoded(image, "WEBP", exif=exif, xmp=XMP + b" " * 70_000))
    notes = picture.save(tmp_path / "out.jpg")
    assert notes == (
        "The EXIF data is too long for JPEG and was left out.",
        "The XMP data is too long for JPEG and was left out.",
    )
    assert Picture.open(tmp_path / "out.jpg").info.exif is None
    assert picture.save(tmp_path / "out.png") == ()
    assert read((tmp_path / "out.png").read_bytes())[0x010E] == "x" * 70_000


def test_sixteen_bits_lost_are_said_aloud(tmp_path: Path) -> None:
    picture = Picture.from_array(gradient().astype(np.uint16) * 257)
    (note,) = picture.save(tmp_path / "out.webp")
    assert note == "16 bits were read in full, but WebP keeps 8: write PNG or TIFF to keep them."
    assert picture.losses("png") == picture.losses("tiff") == ()


def test_clean_dpi_and_xmp_take_anything() -> None:
    assert clean_dpi((72, 96.5)) == (72.0, 96.5)
    for odd in (None, 3, (1,), ("a", "b"), (0, 0), (float("nan"), 72), (1e9, 72)):
        assert clean_dpi(odd) is None
    assert clean_xmp(None) is None and clean_xmp(3) is None and clean_xmp(b" \0") is None
    assert clean_xmp("<a tiff:Orientation='8'/>") == b"<a tiff:Orientation='1'/>"
