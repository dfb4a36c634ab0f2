"""A painter in eight bits: what becomes int8 and what does not, how well it agrees, and when it is refused."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from helpers import drawn_photo
from impasto.errors import TrainingError
from impasto.runtime.engine import Engine
from impasto.runtime.planes import to_planes
from impasto.training import quantize as module
from impasto.training.quantize import (
    choose,
    inner_layers,
    measure_ranges,
    psnr,
    quantize,
    squared_error,
    steps,
)
from training.painting import feeds, painter_graph
from training.support import tiny_spec

PAINTER_LAYERS = 6  # down, two of the block, up4, join, up2; not those that see photo and grain or say colours


@pytest.fixture(scope="module")
def graph() -> bytes:
    return painter_graph()


def int8_names(graph: bytes) -> set[str]:
    model = onnx.load_from_string(graph)
    return {t.name for t in model.graph.initializer if t.data_type == TensorProto.INT8 and len(t.dims) == 4}


def optimised(graph: bytes, folder: Path) -> Counter[str]:
    """How often each operator runs, as onnxruntime makes the graph its own."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "optimised.onnx").graph.node)


def test_inner_convolutions_become_int8_and_the_rest_stays(graph: bytes, tmp_path: Path) -> None:
    layers = inner_layers(graph)
    assert len(layers) == PAINTER_LAYERS
    made = quantize(graph, measure_ranges(graph, layers, [feeds(0), feeds(1)]))
    onnx.checker.check_model(onnx.load_from_string(made), full_check=True)
    assert int8_names(made) == {f"{layer.name}_weight" for layer in layers}
    floats = {
        tuple(tensor.dims)
        for tensor in onnx.load_from_string(made).graph.initializer
        if len(tensor.dims) == 4 and tensor.data_type == TensorProto.FLOAT
    }
    spec = tiny_spec()
    assert floats == {(spec.fine, 3, 12, 12), (spec.fine, 1, 3, 3), (12, spec.half, 3, 3)}
    # Whole numbers from the padding to the convolution's end: nothing is rounded and undone for nothing.
    runs = optimised(made, tmp_path)
    assert runs["QLinearConv"] == runs["QuantizeLinear"] == runs["DequantizeLinear"] == len(layers)
    before, after = Engine(graph, threads=1), Engine(made, threads=1)
    assert (after.inputs, after.outputs) == (before.inputs, before.outputs)


def test_pictures_agree_at_any_size(graph: bytes) -> None:
    layers = inner_layers(graph)
    ranges = measure_ranges(graph, layers, (feeds(seed) for seed in range(6)))
    float32, int8 = Engine(graph, threads=1), Engine(quantize(graph, ranges), threads=1)
    for seed, size in ((20, (64, 48)), (21, (16, 16)), (22, (24, 104))):
        one = feeds(seed, *size)
        ideal, found = float32.run(one)["painted"], int8.run(one)["painted"]
        assert found.shape == ideal.shape
        assert 40 < psnr(squared_error(ideal, found)) < 70, "equal pictures would not be of 8 bits"


def test_openvino_takes_it_too(graph: bytes) -> None:
    pytest.importorskip("openvino")
    ranges = measure_ranges(graph, inner_layers(graph), [feeds(seed) for seed in range(4)])
    made, one = quantize(graph, ranges), feeds(20)
    engines = Engine(made, threads=1), Engine(made, engine="openvino", threads=1, exact=True)
    ours, theirs = (engine.run(one)["painted"] for engine in engines)
    assert psnr(squared_error(ours, theirs)) > 40


def test_layers_are_kept_until_the_bar_is_reached(graph: bytes) -> None:
    calibration = [feeds(seed) for seed in range(4)]
    trial = {"a": [feeds(20), feeds(21)], "b": [feeds(22)]}
    free = choose(graph, calibration, trial, bar=20)
    assert free.kept == () and len(free.layers) == PAINTER_LAYERS and set(free.psnr) == {"a", "b"}
    assert free.worst == min(free.psnr.values()) <= free.mean and free.worst_picture <= free.worst
    # What counts is the picture that people see.
    stronger = choose(graph, calibration, trial, bar=10, finish=lambda painted, given: 3 * painted)
    assert stronger.worst == pytest.approx(free.worst - 20 * math.log10(3), abs=0.01)
    bound = choose(graph, calibration, trial, bar=free.worst + 3)
    assert bound.worst >= free.worst + 3
    assert bound.kept and bound.layers and set(bound.kept) | set(bound.layers) == set(free.layers)
    assert int8_names(bound.graph) == {f"{name}_weight" for name in bound.layers}
    # The first to go is the one that does most harm alone.
    float32 = Engine(graph, threads=1)
    ranges = measure_ranges(graph, inner_layers(graph), calibration)

    def harm(name: str) -> float:
        alone = Engine(quantize(graph, ranges, keep=[other for other in free.layers if other != name]))
        both = [one for group in trial.values() for one in group]
        return sum(squared_error(float32.run(one)["painted"], alone.run(one)["painted"]) for one in both)

    assert bound.kept[0] == max(free.layers, key=harm)


def test_a_bar_that_no_layer_reaches_is_refused(graph: bytes) -> None:
    with pytest.raises(TrainingError, match=r"^No convolution .* int8 and agree to 150 dB: keep float32\.$"):
        choose(graph, [feeds(0)], {"a": [feeds(20)]}, bar=150)
    with pytest.raises(TrainingError, match="no pictures to measure ranges on"):
        choose(graph, [], {"a": [feeds(20)]})
    for nothing in ({}, {"a": []}):
        with pytest.raises(TrainingError, match="no pictures to compare on"):
            choose(graph, [feeds(0)], nothing)


