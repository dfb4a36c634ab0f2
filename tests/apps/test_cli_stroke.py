"""``--stroke`` and ``--detail`` of ``impasto stylize``: pictures, folders, parts and videos."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from clips import moving, shots, write_clip
from helpers import drawn_photo
from impasto.apps.cli import run
from impasto.apps.cli.report import NAME
from impasto.errors import ImpastoError
from impasto.runtime import painting
from impasto.runtime.picture import Picture
from impasto.runtime.style import StyleModel
from impasto.runtime.video.clip import stylize_clip

Stylize = Callable[..., int]


@pytest.fixture
def stylize(style_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stylize:
    """Run ``impasto stylize`` with the tiny model beside photo.png and a folder of two."""
    monkeypatch.chdir(tmp_path)
    Picture(drawn_photo(120, 90)).save("photo.png")
    for seed in (1, 2):
        Picture(drawn_photo(70, 50, seed)).save(f"in/{seed}.png")

    def call(*arguments: str) -> int:
        model = ["--model", str(style_bundle), "--threads", "1"]
        return run(["stylize", *arguments, "--style", "great-wave", *model])

    return call


def painted(style_bundle: Path, photo: str, **options: object) -> Picture:
    model = StyleModel.load(style_bundle, threads=1)
    return model.paint(Picture.open(photo), "great-wave", **options)  # type: ignore[arg-type]


def test_a_picture(stylize: Stylize, style_bundle: Path) -> None:
    assert stylize("photo.png", "-o", "out.png", "--stroke", "14px", "--detail", "0.5") == 0
    assert stylize("photo.png", "-o", "auto.png", "--stroke", "auto") == 0
    for name, options in (("out.png", {"stroke": "14px", "detail": 0.5}), ("auto.png", {"stroke": "auto"})):
        expected = painted(style_bundle, "photo.png", **options)
        np.testing.assert_allclose(Picture.open(name).rgb, expected.rgb, atol=0.51 / 255)


def test_a_stream(stylize: Stylize, style_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.TextIOWrapper(io.BytesIO())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(Path("photo.png").read_bytes())))
    monkeypatch.setattr(sys, "stdout", out)
    assert stylize("-", "--stroke", "12px") == 0
    got = Picture.open(out.buffer.getvalue())  # type: ignore[attr-defined]
    np.testing.assert_allclose(got.rgb, painted(style_bundle, "photo.png", stroke="12px").rgb, atol=0.51 / 255)


def test_in_parts(stylize: Stylize, style_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from impasto.runtime import mural

    for module, name in ((painting, "_RESERVE"), (mural, "_READING")):
        monkeypatch.setattr(module, name, 0)
    for module in (painting, mural):
        monkeypatch.setattr(module, "resident", lambda: 0)
    assert stylize("photo.png", "-o", "out.png", "--stroke", "9px", "--max-memory", "1MB") == 0
    expected = painted(style_bundle, "photo.png", stroke="9px").rgb
    np.testing.assert_allclose(Picture.open("out.png").rgb, expected, atol=1.01 / 255)


def test_a_folder_of_workers_and_going_on(
    stylize: Stylize, style_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stylize("in", "-o", "out", "--jobs", "2", "--stroke", "5%", "--detail", "0.3") == 0
    for seed in (1, 2):
        expected = painted(style_bundle, f"in/{seed}.png", stroke="5%", detail=0.3)
        np.testing.assert_allclose(Picture.open(f"out/{seed}.png").rgb, expected.rgb, atol=0.51 / 255)
    capsys.readouterr()
    assert stylize("in", "-o", "out", "--jobs", "1", "--stroke", "5%", "--detail", "0.3") == 0
    assert "2 of 2 pictures had been painted before" in capsys.readouterr().err
    # Other strokes are other paintings.
    assert stylize("in", "-o", "out", "--jobs", "1", "--stroke", "6%", "--detail", "0.3") == 2
    assert "exists already" in capsys.readouterr().err
    assert (Path("out") / NAME).exists()


def test_one_picture_that_is_too_small_for_the_strokes_does_not_cost_the_others(
    stylize: Stylize, capsys: pytest.CaptureFixture[str]
) -> None:
    Picture(drawn_photo(200, 100)).save("in/wide.png")
    assert stylize("in", "-o", "out", "--jobs", "1", "--stroke", "20px") == 1
    assert "too coarse for a picture of 70x50: give at most 8.75px, or a share" in capsys.readouterr().err
    assert {path.name for path in Path("out").glob("*.png")} == {"wide.png"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--stroke", "big"], "There is no size of strokes called 'big'"),
        (["--stroke", "atuo"], "did you mean 'auto'"),
        (["--stroke", "3 cm"], "'3 cm' is no size of strokes"),
        (["--stroke", "24"], "for pixels write 24px"),
        (["--stroke", "0px"], "Strokes of 0px cannot be painted"),
        (["--stroke", "40px"], "too coarse for a picture of 120x90"),
        (["--detail", "1.5"], "--detail"),
        (["--detail", "-1"], "--detail"),
        (["--detail", "much"], "--detail"),
    ],
)
def test_refusals(stylize: Stylize, capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    assert stylize("photo.png", "-o", "out.png", *words) == 2
    assert said in capsys.readouterr().err
    assert not Path("out.png").exists()


def test_a_video(stylize: Stylize, style_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_clip(Path("clip.mp4"), moving(3, noise=0.02))  # 48x32
    words = ["clip.mp4", "-o", "a.mkv", "--codec", "ffv1", "--no-steady"]
    assert stylize(*words, "--stroke", "4px", "--detail", "0.5", "--json") == 0
    assert json.loads(capsys.readouterr().out)["frames"] == 3
    photo = Picture.from_array(np.stack(shots(Path("clip.mp4"))[1])[1])
    photo.save("frame.png")
    expected = painted(style_bundle, "frame.png", stroke="4px", detail=0.5).rgb
    got = np.stack(shots(Path("a.mkv"))[1])[1] / 255
    assert np.abs(got - expected).mean() < 0.02
    assert np.abs(got - painted(style_bundle, "frame.png").rgb).mean() > np.abs(got - expected).mean()


def test_a_video_with_strokes_or_detail_that_cannot_be(stylize: Stylize, style_bundle: Path) -> None:
    write_clip(Path("clip.mp4"), moving(2))
    assert stylize("clip.mp4", "-o", "out.mp4", "--stroke", "24px") == 2
    with pytest.raises(ImpastoError, match="The detail 2"):
        stylize_clip("clip.mp4", "out.mp4", StyleModel.load(style_bundle), ["great-wave"], detail=2)
    assert not Path("out.mp4").exists() and not Path(".out.mp4.parts").exists()


def test_painted_again_by_its_recipe(stylize: Stylize, style_bundle: Path) -> None:
    assert stylize("photo.png", "-o", "out.png", "--stroke", "auto", "--detail", "0.5") == 0
    assert run(["again", "out.png", "photo.png", "-o", "same.png", "--model", str(style_bundle)]) == 0
    np.testing.assert_array_equal(Picture.open("same.png").rgb, Picture.open("out.png").rgb)
