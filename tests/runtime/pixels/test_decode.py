"""Reading: every kind of pixels, turns, frames, limits, and files that are damaged or hostile."""

from __future__ import annotations

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from drawing import deep_noise, deep_png, deep_tiff, encoded, gradient, png_chunk, sample
from impasto.errors import PictureError
from impasto.runtime.picture import Picture

KINDS = ["JPEG", "PNG", "WEBP", "AVIF", "TIFF", "GIF", "BMP"]


def levels(picture: Picture) -> np.ndarray:
    return np.asarray(picture.to_pil()).astype(int)


def deep_levels(picture: Picture) -> np.ndarray:
    return np.rint(picture.rgb.astype(np.float64) * 65535).astype(int)


# --- turns ------------------------------------------------------------------------------------------------------


def turned_by_hand(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """What a stored picture looks like upright, from the table of the EXIF standard: which side of the picture the
    first stored row and the first stored column are."""
    return {
        1: pixels,  # row 0 is the top, column 0 the left side
        2: pixels[:, ::-1],  # top, right
        3: pixels[::-1, ::-1],  # bottom, right
        4: pixels[::-1],  # bottom, left
        5: pixels.swapaxes(0, 1),  # left, top
        6: pixels.swapaxes(0, 1)[:, ::-1],  # right, top
        7: pixels.swapaxes(0, 1)[::-1, ::-1],  # right, bottom
        8: pixels.swapaxes(0, 1)[::-1],  # left, bottom
    }[orientation]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
def test_orientation_is_applied_exactly_once(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "Impasto"
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95, "subsampling": 0}}.get(kind, {})
    picture = Picture.open(encoded(Image.fromarray(gradient()), kind, exif=exif, **options))
    expected = turned_by_hand(gradient(), orientation).astype(int)
    assert levels(picture).shape == expected.shape
    assert np.abs(levels(picture) - expected).max() <= (0 if kind in ("PNG", "TIFF", "WEBP") else 40)
    assert np.abs(levels(picture) - expected).mean() < 5
    for out in ("jpeg", "png", "webp", "avif", "tiff"):
        again = Picture.open(picture.to_bytes(out))
        assert np.abs(levels(again) - expected).mean() < 6  # not turned a second time
        with Image.open(io.BytesIO(picture.to_bytes(out))) as raw:
            assert raw.getexif().get(0x0112, 1) == 1 and raw.getexif()[0x010F] == "Impasto"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_sixteen_bit_files(orientation: int) -> None:
    samples = deep_noise(3)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = deep_png(samples, extra=png_chunk(b"eXIf", exif.tobytes()[6:]))
    np.testing.assert_array_equal(deep_levels(Picture.open(data)), turned_by_hand(samples, orientation))
    for channels in (1, 3):
        samples = deep_noise(channels)
        tiff = Picture.open(deep_tiff(samples, orientation=orientation))
        expected = np.broadcast_to(turned_by_hand(samples, orientation), tiff.rgb.shape)
        np.testing.assert_array_equal(deep_levels(tiff), expected)


def test_orientation_given_only_in_xmp_is_applied_once() -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    picture = Picture.open(encoded(Image.fromarray(gradient()), "JPEG", xmp=xmp))
    assert picture.size == (24, 32)
    assert picture.info.xmp is not None and b'tiff:Orientation="1"' in picture.info.xmp
    assert Picture.open(picture.to_bytes("jpeg")).size == (24, 32)


# --- kinds of pixels --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "JPEG", "GIF"])
def test_grey(kind: str) -> None:
    ramp = gradient()[..., 0]
    picture = Picture.open(encoded(Image.fromarray(ramp), kind, **({"quality": 100} if kind == "JPEG" else {})))
    assert np.abs(levels(picture) - ramp[..., None]).max() <= (2 if kind == "JPEG" else 0)
    assert picture.info.grey or kind == "GIF"  # a GIF is a palette always


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_one_bit(kind: str) -> None:
    bits = Image.fromarray(gradient()[..., 0] > 100)
    picture = Picture.open(encoded(bits, kind))
    np.testing.assert_array_equal(levels(picture)[..., 1], np.asarray(bits) * 255)


