"""What a style model needs to paint over smaller paintings of its own: its codes at half the size. No torch here.

The map from a painting's code to its code at half the size is measured after training, so any style model whose bands
are told can be given one (``runtime/underpaint.py``).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from impasto.errors import BundleError, PictureError, TrainingError
from impasto.progress import OnProgress, Progress, silent
from impasto.runtime.archive import format_table
from impasto.runtime.bundle import MANIFEST, Manifest, check_target, write_bundle
from impasto.runtime.picture import Picture
from impasto.runtime.style import STYLE_SCALE, Code, StyleModel
from impasto.runtime.underpaint import COARSER
from impasto.training.data import ImageFolder
from impasto.training.dreams import ENLARGED

LEVELS, GROUND = 2, 0.5
"""How many paintings lie under, and how much of them shows through."""

MOST_LEVELS = 4
MOST_PAINTINGS = 1500
LEAST = 20
"""Paintings that are looked at, at most and at least: of fewer there is no map."""


def half_map(codes: NDArray[np.floating], halves: NDArray[np.floating], strength: float = 0.015) -> NDArray[np.float32]:
    """The linear map from codes to codes of the same paintings at half the size, by ridge regression.

    Args:
        codes: [N,D].
        halves: [N,D].
        strength: of the shrinkage towards the mean code, for numbers of deviation 1.

    Returns:
        A matrix and an offset, [D,D+1].
    """
    x, y = codes.astype(np.float64), halves.astype(np.float64)
    middle, deviation = x.mean(0), np.maximum(x.std(0), 1e-6)
    a = (x - middle) / deviation
    inner = a.T @ a + strength * len(a) * np.eye(a.shape[1])
    matrix = np.linalg.solve(inner, a.T @ (y - y.mean(0))).T / deviation
    return np.column_stack([matrix, y.mean(0) - matrix @ middle]).astype(np.float32)


def learn_halves(
    model: StyleModel, paintings: str | Path, *, count: int = MOST_PAINTINGS, progress: OnProgress = silent
) -> NDArray[np.float32]:
    """The same from a folder of paintings, of which an even choice by name is looked at.

    Raises:
        TrainingError: no such folder, or fewer than ``LEAST`` usable paintings.
        ImpastoError: the model's encoder cannot be run.
    """
    files = ImageFolder(paintings).files
    chosen = files[:: max(1, len(files) // count)][:count]
    codes: list[Code] = []
    halves: list[Code] = []
    for done, file in enumerate(chosen):
        progress(Progress(done, len(chosen), "paintings", "looking"))
        try:
            painting = Picture.open(file)
        except PictureError:
            continue
        scale = min(STYLE_SCALE, max(2, round(ENLARGED * min(painting.size))))
        codes.append(model.encode(painting, scale=scale))
        halves.append(model.encode(painting, scale=scale // 2))
    if len(codes) < LEAST:
        raise TrainingError(f"{len(codes)} paintings are too few to tell a code at half the size: give {LEAST}.")
    return half_map(np.stack(codes), np.stack(halves))


def add_underpaintings(
    model: str | Path,
    paintings: str | Path,
    out: str | Path,
    *,
    levels: int = LEVELS,
    ground: float = GROUND,
    count: int = MOST_PAINTINGS,
    overwrite: bool = False,
    progress: OnProgress = silent,
) -> Manifest:
    """Write a style model again, so that it paints over smaller paintings; all else stays as it is, byte by byte.

    Args:
        model: the name of a bundled model, or a file.
        paintings: a folder.
        out: the new file; may be the old one, with ``overwrite``.
        levels: how many paintings lie under, 1 to ``MOST_LEVELS``.
        ground: 0 to 1, how much of them shows through.
        count: most paintings to look at.
        overwrite: replace an existing file.
        progress: told of every painting.

    Returns:
        The manifest as written.

    Raises:
        BundleError: the model cannot be used, or ``out`` exists or cannot be written.
        TrainingError: a number is out of range; or see ``learn_halves``.
    """
    out = Path(out)
    if not 1 <= levels <= MOST_LEVELS:
        raise TrainingError(f"{levels} paintings cannot lie under: choose 1 to {MOST_LEVELS}.")
    if not 0 <= ground <= 1:
        raise TrainingError(f"The share {ground} cannot show through: choose 0 to 1.")
    check_target(out, overwrite=overwrite)
    loaded = StyleModel.load(model)
    bundle, old = loaded.bundle, loaded.bundle.manifest
    stats = {tensor.name: tensor.shape[1] for tensor in old.graphs["painter"].inputs}.get("photo_stats")
    if stats != _STATS:
        raise BundleError(f"The painter of {bundle.path} is not told a photo's colours: nothing can lie under it.")
    table = learn_halves(loaded, paintings, count=count, progress=progress)
    members = {name: bundle.read(name) for name in bundle.members if name != MANIFEST} | {COARSER: format_table(table)}
    graphs = {
        role: replace(spec, under=levels, ground=ground) if role.startswith("painter") else spec
        for role, spec in old.graphs.items()
    }
    net = old.recipe.get("net")
    recipe = old.recipe if net is None else {**old.recipe, "net": {**net, "under": levels, "ground": ground}}
    manifest = replace(old, members={}, graphs=graphs, recipe=recipe)
    return write_bundle(out, manifest, members, overwrite=overwrite)


_STATS = 9
