"""Weights read back from a model file, and a painter of half the width."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import load_from_string, numpy_helper

from impasto.errors import TrainingError
from impasto.runtime.bundle import Bundle
from impasto.training.nets.blocks import ModulatedConv, ModulatedResidual, ModulatedUp, SlowLinear, color_stats
from impasto.training.nets.style import GRAIN, Painter
from impasto.training.recover import painter_difference, recover_encoder, recover_painter
from impasto.training.shrink import halved, shrunk
from training.bases import make_base, painter_graph, tiny_painter


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base") / "base.impasto")


def painted(painter: Painter, seed: int = 0) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    photo = torch.rand(1, 3, 32, 48, generator=random)
    code = torch.cat((torch.randn(1, painter.spec.code, generator=random), color_stats(photo)), 1)
    return painter(photo, color_stats(photo), code, torch.randn(1, GRAIN, 4, 6, generator=random))


def test_the_network_comes_back(base: Path) -> None:
    """What a picture is multiplied by is the same to the bit, but for the four-fold kernels of up-convolutions."""
    there, back = tiny_painter(), recover_painter(Bundle.open(base))
    theirs = dict(back.named_modules())
    seen = set()
    for name, mine in there.named_modules():
        other = theirs[name]
        seen.add(type(mine))
        if isinstance(mine, SlowLinear):
            assert torch.equal(mine.weight * mine.rate, other.weight * mine.rate), name
            assert torch.equal(mine.bias * mine.rate, other.bias * mine.rate), name
        elif isinstance(mine, ModulatedUp):
            assert float((mine.weight - other.weight).abs().max() / mine.weight.abs().max()) < 3e-7, name
        elif isinstance(mine, ModulatedConv):
            assert torch.equal(mine.weight, other.weight), name
    assert {SlowLinear, ModulatedUp, ModulatedConv, ModulatedResidual} <= seen
    assert torch.equal(there.look.weight, back.look.weight) and torch.equal(there.look.bias, back.look.bias)
    torch.testing.assert_close(painted(back), painted(there), rtol=0, atol=2e-6)
    assert not any(parameter.requires_grad for parameter in back.parameters()) and not back.training


def test_the_bundled_painter_can_learn_again() -> None:
    """Its large weights are kept as they are, under their names, unlike those of the tiny one."""
    bundle = Bundle.open("anystyle")
    painter = recover_painter(bundle)
    raw = bundle.read("painter.onnx")
    kept = {one.name: numpy_helper.to_array(one) for one in load_from_string(raw).graph.initializer}
    plain = {name: value for name, value in painter.state_dict().items() if name in kept}
    assert len(plain) > 10
    assert all(np.array_equal(value.numpy(), kept[name]) for name, value in plain.items())
    assert painter_difference(painter, raw, ((64, 64),)) < 1e-5


@pytest.mark.parametrize(
    ("net", "why"),
    [
        ({"shine": 0.9}, "what was read back paints otherwise by"),
        ({"blocks": 2}, "layers where"),
        ({"fine": 16}, "a layer of"),
        ({"kind": "later"}, "its manifest describes no network of this version"),
        (None, "its manifest describes no network of this version"),
    ],
)
def test_files_that_do_not_fit_are_refused(base: Path, tmp_path: Path, net: dict[str, object] | None, why: str) -> None:
    table = Bundle.open(base).manifest.recipe["net"]
    other = make_base(tmp_path / "other.impasto", recipe={} if net is None else {"net": table | net})
    with pytest.raises(TrainingError, match=why) as caught:
        recover_painter(Bundle.open(other))
    assert str(caught.value).endswith("start from a model that this version of impasto exported.")


def test_differences_are_seen() -> None:
    painter = tiny_painter()
    assert painter_difference(painter, painter_graph(), ((64, 64), (32, 48))) < 1e-5
    painter.up1.affine.bias.add_(3)
    assert painter_difference(painter, painter_graph(), ((64, 64),)) > 1e-3
    painter.up1.affine.bias.fill_(float("nan"))
    assert not painter_difference(painter, painter_graph(), ((64, 64), (32, 48))) < 1e9


def test_half_the_width_keeps_what_matters() -> None:
    """Where every other channel does nothing, the half painter paints the same."""
    whole = tiny_painter(fine=16, coarse=16, half=8, blocks=2)
    with torch.no_grad():
        ends = [*(conv for conv in whole.modules() if isinstance(conv, ModulatedConv) and conv is not whole.up1)]
        for conv in (*ends, whole.up1):
            conv.weight[:, 1::2] = 0  # nobody listens
            if conv is not whole.up1:
                conv.weight[1::2] = 0  # nobody speaks
        whole.look.weight[1::2] = 0
    half = shrunk(whole)
    assert (half.spec.fine, half.spec.coarse, half.spec.half, half.spec.blocks) == (8, 8, 4, 2)
    assert half.spec == halved(whole.spec) and halved(half.spec) == half.spec, "it stops at the least"
    assert half.spec.code_size == whole.spec.code_size
    torch.testing.assert_close(painted(half), painted(whole), rtol=0, atol=1e-5)
    with torch.no_grad():
        whole.down.weight.normal_()
    assert float((painted(shrunk(whole)) - painted(whole)).abs().max()) > 1e-3


def test_an_encoder_of_another_kind_is_refused(base: Path) -> None:
    with pytest.raises(TrainingError, match=r"^The encoder in base.impasto cannot be .* \(\d layers where 6"):
        recover_encoder(Bundle.open(base))