def test_grey_with_alpha() -> None:
    pixels = gradient()
    image = Image.merge("LA", [Image.fromarray(pixels[..., 0]), Image.fromarray(pixels[..., 1])])
    for kind in ("PNG", "TIFF"):
        picture = Picture.open(encoded(image, kind))
        np.testing.assert_array_equal(levels(picture)[..., :3], np.repeat(pixels[..., :1], 3, axis=2))
        np.testing.assert_array_equal(levels(picture)[..., 3], pixels[..., 1])
        assert picture.info.grey


def test_palettes_with_and_without_transparency() -> None:
    image = Image.fromarray(gradient()).quantize(8)
    plain = Picture.open(encoded(image, "PNG"))
    np.testing.assert_array_equal(levels(plain), np.asarray(image.convert("RGB")))
    assert plain.alpha is None
    one = Picture.open(encoded(image, "PNG", transparency=3))
    np.testing.assert_array_equal(one.alpha == 0, np.asarray(image) == 3)
    many = Picture.open(encoded(image, "PNG", transparency=bytes(range(0, 80, 10))))
    np.testing.assert_array_equal(levels(many)[..., 3], np.asarray(image).astype(int) * 10)
    gif = Picture.open(encoded(image, "GIF", transparency=3))
    assert gif.alpha is not None and 0 < (gif.alpha == 0).mean() < 1


def test_colour_keys() -> None:
    pixels = gradient()
    key = tuple(int(v) for v in pixels[4, 7])
    picture = Picture.open(encoded(Image.fromarray(pixels), "PNG", transparency=key))
    np.testing.assert_array_equal(picture.alpha == 0, (pixels == key).all(axis=2))
    grey = Picture.open(encoded(Image.fromarray(pixels[..., 0]), "PNG", transparency=int(pixels[0, 5, 0])))
    np.testing.assert_array_equal(grey.alpha == 0, pixels[..., 0] == pixels[0, 5, 0])
    for channels in (1, 3):
        deep = deep_noise(channels)
        spot = deep[2, 3]
        picture = Picture.open(deep_png(deep, extra=png_chunk(b"tRNS", spot.astype(">u2").tobytes())))
        np.testing.assert_array_equal(picture.alpha == 0, (deep == spot).all(axis=2))


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_without_a_profile(kind: str) -> None:
    image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    picture = Picture.open(encoded(image, kind))
    assert np.abs(levels(picture) - [255, 0, 0]).max() < 8
    assert picture.info.notes == ("CMYK without a usable colour profile: the colours are approximate.",)


def test_cmyk_jpeg_with_adobes_inverted_inks() -> None:
    data = encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=100)
    assert b"Adobe" in data and Image.open(io.BytesIO(data)).mode == "CMYK"
    assert np.abs(levels(Picture.open(data)) - [255, 0, 0]).max() < 8


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("row_filter", range(5))
def test_sixteen_bit_png_is_exact(channels: int, row_filter: int) -> None:
    samples = deep_noise(channels, seed=row_filter)
    picture = Picture.open(deep_png(samples, row_filter=row_filter))
    assert picture.info.depth == 16 and picture.info.grey == (channels < 3)
    colours = samples[..., : 3 if channels > 2 else 1]
    np.testing.assert_array_equal(deep_levels(picture), np.broadcast_to(colours, picture.rgb.shape))
    if channels in (2, 4):
        np.testing.assert_array_equal(np.rint(picture.alpha * 65535), samples[..., -1])
    else:
        assert picture.alpha is None


