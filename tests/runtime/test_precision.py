"""Which painter paints at which precision."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from helpers import make_style_bundle, painter_graph, style_manifest
from impasto.errors import BundleError, UnknownName
from impasto.runtime.bundle import GraphSpec
from impasto.runtime.picture import Picture
from impasto.runtime.quick import stylize
from impasto.runtime.style import StyleModel


def other_painter() -> bytes:
    """One that does not blur: what it paints is easily told apart."""
    model = onnx.load_from_string(painter_graph())
    blur = next(tensor for tensor in model.graph.initializer if tensor.name == "blur")
    still = np.zeros((3, 3, 3, 3), np.float32)
    still[[0, 1, 2], [0, 1, 2], 1, 1] = 1
    blur.CopyFrom(onnx.numpy_helper.from_array(still, "blur"))
    graph: bytes = model.SerializeToString()
    return graph


def bundle_of_two(path: Path, **changes: object) -> Path:
    graphs = style_manifest().graphs
    int8: GraphSpec = replace(graphs["painter"], member="painter_int8.onnx", **changes)
    return make_style_bundle(
        path, members={"painter_int8.onnx": other_painter()}, graphs={**graphs, "painter_int8": int8}
    )


def test_each_precision_has_its_painter(tmp_path: Path, photo: Picture) -> None:
    path = bundle_of_two(tmp_path / "two.impasto")
    twin = make_style_bundle(tmp_path / "twin.impasto", members={"painter.onnx": other_painter()})
    code = StyleModel.load(path).code("great-wave")
    floats, whole = (StyleModel.load(one, threads=1).paint(photo, code).rgb for one in (tmp_path / "two.impasto", twin))
    assert np.abs(floats - whole).max() > 0.01
    for precision, expected in (("fp32", floats), ("int8", whole), ("auto", whole)):
        assert np.array_equal(StyleModel.load(path, threads=1, precision=precision).paint(photo, code).rgb, expected)
        assert np.array_equal(stylize(photo, "great-wave", model=path, threads=1, precision=precision).rgb, expected)


def test_auto_leaves_openvino_its_own_precision(tmp_path: Path, photo: Picture) -> None:
    pytest.importorskip("openvino")
    path = bundle_of_two(tmp_path / "two.impasto")
    floats, whole, auto = (
        StyleModel.load(path, engine="openvino", threads=1, precision=precision).paint(photo, "great-wave").rgb
        for precision in ("fp32", "int8", "auto")
    )
    assert np.array_equal(auto, floats) and np.abs(auto - whole).max() > 0.01


def test_the_encoder_is_the_same(tmp_path: Path, painting: Picture) -> None:
    path = bundle_of_two(tmp_path / "two.impasto")
    codes = [StyleModel.load(path, precision=precision).encode(painting) for precision in ("fp32", "int8")]
    assert np.array_equal(*codes)


def test_auto_is_content_with_floats_and_int8_is_not(style_bundle: Path, photo: Picture) -> None:
    plain = StyleModel.load(style_bundle, threads=1).paint(photo, "great-wave").rgb
    assert np.array_equal(
        StyleModel.load(style_bundle, threads=1, precision="auto").paint(photo, "great-wave").rgb, plain
    )
    with pytest.raises(BundleError, match=r"has no painter in int8: use fp32, or add one with 'impasto quantize'\.$"):
        StyleModel.load(style_bundle, precision="int8")
    with pytest.raises(UnknownName, match=r"There is no precision called 'fp23': did you mean 'fp32'\?"):
        StyleModel.load(style_bundle, precision="fp23")  # type: ignore[arg-type]


def test_a_painter_that_takes_something_else_is_refused(tmp_path: Path) -> None:
    path = bundle_of_two(tmp_path / "two.impasto", inputs=style_manifest().graphs["painter"].inputs[:2])
    StyleModel.load(path)
    with pytest.raises(BundleError, match=r"painter in int8 of .*two\.impasto does not take what that in fp32 takes"):
        StyleModel.load(path, precision="auto")
