"""A painter in eight bits: static quantisation of its inner convolutions, as an ONNX graph of the same inputs.

Weights become int8, symmetric, with a scale per output channel; activations uint8, with one range per tensor that was
measured on pictures beforehand (Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference"; Krishnamoorthi 2018, section 3). The graph says so with pairs of QuantizeLinear and
DequantizeLinear around each convolution, which onnxruntime and OpenVINO turn into integer arithmetic.

The first and the last convolutions stay float32, and so does everything that is no convolution: the colours, what the
style code steers, the grain, the sums of the residual blocks. onnxruntime's own quantiser would put its pairs between
a padding and its convolution, so that pictures are padded, and laid out anew, in float32, and it keeps every tensor of
every calibration picture in memory; hence these few lines in its place.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from impasto.errors import TrainingError
from impasto.progress import OnProgress, Progress, silent
from impasto.runtime.engine import Engine

Feeds = Mapping[str, NDArray[np.float32]]
"""Every input of a graph by name."""

Range = tuple[float, float]

BAR = 38.0
"""dB of PSNR against float32 that every style must reach."""

SHARE = 0.9997
"""Of a picture's values in a tensor, so many lie between the ends of its range, on either side: the few beyond them
are cut off, and all others get finer steps."""

WEIGHTS = 64
"""Largest weight in whole numbers. Half of what int8 holds: processors without VNNI add two products of uint8 and int8
in 16 bits, and 2 x 255 x 64 fits there, so that a picture is the same on all of them."""

_SAMPLE = 1 << 18  # values of a tensor that its range is taken from
_STEPS = 255
# With these, padding commutes with rounding: only values that are there already are written.
_COPYING_PADS = (b"edge", b"reflect", b"wrap")


@dataclass(frozen=True, slots=True)
class Layer:
    """A convolution that may become int8.

    Attributes:
        name: the tensor that it makes.
        source: the tensor that is rounded for it: its input, or what the padding before it takes.
    """

    name: str
    source: str


@dataclass(frozen=True, slots=True)
class Quantized:
    """A graph with int8 convolutions, and how far its pictures agree with those of the graph that it was made from.

    Attributes:
        graph: the ONNX graph.
        layers: names of the convolutions that are int8.
        kept: names of inner ones that stayed float32, the most harmful first.
        psnr: dB by style: of the squared error over all its pictures, for values of 0 to 1.
        worst_picture: least dB of a single picture.
    """

    graph: bytes
    layers: tuple[str, ...]
    kept: tuple[str, ...]
    psnr: Mapping[str, float]
    worst_picture: float

    @property
    def mean(self) -> float:
        """Mean of the styles' dB."""
        return float(np.mean(list(self.psnr.values())))

    @property
    def worst(self) -> float:
        """dB of the style that agrees least."""
        return min(self.psnr.values())


def inner_layers(graph: bytes) -> list[Layer]:
    """The convolutions with constant weights that lie between others, in the graph's order.

    Raises:
        TrainingError: there is none.
    """
    found = [layer for layer, *_ in _find(_read(graph))]
    if not found:
        raise TrainingError("The painter has no convolution between its first and its last: leave it float32.")
    return found


