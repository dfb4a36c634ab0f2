"""Weights stored in 16 bits: half the file, computed with in 32 bits as before."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

LEAST = 1024
"""Numbers in a tensor that is worth it; biases and the like stay as they are."""

_LARGEST = 65504.0  # in float16


def round_weights(modules: Iterable[nn.Module]) -> None:
    """Round large float32 parameters, in place, to what 16 bits can hold, so that a graph made of them is exact."""
    with torch.no_grad():
        for module in modules:
            for weight in module.parameters():
                if weight.numel() >= LEAST and weight.dtype == torch.float32 and float(weight.abs().max()) <= _LARGEST:
                    weight.copy_(weight.half().float())


def halved(graph: bytes) -> bytes:
    """An ONNX graph whose large float32 initialisers are stored as float16 and cast when it is loaded.

    Engines fold the casts once, so it is as fast as before. A tensor with a number too large for float16 stays.
    """
    model = onnx.load_model_from_string(graph)
    kept, casts = [], []
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        if weight.data_type != TensorProto.FLOAT or values.size < LEAST or np.abs(values).max() > _LARGEST:
            kept.append(weight)
            continue
        name = f"{weight.name}_16"
        kept.append(numpy_helper.from_array(values.astype(np.float16), name))
        casts.append(helper.make_node("Cast", [name], [weight.name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.initializer.extend(kept)
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
