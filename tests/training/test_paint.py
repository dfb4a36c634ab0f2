"""Painting by optimisation, with a feature network of a few channels."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from helpers import drawn_photo
from impasto.errors import ImpastoError, TrainingError, UnknownName
from impasto.progress import Progress
from impasto.runtime.masks import Mask
from impasto.runtime.picture import Picture

torch = pytest.importorskip("torch")

from impasto.training import paint as paint_module  # noqa: E402 (needs torch)
from impasto.training.paint import Brush, Painted, digest_of, paint, sized  # noqa: E402
from impasto.training.paint_places import finished, placed  # noqa: E402
from impasto.training.paint_spec import LARGEST_UNASKED, PaintSpec  # noqa: E402
from training.optimised import SPEC, tiny_vgg  # noqa: E402

PHOTO = Picture(drawn_photo(64, 48, seed=1))
STYLE = Picture(drawn_photo(60, 52, seed=5) * np.array([0.3, 1.0, 0.6], np.float32))


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def painted(spec: PaintSpec = SPEC, photo: Picture = PHOTO, **options: Any) -> Painted:
    return paint(photo, [Brush(STYLE)], spec, net=tiny_vgg(), **options)


def test_the_loss_goes_down_at_every_size_and_all_steps_are_told() -> None:
    told: list[Progress] = []
    done = painted(replace(SPEC, steps=8, last=1.0), progress=told.append)
    assert (done.steps, done.planned, done.stopped) == (16, 16, False)
    assert [one.done for one in told] == list(range(1, 17)) and {one.total for one in told} == {16}
    for size, steps in itertools.groupby(told, key=lambda one: one.message):
        losses = [one.numbers["loss"] for one in steps]
        assert losses[-1] < 0.9 * losses[0], size
    assert [one.message for one in told[::8]] == ["32x24", "64x48"]
    assert done.loss == min(one.numbers["loss"] for one in told[8:])
    assert set(done.parts) == {"content", "style", "bands", "smooth"}


@pytest.mark.parametrize("start", ["matched", "photo", "noise"])
@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_twice_with_one_seed_is_the_same_to_the_last_bit(start: str, optimizer: str) -> None:
    spec = replace(SPEC, start=start, optimizer=optimizer)
    first, second = painted(spec), painted(spec)
    assert np.array_equal(first.picture.rgb, second.picture.rgb)
    assert not np.array_equal(first.picture.rgb, PHOTO.rgb)
    other = painted(replace(spec, seed=1))
    assert np.array_equal(first.picture.rgb, other.picture.rgb) == (start != "noise")


def test_little_memory_gives_tiles_and_nearly_the_same_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    photo, spec = Picture(drawn_photo(80, 64, seed=2)), replace(SPEC, size=80, steps=2, coarsest=80)
    monkeypatch.setattr(paint_module, "resident", lambda: 0)
    monkeypatch.setattr(paint_module, "SMALLEST_TILE", 16)
    tiles: list[int | None] = []
    plain = paint_module.Objective

    def watched(*args: Any, **options: Any) -> Any:
        tiles.append(options["tile"])
        return plain(*args, **options)

    monkeypatch.setattr(paint_module, "Objective", watched)
    whole, small = painted(spec, photo, max_memory=10**9), painted(spec, photo, max_memory=16_500_000)
    assert tiles[0] is None and tiles[1] is not None and 16 <= tiles[1] < 80
    assert np.abs(whole.picture.rgb - small.picture.rgb).max() < 1e-3
    with pytest.raises(
        TrainingError, match=r"Painting 80x64 takes .* choose a smaller --size or a larger --max-memory"
    ):
        painted(spec, photo, max_memory=2_000_000)


def test_whoever_stops_it_gets_the_best_so_far_at_full_size() -> None:
    losses: list[float] = []

    def told(now: Progress) -> None:
        losses.append(now.numbers["loss"])

    done = painted(replace(SPEC, steps=20), progress=told, stop=lambda: len(losses) >= 6)
    assert done.stopped and done.steps == 6 < done.planned
    assert done.picture.size == (64, 48)  # although it was stopped at the coarsest size
    assert done.loss == min(losses) < losses[0]
    assert not np.array_equal(done.picture.rgb, PHOTO.rgb)


def test_a_matched_start_has_the_paintings_colours_and_contrast_where_each_is_wanted() -> None:
    left = np.zeros((24, 32), np.float32)
    left[:, :16] = 1
    red = Picture(drawn_photo(60, 52, seed=7) * np.array([1.0, 0.3, 0.2], np.float32))
    spec = replace(SPEC, start="matched")
    alone = painted(spec, stop=lambda: True).picture.rgb
    assert np.abs(alone.mean((0, 1)) - STYLE.resized(PHOTO.size[0]).rgb.mean((0, 1))).max() < 0.04
    assert np.abs(PHOTO.rgb.mean((0, 1)) - STYLE.rgb.mean((0, 1))).max() > 0.08
    brushes = [Brush(STYLE, where=1 - left), Brush(red, where=left)]
    both = paint(PHOTO, brushes, spec, net=tiny_vgg(), stop=lambda: True).picture.rgb
    np.testing.assert_allclose(both[:, 40:], alone[:, 40:], atol=0.01)
    assert both[:, :20, 0].mean() > both[:, :20, 1].mean() + 0.1 and both[:, 40:, 1].mean() > both[:, 40:, 0].mean()


def test_stopped_before_the_first_step_the_start_is_what_there_is() -> None:
    done = painted(stop=lambda: True)
    assert done.stopped and done.steps == 0 and math.isnan(done.loss)
    assert np.array_equal(done.picture.rgb, PHOTO.rgb)


def test_previews_come_as_often_as_asked() -> None:
    seen: list[tuple[int, int]] = []
    painted(replace(SPEC, steps=4, last=1.0), preview=lambda picture: seen.append(picture.size), every=3)
    assert seen == [(32, 24), (64, 48)]


def test_alpha_and_what_the_file_told_are_kept_and_transparent_parts_do_not_count() -> None:
    alpha = np.ones((48, 64), np.float32)
    alpha[:, :24] = 0
    photo = replace(PHOTO, alpha=alpha)
    hidden = photo.rgb.copy()
    hidden[:, :4] = 0.5
    done, other = painted(photo=photo), painted(photo=replace(photo, rgb=hidden))
    assert done.picture.alpha is not None and np.array_equal(done.picture.alpha, alpha)
    assert done.picture.info is photo.info
    assert done.loss == pytest.approx(other.loss, rel=0.05)
    assert abs(done.loss - painted().loss) > 1e-4


def test_strength_goes_from_the_photo_to_the_style() -> None:
    apart = [np.abs(painted(replace(SPEC, strength=s)).picture.rgb - PHOTO.rgb).mean() for s in (0.0, 0.5, 1.0)]
    assert apart[0] == 0 and apart[0] < apart[1] < apart[2]


def test_a_picture_of_ones_own_may_begin() -> None:
    begin = Picture(drawn_photo(64, 48, seed=9))
    done = painted(replace(SPEC, start="noise"), begin=begin, stop=lambda: True)
    assert np.array_equal(done.picture.rgb, begin.rgb)


def test_the_fast_painter_begins(style_bundle: Any) -> None:
    from impasto.runtime.style import StyleModel

    model = StyleModel.load(style_bundle)
    done = painted(replace(SPEC, start="fast"), fast=model, stop=lambda: True)
    assert np.abs(done.picture.rgb - model.paint(PHOTO, STYLE).rgb).max() < 1e-6


def test_sizes_double_up_to_the_picture_and_never_fall_too_low() -> None:
    assert PaintSpec(coarsest=128).sizes(512, 300) == [128, 256, 512]
    assert PaintSpec(coarsest=128).sizes(500, 20) == [500]
    assert PaintSpec(coarsest=128, factor=2**0.5).sizes(256, 256) == [128, 181, 256]
    assert PaintSpec(steps=10, last=0.5).steps_at(2, 3) == 5 and PaintSpec(steps=10, last=0.5).steps_at(1, 3) == 10
    assert sized(Picture(np.zeros((50, 1000, 3), np.float32)), PaintSpec()).size[0] == LARGEST_UNASKED
    assert sized(PHOTO, PaintSpec()).size == (64, 48)


def test_strokes_are_as_large_as_asked() -> None:
    assert PaintSpec().style_scale(512) == PaintSpec(stroke="auto").style_scale(900) == 1
    assert PaintSpec(stroke="16px").style_scale(512) == PaintSpec(stroke="3.125%").style_scale(64) == 2
    seen = paint_module._seen
    assert seen(STYLE, PHOTO, 1.0).size == (55, 48)
    assert seen(STYLE, Picture(np.zeros((90, 90, 3), np.float32)), 1.0).size == (60, 52)  # never enlarged for itself
    assert min(seen(STYLE, PHOTO, 2.0).size) == 96


def test_places_by_masks() -> None:
    left = np.zeros((48, 64), np.float32)
    left[:, :32] = 1
    two = [Brush(STYLE), Brush(PHOTO)]
    brushes, cover = placed(PHOTO, two, [left, None], None)
    assert cover is None and brushes[0].where is not None and brushes[1].where is not None
    assert np.allclose(brushes[0].where + brushes[1].where, 1) and brushes[0].where[0, 0] == 1
    brushes, cover = placed(PHOTO, two, [left, 1 - left], Mask(protect=left, feather=0))
    # One of them has no place left.
    assert len(brushes) == 1 and cover is not None and cover[0, 0] == 0 and cover[0, -1] == 1
    assert placed(PHOTO, two, [None, None], None) == (two, None)
    with pytest.raises(ImpastoError, match="leave nothing to paint"):
        placed(PHOTO, two, [None, None], Mask(left * 0))
    made = paint(PHOTO, brushes, SPEC, net=tiny_vgg()).picture
    done = finished(PHOTO, made, two, cover=cover)
    assert np.array_equal(done.rgb[:, :28], PHOTO.rgb[:, :28]) and np.array_equal(done.rgb[:, 40:], made.rgb[:, 40:])


def test_colours_and_the_finest_layer() -> None:
    made = painted().picture
    plain = finished(PHOTO, made, [Brush(STYLE)])
    assert np.array_equal(plain.rgb, made.rgb)
    kept = finished(PHOTO, made, [Brush(STYLE)], keep_colors="luminance")
    few = finished(PHOTO, made, [Brush(STYLE)], palette=2)
    sharp = finished(PHOTO, made, [Brush(STYLE)], detail=1.0)
    pictures = [plain, kept, few, sharp]
    assert all(not np.allclose(a.rgb, b.rgb, atol=1e-3) for a, b in itertools.combinations(pictures, 2))
    with pytest.raises(ImpastoError, match="choose one of them"):
        finished(PHOTO, made, [Brush(STYLE)], palette=2, keep_colors="luminance")


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"steps": 0}, "The number of steps 0 cannot be used: choose a number from 1 on."),
        ({"size": 8}, "The size 8 cannot be used: choose a number from 32 to 16384."),
        ({"content": math.nan}, "The content weight nan cannot be used"),
        ({"content": 0.0, "style": 0.0}, "Neither content nor style has a weight"),
        ({"style_layers": ()}, "need a layer each"),
        ({"strength": 1.5}, "The strength 1.5 cannot be used: choose a number from 0 to 1."),
    ],
)
def test_settings_that_cannot_be(wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(TrainingError, match=sentence.replace(".", r"\.")):
        PaintSpec(**wrong)


@pytest.mark.parametrize("name", ["start", "style_loss", "network", "optimizer", "precision", "pool"])
def test_words_that_do_not_exist_offer_the_nearest(name: str) -> None:
    with pytest.raises(UnknownName, match=r"There is no .* called 'x'"):
        PaintSpec(**{name: "x"})


def test_what_cannot_be_painted_with() -> None:
    with pytest.raises(TrainingError, match="give at least one"):
        paint(PHOTO, [], SPEC, net=tiny_vgg())
    with pytest.raises(TrainingError, match="weight 0 of a painting"):
        paint(PHOTO, [Brush(STYLE, 0)], SPEC, net=tiny_vgg())
    with pytest.raises(TrainingError, match="10x10 shows no strokes"):
        paint(PHOTO, [Brush(Picture(np.zeros((10, 10, 3), np.float32)))], SPEC, net=tiny_vgg())
    with pytest.raises(TrainingError, match="64x2 is too small to paint"):
        painted(photo=Picture(np.zeros((2, 64, 3), np.float32)))
    with pytest.raises(TrainingError, match="every 0 steps"):
        painted(every=0)


def test_the_digest_tells_weights_apart_whatever_their_precision() -> None:
    assert digest_of(tiny_vgg()) == digest_of(tiny_vgg().to(torch.bfloat16)) != digest_of(tiny_vgg(seed=1))
    assert len(digest_of(tiny_vgg())) == 64
