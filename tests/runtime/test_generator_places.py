"""A walk between seeds, drawn at any places of it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from helpers import make_generator_bundle
from impasto.errors import ImpastoError
from impasto.runtime.generator import Generator


def drawer(folder: Path, *, mapped: bool = True) -> Generator:
    return Generator.load(make_generator_bundle(folder / "tiny-drawer.impasto", mapped=mapped), threads=1)


@pytest.mark.parametrize("mapped", [True, False])
@pytest.mark.parametrize("loop", [True, False])
def test_places_are_those_of_the_walk_in_frames(tmp_path: Path, mapped: bool, loop: bool) -> None:
    generator = drawer(tmp_path, mapped=mapped)
    film = list(generator.walk([3, 8, 5], frames=7, loop=loop))
    places = [6, 0, 2, 4, 2]
    length = 7 if loop else 6
    found = list(generator.walk([3, 8, 5], frames=[place / length for place in places], loop=loop))
    assert len(found) == len(places)
    for picture, place in zip(found, places, strict=True):
        np.testing.assert_allclose(picture.rgb, film[place].rgb, atol=1e-6)


def test_the_ends_are_the_keys(tmp_path: Path) -> None:
    generator = drawer(tmp_path)
    start, end = generator.walk([3, 8], frames=[0.0, 1.0])
    np.testing.assert_allclose(start.rgb, generator.sample(3)[0].rgb, atol=1e-6)
    np.testing.assert_allclose(end.rgb, generator.sample(8)[0].rgb, atol=1e-6)
    assert list(generator.walk([3, 8], frames=[])) == []


@pytest.mark.parametrize("place", [-0.01, 1.01, math.nan, math.inf])
def test_places_off_the_way_are_refused(tmp_path: Path, place: float) -> None:
    with pytest.raises(ImpastoError, match="from 0 to 1"):
        list(drawer(tmp_path).walk([3, 8], frames=[0.5, place]))
