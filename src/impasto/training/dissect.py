"""A style model taken apart: its graphs cut open where one layer's say is told from another's.

A model file holds graphs that take a painting or a code and give a picture. What lies in between is found by structure,
not by the exporter's names: the encoder's head is its first linear layer, and the join before it has an input for each
layer's statistics; the painter's style vector is what most of its linear layers read, and each convolution that it
steers has two of them (``nets.blocks.ModulatedConv``: scale, then gain and bias). Whether that was right is not trusted
but tried: put together again, the parts must give the model's own code and picture.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from impasto.errors import TrainingError
from impasto.runtime.engine import Engine
from impasto.runtime.picture import Picture
from impasto.runtime.planes import to_pixels, to_planes
from impasto.runtime.seeing import at_rule, seen_at
from impasto.runtime.style import Code, StyleModel

F32 = NDArray[np.float32]

SAME = 1e-3
"""Largest difference allowed between the model and its parts put together again, at any number of a code or pixel."""

_OUTSIDE = 5
"""Convolutions that a painter steers outside its residual blocks: one going in, four coming out."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the encoder takes from a picture: per layer channel means, then deviations [K]; and the colours [9]."""

    layers: tuple[F32, ...]
    colors: F32

    def towards(self, other: Seen, shares: Sequence[float]) -> Seen:
        """Each part moved to another picture's by a share of its own: those of the layers, then that of the colours."""
        ours, theirs = (*self.layers, self.colors), (*other.layers, other.colors)
        parts: list[F32] = [
            (a + np.float32(share) * (b - a)).astype(np.float32)
            for a, b, share in zip(ours, theirs, shares, strict=True)
        ]
        return Seen(tuple(parts[:-1]), parts[-1])


class SplitEncoder:
    """A style encoder in two halves: what it sees of a picture, and the code that it makes of that.

    Attributes:
        strides: for each layer, from fine to coarse, the pixels of the picture from one position to the next.

    Raises:
        TrainingError: the model's encoder is built in another way, or its halves do not give its codes.
    """

    def __init__(self, model: StyleModel, *, threads: int | None = None) -> None:
        self._model = model
        self._spec, raw = model.bundle.graph("encoder")
        graph = _Graph(raw)
        code = graph.makers.get(graph.outputs[0])
        head = next((node for node in graph.nodes if node.op_type == "Gemm"), None)
        join = graph.behind(head.input[0], "Concat") if head is not None else None
        if code is None or code.op_type != "Concat" or len(code.input) != 2 or join is None:
            raise _foreign(model, "its encoder does not join the statistics of its layers before a linear one")
        self._names, self._colors = list(join.input), code.input[1]
        self.strides = tuple(graph.stride(name) for name in self._names)
        between = [*self._names, self._colors]
        self._threads = 1 if threads is None else threads
        self._eye = Engine(graph.cut(graph.inputs, between), threads=threads)
        self._head = Engine(graph.cut(dict.fromkeys(between), [graph.outputs[0]]), threads=1)

    def look(self, picture: Picture, scale: int) -> Seen:
        """What is seen of a picture at a scale of its short side, in pixels (see ``StyleModel.encode``)."""
        seen = at_rule(seen_at(picture, scale, self._threads), self._spec.minimum, self._spec.multiple)
        found = self._eye.run({self._eye.inputs[0]: seen})
        return Seen(tuple(found[name][0] for name in self._names), found[self._colors][0])

    def code(self, seen: Seen) -> Code:
        """The code [D] of what was seen."""
        parts = zip([*self._names, self._colors], [*seen.layers, seen.colors], strict=True)
        code: Code = self._head.run({name: part[None] for name, part in parts})[self._head.outputs[0]][0]
        return code

    def check(self, seen: Seen, code: Code) -> None:
        """Hold a code of the halves against the model's own ``code`` of the same picture.

        Raises:
            TrainingError: they differ by more than ``SAME``.
        """
        difference = float(np.abs(self.code(seen) - code).max())
        if not difference <= SAME:
            raise _foreign(self._model, f"its encoder taken apart gives codes that differ by {difference:.2g}")