@settings(deadline=None, max_examples=40)
@given(width=st.integers(1, 40), height=st.integers(1, 40), alpha=st.booleans(), kind=st.sampled_from(["png", "tiff"]))
def test_sixteen_bits_survive_writing_and_reading(width: int, height: int, alpha: bool, kind: str) -> None:
    samples = deep_noise(4 if alpha else 3, width, height, seed=width * 41 + height)
    picture = Picture.open(Picture.from_array(samples).to_bytes(kind))
    assert picture.info.depth == 16 and picture.size == (width, height)
    np.testing.assert_array_equal(deep_levels(picture), samples[..., :3])
    if alpha:
        np.testing.assert_array_equal(np.rint(picture.alpha * 65535), samples[..., 3])


@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_sixteen_bit_files_of_many_strips(kind: str) -> None:
    samples = deep_noise(3, 600, 700)
    picture = Picture.from_array(samples)
    np.testing.assert_array_equal(deep_levels(Picture.open(picture.to_bytes(kind))), samples)
    # and another reader sees the same, as far as its 8 bits go
    with Image.open(io.BytesIO(picture.to_bytes(kind))) as other:
        np.testing.assert_array_equal(np.asarray(other), samples >> 8)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("deflate", [False, True])
def test_sixteen_bit_tiff_is_exact(channels: int, big_endian: bool, deflate: bool) -> None:
    samples = deep_noise(channels)
    picture = Picture.open(deep_tiff(samples, big_endian=big_endian, deflate=deflate))
    assert picture.info.depth == 16
    np.testing.assert_array_equal(deep_levels(picture), np.broadcast_to(samples[..., :3], picture.rgb.shape))
    if channels == 4:
        np.testing.assert_array_equal(np.rint(picture.alpha * 65535), samples[..., 3])


def test_sixteen_bit_tiff_with_unused_or_premultiplied_fourth_channel_and_white_as_zero() -> None:
    samples = deep_noise(4)
    unused = Picture.open(deep_tiff(samples, extra=0))
    assert unused.alpha is None
    np.testing.assert_array_equal(deep_levels(unused), samples[..., :3])
    alpha = samples[..., 3:].astype(np.float64)
    premultiplied = np.dstack([np.rint(samples[..., :3] * alpha / 65535).astype(np.uint16), samples[..., 3]])
    straight = Picture.open(deep_tiff(premultiplied, extra=1))
    opaque = samples[..., 3] > 6000
    assert np.abs(deep_levels(straight) - samples[..., :3])[opaque].max() <= 12
    grey = deep_noise(1)
    inverted = Picture.open(deep_tiff(grey, photometric=0))
    np.testing.assert_array_equal(deep_levels(inverted)[..., :1], 65535 - grey.astype(int))


def test_floats_and_wide_integers() -> None:
    values = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    plain = Picture.open(encoded(Image.fromarray(values), "TIFF"))
    np.testing.assert_array_equal(plain.rgb[..., 2], values)
    assert plain.info.notes == ()
    stretched = Picture.open(encoded(Image.fromarray(values * 300 - 100), "TIFF"))
    np.testing.assert_allclose(stretched.rgb[..., 0], values, atol=1e-6)
    assert "run from -100 to 200; they were stretched" in stretched.info.notes[0]
    flat = Picture.open(encoded(Image.fromarray(np.full((2, 2), 7, np.float32)), "TIFF"))
    assert (flat.rgb == 0).all()
    values[0, 0] = np.nan
    with pytest.raises(PictureError, match="no numbers"):
        Picture.open(encoded(Image.fromarray(values), "TIFF"))
    whole = Image.fromarray(np.array([[0, 65535, 1234]], np.int32))
    np.testing.assert_allclose(Picture.from_pil(whole).rgb[0, :, 0], [0, 1, 1234 / 65535], atol=1e-7)


# --- frames -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "AVIF", "TIFF"])
def test_of_several_frames_the_first_is_used_aloud(kind: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "lime", "blue")]
    picture = Picture.open(encoded(frames[0], kind, save_all=True, append_images=frames[1:]))
    assert np.abs(levels(picture)[8, 8] - [255, 0, 0]).max() < 10
    words = "It has 3 pages" if kind == "TIFF" else "Animated: 3 frames"
    assert picture.info.notes == (f"{words}; only the first is used.",)


