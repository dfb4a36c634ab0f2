"""Steadying films: the measure by hand, what is carried and what is not, and that going on is exact."""

from __future__ import annotations

import sys
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from impasto.errors import EngineError, ImpastoError
from impasto.runtime import steady
from impasto.runtime.steady import CUT, HOLD, HOLD_PHOTO, Steadier, warping_error

F32 = NDArray[np.float32]


def texture(width: int = 120, height: int = 80, seed: int = 0) -> F32:
    """Float32 [H,W,3]: cloudy, with something to follow everywhere."""
    random = np.random.default_rng(seed)
    clouds = sum(
        cv2.resize(random.random((height // n + 2, width // n + 2, 3)), (width, height), interpolation=cv2.INTER_CUBIC)
        for n in (4, 9, 20)
    )
    return np.clip(np.asarray(clouds, np.float32) / 3, 0, 1)


def still_flow(picture: F32, x: float = 0.0, y: float = 0.0) -> F32:
    return np.broadcast_to(np.array([x, y], np.float32), (*picture.shape[:2], 2)).copy()


def noisy(picture: F32, seed: int, deviation: float = 0.03) -> F32:
    noise = np.random.default_rng(seed).normal(0, deviation, picture.shape)
    return np.clip(picture + noise, 0, 1).astype(np.float32)


# --- the measure ------------------------------------------------------------------------------------------------------


def test_the_warping_error_by_hand() -> None:
    before = np.zeros((2, 3, 1), np.float32)
    before[:, :, 0] = [[0.0, 0.2, 0.4], [0.6, 0.8, 1.0]]
    now = np.full((2, 3, 1), 0.5, np.float32)
    assert warping_error(now, before, still_flow(now)) == pytest.approx((0.25 + 0.09 + 0.01) * 2 / 6, abs=1e-6)
    # Half a pixel from the right: 0.1, 0.3; 0.7, 0.9; the last column has nobody there.
    expected = (0.4**2 + 0.2**2 + 0.2**2 + 0.4**2) / 4
    assert warping_error(now, before, still_flow(now, 0.5)) == pytest.approx(expected, abs=1e-6)
    # From one row below: only the upper row can be compared.
    expected = (0.1**2 + 0.3**2 + 0.5**2) / 3
    assert warping_error(now, before, still_flow(now, 0, 1)) == pytest.approx(expected, abs=1e-6)
    seen = np.array([[True, False, False]] * 2)
    assert warping_error(now, before, still_flow(now), seen) == pytest.approx((0.25 + 0.01) / 2, abs=1e-6)


def test_a_picture_that_moves_as_told_has_no_error() -> None:
    big = texture()
    now, before = big[4:60, 10:90], big[6:62, 7:87]
    assert warping_error(now, before, still_flow(now, 3, -2)) == pytest.approx(0, abs=1e-12)
    assert warping_error(now, before, still_flow(now)) > 1e-3


def test_the_warping_error_refuses_what_cannot_be_compared() -> None:
    frame = texture(20, 10)
    with pytest.raises(ImpastoError, match="do not go together"):
        warping_error(frame, frame[:5], still_flow(frame))
    with pytest.raises(ImpastoError, match="do not go together"):
        warping_error(frame, frame, still_flow(frame)[..., :1])
    with pytest.raises(ImpastoError, match="No pixel"):
        warping_error(frame, frame, still_flow(frame, 100))


# --- steadying --------------------------------------------------------------------------------------------------------


def through(photos: list[F32], steadier: Steadier, paint: Any = lambda photo: photo) -> list[F32]:
    return [steadier.settle(paint(steadier.look(photo, number / 25))) for number, photo in enumerate(photos)]


def test_a_noisy_clip_at_rest_gets_steadier_by_what_theory_says() -> None:
    picture = 0.2 + 0.6 * texture()
    photos = [noisy(picture, seed) for seed in range(12)]
    plain = np.mean([warping_error(a, b, still_flow(a)) for a, b in zip(photos[6:], photos[5:], strict=False)])
    # Only what is painted is carried along: (1 - h)^2 / (1 + h) of the error remains (the bounds let a little less by).
    held = through(photos, Steadier(hold=HOLD, hold_photo=0))
    after = np.mean([warping_error(a, b, still_flow(a)) for a, b in zip(held[6:], held[5:], strict=False)])
    assert 0.9 * (1 - HOLD) ** 2 / (1 + HOLD) < after / plain < 2 * (1 - HOLD) ** 2 / (1 + HOLD)
    both = through(photos, Steadier())
    best = np.mean([warping_error(a, b, still_flow(a)) for a, b in zip(both[6:], both[5:], strict=False)])
    assert best < 0.7 * after
    assert np.abs(both[-1] - picture).mean() < 0.6 * np.abs(photos[-1] - picture).mean()


def test_strokes_fixed_to_the_screen_follow_what_moves() -> None:
    big = texture(200, 120)
    strokes = 0.2 * np.random.default_rng(3).standard_normal((80, 120, 1)).astype(np.float32)
    photos = [big[10:90, 2 * n : 2 * n + 120] for n in range(8)]
    flow = still_flow(photos[0], 2, 0)

    def paint(photo: F32) -> F32:
        return np.clip(photo + strokes, 0, 1)

    plain = [paint(photo) for photo in photos]
    held = through(photos, Steadier(), paint)
    errors = [np.mean([warping_error(b, a, flow) for a, b in pairwise(f[3:])]) for f in (plain, held)]
    assert errors[1] < 0.25 * errors[0]


def test_nothing_that_is_gone_leaves_a_ghost() -> None:
    ground = 0.3 + 0.2 * texture()
    photos = []
    for number in range(8):
        photo = ground.copy()
        left = 10 + 12 * number
        photo[30:50, left : left + 10] = 1.0, 0.9, 0.1
        photos.append(photo)
    held = through(photos, Steadier())
    # Where the thing was in the last frame, and where nothing ever was.
    uncovered = np.abs(held[-1] - photos[-1])[30:50, 82:92].max()
    assert uncovered < 0.1
    assert np.abs(held[-1] - photos[-1])[:20].max() < 0.02
    # A mean of both frames, as bad as it gets, would be far off.
    assert np.abs(photos[-2] - photos[-1])[30:50, 82:92].mean() > 0.3


def test_a_cut_starts_anew() -> None:
    one, other = 0.4 * texture(), 0.6 + 0.4 * texture(seed=1)
    steadier = Steadier()
    through([noisy(one, 0), noisy(one, 1)], steadier)
    steadier.even("code", np.ones(3, np.float32))
    fresh = noisy(other, 2)
    assert steadier.look(fresh, 1.0) is fresh
    np.testing.assert_array_equal(steadier.even("code", np.zeros(3, np.float32)), 0)
    assert steadier.settle(fresh) is fresh
    assert steadier.cuts == 1
    steadier.look(noisy(other, 3), 1.04)
    assert steadier.cuts == 1
    assert 0 < CUT < 1


def test_numbers_are_evened_over_time() -> None:
    steadier, picture = Steadier(), texture()
    steadier.look(picture, 0.0)
    np.testing.assert_array_equal(steadier.even("stats", np.zeros(2, np.float32)), 0)
    steadier.look(picture, steady.EVEN_SECONDS)
    one = steadier.even("stats", np.ones(2, np.float32))
    np.testing.assert_allclose(one, 1 - np.exp(-1), rtol=1e-6)
    steadier.look(picture, 1e9)
    np.testing.assert_allclose(steadier.even("stats", np.ones(2, np.float32)), 1, rtol=1e-6)


@pytest.mark.parametrize("shape", [(5, 40), (40, 7), (1, 1), (700, 40)])
def test_any_size_can_be_steadied(shape: tuple[int, int]) -> None:
    picture = np.full((*shape, 3), 0.5, np.float32)
    frames = through([noisy(picture, n) for n in range(3)], Steadier())
    assert frames[-1].shape == picture.shape and frames[-1].dtype == np.float32
    assert frames[-1].min() >= 0 and frames[-1].max() <= 1


def test_going_on_is_exact() -> None:
    big = texture(200, 120)
    photos = [noisy(big[10:90, 2 * n : 2 * n + 120], n) for n in range(6)]
    whole = through(photos, Steadier())
    first = Steadier()
    through(photos[:3], first)
    second = Steadier()
    second.restore({name: array.copy() for name, array in first.state().items()})
    rest = [second.settle(second.look(photo, n / 25)) for n, photo in enumerate(photos[3:], 3)]
    for expected, got in zip(whole[3:], rest, strict=True):
        np.testing.assert_array_equal(got, expected)


def test_the_threads_of_opencv_are_left_as_they_were() -> None:
    before = cv2.getNumThreads()
    cv2.setNumThreads(3)
    try:
        frames = through([noisy(texture(), n) for n in range(2)], Steadier())
        assert cv2.getNumThreads() == 3
        cv2.setNumThreads(1)
        again = through([noisy(texture(), n) for n in range(2)], Steadier())
        np.testing.assert_array_equal(frames[-1], again[-1])
    finally:
        cv2.setNumThreads(before)


def test_shares_are_checked_and_opencv_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for hold in (-0.1, 1.0, float("nan")):
        with pytest.raises(ImpastoError, match="cannot be held"):
            Steadier(hold=hold)
    assert 0 < HOLD_PHOTO < HOLD < 1
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(EngineError, match=r"impasto\[video\]"):
        Steadier()