class SplitPainter:
    """A painter whose convolutions can each be steered by another code.

    Attributes:
        places: keys of the places, in the order in which a photo meets them: ``"in"`` (down to 1/8 of the size),
            ``"block1"`` and on (at 1/8), ``"up4"`` (to 1/4), ``"at4"``, ``"up2"`` (to 1/2), ``"up1"`` (to the whole
            size), ``"colors"`` (the paint is given the colours of the code).

    Raises:
        TrainingError: the model's painter is built in another way.
    """

    def __init__(self, model: StyleModel, *, threads: int | None = None) -> None:
        self._model = model
        self._spec, raw = model.bundle.graph("painter")
        graph = _Graph(raw)
        readers = Counter(node.input[0] for node in graph.nodes if node.op_type == "Gemm")
        vector, count = readers.most_common(1)[0] if readers else ("", 0)
        blocks, odd = divmod(count // 2 - _OUTSIDE, 2)
        if count % 2 or odd or blocks < 1 or "code" not in graph.inputs:
            raise _foreign(model, f"its painter has {count} layers that read the style, which are not scales and gains")
        names = ["in", *(f"block{i // 2 + 1}" for i in range(2 * blocks)), "up4", "at4", "up2", "up1"]
        self.places = (*dict.fromkeys(names), "colors")
        self._mapping = Engine(graph.cut({"code": None}, [vector]), threads=1)
        steered = [node for node in graph.nodes if node.op_type == "Gemm" and node.input[0] == vector]
        for k, node in enumerate(steered):
            node.input[0] = f"style_{k // 2}"
        self._feeds = {f"style_{k}": place for k, place in enumerate(names)}
        inputs = graph.inputs | dict.fromkeys(self._feeds)
        self._painter = Engine(graph.cut(inputs, graph.outputs), threads=threads)

    def paint(self, photo: Picture, codes: Mapping[str, Code]) -> Picture:
        """Paint with a code of its own at each of ``places``."""
        vectors = {id(code): self._mapping.run({"code": code[None]}) for code in codes.values()}
        name = self._mapping.outputs[0]
        feeds = {feed: vectors[id(codes[place])][name] for feed, place in self._feeds.items()}
        planes = to_planes(photo.rgb)
        rgb = self._painter.run_picture(
            "photo",
            planes,
            {"code": codes["colors"][None], **self._model.beside(planes, photo.alpha), **feeds},
            minimum=self._spec.minimum,
            multiple=self._spec.multiple,
            finish=to_pixels,
        )
        return photo.with_rgb(rgb)

    def check(self, painted: Picture, model_painted: Picture) -> None:
        """Hold a picture painted with one code everywhere against the model's own.

        Raises:
            TrainingError: they differ by more than ``SAME``.
        """
        difference = float(np.abs(painted.rgb - model_painted.rgb).max())
        if not difference <= SAME:
            raise _foreign(self._model, f"its painter taken apart paints otherwise by {difference:.2g}")


def _foreign(model: StyleModel, why: str) -> TrainingError:
    return TrainingError(
        f"{model.bundle.path.name} cannot be explained layer by layer ({why}): "
        "use a model that this version of impasto exported."
    )


class _Graph:
    """An ONNX graph to look around in and to cut pieces out of."""

    def __init__(self, raw: bytes) -> None:
        from onnx import load_from_string

        self._model: Any = load_from_string(raw)
        graph = self._model.graph
        self.nodes: list[Any] = list(graph.node)
        self.makers: dict[str, Any] = {name: node for node in self.nodes for name in node.output}
        self.inputs: dict[str, Any] = {value.name: value for value in graph.input}
        self.outputs = [value.name for value in graph.output]

    def behind(self, name: str, kind: str) -> Any | None:
        """The nearest node of a kind that ``name`` comes from, by first inputs; None where there is none."""
        node = self.makers.get(name)
        while node is not None and node.op_type != kind:
            node = self.makers.get(node.input[0]) if node.input else None
        return node

    def stride(self, name: str) -> int:
        """Pixels of the graph's input from one position of ``name`` to the next, by first inputs."""
        stride, node = 1, self.makers.get(name)
        while node is not None:
            if node.op_type == "Conv":
                stride *= next((part.ints[0] for part in node.attribute if part.name == "strides"), 1)
            node = self.makers.get(node.input[0]) if node.input else None
        return int(stride)

    def cut(self, inputs: Mapping[str, Any | None], outputs: Sequence[str]) -> bytes:
        """The part of the graph between values: the graph's own inputs, or any others (None: float32 of any shape)."""
        from onnx import ModelProto, TensorProto, helper

        wanted, queue = set(outputs), [name for name in outputs if name not in inputs]
        while queue:
            node = self.makers.get(queue.pop())
            fresh = set(node.input) - wanted if node is not None else set()
            wanted |= fresh
            queue += [name for name in fresh if name not in inputs]
        part = ModelProto()
        part.CopyFrom(self._model)
        graph = part.graph
        for field in (graph.node, graph.input, graph.output, graph.initializer):
            del field[:]
        graph.node.extend(n for n in self.nodes if any(name in wanted and name not in inputs for name in n.output))
        graph.initializer.extend(t for t in self._model.graph.initializer if t.name in wanted)
        for name, value in inputs.items():
            if name in wanted:
                graph.input.append(value or helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
        graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs)
        return bytes(part.SerializeToString())
