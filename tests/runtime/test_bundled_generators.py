"""The generators that come along: small files that say everything, and the same picture for a seed everywhere."""

from __future__ import annotations

import numpy as np
import pytest

from impasto.runtime.bundle import Bundle, bundled_models
from impasto.runtime.generator import Generator

GENERATORS = [name for name, path in bundled_models().items() if Bundle.open(path).manifest.kind == "generator"]


def test_there_are_some() -> None:
    assert {"cats", "mnist", "nouns"} <= set(GENERATORS)


@pytest.mark.parametrize("name", GENERATORS)
def test_a_bundled_generator(name: str) -> None:
    path = bundled_models()[name]
    assert path.stat().st_size <= 8_000_000
    manifest = Bundle.open(path).manifest
    assert any(figure.startswith("fd_efflite0_10k") for figure in manifest.quality)
    assert manifest.data and manifest.licence.weights and manifest.licence.data
    generator = Generator.load(name, threads=1)
    alone, others = generator.sample(seed=7)[0], generator.sample(seed=5, count=4)
    assert alone.size == generator.size
    np.testing.assert_allclose(others[2].rgb, alone.rgb, atol=1e-4)
    flat = np.stack([picture.rgb for picture in others])
    assert flat.std(0).mean() > 0.03, "four seeds, four pictures"


def test_a_digit_is_what_was_asked_for() -> None:
    """Ones are thin and zeros are hollow: what the eye tells them by, without a classifier."""
    generator = Generator.load("mnist", threads=1)
    ones = np.mean([p.rgb.mean() for p in generator.sample(seed=0, count=32, classes="1")])
    zeros = generator.sample(seed=0, count=32, classes="0")
    assert ones < 0.7 * np.mean([p.rgb.mean() for p in zeros])
    middle = np.mean([p.rgb[12:16, 12:16].mean() for p in zeros])
    ring = np.mean([p.rgb[4:24, 4:24].mean() for p in zeros])
    assert middle < 0.5 * ring
