"""The carpet of noise, and how a painter gets it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from helpers import CODE_SIZE, CODES, drawn_photo, make_style_bundle, style_manifest
from impasto.runtime.bundle import GraphSpec, TensorSpec
from impasto.runtime.grain import CELL, PERIOD, grain
from impasto.runtime.picture import Picture, color_stats
from impasto.runtime.style import StyleModel

# What numpy's PCG64 gives for the seed 0, in full precision.
UNIFORM = np.array([0.6369616873214543, 0.2697867137638703, 0.04097352393619469])


def test_noise_has_mean_nought_and_deviation_one() -> None:
    noise = grain(4, PERIOD, PERIOD)
    assert noise.shape == (1, 4, PERIOD, PERIOD) and noise.dtype == np.float32
    assert abs(noise.mean()) < 0.01 and abs(noise.std() - 1) < 0.01
    channels = noise.reshape(4, -1)
    assert np.abs(np.corrcoef(channels) - np.eye(4)).max() < 0.03
    assert abs(np.corrcoef(noise[0, 0, :, 1:].ravel(), noise[0, 0, :, :-1].ravel())[0, 1]) < 0.03


def test_a_window_is_a_part_of_the_whole() -> None:
    whole = grain(2, 300, 200)
    np.testing.assert_array_equal(grain(2, 40, 30, top=110, left=150), whole[:, :, 110:150, 150:180])
    np.testing.assert_array_equal(grain(2, 5, 5), grain(2, 5, 5, top=PERIOD, left=-PERIOD))


def test_the_seed_decides() -> None:
    np.testing.assert_array_equal(grain(1, 8, 8, seed=3), grain(1, 8, 8, seed=3))
    assert np.abs(grain(1, 8, 8, seed=3) - grain(1, 8, 8, seed=4)).mean() > 0.3
    # The first numbers, as they must come out on every machine and with every numpy.
    np.testing.assert_allclose(grain(4, 1, 3)[0, 0, 0], (2 * UNIFORM - 1) * 3**0.5, atol=1e-6)


def echo_painter() -> bytes:
    """Paints the noise it is given, a cell of 8x8 pixels each, around the mean that it is told."""
    node = helper.make_node
    nodes = [
        node("Split", ["photo_stats", "parts"], ["mean", "spread"], axis=1),
        node("Unsqueeze", ["mean", "sides"], ["ground"]),
        node("ConvTranspose", ["grain", "cells"], ["noise"], strides=[8, 8]),
        node("Add", ["noise", "ground"], ["painted"]),
    ]
    cells = np.zeros((4, 3, 8, 8), np.float32)
    for channel in range(3):
        cells[channel, channel] = 0.1
    shapes: dict[str, list[Any]] = {
        "photo": [1, 3, "H", "W"],
        "photo_stats": [1, 9],
        "code": [1, CODE_SIZE],
        "grain": [1, 4, "h", "w"],
    }
    constants = {"parts": np.array([3, 6]), "sides": np.array([2, 3]), "cells": cells}
    graph = helper.make_graph(
        nodes,
        "echo",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [helper.make_tensor_value_info("painted", TensorProto.FLOAT, [1, 3, "H", "W"])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return bytes(model.SerializeToString())


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> StyleModel:
    graphs = dict(style_manifest().graphs)
    plain = graphs["painter"].to_fields()
    inputs = {tensor["name"]: tensor for tensor in plain["inputs"]}
    inputs["photo_stats"]["shape"] = (1, 9)
    noise = TensorSpec(name="grain", shape=(1, 4, "H/8", "W/8"), meaning="noise")
    graphs["painter"] = GraphSpec.read(plain | {"inputs": [*inputs.values(), noise], "minimum": 16, "multiple": 8})
    path = Path(tmp_path_factory.mktemp("echo")) / "echo.impasto"
    return StyleModel.load(make_style_bundle(path, members={"painter.onnx": echo_painter()}, graphs=graphs))


@pytest.mark.parametrize("size", [(64, 48), (61, 47), (5, 3), (130, 16)])
def test_a_painter_is_given_the_noise_of_its_place_at_every_size(echo: StyleModel, size: tuple[int, int]) -> None:
    photo = Picture(drawn_photo(*size))
    painted = echo.paint(photo, CODES[0]).rgb
    assert CELL == 8
    width, height = size
    cells = grain(4, 20, 20)[0, :3].repeat(8, axis=1).repeat(8, axis=2)[:, :height, :width]
    expected = np.clip(0.1 * cells.transpose(1, 2, 0) + color_stats(photo.rgb)[:3], 0, 1)
    np.testing.assert_allclose(painted, expected, atol=1e-5)
    np.testing.assert_array_equal(echo.paint(photo, CODES[0]).rgb, painted)
