"""Photographs drawn by code."""

from __future__ import annotations

import numpy as np
import pytest

from impasto.training.scenes import Scenes, natural_noise, scene


def test_a_scene_belongs_to_its_seed() -> None:
    folder = Scenes(3, side=64, seed=2)
    assert len(folder) == 3 and folder.skipped == {}
    pictures = [folder.pixels(i) for i in range(3)]
    assert {(p.shape, p.dtype.name) for p in pictures} == {((64, 64, 3), "uint8")}
    assert np.array_equal(pictures[1], scene(64, (2, 1))) and np.array_equal(pictures[1], folder.pixels(1))
    assert not np.array_equal(pictures[0], pictures[1])
    assert not np.array_equal(pictures[0], scene(64, (3, 0)))


def test_both_kinds_are_drawn_and_none_is_blank() -> None:
    pictures = [scene(64, (0, i)) for i in range(12)]
    assert all(picture.std() > 8 for picture in pictures)
    tops = [float(picture[:6].astype(float).std((0, 1)).mean()) for picture in pictures]
    assert min(tops) < max(tops) / 2, "a sky is calmer than leaves"


def test_crops_are_those_of_any_folder() -> None:
    folder = Scenes(1, side=64)
    assert np.array_equal(folder.crop(0, (8, 4, 40, 36), 32), folder.pixels(0)[4:36, 8:40])
    assert folder.crop(0, (0, 0, 64, 64), 16).shape == (16, 16, 3)


def test_what_does_not_fit_in_memory_is_drawn_again() -> None:
    folder = Scenes(2, side=64, memory=0)
    assert np.array_equal(folder.pixels(0), folder.pixels(0)) and folder.pixels(0) is not folder.pixels(0)


@pytest.mark.parametrize("slope", [0.7, 1.0, 1.4])
def test_noise_falls_with_frequency_as_asked(slope: float) -> None:
    noise = natural_noise(128, np.random.default_rng(0), slope)
    assert noise.dtype == np.float32 and abs(float(noise.mean())) < 1e-3 and float(noise.std()) == pytest.approx(1)
    power = np.abs(np.fft.fft2(noise))
    frequency = np.hypot(np.fft.fftfreq(128)[:, None], np.fft.fftfreq(128)[None])
    used = (frequency > 0.02) & (frequency < 0.5)
    found = np.polyfit(np.log(frequency[used]), np.log(power[used]), 1)[0]
    assert found == pytest.approx(-slope, abs=0.05)
