"""The tiny style model and pictures for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers import drawn_photo
from impasto.runtime.picture import Picture
from impasto.runtime.style import StyleModel


@pytest.fixture(scope="module")
def model(style_bundle: Path) -> StyleModel:
    return StyleModel.load(style_bundle, threads=1)


@pytest.fixture
def photo() -> Picture:
    return Picture(drawn_photo(50, 37))


@pytest.fixture
def painting() -> Picture:
    return Picture(drawn_photo(64, 48, seed=3))
