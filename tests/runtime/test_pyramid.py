"""The pyramid of bands, and painted pictures that are held to a painting's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from helpers import drawn_photo, make_style_bundle, style_manifest
from impasto.errors import BundleError, ImpastoError
from impasto.runtime import band_rows, bands, painting, pyramid, whole
from impasto.runtime.bundle import GraphSpec
from impasto.runtime.canvas import Sheet, surface_of
from impasto.runtime.codes import format_table
from impasto.runtime.laplacian import LEVELS, STEP, join, split
from impasto.runtime.picture import Picture, color_stats
from impasto.runtime.pyramid import NUMBERS, REACH, Gains, band_stats, gains_of
from impasto.runtime.style import StyleModel

PLENTY = 1 << 40


def planes(width: int = 88, height: int = 64, seed: int = 0) -> np.ndarray[Any, Any]:
    """A drawn photo with some noise: float32 [3,H,W]."""
    noise = np.random.default_rng(seed).normal(0, 0.04, (height, width, 3))
    rgb = np.clip(0.7 * drawn_photo(width, height, seed=seed) + 0.1 + noise, 0, 1)
    return np.ascontiguousarray(rgb.transpose(2, 0, 1), np.float32)


def test_the_bands_are_the_picture() -> None:
    x = planes()
    parts = split(x)
    assert [part.shape[1:] for part in parts] == [(64 >> k, 88 >> k) for k in range(LEVELS + 1)]
    np.testing.assert_allclose(join(parts), x, atol=1e-6)
    flat = split(np.full((3, 32, 32), 0.3, np.float32))
    assert all(np.abs(band).max() < 1e-6 for band in flat[:-1]) and np.allclose(flat[-1], 0.3)


def test_fine_and_coarse_waves_are_found_where_they_belong() -> None:
    at = np.arange(128, dtype=np.float32)
    energies = []
    for length in (2.5, 6.0, 12.0, 60.0):
        wave = 0.5 + 0.2 * np.sin(2 * np.pi * at / length) * np.ones((3, 128, 1), np.float32)
        energies.append([float(band.var()) for band in split(wave.astype(np.float32))])
    assert [int(np.argmax(row)) for row in energies] == [0, 1, 2, 3]


def test_bands_get_what_is_wanted() -> None:
    own, other = planes(seed=1), planes(seed=2) * np.array([0.5, 1.0, 0.8], np.float32)[:, None, None]
    mean, wanted = other.mean((1, 2)), band_stats(other)
    assert wanted.shape == (NUMBERS,)
    made = gains_of(own, mean, wanted).pixels(own).transpose(2, 0, 1)
    before, after = (np.abs(band_stats(x) - wanted)[:-1].mean() for x in (own, made))
    assert after < before / 3
    np.testing.assert_allclose(made.mean((1, 2)), mean, atol=0.01)
    # What it has already, it keeps.
    same = gains_of(own, own.mean((1, 2)), band_stats(own)).pixels(own).transpose(2, 0, 1)
    np.testing.assert_allclose(same, own, atol=2e-3)


def patchy(share: float, height: int = 160, width: int = 192) -> np.ndarray[Any, Any]:
    """Grey with noise, of which so much lies in the left half: 0.5 is as much on both sides."""
    level = np.where(np.arange(width) < width / 2, share, 1 - share).astype(np.float32)
    noise = np.random.default_rng(3).normal(0, 0.2, (3, height, width)).astype(np.float32)
    return np.clip(0.5 + level * noise, 0, 1)


def halves(picture: np.ndarray[Any, Any]) -> float:
    """How much stronger the finest band is on the left side than on the right one."""
    left, right = np.split(split(picture)[0], 2, axis=2)
    return float(left.std() / right.std())


def test_detail_lies_as_evenly_as_it_is_asked_to() -> None:
    mean, uneven, even = np.full(3, 0.5, np.float32), patchy(0.8), patchy(0.5)
    assert band_stats(uneven)[-1] > 2 * band_stats(even)[-1]
    evened = gains_of(uneven, mean, band_stats(even)).pixels(uneven).transpose(2, 0, 1)
    assert halves(uneven) > 3.5 and 1 < halves(evened) < 2  # the power is held to 0.4 at least: 4^0.4 = 1.7
    kept = gains_of(uneven, mean, np.append(band_stats(even)[:-1], np.float32(0))).pixels(uneven).transpose(2, 0, 1)
    assert halves(kept) == pytest.approx(halves(uneven), rel=0.02)
    middling = patchy(0.7)
    back = gains_of(patchy(0.65), mean, band_stats(middling)).pixels(patchy(0.65)).transpose(2, 0, 1)
    assert halves(back) == pytest.approx(halves(middling), rel=0.15)
    # What cannot be seen does not count for how patchy a picture is.
    clear = np.zeros(uneven.shape[1:], np.float32)
    clear[:, :80] = 1
    assert abs(gains_of(uneven, mean, band_stats(even), clear).power) < 0.2
    assert gains_of(uneven, mean, band_stats(even)).power == pytest.approx(-0.6)


@pytest.mark.parametrize(("width", "height"), [(88, 64), (61, 47), (5, 3), (1, 1)])
def test_any_size_is_matched_and_parts_of_it_are_those_of_the_whole(width: int, height: int) -> None:
    x = planes(160, 120)[:, :height, :width]
    gains = gains_of(x, np.full(3, 0.4, np.float32), band_stats(planes(seed=3)))
    whole = gains.pixels(x)
    assert whole.shape == (height, width, 3) and whole.min() >= 0 and whole.max() <= 1
    part = gains.pixels(x, slice(height // 3, height), slice(width // 2, width))
    np.testing.assert_allclose(part, whole[height // 3 :, width // 2 :], atol=1e-6)
    np.testing.assert_array_equal(Gains.of_numbers(gains.numbers).pixels(x), whole)


def test_no_pixel_beyond_the_reach_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    x = planes(160, 160)
    gains = gains_of(x, x.mean((1, 2)), band_stats(planes(seed=3)))
    monkeypatch.setattr(pyramid, "STRIP", 1 << 24)
    whole = gains.pixels(x)
    inside = gains.pixels(np.ascontiguousarray(x[:, 40:120, 32:128]))
    np.testing.assert_allclose(
        inside[REACH:-REACH, REACH:-REACH], whole[40 + REACH : 120 - REACH, 32 + REACH : 128 - REACH], atol=1e-6
    )
    monkeypatch.setattr(pyramid, "STRIP", 1)
    monkeypatch.setattr(pyramid, "LEAST_ROWS", STEP)
    np.testing.assert_allclose(gains.pixels(x), whole, atol=1e-6)


@pytest.mark.parametrize("brightness", [1.0, 1.6])  # all shown as it is, or partly too bright to be shown
def test_a_few_rows_at_a_time_is_the_same(brightness: float, monkeypatch: pytest.MonkeyPatch) -> None:
    x, goal, wanted = brightness * planes(83, 157), np.full(3, 0.5, np.float32), band_stats(planes(seed=4))
    weights = np.linspace(0, 1, 83 * 157, dtype=np.float32).reshape(157, 83)

    def measured() -> list[np.ndarray[Any, Any]]:
        return [band_stats(x), gains_of(x, goal, wanted).numbers, gains_of(x, goal, wanted, weights).numbers]

    whole, picture = measured(), (gains := gains_of(x, goal, wanted)).pixels(x)
    monkeypatch.setattr(band_rows, "SLICE", 1)
    for rows in (8, 24, 64):
        monkeypatch.setattr(band_rows, "LEAST_SLICE", rows)
        for one, other in zip(whole, measured(), strict=True):
            np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(gains.pixels(x), picture, atol=1e-6)


def test_threads_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(band_rows, "SLICE", 1)
    monkeypatch.setattr(band_rows, "LEAST_SLICE", STEP)
    x, goal, wanted = planes(83, 157), np.full(3, 0.5, np.float32), band_stats(planes(seed=4))
    alone = gains_of(x, goal, wanted)
    for threads in (2, 3, 64):
        beside = gains_of(x, goal, wanted, threads=threads)
        np.testing.assert_array_equal(beside.numbers, alone.numbers)
        np.testing.assert_array_equal(beside.pixels(x, threads=threads), alone.pixels(x))


def test_what_cannot_be_seen_does_not_count() -> None:
    x, clear = planes(), np.zeros((64, 88), np.float32)
    clear[:, :44] = 1
    other = x.copy()
    other[:, :, 52:] = 1 - other[:, :, 52:]
    wanted = band_stats(planes(seed=4))
    goal = np.full(3, 0.5, np.float32)
    first, second = (gains_of(one, goal, wanted, clear).numbers for one in (x, other))
    free = gains_of(other, goal, wanted).numbers
    # The filters look a little over the border.
    assert np.abs(first - second).max() < 0.25 * np.abs(first - free).max()
    assert np.isfinite(gains_of(x, goal, wanted, 0 * clear).numbers).all()


def test_flat_ground_is_not_blown_up() -> None:
    flat = np.full((3, 64, 64), 0.4, np.float32) + np.random.default_rng(0).normal(0, 1e-4, (3, 64, 64))
    made = gains_of(flat.astype(np.float32), np.full(3, 0.5, np.float32), band_stats(planes())).pixels(
        flat.astype(np.float32)
    )
    assert np.isfinite(made).all() and made.std() < 0.01


# Painted pictures -----------------------------------------------------------------------------------------------------


def dull_painter(size: int) -> bytes:
    """The photo at half its contrast; a code of so many numbers is taken, and not used."""
    node = helper.make_node
    nodes = [node("Mul", ["photo", "half"], ["less"]), node("Add", ["less", "quarter"], ["painted"])]
    constants = {"half": np.float32(0.5), "quarter": np.float32(0.25)}
    shapes: dict[str, list[Any]] = {"photo": [1, 3, "H", "W"], "code": [1, size]}
    graph = helper.make_graph(
        nodes,
        "dull",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [helper.make_tensor_value_info("painted", TensorProto.FLOAT, [1, 3, "H", "W"])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return bytes(model.SerializeToString())


def style_code() -> np.ndarray[Any, Any]:
    style = planes(seed=9) * np.array([1.0, 0.7, 0.4], np.float32)[:, None, None]
    stats = color_stats(style.transpose(1, 2, 0))
    return np.concatenate([np.zeros(2, np.float32), band_stats(style), stats]).astype(np.float32)


CODE = style_code()


def made_model(folder: Path, count: int = NUMBERS) -> StyleModel:
    graphs = dict(style_manifest().graphs)
    plain = graphs["painter"].to_fields()
    inputs = {tensor["name"]: tensor for tensor in plain["inputs"]}
    inputs["code"]["shape"] = (1, len(CODE))
    graphs["painter"] = GraphSpec.read(
        plain
        | {"inputs": [inputs["photo"], inputs["code"]], "minimum": 1, "multiple": 1, "receptive_field": 0}
        | {"bands": count}
    )
    path = folder / f"dull-{count}.impasto"
    members = {"painter.onnx": dull_painter(len(CODE)), "styles.npy": format_table(np.stack([CODE, CODE]))}
    make_style_bundle(path, members=members, graphs=graphs, code_size=len(CODE))
    return StyleModel.load(path, threads=1)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StyleModel]:
    yield made_model(tmp_path_factory.mktemp("bands"))


def test_a_painted_picture_has_the_bands_of_the_code(model: StyleModel, tmp_path: Path) -> None:
    photo = Picture(planes(120, 80).transpose(1, 2, 0))
    painted = model.paint(photo, CODE).rgb
    expected = gains_of(0.5 * planes(120, 80) + 0.25, CODE[-9:-6], CODE[2:-9]).pixels(0.5 * planes(120, 80) + 0.25)
    np.testing.assert_allclose(painted, expected, atol=1e-4)
    plain = made_model(tmp_path, 0).paint(photo, CODE).rgb
    np.testing.assert_allclose(plain, 0.5 * photo.rgb + 0.25, atol=1e-6)


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("alpha", [False, True])
def test_parts_have_the_bands_of_the_whole(
    model: StyleModel, monkeypatch: pytest.MonkeyPatch, direct: bool, alpha: bool
) -> None:
    monkeypatch.setattr(painting, "LARGEST_WINDOW", 10000)
    if not direct:
        monkeypatch.setattr(bands, "DIRECT", 5000)
        for module in (painting, whole):
            monkeypatch.setattr(module, "DIRECT", 5000)
        monkeypatch.setattr(bands, "TRIAL", 4000)
    clear = np.random.default_rng(0).random((157, 203), dtype=np.float32) if alpha else None
    photo = Picture(planes(203, 157).transpose(1, 2, 0), clear)
    for options in ({}, {"keep_colors": True}):
        result = Sheet(np.full_like(photo.rgb, np.nan))
        model.paint_parts(surface_of(photo), result, CODE, limit=PLENTY, **options)
        np.testing.assert_allclose(result.pixels, model.paint(photo, CODE, **options).rgb, atol=2e-5)


def test_frames_are_told_gains_that_are_even(model: StyleModel) -> None:
    told: list[str] = []

    def even(name: str, numbers: Any) -> Any:
        told.append(name)
        return np.concatenate(
            [np.tile(np.eye(3, dtype=np.float32), (LEVELS + 1, 1, 1)).ravel(), np.array([0, 0, 0, 0, 0, 1], np.float32)]
        )

    photo = Picture(planes(60, 40).transpose(1, 2, 0))
    np.testing.assert_allclose(model.paint(photo, CODE, even=even).rgb, 0.5 * photo.rgb + 0.25, atol=1e-5)
    assert told == ["gains"]


def test_other_bands_and_codes_that_are_not_finite_are_refused(tmp_path: Path, model: StyleModel) -> None:
    photo = Picture(planes(60, 40).transpose(1, 2, 0))
    with pytest.raises(BundleError, match=f"where {NUMBERS} are known: update impasto"):
        made_model(tmp_path, 18).paint(photo, CODE)
    broken = replace(photo, rgb=np.full_like(photo.rgb, np.inf))
    with pytest.raises(ImpastoError, match="not finite"):
        model.paint(broken, CODE)