# --- limits -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_limit_is_on_pixels_and_adjustable(kind: str) -> None:
    data = sample(kind, 40, 30)
    with pytest.raises(
        PictureError, match=r"40x30 \(1,200 pixels\), more than the limit of 1,199: shrink it or raise max_pixels"
    ):
        Picture.open(data, max_pixels=1199)
    assert Picture.open(data, max_pixels=1200).size == (40, 30)
    assert Picture.open(data, max_pixels=None).size == (40, 30)


def bomb_png(width: int, height: int) -> bytes:
    """A PNG of 1-bit black: a few hundred kilobytes at most, whatever its size."""
    rows = zlib.compressobj(9)
    line = bytes(1 + (width + 7) // 8)
    body = b"".join(rows.compress(line) for _ in range(height)) + rows.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", body) + png_chunk(b"IEND", b"")


def test_a_bomb_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("decoded"))
    with pytest.raises(PictureError, match=r"400000x600 \(240,000,000 pixels\), more than the limit of 200,000,000"):
        Picture.open(bomb_png(400_000, 600))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "JPEG"])
def test_pillows_own_limit_neither_applies_nor_is_touched(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Picture.open(sample(kind, 40, 30)).size == (40, 30)
    assert Image.MAX_IMAGE_PIXELS == 100


def test_a_png_whose_profile_is_a_bomb() -> None:
    huge = zlib.compress(bytes(200 << 20), 9)
    data = deep_png(deep_noise(3), extra=png_chunk(b"iCCP", b"x\0\0" + huge))
    with pytest.raises(PictureError, match="damaged"):
        Picture.open(data)


# --- damage -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*KINDS, "PNG16", "TIFF16"])
@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.5, 0.7, 0.9])
def test_truncated_files_are_refused_in_one_sentence(kind: str, share: float) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    if kind.endswith("16"):
        data = Picture.from_array(noise.astype(np.uint16) * 257).to_bytes(kind[:-2])
    else:
        data = encoded(Image.fromarray(noise), kind)
    with pytest.raises(PictureError) as caught:
        Picture.open(data[: max(1, int(len(data) * share))])
    message = str(caught.value)
    assert message.endswith(".") and "\n" not in message
    assert "damaged or cut short" in message or "is not a picture" in message


@pytest.mark.parametrize("kind", KINDS)
def test_every_cut_near_the_end_is_refused_or_changes_nothing(kind: str) -> None:
    data = sample(kind)
    whole = levels(Picture.open(data))
    for cut in range(1, 12):
        try:
            picture = Picture.open(data[:-cut])
        except PictureError:
            continue
        # Trailers without pixels may be missing; a last entropy-coded block may not be: it shows as grey
        assert np.abs(levels(picture) - whole).max() == 0, cut


@pytest.mark.parametrize("kind", [*KINDS, "PNG16", "TIFF16"])
@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 30))
def test_damage_anywhere_gives_a_picture_or_one_sentence(kind: str, seed: int, count: int) -> None:
    if kind.endswith("16"):
        data = bytearray(Picture.from_array(deep_noise(3)).to_bytes(kind[:-2]))
    else:
        exif = Image.Exif()
        exif[0x010F] = "Impasto"
        options = {} if kind in ("GIF", "BMP") else {"exif": exif}
        data = bytearray(encoded(Image.fromarray(gradient()), kind, **options))
    rng = np.random.default_rng(seed)
    for at in rng.integers(0, len(data), count):
        data[at] = rng.integers(0, 256)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of odd tags and reads on
        try:
            picture = Picture.open(bytes(data), max_pixels=1_000_000)
        except PictureError as error:
            assert str(error).endswith((".", "?"))
        else:
            assert picture.rgb.min() >= 0 and picture.rgb.max() <= 1


def test_a_picture_without_pixels() -> None:
    for data in (
        b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 0, 5, 8, 2, 0, 0, 0)),
        sample("BMP")[:18] + bytes(8) + sample("BMP")[26:],
    ):
        with pytest.raises(PictureError, match=r"has no pixels|damaged or cut short"):
            Picture.open(data)
