"""Networks that can learn again, from a model file: the inverse of ``export.to_onnx``.

A model file holds graphs, not checkpoints. The exporter multiplies small constants out (a slow layer's rate, the
interpolation in an up-convolution) and then gives them names of its own, so weights are found by the order in which the
network calls its layers: the k-th linear layer called is the k-th ``Gemm`` of the graph, and so are convolutions.
Whether that was right is not trusted but tried: the network must paint as the graph does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor, nn

from impasto.errors import TrainingError
from impasto.runtime.bundle import Bundle
from impasto.runtime.engine import Engine
from impasto.runtime.underpaint import Under
from impasto.training.checkpoint import Checkpoint, module_tensors
from impasto.training.export import PARITY, SIZES
from impasto.training.nets.blocks import PATCH, ModulatedConv, ModulatedUp, SlowLinear, color_stats
from impasto.training.nets.style import GRAIN, Painter, StyleEncoder, StyleSpec
from impasto.training.nets.underpaint import Coarser

F32 = NDArray[np.float32]


def recover_painter(bundle: Bundle) -> Painter:
    """The painter of a model file as a torch network, in evaluation mode, float32, on the CPU.

    Weights are the very bits of the network that was exported wherever the file holds them as they were. Where the
    exporter multiplied a rate into them, they are numbers whose product with the rate is, bit for bit, what the file
    holds. Kernels of up-convolutions are solved for, in double precision, from the four kernels that interpolation made
    of each; a bit that rounding took from all four is gone, so they agree to about one unit in the last place.

    Args:
        bundle: a model of kind ``style``.

    Raises:
        TrainingError: the file was not exported from a network of this family, or the recovered network paints
            otherwise than the file by more than ``PARITY``.
    """
    painter = Painter(_spec(bundle)).eval().requires_grad_(False)
    _, raw = bundle.graph("painter")
    _fill(painter, raw, bundle)
    difference = painter_difference(painter, raw, SIZES)
    if not difference < PARITY:
        raise _foreign(bundle, f"what was read back paints otherwise by {difference:.2g}")
    return painter


def recover_encoder(bundle: Bundle) -> StyleEncoder:
    """The style encoder of a model file as a torch network, in evaluation mode, float32, on the CPU, to the bit.

    Args:
        bundle: a model of kind ``style``.

    Raises:
        TrainingError: the file was not exported from a network of this family, or the recovered network's codes are
            others than the file's by more than ``PARITY``.
    """
    encoder = StyleEncoder(_spec(bundle)).eval().requires_grad_(False)
    _, raw = bundle.graph("encoder")
    graph = _Constants(raw)
    convs = [(kernel, bias) for kernel, bias in graph.convolutions() if bias is not None]
    linears, norms = list(graph.linears()), list(graph.norms())
    if (len(convs), len(linears), len(norms)) != (4, 2, 2):
        raise _foreign(bundle, f"{len(convs) + len(linears)} layers where 6 are expected", "encoder")
    pairs: list[tuple[Tensor, F32]] = []
    for layer, (kernel, bias) in zip((encoder.conv1, encoder.conv2, encoder.conv3, encoder.conv4), convs, strict=True):
        assert layer.bias is not None
        side = kernel.shape[2]
        pairs += [(layer.weight, _in_patches(kernel) if side == 3 * PATCH else kernel), (layer.bias, bias)]
    for linear, ((weight, _), (offset, _)) in zip((encoder.head[0], encoder.head[2]), linears, strict=True):
        assert isinstance(linear, nn.Linear)
        pairs += [(linear.weight, weight), (linear.bias, offset)]
    for norm, (mean, deviation) in zip((encoder.norm, encoder.whiten), norms, strict=True):
        pairs += [(norm.mean, mean), (norm.deviation, deviation)]
    _copy(pairs, bundle, "encoder")
    difference = _encoder_difference(encoder, raw)
    if not difference < PARITY:
        raise _foreign(bundle, f"what was read back gives codes that differ by {difference:.2g}", "encoder")
    return encoder


def recover_coarser(bundle: Bundle) -> dict[str, Coarser]:
    """What says a code at half the size, by the name of its network; empty where nothing lies under.

    Raises:
        BundleError: the file lacks it.
    """
    under = Under.of(bundle)
    if under is None:
        return {}
    coarser = Coarser(_spec(bundle)).eval().requires_grad_(False)
    coarser.fill(torch.from_numpy(np.array(under.table)))
    return {"coarser": coarser}


def networks_of(bundle: Bundle) -> dict[str, nn.Module]:
    """All networks of a model file of kind ``style``, by name.

    Raises:
        TrainingError: see ``recover_painter`` and ``recover_encoder``.
    """
    return {"painter": recover_painter(bundle), "encoder": recover_encoder(bundle), **recover_coarser(bundle)}


def checkpoint_of(bundle: Bundle) -> Checkpoint:
    """A model file of kind ``style`` as the checkpoint of a run that knows what the file holds and nothing else.

    Raises:
        TrainingError: see ``recover_painter`` and ``recover_encoder``.
    """
    return Checkpoint(module_tensors(networks_of(bundle), "ema"), bundle.manifest.step, "")


def _spec(bundle: Bundle) -> StyleSpec:
    try:
        return StyleSpec.model_validate(bundle.manifest.recipe.get("net"))
    except ValidationError as error:
        raise _foreign(bundle, "its manifest describes no network of this version") from error


def _foreign(bundle: Bundle, why: str, what: str = "painter") -> TrainingError:
    return TrainingError(
        f"The {what} in {bundle.path.name} cannot be trained further ({why}): "
        "start from a model that this version of impasto exported."
    )


@torch.no_grad()
def _copy(pairs: Iterable[tuple[Tensor, F32]], bundle: Bundle, what: str = "painter") -> None:
    for mine, theirs in pairs:
        if tuple(mine.shape) != theirs.shape:
            raise _foreign(bundle, f"a layer of {theirs.shape} where {tuple(mine.shape)} is expected", what)
        mine.copy_(torch.from_numpy(np.array(theirs, np.float32)))


@torch.no_grad()
def _fill(painter: Painter, raw: bytes, bundle: Bundle) -> None:
    """Copy the constants of the graph into the network."""
    graph = _Constants(raw)
    linears, convs = _call_order(painter)
    gemms, every = list(graph.linears()), list(graph.convolutions())
    patch = (3, 3 * PATCH, 3 * PATCH)
    looks = [(kernel, bias) for kernel, bias in every if kernel.shape[1:] == patch and bias is not None]
    # One input channel: the kernel for the grain, which follows from that of the first layer.
    kernels = [kernel for kernel, _ in every if kernel.shape[1:] != patch and kernel.shape[1] > 1]
    if (len(gemms), len(kernels), len(looks)) != (len(linears), len(convs), 1):
        raise _foreign(bundle, f"{len(gemms) + len(kernels)} layers where {len(linears) + len(convs)} are expected")
    pairs: list[tuple[Tensor, F32]] = []
    for linear, (scaled_weight, scaled_bias) in zip(linears, gemms, strict=True):
        pairs += [(linear.weight, _undo(scaled_weight, linear.rate)), (linear.bias, _undo(scaled_bias, linear.rate))]
    for conv, kernel in zip(convs, kernels, strict=True):
        pairs.append((conv.weight, _unfolded(kernel, conv.taps) if isinstance(conv, ModulatedUp) else kernel))
    kernel, bias = looks[0]
    pairs.append((painter.look.weight, _in_patches(kernel)))
    assert painter.look.bias is not None and bias is not None
    pairs.append((painter.look.bias, bias))
    _copy(pairs, bundle)


def _in_patches(kernel: F32) -> F32:
    """[O,3,12,12] -> [O,48,3,3]: what ``PatchConv.freeze`` made it of."""
    parts = kernel.reshape(len(kernel), 3, 3, PATCH, 3, PATCH).transpose(0, 1, 3, 5, 2, 4)  # [O,c,dy,dx,ky,kx]
    return parts.reshape(len(kernel), 3 * PATCH * PATCH, 3, 3)


def _call_order(painter: Painter) -> tuple[list[SlowLinear], list[ModulatedConv]]:
    """The layers in the order in which a picture meets them."""
    linears: list[SlowLinear] = []
    convs: list[ModulatedConv] = []
    hooks = []
    for module in painter.modules():
        if isinstance(module, SlowLinear):
            hooks.append(module.register_forward_pre_hook(lambda layer, _: linears.append(layer)))
        elif isinstance(module, ModulatedConv):
            hooks.append(module.register_forward_pre_hook(lambda layer, _: convs.append(layer)))
    try:
        photo = torch.rand(1, 3, 16, 16)
        painter(photo, color_stats(photo), torch.rand(1, painter.spec.code_size), torch.zeros(1, GRAIN, 2, 2))
    finally:
        for hook in hooks:
            hook.remove()
    return linears, convs


class _Constants:
    """Constants of an ONNX graph, by the nodes that use them."""

    def __init__(self, raw: bytes) -> None:
        from onnx import load_from_string, numpy_helper

        self._graph: Any = load_from_string(raw).graph
        self._kept: dict[str, NDArray[Any]] = {
            tensor.name: numpy_helper.to_array(tensor) for tensor in self._graph.initializer
        }
        self._makers: Mapping[str, Any] = {name: node for node in self._graph.node for name in node.output}

    def convolutions(self) -> Iterator[tuple[F32, F32 | None]]:
        """Kernel [O,I,k,k] and bias [O], if any, of every convolution, in order."""
        for node in self._graph.node:
            if node.op_type == "Conv" and node.input[1] in self._kept:
                yield self._kept[node.input[1]], self._kept.get(node.input[2]) if len(node.input) > 2 else None

    def linears(self) -> Iterator[tuple[_Scaled, _Scaled]]:
        """Weight [O,I] and bias [O] of every linear layer, in order."""
        for node in self._graph.node:
            if node.op_type == "Gemm":
                across = any(part.name == "transB" and part.i for part in node.attribute)
                weight, multiplied = self._scaled(node.input[1])
                yield (weight if across else weight.T, multiplied), self._scaled(node.input[2])

    def norms(self) -> Iterator[tuple[F32, F32]]:
        """Mean [D] and deviation [D] of every fixed norm, in order."""
        for node in self._graph.node:
            if node.op_type == "Div" and node.input[1] in self._kept:
                maker, deviation = self._makers.get(node.input[0]), self._kept[node.input[1]]
                if (
                    maker is not None
                    and maker.op_type == "Sub"
                    and maker.input[1] in self._kept
                    and deviation.ndim == 1
                ):
                    yield self._kept[maker.input[1]], deviation

    def _scaled(self, name: str) -> _Scaled:
        """A constant, and whether the layer's rate was multiplied into it already."""
        if name in self._kept:
            return self._kept[name], True
        maker = self._makers.get(name)
        parts = [self._kept[part] for part in maker.input if part in self._kept] if maker is not None else []
        whole = [part for part in parts if part.ndim]
        if maker is None or maker.op_type != "Mul" or len(whole) != 1:
            return np.zeros(0, np.float32), True  # of no layer's shape: said by whoever compares shapes
        return whole[0], False


