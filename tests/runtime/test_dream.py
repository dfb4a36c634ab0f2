"""Dreamt styles and the ways between styles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dreaming import WIDE, dream_members, make_dreamer, make_wide_dreamer, matrices
from helpers import CODE_SIZE, CODES, drawn_photo, make_style_bundle
from impasto.errors import BundleError, ImpastoError, UnknownName
from impasto.runtime.archive import format_table, parse_table
from impasto.runtime.dream import (
    BOUNDS,
    MEANS,
    ROOTS,
    WEIGHTS,
    between,
    can_dream,
    color_numbers,
    dream,
    from_coordinates,
    to_coordinates,
)
from impasto.runtime.latents import draw_streams
from impasto.runtime.picture import color_stats
from impasto.runtime.pixels.color import COLOR_FLOOR
from impasto.runtime.pyramid import NUMBERS, band_stats
from impasto.runtime.style import StyleModel


@pytest.fixture(scope="module")
def dreamer(tmp_path_factory: pytest.TempPathFactory) -> StyleModel:
    return StyleModel.load(make_dreamer(tmp_path_factory.mktemp("dreamer") / "dreamer.impasto"), threads=1)


def wide(folder: Path, width: float) -> StyleModel:
    return StyleModel.load(make_wide_dreamer(folder / f"wide{width}.impasto", width), threads=1)


# Dreaming ---------------------------------------------------------------------------------------------------------


def test_a_seed_is_a_style(dreamer: StyleModel) -> None:
    many = dream(dreamer, 5, 4)
    assert many.shape == (4, CODE_SIZE) and many.dtype == np.float32
    for k in range(4):
        assert np.array_equal(many[k], dream(dreamer, 5 + k)[0])
    assert len(np.unique(many[:, 0])) == 4
    assert np.array_equal(dream(StyleModel.load(dreamer.bundle.path), 5, 4), many), "opened again"


def test_a_style_is_what_the_tables_and_the_stream_say(dreamer: StyleModel) -> None:
    tables = {name: parse_table(raw, name) for name, raw in dream_members(CODE_SIZE).items()}
    for seed in range(6):
        drawn = draw_streams(seed, 1, CODE_SIZE)
        k = int(drawn.component[0] >= tables[WEIGHTS][0])
        point = tables[MEANS][k] + tables[ROOTS][k] @ drawn.normals[0]
        point = np.clip(point, *tables[BOUNDS])
        expected = np.concatenate([point[:2], 1 / (1 + np.exp(-point[2:5]))])
        np.testing.assert_allclose(dream(dreamer, seed)[0, :5], expected, rtol=1e-5)


def test_dreams_stay_where_paintings_are(tmp_path: Path) -> None:
    tight = format_table(np.float32([[-0.1] * CODE_SIZE, [0.2] * CODE_SIZE]))
    model = StyleModel.load(make_dreamer(tmp_path / "tight.impasto", dream_bounds=tight))
    strokes = dream(model, 0, 50)[:, :2]
    assert strokes.min() == pytest.approx(-0.1) and strokes.max() == pytest.approx(0.2)


@pytest.mark.parametrize("width", [0.5, 4.0])
def test_the_colours_of_a_thousand_dreams_are_such_as_pictures_have(tmp_path: Path, width: float) -> None:
    codes = dream(wide(tmp_path, width), 0, 1000).astype(np.float64)
    assert codes.shape == (1000, WIDE) and np.isfinite(codes).all()
    mean, spread = codes[:, -9:-6], matrices(codes[:, -6:])
    assert mean.min() > 0 and mean.max() < 1
    values = np.linalg.eigvalsh(spread)
    assert values.min() >= COLOR_FLOOR - 1e-6
    variances = np.einsum("nij,nij->ni", spread, spread) - COLOR_FLOOR**2
    assert (variances <= mean * (1 - mean) + 1e-6).all(), "no numbers in 0..1 of that mean vary more"
    if width > 1:
        assert (variances / (mean * (1 - mean))).max() > 0.999, "or else nothing was ever asked too much"


def test_colours_of_models_of_the_first_kind(dreamer: StyleModel) -> None:
    assert color_numbers(dreamer) == 6
    codes = dream(dreamer, 0, 1000)
    mean, deviation = codes[:, 2:5], codes[:, 5:]
    assert mean.min() > 0 and mean.max() < 1 and deviation.min() > 0
    assert (deviation**2 <= mean * (1 - mean) + 1e-6).all()


def test_coordinates_there_and_back() -> None:
    pictures = [drawn_photo(40, 30, seed) for seed in range(12)]
    hard = np.zeros((8, 8, 3), np.float32)
    hard[:4] = 1  # black and white halves: as far apart as pixels can be
    colors = np.stack([color_stats(rgb) for rgb in (*pictures, hard, np.full_like(hard, 0.5))])
    codes = np.concatenate([np.random.default_rng(0).standard_normal((len(colors), 2)), colors], 1)
    there = to_coordinates(codes, 9)
    assert there.shape == codes.shape and np.isfinite(there).all()
    np.testing.assert_allclose(from_coordinates(there, 9), codes, atol=2e-4)
    varied = np.stack([band_stats(np.ascontiguousarray(rgb.transpose(2, 0, 1))) for rgb in pictures])
    banded = np.concatenate([codes[: len(pictures), :2], varied, colors[: len(pictures)]], 1)
    there = to_coordinates(banded, 9, NUMBERS)
    assert there.shape == banded.shape and np.ptp(there[:, -10]) > 0.1, "how patchy they are differs"
    np.testing.assert_allclose(from_coordinates(there, 9, NUMBERS), banded, atol=2e-4)
    first = np.concatenate([codes[:, :5], codes[:, [5, 8, 10]]], 1)
    np.testing.assert_allclose(from_coordinates(to_coordinates(first, 6), 6), first, atol=2e-4)


def test_the_logarithm_of_a_spread_by_hand() -> None:
    """Along the grey axis 0.4, across it 0.1: the logarithm has the same axes."""
    axis = np.full((3, 3), 1 / 3)
    spread = 0.4 * axis + 0.1 * (np.eye(3) - axis)
    expected = np.log(0.4) * axis + np.log(0.1) * (np.eye(3) - axis)
    code = np.concatenate([[0.5, 0.25, 0.5], spread[np.triu_indices(3)]])[None]
    point = to_coordinates(code, 9)[0]
    np.testing.assert_allclose(point[:3], [0, np.log(1 / 3), 0], atol=1e-12)
    np.testing.assert_allclose(point[3:], expected[np.triu_indices(3)], atol=1e-9)


def test_a_model_that_cannot_dream_says_what_to_do(tmp_path: Path) -> None:
    model = StyleModel.load(make_style_bundle(tmp_path / "plain.impasto"))
    assert not can_dream(model)
    with pytest.raises(ImpastoError, match=r"'impasto models dream plain PAINTINGS -o NEW\.impasto'\.$"):
        dream(model, 0)


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"dream_means": np.zeros((2, 5))}, "is not about codes of 8 numbers"),
        ({"dream_roots": np.zeros((2, 8, 7))}, "do not fit together"),
        ({"dream_weights": [0.9, 0.9]}, "do not fit together"),
        ({"dream_bounds": np.zeros((2, 3))}, "has the shape"),
    ],
)
def test_tables_that_do_not_fit(tmp_path: Path, tables: dict[str, Any], said: str) -> None:
    raw = {name: format_table(np.float32(table)) for name, table in tables.items()}
    with pytest.raises(BundleError, match=said):
        dream(StyleModel.load(make_dreamer(tmp_path / "odd.impasto", **raw)), 0)


@pytest.mark.parametrize("wrong", [(-1, 1), (0, -1), (1.5, 1), (0, True)])
def test_what_is_no_seed_or_count(dreamer: StyleModel, wrong: tuple[Any, Any]) -> None:
    with pytest.raises(ImpastoError, match="cannot be used"):
        dream(dreamer, *wrong)


# Between two styles -----------------------------------------------------------------------------------------------


def test_the_ends_are_the_two_styles(dreamer: StyleModel) -> None:
    way = between(dreamer, "starry-night", CODES[1], 5)
    assert way.shape == (5, CODE_SIZE) and way.dtype == np.float32
    assert np.array_equal(way[0], CODES[0]) and np.array_equal(way[-1], CODES[1])
    np.testing.assert_allclose(way[2, 2:], (CODES[0] + CODES[1])[2:] / 2, rtol=1e-6)
    assert np.array_equal(between(dreamer, "the-scream", "great-wave", 2), CODES[[2, 1]])


def test_strokes_keep_their_strength_on_the_way(dreamer: StyleModel) -> None:
    first, last = CODES[0].copy(), CODES[1].copy()
    first[:2], last[:2] = [1, 0], [0, 1]
    way = between(dreamer, first, last, 7)[:, :2]
    np.testing.assert_allclose(np.linalg.norm(way, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(np.degrees(np.arctan2(way[:, 1], way[:, 0])), np.arange(7) * 15, atol=1e-3)


def test_colours_stay_valid_on_the_way(tmp_path: Path) -> None:
    model = wide(tmp_path, 1.0)
    ends = dream(model, 0, 20)
    for first, last in zip(ends[:10], ends[10:], strict=True):
        way = between(model, first, last, 6)
        assert np.linalg.eigvalsh(matrices(way[:, -6:])).min() >= COLOR_FLOOR - 1e-6
        assert way[:, -9:-6].min() > 0 and way[:, -9:-6].max() < 1


def test_ways_that_cannot_be(dreamer: StyleModel) -> None:
    for count in (1, 0, 2.5, True):
        with pytest.raises(ImpastoError, match=r"cannot have .* steps: give 2 or more\.$"):
            between(dreamer, "starry-night", "great-wave", count)  # type: ignore[arg-type]
    with pytest.raises(UnknownName, match="did you mean 'great-wave'"):
        between(dreamer, "starry-night", "great-wafe", 3)
