"""Weights are counted as onnx itself would count them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from helpers import encoder_graph, painter_graph
from impasto.errors import EngineError
from impasto.runtime.weights import count_weights


@pytest.mark.parametrize("graph", [encoder_graph(), painter_graph()], ids=["encoder", "painter"])
def test_all_numbers_but_shapes_are_counted(graph: bytes) -> None:
    arrays = [numpy_helper.to_array(one) for one in onnx.load_from_string(graph).graph.initializer]
    expected = sum(array.size for array in arrays if array.dtype.kind == "f" and array.ndim)
    assert expected > 20
    assert count_weights(graph) == expected


def test_constants_in_nodes_count_and_places_do_not() -> None:
    def constant(name: str, array: np.ndarray) -> onnx.NodeProto:
        return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(array))

    nodes = [
        constant("a", np.zeros((3, 5), np.float32)),
        constant("b", np.zeros(7, np.int8)),
        constant("shape", np.zeros(400, np.int64)),
        constant("half", np.zeros((2, 2), np.float16)),
    ]
    graph = helper.make_graph(nodes, "constants", [], [])
    assert count_weights(helper.make_model(graph).SerializeToString()) == 15 + 7 + 4


@pytest.mark.parametrize("data", [b"\xff" * 30, b"\x3a\x7f", b"\x0b", encoder_graph()[:-9]])
def test_what_is_no_onnx_file_is_refused(data: bytes) -> None:
    with pytest.raises(EngineError, match="no ONNX file"):
        count_weights(data)
