"""EfficientNet-lite0 as a frozen feature extractor (Tan and Le 2019), for measuring; see ``measure_features``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

SIDE = 224
FEATURES = 1280

# Kernel, stride of the first, expansion, channels, number of blocks (Tan and Le 2019, table 1).
_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)


class _Conv(nn.Conv2d):
    """A convolution padded as TensorFlow does it: the odd pixel goes to the right and to the bottom."""

    def __init__(self, taken: int, given: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(taken, given, kernel, stride, padding=kernel // 2 if stride == 1 else 0, groups=groups)
        self.before = (kernel - 2) // 2, (kernel - 2) - (kernel - 2) // 2

    def forward(self, x: Tensor) -> Tensor:
        if self.stride[0] > 1:  # sides are even everywhere (224 = 7 * 32)
            x = F.pad(x, self.before * 2)
        given: Tensor = self._conv_forward(x, self.weight, self.bias)
        return given


class _Block(nn.Module):
    """Inverted residual: expand, convolve each channel, project."""

    def __init__(self, taken: int, given: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = taken * expansion
        self.expand = _Conv(taken, wide, 1) if expansion > 1 else None
        self.depthwise = _Conv(wide, wide, kernel, stride, groups=wide)
        self.project = _Conv(wide, given, 1)
        self.skip = stride == 1 and taken == given

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else F.relu6(self.expand(x), inplace=True)
        y = F.relu6(self.depthwise(y), inplace=True)
        given: Tensor = self.project(y)
        return given + x if self.skip else given


class EfficientLite(nn.Module):
    """EfficientNet-lite0 up to the pooled features, its normalisations folded into the convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _Conv(3, 32, 3, 2)
        blocks, channels = [], 32
        for kernel, stride, expansion, width, count in _STAGES:
            for number in range(count):
                blocks.append(_Block(channels, width, kernel, stride if number == 0 else 1, expansion))
                channels = width
        self.blocks = nn.ModuleList(blocks)
        self.head = _Conv(channels, FEATURES, 1)

    def forward(self, picture: Tensor) -> Tensor:
        """``picture`` [N,3,224,224], RGB 0..255 -> [N,1280]."""
        x = F.relu6(self.stem((picture - 127) / 128))  # [N,32,112,112]
        for block in self.blocks:
            x = block(x)
        return F.relu6(self.head(x)).mean((2, 3))  # [N,1280]

    def named_convolutions(self) -> Iterator[tuple[_Conv, str, str]]:
        """Each convolution with the names that the published weights have for it and its normalisation."""
        yield self.stem, "_conv_stem", "_bn0"
        for number, block in enumerate(self.blocks):
            assert isinstance(block, _Block)
            name = f"_blocks.{number}."
            if block.expand is not None:
                yield block.expand, f"{name}_expand_conv", f"{name}_bn0"
            yield block.depthwise, f"{name}_depthwise_conv", f"{name}_bn1"
            yield block.project, f"{name}_project_conv", f"{name}_bn2"
        yield self.head, "_conv_head", "_bn1"

    @torch.no_grad()
    def take(self, state: Mapping[str, Tensor], epsilon: float = 1e-3) -> None:
        """Fill in the published weights.

        Raises:
            KeyError, RuntimeError: they are of another network.
        """
        for conv, kernel, norm in self.named_convolutions():
            gain = state[f"{norm}.weight"] / (state[f"{norm}.running_var"] + epsilon).sqrt()
            conv.weight.copy_(state[f"{kernel}.weight"] * gain[:, None, None, None])
            assert conv.bias is not None
            conv.bias.copy_(state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * gain)

    def to_onnx(self) -> bytes:
        """The same network as an ONNX graph, ``picture`` [n,3,224,224] to ``features`` [n,1280].

        onnxruntime takes half the time of eager PyTorch on a CPU, where this network is most of the time of measuring.
        """
        from onnx import TensorProto, helper, numpy_helper

        tables: dict[str, NDArray[Any] | np.generic] = {
            "middle": np.float32(127),
            "spread": np.float32(128),
            "low": np.float32(0),
            "high": np.float32(6),
        }
        tables["places"] = np.array([2, 3], np.int64)
        nodes = [helper.make_node("Sub", ["picture", "middle"], ["centred"])]
        nodes.append(helper.make_node("Div", ["centred", "spread"], ["scaled"]))

        def convolve(taken: str, conv: nn.Module, name: str, activate: bool = True) -> str:
            assert isinstance(conv, _Conv) and conv.bias is not None
            tables[f"{name}.w"], tables[f"{name}.b"] = conv.weight.cpu().numpy(), conv.bias.cpu().numpy()
            first, last = conv.before if conv.stride[0] > 1 else (conv.kernel_size[0] // 2,) * 2
            settings: dict[str, Any] = {
                "strides": list(conv.stride),
                "pads": [first, first, last, last],
                "group": conv.groups,
            }
            nodes.append(helper.make_node("Conv", [taken, f"{name}.w", f"{name}.b"], [name], **settings))
            if activate:
                nodes.append(helper.make_node("Clip", [name, "low", "high"], [f"{name}.a"]))
            return f"{name}.a" if activate else name

        at = convolve("scaled", self.stem, "stem")
        for number, block in enumerate(self.blocks):
            assert isinstance(block, _Block)
            wide = at if block.expand is None else convolve(at, block.expand, f"{number}.expand")
            wide = convolve(wide, block.depthwise, f"{number}.depthwise")
            given = convolve(wide, block.project, f"{number}.project", activate=False)
            if block.skip:
                nodes.append(helper.make_node("Add", [given, at], [f"{number}.sum"]))
                given = f"{number}.sum"
            at = given
        nodes.append(
            helper.make_node("ReduceMean", [convolve(at, self.head, "head"), "places"], ["features"], keepdims=0)
        )
        graph = helper.make_graph(
            nodes,
            "efflite0",
            [helper.make_tensor_value_info("picture", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
            [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", FEATURES])],
            [numpy_helper.from_array(np.asarray(table), name) for name, table in tables.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        return bytes(model.SerializeToString())