def measure_ranges(graph: bytes, layers: Sequence[Layer], feeds: Iterable[Feeds]) -> dict[str, Range]:
    """Least and greatest value of what goes into and comes out of each layer, over all pictures, with 0 among them.

    Args:
        graph: the float32 graph.
        layers: of this graph.
        feeds: calibration pictures, taken one after the other.

    Raises:
        TrainingError: there are no pictures, or the graph makes what is no number of one.
    """
    from onnx import TensorProto, helper

    model = _read(graph)
    names = list(dict.fromkeys(name for layer in layers for name in (layer.source, layer.name)))
    present = {value.name for value in model.graph.output}
    model.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names if name not in present
    )
    engine = Engine(model.SerializeToString())
    ranges: dict[str, Range] = {}
    for one in feeds:
        outputs = engine.run(one)
        for name in names:
            values = outputs[name].reshape(-1)
            low, high = np.quantile(values[:: -(-values.size // _SAMPLE)], (1 - SHARE, SHARE))
            if not (math.isfinite(low) and math.isfinite(high)):
                raise TrainingError(f"The painter's {name} is not finite on a calibration picture: train it anew.")
            least, greatest = ranges.get(name, (0.0, 0.0))
            ranges[name] = min(least, float(low)), max(greatest, float(high))
    if not ranges:
        raise TrainingError("There are no pictures to measure ranges on: give some.")
    return ranges


def quantize(graph: bytes, ranges: Mapping[str, Range], *, keep: Collection[str] = ()) -> bytes:
    """The graph with its inner convolutions in int8.

    Args:
        graph: the float32 graph.
        ranges: as :func:`measure_ranges` gives them.
        keep: names of layers to leave float32.
    """
    from onnx import helper, numpy_helper

    model = _read(graph)
    main = model.graph
    constants = {tensor.name: tensor for tensor in main.initializer}
    before: dict[int, list[Any]] = defaultdict(list)  # place of a node -> what goes before it
    after: dict[int, list[Any]] = defaultdict(list)

    def constant(name: str, value: Any) -> str:
        main.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def step(tensor: str, prefix: str) -> tuple[np.float32, list[str]]:
        scale, zero = steps(*ranges[tensor])
        return scale, [constant(f"{prefix}_scale", scale), constant(f"{prefix}_zero", zero)]

    def stored(values: NDArray[np.float32], scale: NDArray[np.float32], kind: type, name: str) -> Any:
        """A constant [O,...] as whole numbers of ``kind`` and what makes floats of them, a scale per output."""
        limit = WEIGHTS if kind is np.int8 else np.iinfo(kind).max
        shape = (-1, *(1,) * (values.ndim - 1))
        whole: NDArray[Any] = np.rint(values.astype(np.float64) / scale.reshape(shape)).clip(-limit, limit).astype(kind)
        inputs = [constant(name, whole), constant(f"{name}_scale", scale)]
        inputs.append(constant(f"{name}_zero", np.zeros(len(scale), kind)))
        return helper.make_node("DequantizeLinear", inputs, [f"{name}_float"], axis=0)

    for layer, pad_at, at in _find(model):
        if layer.name in keep:
            continue
        name, conv = layer.name, main.node[at]
        scale, how = step(layer.source, f"{name}_in")
        padded = f"{name}_in_whole"
        rounding = helper.make_node("QuantizeLinear", [layer.source, *how], [padded])
        before[at if pad_at is None else pad_at].append(rounding)
        if pad_at is not None:
            pad = main.node[pad_at]
            pad.input[0], padded = padded, f"{name}_padded"
            pad.output[0] = padded
            if len(pad.input) > 2:
                pad.input[2] = ""  # the value of a constant padding, which this one is not; float32 at that
        before[at].append(helper.make_node("DequantizeLinear", [padded, *how], [f"{name}_in_float"]))
        conv.input[0] = f"{name}_in_float"
        weights = numpy_helper.to_array(constants[conv.input[1]])
        bias = numpy_helper.to_array(constants[conv.input[2]]) if len(conv.input) > 2 and conv.input[2] else None
        # A channel of zeros has any scale, but that its bias is a whole number of those too, with room for the sum.
        largest = np.abs(weights).max((1, 2, 3)) / WEIGHTS
        if bias is not None:
            largest = np.maximum(largest, np.abs(bias) / (scale * np.float32(1 << 30)))
        widths = np.maximum(largest, 1e-12).astype(np.float32)
        before[at].append(stored(weights, widths, np.int8, f"{name}_weight"))
        conv.input[1] = f"{name}_weight_float"
        if bias is not None:
            before[at].append(stored(bias, widths * scale, np.int32, f"{name}_bias"))
            conv.input[2] = f"{name}_bias_float"
        _, how = step(name, f"{name}_out")
        conv.output[0] = f"{name}_full"
        after[at] += [
            helper.make_node("QuantizeLinear", [f"{name}_full", *how], [f"{name}_out_whole"]),
            helper.make_node("DequantizeLinear", [f"{name}_out_whole", *how], [name]),
        ]
    nodes = [one for at, node in enumerate(main.node) for one in (*before[at], node, *after[at])]
    used = {name for node in nodes for name in node.input} | {value.name for value in main.output}
    model.graph.CopyFrom(
        helper.make_graph(
            nodes, main.name, main.input, main.output, [tensor for tensor in main.initializer if tensor.name in used]
        )
    )
    return bytes(model.SerializeToString())


def steps(low: float, high: float) -> tuple[np.float32, np.uint8]:
    """Scale and zero point of uint8 for values from ``low`` to ``high``, 0 among them: value = scale (whole - zero)."""
    scale = max((high - low) / _STEPS, 1e-12)
    return np.float32(scale), np.uint8(round(-low / scale))


def _as_it_is(painted: NDArray[np.float32], feeds: Feeds) -> NDArray[np.float32]:
    return painted


def choose(
    graph: bytes,
    calibration: Iterable[Feeds],
    trial: Mapping[str, Sequence[Feeds]],
    *,
    bar: float = BAR,
    finish: Callable[[NDArray[np.float32], Feeds], NDArray[np.float32]] = _as_it_is,
    progress: OnProgress = silent,
) -> Quantized:
    """As many layers in int8 as every style's agreement with float32 allows.

    All inner layers first. Where a style falls below the bar, each layer is tried alone, and layers go back to float32,
    the one that costs most first, until all styles reach it.

    Args:
        graph: the float32 graph.
        calibration: pictures to measure ranges on.
        trial: style -> others to compare pictures on.
        bar: dB that each style must reach.
        finish: makes of the graph's output, and of what it was given, the picture that people see.
        progress: told of each comparison.

    Raises:
        TrainingError: no layer can be int8 at this bar; there is no inner layer; there are no pictures.
    """
    if not all(trial.values()) or not trial:
        raise TrainingError("There are no pictures to compare on: give some for each style.")
    layers = inner_layers(graph)
    progress(Progress(0, None, "stages", "ranges"))
    ranges = measure_ranges(graph, layers, calibration)
    float32 = Engine(graph)
    wanted = {style: [finish(_painted(float32, one), one) for one in feeds] for style, feeds in trial.items()}
    done = 0

    def errors(keep: Collection[str]) -> tuple[bytes, dict[str, list[float]]]:
        nonlocal done
        done += 1
        progress(Progress(done, None, "stages", "comparing"))
        made = quantize(graph, ranges, keep=keep)
        engine = Engine(made)
        return made, {
            style: [
                squared_error(finish(_painted(engine, one), one), ideal)
                for one, ideal in zip(feeds, wanted[style], strict=True)
            ]
            for style, feeds in trial.items()
        }

    names = [layer.name for layer in layers]
    made, found = errors(())
    kept: list[str] = []
    harm: list[str] = []
    while min(psnr(np.mean(one)) for one in found.values()) < bar:
        if not harm:
            alone = {name: _total(errors([other for other in names if other != name])[1]) for name in names}
            harm = sorted(names, key=lambda name: -alone[name])
        kept = harm[: len(kept) + 1]
        if len(kept) == len(names):
            raise TrainingError(f"No convolution of this painter can be int8 and agree to {bar:g} dB: keep float32.")
        made, found = errors(kept)
    return Quantized(
        graph=made,
        layers=tuple(name for name in names if name not in kept),
        kept=tuple(kept),
        psnr={style: psnr(np.mean(one)) for style, one in found.items()},
        worst_picture=psnr(max(max(one) for one in found.values())),
    )


def psnr(error: float | np.floating[Any]) -> float:
    """dB of a mean squared error of values from 0 to 1; infinite for none."""
    return math.inf if error == 0 else -10 * math.log10(error)


def squared_error(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Mean squared difference; infinite where it is no number."""
    error = float(np.square(one - other, dtype=np.float64).mean())
    return error if math.isfinite(error) else math.inf


def _total(errors: Mapping[str, list[float]]) -> float:
    return sum(map(sum, errors.values()))


def _painted(engine: Engine, feeds: Feeds) -> NDArray[np.float32]:
    return engine.run(feeds)[engine.outputs[0]]


def _read(graph: bytes) -> Any:
    import onnx

    try:
        return onnx.load_from_string(graph)
    except Exception as error:  # protobuf's own, which onnx does not name
        raise TrainingError(
            f"The painter is no ONNX graph ({type(error).__name__}): export the model again."
        ) from error


def _find(model: Any) -> list[tuple[Layer, int | None, int]]:
    """Inner layers, each with the places of its padding (None where there is none to move) and its convolution."""
    nodes = list(model.graph.node)
    makers = {output: at for at, node in enumerate(nodes) for output in node.output}
    uses = Counter(name for node in nodes for name in node.input)
    constants = {tensor.name for tensor in model.graph.initializer}
    later = _reached(nodes, lambda node: (node.input, node.output))
    earlier = _reached(reversed(nodes), lambda node: (node.output, node.input))
    found = []
    for at, conv in enumerate(nodes):
        fixed = all(name in constants for name in conv.input[1:] if name)
        if conv.op_type != "Conv" or not fixed or conv.input[0] not in later or conv.output[0] not in earlier:
            continue
        pad_at: int | None = makers[conv.input[0]]
        pad = nodes[makers[conv.input[0]]]
        mode = next((one.s for one in pad.attribute if one.name == "mode"), b"constant")
        if pad.op_type != "Pad" or mode not in _COPYING_PADS or uses[pad.output[0]] > 1:
            pad_at = None
        source = conv.input[0] if pad_at is None else pad.input[0]
        found.append((Layer(conv.output[0], source), pad_at, at))
    return found


def _reached(nodes: Iterable[Any], ends: Callable[[Any], tuple[Iterable[str], Iterable[str]]]) -> set[str]:
    """The tensors on the far side of any convolution; ``nodes`` in that order, ``ends``: near and far side of one."""
    reached: set[str] = set()
    for node in nodes:
        near, far = ends(node)
        if node.op_type == "Conv" or any(name in reached for name in near):
            reached.update(far)
    return reached