def conv_graph(mode: str = "edge", *, weights: NDArray[np.float32] | None = None) -> bytes:
    """Four convolutions in a row; the second with a bias and the third after a padding, both inner."""
    random = np.random.default_rng(3)
    kernel = random.standard_normal((4, 4, 3, 3)).astype(np.float32) / 6
    constants: dict[str, Any] = {
        "first": np.concatenate((kernel, kernel))[:, :3, 1:2, 1:2][:4],
        "second": kernel if weights is None else weights,
        "bias": np.array([1, -2, 0, 3], np.float32),
        "third": kernel[::-1].copy(),
        "last": kernel[:3],
        "one": np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64),
        "fill": np.array(0.5, np.float32),
    }
    node = helper.make_node
    nodes = [
        node("Conv", ["photo", "first"], ["a"]),
        node("Conv", ["a", "second", "bias"], ["b"], pads=[1, 1, 1, 1]),
        node("Relu", ["b"], ["c"]),
        node("Pad", ["c", "one", "fill"], ["d"], mode=mode),
        node("Conv", ["d", "third"], ["e"]),
        node("Conv", ["e", "last"], ["painted"], pads=[1, 1, 1, 1]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, "H", "W"]) for name in ("photo", "painted")]
    kept = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "convs", ends[:1], ends[1:], kept)
    model: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9
    ).SerializeToString()
    return model


@pytest.mark.parametrize("mode", ["edge", "reflect", "constant"])
def test_biases_and_paddings(mode: str, tmp_path: Path) -> None:
    graph = conv_graph(mode)
    layers = inner_layers(graph)
    # Other values are not there to be copied, so a constant padding stays before the rounding.
    assert [layer.source for layer in layers] == ["a", "d" if mode == "constant" else "c"]
    one = {"photo": to_planes(drawn_photo(24, 20))}
    made = quantize(graph, measure_ranges(graph, layers, [one]))
    onnx.checker.check_model(onnx.load_from_string(made), full_check=True)
    assert optimised(made, tmp_path)["QLinearConv"] == 2
    ideal, found = (Engine(raw, threads=1).run(one)["painted"] for raw in (graph, made))
    assert psnr(squared_error(ideal, found) / ideal.var()) > 30


def test_a_silent_channel_and_a_wild_one_have_scales_of_their_own() -> None:
    weights = numpy_helper.to_array(
        next(t for t in onnx.load_from_string(conv_graph()).graph.initializer if t.name == "second")
    ).copy()
    weights[0], weights[1] = 0, 100 * weights[1]
    graph = conv_graph(weights=weights)
    one = {"photo": to_planes(drawn_photo(24, 20))}
    made = onnx.load_from_string(quantize(graph, measure_ranges(graph, inner_layers(graph), [one])))
    table = {tensor.name: numpy_helper.to_array(tensor) for tensor in made.graph.initializer}
    restored = table["b_weight"] * table["b_weight_scale"][:, None, None, None]
    assert not restored[0].any()
    biases = table["b_bias"].astype(np.float64) * table["b_bias_scale"]
    np.testing.assert_allclose(biases, [1, -2, 0, 3], atol=1e-3, err_msg="a silent channel keeps its bias")
    # The sum of two products with uint8 has room in 16 bits.
    assert table["b_weight"].dtype == np.int8 and 2 * 255 * int(np.abs(table["b_weight"]).max()) < 2**15
    for ours, theirs in zip(restored[1:], weights[1:], strict=True):
        assert np.abs(ours - theirs).max() <= np.abs(theirs).max() / 64 / 2 * 1.001


@pytest.mark.parametrize(("low", "high"), [(-1.0, 3.0), (0.0, 2.0), (-5.0, 0.0), (0.0, 0.0)])
def test_zero_is_kept_and_the_ends_are_reached(low: float, high: float) -> None:
    scale, zero = steps(low, high)
    assert zero.dtype == np.uint8 and scale > 0
    assert (0 - float(zero)) * scale == pytest.approx(low, abs=float(scale))
    assert (255 - float(zero)) * scale == pytest.approx(high, abs=max(float(scale), 1e-6))


def test_ranges_hold_nearly_all_values_of_every_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = conv_graph()
    layers = inner_layers(graph)
    spiky = np.zeros((1, 3, 200, 200), np.float32)
    spiky[:, :, 50, 50] = 1e4  # one value of forty thousand, before a kernel spreads it
    ranges = measure_ranges(graph, layers, [{"photo": spiky + 0.5}, {"photo": spiky * 0 + 0.1}])
    assert set(ranges) == {"a", "b", "c", "e"}
    assert all(low <= 0 <= high for low, high in ranges.values())
    low, high = ranges["a"]
    assert high - low < 2
    monkeypatch.setattr(module, "SHARE", 1.0)
    assert measure_ranges(graph, layers, [{"photo": spiky}])["a"][1] > 100
    with pytest.raises(TrainingError, match="not finite on a calibration picture"):
        measure_ranges(graph, layers, [{"photo": spiky * np.nan}])


def test_graphs_that_cannot_be_used() -> None:
    with pytest.raises(TrainingError, match=r"^The painter is no ONNX graph \(\w+\): export the model again\.$"):
        inner_layers(b"no graph")
    lone = onnx.load_from_string(conv_graph())
    lone.graph.node[-1].input[0] = "a"
    del lone.graph.node[1:5]
    with pytest.raises(TrainingError, match="no convolution between its first and its last"):
        inner_layers(lone.SerializeToString())
