"""What a style model needs to dream: a Gaussian mixture over the codes of many paintings. No torch here.

As for autoencoders (Ghosh et al. 2020, section 4), the distribution of the codes is measured after training, so any
style model can be given one, whether or not it was trained towards N(0,1).
"""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from impasto.errors import PictureError, TrainingError
from impasto.progress import OnProgress, Progress, silent
from impasto.runtime.archive import format_table
from impasto.runtime.bundle import MANIFEST, Manifest, check_target, write_bundle
from impasto.runtime.dream import BOUNDS, MEANS, ROOTS, WEIGHTS, band_numbers, color_numbers, to_coordinates
from impasto.runtime.picture import Picture
from impasto.runtime.style import STYLE_SCALE, Code, StyleModel
from impasto.training.data import ImageFolder
from impasto.training.mixture import best_fit

PAINTINGS = 1500
"""Paintings that are looked at: with more of them the mixture hardly changes."""

LEAST = 20
"""With fewer there is nothing to learn a distribution from."""

SMALLEST = 0.05
"""Least share of the paintings in a component that is drawn from. One that a few odd paintings have to themselves knows
next to nothing of how the numbers of a code go together, so what is drawn from it is unlike any painting."""

ENLARGED = 2**0.5
"""Small paintings are seen enlarged by no more than this, as in training (the middle of ``data.style_zoom``'s default):
collections hold small scans, one blown up to 512 pixels has no strokes, and at its own size they are coarse."""

OUTERMOST = 0.005
"""Share of the paintings, at either end, that a coordinate of a dreamt style does not reach beyond."""


def dream_tables(
    codes: NDArray[np.floating], colors: int, bands: int = 0, *, seed: int = 0
) -> dict[str, NDArray[np.float32]]:
    """The tables of a model file that can dream (see ``runtime.dream.TABLES``).

    Args:
        codes: [N,D], of paintings.
        colors: how many numbers at the end of a code are colours, 9 or 6.
        bands: how many before them say how bands vary.
        seed: of the fit.

    Raises:
        TrainingError: fewer than 2 codes, or some that are not finite.
    """
    points = to_coordinates(codes, colors, bands)
    mixture = best_fit(points, seed=seed)
    common = mixture.weights >= min(SMALLEST, mixture.weights.max())
    return {
        WEIGHTS: (mixture.weights[common] / mixture.weights[common].sum()).astype(np.float32),
        MEANS: mixture.means[common].astype(np.float32),
        ROOTS: mixture.roots[common].astype(np.float32),
        BOUNDS: np.quantile(points, (OUTERMOST, 1 - OUTERMOST), axis=0).astype(np.float32),
    }


def learn_dreams(
    model: StyleModel, paintings: str | Path, *, count: int = PAINTINGS, progress: OnProgress = silent
) -> dict[str, bytes]:
    """The same as npy files, from a folder of paintings.

    Of more than ``count`` paintings an even choice by name is looked at. Where the model's recipe showed some paintings
    more often than others (``data.weights``), they count for more here too. One that cannot be read is passed over.

    Raises:
        TrainingError: no such folder, or fewer than ``LEAST`` usable paintings.
        ImpastoError: the model's encoder cannot be run, or gives no code.
    """
    files = ImageFolder(paintings).files
    _enough(min(count, len(files)))
    chosen = _evenly(_weights(model, files), min(count, len(files)))
    codes: dict[int, Code] = {}
    for done, index in enumerate(dict.fromkeys(chosen)):
        progress(Progress(done, len(set(chosen)), "paintings", "looking"))
        try:
            painting = Picture.open(files[index])
        except PictureError:
            continue
        # Outside of it: an encoder that fails is no fault of the painting, and fails for the next one too.
        codes[index] = model.encode(painting, scale=min(STYLE_SCALE, max(1, round(ENLARGED * min(painting.size)))))
    _enough(len(codes))
    rows = np.stack([codes[index] for index in chosen if index in codes])
    return {
        name: format_table(table)
        for name, table in dream_tables(rows, color_numbers(model), band_numbers(model)).items()
    }


def _enough(count: int) -> None:
    if count < LEAST:
        raise TrainingError(f"{count} paintings are too few to dream by: let it look at {LEAST} or more.")


def _weights(model: StyleModel, files: list[Path]) -> NDArray[np.float64]:
    """How much each file counts: by the patterns of the model's recipe, as far as there are any that fit."""
    data = model.bundle.manifest.recipe.get("data")
    patterns = data.get("weights") if isinstance(data, dict) else None
    weights = np.ones(len(files))
    for index, path in enumerate(files):
        for pattern, weight in patterns.items() if isinstance(patterns, dict) else ():
            if isinstance(weight, int | float) and weight >= 0 and fnmatchcase(path.name, str(pattern)):
                weights[index] = weight
                break
    return weights if weights.sum() > 0 else np.ones(len(files))


def _evenly(weights: NDArray[np.float64], count: int) -> list[int]:
    """``count`` positions, each as often as its weight says: systematic sampling, without chance."""
    ends = np.cumsum(weights) / weights.sum()
    places = (np.arange(count) + 0.5) / count
    return [int(i) for i in np.searchsorted(ends, places, side="right").clip(max=len(weights) - 1)]


def add_dreams(
    model: str | Path,
    paintings: str | Path,
    out: str | Path,
    *,
    count: int = PAINTINGS,
    overwrite: bool = False,
    progress: OnProgress = silent,
) -> Manifest:
    """Write a style model again, with what it needs to dream; everything else in it stays as it is, byte by byte.

    Args:
        model: the name of a bundled model, or a file.
        paintings: a folder.
        out: the new file; may be the old one, with ``overwrite``.
        count: most paintings to look at.
        overwrite: replace an existing file.
        progress: told of every painting.

    Returns:
        The manifest as written.

    Raises:
        BundleError: the model cannot be used, or ``out`` exists or cannot be written.
        TrainingError: see ``learn_dreams``.
    """
    out = Path(out)
    check_target(out, overwrite=overwrite)
    loaded = StyleModel.load(model)
    tables = learn_dreams(loaded, paintings, count=count, progress=progress)
    bundle = loaded.bundle
    members = {name: bundle.read(name) for name in bundle.members if name != MANIFEST} | tables
    return write_bundle(out, replace(bundle.manifest, members={}), members, overwrite=overwrite)
