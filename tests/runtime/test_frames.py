"""Grids and films, and what a drawn picture tells of itself."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers import drawn_photo
from impasto.errors import PictureError, PictureExists, UnknownName
from impasto.runtime.frames import KEYWORD, about, check_film, grid, origin, write_film
from impasto.runtime.picture import Picture

TOLD = {"model": "tiny", "seed": 7, "class": "Käse"}


def flat(*color: float, alpha: float | None = None) -> Picture:
    rgb = np.broadcast_to(np.float32(color), (6, 8, 3)).copy()
    return Picture(rgb, None if alpha is None else np.full((6, 8), alpha, np.float32))


def frames(count: int, *, alpha: bool = False) -> list[Picture]:
    """Different pictures of 15x9 pixels, an odd size."""
    clear = np.tile(np.float32([0, 1, 0.5]), 45).reshape(9, 15) if alpha else None
    return [Picture(drawn_photo(15, 9, seed=seed), clear) for seed in range(count)]


def opened(path: Path) -> Image.Image:
    """Without a file that stays open."""
    return Image.open(io.BytesIO(path.read_bytes()))


# What a picture tells ---------------------------------------------------------------------------------------------


def test_a_png_tells_in_a_text_chunk(tmp_path: Path) -> None:
    picture = Picture(drawn_photo(), info=origin(TOLD))
    assert about(picture) == TOLD
    image = Image.open(io.BytesIO(picture.to_bytes("png")))
    image.load()
    assert json.loads(image.text[KEYWORD]) == TOLD and image.text["Software"].startswith("impasto ")  # type: ignore[attr-defined]
    stripped = Image.open(io.BytesIO(picture.to_bytes("png", strip=True)))
    stripped.load()
    assert stripped.text == {} and not stripped.getexif()  # type: ignore[attr-defined]


@pytest.mark.parametrize("format", ["png", "jpg", "webp", "avif", "tif"])
def test_every_format_tells_in_its_exif(format: str) -> None:
    data = Picture(drawn_photo(), info=origin(TOLD)).to_bytes(format)
    assert json.loads(Image.open(io.BytesIO(data)).getexif()[0x010E]) == TOLD


def test_other_pictures_tell_nothing() -> None:
    assert about(Picture(drawn_photo())) == {}


@pytest.mark.parametrize("colour", [False, True])
def test_a_grey_picture_is_a_grey_png(colour: bool) -> None:
    rgb = np.repeat(drawn_photo()[..., :1], 3, 2)
    rgb[0, 0, 0] += 0.5 * colour
    image = Image.open(io.BytesIO(Picture(rgb, info=origin(TOLD, grey=True)).to_bytes("png")))
    assert image.mode == ("RGB" if colour else "L")
    wanted = np.round(np.clip(rgb, 0, 1) * 255)
    np.testing.assert_array_equal(np.asarray(image.convert("RGB")), wanted)


# Grids ------------------------------------------------------------------------------------------------------------


def test_a_grid_lays_pictures_out_in_rows() -> None:
    red, green, blue = flat(1, 0, 0), flat(0, 1, 0), flat(0, 0, 1)
    whole = grid([red, green, None, blue], 2, gap=3)
    assert whole.size == (8 + 3 + 8, 6 + 3 + 6) and whole.alpha is None
    for (top, left), color in {(0, 0): (1, 0, 0), (0, 11): (0, 1, 0), (9, 0): (1, 1, 1), (9, 11): (0, 0, 1)}.items():
        assert (whole.rgb[top : top + 6, left : left + 8] == color).all()
    assert (whole.rgb[6:9] == 1).all() and (whole.rgb[:, 8:11] == 1).all()
    assert grid([red] * 3, 2).size == (18, 14)


def test_a_grid_of_transparent_pictures_is_transparent_between() -> None:
    whole = grid([flat(1, 0, 0, alpha=0.5), flat(0, 1, 0), None], 3, gap=1)
    assert whole.alpha is not None
    assert [float(whole.alpha[0, x]) for x in (0, 8, 9, 17, 18)] == [0.5, 0, 1, 0, 0]


@pytest.mark.parametrize("wrong", ["none", "empty", "sizes", "columns"])
def test_what_makes_no_grid_is_refused(wrong: str) -> None:
    pictures = {"none": [], "empty": [None], "sizes": [flat(0, 0, 0), Picture(drawn_photo())]}.get(
        wrong, [flat(0, 0, 0)]
    )
    with pytest.raises(PictureError, match="A grid needs"):
        grid(pictures, 0 if wrong == "columns" else 2)  # type: ignore[arg-type]


# Films ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["gif", "png", "apng", "webp"])
def test_a_film_holds_its_frames(tmp_path: Path, suffix: str) -> None:
    made = frames(5)
    path = tmp_path / f"film.{suffix}"
    assert write_film(path, iter(made), fps=10, about=TOLD) == 5
    image = opened(path)
    assert image.n_frames == 5 and image.size == (15, 9) and image.info["loop"] == 0  # type: ignore[attr-defined]
    for index, frame in enumerate(made):
        image.seek(index)
        got = np.asarray(image.convert("RGB"), np.float32) / 255
        assert image.info["duration"] == 100
        assert np.abs(got - frame.rgb).max() < (0.2 if suffix == "gif" else 0.51 / 255)
    assert TOLD in (
        json.loads(text)
        for text in (image.info.get("comment"), image.info.get(KEYWORD), image.getexif().get(0x010E))
        if text
    )


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_a_film_keeps_transparency_where_it_can(tmp_path: Path, suffix: str) -> None:
    write_film(tmp_path / f"film.{suffix}", made := frames(2, alpha=True))
    image = opened(tmp_path / f"film.{suffix}")
    alpha = np.asarray(image.convert("RGBA"), np.float32)[..., 3] / 255
    np.testing.assert_allclose(alpha, made[0].alpha, atol=0.51 / 255)  # type: ignore[arg-type]


def test_transparency_lies_on_white_in_a_gif(tmp_path: Path) -> None:
    write_film(tmp_path / "film.gif", frames(2, alpha=True))
    first = np.asarray(opened(tmp_path / "film.gif").convert("RGBA"))
    assert (first[:, ::3] == 255).all()


def test_an_mp4_holds_its_frames(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    made = frames(12)
    assert write_film(tmp_path / "film.mp4", made, fps=25, about=TOLD) == 12
    with av.open(str(tmp_path / "film.mp4")) as file:
        assert json.loads(file.metadata["comment"]) == TOLD
        stream = file.streams.video[0]
        assert (stream.average_rate, stream.width, stream.height) == (25, 16, 10)  # even sides
        got = [frame.to_ndarray(format="rgb24") for frame in file.decode(stream)]
    assert len(got) == 12
    for frame, pixels in zip(made, got, strict=True):
        assert np.abs(pixels[:9, :15] / 255 - frame.rgb).mean() < 0.1  # colour at half the resolution, on hard edges


def test_without_pyav_an_mp4_is_refused_before_any_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)

    def never() -> Iterator[Picture]:
        raise AssertionError
        yield

    with pytest.raises(PictureError, match=r"needs PyAV: pip install 'impasto\[video\]'"):
        write_film(tmp_path / "film.mp4", never())


def test_films_are_refused_early(tmp_path: Path) -> None:
    there = tmp_path / "there.gif"
    there.write_bytes(b"mine")
    with pytest.raises(PictureExists, match="exists already"):
        write_film(there, frames(2))
    with pytest.raises(PictureError, match="is a folder"):
        (tmp_path / "folder.gif").mkdir()
        check_film(tmp_path / "folder.gif", overwrite=True)
    with pytest.raises(UnknownName, match=r"no film format called '.jpg'"):
        check_film(tmp_path / "film.jpg", overwrite=False)
    with pytest.raises(UnknownName, match="film format"):
        check_film(tmp_path / "film", overwrite=False)
    for fps in (0, -1, 241, float("nan")):
        with pytest.raises(PictureError, match="frames a second"):
            write_film(there, frames(2), fps=fps, overwrite=True)
    with pytest.raises(PictureError, match="at least one frame"):
        write_film(there, [], overwrite=True)
    with pytest.raises(PictureError, match="one size"):
        write_film(there, [*frames(1), flat(0, 0, 0)], overwrite=True)
    assert there.read_bytes() == b"mine"
    write_film(there, frames(2), overwrite=True)
    assert there.read_bytes()[:3] == b"GIF"


def test_a_film_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    def failing() -> Iterator[Picture]:
        yield from frames(3)
        raise PictureError("The pen broke.")

    for suffix in ("gif", "webp", "mp4"):
        if suffix == "mp4":
            pytest.importorskip("av")
        with pytest.raises(PictureError, match="The pen broke"):
            write_film(tmp_path / f"film.{suffix}", failing())
    assert list(tmp_path.iterdir()) == []
