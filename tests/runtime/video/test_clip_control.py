"""Videos with a still mask, a palette or the photo's colours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clips import moving, write_clip
from helpers import drawn_photo
from impasto.errors import ImpastoError, PictureExists, UnknownName
from impasto.runtime.masks import Mask
from impasto.runtime.palette import main_colors
from impasto.runtime.picture import Picture
from impasto.runtime.steady import Steadier
from impasto.runtime.style import StyleModel
from impasto.runtime.video.clip import Painted, stylize_clip
from impasto.runtime.video.footage import Reader, open_footage
from impasto.runtime.video.work import Work

STYLE = "starry-night"
LEFT = np.zeros((32, 48), np.float32)
LEFT[:, :24] = 1
Paint = Callable[..., Painted]


@pytest.fixture
def model(style_bundle: Path) -> StyleModel:
    return StyleModel.load(style_bundle, threads=1)


@pytest.fixture
def paint(model: StyleModel, tmp_path: Path) -> Paint:
    write_clip(tmp_path / "clip.mp4", moving(4, noise=0.05), sound=None)

    def call(name: str = "out.mkv", styles: Any = (STYLE,), **options: Any) -> Painted:
        return stylize_clip(tmp_path / "clip.mp4", tmp_path / name, model, styles, codec="ffv1", **options)

    return call


def read(path: Path) -> Any:
    with Reader(open_footage(path)) as reader:
        return np.stack([shot.rgb for shot in reader])


@pytest.mark.parametrize("steady", [False, True])
def test_what_is_not_painted_is_the_clip_as_it_was(paint: Paint, tmp_path: Path, steady: bool) -> None:
    source, full = read(tmp_path / "clip.mp4"), read(paint("full.mkv", steady=steady).output)
    kept = read(paint(mask=Mask(LEFT, feather=0), steady=steady).output)
    np.testing.assert_array_equal(kept[:, :, :24], full[:, :, :24])
    assert np.abs(kept[:, :, 24:] - source[:, :, 24:]).max() < 0.51 / 255
    assert np.abs(full - source).max() > 0.1


def test_palettes_and_matched_colours_are_those_of_photos(paint: Paint, model: StyleModel, tmp_path: Path) -> None:
    art, source = Picture(drawn_photo(40, 30, seed=3)), read(tmp_path / "clip.mp4")
    ways: list[dict[str, Any]] = [{"palette": 3}, {"keep_colors": "histogram"}]
    for number, options in enumerate(ways):
        got = read(paint(f"{number}.mkv", [art], steady=False, **options).output)
        told = {"palette": main_colors([(art, 1.0)], 3)} if number == 0 else options
        expected = np.stack([model.paint(Picture(rgb), art, **told).rgb for rgb in source])
        assert np.abs(got - expected).max() < 0.51 / 255


def test_matched_colours_are_evened_over_time(model: StyleModel) -> None:
    names: list[str] = []
    steadier = Steadier()

    def even(name: str, numbers: Any) -> Any:
        names.append(name)
        return steadier.even(name, numbers)

    # The second of two frames far apart is matched halfway to the first, as a film would have it.
    dark, light = (Picture(np.float32(share) * drawn_photo(48, 32)) for share in (0.3, 1.0))
    alone = model.paint(light, STYLE, keep_colors="histogram").rgb.mean()
    steadier.look(dark.rgb, 0.0)
    model.paint(dark, STYLE, keep_colors="histogram", even=even)
    steadier._pace = 0.5
    carried = model.paint(light, STYLE, keep_colors="histogram", even=even).rgb.mean()
    assert names.count("colour match") == 2
    assert dark.rgb.mean() < carried < alone - 0.05


def test_parts_of_another_mask_are_not_gone_on_with(
    paint: Paint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(work: Work, *_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Work, "add", stopped)
        with pytest.raises(KeyboardInterrupt):
            paint(mask=LEFT)
    real = Work.add
    monkeypatch.setattr(Work, "add", lambda work, *what: (real(work, *what), stopped(work))[0])
    with pytest.raises(KeyboardInterrupt):
        paint(mask=LEFT, part_seconds=0.2)
    monkeypatch.undo()
    with pytest.raises(PictureExists):
        paint(mask=1 - LEFT, part_seconds=0.2)
    assert paint(mask=LEFT, part_seconds=0.2).resumed > 0


def test_what_a_video_cannot_have_is_refused(paint: Paint, tmp_path: Path) -> None:
    for options, sentence in (
        ({"mask": Mask(foreground="auto")}, "would flicker"),
        ({"palette": 3, "styles": (STYLE, "great-wave")}, "moves between several"),
        ({"palette": 3, "keep_colors": True}, "choose one"),
        ({"palette": [[2.0, 0, 0]]}, "from 0 to 1"),
        ({"mask": tmp_path / "gone.png"}, "There is no file"),
    ):
        with pytest.raises(ImpastoError, match=sentence):
            paint(**options)
    with pytest.raises(UnknownName, match="'histogram'"):
        paint(keep_colors="histogramm")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4"]
