"""``impasto stylize`` with masks, kept colours, palettes and saved styles, through the real library."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clips import moving, shots, write_clip
from helpers import CODES, drawn_photo
from impasto.apps.cli import run
from impasto.apps.cli.blend import Wanted, parse_style
from impasto.apps.cli.optional import completed
from impasto.apps.cli.report import NAME
from impasto.runtime import painting
from impasto.runtime.masks import Mask
from impasto.runtime.palette import COLORS, main_colors
from impasto.runtime.picture import Picture
from impasto.runtime.regions import Region
from impasto.runtime.style import StyleModel, load_code, save_code

Stylize = Callable[..., int]
STYLE = "starry-night"


@pytest.fixture
def stylize(style_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stylize:
    """Run ``impasto stylize`` in a folder with photo.png (64x48), art.png, left.png and right.png (masks)."""
    monkeypatch.chdir(tmp_path)
    Picture(drawn_photo(64, 48)).save("photo.png")
    Picture(drawn_photo(40, 30, seed=3)).save("art.png")
    for name, side in (("left", slice(0, 4)), ("right", slice(4, 8))):
        mask = np.zeros((6, 8, 3), np.float32)
        mask[:, side] = 1
        Picture(mask).save(f"{name}.png")

    def call(*arguments: str, styles: tuple[str, ...] = (STYLE,)) -> int:
        wanted = [word for style in styles for word in ("-s", style)]
        return run(["stylize", *arguments, *wanted, "--model", str(style_bundle), "--threads", "1"])

    return call


@pytest.fixture
def model(style_bundle: Path) -> StyleModel:
    return StyleModel.load(style_bundle, threads=1)


def same(path: str | Path, expected: Picture) -> None:
    assert np.abs(Picture.open(path).rgb - expected.rgb).max() <= 0.5 / 255 + 1e-5


def photo() -> Picture:
    return Picture.open("photo.png")


# --- masks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "mask"),
    [
        (["--mask", "left.png"], {"paint": "left.png"}),
        (["--protect", "left.png"], {"protect": "left.png"}),
        (["--mask", "left.png", "--feather", "0"], {"paint": "left.png", "feather": 0}),
        (["--mask", "left.png", "--protect", "right.png", "--feather", "8px"], None),
    ],
)
def test_masks(stylize: Stylize, model: StyleModel, options: list[str], mask: dict[str, Any] | None) -> None:
    mask = {"paint": "left.png", "protect": "right.png", "feather": "8px"} if mask is None else mask
    assert stylize("photo.png", "-o", "out.png", *options) == 0
    same("out.png", model.paint(photo(), STYLE, mask=Mask(**mask)))
    assert np.abs(Picture.open("out.png").rgb - model.paint(photo(), STYLE).rgb).max() > 0.1


@pytest.mark.parametrize("side", ["auto", "protect"])
def test_the_foreground(stylize: Stylize, model: StyleModel, side: str) -> None:
    y, x = np.mgrid[:48, :64]
    rgb = np.random.default_rng(0).normal((0.3, 0.5, 0.8), 0.03, (48, 64, 3))
    rgb[(x - 34) ** 2 + (y - 26) ** 2 < 180] = (0.8, 0.2, 0.1)
    Picture(rgb.clip(0, 1).astype(np.float32)).save("ball.png")
    assert stylize("ball.png", "-o", "out.png", "--foreground", side) == 0
    ball = Picture.open("ball.png")
    same("out.png", model.paint(ball, STYLE, mask=Mask(foreground=side)))
    kept = np.abs(Picture.open("out.png").rgb - ball.rgb).max(axis=2) < 1e-6
    assert kept[26, 34] == (side == "protect") and kept[2, 2] == (side == "auto")


def test_a_mask_for_each_style(stylize: Stylize, model: StyleModel, capsys: pytest.CaptureFixture[str]) -> None:
    styles = ("great-wave:2@left.png", "art.png@right.png")
    assert stylize("photo.png", "-o", "out.png", "--json", styles=styles) == 0
    line = json.loads(capsys.readouterr().out)
    assert line["style"] == [
        {"style": "great-wave", "weight": 2.0, "mask": "left.png"},
        {"style": "art.png", "weight": 1.0, "mask": "right.png"},
    ]
    regions = [Region("great-wave", "left.png", weight=2), Region("art.png", "right.png")]
    same("out.png", model.paint(photo(), regions))
    assert stylize("photo.png", "-o", "rest.png", styles=("great-wave@left.png", STYLE, "the-scream:3")) == 0
    same(
        "rest.png",
        model.paint(photo(), [Region("great-wave", "left.png"), Region(STYLE), Region("the-scream", weight=3)]),
    )
    assert stylize("photo.png", styles=styles) == 0
    assert Path("photo-great-wave+art.png").exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("night@sky.png", Wanted("night", None, "sky.png")),
        ("night:0.5@sky.png", Wanted("night", 0.5, "sky.png")),
        ("me@home.jpg", Wanted("me@home.jpg", None, None)),
        ("me@home.jpg@sky.png", Wanted("me@home.jpg", None, "sky.png")),
        ("me@home.jpg:2@sky.png", Wanted("me@home.jpg", 2.0, "sky.png")),
        ("12:30 sea.jpg@sky.png", Wanted("12:30 sea.jpg", None, "sky.png")),
        ("night@me@home.jpg", Wanted("night", None, "me@home.jpg")),
        ("night@gone.jpg", Wanted("night", None, "gone.jpg")),
        ("somebody@somewhere", Wanted("somebody@somewhere", None, None)),
        ("@sky.png", Wanted("@sky.png", None, None)),
        ("night@", Wanted("night@", None, None)),
    ],
)
def test_where_a_mask_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, expected: Wanted) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("sky.png", "me@home.jpg", "12:30 sea.jpg"):
        Path(name).touch()
    assert parse_style(text) == expected


# --- colours ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "keep"),
    [
        (["--keep-colors"], "luminance"),
        (["--keep-colors", "luminance"], "luminance"),
        (["--keep-colors=histogram"], "histogram"),
        (["--keep-colors", "histogram"], "histogram"),
        (["--keep-colors", "off"], "off"),
    ],
)
def test_ways_to_keep_colours(stylize: Stylize, model: StyleModel, options: list[str], keep: str) -> None:
    expected = model.paint(photo(), STYLE, keep_colors=keep)
    assert stylize(*options, "photo.png", "-o", "before.png") == 0
    assert stylize("photo.png", "-o", "behind.png", *options) == 0
    same("before.png", expected)
    same("behind.png", expected)


@pytest.mark.parametrize(("options", "count"), [(["--palette"], COLORS), (["--palette", "3"], 3)])
def test_palettes(stylize: Stylize, model: StyleModel, options: list[str], count: int) -> None:
    assert stylize(*options, "photo.png", "-o", "out.png", styles=("art.png",)) == 0
    same("out.png", model.paint(photo(), "art.png", palette=main_colors([(Picture.open("art.png"), 1.0)], count)))
    assert stylize("photo.png", "-o", "named.png", *options) == 0
    same("named.png", model.paint(photo(), STYLE, palette=count))
    styles = ("art.png@left.png", "great-wave", "the-scream:2")
    assert stylize("photo.png", "-o", "places.png", *options, styles=styles) == 0
    regions = [Region("art.png", "left.png"), Region("great-wave"), Region("the-scream", weight=2)]
    same("places.png", model.paint(photo(), regions, palette=count))


def test_options_whose_value_may_be_left_out() -> None:
    assert completed(["--keep-colors"]) == ["--keep-colors=luminance"]
    assert completed(["a", "--keep-colors", "-o", "b"]) == ["a", "--keep-colors=luminance", "-o", "b"]
    assert completed(["--keep-colors", "photo.jpg"]) == ["--keep-colors=luminance", "photo.jpg"]
    assert completed(["--keep-colors", "photos"]) == ["--keep-colors=luminance", "photos"]
    assert completed(["--keep-colors", "histogramm"]) == ["--keep-colors=histogramm"]
    assert completed(["--palette", "5", "--palette", "a.jpg"]) == ["--palette=5", f"--palette={COLORS}", "a.jpg"]
    assert completed(["--palette=4", "--", "--palette", "3"]) == ["--palette=4", "--", "--palette", "3"]


# --- styles kept ------------------------------------------------------------------------------------------------------


def test_the_style_is_saved_and_used_again(stylize: Stylize, capsys: pytest.CaptureFixture[str]) -> None:
    styles = ("starry-night:3", "the-scream")
    assert stylize("photo.png", "-o", "one.png", "--save-style", "mine.npy", styles=styles) == 0
    np.testing.assert_allclose(load_code("mine.npy"), (3 * CODES[0] + CODES[2]) / 4, atol=1e-6)
    assert stylize("photo.png", "-o", "two.png", styles=("mine.npy",)) == 0
    np.testing.assert_array_equal(Picture.open("one.png").rgb, Picture.open("two.png").rgb)
    before = Path("mine.npy").read_bytes()
    capsys.readouterr()
    assert stylize("photo.png", "-o", "three.png", "--save-style", "mine.npy") == 2
    assert "exists already" in capsys.readouterr().err
    assert Path("mine.npy").read_bytes() == before and not Path("three.png").exists()
    assert stylize("photo.png", "-o", "three.png", "--save-style", "mine.npy", "--overwrite") == 0
    np.testing.assert_array_equal(load_code("mine.npy"), CODES[0])
    again = ["photo.png", "-o", "four.png", "--save-style", "./mine.npy", "--overwrite"]
    assert stylize(*again, styles=("mine.npy", STYLE)) == 2
    assert "it would be lost" in capsys.readouterr().err


# --- folders, parts, streams, videos ----------------------------------------------------------------------------------

ALL = ["--mask", "left.png", "--protect", "right.png", "--feather", "0.05", "--palette", "3", "--strength", "0.9"]


@pytest.mark.parametrize("jobs", [[], ["--jobs", "2"]])
def test_folders_and_workers(stylize: Stylize, model: StyleModel, jobs: list[str]) -> None:
    for seed in range(2):
        Picture(drawn_photo(24 + 8 * seed, 20, seed=seed)).save(f"in/{seed}.png")
    styles = ("great-wave:2@left.png", "art.png@right.png", STYLE)
    assert stylize("in", "-o", "out", *ALL, *jobs, styles=styles) == 0
    mask = Mask("left.png", protect="right.png", feather=0.05)
    regions = [Region("great-wave", "left.png", weight=2), Region("art.png", "right.png"), Region(STYLE)]
    for seed in range(2):
        picture = Picture.open(f"in/{seed}.png")
        same(f"out/{seed}.png", model.paint(picture, regions, mask=mask, palette=3, strength=0.9))


def test_another_mask_is_another_setting(stylize: Stylize, capsys: pytest.CaptureFixture[str]) -> None:
    Picture(drawn_photo(24, 20)).save("in/a.png")
    options = ["in", "-o", "out", "--json", "--mask", "left.png"]
    assert stylize(*options) == 0 and stylize(*options) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["resumed"]
    Path("left.png").write_bytes(Path("right.png").read_bytes())
    assert stylize(*options) == 2
    assert "exists already" in capsys.readouterr().err
    told = Path("out", NAME).read_text()
    assert str(Path.cwd() / "left.png") not in told and "left.png" in told


def test_in_parts(stylize: Stylize, monkeypatch: pytest.MonkeyPatch) -> None:
    styles = ("great-wave@left.png", "art.png")
    assert stylize("photo.png", "-o", "whole.png", *ALL, styles=styles) == 0
    monkeypatch.setattr(painting, "_RESERVE", 0)
    monkeypatch.setattr(painting, "resident", lambda: 0)
    monkeypatch.setattr("impasto.runtime.mural.resident", lambda: -(10**12))
    assert stylize("photo.png", "-o", "parts.png", *ALL, "--max-memory", "400kB", styles=styles) == 0
    off = np.abs(Picture.open("whole.png").rgb - Picture.open("parts.png").rgb)
    assert off.max() <= 1.01 / 255


def test_streams(stylize: Stylize, model: StyleModel, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = model.paint(photo(), STYLE, mask="left.png", keep_colors="histogram")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(Path("photo.png").read_bytes())))
    out = io.TextIOWrapper(io.BytesIO())
    monkeypatch.setattr(sys, "stdout", out)
    assert stylize("-", "-o", "-", "--mask", "left.png", "--keep-colors", "histogram") == 0
    same(io.BytesIO(out.buffer.getvalue()).getvalue(), expected)  # type: ignore[arg-type, attr-defined]


def test_videos(stylize: Stylize, capsys: pytest.CaptureFixture[str]) -> None:
    write_clip(Path("clip.mp4"), moving(4))
    plain = ["clip.mp4", "--codec", "ffv1", "-o"]
    assert stylize(*plain, "full.mkv") == 0
    assert stylize(*plain, "kept.mkv", "--mask", "left.png", "--feather", "0", "--save-style", "mine.npy") == 0
    assert stylize(*plain, "few.mkv", "--palette", "2") == 0
    assert stylize(*plain, "matched.mkv", "--keep-colors", "histogram") == 0
    np.testing.assert_array_equal(load_code("mine.npy"), CODES[0])
    source, full, kept, few, matched = (
        np.stack(shots(Path(name))[1]) / 255 for name in ("clip.mp4", "full.mkv", "kept.mkv", "few.mkv", "matched.mkv")
    )
    np.testing.assert_array_equal(kept[:, :, :21], full[:, :, :21])
    assert np.abs(kept[:, :, 27:] - source[:, :, 27:]).mean() < 0.01 < np.abs(kept - source).mean()
    assert np.abs(matched.mean((0, 1, 2)) - source.mean((0, 1, 2))).max() < 0.02
    assert few.std() < full.std()
    capsys.readouterr()
    refused = {
        "paint pictures": (["-s", "great-wave@left.png"], ()),
        "would flicker": (["--foreground", "auto"], (STYLE,)),
        "--save-style writes one code": (["--morph", "--save-style", "b.npy"], (STYLE, "great-wave")),
        "--palette is the colours of one style": (["--morph", "--palette", "3"], (STYLE, "great-wave")),
    }
    for sentence, (options, styles) in refused.items():
        assert stylize(*plain, "no.mkv", *options, styles=styles) == 2
        assert sentence in capsys.readouterr().err
    assert not Path("no.mkv").exists() and not Path("b.npy").exists()


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--mask", "gone.png"], "There is no file"),
        (["--protect", "text.txt"], "not a picture"),
        (["-s", "great-wave@gone.png"], "There is no file"),
        (["--feather", "3px"], "there is none"),
        (["--mask", "left.png", "--feather", "soft"], "pixels like 12px"),
        (["--foreground", "auto!"], "There is no foreground called 'auto!': did you mean 'auto'?"),
        (["--keep-colors", "histogramm"], "did you mean 'histogram'?"),
        (["--keep-colors=blue"], "There is no way to keep colours called 'blue'"),
        (["--palette", "3", "--keep-colors"], "choose one"),
        (["--palette", "1"], "Invalid value for '--palette'"),
        (["--palette=many"], "Invalid value for '--palette'"),
        (["--save-style", "mine.txt"], "must end in .npy"),
        (["--save-style", "gone/mine.npy"], "in a folder that exists"),
        (["--save-style", "mine.npy", "-s", "great-wave@left.png"], "save them one by one"),
        (["--mask", "out.png", "--overwrite"], "it would be lost"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    stylize: Stylize, capsys: pytest.CaptureFixture[str], options: list[str], sentence: str
) -> None:
    Path("text.txt").write_text("no mask")
    if "out.png" in options:
        Path("out.png").write_bytes(Path("left.png").read_bytes())
    before = {path.name: path.read_bytes() for path in Path().iterdir()}
    assert stylize("photo.png", "-o", "out.png", *options) == 2
    said = capsys.readouterr()
    assert sentence in said.err and said.err.count("\n") == 1 and said.out == ""
    assert {path.name: path.read_bytes() for path in Path().iterdir()} == before


def test_a_recipe_holds_masks_and_palettes(stylize: Stylize, style_bundle: Path) -> None:
    again = ["again", "--model", str(style_bundle), "--threads", "1"]
    assert stylize("photo.png", "-o", "few.png", "--palette", "3", styles=("art.png",)) == 0
    Path("art.png").unlink()
    assert run([*again, "few.png", "photo.png", "-o", "more.png"]) == 0
    np.testing.assert_array_equal(Picture.open("more.png").rgb, Picture.open("few.png").rgb)
    assert stylize("photo.png", "-o", "masked.png", "--mask", "left.png") == 0
    assert stylize("photo.png", "-o", "places.png", "-s", "great-wave@left.png") == 0
    Path("left.png").unlink()
    for name in ("masked.png", "places.png"):
        assert run([*again, name, "photo.png", "-o", f"more-{name}"]) == 0
        assert Path(f"more-{name}").read_bytes() == Path(name).read_bytes()


def test_saved_codes_keep_to_the_colours_they_paint(stylize: Stylize, model: StyleModel) -> None:
    save_code("own.npy", CODES[1])
    assert stylize("photo.png", "-o", "out.png", "--palette", "4", styles=("own.npy",)) == 0
    same("out.png", model.paint(photo(), CODES[1], palette=4))
