"""A tiny model of kind ``style`` with a real painter, exported from torch: what style-one runs start from in tests."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from onnx import TensorProto, helper, numpy_helper

from impasto.runtime.archive import format_table
from impasto.runtime.bundle import GraphSpec, Licences, Manifest, StyleInfo, TensorSpec, write_bundle
from impasto.training.export import to_onnx
from impasto.training.nets.blocks import SlowLinear, color_stats
from impasto.training.nets.style import COLORS, GRAIN, Painter
from training.support import LAYERS, tiny_spec

SPREAD = (0.2, 0.02, 0.01, 0.2, 0.03, 0.2)
TINY_ONE = {
    "crop": 64,
    "batch": 2,
    "precision": "fp32",
    "data": {"scale": 64},
    "loss": {"content_layers": [LAYERS[1]], "style_layers": list(LAYERS)},
}
"""What makes a style-one run short: recipe keys."""


def tiny_painter(**changes: Any) -> Painter:
    """A painter of which every part matters, in evaluation mode."""
    torch.manual_seed(7)
    painter = Painter(tiny_spec(**changes))
    for part in painter.modules():
        if isinstance(part, SlowLinear):
            torch.nn.init.normal_(part.bias, std=0.1 / part.rate)
    return painter.eval().requires_grad_(False)


@cache
def painter_graph() -> bytes:
    """The graph of ``tiny_painter()``; the exporter takes a while, so once a process."""
    photo = torch.rand(1, 3, 64, 96)
    code = torch.cat((torch.randn(1, tiny_spec().code), color_stats(photo)), 1)
    inputs = {"photo": photo, "photo_stats": color_stats(photo), "code": code, "grain": torch.randn(1, GRAIN, 8, 12)}
    return to_onnx(tiny_painter(), inputs, {"photo": 8}, "painted", parts={"grain": ("photo", 8)})


def encoder_graph(size: int) -> bytes:
    """``style`` [1,3,h,w] to ``code`` [1,size]: products of the mean colour, the mean colour, and a fixed spread."""
    learnt = size - COLORS
    matrix = np.zeros((3, size), np.float32)
    matrix[:, :learnt] = np.random.default_rng(3).normal(0, 4, (3, learnt))
    matrix[:, learnt : learnt + 3] = np.eye(3)
    offset = np.zeros(size, np.float32)
    offset[:learnt], offset[learnt + 3 :] = -matrix[:, :learnt].sum(0) / 2, SPREAD
    nodes = [
        helper.make_node("GlobalAveragePool", ["style"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"], axis=1),
        helper.make_node("Gemm", ["flat", "matrix", "offset"], ["code"]),
    ]
    graph = helper.make_graph(
        nodes,
        "encoder",
        [helper.make_tensor_value_info("style", TensorProto.FLOAT, [1, 3, "h", "w"])],
        [helper.make_tensor_value_info("code", TensorProto.FLOAT, [1, size])],
        [numpy_helper.from_array(matrix, "matrix"), numpy_helper.from_array(offset, "offset")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()


def make_base(path: Path, *, members: dict[str, bytes] | None = None, **overrides: Any) -> Path:
    """Write the tiny base; ``overrides`` replace manifest fields, ``members`` files."""
    spec = tiny_spec()
    size = spec.code_size
    colors = np.array([0.5, 0.4, 0.6, *SPREAD], np.float32)
    codes = np.stack([np.concatenate([np.full(spec.code, value, np.float32), colors]) for value in (-1.5, 2.5)])
    code = TensorSpec(name="code", shape=(1, size), meaning="style code")
    picture = ("H", "W")
    fields: dict[str, Any] = {
        "kind": "style",
        "name": "tiny-base",
        "created": "2025-01-02",
        "impasto": "0.1.0",
        "code_size": size,
        "graphs": {
            "encoder": GraphSpec(
                member="encoder.onnx",
                inputs=(TensorSpec(name="style", shape=(1, 3, "h", "w"), range=(0, 1), meaning="RGB"),),
                outputs=(code,),
                minimum=16,
                multiple=16,
            ),
            "painter": GraphSpec(
                member="painter.onnx",
                inputs=(
                    TensorSpec(name="photo", shape=(1, 3, *picture), range=(0, 1), meaning="RGB"),
                    TensorSpec(name="photo_stats", shape=(1, COLORS), meaning="mean and spread"),
                    code,
                    TensorSpec(name="grain", shape=(1, GRAIN, "H/8", "W/8"), meaning="noise"),
                ),
                outputs=(TensorSpec(name="painted", shape=(1, 3, *picture), range=(0, 1), meaning="RGB"),),
                minimum=16,
                multiple=8,
                receptive_field=spec.receptive_field,
            ),
        },
        "styles": tuple(StyleInfo(name=f"old-{k}", title="T", artist="A", year="1900") for k in (1, 2)),
        "recipe": {"net": spec.model_dump(mode="json")},
        "licence": Licences(code="Apache-2.0", weights="CC0-1.0", data="drawn"),
    }
    files = {"encoder.onnx": encoder_graph(size), "painter.onnx": painter_graph(), "styles.npy": format_table(codes)}
    write_bundle(path, Manifest.read(fields | overrides), {**files, **(members or {})}, overwrite=True)
    return path