_Scaled = tuple[F32, bool]


def _undo(constant: _Scaled, rate: float) -> F32:
    """Weights whose product with ``rate`` is what the graph holds, to the bit."""
    values, multiplied = constant
    if not multiplied:
        return values
    factor = np.float32(rate)
    best = values / factor
    # A quotient may be off by one unit in the last place: then a neighbour gives the product.
    for way in (np.float32(-np.inf), np.float32(np.inf)):
        beside = np.nextafter(values / factor, way)
        best = np.where((best * factor != values) & (beside * factor == values), beside, best)
    kept: F32 = best.astype(np.float32)
    return kept


def _unfolded(kernel: F32, taps: Tensor) -> F32:
    """[4 O,I,3,3] in pixel-shuffle order -> [O,I,3,3]: what ``ModulatedUp.kernel`` made it of, by least squares."""
    four, inputs = kernel.shape[:2]
    phases = kernel.astype(np.float64).reshape(four // 4, 2, 2, inputs, 3, 3)  # [O,p,q,I,a,b]
    solve = np.linalg.pinv(taps.double().numpy().reshape(6, 3)).reshape(3, 2, 3)  # [k,p,a]
    found: F32 = np.einsum("kpa,lqb,opqiab->oikl", solve, solve, phases, optimize=True).astype(np.float32)
    return found


@torch.no_grad()
def _encoder_difference(encoder: StyleEncoder, raw: bytes) -> float:
    """Largest difference between a network and a graph at any number of the codes of random pictures; see below."""
    engine, worst, random = Engine(raw, threads=1), np.float32(0), torch.Generator().manual_seed(0)
    for size in ((64, 64), (128, 80)):
        style = nn.functional.interpolate(torch.rand(1, 3, 16, 16, generator=random), size, mode="bicubic").clamp(0, 1)
        theirs, ours = engine.run({"style": style.numpy()})[engine.outputs[0]], encoder(style).numpy()
        if ours.shape != theirs.shape:
            return float("inf")
        worst = np.maximum(worst, np.abs(ours - theirs).max())
    return float(worst)


@torch.no_grad()
def painter_difference(
    painter: Painter, raw: bytes, sizes: Iterable[tuple[int, int]], code: F32 | None = None
) -> float:
    """Largest difference between a network and a graph at any pixel of random pictures.

    Args:
        painter: the network, on the CPU.
        raw: the graph.
        sizes: height and width of the pictures, multiples of 8.
        code: float32 [D], the manner to paint in; None = a random one.

    Returns:
        At least 0; infinity where the graph takes or gives something else.
    """
    random = torch.Generator().manual_seed(0)
    colors = torch.tensor([0.5, 0.4, 0.3, 0.2, 0.05, 0.02, 0.2, 0.05, 0.15])
    manner = painter.typical.clone()
    manner[: painter.spec.code] = torch.randn(painter.spec.code, generator=random)
    manner[-len(colors) :] = colors
    if code is not None:
        manner = torch.from_numpy(code)
    engine, worst = Engine(raw, threads=1), np.float32(0)
    for height, width in sizes:
        # Smooth pictures with some noise: what photographs are like, unlike plain noise.
        photo = nn.functional.interpolate(torch.rand(1, 3, 8, 8, generator=random), (height, width), mode="bicubic")
        photo = photo.add(0.05 * torch.randn(1, 3, height, width, generator=random)).clamp(0, 1)
        inputs = {
            "photo": photo,
            "photo_stats": color_stats(photo),
            "code": manner[None],
            "grain": torch.randn(1, GRAIN, height // 8, width // 8, generator=random),
        }
        if set(engine.inputs) != set(inputs):
            return float("inf")
        painted = engine.run({name: tensor.numpy() for name, tensor in inputs.items()})[engine.outputs[0]]
        ours = painter(*inputs.values()).numpy()
        if ours.shape != painted.shape:
            return float("inf")
        # Not Python's max(): that would pass over what is not a number.
        worst = np.maximum(worst, np.abs(ours - painted).max())
    return float(worst)
