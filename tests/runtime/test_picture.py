"""Picture: every format in and out, and what must travel along."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from drawing import encoded, gradient, sample
from impasto.errors import PictureError, PictureExists
from impasto.runtime.picture import Picture, PictureInfo

WRITTEN = ["jpeg", "png", "webp", "avif", "tiff"]
ERROR = {"jpeg": 2, "png": 0, "webp": 4, "avif": 2, "tiff": 0}  # on average, in levels of 255


def levels(picture: Picture) -> np.ndarray:
    return np.asarray(picture.to_pil()).astype(int)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF", "BMP", "GIF"])
def test_every_format_is_read(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "picture"
    path.write_bytes(sample(kind, 64, 48))
    picture = Picture.open(path)
    assert picture.size == (64, 48)
    assert picture.rgb.dtype == np.float32 and picture.rgb.flags.c_contiguous
    assert picture.alpha is None and picture.info.format == kind and picture.info.notes == ()
    assert np.abs(levels(picture) - gradient(64, 48)).mean() < 12
    assert repr(picture) == f"Picture(64x48, 8 bit, {kind})"


@pytest.mark.parametrize("kind", WRITTEN)
@settings(deadline=None, max_examples=12)
@given(width=st.integers(1, 40), height=st.integers(1, 40), alpha=st.booleans())
def test_round_trip_at_every_size(kind: str, width: int, height: int, alpha: bool) -> None:
    pixels = gradient(width, height) // 4 + 96  # muted: a lossy 2x2 picture cannot hold four bright colours
    picture = Picture.from_array(np.dstack([pixels, pixels[..., 0]]) if alpha else pixels)
    again = Picture.open(picture.to_bytes(kind))
    assert again.size == (width, height)
    if kind == "jpeg" or not alpha:
        assert again.alpha is None
    elif ERROR[kind] == 0:
        np.testing.assert_array_equal(again.alpha, picture.alpha)
    else:
        np.testing.assert_allclose(again.alpha, picture.alpha, atol=14 / 255)
    if ERROR[kind] == 0:
        np.testing.assert_array_equal(again.rgb, picture.rgb)
    elif min(width, height) >= 8 and not alpha:
        assert np.abs(levels(again) - levels(picture)).mean() <= ERROR[kind]


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".png", ".webp", ".avif", ".tif", ".tiff", ".PNG"])
def test_save_follows_the_suffix(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / "new" / f"out{suffix}"
    assert Picture.from_array(gradient()).save(path) == ()
    with Image.open(path) as image:
        assert image.format == {".jpg": "JPEG", ".tif": "TIFF"}.get(suffix, suffix[1:].upper())
    with pytest.raises(PictureExists):
        Picture.from_array(gradient()).save(path)
    Picture.from_array(gradient()[::-1].copy()).save(path, overwrite=True)
    assert np.abs(levels(Picture.open(path)) - gradient()[::-1]).mean() < 5


def test_a_picture_may_be_saved_over_its_own_file(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(sample("PNG"))
    Picture.open(path).save(path, overwrite=True)
    np.testing.assert_array_equal(levels(Picture.open(path)), gradient())


def test_an_encoder_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(self: Image.Image, file: object, *_: object, **__: object) -> None:
        file.write(b"half a picture")  # type: ignore[attr-defined]
        raise OSError("encoder error -2")

    monkeypatch.setattr(Image.Image, "save", half)
    with pytest.raises(PictureError, match=r"could not be written as JPEG \(encoder error -2\)"):
        Picture.from_array(gradient()).save(tmp_path / "sub" / "out.jpg")
    assert list(tmp_path.iterdir()) == []


def test_an_encoder_that_is_interrupted_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    (tmp_path / "out.jpg").write_bytes(b"old")
    monkeypatch.setattr(Image.Image, "save", stop)
    with pytest.raises(KeyboardInterrupt):
        Picture.from_array(gradient()).save(tmp_path / "out.jpg", overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["out.jpg"] and (tmp_path / "out.jpg").read_bytes() == b"old"


def test_quality() -> None:
    picture = Picture.from_array(np.random.default_rng(0).random((64, 64, 3)))
    for kind in ("jpeg", "webp", "avif"):
        assert (
            len(picture.to_bytes(kind, quality=20))
            < len(picture.to_bytes(kind))
            < len(picture.to_bytes(kind, quality=100))
        )
    for wrong in (0, 101, 50.5, "best"):
        with pytest.raises(PictureError, match="does not exist: give a whole number from 1 to 100"):
            picture.to_bytes("jpeg", quality=wrong)  # type: ignore[arg-type]
    tables = Image.open(_file(picture.to_bytes("jpeg")))
    assert tables.layer[0][1:3] == tables.layer[1][1:3] == (1, 1)  # 4:4:4


@pytest.mark.parametrize("name", ["jpeg", "JPEG", "jpg", ".jpg", "a/b.jpg"])
def test_format_names(name: str) -> None:
    assert Picture.from_array(gradient()).to_bytes(name)[:3] == b"\xff\xd8\xff"


def test_formats_that_cannot_be_written() -> None:
    picture = Picture.from_array(gradient())
    with pytest.raises(PictureError, match="suffix"):
        picture.to_bytes("gif")
    with pytest.raises(PictureError, match=r"written as \.gif"):
        picture.save("x.gif")


def test_sides_that_a_format_cannot_hold() -> None:
    long = Picture.from_array(np.zeros((1, 17000), np.uint8))
    with pytest.raises(PictureError, match="WebP holds at most 16383 pixels a side and the picture is 17000x1"):
        long.to_bytes("webp")
    assert Picture.open(long.to_bytes("png")).size == (17000, 1)


def test_alpha_on_jpeg_is_laid_on_white_aloud(tmp_path: Path) -> None:
    pixels = np.zeros((16, 16, 4), np.uint8)
    pixels[:, 8:, 3] = 255
    picture = Picture.from_array(pixels)
    notes = picture.save(tmp_path / "out.jpg")
    assert notes == picture.losses("out.jpg") == ("JPEG has no transparency: the picture was laid on white.",)
    flat = levels(Picture.open(tmp_path / "out.jpg"))
    assert (flat[:, :6] > 245).all() and (flat[:, 10:] < 10).all()
    assert picture.losses("png") == picture.losses(".webp") == ()
    pixels[..., 3] = 255
    assert Picture.from_array(pixels).losses("jpeg") == ()


def test_from_array_types() -> None:
    np.testing.assert_array_equal(Picture.from_array(gradient()).rgb, gradient() / np.float32(255))
    grey = Picture.from_array(gradient()[..., 0])
    assert grey.info.grey and (grey.rgb == grey.rgb[..., :1]).all()
    np.testing.assert_array_equal(Picture.from_array(gradient()[..., :1]).rgb, grey.rgb)
    deep = Picture.from_array(np.array([[[1, 2, 65535]]], np.uint16))
    assert deep.info.depth == 16 and deep.rgb[0, 0, 2] == 1
    for dtype in (np.float16, np.float32, np.float64):
        picture = Picture.from_array(np.array([[[-1, 0.5, 2]]], dtype))
        assert picture.rgb.dtype == np.float32
        np.testing.assert_array_equal(picture.rgb, [[[0, 0.5, 1]]])
    array = np.zeros((2, 2, 4), np.float32)
    picture = Picture.from_array(array)
    array[:] = 1
    assert picture.rgb.max() == 0 and picture.alpha is not None and picture.alpha.max() == 0


@pytest.mark.parametrize(
    "array, words",
    [
        (np.zeros((2, 2, 2)), r"shape \[2, 2, 2\] is no picture"),
        (np.zeros((0, 2, 3)), r"shape \[0, 2, 3\]"),
        (np.zeros(3), r"shape \[3\]"),
        (np.zeros((2, 2), np.int64), "array of int64"),
        (np.zeros((2, 2), bool), "array of bool"),
        (np.full((2, 2), np.nan), "NaN"),
        (np.full((2, 2), np.inf), "infinite"),
    ],
)
def test_arrays_that_are_no_picture(array: np.ndarray, words: str) -> None:
    with pytest.raises(PictureError, match=words):
        Picture.from_array(array)


def test_the_constructor_checks_its_arrays() -> None:
    good = np.zeros((2, 3, 3), np.float32)
    assert Picture(good).info == PictureInfo()
    with pytest.raises(PictureError, match="not float64"):
        Picture(good.astype(np.float64))  # type: ignore[arg-type]
    with pytest.raises(PictureError, match=r"Alpha is float32 \[2, 3\]"):
        Picture(good, np.zeros((3, 2), np.float32))


def test_from_pil_and_to_pil() -> None:
    image = Image.fromarray(gradient())
    np.testing.assert_array_equal(np.asarray(Picture.from_pil(image).to_pil()), gradient())
    rgba = image.convert("RGBA")
    assert Picture.from_pil(rgba).to_pil().mode == "RGBA"
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = Image.open(_file(encoded(image, "PNG", exif=exif)))
    assert Picture.from_pil(turned).size == (24, 32)
    assert turned.size == (32, 24)  # left as it was
    with pytest.raises(PictureError, match="no pixels"):
        Picture.from_pil(Image.new("RGB", (0, 5)))


def test_with_rgb_keeps_everything_else() -> None:
    picture = Picture(np.zeros((2, 3, 3), np.float32), np.ones((2, 3), np.float32), PictureInfo(depth=16))
    new = picture.with_rgb(np.full((2, 3, 3), 2.0))
    assert new.rgb.dtype == np.float32 and (new.rgb == 1).all()
    assert new.alpha is picture.alpha and new.info is picture.info
    for wrong in (np.zeros((3, 2, 3)), np.zeros((2, 3, 3), np.uint8)):
        with pytest.raises(PictureError, match="resize one of them"):
            picture.with_rgb(wrong)
    with pytest.raises(PictureError, match="NaN"):
        picture.with_rgb(np.full((2, 3, 3), np.nan))


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 60), st.booleans())
def test_resized_has_the_long_side_asked_for(width: int, height: int, side: int, alpha: bool) -> None:
    pixels = gradient(width, height)
    picture = Picture.from_array(np.dstack([pixels, pixels[..., 0]]) if alpha else pixels)
    small = picture.resized(side)
    assert max(small.size) == side and min(small.size) >= 1
    assert abs(small.size[0] * height - small.size[1] * width) <= max(width, height)  # the shape within a pixel
    assert small.rgb.min() >= 0 and small.rgb.max() <= 1 and (small.alpha is None) == (not alpha)


def test_resized_keeps_sixteen_bits_flat_colours_and_identity() -> None:
    flat = Picture.from_array(np.full((40, 60, 3), 12345, np.uint16))
    np.testing.assert_array_equal(np.rint(flat.resized(33).rgb * 65535), 12345)
    assert flat.resized(60) is flat
    with pytest.raises(PictureError, match="from 1 on"):
        flat.resized(0)
    with pytest.raises(PictureError, match="choose a smaller size"):
        flat.resized(1_000_000)


def test_resized_draws_no_fringe_from_under_transparency() -> None:
    pixels = np.zeros((40, 40, 4), np.float32)  # transparent black beside opaque white
    pixels[:, 20:] = 1.0
    small = Picture.from_array(pixels).resized(13)
    assert small.alpha is not None
    assert small.rgb[small.alpha > 0.01].min() > 0.99
    assert small.rgb[:, 0].max() == 0 and 0 < small.alpha[6, 6] < 1


def test_opening_needs_neither_onnxruntime_nor_the_colour_engine(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(sample("JPEG"))
    code = (
        "import sys\n"
        "from impasto.runtime.picture import Picture\n"
        f"Picture.open({str(tmp_path / 'a.jpg')!r}).save({str(tmp_path / 'b.jpg')!r})\n"
        "print([m for m in sys.modules if m.split('.')[0] in ('onnxruntime', 'torch') or m == 'PIL.ImageCms'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]" and done.stderr == ""


def _file(data: bytes):  # type: ignore[no-untyped-def]
    import io

    return io.BytesIO(data)
