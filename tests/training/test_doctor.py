"""Each sign of illness is looked for in pictures that are sick in that way alone, and in sound ones of many kinds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from impasto.training.data import Pixels
from impasto.training.doctor import FLAGS, LOOKS, PEAK, VISIBLE, Doctor, Finding, Space, grid_peak, spectrum, thumbnail
from impasto.training.pictures import PictureSet
from impasto.training.recipe_gan import GanRecipe
from training.support import draw_folder

SIDE = 32


@cache
def drawn(kind: str, count: int, seed: int) -> Pixels:
    """uint8 [N,32,32,C]: scenes that vary in many ways; ``kind`` is "scenes", "grey", "cutouts", or "groups"."""
    rng = np.random.default_rng((seed, len(kind)))
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE

    def each(low: float, high: float, *shape: int) -> NDArray[np.float64]:
        return rng.uniform(low, high, (count, 1, 1, *shape))

    if kind == "groups":  # ten kinds of picture with as much variety of their own
        middle = np.random.default_rng(5).uniform(0.15, 0.85, (10, 2, 6))[:, 0]
        chosen = middle[np.arange(count) % 10][:, None, None]
        ground = np.stack([chosen[..., i] + 0 * x for i in range(3)], -1) + each(-0.1, 0.1, 3)
        across, down = chosen[..., 3] + each(-0.1, 0.1)[..., 0:], chosen[..., 4] + each(-0.1, 0.1)
        size, colour = 0.2 + each(-0.05, 0.05), chosen[..., 5][..., None] + each(-0.1, 0.1, 3)
    else:
        ground = each(0, 1, 3) + each(-0.4, 0.4, 3) * x[..., None] + each(-0.4, 0.4, 3) * y[..., None]
        across, down, size, colour = each(0.2, 0.8), each(0.2, 0.8), each(0.1, 0.3), each(0, 1, 3)
    inside = 1 / (1 + np.exp(((x - across) ** 2 + (y - down) ** 2 - size**2) * 150))
    ring = np.exp(-((np.hypot(x - each(0.2, 0.8), y - each(0.2, 0.8)) - 0.25) ** 2) * 300)
    picture = ground * (1 - inside[..., None]) + colour * inside[..., None]
    if kind != "groups":  # these would all look alike for the rings
        picture = picture + 0.3 * ring[..., None]
    picture = picture + rng.normal(0, 0.02, picture.shape)
    pixels = (picture.clip(0, 1) * 255).round().astype(np.uint8)
    if kind == "grey":
        return np.ascontiguousarray(pixels[..., :1])
    if kind == "cutouts":
        return np.concatenate((pixels, (inside[..., None] * 255).round().astype(np.uint8)), 3)
    return pixels


def blurred(pictures: Pixels, times: int = 6) -> Pixels:
    x = pictures.astype(np.float64)
    for _ in range(times):
        for axis in (1, 2):
            x = (np.roll(x, 1, axis) + 2 * x + np.roll(x, -1, axis)) / 4
    return x.round().astype(np.uint8)


def noisy(pictures: Pixels, levels: float) -> Pixels:
    noise = np.random.default_rng(3).normal(0, levels, pictures.shape)
    return (pictures + noise).clip(0, 255).round().astype(np.uint8)


def gaussian(pictures: Pixels, count: int, directions: int) -> Pixels:
    """Draws from a Gaussian fitted to pictures: poor and blurred, but varied."""
    flat = pictures.reshape(len(pictures), -1).astype(np.float64)
    _, sizes, turn = np.linalg.svd(flat - flat.mean(0), full_matrices=False)
    z = np.random.default_rng(4).standard_normal((count, directions)) * sizes[:directions] / len(flat) ** 0.5
    return (z @ turn[:directions] + flat.mean(0)).clip(0, 255).astype(np.uint8).reshape(count, *pictures.shape[1:])


@cache
def doctor_of(kind: str) -> Doctor:
    return Doctor(drawn(kind, 320, 0), settle=0)


def look(kind: str, samples: Pixels) -> list[str]:
    return [finding.name for finding in doctor_of(kind).look(samples)]


KINDS = ("scenes", "grey", "cutouts", "groups")
SOUND: Mapping[str, Callable[[Pixels], Pixels]] = {
    "new": lambda new: new,
    "few": lambda new: new[:64],
    "blurred": blurred,
    "noisy": lambda new: noisy(new, 20),
    "mirrored": lambda new: new[:, :, ::-1],
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", SOUND)
def test_sound_pictures_are_passed(kind: str, way: str) -> None:
    assert look(kind, SOUND[way](drawn(kind, 128, 1))) == []


@pytest.mark.parametrize("kind", ["scenes", "groups"])
@pytest.mark.parametrize("directions", [12, 60])
def test_a_poor_generator_is_not_a_sick_one(kind: str, directions: int) -> None:
    assert look(kind, gaussian(drawn(kind, 320, 0), 128, directions)) == []


# Collapse -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("modes", [1, 5, 16])
def test_a_few_pictures_again_and_again_are_a_collapse(kind: str, modes: int) -> None:
    new = drawn(kind, 128, 1)
    assert look(kind, noisy(new[np.arange(128) % modes], 6)) == ["collapse"]


def test_the_sentence_says_which_collapse_it_is_and_what_to_do() -> None:
    new = drawn("scenes", 128, 1)
    (one,) = doctor_of("scenes").look(noisy(new[:1].repeat(128, 0), 6))
    assert one.flag == "loss.r1" and one.sentence.startswith("The drawn pictures are alike: they vary ")
    assert one.sentence.endswith("(collapse): raise loss.r1 tenfold, or start anew with a lower optim.lr.")
    (several,) = doctor_of("scenes").look(noisy(new[np.arange(128) % 9], 6))
    assert several.sentence.startswith("A few pictures are drawn again and again")


def test_good_pictures_of_a_part_of_all_kinds_are_a_collapse() -> None:
    new = drawn("groups", 600, 1)
    part = new[np.isin(np.arange(600) % 10, (0, 3, 7))][:128]
    (finding,) = doctor_of("groups").look(part)
    assert finding.name == "collapse" and finding.sentence.startswith("Only a part of what there is is drawn")
    most = new[np.isin(np.arange(600) % 10, (0, 1, 2, 3, 4, 5, 6, 7))][:128]
    assert look("groups", most) == []


# Memorisation -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ["exact", "noisy", "mirrored", "half"])
def test_copies_are_found(kind: str, way: str) -> None:
    copies = drawn(kind, 320, 0)[50:178]
    samples = {
        "exact": copies,
        "noisy": noisy(copies, 8),
        "mirrored": copies[:, :, ::-1],
        "half": np.concatenate((copies[:64], drawn(kind, 128, 1)[:64])),
    }[way]
    assert look(kind, samples) == ["memorisation"]


def test_mirrored_copies_are_no_copies_where_nothing_is_mirrored() -> None:
    train = drawn("scenes", 320, 0)
    assert Doctor(train, settle=0, mirrored=False).look(train[:128, :, ::-1]) == []


def test_training_pictures_that_are_all_doubled_make_no_new_picture_a_copy() -> None:
    train = drawn("scenes", 160, 0)
    doubled = Doctor(np.concatenate((train, noisy(train, 2))), settle=0)
    assert "memorisation" not in [f.name for f in doubled.look(drawn("scenes", 128, 1))]


def test_distances_from_a_better_feature_space_can_be_given() -> None:
    new = drawn("scenes", 128, 1)
    far, near, reach = np.full(128, 0.9), np.full(128, 0.1), np.ones(128)
    assert doctor_of("scenes").look(new, nearest=(far, reach)) == []
    (finding,) = doctor_of("scenes").look(new, nearest=(near, reach))
    assert finding.flag == "augment.strength"
    assert finding.sentence.startswith(
        "100% of the drawn pictures are copies of training pictures (memorisation): raise"
    )


# Grids --------------------------------------------------------------------------------------------------------------


def pattern(name: str) -> NDArray[np.float64]:
    y, x = np.mgrid[:SIDE, :SIDE]
    found: NDArray[np.float64] = {
        "chequers": (-1.0) ** (x + y),
        "stripes": (-1.0) ** x,
        "rows of four": np.cos(np.pi * y / 2),
        "slanted": np.cos(np.pi * (y + x) / 2),
        "slanted back": np.cos(np.pi * (y - x) / 2),
    }[name][..., None]
    return found


@pytest.mark.parametrize("kind", ["scenes", "grey", "cutouts"])
@pytest.mark.parametrize(
    ("name", "period"), [("chequers", 2), ("stripes", 2), ("rows of four", 4), ("slanted", 4), ("slanted back", 4)]
)
def test_a_grid_of_the_layers_is_found(kind: str, name: str, period: int) -> None:
    new = drawn(kind, 128, 1).astype(np.float64)
    strong = new.copy()
    strong[..., :3] += 12 * pattern(name)
    (finding,) = doctor_of(kind).look(strong.clip(0, 255).astype(np.uint8))
    assert finding.name == "checkerboard" and finding.flag == "net.up"
    assert f"a grid of {period} px" in finding.sentence


def test_a_transposed_convolution_of_uneven_overlap_leaves_one() -> None:
    """Brightness that goes up and down with the number of kernel taps that meet at a pixel (Odena et al. 2016)."""
    taps = 1 + 0.06 * np.tile([[1, -1], [-1, 1]], (SIDE // 2, SIDE // 2))[..., None]
    samples = (drawn("scenes", 128, 1) * taps).clip(0, 255).astype(np.uint8)
    assert look("scenes", samples) == ["checkerboard"]


def test_a_grid_that_the_training_pictures_have_too_is_theirs() -> None:
    grid = (8 * pattern("chequers")).astype(np.int64)
    train, new = ((drawn("scenes", n, s) + grid).clip(0, 255).astype(np.uint8) for n, s in ((320, 0), (128, 1)))
    assert Doctor(train, settle=0).look(new) == []


def test_the_amplitude_is_in_levels() -> None:
    flat = np.full((4, SIDE, SIDE, 3), 128.0)
    for name in ("chequers", "stripes", "rows of four", "slanted"):
        peak = grid_peak(spectrum((flat + 10 * pattern(name)).round().astype(np.uint8)).mean(0), np.ones((SIDE, SIDE)))
        assert peak is not None and peak.amplitude == pytest.approx(10, rel=0.1) and peak.ratio > PEAK, name
    faint = grid_peak(spectrum((flat + pattern("stripes")).astype(np.uint8)).mean(0), np.full((SIDE, SIDE), 1e-9))
    assert faint is not None and faint.amplitude < VISIBLE
    assert grid_peak(np.ones((8, 24)), np.ones((8, 24))) is None


# The discriminator and broken numbers ---------------------------------------------------------------------------------


def test_a_discriminator_that_is_always_right_is_found_once_it_lasts() -> None:
    doctor, new = Doctor(drawn("scenes", 320, 0), settle=0), drawn("scenes", 128, 1)
    sure, unsure = {"real_sign": 1.0, "fake_sign": -0.95}, {"real_sign": 0.9, "fake_sign": -0.9}
    for figures in [sure] * (LOOKS - 1) + [unsure] + [sure] * (LOOKS - 1):
        assert doctor.look(new, figures) == []
    (finding,) = doctor.look(new, sure)
    assert finding.name == "saturation" and "is right 99% of the time" in finding.sentence
    assert doctor.look(new, {"loss": 1.0}) == [], "nothing is said where nothing is told"
    assert doctor.look(new, unsure) == []


def test_a_sound_discriminator_is_passed_even_with_small_batches() -> None:
    """Sixteen real and sixteen drawn pictures at a time, nine of ten judged rightly, a thousand looks."""
    rng, doctor, new = np.random.default_rng(0), Doctor(drawn("scenes", 64, 0), settle=0), drawn("scenes", 16, 1)
    for real, fake in rng.binomial(16, 0.9, (1000, 2)) / 8 - 1:
        assert doctor._saturation({"real_sign": real, "fake_sign": -fake}) is None
    assert doctor.look(new) == [], "sixteen pictures are too few to judge variety by"


def test_broken_numbers_are_spoken_of_at_once() -> None:
    doctor, same = Doctor(drawn("scenes", 320, 0), settle=3), drawn("scenes", 128, 1)[:1].repeat(128, 0)
    (finding,) = doctor.look(same, {"loss": math.nan, "grad": math.inf, "r1": 0.1})
    assert finding == Finding("nan", finding.sentence, "optim.lr")
    assert finding.sentence == (
        "There are figures that are no numbers, grad, loss (nan): lower optim.lr, or set precision to fp32."
    )
    assert doctor.look(same, {"loss": 1.0}) == [] == doctor.look(same)
    assert [finding.name for finding in doctor.look(same)] == ["collapse"], "the first looks only settle"


# Odds and ends --------------------------------------------------------------------------------------------------------


def test_any_set_of_pictures_is_looked_at_without_a_fall(tmp_path: Path) -> None:
    folder = draw_folder(tmp_path / "in", 5, size=(24, 20))
    pictures = PictureSet(folder, 20, 28, minimum=1)
    assert Doctor(pictures, settle=0).look(pictures.arrays([0, 1])) == []
    same = np.full((64, 4, 4, 1), 7, np.uint8)
    assert Doctor(same, settle=0).look(same) == []
    assert Doctor(same[:1], settle=0).look(same[:1]) == []


def test_a_picture_set_and_its_array_are_seen_alike(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", images=drawn("scenes", 320, 0))
    pictures = PictureSet(tmp_path / "x.npz", SIDE, SIDE)
    samples = drawn("scenes", 320, 0)[:128]
    assert Doctor(pictures, settle=0).look(samples) == doctor_of("scenes").look(samples) != []


def test_flags_are_keys_of_the_recipe_and_can_be_others() -> None:
    for flag in FLAGS.values():
        model = GanRecipe
        *path, last = flag.split(".")
        for part in path:
            model = model.model_fields[part].annotation  # type: ignore[assignment]
        assert last in model.model_fields, flag
    other = Doctor(drawn("scenes", 320, 0), settle=0, flags={"collapse": "loss.beta"})
    (finding,) = other.look(drawn("scenes", 128, 1)[:1].repeat(128, 0))
    assert finding.flag == "loss.beta" and "raise loss.beta" in finding.sentence


def test_thumbnails_are_area_means_weighted_by_alpha() -> None:
    pixels = drawn("scenes", 3, 1)
    expected = pixels.reshape(3, 8, 4, 8, 4, 3).mean((2, 4)) / 255
    np.testing.assert_allclose(thumbnail(pixels), expected.reshape(3, -1), atol=1e-6)
    odd = pixels[:, :28, :20]
    np.testing.assert_allclose(thumbnail(odd).reshape(3, 8, 8, 3).mean((1, 2)), odd.mean((1, 2)) / 255, atol=1e-6)
    clear = np.concatenate((pixels, np.zeros((3, SIDE, SIDE, 1), np.uint8)), 3)
    assert not thumbnail(clear).any()


def test_the_space_has_unit_variance_and_few_directions() -> None:
    layouts = thumbnail(drawn("scenes", 320, 0))
    space = Space(layouts)(layouts)
    assert 8 <= space.shape[1] <= 48
    np.testing.assert_allclose(space.var(0), 1, rtol=1e-6)
    np.testing.assert_allclose(space.mean(0), 0, atol=1e-9)
    assert Space(layouts[:40])(layouts).shape[1] <= 10, "no more than a quarter of the pictures"
