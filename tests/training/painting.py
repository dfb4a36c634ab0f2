"""The smallest painter of the family as a graph and as a bundle, and what it takes: for the tests of int8."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import torch

from helpers import STYLES, drawn_photo, encoder_graph, style_manifest
from impasto.runtime.archive import format_table
from impasto.runtime.bundle import GraphSpec, TensorSpec, write_bundle
from impasto.runtime.grain import grain
from impasto.runtime.picture import color_stats
from impasto.runtime.planes import to_planes
from impasto.training.export import to_onnx
from impasto.training.nets import NETS
from impasto.training.nets.style import COLORS, GRAIN
from impasto.training.quantize import Feeds
from training.support import tiny_spec

CODE = tiny_spec().code_size
SHAPES = {"photo": (1, 3, "H", "W"), "photo_stats": (1, COLORS), "code": (1, CODE), "grain": (1, GRAIN, "H/8", "W/8")}


@cache
def painter_graph() -> bytes:
    """Untrained, as export makes it."""
    torch.manual_seed(1)
    painter = NETS["anystyle"](tiny_spec())["painter"].eval()
    with torch.no_grad():
        painter.up1.weight *= 10  # an untrained painter paints too faintly to be seen
    shapes = {"photo": (1, 3, 64, 96), "photo_stats": (1, COLORS), "code": (1, CODE), "grain": (1, GRAIN, 8, 12)}
    inputs = {name: torch.rand(shape) for name, shape in shapes.items()}
    return to_onnx(painter, inputs, {"photo": 8}, "painted", parts={"grain": ("photo", 8)})


def code(seed: int) -> np.ndarray:
    """Strokes that are made up, and the colours of a drawn picture: float32 [D]."""
    strokes = np.random.default_rng(seed).standard_normal(CODE - COLORS).astype(np.float32)
    return np.concatenate((strokes, color_stats(drawn_photo(40, 40, seed=seed + 50))))


def feeds(seed: int, width: int = 64, height: int = 48) -> Feeds:
    """A drawn photo and a code, all that the painter takes."""
    rgb = drawn_photo(width, height, seed=seed)
    return {
        "photo": to_planes(rgb),
        "photo_stats": color_stats(rgb)[None],
        "code": code(seed)[None],
        "grain": grain(GRAIN, height // 8, width // 8),
    }


def make_painter_bundle(path: Path, *, styles: int = len(STYLES)) -> Path:
    """A model file with this painter, ``styles`` named styles, and an encoder that does not belong to it."""
    picture = TensorSpec(name="painted", shape=SHAPES["photo"], meaning="RGB")
    takes = tuple(TensorSpec(name=name, shape=shape, meaning=name) for name, shape in SHAPES.items())
    painter = GraphSpec(member="painter.onnx", inputs=takes, outputs=(picture,), minimum=16, multiple=8)
    manifest = style_manifest(code_size=CODE, styles=STYLES[:styles], quality={"style gap": 0.5})
    manifest = replace(manifest, graphs={**manifest.graphs, "painter": painter})
    table = np.stack([code(seed) for seed in range(styles)]) if styles else np.zeros((0, CODE), np.float32)
    members = {"encoder.onnx": encoder_graph(), "painter.onnx": painter_graph(), "styles.npy": format_table(table)}
    write_bundle(path, manifest, members)
    return path
