"""A bundle whose painter and encoder are both of the family, as export makes them, and untrained."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import torch

from impasto.runtime.bundle import Bundle, write_bundle
from impasto.training.export import to_onnx
from impasto.training.nets import NETS
from training.painting import make_painter_bundle
from training.support import tiny_spec


@cache
def encoder_graph() -> bytes:
    """Untrained, as export makes it."""
    torch.manual_seed(2)
    encoder = NETS["anystyle"](tiny_spec())["encoder"].eval().requires_grad_(False)
    return to_onnx(encoder, {"style": torch.rand(1, 3, 64, 96)}, {"style": 16}, "code")


def make_whole_bundle(folder: Path) -> Path:
    """``whole.impasto`` in a folder, with three named styles."""
    without = Bundle.open(make_painter_bundle(folder / "painter.impasto"))
    spec = replace(without.graph("encoder")[0], minimum=32, multiple=16)
    manifest = replace(without.manifest, graphs={**without.manifest.graphs, "encoder": spec}, members={})
    path = folder / "whole.impasto"
    write_bundle(
        path,
        manifest,
        {name: without.read(name) for name in without.manifest.members} | {"encoder.onnx": encoder_graph()},
    )
    return path
