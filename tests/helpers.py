"""Small real models for the tests: ONNX graphs that paint in milliseconds, in a bundle like any other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, checker, helper, numpy_helper

from impasto.runtime.archive import format_table
from impasto.runtime.bundle import GraphSpec, LatentInfo, Licences, Manifest, StyleInfo, TensorSpec, write_bundle

CODE_SIZE = 8
SIZE_RULE = {"minimum": 16, "multiple": 4}
STYLES = (
    StyleInfo(name="starry-night", title="The Starry Night", artist="Vincent van Gogh", year="1889"),
    StyleInfo(name="great-wave", title="The Great Wave off Kanagawa", artist="Katsushika Hokusai", year="1831"),
    StyleInfo(name="the-scream", title="The Scream", artist="Edvard Munch", year="1893"),
)
# Two numbers for strokes, the mean of R, G and B, their deviation.
CODES = np.array(
    [
        [0.9, 0.4, 0.20, 0.30, 0.60, 0.10, 0.12, 0.20],
        [0.1, 0.2, 0.70, 0.65, 0.50, 0.20, 0.15, 0.10],
        [0.5, 0.5, 0.60, 0.30, 0.10, 0.15, 0.10, 0.05],
    ],
    np.float32,
)


def _model(
    nodes: list[Any], inputs: dict[str, list[Any]], outputs: dict[str, list[Any]], constants: Mapping[str, Any]
) -> bytes:
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model: ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    checker.check_model(model)
    return model.SerializeToString()


def encoder_graph() -> bytes:
    """``style`` [1,3,h,w] to ``code`` [1,8]: mean slope across and down, mean and deviation of R, G, B."""
    node = helper.make_node
    slopes = np.zeros((2, 3, 2, 2), np.float32)
    slopes[0, :, 0], slopes[1, :, :, 0] = [-1.0, 1.0], [-1.0, 1.0]
    nodes = [
        node("SpaceToDepth", ["style"], ["folded"], blocksize=4),  # makes the size rule real
        node("DepthToSpace", ["folded"], ["picture"], blocksize=4, mode="DCR"),
        node("Conv", ["picture", "slopes"], ["edges"]),
        node("Abs", ["edges"], ["steep"]),
        node("ReduceMean", ["steep", "sides"], ["strokes"], keepdims=0),
        node("ReduceMean", ["picture", "sides"], ["means"], keepdims=1),
        node("Sub", ["picture", "means"], ["centred"]),
        node("Mul", ["centred", "centred"], ["squares"]),
        node("ReduceMean", ["squares", "sides"], ["variance"], keepdims=0),
        node("Sqrt", ["variance"], ["deviation"]),
        node("Squeeze", ["means", "sides"], ["mean"]),
        node("Concat", ["strokes", "mean", "deviation"], ["code"], axis=1),
    ]
    constants = {"slopes": slopes, "sides": np.array([2, 3], np.int64)}
    return _model(nodes, {"style": [1, 3, "h", "w"]}, {"code": [1, CODE_SIZE]}, constants)


def painter_graph() -> bytes:
    """Blur by as much as the code's first number says, then give the photo the code's colours."""
    node = helper.make_node
    blur = np.zeros((3, 3, 3, 3), np.float32)
    for channel in range(3):
        blur[channel, channel] = 1.0 / 9.0
    nodes = [
        node("SpaceToDepth", ["photo"], ["folded"], blocksize=4),
        node("DepthToSpace", ["folded"], ["picture"], blocksize=4, mode="DCR"),
        node("Pad", ["picture", "border"], ["framed"], mode="edge"),
        node("Conv", ["framed", "blur"], ["soft"]),
        node("Sub", ["soft", "picture"], ["change"]),
        node("Split", ["code", "code_parts"], ["stroke", "other", "mean2", "deviation2"], axis=1),
        node("Split", ["photo_stats", "stat_parts"], ["mean1", "deviation1"], axis=1),
        *(
            node("Unsqueeze", [name, "sides"], [f"{name}_4d"])
            for name in ("stroke", "mean2", "deviation2", "mean1", "deviation1")
        ),
        node("Mul", ["change", "stroke_4d"], ["stroked"]),
        node("Add", ["picture", "stroked"], ["drawn"]),
        node("Sub", ["drawn", "mean1_4d"], ["centred"]),
        node("Max", ["deviation1_4d", "least"], ["divisor"]),
        node("Div", ["centred", "divisor"], ["standard"]),
        node("Mul", ["standard", "deviation2_4d"], ["scaled"]),
        node("Add", ["scaled", "mean2_4d"], ["painted"]),
    ]
    constants = {
        "blur": blur,
        "border": np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64),
        "code_parts": np.array([1, 1, 3, 3], np.int64),
        "stat_parts": np.array([3, 3], np.int64),
        "sides": np.array([2, 3], np.int64),
        "least": np.array(1e-4, np.float32),
    }
    inputs = {"photo": [1, 3, "H", "W"], "photo_stats": [1, 6], "code": [1, CODE_SIZE]}
    return _model(nodes, inputs, {"painted": [1, 3, "H", "W"]}, constants)


def style_members() -> dict[str, bytes]:
    """The files of the tiny style bundle, without the manifest."""
    return {"encoder.onnx": encoder_graph(), "painter.onnx": painter_graph(), "styles.npy": format_table(CODES)}


def style_manifest(**overrides: Any) -> Manifest:
    """The manifest of the tiny style bundle; ``overrides`` replace its fields."""
    picture = ("H", "W")
    fields: dict[str, Any] = {
        "kind": "style",
        "name": "tiny",
        "created": "2024-01-01",
        "impasto": "0.1.0",
        "graphs": {
            "encoder": GraphSpec(
                member="encoder.onnx",
                inputs=(TensorSpec(name="style", shape=(1, 3, "h", "w"), range=(0, 1), meaning="RGB"),),
                outputs=(TensorSpec(name="code", shape=(1, CODE_SIZE), meaning="style code"),),
                **SIZE_RULE,
            ),
            "painter": GraphSpec(
                member="painter.onnx",
                inputs=(
                    TensorSpec(name="photo", shape=(1, 3, *picture), range=(0, 1), meaning="RGB"),
                    TensorSpec(name="photo_stats", shape=(1, 6), range=(0, 1), meaning="mean and deviation of RGB"),
                    TensorSpec(name="code", shape=(1, CODE_SIZE), meaning="style code"),
                ),
                outputs=(TensorSpec(name="painted", shape=(1, 3, *picture), meaning="RGB"),),
                receptive_field=1,
                **SIZE_RULE,
            ),
        },
        "code_size": CODE_SIZE,
        "styles": STYLES,
        "recipe": {"steps": 0},
        "licence": Licences(code="Apache-2.0", weights="Apache-2.0", data="none"),
    }
    return Manifest.read(fields | overrides)


def make_style_bundle(path: Path, *, members: Mapping[str, bytes] | None = None, **overrides: Any) -> Path:
    """Write the tiny style bundle.

    Args:
        path: where; ends in ``.impasto``.
        members: files to put in place of, or beside, those of :func:`style_members`.
        overrides: manifest fields to replace.
    """
    write_bundle(path, style_manifest(**overrides), {**style_members(), **(members or {})}, overwrite=True)
    return path


def drawn_photo(width: int = 48, height: int = 40, seed: int = 0) -> NDArray[np.float32]:
    """A smooth picture with a few hard edges: float32 [height,width,3] in 0..1, the same for the same seed."""
    random = np.random.default_rng(seed)
    down, across = np.mgrid[0:height, 0:width].astype(np.float32)
    waves = [np.sin(across * a + down * b + c) for a, b, c in random.uniform(0.02, 0.3, (3, 3))]
    rgb = 0.5 + 0.3 * np.stack(waves, axis=2)
    for red, green, blue, x, y in random.uniform(0, 1, (4, 5)):
        top, left = int(y * height), int(x * width)
        rgb[top : top + max(1, height // 4), left : left + max(1, width // 4)] = (red, green, blue)
    clipped: NDArray[np.float32] = np.clip(rgb, 0, 1).astype(np.float32)
    return clipped


LATENT, W_SIZE = 4, 6


def generator_weights(channels: int, height: int, width: int, layers: int, mapped: bool) -> dict[str, NDArray[Any]]:
    """The numbers of the tiny generator: w = z @ map (+ labels @ label), picture = w @ basis + lean, plain products.

    The rows of the basis are orthogonal, so that its transpose is an exact encoder.
    """
    random = np.random.default_rng(5)
    size = W_SIZE if mapped else LATENT
    basis = np.linalg.qr(random.standard_normal((channels * height * width, size * max(layers, 1))))[0].T
    return {
        "map": random.standard_normal((LATENT, size)).astype(np.float32),
        "label": random.standard_normal((3, size)).astype(np.float32),
        "basis": basis.astype(np.float32),
        "lean": np.float32(0.1 * random.standard_normal(channels * height * width)),
    }


def make_generator_bundle(
    path: Path,
    *,
    channels: int = 3,
    size: tuple[int, int] = (12, 8),
    classes: tuple[str, ...] = (),
    layers: int = 0,
    mapped: bool = True,
    encoder: bool = False,
    flow: bool = False,
    tables: Mapping[str, NDArray[np.float32]] | None = None,
    **overrides: Any,
) -> Path:
    """Write a generator of plain matrix products (see :func:`generator_weights`), the truth of which numpy can tell.

    Args:
        path: where; ends in ``.impasto``.
        channels, size: of its pictures, size as (width, height).
        classes: at most three; they make a mapping necessary.
        layers: L of the synthesis; 0: it takes w [n,W].
        mapped: it has a mapping; without one w is z.
        encoder: it has one, the inverse of a synthesis without mapping.
        flow: it has one: latent = 2 normals + 1.
        tables: npy members, such as ``w_mean.npy``.
        overrides: manifest fields to replace.
    """
    node, (width, height) = helper.make_node, size
    weights = generator_weights(channels, height, width, layers, mapped)
    w_size = W_SIZE if mapped else LATENT
    shape: list[Any] = ["n", layers, w_size] if layers else ["n", w_size]
    members = {
        "synthesis.onnx": _model(
            [
                node("Reshape", ["w", "flat"], ["rows"]),
                node("MatMul", ["rows", "basis"], ["planes"]),
                node("Add", ["planes", "lean"], ["leant"]),
                node("Reshape", ["leant", "shape"], ["picture"]),
            ],
            {"w": shape},
            {"picture": ["n", channels, height, width]},
            {
                "flat": np.array([-1, w_size * max(layers, 1)], np.int64),
                "shape": np.array([-1, channels, height, width], np.int64),
                "basis": weights["basis"],
                "lean": weights["lean"],
            },
        )
    }
    picture = TensorSpec(name="picture", shape=("n", channels, height, width), range=(-1, 1), meaning="picture")
    w = TensorSpec(name="w", shape=tuple(shape), meaning="intermediate latent")
    graphs = {"synthesis": GraphSpec(member="synthesis.onnx", inputs=(w,), outputs=(picture,))}
    z = TensorSpec(name="z", shape=("n", LATENT), meaning="latent")
    if mapped:
        nodes, inputs = [node("MatMul", ["z", "map"], ["mapped" if classes else "w"])], {"z": ["n", LATENT]}
        constants = {"map": weights["map"]}
        if classes:
            nodes += [node("MatMul", ["labels", "label"], ["embedded"]), node("Add", ["mapped", "embedded"], ["w"])]
            inputs["labels"] = ["n", len(classes)]
            constants["label"] = weights["label"][: len(classes)]
        members["mapping.onnx"] = _model(nodes, inputs, {"w": ["n", w_size]}, constants)
        labels = TensorSpec(name="labels", shape=("n", len(classes)), range=(0, 1), meaning="one-hot label")
        plain = TensorSpec(name="w", shape=("n", w_size), meaning="intermediate latent")
        graphs["mapping"] = GraphSpec(member="mapping.onnx", inputs=(z, labels) if classes else (z,), outputs=(plain,))
    if flow:
        nodes = [node("Mul", ["normals", "two"], ["double"]), node("Add", ["double", "one"], ["latent"])]
        constants = {"two": np.array(2, np.float32), "one": np.array(1, np.float32)}
        ends = [TensorSpec(name=name, shape=("n", LATENT), meaning=name) for name in ("normals", "latent")]
        members["flow.onnx"] = _model(nodes, {"normals": ["n", LATENT]}, {"latent": ["n", LATENT]}, constants)
        graphs["flow"] = GraphSpec(member="flow.onnx", inputs=(ends[0],), outputs=(ends[1],))
    if encoder:
        nodes = [
            node("Reshape", ["picture", "flat"], ["leant"]),
            node("Sub", ["leant", "lean"], ["planes"]),
            node("MatMul", ["planes", "inverse"], ["mean"]),
        ]
        constants = {
            "flat": np.array([-1, channels * height * width], np.int64),
            "lean": weights["lean"],
            "inverse": np.ascontiguousarray(weights["basis"].T),
        }
        members["encoder.onnx"] = _model(
            nodes, {"picture": ["n", channels, height, width]}, {"mean": ["n", LATENT]}, constants
        )
        mean = TensorSpec(name="mean", shape=("n", LATENT), meaning="latent")
        graphs["encoder"] = GraphSpec(member="encoder.onnx", inputs=(picture,), outputs=(mean,))
    fields: dict[str, Any] = {
        "kind": "generator",
        "name": "tiny-drawer",
        "created": "2024-01-01",
        "impasto": "0.1.0",
        "graphs": graphs,
        "latent": LatentInfo(size=LATENT, classes=classes),
        "height": height,
        "width": width,
        "channels": channels,
        "licence": Licences(code="Apache-2.0", weights="Apache-2.0", data="none"),
    }
    members |= {name: format_table(table) for name, table in (tables or {}).items()}
    write_bundle(path, Manifest.read(fields | overrides), members, overwrite=True)
    return path
