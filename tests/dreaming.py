"""Small style models that can dream, for tests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helpers import CODE_SIZE, make_style_bundle, style_manifest
from impasto.runtime.archive import format_table
from impasto.runtime.bundle import TensorSpec
from impasto.runtime.dream import TABLES

WIDE = 11
"""Length of a code with two numbers of strokes and nine of colours."""


def dream_members(size: int, width: float = 0.5, components: int = 2) -> dict[str, bytes]:
    """Tables of a mixture that is ``width`` wide in every coordinate, bounds at three times that."""
    random = np.random.default_rng(3)
    roots = np.tril(random.standard_normal((components, size, size))) * (width / size**0.5)
    weights = np.full(components, 1 / components)
    means = random.standard_normal((components, size)) * width / 2
    bounds = np.stack([np.full(size, -3 * width), np.full(size, 3 * width)])
    return dict(zip(TABLES, (format_table(np.float32(one)) for one in (weights, means, roots, bounds)), strict=True))


def make_dreamer(path: Path, **members: bytes) -> Path:
    """The tiny style model, able to dream. ``members`` replace its tables (``dream_means=...``)."""
    tables = dream_members(CODE_SIZE) | {f"{name}.npy": raw for name, raw in members.items()}
    return make_style_bundle(path, members=tables)


def make_wide_dreamer(path: Path, width: float = 0.5) -> Path:
    """A model whose codes end in nine numbers of colours. It can dream; its graphs are not for such codes."""
    plain = style_manifest()
    painter = plain.graphs["painter"]
    code = TensorSpec(name="code", shape=(1, WIDE), meaning="style code")
    stats = TensorSpec(name="photo_stats", shape=(1, 9), meaning="mean and spread of RGB")
    inputs = (painter.inputs[0], stats, code)
    changes: dict[str, Any] = {
        "graphs": {**plain.graphs, "painter": replace(painter, inputs=inputs)},
        "code_size": WIDE,
        "styles": (),
    }
    tables = dream_members(WIDE, width) | {"styles.npy": format_table(np.zeros((0, WIDE), np.float32))}
    return make_style_bundle(path, members=tables, **changes)


def matrices(six: NDArray[np.floating]) -> NDArray[np.float64]:
    """rr, rg, rb, gg, gb, bb -> [N,3,3], written out."""
    rr, rg, rb, gg, gb, bb = np.asarray(six, np.float64).T
    rows = [np.stack(row, 1) for row in ((rr, rg, rb), (rg, gg, gb), (rb, gb, bb))]
    return np.stack(rows, 1)
